//! Telling of rejected clients, and not so often that it fills the disk.

use std::time::Duration;

use lbcore::Instant;

use crate::server::Rejection;

/// One line of each reason in a second, so that one who is loud does not hide another.
#[derive(Debug, Default)]
pub(super) struct Seldom([Line; Rejection::ALL.len()]);

/// When the next line of one reason may be, and how many were left out since the last.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    next: Instant,
    left_out: u64,
}

/// The least time between two lines of one reason.
const APART: Duration = Duration::from_secs(1);

impl Seldom {
    /// Whether to tell of a rejection now: if so, how many alike were not told of since the last.
    pub(super) fn admit(&mut self, now: Instant, why: Rejection) -> Option<u64> {
        let place = Rejection::ALL.iter().position(|reason| *reason == why)?;
        let line = self.0.get_mut(place)?;
        if now < line.next {
            line.left_out = line.left_out.saturating_add(1);
            return None;
        }
        line.next = now + APART;
        Some(std::mem::take(&mut line.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::ZERO;

    #[test]
    fn one_a_second_is_told_with_how_many_were_left_out() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.admit(T0, Rejection::Tls), Some(0));
        assert_eq!(seldom.admit(T0, Rejection::Tls), None);
        let just_before = T0 + (APART - Duration::from_nanos(1));
        assert_eq!(seldom.admit(just_before, Rejection::Tls), None);
        assert_eq!(seldom.admit(T0 + APART, Rejection::Tls), Some(2));
        assert_eq!(seldom.admit(T0 + APART, Rejection::Tls), None);
        assert_eq!(seldom.admit(T0 + 3 * APART, Rejection::Tls), Some(1));
    }

    #[test]
    fn a_loud_reason_does_not_hide_another() {
        let mut seldom = Seldom::default();
        for why in Rejection::ALL {
            assert_eq!(seldom.admit(T0, why), Some(0));
            assert_eq!(seldom.admit(T0, why), None);
        }
    }
}
