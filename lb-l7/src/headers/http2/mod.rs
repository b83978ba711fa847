//! What HTTP/2 forbids in fields, and how its requests come into the form of HTTP/1.
//!
//! A field that means something in HTTP/1 and nothing in HTTP/2 is how requests are smuggled through
//! proxies that translate: such a message is malformed (RFC 9113, 8.2) and is refused as a whole.

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};
use thiserror::Error;

use super::names::{KEEP_ALIVE, PROXY_CONNECTION};
use super::{Direction, Scheme};

/// Whether these fields of an HTTP/2 message are well-formed.
///
/// Names in lower case and values without line ends are the codec's to check. Cost: one pass over
/// the values and seven look-ups; allocates nothing.
///
/// # Errors
///
/// [`Malformed`]: the stream is to be reset with `PROTOCOL_ERROR`, or answered 400.
pub fn check(headers: &HeaderMap, direction: Direction) -> Result<(), Malformed> {
    let specific = headers.contains_key(CONNECTION)
        || headers.contains_key(&KEEP_ALIVE)
        || headers.contains_key(&PROXY_CONNECTION)
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.contains_key(UPGRADE);
    if specific {
        return Err(Malformed::ConnectionField);
    }
    let mut te = headers.get_all(TE).iter();
    let allowed: fn(&HeaderValue) -> bool = match direction {
        Direction::Request => |value| value.as_bytes().eq_ignore_ascii_case(b"trailers"),
        Direction::Response => |_| false,
    };
    if !te.all(allowed) {
        return Err(Malformed::Te);
    }
    if headers.values().any(has_outer_space) {
        return Err(Malformed::OuterSpace);
    }
    Ok(())
}

/// Leaves one `host` field that is `:authority`, as every request has inside the proxy.
///
/// `authority` is the pseudo-field of the request, `None` if it has none. Allocates one short
/// buffer.
///
/// # Errors
///
/// [`Malformed::Host`] when there are two `host` fields, neither field, or an authority that no
/// field may hold; [`Malformed::Authority`] when they name different servers (RFC 9113, 8.3.1). Case
/// and a written default port make no difference.
pub fn settle_host(
    headers: &mut HeaderMap,
    authority: Option<&str>,
    scheme: Scheme,
) -> Result<(), Malformed> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Malformed::Host);
    }
    match (authority, host) {
        (None, Some(host)) if !host.is_empty() => Ok(()),
        (None | Some(""), _) => Err(Malformed::Host),
        // RFC 9113, 8.3.1: no user information.
        (Some(authority), _) if authority.contains('@') => Err(Malformed::Host),
        (Some(authority), Some(host)) if !same_server(authority, host.as_bytes(), scheme) => {
            Err(Malformed::Authority)
        }
        (Some(authority), host) => {
            if host.is_none_or(|host| host.as_bytes() != authority.as_bytes()) {
                let value = HeaderValue::from_str(authority).map_err(|_| Malformed::Host)?;
                headers.insert(HOST, value);
            }
            Ok(())
        }
    }
}

/// Joins the `cookie` fields of a request into one, as HTTP/1 needs them (RFC 9113, 8.2.3).
///
/// Returns how many there were. Cost: with less than two, one look-up; else one buffer.
pub fn merge_cookies(headers: &mut HeaderMap) -> usize {
    let (crumbs, length) = headers
        .get_all(COOKIE)
        .iter()
        .fold((0, 0), |(n, length), crumb| {
            (n + 1, length + crumb.len() + 2)
        });
    if crumbs < 2 {
        return crumbs;
    }
    let mut all = BytesMut::with_capacity(length);
    for crumb in headers.get_all(COOKIE) {
        if !all.is_empty() {
            all.put_slice(b"; ");
        }
        all.put_slice(crumb.as_bytes());
    }
    // Parts that are values make a value; were it otherwise, no cookie is better than half of them.
    match HeaderValue::from_maybe_shared(all.freeze()) {
        Ok(value) => headers.insert(COOKIE, value),
        Err(_) => headers.remove(COOKIE),
    };
    crumbs
}

/// Why the fields of an HTTP/2 message are refused; the sender's fault in every case.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Malformed {
    /// `host` and `:authority` name different servers.
    #[error("host and :authority differ")]
    Authority,
    /// A field that only a connection of HTTP/1 has (RFC 9113, 8.2.2).
    #[error("a connection-specific field")]
    ConnectionField,
    /// No host, more than one, or one that cannot be.
    #[error("not one host")]
    Host,
    /// A value that begins or ends with a space or a tab (RFC 9113, 8.2.1).
    #[error("a space around a value")]
    OuterSpace,
    /// `te` says anything but `trailers` (RFC 9113, 8.2.2).
    #[error("te other than trailers")]
    Te,
}

impl Malformed {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::Authority,
        Self::ConnectionField,
        Self::Host,
        Self::OuterSpace,
        Self::Te,
    ];

    /// Its name for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "h2-authority",
            Self::ConnectionField => "h2-connection-field",
            Self::Host => "h2-host",
            Self::OuterSpace => "h2-outer-space",
            Self::Te => "h2-te",
        }
    }
}

fn has_outer_space(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Whether two authorities are one, but for case and a written default port.
fn same_server(one: &str, other: &[u8], scheme: Scheme) -> bool {
    let (one, other) = (one.as_bytes(), other);
    one.eq_ignore_ascii_case(other)
        || without_default_port(one, scheme)
            .eq_ignore_ascii_case(without_default_port(other, scheme))
}

fn without_default_port(authority: &[u8], scheme: Scheme) -> &[u8] {
    let port: &[u8] = match scheme {
        Scheme::Http => b":80",
        Scheme::Https => b":443",
    };
    authority
        .strip_suffix(port)
        .or_else(|| authority.strip_suffix(b":"))
        .unwrap_or(authority)
}

#[cfg(test)]
mod tests;
