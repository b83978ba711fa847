//! Whether a response changes the protocol as its request asked (RFC 9110, 7.8).

use http::{HeaderValue, Method, StatusCode, header, response};

use super::Incoming;
use crate::websocket;

/// What a response does to the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// From here on both sides send bytes of another protocol.
    Tunnel,
    /// It changes to a protocol that nobody asked for.
    Unasked,
}

/// What `parts` does to the protocol, as the answer to `incoming`.
pub(super) fn change(incoming: &Incoming, parts: &response::Parts) -> Change {
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Change::None;
    }
    let asked = incoming.upgrade.as_ref().map(|asked| asked.as_bytes());
    let given = parts
        .headers
        .get(header::UPGRADE)
        .map(|given| given.as_bytes());
    match (asked, given) {
        (Some(asked), Some(given)) if is_one_of(given, asked) => Change::Tunnel,
        _ => Change::Unasked,
    }
}

/// Makes the success that a backend of HTTP/2 tells of a tunnel (RFC 8441, 5) the 101 that it means.
pub(super) fn from_http2(incoming: &Incoming, parts: &mut response::Parts) {
    let Some(asked) = incoming
        .upgrade
        .as_ref()
        .filter(|asked| parts.status.is_success() && is_websocket(asked))
    else {
        return;
    };
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    parts.headers.insert(header::UPGRADE, asked.clone());
    if let Some(key) = incoming.parts.headers.get(header::SEC_WEBSOCKET_KEY) {
        let accept = websocket::accept_of(key.as_bytes());
        parts.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// What is left of an offer to change the protocol: nobody has to heed one (RFC 9110, 7.8).
///
/// A change to HTTP/2 would take all further requests past the proxy's rules. A WebSocket begins
/// with a GET without a body (RFC 6455, 4.1): over HTTP/2 a body would be read as its first bytes.
pub(super) fn offer(incoming: &mut Incoming) {
    let Incoming {
        upgrade,
        parts,
        length,
        ..
    } = incoming;
    let is_plain = parts.method == Method::GET && length.is_empty();
    let is_heeded = upgrade.as_ref().is_some_and(|asked| {
        let asked = asked.as_bytes();
        !is_one_of(b"h2c", asked) && (is_plain || !is_one_of(b"websocket", asked))
    });
    if !is_heeded {
        *upgrade = None;
    }
}

/// Whether this offers WebSocket, and nothing else.
pub(super) fn is_websocket(asked: &HeaderValue) -> bool {
    asked.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// Whether the protocol `given` is in the list `asked`.
fn is_one_of(given: &[u8], asked: &[u8]) -> bool {
    asked
        .split(|&byte| byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(given.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_found_in_a_list_whatever_its_case() {
        assert!(is_one_of(b"WebSocket", b"websocket"));
        assert!(is_one_of(b"b", b"a, B ,c"));
        assert!(!is_one_of(b"b", b"ab, bc"));
        assert!(!is_one_of(b"", b"a"));
    }
}
