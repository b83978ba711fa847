//! Reads `Cookie` as browsers and programs write it (RFC 6265, 5.4 rather than 4.2.1).

use http::HeaderMap;
use http::header::COOKIE;

use crate::token::trim;

/// The cookies of one `cookie` line, in order.
///
/// Tolerant: spaces around names and values are nothing, a value may hold any byte but `;`, and
/// what has no `=` is passed over. Quotes are part of a value. Allocates nothing.
///
/// # Examples
///
/// ```
/// use lb_l7::cookie::pairs::Pairs;
///
/// let names: Vec<_> = Pairs::new(b"a=1; noise; b=x=y").map(|pair| (pair.name, pair.value)).collect();
/// assert_eq!(names, [(&b"a"[..], &b"1"[..]), (b"b", b"x=y")]);
/// ```
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: Option<&'a [u8]>,
}

/// One cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Pair<'a> {
    /// Its name; case matters, and it may be empty.
    pub name: &'a [u8],
    /// Its value, quotes included.
    pub value: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The cookies of this line.
    #[must_use]
    pub const fn new(line: &'a [u8]) -> Self {
        Self { rest: Some(line) }
    }

    /// The cookies of all `cookie` lines.
    pub fn of_headers(headers: &'a HeaderMap) -> impl Iterator<Item = Pair<'a>> {
        let lines = headers.get_all(COOKIE).iter();
        lines.flat_map(|line| Self::new(line.as_bytes()))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            let (piece, rest) = cut(self.rest?, b';');
            self.rest = rest;
            if let Some(pair) = Pair::parse(piece) {
                return Some(pair);
            }
        }
    }
}

impl<'a> Pair<'a> {
    /// Reads `name=value`.
    pub(super) fn parse(piece: &'a [u8]) -> Option<Self> {
        let (name, value) = cut(piece, b'=');
        Some(Self {
            name: trim(name),
            value: trim(value?),
        })
    }
}

/// What is before the first `at`, and what is behind it.
pub(super) fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(at, bytes).and_then(|end| bytes.split_at_checked(end)) {
        Some((head, [_, rest @ ..])) => (head, Some(rest)),
        _ => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[(&str, &str)]) {
        let read: Vec<_> = Pairs::new(line.as_bytes())
            .map(|pair| (pair.name, pair.value))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        assert_eq!(read, expected, "{line:?}");
    }

    #[test]
    fn cookies_of_the_world_are_read() {
        check("SID=31d4d96e407aad42", &[("SID", "31d4d96e407aad42")]);
        check(
            "SID=31d4d96e407aad42; lang=en-US",
            &[("SID", "31d4d96e407aad42"), ("lang", "en-US")],
        );
        check("a=1;b=2", &[("a", "1"), ("b", "2")]);
        check(" a = 1 ;\tb\t=2 ", &[("a", "1"), ("b", "2")]);
        check(
            "a=\"x y\"; b={\"k\":[1,2]}",
            &[("a", "\"x y\""), ("b", "{\"k\":[1,2]}")],
        );
        check("a==; =b; =", &[("a", "="), ("", "b"), ("", "")]);
        check("a=;;; ;flag;a=2", &[("a", ""), ("a", "2")]);
        check("", &[]);
        check(";", &[]);
        check(
            "$Version=1; a=\u{e9}",
            &[("$Version", "1"), ("a", "\u{e9}")],
        );
    }
}
