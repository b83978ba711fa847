//! The key server, on tokio.

mod accept;
mod buffers;
mod clock;
mod connection;
mod handle;
mod handshakes;
mod mailbox;
mod registry;
mod seldom;
mod shared;
mod signers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::handshakes::Handshakes;
use self::shared::{Shared, Tls};
use self::signers::{Signers, Work};
use crate::access::AccessList;
use crate::audit::AuditLog;
use crate::mutual_tls::MutualTls;
use crate::quota::Quotas;
use crate::server::{Counters, KeyServerConfig, Rejection, Told};
use crate::store::KeyStore;

pub use self::handle::ServerHandle;

/// Holds keys, and signs with them for those who may have it.
///
/// # Examples
///
/// ```no_run
/// use lb_keyserver::access::{AccessList, Rule};
/// use lb_keyserver::server::KeyServerConfig;
/// use lb_keyserver::store::FileStore;
/// use lb_keyserver::{KeyServer, MutualTls, wire};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FileStore::open(["/etc/keys"])?;
/// let access = AccessList::new([Rule::new("lb://node/*".parse()?).all_keys()])?;
/// let tls = MutualTls::from_pem_files("server.pem", "server.key", "nodes-ca.pem")?;
/// let server = KeyServer::new(store, access, KeyServerConfig::default());
/// let bound = server.bind(("::", wire::PORT), tls).await?;
/// bound.run_until(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KeyServer {
    store: Arc<dyn KeyStore>,
    access: AccessList,
    config: KeyServerConfig,
    audit: Option<Arc<AuditLog>>,
}

impl KeyServer {
    /// Signs with the keys of `store`, for those whom `access` allows it.
    ///
    /// To reload the keys, keep a clone of an `Arc` of the store.
    #[must_use]
    pub fn new(store: impl KeyStore, access: AccessList, config: KeyServerConfig) -> Self {
        Self {
            store: Arc::new(store),
            access,
            config,
            audit: None,
        }
    }

    /// Records what is signed, and what is refused. Without this, nothing is.
    #[must_use]
    pub fn audit(self, log: impl Into<Arc<AuditLog>>) -> Self {
        let audit = Some(log.into());
        Self { audit, ..self }
    }

    /// Listens, and starts the threads that sign. Clients are accepted once it runs.
    ///
    /// # Errors
    ///
    /// When the address cannot be had, or no thread.
    pub async fn bind(self, address: impl ToSocketAddrs, tls: MutualTls) -> io::Result<Bound> {
        let listener = TcpListener::bind(address).await?;
        self.listen_on(listener, tls)
    }

    /// Listens on a socket that is bound already, as one that another process has handed over.
    ///
    /// # Errors
    ///
    /// When no thread can be had.
    pub fn listen_on(self, listener: TcpListener, tls: MutualTls) -> io::Result<Bound> {
        let counters = Arc::new(Counters::default());
        let signers = Signers::start(Work {
            threads: match self.config.signers {
                0 => available_parallelism().map_or(1, |threads| threads.get()),
                threads => threads,
            },
            most: self.config.queued,
            max_wait: self.config.max_wait,
            counters: Arc::clone(&counters),
            audit: self.audit.clone(),
        })?;
        let (most, of_address) = (self.config.handshakes, self.config.handshakes_per_address);
        let handshakes = Arc::new(Handshakes::new(most, of_address));
        let tls = Tls {
            config: tls.server_config(&self.config.modes),
            mutual: tls,
        };
        let shared = Arc::new(Shared {
            quotas: Quotas::new(self.config.quotas),
            config: self.config,
            store: self.store,
            access: ArcSwap::from_pointee(self.access),
            tls: ArcSwap::from_pointee(tls),
            counters,
            audit: self.audit,
            told: Told::new(clock::now()),
            signers,
            registry: Arc::default(),
            draining: watch::Sender::new(false),
            handshakes,
            seldom: Mutex::default(),
        });
        Ok(Bound {
            threads: Threads(Arc::clone(&shared.signers)),
            listener,
            shared,
        })
    }
}

/// A key server that listens.
pub struct Bound {
    listener: TcpListener,
    shared: Arc<Shared>,
    threads: Threads,
}

/// The threads that sign, which end when this is dropped.
struct Threads(Arc<Signers>);

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Bound {
    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What reads its counts and changes whom it serves, while it runs.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown` resolves; then accepts nobody, answers what is under way, and refuses
    /// what still comes so that clients ask elsewhere.
    ///
    /// Takes at most [`drain_timeout`](KeyServerConfig::drain_timeout) more than `shutdown`. Dropped,
    /// it closes all connections at once.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            shared,
            // What is under way at shutdown still needs them.
            threads: _threads,
        } = self;
        let mut clients = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accept = async {
                let place = shared.handshakes.place().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = clients.join_next() => {}
                (Ok(place), accepted) = accept => match accepted {
                    Ok((tcp, from)) => begin(&shared, &mut clients, (tcp, from), place),
                    Err(error) => back_off(&error).await,
                },
            }
        }
        drop(listener);
        shared.registry.drain();
        shared.draining.send_replace(true);
        let all = async { while clients.join_next().await.is_some() {} };
        if timeout(shared.config.drain_timeout, all).await.is_err() {
            shared.registry.shut_down();
            // Who is told to close at once does.
            let all = async { while clients.join_next().await.is_some() {} };
            drop(timeout(LAST, all).await);
        }
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// How long connections that were told to close at once may take.
const LAST: Duration = Duration::from_millis(100);

/// Waits, where accepting would only fail again (accept(2)): no descriptor or memory is left.
async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept");
    sleep(Duration::from_millis(50)).await;
}

fn begin(
    shared: &Arc<Shared>,
    clients: &mut JoinSet<()>,
    (tcp, from): (TcpStream, SocketAddr),
    place: OwnedSemaphorePermit,
) {
    shared.counters.accepted();
    if clients.len() >= shared.config.connections.max(1) {
        shared.reject(from, Rejection::TooMany, None);
        return;
    }
    match shared.handshakes.begin(place, from.ip()) {
        Some(handshake) => {
            clients.spawn(accept::serve(Arc::clone(shared), tcp, from, handshake));
        }
        None => shared.reject(from, Rejection::TooManyOfAddress, None),
    }
}
