//! How sessions end: by time, by giving way, by their backend, by their service.

use std::hint::black_box;
use std::net::SocketAddr;

use lbcore::schedule::Scheduler;
use lbcore::session::{
    Cursor, EndReason, Expired, Session, SessionId, SessionTable, State, Tracking,
};
use lbcore::{Instant, Outcome};

use super::flows::Flow;
use super::services::{Standing, number_of};
use super::{Forwarder, OnExpiry};
use crate::method::ForwardingMethod;
use crate::syn_proxy::SynProxy;
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags;
use crate::wire::{Headers, TcpHeader};

impl<S: Scheduler> Forwarder<S> {
    /// Ends what has been silent for too long, some sessions a call.
    ///
    /// If more are due, [`poll_timeout`](Self::poll_timeout) is not later than `now`, and the caller
    /// comes back after the next burst.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.routes.links.handle_timeout(now);
        self.fragments.handle_timeout(now);
        self.locals.handle_timeout(now);
        self.table.handle_timeout(now, EXPIRIES);
        self.collect(now);
        self.handle_half_open(now);
        if let Some(cursor) = self.sweep.take() {
            self.sweep = self.sweep_on(now, cursor);
            self.services.forget_unused();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.sweep.is_some() {
            return Some(Instant::ZERO);
        }
        let half_open = self.syn_proxy.as_ref().and_then(SynProxy::poll_timeout);
        let links = self.routes.links.poll_timeout();
        let fragments = self.fragments.poll_timeout();
        let sessions = self.table.poll_timeout();
        [half_open, links, fragments, sessions]
            .into_iter()
            .flatten()
            .min()
    }

    /// Settles every session that the table has given up.
    ///
    /// Some are taken at once, and what settling them reads is fetched before the first is settled.
    #[inline]
    pub(super) fn collect(&mut self, now: Instant) {
        while let Some(first) = self.table.poll_expired_slot() {
            self.collect_some(now, first);
        }
    }

    fn collect_some(&mut self, now: Instant, first: (usize, Expired)) {
        let mut ended = [None; TOGETHER];
        let mut next = Some(first);
        for place in &mut ended {
            *place = next.take();
            if place.is_none() {
                break;
            }
            next = self.table.poll_expired_slot();
        }
        let slots = || ended.iter().flatten().map(|(slot, _)| *slot);
        let tags = slots().fold(0, |all, slot| all ^ self.flows.fetch(slot));
        black_box(tags);
        let lines = slots().filter_map(|slot| Some(self.flows.at(slot)?.answer_tag));
        black_box(lines.fold(0, |all, tag| all ^ self.answers.fetch(tag)));
        for (slot, expired) in ended.into_iter().flatten().chain(next) {
            let timed_out = expired.reason == EndReason::TimedOut;
            if timed_out {
                self.reset_expired(now, slot, &expired.session);
            }
            self.settle(now, slot, &expired.session, timed_out);
        }
    }

    /// Ends a session at once.
    pub(super) fn close(&mut self, now: Instant, id: SessionId) {
        let slot = self.table.slot(id);
        if let Some(session) = self.table.remove(now, id) {
            self.settle(now, slot, &session, false);
        }
    }

    /// Gives back what a session that has ended held: its ticket, its place, its entry among the
    /// answers, its local port. Exactly once for each.
    fn settle(&mut self, now: Instant, slot: usize, session: &Session, timed_out: bool) {
        self.has_ended = true;
        let flow = self.flows.at(slot).copied().unwrap_or_default();
        if flow.splice != 0 {
            self.unsplice(slot);
        }
        if flow.has(Flow::ANSWERED_HERE) {
            self.answers.remove(flow.answer_tag, slot);
        }
        if flow.local_port != 0 {
            self.locals.release(now, slot, &flow, session);
        }
        let Some(service) = self.services.at_mut(number_of(session.binding)) else {
            return;
        };
        let outcome = outcome(session.state, &flow, service.tracking(), timed_out);
        let ticket = session.binding.ticket;
        service.balancer.finish_ticket(ticket, None, outcome);
        service.sessions = service.sessions.saturating_sub(1);
        if let Some(limits) = &service.config.limits
            && flow.has(Flow::LIMITED)
        {
            limits.release();
        }
    }

    /// Ends sessions of services that were removed, some at a call; `None` when all are gone.
    fn sweep_on(&mut self, now: Instant, mut cursor: Cursor) -> Option<Cursor> {
        for _ in 0..EXPIRIES / AT_ONCE {
            let mut ends = [None; AT_ONCE];
            let mut places = ends.iter_mut();
            let services = &self.services;
            let next = self.table.walk(cursor, AT_ONCE, |id, session| {
                let service = services.at(number_of(session.binding));
                if service.is_none_or(|it| it.standing == Standing::Removed)
                    && let Some(place) = places.next()
                {
                    *place = Some(id);
                }
            });
            for id in ends.into_iter().flatten() {
                self.close(now, id);
            }
            cursor = next?;
        }
        Some(cursor)
    }

