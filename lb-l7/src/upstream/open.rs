//! From a lease to a connection: an idle one, a stream of one, or a new one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::HeaderMap;
use lbcore::backend::Address;
use lbcore::{Instant, Lease};
use tokio::io::AsyncWriteExt;

use super::config::BackendProtocol;
use super::connection::{ConnectionPlace, Held, Http1, Route, State};
use super::error::OpenError;
use super::gate::{Entry, Gate, Grant};
use super::proxied::{ProxiedAddresses, header};
use super::shelf::Shelf;
use super::stats::CloseReason;
use super::stream::BackendStream;
use super::{Channel, Inner, Reuse, Upstream, http1, http2};
use crate::clock;
use crate::h1::wire::Wire;

impl Upstream {
    /// A connection to the backend of `lease`, or a stream of one: the one that became idle last, or
    /// a new one, or one that somebody else is done with.
    ///
    /// Dropping the future gives the attempt up, and frees whatever it holds.
    pub(crate) async fn open(
        &self,
        worker: usize,
        now: Instant,
        lease: &Lease,
        reuse: Reuse,
        proxied: Option<ProxiedAddresses>,
    ) -> Result<Channel, OpenError> {
        let inner = &*self.inner;
        let proxied = inner.setup.config.proxy_protocol.and(proxied);
        if reuse == Reuse::Any
            && let Some(shelf) = inner.shelf(worker)
            && let Some(held) = shelf.take(now, lease.backend(), lease.address(), proxied)
        {
            return Ok(reused(held));
        }
        // A box for each connection, so that an exchange that finds one carries no room for this.
        Box::pin(inner.open_new(worker, lease, reuse, proxied)).await
    }
}

impl Inner {
    async fn open_new(
        &self,
        worker: usize,
        lease: &Lease,
        reuse: Reuse,
        proxied: Option<ProxiedAddresses>,
    ) -> Result<Channel, OpenError> {
        let route = Route {
            backend: lease.backend(),
            address: Address::clone(lease.address()),
            proxied,
        };
        let state = self.state(route.backend);
        let place = match self.enter(worker, &state).await? {
            Grant::Place(place) => place,
            Grant::Held(held) => match fitting(held, &route, reuse) {
                Ok(channel) => {
                    state.counts.handed_over();
                    return Ok(channel);
                }
                Err(place) => place,
            },
        };
        let connecting = self.connect(&route);
        let connected = tokio::time::timeout(self.setup.config.connect_timeout, connecting).await;
        let connected = connected.unwrap_or(Err(OpenError::Timeout));
        let fresh = connected.inspect_err(|_| state.counts.failed())?;
        self.begin(fresh, place, worker, route, &state).await
    }

    /// A place, at once or in turn.
    async fn enter(&self, worker: usize, state: &Arc<State>) -> Result<Grant<Held>, OpenError> {
        let entry = Gate::enter(state, state.shared()).or_else(|full| {
            // Another worker may hold on to a connection that it does not use.
            let (before, from) = self.shelves.split_at(worker % self.shelves.len());
            let is_closed = from
                .iter()
                .chain(before)
                .any(|shelf| shelf.close_idle(state));
            if is_closed {
                Gate::enter(state, state.shared())
            } else {
                Err(full)
            }
        });
        match entry {
            Ok(Entry::Place(place)) => Ok(Grant::Place(place)),
            Ok(Entry::Wait(mut waiter)) => {
                self.give_from_any(worker, clock::now(), state);
                let turn =
                    tokio::time::timeout(self.setup.config.pending_time, waiter.turn()).await;
                let turn = turn.map_err(|_| {
                    state.counts.queue_timeout();
                    OpenError::QueueTimeout
                });
                turn?.ok_or(OpenError::QueueFull)
            }
            Err(_) => {
                state.counts.queue_full();
                Err(OpenError::QueueFull)
            }
        }
    }
}

/// What a new connection speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spoken {
    Http1,
    Http2,
}

/// A stream that is ready for HTTP.
struct Fresh {
    stream: BackendStream,
    spoken: Spoken,
    is_encrypted: bool,
}

