//! What there is to say of one signature.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::json::Line;
use crate::access::{Denial, Identity};
use crate::mode::Mode;
use crate::quota::QuotaExceeded;
use crate::scheme::Scheme;
use crate::ski::Ski;
use crate::wire::ErrorCode;

/// That a signature was asked for, and what became of it. Holds no secret, and not what was signed
/// but its hash.
///
/// # Examples
///
/// ```
/// use lb_keyserver::audit::{Decision, Record};
/// use lb_keyserver::{Mode, Scheme, Ski};
///
/// let key = Ski::of_bits(b"abc");
/// let node = "lb://node/7".parse()?;
/// let record = Record::new(1_767_225_600_000, node, key, Scheme::Ed25519, Decision::Signed)
///     .mode(Mode::Strict)
///     .server_name("www.example.com")
///     .micros(23);
/// assert_eq!(record.decision.to_string(), "signed");
/// # Ok::<(), lb_keyserver::access::BadIdentity>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who asked: the principal of its names.
    pub identity: Identity,
    /// From where; `None` over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// With which key to sign.
    pub key: Ski,
    /// How.
    pub scheme: Scheme,
    /// How much the server knew of what it signed. Default [`Mode::Bound`].
    pub mode: Mode,
    /// The name that the TLS client asked for. Its first [`MAX_NAME`](Self::MAX_NAME) bytes are
    /// written.
    pub server_name: Option<Arc<str>>,
    /// The TLS client, as the node says.
    pub client: Option<IpAddr>,
    /// The SHA-256 of the bytes to sign; `None` when it did not come so far.
    pub digest: Option<[u8; 32]>,
    /// What became of it.
    pub decision: Decision,
    /// How long it took, in microseconds.
    pub micros: u64,
}

impl Record {
    /// Bytes of a server name that are written: more than a DNS name has.
    pub const MAX_NAME: usize = 255;

    /// Says what must be said; `at` is in milliseconds since 1970.
    #[must_use]
    pub fn new(at: u64, identity: Identity, key: Ski, scheme: Scheme, decision: Decision) -> Self {
        Self {
            at,
            identity,
            peer: None,
            key,
            scheme,
            mode: Mode::default(),
            server_name: None,
            client: None,
            digest: None,
            decision,
            micros: 0,
        }
    }

    /// Sets [`peer`](Self::peer).
    #[must_use]
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Sets [`mode`](Self::mode).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets [`server_name`](Self::server_name).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets [`client`](Self::client).
    #[must_use]
    pub fn client(mut self, client: IpAddr) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets [`digest`](Self::digest).
    #[must_use]
    pub fn digest(mut self, digest: [u8; 32]) -> Self {
        self.digest = Some(digest);
        self
    }

    /// Sets [`micros`](Self::micros).
    #[must_use]
    pub fn micros(mut self, micros: u64) -> Self {
        self.micros = micros;
        self
    }

    pub(super) fn emit(&self, line: &mut Line<'_>) {
        line.number("at", self.at);
        line.text("identity", self.identity.as_str());
        match self.peer {
            Some(peer) => line.plain("peer", peer),
            None => line.null("peer"),
        };
        line.hex("ski", self.key.as_bytes());
        line.plain("scheme", self.scheme.as_str());
        line.plain("mode", self.mode.as_str());
        match &self.server_name {
            Some(name) => {
                let end = name.floor_char_boundary(Self::MAX_NAME);
                line.text("server_name", name.get(..end).unwrap_or_default())
            }
            None => line.null("server_name"),
        };
        match self.client {
            Some(client) => line.plain("client", client),
            None => line.null("client"),
        };
        match self.digest {
            Some(digest) => line.hex("digest", &digest),
            None => line.null("digest"),
        };
        line.plain("result", self.decision);
        line.number("micros", self.micros);
    }
}

/// What became of a request.
///
/// Shown as `signed`, or as what it was and why: `denied:key`, `error:crypto`, `limited:in-flight`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// The access list refused it.
    Denied(Denial),
    /// It could not be done.
    Failed(ErrorCode),
    /// The client had reached a limit.
    Limited(QuotaExceeded),
    /// It was signed.
    Signed,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "denied:{}", why.as_str()),
            Self::Failed(code) => write!(f, "error:{}", code.as_str()),
            Self::Limited(why) => write!(f, "limited:{}", why.as_str()),
            Self::Signed => f.write_str("signed"),
        }
    }
}
