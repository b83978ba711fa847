use super::*;

const ECDHE_GCM: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];
const OF_1_3: [&str; 3] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const CHACHA: [&str; 2] = [
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

#[test]
fn each_name_gives_what_is_documented() {
    let table = [
        (
            "modern",
            &["TLSv1.3", "TLSv1.2"][..],
            [&OF_1_3[..], &ECDHE_GCM, &CHACHA].concat(),
        ),
        ("tls_cipher_policy_1_2", &["TLSv1.2"], ECDHE_GCM.to_vec()),
        (
            "tls_cipher_policy_1_2_strict",
            &["TLSv1.2"],
            ECDHE_GCM.to_vec(),
        ),
        (
            "tls_cipher_policy_1_2_strict_with_1_3",
            &["TLSv1.3", "TLSv1.2"],
            [&OF_1_3[..], &ECDHE_GCM].concat(),
        ),
    ];
    assert_eq!(table.each_ref().map(|row| row.0), TlsPolicy::NAMES);
    for (name, versions, suites) in table {
        let policy = TlsPolicy::named(name).unwrap();
        assert_eq!(policy.name(), name);
        assert_eq!(policy.versions().collect::<Vec<_>>(), versions);
        assert_eq!(policy.cipher_suites().collect::<Vec<_>>(), suites);
        let groups = &policy.provider().kx_groups;
        let first = groups[0].name();
        assert_eq!(
            first == rustls::NamedGroup::X25519MLKEM768,
            name == "modern"
        );
    }
    assert_eq!(TlsPolicy::default().name(), "modern");
}

#[test]
fn versions_that_are_broken_are_refused_with_a_reason() {
    for (name, version) in [
        ("tls_cipher_policy_1_0", "1.0"),
        ("tls_cipher_policy_1_1", "1.1"),
    ] {
        let error = TlsPolicy::named(name).unwrap_err();
        assert_eq!(error, PolicyError::TooOld(name, version));
        let said = error.to_string();
        assert!(said.starts_with(&format!("{name} allows TLS {version}, which RFC 8996")));
        assert!(
            said.ends_with("use tls_cipher_policy_1_2 or newer"),
            "{said}"
        );
    }
    let error = TlsPolicy::named("MODERN").unwrap_err();
    assert_eq!(error, PolicyError::Unknown("MODERN".to_owned()));
    assert!(
        error
            .to_string()
            .contains("modern, tls_cipher_policy_1_2, ")
    );
}

#[test]
fn another_provider_computes_under_the_same_name() {
    let policy = TlsPolicy::modern().map_provider(|provider| {
        let mut provider = provider.clone();
        provider.cipher_suites.truncate(1);
        provider
    });
    assert_eq!(policy.name(), "modern");
    assert_eq!(policy.cipher_suites().collect::<Vec<_>>(), OF_1_3[..1]);
}

#[tokio::test]
async fn versions_that_are_not_shared_are_refused_as_such() {
    let authority = Authority::new("ca");
    let policy = TlsPolicy::named("tls_cipher_policy_1_2").unwrap();
    let config = TlsConfig::default().policy(policy);
    let shop = authority.certificate(&["shop.example"]);
    let tls = Tls::new(Certificates::new().with(shop), config).unwrap();
    let shake = agreed(&tls, &backend(authority.client()), "shop.example").await;
    assert_eq!(shake.version, "TLSv1.2");
    assert!(shake.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_AES_"));

    let config =
        rustls::ClientConfig::builder_with_provider(TlsPolicy::modern().provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(authority.roots().store())
            .with_no_client_auth();
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "shop.example".try_into().unwrap();
    let (served, connected) = tokio::join!(tls.handshake(far), connector.connect(name, near));
    assert_eq!(
        served.unwrap_err().error.refusal(),
        Refusal::NoSharedVersion
    );
    connected.unwrap_err();
}
