//! The local ports of sessions whose source is rewritten.

use std::net::{IpAddr, SocketAddr};

use lbcore::Instant;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::session::{Session, Table};

use super::ForwarderError;
use super::flows::Flow;
use crate::method::fullnat::{
    LocalPorts, LocalPortsConfig, LocalPortsConfigError, LocalPortsStats, Rest,
};

/// The local ports of a worker, and for which backend end each session has its.
///
/// A session's own line has the port and which address it is of, which is all that packets need. The
/// backend end is kept here, as its backend may have got another address, or none, when the session
/// ends and the port is given back.
#[derive(Debug)]
pub(crate) struct Locals {
    ports: LocalPorts,
    /// Numbers of backend ends, by slot: of IPv4, and from `split` on of IPv6.
    ends: [Vec<u32>; 2],
    split: usize,
    worker: u16,
}

/// A local end that is taken, before a session has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) end: SocketAddr,
    protocol: Protocol,
    backend: SocketAddr,
    /// Of the backend end.
    number: u32,
    /// Which local address it is.
    place: u16,
}

impl Locals {
    pub(crate) fn new(
        mut config: LocalPortsConfig,
        key: HashKey,
        [worker, workers]: [usize; 2],
        table: &Table,
    ) -> Result<Self, ForwarderError> {
        let small = |number: usize| u16::try_from(number).ok();
        let (Some(worker), Some(workers)) = (small(worker), small(workers)) else {
            let (first, last) = config.ports.into_inner();
            return Err(LocalPortsConfigError::Ports(first, last).into());
        };
        (config.worker, config.workers) = (worker, workers);
        Ok(Self {
            ports: LocalPorts::new(config, key)?,
            ends: [Vec::new(), Vec::new()],
            split: table.v4_slots(),
            worker,
        })
    }

    /// Takes a local port towards a backend end, for a flow of this hash.
    pub(crate) fn allocate(
        &mut self,
        now: Instant,
        protocol: Protocol,
        backend: SocketAddr,
        hash: u64,
    ) -> Option<Local> {
        let end = self.ports.allocate(now, protocol, backend, hash).ok()?;
        self.taken(protocol, backend, end)
    }

    /// Takes a local port that another node has handed out.
    pub(crate) fn claim(
        &mut self,
        protocol: Protocol,
        backend: SocketAddr,
        end: SocketAddr,
    ) -> Option<Local> {
        let claimed = self.ports.claim(protocol, backend, end);
        claimed.then(|| self.taken(protocol, backend, end))?
    }

    fn taken(&self, protocol: Protocol, backend: SocketAddr, end: SocketAddr) -> Option<Local> {
        Some(Local {
            end,
            protocol,
            backend,
            number: self.ports.number_of(protocol, backend)?,
            place: self.ports.place_of(end.ip())?,
        })
    }

    /// Gives back a port that no session got.
    pub(crate) fn give_back(&mut self, now: Instant, local: &Local) {
        let Local {
            end,
            protocol,
            backend,
            ..
        } = *local;
        self.ports.release(now, protocol, backend, end, Rest::None);
    }

    /// Makes a port that of the session in `slot`.
    pub(crate) fn keep(&mut self, slot: usize, local: &Local, flow: &mut Flow) {
        (flow.local_port, flow.local_address) = (local.end.port(), local.place);
        let [v4, v6] = &mut self.ends;
        let (ends, at) = match slot.checked_sub(self.split) {
            Some(at) => (v6, at),
            None => (v4, slot),
        };
        if at >= ends.len() {
            ends.resize(at + 1, 0);
        }
        if let Some(kept) = ends.get_mut(at) {
            *kept = local.number;
        }
    }

    /// The local end of a session, if it has one.
    #[inline]
    pub(crate) fn end(&self, flow: &Flow, is_v4: bool) -> Option<SocketAddr> {
        if flow.local_port == 0 {
            return None;
        }
        let address = self.ports.address_at(is_v4, flow.local_address)?;
        Some(SocketAddr::new(address, flow.local_port))
    }

    /// What answers to a session are addressed to: its local end, or else its client.
    #[inline]
    pub(crate) fn answered_at(&self, flow: &Flow, key: &FlowKey) -> SocketAddr {
        self.end(flow, key.source.is_ipv4()).unwrap_or(key.source)
    }

    /// Gives back the port of a session that has ended.
    pub(crate) fn release(&mut self, now: Instant, slot: usize, flow: &Flow, session: &Session) {
        let Some(local) = self.end(flow, session.key.source.is_ipv4()) else {
            return;
        };
        let [v4, v6] = &self.ends;
        let number = match slot.checked_sub(self.split) {
            Some(at) => v6.get(at),
            None => v4.get(slot),
        };
        if let Some((protocol, backend)) = number.and_then(|it| self.ports.end_of(*it)) {
            let rest = Rest::of(session);
            self.ports.release(now, protocol, backend, local, rest);
        }
    }

    /// Frees some ports whose rest is over; nothing waits for that.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.ports.handle_timeout(now, AT_ONCE);
    }

    /// Whether there is an address for backends of this family.
    pub(crate) fn serve(&self, is_v4: bool) -> bool {
        self.ports.address_at(is_v4, 0).is_some()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ports.addresses()
    }

    pub(crate) fn have(&self, address: IpAddr) -> bool {
        self.ports.place_of(address).is_some()
    }

    /// The worker to whom packets to this end belong, if it is a local end.
    pub(crate) fn owner(&self, end: SocketAddr) -> Option<u16> {
        self.ports.owner(end)
    }

    pub(crate) const fn worker(&self) -> u16 {
        self.worker
    }

    pub(crate) fn stats(&self) -> LocalPortsStats {
        self.ports.stats()
    }
}

/// Ports freed at a call.
const AT_ONCE: usize = 64;
