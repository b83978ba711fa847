//! TLS towards backends.

use super::*;
use crate::tls::{
    Alpn, BackendTls, BackendTlsConfig, Certificate, Certificates, Roots, Tls, TlsConfig,
};
use crate::upstream::{BackendProtocol, ChannelErrorKind, ProxiedAddresses};
use lbcore::connect::Accept;
use lbcore::proxy_protocol::Version;

/// A server for `app.internal`, and the roots by which it is believed.
fn server(alpn: &[Alpn]) -> (Tls, Roots) {
    let made = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    let certificate = Certificate::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    let config = TlsConfig::default().alpn(alpn);
    let tls = Tls::new(Certificates::new().with(certificate), config).unwrap();
    (tls, Roots::from_pem(pem.as_bytes()).unwrap())
}

fn client(roots: Roots, alpn: &[Alpn]) -> BackendTls {
    let name = "app.internal".try_into().unwrap();
    BackendTls::new(BackendTlsConfig::new(roots).alpn(alpn).server_name(name)).unwrap()
}

#[tokio::test]
async fn what_is_spoken_is_what_was_agreed_on() {
    use Alpn::{Http1, Http2};
    use BackendProtocol::Negotiated;
    let rows: [(_, &[Alpn], &[Alpn], _); 5] = [
        (
            Negotiated,
            &[Http2, Http1],
            &[Http2, Http1],
            http::Version::HTTP_2,
        ),
        (
            Negotiated,
            &[Http2, Http1],
            &[Http1],
            http::Version::HTTP_11,
        ),
        (Negotiated, &[Http2, Http1], &[], http::Version::HTTP_11),
        (
            BackendProtocol::Http1,
            &[Http1],
            &[Http2, Http1],
            http::Version::HTTP_11,
        ),
        (
            BackendProtocol::Http2,
            &[Http2],
            &[Http2, Http1],
            http::Version::HTTP_2,
        ),
    ];
    for (protocol, ours, theirs, version) in rows {
        let (tls, roots) = server(theirs);
        let mut rig = rig(small().protocol(protocol));
        rig.upstream = rig.upstream.tls(client(roots, ours));
        let upstream = rig.upstream.clone();
        let lease = rig.lease();
        let opening = upstream.open(0, clock::now(), &lease, Reuse::Any, None);
        let accepting = async {
            let far = rig.accepted.recv().await.unwrap();
            tls.accept(b"", far).await.unwrap()
        };
        let (channel, mut far) = tokio::join!(opening, accepting);
        let mut channel = channel.unwrap();
        assert_eq!(channel.version(), version, "{protocol:?} {theirs:?}");
        if version == http::Version::HTTP_2 {
            channel.send_head(&get(), BodyLength::Empty, None).unwrap();
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (request, _) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri(), "https://example.com/path?query");
        } else {
            ask(&mut channel).await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.unwrap());
            }
            far.write_all(OK.as_bytes()).await.unwrap();
            far.flush().await.unwrap();
            final_head(&mut channel).await;
            assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
            channel.release(clock::now());
            // The tickets that came with the handshake are no bytes of an answer.
            assert!(rig.open().await.is_reused());
        }
    }
}

#[tokio::test]
async fn a_backend_that_is_not_believed_is_at_fault_and_holds_no_place() {
    let (tls, _) = server(&[Alpn::Http1]);
    let (_, others) = server(&[Alpn::Http1]);
    let mut rig = rig(small());
    rig.upstream = rig.upstream.tls(client(others, &[Alpn::Http1]));
    let upstream = rig.upstream.clone();
    let lease = rig.lease();
    let opening = upstream.open(0, clock::now(), &lease, Reuse::Any, None);
    let accepting = async {
        let far = rig.accepted.recv().await.unwrap();
        tls.accept(b"", far).await.is_err()
    };
    let (opened, is_refused) = tokio::join!(opening, accepting);
    let error = opened.unwrap_err();
    assert!(is_refused);
    assert_eq!(
        (error.as_str(), error.is_backends_fault()),
        ("connect-tls", true)
    );
    assert_eq!((rig.stats().open, rig.stats().failed), (0, 1));
}

#[tokio::test]
async fn without_a_name_nobody_is_believed() {
    let (_, roots) = server(&[Alpn::Http1]);
    let nameless = BackendTls::new(BackendTlsConfig::new(roots)).unwrap();
    let mut rig = rig(small());
    rig.upstream = rig.upstream.tls(nameless);
    let error = rig.try_open(0, Reuse::Any).await.unwrap_err();
    assert_eq!(
        (error.as_str(), error.is_backends_fault()),
        ("connect-unsupported", false)
    );
}

#[tokio::test]
async fn the_proxy_header_is_not_encrypted_and_a_cut_answer_is_not_whole() {
    let (tls, roots) = server(&[Alpn::Http1]);
    let mut rig = rig(small().proxy_protocol(Some(Version::V1)));
    rig.upstream = rig.upstream.tls(client(roots, &[Alpn::Http1]));
    let upstream = rig.upstream.clone();
    let lease = rig.lease();
    let ends = ProxiedAddresses::new(
        "192.0.2.1:1".parse().unwrap(),
        "192.0.2.2:2".parse().unwrap(),
    );
    let opening = upstream.open(0, clock::now(), &lease, Reuse::Any, Some(ends));
    let accepting = async {
        let mut far = rig.accepted.recv().await.unwrap();
        let mut line = [0; 36];
        far.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
        tls.accept(b"", far).await.unwrap()
    };
    let (channel, mut far) = tokio::join!(opening, accepting);
    let mut channel = channel.unwrap();
    ask(&mut channel).await;
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        .await
        .unwrap();
    far.flush().await.unwrap();
    // The end of the stream without the end of TLS (RFC 8446, 6.1).
    drop(far);
    final_head(&mut channel).await;
    let error = content(&mut channel).await.unwrap_err();
    assert_eq!(
        error.kind,
        ChannelErrorKind::Io(io::ErrorKind::UnexpectedEof)
    );
}
