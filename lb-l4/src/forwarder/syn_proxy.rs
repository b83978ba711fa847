//! The SYN proxy among the passes, and splices: what is done to the packets of few sessions.

use lbcore::Instant;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::schedule::Scheduler;
use lbcore::session::{Class, Segment, SessionId, SessionTable, Side, State, Tracking};

use super::Forwarder;
use super::burst::Decided;
use super::client::{Onward, Outward, introduce};
use super::flows::Flow;
use super::fullnat;
use super::service::Straying;
use super::services::number_of;
use crate::method::splice::{Splice, SpliceId, Spliced, Splices};
use crate::packet::{DropReason, Link, Packet, Verdict};
use crate::syn_proxy::{
    Accepted, BackendStep, ClientStep, Cookies, Due, HalfOpenId, Released, SynProxyStats,
};
use crate::wire::tcp::flags::{ACK, RST, SYN};
use crate::wire::{Body, Frame, Headers, ethernet, parse};

impl<S: Scheduler> Forwarder<S> {
    /// What the SYN proxy has done; nothing if it has no key.
    #[must_use]
    pub fn syn_proxy_stats(&self) -> SynProxyStats {
        let proxy = self.syn_proxy.as_ref();
        proxy.map(|it| it.stats()).unwrap_or_default()
    }

    /// Takes other keys for SYN cookies, for handshakes to come; without a SYN proxy nothing happens.
    pub fn set_syn_cookies(&mut self, cookies: Cookies) {
        if let Some(proxy) = &mut self.syn_proxy {
            proxy.set_cookies(cookies);
        }
    }

