//! Where a packet goes next: out of which interface, and to whom on its link.

use std::net::IpAddr;

use lbcore::Instant;
use lbcore::address_list::Prefix;

use super::burst::Decided;
use super::links::Links;
use super::{ForwarderError, Interface};
use crate::neighbour::NeighbourConfig;
use crate::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use crate::wire::ethernet::{self, Mac};

/// Interfaces, their prefixes and gateways, and the link addresses that are known.
#[derive(Debug)]
pub(crate) struct Routes {
    interfaces: Vec<Interface>,
    /// The longest first.
    routes: Vec<Route>,
    /// Who is on the interfaces' links.
    pub(crate) links: Links,
    /// Which version of them the gateways' link addresses are of.
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    /// What is reached; `None` is everything of the gateway's family.
    prefix: Option<Prefix>,
    gateway: Option<IpAddr>,
    /// The gateway's link address, if it is known.
    mac: Option<Mac>,
    /// Which of the interfaces.
    interface: usize,
}

/// Who is to be given a packet next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hop {
    /// Which of [`Routes`]' interfaces.
    pub(crate) interface: usize,
    /// Its address on the link: the destination's own, or a gateway's.
    pub(crate) address: IpAddr,
}

impl Routes {
    pub(crate) fn new(
        interfaces: Vec<Interface>,
        fixed: impl IntoIterator<Item = (IpAddr, Mac)>,
        discovery: &NeighbourConfig,
    ) -> Result<Self, ForwarderError> {
        let first = interfaces.first().ok_or(ForwarderError::NoInterface)?;
        let mut routes = Vec::new();
        for (at, interface) in interfaces.iter().enumerate() {
            if interfaces
                .iter()
                .skip(at + 1)
                .any(|it| it.id == interface.id)
            {
                return Err(ForwarderError::DuplicateInterface(interface.id));
            }
            if interface.link != first.link {
                return Err(ForwarderError::MixedLinks(interface.id));
            }
            let on_link = interface.addresses.iter().map(|&(_, prefix)| Route {
                prefix: Some(prefix),
                gateway: None,
                mac: None,
                interface: at,
            });
            let gateways = interface.gateways.iter().map(|&gateway| Route {
                prefix: None,
                gateway: Some(gateway),
                mac: None,
                interface: at,
            });
            routes.extend(on_link.chain(gateways));
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.map(Prefix::length)));
        let mut new = Self {
            links: Links::new(&interfaces, discovery)?,
            seen: u64::MAX,
            interfaces,
            routes,
        };
        for (address, mac) in fixed {
            if let Some(interface) = new.interface_toward(address) {
                new.links.fix(Hop { interface, address }, mac)?;
            }
        }
        Ok(new)
    }

    /// Looks up the link addresses of gateways again, if any link address has changed.
    #[inline]
    pub(crate) fn refresh(&mut self, now: Instant) {
        if self.links.version() != self.seen {
            self.look_up_gateways(now);
        }
    }

    #[cold]
    fn look_up_gateways(&mut self, now: Instant) {
        for route in &mut self.routes {
            if let Some(address) = route.gateway {
                let interface = route.interface;
                route.mac = self.links.keep(now, Hop { interface, address });
            }
        }
        self.seen = self.links.version();
    }

    /// By which interface a neighbour is reached: that of its prefix, or of which it is the gateway.
    fn interface_toward(&self, neighbour: IpAddr) -> Option<usize> {
        let as_gateway = self.routes.iter().find(|it| it.gateway == Some(neighbour));
        let found = as_gateway.or_else(|| self.route(neighbour));
        match found {
            Some(route) => Some(route.interface),
            None => self.routes.is_empty().then_some(0),
        }
    }

    #[inline]
    fn route(&self, destination: IpAddr) -> Option<&Route> {
        self.routes.iter().find(|route| match route {
            Route {
                prefix: Some(prefix),
                ..
            } => prefix.contains(destination),
            Route { gateway, .. } => {
                gateway.is_some_and(|it| it.is_ipv4() == destination.is_ipv4())
            }
        })
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// What all interfaces' packets begin with.
    pub(crate) fn link(&self) -> Link {
        self.interfaces.first().map_or(Link::Ip, |it| it.link)
    }

    /// Where packets to `destination` leave, and under which link address.
    ///
    /// Without any route, as on a point-to-point link that nothing was said of, everything is next
    /// to the first interface.
    #[inline]
    pub(crate) fn way(&mut self, now: Instant, destination: IpAddr) -> Way {
        self.way_by(destination, |links, hop| links.lookup(now, hop))
    }

    /// As [`way`](Self::way), for one who keeps it until the version of the links is another.
    pub(crate) fn kept_way(&mut self, now: Instant, destination: IpAddr) -> Way {
        self.way_by(destination, |links, hop| links.keep(now, hop))
    }

    /// As [`way`](Self::way), of which the link address is not wanted.
    pub(crate) fn mtu(&self, destination: IpAddr) -> u16 {
        let interface = self.interface_toward(destination);
        let interface = interface.and_then(|it| self.interfaces.get(it));
        interface.map_or(0, |it| it.mtu)
    }

    #[inline]
    fn way_by(
        &mut self,
        destination: IpAddr,
        look_up: impl FnOnce(&mut Links, Hop) -> Option<Mac>,
    ) -> Way {
        let (interface, gateway, mac) = match self.route(destination) {
            Some(route) => (route.interface, route.gateway, route.mac),
            None if self.routes.is_empty() => (0, None, None),
            None => return Way::default(),
        };
        let hop = Hop {
            interface,
            address: gateway.unwrap_or(destination),
        };
        let mac = match (gateway, self.link()) {
            (None, Link::Ethernet) => look_up(&mut self.links, hop),
            _ => mac,
        };
        self.way_over(hop, mac)
    }

    #[inline]
    fn way_over(&self, hop: Hop, to: Option<Mac>) -> Way {
        let Some(interface) = self.interfaces.get(hop.interface) else {
            return Way::default();
        };
        Way {
            out: Some(interface.id),
            mtu: interface.mtu,
            link: interface.link,
            macs: match interface.link {
                Link::Ethernet => to.map(|to| [to, interface.mac]),
                Link::Ip => Some([Mac::default(); 2]),
            },
            hop: Some(hop),
        }
    }
}

