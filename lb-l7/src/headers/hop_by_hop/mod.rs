//! Takes off what is meant for this proxy alone (RFC 9110, 7.6.1).
//!
//! Besides the fields named there (`connection` and what it nominates, `keep-alive`,
//! `proxy-connection`, `te`, `transfer-encoding`, `upgrade`) also `http2-settings`, and of requests
//! `proxy`: no specification has it, and CGI makes of it the `HTTP_PROXY` by which a backend reaches
//! others (CVE-2016-5385). The three fields
//! of proxy authentication (RFC 9110, 11.7) are left: to a client this proxy is the origin server,
//! so it neither asks for those credentials nor uses them up.
//!
//! A nomination by `connection` makes a field vanish before the backend sees it, so a client could
//! take off what the proxy in front of it had put on. Names that carry routing, framing, identity,
//! credentials or caching are therefore protected: their nomination is ignored and counted.

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};
use thiserror::Error;

use super::Direction;
use super::list::{elements, of_value};
use super::names::{HTTP2_SETTINGS, KEEP_ALIVE, PROXY, PROXY_CONNECTION};

/// Takes off every hop-by-hop field of `headers`, and says what was there.
///
/// In a request, `te` stays as `te: trailers` if it said `trailers`; who sends it on by HTTP/1.1 has
/// to nominate it anew (RFC 9110, 10.1.4).
///
/// Cost: one look at each name, and look-ups for those that are there; allocates only for
/// nominations of other fields.
///
/// # Errors
///
/// [`TooManyOptions`] beyond [`MAX_OPTIONS`]: the sender's fault; answer 400 to a client, 502 for a
/// backend.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use lb_l7::headers::{Direction, hop_by_hop};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("connection", HeaderValue::from_static("close, x-debug, host"));
/// headers.insert("host", HeaderValue::from_static("example.com"));
/// headers.insert("x-debug", HeaderValue::from_static("1"));
/// let removed = hop_by_hop::remove(&mut headers, Direction::Request)?;
/// assert!(removed.connection.close);
/// assert_eq!(removed.protected_nominations, 1);
/// assert_eq!(headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["host"]);
/// # Ok::<(), hop_by_hop::TooManyOptions>(())
/// ```
pub fn remove(headers: &mut HeaderMap, direction: Direction) -> Result<Removed, TooManyOptions> {
    let mut removed = Removed::default();
    // Most messages have none or one of them, and a look at each name costs less than seven
    // look-ups.
    let there = Present::of(headers);
    if there == Present::default() {
        return Ok(removed);
    }
    if there.connection {
        nominations(headers, &mut removed)?;
        headers.remove(CONNECTION);
    }
    if there.rare {
        headers.remove(&KEEP_ALIVE);
        headers.remove(&PROXY_CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(&HTTP2_SETTINGS);
        if direction == Direction::Request {
            headers.remove(&PROXY);
        }
    }
    if there.upgrade {
        upgrade(headers, &mut removed);
    }
    if there.te {
        te(headers, direction, &mut removed);
    }
    Ok(removed)
}

/// What [`remove`] has taken off.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// What `connection` said of the connection itself.
    pub connection: ConnectionOptions,
    /// Other fields that `connection` nominated; those not there included.
    pub nominations: u32,
    /// Nominations that were ignored because the name is protected: an attack, or a bug.
    pub protected_nominations: u32,
    /// Whether the client takes trailers (RFC 9110, 10.1.4).
    pub te_trailers: bool,
    /// The one `upgrade` line, if `connection` nominated it (RFC 9110, 7.8).
    pub upgrade: Option<HeaderValue>,
}

/// The options of `connection` that are no field names, and `upgrade`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionOptions {
    /// The connection ends after this exchange (RFC 9112, 9.6).
    pub close: bool,
    /// The connection stays, in HTTP/1.0 (RFC 9112, appendix C.2.2).
    pub keep_alive: bool,
    /// The sender would change the protocol (RFC 9110, 7.8).
    pub upgrade: bool,
}

/// More options in `connection` than anyone has a use for.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("more than {MAX_OPTIONS} options in the connection field")]
#[non_exhaustive]
pub struct TooManyOptions;

