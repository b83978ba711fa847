//! How many at once.

use std::sync::Arc;

use crate::atomic::{AtomicU32, Ordering::Relaxed};

/// Counts what is under way, and refuses more than a limit.
///
/// A clone counts the same sessions.
///
/// # Examples
///
/// ```
/// use lbcore::limit::Concurrency;
///
/// let two = Concurrency::new(2);
/// let first = two.try_acquire().expect("none is under way");
/// let second = two.try_acquire().expect("one is under way");
/// assert!(two.try_acquire().is_none());
/// drop(first);
/// assert_eq!(two.in_flight(), 1);
/// # drop(second);
/// ```
#[derive(Clone, Debug)]
pub struct Concurrency {
    in_flight: Arc<AtomicU32>,
    limit: u32,
}

impl Concurrency {
    /// At most `limit` at once; 0 is no limit.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            in_flight: Arc::default(),
            limit: if limit == 0 { u32::MAX } else { limit },
        }
    }

    /// Counts one more until the guard is dropped; `None` at the limit.
    ///
    /// Exact across threads. Cost: one atomic update and one count of references.
    #[must_use]
    pub fn try_acquire(&self) -> Option<ConcurrencyGuard> {
        // The count guards no other memory, so relaxed order is enough: updates of one word are
        // totally ordered whatever their ordering.
        self.in_flight
            .fetch_update(Relaxed, Relaxed, |count| {
                (count < self.limit).then(|| count + 1)
            })
            .ok()?;
        Some(ConcurrencyGuard {
            in_flight: Some(Arc::clone(&self.in_flight)),
        })
    }

    /// Counts one less, of those whose guard was [detached](ConcurrencyGuard::detach).
    pub fn release(&self) {
        // Never below zero, whatever the caller does.
        let less = |count: u32| count.checked_sub(1);
        let _ = self.in_flight.fetch_update(Relaxed, Relaxed, less);
    }

    /// How many are under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

/// One that is under way; dropping it makes room.
#[must_use = "dropped, it no longer counts"]
#[derive(Debug)]
pub struct ConcurrencyGuard {
    /// `None` once it is detached.
    in_flight: Option<Arc<AtomicU32>>,
}

impl ConcurrencyGuard {
    /// Goes on counting after the guard is gone, until [`Concurrency::release`] is called once: for
    /// sessions in a table, which have no room for a guard.
    pub fn detach(mut self) {
        // The reference alone is given back, and not the place.
        self.in_flight = None;
    }
}

impl Drop for ConcurrencyGuard {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.fetch_sub(1, Relaxed);
        }
    }
}
