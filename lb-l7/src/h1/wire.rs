//! A connection with the bytes that wait on this side of it, read and not used, queued and not
//! written.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of HTTP/1 messages, as bytes, in both directions.
///
/// An idle one holds no buffer but a small one for its next head: what comes first is read to the
/// stack and then kept. What is queued goes out in one `writev` where the stream has it, a large
/// piece of a body without a copy.
#[derive(Debug)]
pub struct Wire<IO> {
    io: IO,
    unread: BytesMut,
    queue: Queue,
    is_ended: bool,
}

/// Bytes to be written: `front`, then `large`, then `back`.
#[derive(Debug, Default)]
struct Queue {
    front: BytesMut,
    large: Bytes,
    back: BytesMut,
}

impl<IO> Wire<IO> {
    /// Nothing read yet.
    pub fn new(io: IO) -> Self {
        Self::with_unread(io, BytesMut::new())
    }

    /// `unread` has been read from `io` already.
    pub fn with_unread(io: IO, unread: BytesMut) -> Self {
        Self {
            io,
            unread,
            queue: Queue::default(),
            is_ended: false,
        }
    }

    /// The stream itself.
    pub const fn io(&self) -> &IO {
        &self.io
    }

    /// What has been read and not used; a parser takes it off the front.
    pub const fn unread(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// Whether the other side has said that nothing more comes.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Where a head, or anything else that is small, is written to be sent.
    pub fn outgoing(&mut self) -> &mut BytesMut {
        if self.queue.large.is_empty() {
            &mut self.queue.front
        } else {
            &mut self.queue.back
        }
    }

    /// Queues a piece of a body; a small one is copied behind what waits, so that one write takes
    /// both.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPIED || !self.queue.large.is_empty() {
            self.outgoing().extend_from_slice(&piece);
        } else {
            self.queue.large = piece;
        }
    }

    /// Whether a further piece finds room without a copy of a large one.
    pub fn has_room(&self) -> bool {
        self.queue.large.is_empty() && self.queue.front.len() < QUEUED
    }

    /// How many bytes wait to be written.
    pub fn queued(&self) -> usize {
        self.queue.front.len() + self.queue.large.len() + self.queue.back.len()
    }

    /// The stream, and what was read from it and not used.
    ///
    /// What was queued is lost: flush before.
    pub fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.unread)
    }

    /// Gives back buffers that hold nothing, before a long wait, but for room to write a head of
    /// the usual size: the next one will want it.
    pub fn shrink(&mut self) {
        if self.unread.is_empty() && self.unread.capacity() > 0 {
            self.unread = BytesMut::new();
        }
        if self.queued() == 0 {
            if self.queue.front.capacity() > KEPT {
                self.queue.front = BytesMut::new();
            }
            if self.queue.back.capacity() > 0 {
                self.queue.back = BytesMut::new();
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> Wire<IO> {
    /// Reads what has come, at most `room` bytes; how many, and 0 when nothing more comes.
    ///
    /// # Errors
    ///
    /// The stream's own.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.is_ended {
            return Poll::Ready(Ok(0));
        }
        let spare = self.unread.capacity() - self.unread.len();
        let read = if spare >= SPARE {
            ready!(self.poll_fill_kept(cx, spare.min(room)))?
        } else if room > ON_STACK {
            ready!(self.poll_fill_kept(cx, room))?
        } else {
            ready!(self.poll_fill_first(cx))?
        };
        self.is_ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// As [`poll_fill`](Self::poll_fill).
    ///
    /// # Errors
    ///
    /// The stream's own.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    /// By way of the stack, so that whoever waits holds no memory.
    fn poll_fill_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stack = [MaybeUninit::uninit(); ON_STACK];
        let mut buffer = ReadBuf::uninit(&mut stack);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_fill_kept(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.unread.reserve(room);
        let mut limited = (&mut self.unread).limit(room);
        tokio_read(Pin::new(&mut self.io), cx, &mut limited)
    }
}

/// Reads to spare room of a buffer, which `unsafe` would do too.
fn tokio_read<IO: AsyncRead + Unpin>(
    io: Pin<&mut IO>,
    cx: &mut Context<'_>,
    into: &mut impl BufMut,
) -> Poll<io::Result<usize>> {
    let io = io.get_mut();
    let mut read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(io, into));
    read.as_mut().poll(cx)
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Writes until nothing is queued.
    ///
    /// # Errors
    ///
    /// The stream's own; a stream that takes nothing is [`io::ErrorKind::WriteZero`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.queued() > 0 {
            ready!(self.poll_write(cx))?;
        }
        // A stream over TLS holds records back until it is told.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// As [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    ///
    /// The stream's own.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Says that nothing more comes from here.
    ///
    /// # Errors
    ///
    /// The stream's own.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let queue = &mut self.queue;
        let io = Pin::new(&mut self.io);
        let written = if queue.large.is_empty() {
            ready!(io.poll_write(cx, &queue.front))?
        } else if queue.front.is_empty() && queue.back.is_empty() {
            ready!(io.poll_write(cx, &queue.large))?
        } else if io.is_write_vectored() {
            let slices = [
                IoSlice::new(&queue.front),
                IoSlice::new(&queue.large),
                IoSlice::new(&queue.back),
            ];
            ready!(io.poll_write_vectored(cx, &slices))?
        } else if queue.front.is_empty() {
            ready!(io.poll_write(cx, &queue.large))?
        } else {
            ready!(io.poll_write(cx, &queue.front))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        queue.advance(written);
        Poll::Ready(Ok(()))
    }
}

