//! What a message carries behind its head, whatever protocol it travels by.

use bytes::Bytes;
use http::HeaderMap;

/// How much follows a head, and how its end is told (RFC 9112, 6.3; RFC 9113, 8.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the ways there are")]
pub enum BodyLength {
    /// Nothing.
    Empty,
    /// So many bytes, as `Content-Length` said; 0 when it said so.
    Exact(u64),
    /// As many as come: chunked in HTTP/1, without a length in HTTP/2. Trailers may follow.
    Streamed,
    /// As many as come until the connection is closed; only a response of HTTP/1 may.
    UntilClose,
}

impl BodyLength {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Exact(0))
    }

    /// How many bytes follow, when that was said.
    #[must_use]
    pub const fn exact(self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Exact(bytes) => Some(bytes),
            Self::Streamed | Self::UntilClose => None,
        }
    }
}

/// A piece of a body.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the pieces there are"
)]
pub enum Frame {
    /// Bytes of the content; not empty.
    Data(Bytes),
    /// The fields behind the content (RFC 9110, 6.5); nothing follows them.
    Trailers(HeaderMap),
}
