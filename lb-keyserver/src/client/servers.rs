//! All key servers together: whom to ask, and what their answers say of them.

use std::fmt;
use std::time::Duration;

use lbcore::Instant;
use lbcore::rng::{Rng, Xoshiro};

use crate::scheme::Scheme;
use crate::sign::SignError;
use crate::wire::ErrorCode;

use super::allowance::Allowance;
use super::breaker::BreakerConfig;
use super::choice;
use super::config::{AskConfig, KeyClientConfig};
use super::endpoint::{Charge, Endpoint, Passed, ServerId};
use super::fault::Fault;
use super::hedge::Percentile;
use super::standing::{Turn, Whole, WholeTurn};
use super::stats::{ClientStats, ServerStats};

/// The key servers that a client knows.
///
/// `L` is how a server is reached, which nothing here looks at: a queue at the edge, a node of a
/// simulation. Whoever drives this says what happened (`handle_*`), once for each question that
/// [`Course`](super::Course) put to a server: signed, refused, lost, or expired.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_keyserver::Scheme;
/// use lb_keyserver::client::{Course, KeyClientConfig, Servers, Step};
/// use lbcore::Instant;
///
/// let now = Instant::ZERO;
/// let mut servers = Servers::new(&KeyClientConfig::default(), 7);
/// let east = servers.add("east");
/// servers.handle_connected(east);
///
/// let mut course = Course::new(now, Duration::from_secs(2), Scheme::Ed25519);
/// let Step::Ask(ask) = course.poll(now, &mut servers) else { panic!("one can be asked") };
/// assert_eq!(ask.link, "east");
/// servers.handle_signed(now, east, Duration::from_millis(1));
/// course.handle_signature(now, ask.attempt, &mut servers);
/// assert_eq!(servers.stats(|link| link.to_string()).signed, 1);
/// ```
#[derive(Debug)]
pub struct Servers<L> {
    endpoints: Vec<Endpoint<L>>,
    ask: AskConfig,
    breaker: BreakerConfig,
    rng: Xoshiro,
    /// The average latency over all servers, in seconds: what a new one is taken to have.
    typical: f64,
    latencies: Percentile,
    /// The 95th percentile as of some answers ago.
    p95: Option<Duration>,
    stale: u32,
    pub(super) retries: Allowance,
    hedges: Allowance,
    next: u32,
    /// Whether a trial may have become due earlier.
    is_moved: bool,
    /// Whether a server may be asked that could not, or the other way round.
    is_turned: bool,
    whole: Whole,
    pub(super) stats: ClientStats,
}

/// How much one sample moves the typical latency.
const TYPICAL_STEP: f64 = 1.0 / 64.0;
/// The typical latency before the first sample. Any number will do: all servers have it alike.
const FIRST_GUESS: f64 = 0.001;
/// Answers after which the percentile is taken anew.
const STALE: u32 = 32;
/// The least time that a server beside which no other may be asked is given.
const ALONE: Duration = Duration::from_secs(1);
/// Hedges that there may be at once before any is earned.
const HEDGE_RESERVE: u32 = 16;

/// What was not told yet of servers and of all of them together.
#[derive(Debug)]
pub(crate) struct Tidings<L> {
    pub(crate) turns: Vec<(L, Turn)>,
    pub(crate) whole: Option<WholeTurn>,
}

/// A server was chosen.
#[derive(Debug)]
pub(super) struct Chosen<L> {
    pub(super) server: ServerId,
    pub(super) link: L,
    pub(super) verify: bool,
}

/// Who may be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Among {
    /// Those that were not asked, or one that was if there is no other.
    All,
    /// Those that were not asked.
    Others,
}

impl<L: Clone + fmt::Debug> Servers<L> {
    /// Knows no server yet. The same seed and the same calls make the same choices.
    #[must_use]
    pub fn new(config: &KeyClientConfig, seed: u64) -> Self {
        Self {
            endpoints: Vec::new(),
            ask: config.ask,
            breaker: config.breaker,
            rng: Xoshiro::new(seed),
            typical: FIRST_GUESS,
            latencies: Percentile::default(),
            p95: None,
            stale: 0,
            retries: Allowance::new(config.ask.retry_percent, config.ask.retry_reserve),
            hedges: Allowance::new(config.ask.hedge_percent, HEDGE_RESERVE),
            next: 0,
            is_moved: false,
            is_turned: false,
            whole: Whole::default(),
            stats: ClientStats::default(),
        }
    }

    /// Takes a server in, which is asked once it is connected to.
    pub fn add(&mut self, link: L) -> ServerId {
        let id = ServerId(self.next);
        self.next = self.next.wrapping_add(1);
        self.endpoints.push(Endpoint::new(id, link, self.breaker));
        id
    }

