//! Addresses taken over, told to all.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use lbcore::Instant;

use super::ask::arp_frame;
use super::{Neighbours, ndp};
use crate::wire::arp::{Message, Operation};
use crate::wire::ethernet::Mac;

impl Neighbours {
    /// Tells all on the link that `address` is here now, as a standby does that has taken over: at
    /// once, and again as often as [configured](super::NeighbourConfig::announcements).
    ///
    /// By an ARP announcement (RFC 5227, 3: a question about oneself, which switches and caches
    /// learn from), or by an unsolicited advertisement that overrides (RFC 4861, 7.2.6). An address
    /// that is not [answered](Self::answers) for is not announced.
    pub fn announce(&mut self, now: Instant, address: IpAddr) {
        if self.config.announcements == 0 || !self.answers(address) {
            return;
        }
        let more = self.config.announcements - 1;
        let due = now + self.config.retransmit;
        self.announcements.add(address, due, more);
        self.send_announcement(address);
    }

    pub(super) fn send_announcement(&mut self, address: IpAddr) {
        let frame = match address {
            IpAddr::V4(address) => {
                let message = Message {
                    operation: Operation::Request,
                    sender_mac: self.mac,
                    sender: address,
                    target_mac: Mac::default(),
                    target: address,
                };
                arp_frame(Mac::BROADCAST, &message)
            }
            IpAddr::V6(target) => {
                let all = ndp::Answer { target, to: None };
                all.frame(self.mac)
            }
        };
        self.stats.announcements += 1;
        self.send(frame);
    }
}

/// Who is yet to be announced, when, and how often.
#[derive(Debug, Default)]
pub(super) struct Announcements(Vec<Announcement>);

#[derive(Debug)]
struct Announcement {
    address: IpAddr,
    due: Instant,
    more: u8,
}

impl Announcements {
    /// Sets that `address` is announced `more` times, first at `due`.
    fn add(&mut self, address: IpAddr, due: Instant, more: u8) {
        self.0.retain(|it| it.address != address);
        if more > 0 {
            self.0.push(Announcement { address, due, more });
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|it| keep(it.address));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|it| it.due).min()
    }

    /// One whose time has come; its next is `pause` later.
    pub(super) fn pop_due(&mut self, now: Instant, pause: Duration) -> Option<IpAddr> {
        let at = self.0.iter().position(|it| it.due <= now)?;
        let it = self.0.get_mut(at)?;
        let address = it.address;
        it.more -= 1;
        it.due = now + pause;
        if it.more == 0 {
            self.0.swap_remove(at);
        }
        Some(address)
    }
}

/// The group of all hosts on a link (RFC 4291, 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
