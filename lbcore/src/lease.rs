//! The right to send one session to a backend, and how the session ended.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Address;
use crate::pool::Shard;
use crate::{Backend, BackendId, Instant, Ticket};

/// How a session ended, as far as its backend is concerned.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Nobody can say: the client left, or the lease was dropped. Charges no latency.
    Cancelled,
    /// The client was at fault; the backend did its work.
    ClientError,
    /// The backend could not be reached.
    ConnectFailed,
    /// The session ended as it should.
    Ok,
    /// The backend said that it has too much to do.
    Overloaded {
        /// How long it asked to be left alone, if it said.
        retry_after: Option<Duration>,
    },
    /// The backend broke the connection off.
    Reset,
    /// The backend answered with an error of its own.
    ServerError,
    /// The backend did not answer in time.
    Timeout,
}

impl Outcome {
    /// How many kinds there are.
    pub(crate) const KINDS: usize = 8;

    /// The names of the kinds, as in metrics, by [`kind`](Self::kind).
    pub const NAMES: [&'static str; Self::KINDS] = [
        "cancelled",
        "client-error",
        "connect-failed",
        "ok",
        "overloaded",
        "reset",
        "server-error",
        "timeout",
    ];

    /// Its place in [`NAMES`](Self::NAMES).
    #[inline]
    #[must_use]
    pub const fn kind(self) -> usize {
        match self {
            Self::Cancelled => 0,
            Self::ClientError => 1,
            Self::ConnectFailed => 2,
            Self::Ok => 3,
            Self::Overloaded { .. } => 4,
            Self::Reset => 5,
            Self::ServerError => 6,
            Self::Timeout => 7,
        }
    }

    /// Whether the backend failed.
    #[inline]
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Cancelled | Self::ClientError | Self::Ok => false,
            Self::ConnectFailed
            | Self::Overloaded { .. }
            | Self::Reset
            | Self::ServerError
            | Self::Timeout => true,
        }
    }

    /// Whether the backend is known to have done its work.
    #[inline]
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::ClientError | Self::Ok)
    }

    /// The latency charged to a session that took `elapsed`, given the pool's penalty.
    ///
    /// A failure is charged at least the penalty, so that a backend that fails fast does not look
    /// fast; one that asks for time is charged that, up to [`Outcome::LONGEST_RETRY_AFTER`].
    #[must_use]
    pub fn charge(self, elapsed: Duration, penalty: Duration) -> Option<Duration> {
        match self {
            Self::Cancelled => None,
            Self::ClientError | Self::Ok => Some(elapsed),
            Self::Overloaded {
                retry_after: Some(asked),
            } => Some(
                elapsed
                    .max(penalty)
                    .max(asked.min(Self::LONGEST_RETRY_AFTER)),
            ),
            _ => Some(elapsed.max(penalty)),
        }
    }

    /// The longest wait that a backend can ask for and be charged: 300 s, as in linkerd2-proxy.
    pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
}

/// The right to send one session's traffic to a backend.
///
/// Given out by [`Balancer::acquire`](crate::Balancer::acquire), and the only way to send a session.
/// [`finish`](Self::finish) says how it ended; dropping it says [`Outcome::Cancelled`]. It may move
/// to another thread, and outlives any change of the pool.
///
/// Cost: no allocation. Begun and ended on one thread it takes two locked instructions, ended on
/// another three more, and up to three more where the scheduler wants to know of it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Instant, Outcome, Pick, Pool};
///
/// let pool = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.1:80".parse()?));
/// let lease = pool.balancer(0).acquire(Instant::ZERO, &Pick::default()).unwrap();
/// assert_eq!(lease.address().to_string(), "10.0.0.1:80");
/// lease.finish(Instant::ZERO + Duration::from_millis(3), Outcome::Ok);
/// assert_eq!(pool.stats()[0].in_flight(), 0);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[must_use = "a lease that is dropped counts as cancelled"]
#[derive(Debug)]
#[doc(alias = "load handle")]
pub struct Lease {
    seat: Arc<Seat>,
    started: Instant,
    /// When the backend began to answer; [`Instant::MAX`] before that.
    first_byte: Instant,
    open: bool,
}

