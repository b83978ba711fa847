//! `RemoteTls`, over pipes in memory and under a clock that stands.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice::from_ref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_keyserver::rustls::{Handshake, HandshakeLimits, RemoteTls, RemoteTlsError};
use lb_keyserver::{KeyKind, RemoteSigner, SignError, SignRequest, Signing};
use lbcore::connect::Accept;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream;

use crate::tls::{self, Fault, Rotating, Signer, Site};

type Both = (
    Result<TlsStream<DuplexStream>, RemoteTlsError>,
    io::Result<ClientStream<DuplexStream>>,
);

fn listener(site: &Site, signer: Signer) -> RemoteTls<Signer> {
    let config = tls::server_config(tls::provider(), site.remote());
    RemoteTls::new(Arc::new(config), signer)
}

async fn meet<S: RemoteSigner>(server: &RemoteTls<S>, client: ClientConfig, name: &str) -> Both {
    let (near, far) = duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(client));
    let name = name.to_owned().try_into().unwrap();
    tokio::join!(server.accept(&[], far), connector.connect(name, near))
}

/// What a client was told.
fn alert<T>(told: io::Result<T>) -> Option<AlertDescription> {
    match told.err()?.downcast::<Error>() {
        Ok(Error::AlertReceived(alert)) => Some(alert),
        _ => None,
    }
}

/// How often a refusal of that name was counted; nothing else may have been.
fn refusals<S: RemoteSigner>(server: &RemoteTls<S>, reason: &str) -> u64 {
    let refused = server.stats().refused;
    let others = refused.iter().filter(|(name, _)| *name != reason);
    assert_eq!(others.map(|(_, count)| count).sum::<u64>(), 0);
    let count = refused.iter().find(|(name, _)| *name == reason);
    count.unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_client_talks_through_what_was_accepted() {
    let site = Site::new(KeyKind::EcdsaP256);
    let server = listener(&site, Signer::new([site.clone()]));
    for version in [&TLS13, &TLS12] {
        let client = tls::client_config(from_ref(&site), version, None);
        let (accepted, connected) = meet(&server, client, tls::NAME).await;
        let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
        let mut word = [0; 4];
        connected.write_all(b"ping").await.unwrap();
        accepted.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");
        accepted.write_all(b"pong").await.unwrap();
        connected.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"pong");
    }
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.asked, stats.answered), (2, 2, 2));
    assert_eq!(server.signer().signed(), 2);
    assert_eq!(refusals(&server, "tls"), 0);
}

/// Keeps what it was asked, and refuses.
#[derive(Debug, Default)]
struct Noting(Mutex<Vec<SignRequest>>);

