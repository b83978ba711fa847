//! `[[listener.rule]]`: which requests, and what becomes of them.

use http::Method;
use lb_l7::Timeouts;
use lb_l7::compress::Compression;
use lb_l7::router::{
    self, HeaderOps, Match, PathMatch, PathPolicy, Respond, Rewrite, Router, RuleFault, Split,
    StickyKey,
};
use lb_l7::upstream::{Hedge, RetryPolicy};

use super::super::pool::Known;
use super::super::section::Section;
use super::action::Action;
use super::sticky::{self, Sticky};
use super::{action, compress, fields, hedge, retry, timeouts};

/// Which requests, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// In log and metrics. Default `rule-` and its place, from 1.
    pub(crate) name: String,
    /// What a request must be like. Default anything.
    pub(crate) fits: Match,
    /// What becomes of it.
    pub(crate) action: Action,
    /// What the backend sees in place of host and path.
    pub(crate) rewrite: Option<Rewrite>,
    /// What is done to the fields of the request.
    pub(crate) request_headers: HeaderOps,
    /// What is done to the fields of the response.
    pub(crate) response_headers: HeaderOps,
    /// In place of the listener's own.
    pub(crate) sticky: Option<Sticky>,
    /// In place of the listener's own.
    pub(crate) timeouts: Option<Timeouts>,
    /// As the listener's own, but for what it says.
    pub(crate) retry: Option<RetryPolicy>,
    /// In place of the listener's own; none of either where it says false.
    #[expect(clippy::option_option, reason = "none at all is something to say")]
    pub(crate) hedge: Option<Option<Hedge>>,
    /// In place of the listener's own.
    pub(crate) compress: Option<Compression>,
}

/// What a rule begins from: what its listener says.
#[derive(Clone, Copy)]
pub(super) struct Base<'s> {
    pub(super) timeouts: Timeouts,
    pub(super) paths: PathPolicy,
    pub(super) retry: &'s RetryPolicy,
}

/// Where a rule stands in the file.
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) path: String,
}

impl Rule {
    /// The rule that a listener's own pool is.
    pub(super) fn otherwise(pool: &str) -> Self {
        Self {
            name: OTHERWISE.into(),
            fits: Match::default(),
            action: Action::to(pool),
            rewrite: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            sticky: None,
            timeouts: None,
            retry: None,
            hedge: None,
            compress: None,
        }
    }

    /// The pools that it names.
    pub(super) fn pools(&self) -> impl Iterator<Item = &str> {
        let pools = match &self.action {
            Action::Forward { pools, .. } => pools.as_slice(),
            Action::Redirect(_) | Action::Respond { .. } => &[],
        };
        pools.iter().map(|(_, pool)| pool.as_str())
    }

