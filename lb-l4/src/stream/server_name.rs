//! The name a client asks for, and what stands behind each name.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host name as clients ask for it: a DNS name in lower case, without a final dot.
///
/// At most 253 bytes; labels of 1 to 63 letters, digits, hyphens and underscores, no hyphen at either
/// end of one. An internationalised name comes in its ASCII form (`xn--`). No wildcard, no address.
///
/// Source: RFC 1035, 2.3.4 (lengths: 255 bytes on the wire are 253 as text); RFC 5890, 2.3.1; RFC
/// 6066, 3 (no final dot). Underscores are no part of a host name there, and in use.
///
/// # Examples
///
/// ```
/// use lb_l4::stream::server_name::ServerName;
///
/// let name: ServerName = "WWW.Example.com".parse()?;
/// assert_eq!(name.as_str(), "www.example.com");
/// assert!("*.example.com".parse::<ServerName>().is_err());
/// # Ok::<(), lb_l4::stream::server_name::ServerNameError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[doc(alias = "SNI")]
pub struct ServerName(Box<str>);

impl ServerName {
    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        if text.len() > MAX_LENGTH || !text.split('.').all(is_label) {
            return Err(ServerNameError);
        }
        // A last label of digits alone makes it an address (RFC 1123, 2.1).
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ServerNameError);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`ServerName`]: the fault of whoever wrote it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "not a DNS name: expected labels of letters, digits, `-` and `_`, such as `www.example.com`"
)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct ServerNameError;

/// What stands behind each server name: a value by exact name, by wildcard, or by default.
///
/// The most specific entry wins: the exact name, then the longest wildcard, then the default.
/// `*.example.com` stands for every name below `example.com`, however deep, and not for
/// `example.com` itself; so do Envoy and nginx read it, whereas a certificate's wildcard stands for
/// one label (RFC 9525, 6.3). Case does not matter.
///
/// # Examples
///
/// ```
/// use lb_l4::stream::server_name::ServerNames;
///
/// let mut pools = ServerNames::new();
/// pools.insert("example.com", "shop")?;
/// pools.insert("*.example.com", "sites")?;
/// let pools = pools.otherwise("lobby");
///
/// assert_eq!(pools.find(Some(&"Example.com".parse()?)), Some(&"shop"));
/// assert_eq!(pools.find(Some(&"a.b.example.com".parse()?)), Some(&"sites"));
/// assert_eq!(pools.find(None), Some(&"lobby"));
/// # Ok::<(), lb_l4::stream::server_name::ServerNameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerNames<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the `*.`.
    wildcards: HashMap<Box<str>, T>,
    otherwise: Option<T>,
}

impl<T> ServerNames<T> {
    /// No names and no default.
    #[must_use]
    pub fn new() -> Self {
        Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            otherwise: None,
        }
    }

    /// Puts `value` behind a name or a wildcard, and returns what stood there.
    ///
    /// # Errors
    ///
    /// If `pattern` is neither a [`ServerName`] nor one behind `*.`.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<Option<T>, ServerNameError> {
        let (names, name) = match pattern.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcards, suffix),
            None => (&mut self.exact, pattern),
        };
        Ok(names.insert(name.parse::<ServerName>()?.0, value))
    }

    /// Sets what stands behind every other name, and behind none. Default none.
    #[must_use]
    pub fn otherwise(mut self, value: T) -> Self {
        self.otherwise = Some(value);
        self
    }

    /// What stands behind `name`; `None` is a client that names no host.
    ///
    /// Cost: one look-up, and without an exact entry one more for each label of the name. No
    /// allocation.
    #[must_use]
    pub fn find(&self, name: Option<&ServerName>) -> Option<&T> {
        name.and_then(|name| self.find_name(name.as_str()))
            .or(self.otherwise.as_ref())
    }

    fn find_name(&self, name: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        let mut rest = name;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(value) = self.wildcards.get(suffix) {
                return Some(value);
            }
            rest = suffix;
        }
        None
    }
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// RFC 1035, 2.3.4: 255 bytes with the length of the first label and the root's zero.
const MAX_LENGTH: usize = 253;

/// RFC 1035, 2.3.4.
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServerName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_compared_in_lower_case() {
        assert_eq!(name("A-1.eXample_.COM").to_string(), "a-1.example_.com");
        assert_eq!(name("EXAMPLE"), name("example"));
    }

    #[test]
    fn what_is_no_dns_name_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*",
            "*.a",
            "a b",
            "a/b",
            "a:443",
            "a\0",
            "é.com",
            "-a.b",
            "a-.b",
            "a.-b",
            "192.0.2.1",
            "1",
            "a.1",
            "::1",
        ] {
            assert_eq!(text.parse::<ServerName>(), Err(ServerNameError), "{text:?}");
        }
        assert_eq!(name("1.a").as_str(), "1.a");
        assert_eq!(name("a.1b").as_str(), "a.1b");
    }

    #[test]
    fn a_label_has_63_bytes_and_a_name_253_at_most() {
        let label = |length| "x".repeat(length);
        assert!(label(63).parse::<ServerName>().is_ok());
        assert!(label(64).parse::<ServerName>().is_err());
        let long = |last| [label(63), label(63), label(63), label(last)].join(".");
        assert_eq!(long(61).len(), 253);
        assert!(long(61).parse::<ServerName>().is_ok());
        assert!(long(62).parse::<ServerName>().is_err());
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let mut names = ServerNames::default();
        for pattern in ["*.com", "*.Example.com", "a.example.com", "*.b.example.com"] {
            assert_eq!(names.insert(pattern, pattern), Ok(None));
        }
        let find = |text| names.find(Some(&name(text))).copied();
        assert_eq!(find("a.example.com"), Some("a.example.com"));
        assert_eq!(find("b.example.com"), Some("*.Example.com"));
        assert_eq!(find("x.b.example.com"), Some("*.b.example.com"));
        assert_eq!(find("x.y.a.example.com"), Some("*.Example.com"));
        assert_eq!(find("example.com"), Some("*.com"));
        assert_eq!(find("notexample.com"), Some("*.com"));
        assert_eq!(find("com"), None);
        assert_eq!(names.find(None), None);
        let names = names.otherwise("default");
        assert_eq!(names.find(Some(&name("com"))), Some(&"default"));
        assert_eq!(names.find(None), Some(&"default"));
    }

    #[test]
    fn a_second_value_for_a_name_gives_the_first_back() {
        let mut names = ServerNames::new();
        assert_eq!(names.insert("*.a", 1), Ok(None));
        assert_eq!(names.insert("*.A", 2), Ok(Some(1)));
        assert_eq!(names.insert("a", 3), Ok(None));
        assert_eq!(names.find(Some(&name("x.a"))), Some(&2));
    }

    #[test]
    fn only_a_whole_first_label_may_be_a_wildcard() {
        let mut names = ServerNames::new();
        for pattern in ["*", "*.", "*a.b", "a.*.b", "*.*.b", "a.*", ""] {
            assert_eq!(names.insert(pattern, ()), Err(ServerNameError), "{pattern}");
        }
    }
}
