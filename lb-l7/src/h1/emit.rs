//! Heads and chunks written anew: what goes on is made of what was parsed, never passed through.

use std::num::NonZeroUsize;

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response,
};

use super::trailers;
use crate::body::BodyLength;

/// What a head says of the connection it goes over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the options a proxy sends"
)]
pub enum Connection<'a> {
    /// This message is the last.
    Close,
    /// It is not; only HTTP/1.0 needs to be told.
    KeepAlive,
    /// It changes, or is asked to change, to this protocol.
    Upgrade(&'a HeaderValue),
}

/// How the content is to be written behind a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the codings a proxy sends"
)]
pub enum Coding {
    /// In chunks: [`emit_chunk_head`], [`emit_chunk_end`], [`emit_last_chunk`].
    Chunked,
    /// As it is.
    Identity,
    /// As it is, and then the connection is closed: nothing else tells the client the end.
    UntilClose,
}

/// Appends the head of a request, as HTTP/1.1, and returns how its content is to be written.
///
/// `parts` are in the form of [`Request::parts`](super::Request::parts). Host is the first field;
/// `length` and `connection` alone say what is sent of framing and of the connection: those fields
/// of `parts` are left out, Upgrade among them.
pub fn emit_request(
    out: &mut BytesMut,
    parts: &request::Parts,
    length: BodyLength,
    connection: Option<Connection<'_>>,
) -> Coding {
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => parts
            .uri
            .authority()
            .map_or("/", |authority| authority.as_str()),
    };
    out.reserve(target.len() + room(&parts.headers));
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    if let Some(host) = parts.headers.get(header::HOST) {
        out.extend_from_slice(host.as_bytes());
    }
    out.extend_from_slice(CRLF);
    let coding = match length {
        // RFC 9110, 8.6: say that there is none where the method lets one expect some.
        BodyLength::Empty if anticipates_content(&parts.method) => {
            emit_length(out, 0);
            Coding::Identity
        }
        // No request ends with the connection; chunked can carry it whatever was meant.
        BodyLength::UntilClose | BodyLength::Streamed => emit_framing(out, BodyLength::Streamed),
        length => emit_framing(out, length),
    };
    emit_connection(out, connection);
    for (name, value) in &parts.headers {
        if *name != header::HOST && *name != header::CONTENT_LENGTH && !is_hop(name) {
            emit_field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
    coding
}

/// Appends the head of a response to a client that speaks `version`, and returns how its content is
/// to be written.
///
/// A client of HTTP/1.0 knows no chunks: content of unknown length is then ended by the end of the
/// connection, and the head says so. A Content-Length in `parts` is sent where it does not frame,
/// which is if `length` is [`BodyLength::Empty`]; otherwise it is as with [`emit_request`].
pub fn emit_response(
    out: &mut BytesMut,
    version: Version,
    parts: &response::Parts,
    length: BodyLength,
    connection: Option<Connection<'_>>,
) -> Coding {
    let length = match length {
        BodyLength::Streamed if version == Version::HTTP_10 => BodyLength::UntilClose,
        length => length,
    };
    let connection = match length {
        BodyLength::UntilClose => Some(Connection::Close),
        _ => connection,
    };
    out.reserve(room(&parts.headers));
    emit_status_line(out, parts.status);
    let coding = emit_framing(out, length);
    emit_connection(out, connection);
    for (name, value) in &parts.headers {
        let frames = *name == header::CONTENT_LENGTH && length != BodyLength::Empty;
        if !frames && !is_hop(name) {
            emit_field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
    coding
}

/// Appends an interim response (1xx, but not the 101, which is [`emit_response`]'s).
pub fn emit_informational(out: &mut BytesMut, parts: &response::Parts) {
    out.reserve(room(&parts.headers));
    emit_status_line(out, parts.status);
    for (name, value) in &parts.headers {
        if *name != header::CONTENT_LENGTH && !is_hop(name) {
            emit_field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
}

/// Appends what goes before the content of a chunk.
pub fn emit_chunk_head(out: &mut BytesMut, length: NonZeroUsize) {
    emit_number::<16>(out, length.get() as u64);
    out.extend_from_slice(CRLF);
}

/// Appends what goes behind the content of a chunk.
pub fn emit_chunk_end(out: &mut BytesMut) {
    out.extend_from_slice(CRLF);
}

/// Appends what goes behind the last chunk; trailers that must not be there are left out (RFC 9110,
/// 6.5.1).
pub fn emit_last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if trailers::is_allowed(name) {
            emit_field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
}

fn emit_status_line(out: &mut BytesMut, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    // RFC 9112, 4: the space is there even if no reason is.
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(CRLF);
}

fn emit_framing(out: &mut BytesMut, length: BodyLength) -> Coding {
    match length {
        BodyLength::Empty => Coding::Identity,
        BodyLength::Exact(bytes) => {
            emit_length(out, bytes);
            Coding::Identity
        }
        BodyLength::Streamed => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Coding::Chunked
        }
        BodyLength::UntilClose => Coding::UntilClose,
    }
}

fn emit_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"content-length: ");
    emit_number::<10>(out, length);
    out.extend_from_slice(CRLF);
}

/// Appends a number in this base, without the machinery of `fmt`.
fn emit_number<const BASE: u64>(out: &mut BytesMut, number: u64) {
    let mut digits = [0; MAX_DIGITS];
    let mut rest = number;
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = match u8::try_from(rest % BASE).unwrap_or_default() {
            low @ 0..10 => b'0' + low,
            low => b'a' - 10 + low,
        };
        start -= 1;
        rest /= BASE;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

fn emit_connection(out: &mut BytesMut, connection: Option<Connection<'_>>) {
    match connection {
        None => {}
        Some(Connection::Close) => out.extend_from_slice(b"connection: close\r\n"),
        Some(Connection::KeepAlive) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Some(Connection::Upgrade(protocol)) => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            emit_field(out, &header::UPGRADE, protocol);
        }
    }
}

fn emit_field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    debug_assert!(
        memchr::memchr3(b'\r', b'\n', b'\0', value.as_bytes()).is_none(),
        "a field's value cannot end its line"
    );
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(CRLF);
}

/// Whether a field is of one connection, and written from `BodyLength` or `Connection` alone.
fn is_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION || *name == header::TRANSFER_ENCODING || *name == header::UPGRADE
}

