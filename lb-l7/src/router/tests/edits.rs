//! What rules do to requests and their clients.

use http::{HeaderMap, header};

use super::*;

/// A rule on the prefix `/a` that rewrites so.
fn rewriting(path: PathRewrite) -> Router<&'static str> {
    let rule = Rule::forward("it", "it").on(on().prefix("/a"));
    only(rule.rewrite(Rewrite::default().path(path)))
}

#[track_caller]
fn rewritten(router: &Router<&'static str>, target: &str) -> String {
    let mut parts = get("x", target);
    let matched = router.route(&parts, 0).expect("a rule fits");
    matched.rewrite(&mut parts).expect("a good path");
    parts.uri.to_string()
}

#[test]
fn a_prefix_is_replaced_and_the_rest_stays() {
    let router = rewriting(PathRewrite::Prefix("/b/c".into()));
    assert_eq!(rewritten(&router, "/a"), "/b/c");
    assert_eq!(rewritten(&router, "/a/"), "/b/c/");
    assert_eq!(rewritten(&router, "/a/d/e?f=/a"), "/b/c/d/e?f=/a");
    let router = rewriting(PathRewrite::Prefix("/b/".into()));
    assert_eq!(rewritten(&router, "/a"), "/b");
    assert_eq!(rewritten(&router, "/a/c"), "/b/c");
    let router = rewriting(PathRewrite::Prefix("/".into()));
    assert_eq!(rewritten(&router, "/a"), "/");
    assert_eq!(rewritten(&router, "/a?q"), "/?q");
    assert_eq!(rewritten(&router, "/a/c"), "/c");
}

#[test]
fn a_prefix_is_replaced_by_the_match_that_fits() {
    let rule = Rule::forward("it", "it");
    let rule = rule
        .on(on().prefix("/a"))
        .on(on().prefix("/a/b"))
        .on(on().prefix("/"));
    let router = only(rule.rewrite(Rewrite::default().path(PathRewrite::Prefix("/n".into()))));
    assert_eq!(rewritten(&router, "/a/c"), "/n/c");
    assert_eq!(rewritten(&router, "/a/b/c"), "/n/c");
    assert_eq!(rewritten(&router, "/c"), "/n/c");
    assert_eq!(rewritten(&router, "/"), "/n/");
}

#[test]
fn a_path_that_was_changed_since_the_match_is_left_alone() {
    let router = rewriting(PathRewrite::Prefix("/b".into()));
    let parts = get("x", "/a/c");
    let matched = router.route(&parts, 0).unwrap();
    for other in ["/abc", "/", "*"] {
        let mut parts = get("x", other);
        assert_eq!(matched.rewrite(&mut parts), Ok(()));
        assert_eq!(parts.uri, other);
    }
}

#[test]
fn a_path_becomes_another_and_keeps_its_query() {
    let router = rewriting(PathRewrite::Exact("/b//\u{e4}".into()));
    assert_eq!(rewritten(&router, "/a/c?d=1"), "/b//%C3%A4?d=1");
    assert_eq!(rewritten(&router, "/a"), "/b//%C3%A4");
}

#[test]
fn an_expression_replaces_its_first_match() {
    let regex = |pattern: &str, to: &str| {
        rewriting(PathRewrite::Regex {
            pattern: pattern.into(),
            to: to.into(),
        })
    };
    let swap = regex("/([a-z]+)/(?<id>[0-9]+)", "/${id}/$1");
    assert_eq!(rewritten(&swap, "/a/b/7/c/8?x"), "/a/7/b/c/8?x");
    assert_eq!(rewritten(&swap, "/a/b"), "/a/b");
    assert_eq!(rewritten(&regex("/b$", "/.."), "/a/b"), "/");
    for (to, fault) in [
        ("/../..", TargetFault::AboveRoot),
        ("b", TargetFault::Relative),
        ("/%zz", TargetFault::BadEscape),
        ("/\r\n", TargetFault::TooLong),
    ] {
        let router = regex("^.*$", to);
        let mut parts = get("x", "/a");
        let matched = router.route(&parts, 0).unwrap();
        let result = matched.rewrite(&mut parts);
        if to == "/\r\n" {
            assert_eq!((result, parts.uri.path()), (Ok(()), "/%0D%0A"));
        } else {
            assert_eq!(result, Err(fault));
            assert_eq!(parts.uri, "/a");
        }
    }
}

