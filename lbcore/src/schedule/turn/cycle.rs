//! Weighted turns, evenly spread and exact.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Turns of members by weight, without end: each takes exactly its weight of every cycle, and at
/// every moment is less than one turn ahead of or behind its due.
///
/// A cycle is cut into as many slots as the weights add up to. A member of weight w has w turns in
/// it, the k-th of which may not begin before slot ⌊k·W/w⌋ and is due by slot ⌈(k+1)·W/w⌉; of the
/// turns that may begin, the one due first is taken. Such a schedule always exists.
///
/// Cost: O(log n) a turn.
///
/// Source: Baruah et al., "Proportionate progress" (Algorithmica 1996), on one processor.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// What the weights add up to: the length of a cycle.
    length: u64,
    slot: u64,
    /// Turns that may begin now, by when they are due.
    ready: BinaryHeap<Reverse<Turn>>,
    /// Turns that may not begin yet, by when they may.
    waiting: BinaryHeap<Reverse<Turn>>,
}

/// The next turn of one member; ordered by `at`, then by the smaller weight, which can wait less.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Turn {
    /// When it is due if it is ready, when it may begin if it waits.
    at: u64,
    weight: u64,
    member: u32,
    /// How many turns of this cycle the member has had.
    had: u64,
}

impl Cycle {
    /// The turns of these members, each with its weight; weights of 0 take none.
    pub(super) fn new(members: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let members: Vec<(u32, u64)> = members.into_iter().filter(|&(_, w)| w > 0).collect();
        let divisor = members
            .iter()
            .fold(0, |all, &(_, weight)| gcd(all, weight))
            .max(1);
        let sum: u64 = members.iter().map(|&(_, weight)| weight / divisor).sum();
        let shift = sum.checked_ilog2().unwrap_or(0).saturating_sub(LONGEST);
        let weight = |weight: u64| ((weight / divisor) >> shift).max(1);
        let members = members
            .into_iter()
            .map(|(member, own)| (member, weight(own)));
        let length = members.clone().map(|(_, weight)| weight).sum();
        let mut cycle = Self {
            length,
            slot: 0,
            ready: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
        };
        let turns = members.map(|(member, weight)| Turn {
            at: 0,
            weight,
            member,
            had: 0,
        });
        cycle.ready = turns.map(|turn| Reverse(cycle.due(turn))).collect();
        cycle.waiting.reserve(cycle.ready.len());
        cycle
    }

    /// How many turns a cycle has.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Whose turn it is; `None` if nobody has a weight.
    ///
    /// Allocates nothing: both heaps have room for every member.
    pub(super) fn next(&mut self) -> Option<u32> {
        while let Some(&Reverse(turn)) = self.waiting.peek() {
            if turn.at > self.slot {
                break;
            }
            self.waiting.pop();
            self.ready.push(Reverse(self.due(turn)));
        }
        let Reverse(mut turn) = self.ready.pop()?;
        let member = turn.member;
        turn.had += 1;
        turn.at = self.first_slot(turn);
        self.waiting.push(Reverse(turn));
        self.slot += 1;
        if self.slot == self.length {
            self.begin_again();
        }
        Some(member)
    }

    /// Every member has had its weight and waits for the next cycle: all begin anew, so that no
    /// number grows.
    fn begin_again(&mut self) {
        self.slot = 0;
        for Reverse(turn) in self.waiting.drain() {
            let first = Turn {
                at: 0,
                had: 0,
                ..turn
            };
            self.ready.push(Reverse(Self::due_in(self.length, first)));
        }
    }

    /// The first slot in which the member's next turn may begin.
    fn first_slot(&self, turn: Turn) -> u64 {
        wide_div(turn.had, self.length, turn.weight)
    }

    fn due(&self, turn: Turn) -> Turn {
        Self::due_in(self.length, turn)
    }

    fn due_in(length: u64, turn: Turn) -> Turn {
        // ⌈(k+1)·W/w⌉
        let at = wide_div(turn.had + 1, length, turn.weight);
        let exact = (turn.had + 1) * length == at * turn.weight;
        Turn {
            at: at + u64::from(!exact),
            ..turn
        }
    }
}

/// A cycle is shorter than 2^39 turns, so that it times a weight of 24 bits is a number; only more
/// than 16,384 backends of the greatest weight reach that, and theirs are then rounded.
const LONGEST: u32 = 38;

/// ⌊a·b/c⌋: turns and lengths stay below 2^25 and 2^39, so the product fits.
const fn wide_div(a: u64, b: u64, c: u64) -> u64 {
    a * b / c
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u64], count: usize) -> Vec<u32> {
        let mut cycle = Cycle::new((0..).zip(weights.iter().copied()));
        (0..count).map_while(|_| cycle.next()).collect()
    }

    #[test]
    fn every_cycle_is_exact_and_every_moment_within_one_turn() {
        for weights in [
            &[5, 1, 1][..],
            &[1, 1, 1],
            &[7, 3, 2, 1],
            &[50, 1, 1, 1, 1, 1, 1, 1, 1],
            &[6, 4, 0, 2],
        ] {
            let divisor = weights.iter().fold(0, |all, &w| gcd(all, w));
            let cycle: u64 = weights.iter().map(|w| w / divisor).sum();
            let mut had = vec![0_u64; weights.len()];
            for (slot, member) in (1..).zip(turns(weights, 3 * usize::try_from(cycle).unwrap())) {
                had[member as usize] += 1;
                for (&had, &weight) in had.iter().zip(weights) {
                    // |had − slot·w/W| < 1, in whole numbers.
                    let due = slot * (weight / divisor);
                    assert!((had * cycle).abs_diff(due) < cycle, "{weights:?} at {slot}");
                    assert!(
                        slot % cycle != 0 || had * cycle == due,
                        "{weights:?} at {slot}"
                    );
                }
            }
        }
    }

    #[test]
    fn weights_with_a_common_divisor_make_a_short_cycle() {
        assert_eq!(Cycle::new([(0, 512), (1, 256)]).length(), 3);
        assert_eq!(Cycle::new([(0, 0)]).length(), 0);
        assert_eq!(turns(&[0, 0], 1), []);
        assert_eq!(turns(&[], 1), []);
    }

    #[test]
    fn the_heaviest_weights_do_not_overflow() {
        let most = u64::from(u16::MAX) * 256;
        let members = (0..70_000).map(|member| (member, most - u64::from(member)));
        let mut cycle = Cycle::new(members);
        assert!(cycle.length() < 1 << 39);
        for _ in 0..1_000 {
            assert!(cycle.next().is_some());
        }
    }
}
