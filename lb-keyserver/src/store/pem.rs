//! As much of PEM (RFC 7468) as private keys take.
//!
//! The readers that there are leave the key's base64 behind in memory that they free; here, every
//! buffer is zeroised, and no branch or index depends on a character of a key.
#![warn(clippy::indexing_slicing)]

use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::BadKey;

/// How the bytes of a private key are laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Pkcs1,
    Pkcs8,
    Sec1,
}

impl Form {
    /// Those bytes, which have this form.
    pub(super) fn of(self, der: &[u8]) -> PrivateKeyDer<'_> {
        match self {
            Self::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
            Self::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
            Self::Sec1 => PrivateKeyDer::Sec1(der.into()),
        }
    }
}

/// A private key's bytes, and how they are laid out.
pub(super) type FoundKey = (Form, Zeroizing<Vec<u8>>);

/// Whether there is any section of PEM.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// The private keys of a PEM file, in its order; sections of another label are passed over.
pub(super) fn private_keys(pem: &[u8]) -> Result<Vec<FoundKey>, BadKey> {
    let mut keys = Vec::new();
    let mut lines = pem
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, BEGIN) else {
            continue;
        };
        let mut base64 = Zeroizing::new(Vec::with_capacity(pem.len()));
        loop {
            let line = lines.next().ok_or(BadKey::Malformed)?;
            match self::label(line, END) {
                Some(end) if end == label => break,
                Some(_) => return Err(BadKey::Malformed),
                None => base64.extend_from_slice(line),
            }
        }
        let form = match label {
            b"PRIVATE KEY" => Form::Pkcs8,
            b"RSA PRIVATE KEY" => Form::Pkcs1,
            b"EC PRIVATE KEY" => Form::Sec1,
            b"ENCRYPTED PRIVATE KEY" => return Err(BadKey::Encrypted),
            _ => continue,
        };
        // RFC 1421, 4.6.1.1: how a passphrase is said of the older two forms.
        if base64.starts_with(b"Proc-Type:") {
            return Err(BadKey::Encrypted);
        }
        keys.push((form, decode(&base64).ok_or(BadKey::Malformed)?));
    }
    Ok(keys)
}

/// The label of a line that begins or ends a section.
fn label<'a>(line: &'a [u8], edge: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(edge)?.strip_suffix(b"-----")
}

/// Decodes base64 with its padding (RFC 4648, 4), which is refused in any form but the one.
fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = text.get(..text.len().checked_sub(padding)?)?;
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3));
    let mut faults = 0;
    for four in digits.chunks(4) {
        let mut word = 0_u32;
        for index in 0..4 {
            let digit = four.get(index).map_or(0, |byte| digit(*byte));
            faults |= digit;
            word = word << 6 | u32::from(digit) & 0x3f;
        }
        let [_, whole @ ..] = word.to_be_bytes();
        let length = four.len() * 6 / 8;
        bytes.extend_from_slice(whole.get(..length)?);
        // The bits that no byte takes have to be zero.
        faults |= whole
            .iter()
            .skip(length)
            .fold(0, |all, byte| all | u16::from(*byte) << 8);
    }
    (faults <= 0x3f).then_some(bytes)
}

/// The value of a base64 digit, or more than 0x3f for any other character.
///
/// Sums over the five ranges of the alphabet, so that neither a branch nor a cache line tells which
/// one a key's character is in.
fn digit(byte: u8) -> u16 {
    let byte = u16::from(byte);
    // All ones within the range, and else zero: a difference below zero has its top bit set.
    let within = |low: u8, high: u8| {
        let below = byte.wrapping_sub(low.into()) >> 15;
        let above = u16::from(high).wrapping_sub(byte) >> 15;
        (below | above).wrapping_sub(1)
    };
    let upper = within(b'A', b'Z');
    let lower = within(b'a', b'z');
    let number = within(b'0', b'9');
    let plus = within(b'+', b'+');
    let slash = within(b'/', b'/');
    upper & byte.wrapping_sub(u16::from(b'A'))
        | lower & byte.wrapping_sub(u16::from(b'a')).wrapping_add(26)
        | number & byte.wrapping_sub(u16::from(b'0')).wrapping_add(52)
        | plus & 62
        | slash & 63
        | !(upper | lower | number | plus | slash) & 0x100
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn section(label: &str, body: &str) -> Vec<u8> {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
    }

    fn forms(pem: &[u8]) -> Result<Vec<Form>, BadKey> {
        let keys = private_keys(pem)?;
        Ok(keys.into_iter().map(|(form, _)| form).collect())
    }

    #[test]
    fn each_digit_has_its_place_in_the_alphabet_as_value() {
        for byte in 0..=u8::MAX {
            let place = ALPHABET.iter().position(|digit| *digit == byte);
            let value = digit(byte);
            match place {
                Some(place) => assert_eq!(usize::from(value), place),
                None => assert!(value > 0x3f, "{byte:#x}"),
            }
        }
    }

    #[test]
    fn base64_is_read_as_its_rfc_has_it() {
        // RFC 4648, 10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            let decoded = decode(text.as_bytes()).expect("good");
            assert_eq!(decoded.as_slice(), bytes.as_bytes());
        }
        for text in [
            "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm9v=", "Zm=v", "Zm 9", "Zm-v",
            "Zg==Zg==",
        ] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_label_says_the_form() {
        let all = [
            section("EC PARAMETERS", "AAAA"),
            section("EC PRIVATE KEY", "AAAA"),
            section("CERTIFICATE", "not looked at"),
            section("PRIVATE KEY", "AAAA"),
            b"text between sections\n".to_vec(),
            section("RSA PRIVATE KEY", "AA\r\n  AA"),
        ];
        let expected = vec![Form::Sec1, Form::Pkcs8, Form::Pkcs1];
        assert_eq!(forms(&all.concat()), Ok(expected));
        assert_eq!(forms(b"no section"), Ok(vec![]));
        assert!(!is_pem(b"no section") && is_pem(&all.concat()));
    }

    #[test]
    fn an_encrypted_key_is_said_to_be_one() {
        let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA";
        for pem in [
            section("ENCRYPTED PRIVATE KEY", "AAAA"),
            section("RSA PRIVATE KEY", legacy),
            section("EC PRIVATE KEY", legacy),
        ] {
            assert_eq!(forms(&pem), Err(BadKey::Encrypted));
        }
    }

    #[test]
    fn a_section_that_does_not_end_or_holds_other_than_base64_is_malformed() {
        for pem in [
            section("PRIVATE KEY", "AA*A"),
            section("PRIVATE KEY", "AAA"),
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n".to_vec(),
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n".to_vec(),
            b"-----BEGIN CERTIFICATE-----\n-----END PRIVATE KEY-----\n".to_vec(),
        ] {
            assert_eq!(forms(&pem), Err(BadKey::Malformed));
        }
    }
}
