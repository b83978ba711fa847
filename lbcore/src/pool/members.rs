//! Who is in the pool: identities, slots and their generations.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::checks::Check;
use super::counts::Counts;
use super::view::{Place, SlotEntry};
use crate::health::Health;
use crate::{Backend, BackendId, Instant, Ticket};

/// A change of who is in a pool.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Delta {
    /// Takes this backend out; its sessions may finish.
    Remove(BackendId),
    /// These backends and no others. One that was there keeps its counters and health.
    Replace(Vec<Backend>),
    /// Adds this backend, or changes the one of the same identity.
    Upsert(Backend),
}

/// Why a change was refused; nothing has changed then.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ApplyError {
    /// Two backends of one `Replace` have the same identity. Name them differently.
    #[error("`{0}` and `{1}` have the same identity")]
    SameIdentity(Arc<str>, Arc<str>),
    /// A backend would change its name and keep the identity: two names met in one identity.
    #[error("`{new}` has the identity of `{old}`")]
    TakenIdentity {
        /// Whose identity it is.
        old: Arc<str>,
        /// Who came with it.
        new: Arc<str>,
    },
}

/// One backend in a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) backend: Arc<Backend>,
    pub(super) ticket: Ticket,
    /// What the slot had counted for others before.
    pub(super) baseline: Counts,
    pub(super) check: Option<Check>,
    /// When it last came up, if its share grows since then.
    pub(super) warming_since: Option<Instant>,
    pub(super) ejected_until: Option<Instant>,
    /// When its check wants to be asked next, as the pool's timers have it.
    pub(super) due: Option<Instant>,
}

impl Member {
    pub(super) fn health(&self) -> Health {
        self.check.as_ref().map_or(Health::Up, Check::health)
    }

    pub(super) fn is_up(&self) -> bool {
        self.health() == Health::Up && self.ejected_until.is_none()
    }
}

/// The members, and every slot that is or was used.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) by_id: BTreeMap<BackendId, Member>,
    /// Removed, with sessions under way.
    retired: Vec<Retired>,
    /// The generation of each slot: 1 more than how often it was freed; never 0.
    generations: Vec<u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Retired {
    backend: Arc<Backend>,
    ticket: Ticket,
    baseline: Counts,
}

impl Members {
    /// How many slots there are, used or free.
    pub(super) fn slots(&self) -> usize {
        self.generations.len()
    }

    /// A slot for a backend: the one it had, with its counters, if its sessions still last.
    pub(super) fn claim_slot(&mut self, id: BackendId) -> (Ticket, Option<Counts>) {
        if let Some(at) = self
            .retired
            .iter()
            .position(|retired| retired.backend.id == id)
        {
            let retired = self.retired.swap_remove(at);
            return (retired.ticket, Some(retired.baseline));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(1);
            u32::try_from(self.generations.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.generations.get(slot as usize).copied().unwrap_or(1);
        (Ticket::new(slot, generation), None)
    }

    /// Takes a member out; its slot stays used until [`free_slots`](Self::free_slots).
    pub(super) fn remove(&mut self, id: BackendId) -> Option<Member> {
        let member = self.by_id.remove(&id)?;
        let backend = Arc::clone(&member.backend);
        let (ticket, baseline) = (member.ticket, member.baseline);
        self.retired.push(Retired {
            backend,
            ticket,
            baseline,
        });
        Some(member)
    }

    /// Frees the slots of removed backends that have no session under way any more; whether any.
    pub(super) fn free_slots(&mut self, in_flight: impl Fn(u32) -> u64) -> bool {
        let before = self.retired.len();
        let (generations, free) = (&mut self.generations, &mut self.free);
        self.retired.retain(|retired| {
            let slot = retired.ticket.slot();
            let used = in_flight(slot) > 0;
            if !used && let Some(generation) = generations.get_mut(slot as usize) {
                *generation = generation.wrapping_add(1).max(1);
                free.push(slot);
            }
            used
        });
        self.retired.len() < before
    }

    /// What each slot is used for.
    pub(super) fn slot_entries(
        &self,
        place: impl Fn(BackendId) -> Option<Place>,
    ) -> Box<[Option<SlotEntry>]> {
        let mut entries = vec![None; self.slots()];
        let members = self
            .by_id
            .values()
            .map(|member| (&member.backend, member.ticket));
        let retired = self
            .retired
            .iter()
            .map(|retired| (&retired.backend, retired.ticket));
        for (backend, ticket) in members.chain(retired) {
            if let Some(entry) = entries.get_mut(ticket.slot() as usize) {
                let (generation, place) = (ticket.generation(), place(backend.id));
                *entry = Some(SlotEntry {
                    generation,
                    backend: Arc::clone(backend),
                    place,
                });
            }
        }
        entries.into()
    }

    /// Whether `deltas` can be applied one after the other.
    pub(super) fn check(&self, deltas: &[Delta]) -> Result<(), ApplyError> {
        let mut names: BTreeMap<BackendId, Arc<str>> = BTreeMap::new();
        for (&id, member) in &self.by_id {
            names.insert(id, Arc::clone(&member.backend.name));
        }
        for delta in deltas {
            match delta {
                Delta::Remove(id) => {
                    names.remove(id);
                }
                Delta::Replace(backends) => {
                    let old = std::mem::take(&mut names);
                    for backend in backends {
                        fits(&old, backend)?;
                        if let Some(twin) = names.insert(backend.id, Arc::clone(&backend.name)) {
                            return Err(ApplyError::SameIdentity(twin, Arc::clone(&backend.name)));
                        }
                    }
                }
                Delta::Upsert(backend) => {
                    fits(&names, backend)?;
                    names.insert(backend.id, Arc::clone(&backend.name));
                }
            }
        }
        Ok(())
    }
}

fn fits(names: &BTreeMap<BackendId, Arc<str>>, backend: &Backend) -> Result<(), ApplyError> {
    match names.get(&backend.id) {
        Some(old) if **old != *backend.name && backend.id == BackendId::of_name(&backend.name) => {
            Err(ApplyError::TakenIdentity {
                old: Arc::clone(old),
                new: Arc::clone(&backend.name),
            })
        }
        _ => Ok(()),
    }
}
