//! What a UDP balancer counts beyond sessions: datagrams, and why some were dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::outbox::Size;
use crate::stream::counters::{Counters, Stats, WorkerCounters};

/// Why a datagram of a session, or of a client that has none, went no further.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Dropped {
    /// Beyond the bandwidth that the listener allows.
    Bandwidth,
    /// The socket's send buffer was full.
    NoBuffer,
    /// No backend took its session; [`Refused`](crate::stream::Refused) says why.
    Refused,
    /// An answer beyond the number that one-packet mode waits for.
    Surplus,
    /// It was cut on receipt, or nobody can tell who sent it.
    Truncated,
    /// The kernel would not send it: no route, too long, forbidden, or to port 0.
    Unsendable,
}

impl Dropped {
    /// Every one, in the order of their declaration.
    pub const ALL: &[Self] = &[
        Self::Bandwidth,
        Self::NoBuffer,
        Self::Refused,
        Self::Surplus,
        Self::Truncated,
        Self::Unsendable,
    ];

    /// Its kebab-case name, as metrics and logs show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::NoBuffer => "no-buffer",
            Self::Refused => "refused",
            Self::Surplus => "surplus",
            Self::Truncated => "truncated",
            Self::Unsendable => "unsendable",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One reading of a UDP balancer's counters.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UdpStats {
    /// Sessions, and the payload bytes that were passed on in each direction.
    pub sessions: Stats,
    /// Datagrams of clients that were sent to a backend.
    pub datagrams_in: u64,
    /// Datagrams of backends that were sent to a client.
    pub datagrams_out: u64,
    /// Sessions that went to another backend because theirs was found down.
    pub moved: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl UdpStats {
    /// Datagrams dropped for this reason.
    #[must_use]
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or(0)
    }
}

/// The counters of all workers.
#[derive(Clone, Debug)]
pub(super) struct UdpCounters {
    sessions: Counters,
    workers: Arc<[Arc<Worker>]>,
}

impl UdpCounters {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            sessions: Counters::new(workers),
            workers: (0..workers.max(1)).map(|_| Arc::default()).collect(),
        }
    }

    /// The counters of one worker; a number too large wraps round.
    pub(super) fn worker(&self, index: usize) -> Tally {
        let at = index.checked_rem(self.workers.len()).unwrap_or(0);
        let worker = self.workers.get(at).map(Arc::clone).unwrap_or_default();
        Tally {
            sessions: self.sessions.worker(index),
            worker,
        }
    }

    pub(super) fn read(&self) -> UdpStats {
        let mut stats = UdpStats {
            sessions: self.sessions.read(),
            ..UdpStats::default()
        };
        for worker in self.workers.iter() {
            stats.datagrams_in += worker.datagrams_in.load(Relaxed);
            stats.datagrams_out += worker.datagrams_out.load(Relaxed);
            stats.moved += worker.moved.load(Relaxed);
            for (sum, n) in stats.dropped.iter_mut().zip(&worker.dropped) {
                *sum += n.load(Relaxed);
            }
        }
        stats
    }
}

/// What one worker writes.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) sessions: WorkerCounters,
    worker: Arc<Worker>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Worker {
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
    moved: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Tally {
    /// Counts what was sent to a backend.
    pub(super) fn passed_in(&self, size: Size) {
        self.sessions.received(size.bytes);
        self.worker.datagrams_in.fetch_add(size.datagrams, Relaxed);
    }

    /// Counts what was sent to clients.
    pub(super) fn passed_out(&self, size: Size) {
        self.sessions.sent(size.bytes);
        self.worker.datagrams_out.fetch_add(size.datagrams, Relaxed);
    }

    /// Counts a session that found its backend down.
    pub(super) fn moved(&self) {
        self.worker.moved.fetch_add(1, Relaxed);
    }

    /// Counts datagrams that went no further.
    pub(super) fn dropped(&self, why: Dropped, datagrams: u64) {
        if datagrams > 0
            && let Some(counter) = self.worker.dropped.get(why as usize)
        {
            counter.fetch_add(datagrams, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_adds_up_all_workers() {
        let counters = UdpCounters::new(2);
        for index in 0..2 {
            let tally = counters.worker(index);
            tally.passed_in(Size {
                bytes: 10,
                datagrams: 2,
            });
            tally.passed_out(Size {
                bytes: 30,
                datagrams: 3,
            });
            tally.moved();
            for (n, &why) in (1..).zip(Dropped::ALL) {
                tally.dropped(why, n);
            }
        }
        counters.worker(2).moved();
        let stats = counters.read();
        assert_eq!(
            (stats.sessions.bytes_in, stats.sessions.bytes_out),
            (20, 60)
        );
        assert_eq!(
            (stats.datagrams_in, stats.datagrams_out, stats.moved),
            (4, 6, 3)
        );
        for (n, &why) in (1..).zip(Dropped::ALL) {
            assert_eq!(stats.dropped(why), 2 * n, "{why}");
        }
        assert_eq!(UdpCounters::new(0).workers.len(), 1);
    }

    #[test]
    fn each_reason_has_a_name_and_a_place_of_its_own() {
        for (at, why) in Dropped::ALL.iter().enumerate() {
            assert_eq!(*why as usize, at);
            assert!(
                Dropped::ALL
                    .iter()
                    .filter(|it| it.as_str() == why.as_str())
                    .count()
                    == 1
            );
        }
    }
}
