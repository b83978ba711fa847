//! One worker: accepts, opens sessions, has them carried, and drains.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lbcore::connect::Connect;
use lbcore::schedule::Scheduler;
use tokio::task::{JoinHandle, JoinSet};

use super::accept::{Acceptor, Listener};
use super::arrival::{Arrival, Client};
use super::carry::Carry;
use super::open::{Opened, Shared};
use super::reactor::{Joined, Mailbox, Reactor, ReactorTask, Socket};
use super::relay::Relay;
use super::session::Session;
use crate::connect::Stream;
use crate::sys::pipe::PipePool;

/// One of the workers of a [`TcpBalancer`](super::TcpBalancer), with accept sockets of its own.
///
/// Sockets cost least in a worker on a thread of its own, with a runtime of its own
/// (`new_current_thread`): nothing is handed between threads then.
pub struct TcpWorker<S: Scheduler, C> {
    pub(crate) shared: Arc<Shared<S, C>>,
    pub(crate) index: usize,
    pub(crate) listeners: Vec<Listener>,
}

impl<S, C> TcpWorker<S, C>
where
    S: Scheduler + Send + Sync + 'static,
    S::Plan: Send + Sync,
    S::Cursor: Send,
    C: Connect + 'static,
    C::Stream: Into<Stream>,
{
    /// Serves until `shutdown` resolves, then drains: takes no new client, and waits for the
    /// sessions under way up to the drain timeout, after which they are reset.
    ///
    /// Runs in the tokio runtime that polls it, with time and I/O enabled. Dropped, it resets its
    /// sessions at once.
    ///
    /// # Errors
    ///
    /// Fails when it cannot begin for lack of descriptors; nothing ends it later but `shutdown`.
    pub async fn run_until(self, shutdown: impl Future) -> io::Result<()> {
        let pipes = self.shared.bench(self.index).pipes.clone();
        let reactor = Reactor::new(pipes.clone())?;
        let (task, mailbox) = ReactorTask::new(reactor, self.shared.clock)?;
        let mut acceptors = Vec::with_capacity(self.listeners.len());
        for listener in &self.listeners {
            let counters = self.shared.counters.worker(self.index);
            acceptors.push(Acceptor::new(listener.clone(), counters)?);
        }
        let mut running = Running {
            reactor: AbortOnDrop(tokio::spawn(task)),
            sessions: JoinSet::new(),
            carrier: Carrier {
                shared: Arc::clone(&self.shared),
                index: self.index,
                mailbox,
                pipes,
            },
        };
        running.serve(&mut acceptors, shutdown).await;
        // Who has connected is served; who connects from here on is refused by the kernel.
        for acceptor in &acceptors {
            while let Some((socket, peer)) = acceptor.try_accept() {
                running.begin(socket, peer);
            }
        }
        drop(acceptors);
        drop(self.listeners);
        let limit = self.shared.settings.load().config.drain_timeout;
        running.drain(limit).await;
        Ok(())
    }
}

impl<S: Scheduler, C> std::fmt::Debug for TcpWorker<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpWorker")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// A worker at work.
struct Running<S: Scheduler, C> {
    reactor: AbortOnDrop,
    /// Sessions that are being opened, and those that no reactor can carry.
    sessions: JoinSet<()>,
    carrier: Carrier<S, C>,
}

