//! The backends of a service, as packets need them: a few hot lines, by slot of the ticket.

use std::net::SocketAddr;

use lbcore::backend::Admin;
use lbcore::health::Health;
use lbcore::pool::{BackendStatus, PoolView};
use lbcore::{Instant, Ticket};

use super::routes::{Routes, Way};

/// How a backend stands to the sessions that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Probes say it is down, or the operator has taken it out of service.
    Down,
    /// It takes no new sessions.
    Draining,
    /// It is no longer in the pool.
    Removed,
    /// It takes new sessions.
    Serving,
}

/// One backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Of the ticket; 0 is of none.
    generation: u32,
    /// Another number for each address that the backend has had.
    pub(crate) stamp: u16,
    pub(crate) standing: Standing,
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
}

impl Target {
    /// Where packets to `asked` go: the backend's address and port, or the port that was asked for
    /// if the backend's is 0.
    #[inline]
    pub(crate) const fn backend_end(&self, asked: SocketAddr) -> SocketAddr {
        match self.address.port() {
            0 => SocketAddr::new(self.address.ip(), asked.port()),
            _ => self.address,
        }
    }
}

/// Every backend of a service that sessions may have.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    by_slot: Vec<Option<Target>>,
    /// Where they are, in order.
    ends: Vec<SocketAddr>,
    /// The newest number of an address. A slot may be without any for a while, so they are numbered
    /// together.
    stamps: u16,
    /// Of the picture they were made from, and of the link addresses.
    made_from: (u64, u64),
}

impl Targets {
    /// The backend of `ticket`.
    #[inline]
    pub(crate) fn of(&self, ticket: Ticket) -> Option<&Target> {
        let target = self.by_slot.get(ticket.slot() as usize)?.as_ref()?;
        (target.generation == ticket.generation()).then_some(target)
    }

    /// Whether one of them is at `end`.
    pub(crate) fn have(&self, end: SocketAddr) -> bool {
        self.ends.binary_search(&end).is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.by_slot.iter().flatten()
    }

    /// The ends of all of them.
    pub(crate) fn ends(&self) -> &[SocketAddr] {
        &self.ends
    }

    /// Another number whenever they are made anew.
    pub(crate) const fn version(&self) -> u64 {
        let (picture, links) = self.made_from;
        picture ^ links.rotate_left(32)
    }

    /// Whether they are those of this picture and these link addresses.
    #[inline]
    pub(crate) fn are_of(&self, view: &PoolView, links: u64) -> bool {
        self.made_from == (view.generation(), links)
    }

    /// Makes them anew: O(n) for n backends.
    #[cold]
    pub(crate) fn rebuild(&mut self, now: Instant, view: &PoolView, routes: &mut Routes) {
        routes.refresh(now);
        let links = routes.links.version();
        let same_links = self.made_from.1 == links;
        let most = self.by_slot.len();
        let old = std::mem::replace(&mut self.by_slot, Vec::with_capacity(most));
        for (ticket, backend) in view.tickets() {
            let Some(address) = backend.address.socket() else {
                continue;
            };
            let slot = ticket.slot() as usize;
            if slot >= self.by_slot.len() {
                self.by_slot.resize(slot + 1, None);
            }
            let before = old.get(slot).copied().flatten();
            let stamp = match before {
                Some(was) if was.generation == ticket.generation() && was.address == address => {
                    was.stamp
                }
                _ => {
                    self.stamps = self.stamps.wrapping_add(1);
                    self.stamps
                }
            };
            let way = match before {
                Some(was)
                    if same_links && was.way.macs.is_some() && was.address.ip() == address.ip() =>
                {
                    was.way
                }
                _ => routes.kept_way(now, address.ip()),
            };
            if let Some(target) = self.by_slot.get_mut(slot) {
                *target = Some(Target {
                    generation: ticket.generation(),
                    stamp,
                    standing: standing(view.status(ticket)),
                    address,
                    way,
                });
            }
        }
        self.ends.clear();
        let ends = self.by_slot.iter().flatten().map(|it| it.address);
        self.ends.extend(ends);
        self.ends.sort_unstable();
        self.made_from = (view.generation(), routes.links.version());
    }
}

/// How a backend with this status stands to the sessions that it has.
pub(crate) fn standing(status: Option<&BackendStatus>) -> Standing {
    match status {
        None => Standing::Removed,
        Some(it) if it.health == Health::Down || it.backend.admin == Admin::Maintenance => {
            Standing::Down
        }
        Some(it) if it.share == 0 => Standing::Draining,
        Some(_) => Standing::Serving,
    }
}
