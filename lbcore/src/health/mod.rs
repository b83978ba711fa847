//! Who is alive: what probes say, what traffic says, and how a backend comes back.
//!
//! Everything here decides and does no I/O. A runner asks [`HealthCheck::poll_probe`] for work,
//! does it on whatever sockets it has, and hands back a [`ProbeOutcome`].

mod config;
mod monitor;
mod outlier;
mod slow_start;

use std::fmt;
use std::time::Duration;

pub use config::{HealthConfig, HealthConfigError, ProbeKind};
pub use monitor::Monitor;
pub use outlier::{
    BackendWindow, Ejection, EjectionReason, Outlier, OutlierConfig, OutlierConfigError,
};
pub use slow_start::{SlowStart, SlowStartError};

use crate::Instant;
use crate::rng::Rng;

/// What probes say of one backend.
///
/// The order is that of trust: `Down < Unknown < Up`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[doc(alias = "operational state")]
#[expect(
    clippy::exhaustive_enums,
    reason = "alive, dead and not yet known are all there is"
)]
pub enum Health {
    /// Probes fail: no new session.
    Down,
    /// No probe has ended yet: not eligible beside a backend that is up, and not counted as down.
    #[default]
    Unknown,
    /// Probes pass, or none are wanted.
    Up,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        })
    }
}

/// Which probe of a backend: an answer names the probe it answers, so that a late one is noticed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProbeNumber(pub u64);

/// A probe that is to be sent now.
#[non_exhaustive]
#[must_use = "the check waits for this probe's outcome until its deadline"]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DueProbe {
    /// Handed back with the outcome.
    pub number: ProbeNumber,
    /// An answer that comes at this moment or later is too late.
    pub deadline: Instant,
}

impl DueProbe {
    /// The probe of this number, which must be answered before `deadline`.
    pub const fn new(number: ProbeNumber, deadline: Instant) -> Self {
        Self { number, deadline }
    }
}

/// How one probe ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a probe passes or fails; failures have their own open list"
)]
pub enum ProbeOutcome {
    /// The backend did not answer as it should.
    Fail(ProbeFailure),
    /// The backend answered as it should, after this time.
    Pass(Duration),
}

/// Why a probe failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProbeFailure {
    /// This machine could not send it: no descriptor, no memory. Says nothing of the backend, but
    /// counts as a failure, since the backend was not seen alive.
    Io,
    /// The host answered that nobody listens: a TCP reset to a SYN, or ICMP port unreachable.
    Refused,
    /// The connection was made and then reset.
    Reset,
    /// No answer before the deadline.
    Timeout,
    /// The network or the host cannot be reached.
    Unreachable,
    /// An answer came, and is not the one expected.
    WrongAnswer,
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Io => "local I/O error",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::WrongAnswer => "wrong answer",
        })
    }
}

/// A change of health, told once.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// What it was.
    pub from: Health,
    /// What it is now; never the same as `from`.
    pub to: Health,
    /// The outcome that tipped it.
    pub because: ProbeOutcome,
}

impl Transition {
    /// The change from `from` to `to`, tipped by `because`.
    #[must_use]
    pub const fn new(at: Instant, from: Health, to: Health, because: ProbeOutcome) -> Self {
        Self {
            at,
            from,
            to,
            because,
        }
    }
}

/// Decides when to probe one backend, and what the answers mean.
///
/// The state machine of a single backend; a pool has one for each. [`Monitor`] is the usual one.
/// At most one probe is under way: [`poll_probe`](Self::poll_probe) gives none until the last one
/// was answered or timed out. What every implementation must keep is checked by
/// `lbcore::sim::laws::health_check_laws` (feature `sim`).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::health::{
///     DueProbe, Health, HealthCheck, ProbeNumber, ProbeOutcome, Transition,
/// };
/// use lbcore::rng::Rng;
///
/// /// Probes once, and believes the answer for ever.
/// #[derive(Debug, Default)]
/// struct Once {
///     health: Health,
///     deadline: Option<Instant>,
///     asked: bool,
/// }
///
/// impl HealthCheck for Once {
///     fn poll_probe(&mut self, now: Instant, _rng: &mut dyn Rng) -> Option<DueProbe> {
///         if std::mem::replace(&mut self.asked, true) {
///             return None;
///         }
///         let deadline = now + Duration::from_secs(1);
///         self.deadline = Some(deadline);
///         Some(DueProbe::new(ProbeNumber(0), deadline))
///     }
///
///     fn handle_outcome(
///         &mut self,
///         now: Instant,
///         _probe: ProbeNumber,
///         outcome: ProbeOutcome,
///     ) -> Option<Transition> {
///         if now >= self.deadline? {
///             return self.handle_timeout(now);
///         }
///         self.deadline = None;
///         self.health = match outcome {
///             ProbeOutcome::Pass(_) => Health::Up,
///             ProbeOutcome::Fail(_) => Health::Down,
///         };
///         Some(Transition::new(now, Health::Unknown, self.health, outcome))
///     }
///
///     fn handle_timeout(&mut self, now: Instant) -> Option<Transition> {
///         if now < self.deadline? {
///             return None;
///         }
///         self.deadline = None;
///         self.health = Health::Down;
///         let because = ProbeOutcome::Fail(lbcore::health::ProbeFailure::Timeout);
///         Some(Transition::new(now, Health::Unknown, Health::Down, because))
///     }
///
///     fn poll_timeout(&self) -> Option<Instant> {
///         if self.asked { self.deadline } else { Some(Instant::ZERO) }
///     }
///
///     fn health(&self) -> Health {
///         self.health
///     }
/// }
/// ```
pub trait HealthCheck: fmt::Debug + Send {
    /// The probe that is to be sent now, if one is due.
    ///
    /// `rng` spreads the probes of many backends over time. The caller sends the probe and reports
    /// to [`handle_outcome`](Self::handle_outcome), or lets it time out. Cost: O(1).
    fn poll_probe(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<DueProbe>;

    /// Probe `probe` ended so.
    ///
    /// An answer to any probe but the one under way changes nothing. One that comes at or after
    /// the deadline is a [`ProbeFailure::Timeout`], whatever it says.
    fn handle_outcome(
        &mut self,
        now: Instant,
        probe: ProbeNumber,
        outcome: ProbeOutcome,
    ) -> Option<Transition>;

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come.
    ///
    /// Fails the probe under way with [`ProbeFailure::Timeout`] if `now` is at or past its
    /// deadline. Calling it early or again does nothing.
    fn handle_timeout(&mut self, now: Instant) -> Option<Transition>;

    /// When this check next wants to be called: the deadline of the probe under way, or the moment
    /// the next probe is due. `None`: never.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What the answers so far say.
    fn health(&self) -> Health;
}
