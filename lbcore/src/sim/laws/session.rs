//! The laws of session tables.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::flow::{FlowKey, Protocol};
use crate::rng::{Rng, Xoshiro};
use crate::session::{
    Binding, Change, Class, EndReason, Expired, SessionRefusal, SessionTable, State,
};
use crate::{Instant, Ticket};

/// What every [`SessionTable`] must keep, whoever wrote it.
///
/// `make` is given how many sessions the table shall hold, of each address family if it tells them
/// apart, and a seed; a quarter of them at least shall be allowed to be embryonic. Runs random
/// flows, touches, waits and ends through 8 tables of each kind.
///
/// 1. A look-up finds exactly the sessions that live, alone or in a batch; an identity outlives its
///    session by naming none.
/// 2. Each ticket comes back once: from `remove` or from `poll_expired`. A refused insertion
///    changes nothing.
/// 3. No session times out before its timeout has passed since it was last touched; each has timed
///    out a second after, if `handle_timeout` was called as `poll_timeout` asks; and no call ends
///    more sessions than it may look at.
/// 4. A table never holds more than it shall, and an embryonic session takes the place of none that
///    is open.
/// 5. A walk shows each session that lives all through it once, whatever else changes.
/// 6. Changes, applied in order, make a copy of the table, if it tells any.
///
/// # Panics
///
/// Panics at the first broken law, and names the seed that breaks it again.
///
/// # Examples
///
/// ```
/// use lbcore::hash::HashKey;
/// use lbcore::session::{ChangeStream, Limits, SessionConfig, Table};
/// use lbcore::sim::laws::session_table_laws;
///
/// session_table_laws(|capacity, seed| {
///     let mut config = SessionConfig::default();
///     config.v4 = Limits::of(capacity);
///     config.v6 = Limits::of(capacity);
///     config.changes = ChangeStream::All;
///     Table::new(config, HashKey::from_seed(seed)).expect("the limits are in range")
/// });
/// ```
#[track_caller]
pub fn session_table_laws<T: SessionTable>(make: impl Fn(usize, u64) -> T) {
    for seed in 0..8 {
        Run::new(&make, 1_000, seed).random_steps(2_000);
        Run::new(&make, 8, seed).random_steps(1_000);
        established_sessions_outlive_a_flood(make(16, seed), seed);
        storm_is_bounded(make(256, seed), seed);
    }
}

/// Sessions as they should be in the table.
struct Run<T: SessionTable> {
    table: T,
    capacity: usize,
    seed: u64,
    rng: Xoshiro,
    now: Instant,
    live: HashMap<FlowKey, Known<T::Id>>,
    /// Tickets that have not come back.
    tickets: HashSet<u64>,
    copy: HashMap<FlowKey, (State, Binding)>,
    tells: bool,
    ended: Option<T::Id>,
}

#[derive(Clone)]
struct Known<I> {
    id: I,
    state: State,
    binding: Binding,
    seen: Instant,
}

/// A walk under way.
struct Walk<T: SessionTable> {
    cursor: T::Cursor,
    shown: HashMap<FlowKey, Vec<T::Id>>,
    /// Who lived when it began, and lives.
    lasting: HashMap<FlowKey, T::Id>,
}

impl<T: SessionTable> Walk<T> {
    fn new(lasting: HashMap<FlowKey, T::Id>) -> Self {
        Self {
            cursor: T::Cursor::default(),
            shown: HashMap::new(),
            lasting,
        }
    }
}

impl<T: SessionTable> Run<T> {
    fn new(make: &impl Fn(usize, u64) -> T, capacity: usize, seed: u64) -> Self {
        Self {
            table: make(capacity, seed),
            capacity,
            seed,
            rng: Xoshiro::new(seed),
            now: Instant::from_nanos(1 << 40),
            live: HashMap::new(),
            tickets: HashSet::new(),
            copy: HashMap::new(),
            tells: false,
            ended: None,
        }
    }

