//! What the body of an answer must hold.

use bytes::Bytes;
use thiserror::Error;

/// What the body of an answer must hold; by default anything.
///
/// # Examples
///
/// ```
/// use lb_l7::probe::BodyMatch;
///
/// assert!(BodyMatch::contains("ready").matches(b"all ready"));
/// assert!(BodyMatch::default().matches(b""));
/// ```
#[derive(Clone, Debug, Default)]
pub struct BodyMatch(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Any,
    Contains(Bytes),
    #[cfg(feature = "regex")]
    Regex(regex::bytes::Regex),
}

impl BodyMatch {
    /// These bytes, anywhere in it.
    #[must_use]
    pub fn contains(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Contains(bytes.into()))
    }

    /// What this regular expression matches, anywhere in it; over bytes, without Unicode.
    ///
    /// # Errors
    ///
    /// When it is none, or compiles to more than 256 KiB.
    #[cfg(feature = "regex")]
    pub fn regex(expression: &str) -> Result<Self, BodyMatchError> {
        let built = regex::bytes::RegexBuilder::new(expression)
            .unicode(false)
            .size_limit(LARGEST)
            .dfa_size_limit(LARGEST)
            .build();
        match built {
            Ok(regex) => Ok(Self(Kind::Regex(regex))),
            Err(error) => Err(BodyMatchError(error.to_string().into())),
        }
    }

    /// Whether `body` holds it.
    #[must_use]
    pub fn matches(&self, body: &[u8]) -> bool {
        match &self.0 {
            Kind::Any => true,
            Kind::Contains(bytes) => memchr::memmem::find(body, bytes).is_some(),
            #[cfg(feature = "regex")]
            Kind::Regex(regex) => regex.is_match(body),
        }
    }

    /// Whether the body is looked at.
    pub(super) const fn is_any(&self) -> bool {
        matches!(self.0, Kind::Any)
    }
}

/// A regular expression that is none; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the expression does not stand: {0}")]
pub struct BodyMatchError(Box<str>);

/// Bytes of a compiled expression, and of what it caches while matching.
#[cfg(feature = "regex")]
const LARGEST: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_are() {
        let ready = BodyMatch::contains("ready");
        assert!(ready.matches(b"ready") && ready.matches(b"{\"ready\":1}"));
        assert!(!ready.matches(b"read") && !ready.matches(b"Ready"));
        assert!(!ready.is_any() && BodyMatch::default().is_any());
    }

    #[cfg(feature = "regex")]
    #[test]
    fn an_expression_matches_bytes_of_any_kind() {
        let number = BodyMatch::regex(r"load: [0-3]\.\d+").unwrap();
        assert!(number.matches(b"\xffload: 2.71\xff") && !number.matches(b"load: 4.00"));
        assert!(BodyMatch::regex("(").is_err());
        assert!(BodyMatch::regex("a{1000}{1000}").is_err());
    }
}
