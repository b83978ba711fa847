//! What was read and not taken up, and what is to be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use lbcore::Instant;

use crate::wire::MAX_FRAME;

/// What was read and not taken up: one buffer, in which frames are read where they lie.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Zeros where nothing has been read yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Room at the beginning: a TLS record, and as many questions.
const FIRST: usize = 16 * 1024;

impl Received {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `bytes` have been taken up.
    pub(super) fn used(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Whether a whole frame is not there yet, in any case.
    pub(super) const fn has_room(&self) -> bool {
        self.end - self.start < MAX_FRAME
    }

    /// Reads once. Room grows to that of the longest frame as it is used, and is then reused.
    pub(super) fn poll_read(
        &mut self,
        task: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        if self.end == self.buffer.len() {
            self.make_room();
        }
        let mut room = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(task, &mut room))?;
        let bytes = room.filled().len();
        self.end += bytes;
        Poll::Ready(Ok(bytes))
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            let room = (2 * self.buffer.len()).clamp(FIRST, MAX_FRAME);
            self.buffer.resize(room, 0);
        }
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    written: usize,
    is_flushed: bool,
    /// When the stream took something last, or there was nothing to take.
    moved: Instant,
}

impl Outgoing {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            buffer: Vec::new(),
            written: 0,
            is_flushed: true,
            moved: now,
        }
    }

    /// Where to append.
    pub(super) const fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(super) const fn len(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Whether the stream has taken and sent everything.
    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0 && self.is_flushed
    }

    /// Writes as much as the stream takes now, and has it sent.
    pub(super) fn poll_write(
        &mut self,
        now: Instant,
        task: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if self.is_empty() {
            self.moved = now;
            return Ok(());
        }
        while let Some(rest) = self
            .buffer
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *stream).poll_write(task, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(bytes) => {
                    self.written += bytes?;
                    (self.is_flushed, self.moved) = (false, now);
                }
                Poll::Pending => {
                    self.forget_written();
                    return Ok(());
                }
            }
        }
        self.buffer.clear();
        self.written = 0;
        // A burst of answers is over; what it took is given back.
        self.buffer.shrink_to(KEPT);
        match Pin::new(stream).poll_flush(task) {
            Poll::Ready(flushed) => {
                flushed?;
                (self.is_flushed, self.moved) = (true, now);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    /// When a client that takes nothing has done so for that long; `None` when nothing waits.
    pub(super) fn poll_timeout(&self, limit: Duration) -> Option<Instant> {
        (!self.is_empty()).then(|| self.moved + limit)
    }

    /// Lets go of what was written, once it is most of what there is.
    fn forget_written(&mut self) {
        if self.written > self.buffer.len() / 2 {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Room for answers that is kept from one burst to the next.
const KEPT: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const T0: Instant = Instant::from_nanos(1 << 40);
    const LIMIT: Duration = Duration::from_secs(10);

    fn read(received: &mut Received, stream: &mut (impl AsyncRead + Unpin)) -> usize {
        let mut task = Context::from_waker(Waker::noop());
        let Poll::Ready(read) = received.poll_read(&mut task, stream) else {
            panic!("a slice is always ready")
        };
        read.unwrap()
    }

    fn write(outgoing: &mut Outgoing, now: Instant, stream: &mut (impl AsyncWrite + Unpin)) {
        let mut task = Context::from_waker(Waker::noop());
        outgoing.poll_write(now, &mut task, stream).unwrap();
    }

    #[test]
    fn bytes_come_in_their_order_however_they_are_taken_up() {
        let bytes: Vec<u8> = (0..=250).cycle().take(300_000).collect();
        let (mut stream, mut received) = (Cursor::new(bytes.clone()), Received::default());
        let mut taken = Vec::new();
        loop {
            let more = read(&mut received, &mut stream);
            // All but a rest that changes.
            let rest = if more == 0 { 0 } else { taken.len() % 1000 };
            let used = received.bytes().len().saturating_sub(rest);
            taken.extend_from_slice(&received.bytes()[..used]);
            received.used(used);
            if more == 0 {
                break;
            }
        }
        assert!(received.is_empty());
        assert_eq!(taken, bytes);
    }

    #[test]
    fn there_is_room_for_the_longest_frame_and_for_no_more() {
        let mut stream = Cursor::new(vec![1; 3 * MAX_FRAME]);
        let mut received = Received::default();
        while received.has_room() {
            assert_ne!(read(&mut received, &mut stream), 0);
        }
        assert_eq!(received.bytes().len(), MAX_FRAME);
        received.used(1);
        assert!(received.has_room());
        assert_eq!(read(&mut received, &mut stream), 1);
        assert_eq!(received.buffer.len(), MAX_FRAME);
    }

    #[tokio::test]
    async fn what_the_stream_does_not_take_waits_and_its_time_runs() {
        let (mut near, mut far) = tokio::io::duplex(100);
        let mut outgoing = Outgoing::new(T0);
        assert_eq!(outgoing.poll_timeout(LIMIT), None);
        let bytes: Vec<u8> = (0..250).collect();
        outgoing.bytes().extend_from_slice(&bytes);
        let second = Duration::from_secs(1);
        write(&mut outgoing, T0 + second, &mut near);
        assert_eq!((outgoing.len(), outgoing.is_empty()), (150, false));
        assert_eq!(outgoing.poll_timeout(LIMIT), Some(T0 + second + LIMIT));
        // Nothing moves, and so the time runs on.
        write(&mut outgoing, T0 + 2 * second, &mut near);
        assert_eq!(outgoing.poll_timeout(LIMIT), Some(T0 + second + LIMIT));
        let mut seen = vec![0; 100];
        far.read_exact(&mut seen).await.unwrap();
        write(&mut outgoing, T0 + 3 * second, &mut near);
        assert_eq!(outgoing.poll_timeout(LIMIT), Some(T0 + 3 * second + LIMIT));
        let mut more = vec![0; 100];
        far.read_exact(&mut more).await.unwrap();
        write(&mut outgoing, T0 + 4 * second, &mut near);
        assert!(outgoing.is_empty());
        assert_eq!(outgoing.poll_timeout(LIMIT), None);
        near.shutdown().await.unwrap();
        let mut last = Vec::new();
        far.read_to_end(&mut last).await.unwrap();
        assert_eq!([seen, more, last].concat(), bytes);
    }

    #[test]
    fn time_begins_when_there_is_something_to_write() {
        let mut outgoing = Outgoing::new(T0);
        let later = T0 + Duration::from_secs(60);
        write(&mut outgoing, later, &mut Vec::new());
        outgoing.bytes().push(1);
        assert_eq!(outgoing.poll_timeout(LIMIT), Some(later + LIMIT));
    }
}
