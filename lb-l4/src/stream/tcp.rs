//! The TCP balancer: listeners in front, pools behind.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use lbcore::backend::Address;
use lbcore::connect::Connect;
use lbcore::schedule::Scheduler;
use socket2::{Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::Listener;
use super::arrival::{Arrival, Client};
use super::carry::Carry;
use super::config::{Settings, TcpConfigError};
use super::counters::{Counters, End, Refused, Stats};
use super::desk::Desk;
use super::log::RefusalLog;
use super::open::{Bench, Shared};
use super::relay::Relay;
use super::worker::TcpWorker;
use crate::Clock;
use crate::connect::{Dial, Stream};
use crate::sys::pipe::PipePool;
use crate::sys::socket;

/// What a TCP balancer serves: where it listens, and what decides over its sessions.
///
/// # Examples
///
/// ```
/// use lb_l4::stream::TcpService;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let web = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.11:80".parse()?));
/// let service = TcpService::new("[::]:80".parse()?, web).workers(2).name("front");
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Debug)]
pub struct TcpService<S: Scheduler, C = Dial> {
    listen: Vec<Address>,
    settings: Settings<S>,
    workers: usize,
    name: String,
    shares_port: bool,
    connect: C,
}

impl<S: Scheduler> TcpService<S> {
    /// Listens at `address`; a [`Pool`](lbcore::Pool) is settings enough.
    #[must_use]
    pub fn new(address: Address, settings: impl Into<Settings<S>>) -> Self {
        Self {
            name: address.to_string(),
            listen: vec![address],
            settings: settings.into(),
            workers: 1,
            shares_port: false,
            connect: Dial::default(),
        }
    }
}

impl<S: Scheduler, C> TcpService<S, C> {
    /// Listens at `address` too. `[::]` serves IPv4 as well.
    #[must_use]
    pub fn listen(mut self, address: Address) -> Self {
        self.listen.push(address);
        self
    }

    /// Sets how many workers share the clients; at least one, default one.
    ///
    /// Each has accept sockets of its own (`SO_REUSEPORT`), which the kernel spreads clients over.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets its name in logs. Default: its first address.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Listens though another process of the same user already does at the same port.
    ///
    /// The kernel then spreads clients over both, which is how a new process takes over from an old
    /// one without a gap: it binds, and the old one drains. Both must be balancers of this kind
    /// (`SO_REUSEPORT`). Default: a taken port is refused.
    #[must_use]
    pub const fn share_port(mut self) -> Self {
        self.shares_port = true;
        self
    }

    /// Reaches backends by a transport of the caller's.
    #[must_use]
    pub fn connect<D: Connect>(self, connect: D) -> TcpService<S, D> {
        TcpService {
            listen: self.listen,
            settings: self.settings,
            workers: self.workers,
            name: self.name,
            shares_port: self.shares_port,
            connect,
        }
    }
}

/// Why a balancer could not be bound.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel refused to listen at this address: it is taken, or not one of this host.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// The address asked for.
        address: Address,
        /// What the kernel said.
        error: io::Error,
    },
    /// A field of the configuration is out of its range.
    #[error(transparent)]
    Config(#[from] TcpConfigError),
}

/// Balances TCP and Unix connections over the backends of a pool.
///
/// It listens from [`bind`](Self::bind) on, and serves by one of three: [`run_until`](Self::run_until)
/// in the caller's runtime; [`into_workers`](Self::into_workers), for a thread and a runtime each,
/// which is the fastest; or [`serve_connection`](Self::serve_connection) from an accept loop of the
/// caller's own.
///
/// Its pools want a [`probe::run_until`](crate::probe::run_until) each, health check or none: by it
/// shares grow, ejections begin and end, and slots of removed backends are freed.
///
/// A session at rest between two sockets costs no buffer, no task and no timer. Bytes in bulk go
/// through a kernel pipe (splice(2)) and never enter this process.
///
/// # Examples
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_l4::stream::{TcpBalancer, TcpService};
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let web = Pool::new(RoundRobin)
///     .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?).weight(2))
///     .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
/// let service = TcpService::new("203.0.113.10:80".parse()?, web);
/// let balancer = TcpBalancer::bind(service).await?;
/// balancer.run_until(std::future::pending::<()>()).await?;
/// # Ok(()) }
/// ```
pub struct TcpBalancer<S: Scheduler, C = Dial> {
    shared: Arc<Shared<S, C>>,
    listeners: Vec<Vec<Listener>>,
    addresses: Vec<Address>,
    /// Which worker's share the next connection of the caller's own belongs to.
    next: AtomicUsize,
}

