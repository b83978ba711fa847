//! What clients address, and how their sessions are treated.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lbcore::Pool;
use lbcore::address_list::{AddressRules, Prefix};
use lbcore::limit::Limits;
use lbcore::persist::Persistence;
use lbcore::schedule::{KeyExtractor, Scheduler};
use lbcore::session::Timeouts;

use crate::method::ForwardingMethod;
use crate::quic::QuicLb;
use crate::syn_proxy::SynProxyConfig;

/// A transport protocol that a service is reached by.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum ServiceProtocol {
    /// IP protocol 6 (RFC 9293).
    Tcp = 6,
    /// IP protocol 17 (RFC 768).
    Udp = 17,
    /// IP protocol 132 (RFC 9260): placed packet by packet, by the hash of its ends and without a
    /// session, so that an association stays as long as its backends do.
    Sctp = 132,
}

/// Which packets are for a service.
///
/// A mark is looked at first, then an address with its port, then an address with any port, then
/// prefixes, the longest first.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Match {
    /// By destination.
    Endpoint {
        /// The transport protocol.
        protocol: ServiceProtocol,
        /// The addresses; one of them as a prefix of full length.
        addresses: Prefix,
        /// The port; 0 is every port that no other service of the same addresses has.
        port: u16,
    },
    /// By [firewall mark](crate::packet::Packet::firewall_mark), whatever the addresses, ports and
    /// protocol; 0 matches nothing.
    #[doc(alias = "fwmark")]
    Mark(u32),
}

impl Match {
    /// Packets of `protocol` to this address and port; port 0 is every port.
    #[must_use]
    pub const fn endpoint(protocol: ServiceProtocol, addresses: Prefix, port: u16) -> Self {
        Self::Endpoint {
            protocol,
            addresses,
            port,
        }
    }
}

impl Match {
    /// The one end that it matches, if it is one and of this protocol.
    pub(super) fn end(&self, of: u8) -> Option<SocketAddr> {
        match *self {
            Self::Endpoint {
                protocol,
                addresses,
                port,
            } if port != 0 && protocol as u8 == of && addresses.is_single() => {
                Some(SocketAddr::new(addresses.address(), port))
            }
            _ => None,
        }
    }
}

/// How new flows of a UDP service are treated.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Scheduling {
    /// A backend is picked once, and the flow stays there.
    #[default]
    Session,
    /// A backend is picked for each datagram, and nothing is remembered. Answers find their way back
    /// by the backend's address alone, so that a backend is in one such service.
    #[doc(alias = "ops")]
    OnePacket,
}

/// What becomes of a TCP segment without a session that is no SYN.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Straying {
    /// It is dropped and counted.
    #[default]
    Drop,
    /// It is left to the host.
    Pass,
    /// It begins a session, as if the SYN had been seen: for a node that takes over flows it was
    /// not told of. With a scheduler that places by key, a flow that began before the last change
    /// of the pool goes where it went before it. With FULLNAT it is dropped: its backend knows it by
    /// a local port that is not known here.
    #[doc(alias = "sloppy_tcp")]
    Place,
    /// It is answered by a RST (RFC 9293, 3.10.7.1).
    Reset,
}

/// What becomes of the sessions of a backend that no longer serves them.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[doc(alias = "expire_nodest_conn")]
pub enum Orphans {
    /// They go on as if nothing had happened, until they end.
    #[default]
    Continue,
    /// Their packets are dropped, and the session is forgotten.
    Drop,
    /// The session is forgotten and the packet treated as the first of its flow: a datagram goes to
    /// another backend, a TCP segment as [`Straying`] says.
    Replace,
    /// The packet of a TCP session is answered by a RST and the session is forgotten; a datagram is
    /// placed anew.
    Reset,
}

/// What a client learns when no backend takes its session.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Unavailable {
    /// A RST to TCP, and ICMP port unreachable to others, or to TCP too as in IPVS
    /// ([`TcpRefusal`](crate::icmp::TcpRefusal)); as far as the rate of such answers allows.
    #[default]
    Answer,
    /// Nothing.
    Silence,
}

