//! One direction of a session: what is read on one side is written to the other.

use std::io;
use std::task::{Context, Poll, ready};

use lbcore::Instant;

use super::side::Side;
use crate::sys::pipe::{CAPACITY, Pipe, PipePool};

/// Which direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// From the backend to the client.
    Down,
    /// From the client to the backend.
    Up,
}

/// Who is told of every byte, and may slow it down.
pub(crate) trait Ledger {
    /// How many of `want` bytes may be read now; `Err` says when to ask again.
    fn allow(&mut self, now: Instant, way: Way, want: usize) -> Result<usize, Instant>;

    /// So many bytes, above zero, were read.
    fn read(&mut self, now: Instant, way: Way, bytes: usize);

    /// So many bytes were written.
    fn wrote(&mut self, way: Way, bytes: usize);
}

/// What a turn of a direction works with; it is its worker's and not the session's.
#[derive(Debug)]
pub(crate) struct Turn<'a, L> {
    pub(crate) now: Instant,
    /// Bytes are read into it and written from it; nothing stays in it between turns.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) pipes: &'a PipePool,
    pub(crate) ledger: &'a mut L,
    /// The other direction is over: when this one is, both sides are closed.
    pub(crate) last: bool,
}

/// Which side of the direction failed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The side that is read.
    Source(io::Error),
    /// The side that is written.
    Sink(io::Error),
}

/// One direction.
///
/// It owns bytes only while they wait for a slow reader: a session at rest owns no buffer.
#[derive(Debug)]
pub(crate) struct Flow {
    way: Way,
    stage: Stage,
    held: Held,
    /// Written, but perhaps not sent.
    unflushed: bool,
    /// Full reads in a row, or moves worth a pipe.
    full: u8,
    /// Moves in a row that a plain read had done as well.
    small: u8,
    bulk: bool,
    wait: Wait,
    /// Whether bytes moved in the last turn.
    moved: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Bytes may come.
    Open,
    /// The source has ended, the sink does not know it yet.
    Ending,
    /// Both have ended.
    Ended,
}

#[derive(Debug)]
enum Held {
    Nothing,
    /// These bytes, from the index on.
    Bytes(Box<[u8]>, usize),
    /// What is in the pipe.
    Piped(Pipe),
}

/// Why a direction that is pending does not only wait for its sides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// It does.
    Sides,
    /// More could be moved at once: others were given their turn.
    Turn,
    /// A bandwidth limit allows nothing before this moment.
    Until(Instant),
}

impl Flow {
    pub(crate) const fn new(way: Way) -> Self {
        Self {
            way,
            stage: Stage::Open,
            held: Held::Nothing,
            unflushed: false,
            full: 0,
            small: 0,
            bulk: false,
            wait: Wait::Sides,
            moved: false,
        }
    }

    /// A direction whose first bytes were read already.
    pub(crate) fn starting_with(way: Way, bytes: Vec<u8>) -> Self {
        let mut flow = Self::new(way);
        if !bytes.is_empty() {
            flow.held = Held::Bytes(bytes.into(), 0);
        }
        flow
    }

    /// Whether the source has ended and the sink was told.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether the source has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Why it waits, as of the last turn.
    pub(crate) const fn wait(&self) -> Wait {
        self.wait
    }

    /// Whether bytes moved in the last turn.
    pub(crate) const fn moved(&self) -> bool {
        self.moved
    }

