//! Which types of content are worth compressing.

use std::sync::Arc;

use thiserror::Error;

/// A set of types of content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContentTypes(Arc<[Pattern]>);

/// In lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Pattern {
    /// `text/html`.
    Exact(Box<str>),
    /// `text/`, all that begin so.
    Family(Box<str>),
    /// `application/` and `+json`: all that begin and end so.
    Suffix(Box<str>, Box<str>),
}

/// A type of content that cannot be. The configuration is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not a type of content such as text/html, text/* or application/*+json")]
pub struct TypeError(String);

impl ContentTypes {
    /// What is text, under whichever name, and the few binary types that shrink well.
    ///
    /// Not among them: what is compressed in itself (images, video, archives, `font/woff2`), and
    /// `application/grpc`, whose messages are framed and compressed by its own rules.
    pub const DEFAULT: [&'static str; 14] = [
        "text/*",
        "application/json",
        "application/*+json",
        "application/javascript",
        "application/x-javascript",
        "application/xml",
        "application/*+xml",
        "application/x-ndjson",
        "application/wasm",
        "application/vnd.ms-fontobject",
        "font/otf",
        "font/ttf",
        "image/svg+xml",
        "image/x-icon",
    ];

    /// These types: `text/html`, `text/*`, `application/*+json`.
    ///
    /// # Errors
    ///
    /// Names the first that is none of these.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a str>) -> Result<Self, TypeError> {
        let wrong = |text: &str| TypeError(text.to_owned());
        types
            .into_iter()
            .map(|text| Pattern::parse(text).ok_or_else(|| wrong(text)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a `Content-Type` of this value is one of them; its parameters do not count.
    ///
    /// O(number of patterns), no allocation.
    #[must_use]
    pub fn contains(&self, value: &[u8]) -> bool {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let essence = value.get(..end).unwrap_or(value).trim_ascii();
        self.0.iter().any(|pattern| pattern.fits(essence))
    }
}

impl Default for ContentTypes {
    fn default() -> Self {
        let parsed = Self::DEFAULT.iter().filter_map(|text| Pattern::parse(text));
        Self(parsed.collect())
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (family, name) = text.split_once('/')?;
        let is_token = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
            !text.is_empty() && text.bytes().all(fits)
        };
        if !is_token(family) {
            return None;
        }
        match name.strip_prefix('*') {
            None => is_token(name).then(|| Self::Exact(text.as_str().into())),
            Some("") => Some(Self::Family(format!("{family}/").into())),
            Some(suffix) => (suffix.starts_with('+') && is_token(suffix))
                .then(|| Self::Suffix(format!("{family}/").into(), suffix.into())),
        }
    }

    fn fits(&self, essence: &[u8]) -> bool {
        let starts = |with: &str| {
            let head = essence.get(..with.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
        };
        match self {
            Self::Exact(exact) => essence.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Family(family) => starts(family),
            Self::Suffix(family, suffix) => {
                let tail = essence.len().checked_sub(suffix.len());
                let tail = tail
                    .filter(|at| *at > family.len())
                    .and_then(|at| essence.get(at..));
                starts(family)
                    && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(suffix.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_all_of_its_list() {
        assert_eq!(
            ContentTypes::default(),
            ContentTypes::new(ContentTypes::DEFAULT).unwrap()
        );
        assert_eq!(ContentTypes::default().0.len(), ContentTypes::DEFAULT.len());
    }

    #[test]
    fn what_is_text_is_compressed_and_what_is_compressed_is_not() {
        let types = ContentTypes::default();
        for yes in [
            "text/html",
            "text/html; charset=utf-8",
            "TEXT/Plain ;charset=utf-8",
            "application/json",
            "application/problem+json",
            "application/LD+JSON;a=b",
            "image/svg+xml",
            "text/event-stream",
        ] {
            assert!(types.contains(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "text",
            "image/png",
            "application/jsonx",
            "application/json+zip",
            "application/+json",
            "application/grpc",
            "application/octet-stream",
            "video/mp4",
            "xtext/html",
            "image/problem+json",
            "; text/html",
        ] {
            assert!(!types.contains(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn a_type_that_cannot_be_is_named() {
        for wrong in [
            "",
            "text",
            "/html",
            "text/",
            "*/*",
            "te xt/html",
            "text/*json",
            "text/h*",
            "a/*+",
        ] {
            let refused = ContentTypes::new(["text/html", wrong]);
            let Err(error) = refused else {
                // A plus alone is a token, if an odd one.
                assert_eq!(wrong, "a/*+");
                continue;
            };
            assert_eq!(error, TypeError(wrong.to_owned()));
            assert!(error.to_string().contains(&format!("{wrong:?}")));
        }
    }
}
