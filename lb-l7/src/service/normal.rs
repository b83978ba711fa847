//! The normal form of a request that somebody else's server has read (pure).

use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version, header, request};
use http_body::Body;
use lbcore::Instant;

use crate::body::BodyLength;
use crate::exchange::Incoming;
use crate::h1::authority;
use crate::headers::{Scheme, http2};
use crate::report::{Party, Phase, Termination, Why};

/// A request as the engine takes it: origin-form target, one host, and its framing apart.
pub(super) fn incoming(
    now: Instant,
    mut parts: request::Parts,
    body: &impl Body,
    scheme: Scheme,
) -> Result<Incoming, Termination> {
    let refused = |why| Termination::new(Party::Client, Phase::RequestHead, why);
    if wants_upgrade(&parts.headers) {
        return Err(refused(Why::Unsupported));
    }
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let settled = http2::settle_host(&mut parts.headers, named, scheme);
    settled.map_err(|_| refused(Why::Malformed))?;
    let host = parts.headers.get(header::HOST);
    if host.is_none_or(|host| authority::check(host.as_bytes()).is_err()) {
        return Err(refused(Why::Malformed));
    }
    if parts.version == Version::HTTP_2 {
        http2::merge_cookies(&mut parts.headers);
    }
    let length = length_of(body, &mut parts.headers).ok_or_else(|| refused(Why::Malformed))?;
    let expected = parts.headers.get(header::EXPECT);
    let expects_continue =
        expected.is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    origin_form(&mut parts);
    Ok(Incoming {
        parts,
        length,
        expects_continue: expects_continue && !length.is_empty(),
        upgrade: None,
        head_bytes: 0,
        accepted: now,
        begun: now,
    })
}

/// Leaves the path and the query of a target; `/` where it has neither.
pub(crate) fn origin_form(parts: &mut request::Parts) {
    if parts.uri.authority().is_none() {
        return;
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

/// How much `body` holds; the field that says so is taken off. `None`: it says nothing one can read.
///
/// A body that knows its length is believed before the field, which whoever has changed the body
/// since may have left as it was.
pub(crate) fn length_of(body: &impl Body, fields: &mut HeaderMap) -> Option<BodyLength> {
    let declared = fields.remove(header::CONTENT_LENGTH);
    if body.is_end_stream() {
        return Some(match declared {
            Some(_) => BodyLength::Exact(0),
            None => BodyLength::Empty,
        });
    }
    if let Some(exact) = body.size_hint().exact() {
        return Some(BodyLength::Exact(exact));
    }
    let Some(declared) = declared else {
        return Some(BodyLength::Streamed);
    };
    let digits = declared.to_str().ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits.parse().ok().filter(|_| is_number)?;
    Some(BodyLength::Exact(bytes))
}

/// Whether a request asks for another protocol than HTTP (RFC 9110, 7.8). One that would go over to
/// HTTP/2 (`h2c`) is served as it is.
fn wants_upgrade(fields: &HeaderMap) -> bool {
    let mut protocols = fields
        .get_all(header::UPGRADE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty());
    protocols.any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}
