//! Questions, and what becomes of who is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbcore::Instant;

use super::table::State;
use super::{Neighbours, ndp};
use crate::wire::arp::{Message, Operation};
use crate::wire::ethernet::{self, Mac};

impl Neighbours {
    /// Begins to ask for one that is not in the table.
    pub(super) fn begin(&mut self, now: Instant, address: IpAddr) {
        if !is_station(address) || self.source_for(address).is_none() {
            self.stats.refused += 1;
            return;
        }
        let Some(place) = self.make(address) else {
            self.stats.refused += 1;
            return;
        };
        if let Some(entry) = self.table.entry_mut(place) {
            entry.used = now;
        }
        self.ask_all(now, place, 1);
    }

    /// A place for `address`, which has none, if need be another's.
    pub(super) fn make(&mut self, address: IpAddr) -> Option<usize> {
        if let Some(place) = self.table.insert(address) {
            return Some(place);
        }
        let victim = self.table.victim()?;
        self.drop_held(victim);
        let gone = self.table.remove(victim);
        // Whoever kept that nobody was known goes on to ask.
        let was_known = gone.is_some_and(|it| it.mac.is_some());
        self.version += u64::from(was_known);
        self.stats.evicted += 1;
        self.table.insert(address)
    }

    /// Asks all for one whose link address is not known, for the `asked`th time.
    pub(super) fn ask_all(&mut self, now: Instant, place: usize, asked: u8) {
        self.set(
            place,
            State::Incomplete { asked },
            now + self.config.retransmit,
        );
        self.ask(place, None);
    }

    /// Begins to ask whether what is known is still so: all if `wide`, else the neighbour.
    pub(super) fn probe(&mut self, now: Instant, place: usize, wide: bool) {
        let state = State::Probe { asked: 1, wide };
        self.set(place, state, now + self.config.retransmit);
        self.ask_known(place, wide);
    }

    fn ask_known(&mut self, place: usize, wide: bool) {
        let known = self.table.entry(place).and_then(|entry| entry.mac);
        self.ask(place, known.filter(|_| !wide));
    }

    /// The time of a state has come.
    pub(super) fn expire(&mut self, now: Instant, place: usize) {
        let Some(state) = self.table.entry(place).map(|entry| entry.state) else {
            return;
        };
        match state {
            State::Incomplete { asked } if asked < self.config.questions => {
                self.ask_all(now, place, asked + 1);
            }
            State::Incomplete { .. } => {
                self.drop_held(place);
                self.stats.failed += 1;
                self.set(place, State::Failed, now + self.config.negative);
            }
            State::Probe { asked, wide } if asked < self.config.questions => {
                let asked = asked + 1;
                let state = State::Probe { asked, wide };
                self.set(place, state, now + self.config.retransmit);
                self.ask_known(place, wide);
            }
            State::Probe { .. } => {
                if let Some(entry) = self.table.entry_mut(place) {
                    entry.mac = None;
                }
                self.version += 1;
                self.ask_all(now, place, 1);
            }
            State::Reachable if self.is_kept(now, place) => self.probe(now, place, false),
            State::Reachable => {
                // Who keeps answers asks again, and so tells that it is still used.
                self.version += 1;
                self.set(place, State::Stale, Instant::MAX);
            }
            State::Failed if self.is_kept(now, place) => {
                self.set(place, State::Absent, now + self.config.reachable);
            }
            State::Absent if self.is_kept(now, place) => self.ask_all(now, place, 1),
            State::Absent | State::Failed => {
                self.table.remove(place);
            }
            State::Fixed | State::Stale => {}
        }
    }

    fn is_kept(&self, now: Instant, place: usize) -> bool {
        self.table.entry(place).is_some_and(|it| now < it.kept)
    }

    /// Sets a state, and when it ends.
    pub(super) fn set(&mut self, place: usize, state: State, deadline: Instant) {
        self.table.set(place, state, deadline);
    }

    /// The link address of a neighbour is `mac`: what was held for it goes out.
    pub(super) fn know(&mut self, place: usize, mac: Mac) {
        let Some(entry) = self.table.entry_mut(place) else {
            return;
        };
        let before = entry.mac.replace(mac);
        let held = entry.held.take();
        if before != Some(mac) {
            self.version += 1;
            self.stats.changed += u64::from(before.is_some());
        }
        if let Some(held) = held {
            self.stats.held_bytes -= held.len();
            let mut frame = held.into_vec();
            if ethernet::set_addresses(&mut frame, mac, self.mac).is_some() {
                // Its room was seen to when it was held.
                self.outbox.push_back(frame);
            }
        }
    }

    /// Asks for a neighbour: `known` alone, or all.
    fn ask(&mut self, place: usize, known: Option<Mac>) {
        let Some(target) = self.table.entry(place).map(|entry| entry.address) else {
            return;
        };
        let frame = match (self.source_for(target), target) {
            (Some(IpAddr::V4(sender)), IpAddr::V4(target)) => {
                arp_question(self.mac, sender, known, target)
            }
            (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
                ndp::solicitation(self.mac, source, known, target)
            }
            _ => return,
        };
        self.stats.questions += 1;
        self.send(frame);
    }

    /// The own address to ask for `target` from: the nearest.
    fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let own = self.own.iter().copied();
        own.filter(|own| own.is_ipv4() == target.is_ipv4())
            .max_by_key(|&own| common_bits(own, target))
    }
}

/// Whether one station may have this address.
fn is_station(address: IpAddr) -> bool {
    let none = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !none && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// How many bits two addresses of a family have in common from the front.
fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// Who has `target`? To `known` alone if it is said, which RFC 1122, 2.3.2.1 calls a unicast poll.
fn arp_question(mac: Mac, sender: Ipv4Addr, known: Option<Mac>, target: Ipv4Addr) -> Vec<u8> {
    let message = Message {
        operation: Operation::Request,
        sender_mac: mac,
        sender,
        target_mac: Mac::default(),
        target,
    };
    arp_frame(known.unwrap_or(Mac::BROADCAST), &message)
}

/// The frame of a message from its sender.
pub(super) fn arp_frame(destination: Mac, message: &Message) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ethernet::HEADER + message.bytes().len());
    let header = ethernet::Header {
        destination,
        source: message.sender_mac,
        kind: ethernet::ARP,
        ..ethernet::Header::default()
    };
    header.emit(&mut frame);
    frame.extend_from_slice(&message.bytes());
    frame
}

/// The link address of a multicast address of IPv6 (RFC 2464, 7).
pub(super) const fn multicast_mac(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    Mac([0x33, 0x33, a, b, c, d])
}
