//! Finds what becomes of a request: pure, and the same for HTTP/1 and HTTP/2.
//!
//! A [`Router`] is built once of [`Rule`]s and never changes; another takes its place when the rules
//! do. What a route leads to is up to the caller: it is the `T` in `Router<T>`.
//!
//! # Which rule wins
//!
//! Of all rules that a request fits, the first in this order:
//!
//! 1. by **host**: its own name, then the longest wildcard (`*.a.example` before `*.example`), then
//!    rules for any host;
//! 2. by **path**: the exact path, then the longest prefix, then regular expressions in the order
//!    they are written, then rules for any path;
//! 3. under the same host and path (but not for regular expressions) by the number of **methods (as
//!    one), fields, parameters and cookies** asked for, more of them first;
//! 4. in the order they are **written**.
//!
//! A rule that is more specific but does not fit is passed over, also for one of a less specific host.
//! A rule for the prefix `/` is one about a path: it comes before any regular expression. One that is
//! to come last leaves the path out.
//!
//! # Cost
//!
//! One step down a tree for each label of the host and for each segment of the path, as far as rules
//! have them, whatever the number of rules; then the rules that have this very host and path, one
//! after the other, and those along the way up again until one fits. Regular expressions are tried
//! one by one, only those of the request's host. Nothing is allocated, but what a regular expression
//! caches the first times.
//!
//! # Examples
//!
//! ```
//! use http::{Method, Request};
//! use lb_l7::router::{Match, Router, Rule};
//!
//! let router = Router::builder()
//!     .rule(Rule::forward("shop", "web servers").on(Match::default().host("shop.example")))
//!     .rule(
//!         Rule::forward("orders", "order servers")
//!             .on(Match::default().host("shop.example").prefix("/orders").method(Method::POST)),
//!     )
//!     .build()?;
//!
//! let request = Request::post("/orders/../orders/7").header("host", "Shop.Example:8080");
//! let (mut parts, ()) = request.body(())?.into_parts();
//! router.normalise(&mut parts)?;
//! let matched = router.route(&parts, 0).expect("a rule fits");
//! assert_eq!((matched.name(), matched.target()), ("orders", Some(&"order servers")));
//! assert_eq!(parts.uri.path(), "/orders/7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use http::HeaderValue;
use http::request::Parts;
use http::uri::Scheme;
use lbcore::hash::HashKey;

mod build;
mod edit;
mod error;
mod headers;
pub(crate) mod host;
mod index;
mod path;
mod pattern;
mod predicate;
mod rule;
mod split;
#[cfg(test)]
mod tests;
mod tree;

pub use build::RouterBuilder;
pub use error::{RouterError, RuleFault};
pub use headers::HeaderOps;
pub use path::{EncodedSlash, Normalise, PathPolicy, Slashes, TargetFault};
pub use rule::{
    Action, Match, PathMatch, PathRewrite, Redirect, RedirectStatus, Respond, Rewrite, Rule,
    ValueMatch,
};
pub use split::{Split, StickyKey};

use edit::Edits;
use index::Index;

/// Finds the rule for each request; see the [module](self) for which one that is.
///
/// Never changes, so any number of workers may read it at once.
#[derive(Debug)]
pub struct Router<T> {
    policy: PathPolicy,
    index: Index,
    routes: Vec<Route<T>>,
}

/// A rule and what was read out of it.
#[derive(Debug)]
struct Route<T> {
    rule: Rule<T>,
    edits: Edits,
}

impl<T> Router<T> {
    /// A router without rules yet.
    #[must_use]
    pub fn builder() -> RouterBuilder<T> {
        RouterBuilder::default()
    }

    /// A router without rules.
    pub(crate) fn nowhere() -> Self {
        Self {
            policy: PathPolicy::default(),
            index: Index::new(),
            routes: Vec::new(),
        }
    }

    /// Brings the path of a request into the form that rules match and backends are to see.
    ///
    /// To be called once, before [`route`](Self::route). See [`PathPolicy::apply`].
    ///
    /// # Errors
    ///
    /// The request is to be answered with 400: see [`TargetFault`].
    pub fn normalise(&self, parts: &mut Parts) -> Result<(), TargetFault> {
        self.policy.apply(parts)
    }

