//! How a token is asked for what a scheme needs.

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::types::Ulong;

use super::emit;
use crate::scheme::{Hash, KeyKind, Scheme};
use crate::store::Input;

/// The mechanism by which a token signs.
///
/// None of them hashes but EdDSA's: the key server has hashed already, and what it built does not go
/// to the token.
pub(super) fn mechanism(scheme: Scheme) -> Mechanism<'static> {
    match scheme.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => Mechanism::Ecdsa,
        KeyKind::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        KeyKind::Rsa => match pss(scheme) {
            Some(parameters) => Mechanism::RsaPkcsPss(parameters),
            None => Mechanism::RsaPkcs,
        },
    }
}

/// The bytes that the token is given; `None` if the input is not what the scheme takes.
pub(super) fn payload(scheme: Scheme, input: Input<'_>) -> Option<Vec<u8>> {
    match (scheme.hash(), input) {
        (None, Input::Message(message)) => Some(message.to_vec()),
        (Some(hash), Input::Digest(digest)) if digest.len() == hash.len() => {
            let is_pkcs1 = scheme.kind() == KeyKind::Rsa && pss(scheme).is_none();
            // CKM_RSA_PKCS pads what it is given, and leaves it to the caller to say which hash.
            Some(match is_pkcs1 {
                true => emit::digest_info(arc(hash), digest),
                false => digest.to_vec(),
            })
        }
        _ => None,
    }
}

/// The signature as TLS carries it, from what the token answered.
pub(super) fn signature(scheme: Scheme, raw: Vec<u8>) -> Option<Vec<u8>> {
    match scheme.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => emit::ecdsa_signature(&raw),
        KeyKind::Ed25519 | KeyKind::Rsa => Some(raw),
    }
}

/// The parameters of a PSS scheme: one hash for all, and a salt as long as it (RFC 8446, 4.2.3).
fn pss(scheme: Scheme) -> Option<PkcsPssParams> {
    let (hash_alg, mgf, hash) = match scheme {
        Scheme::RsaPssSha256 => (
            MechanismType::SHA256,
            PkcsMgfType::MGF1_SHA256,
            Hash::Sha256,
        ),
        Scheme::RsaPssSha384 => (
            MechanismType::SHA384,
            PkcsMgfType::MGF1_SHA384,
            Hash::Sha384,
        ),
        Scheme::RsaPssSha512 => (
            MechanismType::SHA512,
            PkcsMgfType::MGF1_SHA512,
            Hash::Sha512,
        ),
        _ => return None,
    };
    let s_len = Ulong::try_from(hash.len()).ok()?;
    Some(PkcsPssParams {
        hash_alg,
        mgf,
        s_len,
    })
}

/// The last arc of a hash's object identifier (RFC 8017, B.1).
const fn arc(hash: Hash) -> u8 {
    match hash {
        Hash::Sha256 => 1,
        Hash::Sha384 => 2,
        Hash::Sha512 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_of_the_wrong_sort_or_length_is_not_handed_over() {
        for scheme in Scheme::ALL {
            let length = scheme.hash().map_or(32, Hash::len);
            let bytes = vec![1; length];
            let is_hashed = scheme.hash().is_some();
            assert_eq!(payload(scheme, Input::Digest(&bytes)).is_some(), is_hashed);
            assert_eq!(
                payload(scheme, Input::Message(&bytes)).is_some(),
                !is_hashed
            );
            for other in [0, length - 1, length + 1] {
                assert_eq!(payload(scheme, Input::Digest(&vec![1; other])), None);
            }
        }
    }

    #[test]
    fn only_pkcs_1_puts_anything_before_the_digest() {
        for scheme in Scheme::ALL {
            let Some(hash) = scheme.hash() else { continue };
            let digest = vec![7; hash.len()];
            let payload = payload(scheme, Input::Digest(&digest)).expect("good");
            let is_pkcs1 = scheme.as_str().starts_with("rsa-pkcs1");
            assert!(payload.ends_with(&digest));
            assert_eq!(payload.len() - digest.len(), if is_pkcs1 { 19 } else { 0 });
            let is_pss = matches!(mechanism(scheme), Mechanism::RsaPkcsPss(_));
            assert_eq!(is_pss, scheme.as_str().starts_with("rsa-pss"));
        }
    }

    #[test]
    fn only_ecdsa_is_turned_into_der() {
        for scheme in Scheme::ALL {
            let raw = vec![1; 64];
            let signature = signature(scheme, raw.clone()).expect("even");
            assert_eq!(signature != raw, scheme.as_str().starts_with("ecdsa"));
        }
    }
}
