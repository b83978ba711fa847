//! How a session table is set: how much it holds, for how long, and what gives way.

use std::time::Duration;

use thiserror::Error;

use super::state::State;
use super::ticks;

/// How a session table is set.
///
/// # Examples
///
/// ```
/// use lbcore::session::{Limits, SessionConfig, WhenFull};
///
/// let mut config = SessionConfig::default();
/// config.v4 = Limits::of(10_000_000);
/// config.when_full = WhenFull::EvictOldestClosing;
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How many sessions between IPv4 addresses it holds. Default 2^20, for at most 96 MiB.
    pub v4: Limits,
    /// How many sessions between IPv6 addresses it holds. Default 2^18, for at most 32 MiB.
    pub v6: Limits,
    /// What gives way to a new session. Default [`WhenFull::EvictOldestEmbryonic`].
    pub when_full: WhenFull,
    /// Which changes are told. Default [`ChangeStream::Off`].
    pub changes: ChangeStream,
    /// Sets of timeouts, chosen for each session by [`Binding::profile`](super::Binding::profile):
    /// 1 to 256 of them. A profile beyond the last is the first. Default one, [`Timeouts::default`].
    pub timeouts: Vec<Timeouts>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            v4: Limits::of(1 << 20),
            v6: Limits::of(1 << 18),
            when_full: WhenFull::default(),
            changes: ChangeStream::default(),
            timeouts: vec![Timeouts::default()],
        }
    }
}

/// How many sessions of one address family a table holds.
#[expect(
    clippy::exhaustive_structs,
    reason = "all sessions, and those of them that cost a client nothing"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Sessions in any state; 0 to 2^30.
    pub sessions: usize,
    /// Sessions among them that are [embryonic](super::Class::Embryonic).
    pub embryonic: usize,
}

impl Limits {
    /// So many sessions, a quarter of which may be embryonic.
    ///
    /// At the default timeout of 60 s, 2^18 embryonic sessions are 4,400 forged SYNs a second
    /// before the oldest gives way; real clients need it for one round trip.
    #[must_use]
    pub const fn of(sessions: usize) -> Self {
        Self {
            sessions,
            embryonic: sessions.div_ceil(4),
        }
    }
}

/// What gives way when a session is to be inserted and there is no room.
///
/// Whatever the policy, an embryonic session that finds the embryonic share used takes the place of
/// an embryonic one or is refused, and no session takes the place of an [open](super::Class::Open)
/// one.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum WhenFull {
    /// The session that became embryonic first; if there is none, the new one is refused.
    #[default]
    EvictOldestEmbryonic,
    /// The session that became embryonic first; if there is none, the one that began to close
    /// first; if there is none, the new one is refused.
    EvictOldestClosing,
    /// Nothing: the new session is refused.
    Refuse,
}

/// Which changes a table tells by [`poll_change`](super::SessionTable::poll_change).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ChangeStream {
    /// Those of every session.
    All,
    /// None: nobody replicates.
    #[default]
    Off,
    /// Those of sessions that have once been more than embryonic: a flood of SYNs is not passed on.
    Settled,
}

/// How long a session may be silent before it is forgotten, for each of its states.
///
/// Each more than zero and at most 2.2 years. A session ends between its timeout and two ticks of
/// 67 ms after it. RFC 5382 asks that an idle established TCP session be kept for 2 h 4 min: below
/// that, clients need keep-alives.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// In [`State::SynSent`]. Default 60 s: IPVS's SYN_RECV, which it too enters at the client's SYN.
    pub syn_sent: Duration,
    /// In [`State::SynReceived`]. Default 60 s: IPVS's SYN_RECV.
    pub syn_received: Duration,
    /// In [`State::Established`]. Default 900 s, as in IPVS.
    pub established: Duration,
    /// In [`State::FinWait`]. Default 120 s, as in IPVS.
    pub fin_wait: Duration,
    /// In [`State::CloseWait`]. Default 60 s, as in IPVS.
    pub close_wait: Duration,
    /// In [`State::LastAck`]. Default 30 s, as in IPVS.
    pub last_ack: Duration,
    /// In [`State::TimeWait`]. Default 120 s, as in IPVS.
    pub time_wait: Duration,
    /// In [`State::Closed`]. Default 10 s, as in IPVS.
    pub closed: Duration,
    /// In [`State::Rejected`]. Default 10 s: IPVS's CLOSE.
    pub rejected: Duration,
    /// In [`State::UdpNew`]. Default 300 s, as in IPVS.
    pub udp_new: Duration,
    /// In [`State::UdpActive`]. Default 300 s, as in IPVS.
    pub udp_active: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            syn_sent: Duration::from_secs(60),
            syn_received: Duration::from_secs(60),
            established: Duration::from_secs(900),
            fin_wait: Duration::from_secs(120),
            close_wait: Duration::from_secs(60),
            last_ack: Duration::from_secs(30),
            time_wait: Duration::from_secs(120),
            closed: Duration::from_secs(10),
            rejected: Duration::from_secs(10),
            udp_new: Duration::from_secs(300),
            udp_active: Duration::from_secs(300),
        }
    }
}

