//! Packets from clients: of a session, or to begin one.

use std::net::{IpAddr, SocketAddr};

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::schedule::Scheduler;
use lbcore::session::{Class, Segment, SessionId, SessionTable, Side, State, Table, Tracking};

use super::burst::Decided;
use super::classifier::Classified;
use super::flows::{Edge, Flow};
use super::fullnat;
use super::links::Links;
use super::service::Orphans;
use super::services::number_of;
use super::syn_proxy::translate;
use super::target::{Standing, Target};
use super::transmit::Outbox;
use super::tunnels::{self, Tunnels};
use super::window::{self, Place};
use super::{Forwarder, ForwarderStats};
use crate::method::splice::Splices;
use crate::method::{self, ForwardingMethod, direct_routing, nat};
use crate::packet::{DropReason, Packet};
use crate::wire::{Body, Headers, TcpHeader};

/// What became of a packet of a session.
pub(super) enum Onward {
    Decided(Decided),
    /// The session is no more: the packet is the first of its flow.
    Ended,
}

impl<S: Scheduler> Forwarder<S> {
    /// Decides over a packet that is addressed to a service.
    #[inline(always)]
    pub(super) fn client(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (classified, key): (Classified, &FlowKey),
        found: Option<SessionId>,
    ) -> Decided {
        // An earlier packet of the burst may have begun the session since, or ended it.
        let found = found
            .filter(|id| self.table.binding(*id).is_some())
            .or_else(|| self.table.lookup(key));
        if let Some(id) = found {
            let to = (classified.service, key);
            if let Some(decided) = self.proxied_onward(now, packet, headers, id, to) {
                return decided;
            }
            match self.onward(now, packet, headers, id) {
                Onward::Decided(decided) => return decided,
                Onward::Ended => {}
            }
        } else if classified.wide
            && let Some(slot) = self.answer_slot(key)
        {
            return self.answer(now, packet, headers, key, Some(slot));
        }
        self.begin(now, packet, headers, (classified.service, key))
    }

    /// Sends a packet on in its session.
    #[inline]
    pub(super) fn onward(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        id: SessionId,
    ) -> Onward {
        let slot = self.table.slot(id);
        let Some(binding) = self.table.binding(id) else {
            return Onward::Ended;
        };
        let (Some(service), Some(flow)) = (
            self.services.at_mut(number_of(binding)),
            self.flows.at_mut(slot),
        ) else {
            return Onward::Decided(Err(DropReason::BackendGone));
        };
        service.ready(now, self.burst, &mut self.routes);
        if service.is_named_otherwise(binding.ticket, packet, headers) {
            self.close(now, id);
            return Onward::Ended;
        }
        let tracking = service.tracking();
        let target = service.targets.of(binding.ticket);
        let target = target.filter(|it| it.stamp == flow.stamp);
        let standing = target.map_or(Standing::Removed, |it| it.standing);
        let begins_anew = is_anew(&self.table, id, headers, tracking);
        if begins_anew && standing != Standing::Serving {
            self.close(now, id);
            return Onward::Ended;
        }
        let orphans = match standing {
            Standing::Down => service.config.down,
            Standing::Removed if target.is_none() => match service.config.removed {
                Orphans::Continue => Orphans::Replace,
                orphans => orphans,
            },
            Standing::Removed => service.config.removed,
            Standing::Draining | Standing::Serving => Orphans::Continue,
        };
        let Some(target) = target.filter(|_| orphans == Orphans::Continue) else {
            return self.orphaned(now, headers, id, orphans);
        };
        let len = headers.end - headers.network;
        if let Some(limits) = &service.config.limits
            && !limits.bytes_in.try_take(now, len as u64)
        {
            return Onward::Decided(Err(DropReason::Bandwidth));
        }
        if begins_anew {
            (flow.ends, flow.flags) = ([Edge::default(); 2], flow.flags & Flow::LASTING);
            if let Some(splice) = flow.splice() {
                self.splices.remove(splice);
                flow.splice = 0;
            }
        }
        let moves = match headers.body {
            Body::Tcp(tcp) => {
                let tracked = service.is_tracked();
                Moves::of_segment(flow, packet.bytes(), headers, &tcp, (tracking, tracked))
            }
            // Its first fragment has moved it.
            Body::LaterFragment => Moves::Nothing,
            _ => Moves::Datagram,
        };
        self.table.touch(now, id, |state| match moves {
            Moves::Datagram => state.on_datagram(Side::Client),
            Moves::Nothing => state,
            Moves::Segment(_) if begins_anew => State::SynSent,
            Moves::Segment(segment) => state.on_segment(Side::Client, segment, tracking),
        });
        let method = &service.config.method;
        let mut outward = Outward {
            now,
            tunnels: &mut self.tunnels,
            outbox: &mut self.outbox,
            links: &mut self.routes.links,
            stats: &mut self.stats,
            local: None,
        };
        let readied = match (method, flow.splice()) {
            (ForwardingMethod::FullNat(config), _) => match self.table.flow(id) {
                Some((key, _)) => {
                    outward.local = self.locals.end(flow, key.source.is_ipv4());
                    let of = fullnat::Of {
                        config: *config,
                        key: &key,
                        target,
                    };
                    let splices = &mut self.splices;
                    fullnat::prepare(packet, headers, of, flow, splices, &mut outward)
                }
                None => Err(DropReason::NoSession),
            },
            // One that is too big is refused, or cut, as it came.
            (_, Some(id)) => {
                fits(packet, headers, room(method, target, headers.source)).and_then(|()| {
                    translate(&mut self.splices, id, (now, Side::Client), packet, headers)
                })
            }
            (_, None) => Ok(()),
        };
        let decided = readied.and_then(|()| send(packet, headers, method, target, outward));
        if decided.is_ok() {
            service.stats.packets_in += 1;
            service.stats.bytes_in += len as u64;
        }
        Onward::Decided(self.refused(now, packet, headers, decided))
    }