/// What all leases of one balancer on one backend share.
///
/// A lease holds on to this and not to the picture it was picked from, so that a session that lasts
/// for days keeps one backend in memory and not all.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: Arc<Shard>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) ticket: Ticket,
}

impl Lease {
    #[inline]
    pub(crate) const fn new(now: Instant, seat: Arc<Seat>) -> Self {
        Self {
            seat,
            started: now,
            first_byte: Instant::MAX,
            open: true,
        }
    }

    /// The backend it is for.
    #[inline]
    #[must_use]
    pub fn backend(&self) -> BackendId {
        self.seat.backend.id
    }

    /// Where that backend listens.
    #[inline]
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.seat.backend.address
    }

    /// When it was given out.
    #[inline]
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// What names its backend in a [`Tried`](crate::schedule::Tried) set.
    ///
    /// Not for a session table: the lease itself finishes this session.
    #[inline]
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.seat.ticket
    }

    /// Says that the backend began to answer: latency is then measured to here, not to the end.
    ///
    /// Only the first call counts.
    #[inline]
    pub fn first_byte(&mut self, now: Instant) {
        if self.first_byte == Instant::MAX {
            self.first_byte = now;
        }
    }

    /// Says how the session ended.
    #[inline]
    pub fn finish(mut self, now: Instant, outcome: Outcome) {
        self.close(now, outcome);
    }

    #[inline(always)]
    fn close(&mut self, now: Instant, outcome: Outcome) {
        self.open = false;
        let measured = self.first_byte.min(now).as_nanos();
        let elapsed = measured.saturating_sub(self.started.as_nanos());
        let Seat { shard, ticket, .. } = &*self.seat;
        shard.finish(*ticket, outcome, Some(elapsed));
    }

    #[inline(never)]
    fn cancel(&mut self) {
        self.close(self.started, Outcome::Cancelled);
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if self.open {
            self.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENALTY: Duration = Duration::from_secs(5);

    #[test]
    fn each_kind_has_its_name() {
        let retry_after = None;
        let all = [
            (Outcome::Cancelled, "cancelled"),
            (Outcome::ClientError, "client-error"),
            (Outcome::ConnectFailed, "connect-failed"),
            (Outcome::Ok, "ok"),
            (Outcome::Overloaded { retry_after }, "overloaded"),
            (Outcome::Reset, "reset"),
            (Outcome::ServerError, "server-error"),
            (Outcome::Timeout, "timeout"),
        ];
        for (outcome, name) in all {
            assert_eq!(Outcome::NAMES[outcome.kind()], name);
        }
    }

    #[test]
    fn a_failure_is_never_a_fast_answer() {
        let fast = Duration::from_millis(1);
        assert_eq!(Outcome::Ok.charge(fast, PENALTY), Some(fast));
        assert_eq!(Outcome::ClientError.charge(fast, PENALTY), Some(fast));
        assert_eq!(Outcome::Cancelled.charge(fast, PENALTY), None);
        for failure in [
            Outcome::ConnectFailed,
            Outcome::Reset,
            Outcome::ServerError,
            Outcome::Timeout,
        ] {
            assert!(failure.is_failure() && !failure.is_success());
            assert_eq!(failure.charge(fast, PENALTY), Some(PENALTY));
            assert_eq!(failure.charge(PENALTY * 2, PENALTY), Some(PENALTY * 2));
        }
    }

    #[test]
    fn a_backend_that_asks_for_time_is_charged_it_up_to_a_bound() {
        let asked = |secs| Outcome::Overloaded {
            retry_after: Some(Duration::from_secs(secs)),
        };
        let fast = Duration::from_millis(1);
        assert_eq!(asked(1).charge(fast, PENALTY), Some(PENALTY));
        assert_eq!(
            asked(30).charge(fast, PENALTY),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            asked(9_999).charge(fast, PENALTY),
            Some(Duration::from_secs(300))
        );
    }
}
