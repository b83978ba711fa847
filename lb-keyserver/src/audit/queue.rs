//! Between those who record and the one who writes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::record::Record;

/// Records that wait to be written, at most so many.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    /// The writer sleeps until something comes.
    idle: bool,
    closed: bool,
}

/// What the writer woke up to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Woken {
    Closed,
    /// To records, or because the time was up.
    Open,
}

/// Why a record does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoRoom {
    Closed,
    Full,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Appends a record. Wakes the writer when it sleeps, or falls behind.
    pub(super) fn push(&self, record: Record) -> Result<(), NoRoom> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(NoRoom::Closed);
        }
        if waiting.records.len() >= self.most {
            return Err(NoRoom::Full);
        }
        waiting.records.push(record);
        let wake = std::mem::take(&mut waiting.idle) || waiting.records.len() == self.crowd();
        drop(waiting);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Takes all that wait, into a vector that must be empty. Sleeps while there is nothing, for at
    /// most `most`; then gathers for `linger`, unless half of the room is used up before.
    pub(super) fn take(&self, most: Duration, linger: Duration, into: &mut Vec<Record>) -> Woken {
        let mut waiting = self.lock();
        if waiting.records.is_empty() && !waiting.closed {
            waiting.idle = true;
            let nothing = |waiting: &mut Waiting| waiting.idle && !waiting.closed;
            let woken = self.changed.wait_timeout_while(waiting, most, nothing);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            waiting.idle = false;
        }
        if !waiting.records.is_empty() {
            let few =
                |waiting: &mut Waiting| !waiting.closed && waiting.records.len() < self.crowd();
            let woken = self.changed.wait_timeout_while(waiting, linger, few);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut waiting.records, into);
        match waiting.closed {
            true => Woken::Closed,
            false => Woken::Open,
        }
    }

    /// Sleeps for so long, or until the queue is closed, and takes nothing.
    pub(super) fn pause(&self, time: Duration) -> Woken {
        let open = |waiting: &mut Waiting| !waiting.closed;
        let woken = self.changed.wait_timeout_while(self.lock(), time, open);
        match woken.unwrap_or_else(PoisonError::into_inner).0.closed {
            true => Woken::Closed,
            false => Woken::Open,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// So many are not kept waiting for more.
    const fn crowd(&self) -> usize {
        self.most.div_ceil(2)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A vector is whole whatever panicked: nothing under the lock is done by halves.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
