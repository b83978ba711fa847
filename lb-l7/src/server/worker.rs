//! One worker of a server: it accepts, lets in, serves, and drains.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use lbcore::budget::Grant;
use lbcore::connect::Accept;
use lbcore::limit::{ConcurrencyGuard, LimitReached};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::accept::{Accepted, Acceptor};
use super::arrival::{Raw, Secured, read_proxy_header, settle};
use super::{Gate, Listener, Socket};
use crate::clock;
use crate::connection;
use crate::peer::Peer;
use crate::proxy::HttpProxy;
use crate::stats::Refused;

/// One worker of an [`HttpServer`](super::HttpServer), to be run on a thread of its own.
pub struct HttpWorker<A> {
    index: usize,
    sockets: Vec<Socket>,
    gate: Arc<Gate<A>>,
}

impl<A> fmt::Debug for HttpWorker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWorker")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl<A> HttpWorker<A>
where
    A: Accept<Raw> + 'static,
    A::Stream: Secured,
{
    pub(super) const fn new(index: usize, sockets: Vec<Socket>, gate: Arc<Gate<A>>) -> Self {
        Self {
            index,
            sockets,
            gate,
        }
    }

    /// Serves on this runtime until `shutdown` resolves, then drains: no connection is taken,
    /// clients are told, and requests under way may end within the drain timeout.
    ///
    /// A listener that the runtime has no room for is told in the log, and left out.
    pub async fn run_until<T>(self, shutdown: impl Future<Output = T>) {
        let Self {
            index,
            sockets,
            gate,
        } = self;
        let listeners = sockets.into_iter().map(Listener::new);
        let mut acceptors: Vec<Acceptor> = listeners
            .filter_map(|listener| {
                let told = |error: &std::io::Error| tracing::error!(%error, "cannot listen");
                listener.inspect_err(told).ok().map(Acceptor::new)
            })
            .collect();
        let mut connections = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            let event = tokio::select! {
                biased;
                _ = &mut shutdown => None,
                accepted = first(&mut acceptors) => Some(accepted),
                Some(_) = connections.join_next() => continue,
                _ = tick.tick() => {
                    gate.proxy.sweep(index);
                    continue;
                }
            };
            match event {
                None => break,
                Some(Ok((accepted, peer))) => {
                    connections.spawn(let_in(Arc::clone(&gate), index, accepted, peer));
                }
                Some(Err(error)) => {
                    debug!(%error, "a client was lost before it was accepted");
                    refused(&gate.proxy, index, Refused::Accept);
                }
            }
        }
        drop(acceptors);
        gate.proxy.drain();
        let over = async { while connections.join_next().await.is_some() {} };
        let most = gate.handle.door().config.drain_timeout;
        if tokio::time::timeout(most, over).await.is_err() {
            debug!(left = connections.len(), "the drain has lasted too long");
        }
    }
}

/// How often connections to backends are looked at that nobody uses.
const TICK: Duration = Duration::from_secs(1);

/// The next client of any listener.
async fn first(acceptors: &mut [Acceptor]) -> std::io::Result<(Accepted, Peer)> {
    if let [only] = acceptors {
        return only.accept().await;
    }
    let mut waits: Vec<Pin<Box<_>>> = acceptors
        .iter_mut()
        .map(|one| Box::pin(one.accept()))
        .collect();
    poll_fn(|cx| {
        for wait in &mut waits {
            if let Poll::Ready(accepted) = wait.as_mut().poll(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

fn refused(proxy: &HttpProxy, worker: usize, why: Refused) {
    if let Some(worker) = proxy.worker(worker) {
        worker.count(|writer| proxy.listener_stats().refused(writer, why));
    }
}

/// Serves one client, if it may come in.
async fn let_in<A>(gate: Arc<Gate<A>>, index: usize, accepted: Accepted, peer: Peer)
where
    A: Accept<Raw> + 'static,
    A::Stream: Secured,
{
    let Some(worker) = gate.proxy.worker(index) else {
        return;
    };
    let stats = gate.proxy.listener_stats();
    worker.count(|writer| stats.accepted(writer));
    match admit(&gate, accepted, peer).await {
        Ok((stream, peer, _held)) => {
            #[cfg(feature = "tls")]
            if let Some(handshake) = &peer.tls {
                worker.count(|writer| match handshake.resumed {
                    true => stats.resumed(writer),
                    false => stats.handshake(writer),
                });
            }
            connection::serve(&gate.proxy, index, stream, peer).await;
        }
        Err(why) => refused(&gate.proxy, index, why),
    }
    worker.count(|writer| stats.closed(writer));
}

/// What a connection counts as, until it is closed.
struct Held {
    _guard: ConcurrencyGuard,
    _grants: Option<[Grant; 2]>,
}

async fn admit<A>(
    gate: &Gate<A>,
    mut accepted: Accepted,
    mut peer: Peer,
) -> Result<(A::Stream, Peer, Held), Refused>
where
    A: Accept<Raw> + 'static,
    A::Stream: Secured,
{
    let door = Arc::clone(&gate.handle.door());
    let config = &door.config;
    let is_allowed = |peer: &Peer| {
        let rules = config.rules.as_ref();
        rules.is_none_or(|rules| rules.allows(peer.address.ip()))
    };
    // The peer itself first: a header can be forged.
    if !is_allowed(&peer) {
        return Err(Refused::Denied);
    }
    let guard = door
        .limits
        .admit(clock::now())
        .map_err(|reached| match reached {
            LimitReached::Connections => Refused::Connections,
            _ => Refused::Rate,
        })?;
    let held = Held {
        _guard: guard,
        _grants: gate.proxy.hold_connection()?,
    };
    let limit = gate.proxy.settings().timeouts.handshake;
    let opening = async {
        let mut first = Bytes::new();
        if config.accept_proxy {
            first = read_proxy_header(&mut accepted, &mut peer).await?;
            if !is_allowed(&peer) {
                return Err(Refused::Denied);
            }
        }
        let raw = Raw::new(accepted, first);
        let first = raw.first().clone();
        let stream = gate.accept.accept(&first, raw).await.map_err(|error| {
            debug!(client = %peer.address, %error, "no handshake");
            Refused::TlsFailed
        })?;
        settle(&mut peer, &stream);
        Ok((stream, peer, held))
    };
    let opened = tokio::time::timeout(limit, opening).await;
    opened.unwrap_or(Err(Refused::TlsTimeout))
}
