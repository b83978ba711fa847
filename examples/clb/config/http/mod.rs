//! `protocol = "http"` and `"https"`: what a listener does with requests.

mod action;
mod compress;
pub(super) mod fields;
mod hedge;
mod identity;
mod key;
mod limits;
mod log;
mod requests;
mod retry;
mod rule;
mod sticky;
mod timeouts;

use std::collections::BTreeSet;

use lb_l7::Timeouts;
use lb_l7::compress::Compression;
use lb_l7::h1::HeadLimits;
use lb_l7::h2_guard::H2Limits;
use lb_l7::router::{PathPolicy, Router, RouterError, RuleFault};
use lb_l7::upstream::{Hedge, RetryPolicy};

use super::pool::Known;
use super::section::Section;
use super::tls::Tls;
pub(crate) use identity::{Identity, RequestId, Trace};
pub(crate) use key::RequestKey;
pub(crate) use log::{AccessLog, LogTarget};
pub(crate) use requests::Requests;
pub(crate) use rule::Rule;
pub(crate) use sticky::Sticky;

/// What becomes of the requests of a listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Http {
    /// Who answers what no rule is for. Default none: 404.
    pub(crate) otherwise: Option<String>,
    /// In the order of the file, each name once.
    pub(crate) rules: Vec<Rule>,
    /// The same client to the same backend, by a cookie. Default none.
    pub(crate) sticky: Option<Sticky>,
    /// What requests are placed by. Default: their client's address.
    pub(crate) key: RequestKey,
    /// How long each phase may take.
    pub(crate) timeouts: Timeouts,
    /// How HTTP/2 is spoken; none if it is not.
    pub(crate) http2: Option<H2Limits>,
    /// Whether a connection without TLS may begin with HTTP/2.
    pub(crate) prior_knowledge: bool,
    /// How many bytes a request's body may have. Default no limit.
    pub(crate) body_limit: u64,
    /// How large a head may be.
    pub(crate) head: HeadLimits,
    /// How paths are made alike.
    pub(crate) paths: PathPolicy,
    /// Whether answers of clb's own say why. Default true.
    pub(crate) explain: bool,
    /// Whether a name in the TLS handshake must be the one that is asked for. Default true.
    pub(crate) match_server_name: bool,
    /// Who is believed, and what backends are told of the client.
    pub(crate) identity: Identity,
    /// A name for each request. Default none.
    pub(crate) request_id: Option<RequestId>,
    /// What becomes of `traceparent`. Default none: it goes by.
    pub(crate) trace: Option<Trace>,
    /// Where each request is logged. Default nowhere.
    pub(crate) access_log: Option<AccessLog>,
    /// How TLS is spoken with clients; none in the clear.
    pub(crate) tls: Option<Tls>,
    /// Which failures another backend may mend.
    pub(crate) retry: RetryPolicy,
    /// Whether a slow answer has another backend asked as well. Default no.
    pub(crate) hedge: Option<Hedge>,
    /// Which answers are compressed. Default none.
    pub(crate) compress: Option<Compression>,
    /// How many requests there may be.
    pub(crate) requests: Requests,
    /// Whether backends are told of clients' certificates. Default false.
    pub(crate) certificate_headers: bool,
}

impl Http {
    /// Every pool that it may name, each once.
    pub(crate) fn pools(&self) -> BTreeSet<&str> {
        let of_rules = self.rules.iter().flat_map(Rule::pools);
        of_rules.chain(self.otherwise.as_deref()).collect()
    }

    /// The router of these rules, each target made by `target` of a rule and the name of a pool.
    ///
    /// # Errors
    ///
    /// Those of `target`; and [`RouterError`], which the parser lets nothing through for.
    pub(crate) fn router<T, E: From<RouterError>>(
        &self,
        mut target: impl FnMut(&Rule, &str) -> Result<T, E>,
    ) -> Result<Router<T>, E> {
        let mut builder = Router::builder().path_policy(self.paths);
        let otherwise = self.otherwise.iter().map(|pool| Rule::otherwise(pool));
        for rule in self.rules.iter().cloned().chain(otherwise) {
            builder = builder.rule(rule.made(|pool| target(&rule, pool))?);
        }
        Ok(builder.build()?)
    }
}

/// The keys of a listener of http; `otherwise` is its own pool.
pub(super) fn read(
    section: &mut Section<'_>,
    otherwise: Option<String>,
    pools: &Known<'_>,
    tls: Option<Tls>,
) -> Http {
    let timeouts = timeouts::read(section, Timeouts::default());
    let retry = retry::read(section, &RetryPolicy::default());
    let (http2, prior_knowledge) = limits::http2(section);
    let paths = limits::paths(section);
    let before = section.notes().mistakes();
    let (rules, places) = rule::read_all(
        section,
        pools,
        &rule::Base {
            timeouts,
            paths,
            retry: &retry,
        },
    );
    let are_whole = section.notes().mistakes() == before;
    let http = Http {
        otherwise,
        rules,
        sticky: section.table("sticky", sticky::read).flatten(),
        key: section.table("hash", key::read).unwrap_or_default(),
        timeouts,
        http2,
        prior_knowledge,
        body_limit: section
            .integer("body_limit", 0..=u64::MAX >> 1)
            .unwrap_or(u64::MAX),
        head: limits::head(section),
        paths,
        explain: section.flag("explain").unwrap_or(true),
        match_server_name: section.flag("match_server_name").unwrap_or(true),
        identity: identity::read(section),
        request_id: identity::request_id(section),
        trace: identity::trace(section),
        access_log: section.table("access_log", log::read).flatten(),
        tls,
        retry,
        hedge: hedge::read(section).flatten(),
        compress: compress::read(section),
        requests: section
            .table("request_limits", requests::read)
            .unwrap_or_default(),
        certificate_headers: section.flag("certificate_headers").unwrap_or(false),
    };
    // What a faulty rule is meant to be, nobody can say.
    if are_whole {
        check_together(section, &http, places);
    }
    http
}

/// Tells of rules that cannot stand beside each other: each is good by itself.
fn check_together(section: &Section<'_>, http: &Http, mut places: Vec<rule::Place>) {
    let mut left = http.clone();
    loop {
        let built: Result<Router<()>, RouterError> = left.router(|_, _| Ok(()));
        let Err(error) = built else {
            return;
        };
        // Of two the later one is at fault, and the listener's own pool comes last.
        let at = left.rules.iter().rposition(|rule| rule.name == error.rule);
        let Some(at) = at else {
            return section.wrong("rule", of_otherwise(http, &error));
        };
        let place = places.remove(at);
        left.rules.remove(at);
        let notes = section.notes();
        notes.mistake(place.at, &place.path, error.fault.to_string());
    }
}

/// What is wrong with the rule that the listener's own pool is.
fn of_otherwise(http: &Http, error: &RouterError) -> String {
    match (&error.fault, &http.otherwise) {
        (RuleFault::SameMatch(rule), Some(pool)) => {
            format!("rule {rule} is for every request: none is left for pool {pool:?}")
        }
        _ => error.to_string(),
    }
}

/// Every key of a listener that only http has; of the others the listener knows.
pub(super) const KEYS: [&str; 19] = [
    "access_log",
    "body_limit",
    "certificate_headers",
    "compress",
    "explain",
    "forwarded",
    "header_limit",
    "hedge",
    "http2",
    "match_server_name",
    "paths",
    "request_id",
    "request_limits",
    "retry",
    "rule",
    "sticky",
    "timeouts",
    "trace",
    "trusted",
];