/// How a packet leaves, worked out beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// `None`: there is no route.
    pub(crate) out: Option<InterfaceId>,
    /// Bytes of the largest packet that it takes; all, where there is no route, as a packet without
    /// one is not too big.
    pub(crate) mtu: u16,
    /// What packets there begin with.
    pub(crate) link: Link,
    /// To whom and from whom on the link; `None` if that is not known yet.
    pub(crate) macs: Option<[Mac; 2]>,
    /// Who to ask for, if it is not known.
    pub(crate) hop: Option<Hop>,
}

impl Default for Way {
    /// No route.
    fn default() -> Self {
        Self {
            out: None,
            mtu: u16::MAX,
            link: Link::default(),
            macs: None,
            hop: None,
        }
    }
}

impl Way {
    /// Writes the link header, and says out of which interface.
    #[inline]
    pub(crate) fn take(&self, packet: &mut Packet<'_>) -> Result<InterfaceId, DropReason> {
        let (Some(out), Some([to, from])) = (self.out, self.macs) else {
            return Err(DropReason::Unresolved);
        };
        if packet.link() == Link::Ethernet {
            ethernet::set_addresses(packet.bytes_mut(), to, from).ok_or(DropReason::Malformed)?;
        }
        Ok(out)
    }

    /// Sends a packet that is otherwise ready; if the link address is not known, it is asked for,
    /// and one packet is held until the answer.
    #[inline]
    pub(crate) fn send(&self, now: Instant, packet: &mut Packet<'_>, links: &mut Links) -> Decided {
        if self.macs.is_some() {
            return self.take(packet).map(Verdict::Forward);
        }
        self.send_unresolved(now, packet, links)
    }

    #[cold]
    fn send_unresolved(&self, now: Instant, packet: &mut Packet<'_>, links: &mut Links) -> Decided {
        match self.write(now, packet, links) {
            Ok(out) => Ok(Verdict::Forward(out)),
            Err(reason) => match self.hop {
                Some(hop) => links.hold(hop, packet),
                None => Err(reason),
            },
        }
    }

    /// As [`take`](Self::take); asks for the link address if it is not known.
    pub(crate) fn write(
        &self,
        now: Instant,
        packet: &mut Packet<'_>,
        links: &mut Links,
    ) -> Result<InterfaceId, DropReason> {
        let asked = || {
            let hop = self.hop?;
            Some([links.lookup(now, hop)?, links.own(hop)?])
        };
        let macs = self.macs.or_else(asked);
        Self { macs, ..*self }.take(packet)
    }
}
