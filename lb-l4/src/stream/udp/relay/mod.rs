//! One worker's sessions, without a runtime: sockets are read when it is their turn, time is given.

mod begin;
mod forward;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lbcore::address_list::AddressRules;
use lbcore::budget::Budget;
use lbcore::limit::Limits;
use lbcore::schedule::Scheduler;
use lbcore::{Instant, Outcome};

use super::answers::Answers;
use super::backends::Backends;
use super::chains::Chains;
use super::config::OnePacket;
use super::counters::Tally;
use super::outbox::Outbox;
use super::poller::Poller;
use super::sessions::{SessionId, Sessions};
use super::shared::Shared;
use super::socket::{Listener, Trains};
use super::transmit::Trouble;
use crate::stream::counters::End;
use crate::sys::datagram::{BATCH, Slots};

/// Carries datagrams between the clients of one socket and the backends.
#[derive(Debug)]
pub(super) struct Relay<S: Scheduler> {
    shared: Arc<Shared<S>>,
    rules: Rules,
    worker: usize,
    listener: Listener,
    backends: Backends<S>,
    sessions: Sessions,
    poller: Poller,
    requests: Requests,
    answers: Answers,
    tally: Tally,
    draining: bool,
}

/// What the settings in force say of sessions.
#[derive(Debug)]
struct Rules {
    /// The number of the settings.
    generation: u64,
    clients: Arc<AddressRules>,
    budget: Option<Budget>,
    limits: Arc<Limits>,
    one_packet: Option<OnePacket>,
    quiet: Duration,
    drain_timeout: Duration,
}

/// Requests of one batch, and whose they are.
#[derive(Debug)]
struct Requests {
    slots: Slots,
    chains: Chains,
    /// The sessions with requests in the batch.
    touched: Vec<SessionId>,
    outbox: Outbox,
}

