//! Whom a server lets in.

use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::quota::QuotaExceeded;
use lb_keyserver::quota::{Limits, Rate};
use lb_keyserver::server::{KeyServerConfig, Refusal, Rejection};
use lb_keyserver::store::MemoryStore;
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{Mode, MutualTls, Scheme};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answered, Client, SOON};
use crate::world::{Authority, p256, public};
use crate::{Running, access, config, count, everybody};

/// A client that is refused may learn of it only as it reads (RFC 8446, 2).
async fn is_refused(server: &Running, tls: &MutualTls, mode: Mode) -> bool {
    match Client::connect(server.address, tls, mode).await {
        Ok(mut client) => !client.is_served().await,
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let server = Running::of(MemoryStore::new()).await;
    let other = Authority::new();
    let stranger = other.sign_and_believe(other.node_params(1), &server.authority);
    assert!(is_refused(&server, &stranger, Mode::Bound).await);
    assert_eq!(count(server.handle.stats().rejected(), Rejection::Tls), 1);
    assert!(server.client().await.is_served().await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let server = Running::of(MemoryStore::new()).await;
    let mut params = server.authority.node_params(1);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let expired = server.authority.sign(params);
    assert!(is_refused(&server, &expired, Mode::Bound).await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_for_clients_is_refused() {
    let server = Running::of(MemoryStore::new()).await;
    let mut params = server.authority.node_params(1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let wrong = server.authority.sign(params);
    assert!(is_refused(&server, &wrong, Mode::Bound).await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let server = Running::of(MemoryStore::new()).await;
    let node = server.authority.node(1);
    let mut config = Arc::unwrap_or_clone(node.client_config(Mode::Bound));
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let client = Client::connect_with(server.address, config.into(), Mode::Bound).await;
    let is_refused = match client {
        Ok(mut client) => !client.is_served().await,
        Err(_) => true,
    };
    assert!(is_refused);
    server.shut_down().await;
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_client_that_no_rule_speaks_of_is_refused() {
    let rule = everybody();
    let server = Running::with(MemoryStore::new(), access([rule]), config()).await;
    let mut params = server.authority.node_params(1);
    params.subject_alt_names = vec![];
    let nobody = server.authority.sign(params);
    assert!(is_refused(&server, &nobody, Mode::Bound).await);
    assert_eq!(
        count(server.handle.stats().rejected(), Rejection::Denied),
        1
    );
    server.shut_down().await;
}

#[tokio::test]
async fn plain_is_spoken_only_where_the_server_offers_it() {
    let config = KeyServerConfig::default().signers(1);
    let server = Running::with(MemoryStore::new(), access([everybody()]), config).await;
    let node = server.authority.node(1);
    assert!(is_refused(&server, &node, Mode::Plain).await);
    assert_eq!(count(server.handle.stats().rejected(), Rejection::Mode), 1);
    assert!(!is_refused(&server, &node, Mode::Bound).await);
    assert!(!is_refused(&server, &node, Mode::Strict).await);
    server.shut_down().await;
}

#[tokio::test]
async fn plain_is_spoken_only_with_clients_that_may() {
    let bound = everybody().least_mode(Mode::Bound);
    let server = Running::with(MemoryStore::new(), access([bound]), config()).await;
    let node = server.authority.node(1);
    assert!(is_refused(&server, &node, Mode::Plain).await);
    assert_eq!(
        count(server.handle.stats().rejected(), Rejection::Denied),
        1
    );
    assert!(!is_refused(&server, &node, Mode::Bound).await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_server_agrees_to_what_the_client_offers() {
    let server = Running::of(MemoryStore::new()).await;
    for mode in Mode::ALL {
        let mut client = server.client_as(1, mode).await;
        assert_eq!(
            Mode::agreed(client.stream.get_ref().1.alpn_protocol()),
            Some(mode)
        );
        assert!(client.is_served().await);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn old_peers_speak_tls_1_2_with_the_suites_that_they_have() {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

    let server = Running::of(MemoryStore::new()).await;
    let config = server.authority.node(1).client_config(Mode::Plain);
    let mut provider = (**config.crypto_provider()).clone();
    provider.cipher_suites = vec![
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS13_AES_128_GCM_SHA256,
    ];
    let resolver = config.client_auth_cert_resolver.clone();
    let verifier = server.authority.verifier();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(resolver);
    let client = Client::connect_with(server.address, config.into(), Mode::Plain).await;
    let mut client = client.unwrap();
    let (_, tls) = client.stream.get_ref();
    assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(client.is_served().await);
    server.shut_down().await;
}

#[tokio::test]
async fn what_one_client_has_used_up_another_still_has() {
    let key = p256();
    let once = Limits::default().per_identity(Rate::new(1, 1));
    let store = MemoryStore::new().with_shared_key(key.clone());
    let server = Running::with(store, access([everybody().limits(once)]), config()).await;
    let key = public(&*key);
    let mut first = server.client_as(1, Mode::Bound).await;
    first.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    assert!(matches!(
        first.answer().await.unwrap(),
        (1, Answered::Signature(_))
    ));
    // Its other connections are on the same account. A second may pass on a slow machine.
    let mut again = server.client_as(1, Mode::Bound).await;
    let mut refused = 0;
    for id in 0..8 {
        again.ask(id, &key, Scheme::EcdsaP256Sha256).await;
        let (_, answered) = again.answer().await.unwrap();
        refused += u64::from(answered == Answered::Refused(ErrorCode::Internal));
    }
    assert!(refused > 0);
    let mut second = server.client_as(2, Mode::Bound).await;
    second.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    assert!(matches!(
        second.answer().await.unwrap(),
        (1, Answered::Signature(_))
    ));
    let limited = Refusal::Limited(QuotaExceeded::IdentityRate);
    assert_eq!(count(server.handle.stats().refused(), limited), refused);
    server.shut_down().await;
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_others_have_theirs() {
    let two = config().connections_per_identity(2);
    let server = Running::with(MemoryStore::new(), access([everybody()]), two).await;
    let node = server.authority.node(1);
    let mut first = server.connect(&node, Mode::Bound).await;
    let mut second = server.connect(&node, Mode::Bound).await;
    assert!(first.is_served().await && second.is_served().await);
    assert!(is_refused(&server, &node, Mode::Bound).await);
    assert_eq!(
        count(
            server.handle.stats().rejected(),
            Rejection::TooManyOfIdentity
        ),
        1
    );
    assert!(!is_refused(&server, &server.authority.node(2), Mode::Bound).await);
    server.shut_down().await;
}

#[tokio::test]
async fn beyond_so_many_connections_nobody_is_let_in() {
    let one = config().connections(1);
    let server = Running::with(MemoryStore::new(), access([everybody()]), one).await;
    let mut first = server.client().await;
    assert!(first.is_served().await);
    assert!(is_refused(&server, &server.authority.node(2), Mode::Bound).await);
    assert_eq!(
        count(server.handle.stats().rejected(), Rejection::TooMany),
        1
    );
    assert!(first.is_served().await);
    server.shut_down().await;
}

/// What a client hears that says nothing itself.
async fn silence(server: &Running) -> std::io::Result<usize> {
    let mut silent = TcpStream::connect(server.address).await?;
    timeout(SOON, silent.read(&mut [0])).await?
}

#[tokio::test]
async fn who_does_not_begin_its_handshake_is_let_go() {
    let soon = config().handshake_timeout(Duration::from_millis(100));
    let server = Running::with(MemoryStore::new(), access([everybody()]), soon).await;
    assert_eq!(silence(&server).await.unwrap(), 0);
    assert_eq!(
        count(server.handle.stats().rejected(), Rejection::Timeout),
        1
    );
    assert_eq!(server.handle.stats().now.handshakes, 0);
    server.shut_down().await;
}

#[tokio::test]
async fn one_address_does_not_take_all_handshakes() {
    let one = config().handshakes_per_address(1);
    let server = Running::with(MemoryStore::new(), access([everybody()]), one).await;
    let first = TcpStream::connect(server.address).await.unwrap();
    while server.handle.stats().now.handshakes == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(silence(&server).await, Ok(0) | Err(_)));
    let of_address = Rejection::TooManyOfAddress;
    assert_eq!(count(server.handle.stats().rejected(), of_address), 1);
    drop(first);
    while server.handle.stats().now.handshakes != 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.client().await.is_served().await);
    server.shut_down().await;
}
