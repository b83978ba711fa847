//! Google's table: even, compact, and alike on every node.

use std::sync::Arc;

use thiserror::Error;

use super::compact::Positions;
use super::placement::{Placement, place, rehash};
use super::shelf::Shelf;
use super::turns::{Walk, fill, quotas};
use crate::hash::HashKey;
use crate::schedule::{Candidate, Tier};

/// Places keys by Maglev's table: each backend in turn takes the slot it likes best of those left.
///
/// Turns come in proportion to weights, so that each backend has its exact share of the slots,
/// rounded to a slot, and at least one. When one of n equal backends leaves, its keys move, and
/// fewer than as many again of the others' (measured: 0.6 times as many up to 300 backends, twice
/// at 1,000); with unequal weights, up to three n-th parts of the others'.
///
/// The table is built of identities and weights alone and holds every backend of weight above 0,
/// whatever its health: see [`Placement`]. What it places by must be spread by a secret key (such
/// as [`KeyExtractor`](crate::schedule::KeyExtractor) does); [`seed`](Self::seed) makes it unknown, too, which
/// keys share a slot. Nodes that must place alike are given the same seed and table size.
///
/// The number of slots is the smallest prime of a list of doubling sizes that is at least 100 n, so
/// that shares are within 1 % of the weights, at least 4 n², so that few keys move, and at least
/// 4,093: 65,537 for 100 backends, and 1,048,573 at most. Where n crosses such a limit, nearly all keys
/// move, unless [`table_size`](Self::table_size) fixes it.
///
/// Cost: a pick is O(1), one look-up in a table of 1 byte a slot (2 bytes beyond 256 backends, 4
/// beyond 65,536), so 4 KiB for 5 backends and 2 MiB for 10,000. Building is about 60 ns a slot,
/// once for every change of the configuration. Clones share the tables of tiers that are the same,
/// so ten thousand pools of the same backends have one table.
///
/// Exact across workers: they read the same table.
///
/// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI
/// 2016), section 3.4; weights as turns are from the same section.
///
/// # Examples
///
/// ```
/// use lbcore::hash::HashKey;
/// use lbcore::schedule::Maglev;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let maglev = Maglev::default().seed(HashKey::new([7; 16]));
/// let pool = Pool::new(maglev.clone())
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let elsewhere = Pool::new(maglev)
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?))
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?));
/// let (mut here, mut there) = (pool.balancer(0), elsewhere.balancer(1));
/// for key in 0..100 {
///     let ours = here.acquire(Instant::ZERO, &Pick::keyed(key)).unwrap();
///     let theirs = there.acquire(Instant::ZERO, &Pick::keyed(key)).unwrap();
///     assert_eq!(ours.backend(), theirs.backend());
/// }
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Maglev {
    seed: HashKey,
    size: Option<u32>,
    shelf: Shelf<MaglevTable>,
}

impl Default for Maglev {
    fn default() -> Self {
        Self {
            seed: HashKey::from_seed(0),
            size: None,
            shelf: Shelf::default(),
        }
    }
}

impl Maglev {
    /// The largest table: 2^24 slots.
    pub const LARGEST: u32 = 1 << 24;

    /// Sets what backends' preferences are drawn from. Default: public and always the same.
    #[must_use]
    pub fn seed(self, seed: HashKey) -> Self {
        Self {
            seed,
            shelf: Shelf::default(),
            ..self
        }
    }

    /// Fixes the number of slots, so that keys stay while the number of backends grows.
    ///
    /// A prime up to [`Maglev::LARGEST`]. Shares are within 1 % of the weights when it is at least
    /// 100 times the number of backends. A tier of more backends than slots gets the smallest prime
    /// that holds them.
    ///
    /// # Errors
    ///
    /// The number is out of range, or no prime.
    pub fn table_size(self, slots: u32) -> Result<Self, TableSizeError> {
        if slots > Self::LARGEST {
            return Err(TableSizeError::TooLarge(slots));
        }
        if !is_prime(u64::from(slots)) {
            return Err(TableSizeError::NotPrime(slots));
        }
        Ok(Self {
            size: Some(slots),
            shelf: Shelf::default(),
            ..self
        })
    }

