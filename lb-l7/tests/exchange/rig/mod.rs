//! A proxy whose clients and backends are scripts of the same process.

mod client;
mod dial;
mod raw;
mod served;
mod told;

use std::time::Duration;

use lb_l7::upstream::{BackendProtocol, Hedge, RetryBudgetConfig, RetryPolicy, UpstreamConfig};
use lb_l7::{HttpProxy, Peer, Settings, Target, Timeouts, Upstream};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) use client::{Announced, Body, Call, Client, is_over};
pub(crate) use dial::{Dial, Door};
pub(crate) use raw::{Head, Raw};
pub(crate) use served::Served;
pub(crate) use told::{Ended, Told};

/// What one side speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

pub(crate) use Speaks::{Http1, Http2};

/// Every pairing of what the client speaks and what the backend speaks.
pub(crate) const PAIRS: [(Speaks, Speaks); 4] = [
    (Http1, Http1),
    (Http2, Http1),
    (Http1, Http2),
    (Http2, Http2),
];

/// Fields, as they stand in a test.
pub(crate) type Fields = Vec<(String, String)>;

/// How a world is to be.
pub(crate) struct Plan {
    pub(crate) backend: Speaks,
    pub(crate) backends: usize,
    /// Bytes that fit between two ends of a stream.
    pub(crate) pipe: usize,
    pub(crate) upstream: UpstreamConfig,
    pub(crate) retry: RetryPolicy,
    pub(crate) target: Box<dyn FnOnce(Target) -> Target>,
    pub(crate) budget: RetryBudgetConfig,
    pub(crate) timeouts: Timeouts,
    pub(crate) settings: Box<dyn FnOnce(Settings) -> Settings>,
}

impl Plan {
    pub(crate) fn to(backend: Speaks) -> Self {
        Self {
            backend,
            backends: 1,
            pipe: 64 * 1024,
            upstream: UpstreamConfig::default(),
            retry: RetryPolicy::default(),
            target: Box::new(|target| target),
            budget: RetryBudgetConfig::default(),
            timeouts: Timeouts::default(),
            settings: Box::new(|settings| settings),
        }
    }

    pub(crate) fn backends(mut self, backends: usize) -> Self {
        self.backends = backends;
        self
    }

    pub(crate) fn pipe(mut self, bytes: usize) -> Self {
        self.pipe = bytes;
        self
    }

    pub(crate) fn upstream(
        mut self,
        change: impl FnOnce(UpstreamConfig) -> UpstreamConfig,
    ) -> Self {
        self.upstream = change(self.upstream);
        self
    }

    pub(crate) fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    pub(crate) fn hedge(self, hedge: Hedge) -> Self {
        self.target(move |target| target.hedge(hedge))
    }

    pub(crate) fn target(mut self, change: impl FnOnce(Target) -> Target + 'static) -> Self {
        self.target = Box::new(change);
        self
    }

    pub(crate) fn budget(mut self, budget: RetryBudgetConfig) -> Self {
        self.budget = budget;
        self
    }

    pub(crate) fn timeouts(mut self, change: impl FnOnce(&mut Timeouts)) -> Self {
        change(&mut self.timeouts);
        self
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(Settings) -> Settings + 'static) -> Self {
        self.settings = Box::new(change);
        self
    }

    pub(crate) fn build(self) -> World {
        let (dial, accepted) = Dial::new(self.pipe);
        let mut pool = Pool::new(RoundRobin);
        for n in 0..self.backends {
            let address = format!("memory:b{n}").parse().unwrap();
            pool = pool.backend(Backend::new(&format!("b{n}"), address));
        }
        let protocol = match self.backend {
            Http1 => BackendProtocol::Http1,
            Http2 => BackendProtocol::Http2,
        };
        let config = self.upstream.workers(1).protocol(protocol);
        let upstream = Upstream::new(pool.clone())
            .connector(dial.clone())
            .config(config)
            .unwrap()
            .retry_budget(self.budget)
            .unwrap();
        let target = (self.target)(Target::new(upstream.clone()).retry(self.retry));
        let told = Told::default();
        let settings = Settings::to(target)
            .unwrap()
            .timeouts(self.timeouts)
            .filter(told.clone());
        let (calls, called) = mpsc::unbounded_channel();
        World {
            proxy: HttpProxy::with_workers((self.settings)(settings), 1),
            pool,
            upstream,
            told,
            dial,
            speaks: self.backend,
            pipe: self.pipe,
            accepted: Some(accepted),
            calls,
            called,
        }
    }
}

/// A proxy, the backends behind it, and what it reports.
pub(crate) struct World {
    pub(crate) proxy: HttpProxy,
    pub(crate) pool: Pool<RoundRobin>,
    pub(crate) upstream: Upstream,
    pub(crate) told: Told,
    pub(crate) dial: Dial,
    speaks: Speaks,
    pipe: usize,
    accepted: Option<mpsc::UnboundedReceiver<(String, DuplexStream)>>,
    calls: mpsc::UnboundedSender<Served>,
    called: mpsc::UnboundedReceiver<Served>,
}

