//! What a key is made to sign.

use std::fmt;

use super::request::{Form, Question};
use super::statement::{Statement, TranscriptHash};
use super::transcript;
use crate::public_key::PublicKey;
use crate::scheme::{Hash, Scheme};
use crate::store::Input;
use crate::wire::ErrorCode;

/// What a key is made to sign; owned, so that another thread can do it.
pub struct ToSign {
    scheme: Scheme,
    bytes: Bytes,
    digest: [u8; 32],
    server_name: Option<Box<str>>,
}

/// Only what the key takes is kept: a digest needs no allocation.
enum Bytes {
    Digest { bytes: [u8; 64], hash: Hash },
    Message(Box<[u8]>),
}

impl ToSign {
    /// How the key is to sign.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What [`SigningKey::sign`](crate::store::SigningKey::sign) takes.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        match &self.bytes {
            Bytes::Digest { bytes, hash } => {
                Input::Digest(bytes.get(..hash.len()).unwrap_or_default())
            }
            Bytes::Message(message) => Input::Message(message),
        }
    }

    /// The SHA-256 of what is signed, for the audit log.
    ///
    /// In the plain mode with SHA-384 and SHA-512, where the server never sees what is signed, it
    /// is the SHA-256 of the digest.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The name in the ClientHello, in lower case, where the client showed the handshake: that is,
    /// always in the strict mode. `None` when the hello has none, or no host name.
    ///
    /// Unlike [`Question::server_name`] it is what the access list can hold against the client.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Takes the digest that a client sent.
    fn plain(scheme: Scheme, payload: &[u8]) -> Result<Self, ErrorCode> {
        let Some(hash) = scheme.hash() else {
            return Ok(Self::of_message(scheme, payload.to_vec()));
        };
        if payload.len() != hash.len() {
            return Err(ErrorCode::Crypto);
        }
        let digest = match <[u8; 32]>::try_from(payload) {
            Ok(digest) => digest,
            Err(_) => sha256(payload),
        };
        Ok(Self::of_digest(scheme, hash, payload, digest))
    }

    /// Hashes what is signed, if the scheme does not do it.
    fn of_message(scheme: Scheme, message: Vec<u8>) -> Self {
        let digest = sha256(&message);
        match scheme.hash() {
            Some(Hash::Sha256) => Self::of_digest(scheme, Hash::Sha256, &digest, digest),
            Some(hash) => Self::of_digest(scheme, hash, hash.digest(&message).as_ref(), digest),
            None => Self {
                scheme,
                bytes: Bytes::Message(message.into()),
                digest,
                server_name: None,
            },
        }
    }

    fn of_digest(scheme: Scheme, hash: Hash, of_hash: &[u8], digest: [u8; 32]) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(of_hash) {
            *to = *from;
        }
        Self {
            scheme,
            bytes: Bytes::Digest { bytes, hash },
            digest,
            server_name: None,
        }
    }

    fn named(self, name: Option<&str>) -> Self {
        let server_name = name.map(|name| name.to_ascii_lowercase().into());
        Self {
            server_name,
            ..self
        }
    }
}

/// Shows nothing of what is signed but its hash.
impl fmt::Debug for ToSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToSign")
            .field("scheme", &self.scheme)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Question<'_> {
    /// Builds what `key` is to sign, and checks that it may.
    ///
    /// Costs at most two hashes of some hundred bytes; in the strict mode also one of the
    /// handshake, and reading it.
    ///
    /// # Errors
    ///
    /// The first of these that holds, to be answered as it is:
    ///
    /// - [`KeyNotFound`](ErrorCode::KeyNotFound): `key` is not the one that is meant;
    /// - [`BadOpcode`](ErrorCode::BadOpcode): the scheme is not one of the key's kind;
    /// - [`Crypto`](ErrorCode::Crypto): the digest is not as long as its hash;
    /// - [`Format`](ErrorCode::Format): in the strict mode, the handshake is malformed, goes on
    ///   behind its Certificate, is of the other version, hashed by another hash than its cipher
    ///   suite's, or its leaf certificate has another key.
    pub fn to_sign(&self, key: &PublicKey) -> Result<ToSign, ErrorCode> {
        if key.ski() != self.ski() {
            return Err(ErrorCode::KeyNotFound);
        }
        let scheme = self.scheme();
        if key.kind() != scheme.kind() {
            return Err(ErrorCode::BadOpcode);
        }
        match self.form {
            Form::Plain(payload) => ToSign::plain(scheme, payload),
            Form::Bound(statement) => Ok(ToSign::of_message(scheme, statement.to_message())),
            Form::StrictTls12 { params, handshake } => {
                let shown = transcript::tls12(handshake, key).ok_or(ErrorCode::Format)?;
                let statement = Statement::Tls12 {
                    randoms: &shown.randoms,
                    params,
                };
                let to_sign = ToSign::of_message(scheme, statement.to_message());
                Ok(to_sign.named(shown.server_name))
            }
            Form::StrictTls13 { hash, handshake } => {
                let shown = transcript::tls13(handshake, hash, key).ok_or(ErrorCode::Format)?;
                let digest = hash.digest(handshake);
                let hash = TranscriptHash::new(digest.as_ref()).ok_or(ErrorCode::Format)?;
                let message = Statement::Tls13 { hash }.to_message();
                Ok(ToSign::of_message(scheme, message).named(shown.server_name))
            }
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(Hash::Sha256.digest(bytes).as_ref()) {
        *to = *from;
    }
    digest
}
