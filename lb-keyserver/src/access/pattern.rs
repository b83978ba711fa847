//! Which clients, and which TLS names, a rule speaks of.

use std::fmt;
use std::str::FromStr;

use super::identity::{BadIdentity, Identity};

/// Of whom a rule speaks: of one name, or of a family of URIs.
///
/// `lb://node/*` means `lb://node/` with one more segment: at least one character, and none of
/// `/`, `?` and `#`. A star stands nowhere else.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::Who;
///
/// let nodes: Who = "lb://node/*".parse()?;
/// assert!(nodes.means(&"lb://node/7".parse()?));
/// assert!(!nodes.means(&"lb://node/7/admin".parse()?));
/// # Ok::<(), lb_keyserver::access::BadIdentity>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "one, or many: a further pattern would be a variant of the second"
)]
pub enum Who {
    /// The client with this name.
    Exactly(Identity),
    /// Every client with a name that is this prefix, which ends in a slash, and one more segment.
    Under(Box<str>),
}

impl Who {
    /// Whether it means that name.
    #[must_use]
    pub fn means(&self, name: &Identity) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == name,
            Self::Under(prefix) => parent(name) == Some(prefix),
        }
    }
}

/// The family that a name belongs to: all up to its last slash, if one more segment follows.
pub(super) fn parent(name: &Identity) -> Option<&str> {
    let (_, segment) = name.as_str().rsplit_once('/')?;
    let is_segment = !segment.is_empty() && !segment.contains(['?', '#']);
    let prefix = name.as_str().strip_suffix(segment)?;
    (is_segment && !prefix.contains(['?', '#'])).then_some(prefix)
}

impl FromStr for Who {
    type Err = BadIdentity;

    /// Reads a name, or a URI that ends in `/*`.
    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let Some(prefix) = text.strip_suffix('*') else {
            return text.parse().map(Self::Exactly);
        };
        // `x:/*` and `x://*` would be families of everything: they need an authority, or a path.
        let (_, rest) = prefix.split_once(':').ok_or(BadIdentity::Kind)?;
        let is_family = rest.trim_start_matches('/').len() > 1 && !rest.contains(['?', '#']);
        if !prefix.ends_with('/') || !is_family {
            return Err(BadIdentity::Characters);
        }
        prefix.parse::<Identity>()?;
        Ok(Self::Under(prefix.into()))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.pad(name.as_str()),
            Self::Under(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Which names a TLS client may ask for: one, or all that are one label longer.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::NamePattern;
///
/// let pattern: NamePattern = "*.example.com".parse()?;
/// assert!(pattern.means("WWW.example.com"));
/// assert!(!pattern.means("example.com"));
/// assert!(!pattern.means("a.b.example.com"));
/// # Ok::<(), lb_keyserver::access::BadPattern>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamePattern {
    /// In lower case; without the star, where there is one, and then it begins with a dot.
    name: Box<str>,
    is_wildcard: bool,
}

impl NamePattern {
    /// Whether it means that name, in whichever case. Allocates nothing.
    #[must_use]
    pub fn means(&self, name: &str) -> bool {
        if !self.is_wildcard {
            return self.name.eq_ignore_ascii_case(name);
        }
        // RFC 6125, 6.4.3: the star is one whole label.
        let (label, rest) = name.split_at(name.find('.').unwrap_or(0));
        !label.is_empty() && self.name.eq_ignore_ascii_case(rest)
    }
}

impl FromStr for NamePattern {
    type Err = BadPattern;

    /// Reads a DNS name, or `*.` and a DNS name of at least two labels.
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            name.len() <= 253 && name.bytes().all(is_plain) && !name.split('.').any(str::is_empty)
        };
        let (name, is_wildcard) = match text.strip_prefix('*') {
            None => (text, false),
            Some(rest) => (rest, true),
        };
        let good = match name.strip_prefix('.') {
            // A star over a whole top-level domain is nobody's.
            Some(within) => is_wildcard && is_name(within) && within.contains('.'),
            None => !is_wildcard && is_name(name),
        };
        let name = name.to_ascii_lowercase().into();
        good.then_some(Self { name, is_wildcard }).ok_or(BadPattern)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_wildcard { "*" } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

/// The text is no [`NamePattern`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a server name is a DNS name, or `*.` and a DNS name of two labels or more")]
#[non_exhaustive]
pub struct BadPattern;
