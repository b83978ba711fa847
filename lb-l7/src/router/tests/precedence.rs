//! Which of several rules wins.

use super::*;

#[test]
fn the_exact_host_comes_before_the_longest_wildcard_before_any() {
    let router = router([
        ("any", on()),
        ("star", on().host("*").prefix("/")),
        ("wide", on().host("*.example")),
        ("narrow", on().host("*.a.example")),
        ("exact", on().host("b.a.example")),
        ("apex", on().host("a.example")),
    ]);
    for (host, name) in [
        ("b.a.example", "exact"),
        ("c.b.a.example", "narrow"),
        ("d.c.b.a.example", "narrow"),
        ("c.a.example", "narrow"),
        ("a.example", "apex"),
        ("x.example", "wide"),
        ("xa.example", "wide"),
        ("example", "star"),
        ("example.com", "star"),
        ("", "star"),
    ] {
        routes(&router, &get(host, "/"), name);
    }
    let mut none = get("x", "*");
    none.headers.clear();
    routes(&router, &none, "any");
}

#[test]
fn hosts_are_compared_without_case_port_and_final_dot() {
    let router = router([
        ("name", on().host("Shop.Example.")),
        ("below", on().host("*.Shop.Example")),
        ("v4", on().host("10.0.0.1")),
        ("v6", on().host("[2001:DB8:0::1]")),
        ("mapped", on().host("[::ffff:1.2.3.4]")),
    ]);
    for (host, name) in [
        ("shop.example", "name"),
        ("SHOP.EXAMPLE:8080", "name"),
        ("shop.example.", "name"),
        ("shop.example.:80", "name"),
        ("shop.example:", "name"),
        ("shop.example..", "none"),
        ("x.SHOP.example.:1", "below"),
        ("10.0.0.1:80", "v4"),
        ("[2001:db8::1]", "v6"),
        ("[2001:db8::0:1]:443", "v6"),
        ("[2001:db8::2]", "none"),
        ("[::ffff:102:304]", "mapped"),
        ("2001:db8::1", "none"),
        ("[", "none"),
        ("shop", "none"),
        ("shop.example:80:80", "none"),
    ] {
        routes(&router, &get(host, "/"), name);
    }
}

#[test]
fn a_host_of_253_bytes_is_known_and_a_longer_one_is_not() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(longest.len(), 253);
    let router = router([("it", on().host(&longest))]);
    routes(&router, &get(&longest, "/"), "it");
    routes(&router, &get(&format!("{longest}."), "/"), "it");
    routes(&router, &get(&format!("{longest}b"), "/"), "none");
    let long = fault(Rule::forward("x", "x").on(on().host(format!("{longest}b"))));
    assert!(matches!(long, RuleFault::Host(_)));
}

