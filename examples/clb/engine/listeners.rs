//! The listeners in service: bound, handed to the workers, and counted to the last byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use lb_l4::stream::udp::{Dropped, UdpBalancer, UdpHandle, UdpService};
use lb_l4::stream::{End, Refused, Stats, TcpBalancer, TcpHandle, TcpService};
use lbcore::backend::Address;
use lbcore::persist::SourceAddress;
use lbcore::schedule::AnyScheduler;
use lbcore::{BackendId, Instant};
use tokio::sync::watch;
use tracing::error;

use super::http::Serving;
use super::settings::{Shared, remembering, tcp, told, udp};
use super::workers::{Job, Workers};
use crate::admin::snapshot;
use crate::config::{Listener, Protocol};

/// A listener whose sockets are bound, and which serves nobody yet.
pub(super) struct Bound {
    running: Running,
    jobs: Vec<Job>,
}

/// A listener in service, or draining.
#[derive(Debug)]
pub(super) struct Running {
    /// What the file says of it.
    pub(super) config: Listener,
    /// Where it really listens.
    pub(super) address: Address,
    control: Control,
    /// Which client had which backend; kept while the file says the same of it.
    memory: Option<Arc<SourceAddress>>,
    /// A message stops its workers; without receivers the last of them has ended.
    stop: watch::Sender<()>,
    draining: bool,
}

/// What watches and changes a balancer while it runs.
#[derive(Debug)]
enum Control {
    Tcp(TcpHandle<AnyScheduler>),
    Udp(UdpHandle<AnyScheduler>),
    Http(Serving),
}

/// The name of a pool's backend, if it still has it.
pub(super) type Names<'s> = dyn Fn(&str, BackendId) -> Option<String> + 's;

/// Binds the sockets of `config`, one for each worker.
///
/// `is_ours` says that a listener of this process has the port: they share it until that one has
/// drained. A port of anybody else's is refused.
///
/// # Errors
///
/// Says why not; nothing has changed then.
pub(super) async fn bind(
    config: &Listener,
    shared: &Shared<'_>,
    workers: usize,
    is_ours: bool,
) -> Result<Bound, String> {
    let memory = config.persistence.as_ref().map(remembering);
    let (stop, stopped) = watch::channel(());
    let (address, control, jobs) = match config.protocol {
        Protocol::Tcp | Protocol::Tls => {
            let settings = tcp(config, shared, memory.as_ref())?;
            let service = TcpService::new(config.listen.clone(), settings);
            let mut service = service.workers(workers).name(&config.name);
            if is_ours {
                service = service.share_port();
            }
            let balancer = TcpBalancer::bind(service)
                .await
                .map_err(|e| told(config, &e))?;
            let address = balancer.addresses().first().cloned();
            let control = Control::Tcp(balancer.handle());
            let workers = balancer.into_workers().into_iter();
            let jobs = workers.map(|worker| job(&config.name, &stopped, |s| worker.run_until(s)));
            (address, control, jobs.collect())
        }
        Protocol::Udp => {
            let address = config.listen.socket();
            let address = address.ok_or_else(|| told(config, &"udp has no Unix sockets"))?;
            let settings = udp(config, shared, memory.as_ref())?;
            let mut service = UdpService::new(address, settings)
                .workers(workers)
                .name(&config.name);
            if is_ours {
                service = service.share_port();
            }
            let balancer = UdpBalancer::bind(service).map_err(|e| told(config, &e))?;
            let address = balancer.addresses().first().copied();
            let control = Control::Udp(balancer.handle());
            let workers = balancer
                .into_workers()
                .map_err(|e| told(config, &e))?
                .into_iter();
            let jobs = workers.map(|worker| job(&config.name, &stopped, |s| worker.run_until(s)));
            (address.map(Into::into), control, jobs.collect())
        }
        Protocol::Http | Protocol::Https => {
            let (serving, address, workers) =
                super::http::bind(config, shared, workers, is_ours).await?;
            let jobs = workers.into_iter().map(|work| {
                job(&config.name, &stopped, |stop| async {
                    work(stop).await;
                    Ok(())
                })
            });
            (address, Control::Http(serving), jobs.collect())
        }
    };
    let running = Running {
        config: config.clone(),
        address: address.unwrap_or_else(|| config.listen.clone()),
        control,
        memory,
        stop,
        draining: false,
    };
    Ok(Bound { running, jobs })
}

/// Whether sockets of both would be at one place: the same port, and an address of both.
fn overlap(left: &Address, right: &Address) -> bool {
    match (left.socket(), right.socket()) {
        (Some(left), Some(right)) => {
            let is_wild = left.ip().is_unspecified() || right.ip().is_unspecified();
            left.port() == right.port() && (is_wild || left.ip() == right.ip())
        }
        _ => false,
    }
}

