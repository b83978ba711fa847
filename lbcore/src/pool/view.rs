//! The pool as everyone sees it: one immutable picture, swapped whole.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::tiers::WHOLE;
use crate::health::Health;
use crate::schedule::Tier;
use crate::{Backend, BackendId, Instant, Ticket};

/// One picture of a pool: who is in it, who may take sessions, and in which shares.
///
/// Immutable, and whole: health, weights and tiers of one moment belong together.
#[derive(Debug)]
pub struct PoolView {
    pub(crate) generation: u64,
    pub(crate) tiers: Box<[ViewTier]>,
    pub(crate) backends: Box<[BackendStatus]>,
    pub(crate) slots: Box<[Option<SlotEntry>]>,
    /// The generation of each slot in use, packed for the path of traffic.
    pub(crate) generations: Box<[Option<NonZeroU32>]>,
}

/// A tier with the part of all traffic that it gets.
#[non_exhaustive]
#[derive(Debug)]
pub struct ViewTier {
    /// Its backends.
    pub tier: Tier,
    /// Its priority group: 0 is used first.
    pub priority: u8,
    /// Whether these are the backends of the balancer's own zone.
    pub local: bool,
    /// Its part of new sessions, in 1/10,000.
    pub load: u32,
    /// Whether so little of it is up that health is disregarded.
    pub panic: bool,
}

impl ViewTier {
    /// Whether both are the same priority and zone, in two pictures.
    pub(crate) fn is_same_group(&self, other: &Self) -> bool {
        (self.priority, self.local) == (other.priority, other.local)
    }
}

/// One backend in a [`PoolView`].
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BackendStatus {
    /// As configured.
    pub backend: Arc<Backend>,
    /// What probes say; up without a health check.
    pub health: Health,
    /// Until when it is ejected for the errors of its traffic, if it is.
    pub ejected_until: Option<Instant>,
    /// Its share of new sessions, as [`Candidate::share`](crate::schedule::Candidate::share).
    pub share: u32,
    pub(crate) ticket: Ticket,
    pub(crate) place: Place,
}

/// Where a backend stands in the tiers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) tier: usize,
    pub(crate) position: usize,
}

/// What a slot is used for; a removed backend keeps it until its last session has ended.
#[derive(Clone, Debug)]
pub(crate) struct SlotEntry {
    pub(crate) generation: u32,
    pub(crate) backend: Arc<Backend>,
    /// Its place, unless it was removed.
    pub(crate) place: Option<Place>,
}

impl PoolView {
    /// Counts the pictures: one that is newer has a higher number.
    #[inline]
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The tiers, those used first first.
    #[inline]
    #[must_use]
    pub fn tiers(&self) -> &[ViewTier] {
        &self.tiers
    }

    /// Every backend, in the order of identities.
    #[must_use]
    pub fn backends(&self) -> &[BackendStatus] {
        &self.backends
    }

    /// The backend of this identity. O(log n).
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&BackendStatus> {
        let at = self
            .backends
            .binary_search_by_key(&id, |status| status.backend.id)
            .ok()?;
        self.backends.get(at)
    }

    /// The backend that `ticket` was given for, also after its removal, as long as sessions last.
    ///
    /// `None` for a ticket of a backend that is gone. O(1).
    #[must_use]
    pub fn resolve(&self, ticket: Ticket) -> Option<&Arc<Backend>> {
        self.slot(ticket).map(|entry| &entry.backend)
    }

    pub(crate) fn slot(&self, ticket: Ticket) -> Option<&SlotEntry> {
        let entry = self.slots.get(ticket.slot() as usize)?.as_ref()?;
        (entry.generation == ticket.generation()).then_some(entry)
    }

    /// A ticket of every backend that sessions may have, and the backend: those too that were removed
    /// and whose sessions last. In the order of slots.
    pub fn tickets(&self) -> impl Iterator<Item = (Ticket, &Arc<Backend>)> {
        let entries = self.slots.iter().zip(0_u32..);
        entries.filter_map(|(entry, slot)| {
            let entry = entry.as_ref()?;
            Some((Ticket::new(slot, entry.generation), &entry.backend))
        })
    }

    /// The ticket's backend as it stands in this picture; `None` once it was removed. O(log n).
    #[must_use]
    pub fn status(&self, ticket: Ticket) -> Option<&BackendStatus> {
        let entry = self.slot(ticket)?;
        entry.place?;
        self.backend(entry.backend.id)
    }

    /// Whether the ticket's backend is still known.
    #[inline]
    pub(crate) fn knows(&self, ticket: Ticket) -> bool {
        let known = self
            .generations
            .get(ticket.slot() as usize)
            .copied()
            .flatten();
        known.is_some_and(|generation| generation.get() == ticket.generation())
    }

    /// Whether the same keys belong to the same backends in both.
    pub(crate) fn places_like(&self, other: &Self) -> bool {
        let alike = |(one, other): (&ViewTier, &ViewTier)| {
            one.is_same_group(other) && one.load == other.load && one.tier.places_like(&other.tier)
        };
        self.tiers.len() == other.tiers.len() && self.tiers.iter().zip(&other.tiers).all(alike)
    }

    /// Where the backend of `slot` stands now.
    #[inline]
    pub(crate) fn place(&self, slot: u32) -> Option<Place> {
        self.slots.get(slot as usize)?.as_ref()?.place
    }

    /// The tier that a session belongs to, by a number spread over all 64 bits.
    pub(crate) fn tier_of(&self, spread: u64) -> usize {
        if self.tiers.len() < 2 {
            return 0;
        }
        let part = (u128::from(spread) * u128::from(WHOLE)) >> 64;
        let mut below = 0;
        let owner = self.tiers.iter().position(|tier| {
            below += u128::from(tier.load);
            part < below
        });
        owner.unwrap_or(0)
    }
}
