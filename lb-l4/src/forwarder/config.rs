//! How a forwarder is set, and why a setting is refused.

use std::net::IpAddr;
use std::sync::Arc;

use lbcore::session::{SessionConfig, SessionConfigError};
use thiserror::Error;

use super::{Interface, Role};
use crate::fragment::FragmentConfig;
use crate::icmp::AnswerConfig;
use crate::method::fullnat::{LocalPortsConfig, LocalPortsConfigError};
use crate::method::tunnel::TunnelConfigError;
use crate::neighbour::{NeighbourConfig, NeighbourConfigError};
use crate::packet::InterfaceId;
use crate::syn_proxy::{Cookies, SynProxyConfigError, SynProxyLimits};
use crate::wire::ethernet::Mac;

/// How a forwarder is set.
///
/// # Examples
///
/// ```
/// use lb_l4::forwarder::{ForwarderConfig, Interface};
/// use lb_l4::packet::InterfaceId;
///
/// let config = ForwarderConfig::default().interface(Interface::ip(InterfaceId(0)));
/// assert_eq!(config.worker, 0);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct ForwarderConfig {
    /// How many sessions are held, for how long, and what gives way. The timeouts of a service
    /// that has its own come in addition.
    pub sessions: SessionConfig,
    /// The interfaces: at least one, with different numbers.
    pub interfaces: Vec<Interface>,
    /// Link addresses that are known for good, and are not asked for.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// How neighbours are asked for and remembered.
    pub discovery: NeighbourConfig,
    /// Whether this node answers for the addresses of its services from the start. Default
    /// [`Role::Active`].
    pub role: Role,
    /// Which of the workers this one is: 0 to `workers - 1`. Default 0.
    pub worker: usize,
    /// How many workers share the services. Default 1.
    pub workers: usize,
    /// How many packets of its own the forwarder holds until
    /// `poll_transmit` takes them; more are dropped and counted.
    /// Default 1,024.
    pub transmit_queue: usize,
    /// How many fragments are remembered, and for how long. The seed is mixed with the key that
    /// hashes are made with.
    pub fragments: FragmentConfig,
    /// Which ICMP errors, RSTs and echo replies are sent, and how many.
    pub answers: AnswerConfig,
    /// What SYN cookies are made and checked with: the same for all nodes of a cluster. Default
    /// none, and then no service has a SYN proxy.
    pub syn_cookies: Option<Cookies>,
    /// What is kept for clients of a SYN proxy before a backend has answered.
    pub syn_proxy: SynProxyLimits,
    /// The local addresses and ports of FULLNAT, which an active node answers for as it does for
    /// those of its services. Of the workers, [`worker`](Self::worker) and
    /// [`workers`](Self::workers) count, not what it says itself. Default no address.
    #[doc(alias = "laddr")]
    pub local_ports: LocalPortsConfig,
    /// What becomes of packets to ports that no service has. Default [`Unserved::Pass`].
    pub unserved: Unserved,
}

/// What becomes of a packet to a service's address on a port that no service has.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Unserved {
    /// It is the host's, which may serve that port.
    #[default]
    Pass,
    /// It is dropped as [`NoSession`](crate::packet::DropReason::NoSession), and its sender learns
    /// so as from a host without that port: by a RST, or by an ICMP error to a datagram, at the rate
    /// of [`answers`](ForwarderConfig::answers). A trace by datagrams then ends at the address.
    ///
    /// For addresses that the host does not have. Of services of a prefix packets still pass: the
    /// host may have one of its addresses.
    Refuse,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self {
            sessions: SessionConfig::default(),
            interfaces: Vec::new(),
            neighbours: Vec::new(),
            discovery: NeighbourConfig::default(),
            role: Role::default(),
            worker: 0,
            workers: 1,
            transmit_queue: 1_024,
            fragments: FragmentConfig::default(),
            answers: AnswerConfig::default(),
            syn_cookies: None,
            syn_proxy: SynProxyLimits::default(),
            local_ports: LocalPortsConfig::default(),
            unserved: Unserved::default(),
        }
    }
}

impl ForwarderConfig {
    /// Sets how many sessions are held and for how long.
    #[must_use]
    pub fn sessions(mut self, sessions: SessionConfig) -> Self {
        self.sessions = sessions;
        self
    }

    /// Adds an interface.
    #[must_use]
    pub fn interface(mut self, interface: Interface) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// Adds a link address that is known for good.
    #[must_use]
    pub fn neighbour(mut self, address: IpAddr, mac: Mac) -> Self {
        self.neighbours.push((address, mac));
        self
    }

    /// Sets how neighbours are asked for and remembered.
    #[must_use]
    pub fn discovery(mut self, discovery: NeighbourConfig) -> Self {
        self.discovery = discovery;
        self
    }

