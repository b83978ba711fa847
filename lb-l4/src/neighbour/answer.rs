//! Messages of others: answers to what was asked, questions about what is owned, and claims.

use std::net::{IpAddr, Ipv6Addr};

use lbcore::Instant;

use super::Neighbours;
use super::ndp::{self, Answer};
use super::table::State;
use crate::packet::{Link, Packet, Verdict};
use crate::wire::arp::{self, Operation};
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Frame, Headers};

impl Neighbours {
    /// Sees a message about link addresses, and says what becomes of its packet; `None` if it is
    /// none.
    ///
    /// A question about an address of ours becomes its answer, in place, with the VLAN tags that it
    /// came with: [`Verdict::Reply`]. If there is no room for that, the answer is left to
    /// [`poll_transmit`](Self::poll_transmit), and the verdict is [`Verdict::Held`]. Everything else
    /// is the host's to see too: [`Verdict::Pass`].
    pub fn handle(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        frame: &Frame,
    ) -> Option<Verdict> {
        if packet.link() != Link::Ethernet {
            return None;
        }
        match frame {
            Frame::Arp(message) => Some(match self.handle_arp(now, message) {
                Some(answer) => self.reply_arp(packet, &answer),
                None => Verdict::Pass,
            }),
            Frame::Ip(headers) if ndp::is_message(headers) => {
                Some(match self.handle_ndp(now, packet.bytes(), headers) {
                    Some(answer) => self.reply_ndp(packet, &answer),
                    None => Verdict::Pass,
                })
            }
            _ => None,
        }
    }

    /// Learns from an ARP message, and gives the answer if it is a question about an address of
    /// ours.
    pub fn handle_arp(&mut self, now: Instant, message: &arp::Message) -> Option<arp::Message> {
        let arp::Message {
            sender_mac, sender, ..
        } = *message;
        // A group has no address of its own, and what comes from ourselves was looped back.
        if sender_mac.is_multicast() || sender_mac == self.mac {
            return None;
        }
        let from = IpAddr::V4(sender);
        if self.answers(from) {
            self.stats.conflicts += 1;
            return None;
        }
        let for_us = message.target_mac == self.mac;
        if message.operation == Operation::Reply && for_us && self.is_asked(from) {
            self.learn(now, from, sender_mac);
        } else {
            self.claim(now, from, sender_mac);
        }
        if message.operation == Operation::Reply || !self.answers(message.target.into()) {
            return None;
        }
        self.stats.answers += 1;
        Some(arp::Message {
            operation: Operation::Reply,
            sender_mac: self.mac,
            sender: message.target,
            target_mac: sender_mac,
            target: sender,
        })
    }

    /// As [`handle_arp`](Self::handle_arp), for a message of neighbour discovery.
    fn handle_ndp(&mut self, now: Instant, bytes: &[u8], headers: &Headers) -> Option<Answer> {
        let Ok(message) = ndp::Message::parse(bytes, headers) else {
            self.stats.malformed += 1;
            return None;
        };
        let from = ethernet::Header::parse(bytes)?.source;
        if from == self.mac {
            return None;
        }
        match message {
            ndp::Message::Solicitation { target, source_mac } => {
                self.handle_solicitation(now, headers.source, from, target, source_mac)
            }
            ndp::Message::Advertisement {
                target,
                mac,
                solicited,
                overrides,
            } => {
                self.handle_advertisement(now, target, mac, solicited, overrides);
                None
            }
        }
    }

    fn handle_solicitation(
        &mut self,
        now: Instant,
        source: IpAddr,
        from: Mac,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
    ) -> Option<Answer> {
        if let Some(mac) = source_mac {
            self.claim(now, source, mac);
        }
        if !self.answers(target.into()) {
            return None;
        }
        self.stats.answers += 1;
        // Who only asks whether the address is taken has none itself: all are told.
        let to = match source {
            IpAddr::V6(source) if !source.is_unspecified() => {
                Some((source, source_mac.unwrap_or(from)))
            }
            _ => None,
        };
        Some(Answer { target, to })
    }

    fn handle_advertisement(
        &mut self,
        now: Instant,
        target: Ipv6Addr,
        mac: Option<Mac>,
        solicited: bool,
        overrides: bool,
    ) {
        let address = IpAddr::V6(target);
        if self.answers(address) {
            self.stats.conflicts += 1;
            return;
        }
        let known = self.mac_of(address);
        // RFC 4861, 7.2.5: without the option it is who is known already; while nobody is known, it
        // is of no use.
        let Some(mac) = mac.or(known) else { return };
        let other = known.is_some_and(|known| known != mac);
        if self.is_asked(address) && (solicited || known.is_none()) && (overrides || !other) {
            self.learn(now, address, mac);
        } else {
            self.claim(now, address, mac);
        }
    }

    /// Whether a question about `address` is open.
    fn is_asked(&self, address: IpAddr) -> bool {
        let entry = self.table.find(address).and_then(|it| self.table.entry(it));
        entry.is_some_and(|entry| {
            matches!(entry.state, State::Incomplete { .. } | State::Probe { .. })
        })
    }

    fn mac_of(&self, address: IpAddr) -> Option<Mac> {
        self.table.entry(self.table.find(address)?)?.mac
    }

    /// The answer to a question of ours.
    fn learn(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        if let Some(place) = self.table.find(address) {
            self.set(place, State::Reachable, now + self.config.reachable);
            self.know(place, mac);
            self.stats.learned += 1;
        }
    }

    /// What somebody says without being asked: where it contradicts what is known, or says that one
    /// is there who did not answer, all are asked.
    fn claim(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        let Some(place) = self.table.find(address) else {
            return;
        };
        let pause = self.config.retransmit;
        let Some(entry) = self.table.entry_mut(place) else {
            return;
        };
        let absent = matches!(entry.state, State::Absent | State::Failed);
        if !absent && entry.mac.is_none_or(|known| known == mac) {
            return;
        }
        self.stats.claims += 1;
        let recent = entry.verified.is_some_and(|it| now.since(it) < pause);
        let asked = matches!(entry.state, State::Fixed | State::Probe { wide: true, .. });
        if recent || asked {
            return;
        }
        entry.verified = Some(now);
        if absent {
            self.ask_all(now, place, 1);
        } else {
            self.probe(now, place, true);
        }
    }

    /// Makes the packet of a question its answer.
    fn reply_arp(&mut self, packet: &mut Packet<'_>, answer: &arp::Message) -> Verdict {
        let frame = super::ask::arp_frame(answer.target_mac, answer);
        self.reply(packet, frame)
    }

    fn reply_ndp(&mut self, packet: &mut Packet<'_>, answer: &Answer) -> Verdict {
        let frame = answer.frame(self.mac);
        self.reply(packet, frame)
    }

    /// Puts `frame` into the packet, with the VLAN tags that are there.
    fn reply(&mut self, packet: &mut Packet<'_>, mut frame: Vec<u8>) -> Verdict {
        let asked = ethernet::Header::parse(packet.bytes());
        let answer = ethernet::Header::parse(&frame);
        if let (Some(asked), Some(answer)) = (asked, answer) {
            let body = frame.split_off(answer.len().min(frame.len()));
            frame.clear();
            let header = ethernet::Header {
                tags: asked.tags,
                ..answer
            };
            header.emit(&mut frame);
            frame.extend_from_slice(&body);
        }
        match packet.set_len(frame.len()) {
            Some(bytes) => {
                bytes.copy_from_slice(&frame);
                Verdict::Reply
            }
            None => {
                self.send(frame);
                Verdict::Held
            }
        }
    }
}
