//! Which certificate is shown for which name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateWarning};

/// Any number of certificates, found by the name that a client asks for (SNI, RFC 6066, 3).
///
/// An exact name goes before a wildcard, and a wildcard stands for one label: `*.example.com` is
/// `www.example.com`, and neither `example.com` nor `a.b.example.com` (RFC 9525, 6.3). Several
/// certificates may have the same name: the first whose key the client can verify is shown, so that
/// new clients get ECDSA and old ones RSA. A look-up is two probes of a hash table at most.
///
/// The first certificate is the default, for clients of another name or of none, unless
/// [`default_for_others`](Self::default_for_others) says which, or [`strict`](Self::strict) that
/// there is none.
///
/// # Examples
///
/// ```no_run
/// use lb_l7::tls::{Certificate, Certificates};
///
/// let certificates = Certificates::new()
///     .with(Certificate::from_pem_files("shop.pem", "shop.key")?)
///     .with(Certificate::from_pem_files("shop-rsa.pem", "shop-rsa.key")?);
/// # Ok::<(), lb_l7::tls::LoadError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    all: Vec<Certificate>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows the asterisk and its dot.
    wildcards: HashMap<Box<str>, Vec<usize>>,
    default: Option<usize>,
    strict: bool,
}

impl Certificates {
    /// None yet: every client would be refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a certificate, behind those that have the same names.
    #[must_use]
    pub fn with(mut self, certificate: Certificate) -> Self {
        let index = self.all.len();
        for name in certificate.names() {
            let (table, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcards, parent),
                None => (&mut self.exact, name),
            };
            let known = table.entry(key.into()).or_default();
            // A certificate may say a name twice.
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
        self.all.push(certificate);
        self
    }

    /// Adds a certificate and shows it to clients of another name or of none.
    #[must_use]
    pub fn default_for_others(mut self, certificate: Certificate) -> Self {
        self.default = Some(self.all.len());
        self.with(certificate)
    }

    /// Refuses clients of another name or of none, instead of showing them a default.
    #[must_use]
    pub const fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// All of them, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The certificates for a name, the preferred first; without the default.
    ///
    /// Takes the name in any case, with or without a dot at its end.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Certificate> {
        self.indices(name).iter().filter_map(|&at| self.all.get(at))
    }

    /// What an operator should know at `now`, by certificate.
    pub fn warnings(
        &self,
        now: UnixTime,
    ) -> impl Iterator<Item = (&Certificate, CertificateWarning)> {
        self.all.iter().flat_map(move |certificate| {
            let warnings = certificate.warnings(now).into_iter();
            warnings.map(move |warning| (certificate, warning))
        })
    }

    /// Where the certificates for a client are: of its name, or else the default.
    pub(super) fn choices(&self, name: Option<&str>) -> Choices<'_> {
        let named = name.map(|name| self.indices(name)).unwrap_or_default();
        let default = (named.is_empty() && !self.strict && !self.all.is_empty())
            .then(|| self.default.unwrap_or(0));
        Choices { named, default }
    }

    fn indices(&self, name: &str) -> &[usize] {
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let exact = self.exact.get(&*name);
        let wildcard = || {
            let (label, parent) = name.split_once('.')?;
            let parent = self.wildcards.get(parent)?;
            (!label.is_empty()).then_some(parent)
        };
        exact.or_else(wildcard).map_or(&[], Vec::as_slice)
    }
}

/// The certificates that may be shown to one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Choices<'a> {
    named: &'a [usize],
    default: Option<usize>,
}

impl Choices<'_> {
    pub(super) fn first(self) -> Option<usize> {
        self.iter().next()
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.named.iter().copied().chain(self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let choices = self.choices(hello.server_name());
        let all = || choices.iter().filter_map(|at| self.all.get(at));
        // When none fits, the first leads to the alert that says so.
        let fits = all().find(|one| one.certified_key().key.choose_scheme(schemes).is_some());
        let chosen = fits.or_else(|| all().next())?;
        Some(Arc::clone(chosen.certified_key()))
    }
}
