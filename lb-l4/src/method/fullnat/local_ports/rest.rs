//! How long a port is not used again.

use lbcore::Instant;
use lbcore::session::{Session, State};

/// Whether a port that is given back may be used at once.
#[expect(
    clippy::exhaustive_enums,
    reason = "the backend's end is gone or may not be"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rest {
    /// The backend has nothing left of the session: it was reset, or is no TCP connection.
    None,
    /// The backend may keep its end for [`time_wait`](super::LocalPortsConfig::time_wait) from this moment on.
    TimeWait(Instant),
}

impl Rest {
    /// What a session that has ended in this state asks for.
    #[must_use]
    pub const fn of(session: &Session) -> Self {
        match session.state {
            State::Closed | State::Rejected | State::UdpNew | State::UdpActive => Self::None,
            _ => Self::TimeWait(session.seen),
        }
    }
}
