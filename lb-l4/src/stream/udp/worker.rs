//! A relay in a task: woken by its sockets, by its next timeout and by the shutdown.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use lbcore::Instant;
use lbcore::schedule::Scheduler;

use super::relay::Relay;
use crate::clock::{Alarm, Clock};
use crate::stream::counters::End;
use crate::sys::readiness::Readable;

/// One worker of a [`UdpBalancer`](super::UdpBalancer): a socket, and the sessions of its clients.
///
/// Runs in any task of any tokio runtime whose I/O and time drivers are on; for the least cost, in a
/// current-thread runtime on a thread of its own. Dropped, it ends its sessions.
#[must_use = "a worker does nothing until it runs"]
pub struct UdpWorker<S: Scheduler> {
    relay: Relay<S>,
    clock: Clock,
}

impl<S: Scheduler> UdpWorker<S> {
    pub(super) const fn new(relay: Relay<S>, clock: Clock) -> Self {
        Self { relay, clock }
    }

    /// Forwards until `shutdown` resolves, and then until its sessions are over.
    ///
    /// From the shutdown on, no session begins; [`drain_timeout`](super::UdpConfig::drain_timeout)
    /// later those that are left are ended. Does not allocate while it forwards for known clients.
    ///
    /// # Errors
    ///
    /// Those of `epoll(7)`, at the start. No datagram and no socket of a session can cause one.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with the I/O and time drivers.
    pub async fn run_until(self, shutdown: impl Future) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut task = Task {
            readable: Readable::new(self.relay.set())?,
            relay: self.relay,
            clock: self.clock,
            alarm: Alarm::new(),
            deadline: None,
        };
        poll_fn(|cx| task.poll(cx, shutdown.as_mut())).await
    }
}

impl<S: Scheduler> fmt::Debug for UdpWorker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpWorker")
            .field("sessions", &self.relay.len())
            .finish_non_exhaustive()
    }
}

/// A worker that runs. Dropped, it ends its sessions: their leases are cancelled.
struct Task<S: Scheduler> {
    readable: Readable,
    relay: Relay<S>,
    clock: Clock,
    alarm: Alarm,
    /// When the drain is over, once it has begun.
    deadline: Option<Instant>,
}

impl<S: Scheduler> Task<S> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shutdown: Pin<&mut impl Future>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.is_none() && shutdown.poll(cx).is_ready() {
            let now = self.clock.now();
            self.deadline = Some(now + self.relay.drain(now));
        }
        if !self.run(cx)? {
            cx.waker().wake_by_ref();
        }
        self.keep_time(cx);
        let now = self.clock.now();
        let is_over = |deadline| self.relay.len() == 0 || deadline <= now;
        if self.deadline.is_some_and(is_over) {
            self.relay.end_all(now, End::Deadline);
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Gives turns until nothing is left to read; `false` if something may be.
    fn run(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            let Poll::Ready(ready) = self.readable.poll(cx) else {
                return Ok(true);
            };
            let mut ready = ready?;
            let mut turn = self.relay.turn(self.clock.now())?;
            // Under load more has come meanwhile: asking here spares asking the runtime first.
            for _ in 0..AGAIN {
                if turn.emptied && turn.active < BUSY {
                    break;
                }
                turn = self.relay.turn(self.clock.now())?;
            }
            if turn.emptied {
                ready.clear_ready();
            }
        }
        Ok(false)
    }

    fn keep_time(&mut self, cx: &mut Context<'_>) {
        loop {
            let now = self.clock.now();
            let next = self.relay.poll_timeout();
            let due = match (next, self.deadline) {
                (Some(next), Some(deadline)) => Some(next.min(deadline)),
                (next, deadline) => next.or(deadline),
            };
            if self.alarm.poll_until(cx, now, due).is_pending() {
                return;
            }
            self.relay.handle_timeout(now);
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            if self.relay.poll_timeout().is_some_and(|next| next <= now) {
                // A storm of endings: datagrams have their turn in between.
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}

impl<S: Scheduler> Drop for Task<S> {
    fn drop(&mut self) {
        self.relay.end_all(self.clock.now(), End::Deadline);
    }
}

/// Rounds before the runtime's other tasks have their turn.
const ROUNDS: usize = 2;
/// Turns in a round, after the first.
const AGAIN: usize = 8;
/// Sockets at once from which more are expected at once: below it, asking again mostly gives none.
const BUSY: usize = 4;
