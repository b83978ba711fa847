//! A key in this process's memory.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::pem;
use super::{Input, SignFailure, SigningKey};
use crate::der::Der;
use crate::public_key::PublicKey;
use crate::scheme::Scheme;

/// A private key in this process's memory, which signs with AWS-LC.
///
/// The bytes that it is read from are the caller's to zeroise, as by `Zeroizing` of the zeroize crate;
/// what this type copies of them is zeroised. AWS-LC overwrites the key when it is dropped. Whoever
/// can read the process's memory has the key all the same: see `protect_process`.
///
/// A signature costs about 20 µs on P-256, 10 µs with Ed25519, 0.2 ms on P-384, and 0.4 ms with RSA of
/// 2,048 bits; the calls do not wait for each other.
///
/// # Examples
///
/// ```
/// use lb_keyserver::store::{Input, SigningKey, SoftKey};
/// use lb_keyserver::{Hash, Scheme};
///
/// let key = SoftKey::from_pem(rcgen::KeyPair::generate()?.serialize_pem().as_bytes())?;
/// let digest = Hash::Sha256.digest(b"what is signed");
/// let signature = key.sign(Scheme::EcdsaP256Sha256, Input::Digest(digest.as_ref()))?;
/// assert!(key.public_key().verifies(Scheme::EcdsaP256Sha256, b"what is signed", &signature));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SoftKey {
    public: PublicKey,
    pair: Pair,
}

impl SoftKey {
    /// Reads a key of PKCS #8 (RFC 5958), PKCS #1 (RFC 8017, A.1.2) or SEC 1 (RFC 5915) in DER.
    ///
    /// # Errors
    ///
    /// [`BadKey::Encrypted`], and [`BadKey::Invalid`] for all else.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, BadKey> {
        let pair = match key {
            PrivateKeyDer::Pkcs8(key) if is_encrypted(key.secret_pkcs8_der()) => {
                return Err(BadKey::Encrypted);
            }
            PrivateKeyDer::Pkcs8(key) => Pair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => {
                let pair = RsaKeyPair::from_der(key.secret_pkcs1_der());
                pair.ok().map(Pair::Rsa)
            }
            PrivateKeyDer::Sec1(key) => Pair::from_sec1(key.secret_sec1_der()),
            _ => None,
        };
        let pair = pair.ok_or(BadKey::Invalid)?;
        let spki = pair.spki().map_err(|_| BadKey::Invalid)?;
        let public = PublicKey::from_spki(spki.as_ref()).map_err(|_| BadKey::Invalid)?;
        Ok(Self { public, pair })
    }

    /// Reads the one key of a PEM file (RFC 7468); certificates and EC parameters next to it are
    /// passed over.
    ///
    /// # Errors
    ///
    /// When there is none, more than one, an encrypted one, or one that cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_keyserver::store::{BadKey, SoftKey};
    ///
    /// assert_eq!(SoftKey::from_pem(b"").err(), Some(BadKey::Missing));
    /// ```
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadKey> {
        let mut keys = pem::private_keys(pem)?.into_iter();
        let (form, der) = keys.next().ok_or(BadKey::Missing)?;
        if keys.next().is_some() {
            return Err(BadKey::Several);
        }
        Self::from_der(&form.of(&der))
    }

    /// Reads a key from a file's bytes: of PEM if there is a section of that, of DER if not.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem) and [`from_der`](Self::from_der).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        if pem::is_pem(bytes) {
            return Self::from_pem(bytes);
        }
        if is_encrypted(bytes) {
            return Err(BadKey::Encrypted);
        }
        let key = PrivateKeyDer::try_from(bytes);
        Self::from_der(&key.map_err(|_| BadKey::Invalid)?)
    }
}

impl SigningKey for SoftKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, scheme: Scheme, input: Input<'_>) -> Result<Vec<u8>, SignFailure> {
        if scheme.kind() != self.public.kind() {
            return Err(SignFailure::Crypto);
        }
        let signature = match (&self.pair, scheme.hash(), input) {
            (Pair::Ecdsa(pair), Some(hash), Input::Digest(digest)) => {
                Digest::import_less_safe(digest, hash.algorithm())
                    .and_then(|digest| pair.sign_digest(&digest))
                    .map(|signature| signature.as_ref().to_vec())
            }
            (Pair::Ed25519(pair), None, Input::Message(message)) => {
                let signature = pair.try_sign(message);
                signature.map(|signature| signature.as_ref().to_vec())
            }
            (Pair::Rsa(pair), Some(hash), Input::Digest(digest)) => {
                let digest = Digest::import_less_safe(digest, hash.algorithm());
                digest.and_then(|digest| sign_rsa(pair, scheme, &digest))
            }
            _ => Err(Unspecified),
        };
        signature.map_err(|_| SignFailure::Crypto)
    }
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftKey")
            .field("ski", &self.public.ski())
            .field("kind", &self.public.kind())
            .finish_non_exhaustive()
    }
}

/// Why there is no [`SoftKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// The key is under a passphrase.
    #[error("the key is encrypted: store it decrypted, readable by its owner alone")]
    Encrypted,
    /// The key is broken, or this project does not sign with such keys.
    #[error(
        "the key is broken, or not of those that are served: RSA of 2,048 to 8,192 bits, P-256, P-384, P-521 and Ed25519"
    )]
    Invalid,
    /// The PEM is broken.
    #[error("broken PEM")]
    Malformed,
    /// There is PEM, and no private key in it.
    #[error("there is no private key in it")]
    Missing,
    /// There are two keys, and no telling which is meant.
    #[error("there is more than one private key in it")]
    Several,
}

