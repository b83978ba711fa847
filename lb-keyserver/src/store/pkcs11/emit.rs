//! As much of writing DER (X.690) as tokens make necessary: they have keys and signatures in parts.
#![warn(clippy::indexing_slicing)]

/// A SubjectPublicKeyInfo (RFC 5280, 4.1) of an RSA key, from unsigned big-endian numbers.
pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[RSA_ENCRYPTION, NULL]);
    let key = sequence(&[&integer(modulus), &integer(exponent)]);
    sequence(&[&algorithm, &bit_string(&key)])
}

/// A SubjectPublicKeyInfo of a key on the curve that `parameters` name in DER (RFC 5480).
pub(super) fn ec_spki(parameters: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[EC_PUBLIC_KEY, parameters]);
    sequence(&[&algorithm, &bit_string(point)])
}

/// A SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
pub(super) fn ed25519_spki(point: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[ED25519]), &bit_string(point)])
}

/// An Ecdsa-Sig-Value (RFC 3279, 2.2.3), from r and s one after the other and equally long, as
/// CKM_ECDSA has them; `None` for an odd number of bytes, or none.
pub(super) fn ecdsa_signature(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(raw.len() / 2)?;
    let is_even = r.len() == s.len() && !r.is_empty();
    is_even.then(|| sequence(&[&integer(r), &integer(s)]))
}

/// A DigestInfo (RFC 8017, 9.2), from the object identifier's last arc beneath nistAlgorithms.hashAlgs
/// (2.16.840.1.101.3.4.2).
pub(super) fn digest_info(arc: u8, digest: &[u8]) -> Vec<u8> {
    let hash = [HASH_ALGORITHMS, &[arc]].concat();
    let algorithm = sequence(&[&hash, NULL]);
    sequence(&[&algorithm, &value(OCTET_STRING, digest)])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

fn bit_string(bits: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bits].concat())
}

/// An INTEGER that is not negative, from its big-endian bytes with any number of zeros before.
fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    // The top bit is the sign; and zero has one byte, not none.
    let is_padded = digits.first().is_none_or(|first| *first >= 0x80);
    let padding: &[u8] = if is_padded { &[0] } else { &[] };
    value(INTEGER, &[padding, digits].concat())
}

