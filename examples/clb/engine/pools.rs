//! The pools in service: made from the file, probed, and told of in the log.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lb_l4::connect::Dial;
use lb_l4::{Clock, probe};
use lb_l7::Upstream;
use lb_l7::probe::{self as http_probe, HttpProbe};
use lb_l7::tls::Alpn;
use lb_l7::upstream::{BackendProtocol, ConnectionStats};
use lbcore::health::{
    HealthConfig, OutlierConfig, ProbeFailure, ProbeKind, ProbeOutcome, SlowStart,
};
use lbcore::pool::{PoolConfig, Probe};
use lbcore::schedule::AnyScheduler;
use lbcore::{BackendId, Delta, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::probes::{Place, Places, Turn};
use super::{events, scheduler};
use crate::config;

/// A pool whose scheduler is chosen by its name.
pub(super) type Pool = lbcore::Pool<AnyScheduler>;

/// Probes over, by backend and result.
type ProbeCounts = BTreeMap<BackendId, BTreeMap<&'static str, u64>>;

/// What probes of [`ProbeKind::Custom`] ask.
///
/// Once said, there is always one: a probe of the old kind may be under way when the kind changes.
type Question = Arc<ArcSwapOption<HttpProbe>>;

/// A pool in service; dropped, it is probed no longer.
#[derive(Debug)]
pub(super) struct Served {
    /// Shared with all workers.
    pub(super) pool: Pool,
    /// The name of its scheduler.
    pub(super) scheduler: &'static str,
    probes: Arc<Mutex<ProbeCounts>>,
    question: Question,
    changed: Arc<Notify>,
    driver: JoinHandle<()>,
    name: String,
    /// What the file says of the way of http.
    way: config::Upstream,
    /// Made when a listener of http first asks: others need no connections kept.
    upstream: OnceCell<Upstream>,
}

/// How http reaches the backends of a pool.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// Shared by all listeners, so that limits hold for all of them together.
    pub(super) upstream: Upstream,
    /// Whether its scheduler places requests by key.
    pub(super) is_keyed: bool,
}

impl Served {
    /// Makes a pool and begins to probe it, while it has a place among `places`.
    ///
    /// # Errors
    ///
    /// Says what the library does not take; the parser lets nothing like it through.
    pub(super) fn start(
        clock: Clock,
        places: &Places,
        from: &config::Pool,
    ) -> Result<Self, String> {
        let pool = Pool::new(scheduler::make(&from.scheduler)?);
        let now = clock.now();
        pool.configure(now, settings(from))
            .map_err(|error| error.to_string())?;
        let backends = Delta::Replace(from.backends.clone());
        pool.apply(now, [backends])
            .map_err(|error| error.to_string())?;
        let (probes, changed) = (Arc::default(), Arc::default());
        let question = Question::default();
        ask(&question, from)?;
        let driver = Driver {
            name: from.name.clone(),
            pool: pool.clone(),
            clock,
            probes: Arc::clone(&probes),
            question: Arc::clone(&question),
            changed: Arc::clone(&changed),
        };
        Ok(Self {
            pool,
            scheduler: from.scheduler.name,
            probes,
            question,
            changed,
            name: from.name.clone(),
            way: from.upstream.clone(),
            upstream: OnceCell::new(),
            driver: tokio::spawn(driver.run(places.clone().turn())),
        })
    }

