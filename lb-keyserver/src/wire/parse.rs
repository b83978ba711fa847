//! Bytes to frames.

use std::net::IpAddr;

use super::items::Items;
use super::opcode::Opcode;
use super::{HEADER, tag};
use crate::ski::Ski;

/// One frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// What its sender claims to speak. Deployed servers do not look at it, nor does [`parse`].
    pub version: Version,
    /// Which question it is, or answers. The asker chooses it, and the answer repeats it.
    pub id: u32,
    /// What it carries.
    pub items: Items<'a>,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Version {
    /// The first number, 1.
    pub major: u8,
    /// The second number, 0.
    pub minor: u8,
}

impl Version {
    /// 1.0, what every frame of [`emit`](super::emit()) claims.
    pub const CURRENT: Self = Self { major: 1, minor: 0 };
}

/// Why bytes are no frame. The peer is to blame, and the connection cannot go on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// An address is neither of 4 nor of 16 bytes.
    #[error("an IP address is neither of 4 nor of 16 bytes")]
    BadAddress,
    /// The compliance region is not of one byte.
    #[error("the compliance region is not of one byte")]
    BadComplianceRegion,
    /// The opcode is not of one byte.
    #[error("the opcode is not of one byte")]
    BadOpcode,
    /// A known item comes twice; the padding counts as one.
    #[error("an item comes twice")]
    RepeatedItem,
    /// An item ends beyond its frame.
    #[error("an item ends beyond its frame")]
    TruncatedItem,
}

impl ParseError {
    /// Every one of them.
    pub const ALL: [Self; 5] = [
        Self::BadAddress,
        Self::BadComplianceRegion,
        Self::BadOpcode,
        Self::RepeatedItem,
        Self::TruncatedItem,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadAddress => "bad-address",
            Self::BadComplianceRegion => "bad-compliance-region",
            Self::BadOpcode => "bad-opcode",
            Self::RepeatedItem => "repeated-item",
            Self::TruncatedItem => "truncated-item",
        }
    }
}

/// Reads the frame that `buffer` begins with, and how many bytes it takes.
///
/// `None` when more bytes are needed: at most [`MAX_FRAME`](super::MAX_FRAME) in all, so a buffer
/// of that size never fills up. Unknown items are passed over; so are one or two bytes behind the
/// last item, a key's name that is not of 20 bytes, and a certificate's digest that is not of 32.
/// Costs one pass over the headers of the items, and allocates nothing.
///
/// # Errors
///
/// When what is framed breaks the rules of items. Deployed servers then close the connection
/// without an answer.
///
/// # Examples
///
/// ```
/// use lb_keyserver::wire::{Opcode, parse};
///
/// let bytes = b"\x01\x00\x00\x04\x00\x00\x00\x07\x11\x00\x01\xf1 and more";
/// let (frame, used) = parse(bytes)?.expect("whole");
/// assert_eq!((frame.id, frame.items.opcode, used), (7, Opcode::PING, 12));
/// assert!(parse(&bytes[..11])?.is_none());
/// # Ok::<(), lb_keyserver::wire::ParseError>(())
/// ```
pub fn parse(buffer: &[u8]) -> Result<Option<(Frame<'_>, usize)>, ParseError> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [major, minor, high, low, id @ ..] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = Frame {
        version: Version { major, minor },
        id: u32::from_be_bytes(id),
        items: items(body)?,
    };
    Ok(Some((frame, HEADER + length)))
}

fn items(mut body: &[u8]) -> Result<Items<'_>, ParseError> {
    let (mut items, mut seen) = (Items::default(), 0_u64);
    while let Some(([tag, high, low], rest)) = body.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let item = rest.split_at_checked(length);
        let (value, rest) = item.ok_or(ParseError::TruncatedItem)?;
        body = rest;
        if set(&mut items, *tag, value)? {
            // A known tag is below 64.
            let bit = 1 << (tag & 63);
            if seen & bit != 0 {
                return Err(ParseError::RepeatedItem);
            }
            seen |= bit;
        }
    }
    Ok(items)
}

/// Puts `value` where it belongs, and says whether the tag is known.
fn set<'a>(items: &mut Items<'a>, tag: u8, value: &'a [u8]) -> Result<bool, ParseError> {
    match tag {
        tag::CERTIFICATE_DIGEST => items.certificate_digest = value.try_into().ok(),
        tag::SERVER_NAME => items.server_name = value,
        tag::CLIENT_IP => items.client_ip = Some(address(value)?),
        tag::SKI => items.ski = value.try_into().ok().map(Ski::from_bytes),
        tag::SERVER_IP => items.server_ip = Some(address(value)?),
        tag::CERT_ID => items.cert_id = value,
        tag::OPCODE => items.opcode = Opcode(byte(value).ok_or(ParseError::BadOpcode)?),
        tag::PAYLOAD => items.payload = value,
        tag::CUSTOM_NAME => items.custom_name = value,
        tag::EXTRA => items.extra = value,
        tag::JAEGER_SPAN => items.jaeger_span = value,
        tag::REQUEST_CONTEXT => items.request_context = value,
        tag::COMPLIANCE_REGION => {
            items.compliance_region = byte(value).ok_or(ParseError::BadComplianceRegion)?;
        }
        tag::PADDING => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn byte(value: &[u8]) -> Option<u8> {
    let [byte] = value else { return None };
    Some(*byte)
}

fn address(value: &[u8]) -> Result<IpAddr, ParseError> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| v6()).map_err(|_| ParseError::BadAddress)
}
