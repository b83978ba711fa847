//! The session table of one worker: two stores, one clock.

use std::num::NonZeroU32;
use std::time::Duration;

use super::SessionTable;
use super::config::{SessionConfig, SessionConfigError, Timeouts};
use super::entry::{Entry, Handle, Rules};
use super::key::{Compact, Key, KeyV4, KeyV6, low};
use super::record::{Binding, Change, EndReason, Expired, Session, SessionRefusal, Touch};
use super::region::Region;
use super::state::State;
use super::stats::{SessionStats, TableMemory};
use super::store::{Store, Told};
use super::ticks::{Ticks, idle_ticks};
use crate::Instant;
use crate::flow::FlowKey;
use crate::hash::HashKey;

mod batch;

/// The session table of one worker: one owner, no lock, no allocation after the start.
///
/// - **Memory.** At most 96 bytes for each session that an IPv4 limit allows, and 128 for each of
///   IPv6, with the index, the timer, the change queue and the spare slots. It is reserved by
///   [`new`](Self::new), and costs nothing until it is used.
/// - **Cost.** A look-up reads one line of the index and one entry; a touch writes that entry and
///   nothing else, because a timer is put off only when it fires.
/// - **Time** is kept in ticks of 2^26 ns, about 67 ms: a session ends no earlier than its timeout,
///   and less than two ticks after it if [`handle_timeout`](SessionTable::handle_timeout) keeps up.
/// - **Attack.** The hash key is secret, so no client can choose flows that meet in the index.
///   Embryonic sessions have a share of their own, and give way before any other.
#[derive(Debug)]
pub struct Table {
    v4: Store<KeyV4>,
    v6: Store<KeyV6>,
    rules: Rules,
    ticks: Ticks,
    timeouts: Vec<Timeouts>,
    refused: Refused,
}

/// Insertions refused, by reason.
#[derive(Debug, Default)]
struct Refused {
    backlog: u64,
    embryonic_full: u64,
    full: u64,
    misused: u64,
}

/// One session of a [`Table`], while it lives.
///
/// A slot must be used 2^31 times before an identity that was kept from its first use names a
/// session again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SessionId {
    /// The slot; in the highest bit, whether it is one of IPv6.
    slot: u32,
    /// Odd, as that of every slot in use; so an identity, or none, is 8 bytes.
    generation: NonZeroU32,
}

impl SessionId {
    #[inline]
    fn new(family: u32, handle: Handle) -> Self {
        Self {
            slot: handle.slot | family,
            generation: NonZeroU32::MIN | handle.generation,
        }
    }

    fn is_v6(self) -> bool {
        self.slot & V6 != 0
    }

    fn handle(self) -> Handle {
        Handle {
            slot: self.slot & !V6,
            generation: self.generation.get(),
        }
    }
}

/// How far a walk over a [`Table`] has come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    v4: usize,
    v6: usize,
}

impl Table {
    /// A table as `config` sets it, whose index nobody can aim at who does not know `hash`.
    ///
    /// # Errors
    ///
    /// Fails if a field of `config` is out of its range; the error names it.
    ///
    /// # Panics
    ///
    /// Panics if there is no address space for the limits.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::hash::HashKey;
    /// use lbcore::session::{Limits, SessionConfig, SessionTable, Table};
    ///
    /// let mut config = SessionConfig::default();
    /// config.v4 = Limits { sessions: 1_000, embryonic: 2_000 };
    /// assert!(Table::new(config.clone(), HashKey::new([7; 16])).is_err());
    ///
    /// config.v4 = Limits::of(1_000);
    /// assert!(Table::new(config, HashKey::new([7; 16]))?.is_empty());
    /// # Ok::<(), lbcore::session::SessionConfigError>(())
    /// ```
    pub fn new(config: SessionConfig, hash: HashKey) -> Result<Self, SessionConfigError> {
        config.check()?;
        Ok(Self {
            v4: Store::new(&config, config.v4),
            v6: Store::new(&config, config.v6),
            rules: Rules::new(&config, hash),
            ticks: Ticks::default(),
            timeouts: config.timeouts,
            refused: Refused::default(),
        })
    }

