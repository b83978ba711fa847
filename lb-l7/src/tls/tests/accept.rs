use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use lbcore::connect::Accept;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

#[tokio::test]
async fn a_handshake_says_what_it_settled() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));
    let shake = agreed(&tls, &backend(authority.client()), "SHOP.example").await;
    assert_eq!(shake.server_name.as_deref(), Some("shop.example"));
    assert_eq!(shake.alpn, Some(Alpn::Http2));
    assert_eq!(shake.version, "TLSv1.3");
    assert_eq!(shake.cipher, "TLS_AES_256_GCM_SHA384");
    assert_eq!(shake.group, Some("X25519MLKEM768"));
    assert!(shake.client_certificate.is_none());
    assert!(!shake.resumed);
}

#[tokio::test]
async fn the_order_of_protocols_is_the_servers() {
    let authority = Authority::new("ca");
    let shop = authority.certificate(&["shop.example"]);
    for (offered, agreed_on) in [
        (vec![Alpn::Http1, Alpn::Http2], Some(Alpn::Http2)),
        (vec![Alpn::Http1], Some(Alpn::Http1)),
        (vec![], None),
    ] {
        let tls = serving(shop.clone());
        let client = backend(authority.client().alpn(offered));
        let (served, connected) = meet(&tls, &client, "shop.example").await;
        assert_eq!(Handshake::of(&served.unwrap()).alpn, agreed_on);
        assert_eq!(Alpn::of_backend(&connected.unwrap()), agreed_on);
    }
    let only_h2 = TlsConfig::default().alpn([Alpn::Http2]);
    let tls = Tls::new(Certificates::new().with(shop), only_h2).unwrap();
    let client = backend(authority.client().alpn([Alpn::Http1]));
    let refusal = refused(&tls, &client, "shop.example").await;
    assert_eq!(refusal, Refusal::NoSharedAlpn);
}

#[tokio::test]
async fn who_speaks_http_gets_his_connection_back_and_a_400_from_accept() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));

    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut refused = tls.handshake(far).await.unwrap_err();
    assert_eq!(refused.error.as_str(), "plain-http");
    refused.raw.write_all(b"x").await.unwrap();
    let mut only = [0; 8];
    assert_eq!(
        near.read(&mut only).await.unwrap(),
        1,
        "nothing was before it"
    );

    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"Z").await.unwrap();
    let error = tls.accept(b"", far).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::PlainHttp);
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_gets_nothing() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));
    for first in [b'@', b'[', b'a', 0x80, 0, 21, 23] {
        let (mut near, far) = tokio::io::duplex(1024);
        near.write_all(&[first]).await.unwrap();
        let error = tls.accept(b"", far).await.unwrap_err();
        assert_eq!(error.refusal(), Refusal::NotTls, "{first}");
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }
}

#[tokio::test]
async fn broken_tls_gets_an_alert_and_silence_gets_nothing() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));

    // A ClientHello of nothing, and one of more than 64 KiB, which rustls has no alert for.
    let (empty, long) = (
        b"\x16\x03\x01\0\x04\x01\0\0\0",
        b"\x16\x03\x01\0\x04\x01\x01\0\0",
    );
    for (hello, alerts) in [(empty, true), (long, false)] {
        let (mut near, far) = tokio::io::duplex(1024);
        near.write_all(hello).await.unwrap();
        let error = tls.accept(b"", far).await.unwrap_err();
        assert_eq!(error.refusal(), Refusal::Malformed);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), alerts.then_some(&21));
    }

    let (near, far) = tokio::io::duplex(1024);
    drop(near);
    let error = tls.accept(b"", far).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Closed);
}

/// A connection that fails as it is read.
#[derive(Debug)]
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_connection_that_fails_is_refused_as_such() {
    let tls = serving(Authority::new("ca").certificate(&["shop.example"]));
    let error = tls.accept(b"", Failing).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Io);
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte() {
    let authority = Authority::new("ca");
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let client = backend(authority.client());
    let name = client.name_for(None, "shop.example").unwrap();
    let mut hello = Vec::with_capacity(1 << 14);
    tokio::select! {
        biased;
        _ = client.connect(near, &name) => unreachable!("nobody answers"),
        read = far.read_buf(&mut hello) => assert!(read.unwrap() > 1000),
    }
    let (mut near, far) = tokio::io::duplex(1);
    let (written, read) = tokio::join!(near.write_all(&hello), read_hello(far));
    written.unwrap();
    let hello = read.unwrap();
    assert_eq!(hello.client_hello().server_name(), Some("shop.example"));
}

