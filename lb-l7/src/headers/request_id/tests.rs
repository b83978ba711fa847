use lbcore::rng::Xoshiro;

use super::super::Scheme;
use super::super::identity::{Identity, IdentityConfig};
use super::*;

fn hop(peer: &str) -> Hop {
    let config = IdentityConfig {
        trusted: vec!["10.0.0.0/8".parse().unwrap()],
        ..Default::default()
    };
    let local = "203.0.113.1:80".parse().unwrap();
    let identity = Identity::new(config).unwrap();
    identity.hop(peer.parse().unwrap(), local, Scheme::Http)
}

/// What becomes of a request with these names, from a trusted peer and from a stranger.
fn passed(accept: Accept, sent: &[&str]) -> [bool; 2] {
    let ids = RequestId {
        accept,
        ..Default::default()
    };
    ["10.0.0.1", "192.0.2.1"].map(|peer| {
        let mut headers = HeaderMap::new();
        for id in sent {
            headers.append("x-request-id", HeaderValue::from_str(id).unwrap());
        }
        let id = ids.apply(&mut headers, &hop(peer), &mut Xoshiro::new(3));
        let all: Vec<_> = headers.get_all("x-request-id").iter().collect();
        assert_eq!(all, [&id]);
        sent.first().is_some_and(|first| id == first)
    })
}

#[test]
fn a_name_is_passed_on_of_those_who_are_believed() {
    assert_eq!(passed(Accept::Always, &["a"]), [true, true]);
    assert_eq!(passed(Accept::Trusted, &["a"]), [true, false]);
    assert_eq!(passed(Accept::Never, &["a"]), [false, false]);
}

#[test]
fn a_name_that_is_not_well_formed_is_replaced() {
    let longest = "a".repeat(MAX_LENGTH);
    let longer = "a".repeat(MAX_LENGTH + 1);
    for (sent, expected) in [
        (&["Az09+-./:=@_~"][..], true),
        (&[&longest], true),
        (&[&longer], false),
        (&[""], false),
        (&["a b"], false),
        (&["a\"b"], false),
        (&["a,b"], false),
        (&["a", "a"], false),
        (&[], false),
    ] {
        assert_eq!(passed(Accept::Always, sent), [expected; 2], "{sent:?}");
    }
}

#[test]
fn a_new_name_has_the_form_that_is_asked_for() {
    let uuid = Form::Uuid.write(u64::MAX, u64::MAX);
    assert_eq!(uuid, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    let uuid = Form::Uuid.write(0x0123_4567_89ab_0cde, 0x0011_2233_4455_6677);
    assert_eq!(uuid, "01234567-89ab-4cde-8011-223344556677");
    let hex = Form::Hex.write(0x0123_4567_89ab_cdef, 1);
    assert_eq!(hex, "0123456789abcdef0000000000000001");
}

#[test]
fn names_differ_from_request_to_request() {
    let mut rng = Xoshiro::new(1);
    let mut id = || RequestId::default().apply(&mut HeaderMap::new(), &hop("::1"), &mut rng);
    assert_ne!(id(), id());
}