    fn random_steps(mut self, steps: usize) {
        let mut walk = Walk::new(self.ids());
        for step in 0..steps {
            match self.below(10) {
                0..4 => self.insert(),
                4..7 => self.touch(),
                7 => self.remove(),
                8 => self.read_changes(),
                _ => self.wait(),
            }
            self.walk_on(&mut walk);
            if step % 8 == 0 {
                self.check();
            }
        }
        self.end_all();
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn key(&mut self) -> FlowKey {
        let n = self.below(self.capacity as u64 * 2);
        flow(n)
    }

    fn insert(&mut self) {
        let key = self.key();
        let states: Vec<State> = State::ALL
            .into_iter()
            .filter(|state| state.protocol() == key.protocol)
            .collect();
        let state = states[self.rng.below(states.len() as u64).try_into().unwrap_or(0)];
        let bits = self.rng.next_u64();
        let binding = Binding::from(Ticket::from_bits(bits));
        let before = self.table.len();
        match self.table.insert(self.now, &key, state, binding) {
            Ok(id) => {
                let seen = self.now;
                let known = Known {
                    id,
                    state,
                    binding,
                    seen,
                };
                let present = self.live.insert(key, known);
                assert!(
                    present.is_none(),
                    "two sessions of {key:?}, {}",
                    self.named()
                );
                self.tickets.insert(bits);
                self.collect();
            }
            Err(refusal) => {
                let present = refusal == SessionRefusal::Present;
                assert_eq!(present, self.live.contains_key(&key), "{}", self.named());
                assert_eq!(self.table.len(), before, "{}", self.named());
            }
        }
    }

    fn touch(&mut self) {
        let key = self.key();
        let to = State::ALL[usize::try_from(self.below(11)).unwrap_or(0)];
        let Some(known) = self.live.get(&key).cloned() else {
            return;
        };
        let touch = self.table.touch(self.now, known.id, |_| to);
        let Some(touch) = touch else {
            panic!("a live session is not found, {}", self.named());
        };
        let moved = touch.after == to && to.protocol() == key.protocol;
        let stayed = touch.after == known.state;
        assert!(
            moved || stayed,
            "{touch:?} towards {to:?}, {}",
            self.named()
        );
        assert_eq!(touch.before, known.state, "{}", self.named());
        assert_eq!(touch.binding, known.binding, "{}", self.named());
        let (state, seen) = (touch.after, self.now);
        self.live.insert(
            key,
            Known {
                state,
                seen,
                ..known
            },
        );
        self.collect();
    }

    fn remove(&mut self) {
        let key = self.key();
        let Some(known) = self.live.remove(&key) else {
            return;
        };
        let removed = self.table.remove(self.now, known.id);
        let ticket = removed.map(|session| session.binding.ticket);
        assert_eq!(ticket, Some(known.binding.ticket), "{}", self.named());
        self.tickets.remove(&known.binding.ticket.to_bits());
        self.ended = Some(known.id);
    }

    fn wait(&mut self) {
        let longest = [1, 30, 1_000][usize::try_from(self.below(3)).unwrap_or(0)];
        let span = self.below(longest * 1_000);
        self.now += Duration::from_millis(span);
        let most = usize::try_from(self.below(8)).unwrap_or(0);
        let before = self.table.len();
        self.table.handle_timeout(self.now, most);
        let ended = before - self.table.len();
        assert!(ended <= most, "{ended} ended of {most}, {}", self.named());
        if self.below(2) == 0 {
            self.run_timers();
        }
        self.collect();
    }

    /// Calls `handle_timeout` for as long as `poll_timeout` asks; then nothing is overdue.
    fn run_timers(&mut self) {
        let mut calls = 0;
        while self
            .table
            .poll_timeout()
            .is_some_and(|next| next <= self.now)
        {
            self.table.handle_timeout(self.now, 16);
            calls += 1;
            assert!(calls < 100_000, "the timers never end, {}", self.named());
        }
        self.collect();
        for (key, known) in &self.live {
            let silent = self.now.since(known.seen);
            let timeout = self.table.timeout(known.state, known.binding.profile);
            let overdue = silent > timeout + Duration::from_secs(1);
            assert!(!overdue, "{key:?} has not ended, {}", self.named());
        }
    }

    fn collect(&mut self) {
        while let Some(expired) = self.table.poll_expired() {
            let Expired { session, reason } = expired;
            let known = self.live.remove(&session.key);
            let Some(known) = known else {
                panic!("{:?} ended and did not live, {}", session.key, self.named());
            };
            assert_eq!(session.binding, known.binding, "{}", self.named());
            assert_eq!(session.state, known.state, "{}", self.named());
            let timeout = self.table.timeout(known.state, known.binding.profile);
            if reason == EndReason::TimedOut {
                let silent = self.now.since(known.seen);
                assert!(
                    silent >= timeout,
                    "ended after {silent:?}, {}",
                    self.named()
                );
            } else {
                let open = known.state.class() == Class::Open;
                assert!(!open, "an open session was evicted, {}", self.named());
            }
            let owed = self.tickets.remove(&known.binding.ticket.to_bits());
            assert!(owed, "a ticket came back twice, {}", self.named());
            self.ended = Some(known.id);
        }
    }

    fn read_changes(&mut self) {
        let mut lost = false;
        while let Some(change) = self.table.poll_change() {
            self.tells = true;
            match change {
                Change::Created(session) | Change::Altered(session) => {
                    let told = (session.state, session.binding);
                    let before = self.copy.insert(session.key, told);
                    let created = matches!(change, Change::Created(_));
                    assert_eq!(before.is_none(), created || lost, "{}", self.named());
                }
                Change::Gone(session) => {
                    let gone = self.copy.remove(&session.key);
                    assert!(gone.is_some(), "gone before created, {}", self.named());
                }
                Change::Lost(_) => lost = true,
            }
        }
        if !self.tells {
            return;
        }
        if lost {
            self.copy.retain(|key, _| self.live.contains_key(key));
        }
        for (key, told) in &self.copy {
            let known = self.live.get(key).map(|known| (known.state, known.binding));
            assert_eq!(Some(*told), known, "the copy of {key:?}, {}", self.named());
        }
    }

    fn ids(&self) -> HashMap<FlowKey, T::Id> {
        self.live
            .iter()
            .map(|(key, known)| (*key, known.id))
            .collect()
    }

    /// One call of a walk; at its end, whoever lived all through it must have been shown.
    fn walk_on(&self, walk: &mut Walk<T>) {
        let mut calls = 0;
        let cursor = walk.cursor.clone();
        let next = self.table.walk(cursor, 7, |id, session| {
            calls += 1;
            let ids = walk.shown.entry(session.key).or_default();
            assert!(
                !ids.contains(&id),
                "{session:?} shown twice, {}",
                self.named()
            );
            ids.push(id);
        });
        assert!(calls <= 7, "{calls} sessions shown of 7, {}", self.named());
        walk.lasting
            .retain(|key, id| self.live.get(key).is_some_and(|known| known.id == *id));
        let Some(next) = next else {
            for (key, id) in &walk.lasting {
                let shown = walk.shown.get(key).is_some_and(|ids| ids.contains(id));
                assert!(shown, "{key:?} was not shown, {}", self.named());
            }
            *walk = Walk::new(self.ids());
            return;
        };
        walk.cursor = next;
    }

    fn check(&self) {
        let all = self.capacity as u64 * 2;
        let keys: Vec<FlowKey> = (0..all.min(64)).map(flow).collect();
        let mut found = vec![None; keys.len()];
        self.table.lookup_batch(&keys, &mut found);
        for (key, found) in keys.iter().zip(found) {
            let known = self.live.get(key);
            assert_eq!(
                found,
                known.map(|known| known.id),
                "{key:?}, {}",
                self.named()
            );
            assert_eq!(found, self.table.lookup(key), "{key:?}, {}", self.named());
        }
        if let Some(id) = self.ended {
            assert_eq!(self.table.session(id), None, "{}", self.named());
        }
        let of_a_family = |v6| {
            self.live
                .keys()
                .filter(|key| key.source.is_ipv6() == v6)
                .count()
        };
        let most = of_a_family(false).max(of_a_family(true));
        assert!(most <= self.capacity, "{most} sessions, {}", self.named());
        assert_eq!(self.table.len(), self.live.len(), "{}", self.named());
        assert_eq!(
            self.table.is_empty(),
            self.live.is_empty(),
            "{}",
            self.named()
        );
    }

    fn end_all(mut self) {
        while let Some(next) = self.table.poll_timeout() {
            self.now = self.now.max(next);
            self.run_timers();
        }
        assert!(self.live.is_empty(), "some never end, {}", self.named());
        assert!(
            self.tickets.is_empty(),
            "a ticket never came back, {}",
            self.named()
        );
        self.read_changes();
    }

    fn named(&self) -> String {
        format!("seed {}, capacity {}", self.seed, self.capacity)
    }
}

fn established_sessions_outlive_a_flood<T: SessionTable>(mut table: T, seed: u64) {
    let now = Instant::ZERO;
    let binding = Binding::from(Ticket::from_bits(seed));
    let open: Vec<FlowKey> = (0..16).map(tcp_flow).collect();
    for key in &open {
        let put = table.insert(now, key, State::Established, binding);
        assert!(put.is_ok(), "{put:?} below the capacity, seed {seed}");
    }
    for n in 16..1_000 {
        // Refused or not: what matters is who is still there.
        let put = table.insert(now, &tcp_flow(n), State::SynSent, binding);
        while table.poll_expired().is_some() {}
        assert!(
            put.is_err(),
            "a full table took an embryonic session, seed {seed}"
        );
    }
    let found = open
        .iter()
        .filter(|key| table.lookup(key).is_some())
        .count();
    assert_eq!(
        found,
        open.len(),
        "a flood ended open sessions, seed {seed}"
    );
}

fn storm_is_bounded<T: SessionTable>(mut table: T, seed: u64) {
    let binding = Binding::from(Ticket::from_bits(seed));
    for n in 0..256 {
        let put = table.insert(Instant::ZERO, &tcp_flow(n), State::Established, binding);
        assert!(put.is_ok(), "{put:?} below the capacity, seed {seed}");
    }
    let late = Instant::ZERO + table.timeout(State::Established, 0) + Duration::from_secs(1);
    let mut left = table.len();
    let mut calls = 0;
    while left > 0 {
        table.handle_timeout(late, 5);
        assert!(left - table.len() <= 5, "a storm in one call, seed {seed}");
        left = table.len();
        calls += 1;
        assert!(calls < 10_000, "the storm never ends, seed {seed}");
    }
    let given = std::iter::from_fn(|| table.poll_expired()).count();
    assert_eq!(given, 256, "seed {seed}");
}

fn tcp_flow(n: u64) -> FlowKey {
    flow(n * 6)
}

/// Flows of both protocols and families; those of numbers that 6 divides are TCP over IPv4.
fn flow(n: u64) -> FlowKey {
    let protocol = if n.is_multiple_of(2) {
        Protocol::Tcp
    } else {
        Protocol::Udp
    };
    let [.., a, b, c] = n.to_be_bytes();
    let (source, destination) = if n.is_multiple_of(3) {
        (([10, a, b, c], 1_024).into(), ([203, 0, 113, 1], 80).into())
    } else {
        let [high, low] = [u16::from_be_bytes([0, a]), u16::from_be_bytes([b, c])];
        let source = [0x2001, 0xdb8, 0, 0, 0, 0, high, low];
        (
            (source, 1_024).into(),
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80).into(),
        )
    };
    FlowKey::new(protocol, source, destination)
}
