//! Sessions as other nodes are told of them, and as they tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::schedule::Scheduler;
use lbcore::session::{Change, Session, SessionId, SessionRefusal, SessionTable, State, Tracking};
use lbcore::{BackendId, Instant, Ticket};
use thiserror::Error;

use super::Forwarder;
use super::flows::Flow;
use super::fullnat;
use super::locals::Local;
use super::services::{binding, number_of};
use super::window::UNKNOWN_SHIFTS;
use crate::method::ForwardingMethod;
use crate::method::fullnat::ClientAddress;

/// One session, in names that every node knows.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replica {
    /// Whose packets belong to it.
    pub key: FlowKey,
    /// What is known of it.
    pub state: State,
    /// The name of its service.
    pub service: Arc<str>,
    /// Its backend.
    pub backend: BackendId,
    /// For how long it had been silent.
    pub idle: Duration,
    /// Where its backend sees it come from, if that is rewritten. The node that takes it over takes
    /// the local address too.
    pub local: Option<SocketAddr>,
}

impl Replica {
    /// A session of `service` on `backend`, just seen.
    #[must_use]
    pub const fn new(key: FlowKey, state: State, service: Arc<str>, backend: BackendId) -> Self {
        Self {
            key,
            state,
            service,
            backend,
            idle: Duration::ZERO,
            local: None,
        }
    }