impl Inner {
    /// Connects, says for whom, and agrees on keys.
    async fn connect(&self, route: &Route) -> Result<Fresh, OpenError> {
        let dialled = self.setup.dial.dial(&route.address).await;
        let mut stream = dialled.map_err(OpenError::dialling)?;
        if let Some(version) = self.setup.config.proxy_protocol {
            // Addresses of TCP can be said in either version.
            let header = header(version, route.proxied).map_err(|_| OpenError::Unsupported)?;
            let written = stream.write_all(&header).await;
            written.map_err(OpenError::dialling)?;
        }
        self.secure(stream, &route.address).await
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: BackendStream, address: &Address) -> Result<Fresh, OpenError> {
        let Some(tls) = &self.setup.tls else {
            return Ok(self.plain(stream));
        };
        let host = address.socket().map(|socket| socket.ip().to_string());
        // Not the name of a request: others will share the connection. Without any, the set-up is wrong.
        let name = tls.name_for(host.as_deref(), "");
        let name = name.map_err(|_| OpenError::Unsupported)?;
        let stream = tls.connect(stream, &name).await.map_err(OpenError::Tls)?;
        let agreed = crate::tls::Alpn::of_backend(&stream);
        let spoken = match (self.setup.config.protocol, agreed) {
            (BackendProtocol::Http2, _) => Spoken::Http2,
            (BackendProtocol::Negotiated, Some(crate::tls::Alpn::Http2)) => Spoken::Http2,
            _ => Spoken::Http1,
        };
        Ok(Fresh {
            stream: BackendStream::any(stream),
            spoken,
            is_encrypted: true,
        })
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it waits")]
    async fn secure(&self, stream: BackendStream, _address: &Address) -> Result<Fresh, OpenError> {
        Ok(self.plain(stream))
    }

    fn plain(&self, stream: BackendStream) -> Fresh {
        let spoken = match self.setup.config.protocol {
            BackendProtocol::Http2 => Spoken::Http2,
            BackendProtocol::Http1 | BackendProtocol::Negotiated => Spoken::Http1,
        };
        Fresh {
            stream,
            spoken,
            is_encrypted: false,
        }
    }

    /// Begins to speak HTTP, and lets those share the connection who can.
    async fn begin(
        &self,
        fresh: Fresh,
        place: ConnectionPlace,
        worker: usize,
        route: Route,
        state: &Arc<State>,
    ) -> Result<Channel, OpenError> {
        // There is at least one worker.
        let shelf = self.shelf(worker).ok_or(OpenError::Unsupported)?;
        match fresh.spoken {
            Spoken::Http1 => {
                let connection = http1(fresh.stream, place, shelf, route);
                state.shared.store(1, Relaxed);
                Gate::admit(state, 1);
                Ok(Channel::http1(http1::Exchange::new(connection), false))
            }
            Spoken::Http2 => {
                let started = http2::start(
                    &self.setup.config,
                    fresh.stream,
                    route,
                    place,
                    fresh.is_encrypted,
                );
                let connection = started.await.map_err(OpenError::Protocol)?;
                let own = connection.enter().map_err(|_| OpenError::Refused)?;
                state.shared.store(self.setup.config.streams, Relaxed);
                shelf.share(state, &connection);
                connection.serve_waiting();
                Gate::admit(state, self.setup.config.streams);
                Ok(Channel::http2(http2::Exchange::new(own), false))
            }
        }
    }
}

fn http1(
    stream: BackendStream,
    mut place: ConnectionPlace,
    shelf: &Arc<Shelf>,
    route: Route,
) -> Box<Http1> {
    place.connected();
    let now = clock::now();
    Box::new(Http1 {
        wire: Wire::new(stream),
        place,
        shelf: Arc::clone(shelf),
        route,
        opened: now,
        idle_since: now,
        requests: 0,
        fields: HeaderMap::new(),
    })
}

/// A channel over what was there already.
fn reused(held: Held) -> Channel {
    match held {
        Held::Http1(connection) => Channel::http1(http1::Exchange::new(connection), true),
        Held::Stream(place) => Channel::http2(http2::Exchange::new(place), true),
    }
}

/// Uses what somebody else was done with, or its place.
fn fitting(held: Held, route: &Route, reuse: Reuse) -> Result<Channel, ConnectionPlace> {
    match held {
        Held::Http1(connection) if reuse == Reuse::Fresh || connection.route != *route => {
            Err(connection.into_place(CloseReason::Reclaimed))
        }
        held => Ok(reused(held)),
    }
}
