//! The client's side of an exchange, whatever protocol the client speaks.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Version, response};
use lbcore::BackendId;

use crate::body::{BodyLength, Frame};
use crate::h1::Rejection;
use crate::report::{Party, Termination, Why};

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod service;

/// One exchange with a client: the request's body comes in, the response goes out.
///
/// The mirror image of [`Channel`](crate::upstream::Channel). What is sent is queued, and goes out
/// by `poll_flush`; `poll_ready` is asked before every piece of a body.
pub(crate) trait Front: Send {
    /// What the client speaks.
    fn version(&self) -> Version;

    /// The next piece of the request's body; `None` once it is whole.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, FrontError>>>;

    /// Resolves when the client has gone; asked only while its body is whole or not wanted.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<FrontError>;

    /// Sends a response before the response (1xx); nothing, where the client's protocol has none.
    fn send_informational(&mut self, parts: &response::Parts);

    /// Sends the head of the response.
    fn send_head(&mut self, parts: &response::Parts, length: BodyLength);

    /// Resolves when there is room for a piece of the body.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>>;

    /// Sends a piece of the response's body.
    fn send_data(&mut self, data: Bytes);

    /// Sends the fields behind the body, which is whole then.
    fn send_trailers(&mut self, trailers: HeaderMap);

    /// Says that the body is whole; in a tunnel, that nothing more comes from here.
    fn finish(&mut self);

    /// Bytes that wait for the client to take them.
    fn queued(&self) -> usize;

    /// Resolves when nothing is queued.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>>;

    /// Lets the client know that what it has of the response is not whole.
    fn abort(&mut self);

    /// No further request on this connection, which the head to come says.
    fn close_after(&mut self);

    /// From here on bytes of any kind, both ways (RFC 9110, 7.8).
    fn switch(&mut self);

    /// Learns which backend answers, before its head is sent.
    fn answered_by(&mut self, _backend: BackendId) {}

    /// Whether an exchange without an answer is told by [`ended`](Self::ended) alone, and not by a
    /// response of the proxy's.
    fn takes_refusals(&self) -> bool {
        false
    }

    /// Who has had enough of an exchange that is dropped: here the server, which would wait no longer.
    fn dropped_by(&self) -> (Party, Why) {
        (Party::Proxy, Why::Drained)
    }

    /// Learns how the exchange ended, last of all.
    fn ended(&mut self, _termination: Termination, _detail: Option<&'static str>) {}
}

/// Why nothing more comes from a client, or goes to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontError {
    /// It closed its connection in the midst of a message.
    #[error("the client has closed its connection")]
    Closed,
    /// What it sent is not HTTP.
    #[error("the client's body is malformed: {0}")]
    Malformed(#[from] Rejection),
    /// It broke the rules of HTTP/2.
    #[error("the client broke the protocol")]
    Protocol,
    /// It gave up this exchange, or its connection broke.
    #[error("the client's connection broke: {0}")]
    Reset(io::Error),
}