    /// Takes what a new file says of it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(super) fn update(
        &self,
        now: Instant,
        to: &config::Pool,
        deltas: Vec<Delta>,
    ) -> Result<(), String> {
        ask(&self.question, to)?;
        self.pool
            .configure(now, settings(to))
            .map_err(|error| error.to_string())?;
        self.pool
            .apply(now, deltas)
            .map_err(|error| error.to_string())?;
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who are gone would be counted for ever.
        probes.retain(|id, _| to.backends.iter().any(|backend| backend.id == *id));
        drop(probes);
        self.changed.notify_one();
        Ok(())
    }

    /// How http reaches its backends, for that many workers.
    ///
    /// # Errors
    ///
    /// Says what the library does not take; the parser lets nothing like it through.
    pub(super) fn way(&self, workers: usize) -> Result<Way, String> {
        let upstream = match self.upstream.get() {
            Some(upstream) => upstream.clone(),
            None => {
                let made = self.make(&self.way, workers)?;
                self.upstream.get_or_init(|| made).clone()
            }
        };
        Ok(self.as_way(upstream))
    }

    /// The way that `to` says, which is not taken yet.
    ///
    /// # Errors
    ///
    /// As [`way`](Self::way).
    pub(super) fn other_way(&self, to: &config::Upstream, workers: usize) -> Result<Way, String> {
        Ok(self.as_way(self.make(to, workers)?))
    }

    /// Takes another way; exchanges under way end on the one they began on.
    pub(super) fn take(&mut self, to: config::Upstream, way: Way) {
        self.way = to;
        self.upstream = OnceCell::from(way.upstream);
    }

    /// The connections of http to each backend, if there are any.
    pub(super) fn connections(&self) -> Vec<ConnectionStats> {
        self.upstream.get().map(Upstream::stats).unwrap_or_default()
    }

    fn make(&self, from: &config::Upstream, workers: usize) -> Result<Upstream, String> {
        let upstream = Upstream::new(self.pool.clone()).name(&self.name);
        let config = from.config.clone().workers(workers);
        let told = |error: &dyn fmt::Display| format!("pool.{}: {error}", self.name);
        let upstream = upstream.config(config).map_err(|e| told(&e))?;
        let upstream = upstream.retry_budget(from.retries).map_err(|e| told(&e))?;
        match &from.tls {
            Some(tls) => {
                let tls = tls.made(alpn(from.config.protocol)).map_err(|e| told(&e))?;
                Ok(upstream.tls(tls))
            }
            None => Ok(upstream),
        }
    }

    fn as_way(&self, upstream: Upstream) -> Way {
        Way {
            upstream,
            is_keyed: BY_KEY.contains(&self.scheduler),
        }
    }

    /// Probes of `backend` that are over, by result: every result, so that rates begin at 0.
    pub(super) fn probes(&self, backend: BackendId) -> BTreeMap<&'static str, u64> {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::from(RESULTS.map(|result| (result, 0)));
        counts.extend(probes.get(&backend).into_iter().flatten());
        counts
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What keeps a pool's time: probes, ramps, ejections, and what is said of them.
struct Driver {
    name: String,
    pool: Pool,
    clock: Clock,
    probes: Arc<Mutex<ProbeCounts>>,
    question: Question,
    changed: Arc<Notify>,
}

impl Driver {
    async fn run(self, mut turn: Turn) {
        let mut told = 0;
        loop {
            let now = self.clock.now();
            self.pool.handle_timeout(now);
            // A probe's time runs from when it is polled: the place comes first.
            while let Some(place) = turn.take()
                && let Some(probe) = self.pool.poll_probe(now)
            {
                self.send(probe, place);
            }
            let happened = self.pool.events(told);
            told = happened.next;
            events::log(&self.name, self.clock.now(), &happened);
            // What is due may be a probe that waits for its place, not for its time.
            let next = self.pool.poll_timeout().filter(|_| !turn.is_waiting());
            let next = next.map_or(TICK, |at| at.since(now).min(TICK));
            tokio::select! {
                () = sleep(next.max(TICK_LEAST)) => {}
                () = self.changed.notified() => {}
                () = turn.come() => {}
            }
        }
    }

