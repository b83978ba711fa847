//! Finish what is begun, take nothing new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Whether a proxy drains, for everyone who has a connection open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_begun: AtomicBool,
    begun: Arc<Notify>,
}

impl Drain {
    /// Begins; there is no way back.
    pub(crate) fn begin(&self) {
        self.0.is_begun.store(true, Ordering::Release);
        self.0.begun.notify_waiters();
    }

    /// Whether it has begun.
    pub(crate) fn is_begun(&self) -> bool {
        self.0.is_begun.load(Ordering::Acquire)
    }

    /// Something to wait for with [`has_begun`](Waiting::has_begun).
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            drain: self.clone(),
            notified: Box::pin(Arc::clone(&self.0.begun).notified_owned()),
        }
    }
}

/// One task's wait for a drain to begin, kept over all its waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    drain: Drain,
    notified: std::pin::Pin<Box<OwnedNotified>>,
}

impl Waiting {
    /// Resolves when the drain has begun, at once if it has.
    pub(crate) async fn has_begun(&mut self) {
        if !self.drain.is_begun() {
            // Made before the look at the flag: a drain that begins in between is noticed.
            self.notified.as_mut().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_and_who_comes_late_does_not_wait() {
        let drain = Drain::default();
        let mut early = drain.waiting();
        let task = tokio::spawn(async move { early.has_begun().await });
        tokio::task::yield_now().await;
        assert!(!task.is_finished() && !drain.is_begun());
        drain.begin();
        task.await.unwrap();
        assert!(drain.is_begun());
        drain.waiting().has_begun().await;
    }
}