    /// Moves what can be moved; ready when the source has ended and the sink knows.
    pub(crate) fn poll<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        turn: &mut Turn<'_, L>,
    ) -> Poll<Result<(), Broken>> {
        self.wait = Wait::Sides;
        self.moved = false;
        for _ in 0..ROUNDS {
            if !matches!(self.held, Held::Nothing) {
                ready!(self.poll_held(cx, sink, turn))?;
            }
            if self.stage != Stage::Open {
                return self.poll_end(cx, sink, turn.last);
            }
            match self.poll_move(cx, source, sink, turn) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(sink.poll_flush(cx)).map_err(Broken::Sink)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        self.wait = Wait::Turn;
        Poll::Pending
    }

    /// Tells the sink that the source has ended.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Side,
        last: bool,
    ) -> Poll<Result<(), Broken>> {
        if self.stage == Stage::Ending {
            // A socket that is closed at once says the same by that.
            if !(last && sink.splices()) {
                ready!(sink.poll_shutdown(cx)).map_err(Broken::Sink)?;
            }
            self.stage = Stage::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// One read and what follows from it.
    fn poll_move<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        turn: &mut Turn<'_, L>,
    ) -> Poll<Result<(), Broken>> {
        let pipe = (self.bulk && source.splices() && sink.splices())
            .then(|| turn.pipes.take())
            .flatten();
        let want = if pipe.is_some() {
            CAPACITY
        } else {
            turn.scratch.len()
        };
        let allowed = match turn.ledger.allow(turn.now, self.way, want) {
            Ok(allowed) => allowed.min(want),
            Err(later) => {
                self.wait = Wait::Until(later);
                if let Some(pipe) = pipe {
                    turn.pipes.give(pipe);
                }
                return Poll::Pending;
            }
        };
        match pipe {
            Some(pipe) => self.poll_splice(cx, source, sink, turn, (pipe, allowed)),
            None => self.poll_copy(cx, source, sink, turn, allowed),
        }
    }

    /// Reads into the scratch buffer, writes from it, and keeps what the sink does not take.
    fn poll_copy<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        turn: &mut Turn<'_, L>,
        allowed: usize,
    ) -> Poll<Result<(), Broken>> {
        let scratch = &mut turn.scratch[..allowed];
        let read = source.poll_read(cx, scratch);
        let n = self.account(turn, read);
        let n = ready!(n).map_err(Broken::Source)?;
        if n == 0 {
            self.stage = Stage::Ending;
            return Poll::Ready(Ok(()));
        }
        self.weigh_read(n == turn.scratch.len());
        let bytes = &turn.scratch[..n];
        let mut sent = 0;
        while sent < n {
            match sink.poll_write(cx, &bytes[sent..]) {
                Poll::Ready(written) => {
                    let written = positive(written).map_err(Broken::Sink)?;
                    turn.ledger.wrote(self.way, written);
                    self.unflushed = true;
                    sent += written;
                }
                Poll::Pending => {
                    self.held = Held::Bytes(bytes[sent..].into(), 0);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fills the pipe and empties it, and keeps it when the sink takes no more.
    fn poll_splice<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        turn: &mut Turn<'_, L>,
        (mut pipe, allowed): (Pipe, usize),
    ) -> Poll<Result<(), Broken>> {
        let filled = source.poll_fill(cx, &mut pipe, allowed);
        match self.account(turn, filled) {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.weigh_splice(n);
                self.held = Held::Piped(pipe);
                self.poll_held(cx, sink, turn)
            }
            other => {
                turn.pipes.give(pipe);
                ready!(other).map_err(Broken::Source)?;
                self.stage = Stage::Ending;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes what waits for the sink.
    fn poll_held<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Side,
        turn: &mut Turn<'_, L>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let written = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes(bytes, from) => {
                    let written = ready!(sink.poll_write(cx, bytes.get(*from..).unwrap_or(&[])));
                    let written = positive(written).map_err(Broken::Sink)?;
                    *from += written;
                    let done = *from >= bytes.len();
                    (written, done)
                }
                Held::Piped(pipe) => {
                    let written = ready!(sink.poll_drain(cx, pipe));
                    let written = positive(written).map_err(Broken::Sink)?;
                    (written, pipe.held() == 0)
                }
            };
            let (written, done) = written;
            turn.ledger.wrote(self.way, written);
            self.moved = true;
            self.unflushed = true;
            if done && let Held::Piped(pipe) = std::mem::replace(&mut self.held, Held::Nothing) {
                turn.pipes.give(pipe);
            }
        }
    }

    /// Books what a read gave.
    fn account<L: Ledger>(
        &mut self,
        turn: &mut Turn<'_, L>,
        read: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = read
            && bytes > 0
        {
            self.moved = true;
            turn.ledger.read(turn.now, self.way, bytes);
        }
        read
    }

    /// Full reads in a row are bulk.
    const fn weigh_read(&mut self, full: bool) {
        self.full = if full { self.full.saturating_add(1) } else { 0 };
        if self.full >= BULK_AFTER {
            self.bulk = true;
            self.full = 0;
            self.small = 0;
        }
    }

    /// Small moves in a row are no longer bulk.
    const fn weigh_splice(&mut self, bytes: usize) {
        self.small = if bytes < WORTH_A_PIPE {
            self.small.saturating_add(1)
        } else {
            0
        };
        if self.small >= SMALL_AFTER {
            self.bulk = false;
            self.small = 0;
        }
    }
}

fn positive(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        other => other,
    }
}

/// Moves in one turn before others get theirs: at most 4 MiB, about a millisecond.
const ROUNDS: usize = 16;

/// Full reads in a row after which pipes are used: with fewer, one long answer would open one.
const BULK_AFTER: u8 = 4;

/// Below this many bytes, copying them twice costs less than the second system call's bookkeeping.
const WORTH_A_PIPE: usize = 8 * 1024;

