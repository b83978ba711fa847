//! How many probes may be under way, over all pools together.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Places for probes: each probe under way holds a descriptor and a local port.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

/// The right to have one probe under way; dropped, it is another's.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// As many as `most`.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Waits in line for one pool.
    pub(super) const fn turn(self) -> Turn {
        Turn {
            places: self,
            waiting: None,
            place: None,
        }
    }
}

impl Default for Places {
    /// As many as one [`probe::run_until`](lb_l4::probe::run_until) takes.
    fn default() -> Self {
        Self::new(256)
    }
}

/// Where a pool stands in the line for places.
///
/// The line is in order, and a pool keeps its place in it while it looks after other things: so none
/// starves, however many pools there are.
pub(super) struct Turn {
    places: Places,
    waiting: Option<Waiting>,
    /// Had, and not yet used.
    place: Option<Place>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Place, AcquireError>> + Send>>;

impl Turn {
    /// A place, if one is free and nobody has waited longer; else the pool is in the line.
    pub(super) fn take(&mut self) -> Option<Place> {
        if self.is_waiting() {
            return None;
        }
        let place = self.place.take();
        let place = place.or_else(|| Arc::clone(&self.places.0).try_acquire_owned().ok());
        if place.is_none() {
            let places = Arc::clone(&self.places.0);
            self.waiting = Some(Box::pin(places.acquire_owned()));
        }
        place
    }

    /// Whether the pool is in the line.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Resolves when the pool's turn has come, and [`take`](Self::take) has a place; never if it is
    /// in no line. May be dropped and called again.
    pub(super) async fn come(&mut self) {
        match &mut self.waiting {
            Some(waiting) => self.place = waiting.await.ok(),
            None => return pending().await,
        }
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn has_come(turn: &mut Turn) -> bool {
        tokio::select! {
            biased;
            () = turn.come() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn places_are_as_many_as_said_and_come_back() {
        let mut turn = Places::new(2).turn();
        let (first, second) = (turn.take(), turn.take());
        assert!(first.is_some() && second.is_some() && !turn.is_waiting());
        assert!(!has_come(&mut turn).await, "in no line");
        assert!(turn.take().is_none() && turn.is_waiting());
        assert!(!has_come(&mut turn).await);
        assert!(turn.take().is_none(), "in the line already");
        drop(first);
        assert!(has_come(&mut turn).await);
        assert!(!turn.is_waiting());
        let third = turn.take();
        assert!(third.is_some() && turn.take().is_none());
    }

    #[tokio::test]
    async fn a_pool_keeps_its_place_in_the_line_while_it_does_other_things() {
        let places = Places::new(1);
        let [mut holder, mut first, mut second] = [(); 3].map(|()| places.clone().turn());
        let held = holder.take();
        assert!(first.take().is_none() && !has_come(&mut first).await);
        assert!(second.take().is_none() && !has_come(&mut second).await);
        assert!(!has_come(&mut first).await, "asked again");
        drop(held);
        assert!(holder.take().is_none(), "others have waited");
        assert!(!has_come(&mut second).await);
        assert!(has_come(&mut first).await);
        // Used or not, it goes to the next.
        drop(first);
        assert!(has_come(&mut second).await);
    }

    #[test]
    fn by_default_they_are_as_many_as_the_library_takes_for_one_pool() {
        assert_eq!(Places::default().0.available_permits(), 256);
    }
}
