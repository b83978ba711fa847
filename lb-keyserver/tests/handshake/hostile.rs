//! What no handshake may have in common with another, and limits that are none.

use std::collections::HashSet;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::KeyKind;
use lb_keyserver::rustls::{Handshake, HandshakeLimits, RemoteTls, Step};
use lbcore::connect::Accept;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use crate::pipe::{input, output, talk};
use crate::tls::{self, Signer, Site};

/// The server's random and its share of the key exchange, of each of so many handshakes.
fn drawn(site: &Site, version: &'static SupportedProtocolVersion, many: usize) -> Vec<Vec<u8>> {
    let config = Arc::new(tls::server_config(tls::provider(), site.remote()));
    // Side by side on one thread, each waiting while the next begins.
    let begin = |_| {
        let mut client = tls::client(tls::client_config(from_ref(site), version, None));
        let mut handshake = Handshake::new(Arc::clone(&config));
        match handshake.input(&output(&mut client)).unwrap() {
            Step::NeedSignature(pending) => (client, handshake, pending),
            other => panic!("{other:?}"),
        }
    };
    let waiting: Vec<_> = (0..many).map(begin).collect();
    let mut drawn = Vec::new();
    for (mut client, mut handshake, pending) in waiting.into_iter().rev() {
        let signature = site.sign(pending.request());
        let message = Arc::clone(&pending.request().message);
        let step = handshake.signature(pending, signature);
        assert!(matches!(step, Ok(Step::Ready)));
        let mut server = handshake.into_connection().unwrap();
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        // The heads of the record and of the message, and the version, come before the random.
        drawn.push(flight[11..43].to_vec());
        drawn.push(if version.version == ProtocolVersion::TLSv1_3 {
            // The last extensions of the ServerHello: a share, and a version of six bytes.
            let end = 5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]));
            flight[end - 38..end].to_vec()
        } else {
            assert_eq!(message[32..64], flight[11..43]);
            message[64..].to_vec()
        });
        input(&mut client, &flight);
        talk(&mut client, &mut server);
    }
    drawn
}

#[test]
fn no_two_handshakes_share_what_is_drawn_by_chance() {
    let site = Site::new(KeyKind::EcdsaP256);
    let drawn: Vec<_> = [&TLS13, &TLS12]
        .into_iter()
        .flat_map(|version| drawn(&site, version, 50))
        .collect();
    let different: HashSet<_> = drawn.iter().collect();
    assert_eq!((drawn.len(), different.len()), (200, 200));
}

#[tokio::test]
async fn a_limit_beyond_all_time_is_none() {
    let site = Site::new(KeyKind::EcdsaP256);
    let config = tls::server_config(tls::provider(), site.remote());
    let limits = HandshakeLimits::default().within(Duration::MAX);
    let limits = limits.sign_within(Duration::MAX);
    let server = RemoteTls::new(Arc::new(config), Signer::new([site.clone()])).limits(limits);
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = tls::client_config(from_ref(&site), &TLS13, None);
    let connector = TlsConnector::from(Arc::new(client));
    let name = tls::NAME.try_into().unwrap();
    let (accepted, connected) =
        tokio::join!(server.accept(&[], near), connector.connect(name, far));
    assert!(accepted.is_ok() && connected.is_ok());
}
