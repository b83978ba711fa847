//! A client that speaks HTTP/1.0 or 1.1.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header, request, response};
use lbcore::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Front, FrontError};
use crate::body::{BodyLength, Frame};
use crate::clock;
use crate::h1::wire::Wire;
use crate::h1::{
    BodyDecoder, Coding, Connection, HeadLimits, Meaning, Piece, Rejection, Scan, emit_chunk_end,
    emit_chunk_head, emit_informational, emit_last_chunk, emit_response, parse_request_into,
};
use crate::timeout::{Alarm, after};

/// A connection, and the exchange under way on it.
#[derive(Debug)]
pub(crate) struct Http1<IO> {
    wire: Wire<IO>,
    /// Of the request's body.
    decoder: BodyDecoder,
    /// Of the response's body.
    encoding: Encoding,
    version: Version,
    is_head: bool,
    takes_trailers: bool,
    /// Whether another request may follow.
    keep_alive: bool,
    /// Whether nothing follows what is queued.
    is_ending: bool,
    /// Whether the client is to notice that its response is not whole.
    is_aborted: bool,
}

/// How the end of a response is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encoding {
    /// By its length, or by the end of the connection.
    Plain,
    /// There is no body, whatever is sent as one: it would be taken for the next response.
    Nothing,
    /// By chunks (RFC 9112, 7.1).
    Chunked,
    /// Bytes of any kind.
    Tunnel,
}

