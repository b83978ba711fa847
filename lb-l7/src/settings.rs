//! What a proxy does with requests: its rules, limits, and what it tells whom.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::request;
use lbcore::schedule::Scheduler;
use lbcore::{Instant, Pool};

use crate::access_log::AccessLog;
#[cfg(feature = "compress")]
use crate::compress::Compression;
use crate::cookie::CookiePersistence;
use crate::filter::Filter;
use crate::h1::HeadLimits;
use crate::h2_guard::H2Limits;
use crate::headers::identity::{Hop, Identity};
use crate::headers::persist_key::PersistKey;
use crate::headers::request_id::RequestId;
use crate::headers::trace::{Trace, TraceMode};
use crate::limit::{LimitGate, RequestLimits};
use crate::peer::Peer;
use crate::router::{Action, Router, RouterError, Rule};
use crate::stats::{ExchangeStats, ListenerStats, UpstreamStats, Writers};
use crate::timeout::Timeouts;
use crate::upstream::{Hedge, LearnedDelay, RetryPolicy, Upstream};
use crate::worker::Worker;

/// Where a rule sends requests: an upstream, and how this rule uses it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose backends answer.
    pub upstream: Upstream,
    /// The same client to the same backend, by a cookie. Default none.
    pub cookie: Option<Arc<CookiePersistence>>,
    /// What a hashing scheduler places a request by. Default none, which such a scheduler takes for
    /// one and the same key.
    pub key: Option<Arc<PersistKey>>,
    /// Which failures another backend may mend.
    pub retry: RetryPolicy,
    /// Whether a slow answer has a second backend asked as well. Default none.
    pub hedge: Option<Hedge>,
    /// How long each phase may take. Default: as the [`Settings`] say.
    pub timeouts: Option<Timeouts>,
    /// Which answers are compressed. Default: as the [`Settings`] say; none at all by
    /// [`Compression::off`].
    #[cfg(feature = "compress")]
    pub compress: Option<Arc<Compression>>,
    stats: Arc<OnceLock<UpstreamStats>>,
    learned: Arc<LearnedDelay>,
}

impl Target {
    /// Sends requests to `upstream`.
    #[must_use]
    pub fn new(upstream: impl Into<Upstream>) -> Self {
        Self {
            upstream: upstream.into(),
            cookie: None,
            key: None,
            retry: RetryPolicy::default(),
            hedge: None,
            timeouts: None,
            #[cfg(feature = "compress")]
            compress: None,
            stats: Arc::default(),
            learned: Arc::default(),
        }
    }

    /// See [`cookie`](Self::cookie).
    #[must_use]
    pub fn cookie(mut self, cookie: impl Into<Arc<CookiePersistence>>) -> Self {
        self.cookie = Some(cookie.into());
        self
    }

    /// See [`key`](Self::key).
    #[must_use]
    pub fn key(mut self, key: impl Into<Arc<PersistKey>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// See [`retry`](Self::retry).
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// See [`hedge`](Self::hedge).
    #[must_use]
    pub const fn hedge(mut self, hedge: Hedge) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// See [`timeouts`](Self::timeouts).
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Some(timeouts);
        self
    }

    /// See [`compress`](Self::compress).
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, compression: impl Into<Arc<Compression>>) -> Self {
        self.compress = Some(compression.into());
        self
    }

    /// Where what it does is counted, once it is in use.
    pub(crate) fn stats(&self) -> Option<&UpstreamStats> {
        self.stats.get()
    }

    /// How long an answer is waited for before another backend is asked as well; `None`: for ever.
    pub(crate) fn hedge_delay(&self, now: Instant) -> Option<Duration> {
        let figures = || {
            let figures = self.stats().map(UpstreamStats::read);
            figures.unwrap_or_default().first_byte
        };
        self.learned.of(self.hedge?.after, now, figures)
    }

    pub(crate) fn count_with(&self, stats: UpstreamStats) {
        // A target belongs to the one proxy that uses it first.
        let _ = self.stats.set(stats);
    }
}

impl From<Upstream> for Target {
    fn from(upstream: Upstream) -> Self {
        Self::new(upstream)
    }
}

impl<S: Scheduler> From<Pool<S>> for Target {
    fn from(pool: Pool<S>) -> Self {
        Self::new(Upstream::new(pool))
    }
}