/// One service: which packets are its, who serves them, and how.
///
/// # Examples
///
/// ```
/// use lb_l4::forwarder::{Match, ServiceProtocol, VirtualService};
/// use lb_l4::method::ForwardingMethod;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let pool = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.1:8080".parse()?));
/// let web = Match::endpoint(ServiceProtocol::Tcp, "203.0.113.10/32".parse()?, 80);
/// let service = VirtualService::new("web", web, pool).method(ForwardingMethod::Nat);
/// assert_eq!(&*service.name, "web");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[doc(alias = "VIP")]
pub struct VirtualService<S: Scheduler> {
    /// Its name in logs and metrics, and by which it is known again in an update.
    pub name: Arc<str>,
    /// Which packets are its.
    pub matches: Match,
    /// Who serves them. Backends whose address is no IP address, or of the other family where that
    /// matters, take nothing.
    pub pool: Pool<S>,
    /// How packets reach them. Default [`ForwardingMethod::Nat`].
    pub method: ForwardingMethod,
    /// What sessions are placed by, for schedulers that place by a key. Default none.
    pub keys: Option<KeyExtractor>,
    /// Keeps clients with their backend from session to session. Default none.
    #[doc(alias = "template")]
    pub persistence: Option<Arc<dyn Persistence>>,
    /// Reads in QUIC connection ids which backend a datagram is for. Default none.
    ///
    /// For services of UDP. A datagram that names a backend goes there whatever its addresses, also
    /// to a backend that takes no new sessions or has as many as it may: it has the connection.
    /// Others are placed by their ends.
    pub quic: Option<Arc<QuicLb>>,
    /// Which clients may begin sessions. Default everyone.
    pub rules: Arc<AddressRules>,
    /// Whether sessions begin; those under way go on. Default yes; without, clients learn as much as
    /// where no backend takes their session.
    #[doc(alias = "quiescent")]
    pub accepting: bool,
    /// What all workers together may let pass. Default none: no limit.
    pub limits: Option<Arc<Limits>>,
    /// How long sessions may be silent; `None`, the default, is the first set of the table.
    pub timeouts: Option<Timeouts>,
    /// How new flows of UDP are treated. Default [`Scheduling::Session`].
    pub scheduling: Scheduling,
    /// What becomes of a TCP segment without a session that is no SYN. Default [`Straying::Drop`].
    pub straying: Straying,
    /// For how long after a change of the pool a stray segment is placed as before it. Default
    /// 900 s, as long as an idle established session.
    pub previous_placement: Duration,
    /// What becomes of the sessions of a backend that was removed from the pool. Default
    /// [`Orphans::Continue`].
    pub removed: Orphans,
    /// What becomes of the sessions of a backend that probes say is down. Default
    /// [`Orphans::Continue`].
    pub down: Orphans,
    /// What a client learns when no backend takes its session. Default [`Unavailable::Answer`].
    pub unavailable: Unavailable,
    /// Whether both ends of an established TCP session get a RST when it expires. Default
    /// [`OnExpiry::Forget`].
    pub on_expiry: OnExpiry,
    /// When the handshakes of clients are answered here, by cookies. Needs a method whose answers
    /// pass here, and [`ForwarderConfig::syn_cookies`](super::ForwarderConfig::syn_cookies). Default
    /// never.
    pub syn_proxy: SynProxyConfig,
}

/// What is done when an established TCP session has been silent for too long.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[doc(alias = "conn_expire_tcp_rst")]
pub enum OnExpiry {
    /// Nothing is sent.
    #[default]
    Forget,
    /// A RST goes to both ends, so that neither waits for a session that is no more: the timeout is
    /// below the 2 h 4 min of RFC 5382.
    Reset,
}

