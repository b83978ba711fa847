//! What a frame asks for.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::DnsName;

use super::reader::Reader;
use super::statement::{EcdhParams, Statement, TranscriptHash};
use crate::mode::Mode;
use crate::scheme::{Hash, Scheme};
use crate::ski::Ski;
use crate::wire::{ErrorCode, Items, Opcode};

/// What a client wants.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a further kind of request would be one that every server has to answer"
)]
pub enum Request<'a> {
    /// To have these bytes back.
    Ping(&'a [u8]),
    /// A signature.
    Sign(Question<'a>),
}

/// Reads what a frame asks for on a connection in `mode`.
///
/// Of a signature, the form is read, and no more: whether there is such a key, whether the client
/// may use it, and [`Question::to_sign`] come after, in that order. Allocates nothing.
///
/// # Errors
///
/// The first of these that holds, to be answered as it is:
///
/// - [`UnexpectedOpcode`](ErrorCode::UnexpectedOpcode): the opcode is one of answers;
/// - [`BadOpcode`](ErrorCode::BadOpcode): there is none, it is unknown, or it is not of the mode.
///   Plain opcodes are of the plain mode, those of the bound mode of it alone, and those of the
///   strict mode of both;
/// - [`KeyNotFound`](ErrorCode::KeyNotFound): no key is named. Deployed servers answer
///   [`Internal`](ErrorCode::Internal), which asks the client to try again;
/// - [`Format`](ErrorCode::Format): the payload is not what the opcode takes;
/// - [`BadOpcode`](ErrorCode::BadOpcode): the scheme in the payload is unknown, or not one of TLS
///   1.3 where that is to be signed;
/// - [`Crypto`](ErrorCode::Crypto): the hash of a transcript is neither of 32 nor of 48 bytes.
pub fn read<'a>(mode: Mode, items: &Items<'a>) -> Result<Request<'a>, ErrorCode> {
    let opcode = items.opcode;
    if opcode == Opcode::PING {
        return Ok(Request::Ping(items.payload));
    }
    if opcode.is_answer() {
        return Err(ErrorCode::UnexpectedOpcode);
    }
    if !is_of(mode, opcode) {
        return Err(ErrorCode::BadOpcode);
    }
    let ski = items.ski.ok_or(ErrorCode::KeyNotFound)?;
    let (scheme, form) = form(opcode, items.payload)?;
    Ok(Request::Sign(Question {
        ski,
        opcode,
        scheme,
        form,
        server_name: host_name(items.server_name),
        client: items.client_ip,
    }))
}

fn is_of(mode: Mode, opcode: Opcode) -> bool {
    let bound = matches!(opcode, Opcode::SIGN_TLS12 | Opcode::SIGN_TLS13);
    let strict = matches!(opcode, Opcode::STRICT_TLS12 | Opcode::STRICT_TLS13);
    match mode {
        Mode::Plain => opcode.scheme().is_some(),
        Mode::Bound => bound || strict,
        Mode::Strict => strict,
    }
}

/// A signature that is asked for, in good form.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    ski: Ski,
    opcode: Opcode,
    scheme: Scheme,
    pub(super) form: Form<'a>,
    server_name: Option<&'a str>,
    client: Option<IpAddr>,
}

/// What a question carries, by its opcode.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// A digest, or the whole message where the scheme hashes for itself.
    Plain(&'a [u8]),
    /// What is to be signed, taken apart.
    Bound(Statement<'a>),
    /// A handshake of TLS 1.2 up to Certificate, and the parameters that follow.
    StrictTls12 {
        params: EcdhParams<'a>,
        handshake: &'a [u8],
    },
    /// A handshake of TLS 1.3 up to Certificate, and what hashes it.
    StrictTls13 { hash: Hash, handshake: &'a [u8] },
}

impl Question<'_> {
    /// The key that is meant.
    #[must_use]
    pub const fn ski(&self) -> Ski {
        self.ski
    }

    /// The operation, for records.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// How the key is to sign.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name that the TLS client asked for, as the node says, in the case that it sent.
    ///
    /// A claim: only [`ToSign::server_name`](super::ToSign::server_name), in the strict mode, is
    /// read out of the handshake. What is no host name counts as none.
    #[must_use]
    pub const fn server_name(&self) -> Option<&str> {
        self.server_name
    }

    /// The TLS client, as the node says.
    #[must_use]
    pub const fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

/// Shows nothing of what is to be signed.
impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("ski", &self.ski)
            .field("opcode", &format_args!("{}", self.opcode))
            .field("scheme", &self.scheme)
            .field("server_name", &self.server_name)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

fn form(opcode: Opcode, payload: &[u8]) -> Result<(Scheme, Form<'_>), ErrorCode> {
    if let Some(scheme) = opcode.scheme() {
        return Ok((scheme, Form::Plain(payload)));
    }
    let malformed = ErrorCode::Format;
    let mut reader = Reader::new(payload);
    let code = reader.u16().ok_or(malformed)?;
    let scheme = Scheme::from_code(code).ok_or(ErrorCode::BadOpcode)?;
    let is_tls13 = matches!(opcode, Opcode::SIGN_TLS13 | Opcode::STRICT_TLS13);
    if is_tls13 && !scheme.is_tls13() {
        return Err(ErrorCode::BadOpcode);
    }
    let form = match opcode {
        Opcode::SIGN_TLS12 => tls12(reader).ok_or(malformed)?,
        Opcode::SIGN_TLS13 => {
            let hash = TranscriptHash::new(reader.rest()).ok_or(ErrorCode::Crypto)?;
            Form::Bound(Statement::Tls13 { hash })
        }
        Opcode::STRICT_TLS12 => strict_tls12(reader).ok_or(malformed)?,
        Opcode::STRICT_TLS13 => strict_tls13(reader).ok_or(malformed)?,
        _ => return Err(ErrorCode::BadOpcode),
    };
    Ok((scheme, form))
}

fn tls12(mut reader: Reader<'_>) -> Option<Form<'_>> {
    let randoms = reader.array()?;
    let params = EcdhParams::new(reader.rest())?;
    Some(Form::Bound(Statement::Tls12 { randoms, params }))
}

fn strict_tls12(mut reader: Reader<'_>) -> Option<Form<'_>> {
    let params = EcdhParams::new(reader.vector16()?)?;
    let handshake = reader.rest();
    Some(Form::StrictTls12 { params, handshake })
}

fn strict_tls13(mut reader: Reader<'_>) -> Option<Form<'_>> {
    let hash = match reader.u8()? {
        HASH_SHA256 => Hash::Sha256,
        HASH_SHA384 => Hash::Sha384,
        _ => return None,
    };
    let handshake = reader.rest();
    Some(Form::StrictTls13 { hash, handshake })
}

/// Bytes as the name of a host, if they are one (RFC 6066, 3: no address, no dot at the end).
pub(super) fn host_name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    let good = DnsName::try_from(name).is_ok() && !name.ends_with('.');
    (good && name.parse::<IpAddr>().is_err()).then_some(name)
}

// HashAlgorithm (RFC 5246, 7.4.1.4.1).
pub(super) const HASH_SHA256: u8 = 4;
pub(super) const HASH_SHA384: u8 = 5;
