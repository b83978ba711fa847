//! What a frame asks for, or answers.

use std::fmt;

use crate::scheme::Scheme;

/// The one byte that says what a frame is for.
///
/// The numbers up to 0x3f and from 0xf0 are those of the deployed protocol; those from 0x40 to 0x43
/// are this project's own, and deployed servers refuse them as unknown rather than sign by them.
///
/// What is left out is refused: RSA decryption (0x01, 0x08), as it signs whatever one likes; the
/// hashes MD5, SHA-1 and SHA-224 (0x02–0x04, 0x12–0x14); seal, unseal, RPC and custom functions
/// (0x21–0x24).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Opcode(pub u8);

impl Opcode {
    /// None: what a frame has that does not say.
    pub const NONE: Self = Self(0x00);
    /// RSASSA-PKCS1-v1_5 over a digest by SHA-256.
    pub const RSA_PKCS1_SHA256: Self = Self(0x05);
    /// RSASSA-PKCS1-v1_5 over a digest by SHA-384.
    pub const RSA_PKCS1_SHA384: Self = Self(0x06);
    /// RSASSA-PKCS1-v1_5 over a digest by SHA-512.
    pub const RSA_PKCS1_SHA512: Self = Self(0x07);
    /// ECDSA over a digest by SHA-256.
    pub const ECDSA_SHA256: Self = Self(0x15);
    /// ECDSA over a digest by SHA-384.
    pub const ECDSA_SHA384: Self = Self(0x16);
    /// ECDSA over a digest by SHA-512.
    pub const ECDSA_SHA512: Self = Self(0x17);
    /// Ed25519 over the whole message.
    pub const ED25519: Self = Self(0x18);
    /// RSASSA-PSS over a digest by SHA-256.
    pub const RSA_PSS_SHA256: Self = Self(0x35);
    /// RSASSA-PSS over a digest by SHA-384.
    pub const RSA_PSS_SHA384: Self = Self(0x36);
    /// RSASSA-PSS over a digest by SHA-512.
    pub const RSA_PSS_SHA512: Self = Self(0x37);
    /// A CertificateVerify of TLS 1.3, from the hash of its transcript.
    pub const SIGN_TLS13: Self = Self(0x40);
    /// A ServerKeyExchange of TLS 1.2, from its randoms and parameters.
    pub const SIGN_TLS12: Self = Self(0x41);
    /// A CertificateVerify of TLS 1.3, from the handshake itself.
    pub const STRICT_TLS13: Self = Self(0x42);
    /// A ServerKeyExchange of TLS 1.2, from the handshake itself and the parameters.
    pub const STRICT_TLS12: Self = Self(0x43);
    /// The answer to a question, with the signature.
    pub const RESPONSE: Self = Self(0xf0);
    /// Asks for the payload back, to see whether the server lives.
    pub const PING: Self = Self(0xf1);
    /// The answer to a ping, with its payload.
    pub const PONG: Self = Self(0xf2);
    /// The answer where there is no signature, with an [`ErrorCode`](super::ErrorCode).
    pub const ERROR: Self = Self(0xff);

    /// The opcode of the plain mode that signs by `scheme`.
    #[must_use]
    pub const fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::EcdsaP256Sha256 => Self::ECDSA_SHA256,
            Scheme::EcdsaP384Sha384 => Self::ECDSA_SHA384,
            Scheme::EcdsaP521Sha512 => Self::ECDSA_SHA512,
            Scheme::Ed25519 => Self::ED25519,
            Scheme::RsaPkcs1Sha256 => Self::RSA_PKCS1_SHA256,
            Scheme::RsaPkcs1Sha384 => Self::RSA_PKCS1_SHA384,
            Scheme::RsaPkcs1Sha512 => Self::RSA_PKCS1_SHA512,
            Scheme::RsaPssSha256 => Self::RSA_PSS_SHA256,
            Scheme::RsaPssSha384 => Self::RSA_PSS_SHA384,
            Scheme::RsaPssSha512 => Self::RSA_PSS_SHA512,
        }
    }

    /// The scheme that this opcode of the plain mode signs by; `None` for every other opcode.
    #[must_use]
    pub fn scheme(self) -> Option<Scheme> {
        Scheme::ALL
            .into_iter()
            .find(|scheme| Self::of(*scheme) == self)
    }

    /// Whether only answers have it.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::RESPONSE | Self::PONG | Self::ERROR)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_and_its_opcode_lead_to_each_other_and_no_other_opcode_has_one() {
        let plain = [0x05, 0x06, 0x07, 0x15, 0x16, 0x17, 0x18, 0x35, 0x36, 0x37];
        for byte in 0..=u8::MAX {
            let scheme = Opcode(byte).scheme();
            assert_eq!(scheme.is_some(), plain.contains(&byte), "{byte:#x}");
            assert!(scheme.is_none_or(|scheme| Opcode::of(scheme) == Opcode(byte)));
        }
        // The deployed numbers: see the table of the protocol.
        for (byte, scheme) in [
            (0x05, Scheme::RsaPkcs1Sha256),
            (0x06, Scheme::RsaPkcs1Sha384),
            (0x07, Scheme::RsaPkcs1Sha512),
            (0x15, Scheme::EcdsaP256Sha256),
            (0x16, Scheme::EcdsaP384Sha384),
            (0x17, Scheme::EcdsaP521Sha512),
            (0x18, Scheme::Ed25519),
            (0x35, Scheme::RsaPssSha256),
            (0x36, Scheme::RsaPssSha384),
            (0x37, Scheme::RsaPssSha512),
        ] {
            assert_eq!(Opcode::of(scheme), Opcode(byte));
        }
    }

    #[test]
    fn three_opcodes_are_of_answers() {
        let answers = (0..=u8::MAX).filter(|byte| Opcode(*byte).is_answer());
        assert_eq!(answers.collect::<Vec<_>>(), [0xf0, 0xf2, 0xff]);
    }

    #[test]
    fn it_is_shown_as_a_byte() {
        assert_eq!(Opcode::RSA_PKCS1_SHA256.to_string(), "0x05");
    }
}