/// A key as AWS-LC holds it.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    /// Tries each kind, as AWS-LC does not say which one there is.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let ecdsa = || {
            let mut pairs = CURVES
                .into_iter()
                .map(|curve| EcdsaKeyPair::from_pkcs8(curve, der));
            pairs.find_map(Result::ok).map(Self::Ecdsa)
        };
        let ed25519 = || Ed25519KeyPair::from_pkcs8(der).ok().map(Self::Ed25519);
        let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa);
        ecdsa().or_else(ed25519).or_else(rsa)
    }

    fn from_sec1(der: &[u8]) -> Option<Self> {
        let mut pairs = CURVES
            .into_iter()
            .map(|curve| EcdsaKeyPair::from_private_key_der(curve, der));
        pairs.find_map(Result::ok).map(Self::Ecdsa)
    }

    fn spki(&self) -> Result<PublicKeyX509Der<'static>, Unspecified> {
        match self {
            Self::Ecdsa(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        }
    }
}

fn sign_rsa(pair: &RsaKeyPair, scheme: Scheme, digest: &Digest) -> Result<Vec<u8>, Unspecified> {
    let encoding: &'static dyn RsaEncoding = match scheme {
        Scheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
        // The salt is as long as the hash, as TLS wants it (RFC 8446, 4.2.3): AWS-LC's default.
        Scheme::RsaPssSha256 => &signature::RSA_PSS_SHA256,
        Scheme::RsaPssSha384 => &signature::RSA_PSS_SHA384,
        Scheme::RsaPssSha512 => &signature::RSA_PSS_SHA512,
        _ => return Err(Unspecified),
    };
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(encoding, digest, &mut signature)?;
    Ok(signature)
}

/// Whether that begins as an EncryptedPrivateKeyInfo does (RFC 5958, 3): with an algorithm where a
/// PrivateKeyInfo has its version.
fn is_encrypted(der: &[u8]) -> bool {
    let outer = Der::new(der).sequence();
    outer.is_some_and(|mut outer| outer.sequence().is_some())
}

/// The curves of [`KeyKind`](crate::KeyKind), the likely first.
static CURVES: [&signature::EcdsaSigningAlgorithm; 3] = [
    &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
];

#[cfg(test)]
mod tests {
    use rcgen::SignatureAlgorithm;

    use super::*;
    use crate::scheme::KeyKind;

    fn key(algorithm: &'static SignatureAlgorithm) -> SoftKey {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("made");
        SoftKey::from_der(&PrivateKeyDer::Pkcs8(pair.serialize_der().into())).expect("read")
    }

    fn keys() -> Vec<SoftKey> {
        let algorithms = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ];
        algorithms.into_iter().map(key).collect()
    }

    /// What `scheme` is to be given for `message`.
    fn sign(key: &SoftKey, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        match scheme.hash() {
            Some(hash) => key.sign(scheme, Input::Digest(hash.digest(message).as_ref())),
            None => key.sign(scheme, Input::Message(message)),
        }
    }

    #[test]
    fn a_key_signs_by_the_schemes_of_its_kind_and_by_no_other() {
        for key in keys() {
            for scheme in Scheme::ALL {
                let signature = sign(&key, scheme, b"message");
                if scheme.kind() == key.public_key().kind() {
                    let signature = signature.expect("signed");
                    assert!(key.public_key().verifies(scheme, b"message", &signature));
                } else {
                    assert_eq!(signature, Err(SignFailure::Crypto), "{key:?} {scheme}");
                }
            }
        }
    }

    #[test]
    fn a_digest_of_another_length_is_not_signed() {
        for key in keys() {
            for scheme in key.public_key().kind().schemes() {
                let Some(hash) = scheme.hash() else { continue };
                for length in 0..=2 * hash.len() {
                    let signed = key.sign(*scheme, Input::Digest(&vec![7; length]));
                    assert_eq!(signed.is_ok(), length == hash.len(), "{scheme} {length}");
                }
            }
        }
    }

    #[test]
    fn a_message_goes_to_ed25519_alone_and_a_digest_to_all_others() {
        for key in keys() {
            for scheme in key.public_key().kind().schemes() {
                let is_ed25519 = key.public_key().kind() == KeyKind::Ed25519;
                let bytes = vec![7; scheme.hash().map_or(64, |hash| hash.len())];
                assert_eq!(
                    key.sign(*scheme, Input::Message(&bytes)).is_ok(),
                    is_ed25519
                );
                assert_eq!(
                    key.sign(*scheme, Input::Digest(&bytes)).is_ok(),
                    !is_ed25519
                );
            }
        }
    }

    #[test]
    fn what_is_shown_is_its_name_and_kind() {
        let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        let ski = key.public_key().ski();
        let shown = format!("SoftKey {{ ski: Ski({ski}), kind: EcdsaP256, .. }}");
        assert_eq!(format!("{key:?}"), shown);
    }

    #[test]
    fn broken_keys_are_refused() {
        let pair = rcgen::KeyPair::generate().expect("made");
        let der = pair.serialize_der();
        assert!(SoftKey::from_bytes(&der).is_ok());
        for end in 0..der.len() {
            let cut = SoftKey::from_bytes(der.get(..end).expect("shorter"));
            assert_eq!(cut.err(), Some(BadKey::Invalid), "{end}");
        }
        let pem = pair.serialize_pem();
        assert!(SoftKey::from_bytes(pem.as_bytes()).is_ok());
        let twice = [pem.clone(), pem].concat();
        assert_eq!(
            SoftKey::from_bytes(twice.as_bytes()).err(),
            Some(BadKey::Several)
        );
    }
}