    /// The rule for a request, and the target in it; `None` if no rule fits.
    ///
    /// The request is in normal form: its host in the field `host`, its path as
    /// [`normalise`](Self::normalise) leaves it. `entropy` chooses between the targets of a rule
    /// that has several, unless a [`StickyKey`] does: a random number, all of its 64 bits.
    ///
    /// The cost is told in the [module](self). Takes no lock, allocates nothing, never panics.
    #[must_use]
    pub fn route(&self, parts: &Parts, entropy: u64) -> Option<Matched<'_, T>> {
        let entry = self.index.find(parts)?;
        let route = self.routes.get(entry.rule)?;
        let target = match &route.rule.action {
            Action::Forward(split) => {
                let key = split.sticky_key().and_then(|key| sticky(key, parts));
                split.pick(key.unwrap_or(entropy))
            }
            _ => None,
        };
        Some(Matched {
            policy: &self.policy,
            route,
            place: entry.rule,
            prefix: entry.prefix,
            target,
        })
    }

    /// The rules, in the order they were written; that of [`Matched::place`].
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule<T>> {
        self.routes.iter().map(|route| &route.rule)
    }
}

/// What the key of a request comes to; `None` if it has none.
fn sticky(key: &StickyKey, parts: &Parts) -> Option<u64> {
    let value = match key {
        StickyKey::Cookie(name) => predicate::cookie(parts, name)?,
        StickyKey::Header(name) => parts.headers.get(name)?.as_bytes(),
    };
    Some(STICKY.sip13(value))
}

/// The rule for a request.
pub struct Matched<'a, T> {
    policy: &'a PathPolicy,
    route: &'a Route<T>,
    place: usize,
    prefix: usize,
    target: Option<&'a T>,
}

impl<'a, T> Matched<'a, T> {
    /// The name of the rule.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.route.rule.name
    }

    /// The place of the rule, counted from 0 as they were written: for tables beside the router.
    #[must_use]
    pub const fn place(&self) -> usize {
        self.place
    }

    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> &'a Rule<T> {
        &self.route.rule
    }

    /// What becomes of the request.
    #[must_use]
    pub const fn action(&self) -> &'a Action<T> {
        &self.route.rule.action
    }

    /// Where the request goes; `None` if the rule forwards nothing.
    #[must_use]
    pub const fn target(&self) -> Option<&'a T> {
        self.target
    }

    /// Makes of host, path and fields what the backend is to see, as the rule says.
    ///
    /// Allocates only where a path changes.
    ///
    /// # Errors
    ///
    /// A regular expression made a path that is refused: see [`TargetFault`].
    pub fn rewrite(&self, parts: &mut Parts) -> Result<(), TargetFault> {
        if let Some(replacement) = &self.route.edits.replacement {
            replacement.apply(self.policy, parts, self.prefix)?;
        }
        self.route.rule.request_headers.apply(&mut parts.headers);
        Ok(())
    }

    /// Where the rule sends the client of a request that came by `scheme`; `None` if nowhere.
    ///
    /// Always an absolute URI on the host of the rule, or else on that of the request; the path is
    /// never taken for a host.
    ///
    /// # Errors
    ///
    /// The request has no host to repeat, or a regular expression made a path that is refused.
    pub fn location(
        &self,
        parts: &Parts,
        scheme: &Scheme,
    ) -> Result<Option<HeaderValue>, TargetFault> {
        let destination = self.route.edits.destination.as_ref();
        destination
            .map(|to| to.location(self.policy, parts, scheme, self.prefix))
            .transpose()
    }
}

impl<T> Clone for Matched<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matched<'_, T> {}

impl<T> fmt::Debug for Matched<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matched")
            .field("name", &self.name())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Public, so that every machine gives a key the same target.
const STICKY: HashKey = HashKey::from_seed(0x7374_6963_6b79);
