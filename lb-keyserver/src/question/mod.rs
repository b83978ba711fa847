//! What is asked of a key server, and what may be: the meaning of frames.
//!
//! Pure: a client turns a [`SignRequest`](crate::SignRequest) into items by [`ask()`]; a server turns
//! items into a [`Request`] by [`read`], decides whether it is allowed, and has
//! [`Question::to_sign`] build what is signed. The answer goes back by [`emit_signature`],
//! [`emit_error`] or [`emit_pong`], and is read by [`Answer::read`].
//!
//! | mode | the client sends | the server signs |
//! |---|---|---|
//! | plain | a digest | that: it cannot tell what of |
//! | bound, TLS 1.3 | scheme, hash of the transcript | a CertificateVerify of that hash |
//! | bound, TLS 1.2 | scheme, two randoms, ECDHE parameters | these, if they are parameters |
//! | strict | the same, and the handshake up to Certificate | as bound, from what it reads itself |
//!
//! # The payloads of this project's own opcodes
//!
//! ```text
//!  0x40  bound, TLS 1.3    scheme (2) │ hash of the transcript (32 or 48)
//!  0x41  bound, TLS 1.2    scheme (2) │ client random (32) │ server random (32) │ parameters
//!  0x42  strict, TLS 1.3   scheme (2) │ its hash (1): 4 SHA-256, 5 SHA-384 │ handshake
//!  0x43  strict, TLS 1.2   scheme (2) │ length (2) │ parameters │ handshake
//! ```
//!
//! A scheme is a SignatureScheme of TLS (RFC 8446, 4.2.3). Parameters are ServerECDHParams (RFC
//! 8422, 5.4) of a named curve. A handshake is its messages one after the other, each with its
//! header, as they are hashed: ClientHello, ServerHello, Certificate and perhaps CertificateStatus
//! in TLS 1.2; in TLS 1.3 ClientHello, ServerHello, EncryptedExtensions, perhaps
//! CertificateRequest, Certificate, and before them, where the client was told to try again, the
//! hash of its first hello as a `message_hash` (RFC 8446, 4.4.1) and the HelloRetryRequest.
//!
//! # What a stolen node can make of it
//!
//! In the plain mode, anything: a digest is a digest.
//!
//! In the bound mode, 64 spaces and a context string stand before every hash (RFC 8446, 4.4.3), and
//! the server writes them. So no delegated credential (RFC 9345, 4), no exported authenticator (RFC
//! 9261) and no CertificateVerify of a client can be had: theirs are other strings. What is signed
//! for TLS 1.2 begins with 64 bytes that the node chooses, and then 03, a zero and the number of a
//! curve. Where the 64 bytes are spaces, TLS 1.3 has a `T` in the place of the 03, so the one is
//! never the other; the zero rules out every statement in text, such as a JSON Web Token; the exact
//! length of the point rules out anything of another length than 100, 133 or 165 bytes.
//! And as it has to be a point of its curve, 48 bytes at most of what follows can be chosen: not
//! enough for a certification request (RFC 2986) with the key in it, which 96 bytes would be. It does
//! not rule out every DER structure of such a length, and a key of Ed25519 is so short that a request
//! without a name fits into the first 64 bytes: use keys whose certificates are for TLS servers alone.
//!
//! In the strict mode, the hash is the server's own, of a handshake that shows this key's
//! certificate and a name that the access list can hold against the client. A node can still make a
//! handshake up: it holds both ends of it.
//!
//! In the plain and bound modes, names and addresses are what the node claims.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//!
//! use lb_keyserver::question::{self, Request};
//! use lb_keyserver::{Hash, Mode, PublicKey, Scheme, SignRequest, wire};
//! # use rcgen::PublicKeyData;
//!
//! let pair = rcgen::KeyPair::generate()?;
//! let key = Arc::new(PublicKey::from_spki(pair.subject_public_key_info())?);
//!
//! // The node has what rustls wants to have signed,
//! let message = question::certificate_verify(&[7; 32]).expect("a hash");
//! let request = SignRequest::new(key.clone(), Scheme::EcdsaP256Sha256, &message[..]);
//! let asking = question::ask(Mode::Bound, &request)?;
//! let mut bytes = Vec::new();
//! wire::emit(1, &asking.items(), &mut bytes)?;
//!
//! // and the server signs that.
//! let (frame, _) = wire::parse(&bytes)?.expect("whole");
//! let Ok(Request::Sign(asked)) = question::read(Mode::Bound, &frame.items) else {
//!     panic!("a signature is asked for");
//! };
//! let to_sign = asked.to_sign(&key).expect("a statement of TLS");
//! assert_eq!(to_sign.digest()[..], *Hash::Sha256.digest(&message).as_ref());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(clippy::indexing_slicing)]

mod answer;
mod ask;
mod handshake;
mod hello;
mod reader;
mod request;
mod statement;
mod to_sign;
mod transcript;

pub use answer::{Answer, emit_error, emit_pong, emit_signature};
pub use ask::{Asking, ask};
pub use request::{Question, Request, read};
pub use statement::certificate_verify;
pub use to_sign::ToSign;

#[cfg(test)]
mod tests;
