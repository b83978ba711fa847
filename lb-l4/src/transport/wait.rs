//! Sleeping on descriptors: poll(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lbcore::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{MAX_OTHERS, Woken};

/// Sleeps until `descriptor` or one of `others` is readable, or `deadline` comes.
///
/// For those who write a transport whose packets come by a descriptor: all of
/// [`Transport::wait`](super::Transport::wait).
///
/// # Errors
///
/// Those of `poll(2)`; `EINVAL` for more than [`MAX_OTHERS`] others.
pub fn wait_on(
    descriptor: BorrowedFd<'_>,
    now: Instant,
    deadline: Option<Instant>,
    others: &[BorrowedFd<'_>],
) -> io::Result<Woken> {
    wait(Some(descriptor), others, timeout(now, deadline))
}

/// Sleeps until `own` or one of `others` is readable, or `timeout` is over; `None` is no timeout.
///
/// An error of `own` is told by waking: the next read says which. Linux's poll takes nanoseconds
/// (`ppoll`), and sleeps at least as long as it is told.
pub(crate) fn wait(
    own: Option<BorrowedFd<'_>>,
    others: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    if others.len() > MAX_OTHERS {
        return Err(Errno::INVAL.into());
    }
    let all = own.iter().chain(others).copied();
    let woken = wait_all(all, timeout)?;
    Ok(match (woken, own) {
        (Woken::Other(0), Some(_)) => Woken::Packet,
        (Woken::Other(place), Some(_)) => Woken::Other(place - 1),
        (woken, _) => woken,
    })
}

/// Sleeps until one of `all` is readable, of which the first is told.
pub(crate) fn wait_all<'a>(
    all: impl IntoIterator<Item = BorrowedFd<'a>>,
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    let polled = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds: Vec<PollFd<'_>> = all.into_iter().map(polled).collect();
    let timeout = timeout.map(timespec);
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Woken::Signal),
        Err(error) => return Err(error.into()),
    }
    let first = fds.iter().position(|fd| !fd.revents().is_empty());
    Ok(first.map_or(Woken::Deadline, Woken::Other))
}

/// How long it is from `now` to `deadline`.
pub(crate) fn timeout(now: Instant, deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.since(now))
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
