//! Link addresses: ARP (RFC 826) and neighbour discovery (RFC 4861).
//!
//! ```text
//!   lookup ──▶ nobody knows ──▶ a question to all, 3 times ──▶ nobody answers: remembered so
//!                                      │ answer
//!                                      ▼
//!              known for 30 s ──▶ stale: used, and asked for again when it is
//! ```
//!
//! One [`Neighbours`] serves one Ethernet interface: it asks for the link addresses that the
//! forwarder needs, answers for those addresses that are the forwarder's, and says on take-over that
//! they are.
//!
//! **Whom it believes.** Only an answer to a question that is open makes a link address known, or
//! changes it. A message that nobody asked for creates nothing; where it contradicts what is known,
//! all are asked again, once in a [retransmission time](NeighbourConfig::retransmit), and what is
//! known stays in use until the answer. So the address of a backend that has moved is found within
//! a round trip, and a forged message costs one question. Whoever sits on the link and answers faster
//! than the true owner is believed, as ARP has no way to tell; [fixed](Neighbours::fix) neighbours
//! are immune to it.
//!
//! **What is not here.** Routers are not discovered, nor prefixes, nor redirects: gateways are the
//! operator's to name. Packets are not held without bound: one for each neighbour that is being
//! asked for, all together [so many bytes](NeighbourConfig::held_bytes).
#![warn(clippy::indexing_slicing)]

mod announce;
mod answer;
mod ask;
mod config;
pub mod ndp;
mod stats;
mod table;

pub use config::{NeighbourConfig, NeighbourConfigError};
pub use stats::NeighbourStats;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use lbcore::Instant;
use lbcore::address_list::{AddressRules, Prefix};

use self::announce::Announcements;
use self::table::{State, Table};
use crate::packet::DropReason;
use crate::wire::ethernet::Mac;

/// The neighbours of one Ethernet interface.
///
/// The owner shows it every ARP message and every ICMPv6 message of types 135 and 136
/// ([`handle`](Self::handle)), sends what [`poll_transmit`](Self::poll_transmit) gives, and calls
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says.
///
/// # Examples
///
/// ```
/// use lb_l4::neighbour::{NeighbourConfig, Neighbours};
/// use lb_l4::wire::arp::{Message, Operation};
/// use lb_l4::wire::ethernet::Mac;
/// use lbcore::Instant;
///
/// let (mine, its) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 7]));
/// let mut neighbours = Neighbours::new(mine, ["10.0.0.1".parse()?], NeighbourConfig::default())?;
/// let now = Instant::ZERO;
/// assert_eq!(neighbours.lookup(now, "10.0.0.7".parse()?), None);
/// let question = neighbours.poll_transmit().ok_or("nothing to send")?;
/// assert_eq!(question[..6], [0xff; 6]);
///
/// let answer = Message {
///     operation: Operation::Reply,
///     sender_mac: its,
///     sender: "10.0.0.7".parse()?,
///     target_mac: mine,
///     target: "10.0.0.1".parse()?,
/// };
/// assert_eq!(neighbours.handle_arp(now, &answer), None);
/// assert_eq!(neighbours.lookup(now, "10.0.0.7".parse()?), Some(its));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Neighbours {
    mac: Mac,
    /// Addresses that questions are asked from, and answered for.
    own: Vec<IpAddr>,
    /// More addresses that questions are answered for.
    answered: Option<AddressRules>,
    config: NeighbourConfig,
    table: Table,
    announcements: Announcements,
    outbox: VecDeque<Vec<u8>>,
    /// What was given last.
    sending: Vec<u8>,
    version: u64,
    stats: NeighbourStats,
}

impl Neighbours {
    /// Knows nobody yet; `mac` is the interface's own address, and `own` are its IP addresses.
    ///
    /// Questions are asked from the one of `own` that has most bits in common with what is asked
    /// for, and answered for each. Without one of a family, nobody of that family is found.
    ///
    /// # Errors
    ///
    /// [`NeighbourConfigError`] names the field.
    pub fn new(
        mac: Mac,
        own: impl IntoIterator<Item = IpAddr>,
        config: NeighbourConfig,
    ) -> Result<Self, NeighbourConfigError> {
        config.check()?;
        Ok(Self {
            mac,
            own: own.into_iter().collect(),
            answered: None,
            table: Table::new(config.capacity),
            config,
            announcements: Announcements::default(),
            outbox: VecDeque::new(),
            sending: Vec::new(),
            version: 0,
            stats: NeighbourStats::default(),
        })
    }

    /// Makes the link address of `address` known for good: it is not asked for, and no message
    /// changes it.
    ///
    /// # Errors
    ///
    /// [`NeighbourConfigError::Capacity`] when all places are taken by such.
    pub fn fix(&mut self, address: IpAddr, mac: Mac) -> Result<(), NeighbourConfigError> {
        let place = self.table.find(address).or_else(|| self.make(address));
        let place = place.ok_or(NeighbourConfigError::Capacity(self.config.capacity))?;
        self.set(place, State::Fixed, Instant::MAX);
        self.know(place, mac);
        Ok(())
    }

