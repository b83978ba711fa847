//! Which fields may stand behind a body (RFC 9110, 6.5.1).

use http::HeaderMap;
use http::header::{self, HeaderName};

use super::hop_by_hop::is_protected;

/// Takes off the fields that mean something only before a body: framing, routing, credentials,
/// conditions, content, caching, cookies, and all that speaks of the connection.
///
/// A recipient that merges trailers into the head would else be told by the end of a message what
/// its beginning had said. Returns how many lines were taken off. Cost: one comparison by length for
/// each field and forbidden name; allocates only if something is taken off.
pub fn remove_forbidden(trailers: &mut HeaderMap) -> u32 {
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_forbidden(name))
        .cloned()
        .collect();
    let before = trailers.len();
    for name in forbidden {
        trailers.remove(name);
    }
    u32::try_from(before - trailers.len()).unwrap_or(u32::MAX)
}

/// Whether this field may not stand in trailers.
#[must_use]
pub fn is_forbidden(name: &HeaderName) -> bool {
    let connection = matches!(
        name.as_str(),
        "connection" | "http2-settings" | "keep-alive" | "proxy-connection" | "te" | "upgrade"
    );
    // An entity tag may be known only when all content is (RFC 9110, 8.8.3).
    connection || (name != header::ETAG && is_protected(name.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_frames_routes_or_authorises_is_taken_off_and_the_rest_stays() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "content-length",
            "etag",
            "transfer-encoding",
            "digest",
            "connection",
            "te",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "set-cookie",
            "x-forwarded-for",
            "x-client-cert-verified",
            "host",
            "x-checksum",
        ] {
            trailers.append(name, HeaderValue::from_static("a"));
        }
        trailers.append("set-cookie", HeaderValue::from_static("b"));
        assert_eq!(remove_forbidden(&mut trailers), 13);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["digest", "etag", "grpc-status", "x-checksum"]);
        assert_eq!(remove_forbidden(&mut trailers), 0);
    }
}
