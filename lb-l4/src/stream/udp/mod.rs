//! Datagrams: sessions by client address, batches, and answers from the address that was asked.
//!
//! Each worker has a socket of its own at the shared address, and a session is a connected socket to
//! its backend, so that nobody but the backend can answer and a closed port is heard of. Requests of
//! many clients are received by one call, answers to many clients are sent by one, and datagrams of
//! one way travel as a train where the kernel can cut it (`UDP_SEGMENT`, `UDP_GRO`).

mod answers;
mod backends;
mod burst;
mod chains;
mod config;
mod counters;
mod key;
mod outbox;
mod poller;
mod relay;
mod service;
mod sessions;
mod shared;
mod socket;
mod transmit;
mod worker;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use lbcore::schedule::Scheduler;
use socket2::Type;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Clock;
use crate::sys::socket::check_free;
use counters::UdpCounters;
use relay::Relay;
use shared::Shared;
use socket::Listener;

pub use config::{OnePacket, UdpConfig, UdpConfigError, UdpSettings};
pub use counters::{Dropped, UdpStats};
pub use service::{UdpBindError, UdpService};
pub use worker::UdpWorker;

/// Balances UDP: each client's datagrams go to one backend, and its answers come back.
///
/// A client is an address with its port, and the local address that it asked. Its session ends when
/// it is idle; when its backend's port is closed or its backend is found down, the next datagram
/// goes to another one. A backend that drains or leaves the pool keeps the sessions it has.
///
/// It listens from [`bind`](Self::bind) on, and serves by one of two: [`run_until`](Self::run_until)
/// in the caller's runtime, or [`into_workers`](Self::into_workers), for a thread and a runtime each,
/// which is the fastest. Sockets of the caller's own are
/// served by [`of_sockets`](Self::of_sockets), or beside others by [`UdpHandle::serve_socket`].
///
/// Its pools want a [`probe::run_until`](crate::probe::run_until) each, health check or none: by it
/// shares grow, ejections begin and end, and slots of removed backends are freed.
///
/// # Examples
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_l4::stream::udp::{OnePacket, UdpBalancer, UdpConfig, UdpService, UdpSettings};
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let resolvers = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:53".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:53".parse()?));
/// let dns = UdpConfig::default().one_packet(OnePacket::default());
/// let service = UdpService::new("0.0.0.0:53".parse()?, UdpSettings::new(resolvers).config(dns));
/// UdpBalancer::bind(service)?.run_until(std::future::pending::<()>()).await?;
/// # Ok(()) }
/// ```
#[doc(alias = "UDP proxy")]
#[must_use = "a balancer does nothing until it runs"]
pub struct UdpBalancer<S: Scheduler> {
    shared: Arc<Shared<S>>,
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    clock: Clock,
}

impl<S: Scheduler> UdpBalancer<S> {
    /// Listens; datagrams that come from here on wait to be served.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the address, when somebody listens there already (unless the service
    /// says [`share_port`](UdpService::share_port)), or when a field of the configuration is out of
    /// its range.
    pub fn bind(service: impl Into<UdpService<S>>) -> Result<Self, UdpBindError> {
        let UdpService {
            address,
            settings,
            workers,
            name,
            shares_port,
        } = service.into();
        settings.config.check()?;
        let free = match shares_port {
            true => Ok(()),
            false => check_free(address, Type::DGRAM),
        };
        let sockets = free.and_then(|()| socket::listen(address, workers));
        let balancer = sockets.and_then(|sockets| Self::with(sockets, settings, name));
        balancer.map_err(|error| UdpBindError::Listen { address, error })
    }

    /// Serves bound sockets of the caller's own, with a worker for each.
    ///
    /// They may be bound to different addresses; one that takes IPv6 and IPv4 serves both.
    ///
    /// # Errors
    ///
    /// When one is no bound UDP socket, or a field of the configuration is out of its range.
    pub fn of_sockets(
        sockets: Vec<UdpSocket>,
        settings: impl Into<UdpSettings<S>>,
    ) -> Result<Self, UdpBindError> {
        let settings = settings.into();
        settings.config.check()?;
        let first = sockets.first().and_then(|socket| socket.local_addr().ok());
        let name = first.map_or_else(String::new, |address| address.to_string());
        Self::with(sockets, settings, name).map_err(UdpBindError::Socket)
    }

