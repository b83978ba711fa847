//! The name of a key on the wire.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The subject key identifier: which key is meant.
///
/// It is the SHA-1 of the bits of the subjectPublicKey, without their tag, length and count of unused
/// bits (RFC 5280, 4.2.1.2, method 1). A name and no proof: who takes a key by it checks the key.
///
/// Shown, and read, as 40 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ski([u8; Self::LEN]);

impl Ski {
    /// Bytes of one.
    pub const LEN: usize = 20;

    /// Takes it as it stands on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Names the key whose subjectPublicKey has these bits. One SHA-1.
    #[must_use]
    pub fn of_bits(subject_public_key: &[u8]) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, subject_public_key);
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// As it stands on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for Ski {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Ski {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ski({self})")
    }
}

/// The text is no [`Ski`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a subject key identifier is 40 hexadecimal digits")]
#[non_exhaustive]
pub struct BadSki;

impl FromStr for Ski {
    type Err = BadSki;

    /// Reads 40 hexadecimal digits of either case; colons between bytes are passed over.
    fn from_str(text: &str) -> Result<Self, BadSki> {
        let mut digits = text.bytes().filter(|byte| *byte != b':');
        let mut digit = || {
            let digit = char::from(digits.next().ok_or(BadSki)?).to_digit(16);
            u8::try_from(digit.ok_or(BadSki)?).map_err(|_| BadSki)
        };
        let mut bytes = [0; Self::LEN];
        for byte in &mut bytes {
            *byte = digit()? << 4 | digit()?;
        }
        if digit().is_ok() || text.bytes().filter(|byte| *byte != b':').count() != 2 * Self::LEN {
            return Err(BadSki);
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    #[test]
    fn it_is_the_sha_1_of_the_bits() {
        // FIPS 180-4, the example of one block.
        assert_eq!(Ski::of_bits(b"abc").to_string(), ABC);
    }

    #[test]
    fn text_leads_back_to_it_in_either_case_and_with_colons() {
        let ski = Ski::of_bits(b"abc");
        let colons: Vec<_> = ABC
            .as_bytes()
            .chunks(2)
            .map(|two| String::from_utf8_lossy(two))
            .collect();
        for text in [ABC.to_owned(), ABC.to_uppercase(), colons.join(":")] {
            assert_eq!(text.parse(), Ok(ski), "{text}");
        }
    }

    #[test]
    fn what_is_shorter_longer_or_no_hexadecimal_is_refused() {
        for text in [
            "",
            &ABC[1..],
            &format!("{ABC}0"),
            &format!("{ABC}g"),
            &ABC.replace('a', "g"),
        ] {
            assert_eq!(text.parse::<Ski>(), Err(BadSki), "{text}");
        }
    }
}