impl Queue {
    fn advance(&mut self, mut written: usize) {
        let front = written.min(self.front.len());
        consume(&mut self.front, front);
        written -= front;
        let large = written.min(self.large.len());
        self.large.advance(large);
        written -= large;
        let back = written.min(self.back.len());
        consume(&mut self.back, back);
        if self.large.is_empty() {
            // An exhausted slice would keep the buffer it was cut from.
            self.large = Bytes::new();
            if self.front.is_empty() {
                std::mem::swap(&mut self.front, &mut self.back);
            }
        }
    }
}

/// Takes bytes off the front of a buffer; one that is empty then begins anew where it began.
fn consume(buffer: &mut BytesMut, bytes: usize) {
    if bytes == buffer.len() {
        buffer.clear();
    } else {
        buffer.advance(bytes);
    }
}

/// Bytes of a first read: a request with few cookies, a page with its head.
const ON_STACK: usize = 4 * 1024;

/// Room for a head that an idle connection keeps.
const KEPT: usize = 1024;

/// Room that is worth a read of its own.
const SPARE: usize = 1024;

/// A piece up to this is copied: that costs less than a second entry of a `writev`.
const COPIED: usize = 2 * 1024;

/// Small pieces gather up to this before the other side is asked to wait.
const QUEUED: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn what_is_queued_comes_out_whole_and_in_order(
            pieces in prop::collection::vec((any::<bool>(), 0_usize..6000), 0..20),
            pipe in 1_usize..5000,
        ) {
            block_on(async {
                let (near, mut far) = tokio::io::duplex(pipe);
                let mut wire = Wire::new(near);
                let mut sent = Vec::new();
                let reader = tokio::spawn(async move {
                    let mut got = Vec::new();
                    far.read_to_end(&mut got).await.unwrap();
                    got
                });
                for (index, (is_head, length)) in pieces.into_iter().enumerate() {
                    let piece = vec![u8::try_from(index).unwrap(); length];
                    sent.extend_from_slice(&piece);
                    if is_head {
                        wire.outgoing().extend_from_slice(&piece);
                    } else {
                        wire.push(piece.into());
                    }
                    if index % 3 == 0 {
                        wire.flush().await.unwrap();
                        assert_eq!(wire.queued(), 0);
                    }
                }
                poll_fn(|cx| wire.poll_shutdown(cx)).await.unwrap();
                drop(wire);
                assert_eq!(reader.await.unwrap(), sent);
            });
        }

        #[test]
        fn what_comes_is_read_whole_whatever_the_room(
            length in 0_usize..20_000,
            rooms in prop::collection::vec(1_usize..9000, 1..5),
        ) {
            block_on(async {
                let (near, mut far) = tokio::io::duplex(3000);
                let sent: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
                let all = sent.clone();
                tokio::spawn(async move { far.write_all(&all).await.unwrap() });
                let mut wire = Wire::new(near);
                let mut rooms = rooms.into_iter().cycle();
                while wire.fill(rooms.next().unwrap()).await.unwrap() > 0 {}
                assert!(wire.is_ended());
                assert_eq!(wire.unread()[..], sent[..]);
                assert_eq!(wire.fill(1).await.unwrap(), 0);
            });
        }
    }

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        block_on(async {
            let (near, mut far) = tokio::io::duplex(3000);
            let mut wire = Wire::new(near);
            far.write_all(b"one").await.unwrap();
            assert_eq!(wire.fill(1).await.unwrap(), 3);
            wire.unread().clear();
            wire.outgoing().extend_from_slice(b"two");
            wire.flush().await.unwrap();
            wire.shrink();
            poll_fn(|cx| {
                assert!(wire.poll_fill(cx, 1).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(wire.unread().capacity() + wire.outgoing().capacity(), 0);
        });
    }
}
