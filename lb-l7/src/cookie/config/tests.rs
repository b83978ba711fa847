use super::*;

fn check(
    name: &str,
    change: impl FnOnce(&mut CookieConfig, &mut Attributes),
) -> Result<(), CookieError> {
    let mut config = CookieConfig::new(name, KeyRing::new(HashKey::from_seed(1), []));
    let mut attributes = Attributes::default();
    change(&mut config, &mut attributes);
    if config.mode != CookieMode::Rewrite {
        config.mode = CookieMode::Insert(attributes);
    }
    config.check()
}

#[test]
fn names_are_tokens_of_bounded_length() {
    for name in ["", "a b", "a=b", "a;b", "\u{e9}", &"a".repeat(MAX_NAME + 1)] {
        assert_eq!(check(name, |_, _| {}), Err(CookieError::Name(name.into())));
    }
    assert_eq!(check(&"a".repeat(MAX_NAME), |_, _| {}), Ok(()));
}

#[test]
fn times_are_whole_seconds_and_not_zero() {
    for time in [Duration::ZERO, Duration::from_millis(1500)] {
        let refused = |field| Err(CookieError::Time { field, time });
        let age = check("a", |config, _| config.max_age = Some(time));
        assert_eq!(age, refused("max_age"));
        let idle = check("a", |config, _| config.max_idle = Some(time));
        assert_eq!(idle, refused("max_idle"));
        let lifetime = check("a", |_, attributes| attributes.lifetime = Some(time));
        assert_eq!(lifetime, refused("lifetime"));
    }
    let second = Some(Duration::from_secs(1));
    assert_eq!(check("a", |config, _| config.max_idle = second), Ok(()));
    let rewritten = check("a", |config, _| {
        config.mode = CookieMode::Rewrite;
        config.max_idle = second;
    });
    assert_eq!(rewritten, Err(CookieError::IdleOfRewritten));
    let rewritten = check("a", |config, _| {
        config.mode = CookieMode::Rewrite;
        config.max_age = second;
    });
    assert_eq!(rewritten, Ok(()));
}

#[test]
fn attributes_cannot_smuggle_others() {
    for path in ["", "a", "/a;Domain=x", "/\n", "/\u{e9}"] {
        let refused = check("a", |_, attributes| attributes.path = path.into());
        assert_eq!(refused, Err(CookieError::Path(path.into())));
    }
    for domain in ["", "a;b", "a b"] {
        let refused = check("a", |_, attributes| attributes.domain = Some(domain.into()));
        assert_eq!(refused, Err(CookieError::Domain(domain.into())));
    }
    let fine = check("a", |_, attributes| {
        attributes.path = "/a b".into();
        attributes.domain = Some("a-1.example".into());
    });
    assert_eq!(fine, Ok(()));
}

#[test]
fn what_browsers_would_refuse_is_refused() {
    let none = check("a", |_, attributes| attributes.same_site = SameSite::None);
    assert_eq!(none, Err(CookieError::SameSiteNone));
    let none = check("a", |_, attributes| {
        attributes.same_site = SameSite::None;
        attributes.secure = Secure::Always;
    });
    assert_eq!(none, Ok(()));
    type Change = fn(&mut CookieConfig, &mut Attributes);
    let secure: Change = |_, attributes| attributes.secure = Secure::Always;
    let domain: Change = |_, attributes| {
        attributes.secure = Secure::Always;
        attributes.domain = Some("example".into());
    };
    let path: Change = |_, attributes| {
        attributes.secure = Secure::Always;
        attributes.path = "/a".into();
    };
    for (name, change, fine) in [
        ("__Secure-a", (|_, _| {}) as Change, false),
        ("__secure-a", secure, true),
        ("__Secure-a", domain, true),
        ("__Host-a", |_, _| {}, false),
        ("__host-a", secure, true),
        ("__Host-a", domain, false),
        ("__Host-a", path, false),
        ("__Hos", |_, _| {}, true),
    ] {
        let expected = if fine {
            Ok(())
        } else {
            Err(CookieError::Prefix(name.into()))
        };
        assert_eq!(check(name, change), expected, "{name}");
    }
}

#[test]
fn the_tail_says_every_attribute() {
    let mut attributes = Attributes::default();
    assert_eq!(&*attributes.tail(false), "; Path=/; HttpOnly; SameSite=Lax");
    attributes.lifetime = Some(Duration::from_secs(3600));
    attributes.domain = Some("example.com".into());
    attributes.path = "/app".into();
    attributes.http_only = false;
    attributes.same_site = SameSite::Strict;
    let expected = "; Path=/app; Max-Age=3600; Domain=example.com; Secure; SameSite=Strict";
    assert_eq!(&*attributes.tail(true), expected);
    attributes = Attributes {
        same_site: SameSite::Unset,
        ..Attributes::default()
    };
    assert_eq!(&*attributes.tail(true), "; Path=/; Secure; HttpOnly");
    attributes.same_site = SameSite::None;
    assert!(attributes.tail(true).ends_with("; SameSite=None"));
}
