//! Fragments: each goes where its first one does; and packets that have to be cut.

use std::collections::HashSet;
use std::net::IpAddr;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::Scheduler;
use lbcore::session::SessionTable;
use lbcore::{Instant, Ticket};

use super::burst::Decided;
use super::client::Onward;
use super::services::Services;
use super::{Forwarder, Scheduling};
use crate::fragment::{
    FragmentConfig, FragmentStats, FragmentTable, Fragmented, Piece, Subject, set_identification,
    split,
};
use crate::packet::{DropReason, Packet, Verdict};
use crate::wire::{Body, Frame, Headers, parse};

/// What is known of fragments, and whose are of interest.
#[derive(Debug)]
pub(crate) struct Fragments {
    table: FragmentTable,
    /// Where answers come from.
    backends: HashSet<IpAddr>,
    /// Which versions of the services' backends these are, and the burst they were compared in.
    made_from: Option<u64>,
    looked: u64,
    /// Where fragments that were held are worked on.
    buffer: Vec<u8>,
}

impl Fragments {
    pub(crate) fn new(config: FragmentConfig, hash: &HashKey) -> Self {
        let seed = config.seed ^ hash.sip13(b"fragments");
        Self {
            table: FragmentTable::new(config.seed(seed)),
            backends: HashSet::new(),
            made_from: None,
            looked: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn stats(&self) -> FragmentStats {
        self.table.stats()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.table.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.table.poll_timeout()
    }

    /// Whether a backend has this address; looks for changes once a burst.
    fn has_backend<S: Scheduler>(
        &mut self,
        services: &Services<S>,
        burst: u64,
        address: IpAddr,
    ) -> bool {
        if self.looked != burst {
            self.looked = burst;
            let versions = services.iter().fold(0_u64, |all, (number, it)| {
                let version = it.targets.version().wrapping_add(number.into());
                all.rotate_left(9).wrapping_mul(31).wrapping_add(version)
            });
            if self.made_from != Some(versions) {
                self.made_from = Some(versions);
                let ends = services.iter().flat_map(|(_, it)| it.targets.ends());
                self.backends = ends.map(|end| end.ip()).collect();
            }
        }
        self.backends.contains(&address)
    }
}

impl<S: Scheduler> Forwarder<S> {
    /// A part of a packet.
    ///
    /// Those that are to no service and from no backend are the host's, and nothing is kept of them.
    pub(super) fn fragment(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Decided {
        let classifier = &self.services.classifier;
        let ours = classifier.find(packet.firewall_mark(), headers).is_some()
            || classifier.has_address(headers.destination)
            || self
                .fragments
                .has_backend(&self.services, self.burst, headers.source);
        if !ours {
            return Ok(Verdict::Pass);
        }
        match self.fragments.table.handle(now, packet, headers) {
            // A protocol that is not forwarded: the host's, as the whole packet would be.
            Fragmented::Drop(DropReason::Unsupported) => Ok(Verdict::Pass),
            Fragmented::Drop(reason) => Err(reason),
            Fragmented::Held => Ok(Verdict::Held),
            Fragmented::Flow(piece) => {
                let decided = self.known_fragment(now, packet, headers, piece);
                self.cut_fragment(now, packet, headers, piece, decided)
            }
        }
    }

    /// A fragment whose first one is known: a packet of that flow.
    fn known_fragment(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        piece: Piece,
    ) -> Decided {
        let source = headers.source;
        let decided = match piece.subject {
            Subject::Echo => self.echo(now, packet, headers),
            Subject::Flow(key) if headers.is_later_fragment() => {
                self.later_fragment(now, packet, headers, (&key, piece.tag))
            }
            Subject::Flow(key) => self.first_fragment(now, packet, headers, &key),
        };
        // From now on it shares its source with datagrams of others, which may have its
        // identification (RFC 6864).
        if headers.source != source && matches!(decided, Ok(Verdict::Forward(_))) {
            set_identification(packet.bytes_mut(), headers, piece.identification);
        }
        decided
    }

    fn first_fragment(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        key: &FlowKey,
    ) -> Decided {
        let classifier = &self.services.classifier;
        let Some(found) = classifier.find(packet.firewall_mark(), headers) else {
            return self.answer(now, packet, headers, key, None);
        };
        if !self.is_one_packet(found.service, headers) {
            return self.client(now, packet, headers, (found, key), None);
        }
        // No session will tell the later ones where this one went.
        let before = *headers;
        let decided = self.pass_through(now, packet, headers, (found.service, None));
        if let Ok((_, ticket)) = decided {
            self.fragments.table.learn(&before, ticket.to_bits());
        }
        self.refused(now, packet, headers, decided.map(|(verdict, _)| verdict))
    }

    fn later_fragment(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (key, tag): (&FlowKey, Option<u64>),
    ) -> Decided {
        if let Some(id) = self.table.lookup(key) {
            return match self.onward(now, packet, headers, id) {
                Onward::Decided(decided) => decided,
                // A later fragment begins no session.
                Onward::Ended => Err(DropReason::NoSession),
            };
        }
        if let Some(slot) = self.answer_slot(key) {
            return self.back(now, packet, headers, slot);
        }
        let first = with_ports(headers, key);
        let classifier = &self.services.classifier;
        match (classifier.find(packet.firewall_mark(), &first), tag) {
            (Some(found), Some(bits)) => {
                let placed = (found.service, Some(Ticket::from_bits(bits)));
                let decided = self.pass_through(now, packet, headers, placed);
                decided.map(|(verdict, _)| verdict)
            }
            (Some(_), None) => Err(DropReason::NoSession),
            (None, _) => self.unasked_part(now, packet, headers, &first),
        }
    }

    fn is_one_packet(&self, number: u16, headers: &Headers) -> bool {
        let service = self.services.at(number);
        let one_packet = service.is_some_and(|it| it.config.scheduling == Scheduling::OnePacket);
        one_packet && matches!(headers.body, Body::Udp { .. })
    }

    /// Fragments that were held and whose first one has come since, and their queue to be sent.
    #[inline]
    pub(super) fn release(&mut self, now: Instant) {
        while let Some(released) = self.fragments.table.poll_released() {
            let mut buffer = std::mem::take(&mut self.fragments.buffer);
            buffer.clear();
            buffer.resize(ROOM, 0);
            buffer.extend_from_slice(&released.bytes);
            let range = ROOM..buffer.len();
            let mut packet = Packet::new(&mut buffer, range, released.link)
                .on(released.interface)
                .mark(released.mark);
            self.send_piece(now, &mut packet, released.piece);
            self.fragments.buffer = buffer;
        }
    }

    /// Decides over a fragment that is the forwarder's to send, and queues it.
    fn send_piece(&mut self, now: Instant, packet: &mut Packet<'_>, piece: Piece) {
        let decided = match parse(packet.bytes(), packet.link()) {
            Ok(Frame::Ip(mut headers)) => self.known_fragment(now, packet, &mut headers, piece),
            _ => Err(DropReason::Malformed),
        };
        let sent = match decided {
            Ok(Verdict::Forward(out)) => self.outbox.push_frame(out, packet.bytes()),
            Ok(Verdict::Reply) => self.outbox.push_frame(packet.interface(), packet.bytes()),
            // Whoever holds it now sends it.
            Ok(Verdict::Held) => return,
            // It is too late to leave it to the host.
            Ok(_) => return self.count(DropReason::FragmentUnmatched),
            Err(reason) => return self.count(reason),
        };
        if sent {
            self.stats.transmitted += 1;
        } else {
            self.count(DropReason::QueueFull);
        }
    }

    const fn count(&mut self, reason: DropReason) {
        self.stats.dropped[reason as usize] += 1;
    }

    /// Cuts a packet into fragments of at most `mtu` bytes, and queues them.
    ///
    /// It is cut before it is encapsulated, so that no backend has to reassemble outer packets
    /// (RFC 2003, section 3.1).
    pub(super) fn cut(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        headers: &Headers,
        (key, mtu): (&FlowKey, u16),
    ) -> Decided {
        let piece = Piece {
            subject: Subject::Flow(*key),
            identification: self.fragments.table.fresh_identification(),
            tag: None,
        };
        self.cut_into(now, packet, headers, (piece, mtu))
    }

    /// As [`cut`](Self::cut), of a fragment that was too big.
    fn cut_fragment(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        headers: &Headers,
        piece: Piece,
        decided: Decided,
    ) -> Decided {
        match (decided, piece.subject) {
            (Err(DropReason::TooBig), Subject::Flow(key)) if !headers.dont_fragment => {
                let mtu = self.room(&key, headers);
                self.cut_into(now, packet, headers, (piece, mtu))
            }
            _ => decided,
        }
    }

    fn cut_into(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        headers: &Headers,
        (piece, mtu): (Piece, u16),
    ) -> Decided {
        let mut parts = Vec::new();
        let done = split(packet, headers, mtu.into(), |part| {
            let mut buffer = vec![0; ROOM];
            buffer.extend_from_slice(part);
            parts.push(buffer);
        });
        if done.is_err() {
            return Err(DropReason::TooBig);
        }
        for mut part in parts {
            let range = ROOM..part.len();
            let mut part = Packet::new(&mut part, range, packet.link())
                .on(packet.interface())
                .mark(packet.firewall_mark());
            self.send_piece(now, &mut part, piece);
        }
        Ok(Verdict::Held)
    }
}

/// The headers of a later fragment with the ports of its first: to classify it by, and not to
/// rewrite it by.
fn with_ports(headers: &Headers, key: &FlowKey) -> Headers {
    let mut first = *headers;
    let (source_port, destination_port) = (key.source.port(), key.destination.port());
    first.body = match key.protocol {
        // Only the ports count, and SCTP has nothing else.
        Protocol::Tcp => Body::Sctp {
            source_port,
            destination_port,
        },
        _ => Body::Udp {
            source_port,
            destination_port,
            length: u16::MAX,
        },
    };
    first
}

/// Room before each fragment, for all that a method may put there.
const ROOM: usize = 192;