impl<S, C> TcpBalancer<S, C>
where
    S: Scheduler + Send + Sync + 'static,
    S::Plan: Send + Sync,
    S::Cursor: Send,
    C: Connect + 'static,
    C::Stream: Into<Stream>,
{
    /// Listens; clients that connect from here on wait to be served.
    ///
    /// # Errors
    ///
    /// When the kernel refuses an address, when somebody listens there already (unless the service
    /// says [`share_port`](TcpService::share_port)), or when a field of the configuration is out of
    /// its range.
    pub async fn bind(service: impl Into<TcpService<S, C>>) -> Result<Self, BindError> {
        let service: TcpService<S, C> = service.into();
        let config = service.settings.config.clone();
        config.check()?;
        let mut listeners = vec![Vec::new(); service.workers];
        let mut addresses = Vec::new();
        let refused = |address: &Address, error| BindError::Listen {
            address: address.clone(),
            error,
        };
        // All of them before the first is bound: addresses of one service may overlap.
        for address in service.listen.iter().filter(|_| !service.shares_port) {
            let free = address
                .socket()
                .map_or(Ok(()), |socket| socket::check_free(socket, Type::STREAM));
            free.map_err(|error| refused(address, error))?;
        }
        for address in &service.listen {
            let bound = listen(address, &mut listeners).map_err(|error| refused(address, error))?;
            addresses.push(bound);
        }
        for listener in listeners.iter().flatten().filter(|one| one.is_tcp) {
            if let Some(idle) = config.keepalive {
                // A host without keep-alive still balances.
                let _ = socket::set_keepalive(&listener.fd, idle);
            }
        }
        let clock = Clock::monotonic();
        let mut settings = service.settings;
        settings.start_limits(clock.now(), None);
        let settings = Arc::new(settings);
        let bench = |worker| Bench {
            desk: Desk::new(worker, Arc::clone(&settings)),
            pipes: PipePool::new(config.pipes),
        };
        let shared = Shared {
            workers: (0..service.workers).map(bench).collect(),
            settings: ArcSwap::new(settings),
            connect: service.connect,
            counters: Counters::new(service.workers),
            clock,
            log: Arc::new(RefusalLog::new(service.name)),
        };
        Ok(Self {
            shared: Arc::new(shared),
            listeners,
            addresses,
            next: AtomicUsize::new(0),
        })
    }

    /// Where it listens; a port that was 0 is told as the one that was found.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What watches and changes it while it runs.
    #[must_use]
    pub fn handle(&self) -> TcpHandle<S, C> {
        TcpHandle(Arc::clone(&self.shared))
    }

    /// Serves with all workers in the runtime that polls this, until `shutdown` resolves; then
    /// drains, as [`TcpWorker::run_until`].
    ///
    /// # Errors
    ///
    /// As [`TcpWorker::run_until`].
    pub async fn run_until(self, shutdown: impl Future) -> io::Result<()> {
        let (stop, stopped) = watch::channel(());
        let mut workers = JoinSet::new();
        for worker in self.into_workers() {
            let mut stopped = stopped.clone();
            workers.spawn(worker.run_until(async move {
                // Resolves when `stop` is dropped, which is the message.
                let _ = stopped.changed().await;
            }));
        }
        drop(stopped);
        shutdown.await;
        drop(stop);
        while let Some(ended) = workers.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// The workers, to be run on threads of the caller's.
    #[must_use]
    pub fn into_workers(self) -> Vec<TcpWorker<S, C>> {
        let shared = self.shared;
        let numbered = self.listeners.into_iter().enumerate();
        numbered
            .map(|(index, listeners)| TcpWorker {
                shared: Arc::clone(&shared),
                index,
                listeners,
            })
            .collect()
    }

    /// Balances one connection that the caller has accepted, to its end.
    ///
    /// `peer` is the client's address, if it has one. The future is `Send`; dropped, it resets the
    /// session.
    ///
    /// # Errors
    ///
    /// Why the client was refused; it has been reset and counted.
    pub async fn serve_connection(
        &self,
        stream: impl Into<Stream> + Send,
        peer: Option<SocketAddr>,
    ) -> Result<End, Refused> {
        let shared = &self.shared;
        let worker = self.next.fetch_add(1, Relaxed);
        let counters = shared.counters.worker(worker);
        let client = Client::Stream(stream.into());
        let arrival = Arrival::new(client, peer, counters, Arc::clone(&shared.log));
        let opened = shared.open(worker, arrival).await?;
        let client = opened.client.into_stream();
        let client = client.map_err(|_| Refused::Resources)?;
        if let (Stream::Tcp(tcp), Some(idle)) = (&opened.backend, opened.keepalive) {
            // Without it, the idle timeout still ends what is dead.
            let _ = socket::set_keepalive(tcp, idle);
        }
        let relay = Relay::new(client, opened.backend, opened.first_bytes);
        let pipes = shared.bench(worker).pipes.clone();
        let ledger = opened.session;
        Ok(Carry::new(relay, ledger, pipes, shared.clock, opened.idle_timeout).await)
    }
}

impl<S: Scheduler, C> std::fmt::Debug for TcpBalancer<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpBalancer")
            .field("addresses", &self.addresses)
            .field("counters", &self.shared.counters)
            .finish_non_exhaustive()
    }
}

