//! How a TCP listener treats its sessions.

use std::sync::Arc;
use std::time::Duration;

use lbcore::address_list::AddressRules;
use lbcore::budget::Budget;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::persist::Persistence;
use lbcore::proxy_protocol::Version;
use lbcore::schedule::{KeyExtractor, Scheduler, Tried};
use lbcore::{Instant, Pool};
use thiserror::Error;

use super::placement;
use super::server_name::{ServerName, ServerNameError, ServerNames};

/// The times and protocols of a TCP listener; everything has a default.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::stream::TcpConfig;
///
/// let config = TcpConfig::default().idle_timeout(Duration::from_secs(60)).connect_tries(2);
/// assert!(config.check().is_ok());
/// assert!(config.connect_tries(0).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpConfig {
    /// How long one try to reach a backend may take.
    ///
    /// Above zero, default 2 s: one lost SYN, which Linux repeats after 1 s, is survived.
    pub connect_timeout: Duration,

    /// How long all tries of a session may take together. Above zero, default 5 s.
    pub connect_budget: Duration,

    /// How many backends are tried for one session at most. 1..=8, default 3.
    pub connect_tries: u8,

    /// How long nothing may move either way before the session is reset.
    ///
    /// Above zero, default 15 minutes, as in IPVS; noticed up to an eighth of it, and at most 1 s,
    /// late.
    pub idle_timeout: Duration,

    /// How long a peer may be silent before TCP asks whether it is there; a dead one is noticed
    /// within twice the time. At least 1 s; default 60 s; `None` never asks.
    pub keepalive: Option<Duration>,

    /// How long sessions may go on after the shutdown. Default 30 s; then they are reset.
    pub drain_timeout: Duration,

    /// Whether every client's connection begins with a PROXY protocol header, of either version.
    ///
    /// Default false. A client that may choose can lie about its address, so there is no "maybe".
    pub accept_proxy: bool,

    /// Which PROXY protocol header is sent to backends. Default none.
    pub send_proxy: Option<Version>,

    /// How long a PROXY header, or a ClientHello, may take to come. Above zero, default 3 s.
    pub header_timeout: Duration,

    /// How many kernel pipes of 256 KiB a worker uses for bulk at once. Default 64; 0 uses none.
    ///
    /// Two descriptors each; taken when the balancer is bound.
    pub pipes: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            connect_budget: Duration::from_secs(5),
            connect_tries: 3,
            idle_timeout: Duration::from_secs(900),
            keepalive: Some(Duration::from_secs(60)),
            drain_timeout: Duration::from_secs(30),
            accept_proxy: false,
            send_proxy: None,
            header_timeout: Duration::from_secs(3),
            pipes: 64,
        }
    }
}

/// Defines the methods that set the fields of their names.
macro_rules! setters {
    ($($field:ident: $type:ty,)+) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+
    };
}

impl TcpConfig {
    setters! {
        connect_timeout: Duration,
        connect_budget: Duration,
        connect_tries: u8,
        idle_timeout: Duration,
        keepalive: Option<Duration>,
        drain_timeout: Duration,
        send_proxy: Option<Version>,
        header_timeout: Duration,
        pipes: usize,
    }

    /// Has every client's connection begin with a PROXY protocol header.
    #[must_use]
    pub fn accept_proxy(mut self) -> Self {
        self.accept_proxy = true;
        self
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), TcpConfigError> {
        let spans = [
            ("connect_timeout", self.connect_timeout),
            ("connect_budget", self.connect_budget),
            ("idle_timeout", self.idle_timeout),
            ("header_timeout", self.header_timeout),
        ];
        if let Some((name, _)) = spans.iter().find(|(_, span)| span.is_zero()) {
            return Err(TcpConfigError::Zero(name));
        }
        if !(1..=Tried::MOST).contains(&usize::from(self.connect_tries)) {
            return Err(TcpConfigError::Tries(self.connect_tries));
        }
        match self.keepalive {
            Some(span) if span < Duration::from_secs(1) => Err(TcpConfigError::Keepalive(span)),
            _ => Ok(()),
        }
    }
}