/// What came instead of a request, or a request.
#[derive(Debug)]
pub(crate) enum Next {
    /// The connection is over, and nothing is owed.
    Closed,
    /// A connection that idled while its listener drains.
    Drained,
    /// It closed, or broke, within a head.
    Broken,
    /// It took too long over a head.
    Late,
    /// It idled for its whole time.
    Idle,
    /// What came is refused.
    Refused(Rejection),
    /// A request, whose parts are where they were to be put, with the bytes of its head.
    Request(Meaning, u64),
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Http1<IO> {
    /// A client that has sent `unread` so far.
    pub(crate) fn new(io: IO, unread: BytesMut) -> Self {
        Self {
            wire: Wire::with_unread(io, unread),
            decoder: BodyDecoder::new(BodyLength::Empty),
            encoding: Encoding::Plain,
            version: Version::HTTP_11,
            is_head: false,
            takes_trailers: false,
            keep_alive: true,
            is_ending: false,
            is_aborted: false,
        }
    }

    /// Waits for the first request of the connection, until `deadline`.
    pub(crate) async fn first(
        &mut self,
        limits: &HeadLimits,
        alarm: &mut Alarm,
        deadline: Instant,
        parts: &mut request::Parts,
    ) -> Next {
        self.head(limits, alarm, Some(deadline), Duration::MAX, parts)
            .await
    }

    /// Waits for a further request, until `deadline` for it to begin and for `most` while it comes.
    ///
    /// The wait ends when `drained` does, unless a request has begun.
    pub(crate) async fn next(
        &mut self,
        limits: &HeadLimits,
        alarm: &mut Alarm,
        deadline: Instant,
        most: Duration,
        drained: impl Future<Output = ()>,
        parts: &mut request::Parts,
    ) -> Next {
        if self.wire.unread().is_empty() {
            self.wire.shrink();
            if let Some(ended) = self.first_bytes(alarm, deadline, drained).await {
                return ended;
            }
        }
        self.head(limits, alarm, None, most, parts).await
    }

    /// Waits for a request to begin; what it gives is what came instead.
    async fn first_bytes(
        &mut self,
        alarm: &mut Alarm,
        deadline: Instant,
        drained: impl Future<Output = ()>,
    ) -> Option<Next> {
        let mut drained = std::pin::pin!(drained);
        poll_fn(|cx| {
            match self.wire.poll_fill(cx, HEAD_ROOM) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Next::Closed)),
                Poll::Ready(Ok(_)) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            if drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Next::Drained));
            }
            alarm.poll(cx, deadline).map(|()| Some(Next::Idle))
        })
        .await
    }

    /// Waits for the rest of a head, until `deadline`, or for `most` from the first wait.
    async fn head(
        &mut self,
        limits: &HeadLimits,
        alarm: &mut Alarm,
        mut deadline: Option<Instant>,
        most: Duration,
        parts: &mut request::Parts,
    ) -> Next {
        let mut scan = Scan::default();
        loop {
            let before = self.wire.unread().len();
            match parse_request_into(self.wire.unread(), &mut scan, limits, parts) {
                Ok(Some(meaning)) => {
                    self.begin(parts, &meaning);
                    let length = before - self.wire.unread().len();
                    return Next::Request(meaning, length as u64);
                }
                Ok(None) => {}
                Err(rejection) => {
                    self.version = Version::HTTP_11;
                    self.is_head = false;
                    self.keep_alive = false;
                    return Next::Refused(rejection);
                }
            }
            let deadline = *deadline.get_or_insert_with(|| after(clock::now(), most));
            let filled = alarm.limit(deadline, self.wire.fill(HEAD_ROOM)).await;
            let is_begun = !self.wire.unread().is_empty();
            match filled {
                None if is_begun => return Next::Late,
                None => return Next::Idle,
                Some(Ok(0) | Err(_)) if is_begun => return Next::Broken,
                Some(Ok(0) | Err(_)) => return Next::Closed,
                Some(Ok(_)) => {}
            }
        }
    }

    fn begin(&mut self, parts: &request::Parts, meaning: &Meaning) {
        self.decoder = BodyDecoder::new(meaning.length);
        self.encoding = Encoding::Plain;
        self.version = parts.version;
        self.is_head = parts.method == Method::HEAD;
        self.takes_trailers = meaning.takes_trailers;
        self.keep_alive = meaning.keep_alive;
    }

    /// Whether a further request may follow the exchange that is over.
    pub(crate) const fn is_reusable(&self) -> bool {
        self.keep_alive && self.decoder.is_done()
    }

    /// Ends the connection so that the client has the whole response (RFC 9112, 9.6).
    ///
    /// A socket that is closed with bytes unread is reset, and a reset takes away what the client
    /// has not read: so it is told that nothing more comes, and what it still sends is read and
    /// dropped, for a while.
    ///
    /// After an [`abort`](Front::abort) there is no farewell: over TLS, the connection ends without
    /// the alert that would make a response which ends with it look whole (RFC 8446, 6.1).
    pub(crate) async fn close(mut self, alarm: &mut Alarm) {
        if self.is_aborted {
            let flushed = poll_fn(|cx| Poll::Ready(self.wire.poll_flush(cx)));
            return drop(flushed.await);
        }
        let deadline = after(clock::now(), LINGER);
        let told = alarm
            .limit(deadline, poll_fn(|cx| self.wire.poll_shutdown(cx)))
            .await;
        if !matches!(told, Some(Ok(()))) {
            return;
        }
        let mut dropped = 0;
        while dropped < LINGER_BYTES {
            self.wire.unread().clear();
            let silent = after(clock::now(), LINGER_SILENCE).min(deadline);
            match alarm.limit(silent, self.wire.fill(BODY_ROOM)).await {
                Some(Ok(read)) if read > 0 => dropped += read,
                _ => return,
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Front for Http1<IO> {
    fn version(&self) -> Version {
        self.version
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, FrontError>>> {
        loop {
            match self.decoder.decode(self.wire.unread()) {
                Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Some(Piece::Trailers(fields))) => {
                    return Poll::Ready(Some(Ok(Frame::Trailers(fields))));
                }
                Ok(Some(Piece::End)) => return Poll::Ready(None),
                Ok(None) => {}
                Err(rejection) => return Poll::Ready(Some(Err(rejection.into()))),
            }
            match ready!(self.wire.poll_fill(cx, BODY_ROOM)) {
                Ok(0) if self.encoding == Encoding::Tunnel => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(FrontError::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(FrontError::Reset(error)))),
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<FrontError> {
        // A client that says it sends no more still reads (RFC 9112, 9.6): only a reset tells that
        // it has gone. What it sends ahead is read once, and then left to the kernel.
        if self.wire.is_ended() || !self.wire.unread().is_empty() {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_fill(cx, HEAD_ROOM)) {
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(FrontError::Reset(error)),
        }
    }

    fn send_informational(&mut self, parts: &response::Parts) {
        // A client of HTTP/1.0 knows of none (RFC 9110, 15.2).
        if self.version != Version::HTTP_10 {
            emit_informational(self.wire.outgoing(), parts);
        }
    }

    fn send_head(&mut self, parts: &response::Parts, length: BodyLength) {
        let is_bodiless = self.is_head || !may_have_body(parts.status);
        let length = if is_bodiless {
            BodyLength::Empty
        } else if length == BodyLength::UntilClose && self.version == Version::HTTP_11 {
            // The end that the backend told by closing is told by a chunk, and the client may stay.
            BodyLength::Streamed
        } else {
            length
        };
        let connection = match (self.keep_alive, self.version) {
            _ if parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                parts.headers.get(header::UPGRADE).map(Connection::Upgrade)
            }
            (false, _) => Some(Connection::Close),
            (true, Version::HTTP_10) => Some(Connection::KeepAlive),
            (true, _) => None,
        };
        let out = self.wire.outgoing();
        let coding = emit_response(out, self.version, parts, length, connection);
        if coding == Coding::UntilClose {
            self.keep_alive = false;
        }
        self.encoding = match coding {
            _ if is_bodiless => Encoding::Nothing,
            Coding::Chunked => Encoding::Chunked,
            Coding::Identity | Coding::UntilClose => Encoding::Plain,
        };
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        if self.wire.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.wire.poll_flush(cx).map_err(FrontError::Reset)
    }

    fn send_data(&mut self, data: Bytes) {
        let Some(length) = NonZeroUsize::new(data.len()) else {
            return;
        };
        match self.encoding {
            Encoding::Chunked => {
                emit_chunk_head(self.wire.outgoing(), length);
                self.wire.push(data);
                emit_chunk_end(self.wire.outgoing());
            }
            Encoding::Plain | Encoding::Tunnel => self.wire.push(data),
            Encoding::Nothing => {}
        }
    }

    fn send_trailers(&mut self, trailers: HeaderMap) {
        if self.encoding == Encoding::Chunked {
            let trailers = self.takes_trailers.then_some(&trailers);
            emit_last_chunk(self.wire.outgoing(), trailers);
            self.encoding = Encoding::Plain;
        }
    }

    fn finish(&mut self) {
        match self.encoding {
            Encoding::Chunked => emit_last_chunk(self.wire.outgoing(), None),
            Encoding::Plain | Encoding::Nothing => {}
            // The other direction goes on.
            Encoding::Tunnel => {
                self.is_ending = true;
                return;
            }
        }
        self.encoding = Encoding::Plain;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        let flushed = if self.is_ending {
            ready!(self.wire.poll_shutdown(cx))
        } else {
            ready!(self.wire.poll_flush(cx))
        };
        Poll::Ready(flushed.map_err(FrontError::Reset))
    }

    fn abort(&mut self) {
        // Without its last chunk, or its last bytes, the response shows that it is not whole.
        self.keep_alive = false;
        self.is_aborted = true;
    }

    fn queued(&self) -> usize {
        self.wire.queued()
    }

    fn close_after(&mut self) {
        self.keep_alive = false;
    }

    fn switch(&mut self) {
        self.keep_alive = false;
        self.encoding = Encoding::Tunnel;
        self.decoder = BodyDecoder::new(BodyLength::UntilClose);
    }
}

/// Whether a response of this status has a body (RFC 9110, 6.4.1).
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// Bytes that are read of a head at once.
const HEAD_ROOM: usize = 4 * 1024;

/// Bytes that are read of a body at once.
const BODY_ROOM: usize = 32 * 1024;

/// How long a client may go on to send to a connection that is over: nginx gives it 30 s.
const LINGER: Duration = Duration::from_secs(10);

/// How long it may be silent meanwhile, as in nginx 5 s: by then it has read what it was sent.
const LINGER_SILENCE: Duration = Duration::from_secs(2);

/// How much it may send meanwhile.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
