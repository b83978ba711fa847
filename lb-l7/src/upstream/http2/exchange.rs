//! One exchange over a stream of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request, response};

use super::connection::{STREAM_WINDOW, StreamPlace};
use super::{Http2Tunnel, head};
use crate::body::{BodyLength, Frame};
use crate::upstream::channel::Answer;
use crate::upstream::error::{ChannelError, ChannelErrorKind};
use crate::upstream::http1::MAX_INTERIM;
use crate::upstream::tunnel::Tunnel;

/// A stream for as long as one exchange lasts.
#[derive(Debug)]
pub(in crate::upstream) struct Exchange {
    sending: Sending,
    receiving: Receiving,
    interim: u8,
    is_head: bool,
    /// The status of the answer has no content (RFC 9110, 6.4.1).
    is_bodiless: bool,
    asks_for_tunnel: bool,
    /// Last, so that the stream is done with before another takes its place.
    place: StreamPlace,
}

/// How far the request has got.
#[derive(Debug)]
enum Sending {
    Head,
    Content {
        stream: SendStream<Bytes>,
        /// Given to us, and not yet to h2.
        queued: Bytes,
        /// What is still to be given to us, if that was said.
        left: Option<u64>,
        end: End,
    },
    Done,
    Broken(ChannelError),
}

/// What comes behind the content.
#[derive(Debug)]
enum End {
    /// More content, perhaps.
    Open,
    Here,
    Trailers(HeaderMap),
}

/// How far the response has got.
#[derive(Debug)]
enum Receiving {
    Head(Option<ResponseFuture>),
    Content {
        stream: RecvStream,
        /// Bytes passed on last, whose room the backend gets when the next are asked for.
        lent: usize,
        data_ended: bool,
    },
    Tunnel(RecvStream),
    Done,
    Failed(ChannelError),
}

impl Exchange {
    pub(in crate::upstream) const fn new(place: StreamPlace) -> Self {
        Self {
            sending: Sending::Head,
            receiving: Receiving::Head(None),
            interim: 0,
            is_head: false,
            is_bodiless: false,
            asks_for_tunnel: false,
            place,
        }
    }

    pub(in crate::upstream) async fn takes_upgrades(&mut self) -> bool {
        self.place.settled().await;
        self.place.sender().is_extended_connect_protocol_enabled()
    }

    pub(in crate::upstream) fn send_head(
        &mut self,
        parts: &request::Parts,
        length: BodyLength,
        upgrade: Option<&HeaderValue>,
    ) -> Result<(), ChannelError> {
        if !matches!(self.sending, Sending::Head) || length == BodyLength::UntilClose {
            return Err(ChannelError::new(ChannelErrorKind::Request, false));
        }
        if upgrade.is_some() && !self.place.sender().is_extended_connect_protocol_enabled() {
            return Err(ChannelError::new(ChannelErrorKind::TunnelUnsupported, true));
        }
        let connection = self.place.connection();
        let (is_encrypted, backend) = (connection.is_encrypted(), &connection.route.address);
        let request = head::request(parts, length, upgrade, is_encrypted, backend);
        let request = request.ok_or(ChannelError::new(ChannelErrorKind::Request, true))?;
        self.is_head = *request.method() == Method::HEAD;
        self.asks_for_tunnel = *request.method() == Method::CONNECT;
        let is_ended = length.is_empty() && !self.asks_for_tunnel;
        let sent = self.place.sender().send_request(request, is_ended);
        // h2 gives the stream to its connection's task at once, or not at all.
        let (response, stream) = sent.map_err(|error| ChannelError {
            unprocessed: true,
            ..ChannelError::http2(&error)
        })?;
        self.receiving = Receiving::Head(Some(response));
        self.sending = if is_ended {
            Sending::Done
        } else {
            Sending::Content {
                stream,
                queued: Bytes::new(),
                left: if self.asks_for_tunnel {
                    None
                } else {
                    length.exact()
                },
                end: End::Open,
            }
        };
        Ok(())
    }

