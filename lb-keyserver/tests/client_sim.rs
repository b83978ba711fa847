//! Requests, servers and a network under a simulated clock: what holds whatever the servers do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use lb_keyserver::client::{
    Answered, AskConfig, Course, Failure, KeyClientConfig, Multiplexer, Overdue, Passed, ServerId,
    Servers, Step,
};
use lb_keyserver::question::{Answer, emit_error, emit_signature};
use lb_keyserver::wire::{self, ErrorCode, Items, Opcode};
use lb_keyserver::{Scheme, SignError};
use lbcore::Instant;
use lbcore::rng::{Rng, Xoshiro};
use lbcore::sim::{Clock, Link, LinkConfig, NodeId};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const WITHIN: Duration = Duration::from_secs(2);
const CLIENT: NodeId = NodeId(0);

/// How a server behaves, from some moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Good,
    /// Takes that long.
    Slow(Duration),
    /// Never answers.
    Mute,
    /// Signs with another key.
    Lying,
    /// Sends what is no frame.
    Raving,
    Refusing(ErrorCode),
    /// Is not there; all connections are cut.
    Dead,
}

/// What a server does when: the first entry holds from the start.
type Script = Vec<(Duration, Mood)>;

struct Server {
    script: Script,
    id: ServerId,
    connection: Option<Multiplexer<Asker>>,
    /// Which of its connections this is; what was sent on an earlier one is lost.
    epoch: u64,
    /// When it is connected to again.
    reconnect: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Asker {
    request: u64,
    attempt: u8,
}

impl Server {
    fn mood(&self, now: Instant) -> Mood {
        let elapsed = now.since(Instant::ZERO);
        let so_far = self.script.iter().take_while(|(at, _)| *at <= elapsed);
        so_far.last().map_or(Mood::Good, |(_, mood)| *mood)
    }
}

/// Answers that servers still work on: when, from which server and connection, and the bytes.
type Working = BinaryHeap<Reverse<(Instant, usize, u64, Vec<u8>)>>;

struct Request {
    course: Course,
    asked_at: Instant,
    attempts: u32,
}

struct World {
    clock: Clock,
    book: Servers<usize>,
    servers: Vec<Server>,
    link: Link<(u64, Vec<u8>)>,
    working: Working,
    requests: BTreeMap<u64, Request>,
    wakes: BTreeMap<u64, Instant>,
    ends: BTreeMap<u64, (Instant, Result<Vec<u8>, SignError>)>,
    attempts: u64,
}

fn signature(request: u64) -> Vec<u8> {
    [&b"good "[..], &request.to_be_bytes()].concat()
}

impl World {
    fn new(scripts: Vec<Script>, link: LinkConfig, seed: u64) -> Self {
        let config = KeyClientConfig::default();
        let mut book = Servers::new(&config, seed);
        let servers = (0..).zip(scripts).map(|(place, script)| Server {
            script,
            id: book.add(place),
            connection: None,
            epoch: 0,
            reconnect: Instant::ZERO,
        });
        Self {
            clock: Clock::default(),
            servers: servers.collect(),
            book,
            link: Link::new(link, seed).expect("chances"),
            working: BinaryHeap::new(),
            requests: BTreeMap::new(),
            wakes: BTreeMap::new(),
            ends: BTreeMap::new(),
            attempts: 0,
        }
    }

    /// Runs until every request has ended; each begins at its moment.
    fn run(&mut self, arrivals: &[Instant]) {
        let mut arrivals = (0..).zip(arrivals).peekable();
        loop {
            let now = self.clock.now();
            while let Some((request, _)) = arrivals.next_if(|(_, at)| **at <= now) {
                let course = Course::new(now, WITHIN, Scheme::Ed25519);
                let request_of = Request {
                    course,
                    asked_at: now,
                    attempts: 0,
                };
                self.requests.insert(request, request_of);
                self.wakes.insert(request, now);
            }
            self.turn(now);
            if arrivals.peek().is_none() && self.requests.is_empty() {
                return;
            }
            let next_arrival = arrivals.peek().map(|(_, at)| **at);
            let reconnects = self
                .servers
                .iter()
                .filter(|server| server.connection.is_none());
            let reconnect = reconnects.map(|server| server.reconnect).min();
            let overdue = self
                .servers
                .iter()
                .filter_map(|server| server.connection.as_ref());
            let overdue = overdue.filter_map(Multiplexer::poll_timeout).min();
            let next = [
                next_arrival,
                reconnect,
                overdue,
                self.link.poll_timeout(),
                self.working.peek().map(|Reverse((at, ..))| *at),
                self.wakes.values().min().copied(),
                self.book.poll_timeout(),
                Some(now + 50 * MS),
            ];
            self.clock.advance_to_next(next).expect("never is not next");
        }
    }

