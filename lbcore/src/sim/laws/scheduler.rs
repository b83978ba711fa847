//! The laws of schedulers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backend::Admin;
use crate::health::{Health, HealthConfig, ProbeFailure, ProbeOutcome};
use crate::pool::{BackendStatus, PoolConfig, PoolView};
use crate::rng::{Rng, Xoshiro};
use crate::schedule::{Scheduler, Tried};
use crate::{Backend, BackendId, Balancer, Delta, Instant, Lease, Outcome, Pick, Pool, Ticket};

/// What every [`Scheduler`] must keep, whoever wrote it.
///
/// Runs 1,000 random pools through the schedulers that `make` returns, each under two workers:
/// sessions that come, end and are tried again; backends that come, leave, change their weights (0
/// and 65535 among them), fill up to their limits, and go down alone and together.
///
/// 1. It picks a backend whenever one is eligible, was not tried, and has room, and refuses only
///    when there is none.
/// 2. It picks no backend that was already tried for this session.
/// 3. The same seed and the same calls give the same picks.
/// 4. It picks no backend that has a weight of 0, is out of service, is full, or is down, unless so
///    many are down that health is disregarded.
/// 5. What is in flight by the pool's counters is what leases are held for, at every step.
///
/// # Panics
///
/// Panics at the first broken law, and names the seed that breaks it again.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::RoundRobin;
/// use lbcore::sim::laws::scheduler_laws;
///
/// scheduler_laws(|| RoundRobin);
/// ```
#[track_caller]
pub fn scheduler_laws<S: Scheduler>(make: impl Fn() -> S) {
    for seed in 0..RUNS {
        let first = World::new(seed, make()).run();
        if seed.is_multiple_of(4) {
            let again = World::new(seed, make()).run();
            let law = "3: the same seed and calls give the same picks";
            assert!(first == again, "law {law}, broken by seed {seed}");
        }
    }
}

const RUNS: u64 = 1_000;
const STEPS: u64 = 60;
const WORKERS: usize = 2;

/// One random pool, and all that is known of it by other means.
struct World<S: Scheduler> {
    seed: u64,
    rng: Xoshiro,
    now: Instant,
    pool: Pool<S>,
    workers: Vec<Balancer<S>>,
    leases: Vec<Lease>,
    members: BTreeSet<u64>,
    /// Those whose probes fail.
    down: BTreeSet<BackendId>,
    picks: Vec<Option<BackendId>>,
}

impl<S: Scheduler> World<S> {
    fn new(seed: u64, scheduler: S) -> Self {
        let mut rng = Xoshiro::new(seed);
        let health = HealthConfig::tcp_connect(INTERVAL).rise(1).fall(1);
        let panic = if rng.below(3) == 0 { 0 } else { 50 };
        let config = PoolConfig::default().panic_threshold(panic);
        let config = if rng.below(4) == 0 {
            config
        } else {
            config.health(health)
        };
        let pool = Pool::new(scheduler);
        let configured = pool.configure(Instant::ZERO, config);
        let workers = (0..WORKERS).map(|worker| pool.balancer(worker)).collect();
        let mut world = Self {
            seed,
            rng,
            now: Instant::ZERO,
            pool,
            workers,
            leases: Vec::new(),
            members: BTreeSet::new(),
            down: BTreeSet::new(),
            picks: Vec::new(),
        };
        world.check(configured.is_ok(), "0: the pool takes its configuration");
        world.populate();
        world
    }

    #[track_caller]
    fn check(&self, holds: bool, law: &str) {
        assert!(holds, "law {law}, broken by seed {}", self.seed);
    }

    fn run(mut self) -> Vec<Option<BackendId>> {
        for _ in 0..STEPS {
            match self.rng.below(16) {
                0 => self.change(),
                1 => self.turn(),
                2 => self.wait(),
                3..=6 => self.finish(),
                _ => self.acquire(),
            }
            self.check_counters();
        }
        while !self.leases.is_empty() {
            self.finish();
        }
        self.check_counters();
        self.picks
    }

