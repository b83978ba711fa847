//! What every health check must keep.

use std::time::Duration;

use crate::Instant;
use crate::health::{DueProbe, Health, HealthCheck, ProbeFailure, ProbeNumber, ProbeOutcome};
use crate::rng::{Rng, Xoshiro};

/// What every [`HealthCheck`] must keep, whoever wrote it.
///
/// Runs 200 random lives, of 100 steps each, through the unused checks that `make` returns.
///
/// 1. At most one probe is under way, its deadline is ahead, and no number comes twice.
/// 2. No probe is due before the moment that `poll_timeout` names, and that moment is never later
///    than the deadline of the probe under way.
/// 3. An answer to another probe than the one under way changes nothing.
/// 4. An answer at the deadline or after it is a timeout, and nothing times out before.
/// 5. Health changes only with a transition, which tells both sides truly and the outcome that
///    tipped it; only a pass brings a backend up, only a failure takes it down.
/// 6. The same seed and the same calls give the same answers.
///
/// # Panics
///
/// Panics at the first broken law, and names the seed that breaks it again.
///
/// # Examples
///
/// ```
/// use lbcore::health::{HealthConfig, Monitor};
/// use lbcore::sim::laws::health_check_laws;
///
/// health_check_laws(|| Monitor::new(&HealthConfig::default()).expect("the default is in range"));
/// ```
#[track_caller]
pub fn health_check_laws<C: HealthCheck>(make: impl Fn() -> C) {
    for seed in 0..LIVES {
        let once = Life::new(make(), seed).run();
        let again = Life::new(make(), seed).run();
        assert!(
            once == again,
            "law 6: the same calls, other answers (seed {seed})"
        );
    }
}

/// One check, its time, and what it is known to have said.
struct Life<C> {
    check: C,
    seed: u64,
    now: Instant,
    /// What the check draws from.
    rng: Xoshiro,
    /// What the steps are drawn from.
    dice: Xoshiro,
    under_way: Option<DueProbe>,
    numbers: Vec<ProbeNumber>,
    told: Vec<(Instant, Health, Option<Instant>)>,
}

impl<C: HealthCheck> Life<C> {
    fn new(check: C, seed: u64) -> Self {
        Self {
            check,
            seed,
            now: Instant::from_nanos(1_000_000_000),
            rng: Xoshiro::new(seed),
            dice: Xoshiro::new(!seed),
            under_way: None,
            numbers: Vec::new(),
            told: Vec::new(),
        }
    }

    #[track_caller]
    fn run(mut self) -> Vec<(Instant, Health, Option<Instant>)> {
        for _ in 0..STEPS {
            match self.dice.below(8) {
                0 | 1 => self.poll(),
                2 | 3 => self.answer(),
                4 => self.answer_another(),
                5 => self.time_out(),
                6 => self.wait_a_little(),
                _ => self.wait_until_told(),
            }
            let next = self.check.poll_timeout();
            if let Some(probe) = self.under_way {
                let waits = next.is_some_and(|next| next <= probe.deadline);
                self.law(2, waits, "the deadline is slept through");
            }
            self.told.push((self.now, self.check.health(), next));
        }
        self.told
    }

    #[track_caller]
    fn poll(&mut self) {
        let (before, next) = (self.check.health(), self.check.poll_timeout());
        let probe = self.check.poll_probe(self.now, &mut self.rng);
        self.law(
            5,
            before == self.check.health(),
            "asking for a probe changed the health",
        );
        let Some(probe) = probe else {
            return;
        };
        self.law(1, self.under_way.is_none(), "two probes are under way");
        self.law(1, probe.deadline > self.now, "the deadline is past");
        self.law(
            1,
            !self.numbers.contains(&probe.number),
            "a number came twice",
        );
        let due = next.is_some_and(|next| next <= self.now);
        self.law(2, due, "a probe came before its moment");
        self.numbers.push(probe.number);
        self.under_way = Some(probe);
    }

    /// Answers the probe under way, in time or not.
    #[track_caller]
    fn answer(&mut self) {
        let Some(probe) = self.under_way.take() else {
            return;
        };
        let outcome = self.outcome();
        let late = self.now >= probe.deadline;
        let meant = if late { TIMED_OUT } else { outcome };
        let law = if late { 4 } else { 5 };
        self.change(law, meant, |check, now| {
            check.handle_outcome(now, probe.number, outcome)
        });
    }

