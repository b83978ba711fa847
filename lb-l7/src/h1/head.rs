//! Heads taken off a buffer: what a request asks, what a response says, and what follows.

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request, response};

use super::fields::{Expectation, Fields, Side};
use super::lines::{Ends, is_value};
use super::scan::MAX_METHOD;
use super::{HeadLimits, Rejection, RequestKind, Scan, authority, diagnose, target};
use crate::body::BodyLength;
use crate::token::is_token;

/// The head of a request, in the form that is the same for every version of HTTP.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// Method, target, version and fields.
    ///
    /// The target is in origin form, `*`, or the authority of a CONNECT. Exactly one `host` is
    /// there, which is empty if an HTTP/1.0 client named none. Content-Length and Transfer-Encoding
    /// are taken off, and so is a Connection line that says `keep-alive` alone; the other
    /// hop-by-hop fields are not. Expect is there only if
    /// [`expects_continue`](Self::expects_continue).
    pub parts: request::Parts,
    /// What follows the head; never [`BodyLength::UntilClose`].
    pub length: BodyLength,
    /// Whether the client can take another response on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the content (RFC 9110, 10.1.1); never
    /// without content, nor in HTTP/1.0.
    pub expects_continue: bool,
    /// The protocol that the client offers to change to (RFC 9110, 7.8); never in HTTP/1.0.
    pub upgrade: Option<HeaderValue>,
    /// Whether the client takes trailers: its TE says `trailers` and nothing else (RFC 9110, 10.1.4).
    pub takes_trailers: bool,
    /// The scheme of a target in absolute form.
    pub scheme: Option<Scheme>,
}

/// The head of a response.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response {
    /// Status, version and fields.
    ///
    /// Content-Length and Transfer-Encoding are taken off, but for the Content-Length of a response
    /// to HEAD and of a 304, where it says what another response would hold (RFC 9110, 8.6). So is
    /// a Connection line that says `keep-alive` alone.
    pub parts: response::Parts,
    /// What follows the head.
    pub length: BodyLength,
    /// Whether the connection can take another request behind this response.
    pub keep_alive: bool,
    /// Whether the bytes behind the head are no longer HTTP/1: a 101, or a 2xx to CONNECT.
    pub tunnel: bool,
    /// The protocol a 101 changes to.
    pub upgrade: Option<HeaderValue>,
}

/// Takes the head of a request off the front of `buffer`, or returns `None` if more bytes are
/// needed.
///
/// The head's bytes are not copied: values are slices of it. `fields` lends its room to the
/// request, and is left empty. `scan` is the connection's, see [`Scan`].
///
/// # Errors
///
/// A [`Rejection`] says why this is no request that every parser reads alike. It is the same
/// however the bytes are cut into reads. The state of `buffer` is then unspecified.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use http::HeaderMap;
/// use lb_l7::BodyLength;
/// use lb_l7::h1::{HeadLimits, Scan, parse_request};
///
/// let mut buffer = BytesMut::from("PUT /a HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi");
/// let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
/// let request = parse_request(&mut buffer, &mut Scan::default(), &limits, &mut fields)?;
/// let request = request.expect("the head is whole");
///
/// assert_eq!(request.parts.uri, "/a");
/// assert_eq!(request.length, BodyLength::Exact(2));
/// assert_eq!(buffer, "hi");
/// # Ok::<(), lb_l7::h1::Rejection>(())
/// ```
pub fn parse_request(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &HeadLimits,
    fields: &mut HeaderMap,
) -> Result<Option<Request>, Rejection> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.headers = std::mem::take(fields);
    match parse_request_into(buffer, scan, limits, &mut parts)? {
        Some(meaning) => Ok(Some(Request {
            parts,
            length: meaning.length,
            keep_alive: meaning.keep_alive,
            expects_continue: meaning.expects_continue,
            upgrade: meaning.upgrade,
            takes_trailers: meaning.takes_trailers,
            scheme: meaning.scheme,
        })),
        None => {
            *fields = parts.headers;
            Ok(None)
        }
    }
}

