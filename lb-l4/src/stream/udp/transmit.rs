//! Sending an outbox to its end, whatever the kernel says on the way.

use std::io;
use std::os::fd::BorrowedFd;

use super::counters::{Dropped, Tally};
use super::outbox::{Outbox, Size};
use crate::sys::datagram::{Message, Piece, Slots};

/// Sends the messages of `outbox` from number `first` on.
///
/// What cannot be sent is dropped and counted; the rest goes on. Returns the number of the message
/// at which the peer was found to refuse, if it was: that one and those after it were not sent.
pub(super) fn transmit(
    slots: &Slots,
    socket: BorrowedFd<'_>,
    outbox: &Outbox,
    first: usize,
    tally: &Tally,
) -> Transmitted {
    let mut done = Transmitted {
        passed: Size::default(),
        refused_at: None,
    };
    let mut at = first;
    while !outbox.messages(at).is_empty() {
        match slots.send(socket, outbox.pieces(), outbox.messages(at)) {
            Ok(sent) => {
                // The kernel takes one message or says why not; this only makes sure of progress.
                for index in at..at + sent.max(1) {
                    done.passed += outbox.size(index);
                }
                at += sent.max(1);
            }
            Err(error) => match Trouble::of(&error) {
                Trouble::Interrupted => {}
                Trouble::Refused => {
                    done.refused_at = Some(at);
                    return done;
                }
                Trouble::Dropped(Dropped::Unsendable) if is_train(outbox.messages(at)) => {
                    done.passed += one_by_one(slots, socket, outbox, at, tally);
                    at += 1;
                }
                Trouble::Dropped(why) => {
                    tally.dropped(why, outbox.size(at).datagrams);
                    at += 1;
                }
            },
        }
    }
    done
}

/// What became of an outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Transmitted {
    /// What the kernel took.
    pub(super) passed: Size,
    /// Where the peer refused, if it did.
    pub(super) refused_at: Option<usize>,
}

/// What an error on sending means for the message in hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// It is lost.
    Dropped(Dropped),
    /// Nothing: try again.
    Interrupted,
    /// Nobody listens where earlier datagrams went (ICMP port unreachable).
    Refused,
}

impl Trouble {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR) => Self::Interrupted,
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Dropped(Dropped::NoBuffer),
            _ => Self::Dropped(Dropped::Unsendable),
        }
    }
}

fn is_train(messages: &[Message]) -> bool {
    messages
        .first()
        .is_some_and(|message| message.segment.is_some())
}

/// Sends a train that the kernel would not cut as single datagrams.
///
/// The way has a smaller MTU than a datagram of the train, or a device that cannot do checksums.
fn one_by_one(
    slots: &Slots,
    socket: BorrowedFd<'_>,
    outbox: &Outbox,
    index: usize,
    tally: &Tally,
) -> Size {
    let mut passed = Size::default();
    let Some(train) = outbox.messages(index).first() else {
        return passed;
    };
    let single = Message {
        pieces: 0..1,
        segment: None,
        ..train.clone()
    };
    for piece in outbox.split(index) {
        match send_single(slots, socket, piece, &single) {
            None => {
                passed += Size {
                    bytes: piece.len.into(),
                    datagrams: 1,
                }
            }
            Some(why) => tally.dropped(why, 1),
        }
    }
    passed
}

