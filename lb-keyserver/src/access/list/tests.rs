use super::*;
use crate::access::{Keys, RuleFault};

const SCHEME: Scheme = Scheme::EcdsaP256Sha256;

fn key(number: u8) -> Ski {
    Ski::of_bits(&[number])
}

fn name(text: &str) -> Identity {
    text.parse().expect("good")
}

fn client(text: &str) -> Identities {
    name(text).into()
}

fn rule(who: &str) -> Rule {
    Rule::new(who.parse().expect("good")).keys([key(1)])
}

fn list(rules: impl IntoIterator<Item = Rule>) -> AccessList {
    AccessList::new(rules).expect("good")
}

fn ask(list: &AccessList, who: &str) -> Result<u32, Denial> {
    let client = client(who);
    let grant = list.check(&client, &key(1), SCHEME, Mode::Bound, None);
    grant.map(|grant| grant.number())
}

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    let none = AccessList::default();
    assert_eq!(ask(&none, "lb://node/7"), Err(Denial::UnknownIdentity));
    assert!(!none.is_admitted(&client("lb://node/7")));
    let rules = list([rule("lb://node/7")]);
    assert_eq!(ask(&rules, "lb://node/7"), Ok(0));
    assert_eq!(ask(&rules, "lb://node/8"), Err(Denial::UnknownIdentity));
}

#[test]
fn a_family_is_one_segment_deep() {
    let rules = list([rule("lb://node/*")]);
    for (who, good) in [
        ("lb://node/7", true),
        ("lb://node/a-b.c", true),
        ("lb://node/", false),
        ("lb://node", false),
        ("lb://node/7/8", false),
        ("lb://nodes/7", false),
        ("LB://node/7", false),
        ("lb://node/7?a=b", false),
        ("lb://node/7#a", false),
        ("lb://other?x/7", false),
        ("node", false),
    ] {
        assert_eq!(ask(&rules, who).is_ok(), good, "{who}");
    }
}

#[test]
fn a_pattern_has_one_star_at_its_end_and_something_before() {
    for good in [
        "lb://node/*",
        "spiffe://trust.example/*",
        "urn:a/b/*",
        "a.test",
        "lb://n/7",
    ] {
        let who: Who = good.parse().expect(good);
        assert_eq!(who.to_string(), good);
    }
    for bad in [
        "*",
        "/*",
        "lb:*",
        "lb:/*",
        "lb://*",
        "lb:///*",
        "lb://n*",
        "lb://*/a/*",
        "a.*",
        "*.a.test",
        "lb://n/**",
        "lb://n?a/*",
        "lb://n/#/*",
        "",
        "spki:sha256:/*",
    ] {
        assert!(bad.parse::<Who>().is_err(), "{bad}");
    }
}

#[test]
fn each_condition_of_a_rule_counts_and_the_nearest_denial_is_told() {
    let rules = list([rule("lb://node/7")
        .keys([key(1), key(2)])
        .schemes([SCHEME, Scheme::Ed25519])
        .least_mode(Mode::Strict)
        .server_names([
            "*.a.test".parse().expect("good"),
            "b.test".parse().expect("good"),
        ])]);
    let node = client("lb://node/7");
    let check = |number, scheme, mode, name| {
        rules
            .check(&node, &key(number), scheme, mode, name)
            .map(|grant| grant.number())
    };
    let strict = Mode::Strict;
    for (number, scheme, mode, name, expected) in [
        (1, SCHEME, strict, Some("www.a.test"), Ok(0)),
        (2, Scheme::Ed25519, strict, Some("B.TEST"), Ok(0)),
        (3, SCHEME, strict, Some("b.test"), Err(Denial::Key)),
        (3, Scheme::RsaPssSha256, Mode::Plain, None, Err(Denial::Key)),
        (
            1,
            Scheme::RsaPssSha256,
            Mode::Plain,
            None,
            Err(Denial::Scheme),
        ),
        (1, SCHEME, Mode::Bound, Some("b.test"), Err(Denial::Mode)),
        (1, SCHEME, strict, Some("c.test"), Err(Denial::ServerName)),
        (1, SCHEME, strict, None, Err(Denial::ServerName)),
    ] {
        assert_eq!(
            check(number, scheme, mode, name),
            expected,
            "{number} {scheme:?} {mode:?} {name:?}"
        );
    }
}

