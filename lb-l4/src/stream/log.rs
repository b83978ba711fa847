//! What is said of refusals: enough to see why, never enough to fill a disk.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::counters::Refused;
use crate::Clock;

/// Logs one refusal a second, and how many were not logged before it.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    listener: String,
    clock: Clock,
    /// Nanoseconds of the clock from which on the next one is logged.
    next: AtomicU64,
    unlogged: AtomicU64,
}

impl RefusalLog {
    /// The log of this listener.
    pub(crate) fn new(listener: String) -> Self {
        Self {
            listener,
            clock: Clock::coarse(),
            next: AtomicU64::new(0),
            unlogged: AtomicU64::new(0),
        }
    }

    /// A client was refused.
    pub(crate) fn refused(&self, why: Refused, peer: Option<SocketAddr>) {
        let now = self.clock.now().as_nanos();
        let next = self.next.load(Relaxed);
        let is_ours = now >= next
            && self
                .next
                .compare_exchange(next, now + SECOND, Relaxed, Relaxed)
                .is_ok();
        if !is_ours {
            self.unlogged.fetch_add(1, Relaxed);
            return;
        }
        let unlogged = self.unlogged.swap(0, Relaxed);
        tracing::warn!(
            listener = %self.listener,
            reason = %why,
            client = peer.map(tracing::field::display),
            unlogged = (unlogged > 0).then_some(unlogged),
            "refused a client"
        );
    }
}

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_a_second_is_logged_and_the_others_are_counted() {
        let log = RefusalLog::new("front".into());
        (0..100).for_each(|_| log.refused(Refused::Denied, None));
        // At most one tick over a second's edge can fall into the hundred.
        assert!(log.unlogged.load(Relaxed) >= 98);
        log.next.store(0, Relaxed);
        log.refused(Refused::Denied, None);
        assert_eq!(log.unlogged.load(Relaxed), 0);
    }
}