#[tokio::test]
async fn a_clients_hello_finds_its_configuration() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = backend(authority.client());
    let name = client.name_for(None, "shop.example").unwrap();
    let serve = async {
        let hello = read_hello(far).await.unwrap();
        let config = tls.server_config(&hello.client_hello()).unwrap();
        assert_eq!(config.max_early_data_size, 0);
        assert_eq!(config.send_tls13_tickets, 2);
        hello.into_stream(config).await.unwrap()
    };
    let (served, connected) = tokio::join!(serve, client.connect(near, &name));
    connected.unwrap();
    assert_eq!(
        Handshake::of(&served).server_name.as_deref(),
        Some("shop.example")
    );
}

#[tokio::test]
async fn a_client_that_leaves_within_the_handshake_closed_it() {
    let authority = Authority::new("ca");
    let tls = serving(authority.certificate(&["shop.example"]));
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = backend(authority.client());
    let name = client.name_for(None, "shop.example").unwrap();
    let leave = async {
        let mut connect = Box::pin(client.connect(near, &name));
        // One poll writes the ClientHello.
        std::future::poll_fn(|cx| {
            assert!(connect.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    };
    let (served, ()) = tokio::join!(tls.handshake(far), leave);
    assert_eq!(served.unwrap_err().error.refusal(), Refusal::Closed);
}

#[tokio::test]
async fn an_unknown_name_gets_the_default_unless_that_is_forbidden() {
    let authority = Authority::new("ca");
    let (a, b) = (
        authority.certificate(&["a.example"]),
        authority.certificate(&["b.example"]),
    );
    let client = backend(BackendTlsConfig::danger_accept_any_certificate().sessions(0));
    let both = || Certificates::new().with(a.clone());
    let tls = Tls::new(both().with(b.clone()), TlsConfig::default()).unwrap();
    assert_eq!(shown(&tls, &client, "b.example").await, der(&b));
    assert_eq!(shown(&tls, &client, "c.example").await, der(&a));
    assert_eq!(
        shown(&tls, &client, "127.0.0.1").await,
        der(&a),
        "no name at all"
    );

    tls.update(both().default_for_others(b.clone())).unwrap();
    assert_eq!(shown(&tls, &client, "a.example").await, der(&a));
    assert_eq!(shown(&tls, &client, "c.example").await, der(&b));

    tls.update(both().strict()).unwrap();
    assert_eq!(shown(&tls, &client, "a.example").await, der(&a));
    for unknown in ["b.example", "127.0.0.1"] {
        let (served, connected) = meet(&tls, &client, unknown).await;
        assert_eq!(served.unwrap_err().error.refusal(), Refusal::UnknownName);
        let told = connected.unwrap_err().to_string();
        assert!(told.contains("UnrecognisedName"), "{told}");
    }

    tls.update(Certificates::new()).unwrap();
    let refusal = refused(&tls, &client, "a.example").await;
    assert_eq!(refusal, Refusal::NoCertificate);
}

#[tokio::test]
async fn a_client_that_does_not_believe_us_refuses() {
    let tls = serving(Authority::new("ca").certificate(&["shop.example"]));
    let client = backend(Authority::new("other").client());
    let (served, connected) = meet(&tls, &client, "shop.example").await;
    assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::InvalidData);
    // The server learns it after its own handshake is done, or within: both are the client's word.
    let refusal = served.unwrap_err().error.refusal();
    assert_eq!(refusal, Refusal::RefusedByClient);
}

#[derive(Debug)]
struct Elsewhere(Certificate);

impl rustls::server::ResolvesServerCert for Elsewhere {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.certified_key()))
    }
}

