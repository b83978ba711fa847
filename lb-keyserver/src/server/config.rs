//! How a key server treats its clients.

use std::time::Duration;

use crate::mode::Mode;
use crate::quota::QuotaConfig;

/// How a key server treats its clients.
///
/// # Examples
///
/// ```
/// use lb_keyserver::Mode;
/// use lb_keyserver::server::KeyServerConfig;
///
/// let config = KeyServerConfig::default().modes(Mode::ALL).signers(2);
/// assert_eq!(config.session.in_flight, 1024);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyServerConfig {
    /// The modes that are spoken at all; which client may use which is the access list's to say.
    /// Default: bound and strict.
    pub modes: Vec<Mode>,
    /// What bounds one connection.
    pub session: SessionConfig,
    /// How much is remembered of who used what.
    pub quotas: QuotaConfig,
    /// Threads that sign; 0, the default, is one for each processor. One more starts beside them,
    /// which signs only what is quick while all others are held up by what is slow.
    pub signers: usize,
    /// Signatures that wait for a thread, of all connections together; one more is refused at once
    /// as overload. Default 16,384.
    pub queued: usize,
    /// How long a signature may wait for a thread: after that nobody waits for it any more, and it
    /// is refused rather than made. Default two seconds, [`SignRequest::WITHIN`](crate::SignRequest::WITHIN).
    pub max_wait: Duration,
    /// Connections at once; one more is closed as it is accepted. Default 4,096; each takes about
    /// 200 KiB when it is busy.
    pub connections: usize,
    /// Connections at once of one client. Default 64.
    pub connections_per_identity: usize,
    /// TLS handshakes at once; further clients wait in the backlog of the socket. Default 256.
    pub handshakes: usize,
    /// TLS handshakes at once of one address, which in IPv6 is a network of 64 bits; one more is closed
    /// as it is accepted. Default 64.
    pub handshakes_per_address: usize,
    /// By when a TLS handshake has to be over. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long what is under way at shutdown may still take. Default 10 s.
    pub drain_timeout: Duration,
    /// How often the certificate of a client that stays connected is verified anew: that is how long
    /// one may go on after its last day. Default 5 minutes; at least a second.
    pub verify_again: Duration,
}

impl Default for KeyServerConfig {
    fn default() -> Self {
        Self {
            modes: vec![Mode::Bound, Mode::Strict],
            session: SessionConfig::default(),
            quotas: QuotaConfig::default(),
            signers: 0,
            queued: 16_384,
            max_wait: crate::SignRequest::WITHIN,
            connections: 4_096,
            connections_per_identity: 64,
            handshakes: 256,
            handshakes_per_address: 64,
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            verify_again: Duration::from_secs(300),
        }
    }
}

impl KeyServerConfig {
    /// Sets [`modes`](Self::modes).
    #[must_use]
    pub fn modes(mut self, modes: impl Into<Vec<Mode>>) -> Self {
        self.modes = modes.into();
        self
    }

    /// Sets [`session`](Self::session).
    #[must_use]
    pub fn session(mut self, session: SessionConfig) -> Self {
        self.session = session;
        self
    }

    /// Sets [`quotas`](Self::quotas).
    #[must_use]
    pub fn quotas(mut self, quotas: QuotaConfig) -> Self {
        self.quotas = quotas;
        self
    }

    /// Sets [`signers`](Self::signers).
    #[must_use]
    pub fn signers(mut self, threads: usize) -> Self {
        self.signers = threads;
        self
    }

    /// Sets [`queued`](Self::queued).
    #[must_use]
    pub fn queued(mut self, signatures: usize) -> Self {
        self.queued = signatures;
        self
    }

    /// Sets [`max_wait`](Self::max_wait).
    #[must_use]
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// Sets [`connections_per_identity`](Self::connections_per_identity).
    #[must_use]
    pub fn connections_per_identity(mut self, most: usize) -> Self {
        self.connections_per_identity = most;
        self
    }

    /// Sets [`handshakes`](Self::handshakes).
    #[must_use]
    pub fn handshakes(mut self, most: usize) -> Self {
        self.handshakes = most;
        self
    }

    /// Sets [`handshakes_per_address`](Self::handshakes_per_address).
    #[must_use]
    pub fn handshakes_per_address(mut self, most: usize) -> Self {
        self.handshakes_per_address = most;
        self
    }

    /// Sets [`handshake_timeout`](Self::handshake_timeout).
    #[must_use]
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.handshake_timeout = time;
        self
    }

    /// Sets [`drain_timeout`](Self::drain_timeout).
    #[must_use]
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.drain_timeout = time;
        self
    }

    /// Sets [`verify_again`](Self::verify_again).
    #[must_use]
    pub fn verify_again(mut self, every: Duration) -> Self {
        self.verify_again = every;
        self
    }
}

/// What bounds one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionConfig {
    /// Signatures under way at once; then nothing more is read. At least 1, and 0 is taken as 1.
    /// Default 1,024, as deployed servers have it.
    pub in_flight: usize,
    /// How long a client may ask for nothing. Default 30 s, as deployed servers have it; clients send
    /// a ping every ten.
    pub idle_timeout: Duration,
    /// How long a frame may take from its first byte to its last, however its bytes are spread.
    /// Default 10 s.
    pub frame_timeout: Duration,
    /// How long a client may take nothing of what it was answered. Default 10 s.
    pub write_timeout: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            in_flight: 1024,
            idle_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl SessionConfig {
    /// Sets [`in_flight`](Self::in_flight).
    #[must_use]
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = most;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_timeout = time;
        self
    }

    /// Sets [`frame_timeout`](Self::frame_timeout).
    #[must_use]
    pub fn frame_timeout(mut self, time: Duration) -> Self {
        self.frame_timeout = time;
        self
    }

    /// Sets [`write_timeout`](Self::write_timeout).
    #[must_use]
    pub fn write_timeout(mut self, time: Duration) -> Self {
        self.write_timeout = time;
        self
    }
}
