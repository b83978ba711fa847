//! Who is connected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::CertificateDer;

use super::mailbox::{Mailbox, Order};
use crate::access::{AccessList, Identities, Identity};
use crate::mode::Mode;
use crate::mutual_tls::MutualTls;

/// A client that is connected.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) client: Identities,
    pub(super) mode: Mode,
    /// What it has shown, its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Member {
    /// Whether the list, the authorities and the revocation lists still admit it.
    pub(super) fn is_admitted(&self, access: &AccessList, tls: &MutualTls) -> bool {
        access.may_connect(&self.client, self.mode).is_ok() && tls.verifies_client(&self.chain)
    }
}

/// All clients that are connected, and how often each is.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    next: u64,
    by_number: HashMap<u64, Arc<Member>>,
    owners: HashMap<Identity, Owner>,
    is_draining: bool,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    number: u64,
    connections: usize,
}

/// A place in the registry, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    pub(super) member: Arc<Member>,
    number: u64,
    /// Which client it is: the same number for all its connections.
    pub(super) owner: u64,
}

impl Registry {
    /// Takes a client in, unless it has as many connections as it may.
    pub(super) fn enter(self: &Arc<Self>, member: Member, most: usize) -> Option<Place> {
        let mut members = self.lock();
        let number = members.next;
        members.next += 1;
        let new = Owner {
            number,
            connections: 0,
        };
        let principal = member.client.principal().clone();
        let owner = members.owners.entry(principal).or_insert(new);
        if owner.connections >= most.max(1) {
            return None;
        }
        owner.connections += 1;
        let owner = owner.number;
        let member = Arc::new(member);
        members.by_number.insert(number, Arc::clone(&member));
        if members.is_draining {
            member.mailbox.order(Order::Drain);
        }
        drop(members);
        Some(Place {
            registry: Arc::clone(self),
            member,
            number,
            owner,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.lock().by_number.len()
    }

    /// Has all who are here, and who come, answer what is under way and close.
    pub(super) fn drain(&self) {
        self.lock().is_draining = true;
        self.order(Order::Drain);
    }

    /// Closes all at once.
    pub(super) fn shut_down(&self) {
        self.order(Order::ShutDown);
    }

    /// Closes the connections of those that are not admitted, and says how many.
    pub(super) fn revoke(&self, access: &AccessList, tls: &MutualTls) -> usize {
        let mut members = self.all();
        members.retain(|member| !member.is_admitted(access, tls));
        members
            .iter()
            .for_each(|member| member.mailbox.order(Order::Revoke));
        members.len()
    }

    fn order(&self, order: Order) {
        self.all()
            .iter()
            .for_each(|member| member.mailbox.order(order));
    }

    /// A copy, so that verifying certificates does not hold up who comes and goes.
    fn all(&self) -> Vec<Arc<Member>> {
        self.lock().by_number.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.member.mailbox.close();
        let mut members = self.registry.lock();
        members.by_number.remove(&self.number);
        let principal = self.member.client.principal();
        if let Some(owner) = members.owners.get_mut(principal) {
            owner.connections -= 1;
            if owner.connections == 0 {
                members.owners.remove(principal);
            }
        }
    }
}
