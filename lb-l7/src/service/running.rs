//! An exchange that is polled by whoever reads its response.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Version, response};
use http_body::{Body, SizeHint};
use lbcore::BackendId;

use crate::clock;
use crate::drain::Drain;
use crate::exchange::{self, At, Incoming};
use crate::front::service::{BoxError, Ended, Local, Refusals, Slot};
use crate::headers::Scheme;
use crate::headers::identity::Hop;
use crate::peer::Peer;
use crate::report::{Party, Phase, Termination, Why};
use crate::settings::Settings;
use crate::timeout::Alarm;
use crate::worker::Worker;

type Exchange = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An exchange, and the slot that its response comes by.
pub(crate) struct Running {
    /// `None` once it is over. The lock is never taken: it makes what holds this `Sync`.
    exchange: Mutex<Option<Exchange>>,
    slot: Arc<Slot>,
}

/// A piece of a response.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Running {
    /// Runs what `begin` makes, once it is polled.
    pub(crate) fn new<F>(begin: impl FnOnce(Arc<Slot>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slot = Arc::<Slot>::default();
        let exchange: Exchange = Box::pin(begin(Arc::clone(&slot)));
        Self {
            exchange: Mutex::new(Some(exchange)),
            slot,
        }
    }

    /// Waits for the head of the response, or for an end without one.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, Ended>> {
        let is_over = self.run(cx);
        let mut state = self.slot.lock();
        match state.head.take() {
            Some(head) => Poll::Ready(Ok(head)),
            None if is_over => Poll::Ready(Err(state.ended.unwrap_or(BROKEN))),
            None => Poll::Pending,
        }
    }

    /// Waits for a piece of the response's body; `None` behind the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Ended>>> {
        if let Some(piece) = self.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let is_over = self.run(cx);
        if let Some(piece) = self.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if !is_over {
            return Poll::Pending;
        }
        let mut state = self.slot.lock();
        if state.is_whole {
            return Poll::Ready(None);
        }
        // Told once.
        state.is_whole = true;
        Poll::Ready(Some(Err(state.ended.unwrap_or(BROKEN))))
    }

    fn take(&self) -> Option<Piece> {
        let mut state = self.slot.lock();
        if let Some(data) = state.data.take() {
            return Some(Piece::Data(data));
        }
        state.trailers.take().map(Piece::Trailers)
    }

    /// Goes on with the exchange as far as it comes; whether it is over.
    fn run(&mut self, cx: &mut Context<'_>) -> bool {
        let exchange = self.exchange.get_mut();
        let exchange = exchange.unwrap_or_else(PoisonError::into_inner);
        // One that panics is not polled again: it is gone from here meanwhile.
        let Some(mut running) = exchange.take() else {
            return true;
        };
        if running.as_mut().poll(cx).is_ready() {
            return true;
        }
        *exchange = Some(running);
        false
    }

    fn is_over(&self) -> bool {
        let exchange = self.exchange.lock();
        exchange.unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Whether there is nothing more to read.
    pub(crate) fn is_at_end(&self) -> bool {
        let state = self.slot.lock();
        let is_empty = state.data.is_none() && state.trailers.is_none();
        is_empty && state.is_whole && self.is_over()
    }

    /// How much is still to be read.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.slot.lock();
        let here = state.data.as_ref().map_or(0, |data| data.len() as u64);
        match state.left {
            Some(left) => SizeHint::with_exact(left.saturating_add(here)),
            None => SizeHint::default(),
        }
    }

    /// Which backend answered.
    pub(crate) fn backend(&self) -> Option<BackendId> {
        self.slot.lock().backend
    }

    /// What the request's body failed of.
    pub(crate) fn take_fault(&self) -> Option<BoxError> {
        self.slot.lock().fault.take()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// What holds for every request of one client, until the settings change.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) settings: Arc<Settings>,
    peer: Peer,
    hop: Hop,
    /// Never begins: a service has no tunnels to end.
    drain: Drain,
}

impl Terms {
    /// What `settings` say of requests of `peer`.
    pub(crate) fn new(settings: Arc<Settings>, peer: Peer) -> Self {
        let hop = settings.hop(&peer);
        Self {
            settings,
            peer,
            hop,
            drain: Drain::default(),
        }
    }

    /// The same under other settings.
    pub(crate) fn under(&self, settings: Arc<Settings>) -> Self {
        Self::new(settings, self.peer.clone())
    }

    /// The same for another client.
    pub(crate) fn of(&self, peer: Peer) -> Self {
        Self::new(Arc::clone(&self.settings), peer)
    }

    /// How the client came.
    pub(crate) const fn scheme(&self) -> Scheme {
        self.peer.secured()
    }
}

/// Where an exchange takes place, and what its front is to know.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) terms: Arc<Terms>,
    /// None only in a proxy without workers.
    pub(crate) worker: Option<Arc<Worker>>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) version: Version,
    pub(crate) is_head: bool,
    pub(crate) refusals: Refusals,
}

/// Carries a request out, or refuses what is none.
pub(crate) async fn carry<B>(begun: Begun, incoming: Result<Incoming, Termination>, body: B)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Begun {
        terms,
        worker,
        slot,
        version,
        is_head,
        refusals,
    } = begun;
    let Some(worker) = worker else {
        return;
    };
    let at = At {
        worker: &worker,
        settings: &terms.settings,
        peer: &terms.peer,
        hop: &terms.hop,
        drain: &terms.drain,
    };
    let body = pin!(body);
    let mut front = Local::new(body, slot, version, is_head, refusals);
    let mut alarm = Alarm::default();
    match incoming {
        Ok(mut incoming) => {
            // It begins when it is first polled.
            incoming.begun = clock::now();
            exchange::run(&at, &mut front, &mut alarm, &mut incoming).await;
        }
        Err(ended) => {
            let now = clock::now();
            exchange::refuse(&at, &mut front, &mut alarm, now, ended, None).await;
        }
    }
}

/// An exchange that came to no end: it panicked.
const BROKEN: Ended = Ended {
    termination: Termination::new(Party::Proxy, Phase::ResponseBody, Why::Internal),
    detail: None,
};