    /// The same as the router takes it, with the targets that `target` makes of pools' names.
    pub(super) fn made<T, E>(
        &self,
        mut target: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<router::Rule<T>, E> {
        let action = match &self.action {
            Action::Forward { pools, split_by } => {
                let targets = pools
                    .iter()
                    .map(|(weight, pool)| Ok((*weight, target(pool)?)));
                let split = Split::weighted(targets.collect::<Result<Vec<_>, E>>()?);
                router::Action::Forward(match split_by {
                    Some(key) => split.sticky(key.clone()),
                    None => split,
                })
            }
            Action::Redirect(redirect) => router::Action::Redirect(redirect.clone()),
            Action::Respond {
                status,
                headers,
                body,
            } => {
                let answer = Respond::new(*status).headers(headers.clone());
                router::Action::Respond(answer.body(body.clone()))
            }
        };
        let mut rule = router::Rule::new(self.name.clone(), action)
            .request_headers(self.request_headers.clone())
            .response_headers(self.response_headers.clone());
        if self.fits != Match::default() {
            rule = rule.on(self.fits.clone());
        }
        rule.rewrite = self.rewrite.clone();
        Ok(rule)
    }
}

/// All rules of a listener, and where each stands.
pub(super) fn read_all(
    section: &mut Section<'_>,
    pools: &Known<'_>,
    base: &Base<'_>,
) -> (Vec<Rule>, Vec<Place>) {
    let mut number = 0_u32;
    let rules = section.tables("rule", |section| {
        number += 1;
        let rule = read(section, number, pools, base)?;
        check_alone(section, &rule, base.paths).then(|| {
            let (at, path) = (section.place_of(""), section.path_of(""));
            (rule, Place { at, path })
        })
    });
    rules.unwrap_or_default().into_iter().unzip()
}

fn read(
    section: &mut Section<'_>,
    number: u32,
    pools: &Known<'_>,
    base: &Base<'_>,
) -> Option<Rule> {
    let name = if section.has("name") {
        section.name().map(Into::into)
    } else {
        section.knows(&["name"]);
        Some(format!("rule-{number}"))
    };
    let fits = fits(section);
    let action = action::read(section, pools);
    let rewrite = section.table("rewrite", action::rewrite);
    let mut ops = |key| section.table(key, fields::ops).unwrap_or_default();
    let (request_headers, response_headers) = (ops("request_headers"), ops("response_headers"));
    let sticky = section.table("sticky", sticky::read).flatten();
    let timeouts = timeouts::read(section, base.timeouts);
    let retry = retry::read(section, base.retry);
    Some(Rule {
        name: name?,
        fits,
        action: action?,
        rewrite,
        request_headers,
        response_headers,
        sticky,
        timeouts: (timeouts != base.timeouts).then_some(timeouts),
        retry: (retry != *base.retry).then_some(retry),
        hedge: hedge::read(section),
        compress: compress::read(section),
    })
}

fn fits(section: &mut Section<'_>) -> Match {
    let mut fits = Match::default();
    fits.host = section.text("host", "the name of a host").map(Into::into);
    let methods = section.texts("methods", "methods, such as \"GET\"", |text| {
        let of_caps = text.bytes().all(|byte| !byte.is_ascii_lowercase());
        let method = Method::try_from(text).ok().filter(|_| of_caps);
        method.ok_or_else(|| format!("{text:?} is no method, expected one such as \"GET\""))
    });
    fits.methods = methods.unwrap_or_default();
    fits.headers = fields::wanted(section, "headers", fields::name);
    fits.query = fields::wanted(section, "query", |name| Ok(name.into()));
    fits.cookies = fields::wanted(section, "cookies", |name| Ok(name.into()));
    let paths = PATHS.map(|(key, of)| {
        let path = section.text(key, "a path, such as \"/api\"");
        path.map(|path| (key, of(path.into())))
    });
    let mut paths = paths.into_iter().flatten();
    if let Some((first, path)) = paths.next() {
        for (key, _) in paths {
            section.wrong(key, format!("a rule has one path, and {first} is there"));
        }
        fits.path = Some(path);
    }
    fits
}

/// Tells what is wrong with a rule by itself; whether nothing is.
fn check_alone(section: &Section<'_>, rule: &Rule, paths: PathPolicy) -> bool {
    let Ok(made) = rule.made(|_| Ok::<_, std::convert::Infallible>(()));
    let Err(error) = Router::builder().path_policy(paths).rule(made).build() else {
        return true;
    };
    let keys = keys_of(&error.fault);
    let key = keys.iter().copied().find(|key| section.has(key));
    section.wrong(key.unwrap_or_default(), error.fault.to_string());
    false
}

/// The keys that may be at fault, the first that is there before the others.
const fn keys_of(fault: &RuleFault) -> &'static [&'static str] {
    match fault {
        RuleFault::BodyOfNothing(_) | RuleFault::Status(_) | RuleFault::Field(_) => &["respond"],
        RuleFault::CookieName(_) => &["split_by", "cookies"],
        RuleFault::Host(_) => &["host", "rewrite", "redirect"],
        RuleFault::Path(_) | RuleFault::PathRefused { .. } => {
            &["path", "path_prefix", "rewrite", "redirect"]
        }
        RuleFault::Pattern { .. } => &[
            "path_regex",
            "headers",
            "query",
            "cookies",
            "rewrite",
            "redirect",
        ],
        RuleFault::PrefixOfNothing | RuleFault::RewriteOfNothing => &["rewrite", "redirect"],
        RuleFault::QueryName => &["query"],
        RuleFault::RedirectToItself => &["redirect"],
        RuleFault::Weights => &["pools", "pool"],
        _ => &["name"],
    }
}

type PathOf = fn(String) -> PathMatch;

const PATHS: [(&str, PathOf); 3] = [
    ("path", PathMatch::Exact),
    ("path_prefix", PathMatch::Prefix),
    ("path_regex", PathMatch::Regex),
];

/// What the listener's own pool is called among the rules.
const OTHERWISE: &str = "default";

/// What keeps a client at the pool that it was given first.
pub(super) fn split_by(section: &mut Section<'_>) -> Option<StickyKey> {
    let cookie = section.text("cookie", "the name of a cookie");
    let header = section.text_as("header", "the name of a field", fields::name);
    match (cookie, header) {
        (Some(cookie), None) => Some(StickyKey::Cookie(cookie.into())),
        (None, Some(header)) => Some(StickyKey::Header(header)),
        (Some(_), Some(_)) => {
            section.wrong("header", "expected one of cookie and header, found both");
            None
        }
        (None, None) => {
            if !section.has("cookie") && !section.has("header") {
                section.wrong("", "expected a cookie or a header");
            }
            None
        }
    }
}
