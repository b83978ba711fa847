//! The PROXY protocol, versions 1 and 2: who the client is, told ahead of the client's own bytes.
//!
//! [`parse`] reads what a proxy in front of us sent; [`Header::emit`] writes what a backend behind
//! us reads. Both are pure, and neither trusts a byte: a header is bounded before it is buffered,
//! and a value that is handed out has been checked.
//!
//! Accepted: both versions, TCP and UDP over IPv4 and IPv6, Unix sockets, LOCAL, UNKNOWN, every
//! TLV. Not accepted: a version 1 line that differs from the specification in a space, a leading
//! zero or a line end; a version 2 block whose TLVs do not fill it exactly, whose checksum is
//! wrong, or whose family byte is not one of the seven listed.
//!
//! A listener is told by its configuration whether a header comes, and never guesses: a client
//! that may choose can lie about its address (section 5).
//!
//! Source: HAProxy, "The PROXY protocol, versions 1 & 2" (`doc/proxy-protocol.txt`, 2020-03-05).
//! Sections named in this module are its sections.
#![warn(clippy::indexing_slicing)]

mod crc32c;
mod ssl;
mod tlv;
mod unix;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::flow::FlowKey;

pub use ssl::{Ssl, SslField, SslFields, SslFlags};
pub use tlv::{Tlv, TlvError, TlvIter, Tlvs};
pub use unix::{UnixAddress, UnixAddressTooLong, UnixKind};

/// What a header says of the connection it stands in front of.
///
/// # Examples
///
/// A proxy's header comes in as version 1, and goes on to the backend as version 2:
///
/// ```
/// use lbcore::proxy_protocol::{Parse, Proxied, Tlv, Version, parse};
///
/// let bytes = b"PROXY TCP4 192.0.2.1 203.0.113.10 40000 443\r\nGET / HTTP/1.1\r\n";
/// let Parse::Complete { mut header, version, consumed } = parse(bytes)? else {
///     panic!("more bytes are needed");
/// };
/// assert_eq!(version, Version::V1);
/// assert_eq!(&bytes[consumed..], b"GET / HTTP/1.1\r\n");
/// let Proxied::Flow(flow) = &header.proxied else {
///     panic!("another kind of connection");
/// };
/// assert_eq!(flow.source, "192.0.2.1:40000".parse()?);
///
/// header.tlvs.push(&Tlv::Authority("example.com"))?;
/// header.tlvs.push(&Tlv::Crc32c)?;
/// let mut out = Vec::new();
/// header.emit(Version::V2, &mut out)?;
/// assert_eq!(out.len(), 16 + 12 + (3 + 11) + (3 + 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Whose connection it is.
    pub proxied: Proxied,
    /// What else the sender told; always empty in version 1 and for [`Proxied::Local`].
    pub tlvs: Tlvs,
}

impl Header {
    /// A header that tells of `proxied`, and has no TLVs yet.
    #[must_use]
    pub const fn new(proxied: Proxied) -> Self {
        Self {
            proxied,
            tlvs: Tlvs::new(),
        }
    }

    /// Appends this header to `out` as bytes; `out` is left as it was on an error.
    ///
    /// Where one end is IPv4 and the other IPv6, both are written as IPv6, the first one mapped
    /// (`::ffff:0:0/96`), for a header has one family. The flow label and the scope of an IPv6
    /// address have no place in a header and are left out.
    ///
    /// Cost: linear in the length; no allocation if `out` has room.
    ///
    /// # Errors
    ///
    /// When the version has no way to say it: see [`EmitError`].
    pub fn emit(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match version {
            Version::V1 => v1::emit(self, out),
            Version::V2 => v2::emit(self, out),
        }
    }
}

/// Whose connection a header stands in front of.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "version 2 of the protocol is complete; a receiver must refuse any other"
)]
pub enum Proxied {
    /// A client's TCP or UDP flow: these are its addresses, not those of the socket.
    Flow(FlowKey),
    /// The sender's own connection, such as a health check: the socket's addresses hold.
    ///
    /// Version 2 only.
    Local,
    /// A client's connection over Unix sockets.
    ///
    /// Version 2 only.
    Unix {
        /// Stream or datagram.
        kind: UnixKind,
        /// Where the client is bound; most often unnamed.
        source: UnixAddress,
        /// What the client addressed.
        destination: UnixAddress,
    },
    /// A client's connection of a kind the sender cannot name: the socket's addresses hold.
    Unknown,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third version would be another codec"
)]
pub enum Version {
    /// One line of text, at most [`MAX_V1_LENGTH`] bytes.
    V1,
    /// Binary, with TLVs.
    V2,
}

/// What [`parse`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a header is there or is not there yet"
)]
pub enum Parse {
    /// The whole header.
    Complete {
        /// What it says.
        header: Header,
        /// How it was said.
        version: Version,
        /// Its length in bytes; the client's own bytes begin behind it.
        consumed: usize,
    },
    /// So far a header, and more of it must come.
    Incomplete {
        /// How many bytes there must be, all in all, before it is worth asking again.
        ///
        /// More than were given, and never more than the header has: whoever reads up to `need`
        /// takes no byte of what follows.
        need: usize,
    },
}

