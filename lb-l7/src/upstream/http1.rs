//! One exchange over a connection of HTTP/1.

use std::io;
use std::num::NonZeroUsize;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request};
use lbcore::Instant;

use super::channel::Answer;
use super::connection::Http1;
use super::error::{ChannelError, ChannelErrorKind};
use super::stats::CloseReason;
use super::tunnel::Tunnel;
use crate::body::{BodyLength, Frame};
use crate::h1::{
    BodyDecoder, Coding, Connection, HeadLimits, Piece, RequestKind, Response, Scan,
    emit_chunk_end, emit_chunk_head, emit_last_chunk, emit_request, parse_response,
};

/// All of a connection for as long as one exchange lasts.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: Box<Http1>,
    sending: Sending,
    receiving: Receiving,
    /// What the connection had taken before this exchange.
    written_before: u64,
    to: RequestKind,
    scan: Scan,
    interim: u8,
    keep_alive: bool,
    may_upgrade: bool,
    /// It was asked whether it wants the body, and has not said so.
    is_asked: bool,
}

/// How far the request has got.
#[derive(Clone, Copy, Debug)]
enum Sending {
    Head,
    /// So many bytes are still to come.
    Content(u64),
    Chunks,
    Done,
    /// The connection takes nothing more; what the backend has said before may still be read.
    Broken(ChannelError),
}

/// How far the response has got.
#[derive(Debug)]
enum Receiving {
    Head,
    Content(BodyDecoder),
    Tunnel,
    Done,
    Failed(ChannelError),
}

impl Exchange {
    pub(super) fn new(mut connection: Box<Http1>) -> Self {
        connection.requests = connection.requests.saturating_add(1);
        Self {
            written_before: connection.wire.io().written(),
            connection,
            sending: Sending::Head,
            receiving: Receiving::Head,
            to: RequestKind::Other,
            scan: Scan::default(),
            interim: 0,
            keep_alive: false,
            may_upgrade: false,
            is_asked: false,
        }
    }