    /// What the table has done and holds. O(1).
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let (v4, v6) = (&self.v4.stats, &self.v6.stats);
        SessionStats {
            sessions: v4.sessions + v6.sessions,
            embryonic: v4.embryonic + v6.embryonic,
            inserted: v4.inserted + v6.inserted,
            refused_backlog: self.refused.backlog,
            refused_embryonic: self.refused.embryonic_full,
            refused_full: self.refused.full,
            refused_misused: self.refused.misused,
            evicted: v4.evicted + v6.evicted,
            timed_out: v4.timed_out + v6.timed_out,
            removed: v4.removed + v6.removed,
            lost: v4.lost + v6.lost,
        }
    }

    /// Bytes reserved for IPv4 and for IPv6, each for as many sessions as its limit.
    #[must_use]
    pub fn memory(&self) -> TableMemory {
        TableMemory {
            v4: self.v4.bytes(),
            v6: self.v6.bytes(),
        }
    }

    /// A number for side tables: below [`slots`](Self::slots), and while the session lives no other
    /// has it.
    #[must_use]
    pub fn slot(&self, id: SessionId) -> usize {
        let slot = id.handle().slot as usize;
        if id.is_v6() {
            self.v4.slots() + slot
        } else {
            slot
        }
    }

    /// How many numbers [`slot`](Self::slot) gives: the limits, and one in 16 spare.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.v4.slots() + self.v6.slots()
    }

    /// How many of them, from 0 on, are of IPv4; those of IPv6 come behind. Each family takes its
    /// slots in order before it uses one again.
    #[must_use]
    pub fn v4_slots(&self) -> usize {
        self.v4.slots()
    }

    /// The session that lives in a [`slot`](Self::slot); `None` if none does.
    #[inline]
    #[must_use]
    pub fn at(&self, slot: usize) -> Option<SessionId> {
        if let Some(slot) = slot.checked_sub(self.v4.slots()) {
            let handle = self.v6.at(u32::try_from(slot).ok()?)?;
            return Some(SessionId::new(V6, handle));
        }
        let handle = self.v4.at(u32::try_from(slot).ok()?)?;
        Some(SessionId::new(0, handle))
    }

    /// What is bound to a session; `None` if it has ended.
    #[inline]
    #[must_use]
    pub fn binding(&self, id: SessionId) -> Option<Binding> {
        if id.is_v6() {
            self.v6.entry(id.handle()).map(Entry::binding)
        } else {
            self.v4.entry(id.handle()).map(Entry::binding)
        }
    }

    /// The flow and the state of a session; `None` if it has ended.
    #[inline]
    #[must_use]
    pub fn flow(&self, id: SessionId) -> Option<(FlowKey, State)> {
        if id.is_v6() {
            let entry = self.v6.entry(id.handle())?;
            Some((entry.key.flow(entry.state.protocol()), entry.state))
        } else {
            let entry = self.v4.entry(id.handle())?;
            Some((entry.key.flow(entry.state.protocol()), entry.state))
        }
    }

    /// [`poll_expired`](SessionTable::poll_expired), with the [`slot`](Self::slot) that the session
    /// had: what the owner keeps for it is to be cleared before the next insertion.
    pub fn poll_expired_slot(&mut self) -> Option<(usize, Expired)> {
        if let Some((slot, entry, reason)) = self.v4.poll_expired() {
            return Some((slot as usize, expired(&self.ticks, entry, reason)));
        }
        let before = self.v4.slots();
        let (slot, entry, reason) = self.v6.poll_expired()?;
        Some((before + slot as usize, expired(&self.ticks, entry, reason)))
    }

    /// Goes by these sets of timeouts from here on.
    ///
    /// A session whose timeout has become shorter ends by the new one from its next change of state
    /// on, and by the old one until then.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), of the timeouts; nothing has changed then.
    pub fn set_timeouts(&mut self, timeouts: Vec<Timeouts>) -> Result<(), SessionConfigError> {
        let config = SessionConfig {
            timeouts,
            ..SessionConfig::default()
        };
        config.check()?;
        self.rules.set_timeouts(&config.timeouts);
        self.timeouts = config.timeouts;
        Ok(())
    }

    /// The memory that packets read, to be given huge pages: entries and indexes.
    #[must_use]
    pub fn regions(&self) -> [Region; 4] {
        let [[a, b], [c, d]] = [self.v4.regions(), self.v6.regions()];
        [a, b, c, d]
    }

    #[inline]
    fn advance(&mut self, now: Instant) -> u64 {
        if self.ticks.is_new(now) {
            let limit = self.v4.clock_limit().min(self.v6.clock_limit());
            return self.ticks.advance(now, limit);
        }
        self.ticks.tick()
    }

    fn put(
        &mut self,
        now: Instant,
        key: &FlowKey,
        age: u32,
        (state, binding): (State, Binding),
    ) -> Result<SessionId, SessionRefusal> {
        if state.protocol() != key.protocol {
            return Err(SessionRefusal::WrongProtocol);
        }
        let tick = self.advance(now);
        match Compact::of(key).ok_or(SessionRefusal::MixedFamilies)? {
            Compact::V4(key) => {
                let put = self
                    .v4
                    .insert(&self.rules, tick, age, (key, state, binding));
                put.map(|handle| SessionId::new(0, handle))
            }
            Compact::V6(key) => {
                let put = self
                    .v6
                    .insert(&self.rules, tick, age, (key, state, binding));
                put.map(|handle| SessionId::new(V6, handle))
            }
        }
    }

    fn count_refusal(&mut self, refusal: SessionRefusal) -> SessionRefusal {
        let count = match refusal {
            SessionRefusal::Backlog => &mut self.refused.backlog,
            SessionRefusal::EmbryonicFull => &mut self.refused.embryonic_full,
            SessionRefusal::Full => &mut self.refused.full,
            SessionRefusal::MixedFamilies
            | SessionRefusal::Present
            | SessionRefusal::WrongProtocol => &mut self.refused.misused,
        };
        *count += 1;
        refusal
    }

    /// The session of `key` by its hash and the first word of its probe.
    #[inline]
    fn find(&self, key: &FlowKey, tag: u32, first: u64) -> Option<SessionId> {
        match Compact::of(key)? {
            Compact::V4(short) => {
                let found = self.v4.find(first, tag, short, key.protocol);
                found.map(|handle| SessionId::new(0, handle))
            }
            Compact::V6(short) => {
                let found = self.v6.find(first, tag, short, key.protocol);
                found.map(|handle| SessionId::new(V6, handle))
            }
        }
    }

    #[inline]
    fn first(&self, key: &FlowKey, tag: u32) -> u64 {
        if key.source.is_ipv4() {
            self.v4.first(tag)
        } else {
            self.v6.first(tag)
        }
    }
}

