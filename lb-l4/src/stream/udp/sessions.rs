//! Sessions of clients: found by address in O(1), forgotten when idle, bounded in number.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lbcore::budget::Grant;
use lbcore::hash::HashKey;
use lbcore::limit::ConcurrencyGuard;
use lbcore::{Instant, Lease, Ticket};

use super::chains::Chain;
use super::key::{Hashed, Key, Through};
use crate::sys::datagram::Asked;

/// One client's exchange with one backend.
#[derive(Debug)]
pub(super) struct Session {
    /// Who it is with.
    pub(super) client: SocketAddr,
    /// The local address that the client asked, from which it wants its answers.
    pub(super) asked: Option<Asked>,
    /// Where its requests go; `None` after the backend has failed, until the next request.
    pub(super) upstream: Option<Upstream>,
    /// A backend that has just failed for this client.
    pub(super) avoid: Option<Ticket>,
    /// How many datagrams were answered.
    pub(super) answers: u32,
    /// What of the batch in hand is its own.
    pub(super) batch: Chain,
    /// How many answers end it; `None` if it lasts, and is found by its client's address.
    pub(super) awaits: Option<u32>,
    /// Counts it among those under way.
    pub(super) _place: Admission,
}

/// A session's right to be, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) _limited: ConcurrencyGuard,
    pub(super) _granted: Option<[Grant; 2]>,
}

/// A connected socket, and the right to send through it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) socket: UdpSocket,
    pub(super) lease: Lease,
    /// The picture of the pool in which its backend was last seen in service.
    pub(super) generation: u64,
}

/// Names a session, and never another one that has taken its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SessionId {
    index: u32,
    generation: u32,
}

impl SessionId {
    /// As one word, for the kernel to keep; `u64::MAX` is none.
    pub(super) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The name that [`to_bits`](Self::to_bits) was called on.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are taken apart"
    )]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// The sessions of one worker.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Vec<Place>,
    free: Vec<u32>,
    by_client: HashMap<Hashed, u32, BuildHasherDefault<Through>>,
    secret: HashKey,
    timeout: Duration,
    /// The one that was quiet for longest, and the one that was quiet for shortest.
    oldest: u32,
    newest: u32,
}

/// Room for one session, with its links in the list of all by their last activity.
#[derive(Debug)]
struct Place {
    session: Option<Session>,
    generation: u32,
    older: u32,
    newer: u32,
    /// When it was last moved to the end of the list.
    listed_at: Instant,
}

impl Sessions {
    /// None yet; each will be idle after `timeout` without a datagram.
    pub(super) fn new(timeout: Duration) -> Self {
        // The standard library's random keys are the portable source of secrets here.
        let secret = RandomState::new();
        let word = |n: u64| secret.hash_one(n).to_le_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&word(0));
        bytes[8..].copy_from_slice(&word(1));
        Self {
            places: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::default(),
            secret: HashKey::new(bytes),
            timeout,
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Has sessions be idle after `timeout` from here on.
    pub(super) const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The session of this client with this local address. O(1).
    pub(super) fn find(&self, client: SocketAddr, asked: Option<Asked>) -> Option<SessionId> {
        let index = *self.by_client.get(&self.hashed(client, asked))?;
        let generation = self.places.get(index as usize)?.generation;
        Some(SessionId { index, generation })
    }

    /// The session of this name, if it is still under way.
    pub(super) fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.session.as_mut()
    }

    /// The session of this name, to be looked at.
    pub(super) fn peek(&self, id: SessionId) -> Option<&Session> {
        let place = self.places.get(id.index as usize)?;
        place
            .session
            .as_ref()
            .filter(|_| place.generation == id.generation)
    }

    /// Begins a session; returns its name, or the session where 2^32 - 1 are under way.
    pub(super) fn insert(&mut self, now: Instant, session: Session) -> Option<SessionId> {
        let key = session
            .awaits
            .is_none()
            .then(|| self.hashed(session.client, session.asked));
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.places.len())
                    .ok()
                    .filter(|&at| at != NONE)?;
                self.places.push(Place {
                    session: None,
                    generation: 0,
                    older: NONE,
                    newer: NONE,
                    listed_at: now,
                });
                index
            }
        };
        let place = self.places.get_mut(index as usize)?;
        place.session = Some(session);
        let generation = place.generation;
        if let Some(key) = key {
            self.by_client.insert(key, index);
        }
        self.link(now, index);
        Some(SessionId { index, generation })
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        self.unlink(id.index);
        let place = self.places.get_mut(id.index as usize)?;
        place.generation = place.generation.wrapping_add(1);
        let session = place.session.take()?;
        self.free.push(id.index);
        if session.awaits.is_none() {
            self.by_client
                .remove(&self.hashed(session.client, session.asked));
        }
        Some(session)
    }

    /// Notes that a datagram of this session passed.
    ///
    /// The list is kept to an eighth of the timeout, so that a busy session costs a comparison.
    pub(super) fn touch(&mut self, now: Instant, id: SessionId) {
        let Some(place) = self.places.get(id.index as usize) else {
            return;
        };
        if now.since(place.listed_at) >= self.timeout / 8 {
            self.unlink(id.index);
            self.link(now, id.index);
        }
    }

    /// When [`next_idle`](Self::next_idle) may have something; `None` without sessions.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.places.get(self.oldest as usize)?;
        Some(oldest.listed_at + self.timeout + self.timeout / 8)
    }

    /// A session that was idle for the timeout, and for an eighth of it more at most.
    pub(super) fn next_idle(&self, now: Instant) -> Option<SessionId> {
        let index = self.oldest;
        let generation = self.places.get(index as usize)?.generation;
        (self.poll_timeout()? <= now).then_some(SessionId { index, generation })
    }

    /// The session that was quiet for longest.
    pub(super) fn oldest(&self) -> Option<SessionId> {
        let index = self.oldest;
        let generation = self.places.get(index as usize)?.generation;
        Some(SessionId { index, generation })
    }

    fn hashed(&self, client: SocketAddr, asked: Option<Asked>) -> Hashed {
        Hashed::new(&self.secret, Key::new(client, asked))
    }

    /// Puts `index` at the end of the list.
    fn link(&mut self, now: Instant, index: u32) {
        let newest = std::mem::replace(&mut self.newest, index);
        if let Some(place) = self.places.get_mut(index as usize) {
            place.older = newest;
            place.newer = NONE;
            place.listed_at = now;
        }
        match self.places.get_mut(newest as usize) {
            Some(before) => before.newer = index,
            None => self.oldest = index,
        }
    }

    /// Takes `index` out of the list.
    fn unlink(&mut self, index: u32) {
        let Some(place) = self.places.get(index as usize) else {
            return;
        };
        let (older, newer) = (place.older, place.newer);
        match self.places.get_mut(older as usize) {
            Some(before) => before.newer = newer,
            None => self.oldest = newer,
        }
        match self.places.get_mut(newer as usize) {
            Some(after) => after.older = older,
            None => self.newest = older,
        }
    }
}