    /// Replaces all backends.
    fn populate(&mut self) {
        let most = if self.rng.below(20) == 0 { 150 } else { 12 };
        let count = self.rng.below(most);
        self.members = (0..count).map(|_| self.rng.below(2 * most)).collect();
        let numbers = self.members.clone();
        let backends = numbers.into_iter().map(|number| self.backend(number));
        let backends = backends.collect();
        self.apply(Delta::Replace(backends));
        self.wait();
    }

    /// A backend of this number; its limit depends on nothing else, the rest is drawn.
    fn backend(&mut self, number: u64) -> Backend {
        let weight = match self.rng.below(10) {
            0 => 0,
            1 => u16::MAX,
            2..=5 => 1,
            _ => u16::try_from(self.rng.below(100)).unwrap_or(1),
        };
        let admin = match self.rng.below(12) {
            0 => Admin::Drain,
            1 => Admin::Maintenance,
            _ => Admin::Ready,
        };
        let priority = u8::from(self.rng.below(5) == 0);
        let backend = Backend::new(&format!("backend {number}"), address(number))
            .weight(weight)
            .priority(priority)
            .admin(admin);
        match limit(number) {
            0 => backend,
            most => backend.max_connections(most),
        }
    }

    fn apply(&self, delta: Delta) {
        let applied = self.pool.apply(self.now, [delta]);
        self.check(applied.is_ok(), "0: the pool takes its backends");
    }

    /// One backend comes, changes or leaves, or all are replaced.
    fn change(&mut self) {
        let number = self.rng.below(24);
        match self.rng.below(8) {
            0 => self.populate(),
            1..=3 if self.members.remove(&number) => {
                self.apply(Delta::Remove(id(number)));
            }
            _ => {
                self.members.insert(number);
                let backend = self.backend(number);
                self.apply(Delta::Upsert(backend));
            }
        }
    }

    /// Some backends go down or come up, or all do.
    fn turn(&mut self) {
        match self.rng.below(4) {
            0 => self.down.clear(),
            1 => self.down = self.members.iter().copied().map(id).collect(),
            _ => {
                let number = self.rng.below(24);
                if !self.down.remove(&id(number)) {
                    self.down.insert(id(number));
                }
            }
        }
        self.wait();
    }

    /// Lets time pass, and answers the probes.
    fn wait(&mut self) {
        self.now += INTERVAL * 2;
        self.pool.handle_timeout(self.now);
        while let Some(probe) = self.pool.poll_probe(self.now) {
            // Now and then an answer is lost, and the probe times out later.
            if self.rng.below(20) > 0 {
                let outcome = if self.down.contains(&probe.backend) {
                    ProbeOutcome::Fail(ProbeFailure::Refused)
                } else {
                    ProbeOutcome::Pass(Duration::ZERO)
                };
                self.pool
                    .handle_probe(self.now, probe.backend, probe.number, outcome);
            }
        }
    }

    /// A session comes, perhaps one that was tried elsewhere before.
    fn acquire(&mut self) {
        self.now += Duration::from_micros(self.rng.below(1_000));
        let mut tried = Tried::default();
        let mut tickets = self.tickets();
        for _ in 0..self.rng.below(4).saturating_sub(1) * self.rng.below(5) {
            if !tickets.is_empty() {
                let at = self.rng.below(tickets.len() as u64);
                tried.add(tickets.swap_remove(usize::try_from(at).unwrap_or(0)));
            }
        }
        let preferred = (self.rng.below(6) == 0).then(|| id(self.rng.below(24)));
        let key = (self.rng.below(4) > 0).then(|| self.rng.next_u64() >> self.rng.below(64));
        let pick = Pick::default().key(key).preferred(preferred).tried(&tried);
        let worker = usize::try_from(self.rng.below(WORKERS as u64)).unwrap_or(0);
        let now = self.now;
        let lease = self
            .workers
            .get_mut(worker)
            .map(|worker| worker.acquire(now, &pick));
        let lease = lease.and_then(Result::ok);
        self.judge(lease.as_ref(), &tried);
        self.picks.push(lease.as_ref().map(Lease::backend));
        self.leases.extend(lease);
    }

