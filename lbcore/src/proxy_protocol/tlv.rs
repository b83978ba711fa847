//! What version 2 tells besides addresses: type, length and value (sections 2.2 to 2.2.8).

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::ssl::{self, Ssl};

/// The TLVs of a header, in the sender's order.
///
/// Each has been checked, so that reading them cannot fail. Where a type comes twice, [`find`] and
/// its kin see the first. Holds the bytes as they are sent, in one allocation; none if empty.
///
/// [`find`]: Self::find
///
/// # Examples
///
/// ```
/// use lbcore::proxy_protocol::{Ssl, SslField, SslFlags, Tlv, Tlvs};
///
/// let mut tlvs = Tlvs::new();
/// let ssl = Ssl::new(SslFlags::SSL, 0).with(&SslField::Version("TLSv1.3"))?;
/// tlvs.push(&Tlv::Authority("example.com"))?;
/// tlvs.push(&Tlv::Ssl(ssl))?;
///
/// assert_eq!(tlvs.authority(), Some("example.com"));
/// assert_eq!(tlvs.iter().count(), 2);
/// # Ok::<(), lbcore::proxy_protocol::TlvError>(())
/// ```
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Tlvs {
    /// Well-formed and checked; the value of a checksum is zero.
    bytes: Vec<u8>,
    /// Where the value of the checksum begins.
    checksum: Option<usize>,
}

impl Tlvs {
    /// No TLVs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            checksum: None,
        }
    }

    /// The TLVs that fill `bytes`, and the checksum among them if there is one.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, Option<u32>), TlvError> {
        let mut tlvs = Self::new();
        let mut checksum = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (kind, value) = take(&mut rest).ok_or(TlvError::Truncated)?;
            if let (CRC32C, [a, b, c, d]) = (kind, value) {
                checksum = Some(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            check(kind, value)?;
            if tlvs.bytes.is_empty() {
                tlvs.bytes.reserve_exact(bytes.len());
            }
            tlvs.append(kind, value)?;
        }
        Ok((tlvs, checksum))
    }

    /// Adds one TLV behind the others.
    ///
    /// # Errors
    ///
    /// If its value is not one of its type, or longer than 65,535 bytes; or for a second checksum.
    pub fn push(&mut self, tlv: &Tlv<'_>) -> Result<(), TlvError> {
        let value = tlv.value();
        check(tlv.kind(), &value)?;
        self.append(tlv.kind(), &value)
    }

    fn append(&mut self, kind: u8, value: &[u8]) -> Result<(), TlvError> {
        if kind != CRC32C {
            return put(&mut self.bytes, kind, value);
        }
        if self.checksum.is_some() {
            return Err(TlvError::SecondChecksum);
        }
        put(&mut self.bytes, kind, &[0; 4])?;
        self.checksum = Some(self.bytes.len() - 4);
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All of them as sent, but for the checksum, whose value is zero here.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in [`as_bytes`](Self::as_bytes) the value of the checksum begins.
    pub(super) const fn checksum_offset(&self) -> Option<usize> {
        self.checksum
    }

    /// Each TLV, in the sender's order.
    #[must_use]
    pub fn iter(&self) -> TlvIter<'_> {
        TlvIter { rest: &self.bytes }
    }

    /// The first TLV that `choose` makes something of.
    pub fn find<'a, T>(&'a self, choose: impl FnMut(Tlv<'a>) -> Option<T>) -> Option<T> {
        self.iter().find_map(choose)
    }

    /// The host name that the client asked for: TLS's server name, most often.
    #[must_use]
    #[doc(alias = "SNI")]
    pub fn authority(&self) -> Option<&str> {
        self.find(|tlv| match tlv {
            Tlv::Authority(name) => Some(name),
            _ => None,
        })
    }

    /// The name that the sender gave this connection: at most 128 bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.find(|tlv| match tlv {
            Tlv::UniqueId(id) => Some(id),
            _ => None,
        })
    }

    /// What the sender told of the client's TLS.
    #[must_use]
    pub fn ssl(&self) -> Option<Ssl<'_>> {
        self.find(|tlv| match tlv {
            Tlv::Ssl(ssl) => Some(ssl),
            _ => None,
        })
    }
}

impl fmt::Debug for Tlvs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Tlvs {
    type Item = Tlv<'a>;
    type IntoIter = TlvIter<'a>;

    fn into_iter(self) -> TlvIter<'a> {
        self.iter()
    }
}

/// The TLVs of a header, one after the other; made by [`Tlvs::iter`].
#[derive(Clone, Debug)]
pub struct TlvIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for TlvIter<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (kind, value) = take(&mut self.rest)?;
        Some(Tlv::of(kind, value))
    }
}

