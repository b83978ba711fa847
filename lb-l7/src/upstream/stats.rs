//! What has become of the connections to a backend, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lbcore::BackendId;

/// Why a connection to a backend ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// An exchange on it was given up before its end: a client left, a deadline passed.
    Aborted,
    /// It was older than it may get.
    Age,
    /// The backend closed it while nothing was under way.
    BackendClosed,
    /// It broke, or what the backend sent on it made no sense.
    Broken,
    /// HTTP/2: the backend said that it takes no more (GOAWAY).
    GoAway,
    /// Nobody wanted it for longer than it may be idle.
    Idle,
    /// The backend did not answer a ping in time.
    KeepAlive,
    /// It led to an address that the backend has no longer, or to a backend that is gone.
    Moved,
    /// One side said that it will not be kept (`Connection: close`).
    NotKept,
    /// Another client, or another worker, needed its place.
    Reclaimed,
    /// It has carried as many requests as it may.
    Requests,
    /// As many as may be idle were idle already.
    Surplus,
    /// It became a tunnel, which has ended.
    Tunnel,
    /// Bytes came while nothing had been asked: whose answer they are, nobody can say.
    Unread,
}

impl CloseReason {
    /// Each of them, in order.
    pub const ALL: [Self; 14] = [
        Self::Aborted,
        Self::Age,
        Self::BackendClosed,
        Self::Broken,
        Self::GoAway,
        Self::Idle,
        Self::KeepAlive,
        Self::Moved,
        Self::NotKept,
        Self::Reclaimed,
        Self::Requests,
        Self::Surplus,
        Self::Tunnel,
        Self::Unread,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Age => "age",
            Self::BackendClosed => "backend-closed",
            Self::Broken => "broken",
            Self::GoAway => "goaway",
            Self::Idle => "idle",
            Self::KeepAlive => "keep-alive",
            Self::Moved => "moved",
            Self::NotKept => "not-kept",
            Self::Reclaimed => "reclaimed",
            Self::Requests => "requests",
            Self::Surplus => "surplus",
            Self::Tunnel => "tunnel",
            Self::Unread => "unread",
        }
    }
}

/// The connections to one backend at one moment.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionStats {
    /// Which backend.
    pub backend: BackendId,
    /// Connections now, those being opened included.
    pub open: u32,
    /// Of these, the ones without an exchange.
    pub idle: u32,
    /// Exchanges that wait for a connection now.
    pub pending: u32,
    /// Connections opened so far.
    pub opened: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Exchanges that found a connection already open.
    pub reused: u64,
    /// Exchanges refused because the queue was full.
    pub queue_full: u64,
    /// Exchanges refused because they had waited for too long.
    pub queue_timeout: u64,
    /// Connections ended, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
}

impl ConnectionStats {
    /// How many ended for `reason`.
    #[must_use]
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed.get(reason as usize).copied().unwrap_or(0)
    }
}

/// What is counted once a connection, by whichever worker.
#[derive(Debug, Default)]
pub(super) struct Counts {
    opened: AtomicU64,
    /// Connections and streams handed to somebody who waited; the others are their worker's count.
    handed_over: AtomicU64,
    failed: AtomicU64,
    queue_full: AtomicU64,
    queue_timeout: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Counts {
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn handed_over(&self) {
        self.handed_over.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn queue_full(&self) {
        self.queue_full.fetch_add(1, Relaxed);
    }

    pub(super) fn queue_timeout(&self) {
        self.queue_timeout.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        if let Some(count) = self.closed.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// All of them; `open`, `idle` and `pending`, and what workers count, are the caller's to add.
    pub(super) fn read(&self, backend: BackendId) -> ConnectionStats {
        ConnectionStats {
            backend,
            open: 0,
            idle: 0,
            pending: 0,
            opened: self.opened.load(Relaxed),
            failed: self.failed.load(Relaxed),
            reused: self.handed_over.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            queue_timeout: self.queue_timeout.load(Relaxed),
            closed: std::array::from_fn(|at| {
                self.closed.get(at).map_or(0, |count| count.load(Relaxed))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_under_its_own_name() {
        let counts = Counts::default();
        for (times, reason) in CloseReason::ALL.into_iter().enumerate() {
            for _ in 0..=times {
                counts.closed(reason);
            }
        }
        let stats = counts.read(BackendId::new(7));
        for (times, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(stats.closed_for(reason), times as u64 + 1);
        }
        let names = CloseReason::ALL.map(CloseReason::as_str);
        assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()));
        let distinct: std::collections::BTreeSet<_> = names.into_iter().collect();
        assert_eq!(distinct.len(), CloseReason::ALL.len());
    }
}