    /// Sets whether this node answers for the addresses of its services from the start.
    #[must_use]
    pub const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets which of how many workers this one is.
    #[must_use]
    pub const fn worker(mut self, worker: usize, workers: usize) -> Self {
        self.worker = worker;
        self.workers = workers;
        self
    }

    /// Sets how many packets of its own the forwarder holds.
    #[must_use]
    pub const fn transmit_queue(mut self, packets: usize) -> Self {
        self.transmit_queue = packets;
        self
    }

    /// Sets how many fragments are remembered, and for how long.
    #[must_use]
    pub const fn fragments(mut self, fragments: FragmentConfig) -> Self {
        self.fragments = fragments;
        self
    }

    /// Sets which ICMP errors, RSTs and echo replies are sent, and how many.
    #[must_use]
    pub const fn answers(mut self, answers: AnswerConfig) -> Self {
        self.answers = answers;
        self
    }

    /// Sets what SYN cookies are made and checked with.
    #[must_use]
    pub fn syn_cookies(mut self, cookies: Cookies) -> Self {
        self.syn_cookies = Some(cookies);
        self
    }

    /// Sets what is kept for clients of a SYN proxy.
    #[must_use]
    pub const fn syn_proxy(mut self, limits: SynProxyLimits) -> Self {
        self.syn_proxy = limits;
        self
    }

    /// Sets the local addresses and ports of FULLNAT.
    #[must_use]
    pub fn local_ports(mut self, local_ports: LocalPortsConfig) -> Self {
        self.local_ports = local_ports;
        self
    }

    /// Sets what becomes of packets to ports that no service has.
    #[must_use]
    pub const fn unserved(mut self, unserved: Unserved) -> Self {
        self.unserved = unserved;
        self
    }
}

/// Why a configuration or a set of services is refused; who wrote it can mend it. Nothing has
/// changed then.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ForwarderError {
    /// Direct routing needs link addresses.
    #[error("service `{0}`: direct routing needs an Ethernet interface")]
    DirectRoutingWithoutLink(Arc<str>),
    /// Two services are named or matched alike.
    #[error("service `{0}`: another has the same name, or matches the same packets")]
    DuplicateService(Arc<str>),
    /// Two interfaces have one number.
    #[error("interface {}: two have this number", (.0).0)]
    DuplicateInterface(InterfaceId),
    /// FULLNAT remembers which local port is whose, and one-packet scheduling remembers nothing.
    #[error("service `{0}`: FULLNAT needs sessions, not one-packet scheduling")]
    FullNatOnePacket(Arc<str>),
    /// FULLNAT needs a local address.
    #[error("service `{0}`: FULLNAT needs a local address, and local_ports has none")]
    FullNatWithoutAddress(Arc<str>),
    /// The local addresses or ports are refused.
    #[error("local_ports: {0}")]
    LocalPorts(#[from] LocalPortsConfigError),
    /// Interfaces with link addresses beside some without: packets keep their link header.
    #[error("interface {}: all must be of one kind of link", (.0).0)]
    MixedLinks(InterfaceId),
    /// How neighbours are remembered is refused.
    #[error("neighbours: {0}")]
    Neighbours(#[from] NeighbourConfigError),
    /// There is no interface.
    #[error("interfaces: there is none")]
    NoInterface,
    /// The session table is refused.
    #[error(transparent)]
    Sessions(#[from] SessionConfigError),
    /// SCTP is placed packet by packet, and needs a scheduler that places by key.
    #[error("service `{0}`: SCTP needs a scheduler that places by key, such as Maglev")]
    SctpUnplaced(Arc<str>),
    /// SCTP is passed through by hash, under addresses that are kept.
    #[error("service `{0}`: SCTP needs direct routing or a tunnel")]
    SctpRewritten(Arc<str>),
    /// A setting of the service's SYN proxy is out of its range.
    #[error("service `{0}`: syn_proxy: {1}")]
    SynProxy(Arc<str>, SynProxyConfigError),
    /// A SYN proxy translates both directions, and answers do not pass here.
    #[error("service `{0}`: syn_proxy needs NAT or FULLNAT")]
    SynProxyOneSided(Arc<str>),
    /// There is no key for SYN cookies.
    #[error("service `{0}`: syn_proxy needs syn_cookies")]
    SynProxyWithoutKey(Arc<str>),
    /// More services than can be told apart while their sessions last.
    #[error("services: more than {0}, with those whose sessions still last")]
    TooManyServices(usize),
    /// More different sets of timeouts than a session table has.
    #[error("services: more than 256 different sets of timeouts")]
    TooManyTimeouts,
    /// Its tunnel cannot be.
    #[error("service `{0}`: tunnel: {1}")]
    Tunnel(Arc<str>, TunnelConfigError),
    /// The worker's number must be below the number of workers.
    #[error("worker: {worker} is not below {workers}")]
    Worker {
        /// Its number.
        worker: usize,
        /// How many there are.
        workers: usize,
    },
}
