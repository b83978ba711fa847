//! Counters with one writer each: counting is a load and a store, and locks no cache line.

use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, OnceLock};

/// The right to write one worker's counters.
///
/// There is one of it for each worker, and it cannot be cloned; whoever has it is the only one who
/// writes that worker's share of every counter that was made for the same [`Writers`]. So an addition
/// needs no locked instruction: it is a load and a store of a line that no other processor writes.
#[derive(Debug)]
pub struct Writer {
    index: usize,
    taken: Arc<[AtomicBool]>,
}

impl Writer {
    /// The worker's number, below [`Writers::len`].
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What this one wrote is seen by whoever takes its place.
        if let Some(taken) = self.taken.get(self.index) {
            taken.store(false, Release);
        }
    }
}

/// Gives out the [`Writer`]s of a proxy; clones give out of the same.
///
/// # Examples
///
/// ```
/// use lb_l7::stats::Writers;
///
/// let writers = Writers::new(1);
/// let writer = writers.take().ok_or("no worker is left")?;
/// assert!(writers.take().is_none());
/// drop(writer);
/// assert!(writers.take().is_some());
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct Writers {
    taken: Arc<[AtomicBool]>,
}

impl Writers {
    /// Writers for this many workers, at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            taken: (0..workers.max(1))
                .map(|_| AtomicBool::new(false))
                .collect(),
        }
    }

    /// The writer of the first worker that has none; `None` when all have.
    ///
    /// Dropping it gives it back, and its counters keep what they have counted.
    #[must_use]
    pub fn take(&self) -> Option<Writer> {
        let free = |taken: &AtomicBool| !taken.swap(true, Acquire);
        let index = self.taken.iter().position(free)?;
        Some(Writer {
            index,
            taken: Arc::clone(&self.taken),
        })
    }

    /// How many workers there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.taken.len()
    }
}

/// A number that one writer at a time adds to, and anyone reads.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds, wrapping at 2^64; the caller is the only writer.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds, wrapping at 2^64, beside other writers.
    #[inline]
    pub(crate) fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What was counted.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// Adds one to the counter at `index`; nothing if there is none.
#[inline]
pub(crate) fn count(counters: &[Counter], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.add(1);
    }
}

/// One share of counters for each worker, made when the worker first counts.
///
/// A pool of a thousand backends costs nothing for the workers that never reach most of them.
pub(crate) struct Shares<T> {
    workers: Box<[OnceLock<Box<Share<T>>>]>,
}

impl<T: Default> Shares<T> {
    /// Shares for the workers of `writers`, none made yet.
    pub(crate) fn new(writers: &Writers) -> Self {
        Self {
            workers: (0..writers.len()).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The writer's own share; `None` for a writer of more workers than these were made for.
    ///
    /// `&mut` holds a writer to one thread at a time.
    #[inline]
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "what is borrowed for writing is the right to write"
    )]
    pub(crate) fn of(&self, writer: &mut Writer) -> Option<&T> {
        let share = self.workers.get(writer.index)?;
        Some(&share.get_or_init(Box::default).0)
    }

    /// The shares that were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.workers
            .iter()
            .filter_map(|share| Some(&share.get()?.0))
    }
}

/// Two lines of 64 bytes are fetched together on x86-64, hence 128.
#[derive(Default)]
#[repr(align(128))]
struct Share<T>(T);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_one_writer_at_a_time() {
        let writers = Writers::new(2);
        let first = writers.take().unwrap();
        let clone = writers.clone();
        let second = clone.take().unwrap();
        assert_eq!((first.index(), second.index()), (0, 1));
        assert!(writers.take().is_none());
        drop(first);
        assert_eq!(writers.take().unwrap().index(), 0);
        assert_eq!(Writers::new(0).len(), 1);
        assert_eq!(writers.len(), 2);
    }

    #[test]
    fn a_share_is_made_by_its_worker_and_kept_for_the_next() {
        let writers = Writers::new(2);
        let shares = Shares::<Counter>::new(&writers);
        assert_eq!(shares.iter().count(), 0);
        let mut first = writers.take().unwrap();
        shares.of(&mut first).unwrap().add(2);
        shares.of(&mut first).unwrap().add(3);
        assert_eq!(shares.iter().map(Counter::read).collect::<Vec<_>>(), [5]);
        let mut second = writers.take().unwrap();
        shares.of(&mut second).unwrap().add(7);
        drop(first);
        shares.of(&mut writers.take().unwrap()).unwrap().add(1);
        assert_eq!(shares.iter().map(Counter::read).collect::<Vec<_>>(), [6, 7]);
    }

    #[test]
    fn a_writer_of_more_workers_than_there_are_shares_has_none() {
        let shares = Shares::<Counter>::new(&Writers::new(1));
        let more = Writers::new(2);
        let (_first, mut second) = (more.take().unwrap(), more.take().unwrap());
        assert!(shares.of(&mut second).is_none());
    }

    #[test]
    fn a_counter_beyond_the_last_is_not_counted() {
        let counters = [Counter::default(), Counter::default()];
        count(&counters, 1);
        count(&counters, 1);
        count(&counters, 2);
        assert_eq!(counters.each_ref().map(Counter::read), [0, 2]);
        counters[0].add_shared(4);
        assert_eq!(format!("{counters:?}"), "[4, 2]");
    }

    #[test]
    fn workers_do_not_share_a_pair_of_cache_lines() {
        assert_eq!(align_of::<Share<Counter>>(), 128);
    }
}
