//! What a UDP balancer serves, and why it may not.

use std::io;
use std::net::SocketAddr;

use lbcore::schedule::Scheduler;
use thiserror::Error;

use super::config::{UdpConfigError, UdpSettings};

/// What a UDP balancer serves: where it listens, and what decides over its sessions.
///
/// # Examples
///
/// ```
/// use lb_l4::stream::udp::UdpService;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let logs = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.11:514".parse()?));
/// let service = UdpService::new("[::]:514".parse().unwrap(), logs).workers(2);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Debug)]
pub struct UdpService<S: Scheduler> {
    pub(super) address: SocketAddr,
    pub(super) settings: UdpSettings<S>,
    pub(super) workers: usize,
    pub(super) name: String,
    pub(super) shares_port: bool,
}

impl<S: Scheduler> UdpService<S> {
    /// Listens at `address`; a [`Pool`](lbcore::Pool) is settings enough.
    ///
    /// `[::]` serves IPv4 as well. At a wildcard, answers come from the very address that was asked.
    #[must_use]
    pub fn new(address: SocketAddr, settings: impl Into<UdpSettings<S>>) -> Self {
        Self {
            address,
            settings: settings.into(),
            workers: 1,
            name: address.to_string(),
            shares_port: false,
        }
    }

    /// Sets how many workers share the clients; at least one, default one.
    ///
    /// Each has a socket of its own (`SO_REUSEPORT`); the kernel keeps each client with one of them.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets its name in logs. Default: its address.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Listens though another process of the same user already does at the same port.
    ///
    /// The kernel then spreads clients over both, for the time in which a new process takes over
    /// from an old one. Both must be balancers of this kind (`SO_REUSEPORT`). Default: a taken port
    /// is refused.
    #[must_use]
    pub const fn share_port(mut self) -> Self {
        self.shares_port = true;
        self
    }
}

/// Why a balancer could not be bound.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum UdpBindError {
    /// A field of the configuration is out of its range.
    #[error(transparent)]
    Config(#[from] UdpConfigError),
    /// The kernel refused to listen at this address: it is taken, or not one of this host.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// One of the caller's sockets is no bound UDP socket.
    #[error("cannot serve the socket: {0}")]
    Socket(io::Error),
}
