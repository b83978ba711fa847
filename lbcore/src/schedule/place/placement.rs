//! Placing keys by configuration alone, and what every such scheduler does with it.

use std::fmt;

use crate::rng::{GOLDEN, Rng, Xoshiro, mix};
use crate::schedule::{Candidates, Scheduler, Start, Tier};

/// Says which backends a key belongs to, by configuration alone.
///
/// Every placement is a [`Scheduler`]: a session goes to the first owner of its key that may take
/// it. Health, ejection, slow start, limits and retries only skip owners, and never change them. So
/// nodes that know the same backends, in any order, place alike with no messages between them; a
/// backend that comes back gets exactly the keys it had; and no key moves away from a backend
/// that may take it.
///
/// A session without a key is placed by a random number of the worker's.
///
/// Cost of a pick: that of the first owner. Where the first may not take the session, up to
/// [`ATTEMPTS`] owners are asked, then 16 backends whatever their weights, and then the tier's bit
/// set is scanned from a place that the key says.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::{Placement, Tier};
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// /// Places keys by their remainder: simple, and moves nearly all of them at each change.
/// #[derive(Debug)]
/// struct Modulo;
///
/// impl Placement for Modulo {
///     type Table = u64;
///
///     fn table(&self, tier: &Tier, _previous: Option<&u64>) -> u64 {
///         tier.len() as u64
///     }
///
///     fn owners(&self, len: &u64, key: u64) -> impl Iterator<Item = usize> {
///         let first = key.checked_rem(*len);
///         first.into_iter().map(|position| position as usize)
///     }
/// }
///
/// let pool = Pool::new(Modulo)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// let mut owner = |key| balancer.acquire(Instant::ZERO, &Pick::keyed(key)).unwrap().backend();
/// assert_eq!(owner(2), owner(4));
/// assert_ne!(owner(2), owner(5));
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[doc(alias = "consistent hashing")]
pub trait Placement: fmt::Debug + Send + Sync + 'static {
    /// What tells the owners of a key.
    type Table: Send + Sync + 'static;

    /// Builds the table of `tier` from identities, addresses and weights, and nothing else.
    ///
    /// Backends of weight 0 own nothing. While [`Tier::placement`] stays the same, so does the
    /// table, and `previous` is returned.
    fn table(&self, tier: &Tier, previous: Option<&Self::Table>) -> Self::Table;

    /// The positions of the backends that `key` belongs to, best first; some may come again.
    ///
    /// Allocates nothing. The first costs at most O(log n), each further one O(1) or the same.
    fn owners(&self, table: &Self::Table, key: u64) -> impl Iterator<Item = usize>;
}

/// How many owners of a key are asked before weights are disregarded.
///
/// With half of the backends down, one key in 2^32 gets so far.
pub const ATTEMPTS: usize = 32;

/// How many places are tried by the key alone before the tier is scanned.
///
/// A scan favours the backend behind those that are down; with half of them down, one key in 2^16
/// of those that get here is placed by it.
const ELSEWHERE: u64 = 16;

impl<P: Placement> Scheduler for P {
    type Plan = P::Table;
    /// Makes keys for sessions that have none.
    type Cursor = Xoshiro;

    fn places(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, previous: Option<&P::Table>) -> P::Table {
        self.table(tier, previous)
    }

    fn cursor(&self, _: &P::Table, _: &Tier, start: Start<'_, Xoshiro>) -> Xoshiro {
        start.previous.unwrap_or_else(|| Xoshiro::new(start.seed))
    }

    #[inline]
    fn pick(
        &self,
        table: &P::Table,
        keyless: &mut Xoshiro,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let key = candidates.key.unwrap_or_else(|| keyless.next_u64());
        let mut owners = self.owners(table, key).take(ATTEMPTS);
        let first = owners.next().filter(|&first| candidates.allows(first));
        first
            .or_else(|| owners.find(|&next| candidates.allows(next)))
            .or_else(|| elsewhere(key, candidates))
    }
}

/// A backend that may take the session, where none of the key's owners may.
#[cold]
pub(super) fn elsewhere(key: u64, candidates: &Candidates<'_>) -> Option<usize> {
    let len = candidates.tier().len();
    if candidates.tier().eligible() == 0 {
        return None;
    }
    let mut places = (0..ELSEWHERE).map(|attempt| place(rehash(key, !attempt), len));
    let found = places.find(|&position| candidates.allows(position));
    found.or_else(|| candidates.first_from(place(rehash(key, !ELSEWHERE), len)))
}

/// The key at its `attempt`th try: spread over all 64 bits, whatever it was before.
#[inline]
pub(super) const fn rehash(key: u64, attempt: u64) -> u64 {
    mix(key ^ mix(attempt.wrapping_mul(GOLDEN)))
}