#[test]
fn the_strictest_policy_puts_right_what_a_rule_makes() {
    let policy = PathPolicy {
        normalise: Normalise::Reject,
        ..PathPolicy::default()
    };
    let rewrite = PathRewrite::Regex {
        pattern: "a".into(),
        to: "/./b".into(),
    };
    let rule = Rule::forward("it", "it").on(on().prefix("/./a"));
    let rule = rule.rewrite(Rewrite::default().path(rewrite));
    let router = Router::builder()
        .path_policy(policy)
        .rule(rule)
        .build()
        .unwrap();
    assert_eq!(rewritten(&router, "/a"), "/b");
}

#[test]
fn the_host_becomes_another() {
    for (host, written) in [
        ("B.Example:8080", "b.example:8080"),
        ("b.example", "b.example"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("[::0:1]:0080", "[::1]:80"),
    ] {
        let rule = Rule::forward("it", "it").rewrite(Rewrite::default().host(host));
        let router = only(rule);
        let mut parts = get("a.example", "/x");
        router
            .route(&parts, 0)
            .unwrap()
            .rewrite(&mut parts)
            .unwrap();
        assert_eq!(parts.headers[header::HOST], written);
        assert_eq!(parts.headers.len(), 1);
        assert_eq!(parts.uri, "/x");
    }
}

#[test]
fn fields_are_removed_then_set_then_added() {
    let name = HeaderName::from_static;
    let value = HeaderValue::from_static;
    let ops = HeaderOps::default()
        .add(name("b"), value("3"))
        .set(name("b"), value("2"))
        .set(name("c"), value("4"))
        .add(name("a"), value("5"))
        .remove(name("a"))
        .remove(name("c"));
    assert!(!ops.is_empty());
    let rule = Rule::forward("it", "it").request_headers(ops);
    let router = only(rule);
    let mut parts = with(with(with(get("x", "/"), "a", "1"), "a", "1"), "b", "1");
    router
        .route(&parts, 0)
        .unwrap()
        .rewrite(&mut parts)
        .unwrap();
    let lines = |name: &str| {
        let all = parts.headers.get_all(name).iter();
        all.map(|line| line.to_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lines("a"), ["5"]);
    assert_eq!(lines("b"), ["2", "3"]);
    assert_eq!(lines("c"), ["4"]);
}

#[test]
fn header_operations_know_whether_there_is_anything_to_do() {
    let name = || HeaderName::from_static("a");
    let value = || HeaderValue::from_static("1");
    assert!(HeaderOps::default().is_empty());
    assert!(!HeaderOps::default().remove(name()).is_empty());
    assert!(!HeaderOps::default().set(name(), value()).is_empty());
    assert!(!HeaderOps::default().add(name(), value()).is_empty());
}

#[test]
fn a_full_map_of_fields_stays_as_it_is() {
    let numbered = |n: usize| HeaderName::try_from(format!("x-{n}")).unwrap();
    let mut full = HeaderMap::new();
    let mut count = 0;
    while full
        .try_append(numbered(count), HeaderValue::from_static(""))
        .is_ok()
    {
        count += 1;
    }
    let name = || HeaderName::from_static("one-more");
    let value = || HeaderValue::from_static("1");
    HeaderOps::default()
        .set(name(), value())
        .add(name(), value())
        .apply(&mut full);
    assert_eq!(full.len(), count);
}

/// Where this redirect sends the client of a request for this target of this host.
fn location(redirect: Redirect, scheme: &Scheme, host: &str, target: &str) -> String {
    let rule = Rule::new("it", Action::Redirect(redirect))
        .on(on().prefix("/a"))
        .on(on().prefix("/"));
    let router = only(rule);
    let parts = get(host, target);
    let matched = router.route(&parts, 0).expect("a rule fits");
    assert_eq!(matched.target(), None);
    match matched.location(&parts, scheme) {
        Ok(location) => location.unwrap().to_str().unwrap().into(),
        Err(fault) => fault.as_str().into(),
    }
}

fn found() -> Redirect {
    Redirect::new(RedirectStatus::Found)
}

#[test]
fn a_redirect_changes_the_parts_it_names() {
    let at = |redirect, host: &str| location(redirect, &Scheme::HTTP, host, "/a/b?c=d");
    let https = || found().scheme(Scheme::HTTPS);
    assert_eq!(at(https(), "X.example:8080"), "https://X.example/a/b?c=d");
    assert_eq!(at(https().port(443), "x"), "https://x/a/b?c=d");
    assert_eq!(at(https().port(80), "x"), "https://x:80/a/b?c=d");
    assert_eq!(at(found().port(80), "x:81"), "http://x/a/b?c=d");
    assert_eq!(at(found().port(443), "x:81"), "http://x:443/a/b?c=d");
    assert_eq!(
        at(found().host("Y.example"), "x:81"),
        "http://y.example/a/b?c=d"
    );
    assert_eq!(
        at(found().host("[::0]").port(8), "x"),
        "http://[::]:8/a/b?c=d"
    );
    let path = |path| found().path(path);
    assert_eq!(
        at(path(PathRewrite::Exact("/z".into())), "x:81"),
        "http://x:81/z?c=d"
    );
    assert_eq!(
        at(path(PathRewrite::Exact("/z".into())), "x:80"),
        "http://x/z?c=d"
    );
    assert_eq!(
        at(path(PathRewrite::Exact("/z".into())), "x:"),
        "http://x/z?c=d"
    );
    assert_eq!(
        at(path(PathRewrite::Prefix("/z".into())), "[::1]:81"),
        "http://[::1]:81/z/b?c=d"
    );
    let strip = PathRewrite::Regex {
        pattern: "b".into(),
        to: "".into(),
    };
    assert_eq!(at(path(strip), "x"), "http://x/a/?c=d");
}

#[test]
fn the_default_port_is_that_of_the_scheme_led_to() {
    let same = || found().path(PathRewrite::Exact("/".into()));
    assert_eq!(location(same(), &Scheme::HTTPS, "x:443", "/"), "https://x/");
    assert_eq!(
        location(same(), &Scheme::HTTPS, "x:80", "/"),
        "https://x:80/"
    );
    let other: Scheme = "gopher".parse().unwrap();
    assert_eq!(location(same(), &other, "x:80", "/"), "gopher://x:80/");
}

#[test]
fn a_redirect_never_leads_to_a_host_that_the_path_names() {
    let https = || found().scheme(Scheme::HTTPS);
    let at = |redirect, target: &str| location(redirect, &Scheme::HTTP, "x", target);
    assert_eq!(at(https(), "//evil.example/"), "https://x//evil.example/");
    assert_eq!(at(https(), "/\\evil.example/"), "https://x/\\evil.example/");
    let strip = || found().path(PathRewrite::Prefix("/".into()));
    assert_eq!(at(strip(), "/a//evil.example"), "http://x//evil.example");
    assert_eq!(at(strip(), "/a/@evil.example"), "http://x/@evil.example");
    let regex = PathRewrite::Regex {
        pattern: "^/a/(.*)$".into(),
        to: "$1".into(),
    };
    assert_eq!(at(found().path(regex), "/a/.evil.example"), "path-relative");
}

#[test]
fn a_host_that_could_lead_elsewhere_is_not_repeated() {
    let https = || found().scheme(Scheme::HTTPS);
    let at = |host: &str| location(https(), &Scheme::HTTP, host, "/");
    for host in [
        "", "a@b", "a/b", "a b", "a?b", "a#b", "a\\b", "a:b:80", "[::1", "[x]", "%41", "a,b", ":80",
    ] {
        assert_eq!(at(host), "redirect-no-host", "{host}");
    }
    let keep = found().path(PathRewrite::Exact("/".into()));
    for host in ["x:port", "x:+80", "x:65536", "x:80@y"] {
        assert_eq!(
            location(keep.clone(), &Scheme::HTTP, host, "/"),
            "redirect-no-host",
            "{host}"
        );
    }
    assert_eq!(at("x:port"), "https://x/");
    let named = || found().host("y");
    assert_eq!(location(named(), &Scheme::HTTP, "a@b", "/"), "http://y/");
}

#[test]
fn targets_without_path_are_sent_to_the_root() {
    let rule = Rule::new(
        "it",
        Action::Redirect(found().host("y").path(PathRewrite::Exact("/z".into()))),
    );
    let router = only(rule);
    let parts = get("x", "*");
    let location = router
        .route(&parts, 0)
        .unwrap()
        .location(&parts, &Scheme::HTTP);
    assert_eq!(location, Ok(Some(HeaderValue::from_static("http://y/"))));
}

#[test]
fn only_a_redirect_has_a_location() {
    let router = only(Rule::new(
        "it",
        Action::Respond(Respond::new(http::StatusCode::OK)),
    ));
    let parts = get("x", "/");
    let matched = router.route(&parts, 0).unwrap();
    assert_eq!(matched.location(&parts, &Scheme::HTTP), Ok(None));
    assert_eq!(matched.target(), None);
}

#[test]
fn the_statuses_of_redirects_are_those_of_the_rfc() {
    let codes = (0..1000).filter(|&code| RedirectStatus::of(code).is_some());
    assert!(codes.eq([301, 302, 303, 307, 308]));
    for code in [301, 302, 303, 307, 308] {
        assert_eq!(RedirectStatus::of(code).unwrap().code().as_u16(), code);
    }
}