impl SessionTable for Table {
    type Id = SessionId;
    type Cursor = Cursor;

    fn insert(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
    ) -> Result<SessionId, SessionRefusal> {
        let id = self
            .put(now, key, 0, (state, binding))
            .map_err(|refusal| self.count_refusal(refusal))?;
        if id.is_v6() {
            self.v6.tell(id.handle());
        } else {
            self.v4.tell(id.handle());
        }
        Ok(id)
    }

    fn adopt(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
        idle: Duration,
    ) -> Result<SessionId, SessionRefusal> {
        self.put(now, key, idle_ticks(idle), (state, binding))
            .map_err(|refusal| self.count_refusal(refusal))
    }

    #[inline]
    fn lookup(&self, key: &FlowKey) -> Option<SessionId> {
        let tag = low(key.keyed_hash(&self.rules.hash));
        self.find(key, tag, self.first(key, tag))
    }

    /// In four passes over up to 32 keys: hashes, then the lines of the index, then the entries, then
    /// the comparison. No load of a pass waits for another one of it, so the processor has many under
    /// way.
    #[inline]
    fn lookup_batch(&self, keys: &[FlowKey], found: &mut [Option<SessionId>]) {
        self.lookup_batch_near(keys, found, |_| {});
    }

    fn session(&self, id: SessionId) -> Option<Session> {
        if id.is_v6() {
            let entry = self.v6.entry(id.handle())?;
            Some(copy(&self.ticks, entry))
        } else {
            let entry = self.v4.entry(id.handle())?;
            Some(copy(&self.ticks, entry))
        }
    }

