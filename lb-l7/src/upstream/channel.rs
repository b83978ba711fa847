//! One exchange's hold on a connection to a backend.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, request, response};
use lbcore::Instant;

use super::error::{ChannelError, ChannelErrorKind};
use super::tunnel::Tunnel;
use super::{http1, http2};
use crate::body::{BodyLength, Frame};

/// What a backend answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An interim response (1xx but 101); more follow.
    Informational(response::Parts),
    /// The response itself. A 101, and a 2xx to CONNECT, is followed by [`Channel::into_tunnel`].
    Final {
        parts: response::Parts,
        length: BodyLength,
    },
}

/// One exchange with a backend: the mirror image of the client's side.
///
/// The request goes out by `send_*`, each but the head after [`poll_ready`](Self::poll_ready), and
/// [`poll_flush`](Self::poll_flush) moves it; the response comes by [`poll_head`](Self::poll_head)
/// and [`poll_frame`](Self::poll_frame). The two directions are independent: when sending fails, an
/// answer that the backend gave before it stopped reading can still be read.
///
/// Dropping it gives the exchange up: closes the connection of HTTP/1, resets the stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Channel {
    inner: Inner,
    is_reused: bool,
}

#[derive(Debug)]
enum Inner {
    Http1(http1::Exchange),
    /// In a box: what most exchanges hold is moved about, and half as large.
    Http2(Box<http2::Exchange>),
}

macro_rules! either {
    ($channel:expr, $exchange:ident => $call:expr) => {
        match $channel.inner {
            Inner::Http1(ref mut $exchange) => $call,
            Inner::Http2(ref mut $exchange) => $call,
        }
    };
}

impl Channel {
    pub(super) const fn http1(exchange: http1::Exchange, is_reused: bool) -> Self {
        Self {
            inner: Inner::Http1(exchange),
            is_reused,
        }
    }

    pub(super) fn http2(exchange: http2::Exchange, is_reused: bool) -> Self {
        Self {
            inner: Inner::Http2(Box::new(exchange)),
            is_reused,
        }
    }

    /// Whether the connection has been there before: the backend may be about to close it.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// What is spoken on it.
    pub(crate) const fn version(&self) -> Version {
        match self.inner {
            Inner::Http1(_) => Version::HTTP_11,
            Inner::Http2(_) => Version::HTTP_2,
        }
    }

    /// Whether the backend can be asked for a tunnel by `upgrade`; over HTTP/2 it may take a round
    /// trip to know (RFC 8441, 3).
    pub(crate) async fn takes_upgrades(&mut self) -> bool {
        match &mut self.inner {
            Inner::Http1(_) => true,
            Inner::Http2(exchange) => exchange.takes_upgrades().await,
        }
    }

    /// Queues the head of the request, in normal form; first of all, and once.
    ///
    /// `upgrade` is the protocol to change to: by Upgrade in HTTP/1, and in HTTP/2 by an extended
    /// CONNECT in place of the method of `parts`, without the fields that only a handshake of
    /// HTTP/1 has.
    pub(crate) fn send_head(
        &mut self,
        parts: &request::Parts,
        length: BodyLength,
        upgrade: Option<&HeaderValue>,
    ) -> Result<(), ChannelError> {
        either!(self, exchange => exchange.send_head(parts, length, upgrade))
    }

    /// Waits for room for one more frame.
    ///
    /// An error is that of sending alone: [`poll_head`](Self::poll_head) may still bring an answer.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        either!(self, exchange => exchange.poll_ready(cx))
    }

    /// Queues a piece of the content.
    pub(crate) fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError> {
        either!(self, exchange => exchange.send_data(data))
    }

    /// Queues trailers, and ends the request; they are left out where the framing has no place.
    pub(crate) fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), ChannelError> {
        match &mut self.inner {
            Inner::Http1(exchange) => exchange.finish(Some(&trailers)),
            Inner::Http2(exchange) => exchange.finish(Some(trailers)),
        }
    }

    /// Ends the request. Said twice, or behind trailers, or without content, it changes nothing.
    pub(crate) fn finish(&mut self) -> Result<(), ChannelError> {
        either!(self, exchange => exchange.finish(None))
    }

    /// Moves what is queued towards the backend; ready when all of it has gone.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        either!(self, exchange => exchange.poll_flush(cx))
    }

    /// Bytes of the request that wait for the backend to take them.
    pub(crate) fn queued(&self) -> usize {
        match &self.inner {
            Inner::Http1(exchange) => exchange.queued(),
            Inner::Http2(exchange) => exchange.queued(),
        }
    }

    /// The next answer: any number of interim ones, and one final.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, ChannelError>> {
        either!(self, exchange => exchange.poll_head(cx))
    }

    /// The next frame of the response; `None` at its end.
    ///
    /// To ask for the next one says that the one before has been passed on.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, ChannelError>>> {
        either!(self, exchange => exchange.poll_frame(cx))
    }

    /// Lends the room of `fields`, those of the response, to the next one of this connection.
    pub(crate) fn recycle(&mut self, fields: HeaderMap) {
        if let Inner::Http1(exchange) = &mut self.inner {
            exchange.recycle(fields);
        }
    }

    /// Gives the connection back: to be used again if both directions have ended cleanly.
    pub(crate) fn release(self, now: Instant) {
        match self.inner {
            Inner::Http1(exchange) => exchange.release(now),
            Inner::Http2(exchange) => exchange.release(),
        }
    }

    /// The bytes behind a 101, or behind a 2xx to CONNECT.
    pub(crate) fn into_tunnel(self) -> Result<Tunnel, ChannelError> {
        match self.inner {
            Inner::Http1(exchange) => exchange.into_tunnel(),
            Inner::Http2(exchange) => exchange.into_tunnel(),
        }
    }
}

impl ChannelError {
    /// Whether a connection that was open before turned out to be closed, with nothing of an answer
    /// read: the race between a request and the backend's own idle timeout (RFC 9112, 9.3.1).
    pub(crate) const fn is_stale(&self, is_reused: bool) -> bool {
        is_reused
            && matches!(
                self.kind,
                ChannelErrorKind::ClosedBeforeResponse | ChannelErrorKind::Reset
            )
    }
}
