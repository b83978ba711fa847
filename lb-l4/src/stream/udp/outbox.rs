//! What is to be sent, with datagrams of one destination joined into trains.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::ops::AddAssign;

use crate::sys::datagram::{Asked, BATCH, Message, Piece};

/// Messages in the order in which they are to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: Vec<Piece>,
    messages: Vec<Message>,
    /// What the last message can still take.
    room: Room,
}

/// How far the last message can grow.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// The bytes of each of its datagrams; `None` if it is closed.
    segment: Option<NonZeroU16>,
    segments: usize,
    bytes: usize,
}

impl Outbox {
    /// Empty, with room for one batch.
    pub(super) fn new() -> Self {
        Self {
            pieces: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
            room: Room::default(),
        }
    }

    /// Adds a datagram, or a train if `segment` says so.
    ///
    /// Joins it to the message before if both go the same way and the sizes allow: in a train every
    /// datagram but the last is of one size.
    pub(super) fn push(
        &mut self,
        piece: Piece,
        segment: Option<NonZeroU16>,
        to: Option<SocketAddr>,
        from: Option<Asked>,
    ) {
        let at = self.pieces.len();
        self.pieces.push(piece);
        let added = Room::of(piece, segment);
        if let Some(last) = self.messages.last_mut()
            && let Some(joined) = self.room.join(piece, segment, added)
            && (last.to, last.from) == (to, from)
        {
            last.pieces.end = at + 1;
            last.segment = self.room.segment;
            self.room = joined;
            return;
        }
        self.messages.push(Message {
            pieces: at..at + 1,
            to,
            from,
            segment,
        });
        self.room = added;
    }

    /// The parts of all messages.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The messages from number `first` on.
    pub(super) fn messages(&self, first: usize) -> &[Message] {
        self.messages.get(first..).unwrap_or(&[])
    }

    /// The bytes and the datagrams of message number `index`.
    pub(super) fn size(&self, index: usize) -> Size {
        let Some(message) = self.messages.get(index) else {
            return Size::default();
        };
        let pieces = self.pieces.get(message.pieces.clone()).unwrap_or(&[]);
        let bytes = pieces.iter().map(|piece| u64::from(piece.len)).sum();
        let datagrams = match message.segment {
            Some(segment) => u64::div_ceil(bytes, segment.get().into()),
            None => 1,
        };
        Size { bytes, datagrams }
    }

    /// The datagrams of message number `index`, each as one piece.
    ///
    /// Pieces of a train end where datagrams end, by [`push`](Self::push).
    pub(super) fn split(&self, index: usize) -> impl Iterator<Item = Piece> {
        let message = self.messages.get(index);
        let pieces = message
            .and_then(|it| self.pieces.get(it.pieces.clone()))
            .unwrap_or(&[]);
        let segment = message
            .and_then(|it| it.segment)
            .map_or(u16::MAX, NonZeroU16::get);
        pieces.iter().flat_map(move |piece| split(*piece, segment))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.messages.clear();
        self.room = Room::default();
    }
}

/// Cuts `piece` into pieces of `segment` bytes, the last one shorter; an empty one stays one.
pub(super) fn split(piece: Piece, segment: u16) -> impl Iterator<Item = Piece> {
    let count = piece.len.div_ceil(segment.max(1)).max(1);
    (0..count).map(move |n| {
        let skip = n.saturating_mul(segment);
        let start = piece.start.saturating_add(skip);
        Piece {
            slot: piece.slot,
            start,
            len: piece.len.saturating_sub(skip).min(segment),
        }
    })
}

/// How much a message carries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) datagrams: u64,
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.datagrams += other.datagrams;
    }
}

impl Room {
    /// That of a message of this one piece.
    fn of(piece: Piece, segment: Option<NonZeroU16>) -> Self {
        let bytes = usize::from(piece.len);
        match segment.or_else(|| NonZeroU16::new(piece.len)) {
            Some(size) => Self {
                segment: Some(size).filter(|size| piece.len.is_multiple_of(size.get())),
                segments: bytes.div_ceil(usize::from(size.get())),
                bytes,
            },
            // Nothing can follow an empty datagram: a train has none.
            None => Self::default(),
        }
    }

    /// What is left after `piece` has joined, if it may.
    fn join(self, piece: Piece, segment: Option<NonZeroU16>, added: Self) -> Option<Self> {
        let mine = self.segment?;
        let fits = match segment {
            Some(theirs) => theirs == mine,
            None => piece.len <= mine.get(),
        };
        let segments = self.segments + added.segments.max(1);
        let bytes = self.bytes + added.bytes;
        if !fits || piece.len == 0 || segments > MOST_SEGMENTS || bytes > MOST_BYTES {
            return None;
        }
        let open = Some(mine).filter(|size| piece.len.is_multiple_of(size.get()));
        Some(Self {
            segment: open,
            segments,
            bytes,
        })
    }
}

