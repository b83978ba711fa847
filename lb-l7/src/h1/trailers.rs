//! The fields behind a chunked body (RFC 9112, 7.1.2).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};

use super::lines::{self, Ends};
use super::{Rejection, Scan, TrailerLimits, diagnose, fields, names};

/// Takes the trailer section, with the empty line that ends it, off the front of `buffer`.
///
/// Fields that must not be there are dropped, not refused: RFC 9110, 6.5.1, leaves a sender's
/// ignorance to the recipient, and merged they never are.
pub(super) fn parse(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &TrailerLimits,
) -> Result<Option<HeaderMap>, Rejection> {
    let most = limits.fields.min(MAX_TRAILERS);
    let mut ends = Ends::new();
    let Some(length) = scan.fields(buffer, limits.bytes, most, &mut ends)? else {
        return Ok(None);
    };
    let section = buffer.split_to(length).freeze();
    let read = read(&section, &ends);
    read.map(Some)
        .map_err(|fault| diagnose::fields(&section).unwrap_or(fault))
}

fn read(section: &Bytes, ends: &Ends) -> Result<HeaderMap, Rejection> {
    let mut map = HeaderMap::new();
    for line in ends.lines(section).take_while(|line| !line.is_empty()) {
        let (name, value) = lines::field(line).ok_or(Rejection::FieldNameSyntax)?;
        let name = names::parse(name)?;
        let value = fields::value(section, value)?;
        if is_allowed(&name) {
            map.try_append(name, value)
                .map_err(|_| Rejection::TooManyFields)?;
        }
    }
    Ok(map)
}

/// Whether a field may come behind the content: not one that frames or routes the message, says who
/// asks, controls how it is handled, or tells how the content is read (RFC 9110, 6.5.1).
pub(super) fn is_allowed(name: &HeaderName) -> bool {
    let name = name.as_str();
    FORBIDDEN.binary_search(&name).is_err()
        && !name.starts_with("x-forwarded-")
        && !name.starts_with("if-")
        && !fields::is_look_alike(name.as_bytes())
}

/// In the order of the alphabet.
const FORBIDDEN: [&str; 41] = [
    "accept",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-key",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-http-method-override",
    "x-real-ip",
];

/// The most trailers that [`TrailerLimits::fields`] may allow.
const MAX_TRAILERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forbidden_names_are_sorted_and_in_lower_case() {
        assert!(FORBIDDEN.is_sorted());
        for name in FORBIDDEN {
            assert!(!is_allowed(&HeaderName::from_static(name)));
        }
    }

    #[test]
    fn what_is_of_the_content_alone_is_allowed() {
        for name in [
            "grpc-status",
            "etag",
            "digest",
            "server-timing",
            "x-forwarded",
            "iffy",
        ] {
            assert!(is_allowed(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "x-forwarded-for",
            "if-match",
            "content_length",
            "transfer_encoding",
        ] {
            assert!(!is_allowed(&HeaderName::from_static(name)), "{name}");
        }
    }
}
