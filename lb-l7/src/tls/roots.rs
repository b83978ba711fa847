//! The authorities that are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::pem::{self, LoadError, LoadFault};

/// The certificates of authorities: whoever shows a chain to one of them is believed.
///
/// Cheap to clone. A set has at least one authority.
///
/// # Examples
///
/// ```
/// use lb_l7::tls::{LoadFault, Roots};
///
/// let error = Roots::from_pem(b"nothing").unwrap_err();
/// assert!(matches!(error.fault(), LoadFault::NoCertificate));
/// ```
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    ders: Arc<[CertificateDer<'static>]>,
}

impl Roots {
    /// Debian's file of the authorities that browsers believe, from `ca-certificates`.
    pub const SYSTEM_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

    /// Reads all certificates of a PEM file. Blocks on the file.
    ///
    /// # Errors
    ///
    /// When there is none, or one is broken; the error names the file.
    pub fn from_pem_file(file: impl AsRef<Path>) -> Result<Self, LoadError> {
        let file = file.as_ref();
        Self::from_pem(&pem::read(file)?).map_err(|error| error.in_file(file))
    }

    /// Reads all certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// When there is none, or one is broken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, LoadError> {
        let ders = pem::certificates(pem)?;
        let mut store = RootCertStore::empty();
        for (index, der) in ders.iter().enumerate() {
            let bad = |_| LoadError::new(LoadFault::BadCertificate(index + 1));
            store.add(der.clone()).map_err(bad)?;
        }
        Ok(Self {
            store: Arc::new(store),
            ders: ders.into(),
        })
    }

    /// Reads the system's authorities, from [`SYSTEM_FILE`](Self::SYSTEM_FILE).
    ///
    /// Certificates in it that rustls cannot use are left out, for nobody here can mend that file.
    /// Blocks on the file; some 150 certificates take a few milliseconds.
    ///
    /// # Errors
    ///
    /// When the file is not there, or none in it can be used.
    pub fn system() -> Result<Self, LoadError> {
        let file = Path::new(Self::SYSTEM_FILE);
        let ders = pem::certificates(&pem::read(file)?).map_err(|error| error.in_file(file))?;
        let mut store = RootCertStore::empty();
        let (usable, _) = store.add_parsable_certificates(ders.iter().cloned());
        if usable == 0 {
            return Err(LoadError::new(LoadFault::NoCertificate).in_file(file));
        }
        Ok(Self {
            store: Arc::new(store),
            ders: ders.into(),
        })
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    pub(super) fn ders(&self) -> &[CertificateDer<'static>] {
        &self.ders
    }
}
