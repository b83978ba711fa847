//! Rules that are refused.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::*;

fn forward() -> Rule<&'static str> {
    Rule::forward("it", "it")
}

#[test]
fn an_error_names_the_rule_and_the_fault() {
    let rules = [
        Rule::forward("good", 'a'),
        Rule::forward("bad", 'b').on(on().host("a b")),
    ];
    let error = Router::builder().rules(rules).build().unwrap_err();
    let fault = RuleFault::Host("a b".into());
    assert_eq!((error.rule.as_str(), &error.fault), ("bad", &fault));
    assert!(
        error
            .to_string()
            .starts_with("rule `bad`: `a b` is no host")
    );
}

#[test]
fn a_name_is_there_once() {
    let rules =
        ["a", "b", "a"].map(|name| Rule::forward(name, name).on(on().path(format!("/{name}"))));
    let error = Router::builder().rules(rules).build().unwrap_err();
    assert_eq!((error.rule.as_str(), error.fault), ("a", RuleFault::Name));
    assert_eq!(fault(Rule::forward("", "x")), RuleFault::NameEmpty);
}

#[test]
fn what_is_no_host_is_refused() {
    let label = "a".repeat(64);
    for host in [
        "",
        ".",
        "a..b",
        "-a",
        "a-",
        "a b",
        "a/b",
        "a:80",
        "a@b",
        "*.",
        "*.*.a",
        "a.*",
        "**",
        "*a.b",
        "1.2.3",
        "1.2.3.256",
        "a.1",
        "::1",
        "[::1",
        "[::1]:80",
        "[1.2.3.4]",
        "*.1.2.3.4",
        "*.[::1]",
        "\u{e4}.example",
        "a\n",
        label.as_str(),
        ".a",
    ] {
        assert_eq!(
            fault(forward().on(on().host(host))),
            RuleFault::Host(host.into())
        );
    }
    for host in [
        "a",
        "a_b.c",
        "xn--4ca.example",
        "1a",
        "a.b1",
        &label[1..],
        "*.a",
        "1.2.3.4",
    ] {
        assert!(
            Router::builder()
                .rule(forward().on(on().host(host)))
                .build()
                .is_ok(),
            "{host}"
        );
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for path in ["", "a", "*", "/a?b", "/a#b", "http://a/"] {
        assert_eq!(
            fault(forward().on(on().path(path))),
            RuleFault::Path(path.into())
        );
        assert_eq!(
            fault(forward().on(on().prefix(path))),
            RuleFault::Path(path.into())
        );
        for rewrite in [
            PathRewrite::Exact(path.into()),
            PathRewrite::Prefix(path.into()),
        ] {
            let rule = forward()
                .on(on().prefix("/"))
                .rewrite(Rewrite::default().path(rewrite));
            assert_eq!(fault(rule), RuleFault::Path(path.into()));
        }
    }
    for (path, why) in [
        ("/..", TargetFault::AboveRoot),
        ("/a%2fb", TargetFault::EncodedSlash),
    ] {
        let refused = RuleFault::PathRefused {
            path: path.into(),
            fault: why,
        };
        assert_eq!(fault(forward().on(on().path(path))), refused);
        assert_eq!(fault(forward().on(on().prefix(path))), refused);
    }
}

#[test]
fn the_very_same_match_is_refused_whatever_its_spelling() {
    let present = || ValueMatch::Present;
    let a = || HeaderName::from_static("a");
    let same = [
        (on(), on()),
        (on(), on().host("*")),
        (on().host("A.example"), on().host("a.EXAMPLE.")),
        (on().host("*.A"), on().host("*.a.")),
        (on().host("[::1]"), on().host("[0::1]")),
        (on().path("/a"), on().path("//%61")),
        (on().prefix("/a"), on().prefix("/a/")),
        (on().prefix("/"), on().prefix("//")),
        (on().regex("/a"), on().regex("/a")),
        (
            on().method(Method::GET).method(Method::PUT),
            on().method(Method::PUT)
                .method(Method::GET)
                .method(Method::PUT),
        ),
        (
            on().header(a(), present()).cookie("a", present()),
            on().cookie("a", present())
                .header(a(), present())
                .header(a(), present()),
        ),
    ];
    for (one, other) in same {
        let rules = [Rule::forward("one", 1), Rule::forward("other", 2).on(other)];
        let [first, second] = rules;
        let error = Router::builder()
            .rule(first.on(one))
            .rule(second)
            .build()
            .unwrap_err();
        let fault = RuleFault::SameMatch("one".into());
        assert_eq!((error.rule.as_str(), error.fault), ("other", fault));
    }
}

#[test]
fn matches_that_differ_in_anything_stand_beside_each_other() {
    let value = |text: &str| ValueMatch::Exact(text.into());
    let a = || HeaderName::from_static("a");
    let all = [
        on(),
        on().host("a"),
        on().host("*.a"),
        on().path("/"),
        on().prefix("/"),
        on().regex("/"),
        on().path("/a"),
        on().path("/a/"),
        on().path("/A"),
        on().method(Method::GET),
        on().header(a(), value("1")),
        on().header(a(), value("2")),
        on().header(a(), ValueMatch::Present),
        on().header(a(), ValueMatch::Regex("1".into())),
        on().query("a", value("1")),
        on().cookie("a", value("1")),
    ];
    let rules = all.into_iter().enumerate();
    let rules = rules.map(|(at, fits)| Rule::forward(at.to_string(), at).on(fits));
    assert!(Router::builder().rules(rules).build().is_ok());
}

#[test]
fn a_bad_or_large_expression_is_refused() {
    for pattern in [
        "(",
        "a)|(b",
        "(?x)a #",
        "[0-9]{9999999}",
        "\\p{Greek}",
        "(?:a{1000}){1000}",
    ] {
        let bad = |rule| match fault(rule) {
            RuleFault::Pattern { pattern, why } => assert!(!pattern.is_empty() && !why.is_empty()),
            other => panic!("{other:?}"),
        };
        bad(forward().on(on().regex(pattern)));
        bad(forward().on(on().cookie("a", ValueMatch::Regex(pattern.into()))));
        if pattern != "(?x)a #" {
            let path = PathRewrite::Regex {
                pattern: pattern.into(),
                to: String::new(),
            };
            bad(forward().rewrite(Rewrite::default().path(path)));
        }
    }
    let deep = |depth| "(".repeat(depth) + "a" + &")".repeat(depth);
    assert!(matches!(
        fault(forward().on(on().regex(deep(40)))),
        RuleFault::Pattern { .. }
    ));
    assert!(
        Router::builder()
            .rule(forward().on(on().regex(deep(20))))
            .build()
            .is_ok()
    );
}

#[test]
fn a_split_needs_a_weight() {
    let split = Split::weighted([(0, "a")]);
    assert_eq!(
        fault(Rule::new("it", Action::Forward(split))),
        RuleFault::Weights
    );
}

#[test]
fn names_of_cookies_and_parameters_are_checked() {
    let present = || ValueMatch::Present;
    for name in ["", "a b", "a=b", "a;b", "\u{e4}"] {
        let bad = RuleFault::CookieName(name.into());
        assert_eq!(fault(forward().on(on().cookie(name, present()))), bad);
        let split = Split::to("a").sticky(StickyKey::Cookie(name.into()));
        assert_eq!(fault(Rule::new("it", Action::Forward(split))), bad);
    }
    assert_eq!(
        fault(forward().on(on().query("", present()))),
        RuleFault::QueryName
    );
}

#[test]
fn a_prefix_is_replaced_only_where_one_matched() {
    let path = || PathRewrite::Prefix("/b".into());
    let rewrite = || Rewrite::default().path(path());
    for fits in [on(), on().path("/a"), on().regex("/a")] {
        let rule = forward()
            .on(on().prefix("/c"))
            .on(fits.clone())
            .rewrite(rewrite());
        assert_eq!(fault(rule), RuleFault::PrefixOfNothing);
        let redirect = Redirect::new(RedirectStatus::Found).path(path());
        let rule = Rule::new("it", Action::Redirect(redirect)).on(fits);
        assert_eq!(fault(rule), RuleFault::PrefixOfNothing);
    }
    assert_eq!(
        fault(forward().rewrite(rewrite())),
        RuleFault::PrefixOfNothing
    );
}

#[test]
fn a_redirect_changes_something() {
    let itself = || Redirect::new(RedirectStatus::Found);
    let fault_of = |redirect| fault(Rule::new("it", Action::Redirect(redirect)));
    assert_eq!(fault_of(itself()), RuleFault::RedirectToItself);
    assert_eq!(
        fault_of(itself().host("a:80")),
        RuleFault::Host("a:80".into())
    );
    assert_eq!(fault_of(itself().host("*")), RuleFault::Host("*".into()));
    let changes = [
        itself().scheme(Scheme::HTTPS),
        itself().host("a"),
        itself().port(1),
        itself().path(PathRewrite::Exact("/".into())),
    ];
    for redirect in changes {
        let rule: Rule<()> = Rule::new("it", Action::Redirect(redirect));
        assert!(Router::builder().rule(rule).build().is_ok());
    }
}

#[test]
fn only_what_is_forwarded_is_rewritten() {
    let rewrite = || Rewrite::default().host("a");
    let respond = Action::Respond(Respond::new(StatusCode::OK));
    assert_eq!(
        fault(Rule::new("it", respond).rewrite(rewrite())),
        RuleFault::RewriteOfNothing
    );
    let redirect = Action::Redirect(Redirect::new(RedirectStatus::Found).port(1));
    assert_eq!(
        fault(Rule::new("it", redirect).rewrite(rewrite())),
        RuleFault::RewriteOfNothing
    );
    for host in ["a b", "a:", "a:x", "a:+1", "a:65536", "*.a", "\u{e4}"] {
        let rule = forward().rewrite(Rewrite::default().host(host));
        assert!(matches!(fault(rule), RuleFault::Host(_)), "{host}");
    }
}

#[test]
fn a_fixed_answer_is_final_and_has_a_body_only_where_one_may_be() {
    let answer = |status: u16, body: &'static str| {
        let respond = Respond::new(StatusCode::from_u16(status).unwrap()).body(body);
        let rule: Rule<()> = Rule::new("it", Action::Respond(respond));
        Router::builder()
            .rule(rule)
            .build()
            .map(drop)
            .map_err(|error| error.fault)
    };
    for status in [200, 404, 599] {
        assert_eq!(answer(status, "body"), Ok(()));
    }
    for status in [100, 101, 199, 600, 999] {
        assert_eq!(answer(status, ""), Err(RuleFault::Status(status)));
    }
    for status in [204, 205, 304] {
        assert_eq!(answer(status, ""), Ok(()));
        assert_eq!(
            answer(status, "body"),
            Err(RuleFault::BodyOfNothing(status))
        );
    }
}

#[test]
fn framing_and_fields_for_one_hop_are_not_for_rules() {
    let value = || HeaderValue::from_static("1");
    for name in [
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        let refused = RuleFault::Field(name.into());
        let name = || HeaderName::from_static(name);
        let all = [
            HeaderOps::default().remove(name()),
            HeaderOps::default().set(name(), value()),
            HeaderOps::default().add(name(), value()),
        ];
        for ops in all {
            assert_eq!(fault(forward().request_headers(ops.clone())), refused);
            assert_eq!(fault(forward().response_headers(ops)), refused);
        }
        let respond =
            Respond::new(StatusCode::OK).headers(HeaderMap::from_iter([(name(), value())]));
        assert_eq!(
            fault(Rule::new("it", Action::Respond(respond.clone()))),
            refused
        );
        assert_eq!(respond.body, Bytes::new());
    }
    let ops = HeaderOps::default().set(header::SERVER, value());
    assert!(
        Router::builder()
            .rule(forward().response_headers(ops))
            .build()
            .is_ok()
    );
}