/// One type, length and value.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tlv<'a> {
    /// The protocol inside the connection, as TLS's ALPN names it (section 2.2.1).
    Alpn(&'a [u8]),
    /// The host name that the client asked for, UTF-8 (section 2.2.2).
    Authority(&'a str),
    /// A checksum of the header (section 2.2.3): verified when parsed, computed when emitted.
    Crc32c,
    /// The sender's network namespace, ASCII (section 2.2.7).
    Netns(&'a str),
    /// Padding: to be ignored (section 2.2.4).
    Noop(&'a [u8]),
    /// A type that this list does not name, passed on as it is.
    Other {
        /// The type; 0xE0..=0xEF are for applications (section 2.2.8).
        kind: u8,
        /// At most 65,535 bytes.
        value: &'a [u8],
    },
    /// What the sender knows of the client's TLS (section 2.2.6).
    Ssl(Ssl<'a>),
    /// The sender's name for this connection: at most 128 bytes (section 2.2.5).
    UniqueId(&'a [u8]),
}

impl<'a> Tlv<'a> {
    /// The TLV of checked bytes; what is not of its type is `Other`.
    fn of(kind: u8, value: &'a [u8]) -> Self {
        let known = match kind {
            ALPN => Some(Self::Alpn(value)),
            AUTHORITY => str::from_utf8(value).ok().map(Self::Authority),
            CRC32C => Some(Self::Crc32c),
            NETNS => str::from_utf8(value).ok().map(Self::Netns),
            NOOP => Some(Self::Noop(value)),
            SSL => Ssl::of(value).map(Self::Ssl),
            UNIQUE_ID => Some(Self::UniqueId(value)),
            _ => None,
        };
        known.unwrap_or(Self::Other { kind, value })
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Alpn(_) => ALPN,
            Self::Authority(_) => AUTHORITY,
            Self::Crc32c => CRC32C,
            Self::Netns(_) => NETNS,
            Self::Noop(_) => NOOP,
            Self::Other { kind, .. } => *kind,
            Self::Ssl(_) => SSL,
            Self::UniqueId(_) => UNIQUE_ID,
        }
    }

    fn value(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Alpn(value)
            | Self::Noop(value)
            | Self::Other { value, .. }
            | Self::UniqueId(value) => Cow::Borrowed(value),
            Self::Authority(text) | Self::Netns(text) => Cow::Borrowed(text.as_bytes()),
            Self::Crc32c => Cow::Borrowed(&[0; 4]),
            Self::Ssl(ssl) => Cow::Owned(ssl.to_value()),
        }
    }
}

/// Why a TLV is refused: the sender's fault if it was parsed, the caller's if it was pushed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum TlvError {
    /// The value is not one of its type: not UTF-8 or ASCII, or of a wrong length.
    #[error("the value of type {0:#04x} is not one of its type")]
    BadValue(u8),
    /// A second checksum: only one value can be zero while the other is computed.
    #[error("there is more than one checksum")]
    SecondChecksum,
    /// A value of more than the 65,535 bytes that its length can tell.
    #[error("the value has {0} bytes; 65535 are the most")]
    TooLong(usize),
    /// A type or length that reaches beyond the bytes it is in.
    #[error("it reaches beyond the end of the header")]
    Truncated,
}

/// Whether `value` is one of type `kind`.
fn check(kind: u8, value: &[u8]) -> Result<(), TlvError> {
    let good = match kind {
        AUTHORITY => str::from_utf8(value).is_ok(),
        CRC32C => value.len() == 4,
        NETNS => value.is_ascii(),
        SSL => return ssl::check(value),
        UNIQUE_ID => value.len() <= MAX_UNIQUE_ID,
        _ => true,
    };
    good.then_some(()).ok_or(TlvError::BadValue(kind))
}

/// Takes one TLV off the front of `rest`; `None`, and `rest` as it was, if it is not all there.
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (head, behind) = rest.split_first_chunk::<3>()?;
    let [kind, length @ ..] = *head;
    let (value, behind) = behind.split_at_checked(u16::from_be_bytes(length).into())?;
    *rest = behind;
    Some((kind, value))
}

pub(super) fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), TlvError> {
    let length = u16::try_from(value.len()).map_err(|_| TlvError::TooLong(value.len()))?;
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

// The registered types of section 2.2.
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
const NETNS: u8 = 0x30;

/// Section 2.2.5: "an opaque byte sequence of up to 128 bytes".
const MAX_UNIQUE_ID: usize = 128;
