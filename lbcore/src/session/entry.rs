//! One slot of a store, and the rules that hold for all.

use super::config::{SessionConfig, Timeouts, WhenFull};
use super::record::Binding;
use super::state::State;
use super::ticks::timeout_ticks;
use crate::Ticket;
use crate::hash::HashKey;

/// What holds for every session of a table.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) hash: HashKey,
    pub(super) when_full: WhenFull,
    /// In ticks, by profile and state.
    timeouts: Vec<[u32; State::ALL.len()]>,
}

impl Rules {
    pub(super) fn new(config: &SessionConfig, hash: HashKey) -> Self {
        let mut rules = Self {
            hash,
            when_full: config.when_full,
            timeouts: Vec::new(),
        };
        rules.set_timeouts(&config.timeouts);
        rules
    }

    /// Goes by these sets of timeouts from here on.
    pub(super) fn set_timeouts(&mut self, timeouts: &[Timeouts]) {
        let ticks = |timeouts: &Timeouts| State::ALL.map(|state| timeout_ticks(timeouts.of(state)));
        self.timeouts = timeouts.iter().map(ticks).collect();
    }

    pub(super) fn timeout(&self, state: State, profile: u8) -> u32 {
        let profile = usize::from(profile);
        let chosen = self.timeouts.get(profile).or_else(|| self.timeouts.first());
        chosen.map_or(1, |timeouts| timeouts[state as usize])
    }
}

/// One slot: 32 bytes for IPv4, two to a cache line, and 64 for IPv6. None lies across two lines.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) state: State,
    pub(super) method: u8,
    pub(super) flags: u8,
    pub(super) profile: u8,
    pub(super) ticket: Ticket,
    /// The low 32 bits of the tick at which it was last touched.
    pub(super) seen: u32,
    /// One more at each beginning and each end: odd while the session lives.
    pub(super) generation: u32,
}

impl<K> Entry<K> {
    pub(super) fn binding(&self) -> Binding {
        Binding {
            ticket: self.ticket,
            method: self.method,
            flags: self.flags,
            profile: self.profile,
        }
    }

    pub(super) fn bind(&mut self, binding: Binding) {
        self.ticket = binding.ticket;
        self.method = binding.method;
        self.flags = binding.flags;
        self.profile = binding.profile;
    }

    pub(super) fn is_live(&self) -> bool {
        self.generation % 2 == 1
    }

    /// Ticks since it was last touched.
    pub(super) fn age(&self, tick: u64) -> u32 {
        low(tick).wrapping_sub(self.seen)
    }
}

/// A slot in one of its uses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Handle {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a session keeps the low half, and ticks.rs says why it is enough"
)]
pub(super) fn low(tick: u64) -> u32 {
    tick as u32
}
