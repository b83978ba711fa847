//! What is kept in mind of the walk, and held against what the forwarder does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use lb_l4::method::tunnel::decapsulate;
use lb_l4::packet::{Checksum, DropReason, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::{Body, Headers};
use lbcore::backend::Admin;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::session::{Class, Cursor, Session, SessionId, SessionTable, State};
use lbcore::{BackendId, Instant};

use super::packets::{headers, ip_of};
use super::world::{MOST, World};

#[derive(Default)]
pub(super) struct Judge {
    /// Where the packets of each session go.
    placed: HashMap<SessionId, Placed>,
    /// What backends have seen lately: their end, the client's, and whether by TCP.
    recent: VecDeque<(SocketAddr, SocketAddr, bool)>,
    /// Whether a pool or the services have changed yet.
    has_changed: bool,
    /// Packets shown, by what became of them.
    shown: u64,
    forwarded: u64,
    replied: u64,
    held: u64,
    passed: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// Where the packets of a session go, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Placed {
    to: Place,
    service: String,
    backend: BackendId,
    address: Option<SocketAddr>,
    /// Its backend or its service has become another one since.
    moved: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Place {
    /// To this end, as NAT writes it.
    End(SocketAddr),
    /// To the neighbour with this last byte of its link address, as it is.
    Link(u8),
    /// Inside of a packet to this address.
    Outer(IpAddr),
}

/// What a packet finds before it is shown.
struct Found {
    id: SessionId,
    session: Session,
    placed: Option<Placed>,
    /// Whether its backend still serves it.
    is_served: bool,
}

impl Judge {
    /// Shows a frame, and judges what becomes of it.
    pub(super) fn packet(
        &mut self,
        world: &mut World,
        frame: &[u8],
        mark: u32,
    ) -> (Verdict, Vec<u8>) {
        let read = ip_of(frame).and_then(headers);
        let key = read.as_ref().and_then(Headers::flow);
        let before = key.and_then(|key| self.found(world, &key));
        let (verdict, bytes) = world.packet(frame, mark);
        self.count(verdict);
        match verdict {
            Verdict::Forward(interface) => {
                assert_eq!(interface, InterfaceId(0));
                same_rightness(frame, &bytes);
            }
            // An echo reply is as wrong as the request was.
            Verdict::Reply => assert!(is_right(&bytes) || !is_right(frame), "{bytes:02x?}"),
            Verdict::Pass => assert_eq!(bytes, frame, "what is passed is as it came"),
            _ => {}
        }
        if let (Some(read), Some(key)) = (&read, key) {
            self.of_flow(world, (read, &key, before), verdict, &bytes);
        }
        (verdict, bytes)
    }

    fn found(&self, world: &World, key: &FlowKey) -> Option<Found> {
        let table = world.forwarder.sessions();
        let id = table.lookup(key)?;
        let session = table.session(id)?;
        let placed = self.placed.get(&id).cloned();
        let is_served = placed.as_ref().is_some_and(|placed| {
            let known = world.backend(placed.backend);
            !placed.moved && known.is_some_and(|it| it.admin != Admin::Maintenance)
        });
        Some(Found {
            id,
            session,
            placed,
            is_served,
        })
    }

    fn of_flow(
        &mut self,
        world: &World,
        (read, key, before): (&Headers, &FlowKey, Option<Found>),
        verdict: Verdict,
        bytes: &[u8],
    ) {
        let after = world.forwarder.sessions().lookup(key);
        let syn = matches!(read.body, Body::Tcp(tcp) if tcp.is_first_syn());
        if let Some(found) = &before {
            let begins = syn && may_begin_anew(found.session.state);
            let proxied = found
                .placed
                .as_ref()
                .is_none_or(|it| it.service == "proxied");
            if found.is_served && !begins && !proxied {
                assert_eq!(after, Some(found.id), "{key:?} lost {:?}", found.session);
            }
        }
        if !matches!(verdict, Verdict::Forward(_)) {
            return;
        }
        if let Some(id) = after.or_else(|| before.as_ref().map(|it| it.id)) {
            let before = before.filter(|it| it.id == id).and_then(|it| it.placed);
            self.onward(world, (key, id), before, bytes);
        } else if !self.one_packet(read, bytes) {
            self.answered(world, read, bytes);
        }
    }

    /// A packet of a session went out.
    fn onward(
        &mut self,
        world: &World,
        (key, id): (&FlowKey, SessionId),
        before: Option<Placed>,
        bytes: &[u8],
    ) {
        let Some(session) = world.forwarder.sessions().session(id) else {
            // The packet has ended it, and went where those before it did.
            if let Some(before) = before.filter(|it| !it.moved) {
                assert_eq!(place(bytes, &before.service, key), before.to);
            }
            return;
        };
        let replica = world.forwarder.replica(world.now, &session);
        let Some(replica) = replica else {
            let before = before.expect("who places a session knows its backend");
            assert_eq!(place(bytes, &before.service, key), before.to);
            return;
        };
        let placed = Placed {
            to: place(bytes, &replica.service, key),
            service: replica.service.to_string(),
            backend: replica.backend,
            address: world.address_of(replica.backend),
            moved: false,
        };
        if let Place::End(end) = placed.to {
            let seen = ip_of(bytes).and_then(headers).unwrap().source_end();
            self.saw(end, seen, key.protocol == Protocol::Tcp);
        }
        if let Some(before) = before.filter(|it| !it.moved) {
            assert_eq!(placed, before, "{key:?} goes elsewhere");
        }
        self.placed.insert(id, placed);
    }

    /// Whether a packet of the service without sessions went out, which must be to its backends; or
    /// came back from them, which must be from its end.
    fn one_packet(&mut self, read: &Headers, bytes: &[u8]) -> bool {
        let out = ip_of(bytes).and_then(headers).unwrap();
        let service: SocketAddr = "203.0.113.13:53".parse().unwrap();
        let ends = [[10, 0, 0, 20], [10, 0, 0, 21]].map(IpAddr::from);
        let ours = |end: SocketAddr| ends.contains(&end.ip());
        if read.destination_end() == service {
            assert!(ours(out.destination_end()));
            assert_eq!(out.source_end(), read.source_end());
            self.saw(out.destination_end(), out.source_end(), false);
            return true;
        }
        if ours(read.source_end()) {
            assert_eq!(out.source_end(), service);
            assert_eq!(out.destination_end(), read.destination_end());
            return true;
        }
        false
    }

    /// An answer went out.
    fn answered(&self, world: &World, read: &Headers, bytes: &[u8]) {
        let out = ip_of(bytes).and_then(headers).unwrap();
        let protocol = out.flow().unwrap().protocol;
        let asked = FlowKey::new(protocol, out.destination_end(), out.source_end());
        let client = world.forwarder.local_end_of(&asked).unwrap_or(asked.source);
        assert_eq!(read.destination_end(), client, "another's answer");
        let table = world.forwarder.sessions();
        // A backend's refusal ends a session that was proxied; it was the last of its answers.
        let Some(id) = table.lookup(&asked) else {
            assert_eq!(asked.destination, "203.0.113.14:80".parse().unwrap());
            return;
        };
        match self.placed.get(&id) {
            Some(placed) if placed.moved => {}
            Some(placed) => {
                let from = Place::End(read.source_end());
                assert_eq!(placed.to, from, "of another backend");
            }
            // Nobody has seen where its packets go, as its first one was refused, or a SYN was sent
            // by a proxy. Its backend may have moved since.
            None if self.has_changed => {}
            None => {
                let session = table.session(id).unwrap();
                let replica = world.forwarder.replica(world.now, &session).unwrap();
                let ip = world.address_of(replica.backend).map(|it| it.ip());
                assert_eq!(ip, Some(read.source), "of another backend");
            }
        }
    }

    fn saw(&mut self, backend: SocketAddr, client: SocketAddr, tcp: bool) {
        self.recent.push_front((backend, client, tcp));
        self.recent.truncate(8);
    }

    /// Whom a backend could answer.
    pub(super) fn recent(&self, ago: usize) -> Option<(SocketAddr, SocketAddr, bool)> {
        self.recent.get(ago % self.recent.len().max(1)).copied()
    }

    /// A packet of the forwarder's own.
    pub(super) fn own(&mut self, frame: &[u8]) {
        // A fragment that was held is as wrong as it came.
        let part = ip_of(frame).and_then(headers);
        if part.is_none_or(|it| it.fragment.is_none()) {
            all_right(frame);
        }
        let Some(read) = ip_of(frame).and_then(headers) else {
            return;
        };
        if let Body::Tcp(tcp) = read.body
            && read.destination.is_ipv4()
            && tcp.is_first_syn()
        {
            self.saw(read.destination_end(), read.source_end(), true);
        }
    }

    /// Sessions whose backend or service is another one from here on may go elsewhere.
    pub(super) fn forget_what_moved(&mut self, world: &World) {
        self.has_changed = true;
        for placed in self.placed.values_mut() {
            let known = world.forwarder.service_stats(&placed.service).is_some();
            let address = world.address_of(placed.backend);
            placed.moved |= address != placed.address || address.is_none() || !known;
        }
    }

    fn count(&mut self, verdict: Verdict) {
        self.shown += 1;
        match verdict {
            Verdict::Drop(reason) => self.dropped[reason as usize] += 1,
            Verdict::Forward(_) => self.forwarded += 1,
            Verdict::Held => self.held += 1,
            Verdict::Pass => self.passed += 1,
            Verdict::Reply => self.replied += 1,
            other => panic!("a verdict that is not counted: {other:?}"),
        }
    }

    /// Whether everything is counted, once.
    pub(super) fn counts(&mut self, world: &World) {
        let stats = world.forwarder.stats();
        let verdicts = [stats.forwarded, stats.replied, stats.held, stats.passed];
        assert_eq!(
            verdicts,
            [self.forwarded, self.replied, self.held, self.passed]
        );
        let dropped: u64 = self.dropped.iter().sum();
        assert_eq!(stats.packets, self.shown);
        assert_eq!(stats.packets, verdicts.iter().sum::<u64>() + dropped);
        for reason in DropReason::ALL {
            // More: those refused with an answer, those of our own, and those held and discarded.
            let seen = self.dropped[reason as usize];
            assert!(stats.dropped_for(reason) >= seen, "{}", reason.as_str());
        }
        let table = world.forwarder.sessions();
        let mut by_backend: HashMap<BackendId, u64> = HashMap::new();
        let (mut walked, mut limited, mut families) = (0, 0, [0; 2]);
        let mut locals = HashSet::new();
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            cursor = table.walk(at, 7, |id, session| {
                walked += 1;
                families[usize::from(session.key.source.is_ipv6())] += 1;
                if let Some(replica) = world.forwarder.replica(world.now, session) {
                    *by_backend.entry(replica.backend).or_default() += 1;
                    limited += u32::from(&*replica.service == "placed");
                    if let Some(local) = replica.local {
                        let backend = self.placed.get(&id).map(|it| it.to);
                        let ends = (session.key.protocol, backend, local);
                        assert!(
                            backend.is_none() || locals.insert(ends),
                            "{ends:?} is shared"
                        );
                    }
                }
            });
        }
        assert_eq!((walked, table.len()), (stats.sessions, stats.sessions));
        assert!(families.iter().all(|it| *it <= MOST), "{families:?}");
        for backend in world.pools.iter().flat_map(lbcore::Pool::stats) {
            let sessions = by_backend.get(&backend.backend.id).copied();
            assert_eq!(
                backend.in_flight(),
                sessions.unwrap_or(0),
                "of {}",
                backend.backend.name
            );
        }
        assert!(world.limits.stats().in_flight >= limited);
        let table = world.forwarder.sessions();
        self.placed.retain(|id, _| table.session(*id).is_some());
    }

    pub(super) fn nothing_is_left(&self, world: &World) {
        let stats = world.forwarder.stats();
        assert_eq!(stats.sessions, 0);
        assert_eq!(
            (stats.fragments.datagrams, stats.fragments.held_bytes),
            (0, 0)
        );
        assert_eq!(world.forwarder.syn_proxy_stats().half_open, 0);
        assert_eq!(world.limits.stats().in_flight, 0);
        let ports = stats.local_ports;
        assert_eq!((ports.taken, ports.resting), (0, 0));
        for backend in world.pools.iter().flat_map(lbcore::Pool::stats) {
            assert_eq!(backend.in_flight(), 0);
        }
        assert_eq!(world.forwarder.poll_timeout(), None::<Instant>);
    }
}

/// Whether a SYN on a session in this state may end it; where answers are not seen, also once the
/// client has closed.
fn may_begin_anew(state: State) -> bool {
    state.class() == Class::Closing || matches!(state, State::Rejected | State::FinWait)
}

/// Where a packet of a session of `service` went.
fn place(frame: &[u8], service: &str, key: &FlowKey) -> Place {
    let read = ip_of(frame).and_then(headers).unwrap();
    match service {
        "routed" => {
            assert_eq!(read.destination_end(), key.destination);
            Place::Link(frame[5])
        }
        "tunnelled" => Place::Outer(read.destination),
        _ => Place::End(read.destination_end()),
    }
}

/// Whether the checksums of a frame are right, those of what is inside of a tunnel too.
fn is_right(frame: &[u8]) -> bool {
    let Some(packet) = ip_of(frame) else {
        return true;
    };
    let Some(read) = headers(packet) else {
        return false;
    };
    let right =
        read.header_checksum_is_right(packet) && read.checksum_is_right(packet, Checksum::Complete);
    if !right || ![4, 41].contains(&read.protocol) {
        return right;
    }
    let mut buffer = packet.to_vec();
    let end = buffer.len();
    let mut inside = Packet::new(&mut buffer, 0..end, Link::Ip);
    if decapsulate(&mut inside, &read, None).is_err() {
        return true;
    }
    let inner = inside.bytes();
    headers(inner).is_some_and(|read| {
        read.header_checksum_is_right(inner) && read.checksum_is_right(inner, Checksum::Complete)
    })
}

#[track_caller]
fn all_right(frame: &[u8]) {
    assert!(is_right(frame), "{frame:02x?}");
}

/// What came in right goes out right, and what was wrong stays wrong.
fn same_rightness(came: &[u8], went: &[u8]) {
    assert_eq!(
        is_right(went),
        is_right(came),
        "{came:02x?} became {went:02x?}"
    );
}
