//! The table: what the first fragments said, and the fragments that wait for one.

use std::collections::{HashMap, VecDeque};

use lbcore::Instant;
use lbcore::rng::{Rng as _, Xoshiro};

use super::extent::{DatagramKey, span};
use super::spans::{Placed, Span};
use super::store::{Copied, Ref, Store};
use super::{FragmentConfig, Fragmented, Piece, Released, Subject};
use crate::icmp::is_echo_request;
use crate::packet::{DropReason, Packet};
use crate::wire::Headers;

/// Remembers the datagrams that are under way in fragments; see the [module](super).
///
/// Ask it about every fragment to or from an address that is forwarded, and about no other, lest
/// strangers fill it.
///
/// # Examples
///
/// ```
/// use lb_l4::fragment::{FragmentConfig, FragmentTable, Fragmented, Subject};
/// use lb_l4::packet::{Link, Packet};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse};
/// use lbcore::Instant;
///
/// let mut table = FragmentTable::new(FragmentConfig::default());
/// let mut bytes = Vec::new();
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"whole").emit(&mut bytes);
/// let Frame::Ip(headers) = parse(&bytes, Link::Ip)? else { panic!("not IP") };
/// let end = bytes.len();
/// let packet = Packet::new(&mut bytes, 0..end, Link::Ip);
/// let Fragmented::Flow(piece) = table.handle(Instant::ZERO, &packet, &headers) else {
///     panic!("it is no fragment");
/// };
/// assert_eq!(Some(piece.subject), headers.flow().map(Subject::Flow));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FragmentTable {
    config: FragmentConfig,
    index: HashMap<DatagramKey, Ref>,
    store: Store,
    /// Datagrams whose first fragment has come, with fragments still held.
    releasing: VecDeque<Ref>,
    dice: Xoshiro,
    next_identification: u32,
    stats: FragmentStats,
}

/// What a [`FragmentTable`] has done since it was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct FragmentStats {
    /// Datagrams under way now.
    pub datagrams: usize,
    /// Bytes of fragments held now.
    pub held_bytes: usize,
    /// Datagrams of which every fragment has passed.
    pub completed: u64,
    /// Datagrams forgotten because their time was over.
    pub timed_out: u64,
    /// Datagrams forgotten to make room.
    pub evicted: u64,
    /// Datagrams refused because two fragments contradict each other.
    pub overlapping: u64,
    /// Fragments that were held and then discarded, for whichever of these reasons; those that were
    /// never held are counted by whoever drops them.
    pub discarded: u64,
}

