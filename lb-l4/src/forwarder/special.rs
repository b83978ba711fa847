//! Packets that are none of a session's: each kind has its place here, or is left to the host.

use lbcore::Instant;
use lbcore::schedule::Scheduler;

use super::Forwarder;
use super::burst::Decided;
use crate::neighbour::ndp;
use crate::packet::{Packet, Verdict};
use crate::wire::{Body, Frame, Headers, arp};

impl<S: Scheduler> Forwarder<S> {
    /// A fragment, ICMP, or a protocol that no service has.
    #[cold]
    pub(super) fn special(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Decided {
        if headers.fragment.is_some() {
            return self.fragment(now, packet, headers);
        }
        if ndp::is_message(headers) {
            if ndp::is_advertisement(headers) {
                self.share(packet);
            }
            let verdict = self.routes.links.handle(now, packet, &Frame::Ip(*headers));
            return Ok(verdict.unwrap_or(Verdict::Pass));
        }
        match headers.body {
            Body::Icmp { .. } => self.icmp(now, packet, headers),
            _ => Ok(Verdict::Pass),
        }
    }

    /// A question or an answer about a link address.
    pub(super) fn arp(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        message: &arp::Message,
    ) -> Decided {
        // An announcement is a question of its sender about itself (RFC 5227, 3).
        if message.operation == arp::Operation::Reply || message.sender == message.target {
            self.share(packet);
        }
        let frame = Frame::Arp(*message);
        let verdict = self.routes.links.handle(now, packet, &frame);
        Ok(verdict.unwrap_or(Verdict::Pass))
    }
}
