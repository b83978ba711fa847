//! The first message of a TLS client, read without answering it: whom it asks for.
//!
//! [`peek`] takes the bytes that a client has sent so far, as a look into the socket gives them, and
//! finds the server name and the application protocols. It decides where a connection goes; it is no
//! TLS implementation, and whoever terminates TLS behind it judges the rest of the message.
//!
//! Accepted: TLS 1.0 to 1.3, a message cut into records anywhere, unknown and GREASE extensions
//! (RFC 8701), the outer message of Encrypted Client Hello, whose server name is the public one. Not
//! accepted: SSL 2.0 framing, more than [`MAX_LENGTH`] bytes, empty records, a repeated server name
//! or protocol list, a server name that is no DNS name.
//!
//! Source: RFC 8446, 4.1.2 and 5.1; RFC 6066, 3 (server name); RFC 7301, 3.1 (ALPN).
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::net::IpAddr;

use thiserror::Error;

use super::server_name::ServerName;

/// Looks for a whole ClientHello at the start of `bytes`, which may go on behind it.
///
/// Never asks for more than [`MAX_LENGTH`] bytes. Refuses what is not TLS at its first wrong byte.
///
/// Cost: linear in the length. A message in one record is read where it is; only one that is cut up
/// is copied. What is returned allocates for the name and the protocols.
///
/// # Errors
///
/// See [`PeekError`]; the connection is to be closed, or treated as one without a name.
///
/// # Examples
///
/// ```
/// use lb_l4::stream::client_hello::{Peek, PeekError, peek};
///
/// // A handshake record of 64 bytes has begun.
/// assert_eq!(peek(&[22, 3, 1, 0, 64]), Ok(Peek::Incomplete { need: 9 }));
/// assert_eq!(peek(b"GET / HTTP/1.1"), Err(PeekError::NotTls));
/// ```
pub fn peek(bytes: &[u8]) -> Result<Peek, PeekError> {
    // What lies beyond is not looked at, so that the answer does not hang on how bytes arrive.
    let window = bytes.get(..MAX_LENGTH).unwrap_or(bytes);
    match gather(window)? {
        Gathered::Message(message) => ClientHello::parse(body(&message)).map(Peek::Complete),
        Gathered::Missing { need } if need > MAX_LENGTH => Err(PeekError::TooLong),
        Gathered::Missing { need } => Ok(Peek::Incomplete { need }),
    }
}

/// What [`peek`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a message is there or is not there yet"
)]
pub enum Peek {
    /// The whole message.
    Complete(ClientHello),
    /// So far a ClientHello, and more of it must come.
    Incomplete {
        /// How many bytes there must be, all in all, before it is worth looking again.
        ///
        /// More than were given, never more than the message has with its records, and at most
        /// [`MAX_LENGTH`].
        need: usize,
    },
}

/// What a TLS client asks for.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientHello {
    /// The host it wants to reach; `None` if it names none, or an IP address.
    ///
    /// RFC 6066 forbids addresses here; clients that send one are served as if they had not.
    #[doc(alias = "SNI")]
    pub server_name: Option<ServerName>,
    /// The list of ALPN as sent, without its length; checked.
    protocols: Box<[u8]>,
}