/// Sends one datagram; returns why it was dropped, if it was.
fn send_single(
    slots: &Slots,
    socket: BorrowedFd<'_>,
    piece: Piece,
    message: &Message,
) -> Option<Dropped> {
    // An error may be that of an earlier datagram, of which the kernel keeps one.
    for _ in 0..2 {
        match slots.send(socket, &[piece], std::slice::from_ref(message)) {
            Ok(_) => return None,
            Err(error) => match Trouble::of(&error) {
                Trouble::Interrupted | Trouble::Refused => {}
                Trouble::Dropped(why) => return Some(why),
            },
        }
    }
    Some(Dropped::Unsendable)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::num::NonZeroU16;
    use std::os::fd::AsFd;

    use super::*;
    use crate::stream::udp::counters::UdpCounters;

    const LEN: u16 = 200;

    /// One slot that holds the numbers up to 200, and the sockets of two peers.
    fn ready() -> (Slots, UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (one, two) = (bind(), bind());
        let bytes: Vec<u8> = (0..200).collect();
        one.send_to(&bytes, two.local_addr().unwrap()).unwrap();
        let mut slots = Slots::new(1);
        assert_eq!(slots.receive(two.as_fd(), 0..1).unwrap(), 1);
        (slots, one, two)
    }

    fn piece(start: u16, len: u16) -> Piece {
        Piece {
            slot: 0,
            start,
            len,
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_the_rest_goes_on() {
        let (slots, one, two) = ready();
        let counters = UdpCounters::new(1);
        let there = two.local_addr().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut outbox = Outbox::new();
        for (n, to) in (0..).zip([nowhere, there, nowhere, nowhere, there]) {
            // Sizes that grow are never joined.
            outbox.push(piece(0, n + 1), None, Some(to), None);
        }
        let done = transmit(&slots, one.as_fd(), &outbox, 0, &counters.worker(0));
        assert_eq!(
            done.passed,
            Size {
                bytes: 2 + 5,
                datagrams: 2
            }
        );
        assert_eq!(done.refused_at, None);
        assert_eq!(counters.read().dropped(Dropped::Unsendable), 3);
        for len in [2, 5] {
            assert_eq!(two.recv(&mut [0; 9]).unwrap(), len);
        }
    }

    #[test]
    fn a_train_that_the_kernel_will_not_cut_goes_datagram_by_datagram() {
        let (slots, one, two) = ready();
        one.connect(two.local_addr().unwrap()).unwrap();
        let counters = UdpCounters::new(1);
        let mut outbox = Outbox::new();
        // 200 datagrams; Linux cuts at most 128, and 64 before 6.8.
        outbox.push(piece(0, LEN), NonZeroU16::new(1), None, None);
        let done = transmit(&slots, one.as_fd(), &outbox, 0, &counters.worker(0));
        assert_eq!(
            done.passed,
            Size {
                bytes: 200,
                datagrams: 200
            }
        );
        for n in 0..200 {
            let mut byte = [0; 9];
            assert_eq!(two.recv(&mut byte).unwrap(), 1);
            assert_eq!(byte[0], n);
        }
        assert_eq!(counters.read(), UdpCounters::new(1).read());
    }

    #[test]
    fn a_peer_that_refuses_stops_it_where_it_is() {
        let (slots, one, two) = ready();
        one.connect(two.local_addr().unwrap()).unwrap();
        drop(two);
        let counters = UdpCounters::new(1);
        let mut outbox = Outbox::new();
        for len in [1, 2] {
            outbox.push(piece(0, len), None, None, None);
        }
        one.send(b"meets a closed port").unwrap();
        let tally = counters.worker(0);
        let done = transmit(&slots, one.as_fd(), &outbox, 0, &tally);
        assert_eq!(
            done,
            Transmitted {
                passed: Size::default(),
                refused_at: Some(0)
            }
        );
        // That error is used up.
        let done = transmit(&slots, one.as_fd(), &outbox, 1, &tally);
        assert_eq!(
            done.passed,
            Size {
                bytes: 2,
                datagrams: 1
            }
        );
    }

    #[test]
    fn it_begins_where_it_is_told_and_an_empty_outbox_is_nothing() {
        let (slots, one, two) = ready();
        one.connect(two.local_addr().unwrap()).unwrap();
        let counters = UdpCounters::new(1);
        let mut outbox = Outbox::new();
        for len in [1, 2, 3] {
            outbox.push(piece(0, len), None, None, None);
        }
        let done = transmit(&slots, one.as_fd(), &outbox, 1, &counters.worker(0));
        assert_eq!(
            done.passed,
            Size {
                bytes: 5,
                datagrams: 2
            }
        );
        assert_eq!(two.recv(&mut [0; 9]).unwrap(), 2);
        let done = transmit(&slots, one.as_fd(), &outbox, 3, &counters.worker(0));
        assert_eq!(done.passed, Size::default());
    }

    #[test]
    fn errors_are_told_apart() {
        let of = |code| Trouble::of(&io::Error::from_raw_os_error(code));
        assert_eq!(of(libc::EINTR), Trouble::Interrupted);
        assert_eq!(of(libc::ECONNREFUSED), Trouble::Refused);
        for code in [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(of(code), Trouble::Dropped(Dropped::NoBuffer));
        }
        for code in [libc::EMSGSIZE, libc::ENETUNREACH, libc::EPERM, libc::EINVAL] {
            assert_eq!(of(code), Trouble::Dropped(Dropped::Unsendable));
        }
    }
}
