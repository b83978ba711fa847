//! How a UDP listener treats its sessions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lbcore::Pool;
use lbcore::address_list::AddressRules;
use lbcore::budget::Budget;
use lbcore::limit::LimitConfig;
use lbcore::persist::Persistence;
use lbcore::schedule::{KeyExtractor, Scheduler};
use thiserror::Error;

use crate::stream::placement;

/// The times and bounds of a UDP listener; everything has a default.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::stream::udp::{OnePacket, UdpConfig};
///
/// let dns = UdpConfig::default().one_packet(OnePacket::default());
/// assert!(dns.check().is_ok());
/// assert!(dns.idle_timeout(Duration::ZERO).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Ends a session after this long without a datagram, and up to an eighth of it late.
    ///
    /// Above zero, default 120 s: the least of RFC 4787 (REQ-5) for addresses that clients rely on.
    pub idle_timeout: Duration,

    /// Treats every datagram of a client as a request of its own. Default none: sessions last.
    pub one_packet: Option<OnePacket>,

    /// How many sessions may be under way, all workers together; each takes a descriptor.
    ///
    /// 1 or more, default 16,000. Beyond it new ones are refused, and those under way go on.
    pub sessions: u32,

    /// How long sessions may go on after the shutdown. Default 30 s; then they are ended.
    pub drain_timeout: Duration,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(120),
            one_packet: None,
            sessions: 16_000,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl UdpConfig {
    /// Sets [`idle_timeout`](Self#structfield.idle_timeout).
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets [`one_packet`](Self#structfield.one_packet).
    #[must_use]
    pub const fn one_packet(mut self, one: OnePacket) -> Self {
        self.one_packet = Some(one);
        self
    }

    /// Sets [`sessions`](Self#structfield.sessions).
    #[must_use]
    pub const fn sessions(mut self, most: u32) -> Self {
        self.sessions = most;
        self
    }

    /// Sets [`drain_timeout`](Self#structfield.drain_timeout).
    #[must_use]
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not.
    pub const fn check(&self) -> Result<(), UdpConfigError> {
        if self.idle_timeout.is_zero() {
            return Err(UdpConfigError::Zero("idle_timeout"));
        }
        if self.sessions == 0 {
            return Err(UdpConfigError::Zero("sessions"));
        }
        match self.one_packet {
            Some(one) if one.timeout.is_zero() => Err(UdpConfigError::Zero("one_packet.timeout")),
            _ => Ok(()),
        }
    }

    /// How long a session may be quiet.
    pub(super) fn quiet(&self) -> Duration {
        self.one_packet.map_or(self.idle_timeout, |one| one.timeout)
    }
}

/// Which field of a [`UdpConfig`] is out of its range; whoever wrote it can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UdpConfigError {
    /// The field of this name must be above zero.
    #[error("{0} is zero; expected more")]
    Zero(&'static str),
}

/// One-packet mode, for traffic such as DNS: a request is a session, over with its last answer.
///
/// Ten thousand new clients a second then hold as many descriptors as are waiting for an answer at
/// one time, and none of them for an idle timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[doc(alias = "ops")]
#[doc(alias = "one-packet scheduling")]
#[non_exhaustive]
pub struct OnePacket {
    /// How many answers end the session; with 0 the request alone does. Default 1.
    pub answers: u32,
    /// How long answers are waited for, and up to an eighth of it longer.
    ///
    /// Above zero, default 5 s, after which a resolver asks again.
    pub timeout: Duration,
}

impl OnePacket {
    /// Sets [`answers`](Self#structfield.answers).
    #[must_use]
    pub const fn answers(mut self, answers: u32) -> Self {
        self.answers = answers;
        self
    }

    /// Sets [`timeout`](Self#structfield.timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for OnePacket {
    fn default() -> Self {
        Self {
            answers: 1,
            timeout: Duration::from_secs(5),
        }
    }
}

/// What decides over new sessions; may be replaced under traffic.
///
/// A [`Pool`] alone is settings enough: everyone may come, without a limit.
pub struct UdpSettings<S: Scheduler> {
    pub(super) pool: Pool<S>,
    pub(super) config: UdpConfig,
    pub(super) keys: KeyExtractor,
    pub(super) rules: Arc<AddressRules>,
    pub(super) persistence: Option<Arc<dyn Persistence>>,
    pub(super) budget: Option<Budget>,
    pub(super) limits: LimitConfig,
}

impl<S: Scheduler> UdpSettings<S> {
    /// Every session goes to `pool`.
    #[must_use]
    pub fn new(pool: Pool<S>) -> Self {
        Self {
            pool,
            config: UdpConfig::default(),
            keys: placement::default_keys(),
            rules: Arc::default(),
            persistence: None,
            budget: None,
            limits: LimitConfig::default(),
        }
    }

    /// Sets the times and bounds.
    #[must_use]
    pub fn config(mut self, config: UdpConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets what sessions are placed by, for schedulers that place by key. Default: by their client's
    /// address, under a secret that everybody knows.
    ///
    /// So nodes place alike without being told how, and clients that choose their addresses can meet
    /// in one backend. Where that matters, give all nodes of a cluster one secret of their own. With
    /// [`Ketama`](lbcore::schedule::Ketama), parts
    /// [`SourceText`](lbcore::schedule::KeyParts::SourceText) place as nginx does. An address
    /// of the balancer that counts is the one that the client asked.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::stream::udp::UdpSettings;
    /// use lbcore::Pool;
    /// use lbcore::hash::HashKey;
    /// use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
    ///
    /// # let read_secret = || [7; 16];
    /// let secret = HashKey::new(read_secret());
    /// let keys = KeyExtractor::new(KeyParts::Source, secret).prefix_v6(64)?;
    /// let settings = UdpSettings::new(Pool::new(Maglev::default())).keys(keys);
    /// # Ok::<(), lbcore::schedule::PrefixError>(())
    /// ```
    #[must_use]
    pub const fn keys(mut self, keys: KeyExtractor) -> Self {
        self.keys = keys;
        self
    }

    /// Sets which clients may begin sessions. Default: all.
    #[must_use]
    pub fn rules(mut self, rules: impl Into<Arc<AddressRules>>) -> Self {
        self.rules = rules.into();
        self
    }

    /// Sends a client to the backend it had, as `persistence` remembers. Default: not.
    ///
    /// Settings that follow others are given the same one, or clients are forgotten.
    #[must_use]
    pub fn persistence(mut self, persistence: Arc<dyn Persistence>) -> Self {
        self.persistence = Some(persistence);
        self
    }

    /// Takes what sessions need from the budget of the process: one of sessions and one of
    /// descriptors. Default: from none.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets how much may pass. Default: everything.
    ///
    /// Datagrams beyond the bytes a second are dropped and counted; none is held back.
    #[must_use]
    pub const fn limits(mut self, limits: LimitConfig) -> Self {
        self.limits = limits;
        self
    }

    /// The limits, with the capacity for sessions as one of them.
    pub(super) fn bounds(&self) -> LimitConfig {
        let most = match self.limits.connections {
            0 => self.config.sessions,
            most => most.min(self.config.sessions),
        };
        self.limits.connections(most)
    }
}

impl<S: Scheduler> fmt::Debug for UdpSettings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSettings")
            .field("pool", &self.pool)
            .field("config", &self.config)
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<S: Scheduler> From<Pool<S>> for UdpSettings<S> {
    fn from(pool: Pool<S>) -> Self {
        Self::new(pool)
    }
}

#[cfg(test)]
mod tests {
    use lbcore::schedule::RoundRobin;

    use super::*;

    #[test]
    fn a_field_out_of_its_range_is_named() {
        let config = UdpConfig::default();
        assert_eq!(config.check(), Ok(()));
        let zero = |config: UdpConfig, name| {
            assert_eq!(config.check(), Err(UdpConfigError::Zero(name)));
        };
        zero(config.clone().idle_timeout(Duration::ZERO), "idle_timeout");
        zero(config.clone().sessions(0), "sessions");
        let one = OnePacket::default().answers(0);
        assert_eq!(config.clone().one_packet(one).check(), Ok(()));
        zero(
            config.one_packet(one.timeout(Duration::ZERO)),
            "one_packet.timeout",
        );
    }

    #[test]
    fn the_least_of_capacity_and_limit_bounds_the_sessions() {
        let settings = |limit| {
            UdpSettings::new(Pool::new(RoundRobin))
                .config(UdpConfig::default().sessions(10))
                .limits(LimitConfig::default().connections(limit))
        };
        for (limit, bound) in [(0, 10), (9, 9), (10, 10), (11, 10)] {
            assert_eq!(settings(limit).bounds().connections, bound);
        }
    }

    #[test]
    fn a_session_of_one_request_is_as_quiet_as_its_answers_may_be_late() {
        let config = UdpConfig::default().idle_timeout(Duration::from_secs(9));
        assert_eq!(config.quiet(), Duration::from_secs(9));
        let one = OnePacket::default().timeout(Duration::from_secs(2));
        assert_eq!(config.one_packet(one).quiet(), Duration::from_secs(2));
    }
}
