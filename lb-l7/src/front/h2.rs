//! A client that speaks HTTP/2, one stream of its connection.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, response};

use super::{Front, FrontError};
use crate::body::{BodyLength, Frame};

/// A stream, and the exchange that it is.
///
/// A piece of the response waits here, and not within `h2`, until the client's window takes it: so
/// what a slow client costs is one piece a stream.
#[derive(Debug)]
pub(crate) struct Http2 {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    /// Waits for the client's window.
    pending: Bytes,
    /// Small pieces behind it, gathered: a frame each would cost more than a copy, and clients take
    /// many small frames for an attack.
    gathered: BytesMut,
    /// Behind what waits.
    trailers: Option<HeaderMap>,
    /// Bytes of the response that are still to come, when that was said.
    left: Option<u64>,
    is_ending: bool,
    is_ended: bool,
    is_head: bool,
    /// The stream takes no more.
    is_broken: bool,
    /// Bytes that were given on and that the client's window does not have back.
    unreleased: usize,
}

impl Http2 {
    pub(crate) fn new(body: RecvStream, respond: SendResponse<Bytes>, method: &Method) -> Self {
        Self {
            body,
            respond,
            sending: None,
            pending: Bytes::new(),
            gathered: BytesMut::new(),
            trailers: None,
            left: None,
            is_ending: false,
            is_ended: false,
            is_head: *method == Method::HEAD,
            is_broken: false,
            unreleased: 0,
        }
    }

    /// Gives the window back what the other side has taken.
    fn release(&mut self) {
        let taken = std::mem::take(&mut self.unreleased);
        if taken > 0 {
            // It fails on a stream that is over, where nothing is owed.
            let _ = self.body.flow_control().release_capacity(taken);
        }
    }

    /// Hands on what waits, as far as the window goes.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        if self.is_broken {
            return Poll::Ready(Err(FrontError::Closed));
        }
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        loop {
            if self.pending.is_empty() {
                if self.gathered.is_empty() {
                    break;
                }
                self.pending = std::mem::take(&mut self.gathered).freeze();
            }
            sending.reserve_capacity(self.pending.len());
            let room = match sending.capacity() {
                0 => match ready!(sending.poll_capacity(cx)) {
                    Some(room) => room.map_err(broken)?,
                    None => return Poll::Ready(Err(FrontError::Closed)),
                },
                room => room,
            };
            let piece = self.pending.split_to(room.min(self.pending.len()));
            let is_last = self.is_ending
                && self.pending.is_empty()
                && self.gathered.is_empty()
                && self.trailers.is_none();
            sending.send_data(piece, is_last).map_err(broken)?;
            self.is_ended |= is_last;
        }
        if self.is_ending && !self.is_ended {
            match self.trailers.take() {
                Some(fields) => sending.send_trailers(fields).map_err(broken)?,
                None => sending.send_data(Bytes::new(), true).map_err(broken)?,
            }
            self.is_ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Front for Http2 {
    fn version(&self) -> Version {
        Version::HTTP_2
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, FrontError>>> {
        self.release();
        loop {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased = data.len();
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                None => break,
            }
        }
        match ready!(self.body.poll_trailers(cx)) {
            Ok(Some(fields)) => Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(broken(error)))),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<FrontError> {
        let reset = match &mut self.sending {
            Some(sending) if !self.is_ended => sending.poll_reset(cx),
            Some(_) => return Poll::Pending,
            None => self.respond.poll_reset(cx),
        };
        Poll::Ready(ready!(reset).map_or_else(broken, by_reason))
    }

    fn send_informational(&mut self, parts: &response::Parts) {
        let mut response = Response::new(());
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers.clone();
        // A stream that is over needs to know nothing.
        let _ = self.respond.send_informational(response);
    }

    fn send_head(&mut self, parts: &response::Parts, length: BodyLength) {
        let mut response = Response::new(());
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers.clone();
        let fields = response.headers_mut();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            // RFC 8441, 5: the stream says yes by a success, and proves nothing.
            fields.remove(header::UPGRADE);
            fields.remove(header::SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        } else if let BodyLength::Exact(bytes) = length
            && parts.status != StatusCode::NO_CONTENT
            && parts.status != StatusCode::NOT_MODIFIED
        {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let is_switch = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let has_body = parts.status != StatusCode::NO_CONTENT
            && parts.status != StatusCode::NOT_MODIFIED
            && !self.is_head;
        let is_over = !is_switch && (!has_body || length.is_empty());
        // Behind a change of protocol comes whatever comes, though its head has no body.
        self.left = length.exact().filter(|_| has_body && !is_switch);
        match self.respond.send_response(response, is_over) {
            Ok(sending) => self.sending = Some(sending),
            // What comes of it is seen where the body is sent.
            Err(_) => self.is_broken = true,
        }
        self.is_ended = is_over;
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        if self.queued() < GATHERED {
            return Poll::Ready(Ok(()));
        }
        match self.poll_pending(cx) {
            Poll::Pending if self.queued() < GATHERED => Poll::Ready(Ok(())),
            given => given,
        }
    }

    fn send_data(&mut self, data: Bytes) {
        if self.is_ended || self.sending.is_none() {
            return;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
            // The last piece says that it is, and needs no empty one behind it.
            self.is_ending |= *left == 0;
        }
        if self.pending.is_empty() {
            self.pending = data;
        } else {
            self.gathered.extend_from_slice(&data);
        }
    }

    fn send_trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers);
        self.is_ending = true;
    }

    fn finish(&mut self) {
        self.is_ending = true;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        self.poll_pending(cx)
    }

    fn queued(&self) -> usize {
        self.pending.len() + self.gathered.len()
    }

    fn abort(&mut self) {
        if self.is_ended {
            return;
        }
        match &mut self.sending {
            Some(sending) => sending.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
        self.is_ended = true;
    }

    fn close_after(&mut self) {
        // A stream ends by itself, and its connection goes on.
    }

    fn switch(&mut self) {
        // The two directions of a stream carry any bytes as they are.
    }
}

/// Small pieces gather up to this before the client is waited for: the size of a frame.
const GATHERED: usize = 16 * 1024;

/// Why a stream is over.
fn broken(error: h2::Error) -> FrontError {
    if error.is_reset() && error.is_remote() {
        return by_reason(error.reason().unwrap_or(Reason::CANCEL));
    }
    if error.is_library() || error.reason() == Some(Reason::PROTOCOL_ERROR) {
        return FrontError::Protocol;
    }
    match error.into_io() {
        Some(error) => FrontError::Reset(error),
        None => FrontError::Closed,
    }
}

fn by_reason(reason: Reason) -> FrontError {
    FrontError::Reset(io::Error::new(
        io::ErrorKind::ConnectionReset,
        reason.description(),
    ))
}