/// No place.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use lbcore::limit::Concurrency;

    use super::*;

    const IDLE: Duration = Duration::from_secs(80);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn asked(last: u8) -> Option<Asked> {
        Some(Asked {
            address: [127, 0, 0, last].into(),
            interface: 0,
        })
    }

    fn session(port: u16, last: u8) -> Session {
        Session {
            client: client(port),
            asked: asked(last),
            upstream: None,
            avoid: None,
            answers: 0,
            batch: Chain::EMPTY,
            awaits: None,
            _place: Admission {
                _limited: Concurrency::new(0).try_acquire().unwrap(),
                _granted: None,
            },
        }
    }

    #[test]
    fn a_session_is_found_by_client_and_by_the_address_asked() {
        let mut sessions = Sessions::new(IDLE);
        let one = sessions.insert(at(0), session(1, 1)).unwrap();
        let other = sessions.insert(at(0), session(1, 2)).unwrap();
        assert_eq!(sessions.find(client(1), asked(1)), Some(one));
        assert_eq!(sessions.find(client(1), asked(2)), Some(other));
        assert_eq!(sessions.find(client(1), None), None);
        assert_eq!(sessions.find(client(2), asked(1)), None);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn a_name_is_not_that_of_the_next_session_in_its_place() {
        let mut sessions = Sessions::new(IDLE);
        let old = sessions.insert(at(0), session(1, 1)).unwrap();
        assert!(sessions.remove(old).is_some());
        let new = sessions.insert(at(0), session(2, 1)).unwrap();
        assert_eq!(new.index, old.index);
        assert!(sessions.get(old).is_none());
        assert!(sessions.remove(old).is_none());
        assert_eq!(sessions.get(new).unwrap().client, client(2));
        assert_eq!(sessions.find(client(1), asked(1)), None);
        assert_eq!(SessionId::from_bits(new.to_bits()), new);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_session_of_one_request_is_not_found_and_takes_no_name() {
        let mut sessions = Sessions::new(IDLE);
        let listed = sessions.insert(at(0), session(1, 1)).unwrap();
        let hidden = Session {
            awaits: Some(1),
            ..session(1, 1)
        };
        let hidden = sessions.insert(at(0), hidden).unwrap();
        assert_eq!(sessions.find(client(1), asked(1)), Some(listed));
        assert!(sessions.remove(hidden).is_some());
        assert_eq!(sessions.find(client(1), asked(1)), Some(listed));
    }

    #[test]
    fn a_quiet_session_is_idle_between_one_and_nine_eighths_of_the_timeout() {
        let mut sessions = Sessions::new(IDLE);
        assert_eq!(sessions.poll_timeout(), None);
        let id = sessions.insert(at(0), session(1, 1)).unwrap();
        // Not a tenth of a second is added by what comes before an eighth has passed.
        sessions.touch(at(9), id);
        assert_eq!(sessions.poll_timeout(), Some(at(90)));
        sessions.touch(at(10), id);
        assert_eq!(sessions.poll_timeout(), Some(at(100)));
        assert_eq!(sessions.next_idle(at(99)), None);
        assert_eq!(sessions.next_idle(at(100)), Some(id));
    }

    #[test]
    fn sessions_go_in_the_order_of_their_last_datagrams() {
        let mut sessions = Sessions::new(IDLE);
        let ids: Vec<_> = (0..4)
            .map(|n| sessions.insert(at(n.into()), session(n, 1)).unwrap())
            .collect();
        sessions.touch(at(20), ids[0]);
        sessions.touch(at(21), ids[2]);
        sessions.remove(ids[3]);
        let mut order = Vec::new();
        while let Some(id) = sessions.next_idle(at(1000)) {
            assert_eq!(sessions.oldest(), Some(id));
            order.push(id);
            sessions.remove(id);
        }
        assert_eq!(order, [ids[1], ids[0], ids[2]]);
        assert_eq!((sessions.len(), sessions.oldest()), (0, None));
        assert_eq!((sessions.oldest, sessions.newest), (NONE, NONE));
    }
}
