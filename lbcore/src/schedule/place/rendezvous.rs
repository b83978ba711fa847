//! The highest of random weights, found beforehand.

use std::sync::Arc;

use super::compact::Positions;
use super::placement::{Placement, rehash};
use super::race::Race;
use super::shelf::Shelf;
use crate::hash::HashKey;
use crate::schedule::{Candidate, Tier};

/// Places keys by rendezvous: every backend draws a number for a key, and the best takes it.
///
/// When a backend leaves, its own keys move and no others, each to the backend that drew next best,
/// in proportion to weights; when one comes or gains weight, keys move to it and nowhere else.
///
/// Drawing for each session would cost O(n). So keys are gathered in rows, for each of which the draw
/// is held beforehand: a pick is one look-up. The rows are built of identities and weights alone, for
/// every backend of weight above 0, whatever its health: see [`Placement`]. Keys should be spread by
/// a secret (such as [`KeyExtractor`](crate::schedule::KeyExtractor) does), and nodes that must place alike are
/// given the same [`seed`](Self::seed) and number of rows.
///
/// There are 2^14 rows up to 16 backends, 2^16 up to 256, 2^18 up to 1,024, and 2^20 beyond. A share
/// of r rows is a random number: its standard deviation is √r, so 3 % with 16 equal backends and 6 %
/// with 256, where [`Maglev`](super::Maglev) would be exact. Where the number of rows grows fourfold,
/// a quarter of the keys stay; [`rows`](Self::rows) fixes it.
///
/// Cost: a pick is O(1), one look-up in a table of 1 byte a row (2 bytes beyond 256 backends, 4
/// beyond 65,536): 16 KiB, 64 KiB, 512 KiB, 2 MiB. Building holds the draws in the order of their
/// results and ends with the last row, so it takes O(r log r) for r rows, and not O(n r): about
/// 0.4 µs a row, so 6 ms for 2^14 rows and 0.4 s for 2^20. Clones share the tables of tiers that are
/// the same.
///
/// Exact across workers: they read the same table.
///
/// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998), weighted
/// as −ln(u)/w after Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005); that
/// many such races are one Poisson process, see [`RendezvousTable`].
///
/// # Examples
///
/// ```
/// use lbcore::schedule::Rendezvous;
/// use lbcore::{Backend, BackendId, Delta, Instant, Pick, Pool};
///
/// let names = ["a", "b", "c"];
/// let backends = names.map(|name| Backend::new(name, "10.0.0.1:80".parse().unwrap()));
/// let pool = Pool::new(Rendezvous::default()).backends(backends);
/// let mut balancer = pool.balancer(0);
/// let mut owner = |key| balancer.acquire(Instant::ZERO, &Pick::keyed(key)).unwrap().backend();
/// let before: Vec<BackendId> = (0..100).map(&mut owner).collect();
///
/// let gone = BackendId::of_name("b");
/// pool.apply(Instant::ZERO, [Delta::Remove(gone)]).unwrap();
/// for (key, before) in (0..100).zip(before) {
///     assert!(owner(key) == before || before == gone);
/// }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "highest random weight")]
#[doc(alias = "HRW")]
pub struct Rendezvous {
    seed: HashKey,
    rows: Option<RowBits>,
    shelf: Shelf<RendezvousTable>,
}

impl Default for Rendezvous {
    fn default() -> Self {
        Self {
            seed: HashKey::from_seed(0),
            rows: None,
            shelf: Shelf::default(),
        }
    }
}

impl Rendezvous {
    /// Sets what the draws are made from. Default: public and always the same.
    #[must_use]
    pub fn seed(self, seed: HashKey) -> Self {
        Self {
            seed,
            shelf: Shelf::default(),
            ..self
        }
    }

    /// Fixes the number of rows, so that no keys but a backend's own move at any size of the pool.
    #[must_use]
    pub fn rows(self, bits: RowBits) -> Self {
        Self {
            rows: Some(bits),
            shelf: Shelf::default(),
            ..self
        }
    }

    fn build(&self, tier: &Tier) -> RendezvousTable {
        let weight = |at: &Candidate| at.backend.weight.0;
        let members = tier.candidates().iter().filter(|at| weight(at) > 0).count();
        let bits = self.rows.unwrap_or_else(|| RowBits::for_backends(members));
        let runners = (0..).zip(tier.candidates()).map(|(position, candidate)| {
            let own = self.seed.sip13_words([candidate.backend.id.as_u64()]);
            (position, own, weight(candidate))
        });
        let winners = match members {
            0 => Vec::new(),
            _ => Race::new(bits.0, runners).run(),
        };
        RendezvousTable {
            owners: Positions::new(tier.len(), &winners),
            shift: u64::BITS - bits.0,
            seed: self.seed.sip13_words([0, 1]),
        }
    }
}

/// The number of rows of a [`Rendezvous`] table, as a power of two: 2^1 to 2^24.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RowBits(u32);

impl RowBits {
    /// 2^`bits` rows, if `bits` is in 1..=24.
    #[must_use]
    pub const fn new(bits: u32) -> Option<Self> {
        if 1 <= bits && bits <= 24 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// How many rows that is.
    #[must_use]
    pub const fn rows(self) -> usize {
        1 << self.0
    }

    /// At least 256 rows a backend up to 4,096 backends, in few steps, since each moves keys.
    const fn for_backends(backends: usize) -> Self {
        match backends {
            0..=16 => Self(14),
            17..=256 => Self(16),
            257..=1_024 => Self(18),
            _ => Self(20),
        }
    }
}

/// Which backend owns each row.
///
/// That n backends draw exponential times of rates w in each of r rows, and the first wins, is the
/// same as that points rain on all rows together, each backend's at rate r·w, and the first to hit a
/// row wins it. So a backend's points are drawn in the order of time, as long as any row is dry.
#[derive(Debug)]
pub struct RendezvousTable {
    owners: Positions,
    /// How far a hash is shifted to give its row.
    shift: u32,
    seed: u64,
}

impl RendezvousTable {
    /// How many rows it has; 0 if no backend has a weight.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.owners.len()
    }

