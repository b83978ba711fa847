//! Closes connections that nobody uses, for as long as there are any.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock;
use crate::upstream::Upstream;

/// Sweeps an upstream from the first exchange on, until it has no connection left.
pub(super) struct Sweep {
    upstream: Upstream,
    is_running: AtomicBool,
}

impl Sweep {
    pub(super) const fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            is_running: AtomicBool::new(false),
        }
    }

    /// Sees to it that a connection which may have become idle is closed in time.
    fn begin(self: &Arc<Self>) {
        if self.is_running.load(SeqCst) || self.is_running.swap(true, SeqCst) {
            return;
        }
        let task = Task(Arc::downgrade(self));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(task.run());
        }
    }

    /// Sweeps; whether any connection is left.
    fn sweep(&self) -> bool {
        let now = clock::now();
        for worker in 0..self.upstream.configuration().workers {
            self.upstream.sweep(worker, now);
        }
        self.has_connections()
    }

    fn has_connections(&self) -> bool {
        self.upstream.stats().iter().any(|stats| stats.open > 0)
    }
}

/// Begins a sweep where an exchange ends, whichever way: also one that is dropped leaves its
/// connection of HTTP/2 behind.
#[derive(Debug)]
pub(super) struct Swept(pub(super) Arc<Sweep>);

impl Drop for Swept {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// The task under way. When its runtime ends it, the next exchange begins another.
struct Task(Weak<Sweep>);

impl Task {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(sweep) = self.0.upgrade() else {
                return;
            };
            if sweep.sweep() {
                continue;
            }
            // Said first and looked at again then: an exchange that ends in between either sees that
            // nobody sweeps, or its connection is seen here.
            sweep.is_running.store(false, SeqCst);
            if !sweep.has_connections() || sweep.is_running.swap(true, SeqCst) {
                self.0 = Weak::new();
                return;
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(sweep) = self.0.upgrade() {
            sweep.is_running.store(false, SeqCst);
        }
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").finish_non_exhaustive()
    }
}

/// Between two looks; connections are idle for up to this much longer than they may.
const EVERY: Duration = Duration::from_secs(1);