impl Bound {
    /// Whether its sockets are at the place that `config` asks for.
    pub(super) fn is_at(&self, config: &Listener) -> bool {
        self.running.is_at(config)
    }

    /// Begins to serve.
    pub(super) fn start(self, workers: &Workers) -> Running {
        workers.run(self.jobs);
        self.running
    }
}

impl Running {
    /// Takes what a new file says of it; its sockets stay.
    ///
    /// # Errors
    ///
    /// Says what the library does not take.
    pub(super) fn update(&mut self, config: &Listener, shared: &Shared<'_>) -> Result<(), String> {
        let memory = match (&config.persistence, &self.memory) {
            (now, Some(memory)) if *now == self.config.persistence => Some(Arc::clone(memory)),
            (now, _) => now.as_ref().map(remembering),
        };
        match &mut self.control {
            Control::Tcp(handle) => {
                let settings = tcp(config, shared, memory.as_ref())?;
                handle
                    .update(settings)
                    .map_err(|error| told(config, &error))?;
            }
            Control::Udp(handle) => {
                let settings = udp(config, shared, memory.as_ref())?;
                handle
                    .update(settings)
                    .map_err(|error| told(config, &error))?;
            }
            Control::Http(serving) => serving.update(config, shared)?,
        }
        self.memory = memory;
        self.config = config.clone();
        Ok(())
    }

    /// Whether its sockets are, or were before its drain, at the place that `config` asks for.
    pub(super) fn is_at(&self, config: &Listener) -> bool {
        let is_udp = |protocol| protocol == Protocol::Udp;
        is_udp(self.config.protocol) == is_udp(config.protocol)
            && overlap(&self.address, &config.listen)
    }

    /// Does what is due at `now`; `names` knows the backends of pools.
    pub(super) fn handle_timeout(&self, now: Instant, names: &Names<'_>) {
        if let Control::Http(serving) = &self.control {
            serving.handle_timeout(now, names);
        }
    }

    /// Opens the file of its access log anew, if it has one.
    pub(super) fn reopen_log(&self) {
        if let Control::Http(serving) = &self.control {
            serving.reopen();
        }
    }

    /// Waits until its access log is written, if it has one.
    pub(super) fn flush_log(&self) {
        if let Control::Http(serving) = &self.control {
            serving.flush();
        }
    }

    /// Takes no new session from here on.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let _ = self.stop.send(());
    }

    /// Whether it drains, or has.
    pub(super) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Resolves when its last worker has ended.
    pub(super) async fn over(&self) {
        self.stop.closed().await;
    }

    /// Whether its last worker has ended.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_closed()
    }

    /// What it has done so far; `names` knows the backends of pools.
    pub(super) fn figures(&self, names: &Names<'_>) -> snapshot::Listener {
        let mut figures = snapshot::Listener {
            name: self.config.name.clone(),
            protocol: self.config.protocol.name(),
            address: self.address.to_string(),
            pools: self
                .config
                .target
                .pools()
                .into_iter()
                .map(Into::into)
                .collect(),
            state: if self.draining { "draining" } else { "serving" },
            ..snapshot::Listener::default()
        };
        match &self.control {
            Control::Tcp(handle) => fill(&mut figures, &handle.stats()),
            Control::Udp(handle) => {
                let stats = handle.stats();
                fill(&mut figures, &stats.sessions);
                let dropped = Dropped::ALL
                    .iter()
                    .map(|why| (why.as_str(), stats.dropped(*why)));
                figures.dropped = dropped.collect();
            }
            Control::Http(serving) => serving.fill(&mut figures, names),
        }
        figures
    }
}

/// One worker as a job that ends when it is told to, and says so when it could not work.
fn job<W>(
    name: &str,
    stopped: &watch::Receiver<()>,
    work: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> W,
) -> Job
where
    W: Future<Output = io::Result<()>> + Send + 'static,
{
    let (name, mut heard, until_over) = (name.to_owned(), stopped.clone(), stopped.clone());
    let work = work(Box::pin(async move {
        // Either the message has come, or whoever would send it is gone.
        let _ = heard.changed().await;
    }));
    Box::pin(async move {
        if let Err(error) = work.await {
            let error = error.to_string();
            error!(listener = %name, error, "a worker has failed");
        }
        drop(until_over);
    })
}

fn fill(figures: &mut snapshot::Listener, stats: &Stats) {
    figures.bytes_in = stats.bytes_in;
    figures.bytes_out = stats.bytes_out;
    figures.accepted = stats.accepted;
    figures.sessions = stats.began;
    figures.active = stats.active();
    figures.connect_failed = stats.connect_failed;
    figures.refused = Refused::ALL
        .iter()
        .map(|why| (why.as_str(), stats.refused(*why)))
        .collect();
    figures.ended = End::ALL
        .iter()
        .map(|how| (how.as_str(), stats.ended(*how)))
        .collect();
}
