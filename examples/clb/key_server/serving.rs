//! A key server in service, and its change by a new file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::access::{AccessList, Keys as Allowed};
use lb_keyserver::audit::{AuditConfig, AuditLog, CheckpointKey};
use lb_keyserver::server::{KeyServerConfig, ServerHandle, SessionConfig};
use lb_keyserver::store::KeyStore;
use lb_keyserver::{KeyServer as Server, MutualTls};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use super::keys::Keys;
use crate::admin::key_server::KeyServerSnapshot;
use crate::admin::snapshot::Reloads;
use crate::admin::{self, Asker, Questions};
use crate::config::{self, KeyServer};
use crate::process;
use crate::run::Failure;

/// A key server in service.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) config: KeyServer,
    pub(super) keys: Keys,
    pub(super) handle: ServerHandle,
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) address: SocketAddr,
    pub(super) started: f64,
    pub(super) reloads: Reloads,
    pub(super) draining: bool,
    questions: Questions<KeyServerSnapshot>,
    admin: Option<JoinHandle<()>>,
    /// Dropped, it tells the server to end.
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Serving {
    /// Listens, and serves.
    ///
    /// # Errors
    ///
    /// Says what is in the way.
    pub(super) async fn start(config: KeyServer, keys: Keys) -> Result<Self, Failure> {
        let audit = config.audit.as_ref().map(open_log).transpose();
        let audit = audit.map_err(Failure::Cannot)?.map(Arc::new);
        let access = access(&config).map_err(Failure::Cannot)?;
        let identity = identity(&config).map_err(Failure::Cannot)?;
        let mut server = Server::new(keys.clone(), access, settings(&config));
        if let Some(audit) = &audit {
            server = server.audit(Arc::clone(audit));
        }
        let bound = server.bind(config.listen, identity).await;
        let bound = bound.map_err(|error| cannot_listen("", config.listen, &error))?;
        let (address, handle) = (bound.local_addr()?, bound.handle());
        let (asker, questions) = Asker::new();
        let admin = match config.admin {
            None => None,
            Some(config::Admin { listen }) => {
                let bound = TcpListener::bind(listen).await;
                let bound = bound.map_err(|error| cannot_listen("admin: ", listen, &error))?;
                Some(tokio::spawn(admin::serve(bound, asker)))
            }
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(bound.run_until(async { drop(stopped.await) }));
        info!(%address, keys = keys.names().len(), rules = config.rules.len(), "listening");
        warn_of_absent(&config, &keys);
        Ok(Self {
            config,
            keys,
            handle,
            audit,
            address,
            started: process::date(),
            reloads: Reloads::default(),
            draining: false,
            questions,
            admin,
            stop: Some(stop),
            server,
        })
    }

    /// Goes over to `config`, whose keys have been read; who is no longer admitted is cut off.
    ///
    /// # Errors
    ///
    /// Says what is in the way; nothing has changed then.
    pub(super) fn change(&mut self, config: KeyServer) -> Result<(), String> {
        let made = access(&config).and_then(|access| Ok((access, identity(&config)?)));
        let (access, identity) = made.inspect_err(|_| self.refuse_reload())?;
        for key in restarts(&self.config, &config) {
            warn!(%key, "changes with a restart");
        }
        let mut closed = 0;
        if self.config.identity != config.identity || self.config.revoked_by != config.revoked_by {
            closed += self.handle.set_tls(identity);
        }
        closed += self.handle.set_access(access);
        if closed > 0 {
            warn!(
                closed,
                "connections were closed, as their nodes are no longer admitted"
            );
        }
        warn_of_absent(&config, &self.keys);
        self.config = config;
        self.reloads.applied += 1;
        Ok(())
    }

    /// Counts a file that could not be put to use.
    pub(super) const fn refuse_reload(&mut self) {
        self.reloads.refused += 1;
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How often changes of the keys are looked for.
    pub(super) const fn looks_every(&self) -> Duration {
        self.config.keys.every
    }

    /// Answers one question of the admin endpoint. Loses nothing when dropped before it resolves.
    pub(super) async fn answer(&mut self) {
        match self.questions.recv().await {
            // Whoever asked may have gone.
            Some(question) => drop(question.send(self.snapshot())),
            // Nobody can ask.
            None => std::future::pending().await,
        }
    }

    /// Takes no new question from here on; how long that may last.
    pub(super) fn drain(&mut self) -> Duration {
        self.draining = true;
        self.stop = None;
        self.config.drain_timeout
    }

    /// Resolves when all nodes are answered, or the time for it is over; answers the admin endpoint
    /// meanwhile. Loses nothing when dropped before it resolves.
    pub(super) async fn drained(&mut self) {
        loop {
            tokio::select! {
                // A panic has been told by its hook.
                _ = &mut self.server => return,
                Some(question) = self.questions.recv() => drop(question.send(self.snapshot())),
            }
        }
    }

    /// Ends, and writes the log to its end.
    pub(super) async fn close(self) {
        self.server.abort();
        if let Some(admin) = self.admin {
            admin.abort();
        }
        let Some(audit) = self.audit else {
            return;
        };
        match spawn_blocking(move || audit.close()).await {
            Ok(Ok(head)) => info!(%head, "the audit log is written"),
            Ok(Err(error)) => {
                let error = error.to_string();
                error!(error, "the audit log is not whole");
            }
            // A panic has been told by its hook.
            Err(_) => {}
        }
    }
}

fn cannot_listen(what: &str, at: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::Cannot(format!("{what}cannot listen at {at}: {error}"))
}

/// Who may sign what.
fn access(config: &KeyServer) -> Result<AccessList, String> {
    let list = AccessList::new(config.rules.iter().cloned());
    let list = list.map_err(|error| error.to_string())?;
    let revoked = config.revoked.iter().cloned();
    Ok(revoked.fold(list, AccessList::revoke))
}

/// Who this server is, and whose nodes it believes.
fn identity(config: &KeyServer) -> Result<MutualTls, String> {
    let identity = config.identity.made().clone();
    match &config.revoked_by {
        None => Ok(identity),
        Some(lists) => {
            let made = identity.revoked_by(lists.bytes());
            made.map_err(|error| format!("crl: {}", error.fault()))
        }
    }
}

/// What the library is told.
fn settings(from: &KeyServer) -> KeyServerConfig {
    let default = KeyServerConfig::default();
    let or = |said: Option<u32>, default| {
        said.map_or(default, |most| usize::try_from(most).unwrap_or(usize::MAX))
    };
    let limits = &from.limits;
    let in_flight = or(limits.in_flight, default.session.in_flight);
    let connections = or(limits.connections, default.connections);
    let of_each = or(
        limits.connections_per_node,
        default.connections_per_identity,
    );
    let queued = or(limits.queued, default.queued);
    default
        .modes(from.modes.clone())
        .session(SessionConfig::default().in_flight(in_flight))
        .connections(connections)
        .connections_per_identity(of_each)
        .queued(queued)
        .signers(from.signers.map_or(0, Into::into))
        .drain_timeout(from.drain_timeout)
}

fn open_log(from: &config::Audit) -> Result<AuditLog, String> {
    let told = |reason: &dyn std::fmt::Display| format!("audit: {}: {reason}", from.file.display());
    let mut config = AuditConfig::default().on_failure(from.on_failure);
    if let Some(most) = from.most {
        config = config.max_bytes(most);
    }
    if let Some(key) = &from.key {
        let key = CheckpointKey::read(key);
        config = config.checkpoint_key(key.map_err(|error| told(&error))?);
    }
    AuditLog::open(&from.file, config).map_err(|error| told(&error))
}

/// What only a restart changes, and is to change.
fn restarts(old: &KeyServer, new: &KeyServer) -> impl Iterator<Item = &'static str> {
    let changes = [
        ("listen", old.listen != new.listen),
        ("modes", old.modes != new.modes),
        ("admin", old.admin != new.admin),
        ("audit", old.audit != new.audit),
        ("limits", old.limits != new.limits),
        ("signers", old.signers != new.signers),
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key)
}

/// A rule may come before its key does; one that was mistyped stays without.
fn warn_of_absent(config: &KeyServer, keys: &Keys) {
    for (place, rule) in config.rules.iter().enumerate() {
        let Allowed::Only(named) = &rule.keys else {
            continue;
        };
        for ski in named.iter().filter(|ski| keys.key(ski).is_none()) {
            // As mistakes of the file name it.
            let rule = format_args!("allow[{place}]");
            warn!(%ski, %rule, "a rule names a key that is not here");
        }
    }
}