    /// Answers a probe that ended before, or that never was.
    #[track_caller]
    fn answer_another(&mut self) {
        let count = u64::try_from(self.numbers.len()).unwrap_or(u64::MAX);
        let which = usize::try_from(self.dice.below(count + 1)).unwrap_or(usize::MAX);
        let unknown = || {
            let highest = self.numbers.iter().max();
            ProbeNumber(highest.map_or(77, |number| number.0.wrapping_add(1)))
        };
        let number = self.numbers.get(which).copied().unwrap_or_else(unknown);
        if self.under_way.is_some_and(|probe| probe.number == number) {
            return;
        }
        let before = (self.check.health(), self.check.poll_timeout());
        let outcome = self.outcome();
        let change = self.check.handle_outcome(self.now, number, outcome);
        let after = (self.check.health(), self.check.poll_timeout());
        let unmoved = change.is_none() && before == after;
        self.law(3, unmoved, "an answer to another probe was heeded");
    }

    #[track_caller]
    fn time_out(&mut self) {
        let before = (self.check.health(), self.check.poll_timeout());
        if let Some(probe) = self.under_way.filter(|probe| probe.deadline <= self.now) {
            self.under_way = None;
            self.change(4, TIMED_OUT, C::handle_timeout);
            let next = self.check.poll_timeout();
            let moved = next != Some(probe.deadline) || before.1 != next;
            self.law(4, moved, "the deadline passed and is still waited for");
        } else {
            let change = self.check.handle_timeout(self.now);
            let after = (self.check.health(), self.check.poll_timeout());
            let unmoved = change.is_none() && before == after;
            self.law(4, unmoved, "something timed out before its deadline");
        }
    }

    /// Does what may change the health, by `meant` alone.
    #[track_caller]
    fn change(
        &mut self,
        law: u8,
        meant: ProbeOutcome,
        act: impl FnOnce(&mut C, Instant) -> Option<crate::health::Transition>,
    ) {
        let before = self.check.health();
        let change = act(&mut self.check, self.now);
        let after = self.check.health();
        let Some(change) = change else {
            self.law(5, before == after, "health changed and nothing was told");
            return;
        };
        let true_sides = (change.from, change.to) == (before, after) && before != after;
        self.law(5, true_sides, "a transition tells what did not happen");
        self.law(5, change.at == self.now, "a transition tells another time");
        self.law(
            law,
            change.because == meant,
            "a transition tells another outcome",
        );
        let wanted = match meant {
            ProbeOutcome::Pass(_) => Health::Up,
            ProbeOutcome::Fail(_) => Health::Down,
        };
        self.law(
            law,
            after == wanted,
            "an outcome changed the health against its sense",
        );
    }

    fn wait_a_little(&mut self) {
        self.now += Duration::from_nanos(self.dice.below(500_000_000));
    }

    /// To the very moment, or just before it.
    fn wait_until_told(&mut self) {
        if let Some(next) = self.check.poll_timeout() {
            let short = Duration::from_nanos(self.dice.below(2));
            self.now = self.now.max(next - short);
        }
    }

    fn outcome(&mut self) -> ProbeOutcome {
        match self.dice.below(3) {
            0 => ProbeOutcome::Fail(ProbeFailure::Refused),
            1 => ProbeOutcome::Fail(ProbeFailure::WrongAnswer),
            _ => ProbeOutcome::Pass(Duration::from_millis(3)),
        }
    }

    #[track_caller]
    fn law(&self, law: u8, kept: bool, what: &str) {
        assert!(
            kept,
            "law {law}: {what} (seed {}, at {:?})",
            self.seed, self.now
        );
    }
}

const TIMED_OUT: ProbeOutcome = ProbeOutcome::Fail(ProbeFailure::Timeout);

/// Lives tried: enough that each kind of step follows each other many times.
const LIVES: u64 = 200;

/// Steps of a life: some ten probes, which is more than the usual rise and fall together.
const STEPS: u32 = 100;
