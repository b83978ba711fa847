//! Reads PEM (RFC 7468), and says which file is at fault, and how.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Why certificates, keys or lists could not be loaded; the file's owner has to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", .file.as_deref().unwrap_or_else(|| Path::new("(bytes)")).display())]
pub struct LoadError {
    file: Option<PathBuf>,
    fault: LoadFault,
}

impl LoadError {
    pub(super) fn new(fault: impl Into<LoadFault>) -> Self {
        Self {
            file: None,
            fault: fault.into(),
        }
    }

    /// Names the file that is at fault.
    pub(super) fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(self.file.unwrap_or_else(|| file.to_owned())),
            ..self
        }
    }

    /// The file at fault; `None` when bytes were given instead of a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn fault(&self) -> &LoadFault {
        &self.fault
    }
}

/// What is wrong with a file of certificates, keys or lists.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// A certificate whose DER cannot be read, or which rustls refuses as a trust anchor.
    #[error("certificate {0} cannot be read")]
    BadCertificate(
        /// Which one in the file, from 1.
        usize,
    ),
    /// The private key's DER cannot be read, or it is of a kind that is not supported: RSA of 2048
    /// to 8192 bits, ECDSA on P-256, P-384 and P-521, and Ed25519 are.
    #[error("the private key is broken or of an unsupported kind: {0}")]
    BadKey(#[source] rustls::Error),
    /// The PEM around the bytes is broken.
    #[error("the PEM is broken: {0}")]
    BadPem(#[source] pem::Error),
    /// A revocation list that cannot be read.
    #[error("revocation list cannot be read")]
    BadRevocationList,
    /// The OCSP response is not a successful one (RFC 6960, 4.2.1), so that clients would refuse it.
    #[error("not a successful OCSP response in DER")]
    BadStaple,
    /// The ticket key is neither 48 nor 80 bytes long.
    #[error("a ticket key has 48 or 80 bytes, this has {0}")]
    BadTicketKey(
        /// How many it has.
        usize,
    ),
    /// The private key is encrypted; decrypt it first, such as with `openssl pkey`.
    #[error("the private key is encrypted, and no passphrase can be given")]
    EncryptedKey,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The private key is not the one of the first certificate. A chain in the wrong order looks
    /// the same: the server's own certificate must come first.
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    /// There is no certificate in it.
    #[error("no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// There is no private key in it.
    #[error("no private key (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// There is no revocation list in it.
    #[error("no revocation list (-----BEGIN X509 CRL-----)")]
    NoRevocationList,
}

/// The bytes of a file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(file).map_err(|error| LoadError::new(error).in_file(file))
}

/// All certificates, in the order of the file; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    sections(pem, LoadFault::NoCertificate)
}

/// All revocation lists; at least one.
pub(super) fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, LoadError> {
    sections(pem, LoadFault::NoRevocationList)
}

/// The first private key.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    // PKCS #8 says so in the label, and the older form in a header (RFC 1421, 4.6.1.1).
    if ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|sign| memchr::memmem::find(pem, sign.as_bytes()).is_some())
    {
        return Err(LoadError::new(LoadFault::EncryptedKey));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        LoadError::new(match error {
            pem::Error::NoItemsFound => LoadFault::NoKey,
            error => LoadFault::BadPem(error),
        })
    })
}

fn sections<T: PemObject>(pem: &[u8], none: LoadFault) -> Result<Vec<T>, LoadError> {
    let all: Result<Vec<T>, pem::Error> = T::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| LoadError::new(LoadFault::BadPem(error)))?;
    if all.is_empty() {
        return Err(LoadError::new(none));
    }
    Ok(all)
}