impl<S: Scheduler> Relay<S> {
    /// Carries for the clients of `listener`, by the settings in force.
    ///
    /// # Errors
    ///
    /// Those of `epoll_create(2)` and `epoll_ctl(2)`.
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        worker: usize,
        listener: Listener,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(&listener, LISTENER)?;
        let tally = shared.counters.worker(worker);
        let (rules, backends) = adopt(&shared, worker, &tally);
        Ok(Self {
            shared,
            worker,
            listener,
            backends,
            sessions: Sessions::new(rules.quiet),
            rules,
            poller,
            requests: Requests {
                slots: Slots::new(SLOTS),
                chains: Chains::new(SLOTS),
                touched: Vec::with_capacity(BATCH),
                outbox: Outbox::new(),
            },
            answers: Answers::new(tally.clone()),
            tally,
            draining: false,
        })
    }

    /// The set of its sockets: readable when [`turn`](Self::turn) has something new to do.
    pub(super) fn set(&self) -> Arc<OwnedFd> {
        self.poller.set()
    }

    /// How many sessions are under way.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Reads what is ready, a bounded part of it, and passes it on.
    ///
    /// # Errors
    ///
    /// Those of `epoll_wait(2)`, none of which is to be expected.
    pub(super) fn turn(&mut self, now: Instant) -> io::Result<Turn> {
        self.refresh(now);
        let fetched = self.poller.fetch()?;
        for _ in 0..self.poller.len() {
            match self.poller.next() {
                Some(LISTENER) => self.receive_requests(now),
                Some(token) => self.receive_answers(now, SessionId::from_bits(token)),
                None => break,
            }
        }
        self.answers.flush(&self.listener);
        let emptied = fetched.all && self.poller.len() == 0;
        Ok(Turn {
            active: fetched.count,
            emptied,
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sessions.poll_timeout()
    }

    /// Ends sessions that are idle, a bounded number of them.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.refresh(now);
        for _ in 0..ENDINGS {
            let Some(id) = self.sessions.next_idle(now) else {
                return;
            };
            self.end(now, id, End::Idle);
        }
    }

    /// Takes no new session from here on; returns how long the others may go on.
    pub(super) fn drain(&mut self, now: Instant) -> Duration {
        self.refresh(now);
        self.draining = true;
        self.rules.drain_timeout
    }

    /// Ends every session.
    pub(super) fn end_all(&mut self, now: Instant, how: End) {
        while let Some(id) = self.sessions.oldest() {
            self.end(now, id, how);
        }
    }

    /// Works by the settings in force, and by the pool as it is; sessions keep their backends.
    fn refresh(&mut self, now: Instant) {
        if self.rules.generation != self.shared.generation() {
            (self.rules, self.backends) = adopt(&self.shared, self.worker, &self.tally);
            self.sessions.set_timeout(self.rules.quiet);
        }
        self.backends.refresh(now);
    }

    fn receive_requests(&mut self, now: Instant) {
        let mut failed = false;
        for _ in 0..ROUNDS {
            match self.requests.slots.receive(self.listener.as_fd(), 0..SLOTS) {
                Ok(got) => {
                    self.handle_requests(now, u16::try_from(got).unwrap_or(SLOTS));
                    if got < BATCH {
                        return;
                    }
                    failed = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier answer met; it is used up, and datagrams may wait behind it.
                Err(_) => failed = true,
            }
        }
        // A socket that gives nothing but errors waits until the kernel tells of a change.
        if !failed {
            self.poller.again(LISTENER);
        }
    }

    fn receive_answers(&mut self, now: Instant, id: SessionId) {
        for round in 0..ROUNDS {
            if self.answers.is_full() {
                self.answers.flush(&self.listener);
            }
            let session = self.sessions.peek(id);
            let Some(upstream) = session.and_then(|it| it.upstream.as_ref()) else {
                return;
            };
            // Mostly one answer waits; where there are more, there are many.
            let most = if round == 0 { FEW } else { SLOTS };
            match self.answers.receive(upstream.socket.as_fd(), most) {
                Ok(got) => {
                    self.answer(now, id, got.first..got.end);
                    if got.emptied {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if Trouble::of(&error) == Trouble::Refused => {
                    return self.refused(now, id);
                }
                // Used up, and answers may wait behind it.
                Err(_) => {}
            }
        }
        self.poller.again(id.to_bits());
    }

    /// Ends a session.
    fn end(&mut self, now: Instant, id: SessionId, how: End) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        self.tally.sessions.ended(how);
        let Some(upstream) = session.upstream else {
            return;
        };
        let outcome = match (how, session.answers, session.awaits) {
            (End::Deadline | End::Error, ..) => Outcome::Cancelled,
            (_, 1.., _) => Outcome::Ok,
            (_, 0, Some(1..)) => Outcome::Timeout,
            // Some protocols are never answered: nobody can say.
            _ => Outcome::Cancelled,
        };
        upstream.lease.finish(now, outcome);
    }
}

/// What follows from the settings in force.
fn adopt<S: Scheduler>(shared: &Shared<S>, worker: usize, tally: &Tally) -> (Rules, Backends<S>) {
    let generation = shared.generation();
    let active = shared.active();
    let settings = &active.settings;
    let config = &settings.config;
    let trains = match config.one_packet {
        Some(_) => Trains::Single,
        None => Trains::Received,
    };
    let balancer = settings.pool.balancer(worker);
    let backends = Backends::new(balancer, settings, trains, tally.clone());
    let rules = Rules {
        generation,
        clients: Arc::clone(&settings.rules),
        budget: settings.budget.clone(),
        limits: Arc::clone(&active.limits),
        one_packet: config.one_packet,
        quiet: config.quiet(),
        drain_timeout: config.drain_timeout,
    };
    (rules, backends)
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Turn {
    /// How many sockets had become ready.
    pub(super) active: usize,
    /// Whether nothing is left to read: the set of sockets will tell when there is.
    pub(super) emptied: bool,
}

/// No session has this name: 2^32 - 1 is no index.
const LISTENER: u64 = u64::MAX;
#[expect(clippy::cast_possible_truncation, reason = "64")]
const SLOTS: u16 = BATCH as u16;
/// Batches of one socket before the others have their turn.
const ROUNDS: usize = 4;
/// Answers that the first call for a socket makes room for.
const FEW: u16 = 4;
/// Sessions ended in one call; the next call goes on.
const ENDINGS: usize = 256;
