//! Forwards TCP and UDP, by sockets and by packets.
//!
//! ```text
//!               accept       open            join
//!   client ──▶ Acceptor ──▶ Arrival ──▶ Relay in a Reactor ──▶ backend       sockets: stream
//!                              │
//!                 lbcore: limits, lists, Balancer::acquire
//!                              │
//!   client ──▶ Transport ──▶ Forwarder ──▶ Transport ──▶ backend             packets: forwarder
//! ```
//!
//! What decides is `lbcore`'s; this crate moves bytes. **By sockets**, [`stream`] serves TCP and Unix
//! connections and datagrams, `probe` sends the health checks of a pool and `connect` reaches
//! backends. **By packets**, a [`Forwarder`] is a function from packets to verdicts, as an LVS node
//! is, and a [`Transport`] is where packets come from and go to. [`Clock`] is the one place that
//! reads the time.
//!
//! A **session** is a client and a backend joined. A **worker** accepts, opens sessions and carries
//! them; each has sockets, tables, counters and balancers of its own. By sockets, a **relay** is a
//! session's two directions, carried by a **reactor** (an epoll set of the worker's own) if both ends
//! are sockets, and by a task if one is not. By packets, a **service** says which packets are its
//! and by which **method** they reach its backends.
//!
//! | packets | |
//! |---|---|
//! | [`packet`] | one packet in its buffer, and the verdict over it |
//! | [`wire`] | bytes: checked views, rewriting with incremental checksums |
//! | [`forwarder`] | services, sessions, and what becomes of a packet |
//! | [`method`] | NAT, FULLNAT, direct routing, tunnels |
//! | [`syn_proxy`], [`fragment`], [`icmp`], [`neighbour`], [`quic`] | what a forwarder does beside, each to be used alone |
//! | [`transport`] | memory, pcap, TUN, AF_PACKET, AF_XDP |
//! | [`toa`], [`huge_pages`] | for servers behind FULLNAT; for tables larger than the caches |
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` (default) | everything with sockets |
//! | `af-packet` | packets of an interface, beside the host's own stack |
//! | `af-xdp` | packets of an interface, before the host's own stack |
//! | `tun` | packets of a TUN device |
//!
//! Without any, the pure parts are left, and of transports those in memory and in files.

pub mod clock;
#[cfg(feature = "tokio")]
pub mod connect;
pub mod forwarder;
pub mod fragment;
pub mod huge_pages;
pub mod icmp;
pub mod method;
pub mod neighbour;
pub mod packet;
#[cfg(feature = "tokio")]
pub mod probe;
pub mod quic;
pub mod stream;
pub mod syn_proxy;
mod sys;
pub mod toa;
pub mod transport;
pub mod wire;

pub use clock::Clock;
pub use forwarder::Forwarder;
pub use transport::Transport;
