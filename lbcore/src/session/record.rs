//! What goes into a session table and what comes out of it.

use thiserror::Error;

use super::state::State;
use crate::flow::FlowKey;
use crate::{Instant, Ticket};

/// What the owner of a table binds to a session.
///
/// The table keeps these 11 bytes and reads only [`profile`](Self::profile).
#[expect(
    clippy::exhaustive_structs,
    reason = "its size is a promise; what is larger belongs in a side table"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Binding {
    /// The right to send to the session's backend, to be finished when the session ends.
    pub ticket: Ticket,
    /// How packets reach the backend; the owner's numbers.
    pub method: u8,
    /// Anything that is true or false of the session; the owner's bits.
    pub flags: u8,
    /// Which of [`SessionConfig::timeouts`](super::SessionConfig::timeouts) holds.
    pub profile: u8,
}

impl From<Ticket> for Binding {
    /// A ticket alone, with everything else 0.
    fn from(ticket: Ticket) -> Self {
        Self {
            ticket,
            method: 0,
            flags: 0,
            profile: 0,
        }
    }
}

/// One flow under way, as a table shows it: a copy.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(alias = "connection entry")]
#[doc(alias = "conntrack")]
pub struct Session {
    /// Whose packets belong to it. The scope and flow label of IPv6 addresses are 0.
    pub key: FlowKey,
    /// What is known of it.
    pub state: State,
    /// What its owner has bound to it.
    pub binding: Binding,
    /// When it was last inserted or touched, rounded down by less than 68 ms.
    pub seen: Instant,
}

impl Session {
    /// The session of these parts: for tables other than [`Table`](super::Table).
    #[must_use]
    pub const fn new(key: FlowKey, state: State, binding: Binding, seen: Instant) -> Self {
        Self {
            key,
            state,
            binding,
            seen,
        }
    }
}

/// What [`touch`](super::SessionTable::touch) found and did.
#[expect(
    clippy::exhaustive_structs,
    reason = "a move from one state to another, of one session"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Touch {
    /// What the owner has bound to the session.
    pub binding: Binding,
    /// The state before.
    pub before: State,
    /// The state now.
    pub after: State,
}

/// A session that a table has given up; its ticket is now the caller's to finish.
#[expect(clippy::exhaustive_structs, reason = "what ended, and why")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "its ticket is to be finished"]
pub struct Expired {
    /// The session, as it was at last.
    pub session: Session,
    /// Why it was given up.
    pub reason: EndReason,
}

/// Why a table has given up a session.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EndReason {
    /// It gave way to another: the table, or its embryonic share, was full.
    Evicted,
    /// It was silent for longer than the timeout of its state.
    TimedOut,
}

/// One session added, altered or gone, for whoever keeps a copy of the table.
///
/// A change tells the session as it is when the change is read. Applied in order, changes make a
/// copy of the table, except for how long each session has been silent: a touch alone is no change.
/// Who keeps a copy refreshes it by walking the table from time to time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(alias = "sync message")]
#[must_use]
pub enum Change {
    /// The state or the binding of a session that was told before is another.
    Altered(Session),
    /// A session that was not told before.
    Created(Session),
    /// A session that was told before has ended.
    Gone(Session),
    /// So many ends could not be kept until they were read. Sessions that go on were not lost: the
    /// copy holds so many too much, until they time out there.
    Lost(u64),
}

/// Why a session was not inserted. None of these changes the table.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum SessionRefusal {
    /// Every spare slot holds a session that has ended: the owner does not call
    /// [`poll_expired`](super::SessionTable::poll_expired).
    #[error("sessions that have ended wait to be collected")]
    Backlog,
    /// The share of embryonic sessions is used, and none may or can give way.
    #[error("too many embryonic sessions")]
    EmbryonicFull,
    /// The table is full, and none may or can give way.
    #[error("too many sessions")]
    Full,
    /// The source and the destination are of different address families.
    #[error("a flow from one address family to another")]
    MixedFamilies,
    /// The flow has a session already: the caller should have looked.
    #[error("the flow has a session already")]
    Present,
    /// The state is one of another protocol than the flow's: the caller's mistake.
    #[error("the state is not one of the flow's protocol")]
    WrongProtocol,
}
