use proptest::prelude::*;

use super::*;

const EDGE: &str = "10.0.0.1";
const STRANGER: &str = "192.0.2.9";

fn config() -> IdentityConfig {
    IdentityConfig {
        trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        ..Default::default()
    }
}

fn identity(change: impl FnOnce(&mut IdentityConfig)) -> Identity {
    let mut config = config();
    change(&mut config);
    Identity::new(config).unwrap()
}

fn hop(identity: &Identity, peer: &str) -> Hop {
    let local = "203.0.113.1:8443".parse().unwrap();
    identity.hop(peer.parse().unwrap(), local, Scheme::Https)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    lines.sort_unstable();
    lines
}

#[track_caller]
fn client(identity: &Identity, peer: &str, lines: &[(&'static str, &str)]) -> String {
    let hop = hop(identity, peer);
    identity.client_address(&hop, &headers(lines)).to_string()
}

#[test]
fn no_one_is_trusted_unless_named() {
    let nobody = Identity::new(IdentityConfig::default()).unwrap();
    assert!(!nobody.trusts(EDGE.parse().unwrap()));
    let some = identity(|_| {});
    assert!(some.trusts(EDGE.parse().unwrap()) && !some.trusts(STRANGER.parse().unwrap()));
    assert!(some.trusts("::ffff:10.1.1.1".parse().unwrap()));
    let only_v4 = identity(|config| config.trusted.truncate(1));
    assert!(!only_v4.trusts("2001:db8::1".parse().unwrap()));
}

#[test]
fn x_forwarded_for_is_walked_back_over_trusted_proxies() {
    let identity = identity(|config| config.max_hops = 3);
    let xff = |peer, value| client(&identity, peer, &[("x-forwarded-for", value)]);
    for (value, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.66, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.2, 10.0.0.3, 10.0.0.4", "10.0.0.2"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, unknown", EDGE),
        ("192.0.2.1, unknown, 10.0.0.7", "10.0.0.7"),
        ("", EDGE),
        ("[192.0.2.1]", EDGE),
    ] {
        assert_eq!(xff(EDGE, value), expected, "{value}");
        assert_eq!(xff(STRANGER, value), STRANGER);
    }
    let two = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
    ];
    assert_eq!(client(&identity, EDGE, &two), "192.0.2.2");
    assert_eq!(
        client(&identity, EDGE, &[("forwarded", "for=192.0.2.1")]),
        EDGE
    );
}

#[test]
fn forwarded_is_walked_back_if_it_is_the_one_that_is_read() {
    let identity = identity(|config| {
        config.client_from = ClientFrom::Forwarded;
        config.max_hops = 40;
    });
    let many = "for=10.0.0.2, ".repeat(40);
    for (value, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        (
            "for=192.0.2.66, for=\"[2001:db8::1]:4\";proto=http, for=10.0.0.9",
            "2001:db8::1",
        ),
        ("for=192.0.2.1, for=_hidden, for=10.0.0.9", "10.0.0.9"),
        ("for=192.0.2.1, for=_hidden", EDGE),
        ("for=192.0.2.1, proto=http", EDGE),
        ("for=192.0.2.1, for=\"", EDGE),
        (&format!("for=192.0.2.1, {many}"), "10.0.0.2"),
        (&format!("{many}for=192.0.2.1"), "192.0.2.1"),
    ] {
        assert_eq!(
            client(&identity, EDGE, &[("forwarded", value)]),
            expected,
            "{value}"
        );
    }
    let xff = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(client(&identity, EDGE, &xff), EDGE);
    let lines = [
        ("forwarded", "for=192.0.2.1"),
        ("forwarded", "for=192.0.2.2"),
    ];
    assert_eq!(client(&identity, EDGE, &lines), "192.0.2.2");
}

#[test]
fn neither_is_read_if_the_client_is_the_peer() {
    let identity = identity(|config| config.client_from = ClientFrom::Peer);
    let both = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    assert_eq!(client(&identity, EDGE, &both), EDGE);
}

#[test]
fn the_number_of_hops_of_forwarded_is_bounded() {
    let identity = identity(|config| {
        config.client_from = ClientFrom::Forwarded;
        config.max_hops = 2;
    });
    let line = [("forwarded", "for=10.0.0.4, for=10.0.0.3, for=10.0.0.2")];
    assert_eq!(client(&identity, EDGE, &line), "10.0.0.3");
}

