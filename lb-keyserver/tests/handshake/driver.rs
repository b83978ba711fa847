//! What a handshake refuses, and what it may not be asked.

use std::slice::from_ref;
use std::sync::Arc;

use lb_keyserver::rustls::{
    Fatal, Handshake, PemError, PendingSign, RemoteKey, Step, certified_key_from_pem,
    certified_key_from_pem_file,
};
use lb_keyserver::{BadPublicKey, KeyKind};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, Error, InvalidMessage, ServerConfig, ServerConnection, SignatureScheme,
};

use crate::pipe::{input, open, output, talk};
use crate::tls::{self, Signer, Site};

const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

fn config(site: &Site) -> Arc<ServerConfig> {
    Arc::new(tls::server_config(tls::provider(), site.remote()))
}

/// A handshake that waits for its signature.
fn pending(site: &Site) -> (Handshake, PendingSign) {
    let mut client = tls::client(tls::client_config(from_ref(site), &TLS13, None));
    let mut handshake = Handshake::new(config(site));
    match handshake.input(&output(&mut client)).unwrap() {
        Step::NeedSignature(pending) => (handshake, pending),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_local_key_takes_no_second_pass() {
    let site = Site::new(KeyKind::EcdsaP256);
    for version in [&TLS13, &TLS12] {
        let signer = Signer::new([]);
        let config = tls::server_config(tls::provider(), site.local());
        let mut handshake = Handshake::new(Arc::new(config));
        let mut client = tls::client(tls::client_config(from_ref(&site), version, None));
        open(&mut client, &mut handshake, &signer, usize::MAX).unwrap();
        assert_eq!(handshake.replays(), 0);
        talk(&mut client, &mut handshake.into_connection().unwrap());
    }
}

#[test]
fn without_a_taped_provider_a_handshake_with_a_remote_key_fails_closed() {
    let site = Site::new(KeyKind::EcdsaP256);
    for version in [&TLS13, &TLS12] {
        let signer = Signer::new([site.clone()]);
        let config = tls::server_config(aws_lc_rs::default_provider(), site.remote());
        let mut handshake = Handshake::new(Arc::new(config));
        let mut client = tls::client(tls::client_config(from_ref(&site), version, None));
        let fatal = open(&mut client, &mut handshake, &signer, usize::MAX).unwrap_err();
        assert_eq!(fatal.alert, INTERNAL_ERROR);
        assert!(
            fatal.to_string().contains("did not repeat itself"),
            "{fatal}"
        );
        assert_eq!(signer.signed(), 2);
        assert!(handshake.into_connection().is_none());
    }
}

/// Has another key every time.
#[derive(Debug)]
struct Fresh;

impl ResolvesServerCert for Fresh {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Site::new(KeyKind::EcdsaP256).remote())
    }
}

#[test]
fn a_certificate_that_changes_with_every_look_is_given_up() {
    let site = Site::new(KeyKind::EcdsaP256);
    let config = tls::server_config_for(tls::provider(), Arc::new(Fresh), None);
    let mut handshake = Handshake::new(Arc::new(config));
    let mut client = tls::client(tls::client_config(&[site], &TLS13, None));
    let mut step = handshake.input(&output(&mut client));
    let mut asked = 0;
    let fatal = loop {
        step = match step {
            Ok(Step::NeedSignature(pending)) => {
                asked += 1;
                handshake.signature(pending, vec![1, 2, 3])
            }
            Ok(other) => panic!("{other:?}"),
            Err(fatal) => break fatal,
        };
    };
    assert_eq!(asked, 2);
    assert_eq!(fatal.alert, INTERNAL_ERROR);
}

#[test]
fn the_signature_of_another_handshake_is_not_taken() {
    let site = Site::new(KeyKind::EcdsaP256);
    let (mut handshake, own) = pending(&site);
    let (_, others) = pending(&site);
    let (message, signature) = (own.request().message.clone(), site.sign(others.request()));
    let Ok(Step::NeedSignature(again)) = handshake.signature(others, signature) else {
        panic!("a signature over something else was taken");
    };
    assert_eq!(again.request().message, message);
    let signature = site.sign(again.request());
    assert!(matches!(
        handshake.signature(again, signature),
        Ok(Step::Ready)
    ));
    assert_eq!(handshake.replays(), 2);
}

#[test]
fn a_request_says_for_whom_it_is() {
    let site = Site::new(KeyKind::EcdsaP256);
    let (_, pending) = pending(&site);
    let request = pending.request();
    assert_eq!(request.server_name.as_deref(), Some(tls::NAME));
    assert!(site.is_asked(request));
    assert_eq!((request.client, &request.transcript), (None, &None));
}