    /// Forgets a server; what is still said of it is passed over.
    pub fn remove(&mut self, id: ServerId) {
        self.endpoints.retain(|endpoint| endpoint.id != id);
        self.is_turned = true;
    }

    /// A connection to it is up: a PING was answered.
    pub fn handle_connected(&mut self, id: ServerId) {
        self.with(id, |endpoint, _| endpoint.handle_connected());
    }

    /// A connection that was up has ended, with `lost` questions unanswered.
    pub fn handle_disconnected(&mut self, now: Instant, id: ServerId, lost: u32) {
        self.with(id, |endpoint, rng| {
            endpoint.handle_disconnected();
            endpoint.handle_lost(now, lost, rng);
        });
    }

    /// A connection failed, or could not be made.
    pub fn handle_fault(&mut self, now: Instant, id: ServerId, fault: Fault) {
        self.with(id, |endpoint, rng| {
            endpoint.handle_fault(fault);
            if fault == Fault::Garbage {
                endpoint.handle_lie(now, rng);
            }
        });
    }

    /// Why a connection of it failed, in words: whether that is new since it was up last.
    pub(crate) fn handle_reason(&mut self, id: ServerId, reason: &str) -> bool {
        let mut new = false;
        self.with(id, |endpoint, _| new = endpoint.handle_reason(reason));
        new
    }

    /// What is to be told of changes since this was called last; `None` without any.
    pub(crate) fn take_tidings(&mut self) -> Option<Tidings<L>> {
        if !std::mem::take(&mut self.is_turned) {
            return None;
        }
        let turns = self.endpoints.iter_mut().filter_map(|endpoint| {
            let turn = endpoint.take_turn()?;
            Some((endpoint.link.clone(), turn))
        });
        let turns = turns.collect();
        let whole = self.whole.turn(self.any_may_be_asked());
        Some(Tidings { turns, whole })
    }

    /// Each server has been tried once; what is to be told if none of them may be asked.
    pub(crate) fn handle_tried(&mut self) -> Option<WholeTurn> {
        self.whole.handle_tried(self.any_may_be_asked())
    }

    /// It answered with a signature, `latency` after it was asked.
    pub fn handle_signed(&mut self, now: Instant, id: ServerId, latency: Duration) {
        self.latencies.observe(latency);
        self.typical += (latency.as_secs_f64() - self.typical) * TYPICAL_STEP;
        if self.stale == 0 {
            self.p95 = self.latencies.p95();
            self.stale = STALE;
        }
        self.stale -= 1;
        self.with(id, |endpoint, _| {
            endpoint.release();
            endpoint.handle_signed(now, latency);
        });
    }

    /// It refused, `latency` after it was asked.
    pub fn handle_refused(
        &mut self,
        now: Instant,
        id: ServerId,
        code: ErrorCode,
        latency: Duration,
    ) {
        self.with(id, |endpoint, rng| {
            endpoint.release();
            endpoint.handle_refused(now, code, latency, rng);
        });
    }

    /// It has not answered within the attempt's time, and still may.
    ///
    /// While no other server may be asked that is no reason to stop asking, unless it lasts three
    /// times as long, and a second: a slow signature is better than none.
    pub fn handle_slow(&mut self, now: Instant, id: ServerId, elapsed: Duration) {
        let bearable = !self.another(|other| other == id) && elapsed < self.patience_alone();
        let charge = if bearable { Charge::No } else { Charge::Yes };
        self.with(id, |endpoint, rng| {
            endpoint.handle_slow(now, elapsed, charge, rng);
        });
    }

    /// It was put a question that belongs to no request, such as one of a trial.
    pub fn handle_asked(&mut self, id: ServerId) {
        self.with(id, |endpoint, _| endpoint.handle_asked());
    }

    /// A question of it is not waited for any more, or could not be sent.
    pub fn handle_expired(&mut self, id: ServerId) {
        self.with(id, |endpoint, _| endpoint.release());
    }

    /// Its signature does not verify.
    pub fn handle_lie(&mut self, now: Instant, id: ServerId) {
        self.stats.bad_signatures += 1;
        self.with(id, |endpoint, rng| endpoint.handle_lie(now, rng));
    }

    /// A name of servers could not be resolved.
    pub fn handle_unresolved(&mut self) {
        self.stats.unresolved += 1;
    }

