//! Whatever is asked in the bound and strict modes, what is signed is a statement of a TLS server.
//!
//! Lengths nest five deep, and a mutation seldom keeps them all: so the input is taken for a payload,
//! and for what stands in the hellos of handshakes that are good around it. The key is one of
//! Ed25519, which is given the whole of what it signs.
#![no_main]

use std::sync::{Arc, LazyLock};

use lb_keyserver::question::{Request, ToSign, ask, read};
use lb_keyserver::store::Input;
use lb_keyserver::wire::{Items, Opcode, parse};
use lb_keyserver::{Mode, PublicKey, Scheme, SignRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for mode in Mode::ALL {
        if let Ok(Some((frame, _))) = parse(bytes) {
            let _ = check(mode, &frame.items);
        }
        for opcode in OWN {
            let _ = payload(mode, opcode, bytes);
            let code = Scheme::Ed25519.code().to_be_bytes();
            let _ = payload(mode, opcode, &[&code[..], bytes].concat());
        }
    }
    as_message(bytes);
    let short = bytes.get(..8000).unwrap_or(bytes);
    let (of_client, of_server) = short.split_at(short.len() / 2);
    for (suite, hash) in [(0x1301, 4), (0x1302, 5)] {
        let handshake = handshake(suite, of_client, &[], Some(of_server));
        strict(
            Opcode::STRICT_TLS13,
            &[&SCHEME[..], &[hash], &handshake].concat(),
            bytes,
        );
    }
    let handshake = handshake(0xc02b, of_client, of_server, None);
    let params = block16(PARAMS);
    strict(
        Opcode::STRICT_TLS12,
        &[&SCHEME[..], &params, &handshake].concat(),
        bytes,
    );
});

/// What is signed in the strict mode is signed in the bound mode too, and a handshake that is left as
/// it was is signed.
fn strict(opcode: Opcode, asked: &[u8], spoilt: &[u8]) {
    let strict = payload(Mode::Strict, opcode, asked);
    let bound = payload(Mode::Bound, opcode, asked);
    assert!(strict.is_some() || !spoilt.is_empty());
    let seen = |to_sign: ToSign| (to_sign.digest(), to_sign.server_name().map(str::to_owned));
    assert_eq!(strict.map(seen), bound.map(seen));
    assert!(payload(Mode::Plain, opcode, asked).is_none());
}

fn payload(mode: Mode, opcode: Opcode, payload: &[u8]) -> Option<ToSign> {
    let items = Items {
        opcode,
        payload,
        ski: Some(KEY.ski()),
        ..Items::default()
    };
    check(mode, &items)
}

/// What is signed, if anything, and that it may be.
fn check(mode: Mode, items: &Items<'_>) -> Option<ToSign> {
    let Ok(Request::Sign(question)) = read(mode, items) else {
        return None;
    };
    let to_sign = question.to_sign(&KEY).ok()?;
    assert_eq!(to_sign.scheme(), Scheme::Ed25519);
    let Input::Message(message) = to_sign.input() else {
        panic!("Ed25519 hashes for itself");
    };
    if mode != Mode::Plain {
        let is_tls13 = message.starts_with(TLS13) && matches!(message.len(), 130 | 146);
        let is_tls12 = message[64] == 3 && matches!(message.len(), 100 | 124 | 133 | 165 | 201);
        assert!(is_tls13 ^ is_tls12);
    }
    if let Some(name) = to_sign.server_name() {
        assert!(!name.is_empty() && name.len() <= 253 && name.is_ascii());
        assert_eq!(name.to_ascii_lowercase(), name);
    }
    Some(to_sign)
}

/// What a client may ask for, the server signs as the client meant it.
fn as_message(message: &[u8]) {
    let key = Arc::clone(&KEY);
    let request = SignRequest::new(key, Scheme::Ed25519, message).transcript(message);
    for mode in Mode::ALL {
        if let Ok(asking) = ask(mode, &request)
            && let Some(to_sign) = check(mode, &asking.items())
        {
            assert_eq!(to_sign.input(), Input::Message(message));
        }
    }
}

/// A handshake of that suite, and with these extensions; of TLS 1.3 where there are some that are
/// encrypted.
fn handshake(suite: u16, client: &[u8], server: &[u8], encrypted: Option<&[u8]>) -> Vec<u8> {
    let [high, low] = suite.to_be_bytes();
    let version = |list: &'static [u8]| encrypted.map_or(&[][..], |_| list);
    let client = [version(&[0, 43, 0, 3, 2, 3, 4]), client].concat();
    let server = [version(&[0, 43, 0, 2, 3, 4]), server].concat();
    let head = [&[3, 3][..], &[0x20; 32], &[0]].concat();
    let client = [&head, &[0, 2, high, low, 1, 0][..], &block16(&client)].concat();
    let server = [&head, &[high, low, 0][..], &block16(&server)].concat();
    let certificate = match encrypted {
        Some(_) => [
            &[0][..],
            &block24(&[&block24(CERTIFICATE)[..], &[0, 0]].concat()),
        ]
        .concat(),
        None => block24(&block24(CERTIFICATE)),
    };
    let encrypted = encrypted.map(|encrypted| message(8, &block16(encrypted)));
    let (client, server) = (message(1, &client), message(2, &server));
    let encrypted = encrypted.unwrap_or_default();
    [client, server, encrypted, message(11, &certificate)].concat()
}

fn message(of_type: u8, body: &[u8]) -> Vec<u8> {
    [&[of_type], &block24(body)[..]].concat()
}

/// These bytes behind their length in two bytes.
fn block16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("inputs are shorter");
    [&length.to_be_bytes(), bytes].concat()
}

/// These bytes behind their length in three bytes.
fn block24(bytes: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length, bytes].concat()
}

const OWN: [Opcode; 4] = [
    Opcode::SIGN_TLS12,
    Opcode::SIGN_TLS13,
    Opcode::STRICT_TLS12,
    Opcode::STRICT_TLS13,
];

const SCHEME: [u8; 2] = Scheme::Ed25519.code().to_be_bytes();

/// A point on X25519.
const PARAMS: &[u8] = b"\x03\x00\x1d\x20abcdefghijklmnopqrstuvwxyz012345";

const TLS13: &[u8] = b"                                                                \
TLS 1.3, server CertificateVerify\0";

/// A certificate of [`KEY`], signed by itself.
const CERTIFICATE: &[u8] = include_bytes!("key_question.der");

static KEY: LazyLock<Arc<PublicKey>> = LazyLock::new(|| {
    let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let bits = b"\x7d\x38\x9a\x6e\x2b\xcc\xd7\xf7\x7a\x78\x48\x6c\x58\x80\xcb\x1b\
        \x52\xd1\xbc\x3f\xec\x89\xc0\xf7\xac\x30\x6c\x4a\x77\xe9\x90\x3d";
    let key = PublicKey::from_spki([&prefix[..], bits].concat());
    Arc::new(key.expect("a key"))
});
