//! How a signature is made.

use std::fmt;

/// A way of signing that TLS 1.2 or 1.3 has and that this project offers.
///
/// What is missing is missing on purpose: SHA-1, SHA-224 and MD5 are no longer safe to sign, and RSA
/// decryption signs anything for whoever may decrypt.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Scheme {
    /// ECDSA on P-256 over SHA-256; ASN.1 DER.
    EcdsaP256Sha256,
    /// ECDSA on P-384 over SHA-384; ASN.1 DER.
    EcdsaP384Sha384,
    /// ECDSA on P-521 over SHA-512; ASN.1 DER.
    EcdsaP521Sha512,
    /// Ed25519, which hashes for itself: it takes the whole message. 64 bytes.
    Ed25519,
    /// RSASSA-PKCS1-v1_5 over SHA-256: TLS 1.2 only.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 over SHA-384: TLS 1.2 only.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 over SHA-512: TLS 1.2 only.
    RsaPkcs1Sha512,
    /// RSASSA-PSS over SHA-256, the salt as long as the hash.
    RsaPssSha256,
    /// RSASSA-PSS over SHA-384, the salt as long as the hash.
    RsaPssSha384,
    /// RSASSA-PSS over SHA-512, the salt as long as the hash.
    RsaPssSha512,
}

impl Scheme {
    /// Every one of them.
    pub const ALL: [Self; 10] = [
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::EcdsaP521Sha512,
        Self::Ed25519,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
    ];

    /// Its name in configurations and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::EcdsaP521Sha512 => "ecdsa-p521-sha512",
            Self::Ed25519 => "ed25519",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPkcs1Sha384 => "rsa-pkcs1-sha384",
            Self::RsaPkcs1Sha512 => "rsa-pkcs1-sha512",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::RsaPssSha384 => "rsa-pss-sha384",
            Self::RsaPssSha512 => "rsa-pss-sha512",
        }
    }

    /// The scheme of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name)
    }

    /// Its number in TLS (RFC 8446, 4.2.3).
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::EcdsaP256Sha256 => 0x0403,
            Self::EcdsaP384Sha384 => 0x0503,
            Self::EcdsaP521Sha512 => 0x0603,
            Self::Ed25519 => 0x0807,
            Self::RsaPkcs1Sha256 => 0x0401,
            Self::RsaPkcs1Sha384 => 0x0501,
            Self::RsaPkcs1Sha512 => 0x0601,
            Self::RsaPssSha256 => 0x0804,
            Self::RsaPssSha384 => 0x0805,
            Self::RsaPssSha512 => 0x0806,
        }
    }

    /// The scheme with that number in TLS.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.code() == code)
    }

    /// The scheme as rustls names it.
    #[must_use]
    pub fn to_tls(self) -> rustls::SignatureScheme {
        self.code().into()
    }

    /// The hash of the message that is signed; `None` where the whole message is.
    #[must_use]
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::EcdsaP256Sha256 | Self::RsaPkcs1Sha256 | Self::RsaPssSha256 => Some(Hash::Sha256),
            Self::EcdsaP384Sha384 | Self::RsaPkcs1Sha384 | Self::RsaPssSha384 => Some(Hash::Sha384),
            Self::EcdsaP521Sha512 | Self::RsaPkcs1Sha512 | Self::RsaPssSha512 => Some(Hash::Sha512),
            Self::Ed25519 => None,
        }
    }

    /// The kind of key that it takes.
    #[must_use]
    pub const fn kind(self) -> KeyKind {
        match self {
            Self::EcdsaP256Sha256 => KeyKind::EcdsaP256,
            Self::EcdsaP384Sha384 => KeyKind::EcdsaP384,
            Self::EcdsaP521Sha512 => KeyKind::EcdsaP521,
            Self::Ed25519 => KeyKind::Ed25519,
            Self::RsaPkcs1Sha256
            | Self::RsaPkcs1Sha384
            | Self::RsaPkcs1Sha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512 => KeyKind::Rsa,
        }
    }

    /// Whether TLS 1.3 allows it in a CertificateVerify (RFC 8446, 4.2.3).
    #[must_use]
    pub const fn is_tls13(self) -> bool {
        !matches!(
            self,
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512
        )
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hash that is signed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    #[expect(clippy::len_without_is_empty, reason = "no hash is empty")]
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `message`.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> aws_lc_rs::digest::Digest {
        aws_lc_rs::digest::digest(self.algorithm(), message)
    }

    /// As AWS-LC names it.
    pub(crate) fn algorithm(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

/// What kind of key signs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum KeyKind {
    /// An elliptic curve key on P-256.
    EcdsaP256,
    /// An elliptic curve key on P-384.
    EcdsaP384,
    /// An elliptic curve key on P-521.
    EcdsaP521,
    /// An Ed25519 key.
    Ed25519,
    /// An RSA key of 2,048 to 8,192 bits.
    Rsa,
}

impl KeyKind {
    /// Its name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }

    /// The schemes that it can sign by, the preferred first.
    #[must_use]
    pub const fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::EcdsaP256 => &[Scheme::EcdsaP256Sha256],
            Self::EcdsaP384 => &[Scheme::EcdsaP384Sha384],
            Self::EcdsaP521 => &[Scheme::EcdsaP521Sha512],
            Self::Ed25519 => &[Scheme::Ed25519],
            Self::Rsa => &[
                Scheme::RsaPssSha256,
                Scheme::RsaPssSha384,
                Scheme::RsaPssSha512,
                Scheme::RsaPkcs1Sha256,
                Scheme::RsaPkcs1Sha384,
                Scheme::RsaPkcs1Sha512,
            ],
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_scheme() {
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::named(scheme.as_str()), Some(scheme));
            assert_eq!(Scheme::from_code(scheme.code()), Some(scheme));
            assert_eq!(u16::from(scheme.to_tls()), scheme.code());
            assert!(scheme.kind().schemes().contains(&scheme));
        }
        assert_eq!(Scheme::named("rsa-pkcs1-sha1"), None);
        assert_eq!(Scheme::from_code(0x0201), None);
    }

    #[test]
    fn a_kind_lists_its_own_schemes_and_no_other() {
        for scheme in Scheme::ALL {
            let kinds = Scheme::ALL.map(Scheme::kind);
            let listing = kinds.iter().filter(|kind| kind.schemes().contains(&scheme));
            assert!(listing.into_iter().all(|kind| *kind == scheme.kind()));
        }
    }

    #[test]
    fn a_digest_is_as_long_as_its_hash_says() {
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            assert_eq!(hash.digest(b"abc").as_ref().len(), hash.len());
        }
        assert_eq!(Scheme::Ed25519.hash(), None);
    }

    #[test]
    fn tls_1_3_has_no_pkcs1() {
        for scheme in Scheme::ALL {
            let is_pkcs1 = scheme.as_str().starts_with("rsa-pkcs1");
            assert_eq!(scheme.is_tls13(), !is_pkcs1, "{scheme}");
        }
    }
}