impl ClientHello {
    /// The application protocols it offers, best first, such as `h2`; none if it offers none.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Reader(&self.protocols);
        std::iter::from_fn(move || rest.block8().ok())
    }

    /// RFC 8446, 4.1.2; `body` is the message behind its type and length.
    fn parse(body: &[u8]) -> Result<Self, PeekError> {
        let mut rest = Reader(body);
        rest.take(VERSION_AND_RANDOM)?;
        let session_id = rest.block8()?;
        let cipher_suites = rest.block16()?;
        let compression_methods = rest.block8()?;
        let lengths_hold = session_id.len() <= 32
            && !cipher_suites.is_empty()
            && cipher_suites.len().is_multiple_of(2)
            && !compression_methods.is_empty();
        if !lengths_hold {
            return Err(PeekError::Malformed);
        }
        let mut hello = Self {
            server_name: None,
            protocols: Box::default(),
        };
        // Before TLS 1.3 the extensions could be left out (RFC 5246, 7.4.1.2).
        if !rest.is_empty() {
            let extensions = rest.block16()?;
            rest.end()?;
            hello.read_extensions(extensions)?;
        }
        Ok(hello)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Result<(), PeekError> {
        let mut rest = Reader(extensions);
        let (mut names, mut protocols) = (0, 0);
        while !rest.is_empty() {
            let kind = rest.number16()?;
            let data = rest.block16()?;
            match kind {
                SERVER_NAME => {
                    names += 1;
                    self.server_name = server_name(data)?;
                }
                ALPN => {
                    protocols += 1;
                    self.protocols = alpn(data)?.into();
                }
                _ => {}
            }
        }
        // RFC 8446, 4.2: no type twice. Two names would mean one to us and another to the backend.
        if names > 1 || protocols > 1 {
            return Err(PeekError::Malformed);
        }
        Ok(())
    }
}

/// RFC 6066, 3: a list of names, one of each type, of which only host names were ever defined.
fn server_name(data: &[u8]) -> Result<Option<ServerName>, PeekError> {
    let mut rest = Reader(data);
    let mut list = Reader(rest.block16()?);
    rest.end()?;
    if list.is_empty() {
        return Err(PeekError::Malformed);
    }
    let mut host = None;
    while !list.is_empty() {
        let kind = list.number8()?;
        let name = list.block16()?;
        if kind == HOST_NAME && host.replace(name).is_some() {
            return Err(PeekError::Malformed);
        }
    }
    let Some(host) = host else {
        return Ok(None);
    };
    let text = str::from_utf8(host).map_err(|_| PeekError::ServerName)?;
    if text.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| PeekError::ServerName)
}

/// RFC 7301, 3.1: a list of names of 1 to 255 bytes, at least one.
fn alpn(data: &[u8]) -> Result<&[u8], PeekError> {
    let mut rest = Reader(data);
    let list = rest.block16()?;
    rest.end()?;
    let mut names = Reader(list);
    loop {
        if names.block8()?.is_empty() {
            return Err(PeekError::Malformed);
        }
        if names.is_empty() {
            return Ok(list);
        }
    }
}

enum Gathered<'a> {
    /// The first handshake message, and perhaps bytes behind it.
    Message(Cow<'a, [u8]>),
    Missing {
        need: usize,
    },
}

/// Puts the first handshake message together from its records (RFC 8446, 5.1).
fn gather(bytes: &[u8]) -> Result<Gathered<'_>, PeekError> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    loop {
        let before = bytes.len() - rest.len();
        let Some(length) = record_length(rest, before == 0)? else {
            let need = before + RECORD_HEADER + missing(&message)?;
            return Ok(Gathered::Missing { need });
        };
        let payload = rest.get(RECORD_HEADER..).unwrap_or_default();
        let (here, behind) = payload.split_at_checked(length).unwrap_or((payload, &[]));
        if message.is_empty() {
            message = Cow::Borrowed(here);
        } else {
            message.to_mut().extend_from_slice(here);
        }
        let missing = missing(&message)?;
        if missing == 0 {
            return Ok(Gathered::Message(message));
        }
        let still_to_come = length - here.len();
        if still_to_come > 0 {
            // What this record will not bring needs the header of one more.
            let header = if missing > still_to_come {
                RECORD_HEADER
            } else {
                0
            };
            let need = bytes.len() + missing + header;
            return Ok(Gathered::Missing { need });
        }
        rest = behind;
    }
}