    fn turn(&mut self, now: Instant) {
        self.connect(now);
        while let Some(Reverse((at, place, epoch, bytes))) = self.working.pop() {
            if at > now {
                self.working.push(Reverse((at, place, epoch, bytes)));
                break;
            }
            self.link
                .send(now, NodeId(place + 1), CLIENT, (epoch, bytes));
        }
        while let Some(arrival) = self.link.poll_arrival(now) {
            let (epoch, bytes) = arrival.message;
            match arrival.from.0.checked_sub(1) {
                Some(place) => self.receive(now, place, epoch, &bytes),
                None => self.serve(now, arrival.to.0 - 1, epoch, &bytes),
            }
        }
        for place in 0..self.servers.len() {
            self.look(now, place);
        }
        while let Some((id, place)) = self.book.poll_trial(now) {
            let good = matches!(self.servers[place].mood(now), Mood::Good | Mood::Slow(_));
            let passed = if good { Passed::Yes } else { Passed::No };
            self.book.handle_trial(now, id, passed);
        }
        let due: Vec<_> = self.wakes.iter().filter(|(_, at)| **at <= now).collect();
        let due: Vec<_> = due.into_iter().map(|(request, _)| *request).collect();
        for request in due {
            self.poll(now, request);
        }
    }

    /// Connects to servers that are there, and loses those that are not.
    fn connect(&mut self, now: Instant) {
        for place in 0..self.servers.len() {
            let server = &mut self.servers[place];
            let is_dead = server.mood(now) == Mood::Dead;
            match (&server.connection, is_dead) {
                (None, false) if server.reconnect <= now => {
                    server.epoch += 1;
                    server.connection = Some(Multiplexer::new(1_024));
                    self.book.handle_connected(server.id);
                }
                (None, true) => server.reconnect = now + 50 * MS,
                (Some(_), true) => self.disconnect(now, place),
                _ => {}
            }
        }
    }

    fn disconnect(&mut self, now: Instant, place: usize) {
        let server = &mut self.servers[place];
        let Some(mut connection) = server.connection.take() else {
            return;
        };
        server.reconnect = now + 50 * MS;
        let waiters: Vec<_> = connection.take_waiters().collect();
        let lost = u32::try_from(waiters.len()).expect("few");
        self.book.handle_disconnected(now, server.id, lost);
        for waiter in waiters {
            self.fail(now, waiter, Failure::Lost);
        }
    }

    /// A question reaches a server.
    fn serve(&mut self, now: Instant, place: usize, epoch: u64, bytes: &[u8]) {
        let (frame, _) = wire::parse(bytes).expect("a frame").expect("a whole one");
        let request = u64::from_be_bytes(frame.items.payload.try_into().expect("eight bytes"));
        let mut answer = Vec::new();
        let mut after = Duration::ZERO;
        match self.servers[place].mood(now) {
            Mood::Mute | Mood::Dead => return,
            Mood::Good => emit_signature(frame.id, &signature(request), &mut answer),
            Mood::Lying => emit_signature(frame.id, b"another key's", &mut answer),
            Mood::Raving => answer = vec![1, 0, 0, 3, 0, 0, 0, 1, 0x11, 0, 9],
            Mood::Refusing(code) => emit_error(frame.id, code, &mut answer),
            Mood::Slow(time) => {
                emit_signature(frame.id, &signature(request), &mut answer);
                after = time;
            }
        }
        self.working
            .push(Reverse((now + after, place, epoch, answer)));
    }