#[test]
fn the_exact_path_comes_before_the_longest_prefix_before_regex_before_any() {
    let router = router([
        ("any", on()),
        ("digits", on().regex("/[0-9]+")),
        ("more", on().regex("/[0-9a-z]+")),
        ("a", on().prefix("/a")),
        ("ab", on().prefix("/a/b/")),
        ("exact", on().path("/a/b")),
        ("slash", on().path("/a/b/c/")),
        ("root", on().path("/")),
    ]);
    for (path, name) in [
        ("/", "root"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/bc", "a"),
        ("/a/b", "exact"),
        ("/a/b/", "ab"),
        ("/a/b/c", "ab"),
        ("/a/b/c/", "slash"),
        ("/a/b/c/d", "ab"),
        ("/ab", "more"),
        ("/12", "digits"),
        ("/12/", "any"),
        ("/12\u{e4}", "any"),
        ("/A", "any"),
        ("*", "any"),
        ("/a/b?x=/c/", "exact"),
    ] {
        routes(&router, &get("x", path), name);
    }
}

#[test]
fn the_prefix_of_all_paths_comes_before_any_regex_and_takes_no_star() {
    let router = router([("regex", on().regex("/.*")), ("all", on().prefix("/"))]);
    routes(&router, &get("x", "/x"), "all");
    routes(&router, &get("x", "/"), "all");
    routes(&router, &get("x", "*"), "none");
}

#[test]
fn a_request_to_connect_fits_rules_for_any_path() {
    let router = router([
        ("all", on().prefix("/")),
        ("any", on().method(Method::CONNECT)),
    ]);
    let mut parts = get("x:443", "/");
    parts.method = Method::CONNECT;
    parts.uri = "x:443".parse().unwrap();
    routes(&router, &parts, "any");
    assert_eq!(router.normalise(&mut parts), Ok(()));
    assert_eq!(parts.uri, "x:443");
}

#[test]
fn more_predicates_come_first_and_then_the_order_of_writing() {
    let a = || HeaderName::from_static("a");
    let router = router([
        ("plain", on().prefix("/")),
        (
            "get",
            on().prefix("/").method(Method::GET).method(Method::HEAD),
        ),
        ("first", on().prefix("/").header(a(), ValueMatch::Present)),
        (
            "both",
            on().prefix("/")
                .header(a(), ValueMatch::Present)
                .method(Method::GET),
        ),
        (
            "second",
            on().prefix("/").header(a(), ValueMatch::Exact("1".into())),
        ),
    ]);
    routes(&router, &post(get("x", "/")), "plain");
    routes(&router, &get("x", "/"), "get");
    routes(&router, &with(get("x", "/"), "a", "1"), "both");
    routes(&router, &post(with(get("x", "/"), "a", "1")), "first");
}

#[test]
fn what_is_said_twice_counts_once() {
    let present = || ValueMatch::Present;
    let a = HeaderName::from_static("a");
    let router = router([
        ("two", on().cookie("c", present()).cookie("c", present())),
        ("one", on().header(a, present())),
    ]);
    routes(
        &router,
        &with(with(get("x", "/"), "a", "1"), "cookie", "c=1"),
        "two",
    );
    let router = super::router([
        ("one", on().cookie("c", present())),
        ("two", on().query("q", present()).query("q", present())),
    ]);
    routes(&router, &with(get("x", "/?q"), "cookie", "c=1"), "one");
}

#[test]
fn a_rule_that_does_not_fit_gives_way_to_a_less_specific_one() {
    let post_only = || on().method(Method::POST);
    let router = router([
        ("path", post_only().host("a.example").path("/a/b")),
        ("prefix", post_only().host("a.example").prefix("/a")),
        ("regex", post_only().host("a.example").regex("/a/.*")),
        ("host", post_only().host("a.example")),
        ("wild", on().host("*.example").path("/a/c")),
        ("any", on().prefix("/a")),
    ]);
    routes(&router, &post(get("a.example", "/a/b")), "path");
    routes(&router, &get("a.example", "/a/b"), "any");
    routes(&router, &get("a.example", "/a/c"), "wild");
    routes(&router, &post(get("a.example", "/a/c")), "prefix");
    routes(&router, &post(get("a.example", "/b")), "host");
    routes(&router, &get("a.example", "/b"), "none");
}

#[test]
fn a_rule_is_for_every_request_that_any_of_its_matches_fits() {
    let rule = Rule::forward("it", "it");
    let rule = rule
        .on(on().host("a.example"))
        .on(on().path("/x"))
        .on(on().path("/x"));
    let router = only(rule);
    routes(&router, &get("a.example", "/y"), "it");
    routes(&router, &get("b.example", "/x"), "it");
    routes(&router, &get("b.example", "/y"), "none");
    routes(&only(Rule::forward("all", "all")), &get("", "*"), "all");
}

#[test]
fn a_match_tells_the_place_of_its_rule() {
    let router = router([("a", on().path("/a")), ("b", on().path("/b"))]);
    let parts = get("x", "/b");
    let matched = router.route(&parts, 0).unwrap();
    assert_eq!(matched.place(), 1);
    assert_eq!(router.rules().nth(1).unwrap().name, matched.rule().name);
    assert_eq!(router.rules().len(), 2);
    assert!(format!("{matched:?}").contains("\"b\""));
    assert!(matches!(matched.action(), Action::Forward(_)));
}
