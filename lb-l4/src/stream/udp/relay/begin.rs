//! From a request to its session, which begins if there is none.

use std::net::SocketAddr;

use lbcore::Instant;
use lbcore::budget::{Budget, Grant, Resource};
use lbcore::limit::LimitReached;
use lbcore::schedule::Scheduler;

use super::Relay;
use crate::stream::counters::{End, Refused};
use crate::stream::udp::burst::Burst;
use crate::stream::udp::chains::Chain;
use crate::stream::udp::config::OnePacket;
use crate::stream::udp::counters::Dropped;
use crate::stream::udp::outbox::split;
use crate::stream::udp::sessions::{Admission, Session, SessionId};
use crate::sys::datagram::{Piece, Received};

impl<S: Scheduler> Relay<S> {
    /// Sorts the requests of the first `count` slots by session and passes them on.
    pub(super) fn handle_requests(&mut self, now: Instant, count: u16) {
        for slot in 0..count {
            let received = self.requests.slots.received(slot);
            let Some(client) = received.peer.filter(|_| received.whole) else {
                self.tally.dropped(Dropped::Truncated, 1);
                continue;
            };
            match self.rules.one_packet {
                Some(one) => self.handle_each(now, slot, client, one),
                None => self.sort(now, slot, client),
            }
        }
        for at in 0..self.requests.touched.len() {
            if let Some(&id) = self.requests.touched.get(at) {
                self.forward(now, id);
            }
        }
        self.requests.touched.clear();
    }

    /// Gives the request of `slot` to its session.
    fn sort(&mut self, now: Instant, slot: u16, client: SocketAddr) {
        let received = self.requests.slots.received(slot);
        let found = self.sessions.find(client, received.asked);
        let id = match found.map_or_else(|| self.begin(now, client, received, None), Ok) {
            Ok(id) => id,
            Err(why) => return self.refuse(why, client, Burst::of(received).count.into()),
        };
        if let Some(session) = self.sessions.get(id) {
            if session.batch.is_empty() {
                self.requests.touched.push(id);
            }
            self.requests.chains.append(&mut session.batch, slot);
        }
    }

    /// Makes each request of `slot` a session of its own.
    fn handle_each(&mut self, now: Instant, slot: u16, client: SocketAddr, one: OnePacket) {
        let received = self.requests.slots.received(slot);
        let size = received.segment.map_or(u16::MAX, |segment| segment.get());
        for piece in split(
            Piece {
                slot,
                start: 0,
                len: received.len,
            },
            size,
        ) {
            let id = match self.begin(now, client, received, Some(one.answers)) {
                Ok(id) => id,
                Err(why) => {
                    self.refuse(why, client, 1);
                    continue;
                }
            };
            if self.rules.limits.bytes_in.try_take(now, piece.len.into()) {
                self.requests.outbox.push(piece, None, None, None);
                self.deliver(now, id);
            } else {
                self.tally.dropped(Dropped::Bandwidth, 1);
                self.end(now, id, End::Client);
                continue;
            }
            if one.answers == 0 {
                self.end(now, id, End::Client);
            } else if self
                .sessions
                .peek(id)
                .is_some_and(|it| it.upstream.is_none())
            {
                self.end(now, id, End::BackendReset);
            }
        }
    }

    fn refuse(&self, why: Refused, client: SocketAddr, datagrams: u64) {
        self.shared.log.refused(why, Some(client));
        self.tally.sessions.refused(why);
        self.tally.dropped(Dropped::Refused, datagrams);
    }

    /// Begins a session, with a backend.
    fn begin(
        &mut self,
        now: Instant,
        client: SocketAddr,
        received: Received,
        awaits: Option<u32>,
    ) -> Result<SessionId, Refused> {
        self.tally.sessions.accepted();
        let session = Session {
            client,
            asked: received.asked,
            upstream: None,
            avoid: None,
            answers: 0,
            batch: Chain::EMPTY,
            awaits,
            _place: self.admit(now, client)?,
        };
        let id = self
            .sessions
            .insert(now, session)
            .ok_or(Refused::Connections)?;
        match self.connect(now, id) {
            Ok(()) => {
                self.tally.sessions.began();
                Ok(id)
            }
            Err(why) => {
                self.sessions.remove(id);
                Err(why)
            }
        }
    }

    /// A place for a new session of `client`.
    fn admit(&self, now: Instant, client: SocketAddr) -> Result<Admission, Refused> {
        if self.draining {
            return Err(Refused::Draining);
        }
        let rules = &self.rules;
        if !rules.clients.allows(client.ip()) {
            return Err(Refused::Denied);
        }
        let granted = rules.budget.as_ref().map(grants).transpose()?;
        let limited = rules.limits.admit(now).map_err(|reached| match reached {
            LimitReached::ConnectionsPerSecond => Refused::Rate,
            _ => Refused::Connections,
        })?;
        Ok(Admission {
            _limited: limited,
            _granted: granted,
        })
    }

    /// Finds a backend for a session that has none.
    pub(super) fn connect(&mut self, now: Instant, id: SessionId) -> Result<(), Refused> {
        let Some(session) = self.sessions.get(id) else {
            return Err(Refused::Resources);
        };
        let asked = self.listener.asked(session.asked);
        let avoid = session.avoid.take();
        let upstream = self.backends.connect(now, session.client, asked, avoid)?;
        if self.poller.watch(&upstream.socket, id.to_bits()).is_err() {
            return Err(Refused::Resources);
        }
        session.answers = 0;
        session.upstream = Some(upstream);
        Ok(())
    }
}

/// What a session takes from the budget of the process.
fn grants(budget: &Budget) -> Result<[Grant; 2], Refused> {
    let take = |resource| budget.try_take(resource, 1).map_err(|_| Refused::Budget);
    Ok([take(Resource::Sessions)?, take(Resource::Descriptors)?])
}
