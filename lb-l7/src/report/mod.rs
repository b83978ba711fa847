//! What one exchange did, as the log, the metrics and the spans are told (pure).
//!
//! A [`Report`] borrows all that it says, so that making one allocates nothing; it is made once, at
//! the end of the exchange.

mod cause;
mod span;
mod termination;
mod times;
mod verdict;

use std::net::SocketAddr;

use http::{StatusCode, Version};
use lbcore::BackendId;
use lbcore::backend::Address;

pub(crate) use cause::words;
pub use cause::{Party, Phase, Why};
pub use span::{finish_span, span};
pub use termination::Termination;
pub use times::Times;

/// What one exchange did.
///
/// # Examples
///
/// ```
/// use http::{StatusCode, Version};
/// use lb_l7::report::{ClientSide, Report, RequestLine, Termination};
///
/// let client = ClientSide::new("10.0.0.9:51234".parse()?, "web", Version::HTTP_11);
/// let request = RequestLine::new("GET", b"example.com", b"/index.html");
/// let mut report = Report::new(client, request);
/// report.status = Some(StatusCode::OK);
/// report.termination = Termination::DONE;
/// assert!(!report.is_error());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Who asked, and how.
    pub client: ClientSide<'a>,
    /// What was asked.
    pub request: RequestLine<'a>,
    /// The name of the route that took it.
    pub route: Option<&'a str>,
    /// The name of the upstream that the route led to.
    pub upstream: Option<&'a str>,
    /// The backend of the last try.
    pub backend: Option<BackendSide<'a>>,
    /// The status that the client was sent; none if it was sent none.
    pub status: Option<StatusCode>,
    /// How it ended.
    pub termination: Termination,
    /// More exactly why, such as the rule of the codec that was broken; kebab-case, and one of a
    /// bounded set.
    pub detail: Option<&'static str>,
    /// How much was moved.
    pub traffic: Traffic,
    /// When each phase ended.
    pub times: Times,
}

impl<'a> Report<'a> {
    /// A report of an exchange that has done nothing yet, all at [`Instant::ZERO`](lbcore::Instant).
    #[must_use]
    pub fn new(client: ClientSide<'a>, request: RequestLine<'a>) -> Self {
        Self {
            client,
            request,
            route: None,
            upstream: None,
            backend: None,
            status: None,
            termination: Termination::DONE,
            detail: None,
            traffic: Traffic::default(),
            times: Times::default(),
        }
    }

    /// The status that is logged and counted: the one that was sent, or the one that the end stands
    /// for ([`Termination::logged_status`]).
    #[must_use]
    pub fn logged_status(&self) -> Option<StatusCode> {
        self.status.or_else(|| self.termination.logged_status())
    }

    /// Whether it failed: a 5xx, or an end that such an exchange should not have.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let failed = self.status.is_some_and(|status| status.is_server_error());
        failed || !self.termination.is_normal()
    }
}

/// The client's side of an exchange.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// The client's address: the socket's, or what a trusted proxy in front said.
    pub address: SocketAddr,
    /// The name of the listener.
    pub listener: &'a str,
    /// The version of HTTP it spoke.
    pub version: Version,
    /// The TLS it spoke, if it did.
    pub tls: Option<Tls<'a>>,
}

impl<'a> ClientSide<'a> {
    /// A client without TLS.
    #[must_use]
    pub const fn new(address: SocketAddr, listener: &'a str, version: Version) -> Self {
        Self {
            address,
            listener,
            version,
            tls: None,
        }
    }
}

/// What a TLS handshake agreed on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls<'a> {
    /// The version, such as `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'a str,
    /// The server's name, as the client asked for it.
    pub server_name: Option<&'a str>,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// What names the client's certificate, if it showed one.
    pub client_certificate: Option<&'a str>,
}

/// What was asked.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method; empty if none was read.
    pub method: &'a str,
    /// The host and port, without user information; empty if none was read.
    pub authority: &'a [u8],
    /// The path and query; empty if none was read.
    pub path: &'a [u8],
    /// The request's identity (`x-request-id`).
    pub id: Option<&'a [u8]>,
    /// The value of `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The value of `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    /// A request without the fields that only a log wants.
    #[must_use]
    pub const fn new(method: &'a str, authority: &'a [u8], path: &'a [u8]) -> Self {
        Self {
            method,
            authority,
            path,
            id: None,
            referer: None,
            user_agent: None,
        }
    }
}

