//! What a balancer has done: counters that workers write apart and readers add up.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Defines an enum of reasons with `ALL` and `as_str`, so that the three never disagree.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its kebab-case name, as metrics and logs show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a session was not begun.
    ///
    /// What is wrong with a PROXY header or a ClientHello is not told apart: `proxy-header` and
    /// `tls-hello` are one reason each for bytes of another protocol, malformed ones, too many of
    /// them, and a client that closes before the last. One that is only late has a reason of its
    /// own.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::stream::Refused;
    ///
    /// assert_eq!(Refused::AllDown.as_str(), "all-down");
    /// assert!(Refused::ALL.contains(&Refused::AllDown));
    /// ```
    Refused {
        /// Accepting failed: no descriptor, no memory, or the client was gone already.
        Accept = "accept",
        /// Every backend is down.
        AllDown = "all-down",
        /// Every backend has as many sessions as it may have.
        AllFull = "all-full",
        /// The process-wide budget is spent.
        Budget = "budget",
        /// The listener, or its table, has as many sessions as it may have.
        Connections = "connections",
        /// No backend that was tried could be reached within the connect budget.
        ConnectFailed = "connect-failed",
        /// The address lists turn the client away.
        Denied = "denied",
        /// The balancer is draining.
        Draining = "draining",
        /// The pool has no backends.
        NoBackends = "no-backends",
        /// The header that must open the connection is not one of the PROXY protocol: missing,
        /// malformed, too long, or cut short by the client's close. See
        /// [`ParseError`](lbcore::proxy_protocol::ParseError).
        ProxyHeader = "proxy-header",
        /// The header of the PROXY protocol did not come in time.
        ProxyTimeout = "proxy-timeout",
        /// More new sessions a second than the listener allows.
        Rate = "rate",
        /// This host lacks a descriptor, a local port or memory for the session.
        Resources = "resources",
        /// No pool is named for the server that the client asks for.
        ServerName = "server-name",
        /// The pool sheds load.
        Shed = "shed",
        /// What came first is not a TLS ClientHello: another protocol, malformed, too long, with a
        /// server name that is none, or cut short by the client's close. See
        /// [`PeekError`](super::client_hello::PeekError).
        TlsHello = "tls-hello",
        /// The TLS ClientHello did not come in time.
        TlsTimeout = "tls-timeout",
    }
}

reasons! {
    /// How a session that was begun has ended.
    End {
        /// The backend closed first, and all its bytes were delivered.
        Backend = "backend",
        /// The backend reset the connection.
        BackendReset = "backend-reset",
        /// The client closed first, and all its bytes were delivered.
        Client = "client",
        /// The client reset the connection.
        ClientReset = "client-reset",
        /// The drain's deadline passed.
        Deadline = "deadline",
        /// This host failed: no memory, or an error of neither peer.
        Error = "error",
        /// Nothing moved for the idle timeout.
        Idle = "idle",
    }
}

/// The counters of one balancer, shared by its workers and its readers; clones are the same counters.
///
/// Each worker has cache lines of its own, so that counting costs an uncontended addition.
#[derive(Clone)]
pub struct Counters {
    workers: Arc<[Worker]>,
}

impl Counters {
    /// Counters for this many workers, at least one; each takes 256 bytes.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Worker::default()).collect(),
        }
    }

    /// The counters of worker number `index`; a number too large wraps round.
    #[must_use]
    pub fn worker(&self, index: usize) -> WorkerCounters {
        let index = index.checked_rem(self.workers.len()).unwrap_or(0);
        WorkerCounters {
            all: Arc::clone(&self.workers),
            index,
        }
    }

    /// The sums over all workers.
    ///
    /// What a worker has counted before the call is in it; the figures of sessions that end during
    /// the call may or may not be.
    #[must_use]
    pub fn read(&self) -> Stats {
        let mut sum = Stats::default();
        for worker in self.workers.iter() {
            sum += worker.read();
        }
        sum
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// The counters of one worker: what it writes.
#[derive(Clone)]
pub struct WorkerCounters {
    all: Arc<[Worker]>,
    index: usize,
}

impl WorkerCounters {
    /// Counts a client's connection that was accepted, or a datagram that opens a session.
    pub fn accepted(&self) {
        self.worker().accepted.fetch_add(1, Relaxed);
    }

    /// Counts a session that was not begun.
    pub fn refused(&self, why: Refused) {
        count(&self.worker().refused, why as usize, 1);
    }

    /// Counts a session that begins; each is matched by one [`ended`](Self::ended).
    pub fn began(&self) {
        self.worker().began.fetch_add(1, Relaxed);
    }

    /// Counts a session that has ended.
    pub fn ended(&self, how: End) {
        count(&self.worker().ended, how as usize, 1);
    }

    /// Counts a try to reach a backend that failed.
    pub fn connect_failed(&self) {
        self.worker().connect_failed.fetch_add(1, Relaxed);
    }

    /// Counts payload bytes read from the client.
    pub fn received(&self, bytes: u64) {
        self.worker().bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts payload bytes written to the client.
    pub fn sent(&self, bytes: u64) {
        self.worker().bytes_out.fetch_add(bytes, Relaxed);
    }

    fn worker(&self) -> &Worker {
        // `Counters::worker` has made sure that the index is in range.
        &self.all[self.index]
    }
}

impl fmt::Debug for WorkerCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.worker().read().fmt(f)
    }
}

