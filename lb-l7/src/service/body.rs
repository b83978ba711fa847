//! The body of a response that a service gives.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::running::{Piece, Running};
use crate::front::service::Ended;
use crate::report::{Termination, Why};

/// The body of a response, as it comes from the backend; trailers included.
///
/// It is the exchange: reading it moves both directions, and dropping it gives up what is left. At
/// most one piece waits in it.
#[derive(Debug)]
pub struct ProxyBody(Option<Running>);

impl ProxyBody {
    pub(crate) const fn new(running: Running) -> Self {
        Self(Some(running))
    }

    pub(crate) const fn empty() -> Self {
        Self(None)
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(running) = &mut self.0 else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(running.poll_piece(cx)) {
            Some(Ok(Piece::Data(data))) => Some(Ok(Frame::data(data))),
            Some(Ok(Piece::Trailers(fields))) => Some(Ok(Frame::trailers(fields))),
            Some(Err(ended)) => Some(Err(BodyError { ended })),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Running::is_at_end)
    }

    fn size_hint(&self) -> SizeHint {
        let running = self.0.as_ref();
        running.map_or_else(|| SizeHint::with_exact(0), Running::size_hint)
    }
}

/// A response that is not whole: what has been read of it is not to be believed.
#[derive(Clone, Copy, Debug, Error)]
#[error("the response is not whole: {}", .ended.termination)]
pub struct BodyError {
    ended: Ended,
}

impl BodyError {
    /// Who broke it off, and why.
    #[must_use]
    pub const fn termination(&self) -> Termination {
        self.ended.termination
    }

    /// What happened in detail, by the name it has in logs, where more is known.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        self.ended.detail
    }

    /// Whether something took too long.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self.ended.termination.why(), Why::Timeout)
    }
}
