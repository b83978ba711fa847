//! The sessions of one address family, and everything that is kept about them.

use std::hint::black_box;

use super::changes::Changes;
use super::config::{Limits, SessionConfig, WhenFull};
use super::entry::{Entry, Handle, Rules, low};
use super::index::Index;
use super::key::Key;
use super::lists::Lists;
use super::record::{Binding, EndReason, SessionRefusal, Touch};
use super::region::Region;
use super::state::{Class, State};
use super::stats::SessionStats;
use super::ticks::HORIZON;
use super::wheel::Wheel;
use crate::Ticket;
use crate::flow::Protocol;

/// How a session ends.
#[derive(Clone, Copy)]
enum End {
    Given(EndReason),
    Removed,
}

/// A slot that has something to tell.
pub(super) enum Told {
    Altered,
    Created,
    Gone,
}

/// Slots, and an index, a wheel, lists and a queue over them.
///
/// All memory is reserved at the start and handed over by the kernel page by page as it is first
/// used, so nothing ever grows or moves on the path of packets. A slot goes from free to live to
/// owed (its ticket has to be collected) to untold (its end has to be told) to free again, leaving
/// out what does not apply.
#[derive(Debug)]
pub(super) struct Store<K> {
    entries: Vec<Entry<K>>,
    index: Index,
    wheel: Wheel,
    places: Lists,
    changes: Changes,
    /// Slots whose ticket waits to be collected.
    owed: Vec<bool>,
    limits: Limits,
    slots: usize,
    pub(super) stats: SessionStats,
}

impl<K: Key> Store<K> {
    pub(super) fn new(config: &SessionConfig, limits: Limits) -> Self {
        let slots = limits.sessions + limits.sessions / SPARE + LEAST_SPARE;
        Self {
            entries: Vec::with_capacity(slots),
            index: Index::new(limits.sessions),
            wheel: Wheel::new(slots),
            places: Lists::new(PLACES, slots),
            changes: Changes::new(config.changes, slots),
            owed: Vec::with_capacity(slots),
            limits,
            slots,
            stats: SessionStats::default(),
        }
    }

    #[inline]
    pub(super) fn first(&self, tag: u32) -> u64 {
        self.index.first(tag)
    }

    /// The slot that a probe for `tag` most likely ends at.
    #[inline]
    pub(super) fn likely(&self, first: u64, tag: u32) -> Option<u32> {
        self.index.likely(first, tag)
    }

    /// Reads from the entry of `slot`, which fetches its cache line.
    #[inline]
    pub(super) fn fetch(&self, slot: u32) -> u32 {
        self.entries
            .get(slot as usize)
            .map_or(0, |entry| entry.generation)
    }

    /// The session that lives in `slot`.
    #[inline]
    pub(super) fn at(&self, slot: u32) -> Option<Handle> {
        let entry = self.entries.get(slot as usize)?;
        entry.is_live().then(|| self.handle(slot))
    }

    #[inline]
    pub(super) fn find(&self, first: u64, tag: u32, key: K, protocol: Protocol) -> Option<Handle> {
        let slot = self.index.find(first, tag, |slot| {
            let entry = &self.entries[slot as usize];
            entry.key == key && entry.state.protocol() == protocol
        })?;
        Some(self.handle(slot))
    }

    /// The session in `slot`, which the index has just told, if it is that of `key`.
    #[inline]
    pub(super) fn confirm(&self, slot: u32, key: K, protocol: Protocol) -> Option<Handle> {
        let entry = self.entries.get(slot as usize)?;
        let generation = entry.generation;
        (entry.key == key && entry.state.protocol() == protocol)
            .then_some(Handle { slot, generation })
    }

    /// The live session that `handle` names.
    #[inline]
    pub(super) fn entry(&self, handle: Handle) -> Option<&Entry<K>> {
        let entry = self.entries.get(handle.slot as usize)?;
        (entry.generation == handle.generation).then_some(entry)
    }

