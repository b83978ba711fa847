//! What a scheduler chooses from.

use std::sync::Arc;

use crate::hash::HashKey;
use crate::rng::{GOLDEN, mix};
use crate::{Backend, BackendId, Instant, Ticket};

/// One backend of a [`Tier`].
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The backend as configured.
    pub backend: Arc<Backend>,
    /// Its share of new sessions now: its weight times [`Candidate::ONE`], less during slow start;
    /// 0 when it is not eligible.
    pub share: u32,
    /// Where the pool keeps its counters, and whether sessions count against a limit.
    pub(crate) ticket: Ticket,
}

impl Candidate {
    /// The share of a backend of weight 1 that has warmed up.
    pub const ONE: u32 = 256;

    /// Whether health, ejection and the operator let it take sessions.
    #[inline]
    #[must_use]
    pub const fn is_eligible(&self) -> bool {
        self.share > 0
    }
}

/// The backends that a scheduler chooses from: one priority, one zone, in the order of their
/// identities, so that every node that knows the same backends sees the same tier.
#[derive(Debug)]
pub struct Tier {
    candidates: Box<[Candidate]>,
    /// One bit a candidate.
    eligible: Box<[u64]>,
    /// Each candidate's ticket, packed for the path of traffic.
    tickets: Box<[Ticket]>,
    /// Whether any of them has a limit.
    capped: bool,
    count: usize,
    placement: u64,
}

impl Tier {
    pub(crate) fn new(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by_key(|candidate| candidate.backend.id);
        let mut eligible = vec![0_u64; candidates.len().div_ceil(64)];
        let mut placement = GOLDEN;
        let mut count = 0;
        for (position, candidate) in candidates.iter().enumerate() {
            placement = stamp(placement, &candidate.backend);
            if candidate.is_eligible() {
                count += 1;
                if let Some(word) = eligible.get_mut(position / 64) {
                    *word |= 1 << (position % 64);
                }
            }
        }
        let tickets: Box<[Ticket]> = candidates
            .iter()
            .map(|candidate| candidate.ticket)
            .collect();
        Self {
            candidates: candidates.into(),
            eligible: eligible.into(),
            capped: tickets.iter().any(|ticket| ticket.is_capped()),
            tickets,
            count,
            placement,
        }
    }

    /// A tier of these backends, each up and warm: for tests and for trying a scheduler.
    #[must_use]
    pub fn of(backends: impl IntoIterator<Item = Backend>) -> Self {
        let candidates = backends
            .into_iter()
            .zip(0..)
            .map(|(backend, slot)| Candidate {
                share: u32::from(backend.weight.0) * Candidate::ONE,
                ticket: Ticket::new(slot, 0),
                backend: Arc::new(backend),
            });
        Self::new(candidates.collect())
    }

    /// The backends, by position.
    #[inline]
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How many backends it has, eligible or not.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether it has no backend at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The ticket of the backend at `position`.
    #[inline]
    pub(crate) fn ticket(&self, position: usize) -> Option<Ticket> {
        self.tickets.get(position).copied()
    }

    /// Where the backend of this identity stands. O(log n).
    #[must_use]
    pub fn position(&self, id: BackendId) -> Option<usize> {
        self.candidates
            .binary_search_by_key(&id, |candidate| candidate.backend.id)
            .ok()
    }

    /// How many backends are eligible.
    #[inline]
    #[must_use]
    pub const fn eligible(&self) -> usize {
        self.count
    }

    /// A number that changes when an identity, address or weight does, and not with health.
    #[must_use]
    pub const fn placement(&self) -> u64 {
        self.placement
    }

    /// Whether the same keys belong to the same backends in both.
    pub(crate) fn places_like(&self, other: &Self) -> bool {
        self.placement == other.placement && self.eligible == other.eligible
    }

    /// The positions that are eligible, from `start` on and around.
    fn eligible_from(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let words = self.eligible.len();
        let first = start / 64;
        let low = u64::MAX << (start % 64);
        (0..=words).flat_map(move |step| {
            // The word that holds `start` comes twice: its upper part first, its lower part last.
            let at = if words == 0 {
                0
            } else {
                (first + step) % words
            };
            let mask = match step {
                0 => low,
                _ if step == words => !low,
                _ => u64::MAX,
            };
            bits(self.eligible.get(at).copied().unwrap_or(0) & mask).map(move |bit| at * 64 + bit)
        })
    }
}

/// The positions of the ones in `word`, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        (bit < u64::BITS).then(|| {
            word &= word - 1;
            bit as usize
        })
    })
}

fn stamp(state: u64, backend: &Backend) -> u64 {
    let address = HashKey::from_seed(1).sip13(backend.address.to_string().as_bytes());
    let own = mix(backend.id.as_u64() ^ address).wrapping_add(u64::from(backend.weight.0));
    mix(state.rotate_left(5) ^ mix(own))
}

/// A tier, together with what forbids some of its backends for one session.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// When the session begins.
    pub now: Instant,
    /// What the session is placed by, already hashed; `None` if nothing was extracted.
    pub key: Option<u64>,
    tier: &'a Tier,
    tried: &'a Tried,
    room: Option<&'a dyn Room>,
}

/// Tells whether a backend with a limit has room.
pub(crate) trait Room: std::fmt::Debug {
    fn has_room(&self, ticket: Ticket) -> bool;
}

impl<'a> Candidates<'a> {
    /// The candidates of `tier` for a session keyed `key` that has been `tried` on some of them.
    #[inline]
    #[must_use]
    pub const fn new(now: Instant, tier: &'a Tier, key: Option<u64>, tried: &'a Tried) -> Self {
        Self {
            now,
            key,
            tier,
            tried,
            room: None,
        }
    }

