//! What the library is told of a listener of http.

use std::sync::Arc;

use lb_l7::cookie::CookiePersistence;
use lb_l7::headers::persist_key::PersistKey;
use lb_l7::limit::{Bandwidth, RequestLimits};
use lb_l7::router::RouterError;
use lb_l7::server::ServerConfig;
use lb_l7::upstream::{Hedge, RetryPolicy};
use lb_l7::{Settings, Target};
use lbcore::budget::Resource;

use super::super::settings::{Shared, limits, rules, told};
use super::Log;
use crate::config::{Http, Listener, Rule};

/// What becomes of its requests.
pub(super) fn settings(
    from: &Listener,
    http: &Http,
    shared: &Shared<'_>,
    log: Option<&Log>,
) -> Result<Settings, String> {
    let targets = Targets::of(from, http, shared)?;
    let router = http.router(|rule, pool| targets.target(rule, pool));
    let router = router.map_err(|fault| fault.told(from))?;
    let mut settings = Settings::new(router)
        .name(&from.name)
        .timeouts(http.timeouts)
        .head(http.head)
        .body_limit(http.body_limit)
        .http2(http.http2.unwrap_or_default())
        .identity(http.identity.made().map_err(|e| told(from, &e))?);
    settings.prior_knowledge = http.prior_knowledge;
    if let Some(trace) = http.trace {
        settings.trace = trace.made();
    }
    settings.explain = http.explain;
    settings.match_server_name = http.match_server_name;
    settings.certificate_headers = http.tls.as_ref().is_some_and(|tls| tls.asks_clients());
    settings.request_id = http.request_id.as_ref().map(|id| id.made());
    settings.compress = http.compress.clone().map(Arc::new);
    settings.certificate_headers = http.certificate_headers;
    settings.limits = requests(from, http, shared);
    settings.access_log = log.map(|log| Arc::clone(&log.log));
    Ok(settings)
}

/// How many requests there may be, and what they may take.
fn requests(from: &Listener, http: &Http, shared: &Shared<'_>) -> RequestLimits {
    let bytes = Bandwidth::default()
        .bytes_in(from.limits.bytes_per_second_in)
        .bytes_out(from.limits.bytes_per_second_out);
    let limits = http.requests.made().bandwidth(bytes);
    // What all workers share costs each request something: only where it limits anything.
    let is_limited = |resource| shared.budget.stats(resource).limit != u64::MAX;
    if Resource::ALL.into_iter().any(is_limited) {
        limits.budget(shared.budget.clone())
    } else {
        limits
    }
}

/// Whom it lets in, and how it goes.
pub(super) fn server(from: &Listener) -> Result<ServerConfig, String> {
    let mut config = ServerConfig::default();
    config.accept_proxy = from.proxy_protocol.accept;
    // Bytes are counted by what requests take, and not here.
    config.limits = limits(from).bytes_per_second_in(0).bytes_per_second_out(0);
    config.drain_timeout = from.drain_timeout;
    if !from.allow.is_empty() || !from.deny.is_empty() {
        config.rules = Some(Arc::new(rules(from)?));
    }
    Ok(config)
}

/// Makes the targets of rules.
struct Targets<'s> {
    shared: &'s Shared<'s>,
    /// One for all rules without their own.
    sticky: Option<Arc<CookiePersistence>>,
    key: Arc<PersistKey>,
    retry: RetryPolicy,
    hedge: Option<Hedge>,
}

/// Why there is no router.
enum Fault {
    Told(String),
    Router(RouterError),
}

impl From<RouterError> for Fault {
    fn from(error: RouterError) -> Self {
        Self::Router(error)
    }
}

impl Fault {
    fn told(&self, from: &Listener) -> String {
        match self {
            Self::Told(text) => told(from, text),
            Self::Router(error) => told(from, error),
        }
    }
}

impl<'s> Targets<'s> {
    fn of(from: &Listener, http: &'s Http, shared: &'s Shared<'s>) -> Result<Self, String> {
        let sticky = http.sticky.as_ref().map(|sticky| sticky.made(shared.keys));
        let sticky = sticky.transpose().map_err(|e| told(from, &e))?;
        let key = http.key.made().map_err(|e| told(from, &e))?;
        Ok(Self {
            shared,
            sticky: sticky.map(Arc::new),
            key: Arc::new(key),
            retry: http.retry.clone(),
            hedge: http.hedge,
        })
    }