    /// An answer reaches the client.
    fn receive(&mut self, now: Instant, place: usize, epoch: u64, bytes: &[u8]) {
        let server = &mut self.servers[place];
        let id = server.id;
        let Some(connection) = server.connection.as_mut().filter(|_| server.epoch == epoch) else {
            return;
        };
        let mut told = Vec::new();
        let taken = connection.handle_input(
            bytes,
            |Answered {
                 waiter,
                 asked,
                 answer,
                 ..
             }| {
                let answer = match answer {
                    Answer::Signature(signature) => Ok(signature.to_vec()),
                    Answer::Refused(code) => Err(code),
                    other => panic!("{other:?}"),
                };
                told.push((waiter, now.since(asked), answer));
            },
        );
        for (waiter, latency, answer) in told {
            match answer {
                Err(code) => {
                    self.book.handle_refused(now, id, code, latency);
                    self.fail(now, waiter, Failure::Refused(code));
                }
                Ok(made) => {
                    self.book.handle_signed(now, id, latency);
                    if made == signature(waiter.request) {
                        self.succeed(now, waiter, made);
                    } else if self.requests.contains_key(&waiter.request) {
                        self.book.handle_lie(now, id);
                        self.fail(now, waiter, Failure::Lie);
                    }
                }
            }
        }
        if taken.is_err() {
            self.book
                .handle_fault(now, id, lb_keyserver::client::Fault::Garbage);
            self.disconnect(now, place);
        }
    }

    /// Looks for what is overdue on a connection.
    fn look(&mut self, now: Instant, place: usize) {
        let server = &mut self.servers[place];
        let id = server.id;
        if let Some(connection) = &mut server.connection {
            connection.handle_timeout(now, |overdue| match overdue {
                Overdue::Slow { asked } => self.book.handle_slow(now, id, now.since(asked)),
                Overdue::Expired(_) => self.book.handle_expired(id),
            });
        }
    }

    fn fail(&mut self, now: Instant, waiter: Asker, failure: Failure) {
        if let Some(request) = self.requests.get_mut(&waiter.request) {
            request.course.handle_failure(waiter.attempt, failure);
            self.wakes.insert(waiter.request, now);
        }
    }

    fn succeed(&mut self, now: Instant, waiter: Asker, made: Vec<u8>) {
        if let Some(request) = self.requests.remove(&waiter.request) {
            request
                .course
                .handle_signature(now, waiter.attempt, &mut self.book);
            self.end(now, waiter.request, request, Ok(made));
        }
    }

    fn end(&mut self, now: Instant, n: u64, request: Request, end: Result<Vec<u8>, SignError>) {
        assert!(now <= request.asked_at + WITHIN, "request {n} ended late");
        assert!(request.attempts <= u32::from(AskConfig::MOST_ATTEMPTS));
        self.wakes.remove(&n);
        self.attempts += u64::from(request.attempts);
        self.ends.insert(n, (now, end));
    }

    fn poll(&mut self, now: Instant, n: u64) {
        let Some(mut request) = self.requests.remove(&n) else {
            return;
        };
        loop {
            match request.course.poll(now, &mut self.book) {
                Step::Ask(ask) => {
                    request.attempts += 1;
                    let server = &mut self.servers[ask.link];
                    let payload = n.to_be_bytes();
                    let items = Items {
                        opcode: Opcode::ED25519,
                        payload: &payload,
                        ..Items::default()
                    };
                    let asker = Asker {
                        request: n,
                        attempt: ask.attempt,
                    };
                    let connection = server.connection.as_mut().expect("may be asked");
                    let asked = connection.ask(now, ask.slow_at, ask.deadline, &items, asker);
                    if asked.is_err() {
                        self.book.handle_expired(ask.server);
                        request.course.handle_failure(ask.attempt, Failure::Lost);
                        continue;
                    }
                    let bytes = connection.output().to_vec();
                    connection.handle_written(bytes.len());
                    let to = NodeId(ask.link + 1);
                    self.link.send(now, CLIENT, to, (server.epoch, bytes));
                }
                Step::Wait(until) => {
                    assert!(until > now, "no turn without end");
                    self.wakes.insert(n, until);
                    self.requests.insert(n, request);
                    return;
                }
                Step::Fail(error) => return self.end(now, n, request, Err(error)),
            }
        }
    }

