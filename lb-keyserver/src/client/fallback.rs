//! A second signer for when the first can reach nobody.

use crate::sign::{RemoteSigner, SignError, SignRequest, Signing};

/// Asks the first signer, and the second when the first can reach no key server.
///
/// An explicit choice: what the second one holds, such as a [`LocalSigner`](super::LocalSigner)'s
/// keys, is then on this node after all. It is asked for [`SignError::NoServer`] alone, which comes
/// at once; a refusal is an answer, and after [`SignError::Late`] no time is left.
///
/// # Examples
///
/// ```
/// use lb_keyserver::client::{LocalSigner, WithFallback};
/// use lb_keyserver::{RemoteSigner, store::KeyStore};
///
/// fn with_keys(remote: impl RemoteSigner, spare: impl KeyStore) -> impl RemoteSigner {
///     WithFallback::new(remote, LocalSigner::new(spare))
/// }
/// ```
#[derive(Debug)]
pub struct WithFallback<A, B> {
    first: A,
    second: B,
}

impl<A, B> WithFallback<A, B> {
    /// Asks `first`, and `second` for want of a server.
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }

    /// The one that is asked first.
    pub const fn first(&self) -> &A {
        &self.first
    }

    /// The one that is asked for want of a server.
    pub const fn second(&self) -> &B {
        &self.second
    }
}

impl<A: RemoteSigner, B: RemoteSigner> RemoteSigner for WithFallback<A, B> {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        Box::pin(async move {
            match self.first.sign(request.clone()).await {
                Err(SignError::NoServer) => self.second.sign(request).await,
                settled => settled,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::PublicKeyData;

    use super::*;
    use crate::public_key::PublicKey;
    use crate::scheme::Scheme;
    use crate::sign::Signature;
    use crate::wire::ErrorCode;

    #[derive(Debug)]
    struct Says(Result<Signature, SignError>);

    impl RemoteSigner for Says {
        fn sign(&self, _: SignRequest) -> Signing<'_> {
            Box::pin(async { self.0.clone() })
        }
    }

    #[tokio::test]
    async fn the_second_is_asked_for_want_of_a_server_and_for_nothing_else() {
        let pair = rcgen::KeyPair::generate().expect("made");
        let key = PublicKey::from_spki(pair.subject_public_key_info()).expect("read");
        let request = SignRequest::new(Arc::new(key), Scheme::EcdsaP256Sha256, &b"abc"[..]);
        for (first, asked) in [
            (Err(SignError::NoServer), true),
            (Err(SignError::Late), false),
            (Err(SignError::Busy), false),
            (Err(SignError::ShutDown), false),
            (Err(SignError::Refused(ErrorCode::KeyNotFound)), false),
            (Ok(vec![1]), false),
        ] {
            let signer = WithFallback::new(Says(first.clone()), Says(Ok(vec![2])));
            let expected = if asked { Ok(vec![2]) } else { first };
            assert_eq!(signer.sign(request.clone()).await, expected);
        }
    }
}