    /// The row of `key`; 0 if there is none.
    #[inline]
    #[must_use]
    pub fn row(&self, key: u64) -> usize {
        usize::try_from(rehash(key ^ self.seed, 0) >> self.shift).unwrap_or(0)
    }

    /// The position in the tier of the backend that owns `row`.
    ///
    /// With [`rows`](Self::rows), for a copy of the table elsewhere, such as a map of the kernel.
    #[inline]
    #[must_use]
    pub fn owner(&self, row: usize) -> Option<usize> {
        self.owners.at(row)
    }

    /// How many bytes its rows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.owners.bytes()
    }
}

impl Placement for Rendezvous {
    type Table = Arc<RendezvousTable>;

    fn table(&self, tier: &Tier, _previous: Option<&Self::Table>) -> Self::Table {
        // The shelf holds whatever is in use, so also the previous table.
        self.shelf.table(tier, || self.build(tier))
    }

    #[inline]
    fn owners(&self, table: &Self::Table, key: u64) -> impl Iterator<Item = usize> {
        let key = key ^ table.seed;
        (0..).map_while(move |attempt| {
            let row = usize::try_from(rehash(key, attempt) >> table.shift).ok()?;
            table.owners.at(row)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, BackendId};

    fn tier(weights: impl IntoIterator<Item = u16>) -> Tier {
        Tier::of(weights.into_iter().zip(1..).map(|(weight, id)| {
            let address = "10.0.0.1:80".parse().unwrap();
            Backend::new("b", address)
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    fn bits(bits: u32) -> RowBits {
        RowBits::new(bits).unwrap()
    }

    fn owned(table: &RendezvousTable, position: usize) -> usize {
        (0..table.rows())
            .filter(|&row| table.owners.at(row) == Some(position))
            .count()
    }

    #[test]
    fn rows_are_a_power_of_two_within_bounds() {
        assert_eq!(RowBits::new(0), None);
        assert_eq!(RowBits::new(25), None);
        assert_eq!([1, 24].map(|n| bits(n).rows()), [2, 1 << 24]);
        let default = [0, 16, 17, 256, 257, 1_024, 1_025].map(RowBits::for_backends);
        assert_eq!(default, [14, 14, 16, 16, 18, 18, 20].map(bits));
    }

    #[test]
    fn shares_are_within_four_standard_deviations_of_the_weights() {
        let weights = [1, 0, 2, 5, 100];
        let table = Rendezvous::default().build(&tier(weights));
        assert_eq!((table.rows(), table.bytes()), (16_384, 16_384));
        for (position, weight) in weights.into_iter().enumerate() {
            let share = f64::from(weight) / 108.0;
            let deviation = (16_384.0 * share * (1.0 - share)).sqrt();
            let got = owned(&table, position) as f64;
            assert!(
                (got - 16_384.0 * share).abs() <= 4.0 * deviation,
                "{position}: {got}"
            );
        }
    }

    #[test]
    fn a_backend_that_gains_weight_only_gains_rows() {
        let before = Rendezvous::default().build(&tier([3, 3, 3]));
        let after = Rendezvous::default().build(&tier([3, 4, 3]));
        for row in 0..before.rows() {
            let (was, is) = (before.owners.at(row), after.owners.at(row));
            assert!(was == is || is == Some(1), "row {row}");
        }
        assert!(owned(&after, 1) > owned(&before, 1));
    }

    #[test]
    fn half_of_the_keys_stay_where_the_rows_double() {
        let less = Rendezvous::default().rows(bits(10)).build(&tier([1; 9]));
        let more = Rendezvous::default().rows(bits(11)).build(&tier([1; 9]));
        let stay = |row| more.owners.at(row) == less.owners.at(row / 2);
        let stayed = (0..2_048).filter(|&row| stay(row)).count();
        assert!(stayed >= 1_024, "{stayed}");
    }

    #[test]
    fn a_tier_without_weights_has_no_owners() {
        let rendezvous = Rendezvous::default();
        for weights in [vec![], vec![0, 0]] {
            let table = rendezvous.table(&tier(weights), None);
            assert_eq!((table.rows(), table.bytes()), (0, 0));
            assert_eq!(rendezvous.owners(&table, 1).next(), None);
        }
    }

    #[test]
    fn the_seed_decides_the_draws_and_clones_share_their_table() {
        let build = |seed| {
            Rendezvous::default()
                .seed(HashKey::from_seed(seed))
                .build(&tier([1; 9]))
        };
        assert_eq!(build(1).owners, build(1).owners);
        assert_ne!(build(1).owners, build(2).owners);
        assert_ne!(build(1).seed, build(2).seed);
        let rendezvous = Rendezvous::default();
        let copy = rendezvous.clone();
        let table = rendezvous.table(&tier([1, 2]), None);
        assert!(Arc::ptr_eq(
            &table,
            &copy.table(&tier([1, 2]), Some(&table))
        ));
        let fewer = copy.rows(bits(4)).table(&tier([1, 2]), None);
        assert_eq!(fewer.rows(), 16);
    }
}
