//! A connection of HTTP/2, and the task that moves its frames.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use lbcore::Instant;
use tokio::sync::watch;

use crate::clock;
use crate::upstream::config::UpstreamConfig;
use crate::upstream::connection::{ConnectionPlace, Held, Route, State};
use crate::upstream::lock;
use crate::upstream::stats::CloseReason;
use crate::upstream::stream::BackendStream;

/// What everybody who may begin a stream shares of a connection.
pub(in crate::upstream) struct Http2 {
    /// `None` once no further stream may begin; the connection ends with its last stream.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    pub(in crate::upstream) route: Route,
    state: Arc<State>,
    /// Streams at once that we allow; the backend may allow fewer.
    most: u32,
    /// Streams, one after the other, that it may carry.
    requests: u32,
    active: AtomicU32,
    begun: AtomicU32,
    opened: Instant,
    idle_since: AtomicU64,
    ending: Arc<Ending>,
    /// Whether the backend's settings have come.
    settled: watch::Receiver<bool>,
    /// How long they are waited for.
    patience: Duration,
    is_encrypted: bool,
}

/// Why a connection was given up, told to the task that sees it end.
#[derive(Debug)]
struct Ending(AtomicUsize);

impl Ending {
    fn set(&self, reason: CloseReason) {
        let unset = CloseReason::ALL.len();
        let _ = self
            .0
            .compare_exchange(unset, reason as usize, SeqCst, SeqCst);
    }

    fn reason(&self) -> Option<CloseReason> {
        CloseReason::ALL.get(self.0.load(SeqCst)).copied()
    }
}

/// Begins to speak HTTP/2 on `stream`, in a task of its own that ends with the connection.
pub(in crate::upstream) async fn start(
    config: &UpstreamConfig,
    stream: BackendStream,
    route: Route,
    mut place: ConnectionPlace,
    is_encrypted: bool,
) -> Result<Arc<Http2>, h2::Error> {
    let (sender, connection) = builder(config).handshake(stream).await?;
    let state = Arc::clone(place.state());
    place.connected();
    let ending = Arc::new(Ending(AtomicUsize::new(CloseReason::ALL.len())));
    let (settled, is_settled) = watch::channel(false);
    tokio::spawn(drive(
        connection,
        config.http2_ping,
        settled,
        Arc::clone(&ending),
        place,
    ));
    let now = clock::now();
    Ok(Arc::new(Http2 {
        sender: Mutex::new(Some(sender)),
        route,
        state,
        most: config.streams,
        requests: config.requests,
        active: AtomicU32::new(0),
        begun: AtomicU32::new(0),
        opened: now,
        idle_since: AtomicU64::new(now.as_nanos()),
        ending,
        settled: is_settled,
        patience: config.connect_timeout,
        is_encrypted,
    }))
}

fn builder(config: &UpstreamConfig) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(usize::try_from(config.streams).unwrap_or(usize::MAX))
        .max_header_list_size(HEAD)
        .max_send_buffer_size(STREAM_WINDOW as usize);
    builder
}

impl Http2 {
    /// A stream; else why none may ever begin, or nothing if as many are under way as may be.
    pub(in crate::upstream) fn enter(self: &Arc<Self>) -> Result<StreamPlace, Option<CloseReason>> {
        let sender = lock(&self.sender).clone();
        let mut sender = sender.ok_or(Some(CloseReason::GoAway))?;
        if !is_open(&mut sender) {
            return Err(Some(CloseReason::GoAway));
        }
        let theirs = u32::try_from(sender.current_max_send_streams()).unwrap_or(u32::MAX);
        raise(&self.active, self.most.min(theirs)).ok_or(None)?;
        if raise(&self.begun, self.requests).is_none() {
            self.active.fetch_sub(1, SeqCst);
            return Err(Some(CloseReason::Requests));
        }
        Ok(StreamPlace {
            connection: Arc::clone(self),
            sender,
        })
    }

    /// A stream for whoever waits; not on a connection that speaks for one client.
    pub(in crate::upstream) fn offer(
        self: &Arc<Self>,
        config: &UpstreamConfig,
        now: Instant,
    ) -> Option<StreamPlace> {
        if self.route.proxied.is_some() || self.spent(config, now).is_some() {
            return None;
        }
        self.enter().ok()
    }

    /// Gives streams to those who wait, as long as there are any of both.
    pub(in crate::upstream) fn serve_waiting(self: &Arc<Self>) {
        while self.route.proxied.is_none() && self.state.gate.waiting() > 0 {
            let Ok(place) = self.enter() else { return };
            if self.state.gate.hand_over(Held::Stream(place)).is_err() {
                return;
            }
        }
    }

    /// Streams under way.
    pub(in crate::upstream) fn active(&self) -> u32 {
        self.active.load(SeqCst)
    }

    /// Lets no further stream begin; the connection is closed when the last has ended.
    pub(in crate::upstream) fn retire(&self, reason: CloseReason) {
        if lock(&self.sender).take().is_some() {
            self.ending.set(reason);
        }
    }

