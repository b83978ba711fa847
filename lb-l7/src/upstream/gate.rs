//! How many connections one backend may have, and the queue in front of that limit.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;
use super::state::BackendState;
use super::stats::CloseReason;

/// What somebody who waits in the queue is given.
#[derive(Debug)]
pub(super) enum Grant<H> {
    /// A connection, or a stream of one, that somebody else is done with.
    Held(H),
    /// The right to open a connection.
    Place(Place<H>),
}

/// What the gate says at once.
#[derive(Debug)]
pub(super) enum Entry<H> {
    /// A connection may be opened.
    Place(Place<H>),
    /// Somebody else is to give up a connection first.
    Wait(Waiter<H>),
}

/// The queue is full. More backends, or more connections to them, are needed.
#[derive(Debug)]
pub(super) struct QueueFull;

/// Counts the connections of one backend, all workers together, and makes the next ones wait.
///
/// First come, first served: what becomes free goes to the head of the queue, whichever worker
/// stands there, and nobody overtakes by asking at the right moment.
#[derive(Debug)]
pub(super) struct Gate<H> {
    most: u32,
    pending: u32,
    line: Mutex<Line<H>>,
    /// The length of the queue, to be looked at without the lock.
    waiting: AtomicU32,
}

#[derive(Debug)]
struct Line<H> {
    open: u32,
    /// How many of `open` are on their way to be open.
    connecting: u32,
    next: u64,
    queue: VecDeque<(u64, oneshot::Sender<Grant<H>>)>,
}

impl<H> Gate<H> {
    /// At most `most` connections, and `pending` that wait for one.
    pub(super) fn new(most: u32, pending: u32) -> Self {
        Self {
            most,
            pending,
            line: Mutex::new(Line {
                open: 0,
                connecting: 0,
                next: 0,
                queue: VecDeque::new(),
            }),
            waiting: AtomicU32::new(0),
        }
    }

    /// How many connections there are, those on their way included.
    pub(super) fn open(&self) -> u32 {
        lock(&self.line).open
    }

    /// How many wait for one.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }
}

impl<H> Line<H> {
    fn queued(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// How many of the queue the connections on their way will serve.
    fn coming(&self, shared: u32) -> u32 {
        shared.saturating_sub(1).saturating_mul(self.connecting)
    }
}

impl<H> Gate<H> {
    /// Asks for a place on behalf of `state`, whose gate this is.
    ///
    /// `shared` is how many exchanges a connection on its way will serve: while there is one, as many
    /// wait for it instead of each opening its own. 1 for HTTP/1.
    pub(super) fn enter(state: &Arc<BackendState<H>>, shared: u32) -> Result<Entry<H>, QueueFull> {
        let gate = &state.gate;
        let mut line = lock(&gate.line);
        let queued = line.queued();
        let is_sooner = queued >= line.coming(shared) || queued >= gate.pending;
        if line.open < gate.most && is_sooner {
            line.open += 1;
            line.connecting += 1;
            return Ok(Entry::Place(Place::new(Arc::clone(state))));
        }
        if queued >= gate.pending {
            return Err(QueueFull);
        }
        let (sender, receiver) = oneshot::channel();
        let number = line.next;
        line.next += 1;
        line.queue.push_back((number, sender));
        gate.count(&line);
        Ok(Entry::Wait(Waiter {
            number,
            state: Arc::clone(state),
            receiver,
        }))
    }

    /// Gives `held` to the head of the queue, or back to the caller if nobody waits.
    pub(super) fn hand_over(&self, mut held: H) -> Result<(), H> {
        while self.waiting() > 0 {
            let Some(sender) = self.next() else { break };
            match sender.send(Grant::Held(held)) {
                Ok(()) => return Ok(()),
                Err(Grant::Held(back)) => held = back,
                Err(Grant::Place(_)) => return Ok(()),
            }
        }
        Err(held)
    }

