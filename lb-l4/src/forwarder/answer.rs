//! Packets from backends, back to their clients.

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::schedule::Scheduler;
use lbcore::session::{Segment, SessionTable, Side, State, Tracking};

use super::Forwarder;
use super::burst::Decided;
use super::client::fits;
use super::flows::Flow;
use super::fullnat;
use super::services::number_of;
use super::window::{self, Place};
use crate::method::{self, ForwardingMethod, nat};
use crate::packet::{DropReason, Packet};
use crate::wire::{Body, Headers};

impl<S: Scheduler> Forwarder<S> {
    /// Decides over a packet that is not addressed to a service: an answer, or none of ours.
    #[inline]
    pub(super) fn answer(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        key: &FlowKey,
        found: Option<usize>,
    ) -> Decided {
        // An earlier packet of the burst may have begun the session since, or ended it.
        let found = found.filter(|slot| !self.has_ended || self.is_answer(*slot, key));
        let slot = found.or_else(|| self.answer_slot(key));
        let Some(slot) = slot else {
            return self.unasked(now, packet, headers);
        };
        if self.flows.at(slot).is_some_and(|it| it.splice != 0) {
            // One that is too big is refused, or cut, as it came.
            let mtu = self.routes.mtu(key.destination.ip());
            if let Err(reason) = fits(packet, headers, mtu) {
                return self.refused(now, packet, headers, Err(reason));
            }
            if let Some(flow) = self.flows.at_mut(slot) {
                fullnat::hear_of_header(flow, &mut self.splices, headers);
            }
            if let Some(decided) = self.spliced_answer(now, packet, headers, slot) {
                return decided;
            }
        }
        let decided = self.back(now, packet, headers, slot);
        self.refused(now, packet, headers, decided)
    }

    /// The slot of the session that a packet with these ends answers.
    pub(super) fn answer_slot(&self, key: &FlowKey) -> Option<usize> {
        let tag = self.answers.tag(key.protocol, key.source, key.destination);
        self.answers.find(tag, |slot| self.is_answer(slot, key))
    }

    /// Sends an answer on to its client.
    #[inline]
    pub(super) fn back(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        slot: usize,
    ) -> Decided {
        let id = self.table.at(slot).ok_or(DropReason::NoSession)?;
        let (key, _) = self.table.flow(id).ok_or(DropReason::NoSession)?;
        let binding = self.table.binding(id).ok_or(DropReason::NoSession)?;
        let service = self.services.at_mut(number_of(binding));
        let service = service.ok_or(DropReason::NoSession)?;
        let flow = self.flows.at_mut(slot).ok_or(DropReason::NoSession)?;
        let len = headers.end - headers.network;
        if let Some(limits) = &service.config.limits
            && !limits.bytes_out.try_take(now, len as u64)
        {
            return Err(DropReason::Bandwidth);
        }
        let [_, before] = flow.ends;
        let segment = segment_of(flow, packet.bytes(), headers);
        flow.flags |= Flow::ANSWERED;
        let next = |state: State| match segment {
            Moved::Datagram => state.on_datagram(Side::Backend),
            Moved::Nothing => state,
            Moved::Segment(segment) => {
                state.on_segment(Side::Backend, segment, Tracking::BothSides)
            }
        };
        let touched = self.table.touch(now, id, next);
        if let (Moved::Segment(Segment::Syn), Body::Tcp(tcp), Some(touch)) =
            (&segment, &headers.body, touched)
            && touch.after == State::SynReceived
        {
            window::agree(flow, tcp);
        }
        let way = self.routes.way(now, key.source.ip());
        fits(packet, headers, way.mtu)?;
        match service.config.method {
            method @ ForwardingMethod::FullNat(_) => {
                if method.tells_by_option() {
                    fullnat::hear_of_option(flow, before);
                    fullnat::leave_room(packet, headers, key.source);
                }
                method::fullnat::to_client(packet, headers, key.destination, key.source)?;
            }
            _ => nat::to_client(packet, headers, key.destination)?,
        }
        let verdict = way.send(now, packet, &mut self.routes.links)?;
        service.stats.packets_out += 1;
        service.stats.bytes_out += len as u64;
        Ok(verdict)
    }
}

/// What an answer does to the state of its session.
enum Moved {
    Datagram,
    /// It is outside the window: it is passed on, and its receiver judges it (RFC 5961). Or it is
    /// a later fragment.
    Nothing,
    Segment(Segment),
}

#[inline]
fn segment_of(flow: &mut Flow, bytes: &[u8], headers: &Headers) -> Moved {
    let tcp = match headers.body {
        Body::Tcp(tcp) => tcp,
        // Its first fragment has moved it.
        Body::LaterFragment => return Moved::Nothing,
        _ => return Moved::Datagram,
    };
    let segment = Segment::of_flags(tcp.flags);
    // A SYN that comes later is sent again or forged, and agrees to nothing.
    if segment == Segment::Syn && !flow.ends[1].known {
        window::scale(flow, Side::Backend, bytes, headers, &tcp);
    }
    if window::look(flow, Side::Backend, &tcp, headers.segment_len()) == Place::Outside {
        return Moved::Nothing;
    }
    if segment == Segment::Rst {
        flow.flags |= Flow::RESET_BY_BACKEND;
    }
    Moved::Segment(segment)
}
