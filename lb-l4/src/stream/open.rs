//! From a client that has connected to a session with a backend.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lbcore::connect::Connect;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::persist::{Client as PersistentClient, Persistence};
use lbcore::proxy_protocol::{Header, Proxied};
use lbcore::schedule::{KeyExtractor, Scheduler, Tried};
use lbcore::{BackendId, Instant, Lease, Outcome, Pick};
use tokio::io::AsyncWriteExt;

use super::arrival::{Arrival, Client};
use super::config::{Route, Settings, TcpConfig};
use super::counters::{Counters, Refused, WorkerCounters};
use super::desk::Desk;
use super::head::Head;
use super::log::RefusalLog;
use super::placement;
use super::session::{Admission, Session};
use crate::Clock;
use crate::connect::Stream;
use crate::sys::pipe::PipePool;

/// What the workers of one balancer share.
pub(crate) struct Shared<S: Scheduler, C> {
    pub(crate) settings: ArcSwap<Settings<S>>,
    pub(crate) connect: C,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    pub(crate) log: Arc<RefusalLog>,
    pub(crate) workers: Box<[Bench<S>]>,
}

/// What is set apart for each worker.
pub(crate) struct Bench<S: Scheduler> {
    pub(crate) desk: Desk<S>,
    pub(crate) pipes: PipePool,
}

/// A client and a backend, not yet joined.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) backend: Stream,
    pub(crate) first_bytes: Vec<u8>,
    pub(crate) session: Session,
    pub(crate) idle_timeout: Duration,
    pub(crate) keepalive: Option<Duration>,
}

/// The two ends that a session is known by.
#[derive(Clone, Copy, Debug)]
struct Ends {
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
}

impl<S, C> Shared<S, C>
where
    S: Scheduler,
    C: Connect,
    C::Stream: Into<Stream>,
{
    /// What is set apart for worker number `index`; a number too large wraps round.
    pub(crate) fn bench(&self, index: usize) -> &Bench<S> {
        &self.workers[index % self.workers.len()]
    }

    /// Begins a session for a client, or refuses it.
    pub(crate) async fn open(
        &self,
        worker: usize,
        mut arrival: Arrival,
    ) -> Result<Opened, Refused> {
        let settings = self.settings.load_full();
        match self.try_open(worker, &settings, &mut arrival).await {
            Ok(opened) => Ok(opened),
            Err(why) => {
                arrival.refuse(why);
                Err(why)
            }
        }
    }

    async fn try_open(
        &self,
        worker: usize,
        settings: &Settings<S>,
        arrival: &mut Arrival,
    ) -> Result<Opened, Refused> {
        let config = &settings.config;
        if !config.accept_proxy {
            is_allowed(settings, arrival.peer())?;
        }
        let budget = settings.budget.as_ref();
        let admission = Admission::take(self.clock.now(), &settings.limits, budget)?;
        let head = read_head(settings, arrival).await?;
        let ends = Ends {
            source: match head.proxied {
                Some((source, _)) => Some(source),
                None => arrival.peer(),
            },
            destination: match head.proxied {
                Some((_, destination)) => Some(destination),
                // A system call, made only if somebody wants to know.
                None if config.send_proxy.is_some() || settings.keys.parts().has_destination() => {
                    arrival.client().and_then(Client::destination)
                }
                None => None,
            },
        };
        if config.accept_proxy {
            is_allowed(settings, ends.source)?;
        }
        let counters = arrival.counters().clone();
        let (lease, backend) = self.reach(worker, settings, &head, ends, &counters).await?;
        let client = arrival.take().ok_or(Refused::Resources)?;
        let mut session = Session::begin(lease, counters, admission);
        session.read_before(self.clock.now(), head.bytes.len());
        Ok(Opened {
            client,
            backend,
            first_bytes: head.bytes,
            session,
            idle_timeout: config.idle_timeout,
            keepalive: config.keepalive,
        })
    }

    /// A backend that was reached, within the connect budget.
    async fn reach(
        &self,
        worker: usize,
        settings: &Settings<S>,
        head: &Head,
        ends: Ends,
        counters: &WorkerCounters,
    ) -> Result<(Lease, Stream), Refused> {
        let config = &settings.config;
        let memory = Memory::of(settings, ends);
        let key = ends.key(&settings.keys);
        let give_up = self.clock.now() + config.connect_budget;
        let mut tried = Tried::default();
        let mut refused = Refused::ConnectFailed;
        for attempt in 0..config.connect_tries {
            let now = self.clock.now();
            let left = give_up.since(now).min(config.connect_timeout);
            if left.is_zero() {
                break;
            }
            let pick = Pick::default()
                .key(key)
                .preferred(memory.lookup(now))
                .tried(&tried);
            let desk = &self.bench(worker).desk;
            let lease = match desk.acquire(now, head.server_name.as_ref(), &pick) {
                Ok(lease) => lease,
                // Why the tries failed says more than that no other backend is left.
                Err(_) if attempt > 0 => break,
                Err(why) => return Err(why),
            };
            let connecting = self.connect_to(&lease, config, ends);
            match tokio::time::timeout(left, connecting).await {
                Ok(Ok(stream)) => {
                    memory.remember(now, lease.backend());
                    return Ok((lease, stream));
                }
                Ok(Err(error)) if is_of_this_host(&error) => {
                    refused = Refused::Resources;
                    tried.add(lease.ticket());
                }
                Ok(Err(_)) | Err(_) => {
                    refused = Refused::ConnectFailed;
                    counters.connect_failed();
                    tried.add(lease.ticket());
                    lease.finish(self.clock.now(), Outcome::ConnectFailed);
                }
            }
        }
        Err(refused)
    }

    /// A stream to the backend of a lease, on which the session's first bytes may be sent.
    async fn connect_to(
        &self,
        lease: &Lease,
        config: &TcpConfig,
        ends: Ends,
    ) -> io::Result<Stream> {
        let mut stream = self.connect.connect(lease.address()).await?.into();
        if let Some(version) = config.send_proxy {
            let mut bytes = Vec::with_capacity(PROXY_HEADER);
            // Without two addresses of IP, neither version has more to say than that.
            let header = Header::new(ends.proxied());
            header.emit(version, &mut bytes).map_err(io::Error::other)?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
        }
        Ok(stream)
    }
}