/// What a [`Request`] is besides its parts.
#[derive(Debug)]
pub(crate) struct Meaning {
    pub(crate) length: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) takes_trailers: bool,
    scheme: Option<Scheme>,
}

/// As [`parse_request`], with the parts put where they are to be; their extensions stay.
///
/// Unless there is a request, they hold nothing of use.
pub(crate) fn parse_request_into(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &HeadLimits,
    parts: &mut request::Parts,
) -> Result<Option<Meaning>, Rejection> {
    let mut ends = Ends::new();
    let Some(length) = scan.request(buffer, limits, &mut ends)? else {
        return Ok(None);
    };
    *scan = Scan::default();
    let head = take(buffer, length);
    let request = read_request(&head, &ends, limits, parts);
    request
        .map(Some)
        .map_err(|fault| diagnose::request(&head).unwrap_or(fault))
}

/// Takes a head off the buffer, all of it if nothing is behind: its memory is the head's then.
fn take(buffer: &mut BytesMut, length: usize) -> Bytes {
    if buffer.len() == length {
        std::mem::take(buffer).freeze()
    } else {
        buffer.split_to(length).freeze()
    }
}

fn read_request(
    head: &Bytes,
    ends: &Ends,
    limits: &HeadLimits,
    parts: &mut request::Parts,
) -> Result<Meaning, Rejection> {
    let map = &mut parts.headers;
    let mut lines = ends.lines(head);
    let line = lines.next().and_then(request_line);
    let (method, target, version) = line.ok_or(Rejection::RequestLine)?;
    if method.len() > MAX_METHOD {
        return Err(Rejection::MethodTooLong);
    }
    if !is_token(method) {
        return Err(Rejection::Method);
    }
    let method = Method::from_bytes(method).map_err(|_| Rejection::Method)?;
    let target = target::parse(target, &method, head, limits)?;
    let mut fields = Fields::read(lines, head, Side::Client, map)?;
    if fields.look_alike {
        return Err(Rejection::FramingLookAlike);
    }
    let length = fields.framing.request(version, &method)?;
    let expects_continue = expect(&fields, version, length, map)?;
    let host = host(fields.host.take(), target.authority, version)?;
    map.insert(header::HOST, host);

    let modern = version == Version::HTTP_11;
    let upgrade = if modern { fields.upgrade(map) } else { None };
    parts.method = method;
    parts.uri = target.uri;
    parts.version = version;
    Ok(Meaning {
        length,
        keep_alive: !fields.close && (modern || fields.keep_alive),
        expects_continue,
        upgrade,
        takes_trailers: fields.trailers,
        scheme: target.scheme,
    })
}

/// Method, target and version: three words, one space apart (RFC 9112, 3).
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8], Version)> {
    let (words, version) = line.split_last_chunk()?;
    let [words @ .., b' '] = words else {
        return None;
    };
    let space = words.iter().position(|&byte| byte == b' ')?;
    let (method, target) = words.split_at_checked(space)?;
    // The space before it goes; another one in it is not for a target.
    Some((method, target.get(1..)?, self::version(version)?))
}

/// Whom the request asks: Host, which the target's own authority must not contradict.
fn host(
    host: Option<HeaderValue>,
    named: Option<Bytes>,
    version: Version,
) -> Result<HeaderValue, Rejection> {
    match (host, named) {
        (Some(host), named) => {
            authority::check(host.as_bytes())?;
            if named.is_some_and(|named| !target::agree(&host, &named)) {
                return Err(Rejection::HostMismatch);
            }
            Ok(host)
        }
        (None, _) if version == Version::HTTP_11 => Err(Rejection::HostMissing),
        (None, Some(named)) => {
            HeaderValue::from_maybe_shared(named).map_err(|_| Rejection::HostSyntax)
        }
        (None, None) => Ok(HeaderValue::from_static("")),
    }
}

