//! Which of the servers that may be asked is asked.

use lbcore::rng::Rng;

/// Draws two of `count` and takes the one that costs less; the only one of one; `None` of none.
///
/// `cost` answers for each position below `count`. Every 32nd choice, by chance, does not look at
/// it: of two servers the dearer would else not be asked at all while there is little to do, and
/// nobody would know whether it has become better, or still signs. Three draws and two costs,
/// however many there are.
///
/// Source: Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
pub(crate) fn of_two(
    rng: &mut impl Rng,
    count: usize,
    cost: impl Fn(usize) -> f64,
) -> Option<usize> {
    let last = count.checked_sub(1)?;
    let one = below(rng, count);
    if last == 0 {
        return Some(0);
    }
    // Any but the first drawn, each alike.
    let other = (one + 1 + below(rng, last)) % count;
    let looks = rng.below(BLIND) != 0;
    Some(if looks && cost(other) < cost(one) {
        other
    } else {
        one
    })
}

/// One of how many choices does not look at the cost.
const BLIND: u64 = 32;

fn below(rng: &mut impl Rng, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    usize::try_from(rng.below(bound)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use lbcore::rng::Xoshiro;

    use super::*;

    fn picks(count: usize, cost: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut rng = Xoshiro::new(11);
        let mut picks = vec![0; count];
        for _ in 0..10_000 {
            picks[of_two(&mut rng, count, &cost).expect("one of them")] += 1;
        }
        picks
    }

    #[test]
    fn none_of_none_and_the_only_one_of_one() {
        assert_eq!(of_two(&mut Xoshiro::new(1), 0, |_| 0.0), None);
        assert_eq!(picks(1, |_| 0.0), [10_000]);
    }

    #[test]
    fn of_two_the_dearer_is_taken_by_half_of_the_blind_choices_alone() {
        let picks: Vec<usize> = picks(2, |n| if n == 0 { 2.0 } else { 1.0 });
        // Five standard deviations of a binomial of 10,000 tries at 1/64 are 62.
        assert!(picks[0].abs_diff(156) < 62, "{picks:?}");
    }

    #[test]
    fn of_four_the_dearest_is_seldom_taken_and_equals_are_alike() {
        let dear: Vec<usize> = picks(4, |n| if n == 3 { 2.0 } else { 1.0 });
        // Five standard deviations of a binomial of 10,000 tries at 1/128 are 44.
        assert!(dear[3].abs_diff(78) < 44, "{dear:?}");
        // Six standard deviations of a binomial of 10,000 tries at 1/4 are 260.
        let alike = picks(4, |_| 1.0);
        assert!(
            alike.iter().all(|n: &usize| n.abs_diff(2_500) < 260),
            "{alike:?}"
        );
    }
}
