//! Whether so many SYNs come that they are answered here.

use std::time::Duration;

use lbcore::Instant;

use super::{SLOT, SynProxyMode};

/// Switches a SYN proxy on and off by the rate of SYNs, with hysteresis.
///
/// On as soon as more SYNs than the threshold come in a second; off once no second of the last
/// [`Self::CALM`] has brought more than half of it. Seconds begin with the first SYN after the one
/// before has ended. Each worker sees its own share of the SYNs: with several, the threshold is of
/// one.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lb_l4::syn_proxy::{SynProxyMode, SynRate};
///
/// let mut rate = SynRate::new(SynProxyMode::Above { syns_per_second: 2 });
/// let now = Instant::ZERO;
/// assert_eq!([(); 3].map(|()| rate.handle_syn(now)), [false, false, true]);
/// assert!(!rate.handle_syn(now + Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug)]
pub struct SynRate {
    mode: SynProxyMode,
    second: Instant,
    syns: u32,
    /// The end of the last second with more than half of the threshold.
    busy: Option<Instant>,
    /// When a SYN was last to be answered here.
    answered: Option<Instant>,
}

impl SynRate {
    /// How long the rate has to be low before it is off.
    pub const CALM: Duration = Duration::from_secs(10);

    /// A switch that is off until SYNs come, unless it is always on.
    #[must_use]
    pub const fn new(mode: SynProxyMode) -> Self {
        Self {
            mode,
            second: Instant::ZERO,
            syns: 0,
            busy: None,
            answered: None,
        }
    }

    /// Changes when it switches, and keeps what it has counted.
    pub const fn set_mode(&mut self, mode: SynProxyMode) {
        self.mode = mode;
    }

    /// Counts a SYN, and says whether it is to be answered here. O(1).
    pub fn handle_syn(&mut self, now: Instant) -> bool {
        let here = match self.mode {
            SynProxyMode::Above { syns_per_second: 0 } | SynProxyMode::Always => true,
            SynProxyMode::Off => false,
            SynProxyMode::Above { syns_per_second } => self.count(now, syns_per_second),
        };
        if here {
            self.answered = Some(now);
        }
        here
    }

    /// Whether a SYN that comes now would be answered here, as far as is known without it.
    #[must_use]
    pub fn is_on(&self, now: Instant) -> bool {
        match self.mode {
            SynProxyMode::Above { syns_per_second: 0 } | SynProxyMode::Always => true,
            SynProxyMode::Off => false,
            SynProxyMode::Above { .. } => !self.is_calm(now),
        }
    }

    /// Whether an ACK that comes now can be the answer to a cookie: one is good for two [`SLOT`]s.
    ///
    /// Another node may have issued it, whose rate is higher, so that only a service that is off
    /// takes none.
    #[must_use]
    pub fn may_have_answered(&self, now: Instant) -> bool {
        self.mode != SynProxyMode::Off || self.answered.is_some_and(|it| now.since(it) <= SLOT * 2)
    }

    fn count(&mut self, now: Instant, threshold: u32) -> bool {
        if now.since(self.second) >= SECOND {
            self.second = now;
            self.syns = 0;
        }
        self.syns = self.syns.saturating_add(1);
        let calm = self.is_calm(now);
        // While it is on, more than half of the threshold keeps it on.
        if self.syns > threshold || !calm && self.syns > threshold / 2 {
            self.busy = Some(self.second + SECOND);
            return true;
        }
        !calm
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.busy.is_none_or(|busy| now.since(busy) >= Self::CALM)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// `syns` at `millis`; whether the last was answered.
    fn feed(rate: &mut SynRate, millis: u64, syns: u32) -> bool {
        (0..syns).map(|_| rate.handle_syn(at(millis))).last() == Some(true)
    }

    fn above(syns_per_second: u32) -> SynRate {
        SynRate::new(SynProxyMode::Above { syns_per_second })
    }

    #[test]
    fn it_is_on_with_the_first_syn_above_the_threshold_within_a_second() {
        let mut rate = above(100);
        assert!(!feed(&mut rate, 5_000, 100));
        assert!(feed(&mut rate, 5_999, 1));
        let mut rate = above(100);
        assert!(!feed(&mut rate, 5_000, 100));
        assert!(!feed(&mut rate, 6_000, 100));
    }

    #[test]
    fn it_stays_on_until_ten_seconds_have_brought_no_more_than_half() {
        let mut rate = above(100);
        assert!(feed(&mut rate, 0, 101));
        // The busy second ends at 1.0 s.
        assert!(feed(&mut rate, 10_999, 50));
        assert!(!feed(&mut rate, 11_999, 50));

        let mut rate = above(100);
        assert!(feed(&mut rate, 0, 101));
        assert!(feed(&mut rate, 10_000, 51));
        assert!(feed(&mut rate, 20_999, 1), "busy until 11 s");
        assert!(!feed(&mut rate, 21_999, 1));
    }

    #[test]
    fn half_of_the_threshold_does_not_switch_it_on() {
        let mut rate = above(100);
        assert!((0..30).all(|second| !feed(&mut rate, second * 1_000, 100)));
    }

    #[test]
    fn always_is_on_and_off_is_off_and_a_threshold_of_nothing_is_always() {
        for (mode, on) in [
            (SynProxyMode::Always, true),
            (SynProxyMode::Off, false),
            (SynProxyMode::Above { syns_per_second: 0 }, true),
        ] {
            let mut rate = SynRate::new(mode);
            assert_eq!(rate.may_have_answered(at(0)), on, "{mode:?}");
            assert_eq!(feed(&mut rate, 0, 1), on, "{mode:?}");
        }
    }

    #[test]
    fn cookies_are_taken_for_two_slots_after_it_was_switched_off() {
        let mut rate = SynRate::new(SynProxyMode::Off);
        assert!(!rate.may_have_answered(at(0)));
        rate.set_mode(SynProxyMode::Above { syns_per_second: 1 });
        assert!(rate.may_have_answered(at(0)));
        assert!(!feed(&mut rate, 1, 1));
        rate.set_mode(SynProxyMode::Off);
        assert!(!rate.may_have_answered(at(1)), "none was issued");
        rate.set_mode(SynProxyMode::Always);
        assert!(feed(&mut rate, 2, 1));
        rate.set_mode(SynProxyMode::Off);
        assert!(!feed(&mut rate, 3, 1));
        assert!(rate.may_have_answered(at(128_002)));
        assert!(!rate.may_have_answered(at(128_003)));
    }
}
