//! The public half of a key: its name, its kind, and what it verifies.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;

use crate::der::Der;
use crate::scheme::{KeyKind, Scheme};
use crate::ski::Ski;

/// The public half of a key.
///
/// # Examples
///
/// ```
/// use lb_keyserver::{KeyKind, PublicKey};
///
/// let pair = rcgen::KeyPair::generate()?;
/// let key = PublicKey::from_spki(pair.subject_public_key_info())?;
/// assert_eq!(key.kind(), KeyKind::EcdsaP256);
/// # use rcgen::PublicKeyData;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PublicKey {
    ski: Ski,
    kind: KeyKind,
    spki: SubjectPublicKeyInfoDer<'static>,
    /// For each scheme of the kind, in its order.
    parsed: Vec<(Scheme, ParsedPublicKey)>,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280, 4.1) in DER.
    ///
    /// # Errors
    ///
    /// When it is not one, or of no [`KeyKind`].
    pub fn from_spki(spki: impl Into<Vec<u8>>) -> Result<Self, BadPublicKey> {
        let spki = spki.into();
        let (kind, bits) = read(&spki)?;
        let ski = Ski::of_bits(bits);
        let parsed = kind.schemes().iter().map(|scheme| {
            let parsed = ParsedPublicKey::new(verification(*scheme), bits);
            parsed.map(|parsed| (*scheme, parsed))
        });
        let parsed = parsed.collect::<Result<_, _>>();
        Ok(Self {
            ski,
            kind,
            parsed: parsed.map_err(|_| BadPublicKey::Invalid)?,
            spki: SubjectPublicKeyInfoDer::from(spki),
        })
    }

    /// Takes the key of a certificate, whose signature and dates are not looked at.
    ///
    /// # Errors
    ///
    /// When that is no certificate, or its key is of no [`KeyKind`].
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, BadPublicKey> {
        let parsed = ParsedCertificate::try_from(certificate);
        let parsed = parsed.map_err(|_| BadPublicKey::Certificate)?;
        Self::from_spki(parsed.subject_public_key_info().as_ref())
    }

    /// The name of the key.
    #[must_use]
    pub const fn ski(&self) -> Ski {
        self.ski
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub const fn spki(&self) -> &SubjectPublicKeyInfoDer<'static> {
        &self.spki
    }

    /// Whether `signature` is this key's, by `scheme` and over the whole of `message`.
    ///
    /// Costs about 65 µs on P-256 and 20 µs with RSA of 2,048 bits.
    #[must_use]
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let parsed = self.parsed.iter().find(|(own, _)| *own == scheme);
        parsed.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("ski", &self.ski)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why there is no [`PublicKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPublicKey {
    /// What should hold the key is no X.509 certificate.
    #[error("not a certificate")]
    Certificate,
    /// The key is broken: a point off its curve, an RSA modulus of a size that nobody should use.
    #[error("the public key is invalid, or too small or too large")]
    Invalid,
    /// The bytes are no SubjectPublicKeyInfo.
    #[error("not a SubjectPublicKeyInfo")]
    Malformed,
    /// The key is of a kind that this project does not sign with.
    #[error("keys of that kind are not served: RSA, P-256, P-384, P-521 and Ed25519 are")]
    Unsupported,
}

/// The kind of a SubjectPublicKeyInfo, and the bits of its subjectPublicKey.
fn read(spki: &[u8]) -> Result<(KeyKind, &[u8]), BadPublicKey> {
    let malformed = BadPublicKey::Malformed;
    let mut outer = Der::new(spki);
    let mut spki = outer
        .sequence()
        .filter(|_| outer.is_empty())
        .ok_or(malformed)?;
    let mut algorithm = spki.sequence().ok_or(malformed)?;
    let bits = spki
        .bit_string()
        .filter(|_| spki.is_empty())
        .ok_or(malformed)?;
    let kind = match algorithm.object_identifier().ok_or(malformed)? {
        RSA_ENCRYPTION => KeyKind::Rsa,
        ED25519 => KeyKind::Ed25519,
        EC_PUBLIC_KEY => match algorithm.object_identifier() {
            Some(SECP256R1) => KeyKind::EcdsaP256,
            Some(SECP384R1) => KeyKind::EcdsaP384,
            Some(SECP521R1) => KeyKind::EcdsaP521,
            _ => return Err(BadPublicKey::Unsupported),
        },
        _ => return Err(BadPublicKey::Unsupported),
    };
    Ok((kind, bits))
}

fn verification(scheme: Scheme) -> &'static dyn VerificationAlgorithm {
    match scheme {
        Scheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        Scheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        Scheme::EcdsaP521Sha512 => &signature::ECDSA_P521_SHA512_ASN1,
        Scheme::Ed25519 => &signature::ED25519,
        Scheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Scheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Scheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Scheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Scheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Scheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}

/// 1.2.840.113549.1.1.1 (RFC 3279, 2.3.1).
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1 (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7 (RFC 5480, 2.1.1.1).
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34.
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35.
const SECP521R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.101.112 (RFC 8410, 3).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;

    fn spki() -> Vec<u8> {
        rcgen::KeyPair::generate()
            .expect("made")
            .subject_public_key_info()
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        for (algorithm, kind) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::EcdsaP256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::EcdsaP384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, KeyKind::EcdsaP521),
            (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
            (&rcgen::PKCS_RSA_SHA256, KeyKind::Rsa),
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("made");
            let key = PublicKey::from_spki(pair.subject_public_key_info()).expect("read");
            assert_eq!(key.kind(), kind);
            let certificate = rcgen::CertificateParams::new(vec!["a.test".into()]);
            let certificate = certificate
                .expect("good")
                .self_signed(&pair)
                .expect("signed");
            let same = PublicKey::of_certificate(certificate.der()).expect("read");
            assert_eq!((same.ski(), same.kind()), (key.ski(), kind));
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        let good = spki();
        assert!(PublicKey::from_spki(good.clone()).is_ok());
        for end in 0..good.len() {
            assert_eq!(
                PublicKey::from_spki(&good[..end]).err(),
                Some(BadPublicKey::Malformed)
            );
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(
            PublicKey::from_spki(longer).err(),
            Some(BadPublicKey::Malformed)
        );
        let mut off_curve = good;
        *off_curve.last_mut().expect("bytes") ^= 1;
        assert_eq!(
            PublicKey::from_spki(off_curve).err(),
            Some(BadPublicKey::Invalid)
        );
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let mut other = spki();
        // The last byte of the curve's object identifier.
        other[22] ^= 0x40;
        assert_eq!(
            PublicKey::from_spki(other).err(),
            Some(BadPublicKey::Unsupported)
        );
    }
}
