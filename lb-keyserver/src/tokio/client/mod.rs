//! The client's connections: [`KeyClient`].

mod address;
mod call;
mod cause;
mod certified;
mod clock;
mod connection;
mod dial;
mod keeper;
mod lane;
mod request;
mod shared;
mod trial;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::client::{ClientStats, ConfigError, Fault, Home, KeyClientConfig};
use crate::mutual_tls::MutualTls;
use crate::sign::{RemoteSigner, SignRequest, Signing};

pub use address::Addresses;
pub use certified::CertifiedKeyError;

use address::Address;
use shared::{Phase, Shared};

/// Asks key servers for signatures.
///
/// Holds one or two connections to each server, puts many questions on each, and takes their answers
/// in any order. A signature that does not verify is never handed out by default; a server that
/// fails, lies or is silent is not asked until it has passed a trial; a question is asked again
/// elsewhere where that may help. When no server can be asked, a signature fails at once with
/// [`SignError::NoServer`](crate::SignError::NoServer), and the TLS client gets its alert at once.
///
/// A handle: clones share the connections, and those end with the last of them. A signature may be
/// asked for on any tokio runtime that has a timer; the connections live where
/// [`Home`] says.
///
/// Cost of a signature: three allocations besides its bytes, some short locks, one timer; a
/// verification, see [`Verify`](crate::client::Verify).
///
/// # Examples
///
/// ```no_run
/// use lb_keyserver::{KeyClient, MutualTls, RemoteSigner, SignRequest};
///
/// # async fn sign(request: SignRequest) -> Result<(), Box<dyn std::error::Error>> {
/// let identity = MutualTls::from_pem_files("node.pem", "node-key.pem", "key-server-ca.pem")?;
/// let keys = KeyClient::connect(["keys-1.internal:2407", "keys-2.internal:2407"], identity).await?;
/// let signature = keys.sign(request).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyClient(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    tasks: AbortHandle,
}

impl KeyClient {
    /// Connects with the default configuration; ready once one server can be asked.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config).
    pub async fn connect(
        addresses: impl Into<Addresses>,
        identity: MutualTls,
    ) -> Result<Self, ConnectError> {
        Self::with_config(addresses, identity, KeyClientConfig::default()).await
    }

    /// Connects; ready once one server can be asked. The others are connected to meanwhile.
    ///
    /// # Errors
    ///
    /// As [`lazy`](Self::lazy), and [`ConnectError::NoServer`] once a first attempt to reach each
    /// server has failed: a node that starts with a wrong name, certificate or mode learns so.
    pub async fn with_config(
        addresses: impl Into<Addresses>,
        identity: MutualTls,
        config: KeyClientConfig,
    ) -> Result<Self, ConnectError> {
        let client = Self::lazy(addresses, identity, config)?;
        client.settled().await?;
        Ok(client)
    }

    /// Starts to connect, and does not wait: for a node that has to start while its key servers
    /// are down, and serve resumed sessions until they are up.
    ///
    /// # Errors
    ///
    /// When the configuration or an address is wrong, there is no address, or there is no tokio
    /// runtime to run on.
    pub fn lazy(
        addresses: impl Into<Addresses>,
        identity: MutualTls,
        config: KeyClientConfig,
    ) -> Result<Self, ConnectError> {
        config.check()?;
        let addresses = addresses.into().parse().map_err(ConnectError::BadAddress)?;
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let shared = Arc::new(Shared::new(config, identity, seed()));
        shared.handle_awaited(addresses.len());
        let tasks = start(&shared, addresses)?;
        Ok(Self(Arc::new(Inner { shared, tasks })))
    }

    /// Uses another identity for connections to come. Those that are up stay.
    pub fn set_identity(&self, identity: MutualTls) {
        self.0.shared.identity.store(Arc::new(identity));
    }

    /// What was counted, and what is known of each server.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        let shared = &self.0.shared;
        let stats = shared.servers().stats(|gate| gate.label());
        ClientStats {
            waiting: shared.waiting().into(),
            ..stats
        }
    }

    /// Takes no new request, waits for those under way, and closes the connections.
    ///
    /// Lasts as long as the request with the most time left, and at most a second longer. New
    /// requests fail with [`SignError::ShutDown`](crate::SignError::ShutDown) from now on, on every
    /// clone.
    pub async fn close(&self) {
        let Inner { shared, tasks } = &*self.0;
        shared.phase.send_if_modified(|phase| {
            let is_later = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            is_later
        });
        loop {
            let idle = shared.idle.notified();
            if shared.waiting() == 0 {
                break;
            }
            idle.await;
        }
        shared.phase.send_replace(Phase::Closed);
        let ended = async {
            while !tasks.is_finished() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        drop(tokio::time::timeout(CLOSED_WITHIN, ended).await);
        tasks.abort();
    }

    /// Waits until a server can be asked.
    async fn settled(&self) -> Result<(), ConnectError> {
        let shared = &self.0.shared;
        loop {
            let settled = shared.settled.notified();
            if shared.servers().any_may_be_asked() {
                return Ok(());
            }
            {
                let first = lock(&shared.first);
                if first.awaited == 0 {
                    let fault = first.fault.unwrap_or(Fault::Closed);
                    return Err(ConnectError::NoServer(fault));
                }
            }
            settled.await;
        }
    }
}

impl RemoteSigner for KeyClient {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        Box::pin(request::sign(&self.0.shared, request))
    }
}

impl fmt::Debug for KeyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyClient")
            .field("config", &self.0.shared.config)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.phase.send_replace(Phase::Closed);
        self.tasks.abort();
    }
}

/// Why there is no [`KeyClient`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// That address is none: `host:port` is, and so is `host`.
    #[error("`{0}` is not the address of a key server")]
    BadAddress(String),
    /// The configuration is out of its range.
    #[error(transparent)]
    BadConfig(#[from] ConfigError),
    /// There is no address at all.
    #[error("no address of a key server is given")]
    NoAddress,
    /// There is no tokio runtime here, or no thread could be had for one.
    #[error("there is no tokio runtime to run on")]
    NoRuntime,
    /// No server could be reached; this is how it failed last.
    #[error("no key server can be asked: {0}")]
    NoServer(Fault),
}

/// Starts the tasks where they are to live.
fn start(shared: &Arc<Shared>, addresses: Vec<Address>) -> Result<AbortHandle, ConnectError> {
    let no_runtime = ConnectError::NoRuntime;
    let run = keeper::run(Arc::clone(shared), addresses);
    match shared.config.home {
        Home::Here => {
            let here = Handle::try_current().map_err(|_| no_runtime)?;
            Ok(here.spawn(run).abort_handle())
        }
        Home::Thread => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|_| no_runtime.clone())?;
            let tasks = runtime.spawn(run);
            let aborted = tasks.abort_handle();
            let thread = std::thread::Builder::new().name("key-client".to_owned());
            // Ends with the tasks: closed, or aborted as the last handle is dropped.
            let thread = thread.spawn(move || drop(runtime.block_on(tasks)));
            thread.map(|_| aborted).map_err(|_| no_runtime)
        }
    }
}

/// Seeds choices that need to be uneven, not secret.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

/// Takes a lock whose holders do not panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often to look whether all tasks have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long connections may take to say goodbye.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