    fn send(&self, probe: Probe, place: Place) {
        let (pool, clock) = (self.pool.clone(), self.clock);
        let (probes, changed) = (Arc::clone(&self.probes), Arc::clone(&self.changed));
        let question = match probe.kind {
            ProbeKind::Custom => self.question.load_full(),
            _ => None,
        };
        tokio::spawn(async move {
            // One clock: both crates tell the time of the kernel.
            let outcome = match question {
                Some(http) => http_probe::send(&probe, &http).await,
                None => probe::send(&probe, &Dial::default(), clock).await,
            };
            drop(place);
            pool.handle_probe(clock.now(), probe.backend, probe.number, outcome);
            let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
            *probes
                .entry(probe.backend)
                .or_default()
                .entry(result(outcome))
                .or_default() += 1;
            drop(probes);
            changed.notify_one();
        });
    }
}

/// Has probes ask what `from` says, if they ask anything; before the pool knows of it.
fn ask(question: &Question, from: &config::Pool) -> Result<(), String> {
    if let Some(config::HealthKind::Http(health)) = from.health.as_ref().map(|all| &all.kind) {
        question.store(Some(Arc::new(health.made(&from.upstream)?)));
    }
    Ok(())
}

/// The name of an outcome, for metrics.
const fn result(outcome: ProbeOutcome) -> &'static str {
    match outcome {
        ProbeOutcome::Pass(_) => "pass",
        ProbeOutcome::Fail(ProbeFailure::Io) => "io",
        ProbeOutcome::Fail(ProbeFailure::Refused) => "refused",
        ProbeOutcome::Fail(ProbeFailure::Reset) => "reset",
        ProbeOutcome::Fail(ProbeFailure::Timeout) => "timeout",
        ProbeOutcome::Fail(ProbeFailure::Unreachable) => "unreachable",
        ProbeOutcome::Fail(ProbeFailure::WrongAnswer) => "wrong-answer",
        ProbeOutcome::Fail(_) => "other",
    }
}

/// How the library is to treat the backends of this pool.
fn settings(from: &config::Pool) -> PoolConfig {
    let mut settings = PoolConfig::default().panic_threshold(from.panic_threshold.into());
    let backends = u32::try_from(from.backends.len()).unwrap_or(u32::MAX);
    if let Some(from) = &from.health {
        settings = settings.health(health(from, backends));
    }
    if let Some(from) = &from.outlier {
        settings = settings.outlier(outlier(from));
    }
    if let Some(from) = from.slow_start {
        let minimum = f64::from(from.minimum) / 100.0;
        let ramp = SlowStart::over(from.window)
            .aggression(from.aggression)
            .minimum(minimum);
        settings = settings.slow_start(ramp);
    }
    if let Some(zone) = &from.zone {
        settings = settings.zone(zone);
    }
    settings
}

fn health(from: &config::Health, backends: u32) -> HealthConfig {
    let kind = match &from.kind {
        config::HealthKind::Http(_) => ProbeKind::Custom,
        config::HealthKind::Tcp => ProbeKind::TcpConnect,
        config::HealthKind::TcpExchange { send, expect } => ProbeKind::TcpExchange {
            send: send.as_slice().into(),
            expect: expect.as_slice().into(),
        },
        config::HealthKind::UdpExchange { send, expect } => ProbeKind::UdpExchange {
            send: send.as_slice().into(),
            expect: expect.as_slice().into(),
        },
    };
    let health = HealthConfig::new(kind)
        .interval(from.interval)
        .timeout(from.timeout)
        .rise(from.rise)
        .fall(from.fall)
        .jitter(from.jitter)
        .initial_spread(from.interval.min(SPREAD * backends));
    match from.fast_interval {
        Some(fast) => health.fast_interval(fast),
        None => health,
    }
}

fn outlier(from: &config::Outlier) -> OutlierConfig {
    OutlierConfig::default()
        .interval(from.interval)
        .consecutive_failures(from.consecutive_failures)
        .min_hosts(usize::try_from(from.min_hosts).unwrap_or(usize::MAX))
        .min_requests(from.min_requests)
        .failure_percentage(from.failure_percentage)
        .success_rate_deviations(from.success_rate_deviations)
        .success_rate_margin(from.success_rate_margin)
        .latency_deviations(from.latency_deviations)
        .latency_ratio(from.latency_ratio)
        .base_ejection(from.base_ejection)
        .max_ejection(from.max_ejection)
        .max_ejected_percent(from.max_ejected_percent)
}

