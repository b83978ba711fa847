//! The names of a client, as its certificate gives them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

use super::san::{self, SubjectName};

/// One name of a client. A clone is the same text, shared.
///
/// Three kinds of names, which their first characters tell apart for good: `spki:sha256:` and 64
/// hexadecimal digits is the hash of the client's public key; anything else with a colon is a URI;
/// the rest are DNS names, in lower case. No certificate can claim a name of the first kind but by
/// having that key.
///
/// Compared byte for byte: URIs are not brought to a common form (RFC 3986, 6.2.1).
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::Identity;
///
/// let node: Identity = "lb://node/7".parse()?;
/// assert_eq!(node.as_str(), "lb://node/7");
/// assert_eq!("Node-7.example".parse::<Identity>()?.as_str(), "node-7.example");
/// assert!("lb://node/*".parse::<Identity>().is_err());
/// # Ok::<(), lb_keyserver::access::BadIdentity>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Bytes of the longest: those of the longest DNS name in text (RFC 1035, 2.3.4).
    pub const MAX_LEN: usize = 255;

    /// The name that a key itself is: `spki:sha256:` and the SHA-256 of its SubjectPublicKeyInfo,
    /// in DER, in lower-case hexadecimal digits.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        let hash = digest(&SHA256, spki);
        let mut name = String::with_capacity(OF_KEY.len() + 64);
        name.push_str(OF_KEY);
        for byte in hash.as_ref() {
            name.extend([byte >> 4, byte & 15].map(|digit| char::from(hex_digit(digit))));
        }
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name of a certificate; `None` for one that no rule could mean: a wildcard.
    fn of_name(name: SubjectName<'_>) -> Result<Option<Self>, BadIdentity> {
        let (SubjectName::Uri(text) | SubjectName::Dns(text)) = name;
        let text = str::from_utf8(text).map_err(|_| BadIdentity::Characters)?;
        let is_uri = matches!(name, SubjectName::Uri(_));
        if text.contains('*') {
            return Ok(None);
        }
        let identity: Self = text.parse()?;
        // A key's hash is taken from the key, never from what a certificate says of itself; and a
        // URI without a colon is none, and would pass for a DNS name.
        if identity.is_of_key() || identity.is_uri() != is_uri {
            return Err(BadIdentity::Kind);
        }
        Ok(Some(identity))
    }

    fn is_of_key(&self) -> bool {
        self.0.starts_with(OF_KEY)
    }

    fn is_uri(&self) -> bool {
        !self.is_of_key() && self.0.contains(':')
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.0)
    }
}

impl FromStr for Identity {
    type Err = BadIdentity;

    /// Reads a name of any of the three kinds; DNS names are brought to lower case.
    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(BadIdentity::Length);
        }
        match text.split_once(':') {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("spki") => {
                let digits = text.strip_prefix(OF_KEY).ok_or(BadIdentity::Kind)?;
                let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if digits.len() != 64 || !digits.bytes().all(is_digit) {
                    return Err(BadIdentity::Kind);
                }
                Ok(Self(text.into()))
            }
            Some((scheme, _)) => {
                // RFC 3986, 3.1, and no character that would need escaping: what is shown to
                // people, and matched by patterns, holds no surprises.
                let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                    && (scheme.bytes())
                        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
                let is_plain =
                    |byte: u8| byte.is_ascii_graphic() && !br#"*"<>\^`{|}"#.contains(&byte);
                if !is_scheme || !text.bytes().all(is_plain) {
                    return Err(BadIdentity::Characters);
                }
                Ok(Self(text.into()))
            }
            None => {
                let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if !text.bytes().all(is_host) || text.split('.').any(str::is_empty) {
                    return Err(BadIdentity::Characters);
                }
                Ok(Self(text.to_ascii_lowercase().into()))
            }
        }
    }
}

/// Why a text is no [`Identity`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadIdentity {
    /// A character that neither a URI nor a DNS name may have, or a star.
    #[error("the name has a character that no URI or DNS name has")]
    Characters,
    /// A name of one kind that passes itself off as one of another.
    #[error("the name is not of the kind that it says")]
    Kind,
    /// An empty name, or one of more than [`Identity::MAX_LEN`] bytes.
    #[error("the name is empty or longer than 255 bytes")]
    Length,
}

/// All the names of one client: the URIs of its certificate, its DNS names, and the hash of its
/// public key, in this order. A clone shares them.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::Identities;
///
/// let pair = rcgen::KeyPair::generate()?;
/// let certificate = rcgen::CertificateParams::new(vec!["node-7.example".into()])?;
/// let certificate = certificate.self_signed(&pair)?;
/// let names = Identities::of_certificate(certificate.der())?;
/// assert_eq!(names.principal().as_str(), "node-7.example");
/// assert_eq!(names.iter().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identities {
    principal: Identity,
    others: Arc<[Identity]>,
}

impl Identities {
    /// The most names that a certificate may have. Generous: nodes have one or two.
    pub const MOST: usize = 64;

    /// Reads the names of a certificate that has been verified; here its signature and dates are
    /// not looked at.
    ///
    /// Names of other kinds, such as addresses, and DNS names with a wildcard name nobody, and are
    /// passed over. Cost: once a connection; linear in the certificate.
    ///
    /// # Errors
    ///
    /// When it is no certificate, has more than [`MOST`](Self::MOST) names, or one that is no
    /// [`Identity`].
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, BadCertificate> {
        let parsed = ParsedCertificate::try_from(certificate);
        let parsed = parsed.map_err(|_| BadCertificate::Malformed)?;
        let key = Identity::of_spki(parsed.subject_public_key_info().as_ref());
        let names = san::names(certificate).ok_or(BadCertificate::Malformed)?;
        let (mut uris, mut hosts) = (Vec::new(), Vec::new());
        for name in names {
            if uris.len() + hosts.len() == Self::MOST {
                return Err(BadCertificate::TooManyNames);
            }
            let name = name.ok_or(BadCertificate::Malformed)?;
            if let Some(identity) = Identity::of_name(name)? {
                match name {
                    SubjectName::Uri(_) => uris.push(identity),
                    SubjectName::Dns(_) => hosts.push(identity),
                }
            }
        }
        Ok(Self::in_order(uris.into_iter().chain(hosts), key))
    }

    /// Every name, the [`principal`](Self::principal) first.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        std::iter::once(&self.principal).chain(&*self.others)
    }

    /// The name for logs: the first URI, else the first DNS name, else the hash of the key.
    #[must_use]
    pub const fn principal(&self) -> &Identity {
        &self.principal
    }

    fn in_order(names: impl Iterator<Item = Identity>, last: Identity) -> Self {
        let mut names = names.chain([last.clone()]);
        Self {
            principal: names.next().unwrap_or(last),
            others: names.collect(),
        }
    }
}

impl From<Identity> for Identities {
    /// A client of one name, for peers that are known otherwise than by a certificate.
    fn from(principal: Identity) -> Self {
        let others = Arc::default();
        Self { principal, others }
    }
}

/// Why the names of a client cannot be told: it is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCertificate {
    /// It is no X.509 certificate, or its subjectAltName cannot be read.
    #[error("the certificate or its subjectAltName is malformed")]
    Malformed,
    /// One of its names is none that rules could speak of.
    #[error("the certificate has a name that is none: {0}")]
    Name(#[from] BadIdentity),
    /// It has more than [`Identities::MOST`] names.
    #[error("the certificate has more than 64 names")]
    TooManyNames,
}

const OF_KEY: &str = "spki:sha256:";

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

#[cfg(test)]
mod tests;