/// How long the payload of the record at the start of `bytes` is, if its header is all there.
fn record_length(bytes: &[u8], first: bool) -> Result<Option<usize>, PeekError> {
    let wrong = if first {
        PeekError::NotTls
    } else {
        PeekError::Malformed
    };
    let kind = bytes.first().is_none_or(|kind| *kind == HANDSHAKE);
    let major = bytes.get(1).is_none_or(|major| *major == TLS_MAJOR);
    if !kind || !major {
        return Err(wrong);
    }
    let Some([high, low]) = bytes.get(3..RECORD_HEADER) else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        // "Implementations MUST NOT send zero-length fragments of Handshake types."
        length @ 1..=MAX_RECORD => Ok(Some(length)),
        _ => Err(PeekError::Malformed),
    }
}

/// How many bytes `message` lacks at least; 0 if it is a whole ClientHello.
fn missing(message: &[u8]) -> Result<usize, PeekError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(PeekError::NotTls);
    }
    Ok(match split(message) {
        Some((length, body)) => length.saturating_sub(body.len()),
        None => MESSAGE_HEADER.saturating_sub(message.len()),
    })
}

/// A whole message without its header and what is behind it.
fn body(message: &[u8]) -> &[u8] {
    split(message)
        .and_then(|(length, body)| body.get(..length))
        .unwrap_or_default()
}

/// The length that a message announces for its body, and what of it is there.
fn split(message: &[u8]) -> Option<(usize, &[u8])> {
    let ([_, length @ ..], body) = message.split_first_chunk::<MESSAGE_HEADER>()?;
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    Some((length, body))
}

/// Takes values off the front of bytes; runs out with [`PeekError::Malformed`].
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], PeekError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(PeekError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number8(&mut self) -> Result<u8, PeekError> {
        let (first, rest) = self.0.split_first().ok_or(PeekError::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number16(&mut self) -> Result<u16, PeekError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(PeekError::Malformed)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*first))
    }

    /// Bytes behind their length in one byte.
    fn block8(&mut self) -> Result<&'a [u8], PeekError> {
        let length = self.number8()?;
        self.take(length.into())
    }

    /// Bytes behind their length in two bytes.
    fn block16(&mut self) -> Result<&'a [u8], PeekError> {
        let length = self.number16()?;
        self.take(length.into())
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self) -> Result<(), PeekError> {
        self.is_empty().then_some(()).ok_or(PeekError::Malformed)
    }
}

/// Why bytes are no ClientHello that says where it wants to go.
///
/// They came from the network: none of these is a fault of this program.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum PeekError {
    /// TLS as it begins, and then against its rules: a broken client, or a forged message.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// Another protocol, or TLS that does not begin with a ClientHello.
    #[error("the bytes are not a TLS ClientHello")]
    NotTls,
    /// A server name that is no DNS name; see [`ServerName`].
    #[error("the server name is not a DNS name")]
    ServerName,
    /// A message that does not end within [`MAX_LENGTH`] bytes.
    #[error("the ClientHello is longer than {MAX_LENGTH} bytes with its records")]
    TooLong,
}

/// The longest ClientHello that is looked at, its record headers included: 16,389 bytes.
///
/// One full record. Browsers send 500 to 2,000 bytes, about 1,200 of them for a post-quantum key.
pub const MAX_LENGTH: usize = RECORD_HEADER + MAX_RECORD;

/// Content type, version and length (RFC 8446, 5.1).
const RECORD_HEADER: usize = 5;

/// RFC 8446, 5.1: "The length MUST NOT exceed 2^14 bytes."
const MAX_RECORD: usize = 1 << 14;

/// Message type and length (RFC 8446, 4).
const MESSAGE_HEADER: usize = 4;

/// `legacy_version` and `random` (RFC 8446, 4.1.2).
const VERSION_AND_RANDOM: usize = 2 + 32;

// Content type, first byte of the version, and message type.
const HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;
const CLIENT_HELLO: u8 = 1;

// Extension types (RFC 8446, 4.2), and the one type of server name (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

#[cfg(test)]
mod tests;
