//! What one worker does with a session: pick, claim, count.

use std::sync::Arc;

use super::{Pick, Refusal};
use crate::lease::Seat;
use crate::pool::{BackendStatus, Place, PoolView, Published, Shard, ViewTier};
use crate::rng::{GOLDEN, Rng, Xoshiro, mix};
use crate::schedule::{Candidate, Candidates, Load, Room, Scheduler, Start, Tier, Tried};
use crate::{BackendId, Instant, Ticket};

/// What one worker alone writes.
pub(super) struct Worker<S: Scheduler> {
    pub(super) shard: Arc<Shard>,
    /// One for each tier.
    cursors: Vec<Apart<S::Cursor>>,
    rng: Xoshiro,
    seed: u64,
    /// By slot: what its leases share, made with the first of them.
    seats: Vec<Option<Arc<Seat>>>,
}

/// Keeps the cursors of two balancers, which one thread may have made, off each other's cache lines.
#[repr(align(128))]
struct Apart<C>(C);

/// One session that needs a backend, with everything it is decided by.
pub(super) struct Request<'a, S: Scheduler> {
    now: Instant,
    scheduler: &'a S,
    published: &'a Published<S>,
    key: Option<u64>,
    tried: &'a Tried,
}

impl<'a, S: Scheduler> Request<'a, S> {
    #[inline]
    pub(super) fn new(
        now: Instant,
        scheduler: &'a S,
        published: &'a Published<S>,
        pick: &Pick<'a>,
    ) -> Self {
        Self {
            now,
            scheduler,
            published,
            key: pick.key,
            tried: pick.tried.unwrap_or(Tried::NONE),
        }
    }
}

impl<S: Scheduler> Worker<S> {
    pub(super) fn new(shard: Arc<Shard>, seed: u64) -> Self {
        Self {
            shard,
            cursors: Vec::new(),
            rng: Xoshiro::new(seed),
            seed,
            seats: Vec::new(),
        }
    }

