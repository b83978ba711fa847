//! `Via`: which proxies a message came by (RFC 9110, 7.6.3).

use bytes::{BufMut, BytesMut};
use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};
use thiserror::Error;

use super::list::elements;
use crate::token::is_token_byte;

/// Writes this proxy's element of `via`, and counts how often a message came by here before.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Version};
/// use lb_l7::headers::via::Via;
///
/// let via = Via::new("edge-1")?;
/// let mut headers = HeaderMap::new();
/// via.append(&mut headers, Version::HTTP_2);
/// assert_eq!(headers["via"], "2 edge-1");
/// assert_eq!(via.passes(&headers), 1);
/// # Ok::<(), lb_l7::headers::via::ViaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Via {
    name: Box<str>,
    v10: HeaderValue,
    v11: HeaderValue,
    v2: HeaderValue,
    v3: HeaderValue,
}

impl Via {
    /// A proxy of this name: a pseudonym, or host and port.
    ///
    /// Nodes that may follow one another on one path need different names.
    ///
    /// # Errors
    ///
    /// [`ViaError`] when the name is not a token or an authority.
    pub fn new(name: &str) -> Result<Self, ViaError> {
        // A port, and the brackets of an IPv6 address, are all that an authority adds.
        let fits = |byte: u8| is_token_byte(byte) || b":[]".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(ViaError(name.into()));
        }
        let value = |version: &str| {
            HeaderValue::try_from(format!("{version} {name}")).map_err(|_| ViaError(name.into()))
        };
        Ok(Self {
            name: name.into(),
            v10: value("1.0")?,
            v11: value("1.1")?,
            v2: value("2")?,
            v3: value("3")?,
        })
    }

    /// Adds this proxy, which received the message by `version`.
    ///
    /// The value is made beforehand: copies a few words unless there was a `via` already.
    pub fn append(&self, headers: &mut HeaderMap, version: Version) {
        let own = match version {
            Version::HTTP_09 | Version::HTTP_10 => &self.v10,
            Version::HTTP_2 => &self.v2,
            Version::HTTP_3 => &self.v3,
            _ => &self.v11,
        };
        append_element(headers, &VIA, own);
    }

    /// How often this message has passed a proxy of this name; more than once or twice is a loop,
    /// to be answered 508.
    #[must_use]
    pub fn passes(&self, headers: &HeaderMap) -> usize {
        let is_own = |element: &&[u8]| {
            let mut words = element.split(|&byte| byte == b' ' || byte == b'\t');
            let name = words.by_ref().skip(1).find(|word| !word.is_empty());
            name.is_some_and(|name| name.eq_ignore_ascii_case(self.name.as_bytes()))
        };
        elements(headers, &VIA).filter(is_own).count()
    }
}

/// The name is neither a token nor an authority; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` cannot stand in a via field: expected a name, or a host and port")]
pub struct ViaError(Box<str>);

/// Adds an element at the end of a list field, making one line of all (RFC 9110, 5.3).
pub(super) fn append_element(
    headers: &mut HeaderMap,
    name: &http::HeaderName,
    element: &HeaderValue,
) {
    let length: usize = headers
        .get_all(name)
        .iter()
        .map(|line| line.len() + 2)
        .sum();
    if length == 0 {
        headers.insert(name, element.clone());
        return;
    }
    let mut all = BytesMut::with_capacity(length + element.len());
    for line in headers.get_all(name) {
        if !line.is_empty() {
            all.put_slice(line.as_bytes());
            all.put_slice(b", ");
        }
    }
    all.put_slice(element.as_bytes());
    // Parts that are values make a value.
    let value = HeaderValue::from_maybe_shared(all.freeze());
    headers.insert(name, value.unwrap_or_else(|_| element.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_element() {
        let via = Via::new("edge").unwrap();
        for (version, expected) in [
            (Version::HTTP_09, "1.0 edge"),
            (Version::HTTP_10, "1.0 edge"),
            (Version::HTTP_11, "1.1 edge"),
            (Version::HTTP_2, "2 edge"),
            (Version::HTTP_3, "3 edge"),
        ] {
            let mut headers = HeaderMap::new();
            via.append(&mut headers, version);
            assert_eq!(headers[VIA], expected);
        }
    }

    #[test]
    fn an_element_is_added_behind_all_lines() {
        let via = Via::new("edge:8080").unwrap();
        let mut headers = HeaderMap::new();
        for line in ["1.0 fred, 1.1 p.example.net", "", "2 EDGE:8080 (comment)"] {
            headers.append(VIA, HeaderValue::from_static(line));
        }
        assert_eq!(via.passes(&headers), 1);
        via.append(&mut headers, Version::HTTP_11);
        assert_eq!(headers.get_all(VIA).iter().count(), 1);
        let expected = "1.0 fred, 1.1 p.example.net, 2 EDGE:8080 (comment), 1.1 edge:8080";
        assert_eq!(headers[VIA], expected);
        assert_eq!(via.passes(&headers), 2);
    }

    #[test]
    fn a_name_that_is_only_part_of_another_is_another() {
        let via = Via::new("edge").unwrap();
        let mut headers = HeaderMap::new();
        let others = HeaderValue::from_static("edge, 1.1 edge2, 1.1 x (edge), HTTP/1.1  edge");
        headers.insert(VIA, others);
        assert_eq!(via.passes(&headers), 1);
    }

    #[test]
    fn a_name_with_spaces_or_commas_is_refused() {
        for name in ["", "a b", "a,b", "user@host", "a\n"] {
            assert!(Via::new(name).is_err(), "{name:?}");
        }
        assert!(Via::new("[2001:db8::1]:80").is_ok());
    }
}