    /// Sets where its backend sees it come from.
    #[must_use]
    pub const fn local(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Sets for how long it had been silent.
    #[must_use]
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

/// A change to the sessions of a node.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
#[doc(alias = "sync message")]
pub enum Replicated {
    /// A session has ended.
    Gone(FlowKey),
    /// So many ends were not told.
    Lost(u64),
    /// A session has begun, or is not as it was.
    Present(Replica),
}

/// Why a session of another node was not taken over. Nothing has changed then.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AdoptError {
    /// Its local end is not told, is none of this worker's, or has not been given back here: with
    /// FULLNAT the nodes have the same local addresses, ports and workers.
    #[error("the local end is not free here")]
    LocalEnd,
    /// The table does not take it.
    #[error(transparent)]
    Refused(#[from] SessionRefusal),
    /// The backend is not in the pool here: the nodes are configured differently, or one earlier.
    #[error("the backend is not known here")]
    UnknownBackend,
    /// No service has this name here.
    #[error("the service is not known here")]
    UnknownService,
}

impl<S: Scheduler> Forwarder<S> {
    /// The changes to sessions that have not been told yet, if the configuration asks for them.
    ///
    /// Those that are not taken stay.
    pub fn take_changes(&mut self, now: Instant) -> impl Iterator<Item = Replicated> {
        std::iter::from_fn(move || {
            loop {
                return Some(match self.table.poll_change()? {
                    Change::Altered(session) | Change::Created(session) => {
                        // Only this node can translate between its two sides.
                        if self.is_tied(&session.key) {
                            continue;
                        }
                        match self.replica(now, &session) {
                            Some(replica) => Replicated::Present(replica),
                            None => continue,
                        }
                    }
                    Change::Gone(session) => Replicated::Gone(session.key),
                    Change::Lost(ends) => Replicated::Lost(ends),
                    _ => continue,
                });
            }
        })
    }

    /// A session as other nodes are told of it.
    #[must_use]
    pub fn replica(&self, now: Instant, session: &Session) -> Option<Replica> {
        let service = self.services.at(number_of(session.binding))?;
        let backend = service.balancer.resolve(session.binding.ticket)?.id;
        let name = Arc::clone(&service.config.name);
        let idle = now.since(session.seen);
        let replica = Replica::new(session.key, session.state, name, backend).idle(idle);
        let local = self.local_end_of(&session.key);
        Some(Replica { local, ..replica })
    }

    /// Where the backend of a session that is under way sees it come from, if that is rewritten.
    #[must_use]
    pub fn local_end_of(&self, key: &FlowKey) -> Option<SocketAddr> {
        let slot = self.table.slot(self.table.lookup(key)?);
        self.locals.end(self.flows.at(slot)?, key.source.is_ipv4())
    }

    /// Takes over a change that another node tells.
    ///
    /// A session that lives here too is brought to the other's state; if it is told to be on another
    /// backend, it goes there.
    ///
    /// # Errors
    ///
    /// The session cannot be taken over; the error says why.
    pub fn handle_change(&mut self, now: Instant, change: &Replicated) -> Result<(), AdoptError> {
        match change {
            Replicated::Gone(key) => {
                if let Some(id) = self.table.lookup(key) {
                    self.close(now, id);
                }
                Ok(())
            }
            Replicated::Lost(_) => Ok(()),
            Replicated::Present(replica) => match self.table.lookup(&replica.key) {
                Some(id) if self.is_of(id, replica) => {
                    self.table.touch(now, id, |_| replica.state);
                    Ok(())
                }
                Some(id) => {
                    self.close(now, id);
                    self.adopt(now, replica)
                }
                None => self.adopt(now, replica),
            },
        }
    }

    fn is_of(&self, id: SessionId, replica: &Replica) -> bool {
        let agree = || {
            let binding = self.table.binding(id)?;
            let service = self.services.at(number_of(binding))?;
            let backend = service.balancer.resolve(binding.ticket)?;
            let here = backend.id == replica.backend && service.config.name == replica.service;
            Some(here && self.local_end_of(&replica.key) == replica.local)
        };
        agree() == Some(true)
    }

    fn adopt(&mut self, now: Instant, replica: &Replica) -> Result<(), AdoptError> {
        let number = self.services.named(&replica.service);
        let number = number.ok_or(AdoptError::UnknownService)?;
        let service = self.services.at_mut(number);
        let service = service.ok_or(AdoptError::UnknownService)?;
        let ticket = service.balancer.adopt(now, replica.backend);
        let ticket = ticket.ok_or(AdoptError::UnknownBackend)?;
        service.aim(now, &mut self.routes);
        let bound = binding(number, ticket, service.profile);
        let Replica { key, state, .. } = *replica;
        let local = match (&service.config.method, service.targets.of(ticket)) {
            (ForwardingMethod::FullNat(_), Some(target)) => {
                let backend = target.backend_end(key.destination);
                let claim = |end| self.locals.claim(key.protocol, backend, end);
                let Some(local) = replica.local.and_then(claim) else {
                    let outcome = lbcore::Outcome::Cancelled;
                    service.balancer.finish_ticket(ticket, None, outcome);
                    return Err(AdoptError::LocalEnd);
                };
                Some(local)
            }
            _ => None,
        };
        match self.table.adopt(now, &key, state, bound, replica.idle) {
            Ok(id) => {
                service.sessions += 1;
                service.stats.sessions += 1;
                self.collect(now);
                self.keep_adopted(id, (number, ticket), &key, local);
                Ok(())
            }
            Err(refusal) => {
                if let Some(local) = local {
                    self.locals.give_back(now, &local);
                }
                let outcome = lbcore::Outcome::Cancelled;
                service.balancer.finish_ticket(ticket, None, outcome);
                Err(refusal.into())
            }
        }
    }

    /// Keeps beside the table what packets of an adopted session need.
    fn keep_adopted(
        &mut self,
        id: SessionId,
        (number, ticket): (u16, Ticket),
        key: &FlowKey,
        local: Option<Local>,
    ) {
        let slot = self.table.slot(id);
        let mut flow = Flow {
            shifts: UNKNOWN_SHIFTS,
            // Whoever began it has told who the client is.
            flags: Flow::TOLD,
            ..Flow::default()
        };
        if let Some(local) = local {
            self.locals.keep(slot, &local, &mut flow);
        }
        if let Some(service) = self.services.at(number)
            && let Some(target) = service.targets.of(ticket)
        {
            flow.stamp = target.stamp;
            if service.tracking() == Tracking::BothSides {
                let backend = target.backend_end(key.destination);
                let end = self.locals.answered_at(&flow, key);
                let tag = self.answers.tag(key.protocol, backend, end);
                if self.answers.insert(tag, slot) {
                    (flow.answer_tag, flow.flags) = (tag, flow.flags | Flow::ANSWERED_HERE);
                }
            }
            if is_shifted(&service.config.method, key)
                && let Some(splice) = self.splices.insert(fullnat::told_splice(key))
            {
                flow.splice = splice.to_bits() + 1;
                flow.flags |= Flow::SHIFTED;
            }
        }
        self.flows.set(slot, flow);
    }
}

/// Whether sequence numbers of this flow are shifted by a header, once it is under way.
fn is_shifted(method: &ForwardingMethod, key: &FlowKey) -> bool {
    method.tells(ClientAddress::ProxyProtocol) && key.protocol == Protocol::Tcp
}