#[test]
fn the_plain_mode_is_for_those_whose_rule_says_so() {
    let rules = list([
        rule("lb://old/1").least_mode(Mode::Plain),
        rule("lb://new/1"),
    ]);
    for (who, mode, expected) in [
        ("lb://old/1", Mode::Plain, Ok(())),
        ("lb://old/1", Mode::Strict, Ok(())),
        ("lb://new/1", Mode::Plain, Err(Denial::Mode)),
        ("lb://new/1", Mode::Bound, Ok(())),
        ("lb://none/1", Mode::Strict, Err(Denial::UnknownIdentity)),
    ] {
        let client = client(who);
        assert_eq!(rules.may_connect(&client, mode), expected, "{who} {mode:?}");
        let check = rules.check(&client, &key(1), SCHEME, mode, None);
        assert_eq!(check.map(|_| ()), expected, "{who} {mode:?}");
    }
    assert_eq!(rules.lowest_mode(&client("lb://old/1")), Some(Mode::Plain));
    assert_eq!(rules.lowest_mode(&client("lb://new/1")), Some(Mode::Bound));
    assert_eq!(rules.lowest_mode(&client("lb://none/1")), None);
}

#[test]
fn a_rule_with_names_asks_for_the_strict_mode_unless_claims_are_trusted() {
    let named = || rule("lb://n/1").server_names(["a.test".parse().expect("good")]);
    assert_eq!(rule("lb://n/1").asks_for(), Mode::Bound);
    assert_eq!(named().asks_for(), Mode::Strict);
    assert_eq!(named().least_mode(Mode::Plain).asks_for(), Mode::Strict);
    assert_eq!(named().trusting_claims().asks_for(), Mode::Bound);
    let node = client("lb://n/1");
    let rules = list([named()]);
    let check = |rules: &AccessList, name| {
        rules
            .check(&node, &key(1), SCHEME, Mode::Bound, name)
            .map(|_| ())
    };
    assert_eq!(check(&rules, Some("a.test")), Err(Denial::Mode));
    let rules = list([named().trusting_claims()]);
    assert_eq!(check(&rules, Some("a.test")), Ok(()));
    assert_eq!(check(&rules, Some("b.test")), Err(Denial::ServerName));
}

#[test]
fn what_one_rule_does_not_allow_another_may() {
    let rules = list([
        rule("lb://node/*").keys([key(9)]),
        rule("lb://node/7").schemes([Scheme::Ed25519]),
        rule("lb://node/*").least_mode(Mode::Strict),
        rule("lb://node/*"),
    ]);
    assert_eq!(ask(&rules, "lb://node/7"), Ok(3));
    let rules = list([
        rule("lb://node/*").least_mode(Mode::Strict),
        rule("lb://node/7").keys([key(9)]),
    ]);
    assert_eq!(
        ask(&rules, "lb://node/7"),
        Err(Denial::Mode),
        "nearer than the key"
    );
    assert_eq!(rules.lowest_mode(&client("lb://node/7")), Some(Mode::Bound));
}

#[test]
fn rules_of_the_very_name_come_before_those_of_its_family() {
    let rules = list([rule("lb://node/*"), rule("lb://node/7")]);
    assert_eq!(ask(&rules, "lb://node/7"), Ok(1));
    assert_eq!(ask(&rules, "lb://node/8"), Ok(0));
    let client = client("lb://node/8");
    let grant = rules
        .check(&client, &key(1), SCHEME, Mode::Bound, None)
        .expect("allowed");
    assert_eq!(grant.identity(), &name("lb://node/8"));
    assert_eq!(grant.rule().who.to_string(), "lb://node/*");
    assert_eq!(*grant.limits(), Limits::default());
}

/// With a URI, a DNS name, and a key.
fn many_named() -> (Identities, Vec<Identity>) {
    let pair = rcgen::KeyPair::generate().expect("made");
    let mut params = rcgen::CertificateParams::new(vec!["node-7.test".into()]).expect("good");
    let uri = rcgen::SanType::URI("lb://node/7".try_into().expect("ASCII"));
    params.subject_alt_names.push(uri);
    let certificate = params.self_signed(&pair).expect("signed");
    let names = Identities::of_certificate(certificate.der()).expect("good");
    let each = names.iter().cloned().collect();
    (names, each)
}