impl<S, C> Running<S, C>
where
    S: Scheduler + Send + Sync + 'static,
    S::Plan: Send + Sync,
    S::Cursor: Send,
    C: Connect + 'static,
    C::Stream: Into<Stream>,
{
    async fn serve(&mut self, acceptors: &mut [Acceptor], shutdown: impl Future) {
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                _ = &mut shutdown => return,
                (socket, peer) = first(acceptors) => self.begin(socket, peer),
                Some(_) = self.sessions.join_next() => {}
            }
        }
    }

    /// Opens a session in a task of its own, since reaching a backend takes its time.
    fn begin(&mut self, socket: Socket, peer: Option<SocketAddr>) {
        let shared = &self.carrier.shared;
        let counters = shared.counters.worker(self.carrier.index);
        let client = Client::Accepted(socket);
        let arrival = Arrival::new(client, peer, counters, Arc::clone(&shared.log));
        self.sessions.spawn(self.carrier.clone().carry(arrival));
        // Under a storm of clients nobody waits for them; what has ended must not pile up.
        while self.sessions.try_join_next().is_some() {}
    }

    async fn drain(mut self, limit: Duration) {
        // The reactor ends when nobody can hand it a session any more.
        let Self { carrier, .. } = self;
        drop(carrier);
        let finish = async {
            while self.sessions.join_next().await.is_some() {}
            let _ = (&mut self.reactor.0).await;
        };
        if tokio::time::timeout(limit, finish).await.is_err() {
            // Dropped, they reset what they carry and count it.
            self.sessions.shutdown().await;
            self.reactor.0.abort();
            let _ = (&mut self.reactor.0).await;
        }
    }
}

/// What a session's task needs to open it and have it carried.
struct Carrier<S: Scheduler, C> {
    shared: Arc<Shared<S, C>>,
    index: usize,
    mailbox: Mailbox<Session>,
    pipes: PipePool,
}

impl<S, C> Carrier<S, C>
where
    S: Scheduler + Send + Sync + 'static,
    S::Plan: Send + Sync,
    S::Cursor: Send,
    C: Connect + 'static,
    C::Stream: Into<Stream>,
{
    async fn carry(self, arrival: Arrival) {
        let Ok(opened) = self.shared.open(self.index, arrival).await else {
            return;
        };
        if let Some(carry) = self.hand_over(opened) {
            carry.await;
        }
    }

    /// Gives two sockets to the reactor, and anything else back as a future.
    fn hand_over(&self, opened: Opened) -> Option<Carry<Stream, Stream, Session>> {
        let Opened {
            client,
            backend,
            first_bytes,
            session: ledger,
            idle_timeout,
            keepalive,
        } = opened;
        match (socket_of(client), backend.into_socket()) {
            (Ok(client), Ok(backend)) => {
                let joined = Joined {
                    client,
                    backend,
                    first_bytes,
                    ledger,
                    idle_timeout,
                    keepalive,
                };
                // Refused only if the reactor was ended before this task; the sockets close.
                drop(self.mailbox.send(joined));
                None
            }
            (client, backend) => {
                let client = client.map_or_else(Some, Stream::from_socket)?;
                let backend = backend.map_or_else(Some, Stream::from_socket)?;
                let relay = Relay::new(client, backend, first_bytes);
                let (pipes, clock) = (self.pipes.clone(), self.shared.clock);
                Some(Carry::new(relay, ledger, pipes, clock, idle_timeout))
            }
        }
    }
}

fn socket_of(client: Client) -> Result<Socket, Stream> {
    match client {
        Client::Accepted(socket) => Ok(socket),
        Client::Stream(stream) => stream.into_socket(),
    }
}

impl<S: Scheduler, C> Clone for Carrier<S, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            index: self.index,
            mailbox: self.mailbox.clone(),
            pipes: self.pipes.clone(),
        }
    }
}

/// The next client of any of the listeners.
async fn first(acceptors: &mut [Acceptor]) -> (Socket, Option<SocketAddr>) {
    if let [only] = acceptors {
        return only.accept().await;
    }
    let mut waits: Vec<_> = acceptors
        .iter_mut()
        .map(|acceptor| Box::pin(acceptor.accept()))
        .collect();
    std::future::poll_fn(|cx| {
        let mut polled = waits.iter_mut().map(|wait| wait.as_mut().poll(cx));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// A task that does not outlive whoever waits for it.
struct AbortOnDrop(JoinHandle<io::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