    #[inline]
    fn touch(
        &mut self,
        now: Instant,
        id: SessionId,
        next: impl FnOnce(State) -> State,
    ) -> Option<Touch> {
        let tick = self.advance(now);
        if id.is_v6() {
            self.v6.touch(&self.rules, tick, id.handle(), next)
        } else {
            self.v4.touch(&self.rules, tick, id.handle(), next)
        }
    }

    fn rebind(&mut self, now: Instant, id: SessionId, binding: Binding) -> Option<Binding> {
        let tick = self.advance(now);
        if id.is_v6() {
            self.v6.rebind(&self.rules, tick, id.handle(), binding)
        } else {
            self.v4.rebind(&self.rules, tick, id.handle(), binding)
        }
    }

    fn remove(&mut self, now: Instant, id: SessionId) -> Option<Session> {
        self.advance(now);
        let session = self.session(id)?;
        if id.is_v6() {
            self.v6.remove(&self.rules, id.handle());
        } else {
            self.v4.remove(&self.rules, id.handle());
        }
        Some(session)
    }

    /// A look is at one timer: it ends a session, or puts off the timer of one that was touched.
    fn handle_timeout(&mut self, now: Instant, most: usize) {
        let tick = self.advance(now);
        // Half for each family, and what the one leaves for the other.
        let half = most - most / 2;
        let mut looked = self.v4.expire(&self.rules, tick, half);
        looked += self.v6.expire(&self.rules, tick, most - looked);
        self.v4.expire(&self.rules, tick, most - looked);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let next = [self.v4.next_timeout(), self.v6.next_timeout()];
        let tick = next.into_iter().flatten().min()?;
        self.ticks.instant(tick)
    }

    fn poll_expired(&mut self) -> Option<Expired> {
        self.poll_expired_slot().map(|(_, expired)| expired)
    }

    fn poll_change(&mut self) -> Option<Change> {
        match self.v4.take_lost() + self.v6.take_lost() {
            0 => {}
            lost => return Some(Change::Lost(lost)),
        }
        if let Some((entry, told)) = self.v4.poll_change() {
            return Some(change(&self.ticks, entry, told));
        }
        let (entry, told) = self.v6.poll_change()?;
        Some(change(&self.ticks, entry, told))
    }

    fn walk(
        &self,
        mut cursor: Cursor,
        most: usize,
        mut visit: impl FnMut(SessionId, &Session),
    ) -> Option<Cursor> {
        let from = cursor.v4;
        cursor.v4 = self.v4.walk(from, most, |handle, entry| {
            visit(SessionId::new(0, handle), &copy(&self.ticks, entry));
        });
        let left = most - (cursor.v4 - from);
        cursor.v6 = self.v6.walk(cursor.v6, left, |handle, entry| {
            visit(SessionId::new(V6, handle), &copy(&self.ticks, entry));
        });
        let ended = cursor.v4 >= self.v4.used_slots() && cursor.v6 >= self.v6.used_slots();
        (!ended).then_some(cursor)
    }

    fn len(&self) -> usize {
        self.v4.stats.sessions + self.v6.stats.sessions
    }

    fn timeout(&self, state: State, profile: u8) -> Duration {
        let chosen = self.timeouts.get(usize::from(profile));
        let timeouts = chosen.or_else(|| self.timeouts.first());
        timeouts.map_or(Duration::ZERO, |timeouts| timeouts.of(state))
    }
}

fn copy<K: Key>(ticks: &Ticks, entry: &Entry<K>) -> Session {
    let key = entry.key.flow(entry.state.protocol());
    let seen = ticks.ago(entry.age(ticks.tick()));
    Session::new(key, entry.state, entry.binding(), seen)
}

fn expired<K: Key>(ticks: &Ticks, entry: &Entry<K>, reason: EndReason) -> Expired {
    let session = copy(ticks, entry);
    Expired { session, reason }
}

fn change<K: Key>(ticks: &Ticks, entry: &Entry<K>, told: Told) -> Change {
    let session = copy(ticks, entry);
    match told {
        Told::Altered => Change::Altered(session),
        Told::Created => Change::Created(session),
        Told::Gone => Change::Gone(session),
    }
}

/// The bit of a slot that tells the families apart.
const V6: u32 = 1 << 31;

#[cfg(test)]
mod tests;
