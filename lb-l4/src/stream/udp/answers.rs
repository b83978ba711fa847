//! Answers of many backends to many clients, gathered so that one call sends them all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use lbcore::Instant;
use lbcore::limit::TokenBucket;

use super::burst::Burst;
use super::counters::{Dropped, Tally};
use super::outbox::Outbox;
use super::sessions::Session;
use super::transmit::transmit;
use crate::sys::datagram::{BATCH, Piece, Slots};

/// Answers that wait for the end of the turn.
#[derive(Debug)]
pub(super) struct Answers {
    slots: Slots,
    used: u16,
    outbox: Outbox,
    tally: Tally,
}

impl Answers {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            slots: Slots::new(ROOM),
            used: 0,
            outbox: Outbox::new(),
            tally,
        }
    }

    /// Whether no more can be received before a [`flush`](Self::flush).
    pub(super) const fn is_full(&self) -> bool {
        self.used == ROOM
    }

    /// Receives at most `most` answers; `true` if there may be more.
    pub(super) fn receive(&mut self, upstream: BorrowedFd<'_>, most: u16) -> io::Result<Got> {
        let first = self.used;
        let asked = most.min(ROOM - first);
        let got = self.slots.receive(upstream, first..first + asked)?;
        let got = u16::try_from(got).unwrap_or(0);
        self.used += got;
        Ok(Got {
            first,
            end: first + got,
            emptied: got < asked,
        })
    }

    /// Puts the answer of slot `slot` on its way to the session's client.
    ///
    /// No more than the session awaits and `bytes` lets pass; the rest is dropped. Returns how many
    /// datagrams came of those awaited.
    pub(super) fn push(
        &mut self,
        now: Instant,
        slot: u16,
        session: &Session,
        bytes: &TokenBucket,
    ) -> u32 {
        let received = self.slots.received(slot);
        if !received.whole {
            self.tally.dropped(Dropped::Truncated, 1);
            return 0;
        }
        let came = Burst::of(received);
        let wanted = match session.awaits {
            Some(all) => came.first(all.saturating_sub(session.answers)),
            None => came,
        };
        let passed = wanted.police(now, bytes);
        self.tally
            .dropped(Dropped::Surplus, came.count_beyond(wanted));
        self.tally
            .dropped(Dropped::Bandwidth, wanted.count_beyond(passed));
        if passed.count > 0 {
            let piece = Piece {
                slot,
                start: 0,
                len: passed.len,
            };
            let segment = passed.segment();
            self.outbox
                .push(piece, segment, Some(session.client), session.asked);
        }
        wanted.count
    }

    /// Sends what was gathered through the socket that clients ask.
    pub(super) fn flush(&mut self, listener: impl AsFd) {
        let mut first = 0;
        let mut errors = 0;
        while !self.outbox.messages(first).is_empty() {
            let done = transmit(
                &self.slots,
                listener.as_fd(),
                &self.outbox,
                first,
                &self.tally,
            );
            self.tally.passed_out(done.passed);
            let Some(at) = done.refused_at else { break };
            // Another client's port is closed; a socket of the caller's own may tell. This message
            // has not been sent yet.
            errors += 1;
            first = at;
            if errors > MOST_ERRORS {
                self.tally
                    .dropped(Dropped::Unsendable, self.outbox.size(at).datagrams);
                first += 1;
            }
        }
        self.outbox.clear();
        self.used = 0;
    }
}

/// What one receipt of answers gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Got {
    /// The first slot that was filled.
    pub(super) first: u16,
    /// The slot after the last one.
    pub(super) end: u16,
    /// Whether nothing more waits at the socket.
    pub(super) emptied: bool,
}

#[expect(clippy::cast_possible_truncation, reason = "64")]
const ROOM: u16 = BATCH as u16;

/// Errors of other clients that one flush puts up with before it drops a message for each.
const MOST_ERRORS: usize = BATCH;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use lbcore::limit::Concurrency;

    use super::*;
    use crate::stream::udp::chains::Chain;
    use crate::stream::udp::counters::UdpCounters;
    use crate::stream::udp::sessions::Admission;

    fn session(client: &UdpSocket) -> Session {
        Session {
            client: client.local_addr().unwrap(),
            asked: None,
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
    fn more_answers_than_there_is_room_for_go_out_in_parts_and_in_order() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (backend, upstream, listener, client) = (bind(), bind(), bind(), bind());
        client.set_nonblocking(true).unwrap();
        let session = session(&client);
        let unlimited = TokenBucket::new(Instant::ZERO, 0, 0);
        for n in 0..70_u8 {
            backend
                .send_to(&[n], upstream.local_addr().unwrap())
                .unwrap();
        }
        let counters = UdpCounters::new(1);
        let mut answers = Answers::new(counters.worker(0));
        let take = |answers: &mut Answers, first, end, emptied| {
            let got = answers.receive(upstream.as_fd(), 40).unwrap();
            assert_eq!(
                got,
                Got {
                    first,
                    end,
                    emptied
                }
            );
            for slot in first..end {
                assert_eq!(answers.push(Instant::ZERO, slot, &session, &unlimited), 1);
            }
        };
        let arrived = || std::iter::from_fn(|| client.recv(&mut [0; 9]).ok()).count();

        take(&mut answers, 0, 40, false);
        assert!(!answers.is_full());
        take(&mut answers, 40, 64, false);
        assert!(answers.is_full());
        answers.flush(&listener);
        assert!(!answers.is_full());
        assert_eq!(arrived(), 64);
        take(&mut answers, 0, 6, true);
        answers.flush(&listener);
        assert_eq!(arrived(), 6);
        answers.flush(&listener);
        assert_eq!(arrived(), 0);
        assert_eq!(counters.read().datagrams_out, 70);
    }

    #[test]
    fn a_session_gets_no_more_answers_than_it_awaits() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (backend, upstream, client) = (bind(), bind(), bind());
        let unlimited = TokenBucket::new(Instant::ZERO, 0, 0);
        backend
            .send_to(b"x", upstream.local_addr().unwrap())
            .unwrap();
        let counters = UdpCounters::new(1);
        let mut answers = Answers::new(counters.worker(0));
        answers.receive(upstream.as_fd(), 1).unwrap();
        for (had, passed) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
            let session = Session {
                answers: had,
                awaits: Some(2),
                ..session(&client)
            };
            assert_eq!(answers.push(Instant::ZERO, 0, &session, &unlimited), passed);
        }
        assert_eq!(counters.read().dropped(Dropped::Surplus), 2);
    }
}
