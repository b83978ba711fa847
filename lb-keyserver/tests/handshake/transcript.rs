//! What a key server gets to see that hashes the handshake itself.

use std::slice::from_ref;
use std::sync::Arc;

use lb_keyserver::rustls::{Handshake, Step, Transcripts};
use lb_keyserver::{KeyKind, SignRequest};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::Hash;
use rustls::version::{TLS12, TLS13};

use crate::pipe::{input, output, talk};
use crate::tls::{self, Site};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
/// What stands for the first ClientHello after a retry (RFC 8446, 4.4.1).
const MESSAGE_HASH: u8 = 254;

/// The types of the messages in a transcript, and the bodies.
fn messages(mut transcript: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some(([kind, high, middle, low], rest)) = transcript.split_first_chunk() {
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let (body, rest) = rest.split_at(usize::try_from(length).unwrap());
        found.push((*kind, body));
        transcript = rest;
    }
    assert!(transcript.is_empty());
    found
}

/// What was asked for in a handshake, which then ends well.
fn request(provider: CryptoProvider, version: &'static SupportedProtocolVersion) -> SignRequest {
    let site = Site::new(KeyKind::EcdsaP256);
    let mut client = tls::client(tls::client_config(from_ref(&site), version, None));
    let config = tls::server_config(provider, site.remote());
    let recorded = Transcripts::Recorded;
    let mut handshake = Handshake::new(Arc::new(config)).transcripts(recorded);
    loop {
        match handshake.input(&output(&mut client)).unwrap() {
            Step::NeedInput(output) => input(&mut client, &output),
            Step::NeedSignature(pending) => {
                let request = pending.request().clone();
                let signature = site.sign(&request);
                let step = handshake.signature(pending, signature).unwrap();
                assert!(matches!(step, Step::Ready));
                talk(&mut client, &mut handshake.into_connection().unwrap());
                return request;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn in_tls_1_3_the_transcript_is_what_the_signed_digest_is_of() {
    for (provider, first) in [
        (tls::provider(), CLIENT_HELLO),
        (tls::retrying_provider(), MESSAGE_HASH),
    ] {
        let suite = provider
            .cipher_suites
            .iter()
            .find_map(|suite| suite.tls13());
        let hash: &dyn Hash = suite.unwrap().common.hash_provider;
        let request = request(provider.clone(), &TLS13);
        let transcript = request.transcript.unwrap();
        let (_, digest) = request.message.split_at(64 + 34);
        assert_eq!(hash.hash(&transcript).as_ref(), digest);
        let messages = messages(&transcript);
        assert_eq!(messages.first().unwrap().0, first);
        assert_eq!(messages.last().unwrap().0, CERTIFICATE);
    }
}

#[test]
fn in_tls_1_2_it_is_the_hellos_and_the_certificate() {
    let request = request(tls::provider(), &TLS12);
    let transcript = request.transcript.unwrap();
    let messages = messages(&transcript);
    let kinds: Vec<_> = messages.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [CLIENT_HELLO, SERVER_HELLO, CERTIFICATE]);
    // Both randoms stand after two bytes of version, and what is signed begins with them.
    let randoms: Vec<_> = messages[..2]
        .iter()
        .flat_map(|(_, body)| &body[2..34])
        .copied()
        .collect();
    assert_eq!(request.message[..64], randoms);
}
