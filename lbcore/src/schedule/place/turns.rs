//! Dividing the slots of a table by weight, and taking them in turns.

use std::collections::BTreeSet;

/// How many of `slots` slots each backend gets: its share, rounded to a slot, and at least one.
///
/// What rounding leaves goes to the largest remainders, earlier backends first. Weights are above 0,
/// and there are at least as many slots as backends.
pub(super) fn quotas(weights: &[u64], slots: u64) -> Vec<u64> {
    let mut quotas = vec![1; weights.len()];
    let (mut slots, mut total) = (slots, weights.iter().sum::<u64>());
    let mut lightest: Vec<(u64, usize)> = weights.iter().copied().zip(0..).collect();
    lightest.sort_unstable();
    let mut rest = lightest.into_iter().peekable();
    // Whoever would get less than one slot gets one, and the others divide what is left.
    while let Some((weight, _)) = rest.next_if(|&(weight, _)| slots * weight < total) {
        slots = slots.saturating_sub(1);
        total -= weight;
    }
    let mut remainders = BTreeSet::new();
    let mut left = slots;
    for (weight, at) in rest {
        let whole = slots * weight / total;
        left = left.saturating_sub(whole);
        remainders.insert((u64::MAX - slots * weight % total, at));
        if let Some(quota) = quotas.get_mut(at) {
            *quota = whole;
        }
    }
    for (_, at) in remainders.into_iter().zip(0..left).map(|(entry, _)| entry) {
        if let Some(quota) = quotas.get_mut(at) {
            *quota += 1;
        }
    }
    quotas
}

/// One backend on its way through the slots, in the order of its liking.
pub(super) struct Walk {
    pub(super) position: u32,
    /// Above 0.
    pub(super) weight: u64,
    /// How many slots it takes.
    pub(super) quota: u64,
    /// The slot that it likes best; then come those `step` further on, and around.
    pub(super) first: usize,
    pub(super) step: usize,
}

/// How far a backend has come.
struct Progress {
    walk: Walk,
    at: usize,
    taken: u64,
}

impl Progress {
    /// Takes the slot it likes best of those left.
    fn take(&mut self, table: &mut [u32]) {
        // Steps of any length below a prime reach every slot, and a quota says that one is left.
        for _ in 0..table.len() {
            let free = table.get_mut(self.at).filter(|slot| **slot == FREE);
            let found = free.map(|slot| *slot = self.walk.position).is_some();
            self.at += self.walk.step;
            if self.at >= table.len() {
                self.at -= table.len();
            }
            if found {
                break;
            }
        }
        self.taken += 1;
    }

    /// In which round it takes its next slot, if it has one to take; one of weight `most` takes a
    /// slot in each.
    ///
    /// Weights alone say so, and not the quotas: these change for all when one backend leaves, and
    /// an early change of turns would move many later slots.
    fn next_turn(&self, most: u64) -> Option<usize> {
        let more = self.taken < self.walk.quota;
        let turn = (self.taken * most).checked_div(self.walk.weight);
        turn.filter(|_| more)
            .and_then(|turn| usize::try_from(turn).ok())
    }
}

/// A slot that nobody has taken: a tier of 2^32 backends does not fit in memory.
const FREE: u32 = u32::MAX;

/// Whose turn it is in each round, first come first; who has few turns costs the other rounds
/// nothing.
#[derive(Default)]
struct Turns {
    /// The first and the last backend of each round.
    rounds: Vec<Option<(u32, u32)>>,
    /// The next backend of the same round.
    next: Vec<Option<u32>>,
}

impl Turns {
    fn add(&mut self, round: usize, who: u32) {
        if self.rounds.len() <= round {
            self.rounds.resize(round + 1, None);
        }
        let Some(queue) = self.rounds.get_mut(round) else {
            return;
        };
        let (first, last) = queue.unwrap_or((who, who));
        *queue = Some((first, who));
        if last != who
            && let Some(next) = self.next.get_mut(last as usize)
        {
            *next = Some(who);
        }
    }