    pub(super) fn insert(
        &mut self,
        rules: &Rules,
        tick: u64,
        age: u32,
        (key, state, binding): (K, State, Binding),
    ) -> Result<Handle, SessionRefusal> {
        let tag = key.tag(state.protocol(), &rules.hash);
        let present = self.find(self.index.first(tag), tag, key, state.protocol());
        if present.is_some() {
            return Err(SessionRefusal::Present);
        }
        let victim = self.victim(rules.when_full, state.class())?;
        let slot = self
            .take_slot(key, binding.ticket)
            .ok_or(SessionRefusal::Backlog)?;
        if let Some(victim) = victim {
            self.end(rules, victim, End::Given(EndReason::Evicted));
        }
        let timeout = rules.timeout(state, binding.profile);
        let age = age.min(timeout);
        let entry = &mut self.entries[slot as usize];
        entry.key = key;
        entry.state = state;
        entry.seen = low(tick).wrapping_sub(age);
        entry.generation = entry.generation.wrapping_add(1);
        entry.bind(binding);
        self.index.insert(tag, slot);
        self.wheel.arm(tick, slot, tick + u64::from(timeout - age));
        self.changes.begin(slot);
        self.enter(slot, state.class());
        self.stats.sessions += 1;
        self.stats.inserted += 1;
        Ok(self.handle(slot))
    }

    /// The session in `handle` is news.
    pub(super) fn tell(&mut self, handle: Handle) {
        let class = self.entries[handle.slot as usize].state.class();
        self.changes.alter(handle.slot, class);
    }