    fn with(sockets: Vec<UdpSocket>, settings: UdpSettings<S>, name: String) -> io::Result<Self> {
        let clock = Clock::monotonic();
        let counters = UdpCounters::new(sockets.len());
        let addresses = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<_>>()?;
        let listeners = sockets
            .into_iter()
            .map(Listener::new)
            .collect::<io::Result<_>>()?;
        let shared = Arc::new(Shared::new(clock.now(), settings, counters, name));
        Ok(Self {
            shared,
            listeners,
            addresses,
            clock,
        })
    }

    /// Where each worker listens; a port that was 0 is told as the one that was found.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What watches and changes it while it runs.
    #[must_use]
    pub fn handle(&self) -> UdpHandle<S> {
        UdpHandle {
            shared: Arc::clone(&self.shared),
            clock: self.clock,
        }
    }

    /// The workers, to be run on threads of the caller's.
    ///
    /// # Errors
    ///
    /// Those of `epoll_create(2)`: no descriptor is left.
    pub fn into_workers(self) -> io::Result<Vec<UdpWorker<S>>> {
        let Self {
            shared,
            listeners,
            clock,
            ..
        } = self;
        let worker = |listener| worker(&shared, listener, clock);
        listeners.into_iter().map(worker).collect()
    }

    /// Serves with all workers in the runtime that polls this, until `shutdown` resolves; then
    /// drains, as [`UdpWorker::run_until`].
    ///
    /// Dropped, it ends all sessions.
    ///
    /// # Errors
    ///
    /// As [`into_workers`](Self::into_workers) and [`UdpWorker::run_until`].
    pub async fn run_until(self, shutdown: impl Future) -> io::Result<()> {
        let (stop, stopped) = watch::channel(());
        let mut workers = JoinSet::new();
        for worker in self.into_workers()? {
            let mut stopped = stopped.clone();
            workers.spawn(worker.run_until(async move {
                // Resolves when `stop` is dropped, which is the message.
                let _ = stopped.changed().await;
            }));
        }
        drop(stopped);
        tokio::select! {
            _ = shutdown => {}
            // Unasked, a worker ends for an error alone.
            Some(ended) = workers.join_next() => ended.map_err(io::Error::other)??,
        }
        drop(stop);
        while let Some(ended) = workers.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

impl<S: Scheduler> fmt::Debug for UdpBalancer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpBalancer")
            .field("addresses", &self.addresses)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Watches and changes a [`UdpBalancer`] while it runs; clones are of the same balancer.
pub struct UdpHandle<S: Scheduler> {
    shared: Arc<Shared<S>>,
    clock: Clock,
}

impl<S: Scheduler> UdpHandle<S> {
    /// What it has done so far; also after it has ended.
    #[must_use]
    pub fn stats(&self) -> UdpStats {
        self.shared.counters.read()
    }

    /// Serves one more socket, bound by the caller, until `shutdown` resolves; then drains.
    ///
    /// Its sessions obey the balancer's settings, count in its counters and take of its limits; they
    /// are unknown to the other workers. The future is `Send`; dropped, it ends its sessions.
    ///
    /// # Errors
    ///
    /// When it is no bound UDP socket, or no descriptor is left.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with the I/O and time drivers.
    pub async fn serve_socket(&self, socket: UdpSocket, shutdown: impl Future) -> io::Result<()> {
        let listener = Listener::new(socket)?;
        worker(&self.shared, listener, self.clock)?
            .run_until(shutdown)
            .await
    }

    /// Has these settings decide over every session that begins from here on.
    ///
    /// Sessions under way keep their backends, and obey the new times and bandwidth. Limits that are
    /// changed begin to count anew. A worker takes notice with its next datagram.
    ///
    /// # Errors
    ///
    /// When a field is out of its range; nothing has changed then.
    pub fn update(&self, settings: impl Into<UdpSettings<S>>) -> Result<(), UdpConfigError> {
        let settings = settings.into();
        settings.config.check()?;
        self.shared.update(self.clock.now(), settings);
        Ok(())
    }
}

impl<S: Scheduler> Clone for UdpHandle<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            clock: self.clock,
        }
    }
}

impl<S: Scheduler> fmt::Debug for UdpHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpHandle")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// A worker for the clients of `listener`.
fn worker<S: Scheduler>(
    shared: &Arc<Shared<S>>,
    listener: Listener,
    clock: Clock,
) -> io::Result<UdpWorker<S>> {
    let relay = Relay::new(Arc::clone(shared), shared.next_worker(), listener)?;
    Ok(UdpWorker::new(relay, clock))
}