#[test]
fn what_the_client_sends_is_kept_up_to_64_kib() {
    let site = Site::new(KeyKind::EcdsaP256);
    let mut client = tls::client(tls::client_config(from_ref(&site), &TLS13, None));
    let hello = output(&mut client);
    for (more, is_taken) in [(65_536 - hello.len(), true), (65_537 - hello.len(), false)] {
        let mut handshake = Handshake::new(config(&site));
        let step = handshake.input(&hello).unwrap();
        assert!(matches!(step, Step::NeedSignature(_)));
        match handshake.input(&vec![0; more]) {
            Ok(Step::NeedInput(output)) => assert!(is_taken && output.is_empty()),
            Ok(other) => panic!("{other:?}"),
            Err(fatal) => {
                let expected = Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge);
                assert!(!is_taken);
                assert_eq!(
                    (fatal.error, fatal.alert),
                    (expected, DECODE_ERROR.to_vec())
                );
            }
        }
    }
}

#[test]
fn a_client_hello_without_an_end_is_refused() {
    let site = Site::new(KeyKind::EcdsaP256);
    let mut handshake = Handshake::new(config(&site));
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut next = vec![22, 3, 1, 0x40, 0];
    next.resize(5 + 0x4000, 0);
    let mut taken = 0;
    let fatal = loop {
        let piece = if taken == 0 { &record } else { &next };
        match handshake.input(piece) {
            Ok(Step::NeedInput(output)) => assert!(output.is_empty()),
            Ok(other) => panic!("{other:?}"),
            Err(fatal) => break fatal,
        }
        taken += piece.len();
    };
    assert!(taken <= 65_536, "{taken}");
    assert!(matches!(fatal.error, Error::InvalidMessage(_)), "{fatal}");
    assert_eq!(fatal.alert, DECODE_ERROR);
}

#[test]
fn what_comes_while_the_signature_is_on_its_way_is_kept_for_the_replay() {
    let site = Site::new(KeyKind::EcdsaP256);
    let (mut handshake, pending) = pending(&site);
    // A ChangeCipherSpec, which clients of TLS 1.3 may send early, and then what none may.
    let early = handshake.input(&[20, 3, 3, 0, 1, 1]).unwrap();
    assert!(matches!(early, Step::NeedInput(output) if output.is_empty()));
    let junk = handshake.input(&[99, 3, 3, 0, 1, 1]).unwrap();
    assert!(matches!(junk, Step::NeedInput(output) if output.is_empty()));
    let signature = site.sign(pending.request());
    let fatal = handshake.signature(pending, signature).unwrap_err();
    assert!(matches!(fatal.error, Error::InvalidMessage(_)), "{fatal}");
    // The flight was made before the junk was met, and an encrypted alert after it.
    assert_eq!(fatal.alert.first(), Some(&22));
}

#[test]
fn a_configuration_is_asked_for_when_the_client_hello_is_whole() {
    let site = Site::new(KeyKind::EcdsaP256);
    let signer = Signer::new([site.clone()]);
    let mut client = tls::client(tls::client_config(from_ref(&site), &TLS13, None));
    let hello = output(&mut client);
    let mut handshake = Handshake::choosing();
    let (last, rest) = hello.split_last().unwrap();
    for byte in rest {
        let step = handshake.input(&[*byte]).unwrap();
        assert!(matches!(step, Step::NeedInput(output) if output.is_empty()));
        assert!(handshake.client_hello().is_none());
    }
    let step = handshake.input(&[*last]).unwrap();
    assert!(matches!(step, Step::NeedConfig), "{step:?}");
    assert_eq!(
        handshake.client_hello().unwrap().server_name(),
        Some(tls::NAME)
    );
    assert!(handshake.config().is_none());
    let Step::NeedSignature(pending) = handshake.configure(config(&site)).unwrap() else {
        panic!("no signature was asked for");
    };
    let signature = signer.answer(pending.request());
    assert!(matches!(
        handshake.signature(pending, signature),
        Ok(Step::Ready)
    ));
    assert!(handshake.config().is_some());
    talk(&mut client, &mut handshake.into_connection().unwrap());
}

