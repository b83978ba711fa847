//! What reaches a connection from other threads.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

/// What a connection is told to do; the last is the most urgent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Order {
    /// Answer what is under way, and close then.
    Drain,
    /// Close at once: the server cannot wait.
    ShutDown,
    /// Close at once: the client is not admitted any more.
    Revoke,
}

/// Answers and orders for one connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Mail {
    /// Frames.
    answers: Vec<u8>,
    /// How many they are.
    count: usize,
    order: Option<Order>,
    /// The connection, when it has seen all that is here.
    waker: Option<Waker>,
}

/// What was in a mailbox.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Collected {
    pub(super) answers: usize,
    pub(super) order: Option<Order>,
}

impl Mailbox {
    /// Leaves `count` answers, which are the frames in `answers`, and empties that. Wakes the
    /// connection once, however many they are.
    pub(super) fn deliver(&self, answers: &mut Vec<u8>, count: usize) {
        self.leave(|mail| {
            if mail.answers.is_empty() {
                std::mem::swap(&mut mail.answers, answers);
            } else {
                mail.answers.extend_from_slice(answers);
            }
            mail.count += count;
        });
        answers.clear();
    }

    /// Leaves an order, unless there is a more urgent one.
    pub(super) fn order(&self, order: Order) {
        if order != Order::Drain {
            self.close();
        }
        self.leave(|mail| mail.order = mail.order.max(Some(order)));
    }

    /// Takes what is here, appending answers to `into`, and has the task woken by what comes after.
    pub(super) fn collect(&self, task: &Context<'_>, into: &mut Vec<u8>) -> Collected {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if into.is_empty() {
            std::mem::swap(&mut mail.answers, into);
        } else {
            into.append(&mut mail.answers);
        }
        match &mut mail.waker {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Collected {
            answers: std::mem::take(&mut mail.count),
            order: mail.order,
        }
    }

    /// Nobody waits for answers any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Whether anybody waits for answers.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Relaxed)
    }

    fn leave(&self, what: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut mail);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Debug, Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn answers_come_in_their_order_and_wake_once() {
        let (mailbox, bell) = (Mailbox::default(), Arc::<Bell>::default());
        let waker = Waker::from(Arc::clone(&bell));
        let task = Context::from_waker(&waker);
        let mut seen = b"before ".to_vec();
        assert_eq!(mailbox.collect(&task, &mut seen).answers, 0);
        let mut answers = b"one two ".to_vec();
        mailbox.deliver(&mut answers, 2);
        assert!(answers.is_empty());
        mailbox.deliver(&mut b"three ".to_vec(), 1);
        assert_eq!(bell.0.load(Relaxed), 1);
        assert_eq!(mailbox.collect(&task, &mut seen).answers, 3);
        assert_eq!(mailbox.collect(&task, &mut seen).answers, 0);
        assert_eq!(seen, b"before one two three ");
        mailbox.deliver(&mut b"four".to_vec(), 1);
        assert_eq!(bell.0.load(Relaxed), 2);
    }

    #[test]
    fn the_most_urgent_order_stands() {
        let task = Context::from_waker(Waker::noop());
        let mailbox = Mailbox::default();
        let seen = |mailbox: &Mailbox| mailbox.collect(&task, &mut Vec::new()).order;
        assert_eq!(seen(&mailbox), None);
        mailbox.order(Order::Drain);
        assert_eq!(seen(&mailbox), Some(Order::Drain));
        assert!(mailbox.is_open());
        mailbox.order(Order::Revoke);
        mailbox.order(Order::Drain);
        assert_eq!(seen(&mailbox), Some(Order::Revoke));
        assert!(!mailbox.is_open());
    }
}
