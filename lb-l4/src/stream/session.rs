//! What is booked for one session: its lease, its bytes, its end.

use std::sync::Arc;
use std::time::Duration;

use lbcore::budget::{Budget, Grant, Resource};
use lbcore::limit::{ConcurrencyGuard, LimitReached, Limits, TokenBucket};
use lbcore::{Instant, Lease, Outcome};

use super::counters::{End, Refused, WorkerCounters};
use super::flow::{Ledger, Way};
use super::reactor::{Ending, SCRATCH};

/// One session that was begun; it counts itself as ended when its book is closed or dropped.
#[derive(Debug)]
pub(crate) struct Session {
    /// `None` once it has ended.
    lease: Option<Lease>,
    counters: WorkerCounters,
    admission: Admission,
    /// The client has sent something.
    asked: bool,
    /// The backend has sent something.
    answered: bool,
}

impl Session {
    /// A session on the backend of this lease, which was reached.
    pub(crate) fn begin(lease: Lease, counters: WorkerCounters, admission: Admission) -> Self {
        counters.began();
        Self {
            lease: Some(lease),
            counters,
            admission,
            asked: false,
            answered: false,
        }
    }

    /// Books what was read from the client before there was a backend.
    pub(crate) fn read_before(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 {
            self.read(now, Way::Up, bytes);
        }
    }

    /// What the end means for the backend.
    const fn outcome(&self, how: End) -> Outcome {
        match how {
            End::Backend | End::Client => Outcome::Ok,
            End::BackendReset => Outcome::Reset,
            // A backend that was asked and never answered has kept its client waiting.
            End::Idle if self.asked && !self.answered => Outcome::Timeout,
            End::Idle => Outcome::Ok,
            End::ClientReset | End::Deadline | End::Error => Outcome::Cancelled,
        }
    }

    fn close(&mut self, how: End) -> Option<(Lease, Outcome)> {
        let outcome = self.outcome(how);
        let lease = self.lease.take()?;
        // Whoever sees the session ended finds its place free.
        self.admission.place = None;
        self.counters.ended(how);
        Some((lease, outcome))
    }
}

/// A session's right to be: its place under the limits of its listener.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Arc<Limits>,
    /// `None` once the session has ended.
    place: Option<Place>,
}

/// What is given back when the session ends.
#[derive(Debug)]
struct Place {
    _limited: ConcurrencyGuard,
    _granted: Option<[Grant; 3]>,
}

impl Admission {
    /// A place for a new session.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub(crate) fn take(
        now: Instant,
        limits: &Arc<Limits>,
        budget: Option<&Budget>,
    ) -> Result<Self, Refused> {
        let granted = budget.map(grants).transpose()?;
        let limited = limits.admit(now).map_err(|reached| match reached {
            LimitReached::ConnectionsPerSecond => Refused::Rate,
            _ => Refused::Connections,
        })?;
        Ok(Self {
            limits: Arc::clone(limits),
            place: Some(Place {
                _limited: limited,
                _granted: granted,
            }),
        })
    }

    fn bucket(&self, way: Way) -> &TokenBucket {
        match way {
            Way::Down => &self.limits.bytes_out,
            Way::Up => &self.limits.bytes_in,
        }
    }
}

/// What a session takes from the budget of the process.
fn grants(budget: &Budget) -> Result<[Grant; 3], Refused> {
    let take = |resource, amount| {
        let grant = budget.try_take(resource, amount);
        grant.map_err(|_| Refused::Budget)
    };
    Ok([
        take(Resource::Sessions, 1)?,
        take(Resource::Descriptors, 2)?,
        take(Resource::Bytes, MOST_HELD)?,
    ])
}

/// Bytes that a session holds at most: what was read at once each way, and 2 KiB for itself.
const MOST_HELD: u64 = 2 * SCRATCH as u64 + 2048;

/// Bytes that are limited wait at least this long, so that little debts set few timers.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

impl Ledger for Session {
    fn allow(&mut self, now: Instant, way: Way, want: usize) -> Result<usize, Instant> {
        let bucket = self.admission.bucket(way);
        // What is read is charged, into debt if need be; who comes next waits until it is paid.
        match bucket.ready_at(now, 1) {
            ready if ready <= now => Ok(want),
            later => Err(later.max(now + SHORTEST_WAIT)),
        }
    }

    fn read(&mut self, now: Instant, way: Way, bytes: usize) {
        self.admission.bucket(way).charge(now, bytes as u64);
        match way {
            Way::Up => {
                self.asked = true;
                self.counters.received(bytes as u64);
            }
            Way::Down if !self.answered => {
                self.answered = true;
                if let Some(lease) = &mut self.lease {
                    lease.first_byte(now);
                }
            }
            Way::Down => {}
        }
    }