/// A value with its length in the shortest form.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let digits = length.get(zeros..).unwrap_or_default();
    let mut bytes = Vec::with_capacity(2 + digits.len() + content.len());
    bytes.push(tag);
    match u8::try_from(content.len()) {
        Ok(short @ 0..=0x7f) => bytes.push(short),
        _ => {
            // A `usize` has no more than eight bytes.
            bytes.push(LONG_FORM | u8::try_from(digits.len()).unwrap_or_default());
            bytes.extend_from_slice(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// In the first byte of a length: the rest of it says how many bytes the length has.
const LONG_FORM: u8 = 0x80;

const NULL: &[u8] = &[0x05, 0x00];

/// 1.2.840.113549.1.1.1 (RFC 3279, 2.3.1).
const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// 1.2.840.10045.2.1 (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
/// 1.3.101.112 (RFC 8410, 3).
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
/// 2.16.840.1.101.3.4.2, and room for one arc more.
const HASH_ALGORITHMS: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02";

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    };
    use proptest::prelude::*;
    use rcgen::PublicKeyData;

    use super::*;
    use crate::public_key::PublicKey;

    #[test]
    fn an_integer_is_as_short_as_it_can_be_and_never_negative() {
        for (number, expected) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0], &[2, 1, 0]),
            (&[0, 0], &[2, 1, 0]),
            (&[1], &[2, 1, 1]),
            (&[0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0x7f], &[2, 1, 0x7f]),
            (&[0, 0x80], &[2, 2, 0, 0x80]),
            (&[0, 0, 1, 0], &[2, 2, 1, 0]),
            (&[0xff, 0], &[2, 3, 0, 0xff, 0]),
        ] {
            assert_eq!(integer(number), expected, "{number:x?}");
        }
    }

    #[test]
    fn a_length_is_as_short_as_it_can_be() {
        for (length, expected) in [
            (0, &[4, 0][..]),
            (0x7f, &[4, 0x7f]),
            (0x80, &[4, 0x81, 0x80]),
            (0xff, &[4, 0x81, 0xff]),
            (0x100, &[4, 0x82, 1, 0]),
            (0xffff, &[4, 0x82, 0xff, 0xff]),
            (0x1_0000, &[4, 0x83, 1, 0, 0]),
        ] {
            let bytes = value(OCTET_STRING, &vec![7; length]);
            assert_eq!(bytes.len(), expected.len() + length);
            assert!(bytes.starts_with(expected), "{length}");
        }
    }

    #[test]
    fn signatures_are_split_in_the_middle() {
        assert_eq!(
            ecdsa_signature(&[1, 2]),
            Some(vec![0x30, 6, 2, 1, 1, 2, 1, 2])
        );
        let long = Some(vec![0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
        assert_eq!(ecdsa_signature(&[0, 1, 0, 0x80]), long);
        assert_eq!(ecdsa_signature(&[]), None);
        assert_eq!(ecdsa_signature(&[1]), None);
        assert_eq!(ecdsa_signature(&[1, 2, 3]), None);
    }

    #[test]
    fn a_digest_info_begins_as_rfc_8017_says() {
        // RFC 8017, 9.2, note 1.
        for (arc, length, head) in [
            (1, 32, "3031300d060960864801650304020105000420"),
            (2, 48, "3041300d060960864801650304020205000430"),
            (3, 64, "3051300d060960864801650304020305000440"),
        ] {
            let bytes = digest_info(arc, &vec![0xab; length]);
            let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, [head, &"ab".repeat(length)].concat());
        }
    }

    #[test]
    fn keys_come_out_as_others_write_them() {
        for (algorithm, length, head) in [
            (
                &rcgen::PKCS_ECDSA_P256_SHA256,
                65,
                &b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"[..],
            ),
            (
                &rcgen::PKCS_ECDSA_P384_SHA384,
                97,
                b"\x06\x05\x2b\x81\x04\x00\x22",
            ),
            (&rcgen::PKCS_ED25519, 32, b""),
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("made");
            let spki = pair.subject_public_key_info();
            let point = spki.get(spki.len() - length..).expect("longer");
            let own = match head {
                b"" => ed25519_spki(point),
                curve => ec_spki(curve, point),
            };
            assert_eq!(own, spki);
        }
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("made");
        let spki = pair.subject_public_key_info();
        // 2,048 bits, and then 65,537 as an INTEGER of five bytes.
        let end = spki.len() - 5;
        let modulus = spki.get(end - 256..end).expect("longer");
        assert_eq!(rsa_spki(modulus, &[1, 0, 1]), spki);
        assert_eq!(rsa_spki(&[&[0; 3], modulus].concat(), &[0, 1, 0, 1]), spki);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// One in 128 has an r or an s that begins with a zero byte, and three in four one whose top
        /// bit is set.
        #[test]
        fn what_tokens_sign_verifies_once_it_is_der(message: [u8; 8], curve in 0_usize..3) {
            let (algorithm, scheme) = [
                (&ECDSA_P256_SHA256_FIXED_SIGNING, crate::Scheme::EcdsaP256Sha256),
                (&ECDSA_P384_SHA384_FIXED_SIGNING, crate::Scheme::EcdsaP384Sha384),
                (&ECDSA_P521_SHA512_FIXED_SIGNING, crate::Scheme::EcdsaP521Sha512),
            ][curve];
            let pair = EcdsaKeyPair::generate(algorithm).expect("made");
            let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
                aws_lc_rs::encoding::AsDer::as_der(pair.public_key()).expect("encoded");
            let key = PublicKey::from_spki(spki.as_ref()).expect("read");
            let raw = pair.sign(&SystemRandom::new(), &message).expect("signed");
            let der = ecdsa_signature(raw.as_ref()).expect("even");
            prop_assert!(key.verifies(scheme, &message, &der));
            prop_assert!(!key.verifies(scheme, &message, raw.as_ref()));
        }
    }
}