impl World {
    /// A client's bytes, and the task that serves them.
    pub(crate) fn connect(&self) -> (Raw, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(self.pipe);
        let proxy = self.proxy.clone();
        let peer = Peer::new(
            "192.0.2.7:1234".parse().unwrap(),
            "192.0.2.1:80".parse().unwrap(),
        );
        let task = tokio::spawn(async move { proxy.serve_connection(far, peer).await });
        (Raw::new(near), task)
    }

    /// A client's bytes.
    pub(crate) fn raw(&self) -> Raw {
        self.connect().0
    }

    /// A client.
    pub(crate) async fn client(&self, speaks: Speaks) -> Client {
        Client::new(speaks, self.raw()).await
    }

    /// The next connection to a backend, byte by byte.
    pub(crate) async fn accept(&mut self) -> Raw {
        self.accept_named().await.1
    }

    pub(crate) async fn accept_named(&mut self) -> (String, Raw) {
        let accepted = self
            .accepted
            .as_mut()
            .expect("backends are raw or they are not");
        let (name, stream) = accepted.recv().await.unwrap();
        (name, Raw::new(stream))
    }

    /// No backend is connected to, however long one waits.
    pub(crate) async fn no_connection(&mut self) {
        let accepted = self
            .accepted
            .as_mut()
            .expect("backends are raw or they are not");
        let waited = tokio::time::timeout(A_MOMENT, accepted.recv()).await;
        assert!(waited.is_err(), "a backend was reached");
    }

    /// The next request at a backend, which speaks what the plan says.
    pub(crate) async fn call(&mut self) -> Served {
        self.start();
        let called = tokio::time::timeout(LONG, self.called.recv()).await;
        called.expect("no request has come").unwrap()
    }

    /// As [`call`](Self::call), if one comes within this time.
    pub(crate) async fn call_within(&mut self, time: Duration) -> Option<Served> {
        self.start();
        tokio::time::timeout(time, self.called.recv()).await.ok()?
    }

    /// Has the backends speak HTTP.
    pub(crate) fn start(&mut self) {
        if let Some(accepted) = self.accepted.take() {
            tokio::spawn(served::accept(accepted, self.speaks, self.calls.clone()));
        }
    }

    /// Has each backend answer all its requests, each after as long as `delay` says of its name.
    pub(crate) fn answer_after(&mut self, delay: impl Fn(&str) -> Duration + Send + 'static) {
        let mut accepted = self.accepted.take().unwrap();
        tokio::spawn(async move {
            while let Some((name, stream)) = accepted.recv().await {
                let (mut raw, delay) = (Raw::new(stream), delay(&name));
                tokio::spawn(async move {
                    while raw.try_until("\r\n\r\n").await.is_some() {
                        tokio::time::sleep(delay).await;
                        let text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        raw.try_send(text).await;
                    }
                });
            }
        });
    }

    /// No request comes to a backend, however long one waits.
    pub(crate) async fn no_call(&mut self) {
        self.start();
        let waited = tokio::time::timeout(A_MOMENT, self.called.recv()).await;
        assert!(waited.is_err(), "a request came to a backend");
    }

    /// How the one exchange there was has ended.
    pub(crate) async fn ended(&self) -> Ended {
        self.settle().await;
        let all = self.told.all();
        assert_eq!(all.len(), 1, "{all:#?}");
        self.checks();
        all.into_iter().next().unwrap()
    }

    /// Lets everything that can happen without time happen.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(A_MOMENT).await;
    }

    /// Nothing is under way, and everything was counted once.
    pub(crate) fn checks(&self) {
        for backend in self.pool.stats() {
            assert_eq!(backend.in_flight(), 0, "a lease is out");
        }
        for (name, figures) in self.proxy.upstream_stats() {
            assert_eq!(figures.read().in_flight(), 0, "{name}");
        }
        for (name, figures) in self.proxy.route_stats() {
            assert_eq!(figures.in_flight(), 0, "{name}");
        }
        let counted: u64 = self.proxy.stats().terminations().map(|(_, n)| n).sum();
        assert_eq!(counted, self.told.all().len() as u64);
    }

    /// Connections to backends that are idle, and those that are open.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let stats = self.upstream.stats();
        let sum = |of: fn(&lb_l7::upstream::ConnectionStats) -> u64| stats.iter().map(of).sum();
        (sum(|s| u64::from(s.idle)), sum(|s| u64::from(s.open)))
    }
}

/// Long enough for all that needs no time, in a time that is paused.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(5);

/// Longer than anything in a test is let wait.
const LONG: Duration = Duration::from_secs(100_000);

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
