//! Both addresses rewritten: local ports, and how the backend learns who the client is.
//!
//! ```text
//!   client:40000 ──▶ VIP:80 ── FULLNAT ──▶ local:1025 ──▶ backend:8080
//!                                             │
//!            LocalPorts: free for that backend end; WorkerPorts: whose answer it is
//!            ClientAddress: TOA in the handshake, or PROXY in front of the first data
//! ```
//!
//! Backends need no route back through the forwarder: they answer the local address. The price is
//! that the forwarder keeps a port for each session, and has to tell who the client is.
//!
//! What is told, and how much of it may be believed:
//!
//! - The options 253 and 254 that a client sends of itself are taken out of each of its segments,
//!   whatever the setting, as each packet that a backend sees comes from a local address that the
//!   backend may trust.
//! - A PROXY header that a client sends is data and goes to the backend as data. With
//!   [`ClientAddress::ProxyProtocol`] ours stands before it, so a backend that reads one header
//!   reads ours. A backend must expect a header exactly if its service sends one (PROXY protocol,
//!   section 5).
//!
//! # Answers find the worker that keeps the session
//!
//! Each worker hands out ports of [a range of its own](WorkerPorts), so the destination port of an
//! answer tells whose it is. How it gets there:
//!
//! | transport | way of an answer |
//! |---|---|
//! | memory, capture, one queue | there is one worker, or the test says |
//! | TUN, several queues | the kernel gives a flow to the queue that last sent packets of it (`tun_flow_update`), which is the owner's; where two flows collide there, by hand-off |
//! | AF_PACKET with fanout | the fanout program, or hash, decides; by hand-off where it does not know the ranges |
//! | AF_XDP | the card's rules, one for each range of ports (`ethtool -N … dst-port … m …`); by hand-off where it has none |
//!
//! A range takes a single rule if it is a power of two long and begins at a multiple of that, as
//! those of 2, 4 or 8 workers in 32768..=65535 do. What arrives elsewhere goes to its owner through
//! a bounded ring ([`hand_off`]) and is counted, if the workers were joined by one
//! ([`Forwarder::set_hand_off`](crate::Forwarder::set_hand_off)); else it is dropped.
//!
//! # What is not done
//!
//! - A client is served by a backend of its own family: addresses are not translated between them.
//! - A UDP session whose first datagram is in fragments, or has no room for the header, does not
//!   begin where one is to be told by [`ClientAddress::ProxyProtocol`].
//! - A TCP segment without a session is never placed: no backend knows its local end.

mod client_option;
mod ends;
pub mod hand_off;
mod local_ports;
mod port_set;
mod worker_ports;

pub(crate) use client_option::wire_len;
pub use client_option::{LEAST_MSS, Untold, lower_mss, strip, tell};
pub use ends::{to_backend, to_client};
pub use local_ports::{
    Exhausted, LocalPorts, LocalPortsConfig, LocalPortsConfigError, LocalPortsStats, Rest,
};
pub use worker_ports::WorkerPorts;

/// How FULLNAT treats the sessions of one service.
///
/// The local addresses are the forwarder's, for all services together: two services that share a
/// backend must not use the same local port there. See [`LocalPortsConfig`].
///
/// # Examples
///
/// ```
/// use lb_l4::method::fullnat::{ClientAddress, FullNatConfig};
///
/// let config = FullNatConfig::default().client_address(ClientAddress::Toa);
/// assert_ne!(config, FullNatConfig::default());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct FullNatConfig {
    /// How a backend learns a client's address. Default: not at all.
    pub client_address: ClientAddress,
}

impl FullNatConfig {
    /// Sets how a backend learns a client's address.
    #[must_use]
    pub const fn client_address(mut self, client_address: ClientAddress) -> Self {
        self.client_address = client_address;
        self
    }
}

/// How a backend learns the address of the client of a session whose source is rewritten.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ClientAddress {
    /// It does not: it sees a local address of the forwarder.
    #[default]
    None,
    /// By a header of the PROXY protocol, version 2: before the first byte of a TCP client, or in
    /// the first datagram of a UDP session.
    ///
    /// Each backend must expect it. Sequence numbers are shifted for the life of the connection.
    ProxyProtocol,
    /// By a TCP option, 254 for IPv4 and 253 for IPv6, in the client's SYN and in its segments
    /// until the backend has acknowledged data of it; [`toa`](crate::toa) reads it there.
    ///
    /// The segments that a backend announces that it takes are lowered by as much, 8 or 20 bytes. A
    /// segment that has no room for it goes without, which is
    /// [counted](crate::forwarder::ForwarderStats::untold).
    ///
    /// A backend that does not know the option does not mind it. UDP has no options: nothing is
    /// told there.
    #[doc(alias = "TOA")]
    Toa,
}
