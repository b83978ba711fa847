//! When each phase of an exchange ended.

use std::time::Duration;

use lbcore::Instant;

/// When the phases of one exchange ended, and what follows from it.
///
/// A phase that was not reached is `None`; each begins where the one before it ended. Reading these
/// costs nothing, and each duration is zero rather than negative should the moments be out of order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// When the connection was accepted, or the connection became free for this exchange.
    pub accepted: Instant,
    /// When the first byte of the request came.
    pub first_byte: Option<Instant>,
    /// When the request's head was complete.
    pub head: Option<Instant>,
    /// When a backend was picked, at the last try.
    pub picked: Option<Instant>,
    /// When there was a connection to it, at the last try; soon after `picked` for a reused one.
    pub connected: Option<Instant>,
    /// When the response's first byte came.
    pub response: Option<Instant>,
    /// When the exchange ended.
    pub end: Instant,
}

impl Times {
    /// When the exchange began: at the request's first byte, or when it was accepted if none came.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.first_byte.unwrap_or(self.accepted)
    }

    /// From the request's first byte to the end.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.end.since(self.start())
    }

    /// From the request's first byte to its whole head.
    #[must_use]
    pub fn reading_head(&self) -> Option<Duration> {
        self.head.map(|head| head.since(self.start()))
    }

    /// From the request's head to the pick of the last try: the queue, and the tries before.
    #[must_use]
    pub fn queued(&self) -> Option<Duration> {
        Some(self.picked?.since(self.head?))
    }

    /// From the pick to a connection.
    #[must_use]
    pub fn connecting(&self) -> Option<Duration> {
        Some(self.connected?.since(self.picked?))
    }

    /// From the connection to the response's first byte.
    ///
    /// The request's body is sent meanwhile, so a slow upload is in it.
    #[must_use]
    pub fn waiting(&self) -> Option<Duration> {
        Some(self.response?.since(self.connected?))
    }

    /// From the request's head to the response's first byte: what the client waited for.
    #[must_use]
    pub fn to_first_byte(&self) -> Option<Duration> {
        Some(self.response?.since(self.head?))
    }

    /// From the response's first byte to the end.
    #[must_use]
    pub fn responding(&self) -> Option<Duration> {
        Some(self.end.since(self.response?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_phase_lasts_from_the_end_of_the_one_before() {
        let times = Times {
            accepted: at(1),
            first_byte: Some(at(3)),
            head: Some(at(8)),
            picked: Some(at(15)),
            connected: Some(at(26)),
            response: Some(at(43)),
            end: at(74),
        };
        assert_eq!(times.start(), at(3));
        assert_eq!(times.total(), ms(71));
        assert_eq!(times.reading_head(), Some(ms(5)));
        assert_eq!(times.queued(), Some(ms(7)));
        assert_eq!(times.connecting(), Some(ms(11)));
        assert_eq!(times.waiting(), Some(ms(17)));
        assert_eq!(times.to_first_byte(), Some(ms(35)));
        assert_eq!(times.responding(), Some(ms(31)));
    }

    #[test]
    fn a_phase_that_was_not_reached_has_no_duration() {
        let times = Times {
            accepted: at(5),
            end: at(9),
            ..Times::default()
        };
        assert_eq!(times.total(), ms(4));
        assert_eq!(times.reading_head(), None);
        assert_eq!(times.queued(), None);
        assert_eq!(times.connecting(), None);
        assert_eq!(times.waiting(), None);
        assert_eq!(times.to_first_byte(), None);
        assert_eq!(times.responding(), None);
    }
}
