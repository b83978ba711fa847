//! Kernel pipes, through which bytes pass from socket to socket without entering this process.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe, and how many bytes are in it.
///
/// Source: splice(2). A blocked end is an error of kind `WouldBlock`.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    /// Gives the place back when the pipe is closed.
    existing: Arc<AtomicUsize>,
}

impl Pipe {
    /// Bytes in the pipe.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `most` bytes from a socket into the pipe; 0 is the socket's end.
    ///
    /// Asked of an empty pipe only: with bytes in it, `WouldBlock` could also mean a full pipe.
    pub(crate) fn fill(&mut self, from: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let n = retry(|| splice(from, None, &self.writer, None, most, MOVE))?;
        self.held += n;
        Ok(n)
    }

    /// Moves what is in the pipe, or its beginning, to a socket.
    pub(crate) fn drain(&mut self, to: BorrowedFd<'_>) -> io::Result<usize> {
        let n = retry(|| splice(&self.reader, None, to, None, self.held, MOVE))?;
        self.held = self.held.saturating_sub(n);
        Ok(n)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.existing.fetch_sub(1, Relaxed);
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

const MOVE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Pipes for those directions that flow in bulk, at most so many at once.
///
/// A direction borrows a pipe while bytes of it are under way and gives it back when it waits with
/// the pipe empty; what gets none is read and written instead.
#[derive(Clone, Debug)]
pub(crate) struct PipePool {
    idle: Arc<Mutex<Vec<Pipe>>>,
    existing: Arc<AtomicUsize>,
    most: usize,
}

impl PipePool {
    /// A pool that opens at most `most` pipes, two descriptors each.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            idle: Arc::default(),
            existing: Arc::default(),
            most,
        }
    }

    /// An empty pipe, if one may be had. Opening one takes three system calls, reusing one none.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.lock().pop() {
            return Some(pipe);
        }
        if self.existing.fetch_add(1, Relaxed) >= self.most {
            self.existing.fetch_sub(1, Relaxed);
            return None;
        }
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            self.existing.fetch_sub(1, Relaxed);
            return None;
        };
        // Refused beyond the user's share of pipe pages (pipe(7)); the 64 KiB of the default work too.
        let _refused = fcntl_setpipe_size(&writer, CAPACITY);
        Some(Pipe {
            reader,
            writer,
            held: 0,
            existing: Arc::clone(&self.existing),
        })
    }

    /// Takes an empty pipe back; one with bytes in it is closed, and they are lost.
    pub(crate) fn give(&self, pipe: Pipe) {
        if pipe.held == 0 {
            self.lock().push(pipe);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pipe>> {
        // A list of pipes has no half-done state that a panic elsewhere could leave.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a pipe holds at most: a quarter of what an ordinary user may ask for
/// (`/proc/sys/fs/pipe-max-size`, 1 MiB), beyond which a move gains little.
pub(crate) const CAPACITY: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_pass_through_a_pipe_unchanged() {
        let (mut near, from) = UnixStream::pair().unwrap();
        let (to, mut far) = UnixStream::pair().unwrap();
        let mut pipe = PipePool::new(1).take().unwrap();
        near.write_all(b"over and under").unwrap();
        assert_eq!(pipe.fill(from.as_fd(), 8).unwrap(), 8);
        assert_eq!(pipe.held(), 8);
        assert_eq!(pipe.drain(to.as_fd()).unwrap(), 8);
        assert_eq!(pipe.held(), 0);
        let mut got = [0; 8];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"over and");
    }

    #[test]
    fn an_idle_socket_would_block_and_a_closed_one_gives_nothing() {
        let (near, from) = UnixStream::pair().unwrap();
        from.set_nonblocking(true).unwrap();
        let mut pipe = PipePool::new(1).take().unwrap();
        let idle = pipe.fill(from.as_fd(), 8).unwrap_err();
        assert_eq!(idle.kind(), io::ErrorKind::WouldBlock);
        drop(near);
        assert_eq!(pipe.fill(from.as_fd(), 8).unwrap(), 0);
    }

    #[test]
    fn a_pool_opens_no_more_pipes_than_it_may() {
        let pool = PipePool::new(2);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        pool.give(first);
        let again = pool.take();
        assert!(again.is_some());
        assert!(pool.take().is_none());
        drop(second);
        assert!(pool.take().is_some());
    }

    #[test]
    fn a_pipe_with_bytes_in_it_is_not_used_again() {
        let (mut near, from) = UnixStream::pair().unwrap();
        near.write_all(b"left").unwrap();
        let pool = PipePool::new(1);
        let mut pipe = pool.take().unwrap();
        pipe.fill(from.as_fd(), 8).unwrap();
        pool.give(pipe);
        assert_eq!(pool.take().unwrap().held(), 0);
    }
}