/// What is offered to backends of this protocol.
const fn alpn(protocol: BackendProtocol) -> &'static [Alpn] {
    match protocol {
        BackendProtocol::Http2 => &[Alpn::Http2],
        BackendProtocol::Negotiated => &[Alpn::Http2, Alpn::Http1],
        _ => &[Alpn::Http1],
    }
}

/// Schedulers that place by key.
const BY_KEY: [&str; 4] = ["maglev", "ketama", "rendezvous", "bounded-load"];

/// Every name that [`result`] gives.
const RESULTS: [&str; 8] = [
    "pass",
    "io",
    "refused",
    "reset",
    "timeout",
    "unreachable",
    "wrong-answer",
    "other",
];

/// The first probes of a large pool follow each other this closely, so that they are no storm.
const SPREAD: Duration = Duration::from_millis(1);
/// What traffic does to a pool is seen this late at most; costs one lock a pool each time.
const TICK: Duration = Duration::from_millis(250);
/// A moment that is due again and again must not take the whole thread.
const TICK_LEAST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_result_of_probes_is_counted_from_0() {
        let served =
            Served::start(Clock::monotonic(), &Places::default(), &pool("")).expect("a pool");
        let a = BackendId::of_name("a");
        let count = served.probes.clone();
        let mut count = count.lock().expect("no panic");
        count.insert(a, BTreeMap::from([("reset", 3)]));
        drop(count);
        let told = served.probes(a);
        assert_eq!((told.len(), told["reset"], told["pass"]), (8, 3, 0));
        assert_eq!(served.probes(BackendId::of_name("b"))["other"], 0);
        let results = [
            ProbeOutcome::Pass(Duration::ZERO),
            ProbeOutcome::Fail(ProbeFailure::Io),
            ProbeOutcome::Fail(ProbeFailure::Refused),
            ProbeOutcome::Fail(ProbeFailure::Reset),
            ProbeOutcome::Fail(ProbeFailure::Timeout),
            ProbeOutcome::Fail(ProbeFailure::Unreachable),
            ProbeOutcome::Fail(ProbeFailure::WrongAnswer),
        ];
        assert!(results.iter().all(|one| RESULTS.contains(&result(*one))));
    }

    #[tokio::test]
    async fn probes_of_a_backend_that_is_gone_are_counted_no_longer() {
        let [a, b] = ["a", "b"].map(BackendId::of_name);
        let two = pool(
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\" }, { name = \"b\", address = \"10.0.0.2:1\" }]",
        );
        let one = pool("backends = [{ name = \"b\", address = \"10.0.0.2:1\" }]");
        let clock = Clock::monotonic();
        let served = Served::start(clock, &Places::default(), &two).expect("a pool");
        let counts = || served.probes.lock().expect("no panic");
        for id in [a, b] {
            counts().insert(id, BTreeMap::from([("pass", 1)]));
        }
        let deltas = vec![Delta::Remove(a)];
        served.update(clock.now(), &one, deltas).expect("changed");
        assert_eq!(counts().keys().collect::<Vec<_>>(), [&b]);
    }

    fn pool(rest: &str) -> config::Pool {
        let text = format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"random\"\n{rest}\n\
             [[listener]]\nname = \"l\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:1\"\npool = \"p\"\n"
        );
        config::parse(&text).expect(&text).config.pools.remove(0)
    }

    #[test]
    fn what_the_file_leaves_to_the_library_is_the_librarys_default() {
        let found = settings(&pool("outlier = {}\nslow_start = { window = \"9s\" }"));
        let expected = PoolConfig::default()
            .outlier(OutlierConfig::default())
            .slow_start(SlowStart::over(Duration::from_secs(9)));
        assert_eq!(found, expected);
        assert_eq!(settings(&pool("")), PoolConfig::default());
        let health = settings(&pool("health = { kind = \"tcp\" }")).health;
        assert_eq!(health, Some(HealthConfig::default()));
        for kind in ["http", "grpc"] {
            let health = settings(&pool(&format!("health = {{ kind = \"{kind}\" }}"))).health;
            assert_eq!(health.expect(kind).kind, ProbeKind::Custom);
        }
    }

    #[test]
    fn every_setting_of_the_file_reaches_the_library() {
        let found = settings(&pool(
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\" }, { name = \"b\", address = \"10.0.0.2:1\" }]\n\
             panic_threshold = 7\nzone = \"north\"\n\
             health = { kind = \"udp-exchange\", send = \"s\", expect = \"e\", interval = \"5s\", fast_interval = \"3s\", timeout = \"4s\", rise = 6, fall = 7, jitter = 8 }\n\
             slow_start = { window = \"9s\", aggression = 2, minimum = 50 }\n\
             outlier = { interval = \"1s\", consecutive_failures = 2, min_hosts = 3, min_requests = 4, failure_percentage = 5, success_rate_deviations = 6, success_rate_margin = 7, latency_deviations = 8, latency_ratio = 9, base_ejection = \"10s\", max_ejection = \"11s\", max_ejected_percent = 12 }",
        ));
        let seconds = Duration::from_secs;
        let health = HealthConfig::new(ProbeKind::UdpExchange {
            send: (*b"s").into(),
            expect: (*b"e").into(),
        });
        let health = health
            .interval(seconds(5))
            .fast_interval(seconds(3))
            .timeout(seconds(4));
        let spread = Duration::from_millis(2);
        let health = health.rise(6).fall(7).jitter(8).initial_spread(spread);
        let outlier = OutlierConfig::default()
            .interval(seconds(1))
            .consecutive_failures(2)
            .min_hosts(3)
            .min_requests(4)
            .failure_percentage(5)
            .success_rate_deviations(6.0)
            .success_rate_margin(7)
            .latency_deviations(8.0)
            .latency_ratio(9.0)
            .base_ejection(seconds(10))
            .max_ejection(seconds(11))
            .max_ejected_percent(12);
        let slow_start = SlowStart::over(seconds(9)).aggression(2.0).minimum(0.5);
        let expected = PoolConfig::default().health(health).outlier(outlier);
        let expected = expected
            .slow_start(slow_start)
            .panic_threshold(7)
            .zone("north");
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn pools_wait_for_each_others_probes_when_places_are_few() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let backends = ["a", "b", "c"]
            .map(|name| format!("{{ name = \"{name}\", address = \"{address}\" }}"))
            .join(", ");
        let from = pool(&format!(
            "backends = [{backends}]\nhealth = {{ kind = \"tcp-exchange\", expect = \"+\", interval = \"1h\", timeout = \"1h\" }}"
        ));
        let places = Places::new(1);
        let start = || Served::start(Clock::monotonic(), &places, &from).expect("probed");
        let pools = [start(), start()];
        for _ in 0..6 {
            let (mut probe, _) = listener.accept().await.expect("a probe");
            for _ in 0..64 {
                tokio::select! {
                    biased;
                    _ = listener.accept() => panic!("two probes at once"),
                    () = tokio::task::yield_now() => {}
                }
            }
            probe.write_all(b"+").await.expect("answered");
            // A probe that has seen enough resets the connection.
            let _ = probe.read(&mut [0]).await;
        }
        let passed = |served: &Served| {
            let of = |backend: &lbcore::Backend| served.probes(backend.id).get("pass").copied();
            from.backends.iter().all(|backend| of(backend) == Some(1))
        };
        while !pools.iter().all(passed) {
            tokio::task::yield_now().await;
        }
    }
}
