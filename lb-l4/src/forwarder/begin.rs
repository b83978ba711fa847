//! New sessions: who may begin one, and who serves it.

use lbcore::flow::{FlowKey, Protocol};
use lbcore::limit::LimitReached;
use lbcore::persist::Client;
use lbcore::schedule::{Scheduler, Tried};
use lbcore::session::{SessionRefusal, SessionTable, Side, State, Tracking};
use lbcore::{BackendId, Instant, Outcome, Pick, Ticket};

use super::Forwarder;
use super::burst::Decided;
use super::client::{Outward, introduce, send};
use super::flows::Flow;
use super::locals::Local;
use super::service::{Scheduling, Straying};
use super::services::binding;
use super::window;
use crate::icmp;
use crate::method::ForwardingMethod;
use crate::packet::{DropReason, Packet, Verdict};
use crate::wire::tcp::flags;
use crate::wire::{Body, Headers};

impl<S: Scheduler> Forwarder<S> {
    /// Decides over a packet to service `number` that belongs to no session.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, key): (u16, &FlowKey),
    ) -> Decided {
        let Some(service) = self.services.at_mut(number) else {
            return Err(DropReason::NoSession);
        };
        service.ready(now, self.burst, &mut self.routes);
        if !service.config.accepting {
            return self.closed(now, packet, headers, (number, key));
        }
        if key.protocol == Protocol::Tcp
            && let Some(decided) = self.proxied(now, packet, headers, (number, key))
        {
            return decided;
        }
        let Some(service) = self.services.at_mut(number) else {
            return Err(DropReason::NoSession);
        };
        let stray = matches!(headers.body, Body::Tcp(tcp) if !tcp.is_first_syn());
        // A backend knows a session with FULLNAT by a local port, which another node has handed out.
        let lost = matches!(service.config.method, ForwardingMethod::FullNat(_));
        if stray && (lost || service.config.straying != Straying::Place) {
            let straying = service.config.straying;
            if straying == Straying::Reset {
                service.admits(headers, key)?;
            }
            return self.stray(now, packet, headers, straying);
        }
        service.admits(headers, key)?;
        if key.protocol == Protocol::Udp && service.config.scheduling == Scheduling::OnePacket {
            return self.sessionless(now, packet, headers, number);
        }
        let decided = self.place(now, packet, headers, (number, key), stray);
        self.refused(now, packet, headers, decided)
    }

    /// What becomes of a packet that would begin a session of a service that begins none.
    #[cold]
    fn closed(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        (number, key): (u16, &FlowKey),
    ) -> Decided {
        let Some(service) = self.services.at_mut(number) else {
            return Err(DropReason::NoSession);
        };
        service.admits(headers, key)?;
        service.stats.refused += 1;
        self.refused(now, packet, headers, Err(DropReason::BackendUnavailable))
    }

    /// What becomes of a segment that is no SYN and belongs to no session.
    ///
    /// Whoever forges the sender's address gets no more answers than there may be errors.
    fn stray(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        headers: &Headers,
        straying: Straying,
    ) -> Decided {
        match (straying, headers.body) {
            (Straying::Pass, _) => Ok(Verdict::Pass),
            (Straying::Reset, Body::Tcp(tcp)) => {
                if !headers.checksum_is_right(packet.bytes(), packet.offloads().checksum) {
                    return Err(DropReason::BadChecksum);
                }
                if !tcp.has(flags::RST)
                    && icmp::may_be_answered(packet, headers)
                    && self.icmp.allows_error(now, headers.source)
                {
                    self.reset_sender(now, headers, &tcp);
                }
                Err(DropReason::NoSession)
            }
            _ => Err(DropReason::NoSession),
        }
    }

    /// Begins a session, and sends its first packet on.
    pub(super) fn place(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, key): (u16, &FlowKey),
        stray: bool,
    ) -> Decided {
        let service = self.services.at_mut(number);
        let service = service.ok_or(DropReason::NoSession)?;
        let named = service.named(packet, headers);
        let guard = match &service.config.limits {
            None => None,
            Some(limits) => Some(limits.admit(now).map_err(reached)?),
        };
        let (ticket, suited) = self.pick(now, (number, key), stray, named)?;
        let mut flow = Flow {
            flags: if guard.is_some() { Flow::LIMITED } else { 0 },
            ..Flow::default()
        };
        let slot = match self.bind(now, (number, ticket), key, &mut flow, suited) {
            Ok(slot) => slot,
            Err(refusal) => {
                if let Some(local) = suited.local {
                    self.locals.give_back(now, &local);
                }
                if let Some(service) = self.services.at_mut(number) {
                    service
                        .balancer
                        .finish_ticket(ticket, None, Outcome::Cancelled);
                }
                return Err(refused_by_table(refusal));
            }
        };
        if let Some(guard) = guard {
            guard.detach();
        }
        self.first(now, packet, headers, (number, slot, ticket), (key, stray))
    }

    /// Remembers a session; everything that is kept of it is in place then.
    fn bind(
        &mut self,
        now: Instant,
        (number, ticket): (u16, Ticket),
        key: &FlowKey,
        flow: &mut Flow,
        suited: Suited,
    ) -> Result<usize, SessionRefusal> {
        let Some(service) = self.services.at_mut(number) else {
            return Err(SessionRefusal::Full);
        };
        let state = match key.protocol {
            Protocol::Udp => State::UdpNew,
            _ => State::SynSent,
        };
        let bound = binding(number, ticket, service.profile);
        let id = self.table.insert(now, key, state, bound)?;
        service.sessions += 1;
        service.stats.sessions += 1;
        flow.stamp = service.targets.of(ticket).map_or(0, |it| it.stamp);
        let slot = self.table.slot(id);
        // Whoever gave way had another slot, which is cleared before anyone can take it.
        self.collect(now);
        if let Some(local) = suited.local {
            self.locals.keep(slot, &local, flow);
        }
        if let Some(tag) = suited.tag
            && self.answers.insert(tag, slot)
        {
            (flow.answer_tag, flow.flags) = (tag, flow.flags | Flow::ANSWERED_HERE);
        }
        self.flows.set(slot, *flow);
        Ok(slot)
    }

    /// Sends the first packet of the session in `slot` on.
    fn first(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, slot, ticket): (u16, usize, Ticket),
        (key, stray): (&FlowKey, bool),
    ) -> Decided {
        let service = self.services.at_mut(number);
        let service = service.ok_or(DropReason::NoSession)?;
        let flow = self.flows.at_mut(slot).ok_or(DropReason::NoSession)?;
        let tracking = service.tracking();
        if let Body::Tcp(tcp) = headers.body
            && service.is_tracked()
        {
            if stray {
                flow.shifts = window::UNKNOWN_SHIFTS;
            } else {
                window::scale(flow, Side::Client, packet.bytes(), headers, &tcp);
            }
            let len = headers.segment_len();
            window::look(flow, Side::Client, &tcp, len);
            if tracking == Tracking::ClientOnly {
                flow.ends[1].expects = tcp.sequence.wrapping_add(len);
            }
        }
        if stray
            && let Body::Tcp(tcp) = headers.body
            && let Some(id) = self.table.at(slot)
        {
            let segment = lbcore::session::Segment::of_flags(tcp.flags);
            self.table.touch(now, id, |state| {
                state.on_segment(Side::Client, segment, tracking)
            });
        }
        let len = (headers.end - headers.network) as u64;
        if let Some(limits) = &service.config.limits
            && !limits.bytes_in.try_take(now, len)
        {
            return Err(DropReason::Bandwidth);
        }
        let target = service.targets.of(ticket);
        let target = target.ok_or(DropReason::BackendUnavailable)?;
        let outward = Outward {
            now,
            tunnels: &mut self.tunnels,
            outbox: &mut self.outbox,
            links: &mut self.routes.links,
            stats: &mut self.stats,
            local: self.locals.end(flow, key.source.is_ipv4()),
        };
        let (method, kept) = (&service.config.method, (flow, &mut self.splices));
        let verdict = introduce(packet, headers, method, (key, target), kept, outward)?;
        service.stats.packets_in += 1;
        service.stats.bytes_in += len;
        Ok(verdict)
    }

    /// A backend for a new session, and what answers to it will be found by.
    ///
    /// A backend of another family, or one to which the client has the same ends by another service
    /// already, is passed over.
    fn pick(
        &mut self,
        now: Instant,
        (number, key): (u16, &FlowKey),
        stray: bool,
        named: Option<BackendId>,
    ) -> Result<(Ticket, Suited), DropReason> {
        let service = self.services.at_mut(number);
        let service = service.ok_or(DropReason::NoSession)?;
        let placed_by = service.config.keys.and_then(|keys| keys.of_flow(key));
        let mut wish = Pick::default().key(placed_by);
        let client = Client::from_source(key.source.ip());
        if let Some(persistence) = &service.config.persistence {
            wish = wish.preferred(persistence.lookup(now, &client));
        }
        // Who is named has the connection already.
        let mut earlier = named.and_then(|it| service.balancer.adopt(now, it));
        if stray {
            let within = service.config.previous_placement;
            let before = service.balancer.previous(now, &wish, within);
            earlier = before.and_then(|it| service.balancer.adopt(now, it));
        }
        let mut tried = Tried::default();
        let mut refused = DropReason::BackendUnavailable;
        for _ in 0..=Tried::MOST {
            let Some(service) = self.services.at_mut(number) else {
                break;
            };
            let ticket = match earlier.take() {
                Some(ticket) => ticket,
                None => {
                    let picked = service.balancer.acquire_ticket(now, &wish.tried(&tried));
                    let Ok(ticket) = picked else {
                        service.stats.refused += 1;
                        return Err(refused);
                    };
                    ticket
                }
            };
            service.aim(now, &mut self.routes);
            match self.suits(now, number, ticket, key) {
                Ok(suited) => {
                    self.remember(now, number, ticket, &client);
                    return Ok((ticket, suited));
                }
                // That ports are exhausted is to be known, whatever the others lack.
                Err(reason) if refused != DropReason::PortsExhausted => refused = reason,
                Err(_) => {}
            }
            self.give_back(number, ticket);
            if !tried.add(ticket) {
                break;
            }
        }
        Err(refused)
    }

    /// Whether the backend of `ticket` can take a session of this flow.
    fn suits(
        &mut self,
        now: Instant,
        number: u16,
        ticket: Ticket,
        key: &FlowKey,
    ) -> Result<Suited, DropReason> {
        let unavailable = DropReason::BackendUnavailable;
        let service = self.services.at(number).ok_or(unavailable)?;
        let target = service.targets.of(ticket).ok_or(unavailable)?;
        let suited = match &service.config.method {
            ForwardingMethod::Tunnel(config) => config.has_source_for(target.address.ip()),
            ForwardingMethod::FullNat(_) => {
                let v4 = target.address.is_ipv4();
                v4 == key.destination.is_ipv4() && self.locals.serve(v4)
            }
            _ => target.address.is_ipv4() == key.destination.is_ipv4(),
        };
        if !suited {
            return Err(unavailable);
        }
        if service.tracking() == Tracking::ClientOnly {
            return Ok(Suited::default());
        }
        let backend = target.backend_end(key.destination);
        if matches!(service.config.method, ForwardingMethod::FullNat(_)) {
            let hash = key.keyed_hash(&self.hash);
            let local = self.locals.allocate(now, key.protocol, backend, hash);
            let local = local.ok_or(DropReason::PortsExhausted)?;
            return Ok(Suited {
                tag: Some(self.answers.tag(key.protocol, backend, local.end)),
                local: Some(local),
            });
        }
        let answer = FlowKey::new(key.protocol, backend, key.source);
        let tag = self.answers.tag(key.protocol, backend, key.source);
        if self
            .answers
            .find(tag, |slot| self.is_answer(slot, &answer))
            .is_some()
        {
            return Err(DropReason::PortsExhausted);
        }
        Ok(Suited {
            tag: Some(tag),
            local: None,
        })
    }

    fn remember(&self, now: Instant, number: u16, ticket: Ticket, client: &Client<'_>) {
        let Some(service) = self.services.at(number) else {
            return;
        };
        if let Some(persistence) = &service.config.persistence
            && let Some(backend) = service.balancer.resolve(ticket)
        {
            persistence.remember(now, client, backend.id);
        }
    }

    /// Finishes the ticket of a session that was not begun.
    fn give_back(&mut self, number: u16, ticket: Ticket) {
        if let Some(service) = self.services.at_mut(number) {
            let balancer = &mut service.balancer;
            balancer.finish_ticket(ticket, None, Outcome::Cancelled);
        }
    }

    /// Sends a packet to whom it is placed with, and remembers nothing.
    pub(super) fn sessionless(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        number: u16,
    ) -> Decided {
        let decided = self.pass_through(now, packet, headers, (number, None));
        self.refused(now, packet, headers, decided.map(|(verdict, _)| verdict))
    }

    /// As [`sessionless`](Self::sessionless); to the backend that is given, if one is, and tells to
    /// which one.
    pub(super) fn pass_through(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (number, placed): (u16, Option<Ticket>),
    ) -> Result<(Verdict, Ticket), DropReason> {
        // SCTP's ends are hashed as UDP's would be: a backend is all that comes of it.
        let (source, destination) = (headers.source_end(), headers.destination_end());
        let key = FlowKey::new(Protocol::Udp, source, destination);
        let service = self.services.at_mut(number);
        let service = service.ok_or(DropReason::NoSession)?;
        service.ready(now, self.burst, &mut self.routes);
        let named = service.named(packet, headers);
        if !service.config.rules.allows(headers.source) {
            return Err(DropReason::AddressDenied);
        }
        let ticket = if let Some(ticket) = placed {
            ticket
        } else {
            let placed_by = match &service.config.keys {
                Some(keys) => keys.of_flow(&key),
                None => Some(key.keyed_hash(&self.hash)),
            };
            let wish = Pick::default().key(placed_by);
            let adopted = named.and_then(|it| service.balancer.adopt(now, it));
            let ticket = match adopted {
                Some(ticket) => ticket,
                None => service
                    .balancer
                    .acquire_ticket(now, &wish)
                    .map_err(|_| DropReason::BackendUnavailable)?,
            };
            service.aim(now, &mut self.routes);
            service.balancer.finish_ticket(ticket, None, Outcome::Ok);
            ticket
        };
        let target = service.targets.of(ticket);
        let target = target.ok_or(DropReason::BackendUnavailable)?;
        let len = (headers.end - headers.network) as u64;
        let outward = Outward {
            now,
            tunnels: &mut self.tunnels,
            outbox: &mut self.outbox,
            links: &mut self.routes.links,
            stats: &mut self.stats,
            local: None,
        };
        let verdict = send(packet, headers, &service.config.method, target, outward)?;
        service.stats.packets_in += 1;
        service.stats.bytes_in += len;
        Ok((verdict, ticket))
    }
}

/// What a new session has with its backend.
#[derive(Clone, Copy, Debug, Default)]
struct Suited {
    /// What answers are found by, if they pass here.
    tag: Option<u32>,
    /// Where it comes from, if that is rewritten: given back if the session is not begun.
    local: Option<Local>,
}

const fn reached(limit: LimitReached) -> DropReason {
    match limit {
        LimitReached::Connections => DropReason::SessionLimit,
        _ => DropReason::RateLimited,
    }
}

const fn refused_by_table(refusal: SessionRefusal) -> DropReason {
    match refusal {
        SessionRefusal::MixedFamilies | SessionRefusal::WrongProtocol => DropReason::Malformed,
        _ => DropReason::SessionsFull,
    }
}