/// Moves in a row that were not worth a pipe after which plain reads are used again.
const SMALL_AFTER: u8 = 4;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    const T0: Instant = Instant::from_nanos(1);

    /// Gives these pieces, and takes this many bytes.
    #[derive(Default)]
    struct Fake {
        pieces: VecDeque<Vec<u8>>,
        ended: bool,
        room: usize,
        taken: Vec<u8>,
        shut: bool,
    }

    impl Fake {
        fn giving(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
            Self {
                pieces: pieces.into_iter().collect(),
                ..Self::default()
            }
        }

        fn taking(room: usize) -> Self {
            Self {
                room,
                ..Self::default()
            }
        }
    }

    impl Side for Fake {
        fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            let Some(mut piece) = self.pieces.pop_front() else {
                return match self.ended {
                    true => Poll::Ready(Ok(0)),
                    false => Poll::Pending,
                };
            };
            let n = piece.len().min(buffer.len());
            buffer[..n].copy_from_slice(&piece[..n]);
            if n < piece.len() {
                self.pieces.push_front(piece.split_off(n));
            }
            Poll::Ready(Ok(n))
        }

        fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Poll::Pending;
            }
            self.room -= n;
            self.taken.extend(&bytes[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }

        fn splices(&self) -> bool {
            false
        }

        fn poll_fill(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Pipe,
            _: usize,
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_drain(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn reset(&mut self) {}
    }

    /// Allows this many bytes, then nothing for a second.
    struct Purse {
        left: usize,
        read: usize,
        wrote: usize,
    }

    impl Ledger for Purse {
        fn allow(&mut self, now: Instant, _: Way, want: usize) -> Result<usize, Instant> {
            match self.left.min(want) {
                0 => Err(now + Duration::from_secs(1)),
                allowed => Ok(allowed),
            }
        }

        fn read(&mut self, _: Instant, _: Way, bytes: usize) {
            self.left -= bytes;
            self.read += bytes;
        }

        fn wrote(&mut self, _: Way, bytes: usize) {
            self.wrote += bytes;
        }
    }

    fn turn(flow: &mut Flow, from: &mut Fake, to: &mut Fake, purse: &mut Purse) -> bool {
        let mut scratch = [0; 8];
        let mut turn = Turn {
            now: T0,
            scratch: &mut scratch,
            pipes: &PipePool::new(0),
            ledger: purse,
            last: false,
        };
        let mut cx = Context::from_waker(Waker::noop());
        flow.poll(&mut cx, from, to, &mut turn).is_ready()
    }

    const RICH: Purse = Purse {
        left: usize::MAX,
        read: 0,
        wrote: 0,
    };

    #[test]
    fn what_a_slow_sink_does_not_take_is_kept_and_nothing_more_is_read() {
        let mut flow = Flow::new(Way::Up);
        let mut from = Fake::giving([b"abcdefgh".to_vec(), b"ijkl".to_vec()]);
        from.ended = true;
        let (mut to, mut purse) = (Fake::taking(3), RICH);
        assert!(!turn(&mut flow, &mut from, &mut to, &mut purse));
        assert_eq!(
            (to.taken.as_slice(), purse.read, purse.wrote),
            (&b"abc"[..], 8, 3)
        );
        to.room = 100;
        assert!(turn(&mut flow, &mut from, &mut to, &mut purse));
        assert_eq!(to.taken, b"abcdefghijkl");
        assert_eq!((purse.read, purse.wrote, to.shut), (12, 12, true));
        assert!(flow.is_over());
    }

    #[test]
    fn a_direction_without_allowance_reads_nothing_until_the_moment_it_is_told() {
        let mut flow = Flow::new(Way::Down);
        let mut from = Fake::giving([b"abcdefgh".to_vec()]);
        let mut to = Fake::taking(100);
        let mut purse = Purse { left: 5, ..RICH };
        assert!(!turn(&mut flow, &mut from, &mut to, &mut purse));
        assert_eq!(to.taken, b"abcde");
        assert_eq!(flow.wait(), Wait::Until(T0 + Duration::from_secs(1)));
        assert!(flow.moved());
        purse.left = 100;
        assert!(!turn(&mut flow, &mut from, &mut to, &mut purse));
        assert_eq!(to.taken, b"abcdefgh");
        assert_eq!(flow.wait(), Wait::Sides);
    }

    #[test]
    fn a_direction_that_could_go_on_for_ever_lets_others_have_their_turn() {
        let mut flow = Flow::new(Way::Up);
        let mut from = Fake::giving((0..ROUNDS + 1).map(|_| vec![7; 8]));
        let mut to = Fake::taking(usize::MAX);
        assert!(!turn(&mut flow, &mut from, &mut to, &mut { RICH }));
        assert_eq!(to.taken.len(), ROUNDS * 8);
        assert_eq!(flow.wait(), Wait::Turn);
    }

    #[test]
    fn bulk_begins_after_four_full_reads_and_ends_after_four_small_moves() {
        let mut flow = Flow::new(Way::Up);
        (0..3).for_each(|_| flow.weigh_read(true));
        flow.weigh_read(false);
        (0..3).for_each(|_| flow.weigh_read(true));
        assert!(!flow.bulk);
        flow.weigh_read(true);
        assert!(flow.bulk);
        (0..3).for_each(|_| flow.weigh_splice(WORTH_A_PIPE - 1));
        flow.weigh_splice(WORTH_A_PIPE);
        (0..3).for_each(|_| flow.weigh_splice(WORTH_A_PIPE - 1));
        assert!(flow.bulk);
        flow.weigh_splice(WORTH_A_PIPE - 1);
        assert!(!flow.bulk);
    }

    #[test]
    fn bytes_read_before_go_first() {
        let mut flow = Flow::starting_with(Way::Up, b"hello ".to_vec());
        let mut from = Fake::giving([b"world".to_vec()]);
        let mut to = Fake::taking(100);
        assert!(!turn(&mut flow, &mut from, &mut to, &mut { RICH }));
        assert_eq!(to.taken, b"hello world");
    }
}
