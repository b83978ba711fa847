//! Signing with keys that this process holds after all.

use std::sync::Arc;

use crate::public_key::PublicKey;
use crate::sign::{RemoteSigner, SignError, SignRequest, Signature, Signing};
use crate::store::{Input, KeyStore, SignFailure};
use crate::wire::ErrorCode;

/// Makes signatures with the keys of a [`KeyStore`] in this process.
///
/// For tests, for programs that hold some keys and ask for others, and as the explicit second choice
/// of a [`WithFallback`](super::WithFallback). The signature is made where the future is polled: 20 µs on
/// P-256, 400 µs with RSA of 2,048 bits; not for a store that blocks, such as a hardware module.
#[derive(Debug)]
pub struct LocalSigner(Arc<dyn KeyStore>);

impl LocalSigner {
    /// Signs with the keys of that store.
    pub fn new(keys: impl KeyStore) -> Self {
        Self(Arc::new(keys))
    }

    fn make(&self, request: &SignRequest) -> Result<Signature, SignError> {
        let public: &PublicKey = &request.key;
        if request.scheme.kind() != public.kind() {
            return Err(SignError::BadScheme);
        }
        let not_found = SignError::Refused(ErrorCode::KeyNotFound);
        let key = self.0.key(&public.ski()).ok_or(not_found)?;
        // A name is no proof: two keys may have one, and only one of them signs for this request.
        if key.public_key().spki() != public.spki() {
            return Err(not_found);
        }
        let signature = match request.scheme.hash() {
            Some(hash) => {
                let digest = hash.digest(&request.message);
                key.sign(request.scheme, Input::Digest(digest.as_ref()))
            }
            None => key.sign(request.scheme, Input::Message(&request.message)),
        };
        signature.map_err(|failure| {
            SignError::Refused(match failure {
                SignFailure::Crypto => ErrorCode::Crypto,
                SignFailure::Unavailable => ErrorCode::Internal,
            })
        })
    }
}

impl RemoteSigner for LocalSigner {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        Box::pin(async move { self.make(&request) })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;
    use crate::scheme::Scheme;
    use crate::ski::Ski;
    use crate::store::SigningKey;

    /// A key that signs by showing what it was given.
    #[derive(Debug)]
    struct Mirror(Arc<PublicKey>, Option<SignFailure>);

    impl SigningKey for Mirror {
        fn public_key(&self) -> &PublicKey {
            &self.0
        }

        fn sign(&self, _: Scheme, input: Input<'_>) -> Result<Vec<u8>, SignFailure> {
            match (self.1, input) {
                (Some(failure), _) => Err(failure),
                (None, Input::Digest(bytes)) => Ok([b"digest ", bytes].concat()),
                (None, Input::Message(bytes)) => Ok([b"message ", bytes].concat()),
            }
        }
    }

    /// Answers every name with its one key.
    #[derive(Debug)]
    struct One(Arc<PublicKey>, Option<SignFailure>);

    impl KeyStore for One {
        fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
            let mirror = Mirror(Arc::clone(&self.0), self.1);
            (*ski != Ski::of_bits(b"")).then(|| Arc::new(mirror) as _)
        }

        fn names(&self) -> Vec<Ski> {
            vec![self.0.ski()]
        }
    }

    fn public(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<PublicKey> {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("made");
        Arc::new(PublicKey::from_spki(pair.subject_public_key_info()).expect("read"))
    }

    fn make(
        own: &Arc<PublicKey>,
        failure: Option<SignFailure>,
        key: &Arc<PublicKey>,
        scheme: Scheme,
    ) -> Result<Signature, SignError> {
        let signer = LocalSigner::new(One(Arc::clone(own), failure));
        signer.make(&SignRequest::new(Arc::clone(key), scheme, &b"abc"[..]))
    }

    #[test]
    fn a_digest_is_signed_where_the_scheme_hashes_and_the_message_where_not() {
        let ecdsa = public(&rcgen::PKCS_ECDSA_P256_SHA256);
        let digest = crate::scheme::Hash::Sha256.digest(b"abc");
        assert_eq!(
            make(&ecdsa, None, &ecdsa, Scheme::EcdsaP256Sha256),
            Ok([b"digest ", digest.as_ref()].concat())
        );
        let ed25519 = public(&rcgen::PKCS_ED25519);
        let signed = make(&ed25519, None, &ed25519, Scheme::Ed25519);
        assert_eq!(signed, Ok(b"message abc".to_vec()));
    }

    #[test]
    fn another_key_scheme_or_failure_is_refused() {
        let (own, other) = (public(&rcgen::PKCS_ED25519), public(&rcgen::PKCS_ED25519));
        let refused = |code| Err(SignError::Refused(code));
        for (failure, key, scheme, expected) in [
            (
                None,
                &other,
                Scheme::Ed25519,
                refused(ErrorCode::KeyNotFound),
            ),
            (None, &own, Scheme::RsaPssSha256, Err(SignError::BadScheme)),
            (
                Some(SignFailure::Crypto),
                &own,
                Scheme::Ed25519,
                refused(ErrorCode::Crypto),
            ),
            (
                Some(SignFailure::Unavailable),
                &own,
                Scheme::Ed25519,
                refused(ErrorCode::Internal),
            ),
        ] {
            assert_eq!(make(&own, failure, key, scheme), expected);
        }
    }
}
