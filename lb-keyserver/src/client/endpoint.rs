//! What is known of one key server.

use std::time::Duration;

use lbcore::Instant;
use lbcore::rng::Rng;

use crate::scheme::Scheme;
use crate::wire::ErrorCode;

use super::breaker::{Breaker, BreakerConfig};
use super::fault::{Fault, Faults};
use super::latency::Latency;
use super::standing::{Standing, Turn};
use super::stats::{ServerCounts, ServerStats};
use super::verify::Verify;

/// Which server: a number that no other is ever given by the same [`Servers`](super::Servers).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId(pub(crate) u32);

/// One server: its connections, its latency, its breaker.
#[derive(Debug)]
pub(crate) struct Endpoint<L> {
    pub(crate) id: ServerId,
    pub(crate) link: L,
    breaker: Breaker,
    latency: Latency,
    connections: u32,
    in_flight: u32,
    /// When it last answered, whatever it said.
    answered: Instant,
    /// Signatures since it was connected to anew.
    made: u32,
    counts: ServerCounts,
    faults: Faults,
    standing: Standing,
}

impl<L> Endpoint<L> {
    pub(crate) fn new(id: ServerId, link: L, breaker: BreakerConfig) -> Self {
        Self {
            id,
            link,
            breaker: Breaker::new(breaker),
            latency: Latency::default(),
            connections: 0,
            in_flight: 0,
            answered: Instant::ZERO,
            made: 0,
            counts: ServerCounts::default(),
            faults: Faults::default(),
            standing: Standing::default(),
        }
    }

    /// Whether it may be asked: it can be reached, and its breaker is closed.
    pub(crate) fn may_be_asked(&self) -> bool {
        self.connections > 0 && self.breaker.is_closed()
    }

    /// What one more question costs: the expected latency, for each question that waits there.
    pub(crate) fn cost(&self, now: Instant, typical: f64) -> f64 {
        self.latency.expected(now, typical) * (f64::from(self.in_flight) + 1.0)
    }

    /// It is asked; whether its signature is to be verified.
    pub(crate) fn ask(&mut self, verify: Verify, scheme: Scheme, rng: &mut impl Rng) -> bool {
        self.in_flight = self.in_flight.saturating_add(1);
        self.counts.asked += 1;
        verify.is_due(scheme, self.made, rng)
    }

    /// It is asked something that is no request's.
    pub(crate) fn handle_asked(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A question of it has ended, however.
    pub(crate) fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(crate) fn handle_connected(&mut self) {
        self.connections += 1;
        self.made = 0;
    }

    pub(crate) fn handle_disconnected(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    pub(crate) fn handle_fault(&mut self, fault: Fault) {
        self.faults.count(fault);
    }

    /// Why a connection failed, in words: whether that is new.
    pub(crate) fn handle_reason(&mut self, reason: &str) -> bool {
        self.standing.handle_reason(reason)
    }

    /// What there is to tell of it, each once.
    pub(crate) fn take_turn(&mut self) -> Option<Turn> {
        let (is_up, is_connected) = (self.may_be_asked(), self.connections > 0);
        self.standing.turn(is_up, is_connected)
    }

    pub(crate) fn handle_signed(&mut self, now: Instant, latency: Duration) {
        self.answered = now;
        self.latency.observe(now, latency);
        self.breaker.handle_success(now);
        self.made = self.made.saturating_add(1);
        self.counts.signed += 1;
    }

    /// It refused; how fast says nothing good of it, so only a slow refusal counts as latency.
    pub(crate) fn handle_refused(
        &mut self,
        now: Instant,
        code: ErrorCode,
        latency: Duration,
        rng: &mut impl Rng,
    ) {
        self.answered = now;
        self.counts.refused.count(code);
        if self
            .latency
            .average()
            .is_none_or(|average| latency > average)
        {
            self.latency.observe(now, latency);
        }
        if is_own_fault(code) {
            self.handle_failure(now, rng);
        }
    }

    /// It did not answer within an attempt's time.
    pub(crate) fn handle_slow(
        &mut self,
        now: Instant,
        elapsed: Duration,
        charge: Charge,
        rng: &mut impl Rng,
    ) {
        self.counts.slow += 1;
        self.latency.observe(now, elapsed);
        if charge == Charge::No {
            return;
        }
        let opened = if self.answered > now - elapsed {
            self.breaker.handle_scattered(now, rng)
        } else {
            self.breaker.handle_failure(now, rng)
        };
        self.counts.opened += u64::from(opened);
    }

    /// A connection ended with that many questions unanswered.
    pub(crate) fn handle_lost(&mut self, now: Instant, questions: u32, rng: &mut impl Rng) {
        if questions > 0 {
            self.in_flight = self.in_flight.saturating_sub(questions);
            self.counts.lost += u64::from(questions);
            self.handle_failure(now, rng);
        }
    }

    /// Something it is to blame for.
    pub(crate) fn handle_failure(&mut self, now: Instant, rng: &mut impl Rng) {
        self.counts.opened += u64::from(self.breaker.handle_failure(now, rng));
    }

    pub(crate) fn handle_lie(&mut self, now: Instant, rng: &mut impl Rng) {
        self.counts.lies += 1;
        self.counts.opened += u64::from(self.breaker.is_closed());
        self.breaker.handle_lie(now, rng);
    }

    /// When a trial of it is due; `None` while it cannot be reached or needs none.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.breaker.poll_timeout().filter(|_| self.connections > 0)
    }

    pub(crate) fn poll_trial(&mut self, now: Instant) -> bool {
        let due = self.connections > 0 && self.breaker.poll_trial(now);
        self.counts.trials += u64::from(due);
        due
    }

    pub(crate) fn handle_trial(&mut self, now: Instant, passed: Passed, rng: &mut impl Rng) {
        match passed {
            Passed::Yes => self.breaker.handle_trial_passed(now),
            Passed::No => {
                self.counts.trials_failed += 1;
                self.breaker.handle_trial_failed(now, rng);
            }
        }
    }

    pub(crate) fn stats(&self, name: String) -> ServerStats {
        ServerStats {
            name,
            state: self.breaker.state(),
            connections: self.connections,
            latency: self.latency.average(),
            in_flight: self.in_flight,
            counts: self.counts,
            faults: self.faults,
        }
    }
}

/// Whether slowness counts as a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Charge {
    Yes,
    No,
}

