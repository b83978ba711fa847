//! One real server: who it is, where it is, and how much it may take.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::hash::HashKey;

/// Which backend: the caller's choice, kept through every change of address and weight.
///
/// [`Backend::new`] makes it from the name, so that nodes given the same names agree on it. Tables
/// that must be alike on every node are built in its order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BackendId(u64);

impl BackendId {
    /// The identity with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The identity that [`Backend::new`] gives to `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        // The key is public and fixed: an identity is an agreement between nodes, not a secret.
        Self(HashKey::from_seed(0).sip24(name.as_bytes()))
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A backend's share of new sessions, beside the weights of the others.
///
/// Range 0..=65535, default 1; 0 takes no new session and keeps the old ones (a drain).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Weight(pub u16);

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// Where a backend listens.
///
/// Read from text as `192.0.2.7:80`, `[2001:db8::7]:80`, `unix:/run/app.sock` or `memory:name`.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// An in-process stream of this name, for tests and for services in one binary.
    Memory(Arc<str>),
    /// An IPv4 or IPv6 address and port.
    Socket(SocketAddr),
    /// A Unix stream socket.
    Unix(Arc<Path>),
}

impl Address {
    /// The IP address and port, if it has one.
    #[must_use]
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Memory(_) | Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(name) => write!(f, "memory:{name}"),
            Self::Socket(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(AddressError::Empty),
                path => Ok(Self::Unix(Path::new(path).into())),
            };
        }
        if let Some(name) = text.strip_prefix("memory:") {
            return match name {
                "" => Err(AddressError::Empty),
                name => Ok(Self::Memory(name.into())),
            };
        }
        text.parse()
            .map(Self::Socket)
            .map_err(|_| AddressError::Form(text.into()))
    }
}

/// Why a text is not an [`Address`]; the writer of the text can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AddressError {
    /// Nothing stands behind `unix:` or `memory:`.
    #[error("a path or name is missing behind the colon")]
    Empty,
    /// Neither an address with a port nor one of the prefixed forms.
    #[error("`{0}` is not an address: expected `IP:PORT`, `[IPv6]:PORT` or `unix:/path`")]
    Form(Box<str>),
}

/// What the operator says of a backend.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Admin {
    /// Takes no new session and finishes the old ones; still probed.
    Drain,
    /// Out of service: takes nothing, and is not probed.
    Maintenance,
    /// In service.
    #[default]
    Ready,
}

/// One real server, as configured.
///
/// # Examples
///
/// ```
/// use lbcore::{Backend, BackendId};
///
/// let backend = Backend::new("web-1", "10.0.0.11:8080".parse()?).weight(2).max_connections(500);
/// assert_eq!(backend.id, BackendId::of_name("web-1"));
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
#[doc(alias = "real server")]
#[doc(alias = "endpoint")]
#[doc(alias = "upstream")]
#[doc(alias = "destination")]
pub struct Backend {
    /// Who it is, whatever else changes.
    pub id: BackendId,
    /// Its name in logs, metrics and status.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// Its share of new sessions. Default 1.
    pub weight: Weight,
    /// Its group: 0, the default, is used first, higher numbers when too little of the lower is healthy.
    pub priority: u8,
    /// Where it stands, compared with the balancer's own zone. Default none.
    pub zone: Option<Arc<str>>,
    /// How many sessions it may have at once, all workers together. Default none: no limit.
    pub max_connections: Option<u32>,
    /// What the operator says. Default ready.
    pub admin: Admin,
}

impl Backend {
    /// A backend known by `name`, from which its identity is made.
    #[must_use]
    pub fn new(name: &str, address: Address) -> Self {
        Self {
            id: BackendId::of_name(name),
            name: name.into(),
            address,
            weight: Weight::default(),
            priority: 0,
            zone: None,
            max_connections: None,
            admin: Admin::Ready,
        }
    }

    /// Whether configuration lets it take new sessions: it is ready and has a weight.
    #[must_use]
    pub fn is_in_service(&self) -> bool {
        self.admin == Admin::Ready && self.weight.0 > 0
    }

    /// Gives it an identity of the caller's own instead of one made from its name.
    #[must_use]
    pub fn id(mut self, id: BackendId) -> Self {
        self.id = id;
        self
    }

    /// Sets its [`weight`](Self::weight).
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = Weight(weight);
        self
    }

    /// Sets its [`priority`](Self::priority).
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets its [`zone`](Self::zone).
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn max_connections(mut self, most: u32) -> Self {
        self.max_connections = Some(most);
        self
    }

    /// Sets what the operator says.
    #[must_use]
    pub fn admin(mut self, admin: Admin) -> Self {
        self.admin = admin;
        self
    }
}