    /// When the next trial is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoints
            .iter()
            .filter_map(Endpoint::poll_timeout)
            .min()
    }

    /// Whether [`poll_timeout`](Self::poll_timeout) may say an earlier moment than before this was
    /// last called.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.is_moved)
    }

    /// A server that is to be tried now: by a PING and by one signature, verified.
    pub fn poll_trial(&mut self, now: Instant) -> Option<(ServerId, L)> {
        self.endpoints.iter_mut().find_map(|endpoint| {
            let due = endpoint.poll_trial(now);
            due.then(|| (endpoint.id, endpoint.link.clone()))
        })
    }

    /// How a trial went.
    pub fn handle_trial(&mut self, now: Instant, id: ServerId, passed: Passed) {
        self.with(id, |endpoint, rng| endpoint.handle_trial(now, passed, rng));
    }

    /// Whether any server may be asked.
    #[must_use]
    pub fn any_may_be_asked(&self) -> bool {
        self.endpoints.iter().any(Endpoint::may_be_asked)
    }

    /// What was counted; `name` names a server.
    #[must_use]
    pub fn stats(&self, name: impl Fn(&L) -> String) -> ClientStats {
        let servers = self.endpoints.iter();
        let servers = servers.map(|endpoint| endpoint.stats(name(&endpoint.link)));
        ClientStats {
            p95: self.latencies.p95(),
            servers: servers.collect(),
            ..self.stats.clone()
        }
    }

    /// What is known of one server, if it is known.
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<ServerStats> {
        let found = self.endpoints.iter().find(|endpoint| endpoint.id == id);
        found.map(|endpoint| endpoint.stats(String::new()))
    }

    /// Counts a request that was refused before any server was asked.
    pub fn handle_shed(&mut self, error: SignError) {
        self.stats.requests += 1;
        self.stats.failed.count(error);
    }

    /// Counts answers that went to nobody.
    pub fn handle_strays(&mut self, late: u64, unknown: u64) {
        self.stats.late_answers += late;
        self.stats.unknown_answers += unknown;
    }

    /// After how long another server is asked.
    pub(super) fn patience(&self) -> Duration {
        let floor = self.ask.attempt_timeout;
        self.p95.map_or(floor, |p95| floor.max(p95 * 2))
    }

    /// The same for a server beside which no other may be asked.
    pub(super) fn patience_alone(&self) -> Duration {
        (self.patience() * 3).max(ALONE)
    }

    pub(super) const fn attempts(&self) -> u8 {
        self.ask.attempts
    }

    /// Whether a server besides these may be asked.
    pub(super) fn another(&self, asked: impl Fn(ServerId) -> bool) -> bool {
        let mut others = self.endpoints.iter();
        others.any(|endpoint| endpoint.may_be_asked() && !asked(endpoint.id))
    }

    /// How long after the first question to ask a second server; `None` where nothing is to be
    /// hedged: hedges are off, latencies unknown, or a retry comes first.
    pub(super) fn hedge_after(&self) -> Option<Duration> {
        let after = self.p95?.max(self.ask.hedge_floor);
        (self.ask.hedge_percent > 0 && after < self.patience()).then_some(after)
    }

    /// Notes that a request has begun, which earns a share of a retry and of a hedge.
    pub(super) fn begin(&mut self) {
        self.stats.requests += 1;
        self.retries.earn();
        self.hedges.earn();
    }

    pub(super) fn try_hedge(&mut self) -> bool {
        let allowed = self.hedges.try_take();
        self.stats.hedges += u64::from(allowed);
        self.stats.hedges_denied += u64::from(!allowed);
        allowed
    }

    pub(super) fn try_retry(&mut self) -> bool {
        let allowed = self.retries.try_take();
        self.stats.retries += u64::from(allowed);
        self.stats.retries_denied += u64::from(!allowed);
        allowed
    }

    /// The better of two servers at random, which counts as asked from now on.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        scheme: Scheme,
        among: Among,
        asked: impl Fn(ServerId) -> bool,
    ) -> Option<Chosen<L>> {
        let place = self
            .draw(now, |endpoint| {
                endpoint.may_be_asked() && !asked(endpoint.id)
            })
            .or_else(|| match among {
                Among::All => self.draw(now, Endpoint::may_be_asked),
                Among::Others => None,
            })?;
        let endpoint = self.endpoints.get_mut(place)?;
        let verify = endpoint.ask(self.ask.verify, scheme, &mut self.rng);
        self.stats.attempts += 1;
        Some(Chosen {
            server: endpoint.id,
            link: endpoint.link.clone(),
            verify,
        })
    }

    /// The place of the better of two that `eligible` lets through.
    fn draw(&mut self, now: Instant, eligible: impl Fn(&Endpoint<L>) -> bool) -> Option<usize> {
        let Self {
            endpoints,
            rng,
            typical,
            ..
        } = self;
        let nth = |n: usize| {
            let places = endpoints.iter().enumerate();
            places.filter(|(_, endpoint)| eligible(endpoint)).nth(n)
        };
        let count = endpoints
            .iter()
            .filter(|endpoint| eligible(endpoint))
            .count();
        let drawn = choice::of_two(rng, count, |n| {
            nth(n).map_or(f64::INFINITY, |(_, endpoint)| endpoint.cost(now, *typical))
        })?;
        nth(drawn).map(|(place, _)| place)
    }

    /// A refusal turned out to be the server's fault: another server did as it was asked.
    pub(super) fn handle_contradicted(&mut self, now: Instant, id: ServerId) {
        self.with(id, |endpoint, rng| endpoint.handle_failure(now, rng));
    }

    fn with(&mut self, id: ServerId, then: impl FnOnce(&mut Endpoint<L>, &mut Xoshiro)) {
        if let Some(endpoint) = self.endpoints.iter_mut().find(|endpoint| endpoint.id == id) {
            let (before, was_up) = (endpoint.poll_timeout(), endpoint.may_be_asked());
            then(endpoint, &mut self.rng);
            self.is_moved |= endpoint.poll_timeout() != before;
            self.is_turned |= endpoint.may_be_asked() != was_up;
        }
    }

    /// A number in `0.0..1.0`, for back-offs at the edge.
    pub fn chance(&mut self) -> f64 {
        self.rng.unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::BreakerState;

    const T0: Instant = Instant::ZERO;
    const T1: Instant = Instant::from_nanos(5_000_000_000);
    const MS: Duration = Duration::from_millis(1);

    fn two() -> (Servers<&'static str>, ServerId, ServerId) {
        let mut servers = Servers::new(&KeyClientConfig::default(), 3);
        let (east, west) = (servers.add("east"), servers.add("west"));
        servers.handle_connected(east);
        servers.handle_connected(west);
        assert!(!servers.take_moved());
        (servers, east, west)
    }

    fn chosen(servers: &mut Servers<&'static str>, many: u32) -> [u32; 2] {
        let mut chosen = [0, 0];
        for _ in 0..many {
            let one = servers.choose(T0, Scheme::Ed25519, Among::All, |_| false);
            let one = one.expect("somebody");
            chosen[usize::from(one.link == "west")] += 1;
            servers.handle_expired(one.server);
        }
        chosen
    }

    #[test]
    fn the_faster_is_asked_and_the_slower_now_and_then() {
        let (mut servers, east, west) = two();
        servers.handle_signed(T0, east, MS);
        servers.handle_signed(T0, west, 2 * MS);
        let [east, west] = chosen(&mut servers, 3_200);
        assert!(west > 10 && west < 100, "{east} and {west}");
    }

    #[test]
    fn changes_are_told_once_and_the_last_loss_and_first_return_too() {
        let (mut servers, east, west) = two();
        let told = servers.take_tidings().expect("both are up");
        assert_eq!(told.turns, [("east", Turn::Up), ("west", Turn::Up)]);
        assert_eq!(told.whole, None);
        assert!(servers.take_tidings().is_none());
        assert!(servers.handle_reason(east, "reset"));
        assert!(!servers.handle_reason(east, "reset"));
        assert!(servers.handle_reason(west, "reset"), "of each its own");
        servers.handle_disconnected(T0, east, 0);
        let told = servers.take_tidings().expect("one is down");
        assert_eq!(told.turns, [("east", Turn::Down("reset".to_owned()))]);
        assert_eq!(told.whole, None);
        servers.remove(west);
        let told = servers.take_tidings().expect("none is left");
        assert!(told.turns.is_empty());
        assert_eq!(told.whole, Some(WholeTurn::NoneLeft));
        servers.handle_connected(east);
        let told = servers.take_tidings().expect("one is back");
        assert_eq!(told.turns, [("east", Turn::Up)]);
        assert_eq!(told.whole, Some(WholeTurn::Back));
        assert_eq!(servers.handle_tried(), None);
    }

    #[test]
    fn none_to_be_asked_after_all_were_tried_is_told() {
        let mut servers = Servers::new(&KeyClientConfig::default(), 3);
        servers.add("east");
        assert!(servers.take_tidings().is_none());
        assert_eq!(servers.handle_tried(), Some(WholeTurn::NoneLeft));
        assert_eq!(servers.handle_tried(), None);
    }

    #[test]
    fn questions_under_way_are_shared_out() {
        let (mut servers, east, west) = two();
        for _ in 0..100 {
            let one = servers.choose(T0, Scheme::Ed25519, Among::All, |_| false);
            assert!(one.is_some());
        }
        for id in [east, west] {
            let in_flight = servers.server(id).expect("known").in_flight;
            assert!(in_flight.abs_diff(50) < 10, "{in_flight}");
        }
    }

    #[test]
    fn one_that_was_asked_is_asked_again_only_where_that_is_said() {
        let (mut servers, east, west) = two();
        servers.handle_disconnected(T0, west, 0);
        let mut choose = |among| {
            let one = servers.choose(T0, Scheme::Ed25519, among, |id| id == east);
            one.map(|one| one.server)
        };
        assert_eq!(choose(Among::Others), None);
        assert_eq!(choose(Among::All), Some(east));
    }

    #[test]
    fn a_liar_is_not_asked_until_it_passed_a_trial() {
        let (mut servers, east, west) = two();
        servers.handle_lie(T0, west);
        assert!(servers.take_moved() && !servers.take_moved());
        assert_eq!(chosen(&mut servers, 10), [10, 0]);
        let due = servers.poll_timeout().expect("open");
        assert!(servers.poll_trial(due - Duration::from_nanos(1)).is_none());
        assert_eq!(servers.poll_trial(due), Some((west, "west")));
        assert_eq!(servers.poll_trial(due), None);
        assert_eq!(chosen(&mut servers, 10), [10, 0]);
        servers.handle_trial(due, west, Passed::Yes);
        assert_eq!(
            servers.server(west).expect("known").state,
            BreakerState::Closed
        );
        servers.handle_lie(due, east);
        assert_eq!(chosen(&mut servers, 10), [0, 10]);
        assert!(servers.any_may_be_asked());
        servers.handle_lie(due, west);
        assert!(!servers.any_may_be_asked());
    }

    #[test]
    fn the_last_server_is_asked_on_unless_it_is_three_times_as_slow() {
        let (mut servers, east, west) = two();
        let slow = 300 * MS;
        (0..5).for_each(|_| servers.handle_slow(T1, east, slow));
        assert_eq!(chosen(&mut servers, 10), [0, 10]);
        (0..50).for_each(|_| servers.handle_slow(T1, west, ALONE - MS));
        assert_eq!(chosen(&mut servers, 10), [0, 10]);
        let counts = servers.server(west).expect("known").counts;
        assert_eq!((counts.slow, counts.opened), (50, 0));
        (0..5).for_each(|_| servers.handle_slow(T1, west, ALONE));
        assert!(!servers.any_may_be_asked());
    }

    #[test]
    fn garbage_is_a_lie_and_a_closed_connection_is_none() {
        let (mut servers, east, west) = two();
        servers.handle_fault(T0, east, Fault::Closed);
        servers.handle_fault(T0, west, Fault::Garbage);
        let stats = servers.stats(|link| (*link).to_owned());
        let states: Vec<_> = stats.servers.iter().map(|server| server.state).collect();
        assert_eq!(states, [BreakerState::Closed, BreakerState::Open]);
        let lies: Vec<_> = stats
            .servers
            .iter()
            .map(|server| server.counts.lies)
            .collect();
        assert_eq!(lies, [0, 1]);
        assert_eq!(stats.bad_signatures, 0);
        assert_eq!(stats.servers[0].faults.of(Fault::Closed), 1);
    }

    #[test]
    fn of_a_server_that_left_nothing_is_kept() {
        let (mut servers, east, west) = two();
        servers.remove(west);
        servers.handle_lie(T0, west);
        servers.handle_disconnected(T0, west, 7);
        assert_eq!(chosen(&mut servers, 10), [10, 0]);
        let again = servers.add("west");
        assert!(again != west && again != east);
        assert!(servers.server(west).is_none());
    }

    #[test]
    fn strays_and_the_shed_are_counted() {
        let (mut servers, ..) = two();
        servers.handle_strays(2, 3);
        servers.handle_shed(SignError::Busy);
        servers.handle_unresolved();
        let stats = servers.stats(|_| String::new());
        assert_eq!((stats.late_answers, stats.unknown_answers), (2, 3));
        assert_eq!((stats.requests, stats.failed.of(SignError::Busy)), (1, 1));
        assert_eq!(stats.unresolved, 1);
    }

    #[test]
    fn the_percentile_is_looked_at_every_so_often() {
        let (mut servers, east, _) = two();
        (0..64).for_each(|_| servers.handle_signed(T0, east, 400 * MS));
        assert!(servers.patience() >= 800 * MS);
        assert_eq!(servers.hedge_after(), servers.p95);
        assert!(servers.p95 >= Some(400 * MS));
    }
}
