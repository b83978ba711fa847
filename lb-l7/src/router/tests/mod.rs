//! Tests of the router as a whole.
#![cfg(feature = "regex")]

use http::request::Parts;
use http::{HeaderName, Method, Request};

use super::*;

mod edits;
mod errors;
mod law;
mod paths;
mod precedence;
mod predicates;

/// A GET of this path from this host.
fn get(host: &str, target: &str) -> Parts {
    let request = Request::builder().uri(target).header("host", host);
    request.body(()).expect("a good request").into_parts().0
}

/// The same with one more field.
fn with(mut parts: Parts, name: &'static str, value: &'static str) -> Parts {
    let name = HeaderName::from_static(name);
    parts.headers.append(name, HeaderValue::from_static(value));
    parts
}

fn on() -> Match {
    Match::default()
}

/// A router of rules for these matches, each called after its target.
fn router<const N: usize>(rules: [(&'static str, Match); N]) -> Router<&'static str> {
    let rules = rules.map(|(name, fits)| Rule::forward(name, name).on(fits));
    Router::builder().rules(rules).build().expect("good rules")
}

#[track_caller]
fn routes(router: &Router<&'static str>, parts: &Parts, name: &str) {
    let matched = router.route(parts, 0);
    assert_eq!(matched.map_or("none", |matched| matched.name()), name);
}

/// A router of one rule.
fn only(rule: Rule<&'static str>) -> Router<&'static str> {
    Router::builder().rule(rule).build().expect("a good rule")
}

fn fault(rule: Rule<&'static str>) -> RuleFault {
    let built = Router::builder().rule(rule).build();
    built.expect_err("a bad rule").fault
}

fn post(parts: Parts) -> Parts {
    let mut parts = parts;
    parts.method = Method::POST;
    parts
}
