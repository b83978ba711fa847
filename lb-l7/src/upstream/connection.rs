//! A connection of HTTP/1 to a backend, under way or idle.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::HeaderMap;
use lbcore::backend::Address;
use lbcore::{BackendId, Instant};

use super::config::UpstreamConfig;
use super::gate::Place;
use super::http2::StreamPlace;
use super::proxied::ProxiedAddresses;
use super::shelf::Shelf;
use super::state::BackendState;
use super::stats::CloseReason;
use super::stream::BackendStream;
use crate::h1::wire::Wire;

/// What one exchange holds of a connection: all of it, or a stream.
#[derive(Debug)]
pub(super) enum Held {
    Http1(Box<Http1>),
    Stream(StreamPlace),
}

/// What all workers share of one backend.
pub(super) type State = BackendState<Held>;

/// The right to one connection.
pub(super) type ConnectionPlace = Place<Held>;

/// Whom a connection leads to, and for whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Route {
    pub(super) backend: BackendId,
    pub(super) address: Address,
    /// The client that a PROXY protocol header has named.
    pub(super) proxied: Option<ProxiedAddresses>,
}

/// A connection of HTTP/1: one exchange after the other.
///
/// In a box, which it keeps all its life: to take it from the idle ones and to put it back moves a
/// pointer.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) wire: Wire<BackendStream>,
    pub(super) place: ConnectionPlace,
    pub(super) shelf: Arc<Shelf>,
    pub(super) route: Route,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    pub(super) requests: u32,
    /// Room for the fields of the next response.
    pub(super) fields: HeaderMap,
}

impl Http1 {
    /// Ends it, and lets the next one open a connection in its place.
    pub(super) fn close(mut self: Box<Self>, reason: CloseReason) {
        self.place.closing(reason);
    }

    /// Ends it; its place is the caller's, for another connection.
    pub(super) fn into_place(self: Box<Self>, reason: CloseReason) -> ConnectionPlace {
        let Self { place, .. } = *self;
        place.again(reason)
    }

    /// Why it is not to be used again, seen from its age and its work.
    pub(super) fn is_spent(&self, config: &UpstreamConfig, now: Instant) -> Option<CloseReason> {
        if self.requests >= config.requests {
            Some(CloseReason::Requests)
        } else if now.since(self.opened) >= config.age {
            Some(CloseReason::Age)
        } else {
            None
        }
    }

    /// Why it cannot be taken from the idle ones; `None`: it can.
    pub(super) fn is_stale(
        &mut self,
        config: &UpstreamConfig,
        now: Instant,
    ) -> Option<CloseReason> {
        if now.since(self.idle_since) >= config.idle_time {
            return Some(CloseReason::Idle);
        }
        self.is_spent(config, now).or_else(|| self.look())
    }

    /// Whether anything has come while nothing was asked: the end, or bytes that answer nothing.
    ///
    /// Costs no system call unless the runtime has seen the socket become readable.
    fn look(&mut self) -> Option<CloseReason> {
        if !self.wire.unread().is_empty() {
            return Some(CloseReason::Unread);
        }
        let mut context = Context::from_waker(Waker::noop());
        match self.wire.poll_fill(&mut context, LOOK) {
            Poll::Pending => None,
            Poll::Ready(Ok(0) | Err(_)) => Some(CloseReason::BackendClosed),
            Poll::Ready(Ok(_)) => Some(CloseReason::Unread),
        }
    }
}

/// How much a look reads at most: one byte too many is as bad as all.
const LOOK: usize = 1;
