//! What goes wrong in a cluster.

use super::play::{Event, Play};
use super::replicate::Replicate;
use crate::rng::Rng;
use crate::schedule::Scheduler;
use crate::sim::NodeId;
use crate::{BackendId, Delta, Instant};

impl<S: Scheduler, R: Replicate> Play<'_, S, R> {
    /// Lets something go wrong, of four kinds at random, and plans its mending.
    ///
    /// One node stays alive and half of the backends stay in place.
    pub(super) fn trouble(&mut self, now: Instant) {
        let kind = self.dice.below(4);
        let most = self.config.backends / 2;
        match kind {
            0 if self.live().count() > 1 => self.kill(),
            1 if !self.link.is_parted() && self.config.nodes > 1 => self.part(),
            2 if self.removed.len() < most => self.remove(now),
            3 if self.dark.len() < most => self.darken(),
            _ => {}
        }
    }

    fn kill(&mut self) {
        let live: Vec<usize> = self.live().collect();
        let Some(&at) = self.one_of(&live) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(at) {
            *node = None;
        }
        self.report.deaths += 1;
        self.judge.node_died(NodeId(at));
        self.plan(self.config.trouble_gap, Event::Return(NodeId(at)));
    }

    fn part(&mut self) {
        let size = 1 + self.dice.below(self.config.nodes as u64 - 1);
        let island = usize::try_from(size).unwrap_or(1);
        self.link.partition((0..island).map(NodeId));
        self.report.partitions += 1;
        self.plan(self.config.trouble_gap, Event::Heal);
    }

    fn remove(&mut self, now: Instant) {
        let here = self.backends.keys().copied();
        let here: Vec<BackendId> = here.filter(|id| !self.removed.contains(id)).collect();
        let Some(&id) = self.one_of(&here) else {
            return;
        };
        self.removed.insert(id);
        self.report.removals += 1;
        self.apply(now, &Delta::Remove(id));
        self.plan(self.config.trouble_gap, Event::Add(id));
    }

    fn darken(&mut self) {
        let lit = self.backends.keys().copied();
        let lit: Vec<BackendId> = lit.filter(|id| !self.dark.contains(id)).collect();
        let Some(&id) = self.one_of(&lit) else {
            return;
        };
        self.dark.insert(id);
        self.report.outages += 1;
        self.plan(self.config.trouble_gap, Event::Lighten(id));
    }

    fn one_of<'b, T>(&mut self, all: &'b [T]) -> Option<&'b T> {
        let at = self.dice.below(all.len() as u64);
        all.get(usize::try_from(at).ok()?)
    }
}
