//! A name for each request, by which the logs of all who saw it are put together.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use lbcore::rng::Rng;

use super::identity::Hop;
use super::names::X_REQUEST_ID;

/// Passes on the name that a request came with, or gives it one.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use lb_l7::headers::Scheme;
/// use lb_l7::headers::identity::{Identity, IdentityConfig};
/// use lb_l7::headers::request_id::RequestId;
/// use lbcore::rng::Xoshiro;
///
/// let identity = Identity::new(IdentityConfig::default())?;
/// let hop = identity.hop("192.0.2.1".parse()?, "203.0.113.1:80".parse()?, Scheme::Http);
/// let mut headers = HeaderMap::new();
/// let id = RequestId::default().apply(&mut headers, &hop, &mut Xoshiro::new(1));
/// assert_eq!(id.len(), 36);
/// assert_eq!(headers["x-request-id"], id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RequestId {
    /// The field; default `x-request-id`.
    pub name: HeaderName,
    /// Whose names are passed on; default [`Accept::Trusted`].
    pub accept: Accept,
    /// How new names are written; default [`Form::Uuid`].
    pub form: Form,
}

impl Default for RequestId {
    fn default() -> Self {
        Self {
            name: X_REQUEST_ID.clone(),
            accept: Accept::Trusted,
            form: Form::Uuid,
        }
    }
}

/// Whose word is taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Accept {
    /// Everyone's.
    Always,
    /// No one's.
    Never,
    /// That of trusted peers.
    #[default]
    Trusted,
}

impl Accept {
    /// Whether it is taken of this peer.
    #[must_use]
    pub const fn of(self, hop: &Hop) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Trusted => hop.is_trusted(),
        }
    }
}

/// How 128 random bits are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// 32 digits.
    Hex,
    /// A UUID of version 4 (RFC 9562, 5.4): 36 characters, of which 122 bits are random.
    #[default]
    Uuid,
}

/// The longest name that is passed on, in bytes; two UUIDs and a prefix fit.
pub const MAX_LENGTH: usize = 128;

impl RequestId {
    /// Leaves exactly one well-formed name in `headers`, and returns it.
    ///
    /// A name is passed on if it is the only one, has 1 to [`MAX_LENGTH`] bytes, and is made of
    /// letters, digits and `+ - . / : = @ _ ~`, which mean nothing in any log. New ones are unique
    /// as far as `rng` is, and no secret. Cost: one short buffer when a new one is made.
    pub fn apply(&self, headers: &mut HeaderMap, hop: &Hop, rng: &mut impl Rng) -> HeaderValue {
        if self.accept.of(hop) {
            let mut all = headers.get_all(&self.name).iter();
            if let (Some(only), None) = (all.next(), all.next())
                && is_well_formed(only.as_bytes())
            {
                return only.clone();
            }
        }
        let id = self.form.write(rng.next_u64(), rng.next_u64());
        headers.insert(&self.name, id.clone());
        id
    }
}

impl Form {
    fn write(self, high: u64, low: u64) -> HeaderValue {
        let mut out = BytesMut::with_capacity(36);
        match self {
            Self::Hex => {
                put_hex(&mut out, high);
                put_hex(&mut out, low);
            }
            Self::Uuid => {
                // Version 4 in bits 48..52, variant 10 in bits 64..66 (RFC 9562, 4).
                let mut digits = [0; 32];
                let mut rest = digits.as_mut_slice();
                put_hex(&mut rest, high & !0xf000 | 0x4000);
                put_hex(&mut rest, low & !(0b11 << 62) | 0b10 << 62);
                for (n, &digit) in digits.iter().enumerate() {
                    if matches!(n, 8 | 12 | 16 | 20) {
                        out.put_u8(b'-');
                    }
                    out.put_u8(digit);
                }
            }
        }
        // Digits and dashes make a value.
        HeaderValue::from_maybe_shared(out.freeze())
            .unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// Writes 16 hexadecimal digits.
pub(super) fn put_hex(out: &mut impl BufMut, word: u64) {
    for byte in word.to_be_bytes() {
        out.put_u8(digit(byte >> 4));
        out.put_u8(digit(byte & 0xf));
    }
}

/// The digit of a number below 16.
pub(super) const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"+-./:=@_~".contains(&byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests;
