//! Rules become a router, or an error that names the one at fault.

use std::collections::{HashMap, HashSet};

use super::edit::{Destination, Edits, Replacement, rule_path};
use super::headers::check_name;
use super::host::HostRule;
use super::index::{Entry, Index, Place};
use super::pattern::Pattern;
use super::predicate::{Predicate, check_cookie};
use super::{
    Action, Match, PathMatch, PathPolicy, PathRewrite, Respond, Route, Router, RouterError, Rule,
    RuleFault, Split, StickyKey,
};

/// Takes rules, and builds a [`Router`] of them.
#[derive(Debug)]
pub struct RouterBuilder<T> {
    policy: PathPolicy,
    rules: Vec<Rule<T>>,
}

impl<T> Default for RouterBuilder<T> {
    fn default() -> Self {
        Self {
            policy: PathPolicy::default(),
            rules: Vec::new(),
        }
    }
}

impl<T> RouterBuilder<T> {
    /// Brings paths into their normal form by this policy, those of rules and of requests.
    #[must_use]
    pub const fn path_policy(mut self, policy: PathPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds a rule behind the others.
    #[must_use]
    pub fn rule(mut self, rule: Rule<T>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds rules behind the others.
    #[must_use]
    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule<T>>) -> Self {
        self.rules.extend(rules);
        self
    }

    /// The router of these rules.
    ///
    /// # Errors
    ///
    /// The first rule that cannot stand, and why: see [`RuleFault`].
    pub fn build(self) -> Result<Router<T>, RouterError> {
        let mut names = HashSet::new();
        let mut index = Indexing {
            policy: self.policy,
            index: Index::new(),
            seen: HashMap::new(),
        };
        let mut routes = Vec::with_capacity(self.rules.len());
        for rule in self.rules {
            let blame = |fault| RouterError {
                rule: rule.name.clone(),
                fault,
            };
            if rule.name.is_empty() {
                return Err(blame(RuleFault::NameEmpty));
            }
            if !names.insert(rule.name.clone()) {
                return Err(blame(RuleFault::Name));
            }
            index.add(routes.len(), &rule).map_err(blame)?;
            let edits = Edits::of(&rule).map_err(blame)?;
            routes.push(Route { rule, edits });
        }
        Ok(Router {
            policy: index.policy,
            index: index.index,
            routes,
        })
    }
}

/// An index that is being filled.
struct Indexing {
    policy: PathPolicy,
    index: Index,
    /// What each match comes to, and whose it is.
    seen: HashMap<Sameness, String>,
}

/// What two matches have in common that match the very same.
#[derive(Eq, Hash, PartialEq)]
struct Sameness {
    host: HostRule,
    place: Place,
    /// What else they ask for, written out and sorted.
    rest: Vec<String>,
}

impl Indexing {
    fn add<T>(&mut self, at: usize, rule: &Rule<T>) -> Result<(), RuleFault> {
        if rule.matches.is_empty() {
            return self.add_match(at, rule, &Match::default());
        }
        let mut matches = rule.matches.iter();
        matches.try_for_each(|fits| self.add_match(at, rule, fits))
    }

    fn add_match<T>(&mut self, at: usize, rule: &Rule<T>, fits: &Match) -> Result<(), RuleFault> {
        let host = fits
            .host
            .as_deref()
            .map_or(Ok(HostRule::Any), HostRule::parse)?;
        let place = self.place(fits.path.as_ref())?;
        let mut predicates = Predicate::all_of(fits)?;
        let prefix = match &place {
            Place::Prefix(path) => path.len(),
            _ if replaces_prefix(rule) => return Err(RuleFault::PrefixOfNothing),
            _ => 0,
        };
        if let Place::Pattern(pattern) = &place {
            predicates.push(Predicate::Path(Pattern::whole(pattern)?));
        }
        let sameness = Sameness {
            rest: written_out(fits),
            host: host.clone(),
            place: place.clone(),
        };
        match self.seen.get(&sameness) {
            Some(other) if *other != rule.name => return Err(RuleFault::SameMatch(other.clone())),
            // The same rule says the same thing twice.
            Some(_) => return Ok(()),
            None => self.seen.insert(sameness, rule.name.clone()),
        };
        let entry = Entry {
            rule: at,
            prefix,
            predicates: predicates.into(),
        };
        self.index.insert(&host, &place, entry);
        Ok(())
    }

    fn place(&self, path: Option<&PathMatch>) -> Result<Place, RuleFault> {
        Ok(match path {
            None => Place::Any,
            Some(PathMatch::Exact(path)) => Place::Exact(rule_path(path, &self.policy)?),
            Some(PathMatch::Prefix(path)) => {
                let path = rule_path(path, &self.policy)?;
                Place::Prefix(path.trim_end_matches('/').into())
            }
            Some(PathMatch::Regex(pattern)) => Place::Pattern(pattern.clone()),
        })
    }
}

/// What a match asks for beside host and path, so that order and repetition make no difference.
fn written_out(fits: &Match) -> Vec<String> {
    let mut methods: Vec<&str> = fits.methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    let headers = fits
        .headers
        .iter()
        .map(|header| format!("header {header:?}"));
    let query = fits.query.iter().map(|query| format!("query {query:?}"));
    let cookies = fits
        .cookies
        .iter()
        .map(|cookie| format!("cookie {cookie:?}"));
    let mut all: Vec<String> = headers.chain(query).chain(cookies).collect();
    all.push(format!("methods {methods:?}"));
    all.sort_unstable();
    all.dedup();
    all
}

fn replaces_prefix<T>(rule: &Rule<T>) -> bool {
    let path = match &rule.action {
        Action::Redirect(redirect) => redirect.path.as_ref(),
        _ => rule
            .rewrite
            .as_ref()
            .and_then(|rewrite| rewrite.path.as_ref()),
    };
    matches!(path, Some(PathRewrite::Prefix(_)))
}

impl Edits {
    /// Checks all of a rule but its matches, and reads what of it is text.
    fn of<T>(rule: &Rule<T>) -> Result<Self, RuleFault> {
        rule.request_headers.check()?;
        rule.response_headers.check()?;
        let replacement = rule.rewrite.as_ref().map(Replacement::of).transpose()?;
        let mut destination = None;
        match &rule.action {
            Action::Forward(split) => check_split(split)?,
            _ if replacement.is_some() => return Err(RuleFault::RewriteOfNothing),
            Action::Redirect(redirect) => destination = Some(Destination::of(redirect)?),
            Action::Respond(respond) => check_respond(respond)?,
        }
        Ok(Self {
            replacement,
            destination,
        })
    }
}

fn check_split<T>(split: &Split<T>) -> Result<(), RuleFault> {
    if split.is_empty() {
        return Err(RuleFault::Weights);
    }
    match split.sticky_key() {
        Some(StickyKey::Cookie(name)) => check_cookie(name),
        _ => Ok(()),
    }
}

fn check_respond(respond: &Respond) -> Result<(), RuleFault> {
    let status = respond.status.as_u16();
    if !(200..600).contains(&status) {
        return Err(RuleFault::Status(status));
    }
    // RFC 9110, 15.3.5, 15.3.6 and 15.4.5.
    if matches!(status, 204 | 205 | 304) && !respond.body.is_empty() {
        return Err(RuleFault::BodyOfNothing(status));
    }
    respond.headers.keys().try_for_each(check_name)
}