/// Which field of a [`TcpConfig`] is out of its range; whoever wrote it can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TcpConfigError {
    /// TCP counts in whole seconds.
    #[error("keepalive is {0:?}; at least 1 s is needed")]
    Keepalive(Duration),
    /// No session can be begun without a try, nor with more than are remembered.
    #[error("connect_tries is {0}; expected 1..={max}", max = Tried::MOST)]
    Tries(u8),
    /// A time of this name that would be over before it began.
    #[error("{0} is zero; expected a time above zero")]
    Zero(&'static str),
}

/// What decides over new sessions; may be replaced under traffic.
///
/// # Examples
///
/// TLS passed through by the name that the client asks for, without a key:
///
/// ```
/// use lb_l4::stream::Settings;
/// use lbcore::Pool;
/// use lbcore::schedule::RoundRobin;
///
/// let (shop, lobby) = (Pool::new(RoundRobin), Pool::new(RoundRobin));
/// let settings = Settings::by_server_name()
///     .server_name("shop.example.com", shop)?
///     .otherwise(lobby);
/// # Ok::<(), lb_l4::stream::server_name::ServerNameError>(())
/// ```
pub struct Settings<S: Scheduler> {
    pub(crate) config: TcpConfig,
    pub(crate) pools: Vec<Pool<S>>,
    pub(crate) route: Route,
    pub(crate) keys: KeyExtractor,
    pub(crate) rules: AddressRules,
    pub(crate) persistence: Option<Arc<dyn Persistence>>,
    pub(crate) budget: Option<Budget>,
    pub(crate) limit_config: LimitConfig,
    /// Made from `limit_config` when a balancer takes the settings.
    pub(crate) limits: Arc<Limits>,
}

/// How the pool of a session is found; numbers are places in [`Settings::pools`].
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// There is one.
    Only,
    /// By the server name of a TLS ClientHello.
    ServerName(ServerNames<usize>),
}

impl<S: Scheduler> Settings<S> {
    /// Every session goes to `pool`.
    #[must_use]
    pub fn new(pool: Pool<S>) -> Self {
        Self::routed(Route::Only, vec![pool])
    }

    /// TLS sessions go to the pool of the server name that their client asks for; all others are
    /// refused.
    #[must_use]
    pub fn by_server_name() -> Self {
        Self::routed(Route::ServerName(ServerNames::new()), Vec::new())
    }

    fn routed(route: Route, pools: Vec<Pool<S>>) -> Self {
        let limit_config = LimitConfig::default();
        Self {
            config: TcpConfig::default(),
            pools,
            route,
            keys: placement::default_keys(),
            rules: AddressRules::new([], []),
            persistence: None,
            budget: None,
            limit_config,
            limits: Arc::new(Limits::new(Instant::ZERO, limit_config)),
        }
    }

    /// Adds a server name, or a wildcard such as `*.example.com`, and its pool.
    ///
    /// Without effect if the settings were made by [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// If `pattern` is neither.
    pub fn server_name(mut self, pattern: &str, pool: Pool<S>) -> Result<Self, ServerNameError> {
        if let Route::ServerName(names) = &mut self.route {
            names.insert(pattern, self.pools.len())?;
            self.pools.push(pool);
        }
        Ok(self)
    }

    /// Sets the pool of all other server names, and of clients that name none. Default: refused.
    #[must_use]
    pub fn otherwise(mut self, pool: Pool<S>) -> Self {
        if let Route::ServerName(names) = self.route {
            self.route = Route::ServerName(names.otherwise(self.pools.len()));
            self.pools.push(pool);
        }
        self
    }