    fn wrote(&mut self, way: Way, bytes: usize) {
        if way == Way::Down {
            self.counters.sent(bytes as u64);
        }
    }
}

impl Ending for Session {
    fn end(mut self, now: Instant, how: End) {
        if let Some((lease, outcome)) = self.close(how) {
            lease.finish(now, outcome);
        }
    }
}

impl Drop for Session {
    /// Only what was never carried, or lost its carrier, comes here unended.
    fn drop(&mut self) {
        drop(self.close(End::Error));
    }
}

#[cfg(test)]
mod tests {
    use lbcore::limit::LimitConfig;
    use lbcore::schedule::RoundRobin;
    use lbcore::{Backend, Pick, Pool};

    use super::super::counters::Counters;
    use super::*;

    const T0: Instant = Instant::from_nanos(1);

    /// What a backend is told when its session ends like this, after these bytes.
    fn outcome(how: End, up: usize, down: usize) -> Outcome {
        let address = "10.0.0.1:80".parse().unwrap();
        let pool = Pool::new(RoundRobin).backend(Backend::new("b", address));
        let lease = pool.balancer(0).acquire(T0, &Pick::default()).unwrap();
        let limits = Arc::new(Limits::new(T0, LimitConfig::default()));
        let admission = Admission::take(T0, &limits, None).unwrap();
        let counters = Counters::new(1);
        let mut session = Session::begin(lease, counters.worker(0), admission);
        session.read_before(T0, up);
        if down > 0 {
            session.read(T0, Way::Down, down);
            session.wrote(Way::Down, down);
        }
        let outcome = session.outcome(how);
        assert_eq!(counters.read().active(), 1);
        session.end(T0, how);
        let stats = counters.read();
        assert_eq!((stats.active(), stats.ended(how)), (0, 1));
        assert_eq!((stats.bytes_in, stats.bytes_out), (up as u64, down as u64));
        assert_eq!(limits.stats().in_flight, 0);
        assert_eq!(pool.stats()[0].in_flight(), 0);
        outcome
    }

    #[test]
    fn a_backend_is_charged_for_what_was_its_fault() {
        assert_eq!(outcome(End::Client, 1, 1), Outcome::Ok);
        assert_eq!(outcome(End::Backend, 0, 1), Outcome::Ok);
        assert_eq!(outcome(End::BackendReset, 1, 1), Outcome::Reset);
        for how in [End::ClientReset, End::Deadline, End::Error] {
            assert_eq!(outcome(how, 1, 1), Outcome::Cancelled);
        }
    }

    #[test]
    fn idle_is_a_backends_fault_only_if_it_was_asked_and_has_never_answered() {
        assert_eq!(outcome(End::Idle, 1, 0), Outcome::Timeout);
        assert_eq!(outcome(End::Idle, 1, 1), Outcome::Ok);
        assert_eq!(outcome(End::Idle, 0, 0), Outcome::Ok);
    }

    #[test]
    fn a_debt_of_bytes_is_waited_for_and_only_in_its_own_direction() {
        let config = LimitConfig::default().bytes_per_second_in(1_000_000);
        let limits = Arc::new(Limits::new(T0, config));
        let address = "10.0.0.1:80".parse().unwrap();
        let pool = Pool::new(RoundRobin).backend(Backend::new("b", address));
        let lease = pool.balancer(0).acquire(T0, &Pick::default()).unwrap();
        let admission = Admission::take(T0, &limits, None).unwrap();
        let mut session = Session::begin(lease, Counters::new(1).worker(0), admission);
        assert_eq!(session.allow(T0, Way::Up, 4096), Ok(4096));
        // The burst is a tenth of a second, so this is a debt of another tenth.
        session.read(T0, Way::Up, 200_000);
        let later = session.allow(T0, Way::Up, 4096).unwrap_err();
        let wait = later.since(T0);
        assert!(wait.abs_diff(Duration::from_millis(100)) < Duration::from_millis(1));
        assert_eq!(session.allow(T0, Way::Down, 4096), Ok(4096));
        assert_eq!(session.allow(later, Way::Up, 4096), Ok(4096));
    }

    #[test]
    fn a_session_that_is_dropped_counts_as_ended() {
        let address = "10.0.0.1:80".parse().unwrap();
        let pool = Pool::new(RoundRobin).backend(Backend::new("b", address));
        let lease = pool.balancer(0).acquire(T0, &Pick::default()).unwrap();
        let limits = Arc::new(Limits::new(T0, LimitConfig::default()));
        let admission = Admission::take(T0, &limits, None).unwrap();
        let counters = Counters::new(1);
        drop(Session::begin(lease, counters.worker(0), admission));
        assert_eq!(counters.read().ended(End::Error), 1);
    }
}
