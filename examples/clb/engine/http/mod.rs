//! Listeners of http in service: bound, changed while they run, and counted.

mod entrance;
mod figures;
mod settings;
mod tls;

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;

use lb_l7::access_log::{self, AccessLog};
use lb_l7::cookie::KeyRing;
use lb_l7::server::{BindError, Raw, ServerHandle};
use lb_l7::{HttpProxy, HttpServer, HttpService};
use lbcore::Instant;
use lbcore::backend::Address;
use lbcore::connect::Accept;
use lbcore::hash::HashKey;

use super::listeners::Names;
use super::remote_keys::Elsewhere;
use super::settings::{Shared, told};
use super::workers::Job;
use crate::config::{self, Http, Listener, LogTarget, Target};
use entrance::Entrance;
use tls::Ring;

/// What watches and changes a listener of http while it runs.
#[derive(Debug)]
pub(super) struct Serving {
    proxy: HttpProxy,
    server: ServerHandle,
    log: Option<Log>,
    tls: Option<Secured>,
}

/// The TLS of a listener of https.
#[derive(Debug)]
struct Secured {
    entrance: Arc<Entrance>,
    ring: Ring,
}

/// An access log, and what the file says of it.
#[derive(Clone, Debug)]
struct Log {
    config: config::AccessLog,
    log: Arc<AccessLog>,
}

/// A worker that runs until what it is given resolves.
pub(super) type Work = Box<dyn FnOnce(Job) -> Job + Send>;

/// Binds the sockets of `config`, one for each worker.
///
/// # Errors
///
/// Says why not; nothing has changed then.
pub(super) async fn bind(
    config: &Listener,
    shared: &Shared<'_>,
    workers: usize,
    is_ours: bool,
) -> Result<(Serving, Option<Address>, Vec<Work>), String> {
    let http = http_of(config)?;
    let log = http.access_log.as_ref().map(|log| Log::open(config, log));
    let log = log.transpose()?;
    let settings = settings::settings(config, http, shared, log.as_ref())?;
    let proxy = HttpProxy::with_workers(settings, workers);
    let mut service = HttpService::new(config.listen.clone(), proxy.clone())
        .workers(workers)
        .config(settings::server(config)?);
    if is_ours {
        service = service.share_port();
    }
    let secured = match &http.tls {
        Some(from) => {
            let speaks_http2 = http.http2.is_some();
            let made = tls::made(from, speaks_http2, &Ring::default());
            let (tls, ring) = made.map_err(|e| told(config, &e))?;
            let entrance = Arc::new(Entrance::new(tls, elsewhere(from, shared)));
            Some(Secured { entrance, ring })
        }
        None => None,
    };
    let bound = match &secured {
        None => served(service.bind().await),
        Some(tls) => {
            served::<Arc<Entrance>>(service.accept(Arc::clone(&tls.entrance)).bind().await)
        }
    };
    let (server, address, work) = bound.map_err(|e| told(config, &e))?;
    let serving = Serving {
        proxy,
        server,
        log,
        tls: secured,
    };
    Ok((serving, address, work))
}

/// What is left of a server when it has been bound: the same for every kind of stream.
fn served<A>(
    bound: Result<HttpServer<A>, BindError>,
) -> Result<(ServerHandle, Option<Address>, Vec<Work>), BindError>
where
    A: Accept<Raw> + 'static,
    A::Stream: lb_l7::server::Secured,
{
    let server = bound?;
    let (handle, address) = (server.handle(), server.addresses().first().cloned());
    let workers = server.into_workers().into_iter();
    let work = workers
        .map(|worker| -> Work { Box::new(|stop| Box::pin(worker.run_until(stop)) as Pin<Box<_>>) });
    Ok((handle, address, work.collect()))
}

/// How the keys of a listener are asked for that are not here; none if all are.
fn elsewhere(from: &config::Tls, shared: &Shared<'_>) -> Option<Elsewhere> {
    from.remote_keys().next()?;
    shared.elsewhere.cloned()
}

fn http_of(config: &Listener) -> Result<&Http, String> {
    match &config.target {
        Target::Http(http) => Ok(http),
        _ => Err(told(config, &"it has no requests")),
    }
}

impl Serving {
    /// Takes what a new file says; no connection notices.
    ///
    /// # Errors
    ///
    /// Says what the library does not take; nothing has changed then.
    pub(super) fn update(&mut self, config: &Listener, shared: &Shared<'_>) -> Result<(), String> {
        let http = http_of(config)?;
        let log = match (&http.access_log, &self.log) {
            (Some(now), Some(log)) if *now == log.config => Some(log.clone()),
            (now, _) => now.as_ref().map(|log| Log::open(config, log)).transpose()?,
        };
        let settings = settings::settings(config, http, shared, log.as_ref())?;
        let server = settings::server(config)?;
        if let (Some(from), Some(secured)) = (&http.tls, &mut self.tls) {
            let made = tls::made(from, http.http2.is_some(), &secured.ring);
            let (tls, ring) = made.map_err(|e| told(config, &e))?;
            secured.entrance.update(tls, elsewhere(from, shared));
            secured.ring = ring;
        }
        self.proxy.update(settings);
        self.server.update(server);
        self.log = log;
        Ok(())
    }

    /// Turns the keys of its tickets when their time has come, and forgets backends that are gone.
    pub(super) fn handle_timeout(&self, now: Instant, names: &Names<'_>) {
        self.forget_gone(names);
        if let Some(tls) = &self.tls {
            tls.entrance.handle_timeout(now);
        }
    }

    /// Opens the file of its log anew, which may have been put away.
    pub(super) fn reopen(&self) {
        if let Some(log) = &self.log {
            log.log.reopen();
        }
    }

    /// Waits until its log is written.
    pub(super) fn flush(&self) {
        if let Some(log) = &self.log {
            log.log.flush();
        }
    }
}

impl Log {
    fn open(listener: &Listener, from: &config::AccessLog) -> Result<Self, String> {
        let mut config = access_log::Config::default();
        config.format = from.format;
        config.sample = from.sample;
        let (target, name) = match &from.target {
            LogTarget::File(path) => {
                let name = path.display().to_string();
                (access_log::Target::File(path.clone()), name)
            }
            LogTarget::Stdout => (access_log::Target::Stdout, "standard output".into()),
        };
        let log = AccessLog::open(target, &config)
            .map_err(|error| told(listener, &format!("access_log: {name}: {error}")))?;
        Ok(Self {
            config: from.clone(),
            log: Arc::new(log),
        })
    }
}

/// What signs cookies where the file names no key: of this process, so that nobody can foretell it.
pub(super) fn own_keys() -> KeyRing {
    let random = || RandomState::new().hash_one(()).to_be_bytes();
    let mut key = [0; 16];
    let bytes = random().into_iter().chain(random());
    for (place, byte) in key.iter_mut().zip(bytes) {
        *place = byte;
    }
    KeyRing::new(HashKey::new(key), [])
}