    /// Sets the times and protocols.
    #[must_use]
    pub fn config(mut self, config: TcpConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how much may pass, over all workers together. Default: no limit.
    #[must_use]
    pub fn limits(mut self, limits: LimitConfig) -> Self {
        self.limit_config = limits;
        self
    }

    /// Sets what sessions are placed by, for schedulers that place by key. Default: by their client's
    /// address, under a secret that everybody knows.
    ///
    /// So nodes place alike without being told how, and clients that choose their addresses can meet
    /// in one backend. Where that matters, give all nodes of a cluster one secret of their own. With
    /// [`Ketama`](lbcore::schedule::Ketama), parts
    /// [`SourceText`](lbcore::schedule::KeyParts::SourceText) place as nginx does. A session that
    /// lacks what counts, such as the address of a client on a Unix socket, has no key.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::stream::Settings;
    /// use lbcore::Pool;
    /// use lbcore::hash::HashKey;
    /// use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
    ///
    /// # let read_secret = || [7; 16];
    /// let secret = HashKey::new(read_secret());
    /// let keys = KeyExtractor::new(KeyParts::Source, secret).prefix_v6(64)?;
    /// let settings = Settings::new(Pool::new(Maglev::default())).keys(keys);
    /// # Ok::<(), lbcore::schedule::PrefixError>(())
    /// ```
    #[must_use]
    pub fn keys(mut self, keys: KeyExtractor) -> Self {
        self.keys = keys;
        self
    }

    /// Sets which clients may come. Default: all.
    ///
    /// Behind a proxy whose header is read, the client is who the header tells of.
    #[must_use]
    pub fn rules(mut self, rules: AddressRules) -> Self {
        self.rules = rules;
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

    /// Takes what sessions need from the budget of the process. Default: from none.
    ///
    /// A session takes one of sessions, two of descriptors and 34 KiB of bytes, which is what it
    /// holds when readers on both sides are slow; most hold one.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Goes on counting where `previous` has stopped if the limits are the same, else begins anew.
    pub(crate) fn start_limits(&mut self, now: Instant, previous: Option<&Self>) {
        self.limits = match previous {
            Some(old) if old.limit_config == self.limit_config => Arc::clone(&old.limits),
            _ => Arc::new(Limits::new(now, self.limit_config)),
        };
    }

    /// The place of the pool for sessions that ask for `name`.
    pub(crate) fn pool_of(&self, name: Option<&ServerName>) -> Option<usize> {
        match &self.route {
            Route::Only => Some(0),
            Route::ServerName(names) => names.find(name).copied(),
        }
    }
}

impl<S: Scheduler> Clone for Settings<S> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            pools: self.pools.clone(),
            route: self.route.clone(),
            keys: self.keys,
            rules: self.rules.clone(),
            persistence: self.persistence.clone(),
            budget: self.budget.clone(),
            limit_config: self.limit_config,
            limits: Arc::clone(&self.limits),
        }
    }
}

impl<S: Scheduler> std::fmt::Debug for Settings<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .field("route", &self.route)
            .field("keys", &self.keys)
            .field("limits", &self.limit_config)
            .finish_non_exhaustive()
    }
}

impl<S: Scheduler> From<Pool<S>> for Settings<S> {
    fn from(pool: Pool<S>) -> Self {
        Self::new(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_out_of_its_range_is_named() {
        let zero = TcpConfig::default().idle_timeout(Duration::ZERO);
        assert_eq!(zero.check(), Err(TcpConfigError::Zero("idle_timeout")));
        for (tries, fine) in [(0, false), (1, true), (8, true), (9, false)] {
            let config = TcpConfig::default().connect_tries(tries);
            assert_eq!(config.check().is_ok(), fine, "{tries}");
        }
        for (millis, fine) in [(999, false), (1_000, true)] {
            let config = TcpConfig::default().keepalive(Some(Duration::from_millis(millis)));
            assert_eq!(config.check().is_ok(), fine, "{millis}");
        }
        assert_eq!(TcpConfig::default().keepalive(None).check(), Ok(()));
    }
}
