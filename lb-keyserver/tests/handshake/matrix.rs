//! Versions, keys and detours, each with each.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use lb_keyserver::KeyKind;
use lb_keyserver::rustls::Handshake;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::pipe::{open, talk};
use crate::tls::{self, Rotating, Signer, Site};

const KINDS: [KeyKind; 4] = [
    KeyKind::EcdsaP256,
    KeyKind::EcdsaP384,
    KeyKind::Ed25519,
    KeyKind::Rsa,
];

/// What one round of the matrix is about.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: KeyKind,
    is_tls12: bool,
    retries: bool,
    client_certificate: bool,
    in_bytes: bool,
    rotates: bool,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().flat_map(|kind| {
            (0..32).map(move |bits| Self {
                kind,
                is_tls12: bits & 1 != 0,
                retries: bits & 2 != 0,
                client_certificate: bits & 4 != 0,
                in_bytes: bits & 8 != 0,
                rotates: bits & 16 != 0,
            })
        })
    }

    fn run(self, sites: &[Site; 2], visitor: &Site) {
        let signer = Signer::new(sites.clone());
        let resolver = Rotating {
            first: sites[0].remote(),
            // Each ClientHello asks, and two make the first pass after a retry.
            times: 1 + usize::from(self.retries && !self.is_tls12),
            then: sites[usize::from(self.rotates)].remote(),
            asked: AtomicUsize::new(0),
        };
        let provider = if self.retries {
            tls::retrying_provider()
        } else {
            tls::provider()
        };
        let visitor = self.client_certificate.then_some(visitor);
        let config = tls::server_config_for(provider, Arc::new(resolver), visitor);
        let version = if self.is_tls12 { &TLS12 } else { &TLS13 };
        let mut client = tls::client(tls::client_config(sites, version, visitor));
        let mut handshake = Handshake::new(Arc::new(config));
        let pieces = if self.in_bytes { 1 } else { usize::MAX };

        open(&mut client, &mut handshake, &signer, pieces).unwrap();
        let replays = handshake.replays();
        assert_eq!(handshake.server_name(), Some(tls::NAME));
        let mut server = handshake.into_connection().unwrap();
        talk(&mut client, &mut server);

        let signatures = 1 + usize::from(self.rotates);
        assert_eq!(signer.signed(), signatures, "{self:?}");
        assert_eq!(usize::from(replays), signatures);
        assert_eq!(server.peer_certificates().is_some(), visitor.is_some());
        let kind = match self.retries && !self.is_tls12 {
            true => HandshakeKind::FullWithHelloRetryRequest,
            false => HandshakeKind::Full,
        };
        assert_eq!(client.handshake_kind(), Some(kind));
        assert_eq!(server.handshake_kind(), Some(kind));
    }
}

#[test]
fn every_version_key_and_detour_takes_one_signature_for_each_certificate_shown() {
    let visitor = Site::new(KeyKind::EcdsaP256);
    for kind in KINDS {
        let sites = [Site::new(kind), Site::new(kind)];
        for case in Case::all().filter(|case| case.kind == kind) {
            case.run(&sites, &visitor);
        }
    }
}