/// The backend's side of an exchange.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct BackendSide<'a> {
    /// Its identity.
    pub id: BackendId,
    /// Its name; its address is logged if it has none.
    pub name: Option<&'a str>,
    /// Where it listens.
    pub address: &'a Address,
    /// The version of HTTP spoken with it; none if there was no connection.
    pub version: Option<Version>,
    /// How often the request was sent, or begun to be; 1 without a retry.
    pub tries: u32,
    /// Whether the connection had served an exchange before.
    pub reused: bool,
    /// Whether the answer is that of a hedge: a second copy sent because the first was slow.
    pub hedged: bool,
    /// How many hedges were sent besides the tries.
    pub hedges: u32,
}

impl<'a> BackendSide<'a> {
    /// The first try, over a new connection.
    #[must_use]
    pub const fn new(id: BackendId, address: &'a Address) -> Self {
        Self {
            id,
            name: None,
            address,
            version: None,
            tries: 1,
            reused: false,
            hedged: false,
            hedges: 0,
        }
    }
}

/// How many bytes an exchange moved, as they were on the client's wire above TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Bytes of the request's head.
    pub head_in: u64,
    /// Bytes of the request's body, or of a tunnel from the client.
    pub body_in: u64,
    /// Bytes of the response's head.
    pub head_out: u64,
    /// Bytes of the response's body, or of a tunnel to the client.
    pub body_out: u64,
}

impl Traffic {
    /// All bytes from the client.
    #[must_use]
    pub const fn bytes_in(self) -> u64 {
        self.head_in.saturating_add(self.body_in)
    }

    /// All bytes to the client.
    #[must_use]
    pub const fn bytes_out(self) -> u64 {
        self.head_out.saturating_add(self.body_out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use lbcore::Instant;

    use super::*;

    /// A request and its answer, as most are.
    pub(crate) fn report<'a>(address: &'a Address) -> Report<'a> {
        let from = "10.0.0.9:51234".parse().unwrap();
        let client = ClientSide::new(from, "web", Version::HTTP_11);
        let mut request = RequestLine::new("GET", b"example.com", b"/index.html?a=b");
        request.id = Some(b"4bf92f3577b34da6");
        request.user_agent = Some(b"curl/8.5.0");
        let mut report = Report::new(client, request);
        report.route = Some("all");
        report.upstream = Some("app");
        let mut backend = BackendSide::new(BackendId::of_name("app-1"), address);
        backend.name = Some("app-1");
        backend.version = Some(Version::HTTP_11);
        backend.reused = true;
        report.backend = Some(backend);
        report.status = Some(StatusCode::OK);
        report.traffic = Traffic {
            head_in: 120,
            body_in: 3,
            head_out: 200,
            body_out: 12,
        };
        report.times = times(1_000_000);
        report
    }

    /// Moments that are 1, 2, 4, … times `unit` nanoseconds apart, the first at a second.
    pub(crate) fn times(unit: u64) -> Times {
        let at = |n| Instant::from_nanos(1_000_000_000 + n * unit);
        Times {
            accepted: at(0),
            first_byte: Some(at(1)),
            head: Some(at(3)),
            picked: Some(at(7)),
            connected: Some(at(15)),
            response: Some(at(31)),
            end: at(63),
        }
    }

    pub(crate) fn address() -> Address {
        "10.0.0.11:8080".parse().unwrap()
    }

    #[test]
    fn the_status_that_was_sent_is_logged_before_the_one_that_stands_for_the_end() {
        let address = address();
        let mut report = report(&address);
        report.termination = Termination::new(Party::Backend, Phase::ResponseHead, Why::Timeout);
        assert_eq!(report.logged_status(), Some(StatusCode::OK));
        report.status = None;
        assert_eq!(report.logged_status(), Some(StatusCode::GATEWAY_TIMEOUT));
    }

    #[test]
    fn an_error_is_a_5xx_or_an_end_that_should_not_be() {
        let address = address();
        let mut report = report(&address);
        for (status, want) in [
            (200, false),
            (404, false),
            (499, false),
            (500, true),
            (599, true),
        ] {
            report.status = StatusCode::from_u16(status).ok();
            assert_eq!(report.is_error(), want, "{status}");
        }
        report.status = None;
        assert!(!report.is_error());
        report.termination = Termination::new(Party::Client, Phase::ResponseBody, Why::Closed);
        assert!(report.is_error());
        report.termination = Termination::new(Party::Client, Phase::Tunnel, Why::Closed);
        assert!(!report.is_error());
    }

    #[test]
    fn heads_and_bodies_make_the_bytes() {
        let traffic = Traffic {
            head_in: 1,
            body_in: 2,
            head_out: 4,
            body_out: 8,
        };
        assert_eq!((traffic.bytes_in(), traffic.bytes_out()), (3, 12));
        let full = Traffic {
            head_in: u64::MAX,
            body_in: 1,
            ..traffic
        };
        assert_eq!(full.bytes_in(), u64::MAX);
    }
}
