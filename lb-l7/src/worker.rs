//! What one worker has to itself while it serves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lbcore::rng::{Rng, Xoshiro};

use crate::access_log::{AccessLog, WorkerLog};
use crate::report::Report;
use crate::stats::Writer;

/// One worker's own state; never contended, as long as each thread serves by its own worker.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Xoshiro,
    writer: Writer,
    log: Option<(Arc<AccessLog>, WorkerLog)>,
}

impl Worker {
    pub(crate) fn new(seed: u64, writer: Writer) -> Self {
        Self {
            index: writer.index(),
            state: Mutex::new(State {
                rng: Xoshiro::new(seed),
                writer,
                log: None,
            }),
        }
    }

    /// Its number, which picks its share of every pool of connections.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// A number that nobody can foretell well enough to choose by it.
    pub(crate) fn entropy(&self) -> u64 {
        self.lock().rng.next_u64()
    }

    pub(crate) fn with_rng<T>(&self, use_it: impl FnOnce(&mut Xoshiro) -> T) -> T {
        use_it(&mut self.lock().rng)
    }

    /// The right to count as this worker.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Writer)) {
        count(&mut self.lock().writer);
    }

    /// Writes `report` to `log`.
    pub(crate) fn log(&self, log: &Arc<AccessLog>, report: &Report<'_>) {
        let mut state = self.lock();
        let known = state
            .log
            .take()
            .filter(|(known, _)| Arc::ptr_eq(known, log));
        let (log, mut lines) = known.unwrap_or_else(|| (Arc::clone(log), log.worker()));
        lines.record(report);
        state.log = Some((log, lines));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Neither generator nor writer can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
