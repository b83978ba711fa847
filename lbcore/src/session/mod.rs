//! What is under way: the table of sessions, their states and how they end.
//!
//! Each worker owns a [`Table`] and steers every packet of a flow to the same worker, so that no
//! packet takes a lock. A burst of packets goes through it in four steps:
//!
//! ```text
//! keys ──▶ lookup_batch ──▶ found:     touch (refresh, move the state) ──▶ ticket ──▶ backend
//!                           not found: pick a backend, insert
//!          handle_timeout(now, most), then poll_expired until None: finish the tickets
//!          poll_change until None, if another node keeps a copy
//! ```
//!
//! What few sessions need, such as sequence deltas or the local address of a rewritten source, is
//! kept by the owner in a side table indexed by [`Table::slot`], which is below
//! [`Table::slots`] and stays the same while the session lives. A backend's answers are found by a
//! key of the client's direction that the owner can work out, or, where sources are rewritten, by
//! an index of its own from the local address and port to the slot.

mod changes;
mod config;
mod entry;
mod index;
mod key;
mod lists;
mod record;
mod region;
mod state;
mod stats;
mod store;
mod table;
mod tcp;
mod ticks;
mod udp;
mod wheel;

use std::fmt::Debug;
use std::time::Duration;

use crate::Instant;
use crate::flow::FlowKey;

pub use config::{ChangeStream, Limits, SessionConfig, SessionConfigError, Timeouts, WhenFull};
pub use index::Index;
pub use record::{Binding, Change, EndReason, Expired, Session, SessionRefusal, Touch};
pub use region::Region;
pub use state::{Class, Side, State, Tracking};
pub use stats::{SessionStats, TableMemory};
pub use table::{Cursor, SessionId, Table};
pub use tcp::Segment;

/// Remembers which flows are under way, and where to.
///
/// It has one owner, and needs no lock. Everything that runs for each packet is O(1) and allocates
/// nothing. A moment earlier than one given before counts as the latest one.
///
/// `lbcore::sim::laws::session_table_laws` (feature `sim`) checks an implementation.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::flow::{FlowKey, Protocol};
/// use lbcore::hash::HashKey;
/// use lbcore::session::{
///     Binding, Segment, SessionConfig, SessionTable, Side, State, Table, Tracking,
/// };
/// use lbcore::{Instant, Ticket};
///
/// let mut table = Table::new(SessionConfig::default(), HashKey::new([7; 16]))?;
/// let flow = FlowKey::new(Protocol::Tcp, "192.0.2.1:40000".parse()?, "203.0.113.10:80".parse()?);
/// let now = Instant::ZERO;
///
/// // The client's SYN: a backend is picked, and its ticket goes into the table.
/// assert_eq!(table.lookup(&flow), None);
/// table.insert(now, &flow, State::SynSent, Binding::from(Ticket::from_bits(1)))?;
///
/// // The backend's answer.
/// let session = table.lookup(&flow).ok_or("no session")?;
/// let touch = table.touch(now, session, |state| {
///     state.on_segment(Side::Backend, Segment::Syn, Tracking::BothSides)
/// });
/// assert_eq!(touch.map(|touch| touch.after), Some(State::SynReceived));
///
/// // Then silence.
/// let later = now + Duration::from_secs(61);
/// table.handle_timeout(later, 64);
/// let expired = table.poll_expired().ok_or("nothing has expired")?;
/// assert_eq!(expired.session.binding.ticket, Ticket::from_bits(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "connection table")]
#[doc(alias = "conntrack")]
pub trait SessionTable {
    /// Names one session while it lives; later it names none.
    type Id: Copy + Debug + Eq;

    /// How far a [`walk`](Self::walk) has come; the default is the beginning.
    type Cursor: Clone + Debug + Default;

    /// Remembers a new session, and tells it as a change.
    ///
    /// Another may give way to it, and is then given by [`poll_expired`](Self::poll_expired).
    ///
    /// # Errors
    ///
    /// [`SessionRefusal::Present`] if the flow has a session; the others if there is no room, or if
    /// the parts do not fit together. The caller keeps the ticket.
    fn insert(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
    ) -> Result<Self::Id, SessionRefusal>;

    /// Remembers a session that another node has told of, last seen `idle` ago.
    ///
    /// It is not told as a change until something changes it here.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    fn adopt(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
        idle: Duration,
    ) -> Result<Self::Id, SessionRefusal>;

    /// The session of a flow. Does not touch it.
    fn lookup(&self, key: &FlowKey) -> Option<Self::Id>;

    /// [`lookup`](Self::lookup) of each key, into the same place of `found`; as far as both go.
    ///
    /// A table larger than the caches waits for memory once for the whole batch, not once a key.
    fn lookup_batch(&self, keys: &[FlowKey], found: &mut [Option<Self::Id>]) {
        for (key, found) in keys.iter().zip(found) {
            *found = self.lookup(key);
        }
    }

    /// A copy of a session; `None` if it has ended.
    fn session(&self, id: Self::Id) -> Option<Session>;

    /// Refreshes a session and moves its state by `next`; `None` if it has ended.
    ///
    /// Called for each packet. A state of another protocol is not taken. A session that begins
    /// anew, from closing to embryonic, needs room in the embryonic share as a new one does: if
    /// there is none its state stays.
    fn touch(
        &mut self,
        now: Instant,
        id: Self::Id,
        next: impl FnOnce(State) -> State,
    ) -> Option<Touch>;

    /// Binds something else to a session, and gives what was bound; `None` if it has ended.
    ///
    /// Does not touch it.
    fn rebind(&mut self, now: Instant, id: Self::Id, binding: Binding) -> Option<Binding>;

    /// Ends a session; `None` if it has ended before. Its ticket is the caller's to finish.
    fn remove(&mut self, now: Instant, id: Self::Id) -> Option<Session>;

    /// Ends sessions that have been silent for too long: looks at no more than `most`.
    ///
    /// If more are due, [`poll_timeout`](Self::poll_timeout) is not later than `now`, and the
    /// caller comes back after the next burst of packets.
    fn handle_timeout(&mut self, now: Instant, most: usize);

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Gives a session that has timed out or given way, until there is none.
    fn poll_expired(&mut self) -> Option<Expired>;

    /// Gives a change that has not been told, until there is none.
    fn poll_change(&mut self) -> Option<Change>;

    /// Shows sessions to `visit`, and tells where to go on; `None` at the end.
    ///
    /// Looks at no more than `most` places; between two calls the table may change in any way. A
    /// session that lives from the first call to the last is shown exactly once; one that begins
    /// or ends in between is shown once or not at all.
    fn walk(
        &self,
        cursor: Self::Cursor,
        most: usize,
        visit: impl FnMut(Self::Id, &Session),
    ) -> Option<Self::Cursor>;

    /// How many sessions live.
    fn len(&self) -> usize;

    /// Whether no session lives.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long a session in this state and with this profile may be silent.
    fn timeout(&self, state: State, profile: u8) -> Duration;
}
