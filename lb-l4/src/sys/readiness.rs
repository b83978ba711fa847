//! A descriptor that a tokio runtime watches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Tells when a descriptor is readable; the runtime that it was made in asks the kernel.
#[derive(Debug)]
pub(crate) struct Readable(AsyncFd<Arc<OwnedFd>>);

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Readable {
    /// Watches this descriptor, which must be a non-blocking one that epoll takes.
    pub(crate) fn new(fd: Arc<OwnedFd>) -> io::Result<Self> {
        // SAFETY: the `Arc` keeps the descriptor open for as long as the registration lives, its
        // number never changes, and nothing here gives out the `Arc` to be replaced.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(registered.map_err(|error| error.into_parts().1)?))
    }

    /// Ready with a guard, by which the caller says that the descriptor is exhausted.
    pub(crate) fn poll(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, Arc<OwnedFd>>>> {
        self.0.poll_read_ready(cx)
    }

    /// Calls `take` when the descriptor is readable, again for as long as it would block.
    pub(crate) async fn read<T>(
        &self,
        mut take: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        std::future::poll_fn(|cx| {
            loop {
                let mut guard = ready!(self.poll(cx))?;
                if let Ok(result) = guard.try_io(|fd| take(fd.as_fd())) {
                    return Poll::Ready(result);
                }
            }
        })
        .await
    }
}