    fn target(&self, rule: &Rule, pool: &str) -> Result<Target, Fault> {
        // The parser has made sure that every name is that of a pool.
        let missing = || Fault::Told(format!("pool {pool:?} is missing"));
        let way = (self.shared.upstreams)(pool).ok_or_else(missing)?;
        let mut target = Target::new(way.upstream);
        if way.is_keyed {
            target.key = Some(Arc::clone(&self.key));
        }
        target.cookie = match &rule.sticky {
            Some(sticky) => {
                let made = sticky.made(self.shared.keys);
                let made = made.map_err(|error| Fault::Told(error.to_string()))?;
                Some(Arc::new(made))
            }
            None => self.sticky.clone(),
        };
        target.timeouts = rule.timeouts;
        target.compress = rule.compress.clone().map(Arc::new);
        target.retry = rule.retry.clone().unwrap_or_else(|| self.retry.clone());
        target.hedge = rule.hedge.unwrap_or(self.hedge);
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_l7::headers::trace::TraceMode;
    use lb_l7::limit::Rate;
    use lb_l7::router::Action;
    use lb_l7::upstream::RetryOn;
    use lbcore::budget::{Budget, BudgetConfig};
    use lbcore::limit::LimitConfig;
    use lbcore::schedule::RoundRobin;

    use super::super::super::pools::Way;
    use super::super::own_keys;
    use super::*;
    use crate::config;

    fn listener(rest: &str) -> Listener {
        let text = format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"random\"\n\
             [[listener]]\nname = \"l\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:1\"\n\
             pool = \"p\"\n{rest}\n"
        );
        let parsed = config::parse(&text).expect(&text);
        parsed.config.listeners.into_iter().next().expect("one")
    }

    /// The library's settings, for a pool whose scheduler places by key or not.
    fn found(rest: &str, is_keyed: bool) -> Settings {
        let from = listener(rest);
        let config::Target::Http(http) = &from.target else {
            panic!("{from:?}");
        };
        let way = |_: &str| {
            Some(Way {
                upstream: lbcore::Pool::new(RoundRobin).into(),
                is_keyed,
            })
        };
        let (budget, keys) = (Budget::new(BudgetConfig::default()), own_keys());
        let shared = Shared {
            pools: &|_| None,
            upstreams: &way,
            budget: &budget,
            keys: &keys,
            elsewhere: None,
        };
        settings(&from, http, &shared, None).expect("good")
    }

    #[test]
    fn what_the_file_leaves_to_the_library_is_the_librarys_default() {
        let settings = found("", false);
        let default = Settings::to(lbcore::Pool::new(RoundRobin)).expect("one rule");
        assert_eq!(&*settings.name, "l");
        assert_eq!(settings.timeouts, default.timeouts);
        assert_eq!(settings.head, default.head);
        assert_eq!(settings.body_limit, default.body_limit);
        assert_eq!(settings.http2, default.http2);
        assert_eq!(settings.prior_knowledge, default.prior_knowledge);
        assert_eq!(settings.trace.mode, default.trace.mode);
        assert!(settings.explain && settings.match_server_name);
        assert!(settings.request_id.is_none() && settings.access_log.is_none());
        assert!(settings.compress.is_none() && !settings.certificate_headers);
        assert_eq!(settings.limits.rate, default.limits.rate);
        assert_eq!(settings.limits.clients, default.limits.clients);
        let target = settings.targets().next().expect("the default");
        assert!(target.cookie.is_none() && target.key.is_none() && target.timeouts.is_none());
        assert!(target.hedge.is_none());
        assert!(found("", true).targets().all(|target| target.key.is_some()));
    }

