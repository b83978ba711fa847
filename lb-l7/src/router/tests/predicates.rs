//! What else a rule may ask for.

use super::*;

fn exact(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.into())
}

fn regex(text: &str) -> ValueMatch {
    ValueMatch::Regex(text.into())
}

/// Whether a rule for this fits.
fn fits(fits: Match, parts: &Parts) -> bool {
    only(Rule::forward("it", "it").on(fits))
        .route(parts, 0)
        .is_some()
}

fn header(value: ValueMatch) -> Match {
    on().header(HeaderName::from_static("x-a"), value)
}

#[test]
fn a_field_is_compared_line_by_line_and_whole() {
    let parts = with(with(get("x", "/"), "x-a", "one"), "x-a", "two");
    assert!(fits(header(ValueMatch::Present), &parts));
    assert!(fits(header(exact("one")), &parts));
    assert!(fits(header(exact("two")), &parts));
    assert!(!fits(header(exact("One")), &parts));
    assert!(!fits(header(exact("on")), &parts));
    assert!(!fits(header(exact("one, two")), &parts));
    assert!(fits(header(regex("t.o")), &parts));
    assert!(fits(header(regex("(?i)ONE")), &parts));
    assert!(!fits(header(regex("t")), &parts));
    assert!(!fits(header(ValueMatch::Present), &get("x", "/")));
}

#[test]
fn an_alternative_of_an_expression_must_match_the_whole_value_too() {
    let parts = with(get("x", "/"), "x-a", "ab");
    assert!(fits(header(regex("a|ab")), &parts));
    assert!(!fits(header(regex("a|b")), &parts));
    assert!(!fits(header(regex("a|abc")), &parts));
}

#[test]
fn one_of_the_methods_is_enough() {
    let both = || on().method(Method::PUT).method(Method::POST);
    assert!(fits(both(), &post(get("x", "/"))));
    assert!(!fits(both(), &get("x", "/")));
}

#[test]
fn the_first_query_parameter_of_the_name_counts_and_is_decoded() {
    let value = |target: &str, value| fits(on().query("a b", value), &get("x", target));
    assert!(value("/?x=1&a+b=c%20d&a+b=e", exact("c d")));
    assert!(value("/?a%20b=c+d", exact("c d")));
    assert!(!value("/?x=1&a+b=c&a+b=e", exact("e")));
    assert!(value("/?a+b", exact("")));
    assert!(value("/?a+b=", exact("")));
    assert!(value("/?a+b", ValueMatch::Present));
    assert!(value("/?a+b=%zz%4", exact("%zz%4")));
    assert!(value("/?a+b=c=d", exact("c=d")));
    assert!(value("/?a+b=c%20d", regex("c%20.")));
    assert!(!value("/?a+b=c%20d", exact("c  d")));
    assert!(!value("/?a+bc=1", ValueMatch::Present));
    assert!(!value("/?a+=1", ValueMatch::Present));
    assert!(!value("/", ValueMatch::Present));
}

#[test]
fn the_first_cookie_of_the_name_counts_over_all_lines() {
    let parts = with(get("x", "/"), "cookie", "a=1; c=3=4;  a=2");
    let parts = with(parts, "cookie", "b=5;flag");
    let cookie = |name, value| fits(on().cookie(name, value), &parts);
    assert!(cookie("a", exact("1")));
    assert!(!cookie("a", exact("2")));
    assert!(cookie("b", exact("5")));
    assert!(cookie("c", exact("3=4")));
    assert!(cookie("c", regex("3.4")));
    assert!(cookie("a", ValueMatch::Present));
    assert!(!cookie("A", ValueMatch::Present));
    assert!(!cookie("flag", ValueMatch::Present));
    assert!(!fits(on().cookie("a", ValueMatch::Present), &get("x", "/")));
}

#[test]
fn a_sticky_key_chooses_where_there_is_one() {
    let split = Split::weighted((0..100_u8).map(|n| (1, n)));
    let by_cookie = split.clone().sticky(StickyKey::Cookie("id".into()));
    let by_header = split.sticky(StickyKey::Header(HeaderName::from_static("x-id")));
    for (split, name, value) in [(by_cookie, "cookie", "id=7"), (by_header, "x-id", "7")] {
        let rule = Rule::new("it", Action::Forward(split));
        let router = Router::builder().rule(rule).build().unwrap();
        let target =
            |parts: &Parts, entropy| *router.route(parts, entropy).unwrap().target().unwrap();
        let parts = with(get("x", "/"), name, value);
        let kept = target(&parts, 0);
        assert_eq!(target(&parts, u64::MAX), kept);
        // SipHash-1-3 under a fixed key: the same on every machine and for ever.
        assert_eq!(kept, 84);
        assert_eq!(target(&get("x", "/"), 0), 0);
        assert_eq!(target(&get("x", "/"), u64::MAX), 99);
    }
}
