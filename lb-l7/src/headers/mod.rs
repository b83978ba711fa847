//! What a proxy takes off messages, checks in them, and puts on them.
//!
//! Everything here is pure: fields and values in, fields and verdicts out. No clock is read, no
//! random number is drawn but from the [`Rng`](lbcore::rng::Rng) that is handed in.
//!
//! | module | does |
//! |---|---|
//! | [`hop_by_hop`] | takes off what ends at this proxy (RFC 9110, 7.6.1) |
//! | [`http2`] | refuses what HTTP/2 forbids, and brings the rest into the form of HTTP/1 |
//! | [`identity`] | finds the client behind trusted proxies, and tells the backend of it |
//! | [`forwarded`] | the `Forwarded` field (RFC 7239): reading and writing |
//! | [`via`] | the `Via` field, and loops found by it |
//! | [`request_id`] | a name for each request |
//! | [`trace`] | `traceparent` and `tracestate` (W3C Trace Context) |
//! | [`trailers`] | takes off fields that may not stand behind a body |
//! | [`persist_key`] | a number from any part of a request, for schedulers by hash |

pub mod forwarded;
pub mod hop_by_hop;
pub mod http2;
pub mod identity;
mod list;
pub mod names;
pub mod persist_key;
pub mod request_id;
pub mod trace;
pub mod trailers;
pub mod via;

use std::fmt;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are two ways")]
pub enum Direction {
    /// From the client to the backend.
    Request,
    /// From the backend to the client.
    Response,
}

/// How a client reached this proxy.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "HTTP has two schemes (RFC 9110, 4.2)"
)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when none is written: 80 or 443 (RFC 9110, 4.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
