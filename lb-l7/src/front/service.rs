//! A client within this process: its request's body is a `Body`, and the response goes to a slot.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header, response};
use http_body::Body;
use lbcore::BackendId;

use super::{Front, FrontError};
use crate::body::{BodyLength, Frame};
use crate::report::{Party, Termination, Why};

/// Any error of the caller's.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// An exchange whose client is the caller of a service.
pub(crate) struct Local<'a, B> {
    body: Pin<&'a mut B>,
    slot: Arc<Slot>,
    version: Version,
    is_head: bool,
    /// Whether an exchange without an answer gets one of the proxy's.
    refusals: Refusals,
}

/// Who tells the caller that there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusals {
    /// The proxy, by a response of its own.
    Answered,
    /// The slot, by how the exchange ended.
    Told,
}

/// Where a response waits for the one who reads it: one piece, so that a slow reader slows the
/// backend down.
///
/// Both sides of it are polled by the same task, one after the other, so that nobody waits for its
/// lock, and neither has to be woken by the other.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) head: Option<response::Parts>,
    pub(crate) data: Option<Bytes>,
    /// Behind `data`.
    pub(crate) trailers: Option<HeaderMap>,
    /// Bytes that are still to come into the slot, when that was said.
    pub(crate) left: Option<u64>,
    /// Whether all of the response has come.
    pub(crate) is_whole: bool,
    pub(crate) backend: Option<BackendId>,
    pub(crate) ended: Option<Ended>,
    /// What the request's body failed of.
    pub(crate) fault: Option<BoxError>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) termination: Termination,
    pub(crate) detail: Option<&'static str>,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here is half done between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a further piece finds room.
    fn has_room(&self) -> bool {
        // What comes behind the last byte is no piece: taken at once, it lets the exchange end
        // before a reader that counts goes away.
        self.data.is_none() || self.left == Some(0)
    }
}

impl<'a, B> Local<'a, B> {
    pub(crate) const fn new(
        body: Pin<&'a mut B>,
        slot: Arc<Slot>,
        version: Version,
        is_head: bool,
        refusals: Refusals,
    ) -> Self {
        Self {
            body,
            slot,
            version,
            is_head,
            refusals,
        }
    }
}

impl<B> Local<'_, B> {
    /// Resolves when the slot is so; its reader polls again when it has taken what is there.
    fn poll_slot(&self, is_ready: impl FnOnce(&State) -> bool) -> Poll<Result<(), FrontError>> {
        match is_ready(&self.slot.lock()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl<B> Front for Local<'_, B>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    fn version(&self) -> Version {
        self.version
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, FrontError>>> {
        let frame = match ready!(self.body.as_mut().poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.slot.lock().fault = Some(error.into());
                return Poll::Ready(Some(Err(FrontError::Closed)));
            }
        };
        let frame = match frame.into_data() {
            Ok(data) if data.is_empty() => None,
            Ok(data) => Some(Frame::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(Frame::Trailers),
        };
        match frame {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            // Nothing came; others have their turn before the next look.
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<FrontError> {
        // Who goes away drops the exchange.
        Poll::Pending
    }

    fn send_informational(&mut self, _: &response::Parts) {
        // A service has one response; the 100 goes out when the body is first polled.
    }

    fn answered_by(&mut self, backend: BackendId) {
        self.slot.lock().backend = Some(backend);
    }

    fn send_head(&mut self, parts: &response::Parts, length: BodyLength) {
        let mut own = parts.clone();
        let has_body = !self.is_head
            && parts.status != StatusCode::NO_CONTENT
            && parts.status != StatusCode::NOT_MODIFIED;
        if let BodyLength::Exact(bytes) = length
            && parts.status != StatusCode::NO_CONTENT
        {
            let bytes = HeaderValue::from(bytes);
            own.headers.insert(header::CONTENT_LENGTH, bytes);
        }
        let mut state = self.slot.lock();
        state.left = if has_body { length.exact() } else { Some(0) };
        state.head = Some(own);
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        self.poll_slot(State::has_room)
    }

    fn send_data(&mut self, data: Bytes) {
        if self.is_head || data.is_empty() {
            return;
        }
        let mut state = self.slot.lock();
        if let Some(left) = &mut state.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        state.data = Some(data);
    }

    fn send_trailers(&mut self, trailers: HeaderMap) {
        self.slot.lock().trailers = Some(trailers);
    }

    fn finish(&mut self) {
        self.slot.lock().is_whole = true;
    }

    fn queued(&self) -> usize {
        self.slot.lock().data.as_ref().map_or(0, Bytes::len)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FrontError>> {
        // Once all of it is in the slot, the exchange has nothing left to do.
        self.poll_slot(|state| state.is_whole || state.has_room())
    }

    fn abort(&mut self) {
        self.slot.lock().is_whole = false;
    }

    fn close_after(&mut self) {
        // There is no connection.
    }

    fn switch(&mut self) {
        // No service asks for a tunnel.
    }

    fn takes_refusals(&self) -> bool {
        self.refusals == Refusals::Told
    }

    fn dropped_by(&self) -> (Party, Why) {
        (Party::Client, Why::Closed)
    }

    fn ended(&mut self, termination: Termination, detail: Option<&'static str>) {
        self.slot.lock().ended = Some(Ended {
            termination,
            detail,
        });
    }
}

impl<B> fmt::Debug for Local<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("is_whole", &self.is_whole)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
