//! The same client to the same backend again.

mod source;
mod table;
mod token;

use std::fmt;
use std::net::IpAddr;

pub use source::SourceAddress;
pub use table::PersistStats;
pub use token::Token;

use crate::{BackendId, Instant};

/// What is known of a client when its session is to be placed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client<'a> {
    /// The address it comes from.
    pub source: IpAddr,
    /// What the application read from its first bytes: a cookie, a session id, a QUIC connection id.
    pub token: Option<&'a [u8]>,
}

impl<'a> Client<'a> {
    /// A client of whom the address is known.
    #[must_use]
    pub const fn from_source(source: IpAddr) -> Self {
        Self {
            source,
            token: None,
        }
    }

    /// Adds the token that it brought.
    #[must_use]
    pub const fn token(mut self, token: &'a [u8]) -> Self {
        self.token = Some(token);
        self
    }
}

/// Remembers which backend a client had, to give it the same one again.
///
/// It is asked once for each new session. What it answers is a wish: the balancer takes another
/// backend when that one may not be used, and remembers the one it took. Shared by all workers.
/// What every implementation must keep is checked by `lbcore::sim::laws::persistence_laws` (feature
/// `sim`).
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use std::net::IpAddr;
/// use std::sync::Mutex;
/// use lbcore::persist::{Client, Persistence};
/// use lbcore::{BackendId, Instant};
///
/// /// Remembers every address for ever; for a handful of known clients.
/// #[derive(Debug, Default)]
/// struct Forever(Mutex<BTreeMap<IpAddr, BackendId>>);
///
/// impl Persistence for Forever {
///     fn lookup(&self, _now: Instant, client: &Client<'_>) -> Option<BackendId> {
///         self.0.lock().ok()?.get(&client.source).copied()
///     }
///
///     fn remember(&self, _now: Instant, client: &Client<'_>, backend: BackendId) {
///         if let Ok(mut map) = self.0.lock() {
///             map.insert(client.source, backend);
///         }
///     }
///
///     fn forget_backend(&self, backend: BackendId) {
///         if let Ok(mut map) = self.0.lock() {
///             map.retain(|_, kept| *kept != backend);
///         }
///     }
/// }
/// ```
#[doc(alias = "stickiness")]
#[doc(alias = "affinity")]
pub trait Persistence: fmt::Debug + Send + Sync {
    /// The backend that this client had, if that is remembered.
    ///
    /// Being asked keeps the memory alive. O(1) expected, and holds no lock while another part of
    /// the table is used.
    fn lookup(&self, now: Instant, client: &Client<'_>) -> Option<BackendId>;

    /// This client now has this backend.
    fn remember(&self, now: Instant, client: &Client<'_>, backend: BackendId);

    /// Forgets every client of a backend that is gone for good.
    ///
    /// May take time in proportion to what is remembered; other calls go on meanwhile.
    fn forget_backend(&self, backend: BackendId);
}
