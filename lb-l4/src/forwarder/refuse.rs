//! What senders learn of packets that are not sent on.

use std::net::IpAddr;

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::schedule::Scheduler;
use lbcore::session::SessionTable;

use super::burst::Decided;
use super::client::{fits, room};
use super::services::number_of;
use super::{Forwarder, Unavailable};
use crate::icmp::Refusal;
use crate::method::nat;
use crate::packet::{DropReason, Packet, Verdict};
use crate::wire::Headers;

impl<S: Scheduler> Forwarder<S> {
    /// Passes a decision on; here the sender of a packet that is dropped is told why.
    ///
    /// The packet is as it came in when the reason is one that senders are told.
    #[inline]
    pub(super) fn refused(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        decided: Decided,
    ) -> Decided {
        match decided {
            Ok(_) => decided,
            Err(reason) => self.tell(now, packet, headers, reason),
        }
    }

    /// Tells the sender of a packet, in its buffer, why it is dropped; or cuts one that is too big
    /// and may be cut.
    #[cold]
    fn tell(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        reason: DropReason,
    ) -> Decided {
        let refusal = match reason {
            DropReason::BackendUnavailable if self.says_unavailable(packet, headers) => {
                Refusal::PortUnreachable
            }
            DropReason::HopLimit => Refusal::TimeExceeded,
            DropReason::TooBig => {
                let Some(key) = headers.flow() else {
                    return Err(reason);
                };
                let mtu = self.room(&key, headers);
                match (headers.dont_fragment, headers.fragment) {
                    (true, _) => {}
                    (false, None) => return self.cut(now, packet, headers, (&key, mtu)),
                    // Whoever knows the fragment cuts it.
                    (false, Some(_)) => return Err(reason),
                }
                Refusal::TooBig { mtu: mtu.into() }
            }
            _ => return Err(reason),
        };
        let own = self.answers_from(packet, headers);
        let verdict = self
            .icmp
            .refuse(now, packet, headers, (refusal, own), reason);
        if verdict == Verdict::Reply {
            self.stats.dropped[reason as usize] += 1;
        }
        Ok(verdict)
    }

    /// Whether clients of the service are told that no backend is there.
    fn says_unavailable(&self, packet: &Packet<'_>, headers: &Headers) -> bool {
        let mark = packet.firewall_mark();
        let found = self.services.classifier.find(mark, headers);
        let service = found.and_then(|it| self.services.at(it.service));
        service.is_some_and(|it| it.config.unavailable == Unavailable::Answer)
    }

    /// Our address toward the sender of a packet: the service's that it was sent to, else that of
    /// the interface that it came in by.
    pub(super) fn answers_from(&self, packet: &Packet<'_>, headers: &Headers) -> IpAddr {
        let asked = headers.destination;
        if self.services.classifier.has_address(asked) || self.locals.have(asked) {
            return asked;
        }
        let mut interfaces = self.routes.interfaces().iter();
        interfaces
            .find(|it| it.id == packet.interface())
            .and_then(|it| it.address_like(asked))
            .unwrap_or(asked)
    }

    /// Bytes of the largest packet of this flow that is not too big; `headers` are of one that is.
    pub(super) fn room(&self, key: &FlowKey, headers: &Headers) -> u16 {
        let client = self.table.lookup(key).and_then(|id| {
            let binding = self.table.binding(id)?;
            let service = self.services.at(number_of(binding))?;
            let target = service.targets.of(binding.ticket)?;
            Some(room(&service.config.method, target, key.source.ip()))
        });
        let answer = || {
            let slot = self.answer_slot(key)?;
            let (of, _) = self.table.flow(self.table.at(slot)?)?;
            Some(self.routes.mtu(of.source.ip()))
        };
        // Of a service without sessions: whichever of its backends it would go to.
        let any = || {
            let found = self.services.classifier.find(0, headers)?;
            let service = self.services.at(found.service)?;
            let targets = service.targets.iter();
            let method = &service.config.method;
            targets.map(|it| room(method, it, key.source.ip())).min()
        };
        let narrowest = || self.routes.interfaces().iter().map(|it| it.mtu).min();
        let session = client.or_else(answer);
        session.or_else(any).or_else(narrowest).unwrap_or(0)
    }

    /// A packet to no service, and of no session: the host's, or the answer to a datagram that was
    /// not remembered.
    #[inline]
    pub(super) fn unasked(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Decided {
        let first = *headers;
        self.unasked_part(now, packet, headers, &first)
    }

    /// A packet to a local port of `worker`, which has no session here. If the port is this worker's,
    /// the session is no more, and the sender learns so as from a host.
    #[cold]
    fn for_nobody(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        worker: u16,
    ) -> Decided {
        if worker != self.locals.worker() {
            return self.hand_over(packet, worker);
        }
        Ok(self.nobody_listens(now, packet, headers))
    }

    /// A packet to no service: the host's, unless the host does not have its address.
    fn unserved(&mut self, now: Instant, packet: &mut Packet<'_>, headers: &Headers) -> Verdict {
        let refuses = self.refuses_unserved;
        if refuses && self.services.classifier.has_single(headers.destination) {
            return self.nobody_listens(now, packet, headers);
        }
        Verdict::Pass
    }

    /// Tells the sender that its port has nobody, as a host does.
    #[cold]
    fn nobody_listens(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
    ) -> Verdict {
        let reason = DropReason::NoSession;
        let refusal = (Refusal::PortUnreachable, headers.destination);
        let verdict = self.icmp.refuse(now, packet, headers, refusal, reason);
        if verdict == Verdict::Reply {
            self.stats.dropped[reason as usize] += 1;
        }
        verdict
    }

    /// As [`unasked`](Self::unasked), of a packet whose ports are in `first`.
    pub(super) fn unasked_part(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        first: &Headers,
    ) -> Decided {
        if let Some(worker) = self.locals.owner(first.destination_end()) {
            return self.for_nobody(now, packet, headers, worker);
        }
        let Some((number, end)) = self.services.end_without_session(first) else {
            return Ok(self.unserved(now, packet, headers));
        };
        let way = self.routes.way(now, headers.destination);
        let len = (headers.end - headers.network) as u64;
        fits(packet, headers, way.mtu)?;
        nat::to_client(packet, headers, end)?;
        let verdict = way.send(now, packet, &mut self.routes.links)?;
        if let Some(service) = self.services.at_mut(number) {
            service.stats.packets_out += 1;
            service.stats.bytes_out += len;
        }
        Ok(verdict)
    }
}
