//! What a client has counted.

use std::fmt;
use std::time::Duration;

use crate::sign::SignError;
use crate::wire::ErrorCode;

use super::breaker::BreakerState;
use super::fault::Faults;

/// A snapshot of a client's counters. They start at zero and only grow, where nothing else is said.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct ClientStats {
    /// Signatures that were asked for.
    pub requests: u64,
    /// Signatures that were handed out.
    pub signed: u64,
    /// Signatures that were not, by reason.
    pub failed: Failures,
    /// Signatures that are awaited now.
    pub waiting: u64,
    /// Questions put to servers: first ones, retries and hedges.
    pub attempts: u64,
    /// Further questions, after a failure or too long a silence.
    pub retries: u64,
    /// Retries that the budget did not allow.
    pub retries_denied: u64,
    /// Second questions while the first was not yet late.
    pub hedges: u64,
    /// Hedges whose answer came first.
    pub hedges_won: u64,
    /// Hedges that the budget did not allow.
    pub hedges_denied: u64,
    /// Answers to questions that nobody waits for any more.
    pub late_answers: u64,
    /// Answers to no question.
    pub unknown_answers: u64,
    /// Signatures that did not verify.
    pub bad_signatures: u64,
    /// Times that a name could not be resolved; the addresses it had stay in use.
    pub unresolved: u64,
    /// The 95th percentile of the latencies of late; `None` while too few are known.
    pub p95: Option<Duration>,
    /// Each server that is known now.
    pub servers: Vec<ServerStats>,
}

/// A snapshot of what a client knows of one server.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct ServerStats {
    /// Its address, and the name that its certificate must bear.
    pub name: String,
    /// Whether it is asked.
    pub state: BreakerState,
    /// Connections that are up now.
    pub connections: u32,
    /// Its recent latency; `None` before the first answer.
    pub latency: Option<Duration>,
    /// Questions that it has not answered yet.
    pub in_flight: u32,
    /// What it did since it is known.
    pub counts: ServerCounts,
    /// Connections that failed, by reason.
    pub faults: Faults,
}

/// What a server did.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServerCounts {
    /// Questions it was asked.
    pub asked: u64,
    /// Signatures it made.
    pub signed: u64,
    /// Answers that did not come within an attempt's time.
    pub slow: u64,
    /// Questions that were lost with their connection.
    pub lost: u64,
    /// Signatures that did not verify, and connections on which it sent what is no answer.
    pub lies: u64,
    /// Times that its breaker opened.
    pub opened: u64,
    /// Trials, after which it was asked again or not.
    pub trials: u64,
    /// Trials it failed.
    pub trials_failed: u64,
    /// Its refusals, by code.
    pub refused: Refusals,
}

/// Refusals, by code.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Refusals([u64; 12]);

impl Refusals {
    /// Each code with its count; those of other numbers come last, together.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorCode, u64)> + '_ {
        let (named, others) = (self.0.iter().skip(1), self.0.iter().take(1));
        let named = (1..)
            .zip(named)
            .map(|(byte, n)| (ErrorCode::from_byte(byte), *n));
        named.chain(others.map(|n| (ErrorCode::Other(0), *n)))
    }

    /// How many there were of `code`; all other numbers count as one.
    #[must_use]
    pub fn of(&self, code: ErrorCode) -> u64 {
        self.0.get(Self::place(code)).copied().unwrap_or(0)
    }

    pub(crate) fn count(&mut self, code: ErrorCode) {
        if let Some(count) = self.0.get_mut(Self::place(code)) {
            *count += 1;
        }
    }

    fn place(code: ErrorCode) -> usize {
        match code {
            ErrorCode::Other(_) => 0,
            named => usize::from(named.to_byte()),
        }
    }
}

/// Signatures that were not handed out, by reason.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Failures([u64; SignError::REASONS.len()]);

impl Failures {
    /// Each reason, as [`SignError::as_str`] names it, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        SignError::REASONS.into_iter().zip(self.0)
    }

    /// How many there were for the reason of `error`.
    #[must_use]
    pub fn of(&self, error: SignError) -> u64 {
        let found = self.iter().find(|(reason, _)| *reason == error.as_str());
        found.map_or(0, |(_, count)| count)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, error: SignError) {
        let place = SignError::REASONS
            .iter()
            .position(|reason| *reason == error.as_str());
        if let Some(count) = place.and_then(|place| self.0.get_mut(place)) {
            *count += 1;
        }
    }
}

/// Shows those that are not zero.
impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(some).finish()
    }
}

/// Shows those that are not zero.
impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(some).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_counted_by_itself_and_the_others_together() {
        let mut refusals = Refusals::default();
        (0..=u8::MAX).for_each(|byte| refusals.count(ErrorCode::from_byte(byte)));
        for (code, count) in refusals.iter() {
            let expected = if matches!(code, ErrorCode::Other(_)) {
                245
            } else {
                1
            };
            assert_eq!((count, refusals.of(code)), (expected, expected), "{code}");
        }
        assert_eq!(refusals.iter().count(), 12);
        assert_eq!(refusals.of(ErrorCode::Other(0x99)), 245);
    }

    #[test]
    fn each_failure_is_counted_under_its_reason() {
        let mut failures = Failures::default();
        failures.count(SignError::Late);
        failures.count(SignError::Refused(ErrorCode::Crypto));
        failures.count(SignError::Refused(ErrorCode::Format));
        assert_eq!(failures.of(SignError::Late), 1);
        assert_eq!(failures.of(SignError::Refused(ErrorCode::Internal)), 2);
        assert_eq!(failures.of(SignError::Busy), 0);
        assert_eq!(failures.total(), 3);
        assert_eq!(failures.iter().filter(|(_, count)| *count > 0).count(), 2);
    }
}
