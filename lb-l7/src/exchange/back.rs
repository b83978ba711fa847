//! The backend's side of the bodies: an exchange, or what became of it.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use crate::body::Frame;
use crate::h1::wire::Wire;
use crate::upstream::{Channel, ChannelError, Tunnel};

/// Takes a request's body, and gives a response's.
pub(super) trait Back {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>>;
    fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError>;
    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), ChannelError>;
    fn finish(&mut self) -> Result<(), ChannelError>;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>>;
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ChannelError>>>;
    /// Bytes that wait for the backend to take them.
    fn queued(&self) -> usize;
}

impl Back for Channel {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        Self::poll_ready(self, cx)
    }

    fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError> {
        Self::send_data(self, data)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), ChannelError> {
        Self::send_trailers(self, trailers)
    }

    fn finish(&mut self) -> Result<(), ChannelError> {
        Self::finish(self)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        Self::poll_flush(self, cx)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ChannelError>>> {
        Self::poll_frame(self, cx)
    }

    fn queued(&self) -> usize {
        Self::queued(self)
    }
}

/// Bytes of any kind, both ways.
#[derive(Debug)]
pub(super) struct Switched {
    wire: Wire<Tunnel>,
    is_ending: bool,
}

impl Switched {
    pub(super) fn new(tunnel: Tunnel) -> Self {
        Self {
            wire: Wire::new(tunnel),
            is_ending: false,
        }
    }
}

impl Back for Switched {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        if self.wire.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError> {
        self.wire.push(data);
        Ok(())
    }

    fn send_trailers(&mut self, _: HeaderMap) -> Result<(), ChannelError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), ChannelError> {
        self.is_ending = true;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        let flushed = if self.is_ending {
            self.wire.poll_shutdown(cx)
        } else {
            self.wire.poll_flush(cx)
        };
        flushed.map_err(|error| ChannelError::of_tunnel(&error))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ChannelError>>> {
        match ready!(self.wire.poll_fill(cx, ROOM)) {
            Ok(0) => Poll::Ready(None),
            Ok(_) => Poll::Ready(Some(Ok(Frame::Data(self.wire.unread().split().freeze())))),
            Err(error) => Poll::Ready(Some(Err(ChannelError::of_tunnel(&error)))),
        }
    }

    fn queued(&self) -> usize {
        self.wire.queued()
    }
}

/// Bytes that are read at once.
const ROOM: usize = 4 * 1024;
