//! A key that a configuration of rustls holds in place of a private one.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use super::step::Question;
use super::tape;
use crate::public_key::{BadPublicKey, PublicKey};
use crate::scheme::{KeyKind, Scheme};

/// A key whose private half is elsewhere.
///
/// It signs within a handshake that [`RemoteTls`](super::RemoteTls) or
/// [`Handshake`](super::Handshake) runs, under a configuration that computes with a
/// [`remote_provider`](super::remote_provider). Anywhere else it refuses, and the handshake fails.
///
/// # Examples
///
/// ```
/// use lb_keyserver::rustls::RemoteKey;
///
/// let pair = rcgen::KeyPair::generate()?;
/// let certificate = rcgen::CertificateParams::new(["example.com".into()])?.self_signed(&pair)?;
/// let certified = RemoteKey::certified(vec![certificate.into()])?;
/// certified.keys_match()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RemoteKey(Arc<PublicKey>);

impl RemoteKey {
    /// The key with that public half.
    pub fn new(key: impl Into<Arc<PublicKey>>) -> Self {
        Self(key.into())
    }

    /// A certificate chain, the leaf first, whose key is elsewhere.
    ///
    /// # Errors
    ///
    /// When there is no certificate, or the first one's key is of no [`KeyKind`].
    pub fn certified(chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, BadPublicKey> {
        let leaf = chain.first().ok_or(BadPublicKey::Certificate)?;
        let key = Self::new(PublicKey::of_certificate(leaf)?);
        Ok(CertifiedKey::new(chain, Arc::new(key)))
    }

    /// The public half.
    #[must_use]
    pub const fn key(&self) -> &Arc<PublicKey> {
        &self.0
    }
}

/// [`RemoteKey::certified`], from the certificates in `pem`; what else is in it is passed over.
///
/// # Errors
///
/// When the text is broken, or has no certificate, or its key is of no [`KeyKind`].
pub fn certified_key_from_pem(pem: &[u8]) -> Result<CertifiedKey, PemError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    certified(chain)
}

/// [`certified_key_from_pem`], from a file; it is read at once, so that the call may block.
///
/// # Errors
///
/// As [`certified_key_from_pem`], and when the file cannot be read.
pub fn certified_key_from_pem_file(path: impl AsRef<Path>) -> Result<CertifiedKey, PemError> {
    let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    certified(chain)
}

fn certified(chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, PemError> {
    if chain.is_empty() {
        return Err(PemError::Empty);
    }
    Ok(RemoteKey::certified(chain)?)
}

/// Why there is no certified key; whoever wrote the file has to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// There is no certificate in it.
    #[error("there is no certificate in it")]
    Empty,
    /// The first certificate's key cannot be used.
    #[error("the first certificate: {0}")]
    Key(#[from] BadPublicKey),
    /// The file cannot be read, or is no PEM (RFC 7468).
    #[error("cannot read certificates: {0}")]
    Pem(#[from] pem::Error),
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut own = self.0.kind().schemes().iter();
        let scheme = *own.find(|scheme| offered.contains(&scheme.to_tls()))?;
        let key = Arc::clone(&self.0);
        Some(Box::new(RemoteSignature { key, scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.spki().as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.kind() {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
                SignatureAlgorithm::ECDSA
            }
            KeyKind::Ed25519 => SignatureAlgorithm::ED25519,
            KeyKind::Rsa => SignatureAlgorithm::RSA,
        }
    }
}

/// One signature, to come.
#[derive(Debug)]
struct RemoteSignature {
    key: Arc<PublicKey>,
    scheme: Scheme,
}

impl Signer for RemoteSignature {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let question = || Question {
            key: Arc::clone(&self.key),
            scheme: self.scheme,
            message: message.into(),
        };
        match tape::with(|tape| tape.sign(question())) {
            Some(Some(signature)) => Ok(signature),
            Some(None) => Err(failed(NotSigned::Awaited)),
            None => Err(failed(NotSigned::Elsewhere)),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme.to_tls()
    }
}

/// Why rustls gets no signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum NotSigned {
    /// It is asked for; the pass ends here.
    #[error("the signature is on its way")]
    Awaited,
    #[error("a remote key signs only in a handshake that RemoteTls runs")]
    Elsewhere,
}

fn failed(error: NotSigned) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}
