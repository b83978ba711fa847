//! One question between who waits for its answer and the connections it is put to.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::client::{AskConfig, Failure};
use crate::sign::{SignRequest, Signature};

use super::lock;

/// What is asked, and where answers arrive: one allocation for each request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) question: Question,
    slot: Mutex<Slot>,
}

#[derive(Debug)]
pub(super) enum Question {
    Ping,
    Sign(SignRequest),
}

#[derive(Debug)]
pub(super) enum Reply {
    Failed(Failure),
    Pong,
    Signature(Signature),
}

#[derive(Debug, Default)]
struct Slot {
    /// By attempt.
    replies: [Option<Reply>; AskConfig::MOST_ATTEMPTS as usize],
    waker: Option<Waker>,
    is_over: bool,
}

impl Call {
    pub(super) fn new(question: Question) -> Arc<Self> {
        let slot = Mutex::default();
        Arc::new(Self { question, slot })
    }

    /// An answer to any of the attempts.
    pub(super) fn poll_reply(&self, task: &Context<'_>) -> Poll<(u8, Reply)> {
        let mut slot = lock(&self.slot);
        let replies = (0..).zip(&mut slot.replies);
        for (attempt, reply) in replies {
            if let Some(reply) = reply.take() {
                return Poll::Ready((attempt, reply));
            }
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody waits any more.
    pub(super) fn end(&self) {
        let ended = {
            let mut slot = lock(&self.slot);
            slot.is_over = true;
            std::mem::take(&mut slot.replies)
        };
        drop(ended);
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.slot).is_over
    }

    /// Hands a reply over; whether anybody waits for it.
    fn deliver(&self, attempt: u8, reply: Reply) -> bool {
        let waker = {
            let mut slot = lock(&self.slot);
            if slot.is_over {
                return false;
            }
            if let Some(place) = slot.replies.get_mut(usize::from(attempt)) {
                *place = Some(reply);
            }
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The right to answer one attempt. Dropped without an answer, it says that the question was lost.
#[derive(Debug)]
pub(super) struct Waiter {
    call: Arc<Call>,
    attempt: u8,
    is_answered: bool,
}

impl Waiter {
    pub(super) const fn new(call: Arc<Call>, attempt: u8) -> Self {
        let is_answered = false;
        Self {
            call,
            attempt,
            is_answered,
        }
    }

    pub(super) fn call(&self) -> Arc<Call> {
        Arc::clone(&self.call)
    }

    pub(super) fn question(&self) -> &Question {
        &self.call.question
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_over(&self) -> bool {
        self.call.is_over()
    }

    /// Answers; whether anybody waited.
    pub(super) fn answer(mut self, reply: Reply) -> bool {
        self.is_answered = true;
        self.call.deliver(self.attempt, reply)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.is_answered {
            self.call
                .deliver(self.attempt, Reply::Failed(Failure::Lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn each_attempt_is_answered_once_and_wakes_who_waits() {
        let wakes = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let task = Context::from_waker(&waker);
        let call = Call::new(Question::Ping);
        assert!(call.poll_reply(&task).is_pending());
        assert!(Waiter::new(Arc::clone(&call), 2).answer(Reply::Pong));
        drop(Waiter::new(Arc::clone(&call), 0));
        assert_eq!(wakes.0.load(Relaxed), 1);
        let lost = call.poll_reply(&task);
        assert!(matches!(
            lost,
            Poll::Ready((0, Reply::Failed(Failure::Lost)))
        ));
        assert!(matches!(
            call.poll_reply(&task),
            Poll::Ready((2, Reply::Pong))
        ));
        assert!(call.poll_reply(&task).is_pending());
    }

    #[test]
    fn an_answer_after_the_end_goes_to_nobody() {
        let call = Call::new(Question::Ping);
        let waiter = Waiter::new(Arc::clone(&call), 0);
        assert!(!waiter.is_over());
        call.end();
        assert!(waiter.is_over() && !waiter.answer(Reply::Pong));
    }
}
