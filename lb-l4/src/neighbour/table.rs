//! Who is remembered, and until when.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use lbcore::Instant;
use lbcore::rng::mix;

use crate::wire::ethernet::Mac;

/// What is known of a neighbour: the states of RFC 4861, 7.3.2, without a delay before probes,
/// which waits for word from the layers above that a forwarder does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Nobody answered.
    Absent,
    /// Nobody answered, and nobody is asked for until the deadline.
    Failed,
    /// Known for good.
    Fixed,
    /// Asked for so many times.
    Incomplete { asked: u8 },
    /// Known, and asked again so many times; all are asked if `wide`, else the neighbour alone.
    Probe { asked: u8, wide: bool },
    /// Known until the deadline.
    Reachable,
    /// Known, and to be asked for when it is used.
    Stale,
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) address: IpAddr,
    /// Known in all states but the first of a question and the last.
    pub(super) mac: Option<Mac>,
    pub(super) state: State,
    /// When the state ends; [`Instant::MAX`] for never.
    pub(super) deadline: Instant,
    /// When it was last looked up.
    pub(super) used: Instant,
    /// Until when it is asked for again without being looked up.
    pub(super) kept: Instant,
    /// When all were asked because of a claim.
    pub(super) verified: Option<Instant>,
    pub(super) held: Option<Box<[u8]>>,
}

/// Neighbours by address, in places that are used again.
#[derive(Debug)]
pub(super) struct Table {
    capacity: usize,
    places: Vec<Option<Entry>>,
    free: Vec<usize>,
    index: HashMap<u128, usize, Spread>,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Where the search for one to give way begins.
    hand: usize,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            places: Vec::new(),
            free: Vec::new(),
            index: HashMap::with_hasher(Spread(RandomState::new().hash_one(0))),
            deadlines: BTreeSet::new(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        self.index.get(&key(address)).copied()
    }

    pub(super) fn entry(&self, place: usize) -> Option<&Entry> {
        self.places.get(place)?.as_ref()
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, place: usize) -> Option<&mut Entry> {
        self.places.get_mut(place)?.as_mut()
    }

    /// A place for `address`, which has none; `None` if all are taken.
    pub(super) fn insert(&mut self, address: IpAddr) -> Option<usize> {
        let entry = Entry {
            address,
            mac: None,
            state: State::Failed,
            deadline: Instant::MAX,
            used: Instant::ZERO,
            kept: Instant::ZERO,
            verified: None,
            held: None,
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < self.capacity => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        *self.places.get_mut(place)? = Some(entry);
        self.index.insert(key(address), place);
        Some(place)
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Entry> {
        let entry = self.places.get_mut(place)?.take()?;
        self.index.remove(&key(entry.address));
        self.deadlines.remove(&(entry.deadline, place));
        self.free.push(place);
        Some(entry)
    }

    /// Sets the state of a neighbour, and when it ends.
    pub(super) fn set(&mut self, place: usize, state: State, deadline: Instant) {
        let Some(entry) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        self.deadlines.remove(&(entry.deadline, place));
        entry.state = state;
        entry.deadline = deadline;
        if deadline != Instant::MAX {
            self.deadlines.insert((deadline, place));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// One whose time has come; its state is still that of before, and its deadline is gone.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &(deadline, place) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(place)
    }

    /// Who gives way when all places are taken: of [`SAMPLE`] neighbours that are not fixed, one
    /// that nobody answers for, else one that is still asked for, else the one that was not used for
    /// longest, and one that somebody keeps only after all others. So a flood of addresses where
    /// nobody is displaces itself, and one of clients no backend.
    pub(super) fn victim(&mut self) -> Option<usize> {
        let all = self.places.len();
        let mut seen = 0;
        let mut best: Option<((u8, Instant), usize)> = None;
        for step in 0..all {
            let place = (self.hand + step) % all;
            let Some(entry) = self.entry(place) else {
                continue;
            };
            let rank = match entry.state {
                State::Fixed => continue,
                _ if entry.kept > Instant::ZERO => 3,
                State::Absent | State::Failed => 0,
                State::Incomplete { .. } => 1,
                State::Stale | State::Probe { .. } | State::Reachable => 2,
            };
            let rank = (rank, entry.used);
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, place));
            }
            seen += 1;
            if seen == SAMPLE {
                self.hand = place + 1;
                break;
            }
        }
        best.map(|(_, place)| place)
    }
}

/// IPv4 addresses as the IPv6 addresses that stand for them.
#[inline]
const fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A hash of 128 bits that is cheap, and different in each process.
#[derive(Clone, Debug)]
struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Mixed;

    #[inline]
    fn build_hasher(&self) -> Mixed {
        Mixed(self.0)
    }
}

#[derive(Debug)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are taken apart"
    )]
    fn write_u128(&mut self, word: u128) {
        self.0 = mix(mix(self.0 ^ word as u64) ^ (word >> 64) as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many are looked at when one has to give way.
const SAMPLE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_an_address_tells_in_its_hash() {
        for spread in [Spread(0), Spread(u64::MAX)] {
            let hashes = [0, u128::MAX].map(|all| {
                let bits = (0..128).map(|bit| spread.hash_one(all ^ (1_u128 << bit)));
                bits.chain([spread.hash_one(all)]).collect::<BTreeSet<_>>()
            });
            assert_eq!(hashes.map(|it| it.len()), [129, 129]);
        }
    }
}
