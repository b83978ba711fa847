//! What the handles of a client and its tasks have in common.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use lbcore::Instant;
use rustls::pki_types::ServerName;
use tokio::sync::{Notify, watch};

use crate::client::{Fault, KeyClientConfig, ServerId, Servers, Tidings, Turn, Waiting, WholeTurn};
use crate::mutual_tls::MutualTls;
use crate::sign::{SignError, SignRequest};

use super::clock::Clock;
use super::lane::Lanes;
use super::lock;

/// How one server is reached.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    pub(super) lanes: Lanes,
}

impl Gate {
    /// Its name in statistics: the address, and the name of its certificate where that is another.
    pub(super) fn label(&self) -> String {
        match &self.name {
            ServerName::DnsName(name) => format!("{} ({})", self.address, name.as_ref()),
            _ => self.address.to_string(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: KeyClientConfig,
    pub(super) clock: Clock,
    pub(super) identity: ArcSwap<MutualTls>,
    servers: Mutex<Servers<Arc<Gate>>>,
    /// The last request that was signed, or lied about: what a trial asks for again. Nothing is
    /// signed then that was not asked for before.
    canary: Mutex<Option<SignRequest>>,
    signed: AtomicU32,
    waiting: AtomicU32,
    /// Somebody stopped waiting.
    pub(super) idle: Notify,
    /// A trial may be due earlier than it was.
    pub(super) trials: Notify,
    /// A server was connected to, or was not.
    pub(super) settled: Notify,
    /// What became of the first attempts to connect.
    pub(super) first: Mutex<First>,
    pub(super) phase: watch::Sender<Phase>,
}

/// Where a client is in its life.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Phase {
    Open,
    /// Takes no new request.
    Draining,
    /// Its tasks end.
    Closed,
}

/// What became of the first attempt to reach each address.
#[derive(Debug, Default)]
pub(super) struct First {
    /// Addresses and servers of which nothing is known yet.
    pub(super) awaited: usize,
    pub(super) fault: Option<Fault>,
}

/// How many signatures lie between two that are remembered for a trial.
const REMEMBERED: u32 = 64;

impl Shared {
    pub(super) fn new(config: KeyClientConfig, identity: MutualTls, seed: u64) -> Self {
        Self {
            config,
            clock: Clock::starting_now(),
            identity: ArcSwap::from_pointee(identity),
            servers: Mutex::new(Servers::new(&config, seed)),
            canary: Mutex::default(),
            signed: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            idle: Notify::new(),
            trials: Notify::new(),
            settled: Notify::new(),
            first: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
        }
    }

    /// The book of servers. Nothing is awaited while it is held.
    pub(super) fn servers(&self) -> MutexGuard<'_, Servers<Arc<Gate>>> {
        lock(&self.servers)
    }

    /// Notes in the book what happened, and sees to the trials that follow from it.
    pub(super) fn note(&self, note: impl FnOnce(Instant, &mut Servers<Arc<Gate>>)) {
        let now = self.clock.now();
        let (is_moved, tidings) = {
            let mut servers = self.servers();
            note(now, &mut servers);
            (servers.take_moved(), servers.take_tidings())
        };
        if let Some(tidings) = tidings {
            self.tell(tidings);
        }
        if is_moved {
            self.trials.notify_one();
        }
    }

    /// Tells of servers that are up or down since the last time. That connections end as the client
    /// is closed is no news.
    fn tell(&self, tidings: Tidings<Arc<Gate>>) {
        if *self.phase.borrow() == Phase::Closed {
            return;
        }
        for (gate, turn) in tidings.turns {
            let server = gate.label();
            match turn {
                Turn::Up => tracing::info!(%server, "key server up"),
                Turn::Down(why) => tracing::warn!(%server, %why, "key server down"),
            }
        }
        tell_whole(tidings.whole);
    }

    /// Tells why a connection failed, unless that is known.
    pub(super) fn handle_reason(&self, server: ServerId, gate: &Gate, why: &str) {
        let is_new = self.servers().handle_reason(server, why);
        if is_new && *self.phase.borrow() != Phase::Closed {
            tracing::warn!(server = %gate.label(), %why, "no connection to the key server");
        }
    }

    /// Lets one more request in, until what is returned is dropped.
    pub(super) fn enter(&self) -> Result<Place<'_>, SignError> {
        if *self.phase.borrow() != Phase::Open {
            return Err(SignError::ShutDown);
        }
        let Waiting(most) = self.config.waiting;
        let room = |waiting| (waiting < most).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Relaxed, Relaxed, room);
        entered.map(|_| Place(self)).map_err(|_| SignError::Busy)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// A request was signed: every now and then one is remembered.
    pub(super) fn handle_signed(&self, request: &SignRequest) {
        if self.signed.fetch_add(1, Relaxed).is_multiple_of(REMEMBERED) {
            self.remember(request);
        }
    }

    pub(super) fn remember(&self, request: &SignRequest) {
        *lock(&self.canary) = Some(request.clone());
    }

    /// A request was lied about: it is remembered if none is.
    pub(super) fn remember_first(&self, request: &SignRequest) {
        lock(&self.canary).get_or_insert_with(|| request.clone());
    }

    pub(super) fn canary(&self) -> Option<SignRequest> {
        lock(&self.canary).clone()
    }

    pub(super) fn forget_canary(&self) {
        *lock(&self.canary) = None;
    }

    /// One of the awaited first attempts has ended.
    pub(super) fn handle_first(&self, fault: Option<Fault>) {
        let mut first = lock(&self.first);
        first.awaited = first.awaited.saturating_sub(1);
        first.fault = fault.or(first.fault);
        let all_tried = first.awaited == 0;
        drop(first);
        if all_tried {
            let told = self.servers().handle_tried();
            tell_whole(told);
        }
        self.settled.notify_waiters();
    }

    pub(super) fn handle_awaited(&self, more: usize) {
        lock(&self.first).awaited += more;
    }
}

fn tell_whole(turn: Option<WholeTurn>) {
    match turn {
        Some(WholeTurn::NoneLeft) => {
            tracing::error!("no key server can be asked: handshakes that need one fail");
        }
        Some(WholeTurn::Back) => tracing::info!("a key server can be asked again"),
        None => {}
    }
}

/// The place of one who waits.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Shared);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Relaxed) == 1 && *self.0.phase.borrow() != Phase::Open {
            self.0.idle.notify_waiters();
        }
    }
}