impl<S: Scheduler> VirtualService<S> {
    /// A service of these packets, served by `pool`.
    #[must_use]
    pub fn new(name: &str, matches: Match, pool: Pool<S>) -> Self {
        Self {
            name: name.into(),
            matches,
            pool,
            method: ForwardingMethod::default(),
            keys: None,
            persistence: None,
            quic: None,
            rules: Arc::default(),
            accepting: true,
            limits: None,
            timeouts: None,
            scheduling: Scheduling::default(),
            straying: Straying::default(),
            previous_placement: Duration::from_secs(900),
            removed: Orphans::default(),
            down: Orphans::default(),
            unavailable: Unavailable::default(),
            on_expiry: OnExpiry::default(),
            syn_proxy: SynProxyConfig::default(),
        }
    }

    /// Sets how packets reach the backends.
    #[must_use]
    pub fn method(mut self, method: ForwardingMethod) -> Self {
        self.method = method;
        self
    }

    /// Sets what sessions are placed by.
    #[must_use]
    pub fn keys(mut self, keys: KeyExtractor) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets what keeps clients with their backend.
    #[must_use]
    pub fn persistence(mut self, persistence: Arc<dyn Persistence>) -> Self {
        self.persistence = Some(persistence);
        self
    }

    /// Sets what reads in QUIC connection ids which backend a datagram is for.
    #[must_use]
    pub fn quic(mut self, quic: Arc<QuicLb>) -> Self {
        self.quic = Some(quic);
        self
    }

    /// Sets which clients may begin sessions.
    #[must_use]
    pub fn rules(mut self, rules: Arc<AddressRules>) -> Self {
        self.rules = rules;
        self
    }

    /// Sets whether sessions begin.
    #[must_use]
    pub fn accepting(mut self, accepting: bool) -> Self {
        self.accepting = accepting;
        self
    }

    /// Sets what all workers together may let pass.
    #[must_use]
    pub fn limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets how long sessions may be silent.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Some(timeouts);
        self
    }

    /// Sets how new flows of UDP are treated.
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Sets what becomes of a TCP segment without a session that is no SYN.
    #[must_use]
    pub fn straying(mut self, straying: Straying) -> Self {
        self.straying = straying;
        self
    }

    /// Sets for how long after a change of the pool a stray segment is placed as before it.
    #[must_use]
    pub fn previous_placement(mut self, span: Duration) -> Self {
        self.previous_placement = span;
        self
    }

    /// Sets what becomes of the sessions of a backend that was removed.
    #[must_use]
    pub fn removed(mut self, removed: Orphans) -> Self {
        self.removed = removed;
        self
    }

    /// Sets what becomes of the sessions of a backend that is down.
    #[must_use]
    pub fn down(mut self, down: Orphans) -> Self {
        self.down = down;
        self
    }

    /// Sets what a client learns when no backend takes its session.
    #[must_use]
    pub fn unavailable(mut self, unavailable: Unavailable) -> Self {
        self.unavailable = unavailable;
        self
    }

    /// Sets what is done when an established TCP session has been silent for too long.
    #[must_use]
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.on_expiry = on_expiry;
        self
    }

    /// Sets when the handshakes of clients are answered here.
    #[must_use]
    pub fn syn_proxy(mut self, syn_proxy: SynProxyConfig) -> Self {
        self.syn_proxy = syn_proxy;
        self
    }
}

impl<S: Scheduler> Clone for VirtualService<S> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            matches: self.matches,
            pool: self.pool.clone(),
            method: self.method,
            keys: self.keys,
            persistence: self.persistence.clone(),
            quic: self.quic.clone(),
            rules: Arc::clone(&self.rules),
            accepting: self.accepting,
            limits: self.limits.clone(),
            timeouts: self.timeouts.clone(),
            scheduling: self.scheduling,
            straying: self.straying,
            previous_placement: self.previous_placement,
            removed: self.removed,
            down: self.down,
            unavailable: self.unavailable,
            on_expiry: self.on_expiry,
            syn_proxy: self.syn_proxy,
        }
    }
}

impl<S: Scheduler> fmt::Debug for VirtualService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualService")
            .field("name", &self.name)
            .field("matches", &self.matches)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