    /// Takes out the backend behind `who`.
    fn after(&mut self, who: u32) -> Option<u32> {
        self.next.get_mut(who as usize).and_then(Option::take)
    }
}

/// Lets each backend take as many of `slots` slots as its quota says, in turns by weight.
///
/// `slots` is a prime, and the sum of the quotas.
pub(super) fn fill(walks: Vec<Walk>, slots: usize) -> Vec<u32> {
    let most = walks.iter().map(|walk| walk.weight).max().unwrap_or(0);
    let mut table = vec![FREE; slots];
    let mut turns = Turns::default();
    let begin = |walk: Walk| Progress {
        at: walk.first,
        taken: 0,
        walk,
    };
    let mut all: Vec<Progress> = walks.into_iter().map(begin).collect();
    turns.next.resize(all.len(), None);
    for (progress, who) in all.iter().zip(0..) {
        if let Some(turn) = progress.next_turn(most) {
            turns.add(turn, who);
        }
    }
    let mut round = 0;
    while let Some(queue) = turns.rounds.get(round).copied() {
        let mut turn = queue.map(|(first, _)| first);
        while let Some(who) = turn {
            turn = turns.after(who);
            if let Some(progress) = all.get_mut(who as usize) {
                progress.take(&mut table);
                if let Some(later) = progress.next_turn(most) {
                    turns.add(later, who);
                }
            }
        }
        round += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_the_share_rounded_by_largest_remainder() {
        assert_eq!(quotas(&[1, 1, 1], 10), [4, 3, 3]);
        assert_eq!(quotas(&[1, 2, 3], 12), [2, 4, 6]);
        // Shares 1.75, 5.25.
        assert_eq!(quotas(&[1, 3], 7), [2, 5]);
        assert_eq!(quotas(&[3, 1], 7), [5, 2]);
        assert_eq!(quotas(&[], 7), []);
    }

    #[test]
    fn whoever_has_a_weight_has_a_slot() {
        assert_eq!(quotas(&[65_535, 1, 1], 251), [249, 1, 1]);
        assert_eq!(quotas(&[1, 100, 100], 201), [1, 100, 100]);
        assert_eq!(quotas(&[7; 5], 5), [1; 5]);
        // What is left is divided by the weights that are left: 10 slots by 60 and 140.
        let crowd = [[1; 20].as_slice(), &[60, 140]].concat();
        assert_eq!(quotas(&crowd, 30)[20..], [3, 7]);
        // Exactly one slot is no less than one.
        assert_eq!(quotas(&[1, 4, 5], 10), [1, 4, 5]);
    }

    fn walk(position: u32, weight: u64, quota: u64, first: usize, step: usize) -> Walk {
        Walk {
            position,
            weight,
            quota,
            first,
            step,
        }
    }

    #[test]
    fn turns_of_unequal_backends_are_spread_over_the_rounds() {
        // All like slots 0, 1, 2, ...: so the table shows the order of turns. Rounds: 0 1 2, 1 2, 0 1,
        // 2 1, 1, 1.
        let walks = [(2, 2), (5, 6), (3, 3)].into_iter().zip(0..);
        let walks = walks.map(|((weight, quota), at)| walk(at, weight, quota, 0, 1));
        assert_eq!(fill(walks.collect(), 11), [0, 1, 2, 1, 2, 0, 1, 2, 1, 1, 1]);
    }

    #[test]
    fn a_backend_takes_the_slot_that_it_likes_best_of_those_left() {
        let walks = vec![walk(0, 1, 2, 3, 2), walk(1, 1, 3, 3, 4)];
        // 0 takes 3; 1 wants 3 and takes 2; 0 takes 0; 1 takes 1, wants 0, 4 and takes 4.
        assert_eq!(fill(walks, 5), [0, 1, 1, 0, 1]);
        assert_eq!(fill(vec![], 0), []);
    }
}