    pub(in crate::upstream) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ChannelError>> {
        self.poll_flush(cx)
    }

    pub(in crate::upstream) fn send_data(&mut self, data: Bytes) -> Result<(), ChannelError> {
        match &mut self.sending {
            Sending::Broken(error) => Err(*error),
            _ if data.is_empty() => Ok(()),
            Sending::Content {
                queued,
                left,
                end: End::Open,
                ..
            } if queued.is_empty() => {
                if let Some(left) = left {
                    *left = left.checked_sub(data.len() as u64).ok_or(WRONG_LENGTH)?;
                }
                *queued = data;
                Ok(())
            }
            _ => Err(WRONG_LENGTH),
        }
    }

    pub(in crate::upstream) fn finish(
        &mut self,
        trailers: Option<HeaderMap>,
    ) -> Result<(), ChannelError> {
        match &mut self.sending {
            Sending::Broken(error) => Err(*error),
            Sending::Content {
                left: Some(1..), ..
            }
            | Sending::Head => Err(WRONG_LENGTH),
            Sending::Content {
                end: end @ End::Open,
                ..
            } => {
                *end = match trailers {
                    Some(trailers) if !trailers.is_empty() => End::Trailers(trailers),
                    _ => End::Here,
                };
                Ok(())
            }
            Sending::Content { .. } | Sending::Done => Ok(()),
        }
    }

    pub(in crate::upstream) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ChannelError>> {
        let result = ready!(self.poll_give(cx));
        if let Err(error) = result {
            self.sending = Sending::Broken(error);
        }
        Poll::Ready(result)
    }

    /// Gives what is queued to h2, as far as the backend's windows allow.
    fn poll_give(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        loop {
            let (stream, queued, end) = match &mut self.sending {
                Sending::Content {
                    stream,
                    queued,
                    end,
                    ..
                } => (stream, queued, end),
                Sending::Broken(error) => return Poll::Ready(Err(*error)),
                Sending::Head | Sending::Done => return Poll::Ready(Ok(())),
            };
            if !queued.is_empty() {
                let room = ready!(poll_room(stream, queued.len(), cx))?;
                let piece = queued.split_to(room.min(queued.len()));
                let is_last = queued.is_empty() && matches!(end, End::Here);
                stream.send_data(piece, is_last).map_err(error)?;
                if !is_last {
                    continue;
                }
            } else {
                match std::mem::replace(end, End::Open) {
                    End::Open => return Poll::Ready(Ok(())),
                    End::Here => stream.send_data(Bytes::new(), true).map_err(error)?,
                    End::Trailers(trailers) => stream.send_trailers(trailers).map_err(error)?,
                }
            }
            self.sending = Sending::Done;
        }
    }

    pub(in crate::upstream) const fn queued(&self) -> usize {
        match &self.sending {
            Sending::Content { queued, .. } => queued.len(),
            _ => 0,
        }
    }

    pub(in crate::upstream) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, ChannelError>> {
        let future = match &mut self.receiving {
            Receiving::Head(Some(future)) => future,
            Receiving::Failed(error) => return Poll::Ready(Err(*error)),
            _ => return Poll::Ready(Err(ChannelError::new(ChannelErrorKind::Request, false))),
        };
        match ready!(future.poll_informational(cx)) {
            Some(Ok(interim)) => {
                self.interim = self.interim.saturating_add(1);
                if self.interim > MAX_INTERIM {
                    let kind = ChannelErrorKind::TooManyInformational;
                    return Poll::Ready(Err(self.fail(ChannelError::new(kind, false))));
                }
                return Poll::Ready(Ok(Answer::Informational(interim.into_parts().0)));
            }
            Some(Err(error)) => return Poll::Ready(Err(self.fail(ChannelError::http2(&error)))),
            None => {}
        }
        match ready!(Pin::new(future).poll(cx)) {
            Ok(response) => {
                let (parts, stream) = response.into_parts();
                Poll::Ready(Ok(self.take_head(parts, stream)))
            }
            Err(error) => Poll::Ready(Err(self.fail(ChannelError::http2(&error)))),
        }
    }