    /// The tickets of all backends, in the order of identities.
    fn tickets(&self) -> Vec<Ticket> {
        let view = self.pool.view();
        view.backends().iter().map(|status| status.ticket).collect()
    }

    fn judge(&self, lease: Option<&Lease>, tried: &Tried) {
        let view = self.pool.view();
        let Some(lease) = lease else {
            let free = |status: &BackendStatus| {
                is_eligible(&view, status)
                    && !tried.contains(status.ticket)
                    && self.has_room(status)
            };
            let any = view.backends().iter().any(free);
            return self.check(!any, "1: a backend that may take the session is picked");
        };
        let status = view.backend(lease.backend());
        let Some(status) = status else {
            return self.check(false, "1: who is picked is in the pool");
        };
        self.check(
            is_eligible(&view, status),
            "1 and 4: who is picked is eligible",
        );
        self.check(
            !tried.contains(status.ticket),
            "2: who is picked was not tried",
        );
        self.check(self.has_room(status), "4: who is picked has room");
    }

    /// Whether its limit leaves room, by the leases that are held.
    fn has_room(&self, status: &BackendStatus) -> bool {
        let most = status.backend.max_connections.map_or(u64::MAX, u64::from);
        let held = self
            .leases
            .iter()
            .filter(|lease| lease.backend() == status.backend.id);
        (held.count() as u64) < most
    }

    fn finish(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(self.leases.len() as u64)).unwrap_or(0);
        let mut lease = self.leases.swap_remove(at);
        self.now += Duration::from_micros(self.rng.below(10_000));
        match self.rng.below(5) {
            0 => drop(lease),
            1 => lease.finish(self.now, Outcome::ConnectFailed),
            2 => lease.finish(self.now, Outcome::Overloaded { retry_after: None }),
            _ => {
                lease.first_byte(self.now);
                lease.finish(self.now, Outcome::Ok);
            }
        }
    }

    fn check_counters(&self) {
        let mut held: BTreeMap<BackendId, u64> = BTreeMap::new();
        for lease in &self.leases {
            *held.entry(lease.backend()).or_default() += 1;
        }
        let counts = |id| held.get(&id).copied().unwrap_or(0);
        let stats = self.pool.stats();
        let right = stats
            .iter()
            .all(|one| one.in_flight() == counts(one.backend.id));
        self.check(right, "5: what is in flight is what leases are held for");
    }
}

/// What the pool says of a backend, judged by its health and configuration and not by its share.
fn is_eligible(view: &PoolView, status: &BackendStatus) -> bool {
    let Some(tier) = view.tiers().get(status.place.tier) else {
        return false;
    };
    let is_up =
        |status: &BackendStatus| status.health == Health::Up && status.ejected_until.is_none();
    let peers = || {
        tier.tier
            .candidates()
            .iter()
            .filter_map(|it| view.backend(it.backend.id))
    };
    let any_up = || peers().any(|peer| peer.backend.is_in_service() && is_up(peer));
    let unknown = status.health == Health::Unknown && status.ejected_until.is_none();
    let takes = tier.panic || is_up(status) || (unknown && !any_up());
    status.backend.is_in_service() && takes
}

const INTERVAL: Duration = Duration::from_secs(2);

fn id(number: u64) -> BackendId {
    BackendId::of_name(&format!("backend {number}"))
}

/// One backend in four has a limit of 1 to 3 sessions; 0 is none.
fn limit(number: u64) -> u32 {
    if number.is_multiple_of(4) {
        u32::try_from(number / 4 % 3 + 1).unwrap_or(1)
    } else {
        0
    }
}

fn address(number: u64) -> crate::backend::Address {
    let [.., high, low] = number.to_be_bytes();
    std::net::SocketAddr::from(([10, 0, high, low], 80)).into()
}
