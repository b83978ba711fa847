//! Accepting: what goes wrong there neither spins nor ends it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::listen::Listener;
use crate::peer::Peer;

/// A connection that has just been accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Accepts from one listener.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Listener,
    /// Failures in a row that waiting may mend.
    failures: u32,
}

impl Acceptor {
    pub(super) const fn new(listener: Listener) -> Self {
        Self {
            listener,
            failures: 0,
        }
    }

    /// The next client, or why one was lost; after a failure that only time mends, it waits a
    /// little before it says so.
    pub(super) async fn accept(&mut self) -> io::Result<(Accepted, Peer)> {
        let accepted = match &self.listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, address)| {
                let local = stream.local_addr().unwrap_or(NOWHERE);
                let peer = Peer::new(canonical(address), canonical(local));
                (Accepted::Tcp(stream), peer)
            }),
            Listener::Unix(unix) => {
                let accepted = unix.accept().await;
                accepted.map(|(stream, _)| (Accepted::Unix(stream), Peer::unnamed()))
            }
        };
        match accepted {
            Ok(accepted) => {
                self.failures = 0;
                Ok(accepted)
            }
            Err(error) => {
                if is_of_host(&error) {
                    tokio::time::sleep(backoff(self.failures)).await;
                    self.failures = self.failures.saturating_add(1);
                }
                Err(error)
            }
        }
    }
}

/// An IPv4 client of an IPv6 listener is told by its IPv4 address, so that address lists match it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether this host lacks something, and not the connection: EMFILE, ENFILE, ENOBUFS, ENOMEM
/// (accept(2)).
fn is_of_host(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_none_or(|code| [24, 23, 105, 12].contains(&code))
}

/// 1 ms, doubled with each failure in a row, 512 ms at most.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(1 << failures.min(9))
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_half_a_second() {
        let waits = [0, 1, 8, 9, 10, u32::MAX].map(|failures| backoff(failures).as_millis());
        assert_eq!(waits, [1, 2, 256, 512, 512, 512]);
    }

    #[test]
    fn only_what_time_mends_is_waited_for() {
        assert!(is_of_host(&io::Error::from_raw_os_error(24)));
        assert!(!is_of_host(&io::Error::from_raw_os_error(103)));
    }
}
