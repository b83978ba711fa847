//! The proxy itself: settings that can change, workers that serve by them, and what they count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lbcore::budget::{Grant, Resource};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection;
use crate::drain::Drain;
use crate::limit::{CONNECTION_BYTES, LimitFigures, LimitGate};
use crate::peer::Peer;
use crate::service::ProxyService;
use crate::settings::Settings;
use crate::stats::{
    ExchangeFigures, ExchangeStats, ListenerFigures, ListenerStats, Refused, UpstreamStats, Writers,
};
use crate::worker::Worker;

/// An HTTP proxy, on whatever connections it is given.
///
/// Cheap to clone; clones are of the same proxy. It opens no socket, starts no thread and spawns no
/// task of its own but for connections of HTTP/2: give it a stream with
/// [`serve_connection`](Self::serve_connection), or sockets with [`HttpServer`](crate::HttpServer).
///
/// # Examples
///
/// A client and a proxy in one process:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_l7::{HttpProxy, Peer, Settings};
/// use lbcore::Pool;
/// use lbcore::schedule::RoundRobin;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let proxy = HttpProxy::new(Settings::to(Pool::new(RoundRobin::default()))?);
/// let (mut client, stream) = tokio::io::duplex(4096);
/// tokio::spawn(async move { proxy.serve_connection(stream, Peer::unnamed()).await });
///
/// client.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert!(answer.starts_with("HTTP/1.1 503 "), "the pool has no backend: {answer}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HttpProxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: ArcSwap<Settings>,
    workers: Box<[Arc<Worker>]>,
    stats: Registry,
    drain: Drain,
}

/// Everything that is counted, by name, so that new settings go on counting.
#[derive(Debug)]
struct Registry {
    writers: Writers,
    listener: ListenerStats,
    routes: Mutex<BTreeMap<String, ExchangeStats>>,
    upstreams: Mutex<BTreeMap<String, UpstreamStats>>,
    /// The limits in force.
    gate: Mutex<Option<LimitGate>>,
}

