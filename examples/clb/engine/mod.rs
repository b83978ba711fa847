//! All that is in service: pools, listeners and the admin endpoint, and their change by a new file.

mod events;
mod http;
#[cfg(test)]
mod http_tests;
mod listeners;
mod packets;
mod picture;
mod pools;
mod prepare;
mod probes;
mod remote_keys;
#[cfg(test)]
mod remote_keys_tests;
mod scheduler;
mod settings;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::BTreeMap;
use std::time::Duration;

use lb_l4::Clock;
use lb_l7::cookie::KeyRing;
use lbcore::BackendId;
use lbcore::backend::Address;
use lbcore::budget::{Budget, BudgetConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::admin::snapshot::{self, Reloads};
use crate::admin::{self, Asker};
use crate::config::{self, Config};
use crate::process;
use crate::reload::{ListenerChange, PoolChange, changes};
use listeners::{Bound, Running};
use packets::Packets;
use pools::{Pool, Served, Way};
use probes::Places;
use remote_keys::{Elsewhere, RemoteKeys};
use settings::Shared;
pub(crate) use workers::Workers;

/// All that is in service. One task owns it; nothing in it is locked.
#[derive(Debug)]
pub(crate) struct Engine {
    clock: Clock,
    workers: Workers,
    asker: Asker,
    /// What is in service now.
    config: Config,
    pools: BTreeMap<String, Served>,
    /// What the probes of all pools share.
    places: Places,
    /// In service, or draining; a name may stand here more than once then.
    listeners: Vec<Running>,
    /// What listeners did that have ended, by name.
    past: BTreeMap<String, snapshot::Listener>,
    /// Whose packets are forwarded without sockets, if anybody's are.
    packets: Option<Packets>,
    admin: Option<JoinHandle<()>>,
    /// What the whole process may use, shared by all listeners.
    budget: Budget,
    /// What signs cookies where the file names no key.
    keys: KeyRing,
    /// Who signs with keys that are not here.
    remote_keys: RemoteKeys,
    started: f64,
    reloads: Reloads,
    draining: bool,
}

impl Engine {
    /// Serves all that `config` says.
    ///
    /// # Errors
    ///
    /// Says which listener could not be bound; nothing is served then.
    pub(crate) async fn start(
        config: Config,
        workers: Workers,
        asker: Asker,
    ) -> Result<Self, String> {
        let nothing = Config {
            workers: config.workers,
            admin: None,
            budget: config.budget,
            key_server: None,
            packet: None,
            pools: Vec::new(),
            listeners: Vec::new(),
        };
        let budget = BudgetConfig::default()
            .bytes(config.budget.bytes)
            .descriptors(config.budget.descriptors)
            .sessions(config.budget.sessions);
        let mut engine = Self {
            budget: Budget::new(budget),
            keys: http::own_keys(),
            remote_keys: RemoteKeys::default(),
            clock: Clock::monotonic(),
            workers,
            asker,
            config: nothing,
            pools: BTreeMap::new(),
            places: Places::default(),
            listeners: Vec::new(),
            past: BTreeMap::new(),
            packets: None,
            admin: None,
            started: process::date(),
            reloads: Reloads::default(),
            draining: false,
        };
        engine.change(config).await?;
        Ok(engine)
    }

    /// Goes over to `config`; what it does not change keeps its sessions.
    ///
    /// # Errors
    ///
    /// Says what is in the way; nothing has changed then.
    pub(crate) async fn reload(&mut self, config: Config) -> Result<(), String> {
        let result = self.change(config).await;
        match result {
            Ok(()) => {
                self.reloads.applied += 1;
                self.reopen_logs();
            }
            Err(_) => self.refuse_reload(),
        }
        result
    }

    /// Counts a file that could not be put to use.
    pub(crate) const fn refuse_reload(&mut self) {
        self.reloads.refused += 1;
    }

    /// Does what is due: to be called every minute or so.
    pub(crate) fn handle_timeout(&mut self) {
        let now = self.clock.now();
        if let Some(packets) = &mut self.packets {
            packets.handle_timeout(now);
        }
        for listener in &self.listeners {
            listener.handle_timeout(now, &|pool, id| name_of(&self.pools, pool, id));
        }
    }

    /// Resolves when something is due before the minute is over.
    pub(crate) async fn due(&self) {
        let next = self
            .packets
            .as_ref()
            .and_then(|packets| packets.next(self.clock));
        match next {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    }

    /// Opens the files of access logs anew: whoever puts logs away sends a SIGHUP behind it.
    fn reopen_logs(&self) {
        for listener in &self.listeners {
            listener.reopen_log();
        }
    }

    /// Waits until every access log is written.
    pub(crate) fn flush_logs(&self) {
        for listener in &self.listeners {
            listener.flush_log();
        }
    }

    /// Takes no new session from here on.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        for listener in &mut self.listeners {
            listener.drain();
        }
        if let Some(packets) = &mut self.packets {
            packets.drain();
        }
    }

    /// Resolves when no worker of any listener is left.
    pub(crate) async fn drained(&self) {
        if let Some(packets) = &self.packets {
            packets.over().await;
        }
        for listener in &self.listeners {
            listener.over().await;
        }
    }

    /// The longest that the file lets a drain last.
    pub(crate) fn drain_timeout(&self) -> Duration {
        let spans = self
            .listeners
            .iter()
            .map(|listener| listener.config.drain_timeout);
        let forwarded = self.config.forwarded();
        let spans = spans.chain(forwarded.map(|listener| listener.drain_timeout));
        spans.max().unwrap_or_default()
    }

    /// The longest that a drain may last, a moment for its own work included.
    pub(crate) fn drain_most(&self) -> Duration {
        self.drain_timeout() + DRAIN_MARGIN
    }

    /// Where the listener of this name listens.
    pub(crate) fn address(&self, name: &str) -> Option<&Address> {
        let mut serving = self
            .listeners
            .iter()
            .filter(|listener| !listener.is_draining());
        let listener = serving.find(|listener| listener.config.name == name);
        listener.map(|listener| &listener.address)
    }

    async fn change(&mut self, config: Config) -> Result<(), String> {
        let changes = changes(&self.config, &config);
        let prepared = self.prepare(&changes, &config).await?;
        for key in &changes.restart {
            warn!(%key, "changes with a restart");
        }
        self.remote_keys.change(&config, prepared.key_client);
        self.change_pools(changes.pools, prepared.pools, prepared.ways);
        self.change_listeners(changes.listeners, prepared.listeners, &config);
        if let Some(prepared) = prepared.packets {
            let changed = Packets::change(self.packets.take(), prepared, self.clock)?;
            self.packets = Some(changed);
        }
        if changes.admin {
            self.change_admin(prepared.admin);
        }
        self.config = config;
        Ok(())
    }

    fn change_pools(
        &mut self,
        changes: Vec<PoolChange>,
        fresh: BTreeMap<String, Served>,
        mut ways: BTreeMap<String, Way>,
    ) {
        let now = self.clock.now();
        self.pools.extend(fresh);
        for change in changes {
            match change {
                PoolChange::Add(_) => {}
                PoolChange::Rebuild(pool) => {
                    info!(pool = %pool.name, why = "scheduler", "rebuilt");
                }
                PoolChange::Remove(name) => drop(self.pools.remove(&name)),
                PoolChange::Update { pool, deltas, .. } => {
                    let Some(served) = self.pools.get_mut(&pool.name) else {
                        continue;
                    };
                    if let Err(error) = served.update(now, &pool, deltas) {
                        error!(pool = %pool.name, error, "not changed");
                    }
                    if let Some(way) = ways.remove(&pool.name) {
                        served.take(pool.upstream, way);
                    }
                }
            }
        }
    }

    fn change_listeners(
        &mut self,
        changes: Vec<ListenerChange>,
        bound: Vec<Bound>,
        config: &Config,
    ) {
        let elsewhere = self.remote_keys.elsewhere(config);
        let mut fresh: Vec<Running> = Vec::with_capacity(bound.len());
        for bound in bound {
            let running = bound.start(&self.workers);
            let (name, protocol) = (&running.config.name, running.config.protocol.name());
            info!(listener = %name, %protocol, address = %running.address, "listening");
            fresh.push(running);
        }
        for change in changes {
            match change {
                ListenerChange::Add(_) => {}
                ListenerChange::Move(listener) => self.drain_one(&listener.name),
                ListenerChange::Remove(name) => self.drain_one(&name),
                ListenerChange::Update(listener) => {
                    self.update_one(&listener, elsewhere.as_ref());
                }
            }
        }
        self.listeners.extend(fresh);
    }

    fn drain_one(&mut self, name: &str) {
        for listener in &mut self.listeners {
            if listener.config.name == name && !listener.is_draining() {
                info!(listener = %name, address = %listener.address, "draining");
                listener.drain();
            }
        }
    }

    fn update_one(&mut self, config: &config::Listener, elsewhere: Option<&Elsewhere>) {
        let workers = self.workers.count();
        let found = |name: &str| pool(&self.pools, name);
        let upstreams = |name: &str| self.pools.get(name)?.way(workers).ok();
        let shared = Shared {
            pools: &found,
            upstreams: &upstreams,
            budget: &self.budget,
            keys: &self.keys,
            elsewhere,
        };
        for listener in &mut self.listeners {
            if listener.config.name == config.name && !listener.is_draining() {
                match listener.update(config, &shared) {
                    Ok(()) => info!(listener = %config.name, "changed"),
                    Err(error) => error!(listener = %config.name, error, "not changed"),
                }
            }
        }
    }

    fn change_admin(&mut self, bound: Option<TcpListener>) {
        if let Some(old) = self.admin.take() {
            old.abort();
        }
        self.admin = bound.map(|listener| tokio::spawn(admin::serve(listener, self.asker.clone())));
    }

    /// Keeps the figures of listeners that have ended, and lets the rest of them go.
    fn reap(&mut self) {
        let (over, rest) = self.listeners.drain(..).partition(Running::is_over);
        self.listeners = rest;
        let over: Vec<Running> = over;
        for listener in over {
            let figures = listener.figures(&|pool, id| name_of(&self.pools, pool, id));
            let past = self.past.entry(figures.name.clone());
            past.or_insert_with(|| snapshot::Listener::of_past(&figures))
                .add(&figures);
        }
    }
}

/// The name of a backend, if its pool still has it.
fn name_of(pools: &BTreeMap<String, Served>, pool: &str, id: BackendId) -> Option<String> {
    let view = pools.get(pool)?.pool.view();
    view.backend(id)
        .map(|status| status.backend.name.to_string())
}

fn pool(pools: &BTreeMap<String, Served>, name: &str) -> Option<Pool> {
    pools.get(name).map(|served| served.pool.clone())
}

/// Workers notice the end of their drain a little late.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);
