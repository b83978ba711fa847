//! A connection of HTTP/1: one request after another.

use bytes::BytesMut;
use http::{Extensions, HeaderMap, Uri};
use lbcore::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::clock;
use crate::exchange::{self, Incoming};
use crate::front::h1::{Http1, Next};
use crate::h1::{Meaning, Rejection};
use crate::report::{Party, Phase, Termination, Why};
use crate::timeout::{Alarm, after};

pub(super) async fn serve<IO>(
    connection: &mut Connection,
    mut accepted: Instant,
    io: IO,
    unread: BytesMut,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut alarm = Alarm::default();
    let mut front = Http1::new(io, unread);
    let mut drained = connection.proxy.drain_of().waiting();
    let mut is_first = true;
    // One place for all requests: they are large to be moved about.
    let mut incoming = Incoming::none(accepted);
    loop {
        let timeouts = connection.settings.timeouts;
        let limits = &connection.settings.head;
        let most = timeouts.request_head;
        let next = if is_first {
            // A connection that never sent a request is no idle one: it has to come to the point.
            let deadline = after(accepted, most);
            let parts = &mut incoming.parts;
            front.first(limits, &mut alarm, deadline, parts).await
        } else {
            let idle_until = after(accepted, timeouts.keep_alive);
            front
                .next(
                    limits,
                    &mut alarm,
                    idle_until,
                    most,
                    drained.has_begun(),
                    &mut incoming.parts,
                )
                .await
        };
        connection.refresh();
        let ended = match next {
            Next::Request(meaning, head_bytes) => {
                incoming.begin_http1(meaning, head_bytes, accepted);
                accepted =
                    exchange::run(&connection.at(), &mut front, &mut alarm, &mut incoming).await;
                if front.is_reusable() {
                    incoming.end();
                    is_first = false;
                    continue;
                }
                None
            }
            Next::Refused(rejection) => Some((why(rejection), Some(rejection))),
            Next::Late => Some((Why::Timeout, None)),
            Next::Broken => Some((Why::Closed, None)),
            // Who has asked for nothing is told nothing: an answer would be taken for that to the
            // request that is on its way (RFC 9112, 9.3).
            Next::Closed | Next::Drained | Next::Idle => None,
        };
        if let Some((why, rejection)) = ended {
            let ended = Termination::new(Party::Client, Phase::RequestHead, why);
            let rejection = rejection.as_ref();
            exchange::refuse(
                &connection.at(),
                &mut front,
                &mut alarm,
                accepted,
                ended,
                rejection,
            )
            .await;
        }
        return front.close(&mut alarm).await;
    }
}

/// Under which of the reasons of a termination a rejection falls.
fn why(rejection: Rejection) -> Why {
    match rejection.status().as_u16() {
        414 | 431 => Why::TooLarge,
        501 | 505 => Why::Unsupported,
        _ => Why::Malformed,
    }
}

impl Incoming {
    /// Its parts are there already.
    fn begin_http1(&mut self, meaning: Meaning, head_bytes: u64, accepted: Instant) {
        self.length = meaning.length;
        self.expects_continue = meaning.expects_continue;
        self.upgrade = meaning.upgrade;
        self.head_bytes = head_bytes;
        self.accepted = accepted;
        self.begun = clock::now();
    }

    /// Lets go of what was read, for it is slices of one buffer, and of what filters left; keeps
    /// the room of the fields for the next request, unless it is large.
    fn end(&mut self) {
        let parts = &mut self.parts;
        parts.uri = Uri::default();
        parts.extensions = Extensions::new();
        self.upgrade = None;
        if parts.headers.capacity() <= KEPT_FIELDS {
            parts.headers.clear();
        } else {
            parts.headers = HeaderMap::new();
        }
    }
}

/// Fields for which an idle connection keeps room: as many as a browser sends.
const KEPT_FIELDS: usize = 24;