/// Whether a trial passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "it passed or it did not")]
pub enum Passed {
    /// The server answered the PING, and signed.
    Yes,
    /// The server did one of them not, or not in time.
    No,
}

/// Whether a refusal is the server's own fault, whatever it was asked. That it does not have a key
/// may be the request's; that is settled when another server has it.
const fn is_own_fault(code: ErrorCode) -> bool {
    code.may_be_retried() && !matches!(code, ErrorCode::KeyNotFound)
}

#[cfg(test)]
mod tests {
    use lbcore::rng::Xoshiro;

    use super::*;
    use crate::client::BreakerState;

    const MS: Duration = Duration::from_millis(1);

    fn endpoint() -> (Endpoint<()>, Xoshiro) {
        let mut endpoint = Endpoint::new(ServerId(1), (), BreakerConfig::default());
        endpoint.handle_connected();
        (endpoint, Xoshiro::new(1))
    }

    fn state(endpoint: &Endpoint<()>) -> BreakerState {
        endpoint.stats(String::new()).state
    }

    #[test]
    fn it_may_be_asked_while_one_connection_is_up() {
        let (mut endpoint, _) = endpoint();
        endpoint.handle_connected();
        endpoint.handle_disconnected();
        assert!(endpoint.may_be_asked());
        endpoint.handle_disconnected();
        assert!(!endpoint.may_be_asked());
        endpoint.handle_disconnected();
        endpoint.handle_connected();
        assert!(endpoint.may_be_asked());
    }

    #[test]
    fn each_question_under_way_makes_the_next_one_dearer() {
        let (mut endpoint, mut rng) = endpoint();
        assert_eq!(endpoint.cost(Instant::ZERO, 0.002), 0.002);
        endpoint.ask(Verify::Always, Scheme::Ed25519, &mut rng);
        assert_eq!(endpoint.cost(Instant::ZERO, 0.002), 0.004);
        endpoint.handle_signed(Instant::ZERO, MS);
        endpoint.release();
        assert_eq!(endpoint.cost(Instant::ZERO, 0.002), 0.001);
    }

    #[test]
    fn a_fast_refusal_makes_it_no_cheaper_and_a_slow_one_dearer() {
        let (mut endpoint, mut rng) = endpoint();
        endpoint.handle_signed(Instant::ZERO, 10 * MS);
        endpoint.handle_refused(Instant::ZERO, ErrorCode::Crypto, MS, &mut rng);
        assert_eq!(endpoint.stats(String::new()).latency, Some(10 * MS));
        endpoint.handle_refused(Instant::ZERO, ErrorCode::Crypto, 11 * MS, &mut rng);
        assert_eq!(endpoint.stats(String::new()).latency, Some(11 * MS));
    }

