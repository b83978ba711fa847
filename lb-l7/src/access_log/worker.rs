//! One worker's end of the log: makes lines, and hands them over by the batch.

use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calendar::Calendar;
use super::desk::{Batch, Desk, Message};
use super::line::{LineWriter, Moment};
use crate::report::Report;

/// One worker's end of an [`AccessLog`](super::AccessLog).
///
/// Lines are made on the worker, in a buffer of its own, which goes to the log's thread when it is
/// full, and which that thread fetches when it has lain for the flush interval; so a worker that
/// falls idle keeps no line back. Dropping it loses none.
pub struct WorkerLog {
    batch: Arc<Mutex<Batch>>,
    desk: Arc<Desk>,
    queue: SyncSender<Message>,
    lines: LineWriter,
    calendar: Calendar,
    sampler: Sampler,
}

impl WorkerLog {
    pub(super) fn new(
        desk: Arc<Desk>,
        queue: SyncSender<Message>,
        lines: LineWriter,
        sampler: Sampler,
    ) -> Self {
        Self {
            batch: desk.open_batch(),
            desk,
            queue,
            lines,
            calendar: Calendar::of_host(),
            sampler,
        }
    }

    /// Logs an exchange that has ended, or passes it over if the sample does.
    ///
    /// Never waits for the disk: when the log's thread lies so far behind that the queue is full, a
    /// batch of lines is dropped and counted. Costs some 200 ns, and no allocation but for buffers
    /// that are used again.
    #[inline]
    pub fn record(&mut self, report: &Report<'_>) {
        let Some(sample) = self.sampler.handle_exchange(report.is_error()) else {
            return;
        };
        let unix = self.calendar.unix(report.times.end);
        let mut batch = lock(&self.batch);
        let moment = Moment { unix, sample };
        self.lines.write(&mut batch.bytes, report, moment);
        batch.lines += 1;
        if batch.bytes.len() >= Batch::FULL {
            self.hand_over(batch);
        }
    }

    #[cold]
    fn hand_over(&self, mut batch: MutexGuard<'_, Batch>) {
        let full = mem::replace(&mut *batch, self.desk.take_spare());
        drop(batch);
        let sent = self.queue.try_send(Message::Batch(full));
        if let Err(TrySendError::Full(unsent) | TrySendError::Disconnected(unsent)) = sent
            && let Message::Batch(batch) = unsent
        {
            self.desk.dropped(batch);
        }
    }
}

impl fmt::Debug for WorkerLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLog").finish_non_exhaustive()
    }
}

/// Chooses which exchanges are logged: every failed one, and one in so many of the others.
#[derive(Debug)]
pub(super) struct Sampler {
    one_in: NonZeroU32,
    passed_over: u32,
}

impl Sampler {
    pub(super) const fn new(one_in: NonZeroU32) -> Self {
        // The first exchange is logged, so that whoever tries the log sees it work.
        Self {
            one_in,
            passed_over: one_in.get() - 1,
        }
    }

    /// How many exchanges this one's line stands for; `None` if it gets no line.
    #[inline]
    pub(super) const fn handle_exchange(&mut self, is_error: bool) -> Option<u32> {
        if is_error {
            return Some(1);
        }
        self.passed_over += 1;
        if self.passed_over < self.one_in.get() {
            return None;
        }
        self.passed_over = 0;
        Some(self.one_in.get())
    }
}

/// Locks what stays whole when its holder panics: at worst a line is cut.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_three_is_logged_and_every_failure() {
        let mut sampler = Sampler::new(NonZeroU32::new(3).unwrap());
        let taken: Vec<_> = (0..7).map(|_| sampler.handle_exchange(false)).collect();
        let three = Some(3);
        assert_eq!(taken, [three, None, None, three, None, None, three]);
        assert_eq!(sampler.handle_exchange(true), Some(1));
        assert_eq!(sampler.handle_exchange(false), None);
        assert_eq!(sampler.handle_exchange(true), Some(1));
        assert_eq!(sampler.handle_exchange(false), None);
        assert_eq!(sampler.handle_exchange(false), three);
    }

    #[test]
    fn all_are_logged_without_a_sample() {
        let mut sampler = Sampler::new(NonZeroU32::MIN);
        assert!((0..5).all(|_| sampler.handle_exchange(false) == Some(1)));
    }
}