    /// Lets those who waited for a connection to share open their own, as far as the limit allows.
    ///
    /// `shared` as in [`enter`](Self::enter).
    pub(super) fn admit(state: &Arc<BackendState<H>>, shared: u32) {
        let gate = &state.gate;
        while gate.waiting() > 0 {
            let mut line = lock(&gate.line);
            if line.open >= gate.most || line.queued() <= line.coming(shared) {
                return;
            }
            let Some((_, sender)) = line.queue.pop_front() else {
                return;
            };
            line.open += 1;
            line.connecting += 1;
            gate.count(&line);
            drop(line);
            // One that has just left lets it drop, and so passes it on.
            let _ = sender.send(Grant::Place(Place::new(Arc::clone(state))));
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Grant<H>>> {
        let mut line = lock(&self.line);
        let (_, sender) = line.queue.pop_front()?;
        self.count(&line);
        Some(sender)
    }

    fn leave(&self, number: u64) {
        let mut line = lock(&self.line);
        if let Ok(at) = line.queue.binary_search_by_key(&number, |(it, _)| *it) {
            line.queue.remove(at);
            self.count(&line);
        }
    }

    fn count(&self, line: &Line<H>) {
        self.waiting.store(line.queued(), SeqCst);
    }
}

/// The right to have one connection; dropping it gives it to whoever waits first.
#[derive(Debug)]
pub(super) struct Place<H> {
    state: Arc<BackendState<H>>,
    stage: Stage,
    /// Why its connection ends, unless somebody says better.
    reason: CloseReason,
}

/// What a place is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Connecting,
    Connected,
    /// For nothing: another has it.
    Passed,
}

impl<H> Place<H> {
    const fn new(state: Arc<BackendState<H>>) -> Self {
        Self {
            state,
            stage: Stage::Connecting,
            reason: CloseReason::Aborted,
        }
    }

    /// Whose place it is.
    pub(super) const fn state(&self) -> &Arc<BackendState<H>> {
        &self.state
    }

    /// Says that the connection is there.
    pub(super) fn connected(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Connected) == Stage::Connecting {
            lock(&self.state.gate.line).connecting -= 1;
            self.state.counts.opened();
        }
    }

    /// Says why the connection is about to end.
    pub(super) const fn closing(&mut self, reason: CloseReason) {
        self.reason = reason;
    }

    /// The same place for a new connection: that of the old is gone.
    pub(super) fn again(mut self, reason: CloseReason) -> Self {
        self.reason = reason;
        self.vacate();
        self.stage = Stage::Passed;
        Self::new(Arc::clone(&self.state))
    }

    /// Lets it be one for a connection that is still to be opened.
    fn vacate(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Connecting) == Stage::Connected {
            self.state.counts.closed(self.reason);
            lock(&self.state.gate.line).connecting += 1;
        }
    }
}

impl<H> Drop for Place<H> {
    fn drop(&mut self) {
        if self.stage == Stage::Passed {
            return;
        }
        self.vacate();
        let gate = &self.state.gate;
        loop {
            let mut line = lock(&gate.line);
            let Some((_, sender)) = line.queue.pop_front() else {
                line.open -= 1;
                line.connecting -= 1;
                return;
            };
            gate.count(&line);
            drop(line);
            match sender.send(Grant::Place(Self::new(Arc::clone(&self.state)))) {
                // Its receiver has gone in between: the next in the queue gets it.
                Err(Grant::Place(mut back)) => back.stage = Stage::Passed,
                Err(Grant::Held(_)) | Ok(()) => return,
            }
        }
    }
}

/// Somebody's place in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiter<H> {
    number: u64,
    state: Arc<BackendState<H>>,
    receiver: oneshot::Receiver<Grant<H>>,
}

impl<H> Waiter<H> {
    /// Waits for its turn; `None` when the backend is gone.
    pub(super) async fn turn(&mut self) -> Option<Grant<H>> {
        (&mut self.receiver).await.ok()
    }
}

impl<H> Drop for Waiter<H> {
    fn drop(&mut self) {
        self.state.gate.leave(self.number);
    }
}
