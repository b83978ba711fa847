//! Reads PEM (RFC 7468), and says which file is at fault, and how.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

/// Why an identity, or its authorities, could not be loaded; the file's owner has to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", .file.as_deref().unwrap_or_else(|| Path::new("(bytes)")).display())]
pub struct MutualTlsError {
    file: Option<PathBuf>,
    fault: MutualTlsFault,
}

impl MutualTlsError {
    /// The file at fault; `None` when bytes were given instead of a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn fault(&self) -> &MutualTlsFault {
        &self.fault
    }

    /// Names the file that is at fault.
    pub(super) fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(self.file.unwrap_or_else(|| file.to_owned())),
            ..self
        }
    }
}

impl From<MutualTlsFault> for MutualTlsError {
    fn from(fault: MutualTlsFault) -> Self {
        Self { file: None, fault }
    }
}

impl From<VerifierBuilderError> for MutualTlsError {
    fn from(_: VerifierBuilderError) -> Self {
        // There is always an authority, so that only a list can be at fault.
        MutualTlsFault::BadRevocationList.into()
    }
}

impl From<rustls::Error> for MutualTlsError {
    fn from(error: rustls::Error) -> Self {
        MutualTlsFault::Tls(error).into()
    }
}

/// What is wrong with a file of certificates, keys or lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MutualTlsFault {
    /// A certificate that cannot be read, or that cannot be an authority.
    #[error("certificate {0} cannot be read")]
    BadCertificate(
        /// Which one in the file, from 1.
        usize,
    ),
    /// The private key is broken, or of a kind that is not supported.
    #[error("the private key is broken or of an unsupported kind: {0}")]
    BadKey(#[source] rustls::Error),
    /// The PEM around the bytes is broken.
    #[error("the PEM is broken: {0}")]
    BadPem(#[source] pem::Error),
    /// A revocation list that cannot be read.
    #[error("revocation list cannot be read")]
    BadRevocationList,
    /// Others than its owner could read the private key: who has it has all that its identity may do.
    #[error("has mode {0:04o}: only its owner may have access (0600)")]
    Exposed(
        /// The file's mode.
        u32,
    ),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The private key is not the one of the first certificate.
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    /// There is no certificate in it.
    #[error("no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// There is no private key in it that is not encrypted.
    #[error("no private key (-----BEGIN PRIVATE KEY-----) that is not encrypted")]
    NoKey,
    /// There is no revocation list in it.
    #[error("no revocation list (-----BEGIN X509 CRL-----)")]
    NoRevocationList,
    /// rustls does not take it.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The file has more than a mebibyte.
    #[error("is too long")]
    TooLong,
}

/// The bytes of a file, which may hold a key next to what is looked for.
pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, MutualTlsError> {
    read_if(file, |_| Ok(()))
}

/// The bytes of a file that others have no access to.
pub(super) fn read_secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, MutualTlsError> {
    read_if(file, |mode| match mode & ACCESS_OF_OTHERS {
        0 => Ok(()),
        _ => Err(MutualTlsFault::Exposed(mode)),
    })
}

/// Opens the file first and looks at it then, so that what is looked at is what is read.
fn read_if(
    path: &Path,
    allowed: impl FnOnce(u32) -> Result<(), MutualTlsFault>,
) -> Result<Zeroizing<Vec<u8>>, MutualTlsError> {
    let opened = File::open(path).map_err(MutualTlsFault::from);
    let bytes = opened.and_then(|file| {
        allowed(file.metadata()?.mode() & PERMISSIONS)?;
        content(file)
    });
    bytes.map_err(|fault| MutualTlsError::from(fault).in_file(path))
}

fn content(file: File) -> Result<Zeroizing<Vec<u8>>, MutualTlsFault> {
    // All of the room at once, as a buffer that grows leaves copies of a key behind.
    let room = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.min(LONGEST) + 1));
    let limit = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        return Err(MutualTlsFault::TooLong);
    }
    Ok(bytes)
}

/// All certificates, in the order of the file; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, MutualTlsError> {
    sections(pem, MutualTlsFault::NoCertificate)
}

/// All revocation lists; at least one.
pub(super) fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, MutualTlsError> {
    sections(pem, MutualTlsFault::NoRevocationList)
}

/// All certificates as authorities; at least one.
pub(super) fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, MutualTlsError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(pem)?.into_iter().enumerate() {
        let added = store.add(certificate);
        added.map_err(|_| MutualTlsFault::BadCertificate(index + 1))?;
    }
    Ok(store.into())
}

/// The first private key.
pub(super) fn private_key(pem: &[u8]) -> Result<Arc<dyn rustls::sign::SigningKey>, MutualTlsError> {
    let key = PrivateKeyDer::from_pem_slice(pem);
    let mut key = key.map_err(|error| match error {
        pem::Error::NoItemsFound => MutualTlsFault::NoKey,
        error => MutualTlsFault::BadPem(error),
    })?;
    let signer = any_supported_type(&key);
    key.zeroize();
    Ok(signer.map_err(MutualTlsFault::BadKey)?)
}

/// A chain and the key of its first certificate.
pub(super) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn rustls::sign::SigningKey>,
) -> Result<Arc<CertifiedKey>, MutualTlsError> {
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(MutualTlsFault::KeyMismatch.into()),
        Err(_) => Err(MutualTlsFault::BadCertificate(1).into()),
    }
}

fn sections<T: PemObject>(pem: &[u8], none: MutualTlsFault) -> Result<Vec<T>, MutualTlsError> {
    let all: Result<Vec<T>, pem::Error> = T::pem_slice_iter(pem).collect();
    let all = all.map_err(MutualTlsFault::BadPem)?;
    if all.is_empty() {
        return Err(none.into());
    }
    Ok(all)
}

/// Bytes that a file may have: some hundred authorities.
const LONGEST: usize = 1 << 20;

/// The bits of a mode (inode(7)) that say who may do what, and those that concern group and world.
const PERMISSIONS: u32 = 0o7777;
const ACCESS_OF_OTHERS: u32 = 0o077;
