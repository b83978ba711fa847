//! Random numbers from a seed, so that every run can be had again.

/// A source of random numbers.
///
/// Never a thread-local: the same seed and the same calls give the same picks, which is a law of
/// every scheduler.
pub trait Rng {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// A number in `0..bound`, without modulo bias; 0 if `bound` is 0.
    ///
    /// Source: Lemire, "Fast random integer generation in an interval" (2019).
    #[inline]
    fn below(&mut self, bound: u64) -> u64 {
        let mut wide = u128::from(self.next_u64()) * u128::from(bound);
        if low(wide) < bound {
            let reject = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
            while low(wide) < reject {
                wide = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        high(wide)
    }

    /// A number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    #[inline]
    fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
#[inline]
fn low(wide: u128) -> u64 {
    wide as u64
}

#[inline]
fn high(wide: u128) -> u64 {
    (wide >> 64) as u64
}

/// A small seeded generator: xoshiro256++, seeded by splitmix64.
///
/// Good enough for balancing and simulation, and not for secrets. About 1 ns a number.
///
/// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021).
///
/// # Examples
///
/// ```
/// use lbcore::rng::{Rng, Xoshiro};
///
/// let mut dice = Xoshiro::new(7);
/// let mut again = Xoshiro::new(7);
/// assert_eq!(dice.below(6), again.below(6));
/// ```
#[derive(Clone, Debug)]
pub struct Xoshiro {
    state: [u64; 4],
}

impl Xoshiro {
    /// A generator whose numbers are those of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut word = seed;
        Self {
            state: std::array::from_fn(|_| {
                word = word.wrapping_add(GOLDEN);
                mix(word)
            }),
        }
    }
}

impl Rng for Xoshiro {
    #[inline]
    fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

/// Spreads the bits of `word`: the finaliser of splitmix64, a bijection.
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// 2^64 divided by the golden ratio: the step of splitmix64.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_first_number_of_seed_1234567() {
        // Vigna's splitmix64.c, seed 1234567.
        assert_eq!(
            mix(1_234_567_u64.wrapping_add(GOLDEN)),
            6_457_827_717_110_365_317
        );
    }

    #[test]
    fn below_reaches_every_number_of_a_small_range_alike() {
        let mut rng = Xoshiro::new(1);
        let mut seen = [0_u32; 6];
        for _ in 0..60_000 {
            seen[usize::try_from(rng.below(6)).unwrap()] += 1;
        }
        // Four standard deviations of a binomial of 60,000 tries at 1/6 are 365.
        assert!(seen.iter().all(|n| n.abs_diff(10_000) < 365), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn unit_stays_below_one_and_averages_a_half() {
        let mut rng = Xoshiro::new(2);
        let numbers: Vec<f64> = (0..10_000).map(|_| rng.unit()).collect();
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