    /// Retires it if it is too old, has carried enough, or is closing; whether no stream may begin.
    pub(in crate::upstream) fn retire_if_spent(
        &self,
        config: &UpstreamConfig,
        now: Instant,
    ) -> bool {
        if let Some(reason) = self.spent(config, now) {
            self.retire(reason);
        }
        lock(&self.sender).is_none()
    }

    /// Retires it if it has had no stream for too long; whether it did.
    pub(in crate::upstream) fn retire_if_idle(
        &self,
        config: &UpstreamConfig,
        now: Instant,
    ) -> bool {
        let since = Instant::from_nanos(self.idle_since.load(Relaxed));
        let is_idle = self.active() == 0 && now.since(since) >= config.idle_time;
        if is_idle {
            self.retire(CloseReason::Idle);
        }
        is_idle
    }

    /// Whether it has got older than it may.
    pub(in crate::upstream) fn is_old(&self, config: &UpstreamConfig, now: Instant) -> bool {
        now.since(self.opened) >= config.age
    }

    fn spent(&self, config: &UpstreamConfig, now: Instant) -> Option<CloseReason> {
        if self.begun.load(SeqCst) >= self.requests {
            return Some(CloseReason::Requests);
        }
        if self.is_old(config, now) {
            return Some(CloseReason::Age);
        }
        let mut sender = lock(&self.sender).clone()?;
        (!is_open(&mut sender)).then_some(CloseReason::GoAway)
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }
}

/// One more, unless there are as many as may be.
fn raise(count: &AtomicU32, most: u32) -> Option<u32> {
    let more = |count| (count < most).then_some(count + 1);
    count.fetch_update(SeqCst, SeqCst, more).ok()
}

/// Whether the connection takes streams; `false` after a GOAWAY and after its end.
fn is_open(sender: &mut SendRequest<Bytes>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    !matches!(sender.poll_ready(&mut context), Poll::Ready(Err(_)))
}

/// The right to one stream of a connection.
pub(in crate::upstream) struct StreamPlace {
    connection: Arc<Http2>,
    sender: SendRequest<Bytes>,
}

impl StreamPlace {
    pub(in crate::upstream) fn connection(&self) -> &Http2 {
        &self.connection
    }

    pub(super) const fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }

    /// Waits until the backend's settings have come, or the connection has ended, or as long as it
    /// might have taken to connect.
    pub(super) async fn settled(&self) {
        let mut settled = self.connection.settled.clone();
        let settling = settled.wait_for(|settled| *settled);
        let _ = tokio::time::timeout(self.connection.patience, settling).await;
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let connection = &self.connection;
        if connection.active.fetch_sub(1, SeqCst) == 1 {
            let now = clock::now().as_nanos();
            connection.idle_since.store(now, Relaxed);
            if connection.route.proxied.is_some() && connection.state.gate.waiting() > 0 {
                connection.retire(CloseReason::Reclaimed);
            }
        }
        connection.serve_waiting();
    }
}

/// Moves the frames of a connection until it ends, and holds its place as long.
async fn drive(
    mut connection: Connection<BackendStream, Bytes>,
    ping: Option<Duration>,
    settled: watch::Sender<bool>,
    ending: Arc<Ending>,
    mut place: ConnectionPlace,
) {
    let mut pings = connection.ping_pong();
    // The answer to a first ping comes behind the settings, which h2 does not show otherwise.
    let mut is_waiting = pings.as_mut().is_some_and(send_ping);
    let mut deadline = ping.map(|silence| tokio::time::Instant::now() + silence);
    let reason = loop {
        tokio::select! {
            result = &mut connection => break close_reason(&result),
            answer = pong(&mut pings), if is_waiting => {
                is_waiting = false;
                if answer.is_ok() {
                    settled.send_replace(true);
                }
            }
            () = until(deadline), if deadline.is_some() => {
                if is_waiting {
                    break CloseReason::KeepAlive;
                }
                is_waiting = pings.as_mut().is_some_and(send_ping);
                deadline = ping.map(|silence| tokio::time::Instant::now() + silence);
            }
        }
    };
    place.closing(ending.reason().unwrap_or(reason));
}

fn send_ping(pings: &mut PingPong) -> bool {
    pings.send_ping(Ping::opaque()).is_ok()
}

async fn pong(pings: &mut Option<PingPong>) -> Result<(), h2::Error> {
    match pings {
        Some(pings) => poll_fn(|cx| pings.poll_pong(cx)).await.map(drop),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn close_reason(result: &Result<(), h2::Error>) -> CloseReason {
    match result {
        Ok(()) => CloseReason::BackendClosed,
        Err(error) if error.is_go_away() && error.is_remote() => CloseReason::GoAway,
        Err(_) => CloseReason::Broken,
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("route", &self.route)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamPlace")
            .field(&self.connection)
            .finish()
    }
}

/// What a backend may send on one stream ahead of its reader, in bytes: Envoy's advice for an edge.
pub(super) const STREAM_WINDOW: u32 = 64 * 1024;

/// What a backend may send on all streams ahead of their readers.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of the fields of a response, as in HTTP/1.
const HEAD: u32 = 64 * 1024;