/// One reading of [`Counters`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Connections accepted from clients, those refused afterwards included.
    pub accepted: u64,
    /// Sessions begun: a backend was reached.
    pub began: u64,
    /// Payload bytes read from clients, as delivered by TCP; PROXY headers are not payload.
    pub bytes_in: u64,
    /// Payload bytes written to clients.
    pub bytes_out: u64,
    /// Tries to reach a backend that failed; a session may have had several.
    pub connect_failed: u64,
    refused: [u64; Refused::ALL.len()],
    ended: [u64; End::ALL.len()],
}

impl Stats {
    /// Sessions under way.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.began.saturating_sub(self.ended.iter().sum())
    }

    /// Sessions not begun for this reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or(0)
    }

    /// Sessions that ended like this.
    #[must_use]
    pub fn ended(&self, how: End) -> u64 {
        self.ended.get(how as usize).copied().unwrap_or(0)
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.began += other.began;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connect_failed += other.connect_failed;
        for (sum, n) in self.refused.iter_mut().zip(other.refused) {
            *sum += n;
        }
        for (sum, n) in self.ended.iter_mut().zip(other.ended) {
            *sum += n;
        }
    }
}

/// Two lines of 64 bytes are fetched together on x86-64, hence 128.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    accepted: AtomicU64,
    began: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connect_failed: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    ended: [AtomicU64; End::ALL.len()],
}

impl Worker {
    fn read(&self) -> Stats {
        // Ends are read before beginnings, so that what ends meanwhile is not missing from both.
        let ended = self.ended.each_ref().map(|n| n.load(Relaxed));
        Stats {
            accepted: self.accepted.load(Relaxed),
            began: self.began.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            connect_failed: self.connect_failed.load(Relaxed),
            refused: self.refused.each_ref().map(|n| n.load(Relaxed)),
            ended,
        }
    }
}

fn count(counters: &[AtomicU64], index: usize, by: u64) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(by, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_the_sum_over_all_workers() {
        let counters = Counters::new(3);
        for index in 0..3 {
            let worker = counters.worker(index);
            worker.accepted();
            worker.accepted();
            worker.began();
            worker.received(10);
            worker.sent(7);
            worker.connect_failed();
            worker.refused(Refused::Rate);
        }
        let stats = counters.read();
        assert_eq!((stats.accepted, stats.began), (6, 3));
        assert_eq!((stats.bytes_in, stats.bytes_out), (30, 21));
        assert_eq!(stats.connect_failed, 3);
        assert_eq!(stats.refused(Refused::Rate), 3);
        assert_eq!(stats.active(), 3);
    }

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let counters = Counters::new(1);
        let worker = counters.worker(0);
        for (n, &why) in Refused::ALL.iter().enumerate() {
            (0..=n).for_each(|_| worker.refused(why));
        }
        for (n, &how) in End::ALL.iter().enumerate() {
            (0..=n).for_each(|_| worker.ended(how));
        }
        let stats = counters.read();
        for (n, &why) in Refused::ALL.iter().enumerate() {
            assert_eq!(stats.refused(why), n as u64 + 1, "{why}");
        }
        for (n, &how) in End::ALL.iter().enumerate() {
            assert_eq!(stats.ended(how), n as u64 + 1, "{how}");
        }
    }

    #[test]
    fn what_has_ended_is_no_longer_active() {
        let counters = Counters::new(1);
        let worker = counters.worker(0);
        worker.began();
        worker.began();
        worker.ended(End::Idle);
        assert_eq!(counters.read().active(), 1);
        worker.ended(End::Client);
        assert_eq!(counters.read().active(), 0);
    }

    #[test]
    fn a_worker_number_beyond_the_last_wraps_round() {
        let counters = Counters::new(2);
        counters.worker(5).accepted();
        assert_eq!(counters.worker(1).worker().read().accepted, 1);
        assert_eq!(Counters::new(0).worker(9).worker().read().accepted, 0);
    }

    #[test]
    fn the_names_of_reasons_are_kebab_case_and_differ() {
        let names: std::collections::BTreeSet<_> = Refused::ALL
            .iter()
            .map(|why| why.as_str())
            .chain(End::ALL.iter().map(|how| how.as_str()))
            .collect();
        assert_eq!(names.len(), Refused::ALL.len() + End::ALL.len());
        let kebab = |name: &&str| name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
        assert!(names.iter().all(kebab));
    }

    #[test]
    fn workers_do_not_share_a_pair_of_cache_lines() {
        assert_eq!(align_of::<Worker>(), 128);
        assert_eq!(size_of::<Worker>(), 256);
    }
}