    #[inline]
    pub(crate) const fn with_room(mut self, room: &'a dyn Room) -> Self {
        self.room = Some(room);
        self
    }

    /// The tier.
    #[inline]
    #[must_use]
    pub const fn tier(&self) -> &'a Tier {
        self.tier
    }

    /// The backend at `position`, allowed or not.
    #[inline]
    #[must_use]
    pub fn candidate(&self, position: usize) -> Option<&'a Candidate> {
        self.tier.candidates.get(position)
    }

    /// Whether the backend at `position` may take this session: it is eligible, was not tried, and
    /// has room. `false` for a position past the end.
    #[inline]
    #[must_use]
    pub fn allows(&self, position: usize) -> bool {
        let word = self.tier.eligible.get(position / 64).copied().unwrap_or(0);
        let is_eligible = (word >> (position % 64)) & 1 == 1;
        is_eligible && (self.is_free() || self.admits(position))
    }

    /// Whether nothing but health can forbid a backend.
    #[inline]
    fn is_free(&self) -> bool {
        !self.tier.capped && self.tried.is_empty()
    }

    // By value, as in `scan`: then the copy is made here, and not on the path that comes by.
    #[inline(never)]
    fn admits(self, position: usize) -> bool {
        self.tier.ticket(position).is_some_and(|ticket| {
            let has_room = || self.room.is_none_or(|room| room.has_room(ticket));
            !self.tried.contains(ticket) && (!ticket.is_capped() || has_room())
        })
    }

    /// The first allowed position from `start` on, around the end; `None` when none is allowed.
    ///
    /// Scans a bit set: n/64 words when nothing is full or tried.
    #[inline]
    #[must_use]
    pub fn first_from(&self, start: usize) -> Option<usize> {
        (*self).scan(start)
    }

    #[inline(never)]
    fn scan(self, start: usize) -> Option<usize> {
        self.tier
            .eligible_from(start)
            .find(|&position| self.allows(position))
    }

    /// Every allowed position, lowest first.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.tier
            .eligible_from(0)
            .filter(|&position| self.allows(position))
    }
}

/// The backends that a session was already sent to, so that a retry goes elsewhere.
///
/// Holds [`Tried::MOST`]; a session that failed on so many backends is not worth another try.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::{RoundRobin, Tried};
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// let first = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// let mut tried = Tried::default();
/// tried.add(first.ticket());
/// let second = balancer.acquire(Instant::ZERO, &Pick::default().tried(&tried)).unwrap();
/// assert_ne!(first.backend(), second.backend());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tried {
    tickets: [Option<Ticket>; Self::MOST],
}

impl Tried {
    /// How many backends one session may be tried on.
    pub const MOST: usize = 8;

    /// Nothing tried yet.
    pub(crate) const NONE: &'static Self = &Self {
        tickets: [None; Self::MOST],
    };

    /// Adds the backend of a lease; returns whether there was room for it.
    pub fn add(&mut self, ticket: Ticket) -> bool {
        let free = self.tickets.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(ticket)).is_some()
    }

    /// Whether the backend of `ticket` was tried.
    #[inline]
    #[must_use]
    pub fn contains(&self, ticket: Ticket) -> bool {
        self.tickets
            .iter()
            .map_while(|&place| place)
            .any(|tried| tried.is_for_backend_of(ticket))
    }

    /// Whether nothing was tried.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tickets[0].is_none()
    }

    /// Whether [`Tried::MOST`] backends were tried.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.tickets[Self::MOST - 1].is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(weights: impl IntoIterator<Item = u16>) -> Tier {
        Tier::of(weights.into_iter().zip(1..).map(|(weight, id)| {
            let address = "10.0.0.1:80".parse().unwrap();
            Backend::new("b", address)
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    #[test]
    fn a_scan_visits_every_eligible_position_once_from_any_start() {
        for n in [0_usize, 1, 63, 64, 65, 130] {
            let tier = tier((0..n).map(|i| u16::from(i % 3 != 1)));
            let expected: Vec<usize> = (0..n).filter(|i| i % 3 != 1).collect();
            for start in 0..n.max(1) {
                let mut seen: Vec<usize> = tier.eligible_from(start).collect();
                let split = seen.iter().position(|&at| at < start).unwrap_or(seen.len());
                assert!(
                    seen[..split].is_sorted() && seen[split..].is_sorted(),
                    "{seen:?}"
                );
                seen.sort_unstable();
                assert_eq!(seen, expected, "from {start} of {n}");
            }
        }
    }

    #[test]
    fn a_tried_backend_is_not_allowed_and_the_ninth_does_not_fit() {
        let tier = tier([1; 10]);
        let mut tried = Tried::default();
        for candidate in &tier.candidates()[..8] {
            assert!(!tried.is_full() && tried.add(candidate.ticket));
        }
        assert!(tried.is_full() && !tried.add(tier.candidates()[8].ticket));
        let candidates = Candidates::new(Instant::ZERO, &tier, None, &tried);
        assert_eq!(candidates.positions().collect::<Vec<_>>(), [8, 9]);
        assert_eq!(candidates.first_from(3), Some(8));
        assert!(!candidates.allows(10));
    }

    #[test]
    fn placement_changes_with_weight_and_identity_and_not_with_order() {
        let one = tier([1, 2, 3]);
        assert_ne!(one.placement(), tier([1, 2, 4]).placement());
        assert_ne!(one.placement(), tier([1, 2]).placement());
        let reversed: Vec<Backend> = one
            .candidates()
            .iter()
            .rev()
            .map(|c| Backend::clone(&c.backend))
            .collect();
        assert_eq!(one.placement(), Tier::of(reversed).placement());
    }
}