    #[test]
    fn refusals_open_it_when_the_fault_is_its_own() {
        for byte in 0..=u8::MAX {
            let code = ErrorCode::from_byte(byte);
            let (mut endpoint, mut rng) = endpoint();
            (0..5).for_each(|_| endpoint.handle_refused(Instant::ZERO, code, MS, &mut rng));
            let open = state(&endpoint) == BreakerState::Open;
            assert_eq!(open, [0x03, 0x08, 0x0b].contains(&byte), "{code}");
            assert_eq!(endpoint.stats(String::new()).counts.refused.of(code), 5);
        }
    }

    #[test]
    fn a_connection_lost_with_its_questions_counts_once() {
        let (mut endpoint, mut rng) = endpoint();
        for n in 0..5 {
            assert_eq!(state(&endpoint), BreakerState::Closed, "{n}");
            (0..100).for_each(|_| {
                endpoint.ask(Verify::Always, Scheme::Ed25519, &mut rng);
            });
            endpoint.handle_lost(Instant::ZERO, 100, &mut rng);
            endpoint.handle_lost(Instant::ZERO, 0, &mut rng);
        }
        let stats = endpoint.stats(String::new());
        assert_eq!((stats.state, stats.in_flight), (BreakerState::Open, 0));
        assert_eq!((stats.counts.lost, stats.counts.opened), (500, 1));
    }

    #[test]
    fn slow_answers_among_others_are_no_row() {
        let (mut endpoint, mut rng) = endpoint();
        let mut slow = |endpoint: &mut Endpoint<()>, now, many| {
            (0..many).for_each(|_| endpoint.handle_slow(now, 300 * MS, Charge::Yes, &mut rng));
            state(endpoint)
        };
        // Answered after those were asked, and before those.
        let (before, then) = (Instant::ZERO + 299 * MS, Instant::ZERO + 300 * MS);
        endpoint.handle_signed(Instant::ZERO + Duration::from_nanos(1), MS);
        assert_eq!(slow(&mut endpoint, before, 9), BreakerState::Closed);
        endpoint.answered = Instant::ZERO;
        assert_eq!(slow(&mut endpoint, then, 4), BreakerState::Closed);
        assert_eq!(slow(&mut endpoint, then, 1), BreakerState::Open);
    }

    #[test]
    fn slowness_that_is_not_charged_is_counted_all_the_same() {
        let (mut endpoint, mut rng) = endpoint();
        (0..100).for_each(|_| endpoint.handle_slow(Instant::ZERO, MS, Charge::No, &mut rng));
        assert_eq!(state(&endpoint), BreakerState::Closed);
        assert_eq!(endpoint.stats(String::new()).counts.slow, 100);
        assert_eq!(endpoint.latency.average(), Some(MS));
    }

    #[test]
    fn the_first_signatures_after_a_reconnect_are_verified() {
        let (mut endpoint, mut rng) = endpoint();
        let mut verified = |endpoint: &mut Endpoint<()>| {
            let due = endpoint.ask(Verify::Sampled, Scheme::Ed25519, &mut rng);
            endpoint.handle_signed(Instant::ZERO, MS);
            due
        };
        assert!((0..16).all(|_| verified(&mut endpoint)));
        assert!(!(0..16).all(|_| verified(&mut endpoint)));
        endpoint.handle_connected();
        assert!((0..16).all(|_| verified(&mut endpoint)));
    }

    #[test]
    fn no_trial_of_what_cannot_be_reached() {
        let (mut endpoint, mut rng) = endpoint();
        endpoint.handle_lie(Instant::ZERO, &mut rng);
        let due = endpoint.poll_timeout().expect("open");
        endpoint.handle_disconnected();
        assert_eq!(endpoint.poll_timeout(), None);
        assert!(!endpoint.poll_trial(due));
        endpoint.handle_connected();
        assert!(endpoint.poll_trial(due) && !endpoint.poll_trial(due));
        endpoint.handle_trial(due, Passed::No, &mut rng);
        assert_eq!(state(&endpoint), BreakerState::Open);
        let due = endpoint.poll_timeout().expect("open");
        assert!(endpoint.poll_trial(due));
        endpoint.handle_trial(due, Passed::Yes, &mut rng);
        assert!(endpoint.may_be_asked());
        let counts = endpoint.stats(String::new()).counts;
        assert_eq!((counts.lies, counts.opened), (1, 1));
        assert_eq!((counts.trials, counts.trials_failed), (2, 1));
    }
}