/// Reads the header at the start of `bytes`, which may go on behind it.
///
/// As [`parse_at_most`] with [`MAX_LENGTH`].
///
/// # Errors
///
/// See [`ParseError`]; the connection is to be closed.
///
/// # Examples
///
/// ```
/// use lbcore::proxy_protocol::{Parse, ParseError, parse};
///
/// assert_eq!(parse(b"PROXY TCP6 ::1"), Ok(Parse::Incomplete { need: 16 }));
/// assert_eq!(parse(b"GET"), Err(ParseError::NotProxyProtocol));
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parse, ParseError> {
    parse_at_most(bytes, MAX_LENGTH)
}

/// Reads the header at the start of `bytes`, and refuses one of more than `most` bytes.
///
/// `most` concerns version 2, whose longest header would be 65,551 bytes; a line of version 1 has
/// its own bound. A header that breaks a rule is refused at the first byte that shows it, where
/// that does not need the rest: a wrong signature, version, command, family or length at once.
///
/// Cost: linear in the header's length. Allocates only for TLVs and Unix addresses, at most twice
/// the header, and only when it is complete.
///
/// # Errors
///
/// See [`ParseError`]; the connection is to be closed.
pub fn parse_at_most(bytes: &[u8], most: usize) -> Result<Parse, ParseError> {
    match bytes.first() {
        None => Ok(Parse::Incomplete {
            need: v1::MIN_LENGTH,
        }),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes, most),
        Some(_) => Err(ParseError::NotProxyProtocol),
    }
}

/// Why bytes are no PROXY protocol header.
///
/// They came from the network: none of these is a fault of this program. Either the peer is not the
/// proxy it should be, or it does not keep to the specification.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum ParseError {
    /// A version 1 address that is not one of the announced family, in its canonical form.
    #[error("an address is not one of the announced family")]
    Address,
    /// A checksum TLV that does not match: the header was damaged or forged.
    #[error("the CRC32C of the header does not match")]
    Checksum,
    /// A version 1 line with too few or too many fields.
    #[error("the line does not have its six fields")]
    Fields,
    /// A CR without LF, or a LF without CR, in a version 1 line.
    #[error("the line has a CR or LF that does not end it")]
    LineEnd,
    /// No line end within the [`MAX_V1_LENGTH`] bytes of a version 1 line.
    #[error("the line is longer than {MAX_V1_LENGTH} bytes")]
    LineTooLong,
    /// Neither a version 1 line nor the signature of version 2: a client that sent no header.
    #[error("the bytes are not a PROXY protocol header")]
    NotProxyProtocol,
    /// A version 1 port that is not a number of 0..=65535 without leading zeros.
    #[error("a port is not a number from 0 to 65535")]
    Port,
    /// A TLV that is broken, or whose value is not of its type.
    #[error("a TLV is broken: {0}")]
    Tlv(#[from] TlvError),
    /// A version 2 header that announces more bytes than the receiver allows.
    #[error("the header announces {length} bytes; {most} are allowed")]
    TooLong {
        /// What the header would have, in bytes.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// A version 2 header too short for the addresses of its family.
    #[error("the header is too short for the addresses of its family")]
    TooShort,
    /// A version 2 command other than LOCAL and PROXY.
    #[error("the command {0:#x} is not known")]
    UnknownCommand(u8),
    /// A version 2 family byte that the specification does not list.
    #[error("the family and protocol {0:#04x} are not known")]
    UnknownFamily(u8),
    /// A version 1 protocol other than TCP4, TCP6 and UNKNOWN.
    #[error("the protocol is none of TCP4, TCP6 and UNKNOWN")]
    UnknownProtocol,
    /// The binary signature, and a version other than 2.
    #[error("version {0} is not known")]
    UnknownVersion(u8),
}

/// Why a [`Header`] cannot be written in a version; the caller chooses the version.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum EmitError {
    /// [`Proxied::Local`] with TLVs: a receiver discards them unread (section 2.2).
    #[error("a LOCAL header carries no TLVs")]
    LocalTlvs,
    /// Version 1 tells TCP and unknown connections only, and without TLVs.
    #[error("version 1 carries TCP over IP only, and no TLVs")]
    NotInV1,
    /// More than the 65,535 bytes of addresses and TLVs that a version 2 header can announce.
    #[error("addresses and TLVs have {0} bytes; a header can hold 65535")]
    TooLong(usize),
}

/// The longest line of version 1 in bytes, its CR LF included (section 2.1).
pub const MAX_V1_LENGTH: usize = 107;

/// The longest version 2 header that [`parse`] accepts, in bytes: 4096.
///
/// The specification asks for at most 536; TLVs with a client's certificate names go beyond that,
/// and 4 KiB are what a connection that has shown nothing yet may cost.
pub const MAX_LENGTH: usize = 4096;
