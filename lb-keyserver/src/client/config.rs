//! What a client may be told; each value has a default that serves a local network.

use std::time::Duration;

use crate::mode::Mode;

use super::breaker::BreakerConfig;
use super::verify::Verify;

/// How a client asks key servers.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_keyserver::Mode;
/// use lb_keyserver::client::{AskConfig, KeyClientConfig, Verify};
///
/// let config = KeyClientConfig::default()
///     .mode(Mode::Strict)
///     .ask(AskConfig::default().verify(Verify::Sampled).hedge_percent(0));
/// assert!(config.check().is_ok());
/// assert!(config.waiting(0).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeyClientConfig {
    /// When and whom to ask again, and what to verify.
    pub ask: AskConfig,
    /// When a server is no longer asked.
    pub breaker: BreakerConfig,
    /// The connections to each server.
    pub connections: ConnectionConfig,
    /// Where the tasks that own the connections run. Default: where the client was made.
    pub home: Home,
    /// How much a server knows of what it signs. A server that does not speak so is not asked. In the
    /// strict mode the requests have to carry the handshake, as those of a
    /// [`RemoteTls`](crate::rustls::RemoteTls) do that has its
    /// [transcripts](crate::rustls::RemoteTls::transcripts) recorded.
    /// Default [`Mode::Bound`].
    pub mode: Mode,
    /// Signatures that may be awaited at once.
    pub waiting: Waiting,
}

impl KeyClientConfig {
    /// Sets [`ask`](Self::ask).
    #[must_use]
    pub const fn ask(self, ask: AskConfig) -> Self {
        Self { ask, ..self }
    }

    /// Sets [`breaker`](Self::breaker).
    #[must_use]
    pub const fn breaker(self, breaker: BreakerConfig) -> Self {
        Self { breaker, ..self }
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub const fn connections(self, connections: ConnectionConfig) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// Sets [`home`](Self::home).
    #[must_use]
    pub const fn home(self, home: Home) -> Self {
        Self { home, ..self }
    }

    /// Sets [`mode`](Self::mode).
    #[must_use]
    pub const fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Sets [`waiting`](Self::waiting): at least 1.
    #[must_use]
    pub const fn waiting(self, most: u32) -> Self {
        Self {
            waiting: Waiting(most),
            ..self
        }
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    ///
    /// Names the first that is not.
    pub const fn check(&self) -> Result<(), ConfigError> {
        let field = match self {
            Self {
                waiting: Waiting(0),
                ..
            } => "waiting",
            Self { ask, .. } if ask.attempts == 0 || ask.attempts > AskConfig::MOST_ATTEMPTS => {
                "ask.attempts"
            }
            Self { ask, .. } if ask.attempt_timeout.is_zero() => "ask.attempt_timeout",
            Self { ask, .. } if ask.retry_percent > 100 => "ask.retry_percent",
            Self { ask, .. } if ask.hedge_percent > 100 => "ask.hedge_percent",
            Self { breaker, .. } if breaker.percent == 0 || breaker.percent > 100 => {
                "breaker.percent"
            }
            Self { connections, .. } => match connections.out_of_range() {
                Some(field) => field,
                None => return Ok(()),
            },
        };
        Err(ConfigError(field))
    }
}

/// How many signatures may be awaited at once.
///
/// Beyond it a new one is refused as [`SignError::Busy`](crate::SignError::Busy). The newest is shed
/// and not the one closest to its deadline, because the protocol cannot take a question back: who
/// waits has been paid for by the key server already, and shedding it would throw that work away
/// without shortening the server's queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a number with a meaning")]
pub struct Waiting(pub u32);

impl Default for Waiting {
    /// 4,096: four connections' worth at 1,024 questions each, about 8 MiB with their frames.
    fn default() -> Self {
        Self(4_096)
    }
}

/// Where the tasks that own connections run.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Home {
    /// On the tokio runtime on which the client is made. When that ends, the client ends: every
    /// signature fails at once.
    #[default]
    Here,
    /// On a thread of the client's own: for programs whose runtimes come and go, and where
    /// handshakes must not wait behind other work of a current-thread runtime. Each signature then
    /// crosses threads twice.
    Thread,
}

/// When and whom to ask again, and what to verify.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AskConfig {
    /// After how long without an answer another server is asked as well; the first may still answer.
    /// Twice the 95th percentile of late where that is more, so that servers which are all slow are
    /// not taken for dead; three times as long, and at least a second, where no other server may be
    /// asked. At least 1 ns; default 300 ms.
    pub attempt_timeout: Duration,
    /// How often one signature is asked for, hedges included. 1..=4; default 4.
    pub attempts: u8,
    /// Retries for each hundred signatures. 0..=100; default 20.
    pub retry_percent: u32,
    /// Retries that there may be at once before that percentage is earned: what a server that dies
    /// with its questions unanswered may cost. Default 1,024.
    pub retry_reserve: u32,
    /// Hedges for each hundred signatures; zero turns them off. 0..=100; default 5.
    pub hedge_percent: u32,
    /// The least time before a hedge; else the 95th percentile of late. Default 5 ms.
    pub hedge_floor: Duration,
    /// Which signatures are verified. Default all.
    pub verify: Verify,
}

