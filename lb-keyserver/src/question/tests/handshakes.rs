//! Handshakes built by hand, to be spoilt.

use super::super::hello::HELLO_RETRY_REQUEST;
use super::*;

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;
/// Of the key that is asked for.
pub(super) const KIND: KeyKind = KeyKind::Ed25519;

pub(super) fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes()[..], bytes].concat()
}

pub(super) fn vector24(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length[1..], bytes].concat()
}

pub(super) fn message(of_type: u8, body: &[u8]) -> Vec<u8> {
    [vec![of_type], vector24(body)].concat()
}

pub(super) fn extensions(all: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let each = all.iter();
    let each = each.map(|(kind, body)| [kind.to_be_bytes().to_vec(), vector16(body)].concat());
    vector16(&each.collect::<Vec<_>>().concat())
}

pub(super) fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    let entry = [vec![0], vector16(name)].concat();
    (SERVER_NAME, vector16(&entry))
}

/// A hello of either side, whose every field can be spoilt.
#[derive(Clone)]
pub(super) struct Hello {
    pub(super) is_client: bool,
    pub(super) version: u16,
    pub(super) random: [u8; 32],
    pub(super) session_id: Vec<u8>,
    pub(super) suites: Vec<u8>,
    pub(super) compression: Vec<u8>,
    pub(super) extensions: Option<Vec<(u16, Vec<u8>)>>,
    pub(super) tail: Vec<u8>,
}

impl Hello {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let id = u8::try_from(self.session_id.len()).expect("short");
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend(self.random);
        body.push(id);
        body.extend(&self.session_id);
        if self.is_client {
            body.extend(vector16(&self.suites));
            body.push(u8::try_from(self.compression.len()).expect("short"));
        } else {
            body.extend(&self.suites);
        }
        body.extend(&self.compression);
        body.extend(self.extensions.iter().flat_map(|all| extensions(all)));
        body.extend(&self.tail);
        message(if self.is_client { 1 } else { 2 }, &body)
    }

    pub(super) fn client() -> Self {
        Self {
            is_client: true,
            version: 0x0303,
            random: [0xc1; 32],
            session_id: vec![5; 32],
            suites: vec![0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b],
            compression: vec![0],
            extensions: Some(vec![
                (SUPPORTED_VERSIONS, vec![4, 3, 4, 3, 3]),
                sni(b"WWW.a.test"),
                (51, vec![0, 0]),
            ]),
            tail: vec![],
        }
    }

    /// A ServerHello of TLS 1.3.
    pub(super) fn server() -> Self {
        Self {
            is_client: false,
            random: [0x51; 32],
            suites: vec![0x13, 0x01],
            extensions: Some(vec![(51, vec![0, 0x1d]), (SUPPORTED_VERSIONS, vec![3, 4])]),
            ..Self::client()
        }
    }

    pub(super) fn server12() -> Self {
        Self {
            session_id: vec![],
            suites: vec![0xc0, 0x2b],
            extensions: Some(vec![(0xff01, vec![0])]),
            ..Self::server()
        }
    }

    pub(super) fn retry() -> Self {
        Self {
            random: *HELLO_RETRY_REQUEST,
            ..Self::server()
        }
    }

    pub(super) fn suite(self, suite: u16) -> Self {
        let suites = suite.to_be_bytes().to_vec();
        Self { suites, ..self }
    }

    pub(super) fn extensions(self, extensions: Vec<(u16, Vec<u8>)>) -> Self {
        let extensions = Some(extensions);
        Self { extensions, ..self }
    }
}

pub(super) fn certificate13(kind: KeyKind) -> Vec<u8> {
    let leaf = [vector24(certificate_of(kind)), vector16(&[])].concat();
    let chain = [leaf, vector24(b"issuer"), vector16(&[0, 18, 0, 0])].concat();
    message(11, &[vec![0], vector24(&chain)].concat())
}

pub(super) fn certificate12(kind: KeyKind) -> Vec<u8> {
    let chain = [vector24(certificate_of(kind)), vector24(b"issuer")].concat();
    message(11, &vector24(&chain))
}

pub(super) fn encrypted_extensions() -> Vec<u8> {
    message(8, &extensions(&[sni(b"")]))
}

pub(super) fn certificate_request() -> Vec<u8> {
    message(13, &[vec![0], extensions(&[(13, vec![])])].concat())
}

pub(super) fn first_hash(length: usize) -> Vec<u8> {
    message(254, &vec![9; length])
}

pub(super) fn tls13() -> Vec<Vec<u8>> {
    vec![
        Hello::client().bytes(),
        Hello::server().bytes(),
        encrypted_extensions(),
        certificate13(KIND),
    ]
}

pub(super) fn tls12() -> Vec<Vec<u8>> {
    vec![
        Hello::client().bytes(),
        Hello::server12().bytes(),
        certificate12(KIND),
    ]
}

pub(super) fn retried(first: Vec<u8>, retry: &Hello) -> Vec<Vec<u8>> {
    [vec![first, retry.bytes()], tls13()].concat()
}
