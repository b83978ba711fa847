//! What becomes of a request: a pool, several by weight, a redirect, or an answer.

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, StatusCode};
use lb_l7::router::{PathRewrite, Redirect, RedirectStatus, Rewrite, StickyKey};

use super::super::pool::Known;
use super::super::pool_name;
use super::super::section::{Section, one_of};
use super::{fields, rule};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// It goes to one of these.
    Forward {
        /// Each with its weight.
        pools: Vec<(u32, String)>,
        /// What keeps a client at the pool that it was given first. Default nothing.
        split_by: Option<StickyKey>,
    },
    /// Its client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond {
        /// 200..=599.
        status: StatusCode,
        /// Without those that frame it.
        headers: HeaderMap,
        /// May be empty.
        body: Bytes,
    },
}

impl Action {
    /// All to one pool.
    pub(super) fn to(pool: &str) -> Self {
        Self::Forward {
            pools: vec![(1, pool.into())],
            split_by: None,
        }
    }
}

/// The one thing that a rule does.
pub(super) fn read(section: &mut Section<'_>, pools: &Known<'_>) -> Option<Action> {
    let said: Vec<&str> = ACTIONS.into_iter().filter(|key| section.has(key)).collect();
    match said.as_slice() {
        [] => section.wrong("pool", format!("missing, expected {}", one_of(ACTIONS))),
        [_] => {}
        [first, rest @ ..] => {
            for key in rest {
                section.wrong(key, format!("a rule does one thing, and {first} is there"));
            }
        }
    }
    let pool = section.text_as("pool", "the name of a pool", |text| {
        pool_name(text, &pools.names)
    });
    let before = section.notes().mistakes();
    let shares = section.tables("pools", |section| share(section, pools));
    // Weights that lack one of theirs say something else.
    let shares = shares.filter(|_| section.notes().mistakes() == before);
    let redirect = section.table("redirect", redirect);
    let respond = section.table("respond", respond).flatten();
    let split_by = section.table("split_by", rule::split_by).flatten();
    if section.has("split_by") && !section.has("pools") {
        section.wrong("split_by", "only with pools");
    }
    match *said.first()? {
        "pool" => pool.map(|pool| Action::to(&pool)),
        "pools" => shares.map(|pools| Action::Forward { pools, split_by }),
        "redirect" => redirect.map(Action::Redirect),
        _ => respond,
    }
}

fn share(section: &mut Section<'_>, pools: &Known<'_>) -> Option<(u32, String)> {
    section.require("pool", "the name of a pool");
    let pool = section.text_as("pool", "the name of a pool", |text| {
        pool_name(text, &pools.names)
    });
    let weight = section.integer("weight", 0..=u32::MAX);
    Some((weight.unwrap_or(1), pool?))
}

/// `rewrite = { … }`: what the backend sees.
pub(super) fn rewrite(section: &mut Section<'_>) -> Rewrite {
    let mut rewrite = Rewrite::default();
    rewrite.host = section.text("host", "the name of a host").map(Into::into);
    rewrite.path = path(section);
    let keys = ["host", "path", "path_prefix", "path_regex"];
    if keys.into_iter().all(|key| !section.has(key)) {
        section.wrong("", "empty, expected host, path, path_prefix or path_regex");
    }
    rewrite
}

fn redirect(section: &mut Section<'_>) -> Redirect {
    let codes = [301, 302, 303, 307, 308];
    let expected = "one of 301, 302, 303, 307, 308";
    let status = section.value("status", expected, |value| {
        let code: u16 = value.as_integer()?.as_str().parse().ok()?;
        codes.contains(&code).then(|| RedirectStatus::of(code))?
    });
    let mut redirect = Redirect::new(status.unwrap_or(RedirectStatus::PermanentRedirect));
    let schemes = [("http", false), ("https", true)];
    let scheme = section.choice("scheme", "scheme", &schemes);
    redirect.scheme = scheme.map(|tls| if tls { Scheme::HTTPS } else { Scheme::HTTP });
    redirect.host = section.text("host", "the name of a host").map(Into::into);
    redirect.port = section.integer("port", 1..=u16::MAX);
    redirect.path = path(section);
    redirect
}

/// One of the three ways in which a path is changed.
fn path(section: &mut Section<'_>) -> Option<PathRewrite> {
    let form = "a path, such as \"/api\"";
    let exact = section.text("path", form);
    let prefix = section.text("path_prefix", form);
    let regex = section.text("path_regex", "a regular expression");
    let to = section.text("to", "what stands in its place, such as \"/v2/$1\"");
    if regex.is_some() != to.is_some() {
        section.wrong("path_regex", "path_regex and to are used together");
    }
    let both = [exact, prefix, regex].into_iter().flatten().count() > 1;
    if both {
        section.wrong(
            "",
            "a path is changed in one way: path, path_prefix or path_regex",
        );
    }
    let exact = exact.map(|path| PathRewrite::Exact(path.into()));
    let prefix = prefix.map(|path| PathRewrite::Prefix(path.into()));
    let regex = regex.zip(to).map(|(pattern, to)| PathRewrite::Regex {
        pattern: pattern.into(),
        to: to.into(),
    });
    exact.or(prefix).or(regex)
}

fn respond(section: &mut Section<'_>) -> Option<Action> {
    section.require("status", "a status in 200..=599");
    let status = section.integer("status", 200..=599);
    let body = section.text("body", "a text");
    let headers = fields::map(section, "headers");
    Some(Action::Respond {
        status: StatusCode::from_u16(status?).ok()?,
        headers,
        body: Bytes::copy_from_slice(body.unwrap_or_default().as_bytes()),
    })
}

const ACTIONS: [&str; 4] = ["pool", "pools", "redirect", "respond"];
