//! The neighbours of every interface, and which addresses are answered for.

use std::net::IpAddr;

use lbcore::Instant;
use lbcore::address_list::Prefix;
use lbcore::schedule::Scheduler;

use super::burst::Decided;
use super::routes::Hop;
use super::services::Standing;
use super::{Forwarder, ForwarderError, Interface, Match, Transmit};
use crate::neighbour::{NeighbourConfig, NeighbourStats, Neighbours};
use crate::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use crate::wire::Frame;
use crate::wire::ethernet::Mac;

/// Whether a node answers for the addresses of its services.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[doc(alias = "master")]
#[doc(alias = "backup")]
pub enum Role {
    /// It answers questions about their link address, so that packets come to it.
    #[default]
    Active,
    /// It does not, and packets go to the active node. What comes all the same is forwarded.
    Standby,
}

/// The neighbours of each interface, in the order of the interfaces; none on links without
/// addresses.
#[derive(Debug)]
pub(crate) struct Links {
    each: Vec<(InterfaceId, Option<Neighbours>)>,
}

impl Links {
    pub(crate) fn new(
        interfaces: &[Interface],
        config: &NeighbourConfig,
    ) -> Result<Self, ForwarderError> {
        let each = interfaces.iter().map(|interface| {
            let own = interface.addresses.iter().map(|&(address, _)| address);
            let neighbours = match interface.link {
                Link::Ethernet => Some(Neighbours::new(interface.mac, own, config.clone())?),
                Link::Ip => None,
            };
            Ok((interface.id, neighbours))
        });
        Ok(Self {
            each: each.collect::<Result<_, ForwarderError>>()?,
        })
    }

    fn at(&mut self, interface: usize) -> Option<&mut Neighbours> {
        self.each.get_mut(interface)?.1.as_mut()
    }

    fn named(&mut self, id: InterfaceId) -> Option<&mut Neighbours> {
        let found = self.each.iter_mut().find(|(it, _)| *it == id);
        found?.1.as_mut()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Neighbours> {
        self.each.iter_mut().filter_map(|(_, it)| it.as_mut())
    }

    /// Makes a link address known for good.
    pub(crate) fn fix(&mut self, hop: Hop, mac: Mac) -> Result<(), ForwarderError> {
        match self.at(hop.interface) {
            Some(neighbours) => Ok(neighbours.fix(hop.address, mac)?),
            None => Ok(()),
        }
    }

    /// The link address of `hop`, if it is known; else it is asked for.
    #[inline]
    pub(crate) fn lookup(&mut self, now: Instant, hop: Hop) -> Option<Mac> {
        self.at(hop.interface)?.lookup(now, hop.address)
    }

    /// The own link address of the interface of `hop`.
    pub(crate) fn own(&self, hop: Hop) -> Option<Mac> {
        Some(self.each.get(hop.interface)?.1.as_ref()?.mac())
    }

    /// As [`lookup`](Self::lookup), for one who keeps the answer until [`version`](Self::version) is
    /// another.
    pub(crate) fn keep(&mut self, now: Instant, hop: Hop) -> Option<Mac> {
        self.at(hop.interface)?.keep(now, hop.address)
    }

    /// Another number whenever an answer may have changed.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        let each = self.each.iter().filter_map(|(_, it)| it.as_ref());
        each.map(Neighbours::version).fold(0, u64::wrapping_add)
    }

    /// Keeps a frame until the link address of `hop` is known; the reason to drop it if not.
    #[cold]
    pub(crate) fn hold(&mut self, hop: Hop, packet: &Packet<'_>) -> Decided {
        // Hardware would not know what is left to be done later.
        if packet.offloads() != crate::packet::Offload::default() {
            return Err(DropReason::Unresolved);
        }
        let neighbours = self.at(hop.interface).ok_or(DropReason::Unresolved)?;
        neighbours.hold(hop.address, packet.bytes())?;
        Ok(Verdict::Held)
    }

    /// A message about link addresses.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        frame: &Frame,
    ) -> Option<Verdict> {
        self.named(packet.interface())?.handle(now, packet, frame)
    }

    /// A frame that neighbours want sent.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.each.iter_mut().find_map(|(id, neighbours)| {
            let bytes = neighbours.as_mut()?.poll_transmit()?;
            Some(Transmit::new(*id, bytes))
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let each = self.each.iter().filter_map(|(_, it)| it.as_ref());
        each.filter_map(Neighbours::poll_timeout).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.all().for_each(|it| it.handle_timeout(now));
    }
}

impl<S: Scheduler> Forwarder<S> {
    /// Makes this node answer for the addresses of its services, or not.
    ///
    /// A node that becomes active tells all neighbours so at once: by ARP announcements and
    /// unsolicited advertisements for every service that has one address, out of every Ethernet
    /// interface.
    pub fn set_role(&mut self, now: Instant, role: Role) {
        let before = std::mem::replace(&mut self.role, role);
        self.answer_for_services();
        if role == Role::Active && before != role {
            self.announce(now);
        }
    }

    /// Tells all neighbours that the addresses of services are here, as
    /// [`set_role`](Self::set_role) does; nothing on a standby.
    pub fn announce(&mut self, now: Instant) {
        let single = self.answered().into_iter().filter(|it| it.is_single());
        let addresses: Vec<IpAddr> = single.map(Prefix::address).collect();
        for neighbours in self.routes.links.all() {
            for &address in &addresses {
                neighbours.announce(now, address);
            }
        }
    }

    /// What the neighbours of an interface have cost and given; `None` if it has no link addresses.
    #[must_use]
    pub fn neighbour_stats(&self, interface: InterfaceId) -> Option<NeighbourStats> {
        let links = &self.routes.links.each;
        let found = links.iter().find(|(it, _)| *it == interface);
        Some(found?.1.as_ref()?.stats())
    }

    /// Answers for the addresses of the services that there are now.
    pub(super) fn answer_for_services(&mut self) {
        let answered = self.answered();
        for neighbours in self.routes.links.all() {
            neighbours.answer_for(answered.iter().copied());
        }
    }

    /// The addresses of services that questions are answered for, each once.
    ///
    /// A service of every address is that of a router, which answers for none.
    fn answered(&self) -> Vec<Prefix> {
        if self.role == Role::Standby {
            return Vec::new();
        }
        let configured = self
            .services
            .iter()
            .filter(|(_, it)| it.standing == Standing::Configured);
        let addresses = configured.filter_map(|(_, it)| match it.config.matches {
            Match::Endpoint { addresses, .. } => Some(addresses),
            Match::Mark(_) => None,
        });
        let locals = self.locals.addresses().map(Prefix::from);
        let addresses = addresses.filter(|it| it.length() > 0);
        let mut answered: Vec<Prefix> = addresses.chain(locals).collect();
        answered.sort_unstable();
        answered.dedup();
        answered
    }
}