    /// Checks what holds always; returns how many requests succeeded.
    fn check(&self, requests: usize) -> usize {
        assert_eq!(self.ends.len(), requests, "every request ends");
        for (n, (_, end)) in &self.ends {
            assert!(end.as_ref().is_ok_and(|made| *made == signature(*n)) || end.is_err());
        }
        let stats = self.book.stats(|place| place.to_string());
        let asked = stats.requests;
        assert_eq!(asked, requests as u64);
        assert_eq!(stats.signed + stats.failed.total(), asked);
        assert_eq!(stats.attempts, self.attempts);
        let retries = asked * 20 / 100 + 1_024;
        let hedges = asked * 5 / 100 + 16;
        assert!(
            stats.retries <= retries && stats.hedges <= hedges,
            "{stats:#?}"
        );
        assert!(stats.attempts <= asked + retries + hedges);
        self.ends.values().filter(|(_, end)| end.is_ok()).count()
    }

    /// Lets all that is under way end, and checks that nothing is left in the books.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.clock.advance(50 * MS);
            let now = self.clock.now();
            self.turn(now);
        }
        for server in &self.servers {
            let in_flight = self.book.server(server.id).expect("known").in_flight;
            assert_eq!(in_flight, 0, "of {:?}", server.script);
        }
    }
}

/// `many` requests, one every `apart` on average.
fn arrivals(many: usize, apart: Duration, seed: u64) -> Vec<Instant> {
    let mut rng = Xoshiro::new(seed);
    let mut now = Instant::ZERO + MS;
    let mut next = || {
        now += apart.mul_f64(2.0 * rng.unit());
        now
    };
    (0..many).map(|_| next()).collect()
}

fn local() -> LinkConfig {
    LinkConfig::default()
        .latency(Duration::from_micros(200))
        .jitter(Duration::from_micros(100))
        .capacity(100_000)
}

/// Runs `many` requests; how many succeed.
fn succeed(scripts: Vec<Script>, link: LinkConfig, many: usize, seed: u64) -> (World, usize) {
    let mut world = World::new(scripts, link, seed);
    world.run(&arrivals(many, MS, seed));
    let good = world.check(many);
    world.settle();
    (world, good)
}

fn always(mood: Mood) -> Script {
    vec![(Duration::ZERO, mood)]
}

#[test]
fn with_a_good_server_among_bad_ones_every_request_succeeds() {
    for bad in [
        Mood::Mute,
        Mood::Lying,
        Mood::Raving,
        Mood::Dead,
        Mood::Slow(400 * MS),
        Mood::Refusing(ErrorCode::Internal),
        Mood::Refusing(ErrorCode::KeyNotFound),
    ] {
        let scripts = vec![always(bad), always(Mood::Good)];
        let (world, good) = succeed(scripts, local(), 2_000, 1);
        assert_eq!(good, 2_000, "beside {bad:?}");
        let asked = world
            .book
            .server(world.servers[0].id)
            .expect("known")
            .counts
            .asked;
        assert!(asked < 300, "{bad:?} was asked {asked} times");
    }
}

#[test]
fn a_server_that_dies_and_comes_back_all_the_time_fails_no_request() {
    let dying = |offset: u64| {
        (0..20).flat_map(move |n| {
            let at = Duration::from_millis(1_000 * n + offset);
            [(at, Mood::Dead), (at + 400 * MS, Mood::Good)]
        })
    };
    let scripts = vec![dying(100).collect(), dying(600).collect()];
    let (world, good) = succeed(scripts, local(), 10_000, 2);
    assert_eq!(good, 10_000);
    for server in &world.servers {
        let asked = world.book.server(server.id).expect("known").counts.asked;
        assert!(asked > 3_000, "each carries a share: {asked}");
    }
}

#[test]
fn when_all_are_dead_every_request_fails_at_once() {
    let scripts = vec![always(Mood::Dead), always(Mood::Dead)];
    let (world, good) = succeed(scripts, local(), 100, 3);
    assert_eq!(good, 0);
    assert!(
        world
            .ends
            .values()
            .all(|(_, end)| *end == Err(SignError::NoServer))
    );
}

#[test]
fn when_all_are_mute_requests_first_wait_and_then_fail_at_once() {
    let scripts = vec![always(Mood::Mute), always(Mood::Mute)];
    let (world, good) = succeed(scripts, local(), 5_000, 4);
    assert_eq!(good, 0);
    let at_once = world
        .ends
        .values()
        .filter(|(_, end)| *end == Err(SignError::NoServer));
    assert!(at_once.count() > 1_000);
}

