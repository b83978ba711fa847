//! Which backend is to be probed when, and what comes of the answers.

use crate::backend::Address;
use crate::health::{
    Health, HealthCheck, HealthConfig, Monitor, ProbeKind, ProbeNumber, ProbeOutcome, Transition,
};
use crate::rng::Rng;
use crate::{BackendId, Instant};

use super::event::{EventKind, Named};
use super::state::State;

/// A probe that a runner is to send now.
#[non_exhaustive]
#[must_use = "the backend's check waits for the outcome until the deadline"]
#[derive(Clone, Debug)]
pub struct Probe {
    /// Of which backend; handed back with the outcome.
    pub backend: BackendId,
    /// Which probe of it; handed back with the outcome.
    pub number: ProbeNumber,
    /// Where to.
    pub address: Address,
    /// What to do there.
    pub kind: ProbeKind,
    /// When an answer is too late.
    pub deadline: Instant,
}

/// The check of one backend: ours, which can be reconfigured, or the user's.
#[derive(Debug)]
pub(super) enum Check {
    Monitor(Monitor),
    Own(Box<dyn HealthCheck>),
}

impl Check {
    pub(super) fn health(&self) -> Health {
        match self {
            Self::Monitor(monitor) => monitor.health(),
            Self::Own(check) => check.health(),
        }
    }

    fn as_dyn(&mut self) -> &mut dyn HealthCheck {
        match self {
            Self::Monitor(monitor) => monitor,
            Self::Own(check) => check.as_mut(),
        }
    }
}

impl State {
    /// Gives every member the check that the configuration wants, keeping what is known.
    pub(super) fn install_checks(&mut self) {
        let ids: Vec<BackendId> = self.members.by_id.keys().copied().collect();
        for id in ids {
            self.install_check(id);
        }
    }

    pub(super) fn install_check(&mut self, id: BackendId) {
        let Some(member) = self.members.by_id.get_mut(&id) else {
            return;
        };
        let wanted = self.config.health.as_ref();
        member.check = match (member.check.take(), &self.own_checks, wanted) {
            (_, _, None) => None,
            (Some(Check::Own(check)), Some(_), Some(_)) => Some(Check::Own(check)),
            (_, Some(make), Some(_)) => Some(Check::Own(make(&member.backend))),
            (Some(Check::Monitor(mut monitor)), None, Some(config)) => {
                // The configuration was checked when the pool took it.
                let _ = monitor.reconfigure(config);
                Some(Check::Monitor(monitor))
            }
            (_, None, Some(config)) => Monitor::new(config).ok().map(Check::Monitor),
        };
        self.arm(id);
    }

    /// Notes when the check of `id` wants to be asked.
    fn arm(&mut self, id: BackendId) {
        let Some(member) = self.members.by_id.get_mut(&id) else {
            return;
        };
        if let Some(due) = member.due.take() {
            self.due.remove(&(due, id));
        }
        let probed = member.backend.admin != crate::backend::Admin::Maintenance;
        let check = member.check.as_mut().filter(|_| probed);
        if let Some(due) = check.and_then(|check| check.as_dyn().poll_timeout()) {
            member.due = Some(due);
            self.due.insert((due, id));
        }
    }

    /// The next probe that is due.
    pub(super) fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let kind = self
            .config
            .health
            .as_ref()
            .map(|health: &HealthConfig| health.kind.clone())?;
        while let Some(&(due, id)) = self.due.first() {
            if due > now {
                break;
            }
            let rng: &mut dyn Rng = &mut self.rng;
            let member = self.members.by_id.get_mut(&id)?;
            let check = member.check.as_mut()?.as_dyn();
            let late = check.handle_timeout(now);
            let probe = check.poll_probe(now, rng);
            let address = member.backend.address.clone();
            self.settle_check(now, id, late);
            if let Some(probe) = probe {
                let (number, deadline) = (probe.number, probe.deadline);
                return Some(Probe {
                    backend: id,
                    number,
                    address,
                    kind,
                    deadline,
                });
            }
            // A check that names a moment and then wants nothing would be asked for ever.
            if self.due.first() == Some(&(due, id)) {
                self.due.pop_first();
            }
        }
        None
    }

    /// The outcome of a probe.
    pub(super) fn handle_probe(
        &mut self,
        now: Instant,
        id: BackendId,
        number: ProbeNumber,
        outcome: ProbeOutcome,
    ) {
        let member = self.members.by_id.get_mut(&id);
        if let Some(check) = member.and_then(|member| member.check.as_mut()) {
            let transition = check.as_dyn().handle_outcome(now, number, outcome);
            self.settle_check(now, id, transition);
        }
    }

    fn settle_check(&mut self, now: Instant, id: BackendId, transition: Option<Transition>) {
        if let Some(transition) = transition
            && let Some(member) = self.members.by_id.get_mut(&id)
        {
            if transition.to == Health::Up {
                member.warming_since = Some(now);
            }
            let backend = Named::of(&member.backend);
            self.events.push(
                now,
                EventKind::Health {
                    backend,
                    transition,
                },
            );
            self.stale = true;
        }
        self.arm(id);
    }
}