    /// The backend of a session serves it no longer.
    #[cold]
    fn orphaned(
        &mut self,
        now: Instant,
        headers: &Headers,
        id: SessionId,
        orphans: Orphans,
    ) -> Onward {
        self.close(now, id);
        match (orphans, headers.body) {
            (Orphans::Reset, Body::Tcp(tcp)) => {
                self.reset_sender(now, headers, &tcp);
                Onward::Decided(Err(DropReason::BackendGone))
            }
            (Orphans::Continue | Orphans::Drop, _) => Onward::Decided(Err(DropReason::BackendGone)),
            (Orphans::Replace | Orphans::Reset, _) => Onward::Ended,
        }
    }
}

/// What a packet does to the state of its session.
#[derive(Clone, Copy)]
enum Moves {
    Datagram,
    /// It is outside the window: it is passed on, and its receiver judges it (RFC 5961). Or it is
    /// a later fragment.
    Nothing,
    Segment(Segment),
}

impl Moves {
    #[inline]
    fn of_segment(
        flow: &mut Flow,
        bytes: &[u8],
        headers: &Headers,
        tcp: &TcpHeader,
        (tracking, tracked): (Tracking, bool),
    ) -> Self {
        let segment = Segment::of_flags(tcp.flags);
        if tracked {
            let [_, backend] = flow.ends;
            // Once the backend has answered, a SYN is a copy or forged, and agrees to nothing.
            if segment == Segment::Syn && !backend.known {
                window::scale(flow, Side::Client, bytes, headers, tcp);
            }
            let len = headers.segment_len();
            if window::is_unfounded(flow, tcp) {
                return Self::Nothing;
            }
            if window::look(flow, Side::Client, tcp, len) == Place::Outside {
                return Self::Nothing;
            }
            if tracking == Tracking::ClientOnly {
                flow.ends[1].expects = tcp.sequence.wrapping_add(len);
            }
        }
        if segment == Segment::Rst {
            flow.flags &= !Flow::RESET_BY_BACKEND;
        }
        Self::Segment(segment)
    }
}

/// Whether a packet opens a connection anew between the same ends.
///
/// Where the backend's side is not seen, a session whose client has closed is over too: the
/// backend's FIN went past.
#[inline]
fn is_anew(table: &Table, id: SessionId, headers: &Headers, tracking: Tracking) -> bool {
    let Body::Tcp(tcp) = headers.body else {
        return false;
    };
    if !tcp.is_first_syn() {
        return false;
    }
    let state = table.flow(id).map(|(_, state)| state);
    state.is_some_and(|state| {
        let closed = state == State::FinWait && tracking == Tracking::ClientOnly;
        state.class() == Class::Closing || state == State::Rejected || closed
    })
}

/// What a packet meets on its way out.
pub(super) struct Outward<'a> {
    pub(super) now: Instant,
    pub(super) tunnels: &'a mut Tunnels,
    pub(super) outbox: &'a mut Outbox,
    pub(super) links: &'a mut Links,
    pub(super) stats: &'a mut ForwarderStats,
    /// The local end of the session, if it has one.
    pub(super) local: Option<SocketAddr>,
}

/// Sends a client's packet to `target` by `method`.
#[inline(always)]
pub(super) fn send(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    method: &ForwardingMethod,
    target: &Target,
    outward: Outward<'_>,
) -> Decided {
    if let ForwardingMethod::Tunnel(config) = method {
        return Tunnels::send(packet, headers, (config, target), outward);
    }
    fits(packet, headers, target.way.mtu)?;
    match method {
        ForwardingMethod::DirectRouting => direct_routing::to_backend(packet, headers)?,
        ForwardingMethod::Nat => nat::to_backend(packet, headers, target.address)?,
        ForwardingMethod::FullNat(_) => {
            // Without a session there is none to send it from.
            let local = outward.local.ok_or(DropReason::Unsupported)?;
            method::fullnat::to_backend(packet, headers, local, target.address)?;
        }
        ForwardingMethod::Tunnel(_) => {}
    }
    target.way.send(outward.now, packet, outward.links)
}

/// As [`send`], of a packet before which FULLNAT has to tell who the client is.
#[inline]
pub(super) fn introduce(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    method: &ForwardingMethod,
    (key, target): (&FlowKey, &Target),
    (flow, splices): (&mut Flow, &mut Splices),
    mut outward: Outward<'_>,
) -> Decided {
    if let ForwardingMethod::FullNat(config) = *method {
        let of = fullnat::Of {
            config,
            key,
            target,
        };
        fullnat::prepare(packet, headers, of, flow, splices, &mut outward)?;
    }
    send(packet, headers, method, target, outward)
}

/// Bytes of the largest packet of a client at `client` that passes to `target`, if it may not be
/// cut.
pub(super) fn room(method: &ForwardingMethod, target: &Target, client: IpAddr) -> u16 {
    match method {
        ForwardingMethod::Tunnel(config) => tunnels::room(config, target, client),
        _ => target.way.mtu,
    }
}

/// Whether the link takes so large a packet; one that is cut into segments later is smaller.
#[inline]
pub(super) fn fits(packet: &Packet<'_>, headers: &Headers, mtu: u16) -> Result<(), DropReason> {
    let len = headers.end - headers.network;
    if len > usize::from(mtu) && packet.offloads().segment.is_none() {
        return Err(DropReason::TooBig);
    }
    Ok(())
}