impl FragmentTable {
    /// An empty table; it takes memory as it fills.
    #[must_use]
    pub fn new(config: FragmentConfig) -> Self {
        let config = FragmentConfig {
            datagrams: config.datagrams.clamp(1, MOST),
            fragments: config.fragments.max(2),
            ..config
        };
        let mut dice = Xoshiro::new(config.seed);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low bits are as random"
        )]
        let next_identification = dice.next_u64() as u32;
        Self {
            config,
            index: HashMap::new(),
            store: Store::default(),
            releasing: VecDeque::new(),
            dice,
            next_identification,
            stats: FragmentStats::default(),
        }
    }

    /// What the ports of `packet` are, if it is a fragment.
    ///
    /// Cost: one look at a field for a whole packet; one lookup for a fragment, and an allocation
    /// and a copy for one that is held.
    pub fn handle(&mut self, now: Instant, packet: &Packet<'_>, headers: &Headers) -> Fragmented {
        let Some(part) = headers.fragment else {
            return match subject(headers) {
                Some(subject) => Fragmented::Flow(Piece {
                    subject,
                    identification: 0,
                    tag: None,
                }),
                None => Fragmented::Drop(DropReason::Unsupported),
            };
        };
        let Some(span) = span(packet.bytes(), headers, part) else {
            return Fragmented::Drop(DropReason::Malformed);
        };
        let key = DatagramKey::of(headers, part);
        let at = self.find_or_open(now, key);
        if let Some(reason) = self.store.datagram(at).refused {
            return Fragmented::Drop(reason);
        }
        if headers.is_later_fragment() {
            self.handle_later(at, span, packet)
        } else {
            self.handle_first(at, span, headers)
        }
    }

    /// Remembers `tag` of the datagram whose first fragment this is, and gives it with every later
    /// fragment: what a session cannot tell, such as the backend of a datagram that gets none
    /// (one-packet scheduling). Of a packet that is no fragment nothing is remembered.
    pub fn learn(&mut self, headers: &Headers, tag: u64) {
        let found = headers
            .fragment
            .and_then(|part| self.index.get(&DatagramKey::of(headers, part)));
        if let Some(&at) = found {
            self.store.datagram_mut(at).known.tag = Some(tag);
        }
    }

    /// An identification for a packet that is about to be cut, as those in [`Piece`].
    pub const fn fresh_identification(&mut self) -> u32 {
        self.next_identification = self.next_identification.wrapping_add(1);
        self.next_identification
    }

    /// The next fragment that was held and whose first one has come; those of one datagram in the
    /// order of their bytes.
    ///
    /// Ask until there is none, after each burst.
    pub fn poll_released(&mut self) -> Option<Released> {
        while let Some(&at) = self.releasing.front() {
            // Another datagram may be in its place since.
            let live = self.store.is_live(at);
            let subject = live.then(|| self.store.datagram(at).subject).flatten();
            let held = match subject {
                Some(subject) => self.store.take_held(at).map(|held| (subject, held)),
                None => None,
            };
            let Some((subject, held)) = held else {
                self.releasing.pop_front();
                if live {
                    self.forget_if_complete(at);
                }
                continue;
            };
            return Some(Released {
                bytes: held.bytes,
                link: held.link,
                interface: held.interface,
                mark: held.mark,
                piece: self.store.datagram(at).known.with(subject),
            });
        }
        None
    }

    /// Forgets datagrams whose time is over; gives how many fragments that were held are discarded,
    /// to be counted under [`DropReason::FragmentUnmatched`].
    pub fn handle_timeout(&mut self, now: Instant) -> u64 {
        let before = self.stats.discarded;
        while let Some((at, since)) = self.store.oldest() {
            if since + self.config.timeout > now {
                break;
            }
            self.stats.timed_out += 1;
            self.forget(at);
        }
        self.stats.discarded - before
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (_, since) = self.store.oldest()?;
        Some(since + self.config.timeout)
    }

    /// What it has done, and what it holds.
    #[must_use]
    pub fn stats(&self) -> FragmentStats {
        FragmentStats {
            datagrams: self.index.len(),
            held_bytes: self.store.held_bytes(),
            ..self.stats
        }
    }

    fn find_or_open(&mut self, now: Instant, key: DatagramKey) -> Ref {
        if let Some(&at) = self.index.get(&key) {
            if self.store.datagram(at).since + self.config.timeout > now {
                return at;
            }
            self.stats.timed_out += 1;
            self.forget(at);
        }
        if self.index.len() >= self.config.datagrams
            && let Some(victim) = self.store.any(&mut self.dice)
        {
            self.stats.evicted += 1;
            self.forget(victim);
        }
        let identification = self.fresh_identification();
        let at = self.store.open(now, key, identification);
        self.index.insert(key, at);
        at
    }

    fn handle_first(&mut self, at: Ref, span: Span, headers: &Headers) -> Fragmented {
        let Some(subject) = subject(headers) else {
            // Its later fragments would wait for nothing.
            return self.refuse(at, DropReason::Unsupported);
        };
        match self.store.place(at, span, self.config.fragments) {
            Placed::Conflict => return self.overlap(at),
            Placed::TooMany => return self.refuse(at, DropReason::FragmentUnmatched),
            Placed::Again | Placed::New => {}
        }
        let datagram = self.store.datagram_mut(at);
        // The same range again with other ports in it.
        if datagram.subject.is_some_and(|before| before != subject) {
            return self.overlap(at);
        }
        datagram.subject = Some(subject);
        let piece = datagram.known.with(subject);
        if datagram.is_holding() {
            datagram.sort_held();
            self.releasing.push_back(at);
        } else {
            self.forget_if_complete(at);
        }
        Fragmented::Flow(piece)
    }

    fn handle_later(&mut self, at: Ref, span: Span, packet: &Packet<'_>) -> Fragmented {
        let placed = self.store.place(at, span, self.config.fragments);
        let datagram = self.store.datagram(at);
        match (placed, datagram.subject) {
            (Placed::Conflict, _) => self.overlap(at),
            (Placed::TooMany, _) => self.refuse(at, DropReason::FragmentUnmatched),
            (Placed::Again | Placed::New, Some(subject)) => {
                let piece = datagram.known.with(subject);
                if !datagram.is_holding() {
                    self.forget_if_complete(at);
                }
                Fragmented::Flow(piece)
            }
            (Placed::Again, None) => Fragmented::Held,
            (Placed::New, None) => self.hold(at, span, packet),
        }
    }

    fn hold(&mut self, at: Ref, span: Span, packet: &Packet<'_>) -> Fragmented {
        let len = packet.bytes().len();
        while self.store.held_bytes() + len > self.config.held_bytes {
            // What waits for its own datagram is of no use without this fragment either.
            match self.store.any_holding(&mut self.dice) {
                Some(victim) if victim != at => {
                    self.stats.evicted += 1;
                    self.forget(victim);
                }
                _ => return self.refuse(at, DropReason::FragmentUnmatched),
            }
        }
        self.store.hold(at, Copied::of(span.start, packet));
        Fragmented::Held
    }

    fn overlap(&mut self, at: Ref) -> Fragmented {
        self.stats.overlapping += 1;
        self.refuse(at, DropReason::FragmentOverlap)
    }

    /// No fragment of it passes until it is forgotten.
    fn refuse(&mut self, at: Ref, reason: DropReason) -> Fragmented {
        self.store.datagram_mut(at).refused = Some(reason);
        self.stats.discarded += self.store.discard_held(at);
        Fragmented::Drop(reason)
    }

    fn forget_if_complete(&mut self, at: Ref) {
        if self.store.datagram(at).is_complete() {
            self.stats.completed += 1;
            self.forget(at);
        }
    }

    fn forget(&mut self, at: Ref) {
        self.stats.discarded += self.store.discard_held(at);
        if let Some(key) = self.store.close(at) {
            self.index.remove(&key);
        }
    }
}

/// What a packet with its transport header belongs to.
fn subject(headers: &Headers) -> Option<Subject> {
    if is_echo_request(headers) {
        return Some(Subject::Echo);
    }
    headers.flow().map(Subject::Flow)
}

/// More datagrams than this are not remembered, whatever the configuration says.
const MOST: usize = 1 << 24;