/// Watches and changes a [`TcpBalancer`] while it runs; clones are of the same balancer.
pub struct TcpHandle<S: Scheduler, C = Dial>(Arc<Shared<S, C>>);

impl<S: Scheduler, C> TcpHandle<S, C> {
    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.read()
    }

    /// Has these settings decide over every session that begins from here on.
    ///
    /// Sessions under way keep what they were begun with; the listening sockets are not touched.
    /// Limits that are the same go on counting; others begin anew. Keep-alive of clients and the
    /// number of pipes stay as they were bound.
    ///
    /// # Errors
    ///
    /// When a field is out of its range; nothing has changed then.
    pub fn update(&self, settings: impl Into<Settings<S>>) -> Result<(), TcpConfigError> {
        let mut settings: Settings<S> = settings.into();
        settings.config.check()?;
        settings.start_limits(self.0.clock.now(), Some(&self.0.settings.load()));
        let settings = Arc::new(settings);
        for bench in &self.0.workers {
            bench.desk.update(&settings);
        }
        self.0.settings.store(settings);
        Ok(())
    }
}

impl<S: Scheduler, C> Clone for TcpHandle<S, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Scheduler, C> std::fmt::Debug for TcpHandle<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpHandle").field(&self.stats()).finish()
    }
}

/// Listens at `address` once for each worker, and tells where.
fn listen(address: &Address, workers: &mut [Vec<Listener>]) -> io::Result<Address> {
    match address {
        Address::Socket(address) => {
            let mut bound = *address;
            for worker in workers {
                let socket = socket::listen_tcp(bound)?;
                bound = bound_address(&socket)?;
                worker.push(Listener {
                    fd: Arc::new(socket.into()),
                    is_tcp: true,
                });
            }
            Ok(Address::Socket(bound))
        }
        Address::Unix(path) => {
            // A path has one socket; each worker has a descriptor of it, since an epoll set, which
            // workers of one runtime share, takes a descriptor once.
            let shared = socket::listen_unix(path)?;
            for worker in workers {
                worker.push(Listener {
                    fd: Arc::new(shared.try_clone()?.into()),
                    is_tcp: false,
                });
            }
            Ok(address.clone())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn bound_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
