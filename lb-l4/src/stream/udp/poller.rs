//! Which sockets have something to read.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// An epoll set of the worker's own; a runtime that watches the set need not know its sockets.
///
/// Edge-triggered: each socket is told of once and must then be read until it is empty, or be given
/// to [`again`](Self::again).
#[derive(Debug)]
pub(super) struct Poller {
    set: Arc<OwnedFd>,
    ready: VecDeque<u64>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let set = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        Ok(Self {
            set,
            ready: VecDeque::new(),
        })
    }

    /// The set, for a runtime to watch: readable when [`fetch`](Self::fetch) finds something new.
    pub(super) fn set(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.set)
    }

    /// Watches `socket` under the name `token`, until it is closed.
    pub(super) fn watch(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(epoll::add(
            &self.set,
            socket,
            data,
            EventFlags::IN | EventFlags::ET,
        )?)
    }

    /// Fetches what has become ready, without waiting; returns how many sockets have.
    ///
    /// [`next`](Self::next) then gives them, after those that were left over before.
    pub(super) fn fetch(&mut self) -> io::Result<Fetched> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; MOST];
        let fetched = match epoll::wait(&self.set, &mut events, Some(&NO_TIME)) {
            Ok((fetched, _)) => fetched,
            Err(Errno::INTR) => &mut [],
            Err(error) => return Err(error.into()),
        };
        self.ready
            .extend(fetched.iter().map(|event| event.data.u64()));
        Ok(Fetched {
            count: fetched.len(),
            all: fetched.len() < MOST,
        })
    }

    /// How many sockets [`next`](Self::next) has.
    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// A socket that is ready.
    pub(super) fn next(&mut self) -> Option<u64> {
        self.ready.pop_front()
    }

    /// Takes back a socket that was not read until it was empty.
    pub(super) fn again(&mut self, token: u64) {
        self.ready.push_back(token);
    }
}

/// What a fetch found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fetched {
    /// How many sockets have become ready.
    pub(super) count: usize,
    /// Whether there are no more; the set will tell when there are.
    pub(super) all: bool,
}

/// As many sockets in one call as one batch can answer, twice.
const MOST: usize = 128;
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
