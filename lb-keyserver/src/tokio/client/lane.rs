//! The way of questions from any task to the one that owns a connection.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use lbcore::Instant;

use super::call::Waiter;
use super::lock;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) waiter: Waiter,
    pub(super) slow_at: Instant,
    pub(super) deadline: Instant,
}

/// The queue of one connection.
///
/// A push is one short lock; the owner is woken for the first of a batch only, and takes the batch
/// whole. Its length is bounded by what may wait in the client, times the attempts of each.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    /// Questions that were pushed and are not answered; as of the owner's last turn.
    load: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    owner: Option<Waker>,
    is_closed: bool,
}

impl Lane {
    /// Puts a question in; gives it back when the connection takes no more.
    pub(super) fn push(&self, item: Item) -> Result<(), Item> {
        let owner = {
            let mut queue = lock(&self.queue);
            if queue.is_closed {
                return Err(item);
            }
            queue.items.push(item);
            queue.owner.take()
        };
        self.load.fetch_add(1, Relaxed);
        if let Some(owner) = owner {
            owner.wake();
        }
        Ok(())
    }

    /// Moves what was pushed into `batch`. Pending when there is nothing and there may be more.
    pub(super) fn poll_take(&self, task: &Context<'_>, batch: &mut Vec<Item>) -> Poll<Taken> {
        let mut queue = lock(&self.queue);
        if !queue.items.is_empty() {
            std::mem::swap(&mut queue.items, batch);
            return Poll::Ready(Taken::Batch);
        }
        if queue.is_closed {
            return Poll::Ready(Taken::Closed);
        }
        match &mut queue.owner {
            Some(owner) => owner.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Poll::Pending
    }

    /// Lets nothing more in. What is in it is still taken, or lost with the lane.
    pub(super) fn close(&self) {
        let owner = {
            let mut queue = lock(&self.queue);
            queue.is_closed = true;
            queue.owner.take()
        };
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Closes, and takes out what nobody will take any more.
    pub(super) fn abandon(&self) -> Vec<Item> {
        self.close();
        std::mem::take(&mut lock(&self.queue).items)
    }

    pub(super) fn set_load(&self, load: usize) {
        self.load.store(load, Relaxed);
    }
}

/// What [`Lane::poll_take`] took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    Batch,
    /// Nothing, now and for ever.
    Closed,
}

/// The lanes of one server.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<Vec<Arc<Lane>>>);

impl Lanes {
    pub(super) fn add(&self, lane: Arc<Lane>) {
        lock(&self.0).push(lane);
    }

    pub(super) fn remove(&self, lane: &Arc<Lane>) {
        lock(&self.0).retain(|other| !Arc::ptr_eq(other, lane));
    }

    pub(super) fn close(&self) {
        lock(&self.0).iter().for_each(|lane| lane.close());
    }

    /// Puts a question into the lane with the fewest; of equals into the first, so that few
    /// questions leave together. Gives it back when no lane takes it.
    pub(super) fn push(&self, mut item: Item) -> Result<(), Item> {
        let mut lanes = lock(&self.0);
        while let Some(place) = (0..lanes.len()).min_by_key(|place| {
            let lane = lanes.get(*place);
            lane.map_or(usize::MAX, |lane| lane.load.load(Relaxed))
        }) {
            let pushed = match lanes.get(place) {
                Some(lane) => lane.push(item),
                None => return Err(item),
            };
            match pushed {
                Ok(()) => return Ok(()),
                Err(back) => item = back,
            }
            lanes.swap_remove(place);
        }
        Err(item)
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::{Call, Question};
    use super::*;

    fn item() -> Item {
        Item {
            waiter: Waiter::new(Call::new(Question::Ping), 0),
            slow_at: Instant::MAX,
            deadline: Instant::MAX,
        }
    }

    fn take(lane: &Lane) -> (Poll<Taken>, usize) {
        let mut batch = Vec::new();
        let taken = lane.poll_take(&Context::from_waker(Waker::noop()), &mut batch);
        (taken, batch.len())
    }

    #[test]
    fn a_batch_is_taken_whole_and_a_closed_lane_to_its_end() {
        let lane = Lane::default();
        assert_eq!(take(&lane), (Poll::Pending, 0));
        (0..3).for_each(|_| lane.push(item()).expect("open"));
        assert_eq!(take(&lane), (Poll::Ready(Taken::Batch), 3));
        lane.push(item()).expect("open");
        lane.close();
        assert!(lane.push(item()).is_err());
        assert_eq!(take(&lane), (Poll::Ready(Taken::Batch), 1));
        assert_eq!(take(&lane), (Poll::Ready(Taken::Closed), 0));
    }

    #[test]
    fn the_lane_with_the_fewest_is_taken_and_a_closed_one_is_left() {
        let (one, other) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
        let lanes = Lanes::default();
        lanes.add(Arc::clone(&one));
        lanes.add(Arc::clone(&other));
        (0..4).for_each(|_| lanes.push(item()).expect("open"));
        assert_eq!((take(&one).1, take(&other).1), (2, 2));
        one.set_load(0);
        one.close();
        (0..4).for_each(|_| lanes.push(item()).expect("open"));
        assert_eq!((take(&one).1, take(&other).1), (0, 4));
        other.close();
        assert!(lanes.push(item()).is_err());
    }
}