impl Default for AskConfig {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_millis(300),
            attempts: 4,
            retry_percent: 20,
            retry_reserve: 1_024,
            hedge_percent: 5,
            hedge_floor: Duration::from_millis(5),
            verify: Verify::Always,
        }
    }
}

impl AskConfig {
    /// The most that [`attempts`](Self::attempts) may be.
    pub const MOST_ATTEMPTS: u8 = 4;

    /// Sets [`attempt_timeout`](Self::attempt_timeout).
    #[must_use]
    pub const fn attempt_timeout(self, timeout: Duration) -> Self {
        Self {
            attempt_timeout: timeout,
            ..self
        }
    }

    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub const fn attempts(self, attempts: u8) -> Self {
        Self { attempts, ..self }
    }

    /// Sets [`retry_percent`](Self::retry_percent).
    #[must_use]
    pub const fn retry_percent(self, percent: u32) -> Self {
        Self {
            retry_percent: percent,
            ..self
        }
    }

    /// Sets [`retry_reserve`](Self::retry_reserve).
    #[must_use]
    pub const fn retry_reserve(self, retries: u32) -> Self {
        Self {
            retry_reserve: retries,
            ..self
        }
    }

    /// Sets [`hedge_percent`](Self::hedge_percent).
    #[must_use]
    pub const fn hedge_percent(self, percent: u32) -> Self {
        Self {
            hedge_percent: percent,
            ..self
        }
    }

    /// Sets [`hedge_floor`](Self::hedge_floor).
    #[must_use]
    pub const fn hedge_floor(self, floor: Duration) -> Self {
        Self {
            hedge_floor: floor,
            ..self
        }
    }

    /// Sets [`verify`](Self::verify).
    #[must_use]
    pub const fn verify(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }
}

/// The connections to each server.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionConfig {
    /// Connections to each server. One carries 10,000 signatures a second and more; a second keeps
    /// the server in use while the first is made anew. 1..=4; default 2.
    pub per_server: u8,
    /// Questions on one connection that are not yet answered; more wait in the client. Deployed
    /// servers stop reading beyond 1,024. 1..=65,536; default 1,024.
    pub window: u32,
    /// How often each connection is asked for a sign of life. Deployed servers close those that
    /// are silent for 30 s. At least 1 ms; default 10 s.
    pub ping_every: Duration,
    /// How long a PONG may take before the connection is taken for dead. Default 2 s.
    pub ping_timeout: Duration,
    /// How long a connection may take to be made: TCP, TLS and the first PONG. Default 2 s.
    pub timeout: Duration,
    /// How long to wait before connecting anew, the first time; each further time twice as long.
    /// From this to half of this by chance. Default 50 ms.
    pub back_off: Duration,
    /// The longest wait before connecting anew. Default 1 s.
    pub max_back_off: Duration,
    /// How often names are resolved, besides whenever a connection has failed. Default 30 s.
    pub resolve_every: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            per_server: 2,
            window: 1_024,
            ping_every: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            back_off: Duration::from_millis(50),
            max_back_off: Duration::from_secs(1),
            resolve_every: Duration::from_secs(30),
        }
    }
}

