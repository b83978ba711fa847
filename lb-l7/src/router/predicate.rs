//! What a request must be like beside its host and path.

use http::request::Parts;
use http::{HeaderName, Method, header};

use super::path::unescape;
use super::pattern::Pattern;
use super::{Match, RuleFault, ValueMatch};

/// One thing that must hold.
#[derive(Debug)]
pub(super) enum Predicate {
    Cookie(Box<str>, Test),
    Header(HeaderName, Test),
    Methods(Box<[Method]>),
    Path(Pattern),
    Query(Box<str>, Test),
}

/// What a value must be like.
#[derive(Debug)]
pub(super) enum Test {
    Exact(Box<str>),
    Pattern(Pattern),
    Present,
}

impl Predicate {
    pub(super) fn holds(&self, parts: &Parts) -> bool {
        match self {
            Self::Cookie(name, test) => cookie(parts, name).is_some_and(|value| test.holds(value)),
            Self::Header(name, test) => {
                let mut lines = parts.headers.get_all(name).iter();
                lines.any(|line| test.holds(line.as_bytes()))
            }
            Self::Methods(methods) => methods.contains(&parts.method),
            Self::Path(pattern) => pattern.matches(parts.uri.path().as_bytes()),
            Self::Query(name, test) => {
                let query = parts.uri.query().unwrap_or_default();
                parameter(query.as_bytes(), name).is_some_and(|value| test.holds_decoded(value))
            }
        }
    }

    /// All of `fits` but host and path, each once.
    pub(super) fn all_of(fits: &Match) -> Result<Vec<Self>, RuleFault> {
        let mut all = Vec::new();
        if !fits.methods.is_empty() {
            all.push(Self::Methods(fits.methods.clone().into()));
        }
        for (name, value) in unique(&fits.headers) {
            all.push(Self::Header(name.clone(), Test::of(value)?));
        }
        for (name, value) in unique(&fits.query) {
            if name.is_empty() {
                return Err(RuleFault::QueryName);
            }
            all.push(Self::Query(name.as_str().into(), Test::of(value)?));
        }
        for (name, value) in unique(&fits.cookies) {
            check_cookie(name)?;
            all.push(Self::Cookie(name.as_str().into(), Test::of(value)?));
        }
        Ok(all)
    }
}

/// Every cookie's name is a token (RFC 6265, 4.1.1), as every field's is (RFC 9110, 5.1).
pub(super) fn check_cookie(name: &str) -> Result<(), RuleFault> {
    HeaderName::from_bytes(name.as_bytes())
        .map(drop)
        .map_err(|_| RuleFault::CookieName(name.into()))
}

/// Each once, so that what is said twice counts once.
fn unique<T: PartialEq>(all: &[T]) -> impl Iterator<Item = &T> {
    let said_before = |at, one| all.get(..at).is_some_and(|before| before.contains(one));
    let numbered = all.iter().enumerate();
    numbered
        .filter(move |&(at, one)| !said_before(at, one))
        .map(|(_, one)| one)
}

impl Test {
    fn of(value: &ValueMatch) -> Result<Self, RuleFault> {
        Ok(match value {
            ValueMatch::Exact(text) => Self::Exact(text.as_str().into()),
            ValueMatch::Present => Self::Present,
            ValueMatch::Regex(pattern) => Self::Pattern(Pattern::whole(pattern)?),
        })
    }

    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Pattern(pattern) => pattern.matches(value),
            Self::Present => true,
        }
    }

    /// As [`holds`](Self::holds), of a value of a query, where escapes are one with what they mean.
    fn holds_decoded(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => decoded(value).eq(text.bytes()),
            Self::Pattern(_) | Self::Present => self.holds(value),
        }
    }
}

/// The first cookie of this name (RFC 6265, 4.2.1), as it was sent.
pub(super) fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a [u8]> {
    let lines = parts.headers.get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| {
            let (found, value) = split_pair(pair.trim_ascii())?;
            (found == name.as_bytes()).then_some(value)
        })
}

/// The first parameter of this name in a query, undecoded; empty where it has no `=`.
fn parameter<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query
        .split(|&byte| byte == b'&')
        .map(|pair| split_pair(pair).unwrap_or((pair, &[])))
        .find(|(found, _)| decoded(found).eq(name.bytes()))
        .map(|(_, value)| value)
}

fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
    Some((name, value.get(1..)?))
}

/// The bytes of a part of a query (WHATWG URL, 5.1); `%` without two digits stands for itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        let (byte, behind) = match first {
            b'%' => unescape(behind).unwrap_or((first, behind)),
            b'+' => (b' ', behind),
            _ => (first, behind),
        };
        rest = behind;
        Some(byte)
    })
}