impl Timeouts {
    /// The timeout of a session in `state`.
    #[must_use]
    pub const fn of(&self, state: State) -> Duration {
        match state {
            State::SynSent => self.syn_sent,
            State::SynReceived => self.syn_received,
            State::Established => self.established,
            State::FinWait => self.fin_wait,
            State::CloseWait => self.close_wait,
            State::LastAck => self.last_ack,
            State::TimeWait => self.time_wait,
            State::Closed => self.closed,
            State::Rejected => self.rejected,
            State::UdpNew => self.udp_new,
            State::UdpActive => self.udp_active,
        }
    }
}

/// Why a [`SessionConfig`] is refused; who wrote it can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SessionConfigError {
    /// More embryonic sessions than sessions.
    #[error("limits: {embryonic} embryonic sessions are more than {sessions} sessions")]
    Embryonic {
        /// What was asked for.
        embryonic: usize,
        /// What it must not exceed.
        sessions: usize,
    },
    /// There must be 1 to 256 sets of timeouts.
    #[error("timeouts: expected 1 to 256 profiles, found {0}")]
    Profiles(usize),
    /// At most 2^30 sessions of a family.
    #[error("limits: {0} sessions are more than 2^30")]
    Sessions(usize),
    /// A timeout must be more than zero and at most 2.2 years.
    #[error(
        "timeouts: profile {profile} gives {state:?} {timeout:?}, expected more than 0 and at most 2.2 years"
    )]
    Timeout {
        /// Which set of timeouts.
        profile: usize,
        /// The state it is for.
        state: State,
        /// What was asked for.
        timeout: Duration,
    },
}

impl SessionConfig {
    pub(super) fn check(&self) -> Result<(), SessionConfigError> {
        for Limits {
            sessions,
            embryonic,
        } in [self.v4, self.v6]
        {
            if sessions > MAX_SESSIONS {
                return Err(SessionConfigError::Sessions(sessions));
            }
            if embryonic > sessions {
                return Err(SessionConfigError::Embryonic {
                    embryonic,
                    sessions,
                });
            }
        }
        if !(1..=256).contains(&self.timeouts.len()) {
            return Err(SessionConfigError::Profiles(self.timeouts.len()));
        }
        for (profile, timeouts) in self.timeouts.iter().enumerate() {
            for state in State::ALL {
                let timeout = timeouts.of(state);
                if timeout.is_zero() || ticks::timeout_ticks(timeout) >= ticks::MAX_TIMEOUT {
                    return Err(SessionConfigError::Timeout {
                        profile,
                        state,
                        timeout,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Slots are numbered in 31 bits, and some are kept for sessions that have ended.
const MAX_SESSIONS: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&mut SessionConfig)) -> Result<(), SessionConfigError> {
        let mut config = SessionConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn the_defaults_are_the_numbers_of_ipvs() {
        let seconds = State::ALL.map(|state| Timeouts::default().of(state).as_secs());
        assert_eq!(seconds, [60, 60, 900, 120, 60, 30, 120, 10, 10, 300, 300]);
    }

    #[test]
    fn a_quarter_of_the_sessions_may_be_embryonic_and_never_none() {
        assert_eq!(Limits::of(1).embryonic, 1);
        assert_eq!(Limits::of(1_000).embryonic, 250);
    }

    #[test]
    fn limits_are_checked_at_their_edges_for_both_families() {
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|c| c.v4 = Limits::of(1 << 30)), Ok(()));
        let most = (1 << 30) + 1;
        assert_eq!(
            with(|c| c.v6 = Limits::of(most)),
            Err(SessionConfigError::Sessions(most))
        );
        assert_eq!(
            with(|c| c.v4 = Limits {
                sessions: 3,
                embryonic: 3
            }),
            Ok(())
        );
        assert_eq!(
            with(|c| c.v4 = Limits {
                sessions: 3,
                embryonic: 4
            }),
            Err(SessionConfigError::Embryonic {
                embryonic: 4,
                sessions: 3
            })
        );
    }

    #[test]
    fn profiles_and_timeouts_are_checked_at_their_edges() {
        assert_eq!(
            with(|c| c.timeouts.clear()),
            Err(SessionConfigError::Profiles(0))
        );
        assert_eq!(
            with(|c| c.timeouts = vec![Timeouts::default(); 256]),
            Ok(())
        );
        assert_eq!(
            with(|c| c.timeouts = vec![Timeouts::default(); 257]),
            Err(SessionConfigError::Profiles(257))
        );
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(with(|c| c.timeouts[0].established = 2 * year), Ok(()));
        for timeout in [Duration::ZERO, 3 * year] {
            let refused = SessionConfigError::Timeout {
                profile: 0,
                state: State::Closed,
                timeout,
            };
            assert_eq!(with(|c| c.timeouts[0].closed = timeout), Err(refused));
        }
    }
}