impl ConnectionConfig {
    /// Sets [`per_server`](Self::per_server).
    #[must_use]
    pub const fn per_server(self, connections: u8) -> Self {
        Self {
            per_server: connections,
            ..self
        }
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn window(self, questions: u32) -> Self {
        Self {
            window: questions,
            ..self
        }
    }

    /// Sets [`ping_every`](Self::ping_every).
    #[must_use]
    pub const fn ping_every(self, ping_every: Duration) -> Self {
        Self { ping_every, ..self }
    }

    /// Sets [`ping_timeout`](Self::ping_timeout).
    #[must_use]
    pub const fn ping_timeout(self, ping_timeout: Duration) -> Self {
        Self {
            ping_timeout,
            ..self
        }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets [`back_off`](Self::back_off).
    #[must_use]
    pub const fn back_off(self, back_off: Duration) -> Self {
        Self { back_off, ..self }
    }

    /// Sets [`max_back_off`](Self::max_back_off).
    #[must_use]
    pub const fn max_back_off(self, max_back_off: Duration) -> Self {
        Self {
            max_back_off,
            ..self
        }
    }

    /// Sets [`resolve_every`](Self::resolve_every).
    #[must_use]
    pub const fn resolve_every(self, resolve_every: Duration) -> Self {
        Self {
            resolve_every,
            ..self
        }
    }

    const fn out_of_range(&self) -> Option<&'static str> {
        match self {
            Self {
                per_server: 0 | 5..,
                ..
            } => Some("connections.per_server"),
            Self {
                window: 0 | 65_537..,
                ..
            } => Some("connections.window"),
            Self { ping_every, .. } if ping_every.as_millis() == 0 => {
                Some("connections.ping_every")
            }
            Self { ping_timeout, .. } if ping_timeout.is_zero() => Some("connections.ping_timeout"),
            Self { timeout, .. } if timeout.is_zero() => Some("connections.timeout"),
            Self { back_off, .. } if back_off.is_zero() => Some("connections.back_off"),
            Self { resolve_every, .. } if resolve_every.is_zero() => {
                Some("connections.resolve_every")
            }
            _ => None,
        }
    }
}

/// A value of a configuration is out of its range; names the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is out of its range")]
#[non_exhaustive]
pub struct ConfigError(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_each_range_are_in_it_and_what_is_beyond_is_named() {
        let config = KeyClientConfig::default();
        let ask = AskConfig::default();
        let connections = ConnectionConfig::default();
        let breaker = BreakerConfig::default();
        let nano = Duration::from_nanos(1);
        let zero = Duration::ZERO;
        for (config, bad) in [
            (config, None),
            (config.waiting(1), None),
            (config.waiting(0), Some("waiting")),
            (config.ask(ask.attempts(1)), None),
            (config.ask(ask.attempts(4)), None),
            (config.ask(ask.attempts(0)), Some("ask.attempts")),
            (config.ask(ask.attempts(5)), Some("ask.attempts")),
            (config.ask(ask.attempt_timeout(nano)), None),
            (
                config.ask(ask.attempt_timeout(zero)),
                Some("ask.attempt_timeout"),
            ),
            (config.ask(ask.retry_percent(100).hedge_percent(100)), None),
            (
                config.ask(ask.retry_percent(101)),
                Some("ask.retry_percent"),
            ),
            (
                config.ask(ask.hedge_percent(101)),
                Some("ask.hedge_percent"),
            ),
            (config.breaker(breaker.percent(1)), None),
            (config.breaker(breaker.percent(100)), None),
            (config.breaker(breaker.percent(0)), Some("breaker.percent")),
            (
                config.breaker(breaker.percent(101)),
                Some("breaker.percent"),
            ),
            (config.connections(connections.per_server(1)), None),
            (config.connections(connections.per_server(4)), None),
            (
                config.connections(connections.per_server(0)),
                Some("connections.per_server"),
            ),
            (
                config.connections(connections.per_server(5)),
                Some("connections.per_server"),
            ),
            (config.connections(connections.window(65_536)), None),
            (
                config.connections(connections.window(65_537)),
                Some("connections.window"),
            ),
            (
                config.connections(connections.window(0)),
                Some("connections.window"),
            ),
            (
                config.connections(connections.ping_every(nano)),
                Some("connections.ping_every"),
            ),
            (
                config.connections(connections.ping_timeout(zero)),
                Some("connections.ping_timeout"),
            ),
            (
                config.connections(connections.timeout(zero)),
                Some("connections.timeout"),
            ),
            (
                config.connections(connections.back_off(zero)),
                Some("connections.back_off"),
            ),
            (
                config.connections(connections.resolve_every(zero)),
                Some("connections.resolve_every"),
            ),
        ] {
            assert_eq!(config.check().err(), bad.map(ConfigError), "{config:?}");
        }
    }
}
