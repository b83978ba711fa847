//! The session table against a map, step by step.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::session::{
    Binding, Change, ChangeStream, Class, Cursor, EndReason, Limits, SessionConfig, SessionId,
    SessionRefusal, SessionTable, State, Table, Timeouts, WhenFull,
};
use lbcore::{Instant, Ticket};
use proptest::prelude::*;

const TICK: u64 = 1 << 26;
const FLOWS: usize = 18;

/// Two flows of three are IPv4, every other one is UDP; capacity is far below their number.
fn flow(n: usize) -> FlowKey {
    let protocol = [Protocol::Tcp, Protocol::Udp][n % 2];
    if n % 3 == 2 {
        let source = format!("[2001:db8::{n}]:{}", 1_000 + n).parse().unwrap();
        FlowKey::new(protocol, source, "[2001:db8::ff]:80".parse().unwrap())
    } else {
        let source = format!("192.0.2.{n}:{}", 1_000 + n).parse().unwrap();
        FlowKey::new(protocol, source, "203.0.113.1:80".parse().unwrap())
    }
}

fn family(key: &FlowKey) -> usize {
    usize::from(key.source.is_ipv6())
}

const LIMITS: [Limits; 2] = [
    Limits {
        sessions: 6,
        embryonic: 3,
    },
    Limits {
        sessions: 3,
        embryonic: 2,
    },
];