impl RemoteSigner for Noting {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        self.0.lock().unwrap().push(request);
        Box::pin(async { Err(SignError::NoServer) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_signer_is_told_of_the_client_and_how_long_it_can_wait() {
    let site = Site::new(KeyKind::EcdsaP256);
    let seconds = Duration::from_secs;
    let client: IpAddr = "192.0.2.7".parse().unwrap();
    for (limits, delay, within) in [
        (HandshakeLimits::default(), 0, 2),
        (HandshakeLimits::default().within(seconds(5)), 4, 1),
    ] {
        let config = Arc::new(tls::server_config(tls::provider(), site.remote()));
        let server = RemoteTls::new(config, Noting::default()).limits(limits);
        let mut hello = tls::client(tls::client_config(from_ref(&site), &TLS13, None));
        let hello = crate::pipe::output(&mut hello);
        let (mut near, far) = duplex(64 * 1024);
        let send = async {
            tokio::time::sleep(seconds(delay)).await;
            near.write_all(&hello).await.unwrap();
        };
        let (done, ()) = tokio::join!(server.handshake(far, Some(client)), send);
        assert_eq!(done.unwrap_err().as_str(), "sign-no-server");
        let asked = server.signer().0.lock().unwrap();
        let [request] = &asked[..] else {
            panic!("{asked:?}");
        };
        assert_eq!(request.client, Some(client));
        assert_eq!(request.within, seconds(within));
        assert_eq!(request.server_name.as_deref(), Some(tls::NAME));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_breaks_off_at_a_wrong_signature() {
    let site = Site::new(KeyKind::EcdsaP256);
    let signer = Signer::new([site.clone()]).fault(Fault::Wrong);
    let server = listener(&site, signer);
    let client = tls::client_config(&[site], &TLS13, None);
    let (accepted, connected) = meet(&server, client, tls::NAME).await;
    assert!(connected.is_err());
    let error = accepted.unwrap_err();
    let expected = Error::AlertReceived(AlertDescription::DecryptError);
    assert!(
        matches!(&error, RemoteTlsError::Tls(found) if *found == expected),
        "{error}"
    );
    assert_eq!(refusals(&server, "tls"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_signature_the_client_is_told_at_once() {
    let site = Site::new(KeyKind::EcdsaP256);
    let sites = [site.clone()];
    for retries in [false, true] {
        let signer = Signer::new(sites.clone()).fault(Fault::Refuses(SignError::NoServer));
        let provider = if retries {
            tls::retrying_provider()
        } else {
            tls::provider()
        };
        let config = tls::server_config(provider, site.remote());
        let server = RemoteTls::new(Arc::new(config), signer);
        for version in [&TLS13, &TLS12] {
            let begun = Instant::now();
            let client = tls::client_config(&sites, version, None);
            let (accepted, connected) = meet(&server, client, tls::NAME).await;
            assert_eq!(alert(connected), Some(AlertDescription::InternalError));
            let error = accepted.unwrap_err();
            assert!(
                matches!(error, RemoteTlsError::Sign(SignError::NoServer)),
                "{error}"
            );
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
        assert_eq!(refusals(&server, "sign-no-server"), 2);
        assert_eq!((server.stats().asked, server.stats().answered), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_never_comes_is_waited_for_as_long_as_it_may_take() {
    let site = Site::new(KeyKind::EcdsaP256);
    for (limits, waited) in [
        (HandshakeLimits::default(), 2),
        (
            HandshakeLimits::default().sign_within(Duration::from_secs(5)),
            5,
        ),
    ] {
        let signer = Signer::new([site.clone()]).fault(Fault::Silent);
        let server = listener(&site, signer).limits(limits);
        let client = tls::client_config(from_ref(&site), &TLS13, None);
        let begun = Instant::now();
        let (accepted, connected) = meet(&server, client, tls::NAME).await;
        assert_eq!(begun.elapsed().as_secs(), waited);
        assert_eq!(alert(connected), Some(AlertDescription::InternalError));
        let error = accepted.unwrap_err();
        assert!(
            matches!(error, RemoteTlsError::Sign(SignError::Late)),
            "{error}"
        );
        assert_eq!(refusals(&server, "sign-late"), 1);
        assert_eq!(server.waiting(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_waited_for_as_long_as_a_handshake_may_take() {
    let site = Site::new(KeyKind::EcdsaP256);
    let within = HandshakeLimits::default().within(Duration::from_secs(3));
    let server = listener(&site, Signer::new([site.clone()])).limits(within);
    let (_near, far) = duplex(1024);
    let begun = Instant::now();
    let error = server.accept(&[], far).await.unwrap_err();
    assert!(matches!(error, RemoteTlsError::Late), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(refusals(&server, "late"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_client_that_leaves_is_no_fault_of_tls() {
    let site = Site::new(KeyKind::EcdsaP256);
    let server = listener(&site, Signer::new([site.clone()]));
    let (near, far) = duplex(1024);
    drop(near);
    let error = server.accept(&[], far).await.unwrap_err();
    assert!(matches!(error, RemoteTlsError::Closed), "{error}");
    assert_eq!(refusals(&server, "closed"), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_more_may_wait_the_next_is_refused_and_the_others_are_not() {
    let site = Site::new(KeyKind::EcdsaP256);
    let signer = Signer::new([site.clone()]).delay(Duration::from_secs(1));
    let limits = HandshakeLimits::default().waiting(2);
    let server = Arc::new(listener(&site, signer).limits(limits));
    let mut meetings = Vec::new();
    for _ in 0..3 {
        let (server, site) = (Arc::clone(&server), site.clone());
        meetings.push(tokio::spawn(async move {
            let client = tls::client_config(&[site], &TLS13, None);
            let begun = Instant::now();
            let (accepted, connected) = meet(&server, client, tls::NAME).await;
            (
                accepted.map(drop),
                alert(connected),
                begun.elapsed().as_secs(),
            )
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.waiting(), 2);
    let mut refused = 0;
    for meeting in meetings {
        match meeting.await.unwrap() {
            (Ok(()), None, seconds) => assert_eq!(seconds, 1),
            (Err(RemoteTlsError::Sign(SignError::Busy)), alert, seconds) => {
                refused += 1;
                assert_eq!((alert, seconds), (Some(AlertDescription::InternalError), 0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(refusals(&server, "sign-busy"), 1);
    assert_eq!(server.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_wait_beside_each_other_on_one_thread_do_not_mix() {
    let site = Site::new(KeyKind::EcdsaP256);
    let signer = Signer::new([site.clone()]).delay(Duration::from_millis(5));
    let server = Arc::new(listener(&site, signer));
    let mut meetings = Vec::new();
    for number in 0..20_u64 {
        let (server, site) = (Arc::clone(&server), site.clone());
        meetings.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            let version = if number % 2 == 0 { &TLS13 } else { &TLS12 };
            let client = tls::client_config(&[site], version, None);
            let (accepted, connected) = meet(&server, client, tls::NAME).await;
            let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
            let export = |secret: &mut [u8; 32]| {
                accepted
                    .get_ref()
                    .1
                    .export_keying_material(secret, b"test", None)
                    .map(drop)
            };
            let mut secret = [0; 32];
            export(&mut secret).unwrap();
            let mut theirs = [0; 32];
            let client = connected.get_ref().1;
            client
                .export_keying_material(&mut theirs, b"test", None)
                .unwrap();
            assert_eq!(secret, theirs);
            secret
        }));
    }
    let mut secrets = BTreeSet::new();
    for meeting in meetings {
        secrets.insert(meeting.await.unwrap());
    }
    assert_eq!(secrets.len(), 20);
    assert_eq!(server.signer().signed(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_chosen_by_the_name() {
    let [shop, blog] = [Site::new(KeyKind::EcdsaP256), Site::new(KeyKind::EcdsaP256)];
    let config = |site: &Site| Arc::new(tls::server_config(tls::provider(), site.remote()));
    let (at_shop, at_blog) = (config(&shop), config(&blog));
    let choose = move |hello: &ClientHello<'_>| match hello.server_name() {
        Some("shop.example") => Some(Arc::clone(&at_shop)),
        Some("blog.example") => Some(Arc::clone(&at_blog)),
        _ => None,
    };
    let server = RemoteTls::choosing(choose, Signer::new([shop.clone(), blog.clone()]));
    let sites = [shop.clone(), blog.clone()];
    let client = || tls::client_config(&sites, &TLS13, None);

    let (accepted, connected) = meet(&server, client(), "shop.example").await;
    let shown = connected.unwrap();
    assert_eq!(
        shown.get_ref().1.peer_certificates().unwrap(),
        from_ref(&shop.certificate)
    );
    assert_eq!(
        accepted.unwrap().get_ref().1.server_name(),
        Some("shop.example")
    );

    // The test's certificates have one name; that another was shown is told by the refusal.
    let (_, connected) = meet(&server, client(), "blog.example").await;
    let refused = connected.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(refused, Error::InvalidCertificate(_)), "{refused}");

    let signed = server.signer().signed();
    let (accepted, connected) = meet(&server, client(), "news.example").await;
    assert_eq!(alert(connected), Some(AlertDescription::UnrecognisedName));
    assert!(matches!(accepted.unwrap_err(), RemoteTlsError::UnknownName));
    assert_eq!(server.signer().signed(), signed);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_http_is_told_in_http_and_who_speaks_neither_is_not() {
    let site = Site::new(KeyKind::EcdsaP256);
    let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    for (said, set, heard, reason) in [
        (&b"GET / HTTP/1.1\r\n"[..], true, &answer[..], "plain-http"),
        (b"GET / HTTP/1.1\r\n", false, b"", "plain-http"),
        (b"SSH-2.0-x\r\n", true, answer, "plain-http"),
        (b"\x80\x2e\x01\x00\x02", true, b"", "not-tls"),
        (b"hello", true, b"", "not-tls"),
    ] {
        let mut server = listener(&site, Signer::new([site.clone()]));
        if set {
            server = server.plain_http(&answer[..]);
        }
        let (mut near, far) = duplex(1024);
        near.write_all(said).await.unwrap();
        let error = server.accept(&[], far).await.unwrap_err();
        assert_eq!(error.as_str(), reason);
        assert_eq!(refusals(&server, reason), 1);
        let mut found = Vec::new();
        near.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, heard);
    }
}

#[tokio::test(start_paused = true)]
async fn broken_tls_gets_the_alert_of_rustls() {
    let site = Site::new(KeyKind::EcdsaP256);
    let server = listener(&site, Signer::new([site.clone()]));
    let (mut near, far) = duplex(1024);
    // A record of the handshake that holds a message of no known type.
    near.write_all(&[22, 3, 1, 0, 4, 99, 0, 0, 0])
        .await
        .unwrap();
    let error = server.accept(&[], far).await.unwrap_err();
    assert!(matches!(error, RemoteTlsError::Tls(_)), "{error}");
    let mut found = Vec::new();
    near.read_to_end(&mut found).await.unwrap();
    // A fatal alert unexpected_message.
    assert_eq!(found, [21, 3, 3, 0, 2, 2, 10]);
    assert_eq!(refusals(&server, "tls"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_changes_once_costs_one_more_signature() {
    let sites = [Site::new(KeyKind::EcdsaP256), Site::new(KeyKind::Rsa)];
    let resolver = Rotating {
        first: sites[0].remote(),
        then: sites[1].remote(),
        times: 1,
        asked: 0.into(),
    };
    let config = tls::server_config_for(tls::provider(), Arc::new(resolver), None);
    let server = RemoteTls::new(Arc::new(config), Signer::new(sites.clone()));
    let client = tls::client_config(&sites, &TLS12, None);
    let (accepted, connected) = meet(&server, client, tls::NAME).await;
    let (_, connected) = (accepted.unwrap(), connected.unwrap());
    let shown = connected.get_ref().1.peer_certificates().unwrap();
    assert_eq!(shown, from_ref(&sites[1].certificate));
    assert_eq!(server.signer().signed(), 2);
    assert_eq!(server.stats().answered, 2);
}

/// Panics when it is asked for a certificate.
#[derive(Debug)]
struct Panics;

impl ResolvesServerCert for Panics {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        panic!("the resolver has a fault")
    }
}

#[test]
fn a_panic_within_rustls_leaves_no_tape_on_the_thread() {
    let site = Site::new(KeyKind::EcdsaP256);
    let config = tls::server_config_for(tls::provider(), Arc::new(Panics), None);
    let mut client = tls::client(tls::client_config(&[site], &TLS13, None));
    let hello = crate::pipe::output(&mut client);
    let mut handshake = Handshake::new(Arc::new(config));
    let panicked = catch_unwind(AssertUnwindSafe(|| handshake.input(&hello).is_ok()));
    assert!(panicked.is_err());
    // A tape that had stayed would be full after a few of these.
    let random = tls::provider().secure_random;
    let drawn: BTreeSet<_> = (0..100)
        .map(|_| {
            let mut bytes = [0; 16];
            random.fill(&mut bytes).unwrap();
            bytes
        })
        .collect();
    assert_eq!(drawn.len(), 100);
}

#[test]
fn futures_may_move_from_thread_to_thread() {
    fn sendable<T: Send>(_: &T) {}
    let site = Site::new(KeyKind::EcdsaP256);
    let server = listener(&site, Signer::new([site.clone()]));
    let (_, far) = duplex(1);
    sendable(&server.accept(&[], far));
    sendable(&Handshake::new(Arc::new(ServerConfig::clone(
        &tls::server_config(tls::provider(), site.remote()),
    ))));
}