#[test]
fn any_name_of_a_client_lets_it_in_and_any_that_is_revoked_keeps_it_out() {
    let (client, names) = many_named();
    assert_eq!(names.len(), 3);
    for name in &names {
        let rules = list([rule(name.as_str())]);
        assert!(rules.is_admitted(&client) && !rules.is_revoked(&client));
        assert_eq!(rules.may_connect(&client, Mode::Bound), Ok(()));
        let grant = rules.check(&client, &key(1), SCHEME, Mode::Bound, None);
        assert_eq!(grant.expect("allowed").identity(), name);
        for revoked in &names {
            let rules = rules.clone().revoke(revoked.clone());
            assert!(rules.is_revoked(&client) && !rules.is_admitted(&client));
            assert_eq!(rules.lowest_mode(&client), None);
            assert_eq!(
                rules.may_connect(&client, Mode::Strict),
                Err(Denial::Revoked)
            );
            let check = rules.check(&client, &key(1), SCHEME, Mode::Bound, None);
            assert_eq!(check.unwrap_err(), Denial::Revoked);
        }
        let others = rules.revoke("lb://node/8".parse().expect("good"));
        assert!(others.is_admitted(&client));
    }
}

#[test]
fn a_rule_that_allows_nothing_is_refused() {
    let bad = |rules: [Rule; 2]| AccessList::new(rules).map(|_| ()).unwrap_err();
    let error = bad([rule("a"), Rule::new("b".parse().expect("good"))]);
    assert_eq!((error.rule, error.fault), (1, RuleFault::NoKey));
    let error = bad([rule("a").schemes([]), rule("b")]);
    assert_eq!((error.rule, error.fault), (0, RuleFault::NoScheme));
    let all = rule("a").all_keys();
    assert_eq!(all.keys, Keys::All);
    assert_eq!(list([all]).rules().len(), 1);
}

#[test]
fn all_keys_are_also_those_yet_to_come() {
    let rules = list([rule("lb://n/1").all_keys()]);
    let node = client("lb://n/1");
    for number in 0..9 {
        assert!(
            rules
                .check(&node, &key(number), SCHEME, Mode::Bound, None)
                .is_ok()
        );
    }
}

#[test]
fn a_server_name_is_meant_whole_or_with_one_label_more() {
    for (pattern, name, good) in [
        ("a.test", "a.test", true),
        ("A.Test", "a.tEST", true),
        ("a.test", "b.a.test", false),
        ("a.test", "a.test.", false),
        ("a.test", "", false),
        ("*.a.test", "b.a.test", true),
        ("*.A.test", "B.a.TEST", true),
        ("*.a.test", "a.test", false),
        ("*.a.test", ".a.test", false),
        ("*.a.test", "c.b.a.test", false),
        ("*.a.test", "ba.test", false),
        ("*.a.test", "b.a.test.evil", false),
    ] {
        let pattern: crate::access::NamePattern = pattern.parse().expect("good");
        assert_eq!(pattern.means(name), good, "{pattern} {name}");
    }
    for bad in [
        "", "*", "*.", "*.test", "*a.test", "a.*.test", ".a.test", "a..test", "a.test.", "a b",
        "*.a..b", "**.a.b",
    ] {
        assert!(bad.parse::<crate::access::NamePattern>().is_err(), "{bad}");
    }
    let long = "a.".repeat(126) + "a";
    assert!(long.parse::<crate::access::NamePattern>().is_ok());
    assert!(
        format!("{long}a")
            .parse::<crate::access::NamePattern>()
            .is_err()
    );
}

#[test]
fn to_a_peer_every_denial_looks_like_a_key_that_is_not_there() {
    assert_eq!(Denial::CODE, ErrorCode::KeyNotFound);
    let mut names: Vec<_> = Denial::ALL.into_iter().map(Denial::as_str).collect();
    assert!(Denial::ALL.is_sorted());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Denial::ALL.len());
}
