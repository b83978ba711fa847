//! The picture before the last change: where flows went that began then.

use std::sync::Arc;
use std::time::Duration;

use super::Pick;
use crate::backend::Admin;
use crate::health::Health;
use crate::pool::{PoolView, Published, ViewTier};
use crate::rng::{GOLDEN, mix};
use crate::schedule::{Candidates, Load, Scheduler, Start, Tried};
use crate::{BackendId, Instant};

/// The picture that placed otherwise than the present one, and until when it did.
///
/// Source: the second table of a load balancer that keeps flows through a change of its backends and
/// the loss of a node at once, as in Beamer (NSDI 2018), there kept by the servers.
pub(super) struct Before<S: Scheduler> {
    published: Arc<Published<S>>,
    /// One for each tier.
    cursors: Vec<S::Cursor>,
    until: Instant,
}

impl<S: Scheduler> Before<S> {
    pub(super) fn new(now: Instant, scheduler: &S, published: Arc<Published<S>>) -> Self {
        let load = |_| Load::default();
        let tiers = published.view().tiers().iter().zip(published.plans());
        let cursor =
            |(tier, plan): (&ViewTier, _)| scheduler.cursor(plan, &tier.tier, Start::new(0, &load));
        Self {
            cursors: tiers.map(cursor).collect(),
            published,
            until: now,
        }
    }

    /// Who served `pick` then, if that is not longer than `within` ago and it can still serve, as the
    /// picture `now` says.
    pub(super) fn backend(
        &mut self,
        now: Instant,
        (scheduler, view): (&S, &PoolView),
        (pick, within): (&Pick<'_>, Duration),
    ) -> Option<BackendId> {
        if now.since(self.until) > within {
            return None;
        }
        let was = self.published.view();
        let tiers = was.tiers();
        let first = was.tier_of(mix(pick.key? ^ GOLDEN));
        let tried = pick.tried.unwrap_or(Tried::NONE);
        let found = (0..tiers.len()).find_map(|step| {
            let at = (first + step) % tiers.len();
            let tier = &tiers.get(at)?.tier;
            let (plan, cursor) = (self.published.plans().get(at)?, self.cursors.get_mut(at)?);
            let candidates = Candidates::new(now, tier, pick.key, tried);
            let position = scheduler.pick(plan, cursor, &candidates)?;
            Some(tier.candidates().get(position)?.backend.id)
        })?;
        let status = view.backend(found)?;
        let serves = status.health != Health::Down && status.backend.admin != Admin::Maintenance;
        serves.then_some(found)
    }
}