    /// Decides over a packet to service `number` that no session takes, if that is the proxy's.
    pub(super) fn proxied(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, key): (u16, &FlowKey),
    ) -> Option<Decided> {
        let proxy = self.syn_proxy.as_mut()?;
        let service = self.services.at_mut(number)?;
        let Body::Tcp(tcp) = headers.body else {
            return None;
        };
        let config = &service.config.syn_proxy;
        if tcp.is_first_syn() {
            if let Err(reason) = service.admits(headers, key) {
                return Some(Err(reason));
            }
            if !service.syn_rate.handle_syn(now) {
                return None;
            }
            let answered = proxy.answer(now, config, packet, headers);
            if answered.is_ok() && service.config.method.tells_by_option() {
                fullnat::leave_room(packet, headers, key.source);
            }
            return Some(answered.map(|()| Verdict::Reply));
        }
        let acknowledges = tcp.flags & (SYN | RST | ACK) == ACK;
        if !acknowledges || !service.syn_rate.may_have_answered(now) {
            return None;
        }
        if let Err(reason) = service.admits(headers, key) {
            return Some(Err(reason));
        }
        match proxy.accept(now, config, packet, headers) {
            Ok(accepted) => Some(self.begin_proxied(now, packet, headers, (number, key), accepted)),
            Err(DropReason::SynCookieWrong) => {
                // Whoever could begin a session by an ACK alone would pass by the proxy.
                let placed = service.config.straying == Straying::Place;
                let dropped = placed || service.config.straying == Straying::Drop;
                let on = dropped && service.syn_rate.is_on(now);
                on.then_some(Err(DropReason::SynCookieWrong))
            }
            Err(reason) => Some(Err(reason)),
        }
    }

    /// Begins a session for a client whose cookie was right; the packet is its SYN again.
    fn begin_proxied(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, key): (u16, &FlowKey),
        accepted: Accepted,
    ) -> Decided {
        // One that is closing gives way: the client has begun anew.
        if let Some(id) = self.table.lookup(key) {
            self.close(now, id);
        }
        if let Some(service) = self.services.at_mut(number) {
            service.ready(now, self.burst, &mut self.routes);
        }
        let placed = self.place(now, packet, headers, (number, key), false);
        let session = self.table.lookup(key);
        let proxy = self.syn_proxy.as_mut().ok_or(DropReason::NoSession)?;
        match (placed, session) {
            (Ok(verdict), Some(id)) => {
                let slot = self.table.slot(id);
                if let Some(flow) = self.flows.at_mut(slot) {
                    flow.splice = proxy.open(now, id, accepted).to_bits() + 1;
                    flow.flags |= Flow::HALF_OPEN;
                }
                Ok(verdict)
            }
            (placed, session) => {
                let reason = placed.err().unwrap_or(DropReason::SessionsFull);
                self.stats.dropped[reason as usize] += 1;
                let refused = proxy.refuse(accepted, packet, headers);
                if let Some(id) = session {
                    self.close(now, id);
                }
                refused.map(|()| Verdict::Reply)
            }
        }
    }

    /// Decides over a client's packet of a session, if that is the proxy's: the backend has not
    /// answered yet, or the session is closing and the client begins anew.
    #[inline]
    pub(super) fn proxied_onward(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        id: SessionId,
        (number, key): (u16, &FlowKey),
    ) -> Option<Decided> {
        self.syn_proxy.as_ref()?;
        let flow = self.flows.at(self.table.slot(id))?;
        if let Some(half) = flow.half_open() {
            return Some(self.half_open_client(now, packet, headers, (id, half)));
        }
        let (_, state) = self.table.flow(id)?;
        let over = state.class() == Class::Closing || state == State::Rejected;
        if over && state.protocol() == Protocol::Tcp {
            return self.proxied_anew(now, packet, headers, (number, key));
        }
        None
    }

    /// A packet of a session that is closing: a client that begins anew, or a last word.
    #[cold]
    fn proxied_anew(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        to: (u16, &FlowKey),
    ) -> Option<Decided> {
        match self.proxied(now, packet, headers, to) {
            // A last acknowledgement is no cookie.
            Some(Err(DropReason::SynCookieWrong)) => None,
            decided => decided,
        }
    }

    #[cold]
    fn half_open_client(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (id, half): (SessionId, HalfOpenId),
    ) -> Decided {
        let proxy = self.syn_proxy.as_mut().ok_or(DropReason::NoSession)?;
        match proxy.handle_client(half, packet, headers) {
            ClientStep::Drop(reason) => Err(reason),
            ClientStep::Held => Ok(Verdict::Held),
            ClientStep::Reply => Ok(Verdict::Reply),
            ClientStep::Reset => {
                self.unsplice(self.table.slot(id));
                let decided = self.onward_of(now, packet, headers, id);
                self.close(now, id);
                decided
            }
        }
    }

    /// Translates a backend's packet of a spliced session; a decision if it goes no further.
    #[cold]
    pub(super) fn spliced_answer(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        slot: usize,
    ) -> Option<Decided> {
        let flow = self.flows.at(slot)?;
        if let Some(half) = flow.half_open() {
            return Some(self.half_open_backend(now, packet, headers, (slot, half)));
        }
        let side = (now, Side::Backend);
        translate(&mut self.splices, flow.splice()?, side, packet, headers)
            .err()
            .map(Err)
    }

    fn half_open_backend(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (slot, half): (usize, HalfOpenId),
    ) -> Decided {
        let proxy = self.syn_proxy.as_mut().ok_or(DropReason::NoSession)?;
        let id = self.table.at(slot).ok_or(DropReason::NoSession)?;
        match proxy.handle_backend(half, packet, headers) {
            BackendStep::Drop(reason) => Err(reason),
            BackendStep::Reply => Ok(Verdict::Reply),
            BackendStep::Refused(released) => {
                self.unsplice(slot);
                let decided = self.back(now, packet, headers, slot);
                if let Some(released) = released {
                    self.send_released(now, id, released);
                }
                self.fail(now, id);
                decided
            }
            BackendStep::Joined {
                splice,
                released,
                promised_scale,
            } => {
                let kept = self.join(now, id, splice, promised_scale)?;
                let side = (now, Side::Backend);
                translate(&mut self.splices, kept, side, packet, headers)?;
                let decided = self.back(now, packet, headers, slot);
                self.send_released(now, id, released);
                decided
            }
        }
    }

    /// The backend has answered: from now on packets are translated.
    fn join(
        &mut self,
        now: Instant,
        id: SessionId,
        splice: Splice,
        promised_scale: u8,
    ) -> Result<SpliceId, DropReason> {
        let slot = self.table.slot(id);
        self.unsplice(slot);
        let kept = self.splices.insert(splice).ok_or(DropReason::HoldFull)?;
        if let Some(flow) = self.flows.at_mut(slot) {
            flow.splice = kept.to_bits() + 1;
            // Windows are looked at as the client sees them.
            flow.shifts = flow.shifts & 15 | promised_scale << 4;
        }
        self.table.touch(now, id, |state| {
            state.on_segment(Side::Backend, Segment::Syn, Tracking::BothSides)
        });
        Ok(kept)
    }

    /// Sends packets of a client's, as if they had come now.
    fn send_released(&mut self, now: Instant, id: SessionId, mut released: Released) {
        let mut bytes = Vec::new();
        while released.poll(&mut bytes) {
            self.send_as_client(&bytes, |it, packet, headers| {
                it.onward_of(now, packet, headers, id)
            });
        }
    }

    /// Sends an IP packet that the client could have sent, by way of `decide`.
    fn send_as_client(
        &mut self,
        bytes: &[u8],
        decide: impl FnOnce(&mut Self, &mut Packet<'_>, &mut Headers) -> Decided,
    ) {
        let link = self.routes.link();
        let mut buffer = vec![0; ROOM];
        if link == Link::Ethernet {
            let v4 = bytes.first().is_some_and(|it| it >> 4 == 4);
            let header = ethernet::Header {
                kind: if v4 { ethernet::IPV4 } else { ethernet::IPV6 },
                ..ethernet::Header::default()
            };
            header.emit(&mut buffer);
        }
        buffer.extend_from_slice(bytes);
        let len = buffer.len();
        buffer.resize(len + ROOM, 0);
        let mut packet = Packet::new(&mut buffer, ROOM..len, link);
        let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), link) else {
            return;
        };
        let decided = decide(self, &mut packet, &mut headers);
        let sent = match decided {
            Ok(Verdict::Forward(out)) => self
                .outbox
                .push_frame(out, packet.bytes())
                .then_some(())
                .ok_or(DropReason::QueueFull),
            Ok(_) => Ok(()),
            Err(reason) => Err(reason),
        };
        match sent {
            Ok(()) => self.stats.transmitted += 1,
            Err(reason) => self.stats.dropped[reason as usize] += 1,
        }
    }

    /// Does what is due to handshakes whose backend is silent, some at a call.
    pub(super) fn handle_half_open(&mut self, now: Instant) {
        let mut bytes = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(proxy) = &mut self.syn_proxy else {
                return;
            };
            match proxy.poll_due(now, &mut bytes) {
                None => return,
                Some(Due::Retry(id)) => self.send_as_client(&bytes, |it, packet, headers| {
                    it.send_again(now, packet, headers, id)
                }),
                Some(Due::GiveUp(id)) => {
                    self.unsplice(self.table.slot(id));
                    if let Some((key, _)) = self.table.flow(id) {
                        let way = self.routes.way(now, key.source.ip());
                        let v4 = key.source.is_ipv4();
                        let queued = self.outbox.push(&way, v4, |out| out.extend(&bytes));
                        self.count_own(queued);
                    }
                    self.fail(now, id);
                }
            }
        }
    }

    /// Sends a SYN to the backend of a session again.
    fn send_again(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        id: SessionId,
    ) -> Decided {
        let binding = self.table.binding(id).ok_or(DropReason::NoSession)?;
        let service = self.services.at(number_of(binding));
        let service = service.ok_or(DropReason::NoSession)?;
        let target = service.targets.of(binding.ticket);
        let flow = self.flows.at_mut(self.table.slot(id));
        let (Some(flow), Some((key, _))) = (flow, self.table.flow(id)) else {
            return Err(DropReason::NoSession);
        };
        // One that has moved knows nothing of the session, and the local port may be another's there.
        let target = target.filter(|it| it.stamp == flow.stamp);
        let target = target.ok_or(DropReason::BackendGone)?;
        let outward = Outward {
            now,
            tunnels: &mut self.tunnels,
            outbox: &mut self.outbox,
            links: &mut self.routes.links,
            stats: &mut self.stats,
            local: self.locals.end(flow, key.source.is_ipv4()),
        };
        let (method, kept) = (&service.config.method, (flow, &mut self.splices));
        introduce(packet, headers, method, (&key, target), kept, outward)
    }

    /// Ends a session that its backend has refused or not answered.
    fn fail(&mut self, now: Instant, id: SessionId) {
        if let Some(flow) = self.flows.at_mut(self.table.slot(id)) {
            flow.flags |= Flow::RESET_BY_BACKEND;
        }
        self.table.touch(now, id, |_| State::Rejected);
        self.close(now, id);
    }

    fn onward_of(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        id: SessionId,
    ) -> Decided {
        match self.onward(now, packet, headers, id) {
            Onward::Decided(decided) => decided,
            Onward::Ended => Err(DropReason::BackendGone),
        }
    }

    /// Forgets the splice or the handshake of a slot.
    pub(super) fn unsplice(&mut self, slot: usize) {
        let Some(flow) = self.flows.at_mut(slot) else {
            return;
        };
        if let (Some(half), Some(proxy)) = (flow.half_open(), &mut self.syn_proxy) {
            proxy.close(half);
        }
        if let Some(splice) = flow.splice() {
            self.splices.remove(splice);
        }
        (flow.splice, flow.flags) = (0, flow.flags & !Flow::HALF_OPEN);
    }

    /// Whether the packets of this flow are translated, or will be, as only this node can.
    ///
    /// Any node can shift numbers by a header. It is told before the backend has acknowledged that,
    /// as nothing else would make it be told afterwards: a node that takes over in this one round
    /// trip takes it for sent.
    pub(super) fn is_tied(&mut self, key: &FlowKey) -> bool {
        let slot = self.table.lookup(key).map(|id| self.table.slot(id));
        let Some(flow) = slot.and_then(|it| self.flows.at(it)) else {
            return false;
        };
        let spliced = flow.splice().and_then(|it| self.splices.at(it));
        match spliced {
            Some(Spliced { splice, .. }) if flow.has(Flow::SHIFTED) => {
                let alone = Splice {
                    client_first: None,
                    ..*splice
                };
                alone != fullnat::told_splice(key)
            }
            _ => flow.splice != 0,
        }
    }
}

/// Rewrites a packet of one side for the other, unless it feeds a storm.
#[cold]
pub(super) fn translate(
    splices: &mut Splices,
    id: SpliceId,
    (now, side): (Instant, Side),
    packet: &mut Packet<'_>,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    let Some(Spliced { splice, storm, .. }) = splices.at(id) else {
        return Ok(());
    };
    if let Some(tcp) = headers.tcp()
        && storm.handle_segment(now, side, tcp, headers.segment_len())
    {
        return Err(DropReason::AckStorm);
    }
    match side {
        Side::Backend => splice.to_client(packet, headers),
        Side::Client => splice.to_backend(packet, headers),
    }
    Ok(())
}

/// Room before and behind a packet of a client's that is sent later, for what a method puts there.
const ROOM: usize = 128;

/// Handshakes looked at in one call: no burst waits for long behind them.
const AT_ONCE: usize = 64;