/// `UDP_MAX_SEGMENTS` of Linux before 6.8, which has 128.
const MOST_SEGMENTS: usize = 64;
/// What the length field of IPv4 can count, less the headers of IPv4 and UDP.
const MOST_BYTES: usize = 65_507;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(slot: u16, len: u16) -> Piece {
        Piece {
            slot,
            start: 0,
            len,
        }
    }

    /// Pushes datagrams of these sizes to one destination; returns datagrams by message.
    fn grouped(sizes: &[u16]) -> Vec<u64> {
        let mut outbox = Outbox::new();
        for (slot, &len) in (0..).zip(sizes) {
            outbox.push(piece(slot, len), None, None, None);
        }
        (0..outbox.messages(0).len())
            .map(|at| outbox.size(at).datagrams)
            .collect()
    }

    #[test]
    fn datagrams_of_one_size_make_a_train_that_a_shorter_one_ends() {
        assert_eq!(grouped(&[100, 100, 100]), [3]);
        assert_eq!(grouped(&[100, 100, 99, 99]), [3, 1]);
        assert_eq!(grouped(&[100, 101, 101]), [1, 2]);
        assert_eq!(grouped(&[100]), [1]);
    }

    #[test]
    fn an_empty_datagram_travels_alone() {
        assert_eq!(grouped(&[0, 0, 5, 0, 5]), [1; 5]);
    }

    #[test]
    fn a_train_has_at_most_64_datagrams_and_as_many_bytes_as_ip_counts() {
        assert_eq!(grouped(&[1; 65]), [64, 1]);
        assert_eq!(grouped(&[1200; 60]), [54, 6]);
        assert_eq!(grouped(&[32_753, 32_753, 1]), [3]);
        assert_eq!(grouped(&[32_753, 32_753, 2]), [2, 1]);
        assert_eq!(grouped(&[32_754, 32_753]), [2]);
        assert_eq!(grouped(&[32_754, 32_754]), [1, 1]);
    }

    #[test]
    fn trains_join_trains_of_the_same_size_that_are_full() {
        let hundred = NonZeroU16::new(100);
        let join = |first: u16, second: u16, size: u16| {
            let mut outbox = Outbox::new();
            outbox.push(piece(0, first), hundred, None, None);
            outbox.push(piece(1, second), NonZeroU16::new(size), None, None);
            outbox.messages(0).len()
        };
        assert_eq!(join(300, 250, 100), 1);
        assert_eq!(join(350, 250, 100), 2);
        assert_eq!(join(300, 250, 99), 2);
        assert_eq!(join(300, 90, 0), 1);
        assert_eq!(join(300, 101, 0), 2);
        assert_eq!(join(3300, 3100, 100), 1);
        assert_eq!(join(3300, 3200, 100), 2);
        assert_eq!(join(3300, 3101, 100), 2);
    }

    #[test]
    fn the_first_datagrams_size_is_the_trains() {
        let mut outbox = Outbox::new();
        outbox.push(piece(0, 100), None, None, None);
        assert_eq!(outbox.messages(0)[0].segment, None);
        outbox.push(piece(1, 100), None, None, None);
        outbox.push(piece(2, 30), None, None, None);
        let message = &outbox.messages(0)[0];
        assert_eq!(
            (message.segment, message.pieces.clone()),
            (NonZeroU16::new(100), 0..3)
        );
        assert_eq!(
            outbox.size(0),
            Size {
                bytes: 230,
                datagrams: 3
            }
        );
        assert!(
            outbox
                .split(0)
                .eq([piece(0, 100), piece(1, 100), piece(2, 30)])
        );
    }

    #[test]
    fn ways_are_not_mixed() {
        let to = |port| Some(SocketAddr::from(([192, 0, 2, 1], port)));
        let from = |last| {
            Some(Asked {
                address: [127, 0, 0, last].into(),
                interface: 0,
            })
        };
        let mut outbox = Outbox::new();
        for (to, from) in [
            (to(1), from(1)),
            (to(1), from(2)),
            (to(2), from(2)),
            (to(2), from(2)),
        ] {
            outbox.push(piece(0, 9), None, to, from);
        }
        assert_eq!(outbox.messages(0).len(), 3);
        assert_eq!(outbox.messages(2)[0].pieces, 2..4);
        outbox.clear();
        assert_eq!((outbox.messages(0).len(), outbox.pieces().len()), (0, 0));
        outbox.push(piece(0, 9), None, None, None);
        assert_eq!(outbox.messages(0).len(), 1);
        assert!(outbox.messages(9).is_empty());
        assert_eq!(outbox.size(9), Size::default());
    }

    #[test]
    fn a_train_is_cut_where_its_datagrams_end() {
        let part = |start, len| Piece {
            slot: 3,
            start,
            len,
        };
        assert!(split(part(0, 250), 100).eq([part(0, 100), part(100, 100), part(200, 50)]));
        assert!(split(part(10, 200), 100).eq([part(10, 100), part(110, 100)]));
        assert!(split(part(0, 0), 100).eq([part(0, 0)]));
        assert!(split(part(0, 65_535), u16::MAX).eq([part(0, 65_535)]));
        assert_eq!(split(part(0, 65_535), 1).count(), 65_535);
    }
}