    /// Tells both ends of a session that has expired, if its service wants that.
    fn reset_expired(&mut self, now: Instant, slot: usize, session: &Session) {
        let Some(service) = self.services.at(number_of(session.binding)) else {
            return;
        };
        let open = matches!(
            session.state,
            State::Established | State::FinWait | State::CloseWait
        );
        if service.config.on_expiry != OnExpiry::Reset || !open {
            return;
        }
        let Some(flow) = self.flows.at(slot).copied() else {
            return;
        };
        let target = service.targets.of(session.binding.ticket).copied();
        let target = target.filter(|it| it.stamp == flow.stamp);
        let [client, backend] = flow.ends;
        let key = session.key;
        if client.known {
            // RFC 5961, 3.2: only the very number that the receiver expects resets it.
            let way = self.routes.way(now, key.source.ip());
            let reset = TcpSegment::new(key.destination, key.source, flags::RST);
            self.send_own(&way, reset.sequence(client.expects));
        }
        if let Some(target) = target
            && (backend.known || service_sees_client_only(&flow, session))
        {
            let to = match self.services.at(number_of(session.binding)) {
                Some(it) if it.tracking() == Tracking::BothSides => {
                    target.backend_end(key.destination)
                }
                _ => key.destination,
            };
            let from = self.locals.answered_at(&flow, &key);
            let shift = self.backend_shift(&flow);
            let expects = backend.expects.wrapping_add(shift);
            let reset = TcpSegment::new(from, to, flags::RST).sequence(expects);
            let service = self.services.at(number_of(session.binding));
            match service.map(|it| it.config.method) {
                Some(ForwardingMethod::Tunnel(config)) => {
                    let aside = &mut self.outbox;
                    let sent = self.tunnels.send_own(&reset, &config, &target, aside);
                    self.count_own(sent);
                }
                _ => self.send_own(&target.way, reset),
            }
        }
    }

    /// How far the backend counts ahead of the client.
    fn backend_shift(&mut self, flow: &Flow) -> u32 {
        // Until the backend has the header it expects that, and not what stands behind it.
        let untold = flow.flags & (Flow::SHIFTED | Flow::TOLD) == Flow::SHIFTED;
        let spliced = flow.splice().and_then(|it| self.splices.at(it));
        let shift = spliced.map_or(0, |it| it.splice.client_sequence);
        if untold { 0 } else { shift }
    }

    /// Answers a segment with a RST that its sender will take (RFC 9293, 3.10.7.1); never a RST.
    pub(super) fn reset_sender(&mut self, now: Instant, headers: &Headers, tcp: &TcpHeader) {
        if tcp.has(flags::RST) {
            return;
        }
        let (from, to): (SocketAddr, SocketAddr) =
            (headers.destination_end(), headers.source_end());
        let way = self.routes.way(now, to.ip());
        let reset = if tcp.has(flags::ACK) {
            TcpSegment::new(from, to, flags::RST).sequence(tcp.acknowledgement)
        } else {
            let next = tcp.sequence.wrapping_add(headers.segment_len());
            TcpSegment::new(from, to, flags::RST | flags::ACK).acknowledgement(next)
        };
        self.send_own(&way, reset);
    }

    /// Queues a segment of our own.
    pub(super) fn send_own(&mut self, way: &super::routes::Way, segment: TcpSegment<'_>) {
        let v4 = segment.source.is_ipv4();
        let sent = self.outbox.push(way, v4, |bytes| segment.emit(bytes));
        self.count_own(sent);
    }

    pub(super) const fn count_own(&mut self, sent: bool) {
        if sent {
            self.stats.transmitted += 1;
        } else {
            self.stats.dropped[crate::packet::DropReason::QueueFull as usize] += 1;
        }
    }
}

/// Whether what the client sent is all that tells what the backend expects.
const fn service_sees_client_only(flow: &Flow, session: &Session) -> bool {
    !flow.has(Flow::ANSWERED_HERE) && matches!(session.state, State::Established | State::FinWait)
}

/// How a session ended, as far as can be seen from the middle.
const fn outcome(state: State, flow: &Flow, tracking: Tracking, timed_out: bool) -> Outcome {
    let by_backend = flow.has(Flow::RESET_BY_BACKEND);
    match (state, tracking) {
        (State::Rejected, Tracking::BothSides) if by_backend => Outcome::ConnectFailed,
        (State::Closed, Tracking::BothSides) if by_backend => Outcome::Reset,
        (State::SynSent, Tracking::BothSides) if timed_out => Outcome::ConnectFailed,
        (State::SynSent | State::SynReceived | State::Rejected, _) => Outcome::Cancelled,
        (State::UdpNew | State::UdpActive, _) if !flow.has(Flow::ANSWERED) => Outcome::Cancelled,
        _ => Outcome::Ok,
    }
}

/// Sessions ended at a call: as many as a burst can begin, and some more, so that ends keep up; and
/// few enough that no burst waits for long behind them.
const EXPIRIES: usize = 40;

/// Sessions settled together.
const TOGETHER: usize = 16;

/// Sessions looked at in one step of a sweep.
const AT_ONCE: usize = 32;
