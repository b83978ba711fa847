//! Sockets in front of a proxy.

mod accept;
mod arrival;
mod door;
mod listen;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lbcore::address_list::AddressRules;
use lbcore::backend::Address;
use lbcore::connect::{Accept, Plain};
use lbcore::limit::LimitConfig;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::proxy::HttpProxy;
pub use arrival::{Raw, Secured};
pub use door::ServerHandle;
use listen::Listener;
use listen::Socket;
pub use worker::HttpWorker;

/// Where an HTTP server listens, and whom it lets in.
///
/// `A` makes clients' streams usable: [`Plain`] for HTTP, [`Tls`](crate::tls::Tls) for HTTPS, or a
/// program's own.
#[derive(Debug)]
pub struct HttpService<A = Plain> {
    proxy: HttpProxy,
    listen: Vec<Address>,
    accept: Arc<A>,
    workers: usize,
    shares_port: bool,
    config: ServerConfig,
}

/// Whom a server lets in, and how it goes.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Whether each connection must open with a PROXY protocol header. Default false.
    pub accept_proxy: bool,
    /// Which clients may come in. Default all.
    pub rules: Option<Arc<AddressRules>>,
    /// What clients may use: connections, and new ones a second. Default no limit.
    pub limits: LimitConfig,
    /// How long requests under way may go on when the server ends. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            accept_proxy: false,
            rules: None,
            limits: LimitConfig::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a server does not listen.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum BindError {
    /// The kernel refused to listen at this address: it is taken, or not one of this host.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// Where.
        address: Address,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// There is nowhere to listen.
    #[error("no address to listen at")]
    NoAddress,
}

impl HttpService<Plain> {
    /// Serves clients that come to `address` by `proxy`, in the clear.
    #[must_use]
    pub fn new(address: Address, proxy: HttpProxy) -> Self {
        Self {
            workers: proxy.workers(),
            proxy,
            listen: vec![address],
            accept: Arc::new(Plain),
            shares_port: false,
            config: ServerConfig::default(),
        }
    }
}

impl<A> HttpService<A> {
    /// Has `accept` make each client's stream usable; an `Arc` of one that is changed later.
    #[must_use]
    pub fn accept<B>(self, accept: B) -> HttpService<B> {
        HttpService {
            proxy: self.proxy,
            listen: self.listen,
            accept: Arc::new(accept),
            workers: self.workers,
            shares_port: self.shares_port,
            config: self.config,
        }
    }

    /// Listens at a further address.
    #[must_use]
    pub fn listen(mut self, address: Address) -> Self {
        self.listen.push(address);
        self
    }

    /// Listens once for each of this many workers. Default: as many as the proxy has.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Whom it lets in, and how it goes.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Lets other servers of this user have the same port, so that one can follow another without a
    /// gap: it binds, and the old one drains.
    #[must_use]
    pub const fn share_port(mut self) -> Self {
        self.shares_port = true;
        self
    }

    /// Listens; nobody is served before [`run_until`](HttpServer::run_until).
    ///
    /// # Errors
    ///
    /// When an address is taken, or not one of this host.
    pub async fn bind(self) -> Result<HttpServer<A>, BindError> {
        if self.listen.is_empty() {
            return Err(BindError::NoAddress);
        }
        let mut sockets: Vec<Vec<Socket>> = (0..self.workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for address in &self.listen {
            let bound = listen::listen(address, self.shares_port, &mut sockets);
            let refused = |error| BindError::Listen {
                address: address.clone(),
                error,
            };
            addresses.push(bound.map_err(refused)?);
        }
        let gate = Gate {
            proxy: self.proxy,
            accept: self.accept,
            handle: ServerHandle::new(self.config),
        };
        Ok(HttpServer {
            gate: Arc::new(gate),
            sockets,
            addresses,
        })
    }
}

/// What every worker lets its clients in by.
#[derive(Debug)]
struct Gate<A> {
    proxy: HttpProxy,
    accept: Arc<A>,
    handle: ServerHandle,
}

/// A server that listens.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_l7::{HttpProxy, HttpService, Settings};
/// use lbcore::schedule::PeakEwma;
/// use lbcore::{Backend, Pool};
///
/// let pool = Pool::new(PeakEwma::default())
///     .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?))
///     .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
/// let proxy = HttpProxy::new(Settings::to(pool)?);
/// let server = HttpService::new("127.0.0.1:0".parse()?, proxy).bind().await?;
/// println!("serving at {:?}", server.addresses());
/// # let stopped = std::future::ready(());
/// server.run_until(stopped).await;
/// # Ok(()) }
/// ```
pub struct HttpServer<A = Plain> {
    gate: Arc<Gate<A>>,
    sockets: Vec<Vec<Socket>>,
    addresses: Vec<Address>,
}

impl<A> HttpServer<A> {
    /// Where it listens; a port that was 0 is told as the one that was found.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What changes whom it lets in while it runs.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.gate.handle.clone()
    }

    /// The proxy that serves.
    #[must_use]
    pub fn proxy(&self) -> &HttpProxy {
        &self.gate.proxy
    }
}

impl<A> HttpServer<A>
where
    A: Accept<Raw> + 'static,
    A::Stream: Secured,
{
    /// Serves on this runtime until `shutdown` resolves, then drains.
    pub async fn run_until<T>(self, shutdown: impl Future<Output = T>) {
        let (stop, stopped) = tokio::sync::watch::channel(());
        let mut workers = JoinSet::new();
        for worker in self.into_workers() {
            let mut stopped = stopped.clone();
            workers.spawn(worker.run_until(async move {
                let _ = stopped.changed().await;
            }));
        }
        shutdown.await;
        drop(stop);
        while workers.join_next().await.is_some() {}
    }

    /// A worker for each thread of a program that has its own, each to be run there.
    #[must_use]
    pub fn into_workers(self) -> Vec<HttpWorker<A>> {
        let numbered = self.sockets.into_iter().enumerate();
        let worker = |(index, sockets)| HttpWorker::new(index, sockets, Arc::clone(&self.gate));
        numbered.map(worker).collect()
    }
}

impl<A> fmt::Debug for HttpServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