#[derive(Clone, Debug)]
enum Step {
    Adopt(usize, usize, u8, u64),
    Collect,
    Insert(usize, usize, u8),
    Read(usize),
    Rebind(usize, u8),
    Remove(usize),
    Stale(usize),
    Touch(usize, usize),
    Wait(u64),
    WaitAndLookAtFew(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..FLOWS;
    let state = 0..State::ALL.len();
    let seconds = 1_000_000_000_u64;
    let wait = prop_oneof![
        0..4 * TICK,
        0..1_000 * seconds,
        0..700 * 86_400 * seconds,
        (1..20_000_u64).prop_map(|ticks| ticks * TICK),
    ];
    prop_oneof![
        2 => (n.clone(), state.clone(), 0..3_u8, 0..1_000 * seconds)
            .prop_map(|(n, state, profile, idle)| Step::Adopt(n, state, profile, idle)),
        2 => Just(Step::Collect),
        12 => (n.clone(), state.clone(), 0..3_u8)
            .prop_map(|(n, state, profile)| Step::Insert(n, state, profile)),
        3 => (0..4_usize).prop_map(Step::Read),
        2 => (n.clone(), 0..3_u8).prop_map(|(n, profile)| Step::Rebind(n, profile)),
        2 => n.clone().prop_map(Step::Remove),
        1 => n.clone().prop_map(Step::Stale),
        10 => (n, state).prop_map(|(n, state)| Step::Touch(n, state)),
        4 => wait.prop_map(Step::Wait),
        2 => (0..400 * seconds, 0..3_usize)
            .prop_map(|(span, most)| Step::WaitAndLookAtFew(span, most)),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    uid: u64,
    id: SessionId,
    state: State,
    binding: Binding,
    seen: i64,
    told: bool,
}

/// What has ended and must still be told: the flow, its last state and binding.
type Ended = (FlowKey, State, Binding);

struct Model {
    when_full: WhenFull,
    stream: ChangeStream,
    timeouts: [Timeouts; 2],
    now: u64,
    live: HashMap<FlowKey, Known>,
    stale: HashMap<FlowKey, SessionId>,
    /// By family, the oldest first.
    embryonic: [Vec<FlowKey>; 2],
    closing: [Vec<FlowKey>; 2],
    /// By family: who has something to tell.
    queue: [VecDeque<u64>; 2],
    gone: HashMap<u64, Ended>,
    owed: Vec<(Ended, EndReason)>,
    next_uid: u64,
}

impl Model {
    fn tick(&self) -> i64 {
        i64::try_from(self.now / TICK).unwrap()
    }

    fn timeout(&self, state: State, profile: u8) -> i64 {
        let timeouts = self.timeouts.get(usize::from(profile));
        let timeout = timeouts.unwrap_or(&self.timeouts[0]).of(state);
        i64::try_from(timeout.as_nanos().div_ceil(TICK.into())).unwrap() + 1
    }

    fn due(&self, known: &Known) -> i64 {
        known.seen + self.timeout(known.state, known.binding.profile)
    }

    fn enter(&mut self, key: FlowKey, class: Class) {
        match class {
            Class::Embryonic => self.embryonic[family(&key)].push(key),
            Class::Closing => self.closing[family(&key)].push(key),
            Class::Open => {}
        }
    }

    fn leave(&mut self, key: FlowKey) {
        self.embryonic[family(&key)].retain(|other| *other != key);
        self.closing[family(&key)].retain(|other| *other != key);
    }

    fn end(&mut self, key: FlowKey, reason: Option<EndReason>) {
        let known = self.live.remove(&key).unwrap();
        self.leave(key);
        self.stale.insert(key, known.id);
        let ended = (key, known.state, known.binding);
        let queue = &mut self.queue[family(&key)];
        if known.told {
            self.gone.insert(known.uid, ended);
            if !queue.contains(&known.uid) {
                queue.push_back(known.uid);
            }
        } else {
            queue.retain(|uid| *uid != known.uid);
        }
        if let Some(reason) = reason {
            self.owed.push((ended, reason));
        }
    }

    fn alter(&mut self, key: FlowKey) {
        let known = &self.live[&key];
        let tells = match self.stream {
            ChangeStream::All => true,
            ChangeStream::Settled => known.told || known.state.class() != Class::Embryonic,
            _ => false,
        };
        let queue = &mut self.queue[family(&key)];
        if tells && !queue.contains(&known.uid) {
            queue.push_back(known.uid);
        }
    }

    fn embryonic_victim(&self, family: usize) -> Result<Option<FlowKey>, SessionRefusal> {
        let embryonic = &self.embryonic[family];
        if embryonic.len() < LIMITS[family].embryonic {
            return Ok(None);
        }
        match self.when_full {
            WhenFull::Refuse => Err(SessionRefusal::EmbryonicFull),
            _ => Ok(Some(embryonic[0])),
        }
    }

    fn victim(&self, key: &FlowKey, class: Class) -> Result<Option<FlowKey>, SessionRefusal> {
        let family = family(key);
        if class == Class::Embryonic {
            let victim = self.embryonic_victim(family)?;
            if victim.is_some() {
                return Ok(victim);
            }
        }
        let sessions = self.live.keys().filter(|key| self::family(key) == family);
        if sessions.count() < LIMITS[family].sessions {
            return Ok(None);
        }
        let embryonic = self.embryonic[family].first();
        let victim = match self.when_full {
            WhenFull::EvictOldestEmbryonic => embryonic,
            WhenFull::EvictOldestClosing => embryonic.or_else(|| self.closing[family].first()),
            _ => None,
        };
        victim.copied().map(Some).ok_or(SessionRefusal::Full)
    }

    fn admit(
        &mut self,
        key: FlowKey,
        state: State,
        binding: Binding,
        idle: u64,
    ) -> Result<u64, SessionRefusal> {
        if state.protocol() != key.protocol {
            return Err(SessionRefusal::WrongProtocol);
        }
        if self.live.contains_key(&key) {
            return Err(SessionRefusal::Present);
        }
        if let Some(victim) = self.victim(&key, state.class())? {
            self.end(victim, Some(EndReason::Evicted));
        }
        self.next_uid += 1;
        self.enter(key, state.class());
        let idle = i64::try_from(idle / TICK).unwrap();
        Ok(u64::try_from(idle.min(self.timeout(state, binding.profile))).unwrap())
    }

    fn shift(&mut self, key: FlowKey, after: State) -> State {
        let before = self.live[&key].state;
        if after == before || after.protocol() != before.protocol() {
            return before;
        }
        if after.class() != before.class() {
            if after.class() == Class::Embryonic {
                match self.embryonic_victim(family(&key)) {
                    Ok(Some(victim)) => self.end(victim, Some(EndReason::Evicted)),
                    Ok(None) => {}
                    Err(_) => return before,
                }
            }
            self.leave(key);
            self.enter(key, after.class());
        }
        self.live.get_mut(&key).unwrap().state = after;
        self.alter(key);
        after
    }

    fn expected_change(&mut self) -> Option<(&'static str, Ended)> {
        let queue = self.queue.iter_mut().find(|queue| !queue.is_empty())?;
        let uid = queue.pop_front().unwrap();
        if let Some(ended) = self.gone.remove(&uid) {
            return Some(("gone", ended));
        }
        let (key, known) = self
            .live
            .iter_mut()
            .find(|(_, known)| known.uid == uid)
            .unwrap();
        let kind = if known.told { "altered" } else { "created" };
        known.told = true;
        Some((kind, (*key, known.state, known.binding)))
    }
}

struct Run {
    table: Table,
    model: Model,
    ticket: u64,
}

impl Run {
    fn new(when_full: WhenFull, stream: ChangeStream) -> Self {
        let mut short = Timeouts::default();
        short.syn_sent = Duration::from_millis(1);
        short.established = Duration::from_secs(5);
        short.time_wait = Duration::from_nanos(3 * TICK);
        short.udp_active = Duration::from_secs(300 * 86_400);
        let timeouts = [Timeouts::default(), short];
        let mut config = SessionConfig::default();
        [config.v4, config.v6] = LIMITS;
        config.when_full = when_full;
        config.changes = stream;
        config.timeouts = timeouts.to_vec();
        Self {
            table: Table::new(config, HashKey::from_seed(1)).unwrap(),
            model: Model {
                when_full,
                stream,
                timeouts,
                now: 0,
                live: HashMap::new(),
                stale: HashMap::new(),
                embryonic: Default::default(),
                closing: Default::default(),
                queue: Default::default(),
                gone: HashMap::new(),
                owed: Vec::new(),
                next_uid: 0,
            },
            ticket: 0,
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.model.now)
    }

    fn binding(&mut self, profile: u8) -> Binding {
        self.ticket += 1;
        Binding {
            ticket: Ticket::from_bits(self.ticket << 32 | 5),
            method: self.ticket.to_le_bytes()[0],
            flags: 9,
            profile,
        }
    }

    fn put(&mut self, n: usize, state: State, profile: u8, idle: Option<u64>) {
        let key = flow(n);
        let binding = self.binding(profile);
        let put = match idle {
            None => self.table.insert(self.now(), &key, state, binding),
            Some(idle) => {
                let idle = Duration::from_nanos(idle);
                self.table.adopt(self.now(), &key, state, binding, idle)
            }
        };
        let admitted = self.model.admit(key, state, binding, idle.unwrap_or(0));
        assert_eq!(put.err(), admitted.err());
        let (Ok(id), Ok(idle)) = (put, admitted) else {
            return;
        };
        let known = Known {
            uid: self.model.next_uid,
            id,
            state,
            binding,
            seen: self.model.tick() - i64::try_from(idle).unwrap(),
            told: false,
        };
        self.model.live.insert(key, known);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Adopt(n, state, profile, idle) => {
                self.put(n, State::ALL[state], profile, Some(idle));
            }
            Step::Collect => self.collect(),
            Step::Insert(n, state, profile) => {
                let before = self.model.next_uid;
                self.put(n, State::ALL[state], profile, None);
                if self.model.next_uid > before {
                    self.model.alter(flow(n));
                }
            }
            Step::Read(most) => self.read(most),
            Step::Rebind(n, profile) => self.rebind(n, profile),
            Step::Remove(n) => {
                let key = flow(n);
                if let Some(known) = self.model.live.get(&key).cloned() {
                    let removed = self.table.remove(self.now(), known.id).unwrap();
                    assert_eq!(
                        (removed.key, removed.state, removed.binding),
                        (key, known.state, known.binding)
                    );
                    self.model.end(key, None);
                }
            }
            Step::Stale(n) => self.stale(n),
            Step::Touch(n, state) => self.touch(n, State::ALL[state]),
            Step::Wait(span) => {
                self.model.now += span;
                self.expire_all();
            }
            Step::WaitAndLookAtFew(span, most) => {
                self.model.now += span;
                self.table.handle_timeout(self.now(), most);
                self.expire_what_table_expired(most);
            }
        }
    }

    fn rebind(&mut self, n: usize, profile: u8) {
        let binding = self.binding(profile);
        let Some(known) = self.model.live.get_mut(&flow(n)) else {
            return;
        };
        let now = Instant::from_nanos(self.model.now);
        let bound = self.table.rebind(now, known.id, binding);
        assert_eq!(bound, Some(known.binding));
        known.binding = binding;
        self.model.alter(flow(n));
        let (now, id) = (self.now(), self.model.live[&flow(n)].id);
        assert_eq!(self.table.rebind(now, id, binding), Some(binding));
    }

    fn touch(&mut self, n: usize, to: State) {
        let (now, tick) = (self.now(), self.model.tick());
        let Some(known) = self.model.live.get_mut(&flow(n)) else {
            return;
        };
        known.seen = tick;
        let (before, binding) = (known.state, known.binding);
        let touch = self.table.touch(now, known.id, |state| {
            assert_eq!(state, before);
            to
        });
        let touch = touch.unwrap();
        assert_eq!((touch.before, touch.binding), (before, binding));
        assert_eq!(touch.after, self.model.shift(flow(n), to));
    }

    fn stale(&mut self, n: usize) {
        let now = self.now();
        if let Some(id) = self.model.stale.get(&flow(n)) {
            let binding = Ticket::from_bits(0).into();
            assert_eq!(self.table.session(*id), None);
            assert_eq!(self.table.touch(now, *id, |state| state), None);
            assert_eq!(self.table.rebind(now, *id, binding), None);
            assert_eq!(self.table.remove(now, *id), None);
        }
    }

    /// Runs the table's timers to the end: what is due, and nothing else, has then ended.
    fn expire_all(&mut self) {
        let now = self.now();
        let mut calls = 0;
        while self.table.poll_timeout().is_some_and(|next| next <= now) {
            self.table.handle_timeout(now, 2);
            calls += 1;
            assert!(calls < 200, "the timers never end");
        }
        let tick = self.model.tick();
        let due = |known: &Known| self.model.due(known) <= tick;
        let keys: Vec<FlowKey> = self
            .model
            .live
            .iter()
            .filter(|(_, known)| due(known))
            .map(|(key, _)| *key)
            .collect();
        assert_eq!(self.table.len(), self.model.live.len() - keys.len());
        self.expire_what_table_expired(usize::MAX);
    }

    /// Ends in the model what has ended in the table: it must be due, and at most `most`.
    fn expire_what_table_expired(&mut self, most: usize) {
        let tick = self.model.tick();
        let (table, model) = (&self.table, &self.model);
        let ended = |id| table.session(id).is_none();
        let keys: Vec<FlowKey> = model
            .live
            .iter()
            .filter(|(_, known)| ended(known.id))
            .map(|(key, _)| *key)
            .collect();
        assert!(keys.len() <= most);
        self.collect_after(&keys, tick);
    }

    fn collect_after(&mut self, keys: &[FlowKey], tick: i64) {
        let mut left: HashSet<FlowKey> = keys.iter().copied().collect();
        for key in keys {
            assert!(self.model.due(&self.model.live[key]) <= tick, "too early");
        }
        // The order of ends decides the order of changes: take it from the table.
        while let Some(expired) = self.table.poll_expired() {
            let session = expired.session;
            if expired.reason == EndReason::TimedOut && left.remove(&session.key) {
                self.model.end(session.key, Some(EndReason::TimedOut));
            }
            let ended = (session.key, session.state, session.binding);
            self.take_owed(ended, expired.reason);
        }
        assert!(left.is_empty(), "{left:?} ended and were not given");
    }

    fn take_owed(&mut self, ended: Ended, reason: EndReason) {
        let owed = self.model.owed.iter();
        let at = owed.clone().position(|owed| *owed == (ended, reason));
        // Among those that gave way, in one family, the first is given first.
        let earlier = self.model.owed[..at.expect("nothing that was owed")].iter();
        let alike = |(other, why): &&(Ended, EndReason)| {
            *why == reason && family(&other.0) == family(&ended.0)
        };
        assert_eq!(earlier.filter(alike).count(), 0, "out of order");
        self.model.owed.remove(at.unwrap());
    }

    fn collect(&mut self) {
        self.collect_after(&[], 0);
        assert!(self.model.owed.is_empty());
    }

    fn read(&mut self, most: usize) {
        for _ in 0..=most {
            let change = self.table.poll_change().map(|change| match change {
                Change::Altered(session) => ("altered", session),
                Change::Created(session) => ("created", session),
                Change::Gone(session) => ("gone", session),
                other => panic!("{other:?}"),
            });
            let change = change.map(|(kind, s)| (kind, (s.key, s.state, s.binding)));
            assert_eq!(change, self.model.expected_change());
        }
    }

    fn check(&self) {
        let (table, model) = (&self.table, &self.model);
        let keys: Vec<FlowKey> = (0..FLOWS).map(flow).collect();
        let mut found = vec![None; FLOWS];
        table.lookup_batch(&keys, &mut found);
        for (key, found) in keys.iter().zip(found) {
            let known = model.live.get(key);
            assert_eq!(found, known.map(|known| known.id));
            assert_eq!(found, table.lookup(key));
            let Some(known) = known else { continue };
            let session = table.session(known.id).unwrap();
            assert_eq!(session.key, *key);
            assert_eq!(
                (session.state, session.binding),
                (known.state, known.binding)
            );
            let seen = u64::try_from(known.seen.max(0)).unwrap();
            assert_eq!(session.seen, Instant::from_nanos(seen * TICK));
        }
        assert_eq!(table.len(), model.live.len());
        let stats = table.stats();
        assert_eq!(stats.sessions, model.live.len());
        assert_eq!(stats.embryonic, model.embryonic.iter().map(Vec::len).sum());
        assert_eq!(stats.inserted, model.next_uid);
        let ended = stats.evicted + stats.timed_out + stats.removed;
        assert_eq!(stats.inserted - ended, stats.sessions as u64);
        self.check_timeout();
        self.check_walk();
    }

    fn check_timeout(&self) {
        let due = self.model.live.values().map(|known| self.model.due(known));
        match (self.table.poll_timeout(), due.min()) {
            (None, None) => {}
            (Some(next), Some(due)) => {
                let due = u64::try_from(due.max(0)).unwrap().saturating_mul(TICK);
                let now = self.model.now / TICK * TICK;
                assert!(next <= Instant::from_nanos(due.max(now)));
            }
            (next, due) => panic!("{next:?} where {due:?} is due"),
        }
    }

    fn check_walk(&self) {
        let mut seen = HashSet::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.table.walk(from, 4, |id, session| {
                assert_eq!(self.table.session(id).as_ref(), Some(session));
                assert!(seen.insert(session.key), "twice");
            });
        }
        assert_eq!(seen, self.model.live.keys().copied().collect());
    }
}

fn policies() -> impl Strategy<Value = (WhenFull, ChangeStream)> {
    let when_full = prop_oneof![
        Just(WhenFull::EvictOldestEmbryonic),
        Just(WhenFull::EvictOldestClosing),
        Just(WhenFull::Refuse),
    ];
    let stream = prop_oneof![
        Just(ChangeStream::All),
        Just(ChangeStream::Off),
        Just(ChangeStream::Settled),
    ];
    (when_full, stream)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_map_does(
        (when_full, stream) in policies(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::new(when_full, stream);
        for step in steps {
            run.step(step);
            run.check();
        }
    }
}
