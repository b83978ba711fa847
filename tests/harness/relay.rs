//! A way to a server that is long, and can be cut: TCP, passed on in this process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::server::{nonblocking, runtime};

/// Passes on every byte as late as it is told, in either direction; it ends with this value.
///
/// Bytes keep their distance: a delay costs no throughput, as on a long wire. Who connects to it has
/// a connection to it, not to the server, until the server has accepted as well.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use harness::relay::Relay;
/// use harness::server::{Behaviour, Server};
///
/// let server = Server::tcp(Behaviour::Echo);
/// let relay = Relay::to(server.address(), Duration::from_millis(5));
/// assert!(std::net::TcpStream::connect(relay.address()).is_ok());
/// ```
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What the relay does with what it gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Passes it on.
    Open,
    /// Keeps all, and ends nothing, as a cable that was pulled.
    Held,
}

impl Relay {
    /// Leads from a free loopback port to `server`, and each byte takes `delay` there, and `delay`
    /// back.
    #[track_caller]
    #[must_use]
    pub fn to(server: SocketAddr, delay: Duration) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (state, watched) = watch::channel(State::Open);
        let accepted = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&accepted);
        let task = runtime().spawn(async move {
            let listener = nonblocking(listener);
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                connections.spawn(join(near, server, delay, watched.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            state,
            accepted,
            task,
        }
    }

    /// Where it is to be connected to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that it ever accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Passes nothing on from now, and keeps all connections, until it is [resumed](Self::resume).
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Passes on again, what was kept first.
    pub fn resume(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(
    near: TcpStream,
    server: SocketAddr,
    delay: Duration,
    state: watch::Receiver<State>,
) -> io::Result<()> {
    let far = TcpStream::connect(server).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let there = pass(from_near, to_far, delay, state.clone());
    let back = pass(from_far, to_near, delay, state);
    tokio::try_join!(there, back)?;
    Ok(())
}

/// One direction, to its end.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let (sent, mut late) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut bytes = vec![0; 16 * 1024];
            let length = from.read(&mut bytes).await?;
            bytes.truncate(length);
            if length == 0 || sent.send((Instant::now() + delay, bytes)).await.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = late.recv().await {
            tokio::time::sleep_until(due).await;
            // A relay that has ended holds nothing back.
            let _ = state.wait_for(|state| *state == State::Open).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

/// Reads that one direction may have under way; more wait in the sender's window.
const UNDER_WAY: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::server::{Behaviour, Server};
    use crate::wait::{self, PATIENCE};

    fn echoed(stream: &mut std::net::TcpStream) -> io::Result<()> {
        stream.write_all(b"hello")?;
        stream.read_exact(&mut [0; 5])
    }

    #[test]
    fn each_byte_is_late_both_ways_and_comes_whole() {
        let server = Server::tcp(Behaviour::Echo);
        let relay = Relay::to(server.address(), Duration::from_millis(30));
        let mut stream = std::net::TcpStream::connect(relay.address()).unwrap();
        let start = wait::now();
        let said: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        stream.write_all(&said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard == said);
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(relay.accepted(), 1);
    }

    #[test]
    fn a_held_relay_is_silent_and_gives_what_it_kept_when_it_goes_on() {
        let server = Server::tcp(Behaviour::Echo);
        let relay = Relay::to(server.address(), Duration::ZERO);
        let mut stream = std::net::TcpStream::connect(relay.address()).unwrap();
        echoed(&mut stream).unwrap();
        relay.hold();
        let short = Duration::from_millis(50);
        stream.set_read_timeout(Some(short)).unwrap();
        let error = echoed(&mut stream).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        relay.resume();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    }

    #[test]
    fn a_relay_that_is_dropped_ends_its_connections() {
        let server = Server::tcp(Behaviour::Echo);
        let relay = Relay::to(server.address(), Duration::ZERO);
        let mut stream = std::net::TcpStream::connect(relay.address()).unwrap();
        echoed(&mut stream).unwrap();
        drop(relay);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = stream.read(&mut [0; 1]);
        assert!(!matches!(ended, Ok(1)), "{ended:?}");
    }
}