    #[inline]
    pub(super) fn touch(
        &mut self,
        rules: &Rules,
        tick: u64,
        handle: Handle,
        next: impl FnOnce(State) -> State,
    ) -> Option<Touch> {
        let entry = self.entries.get_mut(handle.slot as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        entry.seen = low(tick);
        let before = entry.state;
        let binding = entry.binding();
        let mut after = next(before);
        if after != before && !self.shift(rules, tick, handle.slot, after) {
            after = before;
        }
        Some(Touch {
            binding,
            before,
            after,
        })
    }

    /// Moves a session to the state `after`, unless that may not be.
    fn shift(&mut self, rules: &Rules, tick: u64, slot: u32, after: State) -> bool {
        let entry = &self.entries[slot as usize];
        let (before, profile) = (entry.state, entry.profile);
        if after.protocol() != before.protocol() {
            return false;
        }
        if after.class() != before.class() {
            if after.class() == Class::Embryonic {
                match self.embryonic_victim(rules.when_full) {
                    Ok(None) => {}
                    Ok(Some(victim)) => self.end(rules, victim, End::Given(EndReason::Evicted)),
                    Err(_) => return false,
                }
            }
            self.leave(slot, before.class());
            self.enter(slot, after.class());
        }
        self.entries[slot as usize].state = after;
        // A later deadline needs no work: the wheel finds it when the earlier one comes.
        if rules.timeout(after, profile) < rules.timeout(before, profile) {
            self.rearm(rules, tick, slot);
        }
        self.changes.alter(slot, after.class());
        true
    }

    pub(super) fn rebind(
        &mut self,
        rules: &Rules,
        tick: u64,
        handle: Handle,
        binding: Binding,
    ) -> Option<Binding> {
        let before = self.entry(handle)?.binding();
        self.entries[handle.slot as usize].bind(binding);
        if before != binding {
            self.rearm(rules, tick, handle.slot);
            self.tell(handle);
        }
        Some(before)
    }

    fn rearm(&mut self, rules: &Rules, tick: u64, slot: u32) {
        self.wheel.arm(tick, slot, self.due(rules, tick, slot));
    }

    fn due(&self, rules: &Rules, tick: u64, slot: u32) -> u64 {
        let entry = &self.entries[slot as usize];
        let timeout = rules.timeout(entry.state, entry.profile);
        (tick + u64::from(timeout)).saturating_sub(entry.age(tick).into())
    }

    /// Ends a live session at its owner's wish; its entry stays readable until the next call.
    pub(super) fn remove(&mut self, rules: &Rules, handle: Handle) {
        self.end(rules, handle.slot, End::Removed);
    }

    /// Looks at up to `most` slots whose time may have come, and tells how many there were.
    ///
    /// Some are taken at once, and what ending them reads is fetched before the first one ends: they
    /// lie anywhere, and each would wait for memory alone otherwise.
    pub(super) fn expire(&mut self, rules: &Rules, tick: u64, most: usize) -> usize {
        let mut looked = 0;
        while looked < most {
            let mut slots = [0; TOGETHER];
            let want = TOGETHER.min(most - looked);
            let mut taken = 0;
            for slot in slots.iter_mut().take(want) {
                let Some(next) = self.wheel.pop(tick) else {
                    break;
                };
                *slot = next;
                taken += 1;
            }
            let slots = &slots[..taken];
            self.fetch_all(rules, slots);
            for &slot in slots {
                if self.due(rules, tick, slot) > tick {
                    self.rearm(rules, tick, slot);
                } else {
                    self.end(rules, slot, End::Given(EndReason::TimedOut));
                }
            }
            looked += taken;
            if taken < want {
                break;
            }
        }
        looked
    }

    /// Reads from the entries of `slots`, and then from their lines of the index.
    fn fetch_all(&self, rules: &Rules, slots: &[u32]) {
        let entries = slots.iter().fold(0, |all, &slot| all ^ self.fetch(slot));
        black_box(entries);
        let mut words = 0;
        for &slot in slots {
            let entry = &self.entries[slot as usize];
            let tag = entry.key.tag(entry.state.protocol(), &rules.hash);
            words ^= self.index.first(tag);
        }
        black_box(words);
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// How far the clock may go before the wheel is turned.
    pub(super) fn clock_limit(&self) -> u64 {
        let position = self.wheel.position();
        position.map_or(u64::MAX, |position| position.saturating_add(HORIZON))
    }

    pub(super) fn poll_expired(&mut self) -> Option<(u32, &Entry<K>, EndReason)> {
        let evicted = self
            .places
            .front(EVICTED)
            .map(|slot| (slot, EndReason::Evicted));
        let (slot, reason) = evicted.or_else(|| {
            let timed_out = self.places.front(TIMED_OUT)?;
            Some((timed_out, EndReason::TimedOut))
        })?;
        self.places.remove(slot);
        self.owed[slot as usize] = false;
        self.settle(slot);
        Some((slot, &self.entries[slot as usize], reason))
    }

    pub(super) fn poll_change(&mut self) -> Option<(&Entry<K>, Told)> {
        let (slot, known) = self.changes.pop()?;
        let live = self.entries[slot as usize].is_live();
        if !live && !self.owed[slot as usize] {
            self.places.remove(slot);
            self.settle(slot);
        }
        let told = match (live, known) {
            (true, false) => Told::Created,
            (true, true) => Told::Altered,
            (false, _) => Told::Gone,
        };
        Some((&self.entries[slot as usize], told))
    }

    pub(super) fn take_lost(&mut self) -> u64 {
        self.changes.take_lost()
    }

    /// Shows the live sessions in up to `most` slots from `from` on, and tells how far it went.
    pub(super) fn walk(
        &self,
        from: usize,
        most: usize,
        mut visit: impl FnMut(Handle, &Entry<K>),
    ) -> usize {
        let to = from.saturating_add(most).min(self.entries.len());
        for (slot, entry) in (from..to).zip(self.entries.iter().skip(from)) {
            if entry.is_live() {
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                visit(self.handle(slot), entry);
            }
        }
        to
    }

    /// Slots that have been used.
    pub(super) fn used_slots(&self) -> usize {
        self.entries.len()
    }

    /// Slots that there can be.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes reserved.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<K>>()
            + self.index.bytes()
            + self.wheel.bytes()
            + self.places.bytes()
            + self.changes.bytes()
            + self.owed.capacity() * size_of::<bool>()
    }

    /// What packets read of it: its entries and its index.
    pub(super) fn regions(&self) -> [Region; 2] {
        [Region::of(&self.entries), self.index.region()]
    }

    #[inline]
    fn handle(&self, slot: u32) -> Handle {
        let generation = self.entries[slot as usize].generation;
        Handle { slot, generation }
    }

    /// Who must give way to a new session of `class`; nobody if there is room.
    fn victim(&self, when_full: WhenFull, class: Class) -> Result<Option<u32>, SessionRefusal> {
        if class == Class::Embryonic
            && let Some(victim) = self.embryonic_victim(when_full)?
        {
            return Ok(Some(victim));
        }
        if self.stats.sessions < self.limits.sessions {
            return Ok(None);
        }
        let embryonic = self.places.front(EMBRYONIC);
        let victim = match when_full {
            WhenFull::EvictOldestEmbryonic => embryonic,
            WhenFull::EvictOldestClosing => embryonic.or_else(|| self.places.front(CLOSING)),
            WhenFull::Refuse => None,
        };
        victim.map(Some).ok_or(SessionRefusal::Full)
    }

    /// Who must give way to one more embryonic session; nobody if there is room.
    fn embryonic_victim(&self, when_full: WhenFull) -> Result<Option<u32>, SessionRefusal> {
        if self.stats.embryonic < self.limits.embryonic {
            return Ok(None);
        }
        let victim = match when_full {
            WhenFull::EvictOldestEmbryonic | WhenFull::EvictOldestClosing => {
                self.places.front(EMBRYONIC)
            }
            WhenFull::Refuse => None,
        };
        victim.map(Some).ok_or(SessionRefusal::EmbryonicFull)
    }

    /// A slot that is in no list: a free one, a new one, or one whose end is then never told.
    fn take_slot(&mut self, key: K, ticket: Ticket) -> Option<u32> {
        if let Some(slot) = self.places.front(FREE) {
            self.places.remove(slot);
            return Some(slot);
        }
        if self.entries.len() < self.slots {
            return Some(self.grow(key, ticket));
        }
        let slot = self.places.front(UNTOLD)?;
        self.places.remove(slot);
        self.changes.lose(slot);
        self.stats.lost += 1;
        Some(slot)
    }

    fn grow(&mut self, key: K, ticket: Ticket) -> u32 {
        let slot = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry {
            key,
            state: State::Closed,
            method: 0,
            flags: 0,
            profile: 0,
            ticket,
            seen: 0,
            generation: 0,
        });
        self.wheel.grow();
        self.places.grow();
        self.changes.grow();
        self.owed.push(false);
        slot
    }

