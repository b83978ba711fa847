//! Whether clients must show a certificate, and what is told of it.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::der::{self, Fields};
use super::pem::{self, LoadError, LoadFault};
use super::roots::Roots;

/// Whether clients must show a certificate, and whose.
///
/// # Examples
///
/// ```no_run
/// use lb_l7::tls::{ClientAuth, Roots};
///
/// let staff = Roots::from_pem_file("/etc/clb/staff-ca.pem")?;
/// let auth = ClientAuth::required(staff).revoked_by_file("/etc/clb/staff.crl")?;
/// # Ok::<(), lb_l7::tls::LoadError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[doc(alias = "mTLS")]
pub struct ClientAuth {
    authorities: Option<(Need, Roots)>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// What becomes of a client without a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Need {
    Optional,
    Required,
}

impl ClientAuth {
    /// No client is asked for a certificate: the default.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            authorities: None,
            revoked: Vec::new(),
        }
    }

    /// Clients are asked; one without a certificate is served, one with a wrong one is not.
    #[must_use]
    pub const fn optional(authorities: Roots) -> Self {
        Self {
            authorities: Some((Need::Optional, authorities)),
            revoked: Vec::new(),
        }
    }

    /// Clients are asked, and one without a certificate of these authorities is refused.
    #[must_use]
    pub const fn required(authorities: Roots) -> Self {
        Self {
            authorities: Some((Need::Required, authorities)),
            revoked: Vec::new(),
        }
    }

    /// Refuses what the revocation lists in this PEM name (RFC 5280, 5).
    ///
    /// With any list given, every certificate of a client's chain needs one that speaks of it, or
    /// the client is refused. A list past its `nextUpdate` still counts.
    ///
    /// # Errors
    ///
    /// When there is no list in it, or a broken one.
    pub fn revoked_by(mut self, pem: &[u8]) -> Result<Self, LoadError> {
        self.revoked.extend(pem::revocation_lists(pem)?);
        self.verifier(&rustls::crypto::aws_lc_rs::default_provider().into())?;
        Ok(self)
    }

    /// Refuses what the revocation lists in a PEM file name. Blocks on the file.
    ///
    /// # Errors
    ///
    /// As [`revoked_by`](Self::revoked_by); the error names the file.
    pub fn revoked_by_file(self, file: impl AsRef<Path>) -> Result<Self, LoadError> {
        let file = file.as_ref();
        let pem = pem::read(file)?;
        self.revoked_by(&pem).map_err(|error| error.in_file(file))
    }

    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, LoadError> {
        let Some((need, roots)) = &self.authorities else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let builder =
            WebPkiClientVerifier::builder_with_provider(roots.store(), Arc::clone(provider))
                .with_crls(self.revoked.iter().cloned());
        let builder = match need {
            Need::Optional => builder.allow_unauthenticated(),
            Need::Required => builder,
        };
        // Roots are never empty, so that only a list can be at fault.
        let bad = |_| LoadError::new(LoadFault::BadRevocationList);
        builder.build().map_err(bad)
    }

    /// A digest of everything that decides who is let in.
    ///
    /// Session tickets are bound to it: otherwise a session begun where no certificate is needed
    /// could be resumed where one is (as CVE-2025-23419 of nginx).
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut add = |part: &[u8]| {
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        };
        if let Some((need, roots)) = &self.authorities {
            add(match need {
                Need::Optional => b"optional",
                Need::Required => b"required",
            });
            roots.ders().iter().for_each(|der| add(der));
            self.revoked.iter().for_each(|list| add(list));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        digest
    }
}

/// What is told of a client's certificate.
///
/// It was verified in the handshake: it leads to one of the authorities, was valid then and not
/// revoked, and the client has its private key.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// Who it is for, as text of visible ASCII (RFC 4514); empty when that is past 4096 bytes.
    pub subject: String,
    /// Who issued it, in the same form.
    pub issuer: String,
    /// Its serial number: lower-case hexadecimal digits, without leading zero bytes.
    pub serial: String,
    /// SHA-256 of its DER: 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Seconds since 1970 after which it is not valid.
    pub not_after: u64,
}

impl ClientCertificate {
    /// Every header that [`headers`](Self::headers) may set.
    ///
    /// A front takes all of them off every request, TLS or not, or a client could claim anything.
    pub const HEADERS: [HeaderName; 5] = [VERIFIED, SUBJECT, ISSUER, SERIAL, FINGERPRINT];

    /// Takes off what a client says of its own certificate: every name that begins with
    /// `x-client-cert-`, and those that become one where `_` and `-` are one (RFC 3875, 4.1.18).
    pub(crate) fn take_off(fields: &mut HeaderMap) {
        let claims: Vec<HeaderName> = fields.keys().filter(|n| is_claim(n)).cloned().collect();
        for claim in claims {
            fields.remove(claim);
        }
    }

    /// Reads a certificate that a handshake verified; `None` when it cannot be read.
    pub(super) fn verified(der: &[u8]) -> Option<Self> {
        let fields = Fields::parse(der)?;
        let digits = |bytes: &[u8]| {
            let mut text = String::with_capacity(bytes.len() * 2);
            der::push_hex(&mut text, bytes);
            text
        };
        let zeros = fields.serial.iter().take_while(|byte| **byte == 0).count();
        Some(Self {
            subject: der::name_to_text(fields.subject).unwrap_or_default(),
            issuer: der::name_to_text(fields.issuer).unwrap_or_default(),
            serial: digits(fields.serial.get(zeros..).unwrap_or_default()),
            fingerprint: digits(digest::digest(&digest::SHA256, der).as_ref()),
            not_after: fields.not_after,
        })
    }

    /// The headers that tell a backend of it: `x-client-cert-verified: true` and the fields.
    ///
    /// The values are made anew; build them once a connection.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(Self::HEADERS.len());
        headers.insert(VERIFIED, HeaderValue::from_static("true"));
        let fields = [
            (SUBJECT, &self.subject),
            (ISSUER, &self.issuer),
            (SERIAL, &self.serial),
            (FINGERPRINT, &self.fingerprint),
        ];
        for (name, value) in fields {
            // The fields are visible ASCII, which every value may be.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// The header of a client that showed no certificate: `x-client-cert-verified: false`.
    #[must_use]
    pub fn headers_without() -> HeaderMap {
        HeaderMap::from_iter([(VERIFIED, HeaderValue::from_static("false"))])
    }
}

/// Whether a name is one of [`ClientCertificate::HEADERS`], or could be taken for one.
fn is_claim(name: &HeaderName) -> bool {
    let start = name.as_str().as_bytes().get(..PREFIX.len());
    start.is_some_and(|start| {
        let same =
            |(ours, theirs): (&u8, &u8)| ours == theirs || (*ours == b'-' && *theirs == b'_');
        PREFIX.iter().zip(start).all(same)
    })
}

/// How the names of [`ClientCertificate::HEADERS`] begin.
const PREFIX: &[u8] = b"x-client-cert-";

const VERIFIED: HeaderName = HeaderName::from_static("x-client-cert-verified");
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const ISSUER: HeaderName = HeaderName::from_static("x-client-cert-issuer");
const SERIAL: HeaderName = HeaderName::from_static("x-client-cert-serial");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-sha256");