#[test]
fn a_handshake_that_is_given_up_says_so_in_clear() {
    let alert = |alert| Handshake::choosing().refuse(alert);
    assert_eq!(alert(AlertDescription::InternalError), INTERNAL_ERROR);
    assert_eq!(
        alert(AlertDescription::UnrecognisedName),
        [21, 3, 3, 0, 2, 2, 112]
    );
    let site = Site::new(KeyKind::EcdsaP256);
    let mut client = tls::client(tls::client_config(from_ref(&site), &TLS13, None));
    let mut handshake = Handshake::new(Arc::new(tls::server_config(
        tls::retrying_provider(),
        site.remote(),
    )));
    let Step::NeedInput(retry) = handshake.input(&output(&mut client)).unwrap() else {
        panic!("no retry was asked for");
    };
    input(&mut client, &retry);
    let step = handshake.input(&output(&mut client)).unwrap();
    assert!(matches!(step, Step::NeedSignature(_)));
    let told = handshake.refuse(AlertDescription::InternalError);
    client.read_tls(&mut &told[..]).unwrap();
    let expected = Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(client.process_new_packets().unwrap_err(), expected);
}

#[test]
fn what_is_not_its_turn_is_refused() {
    let site = Site::new(KeyKind::EcdsaP256);
    let out_of_turn = |fatal: Fatal| {
        assert!(fatal.to_string().contains("out of turn"), "{fatal}");
        assert!(fatal.alert.is_empty());
    };
    let mut handshake = Handshake::new(config(&site));
    out_of_turn(handshake.configure(config(&site)).unwrap_err());
    out_of_turn(handshake.input(b"more").unwrap_err());
    assert!(handshake.into_connection().is_none());

    let (mut handshake, first) = pending(&site);
    let (_, second) = pending(&site);
    let signature = site.sign(first.request());
    assert!(matches!(
        handshake.signature(first, signature),
        Ok(Step::Ready)
    ));
    out_of_turn(handshake.signature(second, Vec::new()).unwrap_err());

    let (handshake, _) = pending(&site);
    assert!(handshake.into_connection().is_none());
}

#[test]
fn a_remote_key_signs_nowhere_else() {
    let site = Site::new(KeyKind::EcdsaP256);
    let mut server = ServerConnection::new(config(&site)).unwrap();
    let mut client = tls::client(tls::client_config(&[site], &TLS13, None));
    let hello = output(&mut client);
    server.read_tls(&mut &*hello).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(error.to_string().contains("RemoteTls"), "{error}");
}

#[test]
fn a_key_offers_the_schemes_of_its_kind() {
    for (kind, offered, chosen) in [
        (
            KeyKind::EcdsaP256,
            &[SignatureScheme::ECDSA_NISTP256_SHA256][..],
            Some(0),
        ),
        (
            KeyKind::EcdsaP384,
            &[SignatureScheme::ECDSA_NISTP256_SHA256],
            None,
        ),
        (
            KeyKind::Ed25519,
            &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ED25519],
            Some(1),
        ),
        (
            KeyKind::Rsa,
            &[
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::RSA_PSS_SHA512,
            ],
            Some(1),
        ),
        (KeyKind::Rsa, &[SignatureScheme::RSA_PKCS1_SHA1], None),
    ] {
        let site = Site::new(kind);
        let key = Arc::clone(&site.remote().key);
        let signer = key.choose_scheme(offered);
        let expected = chosen.map(|index: usize| offered[index]);
        assert_eq!(signer.map(|signer| signer.scheme()), expected, "{kind}");
        assert_eq!(key.algorithm(), site.private.algorithm());
        assert_eq!(key.public_key(), site.private.public_key());
    }
}

#[test]
fn a_chain_is_read_from_pem_and_a_file_without_one_is_refused() {
    let site = Site::new(KeyKind::EcdsaP256);
    let both = format!("{}{}", site.private_pem, site.pem);
    let certified = certified_key_from_pem(both.as_bytes()).unwrap();
    assert_eq!(certified.cert, from_ref(&site.certificate));
    certified.keys_match().unwrap();
    let empty = certified_key_from_pem(site.private_pem.as_bytes()).unwrap_err();
    assert!(matches!(empty, PemError::Empty), "{empty}");
    let missing = certified_key_from_pem_file("/nonexistent/chain.pem").unwrap_err();
    assert!(matches!(missing, PemError::Pem(_)), "{missing}");
    let broken = site.pem.replace("-----END", "-----");
    let broken = certified_key_from_pem(broken.as_bytes()).unwrap_err();
    assert!(matches!(broken, PemError::Pem(_)), "{broken}");
    assert_eq!(
        RemoteKey::certified(Vec::new()).unwrap_err(),
        BadPublicKey::Certificate
    );
}
