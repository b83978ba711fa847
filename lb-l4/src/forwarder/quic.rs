//! Datagrams whose connection id names their backend.
//!
//! A session is made for the ends of every QUIC flow, as for other UDP: answers need it where
//! addresses are rewritten, and ids that name nobody follow it. But the name counts more: a client
//! that has moved, or whose address has come to mean another backend, stays with its own.

use lbcore::schedule::Scheduler;
use lbcore::{BackendId, Ticket};

use super::Orphans;
use super::services::Service;
use super::target::{Standing, standing};
use crate::packet::Packet;
use crate::wire::{Body, Headers};

impl<S: Scheduler> Service<S> {
    /// Whether a datagram names another backend than that of `ticket`, which its session has.
    #[inline]
    pub(super) fn is_named_otherwise(
        &self,
        ticket: Ticket,
        packet: &Packet<'_>,
        headers: &Headers,
    ) -> bool {
        if self.config.quic.is_none() {
            return false;
        }
        let current = self.balancer.resolve(ticket).map(|it| it.id);
        let named = self.named(packet, headers);
        named.is_some() && named != current
    }

    /// The backend that a datagram names, if the service reads names and the backend takes it.
    #[inline]
    pub(super) fn named(&self, packet: &Packet<'_>, headers: &Headers) -> Option<BackendId> {
        let quic = self.config.quic.as_ref()?;
        let Body::Udp { .. } = headers.body else {
            return None;
        };
        let datagram = packet.bytes().get(headers.payload())?;
        quic.backend(datagram).filter(|&it| self.serves(it))
    }

    /// Whether a backend takes the packets of connections that it has.
    fn serves(&self, backend: BackendId) -> bool {
        match standing(self.balancer.view().backend(backend)) {
            Standing::Draining | Standing::Serving => true,
            Standing::Down => self.config.down == Orphans::Continue,
            Standing::Removed => false,
        }
    }
}