/// What a proxy does with requests.
///
/// # Examples
///
/// ```
/// use lb_l7::router::{Match, Router, Rule};
/// use lb_l7::{Settings, Target};
/// use lbcore::schedule::PeakEwma;
/// use lbcore::{Backend, Pool};
///
/// let api = Pool::new(PeakEwma::default()).backend(Backend::new("api-1", "10.0.1.11:80".parse()?));
/// let pages = Pool::new(PeakEwma::default()).backend(Backend::new("p-1", "10.0.2.11:80".parse()?));
/// let router = Router::builder()
///     .rule(Rule::forward("api", Target::from(api)).on(Match::default().prefix("/api/")))
///     .rule(Rule::forward("pages", Target::from(pages)))
///     .build()?;
/// let settings = Settings::new(router).body_limit(10 * 1024 * 1024);
/// # let _ = settings;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Settings {
    /// Its name in reports and logs. Default `http`.
    pub name: Box<str>,
    /// Which target, or which answer, a request gets.
    pub router: Router<Target>,
    /// How long each phase may take, unless a target says otherwise.
    pub timeouts: Timeouts,
    /// How large a head may be: 431, 414.
    pub head: HeadLimits,
    /// How many bytes a request's body may have: 413. Default no limit.
    pub body_limit: u64,
    /// How HTTP/2 is spoken to clients.
    pub http2: H2Limits,
    /// Whether a connection without TLS that opens with the preface of HTTP/2 speaks it (RFC 9113,
    /// 3.3). Default true.
    pub prior_knowledge: bool,
    /// Whether answers of the proxy's own say why, in `x-lb-reason`. Default true.
    pub explain: bool,
    /// Whether a name in the TLS handshake must be the one that is asked for (421). Default true.
    pub match_server_name: bool,
    /// What backends are told of the client, and who is believed.
    pub identity: Arc<Identity>,
    /// Gives each request a name. Default none.
    pub request_id: Option<RequestId>,
    /// What becomes of `traceparent`. Default: passed on.
    pub trace: Trace,
    /// The program's own hands on requests and responses, in this order.
    pub filters: Vec<Arc<dyn Filter>>,
    /// Where each exchange is logged. Default nowhere.
    pub access_log: Option<Arc<AccessLog>>,
    /// What requests may use. Default no limit.
    pub limits: RequestLimits,
    /// Which answers are compressed, unless a target says otherwise. Default none.
    #[cfg(feature = "compress")]
    pub compress: Option<Arc<Compression>>,
    /// Whether backends are told of the certificates that clients have shown, by the fields of
    /// [`ClientCertificate::HEADERS`](crate::tls::ClientCertificate::HEADERS), which are taken off of
    /// every request first. Default false: these fields are passed on of trusted peers alone.
    ///
    /// A client by TLS without one is told as such; one without TLS has none of the fields.
    #[cfg(feature = "tls")]
    pub certificate_headers: bool,
    /// The limits at work.
    pub(crate) gate: LimitGate,
    /// Whether requests are somebody else's: the caller's own are sent as they are.
    is_proxy: bool,
    pub(crate) stats: ListenerStats,
    /// By the place of the rule.
    pub(crate) routes: Vec<ExchangeStats>,
}

impl Settings {
    /// Routes by `router`.
    #[must_use]
    pub fn new(router: Router<Target>) -> Self {
        Self {
            name: "http".into(),
            router,
            timeouts: Timeouts::default(),
            head: HeadLimits::default(),
            body_limit: u64::MAX,
            http2: H2Limits::default(),
            prior_knowledge: true,
            explain: true,
            match_server_name: true,
            identity: Arc::new(Identity::default()),
            request_id: None,
            trace: untouched(),
            filters: Vec::new(),
            access_log: None,
            limits: RequestLimits::default(),
            #[cfg(feature = "compress")]
            compress: None,
            #[cfg(feature = "tls")]
            certificate_headers: false,
            gate: LimitGate::new(Instant::ZERO, &RequestLimits::default(), None),
            is_proxy: true,
            stats: ListenerStats::new(&Writers::new(1)),
            routes: Vec::new(),
        }
    }

