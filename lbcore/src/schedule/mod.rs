//! Which backend takes a new session?
//!
//! A [`Scheduler`] works in three steps. [`plan`](Scheduler::plan) builds, off the path of traffic
//! and once for every change of the pool, what all workers read. [`cursor`](Scheduler::cursor) makes
//! what one worker alone writes: a position, a heap, a generator. [`pick`](Scheduler::pick) chooses
//! with both, and [`observe`](Scheduler::observe) tells the cursor how a backend's load has changed.
//! So no pick takes a lock or writes what another worker reads.

mod any;
mod candidates;
mod chance;
mod key;
mod load;
mod place;
mod turn;

pub(crate) use candidates::Room;
pub use candidates::{Candidate, Candidates, Tier, Tried};

pub use any::AnyScheduler;
pub use chance::{PeakEwma, PowerOfTwo, Prequal, ProbeBoard, Random};
pub use key::{KeyExtractor, KeyParts, KeyPartsError, PrefixError};
pub use load::{
    LeastConnections, LocalityLeastConnections, NeverQueue, Overflow, ShortestExpectedDelay,
};
pub use place::{
    ATTEMPTS, BoundedLoad, FactorError, Ketama, Maglev, Placement, Rendezvous, RowBits,
    TableSizeError,
};
pub use turn::{RoundRobin, WeightedFailover, WeightedRoundRobin};

/// The plans and cursors of the schedulers: opaque, and named so that they can be stored.
pub mod parts {
    pub use super::any::{AnyCursor, AnyPlan};
    pub use super::chance::{AliasTable, Boards, InFlight, Knowledge, Latencies};
    pub use super::load::{Least, Localities, Ratio};
    pub use super::place::{BoundedCursor, BoundedPlan, KetamaRing, MaglevTable, RendezvousTable};
    pub use super::turn::{Position, Turns};
}

use std::fmt;
use std::time::Duration;

use crate::Instant;

/// Chooses the backend of each new session.
///
/// Asked once a session, not once a packet: later packets find their backend in the session table.
///
/// A scheduler sees one [`Tier`] at a time: the pool has already split its backends by priority and
/// zone, and says through [`Candidates::allows`] who may be picked now.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::{Candidates, Scheduler, Start, Tier};
/// use lbcore::{Backend, Instant, Pool};
///
/// /// Sends everything to the first backend that may take it.
/// #[derive(Debug)]
/// struct First;
///
/// impl Scheduler for First {
///     type Plan = ();
///     type Cursor = ();
///
///     fn plan(&self, _tier: &Tier, _previous: Option<&()>) {}
///
///     fn cursor(&self, _plan: &(), _tier: &Tier, _start: Start<'_, ()>) {}
///
///     fn pick(&self, _: &(), _: &mut (), candidates: &Candidates<'_>) -> Option<usize> {
///         candidates.first_from(0)
///     }
/// }
///
/// let pool = Pool::new(First).backend(Backend::new("a", "10.0.0.1:80".parse()?));
/// assert!(pool.balancer(0).acquire(Instant::ZERO, &Default::default()).is_ok());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[doc(alias = "balance algorithm")]
#[doc(alias = "LB policy")]
pub trait Scheduler: fmt::Debug + Send + Sync + 'static {
    /// What every worker's [`pick`](Self::pick) reads: a ring, a table, an order.
    type Plan: Send + Sync + 'static;

    /// What one worker's picks change: a position, a heap, a generator.
    type Cursor: Send + 'static;

    /// Whether the cursor wants [`observe`](Self::observe); when not, leases are cheaper.
    ///
    /// The same for the lifetime of the scheduler. Default `false`.
    fn observes(&self) -> bool {
        false
    }

    /// Whether a pick depends on the key, the plan and who is eligible alone, so that whoever has the
    /// same picture of the pool picks the same backend again.
    ///
    /// The same for the lifetime of the scheduler. Default `false`.
    fn places(&self) -> bool {
        false
    }

    /// Builds the plan for `tier`, keeping from `previous` what is still true.
    ///
    /// May allocate, and may take milliseconds; traffic does not wait for it. A scheduler that
    /// places by configuration alone keeps `previous` while [`Tier::placement`] stays the same.
    fn plan(&self, tier: &Tier, previous: Option<&Self::Plan>) -> Self::Plan;

    /// Makes one worker's cursor for `plan`, from what that worker already has under way.
    ///
    /// Costs at most O(n), once for every change of the pool and worker.
    fn cursor(
        &self,
        plan: &Self::Plan,
        tier: &Tier,
        start: Start<'_, Self::Cursor>,
    ) -> Self::Cursor;

    /// The position in the tier of the backend that takes this session, or `None` when
    /// [`Candidates::allows`] none.
    ///
    /// At most O(log n) for n backends when the first choice is allowed; a choice that is not
    /// allowed may cost a scan of the tier's bit set (n/64 words). Takes no lock, allocates nothing,
    /// never panics.
    fn pick(
        &self,
        plan: &Self::Plan,
        cursor: &mut Self::Cursor,
        candidates: &Candidates<'_>,
    ) -> Option<usize>;

    /// Tells `cursor` that the load of the backend at `position` has changed.
    ///
    /// Called on each acquire and, before the worker's next pick, for each backend on which
    /// sessions of this worker have finished. At most O(log n). Only if [`observes`](Self::observes).
    fn observe(&self, plan: &Self::Plan, cursor: &mut Self::Cursor, position: usize, load: &Load) {
        let _ = (plan, cursor, position, load);
    }
}

