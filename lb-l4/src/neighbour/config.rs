//! How neighbours are asked for and remembered.

use std::time::Duration;

use thiserror::Error;

/// How neighbours are asked for and remembered.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::neighbour::NeighbourConfig;
///
/// let config = NeighbourConfig::default().reachable(Duration::from_secs(60));
/// assert_eq!((config.capacity, config.questions), (1_024, 3));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NeighbourConfig {
    /// How many neighbours are remembered, those included that are asked for. At least 1. Default
    /// 1,024. When there is no room, one that nobody answers for gives way, or the one that was not
    /// used for longest.
    pub capacity: usize,
    /// How long an answer is trusted. Default 30 s (RFC 4861, 10, `REACHABLE_TIME`).
    pub reachable: Duration,
    /// How long an answer is waited for. More than zero. Default 1 s (`RETRANS_TIMER`).
    pub retransmit: Duration,
    /// How often is asked before nobody is there. At least 1. Default 3 (`MAX_MULTICAST_SOLICIT`).
    pub questions: u8,
    /// How long nobody is asked for again after nobody answered. Default 3 s.
    pub negative: Duration,
    /// Bytes that are held, of all frames together, for neighbours that are being asked for. Default
    /// 65,536.
    pub held_bytes: usize,
    /// How often an address is announced on take-over, once in [`retransmit`](Self::retransmit).
    /// Default 3 (`MAX_NEIGHBOR_ADVERTISEMENT`).
    pub announcements: u8,
}

impl Default for NeighbourConfig {
    fn default() -> Self {
        Self {
            capacity: 1_024,
            reachable: Duration::from_secs(30),
            retransmit: Duration::from_secs(1),
            questions: 3,
            negative: Duration::from_secs(3),
            held_bytes: 65_536,
            announcements: 3,
        }
    }
}

impl NeighbourConfig {
    /// Sets how many neighbours are remembered.
    #[must_use]
    pub const fn capacity(mut self, neighbours: usize) -> Self {
        self.capacity = neighbours;
        self
    }

    /// Sets how long an answer is trusted.
    #[must_use]
    pub const fn reachable(mut self, span: Duration) -> Self {
        self.reachable = span;
        self
    }

    /// Sets how long an answer is waited for.
    #[must_use]
    pub const fn retransmit(mut self, span: Duration) -> Self {
        self.retransmit = span;
        self
    }

    /// Sets how often is asked before nobody is there.
    #[must_use]
    pub const fn questions(mut self, times: u8) -> Self {
        self.questions = times;
        self
    }

    /// Sets how long nobody is asked for again after nobody answered.
    #[must_use]
    pub const fn negative(mut self, span: Duration) -> Self {
        self.negative = span;
        self
    }

    /// Sets the bytes that are held.
    #[must_use]
    pub const fn held_bytes(mut self, bytes: usize) -> Self {
        self.held_bytes = bytes;
        self
    }

    /// Sets how often an address is announced on take-over.
    #[must_use]
    pub const fn announcements(mut self, times: u8) -> Self {
        self.announcements = times;
        self
    }

    pub(super) const fn check(&self) -> Result<(), NeighbourConfigError> {
        if self.capacity == 0 || self.capacity > MOST {
            return Err(NeighbourConfigError::Capacity(self.capacity));
        }
        if self.questions == 0 {
            return Err(NeighbourConfigError::Questions);
        }
        if self.retransmit.is_zero() {
            return Err(NeighbourConfigError::Retransmit);
        }
        Ok(())
    }
}

/// What is wrong with a [`NeighbourConfig`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NeighbourConfigError {
    /// There must be room for one, and none for so many; or all room is taken by fixed ones.
    #[error("capacity {0} is not between 1 and 65,536, or is too small")]
    Capacity(usize),
    /// Who is never asked for is never found.
    #[error("questions is 0")]
    Questions,
    /// Questions without a pause between them would never end.
    #[error("retransmit is 0")]
    Retransmit,
}

/// More stations than one link of Ethernet should have.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_its_field() {
        let ok = NeighbourConfig::default;
        assert_eq!(ok().check(), Ok(()));
        assert_eq!(ok().capacity(1).check(), Ok(()));
        assert_eq!(ok().capacity(65_536).check(), Ok(()));
        for capacity in [0, 65_537] {
            let refused = Err(NeighbourConfigError::Capacity(capacity));
            assert_eq!(ok().capacity(capacity).check(), refused);
        }
        let none = ok().questions(0).check();
        assert_eq!(none, Err(NeighbourConfigError::Questions));
        let at_once = ok().retransmit(Duration::ZERO).check();
        assert_eq!(at_once, Err(NeighbourConfigError::Retransmit));
    }
}