    pub(super) fn send_head(
        &mut self,
        parts: &request::Parts,
        length: BodyLength,
        upgrade: Option<&HeaderValue>,
    ) -> Result<(), ChannelError> {
        if !matches!(self.sending, Sending::Head) || length == BodyLength::UntilClose {
            return Err(self.wrong(ChannelErrorKind::Request));
        }
        self.to = RequestKind::from(&parts.method);
        self.may_upgrade = upgrade.is_some();
        self.is_asked = !length.is_empty() && parts.headers.contains_key(header::EXPECT);
        let out = self.connection.wire.outgoing();
        let coding = emit_request(out, parts, length, upgrade.map(Connection::Upgrade));
        self.sending = match (coding, length.exact()) {
            (Coding::Chunked, _) => Sending::Chunks,
            (_, Some(bytes @ 1..)) => Sending::Content(bytes),
            _ => Sending::Done,
        };
        Ok(())
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        if self.connection.wire.has_room() && !matches!(self.sending, Sending::Broken(_)) {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    pub(super) fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError> {
        let wire = &mut self.connection.wire;
        match &mut self.sending {
            Sending::Broken(error) => Err(*error),
            _ if data.is_empty() => Ok(()),
            Sending::Content(left) if data.len() as u64 <= *left => {
                *left -= data.len() as u64;
                if *left == 0 {
                    self.sending = Sending::Done;
                }
                wire.push(data);
                Ok(())
            }
            Sending::Chunks => {
                if let Some(length) = NonZeroUsize::new(data.len()) {
                    emit_chunk_head(wire.outgoing(), length);
                    wire.push(data);
                    emit_chunk_end(wire.outgoing());
                }
                Ok(())
            }
            Sending::Content(_) | Sending::Head | Sending::Done => {
                Err(self.wrong(ChannelErrorKind::RequestLength))
            }
        }
    }

    /// Ends the request; trailers go only where chunks do (RFC 9110, 6.5).
    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ChannelError> {
        match self.sending {
            Sending::Broken(error) => Err(error),
            Sending::Chunks => {
                emit_last_chunk(self.connection.wire.outgoing(), trailers);
                self.sending = Sending::Done;
                Ok(())
            }
            Sending::Done => Ok(()),
            Sending::Content(_) | Sending::Head => Err(self.wrong(ChannelErrorKind::RequestLength)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        if let Sending::Broken(error) = self.sending {
            return Poll::Ready(Err(error));
        }
        let result = ready!(self.connection.wire.poll_flush(cx));
        Poll::Ready(result.map_err(|error| {
            let error = ChannelError::io(&error, self.is_unprocessed());
            self.sending = Sending::Broken(error);
            error
        }))
    }

    pub(super) fn queued(&self) -> usize {
        self.connection.wire.queued()
    }

    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, ChannelError>> {
        match &self.receiving {
            Receiving::Head => {}
            Receiving::Failed(error) => return Poll::Ready(Err(*error)),
            _ => return Poll::Ready(Err(self.wrong(ChannelErrorKind::Request))),
        }
        let mut is_full = false;
        loop {
            let Http1 { wire, fields, .. } = &mut *self.connection;
            let limits = &HeadLimits::DEFAULT;
            let parsed = parse_response(wire.unread(), &mut self.scan, limits, fields, self.to);
            match parsed {
                Ok(Some(response)) => {
                    let answer = self.take_head(response);
                    if is_full {
                        self.read_on(cx);
                    }
                    return Poll::Ready(answer);
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(self.fail(malformed(fault)))),
            }
            match ready!(wire.poll_fill(cx, HEAD_READ)) {
                Ok(0) => {
                    let kind = if self.scan.is_empty() {
                        ChannelErrorKind::ClosedBeforeResponse
                    } else {
                        ChannelErrorKind::ClosedInHead
                    };
                    let error = ChannelError::new(kind, self.is_unprocessed());
                    return Poll::Ready(Err(self.fail(error)));
                }
                Ok(read) => is_full = read >= HEAD_READ,
                Err(error) => return Poll::Ready(Err(self.broken(&error))),
            }
        }
    }

    /// Reads what is there of the content behind a head whose read brought all that it had room
    /// for: so that both go out by one write.
    fn read_on(&mut self, cx: &mut Context<'_>) {
        let Receiving::Content(decoder) = &self.receiving else {
            return;
        };
        let wire = &mut self.connection.wire;
        let room = room(decoder).saturating_sub(wire.unread().len());
        if room == 0 {
            return;
        }
        // An end is told again to whoever asks next.
        if let Poll::Ready(Err(error)) = wire.poll_fill(cx, room) {
            self.broken(&error);
        }
    }

    fn take_head(&mut self, response: Response) -> Result<Answer, ChannelError> {
        self.scan = Scan::default();
        let status = response.parts.status;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !switches {
            self.is_asked &= status != StatusCode::CONTINUE;
            self.interim = self.interim.saturating_add(1);
            if self.interim > MAX_INTERIM {
                let kind = ChannelErrorKind::TooManyInformational;
                return Err(self.fail(ChannelError::new(kind, false)));
            }
            return Ok(Answer::Informational(response.parts));
        }
        if switches && !self.may_upgrade {
            // RFC 9110, 7.8: only a protocol that was offered. What follows would be taken for HTTP.
            let kind = ChannelErrorKind::Protocol;
            return Err(self.fail(ChannelError::new(kind, false)));
        }
        // Who answers without having wanted the body has to read it or to close (RFC 9110, 10.1.1). Who
        // does neither takes it for the next request, which would be somebody else's.
        self.keep_alive = response.keep_alive && !self.is_asked;
        self.receiving = if response.tunnel {
            Receiving::Tunnel
        } else if response.length.is_empty() {
            Receiving::Done
        } else {
            Receiving::Content(BodyDecoder::new(response.length))
        };
        Ok(Answer::Final {
            parts: response.parts,
            length: response.length,
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, ChannelError>>> {
        loop {
            let wire = &mut self.connection.wire;
            let decoder = match &mut self.receiving {
                Receiving::Content(decoder) => decoder,
                Receiving::Done | Receiving::Tunnel => return Poll::Ready(None),
                Receiving::Failed(error) => return Poll::Ready(Some(Err(*error))),
                Receiving::Head => {
                    return Poll::Ready(Some(Err(self.wrong(ChannelErrorKind::Request))));
                }
            };
            match decoder.decode(wire.unread()) {
                Ok(Some(Piece::Data(data))) => {
                    if decoder.is_done() {
                        self.receiving = Receiving::Done;
                    }
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Ok(Some(Piece::Trailers(fields))) => {
                    // Nothing follows them, and nobody need ask.
                    self.receiving = Receiving::Done;
                    return Poll::Ready(Some(Ok(Frame::Trailers(fields))));
                }
                Ok(Some(Piece::End)) => {
                    self.receiving = Receiving::Done;
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Some(Err(self.fail(malformed(fault))))),
            }
            match ready!(wire.poll_fill(cx, room(decoder))) {
                Ok(0) if decoder.handle_close().is_ok() => {
                    self.receiving = Receiving::Done;
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    let error = ChannelError::new(ChannelErrorKind::ClosedInBody, false);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.broken(&error)))),
            }
        }
    }

    /// Keeps the room of `fields` for the next response, unless it is large.
    pub(super) fn recycle(&mut self, mut fields: HeaderMap) {
        if fields.capacity() <= KEPT_FIELDS {
            fields.clear();
            self.connection.fields = fields;
        }
    }

    /// Puts the connection back, if nothing of this exchange is left in it (CVE-2025-4366).
    pub(super) fn release(mut self, now: Instant) {
        match self.spoilt() {
            Some(reason) => self.connection.close(reason),
            None => {
                let shelf = std::sync::Arc::clone(&self.connection.shelf);
                shelf.put(now, self.connection);
            }
        }
    }

    /// Why the connection cannot be used again.
    fn spoilt(&mut self) -> Option<CloseReason> {
        let wire = &mut self.connection.wire;
        if matches!(self.receiving, Receiving::Failed(_))
            || matches!(self.sending, Sending::Broken(_))
        {
            Some(CloseReason::Broken)
        } else if !matches!(self.receiving, Receiving::Done)
            || !matches!(self.sending, Sending::Done)
            || wire.queued() > 0
        {
            Some(CloseReason::Aborted)
        } else if !self.keep_alive {
            Some(CloseReason::NotKept)
        } else if !wire.unread().is_empty() {
            Some(CloseReason::Unread)
        } else {
            None
        }
    }

    pub(super) fn into_tunnel(self) -> Result<Tunnel, ChannelError> {
        if !matches!(self.receiving, Receiving::Tunnel) {
            return Err(self.wrong(ChannelErrorKind::Request));
        }
        let Http1 {
            wire, mut place, ..
        } = *self.connection;
        place.closing(CloseReason::Tunnel);
        let (stream, unread) = wire.into_parts();
        Ok(Tunnel::http1(stream, unread, place))
    }

    /// Whether no byte of the request has left this side.
    fn is_unprocessed(&self) -> bool {
        self.connection.wire.io().written() == self.written_before
    }

    /// The caller's mistake; the exchange is as it was.
    fn wrong(&self, kind: ChannelErrorKind) -> ChannelError {
        ChannelError::new(kind, self.is_unprocessed())
    }

    fn broken(&mut self, error: &io::Error) -> ChannelError {
        let error = ChannelError::io(error, self.is_unprocessed());
        self.fail(error)
    }

    fn fail(&mut self, error: ChannelError) -> ChannelError {
        self.receiving = Receiving::Failed(error);
        error
    }
}

/// Bytes to read at once of what `decoder` waits for.
fn room(decoder: &BodyDecoder) -> usize {
    let room = decoder.remaining().unwrap_or(BODY_READ);
    usize::try_from(room.clamp(HEAD_READ as u64, MAX_READ)).unwrap_or(HEAD_READ)
}

fn malformed(fault: crate::h1::Rejection) -> ChannelError {
    ChannelError::new(ChannelErrorKind::Malformed(fault), false)
}

/// Interim responses before a final one: 100, 102 or 103, a few times each, and no flood.
pub(super) const MAX_INTERIM: u8 = 32;

/// Bytes that a read for a head makes room for: a head and the start of a page.
const HEAD_READ: usize = 4 * 1024;

/// Fields for which an idle connection keeps room: as many as most responses have.
const KEPT_FIELDS: usize = 24;

/// Bytes that a read of chunks makes room for: the largest record of TLS.
const BODY_READ: u64 = 16 * 1024;

/// Bytes that one read takes at most, and so what one exchange holds of a body.
const MAX_READ: u64 = 64 * 1024;