    /// How many slots the table of `backends` backends has.
    fn slots(&self, backends: usize) -> usize {
        let wanted = match self.size {
            Some(fixed) => fixed as usize,
            None => size_for(backends),
        };
        // Only a tier of more backends than slots looks for a prime here.
        let mut slots = wanted.max(backends);
        while slots > wanted && !is_prime(slots as u64) {
            slots += 1;
        }
        slots
    }
}

/// Why a table cannot have so many slots; the writer of the number can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TableSizeError {
    /// Only in a table of prime size does each backend's preference reach every slot.
    #[error("table size {0} is not a prime")]
    NotPrime(u32),
    /// More than [`Maglev::LARGEST`].
    #[error("table size {0} is above {max}", max = Maglev::LARGEST)]
    TooLarge(u32),
}

/// Which backend owns each slot.
#[derive(Debug)]
pub struct MaglevTable {
    owners: Positions,
    seed: u64,
}

impl MaglevTable {
    /// How many slots it has; 0 if no backend has a weight.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.owners.len()
    }

    /// The slot of `key`.
    #[inline]
    #[must_use]
    pub fn slot(&self, key: u64) -> usize {
        place(rehash(key ^ self.seed, 0), self.owners.len())
    }

    /// The position in the tier of the backend that owns `slot`.
    ///
    /// With [`slots`](Self::slots), for a copy of the table elsewhere, such as a map of the kernel.
    #[inline]
    #[must_use]
    pub fn owner(&self, slot: usize) -> Option<usize> {
        self.owners.at(slot)
    }

    /// How many bytes its slots take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.owners.bytes()
    }
}

impl Placement for Maglev {
    type Table = Arc<MaglevTable>;

    fn table(&self, tier: &Tier, _previous: Option<&Self::Table>) -> Self::Table {
        // The shelf holds whatever is in use, so also the previous table.
        self.shelf.table(tier, || self.build(tier))
    }

    #[inline]
    fn owners(&self, table: &Self::Table, key: u64) -> impl Iterator<Item = usize> {
        let key = key ^ table.seed;
        (0..).map_while(move |attempt| {
            let slot = place(rehash(key, attempt), table.owners.len());
            table.owners.at(slot)
        })
    }
}

impl Maglev {
    fn build(&self, tier: &Tier) -> MaglevTable {
        let members: Vec<(u32, &Candidate)> = (0..)
            .zip(tier.candidates())
            .filter(|(_, candidate)| candidate.backend.weight.0 > 0)
            .collect();
        let slots = match members.len() {
            0 => 0,
            backends => self.slots(backends),
        };
        let weights: Vec<u64> = members
            .iter()
            .map(|(_, candidate)| u64::from(candidate.backend.weight.0))
            .collect();
        let walks = members.iter().zip(quotas(&weights, slots as u64));
        let walks = walks.map(|(&(position, candidate), quota)| {
            let id = candidate.backend.id.as_u64();
            let draw = |part| self.seed.sip13_words([id, part]);
            Walk {
                position,
                weight: u64::from(candidate.backend.weight.0),
                quota,
                first: place(draw(0), slots),
                step: 1 + place(draw(1), slots.saturating_sub(1)),
            }
        });
        let walks = walks.collect();
        MaglevTable {
            owners: Positions::new(tier.len(), &fill(walks, slots)),
            seed: self.seed.sip13_words([0, 2]),
        }
    }
}

/// The sizes that a table has by default: primes that double, from the default of IPVS's `mh` to the
/// paper's largest but one.
///
/// Smaller tables move keys by luck: with 1,021 slots one of nine backends took 2.3 shares along.
const SIZES: [usize; 9] = [
    4_093, 8_191, 16_381, 32_749, 65_537, 131_071, 262_139, 655_373, 1_048_573,
];

/// How many slots a backend has at least on average, so that shares are within 1 % (section 5.3 of
/// the paper).
const EVEN: usize = 100;

/// In a table of this many slots times the square of the number of backends, no more keys of the
/// others move than of the backend that leaves; measured at up to 512 backends, where the largest
/// size is reached.
const STEADY: usize = 4;

fn size_for(backends: usize) -> usize {
    let enough = backends.saturating_mul(EVEN.max(backends.saturating_mul(STEADY)));
    let size = SIZES.into_iter().find(|&size| size >= enough);
    size.unwrap_or(SIZES[SIZES.len() - 1])
}

