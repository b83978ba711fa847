//! From a client to a connected socket: which backend, and the next one if that fails.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use lbcore::backend::{Address, Admin};
use lbcore::flow::Protocol;
use lbcore::health::Health;
use lbcore::persist::{Client, Persistence};
use lbcore::schedule::{KeyExtractor, Scheduler, Tried};
use lbcore::{Balancer, Instant, Outcome, Pick, Refusal, Ticket};

use super::config::UdpSettings;
use super::counters::Tally;
use super::sessions::Upstream;
use super::socket::{self, Trains};
use crate::stream::counters::Refused;
use crate::stream::placement;

/// Chooses backends, and opens the sockets to them.
#[derive(Debug)]
pub(super) struct Backends<S: Scheduler> {
    balancer: Balancer<S>,
    keys: KeyExtractor,
    persistence: Option<Arc<dyn Persistence>>,
    trains: Trains,
    tally: Tally,
}

impl<S: Scheduler> Backends<S> {
    pub(super) fn new(
        balancer: Balancer<S>,
        settings: &UdpSettings<S>,
        trains: Trains,
        tally: Tally,
    ) -> Self {
        let persistence = settings.persistence.clone();
        Self {
            balancer,
            keys: settings.keys,
            persistence,
            trains,
            tally,
        }
    }

    /// Looks at the newest picture of the pool from here on.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.balancer.refresh(now);
    }

    /// A socket to a backend for `client`, who has asked at `asked`; to another one than that of `avoid` if there is any.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        client: SocketAddr,
        asked: SocketAddr,
        avoid: Option<Ticket>,
    ) -> Result<Upstream, Refused> {
        let persistence = self.persistence.clone();
        let memory = persistence
            .as_deref()
            .map(|it| (it, Client::from_source(client.ip())));
        let preferred = memory
            .as_ref()
            .and_then(|(it, client)| it.lookup(now, client));
        let key = placement::key(&self.keys, Protocol::Udp, Some(client), Some(asked));
        let pick = Pick::default().key(key).preferred(preferred);
        let mut tried = Tried::default();
        if let Some(avoid) = avoid {
            tried.add(avoid);
        }
        for _ in 0..TRIES {
            let lease = match self.balancer.acquire(now, &pick.tried(&tried)) {
                // The one to avoid is the only one left: it may have come back meanwhile.
                Err(Refusal::AllTried) if avoid.is_some() => self.balancer.acquire(now, &pick)?,
                other => other?,
            };
            match self.open(lease.address()) {
                Ok(socket) => {
                    if let Some((memory, client)) = &memory {
                        memory.remember(now, client, lease.backend());
                    }
                    let generation = self.balancer.view().generation();
                    return Ok(Upstream {
                        socket,
                        lease,
                        generation,
                    });
                }
                Err(error) if is_ours(&error) => return Err(Refused::Resources),
                Err(_) => {
                    self.tally.sessions.connect_failed();
                    tried.add(lease.ticket());
                    lease.finish(now, Outcome::ConnectFailed);
                }
            }
        }
        Err(Refused::ConnectFailed)
    }

    fn open(&self, address: &Address) -> io::Result<UdpSocket> {
        // A Unix or in-memory address takes no datagrams here: as good as unreachable.
        let address = address.socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket::connect(address, self.trains)
    }

    /// Whether the backend of `upstream` still answers, as far as is known.
    ///
    /// A backend that drains, or has left the pool, keeps the sessions it has; one that is down, or
    /// taken out of service, has lost them. Asked once for each picture of the pool.
    pub(super) fn serves(&self, upstream: &mut Upstream) -> bool {
        let view = self.balancer.view();
        if upstream.generation == view.generation() {
            return true;
        }
        upstream.generation = view.generation();
        let Some(status) = view.backend(upstream.lease.backend()) else {
            return true;
        };
        status.health != Health::Down && status.backend.admin != Admin::Maintenance
    }
}

/// Whether an error says more about this host than about the backend.
fn is_ours(error: &io::Error) -> bool {
    let ours = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EAGAIN,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| ours.contains(&code))
}

/// How many backends one datagram may be offered to.
const TRIES: usize = 3;
