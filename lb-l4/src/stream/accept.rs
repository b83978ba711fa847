//! Accepting: what goes wrong there neither spins nor ends it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::counters::{Refused, WorkerCounters};
use super::reactor::Socket;
use crate::sys::readiness::Readable;
use crate::sys::socket;

/// A listening socket of one worker, not yet under the care of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) is_tcp: bool,
}

/// Accepts from one listener.
#[derive(Debug)]
pub(crate) struct Acceptor {
    readable: Readable,
    is_tcp: bool,
    counters: WorkerCounters,
    /// Given up for a moment when no descriptor is left, so that a client can be turned away.
    spare: Option<OwnedFd>,
    /// Failures in a row that waiting may mend.
    failures: u32,
    /// Not asked again before this moment.
    resting_until: Option<tokio::time::Instant>,
}

impl Acceptor {
    /// Accepts in the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// Fails when no descriptor is left.
    pub(crate) fn new(listener: Listener, counters: WorkerCounters) -> io::Result<Self> {
        Ok(Self {
            readable: Readable::new(listener.fd)?,
            is_tcp: listener.is_tcp,
            counters,
            spare: Some(spare()?),
            failures: 0,
            resting_until: None,
        })
    }

    /// The next client. Waits as long as there is none, whatever goes wrong.
    ///
    /// May be dropped while it waits: no client is lost.
    pub(crate) async fn accept(&mut self) -> (Socket, Option<SocketAddr>) {
        loop {
            if let Some(until) = self.resting_until {
                tokio::time::sleep_until(until).await;
                self.resting_until = None;
            }
            match self.readable.read(|fd| socket::accept(fd)).await {
                Ok((fd, peer)) => {
                    self.failures = 0;
                    let is_tcp = self.is_tcp;
                    return (Socket { fd, is_tcp }, peer);
                }
                Err(error) => self.recover(&error),
            }
        }
    }

    /// A client that waits already, if one does.
    pub(crate) fn try_accept(&self) -> Option<(Socket, Option<SocketAddr>)> {
        let (fd, peer) = socket::accept(self.readable.as_fd()).ok()?;
        let is_tcp = self.is_tcp;
        Some((Socket { fd, is_tcp }, peer))
    }

    /// Does what lets accepting go on after an error.
    fn recover(&mut self, error: &io::Error) {
        match Errno::from_io_error(error) {
            // The client was gone before it was accepted, or the network to it (accept(2)).
            Some(errno) if OF_THE_CLIENT.contains(&errno) => {
                return self.counters.refused(Refused::Accept);
            }
            Some(Errno::MFILE | Errno::NFILE) => self.turn_away(),
            _ => self.counters.refused(Refused::Accept),
        }
        self.resting_until = Some(tokio::time::Instant::now() + backoff(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// Accepts and resets those who wait, by the spare descriptor: they need not wait to learn of it.
    fn turn_away(&mut self) {
        drop(self.spare.take());
        for turned_away in 0..TURNED_AWAY {
            let Ok((fd, _)) = socket::accept(self.readable.as_fd()) else {
                if turned_away == 0 {
                    self.counters.refused(Refused::Accept);
                }
                break;
            };
            if self.is_tcp {
                socket::set_reset_on_close(&fd);
            }
            self.counters.refused(Refused::Accept);
        }
        self.spare = spare().ok();
    }
}

fn spare() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC)?)
}

/// 1 ms, doubled with each failure in a row, 512 ms at most.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(1 << failures.min(9))
}

/// The most who are turned away between two rests: by rests alone, the last of a full backlog would
/// wait for half an hour.
const TURNED_AWAY: u32 = 256;

/// Errors of the connection that was to be accepted, which the next one need not have (accept(2)).
const OF_THE_CLIENT: [Errno; 12] = [
    Errno::CONNABORTED,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::INTR,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::NONET,
    Errno::NOPROTOOPT,
    Errno::OPNOTSUPP,
    Errno::PERM,
    Errno::PROTO,
    Errno::CONNRESET,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_half_a_second() {
        let waits: Vec<u128> = [0, 1, 8, 9, 10, u32::MAX]
            .map(|failures| backoff(failures).as_millis())
            .to_vec();
        assert_eq!(waits, [1, 2, 256, 512, 512, 512]);
    }
}
