//! Many sessions between sockets in one task: an edge-triggered epoll set of their own.
//!
//! A session of two sockets needs neither a task nor a timer nor a waker. Here it is an entry of a
//! slab and two entries of an epoll set, and what becomes of an event is a function call. The set is
//! itself watched by the runtime, so that the reactor lives in any task of any runtime.

mod task;
mod watched;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lbcore::Instant;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use slab::Slab;

use self::watched::{READS, Watched};
use super::counters::End;
use super::flow::{Ledger, Turn, Wait};
use super::relay::Relay;
use crate::sys::pipe::PipePool;
use crate::sys::socket;

pub(crate) use self::task::{Mailbox, ReactorTask};

/// Who is told how a session ended; a [`Ledger`] whose book is closed.
pub(crate) trait Ending: Ledger {
    /// The session has ended.
    fn end(self, now: Instant, how: End);
}

/// A session ready to be carried: two connected, non-blocking sockets.
#[derive(Debug)]
pub(crate) struct Joined<L> {
    pub(crate) client: Socket,
    pub(crate) backend: Socket,
    /// Read from the client already, and not yet sent to the backend.
    pub(crate) first_bytes: Vec<u8>,
    pub(crate) ledger: L,
    pub(crate) idle_timeout: Duration,
    /// How long the backend may be silent before TCP asks whether it is there.
    pub(crate) keepalive: Option<Duration>,
}

/// A socket, and whether it is a TCP one, which can be reset.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) is_tcp: bool,
}

impl Socket {
    /// Makes the coming close a reset.
    pub(crate) fn reset(&self) {
        if self.is_tcp {
            socket::set_reset_on_close(&self.fd);
        }
    }
}

/// The sessions of one worker.
pub(crate) struct Reactor<L> {
    epoll: Arc<OwnedFd>,
    sessions: Slab<Entry<L>>,
    /// Sessions that can go on at once, in the order of their turns.
    ready: Vec<usize>,
    /// Sessions that a bandwidth limit lets go on at this moment.
    throttled: BinaryHeap<Reverse<(Instant, usize)>>,
    scratch: Box<[u8]>,
    pipes: PipePool,
    next_sweep: Instant,
    shortest_idle: Duration,
}

#[derive(Debug)]
struct Entry<L> {
    relay: Relay<Watched, Watched>,
    ledger: L,
    idle_timeout: Duration,
    last_moved: Instant,
    /// What the backend's socket is yet to be told: sessions that are over soon are spared it.
    keepalive: Option<Duration>,
    /// It is in `ready` already.
    queued: bool,
    /// It is in `throttled` already, with this moment; `MAX`: it is not.
    throttled_until: Instant,
}

impl<L: Ending> Reactor<L> {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// Fails when no descriptor is left.
    pub(crate) fn new(pipes: PipePool) -> io::Result<Self> {
        Ok(Self {
            epoll: Arc::new(epoll::create(CreateFlags::CLOEXEC)?),
            sessions: Slab::new(),
            ready: Vec::new(),
            throttled: BinaryHeap::new(),
            scratch: vec![0; SCRATCH].into(),
            pipes,
            next_sweep: Instant::MAX,
            shortest_idle: Duration::MAX,
        })
    }

