//! The handshakes under way, and when each has waited long enough.

use std::collections::BTreeSet;
use std::time::Duration;

use lbcore::Instant;

use super::HalfOpenId;
use super::half_open::HalfOpen;

/// Handshakes in places that are used again, and their deadlines in order.
#[derive(Debug)]
pub(super) struct Places<T> {
    places: Vec<Option<Open<T>>>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Instant, HalfOpenId)>,
}

#[derive(Debug)]
struct Open<T> {
    half: HalfOpen,
    session: T,
    deadline: Instant,
    tries: u32,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
        }
    }
}

impl<T: Copy> Places<T> {
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// The caller bounds how many there are.
    pub(super) fn open(&mut self, now: Instant, session: T, half: HalfOpen) -> HalfOpenId {
        let deadline = now + FIRST_RETRY;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            // A limit is below 2^32, since so many would not fit into memory.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let id = HalfOpenId(place);
        if let Some(it) = self.places.get_mut(index(id)) {
            *it = Some(Open {
                half,
                session,
                deadline,
                tries: 0,
            });
            self.deadlines.insert((deadline, id));
        }
        id
    }

    pub(super) fn at(&mut self, id: HalfOpenId) -> Option<&mut HalfOpen> {
        Some(&mut self.open_at(id)?.half)
    }

    pub(super) fn session(&self, id: HalfOpenId) -> Option<T> {
        Some(self.places.get(index(id))?.as_ref()?.session)
    }

    pub(super) fn close(&mut self, id: HalfOpenId) -> Option<HalfOpen> {
        let open = self.places.get_mut(index(id))?.take()?;
        self.deadlines.remove(&(open.deadline, id));
        self.free.push(id.0);
        Some(open.half)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The first that is due, and how often its SYN was sent again.
    pub(super) fn poll_due(&self, now: Instant) -> Option<(HalfOpenId, u32)> {
        let &(deadline, id) = self.deadlines.first()?;
        let open = self.places.get(index(id))?.as_ref()?;
        (deadline <= now).then_some((id, open.tries))
    }

    /// Its SYN is sent again: it waits twice as long as before.
    pub(super) fn retry(&mut self, now: Instant, id: HalfOpenId) {
        let Some(open) = self.open_at(id) else {
            return;
        };
        let before = open.deadline;
        open.tries += 1;
        open.deadline = now + FIRST_RETRY * (1 << open.tries.min(6));
        let deadline = open.deadline;
        self.deadlines.remove(&(before, id));
        self.deadlines.insert((deadline, id));
    }

    fn open_at(&mut self, id: HalfOpenId) -> Option<&mut Open<T>> {
        self.places.get_mut(index(id))?.as_mut()
    }
}

fn index(id: HalfOpenId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

/// RFC 6298, 2.1.
const FIRST_RETRY: Duration = Duration::from_secs(1);
