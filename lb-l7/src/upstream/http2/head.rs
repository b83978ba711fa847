//! Heads in the form of HTTP/2.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http::{request, response};
use lbcore::backend::Address;

use crate::body::BodyLength;

/// The request in the form that h2 takes: the authority in the target, lengths as fields.
///
/// `None` if the authority is no authority, or `upgrade` no text.
pub(super) fn request(
    parts: &request::Parts,
    length: BodyLength,
    upgrade: Option<&HeaderValue>,
    is_encrypted: bool,
    backend: &Address,
) -> Option<Request<()>> {
    let is_extended = upgrade.is_some();
    let method = if is_extended {
        Method::CONNECT
    } else {
        parts.method.clone()
    };
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = target(parts, &method, is_extended, is_encrypted, backend)?;
    *request.method_mut() = method;
    *request.headers_mut() = fields(&parts.headers, is_extended);
    if let BodyLength::Exact(bytes) = length
        && !is_extended
    {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    if let Some(protocol) = upgrade {
        let protocol = h2::ext::Protocol::from(protocol.to_str().ok()?);
        request.extensions_mut().insert(protocol);
    }
    Some(request)
}

/// RFC 9113, 8.3.1 and 8.5: a plain CONNECT has an authority alone.
fn target(
    parts: &request::Parts,
    method: &Method,
    is_extended: bool,
    is_encrypted: bool,
    backend: &Address,
) -> Option<Uri> {
    let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = match host {
        Some(host) if !host.is_empty() => Authority::try_from(host).ok()?,
        _ => parts
            .uri
            .authority()
            .cloned()
            .or_else(|| of_backend(backend))?,
    };
    let mut uri = http::uri::Parts::default();
    if method == Method::CONNECT && !is_extended {
        uri.authority = Some(parts.uri.authority().cloned().unwrap_or(authority));
        return Uri::from_parts(uri).ok();
    }
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    uri.scheme = Some(if is_encrypted {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    uri.authority = Some(authority);
    uri.path_and_query = Some(path);
    Uri::from_parts(uri).ok()
}

/// An authority for a request of HTTP/1.0 that named none: h2 sends none without.
fn of_backend(backend: &Address) -> Option<Authority> {
    match backend.socket() {
        Some(socket) => Authority::try_from(socket.to_string()).ok(),
        None => Some(Authority::from_static("localhost")),
    }
}

/// The fields without those that HTTP/2 has other means for (RFC 9113, 8.2.2 and 8.3.1).
fn fields(from: &HeaderMap, is_extended: bool) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(from.len() + 1);
    for (name, value) in from {
        let is_left_out = match *name {
            header::TE => !value.as_bytes().eq_ignore_ascii_case(b"trailers"),
            // RFC 8441, 5.1: the handshake of HTTP/1 proves what a stream needs no proof of.
            header::SEC_WEBSOCKET_KEY => is_extended,
            _ => *name == header::HOST || is_connection_specific(name),
        };
        if !is_left_out {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

fn is_connection_specific(name: &HeaderName) -> bool {
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ]
    .contains(name)
}

/// How much follows a response. Its length is taken off the fields, unless it says what another
/// response would hold (RFC 9110, 8.6); a response without content by definition has none, though
/// the stream may end with a frame of its own.
pub(super) fn length(parts: &mut response::Parts, is_ended: bool, is_head: bool) -> BodyLength {
    if is_head || parts.status == StatusCode::NOT_MODIFIED {
        return BodyLength::Empty;
    }
    let declared = parts.headers.remove(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    match declared {
        _ if parts.status == StatusCode::NO_CONTENT => BodyLength::Empty,
        Some(bytes) => BodyLength::Exact(bytes),
        None if is_ended => BodyLength::Empty,
        None => BodyLength::Streamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, length: Option<u64>) -> response::Parts {
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(length) = length {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response.into_parts().0
    }

    #[test]
    fn a_length_frames_an_answer_with_content_and_describes_one_without() {
        use BodyLength::{Empty, Exact, Streamed};
        let rows = [
            (200, Some(5), false, false, Exact(5), false),
            (200, Some(0), true, false, Exact(0), false),
            (200, None, false, false, Streamed, false),
            (200, None, true, false, Empty, false),
            (200, Some(5), true, true, Empty, true),
            (200, Some(5), false, true, Empty, true),
            (304, Some(5), true, false, Empty, true),
            (304, Some(5), false, false, Empty, true),
            (204, Some(0), false, false, Empty, false),
            (204, None, true, false, Empty, false),
        ];
        for (status, declared, is_ended, is_head, expected, is_kept) in rows {
            let mut parts = answer(status, declared);
            let found = length(&mut parts, is_ended, is_head);
            let row = (status, declared, is_ended, is_head);
            assert_eq!(found, expected, "{row:?}");
            assert_eq!(
                parts.headers.contains_key(header::CONTENT_LENGTH),
                is_kept,
                "{row:?}"
            );
        }
    }

    fn sent(uri: &str, host: &str, upgrade: Option<&str>) -> Option<String> {
        let method = if uri.starts_with('/') || uri == "*" {
            "GET"
        } else {
            "CONNECT"
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", host);
        let parts = request.body(()).unwrap().into_parts().0;
        let upgrade = upgrade.map(|protocol| HeaderValue::from_str(protocol).unwrap());
        let backend = "10.0.0.1:80".parse().unwrap();
        let sent = super::request(&parts, BodyLength::Empty, upgrade.as_ref(), true, &backend)?;
        Some(format!("{} {}", sent.method(), sent.uri()))
    }

    #[test]
    fn a_target_has_the_authority_of_the_host() {
        let rows = [
            ("/a?b", "a.example", None, Some("GET https://a.example/a?b")),
            (
                "/",
                "[2001:db8::1]:8443",
                None,
                Some("GET https://[2001:db8::1]:8443/"),
            ),
            (
                "/chat",
                "a.example",
                Some("websocket"),
                Some("CONNECT https://a.example/chat"),
            ),
            (
                "db.example:1",
                "db.example:1",
                None,
                Some("CONNECT db.example:1"),
            ),
            ("/a", "", None, Some("GET https://10.0.0.1:80/a")),
            ("/a", "no host", None, None),
        ];
        for (uri, host, upgrade, expected) in rows {
            assert_eq!(
                sent(uri, host, upgrade).as_deref(),
                expected,
                "{uri} {host}"
            );
        }
    }
}