    #[test]
    fn every_key_of_the_file_reaches_the_library() {
        let settings = found(
            "compress = true\ncertificate_headers = true\n\
             limits = { bytes_per_second_in = 7, bytes_per_second_out = 8 }\n\
             request_limits = { per_second = 9, client_per_minute = 10, client_burst = 11, \
             client_bytes_per_second_in = 12, client_bytes_per_second_out = 13, prefix_v4 = 14, \
             prefix_v6 = 15, clients = 16, concurrency = 17, adaptive = { max = 18 } }\n\
             timeouts = { total = \"1s\" }\nhttp2 = { streams = 2, prior_knowledge = false }\n\
             body_limit = 3\nheader_limit = { fields = 4 }\nexplain = false\n\
             match_server_name = false\nrequest_id = { header = \"x-id\" }\ntrace = true\n\
             trusted = [\"10.0.0.0/8\"]\nsticky = { cookie = \"s\" }\n\
             retry = { tries = 5, on = [\"timeout\"] }\nhedge = { after = \"7ms\", most = 2 }\n\
             rule = [{ path = \"/x\", pool = \"p\", timeouts = { connect = \"6s\" } }]",
            false,
        );
        assert_eq!(settings.timeouts.total, Duration::from_secs(1));
        assert_eq!(
            (settings.http2.streams, settings.prior_knowledge),
            (2, false)
        );
        assert_eq!((settings.body_limit, settings.head.fields), (3, 4));
        assert!(!settings.explain && !settings.match_server_name);
        assert!(settings.compress.is_some() && settings.certificate_headers);
        let limits = &settings.limits;
        assert_eq!(limits.rate, Rate::per_second(9));
        assert_eq!(limits.client_rate, Rate::per_minute(10).burst(11));
        let bytes = |bandwidth: Bandwidth| (bandwidth.bytes_in, bandwidth.bytes_out);
        assert_eq!(bytes(limits.bandwidth), (7, 8));
        assert_eq!(bytes(limits.client_bandwidth), (12, 13));
        assert_eq!((limits.prefixes.v4, limits.prefixes.v6), (14, 15));
        assert_eq!((limits.clients, limits.concurrency), (16, 17));
        assert_eq!(limits.adaptive.map(|adaptive| adaptive.max), Some(18));
        assert!(limits.budget.is_none(), "it limits nothing");
        assert_eq!(settings.request_id.expect("a name").name, "x-id");
        assert_eq!(settings.trace.mode, TraceMode::Join);
        let trusts = |peer: &str| settings.identity.trusts(peer.parse().expect("an address"));
        assert!(trusts("10.1.2.3") && !trusts("192.0.2.1"));
        let rules: Vec<_> = settings.router.rules().collect();
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["rule-1", "default"]);
        let targets: Vec<_> = rules
            .iter()
            .map(|rule| match &rule.action {
                Action::Forward(split) => split.targets().next().expect("one"),
                other => panic!("{other:?}"),
            })
            .collect();
        for target in &targets {
            assert!(target.cookie.is_some());
            let hedge = Hedge::after(Duration::from_millis(7)).most(2);
            assert_eq!(target.hedge, Some(hedge));
            assert_eq!((target.retry.tries, target.retry.on), (5, RetryOn::TIMEOUT));
        }
        let own = targets
            .iter()
            .map(|target| target.timeouts.map(|own| own.connect));
        let expected = [Some(Duration::from_secs(6)), None];
        assert_eq!(own.collect::<Vec<_>>(), expected);
        assert!(!found("http2 = false", false).prior_knowledge);
    }

    #[test]
    fn a_rule_has_its_own_hedge_or_none_at_all() {
        let settings = found(
            "hedge = true\nrule = [{ path = \"/a\", pool = \"p\", hedge = false },\n\
             { path = \"/b\", pool = \"p\", hedge = { after = \"5ms\" } }]",
            false,
        );
        let hedges: Vec<_> = settings.targets().map(|target| target.hedge).collect();
        let own = Hedge::after(Duration::from_millis(5));
        assert_eq!(hedges, [None, Some(own), Some(Hedge::default())]);
    }

    #[test]
    fn whom_a_server_lets_in_is_what_the_file_says() {
        let none = server(&listener("")).expect("good");
        assert!(!none.accept_proxy && none.rules.is_none());
        assert_eq!(none.limits, LimitConfig::default());
        let all = server(&listener(
            "deny = [\"10.0.0.0/8\"]\nlimits = { connections = 4 }\ndrain_timeout = \"7s\"\n\
             proxy_protocol = { accept = true }",
        ))
        .expect("good");
        assert!(all.accept_proxy);
        assert_eq!(all.limits, LimitConfig::default().connections(4));
        assert_eq!(all.drain_timeout, Duration::from_secs(7));
        let rules = all.rules.expect("a list");
        let allows = |client: &str| rules.allows(client.parse().expect("an address"));
        assert!(!allows("10.0.0.1") && allows("192.0.2.1"));
        let allowed = server(&listener("allow = [\"10.0.0.0/8\"]")).expect("good");
        assert!(allowed.rules.is_some());
    }
}
