//! How long each phase of an exchange may take, and the one alarm that watches them.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lbcore::Instant;
use tokio::time::Sleep;

use crate::clock;

/// How long each phase may take. [`Duration::MAX`] is no limit.
///
/// A phase that has no phase of its own here, such as the choice of a backend, waits for nobody.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// From the first byte of a connection to the end of a TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// From the first byte of a request, or from the accept of its connection, to the end of its
    /// head: 408. Default 10 s.
    pub request_head: Duration,
    /// Between two pieces of a request's body: 408. Default 30 s.
    pub body_idle: Duration,
    /// From the choice of a backend to a connection that can be used, the wait in its queue
    /// included: 504, or another try. Default 5 s.
    pub connect: Duration,
    /// From the last byte of a request to the head of its response: 504. Default 60 s.
    pub first_byte: Duration,
    /// Between two pieces of a response's body, from the backend. Default 60 s.
    pub between_bytes: Duration,
    /// Without a byte taken by a client that has bytes to take. Default 30 s.
    pub write_idle: Duration,
    /// For a whole exchange, tries and bodies included. Default none: a stream may last for days.
    pub total: Duration,
    /// Between two requests of a connection. Default 60 s.
    pub keep_alive: Duration,
    /// Without a byte in either direction of a tunnel (WebSocket, CONNECT). Default 1 h. Once one
    /// side has ended its direction, the other has no longer than `write_idle`.
    pub tunnel_idle: Duration,
    /// For a tunnel to end by itself once its listener drains. Default 10 s.
    pub tunnel_drain: Duration,
    /// For the backend to say whether it wants a body that its client holds back
    /// (`Expect: 100-continue`, RFC 9110, 10.1.1); the proxy asks for it then. Default 1 s.
    pub expect_continue: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
            write_idle: Duration::from_secs(30),
            total: Duration::MAX,
            keep_alive: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            tunnel_drain: Duration::from_secs(10),
            expect_continue: Duration::from_secs(1),
        }
    }
}

/// `span` after `at`; never, when that is beyond all time.
pub(crate) fn after(at: Instant, span: Duration) -> Instant {
    if span == Duration::MAX {
        NEVER
    } else {
        at + span
    }
}

/// The deadline that does not come.
pub(crate) const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// One timer for all deadlines of a task.
///
/// Deadlines mostly move later, and nearly none is reached: the runtime's timer is touched only when
/// it has fired or a deadline comes before it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set_to: Option<Instant>,
    /// Who the timer will wake, as it is set now: it need not be told again.
    told: Option<Waker>,
}

impl Alarm {
    /// Resolves when `deadline` has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline == NEVER {
            return Poll::Pending;
        }
        loop {
            let sleep = match (&mut self.sleep, self.set_to) {
                (Some(sleep), Some(set_to)) if set_to <= deadline => sleep,
                (sleep, _) => {
                    let span = deadline.since(clock::now());
                    self.set_to = Some(deadline);
                    self.told = None;
                    let at = tokio::time::Instant::now() + span;
                    match sleep {
                        Some(sleep) => sleep.as_mut().reset(at),
                        None => *sleep = Some(Box::pin(tokio::time::sleep_until(at))),
                    }
                    continue;
                }
            };
            let is_told = self
                .told
                .as_ref()
                .is_some_and(|it| it.will_wake(cx.waker()));
            if is_told && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            if sleep.as_mut().poll(cx).is_pending() {
                self.told = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.told = None;
            // It rang for a deadline that has moved since, unless the time has come.
            if clock::now() >= deadline {
                return Poll::Ready(());
            }
            self.set_to = None;
        }
    }

    /// What `work` gives, unless `deadline` comes before.
    pub(crate) async fn limit<T>(
        &mut self,
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            self.poll(cx, deadline).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_at_the_deadline_however_it_moves() {
        let mut alarm = Alarm::default();
        let start = clock::now();
        let span = Duration::from_secs;
        let never = std::future::pending::<()>;
        assert_eq!(alarm.limit(start + span(5), async { 7 }).await, Some(7));
        assert_eq!(alarm.limit(start + span(9), never()).await, None);
        assert_eq!(clock::now().since(start).as_secs(), 9);
        assert_eq!(alarm.limit(start + span(30), async { 1 }).await, Some(1));
        assert_eq!(alarm.limit(start + span(12), never()).await, None);
        assert_eq!(clock::now().since(start).as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_rings() {
        let mut alarm = Alarm::default();
        let deadline = after(clock::now(), Duration::MAX);
        let day = tokio::time::sleep(Duration::from_secs(86_400));
        assert_eq!(alarm.limit(deadline, day).await, Some(()));
    }
}