impl HttpProxy {
    /// A proxy with one worker a core.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(settings, cores)
    }

    /// A proxy with this many workers, at least one.
    ///
    /// A worker is a share of counters and of idle connections, not a thread: have each thread serve
    /// by a worker of its own, and nothing is contended.
    #[must_use]
    pub fn with_workers(settings: Settings, workers: usize) -> Self {
        let writers = Writers::new(workers);
        let seeds = std::hash::RandomState::new();
        let stats = Registry {
            listener: ListenerStats::new(&writers),
            writers,
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            gate: Mutex::default(),
        };
        let taken = std::iter::from_fn(|| stats.writers.take());
        let worker = |writer: crate::stats::Writer| {
            let seed = std::hash::BuildHasher::hash_one(&seeds, writer.index());
            Arc::new(Worker::new(seed, writer))
        };
        let workers = taken.map(worker).collect();
        let settings = stats.install(settings);
        Self(Arc::new(Shared {
            settings: ArcSwap::from_pointee(settings),
            workers,
            stats,
            drain: Drain::default(),
        }))
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.workers.len()
    }

    /// Has these settings decide over every request that begins from here on.
    ///
    /// Exchanges under way keep those they began with. Rules and upstreams of the same name go on
    /// counting where they were.
    pub fn update(&self, settings: Settings) {
        let settings = self.0.stats.install(settings);
        self.0.settings.store(Arc::new(settings));
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    /// Serves one connection, of HTTP/1 or HTTP/2, to its end, by the first worker.
    ///
    /// `peer` says who is there. Dropping the future breaks the connection off.
    pub async fn serve_connection<IO>(&self, io: IO, peer: Peer)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_by(0, io, peer).await;
    }

    /// As [`serve_connection`](Self::serve_connection), by the worker of this number, modulo
    /// [`workers`](Self::workers).
    pub async fn serve_by<IO>(&self, worker: usize, io: IO, peer: Peer)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match self.hold_connection() {
            Ok(_held) => connection::serve(self, worker, io, peer).await,
            Err(why) => {
                if let Some(worker) = self.worker(worker) {
                    worker.count(|writer| self.listener_stats().refused(writer, why));
                }
            }
        }
    }

    /// The proxy as a service for requests of `peer`, within somebody else's server.
    ///
    /// Each thread serves by a worker of its own. Nobody [sweeps](Self::sweep) for it, and a
    /// [drain](Self::drain) is the server's.
    #[must_use]
    pub fn service(&self, peer: Peer) -> ProxyService {
        ProxyService::new(self, peer)
    }

    /// Closes connections to backends that this worker has kept for too long.
    ///
    /// A server's own worker does so every second; whoever serves connections by other means does
    /// it now and then, or backends close them.
    pub fn sweep(&self, worker: usize) {
        let now = crate::clock::now();
        for target in self.settings().targets() {
            target.upstream.sweep(worker, now);
        }
    }

    /// Takes no new request on any connection; those under way go on.
    ///
    /// Clients are told: by `Connection: close`, by GOAWAY. Idle connections are closed. There is no
    /// way back.
    pub fn drain(&self) {
        self.0.drain.begin();
    }

    /// What has been counted of connections and of all exchanges.
    #[must_use]
    pub fn stats(&self) -> ListenerFigures {
        self.0.stats.listener.read()
    }

    /// What has been counted of each rule, by name; rules that are gone included.
    #[must_use]
    pub fn route_stats(&self) -> BTreeMap<String, ExchangeFigures> {
        let routes = lock(&self.0.stats.routes);
        routes
            .iter()
            .map(|(name, stats)| (name.clone(), stats.read()))
            .collect()
    }

    /// What has been counted of each upstream, by name; those that are gone included.
    #[must_use]
    pub fn upstream_stats(&self) -> BTreeMap<String, UpstreamStats> {
        lock(&self.0.stats.upstreams).clone()
    }

    /// What the limits on requests have turned away.
    #[must_use]
    pub fn limit_stats(&self) -> LimitFigures {
        self.0.settings.load().gate.figures()
    }

    /// What a connection takes of the budget, as long as it lasts.
    pub(crate) fn hold_connection(&self) -> Result<Option<[Grant; 2]>, Refused> {
        let settings = self.0.settings.load();
        let Some(budget) = &settings.limits.budget else {
            return Ok(None);
        };
        let take = |resource, amount| {
            let taken = budget.try_take(resource, amount);
            taken.map_err(|_| Refused::Budget)
        };
        let session = take(Resource::Sessions, 1)?;
        Ok(Some([session, take(Resource::Bytes, CONNECTION_BYTES)?]))
    }

    /// The settings in force, if they are others than `known`.
    pub(crate) fn settings_if_newer(&self, known: &Arc<Settings>) -> Option<Arc<Settings>> {
        let current = self.0.settings.load();
        (!Arc::ptr_eq(&current, known)).then(|| Arc::clone(&current))
    }

    pub(crate) fn worker(&self, index: usize) -> Option<&Arc<Worker>> {
        let workers = &self.0.workers;
        workers.get(index.checked_rem(workers.len())?)
    }

    pub(crate) fn listener_stats(&self) -> &ListenerStats {
        &self.0.stats.listener
    }

    pub(crate) fn drain_of(&self) -> &Drain {
        &self.0.drain
    }
}

impl Registry {
    /// Has `settings` count here.
    fn install(&self, mut settings: Settings) -> Settings {
        let mut routes = lock(&self.routes);
        let of_rule = |name: &str| {
            let new = || ExchangeStats::new(&self.writers);
            routes.entry(name.to_owned()).or_insert_with(new).clone()
        };
        settings.routes = settings
            .router
            .rules()
            .map(|rule| &*rule.name)
            .map(of_rule)
            .collect();
        settings.stats = self.listener.clone();
        let mut gate = lock(&self.gate);
        settings.gate = LimitGate::new(crate::clock::now(), &settings.limits, gate.as_ref());
        *gate = Some(settings.gate.clone());
        drop(gate);
        let mut upstreams = lock(&self.upstreams);
        for target in settings.targets() {
            let new = || UpstreamStats::new(&self.writers);
            let stats = upstreams
                .entry(target.upstream.as_str().to_owned())
                .or_insert_with(new);
            target.count_with(stats.clone());
        }
        settings
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters have no half-done state that a panic elsewhere could leave.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
