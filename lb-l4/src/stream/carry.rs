//! One session in a task of its own: for streams that a reactor can not watch.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lbcore::Instant;

use super::counters::End;
use super::flow::{Turn, Wait};
use super::reactor::{Ending, SCRATCH};
use super::relay::Relay;
use super::side::Side;
use crate::clock::{Alarm, Clock};
use crate::sys::pipe::PipePool;

/// The future of one session. Dropped, it resets both sides.
#[derive(Debug)]
pub(crate) struct Carry<C: Side, B: Side, L: Ending> {
    relay: Relay<C, B>,
    /// `None` once it has ended.
    ledger: Option<L>,
    pipes: PipePool,
    clock: Clock,
    idle_timeout: Duration,
    last_moved: Instant,
    alarm: Alarm,
}

impl<C: Side, B: Side, L: Ending> Carry<C, B, L> {
    pub(crate) fn new(
        relay: Relay<C, B>,
        ledger: L,
        pipes: PipePool,
        clock: Clock,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            relay,
            ledger: Some(ledger),
            pipes,
            clock,
            idle_timeout,
            last_moved: clock.now(),
            alarm: Alarm::new(),
        }
    }

    /// Moves what can be moved.
    fn turn(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<End> {
        let Some(ledger) = &mut self.ledger else {
            return Poll::Ready(End::Error);
        };
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let mut turn = Turn {
                now,
                scratch,
                pipes: &self.pipes,
                ledger,
                last: false,
            };
            self.relay.poll(cx, &mut turn)
        })
    }

    fn end(&mut self, now: Instant, how: End) -> Poll<End> {
        if let Some(ledger) = self.ledger.take() {
            ledger.end(now, how);
        }
        Poll::Ready(how)
    }
}

impl<C: Side + Unpin, B: Side + Unpin, L: Ending + Unpin> Future for Carry<C, B, L> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let carry = self.get_mut();
        let now = carry.clock.now();
        if let Poll::Ready(how) = carry.turn(now, cx) {
            return carry.end(now, how);
        }
        if carry.relay.moved() {
            carry.last_moved = now;
        }
        let idle_at = carry.last_moved + carry.idle_timeout;
        let due = match carry.relay.wait() {
            Wait::Sides => idle_at,
            Wait::Turn => {
                cx.waker().wake_by_ref();
                idle_at
            }
            Wait::Until(at) => idle_at.min(at),
        };
        if carry.alarm.poll_until(cx, now, Some(due)).is_ready() {
            if idle_at <= now {
                carry.relay.reset();
                return carry.end(now, End::Idle);
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<C: Side, B: Side, L: Ending> Drop for Carry<C, B, L> {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            self.relay.reset();
            ledger.end(self.clock.now(), End::Deadline);
        }
    }
}

thread_local! {
    /// Lent to one session for the length of one turn.
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}
