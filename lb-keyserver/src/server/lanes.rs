//! In which order signatures are made.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What is quick does not wait behind what is slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lane {
    Quick,
    Slow,
}

impl Lane {
    /// The lane of a job that takes so long.
    pub(crate) fn of(pace: Duration) -> Self {
        if pace <= QUICK {
            Self::Quick
        } else {
            Self::Slow
        }
    }
}

/// Twice what waking a thread costs at worst, and ten signatures on P-256.
const QUICK: Duration = Duration::from_micros(200);

/// Jobs that wait, in two lanes.
///
/// Where both have some, each gets half of the time. Within a lane, owners take turns, however much
/// each has waiting: who sends a thousand at once waits for their own. A queue of fair shares by
/// cost, as deficit round robin (Shreedhar and Varghese, 1996) has for packets.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    quick: Waiting<J>,
    slow: Waiting<J>,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self {
            quick: Waiting::default(),
            slow: Waiting::default(),
        }
    }
}

impl<J> Lanes<J> {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.quick.len + self.slow.len
    }

    /// Puts a job that will take `pace` behind those of its owner.
    pub(crate) fn push(&mut self, owner: u64, pace: Duration, job: J) {
        let (lane, other) = match Lane::of(pace) {
            Lane::Quick => (&mut self.quick, &self.slow),
            Lane::Slow => (&mut self.slow, &self.quick),
        };
        // Time that was not used for want of jobs is not made up for.
        if lane.len == 0 && other.len != 0 {
            lane.served = lane.served.max(other.served);
        }
        lane.push(owner, pace, job);
    }

    /// The lane whose turn it is, of those that may be served.
    pub(crate) fn next(&self, may: impl Fn(Lane) -> bool) -> Option<Lane> {
        let quick = self.quick.len != 0 && may(Lane::Quick);
        let slow = self.slow.len != 0 && may(Lane::Slow);
        match (quick, slow) {
            (true, true) if self.slow.served < self.quick.served => Some(Lane::Slow),
            (true, _) => Some(Lane::Quick),
            (false, true) => Some(Lane::Slow),
            (false, false) => None,
        }
    }

    /// Takes jobs of a lane that together take up to `budget`, and at least one.
    pub(crate) fn take(&mut self, lane: Lane, budget: Duration, into: &mut Vec<J>) {
        match lane {
            Lane::Quick => self.quick.take(budget, into),
            Lane::Slow => self.slow.take(budget, into),
        }
    }

    /// Takes all jobs.
    pub(crate) fn take_all(&mut self, into: &mut Vec<J>) {
        for lane in [Lane::Quick, Lane::Slow] {
            self.take(lane, Duration::MAX, into);
        }
    }
}

/// The jobs of one lane.
#[derive(Debug)]
struct Waiting<J> {
    /// Owners with jobs, the next first.
    turns: VecDeque<u64>,
    jobs: HashMap<u64, VecDeque<(Duration, J)>>,
    len: usize,
    /// What has been taken so far.
    served: Duration,
}

impl<J> Default for Waiting<J> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            jobs: HashMap::new(),
            len: 0,
            served: Duration::ZERO,
        }
    }
}

impl<J> Waiting<J> {
    fn push(&mut self, owner: u64, pace: Duration, job: J) {
        let of_owner = self.jobs.entry(owner).or_default();
        if of_owner.is_empty() {
            self.turns.push_back(owner);
        }
        of_owner.push_back((pace, job));
        self.len += 1;
    }

