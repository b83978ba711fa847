//! ICMP: errors about packets that went through here, and echo.

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::schedule::Scheduler;
use lbcore::session::{SessionId, SessionTable, Side};

use super::Forwarder;
use super::burst::Decided;
use super::client::{Outward, send};
use super::flows::Flow;
use super::services::number_of;
use super::window;
use crate::icmp::{self, Embedded, Translation, Tunnelled};
use crate::method::ForwardingMethod;
use crate::method::splice::Splice;
use crate::packet::{Checksum, DropReason, Packet, Verdict};
use crate::wire::{Headers, rewrite};

impl<S: Scheduler> Forwarder<S> {
    /// An ICMP message that is whole.
    pub(super) fn icmp(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Decided {
        if icmp::is_error(headers) {
            return self.error(now, packet, headers);
        }
        self.echo(now, packet, headers)
    }

    /// Answers an echo request to a service's address; everything else is the host's.
    pub(super) fn echo(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
    ) -> Decided {
        let asks = icmp::is_echo_request(headers) || headers.is_later_fragment();
        let asked = headers.destination;
        let ours = self.services.classifier.has_address(asked) || self.locals.have(asked);
        if !asks || !ours {
            return Ok(Verdict::Pass);
        }
        match self.icmp.echo(now, packet, headers) {
            Verdict::Drop(reason) => Err(reason),
            verdict => Ok(verdict),
        }
    }

    /// An error: it goes to whom it is about, if that is a session here.
    fn error(&mut self, now: Instant, packet: &mut Packet<'_>, headers: &mut Headers) -> Decided {
        if let Some(found) = icmp::embedded(packet.bytes(), headers) {
            let key = found.answered_by();
            if let Some(id) = self.table.lookup(&key) {
                return self.error_to_backend(now, packet, headers, (id, &found));
            }
            if let Some(slot) = self.answer_slot(&key) {
                return self.error_to_client(now, packet, headers, (slot, &found));
            }
            match self.locals.owner(found.key.source) {
                Some(worker) if worker != self.locals.worker() => {
                    return self.hand_over(packet, worker);
                }
                Some(_) => return Err(DropReason::IcmpUnmatched),
                None => {}
            }
        }
        if let Some(found) = icmp::tunnelled(packet.bytes(), headers)
            && let Some(id) = self.table.lookup(&found.inner.key)
        {
            return self.error_in_tunnel(now, packet, headers, (id, &found));
        }
        // To an address that the host may have too, it may be about something of the host's.
        if self.services.classifier.has_address(headers.destination) {
            return Err(DropReason::IcmpUnmatched);
        }
        Ok(Verdict::Pass)
    }

    /// An answer of the backend's was not delivered.
    fn error_to_backend(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (id, found): (SessionId, &Embedded),
    ) -> Decided {
        let unmatched = DropReason::IcmpUnmatched;
        self.believe(id, Side::Backend, found.sequence)?;
        let splice = self.splice_of(id);
        let flow = self.flows.at(self.table.slot(id)).copied();
        let (key, _) = self.table.flow(id).ok_or(unmatched)?;
        let binding = self.table.binding(id).ok_or(unmatched)?;
        let service = self.services.at_mut(number_of(binding));
        let service = service.ok_or(unmatched)?;
        service.ready(now, self.burst, &mut self.routes);
        let target = service.targets.of(binding.ticket);
        // One that has moved has sent nothing in this session.
        let target = target.filter(|it| flow.is_some_and(|flow| flow.stamp == it.stamp));
        let target = target.ok_or(unmatched)?;
        match &service.config.method {
            ForwardingMethod::Nat => {
                let backend = target.backend_end(key.destination);
                let into = Translation::new(backend, key.source)
                    .sequence_shift(splice.backend_sequence.wrapping_neg());
                translate(packet, headers, found, &into)?;
                target.way.send(now, packet, &mut self.routes.links)
            }
            ForwardingMethod::FullNat(_) => {
                let flow = flow.ok_or(unmatched)?;
                let local = self.locals.answered_at(&flow, &key);
                let backend = target.backend_end(key.destination);
                let into = Translation::new(backend, local)
                    .from(local.ip())
                    .sequence_shift(splice.backend_sequence.wrapping_neg());
                translate(packet, headers, found, &into)?;
                target.way.send(now, packet, &mut self.routes.links)
            }
            // It goes the way of the client's packets.
            method => {
                let outward = Outward {
                    now,
                    tunnels: &mut self.tunnels,
                    outbox: &mut self.outbox,
                    links: &mut self.routes.links,
                    stats: &mut self.stats,
                    local: None,
                };
                send(packet, headers, method, target, outward)
            }
        }
    }

    /// A packet to the backend was not delivered.
    fn error_to_client(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (slot, found): (usize, &Embedded),
    ) -> Decided {
        let unmatched = DropReason::IcmpUnmatched;
        let id = self.table.at(slot).ok_or(unmatched)?;
        // As the client counts.
        let shift = unshifted(&self.splice_of(id), found.sequence);
        let sequence = found.sequence.map(|it| it.wrapping_add(shift));
        self.believe(id, Side::Client, sequence)?;
        let (key, _) = self.table.flow(id).ok_or(unmatched)?;
        let FlowKey {
            source,
            destination,
            ..
        } = key;
        let into = Translation::new(source, destination)
            .from(destination.ip())
            .sequence_shift(shift);
        translate(packet, headers, found, &into)?;
        let way = self.routes.way(now, source.ip());
        way.send(now, packet, &mut self.routes.links)
    }

    /// A tunnel did not deliver a client's packet: the client is told about its own packet, by the
    /// service.
    fn error_in_tunnel(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        (id, found): (SessionId, &Tunnelled),
    ) -> Decided {
        let unmatched = DropReason::IcmpUnmatched;
        self.believe(id, Side::Client, found.inner.sequence)?;
        let binding = self.table.binding(id).ok_or(unmatched)?;
        let service = self.services.at(number_of(binding)).ok_or(unmatched)?;
        let target = service.targets.of(binding.ticket).ok_or(unmatched)?;
        let ForwardingMethod::Tunnel(config) = &service.config.method else {
            return Err(unmatched);
        };
        let ours = config.kind == found.kind
            && config.is_source(found.source)
            && target.address.ip() == found.destination;
        if !ours {
            return Err(unmatched);
        }
        let FlowKey {
            source: client,
            destination: asked,
            ..
        } = found.inner.key;
        if found.refusal().is_none() {
            return Err(DropReason::Unsupported);
        }
        // What comes of it has new checksums, which say that it arrived as it was sent.
        let bytes = packet.bytes();
        let arrived = headers.header_checksum_is_right(bytes)
            && headers.checksum_is_right(bytes, Checksum::Complete);
        if !arrived {
            return Err(DropReason::BadChecksum);
        }
        if !self.icmp.allows_error(now, client.ip()) {
            return Err(DropReason::AnswerRate);
        }
        let own = self.icmp.source_for(asked.ip());
        found
            .answer(packet, headers, own)
            .map_err(|_| DropReason::Malformed)?;
        let way = self.routes.way(now, client.ip());
        way.send(now, packet, &mut self.routes.links)
    }

    /// What differs between the numbers of the two sides of a session.
    fn splice_of(&mut self, id: SessionId) -> Splice {
        let flow = self.flows.at(self.table.slot(id));
        let splice = flow.and_then(Flow::splice);
        let spliced = splice.and_then(|it| self.splices.at(it));
        spliced.map_or_else(Splice::default, |it| it.splice)
    }

    /// Whether `sender` can have sent a segment of this number lately (RFC 5927, section 4.1):
    /// whoever guesses the ends of a session does not know its sequence numbers.
    fn believe(
        &self,
        id: SessionId,
        sender: Side,
        sequence: Option<u32>,
    ) -> Result<(), DropReason> {
        let flow = self.flows.at(self.table.slot(id));
        match (flow, sequence) {
            (Some(flow), Some(sequence)) if !window::could_be(flow, sender, sequence) => {
                Err(DropReason::IcmpUnmatched)
            }
            _ => Ok(()),
        }
    }
}

/// What to add to a sequence number that the backend was sent, for the client: what stands before
/// the client's first byte is its first byte to it.
fn unshifted(splice: &Splice, sequence: Option<u32>) -> u32 {
    let behind = splice.client_sequence;
    match (splice.client_first, sequence) {
        (Some(first), Some(sequence)) if sequence.wrapping_sub(first) < behind => {
            first.wrapping_sub(sequence)
        }
        _ => behind.wrapping_neg(),
    }
}

/// Rewrites an error, as a router sends it on: a hop less to live.
fn translate(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    found: &Embedded,
    into: &Translation,
) -> Result<(), DropReason> {
    if headers.is_at_its_last_hop() {
        return Err(DropReason::HopLimit);
    }
    icmp::rewrite(packet.bytes_mut(), headers, found, into)?;
    rewrite::decrement_ttl(packet.bytes_mut(), headers).map_err(|_| DropReason::HopLimit)
}