/// How many options `connection` may have in all its lines.
///
/// Each costs a look-up; browsers send two, and no software is known to send ten.
pub const MAX_OPTIONS: usize = 64;

/// Whether a nomination of this field by `connection` is ignored. Case does not matter.
///
/// Protected are also all names that begin with `x-forwarded-`, `x-client-cert-`, `sec-websocket-`
/// or `:`.
#[must_use]
pub fn is_protected(name: &[u8]) -> bool {
    let begins = |prefix: &str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    begins("x-forwarded-")
        || begins("sec-websocket-")
        || begins("x-client-cert-")
        || begins(":")
        || PROTECTED
            .iter()
            .any(|protected| name.eq_ignore_ascii_case(protected.as_bytes()))
}

/// Which of the names are there that [`remove`] looks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Present {
    connection: bool,
    te: bool,
    upgrade: bool,
    /// One of the others, told by its length and first letter alone.
    rare: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut there = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            match (name.len(), name.as_bytes().first()) {
                (2, _) => there.te |= name == "te",
                (7, _) => there.upgrade |= name == "upgrade",
                (10, Some(b'c')) => there.connection |= name == "connection",
                (5, Some(b'p'))
                | (10, Some(b'k'))
                | (14, Some(b'h'))
                | (16, Some(b'p'))
                | (17, Some(b't')) => {
                    there.rare = true;
                }
                _ => {}
            }
        }
        there
    }
}

/// Reads the options, and takes off the fields that they nominate.
fn nominations(headers: &mut HeaderMap, removed: &mut Removed) -> Result<(), TooManyOptions> {
    let mut others = false;
    for (n, option) in elements(headers, &CONNECTION).enumerate() {
        if n == MAX_OPTIONS {
            return Err(TooManyOptions);
        }
        match Meaning::of(option) {
            Meaning::Close => removed.connection.close = true,
            Meaning::KeepAlive => removed.connection.keep_alive = true,
            Meaning::Upgrade => removed.connection.upgrade = true,
            Meaning::AlwaysRemoved => {}
            Meaning::Protected => removed.protected_nominations += 1,
            Meaning::Field => others = true,
        }
    }
    if others {
        // The values are shared, not copied; the map is free to change meanwhile.
        let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        for option in lines.iter().flat_map(of_value) {
            if matches!(Meaning::of(option), Meaning::Field) {
                removed.nominations += 1;
                if let Ok(name) = std::str::from_utf8(option) {
                    headers.remove(name);
                }
            }
        }
    }
    Ok(())
}

/// What one option of `connection` asks for.
enum Meaning {
    AlwaysRemoved,
    Close,
    Field,
    KeepAlive,
    Protected,
    Upgrade,
}

impl Meaning {
    fn of(option: &[u8]) -> Self {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        match option.len() {
            2 if is("te") => Self::AlwaysRemoved,
            5 if is("close") => Self::Close,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("keep-alive") => Self::KeepAlive,
            14 if is("http2-settings") => Self::AlwaysRemoved,
            _ if is_protected(option) => Self::Protected,
            _ => Self::Field,
        }
    }
}

fn upgrade(headers: &mut HeaderMap, removed: &mut Removed) {
    // Two lines are no request for anything: to ignore an upgrade is always right (RFC 9110, 7.8).
    let one = headers.get_all(UPGRADE).iter().nth(1).is_none();
    let value = headers.remove(UPGRADE);
    if one && removed.connection.upgrade {
        removed.upgrade = value;
    }
}

fn te(headers: &mut HeaderMap, direction: Direction, removed: &mut Removed) {
    let trailers = elements(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if trailers && direction == Direction::Request {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        removed.te_trailers = true;
    } else {
        headers.remove(TE);
    }
}

/// What no message may make a proxy drop: fields that say where it goes, how long it is, who sent
/// it, what it may do, how it is cached, and those that this proxy writes.
const PROTECTED: [&str; 43] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "range",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "vary",
    "via",
    "www-authenticate",
    "x-client-cert",
    "x-real-ip",
    "x-request-id",
];

#[cfg(test)]
mod tests;