/// Whether a 100 is expected. An Expect that asks for nothing is taken off: a backend that waits
/// for the content of a request without any never answers, or answers twice.
fn expect(
    fields: &Fields,
    version: Version,
    length: BodyLength,
    map: &mut HeaderMap,
) -> Result<bool, Rejection> {
    match fields.expectation {
        Expectation::Absent => Ok(false),
        Expectation::Unknown => Err(Rejection::Expectation),
        Expectation::Continue if version == Version::HTTP_11 && !length.is_empty() => Ok(true),
        Expectation::Continue => {
            map.remove(header::EXPECT);
            Ok(false)
        }
    }
}

/// Takes the head of a response off the front of `buffer`, or returns `None` if more bytes are
/// needed. An interim response (1xx) is a response like the others.
///
/// `to` is what the response answers; the rest is as for [`parse_request`].
///
/// # Errors
///
/// A [`Rejection`] says why this is no response that every parser reads alike: the backend's
/// fault, and a 502 to the client. A response that holds nothing by definition (1xx, 204, a 2xx to
/// CONNECT) is not refused for its framing fields; they are taken off.
pub fn parse_response(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &HeadLimits,
    fields: &mut HeaderMap,
    to: RequestKind,
) -> Result<Option<Response>, Rejection> {
    let mut ends = Ends::new();
    let Some(length) = scan.response(buffer, limits, &mut ends)? else {
        return Ok(None);
    };
    *scan = Scan::default();
    let head = take(buffer, length);
    let response = read_response(&head, &ends, fields, to);
    response
        .map(Some)
        .map_err(|fault| diagnose::response(&head).unwrap_or(fault))
}

fn read_response(
    head: &Bytes,
    ends: &Ends,
    map: &mut HeaderMap,
    to: RequestKind,
) -> Result<Response, Rejection> {
    let mut lines = ends.lines(head);
    let line = lines.next().and_then(status_line);
    let (version, status) = line.ok_or(Rejection::StatusLine)?;
    let fields = Fields::read(lines, head, Side::Backend, map)?;
    let length = fields.framing.response(version, status, to)?;
    if to == RequestKind::Head || status == StatusCode::NOT_MODIFIED {
        restore_length(&fields, map);
    }
    let tunnel = status == StatusCode::SWITCHING_PROTOCOLS
        || (to == RequestKind::Connect && status.is_success());
    // A 204 has no content, but whoever declared some may have sent it.
    let clean = status != StatusCode::NO_CONTENT || !fields.framing.declares_content();
    let persistent = version == Version::HTTP_11 || fields.keep_alive;

    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.version = version;
    let upgrade = match status {
        StatusCode::SWITCHING_PROTOCOLS => fields.upgrade(map),
        _ => None,
    };
    parts.headers = std::mem::take(map);
    Ok(Response {
        parts,
        length,
        keep_alive: persistent
            && !fields.close
            && !tunnel
            && clean
            && length != BodyLength::UntilClose,
        tunnel,
        upgrade,
    })
}

/// Puts the length of what a GET would have brought back into the fields.
fn restore_length(fields: &Fields, map: &mut HeaderMap) {
    if let Some(length) = fields.framing.length() {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Version and status; the reason is dropped (RFC 9112, 4).
fn status_line(line: &[u8]) -> Option<(Version, StatusCode)> {
    let (version, rest) = line.split_first_chunk()?;
    let (code, reason) = match rest.split_first_chunk::<4>()? {
        ([b' ', code @ ..], []) => (code, &[][..]),
        ([b' ', code @ ..], [b' ', reason @ ..]) => (code, reason),
        _ => return None,
    };
    let status = StatusCode::from_bytes(code).ok()?;
    is_value(reason).then_some((self::version(version)?, status))
}

/// One of the two versions there are.
fn version(text: &[u8; 8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::HTTP_11),
        b"HTTP/1.0" => Some(Version::HTTP_10),
        _ => None,
    }
}
