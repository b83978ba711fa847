//! Sessions that go on without a signature, and those that do not after all.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

#[expect(dead_code, reason = "each test program uses its part of it")]
mod tls;

use std::sync::Arc;

use lb_keyserver::rustls::RemoteTls;
use lb_keyserver::{KeyKind, SignError};
use lbcore::connect::Accept;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1};
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tls::{Fault, Signer, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

/// A client that remembers its sessions.
fn client(site: &Site, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = tls::client_config(std::slice::from_ref(site), version, None);
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// A server that gives tickets, or keeps its sessions.
fn server(site: &Site, is_stateless: bool) -> ServerConfig {
    let mut config = tls::server_config(tls::provider(), site.remote());
    if is_stateless {
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    } else {
        config.session_storage = ServerSessionMemoryCache::new(8);
    }
    config
}

/// One connection, with a word each way; how both ends say that it began.
async fn visit(
    server: &RemoteTls<Signer>,
    client: &Arc<ClientConfig>,
) -> Option<(HandshakeKind, HandshakeKind)> {
    let (near, far) = duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::clone(client));
    let connect = connector.connect(tls::NAME.try_into().unwrap(), near);
    let (accepted, connected) = tokio::join!(server.accept(&[], far), connect);
    let (mut accepted, mut connected) = (accepted.ok()?, connected.ok()?);
    let mut word = [0; 4];
    accepted.write_all(b"pong").await.unwrap();
    connected.read_exact(&mut word).await.unwrap();
    connected.write_all(b"ping").await.unwrap();
    accepted.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
    let theirs = connected.get_ref().1.handshake_kind();
    accepted.get_ref().1.handshake_kind().zip(theirs)
}

const FULL: HandshakeKind = HandshakeKind::Full;
const RESUMED: HandshakeKind = HandshakeKind::Resumed;

#[tokio::test(start_paused = true)]
async fn a_resumed_session_takes_no_signature() {
    let site = Site::new(KeyKind::EcdsaP256);
    for version in [&TLS13, &TLS12] {
        for is_stateless in [true, false] {
            let config = Arc::new(server(&site, is_stateless));
            let server = RemoteTls::new(config, Signer::new([site.clone()]));
            let client = client(&site, version);
            assert_eq!(visit(&server, &client).await, Some((FULL, FULL)));
            for _ in 0..3 {
                assert_eq!(visit(&server, &client).await, Some((RESUMED, RESUMED)));
            }
            assert_eq!(server.signer().signed(), 1, "{version:?}, {is_stateless}");
            assert_eq!((server.stats().accepted, server.stats().asked), (4, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_resumed_when_nobody_signs_any_more() {
    let site = Site::new(KeyKind::EcdsaP256);
    let gone = || Signer::new([site.clone()]).fault(Fault::Refuses(SignError::NoServer));
    for version in [&TLS13, &TLS12] {
        let config = Arc::new(server(&site, true));
        let well = RemoteTls::new(Arc::clone(&config), Signer::new([site.clone()]));
        let known = client(&site, version);
        assert_eq!(visit(&well, &known).await, Some((FULL, FULL)));
        let alone = RemoteTls::new(config, gone());
        assert_eq!(visit(&alone, &known).await, Some((RESUMED, RESUMED)));
        assert_eq!(visit(&alone, &client(&site, version)).await, None);
        assert_eq!(visit(&alone, &known).await, Some((RESUMED, RESUMED)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_is_not_taken_leads_to_a_full_handshake() {
    let site = Site::new(KeyKind::EcdsaP256);
    for version in [&TLS13, &TLS12] {
        for is_stateless in [true, false] {
            let (first, second) = (server(&site, is_stateless), server(&site, is_stateless));
            let first = RemoteTls::new(Arc::new(first), Signer::new([site.clone()]));
            let second = RemoteTls::new(Arc::new(second), Signer::new([site.clone()]));
            let client = client(&site, version);
            assert_eq!(visit(&first, &client).await, Some((FULL, FULL)));
            assert_eq!(visit(&second, &client).await, Some((FULL, FULL)));
            assert_eq!(second.signer().signed(), 1);
            assert_eq!(visit(&second, &client).await, Some((RESUMED, RESUMED)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_after_a_retry_too() {
    let site = Site::new(KeyKind::EcdsaP256);
    let ticketer = aws_lc_rs::Ticketer::new().unwrap();
    // The client remembers the group of the first server, and the second wants another.
    let [first, second] = [SECP384R1, SECP256R1].map(|group| {
        let mut config = tls::server_config(tls::provider_of(group), site.remote());
        config.ticketer = Arc::clone(&ticketer);
        RemoteTls::new(Arc::new(config), Signer::new([site.clone()]))
    });
    let client = client(&site, &TLS13);
    let retried = HandshakeKind::FullWithHelloRetryRequest;
    assert_eq!(visit(&first, &client).await, Some((retried, retried)));
    let (ours, _) = visit(&second, &client).await.unwrap();
    assert_eq!(ours, RESUMED);
    assert_eq!(second.signer().signed(), 0);
}