fn is_prime(number: u64) -> bool {
    let divides = |divisor: u64| number.is_multiple_of(divisor);
    number >= 2
        && !(2..)
            .take_while(|divisor| divisor * divisor <= number)
            .any(divides)
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

    fn owned(table: &MaglevTable, position: usize) -> usize {
        (0..table.slots())
            .filter(|&slot| table.owners.at(slot) == Some(position))
            .count()
    }

    #[test]
    fn every_default_size_is_a_prime_above_the_one_before() {
        assert!(SIZES.is_sorted() && SIZES.iter().all(|&size| is_prime(size as u64)));
        assert!([2, 3, 251].into_iter().all(is_prime));
        assert!(![0, 1, 4, 9, 249, 65_536].into_iter().any(is_prime));
    }

    #[test]
    fn a_table_has_slots_by_the_number_of_backends_and_by_its_square() {
        let maglev = Maglev::default();
        for (backends, slots) in [
            (1, 4_093),
            (31, 4_093),
            (32, 8_191),
            (63, 16_381),
            (64, 32_749),
            (128, 65_537),
            (129, 131_071),
            (404, 655_373),
            (405, 1_048_573),
            (1_000_000, 1_048_573),
            (1_048_574, 1_048_583),
        ] {
            assert_eq!(maglev.slots(backends), slots, "{backends} backends");
        }
    }

    #[test]
    fn a_table_size_is_a_prime_within_bounds_and_grows_only_when_it_must() {
        let error = |slots| Maglev::default().table_size(slots).unwrap_err();
        assert_eq!(error(0), TableSizeError::NotPrime(0));
        assert_eq!(error(65_536), TableSizeError::NotPrime(65_536));
        assert_eq!(error(1 << 24), TableSizeError::NotPrime(1 << 24));
        assert_eq!(
            error((1 << 24) + 1),
            TableSizeError::TooLarge((1 << 24) + 1)
        );
        assert!(Maglev::default().table_size(16_777_213).is_ok());
        let small = Maglev::default().table_size(5).unwrap();
        assert_eq!([1, 5, 6, 8].map(|n| small.slots(n)), [5, 5, 7, 11]);
    }

    #[test]
    fn each_backend_owns_its_share_of_the_slots_and_one_of_weight_0_none() {
        let maglev = Maglev::default().table_size(509).unwrap();
        let table = maglev.build(&tier([1, 0, 2, 5]));
        assert_eq!([0, 1, 2, 3].map(|at| owned(&table, at)), [64, 0, 127, 318]);
        let maglev = Maglev::default().table_size(251).unwrap();
        let even = maglev.build(&tier([65_535; 2]));
        assert_eq!([0, 1].map(|at| owned(&even, at)), [126, 125]);
    }

    #[test]
    fn a_tier_without_weights_has_no_owners() {
        let maglev = Maglev::default();
        for weights in [vec![], vec![0, 0]] {
            let table = maglev.table(&tier(weights), None);
            assert_eq!((table.slots(), table.bytes()), (0, 0));
            assert_eq!(maglev.owners(&table, 1).next(), None);
        }
    }

    #[test]
    fn the_seed_decides_who_likes_which_slot() {
        let build = |seed| {
            Maglev::default()
                .seed(HashKey::from_seed(seed))
                .build(&tier([1; 9]))
        };
        assert_eq!(build(1).owners, build(1).owners);
        assert_ne!(build(1).owners, build(2).owners);
        assert_ne!(build(1).seed, build(2).seed);
    }

    #[test]
    fn a_table_is_kept_while_the_configuration_stays_and_shared_by_clones() {
        let maglev = Maglev::default();
        let copy = maglev.clone();
        let table = maglev.table(&tier([1, 2]), None);
        assert!(Arc::ptr_eq(
            &table,
            &copy.table(&tier([1, 2]), Some(&table))
        ));
        assert!(!Arc::ptr_eq(
            &table,
            &maglev.table(&tier([2, 1]), Some(&table))
        ));
        let other = maglev
            .seed(HashKey::from_seed(5))
            .table(&tier([1, 2]), None);
        assert_ne!(table.owners, other.owners);
    }
}