    /// Makes ready for a new picture, after one with `old_tiers`.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        scheduler: &S,
        published: &Published<S>,
        old_tiers: &[ViewTier],
    ) {
        self.shard.grow(published.view().slots.len());
        self.make_cursors(now, scheduler, published, old_tiers);
        self.keep_seats(published.view());
    }

    fn make_cursors(
        &mut self,
        now: Instant,
        scheduler: &S,
        published: &Published<S>,
        old_tiers: &[ViewTier],
    ) {
        let old = std::mem::take(&mut self.cursors);
        let mut old: Vec<_> = old_tiers.iter().zip(old.into_iter().map(Some)).collect();
        let tiers = published.view().tiers().iter().zip(published.plans());
        let cursors = tiers.map(|(tier, plan)| {
            let previous = old.iter_mut().find(|(was, _)| was.is_same_group(tier));
            let (was, cursor) = previous.map(|(was, cursor)| (*was, cursor.take())).unzip();
            let load = |position| self.load(now, &tier.tier, position);
            let before = |position: usize| {
                let id = tier.tier.candidates().get(position)?.backend.id;
                was?.tier.position(id)
            };
            let start =
                Start::new(self.seed, &load).after(cursor.flatten().map(|own| own.0), &before);
            Apart(scheduler.cursor(plan, &tier.tier, start))
        });
        self.cursors = cursors.collect();
    }

    /// Lets go of the seats on backends that are gone or have changed.
    fn keep_seats(&mut self, view: &PoolView) {
        for place in &mut self.seats {
            let is_current = |seat: &Arc<Seat>| {
                let backend = view.resolve(seat.ticket);
                backend.is_some_and(|backend| Arc::ptr_eq(backend, &seat.backend))
            };
            place.take_if(|seat| !is_current(seat));
        }
    }

    /// What leases on the backend of `ticket` share.
    #[inline]
    pub(super) fn seat(&mut self, view: &PoolView, ticket: Ticket) -> Option<Arc<Seat>> {
        match self.seats.get(ticket.slot() as usize) {
            Some(Some(seat)) => Some(Arc::clone(seat)),
            _ => self.make_seat(view, ticket),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_seat(&mut self, view: &PoolView, ticket: Ticket) -> Option<Arc<Seat>> {
        let seat = Arc::new(Seat {
            shard: Arc::clone(&self.shard),
            backend: Arc::clone(view.resolve(ticket)?),
            ticket,
        });
        if self.seats.len() < view.slots.len() {
            self.seats.resize(view.slots.len(), None);
        }
        if let Some(place) = self.seats.get_mut(ticket.slot() as usize) {
            *place = Some(Arc::clone(&seat));
        }
        Some(seat)
    }

    /// Picks a place for a session and counts the session there.
    #[inline(always)]
    pub(super) fn choose(
        &mut self,
        request: Request<'_, S>,
        preferred: Option<BackendId>,
    ) -> Result<Ticket, Refusal> {
        let tiers = request.published.view().tiers();
        let chosen = match tiers {
            [only] if preferred.is_none() => self.choose_in(request, only, 0),
            _ => self.choose_among(request, tiers, preferred),
        };
        chosen.ok_or_else(|| request.refusal(&self.shard))
    }

    #[inline(never)]
    fn choose_among(
        &mut self,
        request: Request<'_, S>,
        tiers: &[ViewTier],
        preferred: Option<BackendId>,
    ) -> Option<Ticket> {
        let view = request.published.view();
        let preferred = preferred
            .and_then(|id| view.backend(id))
            .map(|status| status.place);
        if let Some(place) = preferred
            && let Some(tier) = tiers.get(place.tier)
            && request
                .candidates(&tier.tier, &self.shard)
                .allows(place.position)
            && let Some(chosen) = self.claim(request, tier, place)
        {
            return Some(chosen);
        }
        // A key is spread again, so that the tier says nothing about the place inside it.
        let first = match (tiers.len(), request.key) {
            (0 | 1, _) => 0,
            (_, Some(key)) => view.tier_of(mix(key ^ GOLDEN)),
            (_, None) => view.tier_of(self.rng.next_u64()),
        };
        let order = (0..tiers.len()).map(|at| (first + at) % tiers.len());
        let mut order = order.filter_map(|at| Some((at, tiers.get(at)?)));
        order.find_map(|(at, tier)| self.choose_in(request, tier, at))
    }

    #[inline(always)]
    fn choose_in(&mut self, request: Request<'_, S>, tier: &ViewTier, at: usize) -> Option<Ticket> {
        let place = self.pick_in(request, tier, at)?;
        self.claim(request, tier, place)
            .or_else(|| self.choose_again(request, tier, at))
    }

    /// Another worker has taken the last place of a full backend between pick and claim.
    #[cold]
    #[inline(never)]
    fn choose_again(
        &mut self,
        request: Request<'_, S>,
        tier: &ViewTier,
        at: usize,
    ) -> Option<Ticket> {
        for _ in 0..Tried::MOST {
            let place = self.pick_in(request, tier, at)?;
            let chosen = self.claim(request, tier, place);
            if chosen.is_some() {
                return chosen;
            }
        }
        None
    }

    #[inline(always)]
    fn pick_in(&mut self, request: Request<'_, S>, tier: &ViewTier, at: usize) -> Option<Place> {
        let (plan, cursor) = (
            request.published.plans().get(at)?,
            self.cursors.get_mut(at)?,
        );
        let candidates = request.candidates(&tier.tier, &self.shard);
        let position = request.scheduler.pick(plan, &mut cursor.0, &candidates)?;
        Some(Place { tier: at, position })
    }

    /// Takes a place for the session, unless the backend is full.
    #[inline(always)]
    fn claim(&mut self, request: Request<'_, S>, tier: &ViewTier, place: Place) -> Option<Ticket> {
        let ticket = tier.tier.ticket(place.position)?;
        if ticket.is_capped() && !self.shard.shared().take_place(ticket.slot()) {
            return None;
        }
        self.begin(request, place, ticket);
        Some(ticket)
    }

    #[inline(always)]
    pub(super) fn begin(&mut self, request: Request<'_, S>, place: Place, ticket: Ticket) {
        self.shard.begin(ticket.slot());
        if request.scheduler.observes() {
            let load = self.shard.load(request.now, ticket.slot());
            request.observe(&mut self.cursors, place, &load);
        }
    }

    /// Tells the cursors which sessions of this worker have ended.
    #[inline]
    pub(super) fn settle(&mut self, request: Request<'_, S>) {
        if request.scheduler.observes() {
            let Self { shard, cursors, .. } = self;
            shard.settle(request.now, |slot, load| {
                if let Some(place) = request.published.view().place(slot) {
                    request.observe(cursors, place, &load);
                }
            });
        }
    }

    fn load(&self, now: Instant, tier: &Tier, position: usize) -> Load {
        let candidate = tier.candidates().get(position);
        candidate.map_or_else(Load::default, |it| self.shard.load(now, it.ticket.slot()))
    }
}

impl<S: Scheduler> Clone for Request<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Scheduler> Copy for Request<'_, S> {}

impl<'a, S: Scheduler> Request<'a, S> {
    #[inline]
    fn candidates<'b>(self, tier: &'b Tier, shard: &'b Shard) -> Candidates<'b>
    where
        'a: 'b,
    {
        Candidates::new(self.now, tier, self.key, self.tried).with_room(shard.shared())
    }

    #[inline]
    fn observe(self, cursors: &mut [Apart<S::Cursor>], place: Place, load: &Load) {
        let plan = self.published.plans().get(place.tier);
        if let (Some(plan), Some(cursor)) = (plan, cursors.get_mut(place.tier)) {
            self.scheduler
                .observe(plan, &mut cursor.0, place.position, load);
        }
    }

    /// Why nothing was chosen.
    #[cold]
    #[inline(never)]
    fn refusal(self, shard: &Shard) -> Refusal {
        let tiers = self.published.view().tiers();
        let members = || tiers.iter().flat_map(|tier| tier.tier.candidates());
        let mut eligible = members()
            .filter(|candidate| candidate.is_eligible())
            .peekable();
        if eligible.peek().is_some() {
            let full = |candidate: &Candidate| !shard.shared().has_room(candidate.ticket);
            return if eligible.all(full) {
                Refusal::AllFull
            } else {
                Refusal::AllTried
            };
        }
        let in_service = |status: &BackendStatus| status.backend.is_in_service();
        if self.published.view().backends().iter().any(in_service) {
            Refusal::AllDown
        } else {
            Refusal::NoBackends
        }
    }
}