    fn take_head(&mut self, mut parts: response::Parts, stream: RecvStream) -> Answer {
        let is_ended = stream.is_end_stream();
        if self.asks_for_tunnel && parts.status.is_success() && !is_ended {
            self.receiving = Receiving::Tunnel(stream);
            let length = BodyLength::Empty;
            return Answer::Final { parts, length };
        }
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        self.is_bodiless = bodiless.contains(&parts.status);
        let length = head::length(&mut parts, is_ended, self.is_head);
        self.receiving = if is_ended {
            Receiving::Done
        } else {
            Receiving::Content {
                stream,
                lent: 0,
                data_ended: false,
            }
        };
        Answer::Final { parts, length }
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, ChannelError>>> {
        let (stream, lent, data_ended) = match &mut self.receiving {
            Receiving::Content {
                stream,
                lent,
                data_ended,
            } => (stream, lent, data_ended),
            Receiving::Failed(error) => return Poll::Ready(Some(Err(*error))),
            Receiving::Done | Receiving::Tunnel(_) => return Poll::Ready(None),
            Receiving::Head(_) => {
                let error = ChannelError::new(ChannelErrorKind::Request, false);
                return Poll::Ready(Some(Err(error)));
            }
        };
        give_room(stream, std::mem::take(lent));
        while !*data_ended {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                // RFC 9113, 8.1.1; h2 itself looks at answers to HEAD alone.
                Some(Ok(_)) if self.is_bodiless => {
                    let error = ChannelError::new(ChannelErrorKind::Protocol, false);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Some(Ok(data)) => {
                    *lent = data.len();
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => {
                    let error = self.fail(ChannelError::http2(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                None => *data_ended = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.receiving = Receiving::Done;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::Trailers(trailers))))
            }
            Err(error) => {
                let error = self.fail(ChannelError::http2(&error));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    pub(in crate::upstream) fn release(self) {
        drop(self);
    }

    pub(in crate::upstream) fn into_tunnel(mut self) -> Result<Tunnel, ChannelError> {
        let sending = std::mem::replace(&mut self.sending, Sending::Head);
        let receiving = std::mem::replace(&mut self.receiving, Receiving::Done);
        match (sending, receiving) {
            (Sending::Content { stream, .. }, Receiving::Tunnel(from)) => {
                let (place, to) = (self.place, stream);
                Ok(Tunnel::http2(Http2Tunnel::new(to, from, place)))
            }
            _ => Err(ChannelError::new(ChannelErrorKind::Request, false)),
        }
    }

    fn fail(&mut self, error: ChannelError) -> ChannelError {
        self.receiving = Receiving::Failed(error);
        error
    }
}

/// How many of `wanted` bytes the backend takes now, at least one.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, ChannelError>> {
    stream.reserve_capacity(wanted.min(STREAM_WINDOW as usize));
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(failed)) => return Poll::Ready(Err(error(failed))),
            // The stream is no longer one that takes data.
            None => {
                let stopped = ready!(stream.poll_reset(cx));
                return Poll::Ready(Err(stopped.map_or_else(error, ChannelError::reset)));
            }
        }
    }
}

/// Lets the backend send as much as has been passed on.
pub(super) fn give_room(stream: &mut RecvStream, bytes: usize) {
    if bytes > 0 {
        // It fails only for a stream that is gone, and then nobody needs the room.
        let _ = stream.flow_control().release_capacity(bytes);
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn error(error: h2::Error) -> ChannelError {
    ChannelError::http2(&error)
}

impl ChannelError {
    /// A stream that the backend has reset for this reason.
    pub(super) fn reset(reason: Reason) -> Self {
        if reason == Reason::REFUSED_STREAM {
            Self::new(ChannelErrorKind::RefusedStream, true)
        } else {
            Self::new(ChannelErrorKind::Reset, false)
        }
    }
}

const WRONG_LENGTH: ChannelError = ChannelError::new(ChannelErrorKind::RequestLength, false);
