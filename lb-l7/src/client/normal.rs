//! The normal form of a request of the caller's own (pure).

use http::{HeaderValue, Method, header, request};
use http_body::Body;
use lbcore::Instant;

use super::ClientError;
use crate::exchange::Incoming;
use crate::front::service::Ended;
use crate::h1::authority;
use crate::report::Why;
use crate::service::{length_of, origin_form};

/// A request as the engine takes it: origin-form target, one host, and its framing apart.
pub(super) fn incoming(
    now: Instant,
    mut parts: request::Parts,
    body: &impl Body,
    otherwise: Option<&HeaderValue>,
) -> Result<Incoming, Ended> {
    if parts.method == Method::CONNECT || parts.headers.contains_key(header::UPGRADE) {
        return Err(ClientError::refused(Why::Unsupported, "tunnel"));
    }
    settle_host(&mut parts, otherwise)?;
    let length = length_of(body, &mut parts.headers)
        .ok_or(ClientError::refused(Why::Malformed, "length-syntax"))?;
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

/// Leaves one `host` field: the request's own, or its URI's, or the one of requests without.
fn settle_host(parts: &mut request::Parts, otherwise: Option<&HeaderValue>) -> Result<(), Ended> {
    let mut written = parts.headers.get_all(header::HOST).iter();
    let (host, another) = (written.next(), written.next());
    if another.is_some() {
        return Err(ClientError::refused(Why::Malformed, "two-hosts"));
    }
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let host = match (host, named) {
        (Some(_), _) => None,
        (None, Some(named)) => HeaderValue::from_str(named).ok(),
        (None, None) => otherwise.cloned(),
    };
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host);
    }
    let Some(host) = parts.headers.get(header::HOST) else {
        return Err(ClientError::refused(Why::Malformed, "no-host"));
    };
    let checked = authority::check(host.as_bytes());
    checked.map_err(|fault| ClientError::refused(Why::Malformed, fault.as_str()))?;
    Ok(())
}
