//! One certificate, with its chain and its key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;

use super::client_auth::ClientAuth;
use super::der::Fields;
use super::pem::{self, LoadError, LoadFault};

/// A server's certificate, its chain, its private key, and the names it is served for.
///
/// The names are those of the certificate (subject alternative names of kind DNS; a common name
/// counts for nothing, RFC 9525, 2), unless others are given.
///
/// # Examples
///
/// ```no_run
/// use lb_l7::tls::Certificate;
///
/// let shop = Certificate::from_pem_files("shop.pem", "shop.key")?.staple_file("shop.ocsp")?;
/// assert!(shop.names().any(|name| name == "shop.example"));
/// # Ok::<(), lb_l7::tls::LoadError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<Box<str>>,
    not_before: u64,
    not_after: u64,
    client_auth: Option<ClientAuth>,
}

impl Certificate {
    /// Reads the chain, the server's own certificate first, and the key from PEM files, which may be
    /// one and the same. Blocks on the files.
    ///
    /// # Errors
    ///
    /// When there is no certificate, no key, an encrypted key, or the key of another certificate;
    /// the error names the file.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, LoadError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let chain_pem = pem::read(chain)?;
        let key_pem = pem::read(key)?;
        Self::from_pem(&chain_pem, &key_pem).map_err(|error| {
            let of_key = matches!(
                error.fault(),
                LoadFault::BadKey(_)
                    | LoadFault::EncryptedKey
                    | LoadFault::KeyMismatch
                    | LoadFault::NoKey
            );
            error.in_file(if of_key { key } else { chain })
        })
    }

    /// Reads the chain and the key from PEM texts.
    ///
    /// # Errors
    ///
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, LoadError> {
        let chain = pem::certificates(chain)?;
        let key = pem::private_key(key)?;
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| LoadError::new(LoadFault::BadKey(error)))?;
        Self::from_certified_key(CertifiedKey::new(chain, key).into())
    }

    /// Takes a chain and a key as rustls has them; the key may live elsewhere.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be read, or the key says that it belongs to another.
    pub fn from_certified_key(key: Arc<CertifiedKey>) -> Result<Self, LoadError> {
        let none = || LoadError::new(LoadFault::NoCertificate);
        let fields = Fields::parse(key.cert.first().ok_or_else(none)?);
        let fields = fields.ok_or_else(|| LoadError::new(LoadFault::BadCertificate(1)))?;
        for (index, der) in key.cert.iter().enumerate() {
            if rustls::server::ParsedCertificate::try_from(der).is_err() {
                return Err(LoadError::new(LoadFault::BadCertificate(index + 1)));
            }
        }
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            key.keys_match()
        {
            return Err(LoadError::new(LoadFault::KeyMismatch));
        }
        Ok(Self {
            names: fields.dns_names.iter().copied().map(normal).collect(),
            not_before: fields.not_before,
            not_after: fields.not_after,
            client_auth: None,
            key,
        })
    }

    /// Serves it for these names instead of its own: exact, or a wildcard such as `*.example.com`.
    pub fn names_given<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter();
        self.names = names.map(|name| normal(name.as_ref())).collect();
        self
    }

    /// Staples an OCSP response, in DER, to every handshake that asks (RFC 6066, 8).
    ///
    /// # Errors
    ///
    /// When it is not a successful response.
    pub fn staple(mut self, ocsp: Vec<u8>) -> Result<Self, LoadError> {
        if !super::der::is_successful_ocsp(&ocsp) {
            return Err(LoadError::new(LoadFault::BadStaple));
        }
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(ocsp);
        self.key = Arc::new(key);
        Ok(self)
    }

    /// Staples the OCSP response of a file in DER, such as `openssl ocsp -respout` writes.
    ///
    /// # Errors
    ///
    /// As [`staple`](Self::staple); the error names the file.
    pub fn staple_file(self, file: impl AsRef<Path>) -> Result<Self, LoadError> {
        let file = file.as_ref();
        let staple = self.staple(pem::read(file)?);
        staple.map_err(|error| error.in_file(file))
    }

    /// Asks clients of its names, and no others, for a certificate in this way.
    ///
    /// The default is what the listener says. Whoever serves the requests has to refuse those whose
    /// authority is not the name of their connection (421, RFC 9110, 15.5.20), or a client without a
    /// certificate reaches these names through a connection to others.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = Some(client_auth);
        self
    }

    /// The names it is served for, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Seconds since 1970 from which it is valid.
    #[must_use]
    pub const fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Seconds since 1970 after which it is not valid.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }

    /// What an operator should know of it at `now`. It is served all the same.
    #[must_use]
    pub fn warnings(&self, now: UnixTime) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        if now.as_secs() < self.not_before {
            warnings.push(CertificateWarning::NotYetValid);
        }
        if now.as_secs() > self.not_after {
            warnings.push(CertificateWarning::Expired);
        } else if now.as_secs() + SOON > self.not_after {
            warnings.push(CertificateWarning::ExpiresSoon);
        }
        if self.names.is_empty() {
            warnings.push(CertificateWarning::Nameless);
        }
        warnings
    }

    pub(super) fn auth(&self) -> Option<&ClientAuth> {
        self.client_auth.as_ref()
    }

    /// The chain and the key, as rustls has them.
    #[must_use]
    pub const fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a certificate that can be served none the less.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateWarning {
    /// It is no longer valid: clients refuse it.
    #[error("the certificate has expired")]
    Expired,
    /// It has less than a week left.
    #[error("the certificate expires within 7 days")]
    ExpiresSoon,
    /// It has no DNS name, so that only clients of no certificate's name get it, by default.
    #[error("the certificate has no DNS name")]
    Nameless,
    /// It is not yet valid: clients refuse it, or a clock is wrong.
    #[error("the certificate is not yet valid")]
    NotYetValid,
}

/// A name as it is looked up: in lower case, without a dot at its end.
pub(super) fn normal(name: &str) -> Box<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase().into()
}

/// A week: shorter than any authority's renewal window, longer than a weekend.
const SOON: u64 = 7 * 86_400;