    /// Its epoll set, readable when a session can go on.
    pub(crate) fn epoll(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.epoll)
    }

    /// Sessions under way.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Carries a session from now on. Two system calls.
    pub(crate) fn insert(&mut self, now: Instant, joined: Joined<L>) {
        let mut client = Watched::new(joined.client.fd, joined.client.is_tcp);
        let backend = Watched::new(joined.backend.fd, joined.backend.is_tcp);
        // A client that speaks first, as most do, has spoken by now.
        client.suppose_readable();
        let vacant = self.sessions.vacant_entry();
        let index = vacant.key();
        let watched = watch(&self.epoll, &client, index, CLIENT)
            .and_then(|()| watch(&self.epoll, &backend, index, BACKEND));
        let mut relay = Relay::new(client, backend, joined.first_bytes);
        if watched.is_err() {
            relay.reset();
            joined.ledger.end(now, End::Error);
            return;
        }
        vacant.insert(Entry {
            relay,
            ledger: joined.ledger,
            idle_timeout: joined.idle_timeout,
            last_moved: now,
            keepalive: joined.keepalive,
            queued: true,
            throttled_until: Instant::MAX,
        });
        self.ready.push(index);
        if joined.idle_timeout < self.shortest_idle {
            self.shortest_idle = joined.idle_timeout;
            self.next_sweep = self.next_sweep.min(now + self.sweep_interval());
        }
    }

    /// Gives every session its turn that can go on, as far as is known without asking the kernel.
    ///
    /// Returns whether some could go on at once still.
    pub(crate) fn run_ready(&mut self, now: Instant) -> bool {
        for index in std::mem::take(&mut self.ready) {
            if let Some(entry) = self.sessions.get_mut(index) {
                entry.queued = false;
                self.step(now, index);
            }
        }
        !self.ready.is_empty()
    }

    /// Asks the kernel which sockets changed, without waiting, and gives their sessions a turn.
    ///
    /// Returns how many changes there were: [`BATCH`] means that there may be more.
    ///
    /// # Errors
    ///
    /// Fails when the epoll set is no longer one, which is a mistake of this program.
    pub(crate) fn run_events(&mut self, now: Instant) -> io::Result<usize> {
        let no_wait = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut room = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let events = match epoll::wait(&self.epoll, &mut room, Some(&no_wait)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(BATCH),
            Err(error) => return Err(error.into()),
        };
        for event in &*events {
            let data = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let index = data >> 1;
            let Some(entry) = self.sessions.get_mut(index) else {
                continue;
            };
            let (client, backend) = entry.relay.sides();
            let side = if data & 1 == CLIENT { client } else { backend };
            let flags = event.flags;
            side.handle_event(flags);
            if !entry.queued {
                self.step(now, index);
            }
        }
        Ok(events.len())
    }

    /// Lets throttled sessions go on whose time has come, and ends those that are idle.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&Reverse((at, index))) = self.throttled.peek() {
            if at > now {
                break;
            }
            self.throttled.pop();
            if let Some(entry) = self.sessions.get_mut(index) {
                entry.throttled_until = Instant::MAX;
            }
            self.queue(index);
        }
        if self.next_sweep <= now {
            self.sweep(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let throttled = self.throttled.peek().map(|Reverse((at, _))| *at);
        let next = throttled.map_or(self.next_sweep, |at| at.min(self.next_sweep));
        (next < Instant::MAX).then_some(next)
    }

    /// Ends every session by a reset.
    pub(crate) fn reset_all(&mut self, now: Instant, how: End) {
        for mut entry in self.sessions.drain() {
            entry.relay.reset();
            entry.ledger.end(now, how);
        }
        self.ready.clear();
        self.throttled.clear();
    }

    /// One turn of one session.
    fn step(&mut self, now: Instant, index: usize) {
        let Some(entry) = self.sessions.get_mut(index) else {
            return;
        };
        let mut turn = Turn {
            now,
            scratch: &mut self.scratch,
            pipes: &self.pipes,
            ledger: &mut entry.ledger,
            last: false,
        };
        let mut cx = Context::from_waker(Waker::noop());
        let polled = entry.relay.poll(&mut cx, &mut turn);
        if entry.relay.moved() {
            entry.last_moved = now;
        }
        match polled {
            Poll::Ready(how) => self.remove(now, index, how),
            Poll::Pending => self.park(now, index),
        }
    }

    /// Sees to it that a session that can not go on is told when it can.
    fn park(&mut self, now: Instant, index: usize) {
        let Some(entry) = self.sessions.get_mut(index) else {
            return;
        };
        let (client, backend) = entry.relay.sides();
        let told = rewatch(&self.epoll, client, index, CLIENT)
            .and_then(|()| rewatch(&self.epoll, backend, index, BACKEND));
        if told.is_err() {
            entry.relay.reset();
            self.remove(now, index, End::Error);
            return;
        }
        match entry.relay.wait() {
            Wait::Sides => {}
            Wait::Turn => self.queue(index),
            // Asked again at most once at a time, however often its sockets change meanwhile.
            Wait::Until(at) if at < entry.throttled_until => {
                entry.throttled_until = at;
                self.throttled.push(Reverse((at, index)));
            }
            Wait::Until(_) => {}
        }
    }

    fn queue(&mut self, index: usize) {
        if let Some(entry) = self.sessions.get_mut(index)
            && !entry.queued
        {
            entry.queued = true;
            self.ready.push(index);
        }
    }

    fn remove(&mut self, now: Instant, index: usize, how: End) {
        if let Some(entry) = self.sessions.try_remove(index) {
            // Closing takes the sockets out of the epoll set: nobody else holds them.
            drop(entry.relay);
            entry.ledger.end(now, how);
        }
    }

    /// Ends what has been idle for too long. O(n), so once in an eighth of the shortest timeout.
    fn sweep(&mut self, now: Instant) {
        let interval = self.sweep_interval();
        for (_, entry) in &mut self.sessions {
            if now.since(entry.last_moved) >= interval
                && let Some(idle) = entry.keepalive.take()
            {
                let (_, backend) = entry.relay.sides();
                backend.keep_alive(idle);
            }
        }
        let idle: Vec<usize> = self
            .sessions
            .iter()
            .filter(|(_, entry)| now.since(entry.last_moved) >= entry.idle_timeout)
            .map(|(index, _)| index)
            .collect();
        for index in idle {
            if let Some(entry) = self.sessions.get_mut(index) {
                entry.relay.reset();
            }
            self.remove(now, index, End::Idle);
        }
        if self.sessions.is_empty() {
            self.shortest_idle = Duration::MAX;
            self.next_sweep = Instant::MAX;
        } else {
            self.next_sweep = now + self.sweep_interval();
        }
    }

    /// At most a second: a timer that is always near spares the runtime from being woken for each
    /// connect timeout that is set.
    fn sweep_interval(&self) -> Duration {
        (self.shortest_idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

impl<L> fmt::Debug for Reactor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

fn watch(epoll: &OwnedFd, side: &Watched, index: usize, which: usize) -> io::Result<()> {
    Ok(epoll::add(epoll, side, token(index, which), READS)?)
}

fn rewatch(epoll: &OwnedFd, side: &mut Watched, index: usize, which: usize) -> io::Result<()> {
    match side.take_interest() {
        Some(flags) => Ok(epoll::modify(epoll, side, token(index, which), flags)?),
        None => Ok(()),
    }
}

fn token(index: usize, which: usize) -> EventData {
    EventData::new_u64((index as u64) << 1 | which as u64)
}

const CLIENT: usize = 0;
const BACKEND: usize = 1;

/// Changes taken from the kernel at once: 12 bytes each.
pub(crate) const BATCH: usize = 256;

/// Bytes read at once, and so the most that a session may hold back for a slow reader each way:
/// two of them, and all else of a session, stay below 48 KiB.
pub(crate) const SCRATCH: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::session::Session;

    #[test]
    fn a_session_at_rest_takes_less_than_a_kibibyte() {
        assert!(size_of::<Entry<Session>>() < 1024);
    }
}
