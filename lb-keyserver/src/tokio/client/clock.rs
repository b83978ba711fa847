//! The time of a client: tokio's, counted from when the client was made.

use lbcore::Instant;

/// Tells the time on tokio's clock, which tests can stop and turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(tokio::time::Instant);

impl Clock {
    pub(super) fn starting_now() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub(super) fn now(self) -> Instant {
        Instant::ZERO + tokio::time::Instant::now().saturating_duration_since(self.0)
    }

    /// That moment for a timer of tokio's; one that cannot be told is a year from the start.
    pub(super) fn to_tokio(self, moment: Instant) -> tokio::time::Instant {
        let since = moment.since(Instant::ZERO).min(YEAR);
        self.0 + since
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_and_its_timer_agree() {
        let clock = Clock::starting_now();
        let soon = clock.now() + Duration::from_millis(5);
        tokio::time::sleep_until(clock.to_tokio(soon)).await;
        assert_eq!(clock.now(), soon);
        assert!(clock.to_tokio(Instant::MAX) > tokio::time::Instant::now());
    }
}
