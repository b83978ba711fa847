//! A session table of your own: ordered maps, for a program with few sessions and much memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::session::{
    Binding, Change, Class, EndReason, Expired, Session, SessionRefusal, SessionTable, State,
    Timeouts, Touch,
};
use lbcore::sim::laws::session_table_laws;

/// Sessions by the order in which they came; refuses when it is full.
#[derive(Debug)]
struct Ordered {
    capacity: usize,
    next: u64,
    sessions: BTreeMap<u64, Session>,
    ids: HashMap<FlowKey, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    expired: VecDeque<Expired>,
    timeouts: Timeouts,
}

impl Ordered {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            next: 0,
            sessions: BTreeMap::new(),
            ids: HashMap::new(),
            deadlines: BTreeSet::new(),
            expired: VecDeque::new(),
            timeouts: Timeouts::default(),
        }
    }

    fn deadline(&self, session: &Session) -> Instant {
        session.seen + self.timeouts.of(session.state)
    }

    fn take(&mut self, id: u64) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.ids.remove(&session.key);
        self.deadlines.remove(&(self.deadline(&session), id));
        Some(session)
    }
}

impl SessionTable for Ordered {
    type Id = u64;
    /// The identity to go on with.
    type Cursor = u64;

    fn insert(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
    ) -> Result<u64, SessionRefusal> {
        self.adopt(now, key, state, binding, Duration::ZERO)
    }

    fn adopt(
        &mut self,
        now: Instant,
        key: &FlowKey,
        state: State,
        binding: Binding,
        idle: Duration,
    ) -> Result<u64, SessionRefusal> {
        if state.protocol() != key.protocol {
            return Err(SessionRefusal::WrongProtocol);
        }
        if self.ids.contains_key(key) {
            return Err(SessionRefusal::Present);
        }
        let embryonic = |session: &&Session| session.state.class() == Class::Embryonic;
        let begun = self.sessions.values().filter(embryonic).count();
        if state.class() == Class::Embryonic && begun >= self.capacity / 2 {
            return Err(SessionRefusal::EmbryonicFull);
        }
        if self.sessions.len() >= self.capacity {
            return Err(SessionRefusal::Full);
        }
        let (id, session) = (self.next, Session::new(*key, state, binding, now - idle));
        self.next += 1;
        self.deadlines.insert((self.deadline(&session), id));
        self.sessions.insert(id, session);
        self.ids.insert(*key, id);
        Ok(id)
    }

    fn lookup(&self, key: &FlowKey) -> Option<u64> {
        self.ids.get(key).copied()
    }

    fn session(&self, id: u64) -> Option<Session> {
        self.sessions.get(&id).copied()
    }

    fn touch(&mut self, now: Instant, id: u64, next: impl FnOnce(State) -> State) -> Option<Touch> {
        let mut session = self.session(id)?;
        let before = session.state;
        self.deadlines.remove(&(self.deadline(&session), id));
        let after = next(before);
        session.seen = now;
        if after.protocol() == before.protocol() {
            session.state = after;
        }
        self.deadlines.insert((self.deadline(&session), id));
        self.sessions.insert(id, session);
        Some(Touch {
            binding: session.binding,
            before,
            after: session.state,
        })
    }

    fn rebind(&mut self, _now: Instant, id: u64, binding: Binding) -> Option<Binding> {
        let session = self.sessions.get_mut(&id)?;
        Some(std::mem::replace(&mut session.binding, binding))
    }

    fn remove(&mut self, _now: Instant, id: u64) -> Option<Session> {
        self.take(id)
    }

    fn handle_timeout(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            let Some(&(deadline, id)) = self.deadlines.first() else {
                return;
            };
            if deadline > now {
                return;
            }
            if let Some(session) = self.take(id) {
                self.expired.push_back(Expired {
                    session,
                    reason: EndReason::TimedOut,
                });
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    fn poll_expired(&mut self) -> Option<Expired> {
        self.expired.pop_front()
    }

    /// Nobody replicates it.
    fn poll_change(&mut self) -> Option<Change> {
        None
    }

    fn walk(&self, cursor: u64, most: usize, mut visit: impl FnMut(u64, &Session)) -> Option<u64> {
        let mut rest = self.sessions.range(cursor..);
        for (id, session) in rest.by_ref().take(most) {
            visit(*id, session);
        }
        rest.next().map(|(id, _)| *id)
    }

    fn len(&self) -> usize {
        self.sessions.len()
    }

    fn timeout(&self, state: State, _profile: u8) -> Duration {
        self.timeouts.of(state)
    }
}

fn main() {
    // Thousands of random sessions, touches and waits; panics at the first broken law.
    session_table_laws(|capacity, _seed| Ordered::new(capacity));
}
