//! Puts a question.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use super::request::{HASH_SHA256, HASH_SHA384};
use super::statement::Statement;
use super::transcript;
use crate::mode::Mode;
use crate::scheme::{Hash, Scheme};
use crate::sign::{SignError, SignRequest};
use crate::ski::Ski;
use crate::wire::{self, Items, Opcode};

/// A question, ready to be framed as often as it is asked.
#[derive(Clone)]
pub struct Asking<'a> {
    opcode: Opcode,
    payload: Cow<'a, [u8]>,
    ski: Ski,
    server_name: &'a str,
    client: Option<IpAddr>,
}

impl Asking<'_> {
    /// What the frame carries; it fits into one.
    #[must_use]
    pub fn items(&self) -> Items<'_> {
        Items {
            opcode: self.opcode,
            payload: &self.payload,
            ski: Some(self.ski),
            server_name: self.server_name.as_bytes(),
            client_ip: self.client,
            ..Items::default()
        }
    }
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items().fmt(f)
    }
}

/// Turns what a handshake waits for into a question in `mode`.
///
/// Costs one allocation, and one hash in the plain and the strict mode.
///
/// # Errors
///
/// - [`BadScheme`](SignError::BadScheme): the key does not sign so, or TLS 1.3 does not;
/// - [`BadRequest`](SignError::BadRequest): in the bound and the strict mode, the message is
///   nothing that a server of TLS signs; in the strict mode, also when there is no
///   [`transcript`](SignRequest::transcript), it is not of this message, or it does not fit into a
///   frame. In the plain mode, when the message of an Ed25519 signature does not fit.
pub fn ask(mode: Mode, request: &SignRequest) -> Result<Asking<'_>, SignError> {
    let scheme = request.scheme;
    if scheme.kind() != request.key.kind() {
        return Err(SignError::BadScheme);
    }
    let (opcode, payload) = match mode {
        Mode::Plain => (Opcode::of(scheme), plain(scheme, &request.message)),
        Mode::Bound => bound(scheme, &request.message)?,
        Mode::Strict => strict(request)?,
    };
    let asking = Asking {
        opcode,
        payload,
        ski: request.key.ski(),
        server_name: request.server_name.as_deref().unwrap_or_default(),
        client: request.client,
    };
    match wire::length(&asking.items()) {
        Ok(_) => Ok(asking),
        Err(_) => Err(SignError::BadRequest),
    }
}

fn plain(scheme: Scheme, message: &[u8]) -> Cow<'_, [u8]> {
    match scheme.hash() {
        Some(hash) => hash.digest(message).as_ref().to_vec().into(),
        None => message.into(),
    }
}

fn bound(scheme: Scheme, message: &[u8]) -> Result<(Opcode, Cow<'_, [u8]>), SignError> {
    let code = scheme.code().to_be_bytes();
    match statement(scheme, message)? {
        Statement::Tls12 { .. } => {
            let payload = [&code[..], message].concat();
            Ok((Opcode::SIGN_TLS12, payload.into()))
        }
        Statement::Tls13 { hash } => {
            let payload = [&code[..], hash.as_bytes()].concat();
            Ok((Opcode::SIGN_TLS13, payload.into()))
        }
    }
}

fn strict(request: &SignRequest) -> Result<(Opcode, Cow<'_, [u8]>), SignError> {
    let bad = SignError::BadRequest;
    let handshake = request.transcript.as_deref().ok_or(bad)?;
    let code = request.scheme.code().to_be_bytes();
    match statement(request.scheme, &request.message)? {
        Statement::Tls12 { randoms, params } => {
            if transcript::randoms(handshake).ok_or(bad)? != *randoms {
                return Err(bad);
            }
            let params = params.as_bytes();
            let length = u16::try_from(params.len()).map_err(|_| bad)?;
            let payload = [&code[..], &length.to_be_bytes(), params, handshake].concat();
            Ok((Opcode::STRICT_TLS12, payload.into()))
        }
        Statement::Tls13 { hash } => {
            let (id, by) = match hash.as_bytes().len() {
                32 => (HASH_SHA256, Hash::Sha256),
                _ => (HASH_SHA384, Hash::Sha384),
            };
            if by.digest(handshake).as_ref() != hash.as_bytes() {
                return Err(bad);
            }
            let payload = [&code[..], &[id], handshake].concat();
            Ok((Opcode::STRICT_TLS13, payload.into()))
        }
    }
}

fn statement(scheme: Scheme, message: &[u8]) -> Result<Statement<'_>, SignError> {
    let statement = Statement::read(message).ok_or(SignError::BadRequest)?;
    if matches!(statement, Statement::Tls13 { .. }) && !scheme.is_tls13() {
        return Err(SignError::BadScheme);
    }
    Ok(statement)
}