    /// The interface's own link address.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Answers for these addresses too, and no longer for those said before: the addresses of
    /// virtual services, or none on a standby.
    ///
    /// Backends of direct routing have a service's address as well; it is they who must not answer
    /// for it.
    pub fn answer_for(&mut self, addresses: impl IntoIterator<Item = Prefix>) {
        let mut addresses = addresses.into_iter().peekable();
        let any = addresses.peek().is_some();
        // An empty list of rules would allow all.
        self.answered = any.then(|| AddressRules::new(addresses, []));
        let Self {
            announcements,
            own,
            answered,
            ..
        } = self;
        announcements.retain(|address| answers(own, answered.as_ref(), address));
    }

    /// Whether questions about `address` are answered.
    #[must_use]
    pub fn answers(&self, address: IpAddr) -> bool {
        answers(&self.own, self.answered.as_ref(), address)
    }

    /// The link address of `address`, if it is known; if not, it is asked for.
    ///
    /// Nobody is asked for while a question is open, nor for a while after nobody answered. What is
    /// known but old is given, and asked for at the same time.
    ///
    /// Cost: one lookup in a hash table. Allocates only to ask.
    pub fn lookup(&mut self, now: Instant, address: IpAddr) -> Option<Mac> {
        let Some(place) = self.table.find(address) else {
            self.begin(now, address);
            return None;
        };
        let entry = self.table.entry_mut(place)?;
        entry.used = now;
        self.mac_by_state(now, place)
    }

    /// As [`lookup`](Self::lookup), for one who keeps the answer while [`version`](Self::version) is
    /// the same, and so does not say when he uses it: for an hour it is asked for again whenever it
    /// is old, and as often if nobody answers. Then the version changes, so that he says whether he
    /// still wants it.
    ///
    /// Cost: as that of `lookup`.
    pub fn keep(&mut self, now: Instant, address: IpAddr) -> Option<Mac> {
        let mac = self.lookup(now, address);
        let place = self.table.find(address)?;
        self.table.entry_mut(place)?.kept = now + KEPT;
        mac
    }

    #[inline]
    fn mac_by_state(&mut self, now: Instant, place: usize) -> Option<Mac> {
        let entry = self.table.entry(place)?;
        match entry.state {
            State::Fixed | State::Probe { .. } => entry.mac,
            State::Reachable if now < entry.deadline => entry.mac,
            State::Reachable | State::Stale => {
                let mac = entry.mac;
                self.probe(now, place, false);
                mac
            }
            State::Absent => {
                self.ask_all(now, place, 1);
                None
            }
            State::Incomplete { .. } | State::Failed => None,
        }
    }

    /// Another number whenever an answer of [`lookup`](Self::lookup) may have changed, so that it
    /// may be kept until then.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Keeps a copy of `frame`, whose link header is there but for its addresses, until the link
    /// address of `address` is known; it is then among what [`poll_transmit`](Self::poll_transmit)
    /// gives.
    ///
    /// To be called after [`lookup`](Self::lookup) has answered that it is not known. One frame is
    /// kept for each neighbour, the first.
    ///
    /// # Errors
    ///
    /// The reason to drop the frame under: [`HoldFull`](DropReason::HoldFull), or
    /// [`Unresolved`](DropReason::Unresolved) when nobody answers for it.
    pub fn hold(&mut self, address: IpAddr, frame: &[u8]) -> Result<(), DropReason> {
        let entry = self
            .table
            .find(address)
            .and_then(|place| self.table.entry_mut(place))
            .filter(|entry| matches!(entry.state, State::Incomplete { .. }))
            .ok_or(DropReason::Unresolved)?;
        let room = self.config.held_bytes.saturating_sub(self.stats.held_bytes);
        if entry.held.is_some() || frame.len() > room {
            return Err(DropReason::HoldFull);
        }
        entry.held = Some(frame.into());
        self.stats.held_bytes += frame.len();
        self.stats.held += 1;
        Ok(())
    }

    /// The next frame that it wants sent, whole.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        self.sending = self.outbox.pop_front()?;
        Some(&self.sending)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.table.next_deadline(), self.announcements.next_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Asks again, gives up, forgets and announces, as far as it is time to.
    ///
    /// Cost: O(log n) for each neighbour whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(place) = self.table.pop_due(now) {
            self.expire(now, place);
        }
        while let Some(address) = self.announcements.pop_due(now, self.config.retransmit) {
            self.send_announcement(address);
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> NeighbourStats {
        NeighbourStats {
            neighbours: self.table.len(),
            ..self.stats
        }
    }

    /// Forgets who has a question open: gives up what it held.
    fn drop_held(&mut self, place: usize) {
        let entry = self.table.entry_mut(place);
        if let Some(frame) = entry.and_then(|entry| entry.held.take()) {
            self.stats.held_bytes -= frame.len();
            self.stats.held_dropped += 1;
        }
    }

    /// Puts a frame among those to be sent, if there is room.
    fn send(&mut self, frame: Vec<u8>) {
        if self.outbox.len() < OUTBOX {
            self.outbox.push_back(frame);
        } else {
            self.stats.outbox_full += 1;
        }
    }
}

fn answers(own: &[IpAddr], answered: Option<&AddressRules>, address: IpAddr) -> bool {
    own.contains(&address) || answered.is_some_and(|rules| rules.allows(address))
}

/// As many questions and answers of its own wait to be sent at most; what is held comes on top, and
/// has a bound of its own.
const OUTBOX: usize = 256;

/// How long a neighbour is asked for on behalf of one who keeps its link address.
const KEPT: Duration = Duration::from_secs(3_600);
