//! What a server is called in its connection ids.

use std::fmt::{self, Write};
use std::str::FromStr;

use thiserror::Error;

/// What a server is called in its connection ids: 1 to 15 octets, which are no number.
///
/// Written as hexadecimal digits.
///
/// # Examples
///
/// ```
/// use lb_l4::quic::ServerId;
///
/// let id: ServerId = "c4605e".parse()?;
/// assert_eq!(id.as_bytes(), [0xc4, 0x60, 0x5e]);
/// assert_eq!(id.to_string(), "c4605e");
/// # Ok::<(), lb_l4::quic::ServerIdError>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId {
    len: u8,
    /// Zero beyond `len`.
    octets: [u8; MAX_SERVER_ID],
}

impl ServerId {
    /// The id of these octets.
    ///
    /// # Errors
    ///
    /// [`ServerIdError::Length`] unless they are 1 to [`MAX_SERVER_ID`].
    pub fn new(octets: &[u8]) -> Result<Self, ServerIdError> {
        Self::of(octets).ok_or(ServerIdError::Length(octets.len()))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most 15")]
    pub(super) fn of(octets: &[u8]) -> Option<Self> {
        let mut it = Self {
            len: octets.len() as u8,
            octets: [0; MAX_SERVER_ID],
        };
        let place = it.octets.get_mut(..octets.len());
        place.filter(|it| !it.is_empty())?.copy_from_slice(octets);
        Some(it)
    }

    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len.into()).unwrap_or_default()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerId(")?;
        fmt::Display::fmt(self, f)?;
        f.write_char(')')
    }
}

impl FromStr for ServerId {
    type Err = ServerIdError;

    fn from_str(text: &str) -> Result<Self, ServerIdError> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(ServerIdError::Digits);
        }
        let octets: Option<Vec<u8>> = digits
            .as_chunks()
            .0
            .iter()
            .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
            .collect();
        Self::new(&octets.ok_or(ServerIdError::Digits)?)
    }
}

/// Why something is not a [`ServerId`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ServerIdError {
    /// Not pairs of hexadecimal digits.
    #[error("a server id is written as pairs of hexadecimal digits")]
    Digits,
    /// Too short or too long.
    #[error("a server id has 1 to {MAX_SERVER_ID} octets, not {0}")]
    Length(usize),
}

#[expect(clippy::cast_possible_truncation, reason = "below 16")]
fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|it| it as u8)
}

/// Octets of the longest server id: what a connection id of QUIC version 1 leaves beside the first
/// octet and a nonce of 4 (draft-ietf-quic-load-balancers, 5.3).
pub const MAX_SERVER_ID: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_as_it_is_written() {
        for text in [
            "00",
            "0f",
            "c4605e",
            "350d28b420",
            "000102030405060708090a0b0c0d0e",
        ] {
            let id: ServerId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(format!("{id:?}"), format!("ServerId({text})"));
            assert_eq!(ServerId::new(id.as_bytes()), Ok(id));
        }
        assert_eq!("C4605E".parse(), "c4605e".parse::<ServerId>());
    }

    #[test]
    fn other_texts_and_lengths_are_refused() {
        for text in ["0", "abc", "0g", "0x01", "é", " 1"] {
            assert_eq!(
                text.parse::<ServerId>(),
                Err(ServerIdError::Digits),
                "{text}"
            );
        }
        assert_eq!("".parse::<ServerId>(), Err(ServerIdError::Length(0)));
        assert_eq!(ServerId::new(&[0; 16]), Err(ServerIdError::Length(16)));
        assert_eq!(ServerId::new(&[0; 256]), Err(ServerIdError::Length(256)));
        assert!(ServerId::new(&[0; 15]).is_ok());
    }

    #[test]
    fn ids_of_different_lengths_are_different() {
        assert_ne!("00".parse::<ServerId>(), "0000".parse());
    }
}