#[test]
fn servers_that_are_all_slow_are_asked_all_the_same() {
    let slow = Mood::Slow(500 * MS);
    let (world, good) = succeed(vec![always(slow), always(slow)], local(), 2_000, 5);
    assert_eq!(good, 2_000);
    let stats = world.book.stats(|_| String::new());
    assert!(stats.attempts < 3_300, "{stats:#?}");
}

#[test]
fn a_hedge_saves_what_a_lost_answer_costs() {
    let link = local().loss(0.01);
    let good = Mood::Good;
    let (world, signed) = succeed(vec![always(good), always(good)], link, 5_000, 6);
    // Two of them lose both answers, on average, and there is no third server.
    assert!(signed > 4_990, "{signed}");
    let stats = world.book.stats(|_| String::new());
    assert!(stats.hedges_won > 40, "{stats:#?}");
    let breaker_opened: u64 = stats
        .servers
        .iter()
        .map(|server| server.counts.opened)
        .sum();
    assert_eq!(breaker_opened, 0, "one in a hundred is no reason");
}

#[test]
fn a_lagging_server_is_found_out_by_what_another_signs() {
    let missing = Mood::Refusing(ErrorCode::KeyNotFound);
    let (world, good) = succeed(vec![always(missing), always(Mood::Good)], local(), 1_000, 7);
    assert_eq!(good, 1_000);
    let lagging = world.book.server(world.servers[0].id).expect("known");
    assert!(lagging.counts.opened > 0, "{lagging:#?}");
}

#[test]
fn the_same_seed_runs_the_same() {
    let run = || {
        let scripts = vec![always(Mood::Good), always(Mood::Mute), always(Mood::Good)];
        let (world, _) = succeed(scripts, local().loss(0.05), 500, 8);
        world.ends
    };
    assert_eq!(run(), run());
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        4 => Just(Mood::Good),
        1 => (0_u64..700).prop_map(|ms| Mood::Slow(Duration::from_millis(ms))),
        1 => Just(Mood::Mute),
        1 => Just(Mood::Lying),
        1 => Just(Mood::Raving),
        1 => (0..=u8::MAX).prop_map(|byte| Mood::Refusing(ErrorCode::from_byte(byte))),
        1 => Just(Mood::Dead),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec((0_u64..3_000, mood()), 0..6).prop_map(|mut script| {
        script.sort_by_key(|(at, _)| *at);
        let script = script.into_iter();
        script
            .map(|(at, mood)| (Duration::from_millis(at), mood))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever servers and network do: every request ends in its time, with its own signature or
    /// an error; attempts stay within their budgets; the books come out even.
    #[test]
    fn the_laws_hold_whatever_happens(
        scripts in prop::collection::vec(script(), 0..4),
        loss in 0.0..0.3_f64,
        duplication in 0.0..0.2_f64,
        reordering in 0.0..0.3_f64,
        many in 1..400_usize,
        apart in 0_u64..10_000,
        seed in any::<u64>(),
    ) {
        let link = local().loss(loss).duplication(duplication).reordering(reordering);
        let mut world = World::new(scripts, link, seed);
        world.run(&arrivals(many, Duration::from_micros(apart), seed));
        world.check(many);
        world.settle();
    }

    /// One good server is enough, whatever up to two others do.
    #[test]
    fn nobody_starves_beside_one_good_server(
        bad in prop::collection::vec(
            script().prop_map(|script| script
                .into_iter()
                .map(|(at, mood)| match mood {
                    // A refusal that is final ends a request, and is the server's word.
                    Mood::Refusing(code) if !code.may_be_retried() => (at, Mood::Mute),
                    Mood::Refusing(ErrorCode::KeyNotFound) => (at, Mood::Mute),
                    other => (at, other),
                })
                .collect::<Script>()),
            0..3,
        ),
        many in 1..400_usize,
        seed in any::<u64>(),
    ) {
        let scripts = bad.into_iter().chain([always(Mood::Good)]).collect();
        let mut world = World::new(scripts, local(), seed);
        world.run(&arrivals(many, MS, seed));
        prop_assert_eq!(world.check(many), many);
    }
}