/// Where a client's backend is remembered, if it is.
struct Memory<'a>(Option<(&'a dyn Persistence, PersistentClient<'a>)>);

impl<'a> Memory<'a> {
    fn of<S: Scheduler>(settings: &'a Settings<S>, ends: Ends) -> Self {
        let client = ends.source.map(|it| PersistentClient::from_source(it.ip()));
        Self(settings.persistence.as_deref().zip(client))
    }

    fn lookup(&self, now: Instant) -> Option<BackendId> {
        let (persistence, client) = self.0.as_ref()?;
        persistence.lookup(now, client)
    }

    fn remember(&self, now: Instant, backend: BackendId) {
        if let Some((persistence, client)) = &self.0 {
            persistence.remember(now, client, backend);
        }
    }
}

impl Ends {
    /// What the session is placed by.
    fn key(self, keys: &KeyExtractor) -> Option<u64> {
        placement::key(keys, Protocol::Tcp, self.source, self.destination)
    }

    fn proxied(self) -> Proxied {
        match (self.source, self.destination) {
            (Some(source), Some(destination)) => {
                Proxied::Flow(FlowKey::new(Protocol::Tcp, source, destination))
            }
            _ => Proxied::Unknown,
        }
    }
}

/// Whether the address lists let this client in; one without an address is always let in.
fn is_allowed<S: Scheduler>(
    settings: &Settings<S>,
    source: Option<SocketAddr>,
) -> Result<(), Refused> {
    match source {
        Some(source) if !settings.rules.allows(source.ip()) => Err(Refused::Denied),
        _ => Ok(()),
    }
}

/// Reads what must come before a backend can be chosen: mostly nothing.
async fn read_head<S: Scheduler>(
    settings: &Settings<S>,
    arrival: &mut Arrival,
) -> Result<Head, Refused> {
    let mut head = Head::default();
    let limit = settings.config.header_timeout;
    if settings.config.accept_proxy {
        head.read_proxy_header(arrival.stream()?, limit).await?;
    }
    if let Route::ServerName(_) = settings.route {
        head.read_client_hello(arrival.stream()?, limit).await?;
    }
    Ok(head)
}

/// Whether this host could not even try.
fn is_of_this_host(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// The longest header without TLVs, which is a line of version 1.
const PROXY_HEADER: usize = lbcore::proxy_protocol::MAX_V1_LENGTH;
