//! Keeping connections to the servers: names, reconnects, back-offs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::client::{Fault, ServerId};

use super::address::Address;
use super::cause::Cause;
use super::connection::{Connection, Setting};
use super::dial::dial;
use super::lane::Lane;
use super::shared::{Gate, Phase, Shared};
use super::trial;

/// Runs a client until it is closed.
pub(super) async fn run(shared: Arc<Shared>, addresses: Vec<Address>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(trial::run(Arc::clone(&shared)));
    for address in addresses {
        tasks.spawn(keep_address(Arc::clone(&shared), address));
    }
    while tasks.join_next().await.is_some() {}
}

/// One server of an address, and the word that makes it leave.
#[derive(Debug)]
struct Kept {
    server: ServerId,
    gate: Arc<Gate>,
    leave: watch::Sender<bool>,
}

/// Keeps every server that an address leads to, until the client is closed.
async fn keep_address(shared: Arc<Shared>, address: Address) {
    let mut phase = shared.phase.subscribe();
    let mut kept: BTreeMap<SocketAddr, Kept> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let failed = Arc::new(Notify::new());
    let mut is_first = true;
    let mut is_resolved = true;
    loop {
        let found = resolve(&address, &mut is_resolved).await;
        if found.is_empty() {
            shared.servers().handle_unresolved();
        } else {
            kept.retain(|address, kept| found.contains(address) || kept.leave(&shared));
            for found in found {
                kept.entry(found)
                    .or_insert_with(|| keep(&shared, &address, found, &failed, &mut tasks));
            }
        }
        if std::mem::take(&mut is_first) {
            shared.handle_first(kept.is_empty().then_some(Fault::Resolve));
        }
        let closed = phase.wait_for(|phase| *phase == Phase::Closed);
        tokio::select! {
            _ = closed => break,
            () = next_look(&shared, &address, &failed) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    for kept in kept.values() {
        kept.gate.lanes.close();
        kept.leave.send_replace(true);
    }
    while tasks.join_next().await.is_some() {}
}

/// Ends when the name is to be resolved again: in a while, or as a connection has failed.
async fn next_look(shared: &Shared, address: &Address, failed: &Notify) {
    if address.ip.is_some() {
        return std::future::pending().await;
    }
    let every = shared.config.connections.resolve_every;
    tokio::time::sleep(RESOLVE_APART.min(every)).await;
    drop(tokio::time::timeout(every.saturating_sub(RESOLVE_APART), failed.notified()).await);
}

/// Starts to keep connections to one server.
fn keep(
    shared: &Arc<Shared>,
    address: &Address,
    found: SocketAddr,
    failed: &Arc<Notify>,
    tasks: &mut JoinSet<()>,
) -> Kept {
    let gate = Arc::new(Gate {
        address: found,
        name: address.name.clone(),
        lanes: super::lane::Lanes::default(),
    });
    let server = shared.servers().add(Arc::clone(&gate));
    let connections = shared.config.connections.per_server;
    shared.handle_awaited(connections.into());
    let leave = watch::Sender::new(false);
    for _ in 0..connections {
        let keeper = Keeper {
            setting: Setting {
                shared: Arc::clone(shared),
                server,
            },
            gate: Arc::clone(&gate),
            failed: Arc::clone(failed),
        };
        let mut left = leave.subscribe();
        tasks.spawn(async move { keeper.run(&mut left).await });
    }
    Kept {
        server,
        gate,
        leave,
    }
}

impl Kept {
    /// The name leads here no more: what is under way is finished. Answers `false`, for `retain`.
    fn leave(&self, shared: &Shared) -> bool {
        tracing::info!(server = %self.gate.label(), "the name leads to this key server no more");
        shared.note(|_, servers| servers.remove(self.server));
        self.gate.lanes.close();
        self.leave.send_replace(true);
        false
    }
}

/// Keeps one connection.
struct Keeper {
    setting: Setting,
    gate: Arc<Gate>,
    failed: Arc<Notify>,
}

impl Keeper {
    async fn run(self, left: &mut watch::Receiver<bool>) {
        let shared = &self.setting.shared;
        let config = shared.config.connections;
        let mut is_first = true;
        let mut back_off = config.back_off;
        loop {
            let connected = tokio::select! {
                _ = left.wait_for(|left| *left) => return,
                connected = tokio::time::timeout(config.timeout, self.connect()) => connected,
            };
            match connected.unwrap_or_else(|_| Err(Fault::Timeout.into())) {
                Ok(connection) => {
                    let began = shared.clock.now();
                    if self.serve(connection, &mut is_first).await {
                        return;
                    }
                    // A server that lets everybody in and hangs up is as bad as one that is down.
                    if shared.clock.now().since(began) >= config.max_back_off {
                        back_off = config.back_off;
                    }
                }
                Err(cause) => {
                    let (server, fault) = (self.setting.server, cause.fault);
                    shared.note(|now, servers| servers.handle_fault(now, server, fault));
                    shared.handle_reason(server, &self.gate, &cause.to_string());
                    self.settle(&mut is_first, Some(fault));
                    tracing::debug!(server = %self.gate.address, %cause, "no connection");
                }
            }
            self.failed.notify_one();
            let chance = shared.servers().chance();
            let wait = back_off.mul_f64(1.0 - chance / 2.0);
            back_off = (back_off * 2).min(config.max_back_off.max(config.back_off));
            tokio::select! {
                _ = left.wait_for(|left| *left) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn settle(&self, is_first: &mut bool, fault: Option<Fault>) {
        if std::mem::take(is_first) {
            self.setting.shared.handle_first(fault);
        }
    }

    async fn connect(&self) -> Result<Live, Cause> {
        let stream = dial(&self.setting.shared, &self.gate).await?;
        let mut connection = Connection::new(self.setting.clone(), stream);
        match connection.greet().await {
            Ok(()) => Ok(connection),
            Err(fault) => Err(Cause::of_greeting(fault, connection.error())),
        }
    }

    /// Lets questions in until the connection ends; whether it was to end.
    async fn serve(&self, mut connection: Live, is_first: &mut bool) -> bool {
        let open = Open::new(self, connection.lane());
        // Only now: who waits for the first attempts to end must not find nobody to ask.
        self.settle(is_first, None);
        tracing::debug!(server = %self.gate.address, "connected");
        let ended = connection.run().await;
        let waiters = connection.end();
        let lost = u32::try_from(waiters.len()).unwrap_or(u32::MAX);
        let cause = ended
            .err()
            .map(|fault| Cause::new(fault, connection.error()));
        open.end(lost, cause.as_ref());
        // Only now: those who are told of their loss ask again, and not here.
        drop(waiters);
        if let Some(cause) = cause {
            tracing::debug!(server = %self.gate.address, %cause, lost, "disconnected");
        }
        ended.is_ok()
    }
}

type Live = Connection<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// A connection that is in the book; out of it when dropped.
struct Open<'a> {
    keeper: &'a Keeper,
    lane: Arc<Lane>,
    lost: u32,
}

impl<'a> Open<'a> {
    fn new(keeper: &'a Keeper, lane: Arc<Lane>) -> Self {
        let Setting { shared, server } = &keeper.setting;
        keeper.gate.lanes.add(Arc::clone(&lane));
        shared.note(|_, servers| servers.handle_connected(*server));
        shared.settled.notify_waiters();
        Self {
            keeper,
            lane,
            lost: 0,
        }
    }

    fn end(mut self, lost: u32, cause: Option<&Cause>) {
        self.lost = lost;
        let Setting { shared, server } = &self.keeper.setting;
        if let Some(cause) = cause {
            shared.note(|now, servers| {
                // Told as the server is down, if this was the last connection to it.
                servers.handle_reason(*server, &cause.to_string());
                servers.handle_fault(now, *server, cause.fault);
            });
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Setting { shared, server } = &self.keeper.setting;
        self.keeper.gate.lanes.remove(&self.lane);
        shared.note(|now, servers| servers.handle_disconnected(now, *server, self.lost));
    }
}

/// The addresses of the host; none when it cannot be resolved, which is told once while it lasts.
async fn resolve(address: &Address, is_resolved: &mut bool) -> Vec<SocketAddr> {
    if let Some(ip) = address.ip {
        return vec![SocketAddr::new(ip, address.port)];
    }
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let why = found.as_ref().err().map(ToString::to_string);
    let mut found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
    if std::mem::replace(is_resolved, !found.is_empty()) && found.is_empty() {
        let why = why.unwrap_or_else(|| "it has no address".to_owned());
        tracing::warn!(host = %address.host, %why, "the name of the key server has no address");
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_SERVERS);
    found
}

/// The least time between two looks at a name.
const RESOLVE_APART: Duration = Duration::from_secs(1);
/// Servers of one name that are used; a name with more has no business among key servers.
const MOST_SERVERS: usize = 64;
