use rustls::pki_types::ServerName;

use super::*;

#[tokio::test]
async fn a_backend_is_believed_for_its_name_and_authority_alone() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["app.internal", "127.0.0.1"]));
    let ours = backend(authority.client());
    let theirs = backend(Authority::new("other").client());
    let anybody = backend(BackendTlsConfig::danger_accept_any_certificate());
    for (client, name, believed) in [
        (&ours, "app.internal", true),
        (&ours, "127.0.0.1", true),
        (&ours, "other.internal", false),
        (&ours, "127.0.0.2", false),
        (&theirs, "app.internal", false),
        (&anybody, "other.internal", true),
    ] {
        let (_, connected) = meet(&tls, client, name).await;
        assert_eq!(connected.is_ok(), believed, "{name}");
        if let Err(error) = connected {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}

#[tokio::test]
async fn an_expired_backend_is_not_believed() {
    let authority = Authority::new("ca");
    let mut params = params(&["app.internal"]);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = authority.issue_as(params, &PKCS_ECDSA_P256_SHA256).load();
    let (_, connected) = meet(
        &serving(expired),
        &backend(authority.client()),
        "app.internal",
    )
    .await;
    let error = connected.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn sessions_are_resumed_unless_none_are_kept() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["app.internal"]));
    for (sessions, resumed) in [(256, true), (0, false)] {
        let client = backend(authority.client().sessions(sessions));
        assert!(!agreed(&tls, &client, "app.internal").await.resumed);
        assert_eq!(
            agreed(&tls, &client.clone(), "app.internal").await.resumed,
            resumed
        );
    }
}

#[test]
fn the_name_is_the_fixed_one_or_the_backends_or_the_hosts() {
    let roots = Authority::new("ca").roots();
    let free = backend(BackendTlsConfig::new(roots.clone()));
    for (own, host, name) in [
        (Some("own.example"), "host.example", "own.example"),
        (None, "host.example", "host.example"),
        (None, "host.example:8443", "host.example"),
        (None, "192.0.2.1:8443", "192.0.2.1"),
        (None, "[2001:db8::1]:8443", "2001:db8::1"),
        (None, "[2001:db8::1]", "2001:db8::1"),
    ] {
        let found = free.name_for(own, host).unwrap();
        assert_eq!(found, ServerName::try_from(name).unwrap());
    }
    for bad in ["", ":80", "a b", "[", "ex..ample"] {
        let error = free.name_for(None, bad).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
    }
    let fixed = "fixed.example".try_into().unwrap();
    let fixed = backend(BackendTlsConfig::new(roots).server_name(fixed));
    let found = fixed.name_for(Some("own.example"), "host.example").unwrap();
    assert_eq!(found.to_str(), "fixed.example");
}

#[tokio::test]
async fn nothing_but_http1_is_offered_unless_said() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["app.internal"]));
    let client = backend(BackendTlsConfig::new(authority.roots()));
    let shake = agreed(&tls, &client, "app.internal").await;
    assert_eq!(shake.alpn, Some(Alpn::Http1));
}