    /// Sends every request to `target`.
    ///
    /// # Errors
    ///
    /// None that a single rule can have; it is the router's.
    pub fn to(target: impl Into<Target>) -> Result<Self, RouterError> {
        let rule = Rule::forward("all", target.into());
        Ok(Self::new(Router::builder().rule(rule).build()?))
    }

    /// See [`name`](Self::name).
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// See [`timeouts`](Self::timeouts).
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// See [`head`](Self::head).
    #[must_use]
    pub const fn head(mut self, head: HeadLimits) -> Self {
        self.head = head;
        self
    }

    /// See [`body_limit`](Self::body_limit).
    #[must_use]
    pub const fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// See [`identity`](Self::identity).
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Arc::new(identity);
        self
    }

    /// See [`request_id`](Self::request_id).
    #[must_use]
    pub fn request_id(mut self, request_id: RequestId) -> Self {
        self.request_id = Some(request_id);
        self
    }

    /// See [`access_log`](Self::access_log).
    #[must_use]
    pub fn access_log(mut self, log: impl Into<Arc<AccessLog>>) -> Self {
        self.access_log = Some(log.into());
        self
    }

    /// See [`http2`](Self::http2).
    #[must_use]
    pub const fn http2(mut self, http2: H2Limits) -> Self {
        self.http2 = http2;
        self
    }

    /// See [`trace`](Self::trace).
    #[must_use]
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// See [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: RequestLimits) -> Self {
        self.limits = limits;
        self
    }

    /// See [`compress`](Self::compress).
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, compression: impl Into<Arc<Compression>>) -> Self {
        self.compress = Some(compression.into());
        self
    }

    /// See [`certificate_headers`](Self::certificate_headers).
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn certificate_headers(mut self, told: bool) -> Self {
        self.certificate_headers = told;
        self
    }

    /// Adds one to the [`filters`](Self::filters).
    #[must_use]
    pub fn filter(mut self, filter: impl Filter + 'static) -> Self {
        self.filters.push(Arc::new(filter));
        self
    }

    /// Every target that a rule names, in the order of the rules.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.router.rules().flat_map(|rule| {
            let split = match &rule.action {
                Action::Forward(split) => Some(split),
                _ => None,
            };
            split.into_iter().flat_map(|split| split.targets())
        })
    }

    /// The name of the rule at `place`.
    pub(crate) fn route_name(&self, place: usize) -> Option<&str> {
        self.router.rules().nth(place).map(|rule| &*rule.name)
    }

    /// For requests of the caller's own: backends are told of nobody.
    pub(crate) const fn of_client(mut self) -> Self {
        self.is_proxy = false;
        self
    }

    /// Tells the backend who asks.
    pub(crate) fn identify(&self, worker: &Worker, hop: &Hop, parts: &mut request::Parts) {
        if !self.is_proxy {
            return;
        }
        self.identity.apply(&mut parts.headers, hop, parts.version);
        worker.with_rng(|rng| {
            if let Some(request_id) = &self.request_id {
                request_id.apply(&mut parts.headers, hop, rng);
            }
            self.trace.apply(&mut parts.headers, hop, rng);
        });
    }

    /// Tells of the client's certificate, in place of what the client says of it.
    ///
    /// A client's own word on it is taken off even where backends are told nothing: they may be told
    /// by another listener, and cannot tell one from the other.
    #[cfg(feature = "tls")]
    pub(crate) fn certify(&self, peer: &Peer, hop: &Hop, fields: &mut http::HeaderMap) {
        let told = self.certificate_headers;
        if !self.is_proxy || (hop.is_trusted() && !told) {
            return;
        }
        crate::tls::ClientCertificate::take_off(fields);
        if let Some(tls) = peer.tls.as_ref().filter(|_| told) {
            let told = tls.certificate_headers();
            fields.extend(
                told.iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "by feature")]
    pub(crate) const fn certify(&self, _: &Peer, _: &Hop, _: &http::HeaderMap) {}

    /// What the identity of requests of `peer` begins from.
    pub(crate) fn hop(&self, peer: &Peer) -> Hop {
        self.identity
            .hop(peer.address.ip(), peer.local, peer.secured())
    }
}

/// `traceparent` goes by: who has no tracing wants none begun.
fn untouched() -> Trace {
    Trace {
        mode: TraceMode::Off,
        ..Trace::default()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