/// A number in `0..len` in proportion to `spread`; 0 if `len` is 0.
///
/// Source: Lemire, "Fast random integer generation in an interval" (2019).
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the high half of a product is below either factor"
)]
pub(super) const fn place(spread: u64, len: usize) -> usize {
    (((spread as u128) * (len as u128)) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Tried;
    use crate::{Backend, BackendId, Instant};

    /// Every key belongs to the backend at 0, and to the one at 1 after so many tries.
    #[derive(Debug)]
    struct Stubborn(usize);

    impl Placement for Stubborn {
        type Table = ();

        fn table(&self, _: &Tier, _: Option<&()>) {}

        fn owners(&self, _: &(), _: u64) -> impl Iterator<Item = usize> {
            std::iter::repeat_n(0, self.0).chain([1])
        }
    }

    fn tier(weights: &[u16]) -> Tier {
        Tier::of(weights.iter().zip(1..).map(|(&weight, id)| {
            Backend::new("b", "10.0.0.1:80".parse().unwrap())
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    fn pick(
        placement: &impl Placement<Table = ()>,
        tier: &Tier,
        key: Option<u64>,
        seed: u64,
    ) -> Option<usize> {
        let tried = Tried::default();
        let candidates = Candidates::new(Instant::ZERO, tier, key, &tried);
        placement.pick(&(), &mut Xoshiro::new(seed), &candidates)
    }

    #[test]
    fn so_many_owners_are_asked_and_no_more() {
        let tier = tier(&[0, 1, 1, 1, 1, 1, 1, 1, 1]);
        let others = |tries| {
            (0..100)
                .filter(|&key| pick(&Stubborn(tries), &tier, Some(key), 0) != Some(1))
                .count()
        };
        assert_eq!(others(1), 0);
        assert_eq!(others(ATTEMPTS - 1), 0);
        assert!(others(ATTEMPTS) > 70);
    }

    #[test]
    fn where_no_owner_is_allowed_keys_are_spread_over_those_that_are() {
        // All in one run, behind those that are out: a scan alone would give all to the first.
        let tier = tier(&[[0; 8], [1; 8]].concat());
        let mut counts = [0_u32; 16];
        for key in 0..8_000 {
            let position = pick(&Stubborn(ATTEMPTS), &tier, Some(key), 0).unwrap();
            assert_eq!(
                pick(&Stubborn(ATTEMPTS), &tier, Some(key), 9),
                Some(position)
            );
            counts[position] += 1;
        }
        assert_eq!(counts[..8], [0; 8]);
        // Four standard deviations of 8,000 keys at 1/8 are 118.
        assert!(
            counts[8..].iter().all(|n| n.abs_diff(1_000) < 118),
            "{counts:?}"
        );
    }

    #[test]
    fn the_one_of_many_that_is_left_is_found() {
        let mut weights = [0; 5_000];
        weights[4_321] = 1;
        let tier = tier(&weights);
        assert!((0..100).all(|key| pick(&Stubborn(1), &tier, Some(key), 0) == Some(4_321)));
        assert_eq!(pick(&Stubborn(1), &self::tier(&[0; 70]), Some(1), 0), None);
        assert_eq!(pick(&Stubborn(1), &self::tier(&[]), Some(1), 0), None);
    }

    #[test]
    fn a_session_without_a_key_is_placed_by_the_workers_own_numbers() {
        let tier = tier(&[0, 0, 1, 1, 1, 1]);
        let spread: Vec<_> = (0..20)
            .map(|seed| pick(&Stubborn(9), &tier, None, seed))
            .collect();
        assert!(spread.iter().any(|&position| position != spread[0]));
        let start = |seed| Start::new(seed, &|_| Default::default());
        let mut cursor = Stubborn(9).cursor(&(), &tier, start(3));
        assert_eq!(cursor.next_u64(), Xoshiro::new(3).next_u64());
        let next = cursor.clone().next_u64();
        let mut after = Stubborn(9).cursor(&(), &tier, start(4).after(Some(cursor), &Some));
        assert_eq!(after.next_u64(), next);
    }

    #[test]
    fn a_place_is_in_proportion_to_its_spread() {
        assert_eq!(place(0, 10), 0);
        assert_eq!(place(u64::MAX, 10), 9);
        assert_eq!(place(1 << 63, 10), 5);
        assert_eq!(place((1 << 63) - 1, 10), 4);
        assert_eq!(place(u64::MAX, 0), 0);
        assert_ne!(rehash(7, 0), rehash(7, 1));
        assert_ne!(rehash(7, 0), rehash(8, 0));
    }
}