fn anticipates_content(method: &Method) -> bool {
    matches!(*method, Method::PATCH | Method::POST | Method::PUT)
}

/// What a head usually takes besides its target; what takes more grows the buffer once more.
fn room(fields: &HeaderMap) -> usize {
    128 + 64 * fields.len()
}

const CRLF: &[u8] = b"\r\n";

/// `u64::MAX` has 20 in decimal.
const MAX_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(emit: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        emit(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let builder = http::Request::builder().method(method).uri(uri);
        let builder = fields.iter().fold(builder, |builder, (name, value)| {
            builder.header(*name, *value)
        });
        builder.body(()).unwrap().into_parts().0
    }

    fn response(status: u16, fields: &[(&str, &str)]) -> response::Parts {
        let builder = http::Response::builder().status(status);
        let builder = fields.iter().fold(builder, |builder, (name, value)| {
            builder.header(*name, *value)
        });
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_its_host_first_and_one_framing_of_ours() {
        let parts = request(
            "PUT",
            "/a?b",
            &[
                ("accept", "x"),
                ("host", "h"),
                ("content-length", "9"),
                ("transfer-encoding", "gzip"),
                ("connection", "accept"),
                ("upgrade", "y"),
            ],
        );
        let head = sent(|out| {
            let coding = emit_request(out, &parts, BodyLength::Exact(10), Some(Connection::Close));
            assert_eq!(coding, Coding::Identity);
        });
        assert_eq!(
            head,
            "PUT /a?b HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\nconnection: close\r\naccept: x\r\n\r\n"
        );
    }

    #[test]
    fn a_request_says_that_it_has_no_content_where_one_expects_some() {
        for (method, says) in [
            ("POST", true),
            ("PUT", true),
            ("PATCH", true),
            ("GET", false),
            ("DELETE", false),
        ] {
            let parts = request(method, "/", &[("host", "h")]);
            let head = sent(|out| {
                emit_request(out, &parts, BodyLength::Empty, None);
            });
            assert_eq!(head.contains("content-length: 0\r\n"), says, "{method}");
        }
    }

    #[test]
    fn a_request_names_its_target_in_the_form_of_its_method() {
        let line = |method, uri| {
            let parts = request(method, uri, &[]);
            let head = sent(|out| {
                emit_request(out, &parts, BodyLength::Empty, Some(Connection::KeepAlive));
            });
            let line = head.lines().next().map(str::to_owned);
            assert!(head.ends_with("\r\nhost: \r\nconnection: keep-alive\r\n\r\n"));
            line.unwrap()
        };
        assert_eq!(line("CONNECT", "a:443"), "CONNECT a:443 HTTP/1.1");
        assert_eq!(line("OPTIONS", "*"), "OPTIONS * HTTP/1.1");
        assert_eq!(line("GET", "/"), "GET / HTTP/1.1");
    }

    #[test]
    fn a_request_of_unknown_length_is_sent_in_chunks() {
        let parts = request("GET", "/", &[("host", "h")]);
        for length in [BodyLength::Streamed, BodyLength::UntilClose] {
            let head =
                sent(|out| assert_eq!(emit_request(out, &parts, length, None), Coding::Chunked));
            assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"));
        }
    }

    #[test]
    fn a_response_to_http_1_0_is_never_chunked() {
        let parts = response(200, &[("content-length", "7")]);
        let old = sent(|out| {
            let coding = emit_response(out, Version::HTTP_10, &parts, BodyLength::Streamed, None);
            assert_eq!(coding, Coding::UntilClose);
        });
        assert_eq!(old, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        let new = sent(|out| {
            let coding = emit_response(out, Version::HTTP_11, &parts, BodyLength::Streamed, None);
            assert_eq!(coding, Coding::Chunked);
        });
        assert_eq!(new, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    #[test]
    fn a_response_without_content_may_tell_the_length_of_another() {
        let parts = response(304, &[("content-length", "7")]);
        let head = sent(|out| {
            emit_response(out, Version::HTTP_11, &parts, BodyLength::Empty, None);
        });
        assert_eq!(
            head,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"
        );
    }

    #[test]
    fn a_change_of_protocol_names_it() {
        let parts = response(101, &[("upgrade", "no")]);
        let protocol = HeaderValue::from_static("websocket");
        let head = sent(|out| {
            let connection = Some(Connection::Upgrade(&protocol));
            emit_response(out, Version::HTTP_11, &parts, BodyLength::Empty, connection);
        });
        assert_eq!(
            head,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        );
    }

    #[test]
    fn an_interim_response_has_no_framing() {
        let fields = [
            ("link", "x"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
        ];
        let parts = response(103, &fields);
        let head = sent(|out| emit_informational(out, &parts));
        assert_eq!(head, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
        let unknown = sent(|out| emit_informational(out, &response(199, &[])));
        assert_eq!(unknown, "HTTP/1.1 199 \r\n\r\n");
    }

    #[test]
    fn numbers_are_written_in_full() {
        let hex = |length| sent(|out| emit_chunk_head(out, NonZeroUsize::new(length).unwrap()));
        assert_eq!(hex(1), "1\r\n");
        assert_eq!(hex(0x9a), "9a\r\n");
        assert_eq!(hex(0xf0), "f0\r\n");
        assert_eq!(hex(usize::MAX), "ffffffffffffffff\r\n");
        let decimal = |number| sent(|out| emit_number::<10>(out, number));
        assert_eq!(decimal(0), "0");
        assert_eq!(decimal(9), "9");
        assert_eq!(decimal(10), "10");
        assert_eq!(decimal(u64::MAX), "18446744073709551615");
    }

    #[test]
    fn the_last_chunk_leaves_out_what_no_trailer_may_be() {
        assert_eq!(sent(|out| emit_last_chunk(out, None)), "0\r\n\r\n");
        let parts = response(200, &[("grpc-status", "0"), ("content-length", "7")]);
        let end = sent(|out| emit_last_chunk(out, Some(&parts.headers)));
        assert_eq!(end, "0\r\ngrpc-status: 0\r\n\r\n");
    }
}
