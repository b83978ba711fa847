//! What all connections of a server have in common.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::clock;
use super::handshakes::Handshakes;
use super::registry::{Member, Registry};
use super::seldom::Seldom;
use super::signers::Signers;
use crate::access::AccessList;
use crate::audit::AuditLog;
use crate::mutual_tls::MutualTls;
use crate::quota::Quotas;
use crate::server::{Counters, Gauges, KeyServerConfig, Rejection, ServerStats, Told};
use crate::store::KeyStore;

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) config: KeyServerConfig,
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) access: ArcSwap<AccessList>,
    pub(super) tls: ArcSwap<Tls>,
    pub(super) quotas: Quotas,
    pub(super) counters: Arc<Counters>,
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) told: Told,
    pub(super) signers: Arc<Signers>,
    pub(super) registry: Arc<Registry>,
    pub(super) handshakes: Arc<Handshakes>,
    /// Whether the server is shutting down: handshakes are given up then.
    pub(super) draining: watch::Sender<bool>,
    /// What is told of rejected clients, and when.
    pub(super) seldom: Mutex<Seldom>,
}

/// How clients are accepted.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) mutual: MutualTls,
    pub(super) config: Arc<rustls::ServerConfig>,
}

impl Shared {
    /// Counts a client that is turned away, and tells of it: of each reason once a second.
    ///
    /// `of` is what the handshake failed with, or who the client is.
    pub(super) fn reject(&self, from: SocketAddr, why: Rejection, of: Option<&str>) {
        self.counters.rejected(why);
        let (reason, of) = (why.as_str(), of.unwrap_or_default());
        // At the end everybody is turned away, and asks elsewhere.
        if why == Rejection::Draining {
            tracing::debug!(%from, reason, "client rejected");
            return;
        }
        let told = {
            let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
            seldom.admit(clock::now(), why)
        };
        match told {
            Some(left_out) => tracing::warn!(%from, reason, of, left_out, "client rejected"),
            None => tracing::debug!(%from, reason, of, "client rejected"),
        }
    }

    /// Whether a client that is connected would be let in now.
    pub(super) fn admits(&self, member: &Member) -> bool {
        member.is_admitted(&self.access.load(), &self.tls.load().mutual)
    }

    /// Closes the connections of clients that would not be let in now, and says how many.
    pub(super) fn revoke(&self) -> usize {
        let (access, tls) = (self.access.load_full(), self.tls.load_full());
        self.registry.revoke(&access, &tls.mutual)
    }

    pub(super) fn verify_again(&self) -> Duration {
        self.config.verify_again.max(Duration::from_secs(1))
    }

    pub(super) const fn write_timeout(&self) -> Duration {
        self.config.session.write_timeout
    }

    pub(super) fn stats(&self) -> ServerStats {
        let (queued, signing) = self.signers.load();
        let now = Gauges {
            connections: self.registry.len(),
            handshakes: self.handshakes.len(),
            queued,
            signing,
        };
        let audit = self.audit.as_deref().map(AuditLog::stats);
        self.counters.stats(now, audit)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
