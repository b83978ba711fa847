//! A load that goes on while things happen, and what became of each request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::wait::{self, PATIENCE};

/// Clients of servers that say their name first and then echo; each checks every byte.
///
/// Runs on the tokio runtime that it is started in, and ends with this value.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<Vec<Request>>,
    done: Arc<AtomicU64>,
}

/// One connection of a load, from its beginning to its end.
#[non_exhaustive]
#[derive(Debug)]
pub struct Request {
    /// Before the connection was asked for.
    pub began: Instant,
    /// Who served it, once they said so.
    pub server: Option<String>,
    /// Why it failed, if it did: refused, reset, cut short, a wrong byte, or silence.
    pub failed: Option<io::Error>,
}

impl Load {
    /// Each of `clients` makes one connection after the other, sends `bytes` bytes on it, and ends
    /// it when they are back.
    #[must_use]
    pub fn of_short_sessions(address: SocketAddr, clients: u64, bytes: usize) -> Self {
        Self::start(address, clients, bytes, Sessions::Short)
    }

    /// Each of `clients` sends `bytes` bytes again and again on one connection, and ends it when the
    /// load is stopped.
    #[must_use]
    pub fn of_long_sessions(address: SocketAddr, clients: u64, bytes: usize) -> Self {
        Self::start(address, clients, bytes, Sessions::Long)
    }

    fn start(address: SocketAddr, clients: u64, bytes: usize, sessions: Sessions) -> Self {
        let (stop, stopped) = watch::channel(false);
        let done = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for seed in 0..clients {
            let (stopped, done) = (stopped.clone(), Arc::clone(&done));
            let worker = Worker {
                address,
                bytes,
                stopped,
                done,
            };
            tasks.spawn(async move { worker.run(seed, sessions).await });
        }
        Self {
            stop,
            clients: tasks,
            done,
        }
    }

    /// Exchanges that are over, the failed ones included.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Waits for so many more exchanges. Blocks: not for the runtime's only thread.
    ///
    /// # Panics
    ///
    /// When they are not over within [`PATIENCE`].
    #[track_caller]
    pub fn await_more(&self, exchanges: u64) {
        let enough = self.done() + exchanges;
        wait::eventually(PATIENCE, "the load goes on", || self.done() >= enough);
    }

    /// Lets what is under way end, and tells of every connection there was.
    pub async fn stop(self) -> Vec<Request> {
        self.stop.send_replace(true);
        self.clients
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Asserts that no request failed.
///
/// # Panics
///
/// When one did; the message holds the first of them.
#[track_caller]
pub fn assert_none_failed(requests: &[Request]) {
    let failed: Vec<_> = requests.iter().filter(|r| r.failed.is_some()).collect();
    let (count, all) = (failed.len(), requests.len());
    assert!(failed.is_empty(), "{count} of {all}: {:?}", failed.first());
}

#[derive(Clone, Copy, Debug)]
enum Sessions {
    Long,
    Short,
}

struct Worker {
    address: SocketAddr,
    bytes: usize,
    stopped: watch::Receiver<bool>,
    done: Arc<AtomicU64>,
}

impl Worker {
    async fn run(self, seed: u64, sessions: Sessions) -> Vec<Request> {
        let mut requests = Vec::new();
        while !*self.stopped.borrow() {
            requests.push(self.request(seed, sessions).await);
            if matches!(sessions, Sessions::Long) {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
        requests
    }

    async fn request(&self, seed: u64, sessions: Sessions) -> Request {
        let (began, mut server) = (wait::now(), None);
        let failed = self.speak(seed, sessions, &mut server).await.err();
        if failed.is_some() {
            self.done.fetch_add(1, Relaxed);
        }
        Request {
            began,
            server,
            failed,
        }
    }

    async fn speak(
        &self,
        seed: u64,
        sessions: Sessions,
        server: &mut Option<String>,
    ) -> io::Result<()> {
        let mut client = patiently(Client::connect(self.address, seed)).await?;
        *server = Some(patiently(client.line()).await?);
        loop {
            patiently(client.exchange(self.bytes)).await?;
            self.done.fetch_add(1, Relaxed);
            if matches!(sessions, Sessions::Short) || *self.stopped.borrow() {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
        match patiently(client.finish()).await? {
            0 => Ok(()),
            more => Err(io::Error::other(format!("{more} bytes too many"))),
        }
    }
}

async fn patiently<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, step).await?
}

/// Between the exchanges of one client, so that the load is steady and leaves time for others.
const PACE: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Behaviour, Server};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn short_sessions_are_many_and_long_ones_are_one_each() {
        let server = Server::tcp(Behaviour::Named("a".into()));
        let short = Load::of_short_sessions(server.address(), 2, 1_000);
        let long = Load::of_long_sessions(server.address(), 3, 1_000);
        short.await_more(10);
        long.await_more(10);
        let (short, long) = (short.stop().await, long.stop().await);
        assert!(short.len() >= 10, "{}", short.len());
        assert_eq!(long.len(), 3);
        assert_none_failed(&short);
        assert_none_failed(&long);
        assert!(long.iter().all(|r| r.server.as_deref() == Some("a")));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_reset_is_a_failed_request() {
        let server = Server::tcp(Behaviour::Reset);
        let load = Load::of_short_sessions(server.address(), 1, 1);
        load.await_more(3);
        let requests = load.stop().await;
        assert!(requests.len() >= 3);
        assert!(requests.iter().all(|r| r.failed.is_some()));
    }
}
