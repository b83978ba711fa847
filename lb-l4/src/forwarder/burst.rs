//! A burst of packets in three passes, so that their waits for memory overlap.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use lbcore::Instant;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::schedule::Scheduler;
use lbcore::session::SessionId;

use super::Forwarder;
use super::classifier::Classified;
use super::services::number_of;
use crate::packet::{DropReason, Packet, Verdict};
use crate::wire::{Body, Carries, Headers, arp, parse_into};

/// As many packets as are decided together: as many as a processor of today can have loads under
/// way for, and more.
pub(crate) const BURST: usize = 32;

/// What becomes of a packet: its verdict, or why it is dropped.
pub(crate) type Decided = Result<Verdict, DropReason>;

/// What the first pass has found out about each packet of a burst, and the second about its session.
#[derive(Debug)]
pub(crate) struct Scratch {
    works: Vec<Work>,
    clients: Keys,
    sessions: [Option<SessionId>; BURST],
    answers: Keys,
    slots: [Option<usize>; BURST],
}

/// The flows of a burst that are looked up together, written where they stand, as [`Work`] is.
#[derive(Debug)]
struct Keys {
    keys: Vec<FlowKey>,
    len: usize,
}

impl Keys {
    fn new() -> Self {
        let none = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        Self {
            keys: vec![FlowKey::new(Protocol::Tcp, none, none); BURST],
            len: 0,
        }
    }

    const fn nothing() -> Self {
        Self {
            keys: Vec::new(),
            len: 0,
        }
    }

    fn all(&self) -> &[FlowKey] {
        self.keys.get(..self.len).unwrap_or_default()
    }

    /// Adds the flow of a packet with these ports, and gives its place.
    #[inline(always)]
    fn add(&mut self, headers: &Headers, protocol: Protocol, [from, to]: [u16; 2]) -> usize {
        let at = self.len;
        if let Some(key) = self.keys.get_mut(at) {
            key.protocol = protocol;
            // Both families apart, so that neither is put together from parts in between.
            match (headers.source, headers.destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    key.source = SocketAddr::V4(SocketAddrV4::new(source, from));
                    key.destination = SocketAddr::V4(SocketAddrV4::new(destination, to));
                }
                (source, destination) => {
                    key.source = SocketAddr::new(source, from);
                    key.destination = SocketAddr::new(destination, to);
                }
            }
            self.len += 1;
        }
        at
    }
}

/// What a packet is to the forwarder.
///
/// Written field by field where it stands: a copy of what was just written in parts would wait for
/// those parts to leave the processor's store buffer.
#[derive(Clone, Copy, Debug)]
struct Work {
    kind: Kind,
    /// Those of the packet before it, where the kind has none.
    headers: Headers,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Perhaps from a backend; the number is its place among the answers.
    Answer(usize),
    /// About a link address.
    Arp(arp::Message),
    /// To a service; the number is its place among those of clients.
    Client(Classified, usize),
    /// To a service without sessions.
    Sessionless(Classified),
    /// Decided at sight.
    Settled(Decided),
    /// A fragment, ICMP, or a protocol that no service has.
    Special,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let blank = Work {
            kind: Kind::Settled(Ok(Verdict::Pass)),
            headers: Headers::blank(),
        };
        Self {
            works: vec![blank; BURST],
            clients: Keys::new(),
            sessions: [None; BURST],
            answers: Keys::new(),
            slots: [None; BURST],
        }
    }
}

