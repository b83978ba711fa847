//! Requests to backends, answers to clients, and what happens when a backend does not listen.

use std::ops::Range;
use std::os::fd::AsFd;

use lbcore::schedule::Scheduler;
use lbcore::{Instant, Outcome};

use super::{Relay, Requests};
use crate::stream::counters::{End, Refused};
use crate::stream::udp::burst::Burst;
use crate::stream::udp::chains::Chain;
use crate::stream::udp::counters::Dropped;
use crate::stream::udp::sessions::SessionId;
use crate::stream::udp::transmit::transmit;
use crate::sys::datagram::Piece;

impl<S: Scheduler> Relay<S> {
    /// Passes on what a session has in the batch.
    pub(super) fn forward(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let batch = std::mem::replace(&mut session.batch, Chain::EMPTY);
        let Requests {
            slots,
            chains,
            outbox,
            ..
        } = &mut self.requests;
        for slot in chains.iter(batch) {
            let came = Burst::of(slots.received(slot));
            let passed = came.police(now, &self.rules.limits.bytes_in);
            self.tally
                .dropped(Dropped::Bandwidth, came.count_beyond(passed));
            if passed.count > 0 {
                let piece = Piece {
                    slot,
                    start: 0,
                    len: passed.len,
                };
                outbox.push(piece, passed.segment(), None, None);
            }
        }
        self.sessions.touch(now, id);
        self.deliver(now, id);
    }

    /// Sends the outbox to the session's backend, or to the next one where that is gone.
    pub(super) fn deliver(&mut self, now: Instant, id: SessionId) {
        let mut first = 0;
        for _ in 0..TRIES {
            if self.requests.outbox.messages(first).is_empty() {
                break;
            }
            if let Err(why) = self.ensure_upstream(now, id) {
                self.tally.sessions.refused(why);
                let client = self.sessions.peek(id).map(|session| session.client);
                self.shared.log.refused(why, client);
                break;
            }
            let session = self.sessions.peek(id);
            let Some(upstream) = session.and_then(|it| it.upstream.as_ref()) else {
                break;
            };
            let Requests { slots, outbox, .. } = &self.requests;
            let done = transmit(slots, upstream.socket.as_fd(), outbox, first, &self.tally);
            self.tally.passed_in(done.passed);
            let Some(at) = done.refused_at else {
                self.requests.outbox.clear();
                return;
            };
            first = at;
            self.fail(now, id);
        }
        let outbox = &mut self.requests.outbox;
        let left =
            (first..first + outbox.messages(first).len()).map(|at| outbox.size(at).datagrams);
        self.tally.dropped(Dropped::Refused, left.sum());
        outbox.clear();
    }

    /// Makes sure that the session has a backend that is not known to be down.
    fn ensure_upstream(&mut self, now: Instant, id: SessionId) -> Result<(), Refused> {
        let Some(session) = self.sessions.get(id) else {
            return Err(Refused::Resources);
        };
        if let Some(upstream) = &mut session.upstream {
            if self.backends.serves(upstream) {
                return Ok(());
            }
            if let Some(upstream) = session.upstream.take() {
                self.tally.moved();
                upstream.lease.finish(now, Outcome::Reset);
            }
        }
        self.connect(now, id)
    }

    /// Puts answers on their way to the session's client.
    pub(super) fn answer(&mut self, now: Instant, id: SessionId, slots: Range<u16>) {
        self.sessions.touch(now, id);
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        if let Some(upstream) = &mut session.upstream
            && session.answers == 0
        {
            upstream.lease.first_byte(now);
        }
        for slot in slots {
            let came = self
                .answers
                .push(now, slot, session, &self.rules.limits.bytes_out);
            session.answers = session.answers.saturating_add(came);
        }
        if session.awaits.is_some_and(|all| session.answers >= all) {
            self.end(now, id, End::Backend);
        }
    }

    /// The backend's port is closed. A session waits for the next request, which goes elsewhere; a
    /// request that is a session is over.
    pub(super) fn refused(&mut self, now: Instant, id: SessionId) {
        self.fail(now, id);
        if self
            .sessions
            .peek(id)
            .is_some_and(|session| session.awaits.is_some())
        {
            self.end(now, id, End::BackendReset);
        }
    }

    /// Takes the backend from a session: it was found not to listen.
    fn fail(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let Some(upstream) = session.upstream.take() else {
            return;
        };
        let outcome = match session.answers {
            0 => Outcome::ConnectFailed,
            _ => Outcome::Reset,
        };
        self.tally.sessions.connect_failed();
        session.avoid = Some(upstream.lease.ticket());
        upstream.lease.finish(now, outcome);
    }
}

/// Backends that one batch of a session may be offered to.
const TRIES: usize = 3;