#[tokio::test]
async fn certificates_may_come_from_elsewhere() {
    let authority = Authority::new("ca");
    let shop = authority.certificate(&["shop.example"]);
    let resolver = Arc::new(Elsewhere(shop.clone()));
    let tls = Tls::resolver(resolver.clone(), TlsConfig::default()).unwrap();
    let client = backend(authority.client());
    assert!(tls.certificates().is_none());
    assert_eq!(shown(&tls, &client, "shop.example").await, der(&shop));
    assert!(agreed(&tls, &client, "shop.example").await.resumed);

    let policy = TlsPolicy::default();
    let config = rustls::ServerConfig::builder_with_provider(policy.provider().clone())
        .with_protocol_versions(policy.protocol_versions())
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let tls = Tls::with_config(config.into());
    let client = backend(authority.client());
    assert_eq!(shown(&tls, &client, "shop.example").await, der(&shop));
    assert!(tls.ticket_keys().is_none());
    assert_eq!(agreed(&tls, &client, "shop.example").await.alpn, None);
}

/// Every handshake under way while certificates change ends, with the one or the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_swapped_under_handshakes_and_open_connections() {
    let authority = Authority::new("ca");
    let certificates = [0, 1].map(|_| authority.certificate(&["shop.example"]));
    let tls = Arc::new(serving(certificates[0].clone()));
    let client = backend(authority.client().sessions(0));

    let (served, connected) = meet(&tls, &client, "shop.example").await;
    let (mut served, mut connected) = (served.unwrap(), connected.unwrap());

    let mut handshakes = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (tls, client) = (Arc::clone(&tls), client.clone());
        handshakes.spawn(async move {
            let mut seen = HashSet::new();
            for _ in 0..60 {
                seen.insert(shown(&tls, &client, "shop.example").await);
                tokio::task::yield_now().await;
            }
            seen
        });
    }
    let mut turns = 0;
    let swap = async {
        for certificate in certificates.iter().cycle() {
            tls.update(Certificates::new().with(certificate.clone()))
                .unwrap();
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::select! {
        seen = handshakes.join_all() => seen.into_iter().flatten().collect::<HashSet<_>>(),
        () = swap => unreachable!("it has no end"),
    };
    assert_eq!(seen, certificates.iter().map(der).collect());
    assert!(turns > 50, "only {turns} swaps");

    served.write_all(b"still here").await.unwrap();
    served.flush().await.unwrap();
    let mut told = [0; 10];
    connected.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"still here");
}

#[test]
fn every_refusal_has_a_name_of_its_own() {
    let names: HashSet<_> = Refusal::ALL.iter().map(|one| one.as_str()).collect();
    assert_eq!(names.len(), Refusal::ALL.len());
    assert!(Refusal::ALL.is_sorted_by_key(|one| one.as_str()));
    for name in names {
        assert!(
            name.bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
        );
    }
    let error = AcceptError::from(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(error.refusal(), Refusal::Closed);
    assert_eq!(error.to_string(), "TLS handshake refused: closed");
    let error = AcceptError::from(io::Error::from(io::ErrorKind::OutOfMemory));
    assert_eq!(error.refusal(), Refusal::Io);
}

#[test]
fn faults_are_laid_at_the_right_door() {
    use rustls::{AlertDescription, Error, PeerIncompatible, PeerMisbehaved};
    for (error, refusal) in [
        (Error::General(String::new()), Refusal::ServerFault),
        (Error::FailedToGetRandomBytes, Refusal::ServerFault),
        (
            Error::AlertReceived(AlertDescription::CloseNotify),
            Refusal::Closed,
        ),
        (
            Error::AlertReceived(AlertDescription::UserCanceled),
            Refusal::Closed,
        ),
        (
            Error::AlertReceived(AlertDescription::UnknownCA),
            Refusal::RefusedByClient,
        ),
        (Error::DecryptError, Refusal::Malformed),
        (
            PeerMisbehaved::TooMuchEarlyDataReceived.into(),
            Refusal::Malformed,
        ),
        (
            PeerIncompatible::NullCompressionRequired.into(),
            Refusal::Malformed,
        ),
    ] {
        let by_io = AcceptError::from(io::Error::other(error.clone()));
        assert_eq!(by_io.refusal(), refusal, "{error}");
        assert!(std::error::Error::source(&by_io).is_some());
        assert_eq!(AcceptError::from(error).refusal(), refusal);
    }
}
