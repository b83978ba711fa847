//! A socket that a reactor watches: it remembers what the kernel has said of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::super::side::Side;
use crate::sys::pipe::Pipe;
use crate::sys::socket;

/// One side of a session in a reactor.
///
/// The kernel tells of each change once (edge-triggered), so the socket keeps what it was told
/// until a call would block. A read that gives less than was asked for has emptied the socket, and
/// what comes later is a new change: the read that would only say so is spared (epoll(7), question 9).
#[derive(Debug)]
pub(crate) struct Watched {
    fd: OwnedFd,
    readable: bool,
    writable: bool,
    /// The peer has sent its FIN or is gone: reads go on to the end whatever they give.
    ended: bool,
    /// The kernel was asked to tell when the socket is writable.
    tells_writable: bool,
    is_tcp: bool,
}

impl Watched {
    /// A socket of which nothing is known but that its buffer is empty.
    pub(crate) const fn new(fd: OwnedFd, is_tcp: bool) -> Self {
        Self {
            fd,
            readable: false,
            writable: true,
            ended: false,
            tells_writable: false,
            is_tcp,
        }
    }

    /// Has the next turn read from it, whatever the kernel says.
    pub(crate) const fn suppose_readable(&mut self) {
        self.readable = true;
    }

    /// Has TCP ask after this time of silence whether the peer is there.
    pub(crate) fn keep_alive(&self, idle: Duration) {
        if self.is_tcp {
            // Without it, the idle timeout still ends what is dead.
            let _ = socket::set_keepalive(&self.fd, idle);
        }
    }

    /// Takes in what the kernel has told.
    pub(crate) const fn handle_event(&mut self, flags: EventFlags) {
        const END: EventFlags = EventFlags::RDHUP
            .union(EventFlags::HUP)
            .union(EventFlags::ERR);
        if flags.intersects(END) {
            self.ended = true;
            self.readable = true;
        }
        if flags.contains(EventFlags::IN) {
            self.readable = true;
        }
        if flags.intersects(
            EventFlags::OUT
                .union(EventFlags::HUP)
                .union(EventFlags::ERR),
        ) {
            self.writable = true;
        }
    }

    /// What to ask the kernel for beyond what it was asked, if anything.
    ///
    /// Most sessions never fill a send buffer, and are spared the event that says it has room.
    pub(crate) const fn take_interest(&mut self) -> Option<EventFlags> {
        if self.writable || self.tells_writable {
            return None;
        }
        self.tells_writable = true;
        Some(READS.union(EventFlags::OUT))
    }

    /// Reads have emptied the socket if they gave fewer bytes than they could.
    fn after_read(&mut self, asked: usize, result: rustix::io::Result<usize>) -> Next {
        match result {
            Err(Errno::AGAIN) => {
                self.readable = false;
                Next::Wait
            }
            Err(Errno::INTR) => Next::Again,
            Err(error) => Next::Done(Err(error.into())),
            Ok(n) => {
                self.readable = n == asked || self.ended;
                Next::Done(Ok(n))
            }
        }
    }

    fn after_write(&mut self, asked: usize, result: rustix::io::Result<usize>) -> Next {
        match result {
            Err(Errno::AGAIN) => {
                self.writable = false;
                Next::Wait
            }
            Err(Errno::INTR) => Next::Again,
            Err(error) => Next::Done(Err(error.into())),
            Ok(n) => {
                // A socket takes all that it has room for, and then notes that it is waited for.
                self.writable = n == asked;
                Next::Done(Ok(n))
            }
        }
    }
}

/// What follows from a system call.
enum Next {
    Again,
    Done(io::Result<usize>),
    Wait,
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Side for Watched {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.readable {
            let result = rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty());
            match self.after_read(buffer.len(), result.map(|(n, _)| n)) {
                Next::Again => {}
                Next::Done(result) => return Poll::Ready(result),
                Next::Wait => break,
            }
        }
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while self.writable {
            let result = rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL);
            match self.after_write(bytes.len(), result) {
                Next::Again => {}
                Next::Done(result) => return Poll::Ready(result),
                Next::Wait => break,
            }
        }
        Poll::Pending
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.fd, Shutdown::Write).map_err(Into::into))
    }

    fn splices(&self) -> bool {
        true
    }

    fn poll_fill(
        &mut self,
        _: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if !self.readable {
            return Poll::Pending;
        }
        match pipe.fill(self.fd.as_fd(), most) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Poll::Pending
            }
            // A short move may mean a pipe whose slots are taken, so it says nothing of the socket.
            result => Poll::Ready(result),
        }
    }

    fn poll_drain(&mut self, _: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        if !self.writable {
            return Poll::Pending;
        }
        match pipe.drain(self.fd.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn reset(&mut self) {
        if self.is_tcp {
            socket::set_reset_on_close(&self.fd);
        }
    }
}

/// What every socket is watched for from its first day.
pub(crate) const READS: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