    fn end(&mut self, rules: &Rules, slot: u32, end: End) {
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        let class = entry.state.class();
        let tag = entry.key.tag(entry.state.protocol(), &rules.hash);
        self.index.remove(tag, slot);
        self.wheel.disarm(slot);
        self.changes.end(slot);
        self.leave(slot, class);
        self.stats.sessions -= 1;
        match end {
            End::Given(reason) => {
                self.owed[slot as usize] = true;
                let (place, count) = match reason {
                    EndReason::Evicted => (EVICTED, &mut self.stats.evicted),
                    EndReason::TimedOut => (TIMED_OUT, &mut self.stats.timed_out),
                };
                *count += 1;
                self.places.push_back(place, slot);
            }
            End::Removed => {
                self.stats.removed += 1;
                self.settle(slot);
            }
        }
    }

    /// Puts a slot whose ticket is not owed where it belongs.
    fn settle(&mut self, slot: u32) {
        if self.changes.waiting(slot) {
            self.places.push_back(UNTOLD, slot);
        } else {
            self.places.push_front(FREE, slot);
        }
    }

    fn enter(&mut self, slot: u32, class: Class) {
        match class {
            Class::Embryonic => {
                self.stats.embryonic += 1;
                self.places.push_back(EMBRYONIC, slot);
            }
            Class::Closing => self.places.push_back(CLOSING, slot),
            Class::Open => {}
        }
    }

    fn leave(&mut self, slot: u32, class: Class) {
        self.places.remove(slot);
        if class == Class::Embryonic {
            self.stats.embryonic -= 1;
        }
    }
}

/// Embryonic sessions, the oldest first.
const EMBRYONIC: u32 = 0;
/// Closing sessions, the oldest first.
const CLOSING: u32 = 1;
/// Slots whose session gave way, and whose ticket is owed.
const EVICTED: u32 = 2;
/// Slots whose session timed out, and whose ticket is owed.
const TIMED_OUT: u32 = 3;
/// Slots whose session has ended, and whose end is still to be told.
const UNTOLD: u32 = 4;
/// Slots that hold nothing.
const FREE: u32 = 5;
/// How many lists that makes; open sessions are in none.
const PLACES: u32 = 6;

/// Slots whose timers are looked at together.
const TOGETHER: usize = 16;

/// One slot in 16 is spare, for ends that have not been collected and told.
const SPARE: usize = 16;

/// A small table has some spare slots too: two bursts.
const LEAST_SPARE: usize = 64;