/// The load of one backend as one worker knows it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// When it was observed.
    pub now: Instant,
    /// Sessions that this worker has under way on it.
    pub in_flight: u32,
    /// The longest latency charged since the last observation, if a session finished; a failure is
    /// charged the pool's penalty, so that failing fast is never the best answer.
    pub latency: Option<Duration>,
}

impl Load {
    /// A load of `in_flight` sessions, seen at `now`.
    #[inline]
    #[must_use]
    pub const fn new(now: Instant, in_flight: u32) -> Self {
        Self {
            now,
            in_flight,
            latency: None,
        }
    }

    /// The same, with the latency charged to a session that has finished.
    #[inline]
    #[must_use]
    pub const fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }
}

/// What a cursor is made from.
#[non_exhaustive]
pub struct Start<'a, C> {
    /// The worker's cursor before the change of the pool.
    pub previous: Option<C>,
    /// Differs from worker to worker, so that they do not all begin with the same backend.
    pub seed: u64,
    loads: &'a dyn Fn(usize) -> Load,
    before: Option<&'a dyn Fn(usize) -> Option<usize>>,
}

impl<'a, C> Start<'a, C> {
    /// A first cursor, of this seed, where `loads` tells what is under way by position.
    pub fn new(seed: u64, loads: &'a dyn Fn(usize) -> Load) -> Self {
        Self {
            previous: None,
            seed,
            loads,
            before: None,
        }
    }

    /// The same, after `previous`, in whose tier a position was what `before` says.
    #[must_use]
    pub fn after(
        mut self,
        previous: Option<C>,
        before: &'a dyn Fn(usize) -> Option<usize>,
    ) -> Self {
        self.previous = previous;
        self.before = Some(before);
        self
    }

    /// What this worker has under way on the backend at `position`.
    #[must_use]
    pub fn load(&self, position: usize) -> Load {
        (self.loads)(position)
    }

    /// Where the backend at `position` stood in the tier of [`previous`](Self::previous).
    #[must_use]
    pub fn before(&self, position: usize) -> Option<usize> {
        self.before.and_then(|before| before(position))
    }

    /// The same start, for a cursor that is a part of `C`.
    pub(crate) fn map<D>(self, part: impl FnOnce(C) -> Option<D>) -> Start<'a, D> {
        let Self {
            previous,
            seed,
            loads,
            before,
        } = self;
        Start {
            previous: previous.and_then(part),
            seed,
            loads,
            before,
        }
    }
}

impl<C> fmt::Debug for Start<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
