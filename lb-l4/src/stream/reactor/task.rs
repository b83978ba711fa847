//! A reactor in a task: woken by its epoll set, by new sessions and by its next timeout.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use lbcore::Instant;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{BATCH, Ending, Joined, Reactor};
use crate::clock::{Alarm, Clock};
use crate::sys::readiness::Readable;

/// Where sessions are handed to a reactor; it ends when every clone is dropped and its sessions are over.
#[derive(Debug)]
pub(crate) struct Mailbox<L>(UnboundedSender<Joined<L>>);

impl<L> Clone for Mailbox<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: Ending> Mailbox<L> {
    /// Has the reactor carry this session; gives it back if the reactor is gone.
    pub(crate) fn send(&self, joined: Joined<L>) -> Result<(), Box<Joined<L>>> {
        self.0.send(joined).map_err(|refused| Box::new(refused.0))
    }
}

/// The future of a reactor. Dropped, it resets its sessions.
#[derive(Debug)]
pub(crate) struct ReactorTask<L: Ending> {
    reactor: Reactor<L>,
    readable: Readable,
    /// As long as its sessions, which a connection limit bounds, are not taken in.
    inbox: UnboundedReceiver<Joined<L>>,
    closed: bool,
    clock: Clock,
    alarm: Alarm,
}

impl<L: Ending> ReactorTask<L> {
    /// Puts a reactor under the care of the runtime that this is called in.
    pub(crate) fn new(reactor: Reactor<L>, clock: Clock) -> io::Result<(Self, Mailbox<L>)> {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let task = Self {
            readable: Readable::new(reactor.epoll())?,
            reactor,
            inbox,
            closed: false,
            clock,
            alarm: Alarm::new(),
        };
        Ok((task, Mailbox(mailbox)))
    }

    fn take_in(&mut self, now: Instant, cx: &mut Context<'_>) {
        while !self.closed {
            match self.inbox.poll_recv(cx) {
                Poll::Ready(Some(joined)) => self.reactor.insert(now, joined),
                Poll::Ready(None) => self.closed = true,
                Poll::Pending => return,
            }
        }
    }

    /// Gives turns until nothing more is known to be ready; `false` if there may be more.
    fn run(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            let hungry = self.reactor.run_ready(now);
            let Poll::Ready(ready) = self.readable.poll(cx) else {
                if hungry {
                    continue;
                }
                return Ok(true);
            };
            let mut ready = ready?;
            let mut n = self.reactor.run_events(now)?;
            if n < BATCH {
                ready.clear_ready();
            }
            // Under load more has come meanwhile: asking here spares asking the runtime first.
            for _ in 0..ROUNDS {
                if !(BUSY..BATCH).contains(&n) {
                    break;
                }
                n = self.reactor.run_events(self.clock.now())?;
            }
        }
        Ok(false)
    }

    fn keep_time(&mut self, cx: &mut Context<'_>) {
        loop {
            let now = self.clock.now();
            let due = self.reactor.poll_timeout();
            if self.alarm.poll_until(cx, now, due).is_pending() {
                return;
            }
            self.reactor.handle_timeout(self.clock.now());
            // What a limit let go on takes its turn in the next poll.
            cx.waker().wake_by_ref();
        }
    }
}

impl<L: Ending + Unpin> Future for ReactorTask<L> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.clock.now();
        self.take_in(now, cx);
        if !self.run(cx)? {
            cx.waker().wake_by_ref();
        }
        self.keep_time(cx);
        if self.closed && self.reactor.len() == 0 {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<L: Ending> Drop for ReactorTask<L> {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.reactor.reset_all(now, super::End::Deadline);
        self.inbox.close();
        while let Ok(joined) = self.inbox.try_recv() {
            joined.client.reset();
            joined.backend.reset();
            joined.ledger.end(now, super::End::Deadline);
        }
    }
}

/// Rounds before the runtime's other tasks, such as accepting, get their turn.
const ROUNDS: usize = 8;

/// Changes at once from which more are expected at once: below it, asking again mostly gives none.
const BUSY: usize = 4;