#[test]
fn a_stranger_is_overwritten_in_every_mode() {
    let sent = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-port", "70"),
        ("x-forwarded-host", "evil.example"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x-forwarded_extra", "1"),
        ("x_real-ip", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("host", "a.example:8443"),
        ("x_own", "1"),
    ];
    let kept = [("host", "a.example:8443"), ("x_own", "1")];
    let ours = [
        ("x-forwarded-for", STRANGER),
        ("x-forwarded-host", "a.example:8443"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-proto", "https"),
    ];
    let node = "for=192.0.2.9;by=_me;proto=https;host=\"a.example:8443\"";
    for mode in [Mode::Append, Mode::Pass, Mode::Remove, Mode::Replace] {
        let identity = identity(|config| {
            (config.x_forwarded, config.forwarded) = (mode, mode);
            config.by = Some("_me".into());
        });
        let mut headers = headers(&sent);
        let discarded = identity.apply(&mut headers, &hop(&identity, STRANGER), Version::HTTP_11);
        assert_eq!(discarded, Some(Discarded::Untrusted));
        let mut expected = kept.to_vec();
        if matches!(mode, Mode::Append | Mode::Replace) {
            expected.extend(ours);
            expected.push(("forwarded", node));
        }
        expected.sort_unstable();
        assert_eq!(lines(&headers), expected, "{mode:?}");
    }
}

#[test]
fn each_field_of_a_stranger_is_counted_and_nothing_else_is() {
    let outcome = |mode, peer, name| {
        let identity = identity(|config| (config.x_forwarded, config.forwarded) = (mode, mode));
        let mut headers = headers(&[("host", "a"), (name, "for=1")]);
        identity.apply(&mut headers, &hop(&identity, peer), Version::HTTP_11)
    };
    for mode in [Mode::Append, Mode::Pass, Mode::Remove, Mode::Replace] {
        for name in [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-proto",
            "forwarded",
            "x-real-ip",
        ] {
            let discarded = outcome(mode, STRANGER, name);
            assert_eq!(discarded, Some(Discarded::Untrusted), "{mode:?} {name}");
            assert_eq!(outcome(mode, EDGE, name), None, "{mode:?} {name}");
        }
        assert_eq!(outcome(mode, STRANGER, "accept"), None);
        // No one writes these names but to deceive, or without knowing.
        for peer in [STRANGER, EDGE] {
            let discarded = outcome(mode, peer, "x_forwarded_for");
            assert_eq!(discarded, Some(Discarded::Untrusted));
        }
    }
}

#[test]
fn without_a_host_none_is_claimed_for_a_stranger() {
    let identity = identity(|_| {});
    let mut headers = headers(&[("x-forwarded-host", "evil.example")]);
    identity.apply(&mut headers, &hop(&identity, STRANGER), Version::HTTP_11);
    assert!(!headers.contains_key("x-forwarded-host"));
}

#[test]
fn each_mode_treats_a_trusted_peer_as_it_says() {
    let sent = [
        ("host", "a.example"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "b.example"),
        ("forwarded", "for=192.0.2.1"),
        ("forwarded", "for=192.0.2.2"),
        ("x-real-ip", "192.0.2.1"),
    ];
    let outcome = |mode| {
        let identity = identity(|config| (config.x_forwarded, config.forwarded) = (mode, mode));
        let mut headers = headers(&sent);
        let discarded = identity.apply(&mut headers, &hop(&identity, EDGE), Version::HTTP_11);
        assert_eq!(discarded, None);
        headers
    };
    let appended = outcome(Mode::Append);
    let expected = [
        (
            "forwarded",
            "for=192.0.2.1, for=192.0.2.2, for=10.0.0.1;proto=https;host=a.example",
        ),
        ("host", "a.example"),
        ("x-forwarded-for", "192.0.2.1, 192.0.2.2, 10.0.0.1"),
        ("x-forwarded-host", "b.example"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "192.0.2.1"),
    ];
    assert_eq!(lines(&appended), expected);
    assert_eq!(outcome(Mode::Pass), headers(&sent));
    let rest = [("host", "a.example"), ("x-real-ip", "192.0.2.1")];
    assert_eq!(lines(&outcome(Mode::Remove)), rest);
    let expected = [
        ("forwarded", "for=10.0.0.1;proto=https;host=a.example"),
        ("host", "a.example"),
        ("x-forwarded-for", EDGE),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "192.0.2.1"),
    ];
    assert_eq!(lines(&outcome(Mode::Replace)), expected);
}

#[test]
fn the_port_that_a_trusted_peer_says_is_kept() {
    let identity = identity(|_| {});
    let mut headers = headers(&[("x-forwarded-port", "444")]);
    identity.apply(&mut headers, &hop(&identity, EDGE), Version::HTTP_11);
    assert_eq!(headers["x-forwarded-port"], "444");
    assert_eq!(headers["x-forwarded-proto"], "https");
}

#[test]
fn without_a_host_forwarded_says_none() {
    let identity = identity(|config| config.forwarded = Mode::Append);
    let mut headers = headers(&[("forwarded", "for=192.0.2.1")]);
    identity.apply(&mut headers, &hop(&identity, "fd00::1"), Version::HTTP_11);
    assert_eq!(
        headers["forwarded"],
        "for=192.0.2.1, for=\"[fd00::1]\";proto=https"
    );
    assert!(!headers.contains_key("x-forwarded-host"));
}

#[test]
fn what_a_trusted_peer_writes_too_long_or_unreadable_is_taken_off() {
    let identity = identity(|config| config.forwarded = Mode::Append);
    let outcome = |name, value: &str| {
        let mut headers = headers(&[(name, value)]);
        let discarded = identity.apply(&mut headers, &hop(&identity, EDGE), Version::HTTP_11);
        (discarded, headers[name].to_str().unwrap().to_owned())
    };
    let own = "for=10.0.0.1;proto=https".to_owned();
    let long = "1".repeat(MAX_FIELD_BYTES);
    assert_eq!(
        outcome("x-forwarded-for", &long),
        (None, format!("{long}, 10.0.0.1"))
    );
    let longer = format!("{long}1");
    let too_long = (Some(Discarded::TooLong), EDGE.to_owned());
    assert_eq!(outcome("x-forwarded-for", &longer), too_long);
    let too_long = (Some(Discarded::TooLong), own.clone());
    assert_eq!(outcome("forwarded", &longer), too_long);
    let malformed = (Some(Discarded::Malformed), own);
    assert_eq!(outcome("forwarded", "for=\"192.0.2.1"), malformed);
}

#[test]
fn via_is_written_and_loops_are_seen() {
    let identity = identity(|config| config.via = Some("edge".into()));
    let mut headers = HeaderMap::new();
    let hop = hop(&identity, EDGE);
    identity.apply(&mut headers, &hop, Version::HTTP_2);
    identity.apply(&mut headers, &hop, Version::HTTP_10);
    assert_eq!(headers["via"], "2 edge, 1.0 edge");
    assert_eq!(identity.passes(&headers), 2);
    assert_eq!(Identity::new(config()).unwrap().passes(&headers), 0);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let refusal = |change: fn(&mut IdentityConfig)| {
        let mut config = config();
        change(&mut config);
        Identity::new(config).map(|_| ()).unwrap_err()
    };
    let by = refusal(|config| config.by = Some("me".into()));
    assert_eq!(by, IdentityError::By("me".into()));
    assert_eq!(
        refusal(|config| config.max_hops = 0),
        IdentityError::MaxHops
    );
    let via = refusal(|config| config.via = Some("a b".into()));
    assert!(via.to_string().starts_with("`a b` cannot stand"));
}

#[test]
fn a_hop_says_what_it_was_made_of() {
    let identity = identity(|_| {});
    let hop = hop(&identity, "::ffff:10.0.0.1");
    assert_eq!(hop.peer().to_string(), EDGE);
    assert_eq!(hop.scheme(), Scheme::Https);
    assert!(hop.is_trusted());
    let names = Discarded::ALL.map(Discarded::as_str);
    assert_eq!(
        names,
        [
            "identity-malformed",
            "identity-too-long",
            "identity-untrusted"
        ]
    );
    assert_eq!(
        (Scheme::Http.default_port(), Scheme::Https.default_port()),
        (80, 443)
    );
}

proptest! {
    /// Whatever stands left of the entry that a trusted peer wrote changes nothing.
    #[test]
    fn a_client_cannot_choose_its_address(claim in "[0-9a-f:., ]{0,50}", client_ip: [u8; 4]) {
        let real = IpAddr::from(client_ip);
        let identity = identity(|_| {});
        prop_assume!(!identity.trusts(real));
        let value = format!("{claim}, {real}");
        prop_assert_eq!(client(&identity, EDGE, &[("x-forwarded-for", &value)]), real.to_string());
    }

    #[test]
    fn what_is_written_is_believed_by_the_next(peer: IpAddr) {
        let identity = identity(|config| {
            config.forwarded = Mode::Append;
            config.trusted = Vec::new();
        });
        let mut headers = headers(&[("host", "a.example:1")]);
        let hop = identity.hop(peer, "203.0.113.1:80".parse().unwrap(), Scheme::Http);
        identity.apply(&mut headers, &hop, Version::HTTP_11);
        for client_from in [ClientFrom::Forwarded, ClientFrom::XForwardedFor] {
            let next = Identity::new(IdentityConfig { client_from, ..config() }).unwrap();
            let edge = next.hop(EDGE.parse().unwrap(), "203.0.113.1:80".parse().unwrap(), Scheme::Http);
            prop_assert_eq!(next.client_address(&edge, &headers), peer.to_canonical());
        }
    }
}