    fn take(&mut self, budget: Duration, into: &mut Vec<J>) {
        let mut spent = Duration::ZERO;
        while let Some(owner) = self.turns.pop_front() {
            let jobs = self.jobs.entry(owner).or_default();
            while let Some((pace, job)) = jobs.pop_front() {
                into.push(job);
                self.len -= 1;
                spent = spent.saturating_add(pace);
                if spent >= budget {
                    break;
                }
            }
            if jobs.is_empty() {
                self.jobs.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
            if spent >= budget {
                break;
            }
        }
        self.served = self.served.saturating_add(spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK_JOB: Duration = Duration::from_micros(20);
    const SLOW_JOB: Duration = Duration::from_micros(400);
    const BUDGET: Duration = Duration::from_micros(100);

    fn take(lanes: &mut Lanes<u32>, lane: Lane) -> Vec<u32> {
        let mut taken = Vec::new();
        lanes.take(lane, BUDGET, &mut taken);
        taken
    }

    #[test]
    fn a_job_at_the_bound_is_quick_and_one_beyond_it_slow() {
        assert_eq!(Lane::of(QUICK), Lane::Quick);
        assert_eq!(Lane::of(QUICK + Duration::from_nanos(1)), Lane::Slow);
    }

    #[test]
    fn a_turn_ends_when_its_time_is_spent() {
        let mut lanes = Lanes::default();
        (0..7).for_each(|job| lanes.push(1, QUICK_JOB, job));
        assert_eq!(take(&mut lanes, Lane::Quick), [0, 1, 2, 3, 4]);
        assert_eq!(lanes.len(), 2);
        assert_eq!(take(&mut lanes, Lane::Quick), [5, 6]);
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn at_least_one_is_taken_however_slow() {
        let mut lanes = Lanes::default();
        (0..2).for_each(|job| lanes.push(1, SLOW_JOB, job));
        assert_eq!(take(&mut lanes, Lane::Slow), [0]);
    }

    #[test]
    fn owners_take_turns_however_much_each_has_waiting() {
        let mut lanes = Lanes::default();
        (0..100).for_each(|job| lanes.push(1, QUICK_JOB, job));
        (100..103).for_each(|job| lanes.push(2, QUICK_JOB, job));
        assert_eq!(take(&mut lanes, Lane::Quick), [0, 1, 2, 3, 4]);
        // What is left of the turn goes to the next.
        assert_eq!(take(&mut lanes, Lane::Quick), [100, 101, 102, 5, 6]);
        assert_eq!(take(&mut lanes, Lane::Quick), [7, 8, 9, 10, 11]);
    }

    #[test]
    fn both_lanes_get_half_of_the_time() {
        let mut lanes = Lanes::default();
        (0..1000).for_each(|job| lanes.push(1, QUICK_JOB, job));
        (0..100).for_each(|job| lanes.push(2, SLOW_JOB, job));
        let (mut quick, mut slow) = (0, 0);
        for _ in 0..50 {
            match lanes.next(|_| true).unwrap() {
                Lane::Quick => quick += take(&mut lanes, Lane::Quick).len(),
                Lane::Slow => slow += take(&mut lanes, Lane::Slow).len(),
            }
        }
        let (quick, slow) = (20 * quick, 400 * slow);
        assert!(quick.abs_diff(slow) <= 400, "{quick} µs and {slow} µs");
    }

    #[test]
    fn a_lane_that_was_empty_makes_up_for_nothing() {
        let mut lanes = Lanes::default();
        (0..50).for_each(|job| lanes.push(1, SLOW_JOB, job));
        (0..40).for_each(|_| drop(take(&mut lanes, Lane::Slow)));
        (0..1000).for_each(|job| lanes.push(2, QUICK_JOB, job));
        // It comes first, and then they take turns.
        assert_eq!(lanes.next(|_| true), Some(Lane::Quick));
        take(&mut lanes, Lane::Quick);
        assert_eq!(lanes.next(|_| true), Some(Lane::Slow));
    }

    #[test]
    fn only_what_may_be_served_is_offered() {
        let mut lanes = Lanes::default();
        lanes.push(1, SLOW_JOB, 0);
        assert_eq!(lanes.next(|lane| lane == Lane::Quick), None);
        assert_eq!(lanes.next(|lane| lane == Lane::Slow), Some(Lane::Slow));
        lanes.push(1, QUICK_JOB, 1);
        assert_eq!(lanes.next(|lane| lane == Lane::Slow), Some(Lane::Slow));
        assert_eq!(lanes.next(|_| false), None);
    }

    #[test]
    fn all_can_be_taken_at_once() {
        let mut lanes = Lanes::default();
        (0..3_u32).for_each(|job| lanes.push(job.into(), SLOW_JOB, job));
        (3..6_u32).for_each(|job| lanes.push(job.into(), QUICK_JOB, job));
        let mut taken = Vec::new();
        lanes.take_all(&mut taken);
        assert_eq!(taken, [3, 4, 5, 0, 1, 2]);
        assert_eq!(lanes.len(), 0);
    }
}
