//! Certificates whose keys the key servers hold.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::mode::Mode;
use crate::public_key::PublicKey;
use crate::question::certificate_verify;
use crate::rustls::{PemError, certified_key_from_pem_file};
use crate::sign::{RemoteSigner, SignError, SignRequest};

use super::KeyClient;

impl KeyClient {
    /// Reads a certificate chain whose key the key servers hold, and has them sign once with it.
    ///
    /// So a node that starts, or reloads, learns at once of a certificate without a key. What is
    /// signed is a CertificateVerify that belongs to no handshake. Nothing is signed in the strict
    /// mode, which takes a real one; and where no server can be asked at present, or none answers in
    /// time, the chain is taken as it is, with a warning to `tracing`.
    ///
    /// # Errors
    ///
    /// When the file has no certificate that this project serves, or a server was asked and refuses
    /// to sign with its key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lb_keyserver::{KeyClient, MutualTls};
    /// # async fn start(identity: MutualTls) -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = KeyClient::connect("keys.internal:2407", identity).await?;
    /// let certified_key = keys.certified_key("example.com.pem").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn certified_key(
        &self,
        chain: impl Into<PathBuf>,
    ) -> Result<CertifiedKey, CertifiedKeyError> {
        let file = chain.into();
        let reading = tokio::task::spawn_blocking(move || certified_key_from_pem_file(file));
        let certified = match reading.await {
            Ok(read) => read?,
            // The runtime ends.
            Err(_) => return Err(CertifiedKeyError::NotSigned(SignError::ShutDown)),
        };
        let leaf = certified.end_entity_cert().map_err(|_| PemError::Empty)?;
        let key = PublicKey::of_certificate(leaf).map_err(PemError::from)?;
        match self.try_key(Arc::new(key)).await {
            Ok(()) => Ok(certified),
            Err(error @ (SignError::Busy | SignError::Late | SignError::NoServer)) => {
                tracing::warn!(%error, "a certificate is used whose key could not be tried");
                Ok(certified)
            }
            Err(error) => Err(CertifiedKeyError::NotSigned(error)),
        }
    }

    /// Has one signature made with that key.
    async fn try_key(&self, key: Arc<PublicKey>) -> Result<(), SignError> {
        let scheme = key.kind().schemes().first().copied();
        let (Some(scheme), Some(message)) = (scheme, certificate_verify(&NO_HANDSHAKE)) else {
            return Err(SignError::BadScheme);
        };
        if self.0.shared.config.mode == Mode::Strict {
            return Ok(());
        }
        self.sign(SignRequest::new(key, scheme, message)).await?;
        Ok(())
    }
}

/// No transcript of a handshake has this hash.
const NO_HANDSHAKE: [u8; 32] = [0; 32];

/// Why [`KeyClient::certified_key`] has none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifiedKeyError {
    /// The file cannot be read, or has not in it what it should.
    #[error(transparent)]
    Certificate(#[from] PemError),
    /// The key servers do not sign with its key: they do not have it, or this node may not use it.
    #[error("the key of the certificate cannot be used: {0}")]
    NotSigned(SignError),
}
