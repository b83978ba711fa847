//! Keys, and handshakes built by hand; those of rustls are in `tests/frames.rs`.

mod answers;
mod bound;
mod handshakes;
mod plain;
mod strict;

use std::sync::{Arc, OnceLock};

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, PrivateKey};
use rcgen::{KeyPair, PublicKeyData};

use super::*;
use crate::mode::Mode;
use crate::public_key::PublicKey;
use crate::scheme::{KeyKind, Scheme};
use crate::sign::{SignError, SignRequest};
use crate::ski::Ski;
use crate::store::Input;
use crate::wire::{ErrorCode, Items, Opcode};

/// One key of every kind, each with a certificate.
struct Keys(Vec<(Arc<PublicKey>, Vec<u8>)>);

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let algorithms = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ];
        let made = algorithms.map(|algorithm| {
            let pair = KeyPair::generate_for(algorithm).expect("made");
            let key = PublicKey::from_spki(pair.subject_public_key_info()).expect("good");
            let params = rcgen::CertificateParams::new(vec!["a.test".into()]).expect("good");
            let certificate = params.self_signed(&pair).expect("signed");
            (Arc::new(key), certificate.der().to_vec())
        });
        Keys(made.into())
    })
}

fn key_of(kind: KeyKind) -> &'static Arc<PublicKey> {
    let mut all = keys().0.iter();
    let found = all.find(|(key, _)| key.kind() == kind);
    &found.expect("one of each").0
}

fn certificate_of(kind: KeyKind) -> &'static [u8] {
    let mut all = keys().0.iter();
    let found = all.find(|(key, _)| key.kind() == kind);
    &found.expect("one of each").1
}

fn key_for(scheme: Scheme) -> &'static Arc<PublicKey> {
    key_of(scheme.kind())
}

const KINDS: [KeyKind; 5] = [
    KeyKind::EcdsaP256,
    KeyKind::EcdsaP384,
    KeyKind::EcdsaP521,
    KeyKind::Ed25519,
    KeyKind::Rsa,
];

/// Asks `key` what `opcode` and `payload` would make it sign.
fn signed(
    mode: Mode,
    opcode: Opcode,
    payload: &[u8],
    key: &PublicKey,
) -> Result<ToSign, ErrorCode> {
    let items = Items {
        opcode,
        payload,
        ski: Some(key.ski()),
        ..Items::default()
    };
    match read(mode, &items)? {
        Request::Sign(question) => question.to_sign(key),
        Request::Ping(_) => panic!("a ping"),
    }
}

/// The code of a refusal, if it is one.
fn refused<T>(answer: Result<T, ErrorCode>) -> Option<ErrorCode> {
    answer.err()
}

/// The payload of an opcode of the bound and strict modes.
fn coded(scheme: Scheme, rest: &[u8]) -> Vec<u8> {
    [&scheme.code().to_be_bytes()[..], rest].concat()
}

/// What the key is to sign when it is to sign `message`.
fn input(scheme: Scheme, message: &[u8]) -> Vec<u8> {
    match scheme.hash() {
        Some(hash) => hash.digest(message).as_ref().to_vec(),
        None => message.to_vec(),
    }
}

fn bytes(input: Input<'_>) -> &[u8] {
    match input {
        Input::Digest(bytes) | Input::Message(bytes) => bytes,
    }
}

/// ServerECDHParams, a named group and a point of that many bytes that begins with `first`.
fn params(group: u16, first: u8, length: u8) -> Vec<u8> {
    let [high, low] = group.to_be_bytes();
    let mut params = vec![3, high, low, length];
    match (group, first, length) {
        (0x17, 4, 65) => return [params, point(&ECDH_P256)].concat(),
        (0x18, 4, 97) => return [params, point(&ECDH_P384)].concat(),
        _ => {}
    }
    if length > 0 {
        params.push(first);
        params.extend((1..length).map(|byte| byte ^ 0x5a));
    }
    params
}

/// A point of that curve.
fn point(curve: &'static Algorithm) -> Vec<u8> {
    let key = PrivateKey::generate(curve).expect("made");
    key.compute_public_key().expect("made").as_ref().to_vec()
}

const GROUPS: [(u16, u8, u8); 3] = [(0x17, 4, 65), (0x18, 4, 97), (0x1d, 0xff, 32)];