impl<S: Scheduler> Forwarder<S> {
    pub(super) fn one_burst(&mut self, now: Instant, packets: &mut [Packet<'_>]) {
        self.burst += 1;
        self.has_ended = false;
        self.routes.refresh(now);
        let mut scratch = std::mem::replace(&mut self.scratch, Scratch::nothing());
        scratch.clear();
        let mut works = std::mem::take(&mut scratch.works);
        for (packet, work) in packets.iter().zip(&mut works) {
            self.read(packet, work, &mut scratch);
        }
        self.seek(&mut scratch);
        for (packet, work) in packets.iter_mut().zip(&mut works) {
            let decided = self.act(now, packet, work, &scratch);
            self.settle_verdict(packet, decided);
        }
        scratch.works = works;
        self.scratch = scratch;
        self.release(now);
    }

    /// Pass 1: what is it?
    #[inline(always)]
    fn read(&self, packet: &Packet<'_>, work: &mut Work, scratch: &mut Scratch) {
        work.kind = match parse_into(packet.bytes(), packet.link(), &mut work.headers) {
            Ok(Carries::Ip) => self.kind_of(packet, &work.headers, scratch),
            Ok(Carries::Arp(message)) => Kind::Arp(message),
            Ok(Carries::Other) => Kind::Settled(Ok(Verdict::Pass)),
            Err(error) => Kind::Settled(Err(error.reason())),
        };
    }

    #[inline(always)]
    fn kind_of(&self, packet: &Packet<'_>, headers: &Headers, scratch: &mut Scratch) -> Kind {
        if headers.fragment.is_some() {
            return Kind::Special;
        }
        let classifier = &self.services.classifier;
        let found = classifier.find(packet.firewall_mark(), headers);
        let (protocol, from, to) = match headers.body {
            Body::Tcp(tcp) => (Protocol::Tcp, tcp.source_port, tcp.destination_port),
            Body::Udp {
                source_port,
                destination_port,
                ..
            } => (Protocol::Udp, source_port, destination_port),
            Body::Sctp { .. } => return found.map_or(Kind::Special, Kind::Sessionless),
            _ => return Kind::Special,
        };
        let keys = match found {
            Some(_) => &mut scratch.clients,
            None => &mut scratch.answers,
        };
        let at = keys.add(headers, protocol, [from, to]);
        match found {
            Some(found) => Kind::Client(found, at),
            None => Kind::Answer(at),
        }
    }

    /// Pass 2: whose is it? Every line that the third pass will read is fetched.
    #[inline]
    fn seek(&self, scratch: &mut Scratch) {
        let Scratch {
            clients,
            sessions,
            answers,
            slots,
            ..
        } = scratch;
        let (clients, answers) = (clients.all(), answers.all());
        if !clients.is_empty() {
            let mut fetched = 0;
            self.table.lookup_batch_near(clients, sessions, |slot| {
                fetched ^= self.flows.fetch(slot);
            });
            black_box(fetched);
        }
        if !answers.is_empty() {
            let near = |slot| self.flows.fetch(slot) ^ self.table.fetch(slot);
            let is_it = |slot, key: &FlowKey| self.is_answer(slot, key);
            self.answers.find_batch(answers, slots, near, is_it);
        }
    }

    /// Whether an answer with these ends is of the session in `slot`.
    #[inline]
    pub(super) fn is_answer(&self, slot: usize, key: &FlowKey) -> bool {
        let agree = || {
            let id = self.table.at(slot)?;
            let (flow, state) = self.table.flow(id)?;
            let binding = self.table.binding(id)?;
            let service = self.services.at(number_of(binding))?;
            let target = service.targets.of(binding.ticket)?;
            let from = target.backend_end(flow.destination);
            let kept = self.flows.at(slot)?;
            Some(
                self.locals.answered_at(kept, &flow) == key.destination
                    && from == key.source
                    && state.protocol() == key.protocol,
            )
        };
        agree() == Some(true)
    }

    /// Pass 3: what becomes of it?
    #[inline(always)]
    fn act(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        work: &mut Work,
        scratch: &Scratch,
    ) -> Decided {
        let headers = &mut work.headers;
        match &work.kind {
            Kind::Client(classified, at) => {
                let key = scratch
                    .clients
                    .all()
                    .get(*at)
                    .ok_or(DropReason::Malformed)?;
                let found = scratch.sessions.get(*at).copied().flatten();
                self.client(now, packet, headers, (*classified, key), found)
            }
            Kind::Answer(at) => {
                let key = scratch
                    .answers
                    .all()
                    .get(*at)
                    .ok_or(DropReason::Malformed)?;
                let found = scratch.slots.get(*at).copied().flatten();
                self.answer(now, packet, headers, key, found)
            }
            Kind::Sessionless(classified) => {
                self.sessionless(now, packet, headers, classified.service)
            }
            Kind::Special => self.special(now, packet, headers),
            Kind::Arp(message) => self.arp(now, packet, message),
            Kind::Settled(decided) => *decided,
        }
    }

    #[inline(always)]
    fn settle_verdict(&mut self, packet: &mut Packet<'_>, decided: Decided) {
        let verdict = decided.unwrap_or_else(Verdict::Drop);
        let stats = &mut self.stats;
        stats.packets += 1;
        match verdict {
            Verdict::Drop(reason) => stats.dropped[reason as usize] += 1,
            Verdict::Forward(_) => stats.forwarded += 1,
            Verdict::Held => stats.held += 1,
            Verdict::Pass => stats.passed += 1,
            Verdict::Reply => stats.replied += 1,
        }
        packet.set_verdict(verdict);
    }
}

impl Scratch {
    /// What stands in for it while it is in use; takes no memory.
    const fn nothing() -> Self {
        Self {
            works: Vec::new(),
            clients: Keys::nothing(),
            sessions: [None; BURST],
            answers: Keys::nothing(),
            slots: [None; BURST],
        }
    }

    fn clear(&mut self) {
        self.clients.len = 0;
        self.answers.len = 0;
    }
}
