//! What has happened to a pool: a numbered log of bounded length.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::health::{EjectionReason, Transition};
use crate::{BackendId, Instant};

/// One thing that happened to a pool.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What happened to a pool.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A backend has joined.
    Added {
        /// Which.
        backend: Named,
    },
    /// A backend's address, weight or another setting was changed; it kept its identity.
    Changed {
        /// Which.
        backend: Named,
    },
    /// A backend was ejected for the errors of its traffic.
    Ejected {
        /// Which.
        backend: Named,
        /// Until when.
        until: Instant,
        /// Why.
        reason: EjectionReason,
    },
    /// Probes changed their mind about a backend.
    Health {
        /// Which.
        backend: Named,
        /// From what to what, and why.
        transition: Transition,
    },
    /// A priority group began or ceased to disregard health.
    Panic {
        /// Which group.
        priority: u8,
        /// Whether it does now.
        on: bool,
    },
    /// A backend was removed; its sessions may last.
    Removed {
        /// Which.
        backend: Named,
    },
    /// The ejection of a backend has ended.
    Returned {
        /// Which.
        backend: Named,
    },
}

/// A backend in an event: what programs and people call it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// Its identity.
    pub id: BackendId,
    /// Its name.
    pub name: Arc<str>,
}

impl Named {
    pub(super) fn of(backend: &crate::Backend) -> Self {
        Self {
            id: backend.id,
            name: Arc::clone(&backend.name),
        }
    }
}

/// How many events a pool remembers for those who ask late.
pub(super) const REMEMBERED: usize = 4096;

/// The last events, numbered from 0 on.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<Event>,
    /// The number of the first in `events`.
    first: u64,
}

/// The answer to "what has happened since?".
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// How many events before these were forgotten, because nobody asked in time.
    pub lost: u64,
    /// What to ask with next.
    pub next: u64,
}

impl EventLog {
    pub(super) fn push(&mut self, at: Instant, kind: EventKind) {
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(Event { at, kind });
    }

    pub(super) fn since(&self, number: u64) -> Events {
        let skip = number.saturating_sub(self.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Events {
            events: self.events.iter().skip(skip).cloned().collect(),
            lost: self.first.saturating_sub(number),
            next: (self.first + self.events.len() as u64).max(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &mut EventLog, n: u64) {
        log.push(
            Instant::from_nanos(n),
            EventKind::Panic {
                priority: 0,
                on: true,
            },
        );
    }

    #[test]
    fn each_reader_sees_every_event_once_and_is_told_what_it_missed() {
        let mut log = EventLog::default();
        push(&mut log, 0);
        let first = log.since(0);
        assert_eq!((first.events.len(), first.lost, first.next), (1, 0, 1));
        assert_eq!(log.since(1).events, []);
        for n in 1..=REMEMBERED as u64 + 1 {
            push(&mut log, n);
        }
        let late = log.since(1);
        assert_eq!((late.events.len(), late.lost), (REMEMBERED, 1));
        assert_eq!(late.events[0].at.as_nanos(), 2);
        assert_eq!(late.next, REMEMBERED as u64 + 2);
        assert!(log.since(late.next).events.is_empty());
    }
}
