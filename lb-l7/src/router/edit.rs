//! Rewrites and redirects, as they are carried out.

use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderValue, header};

use super::host::{self, number, split_port};
use super::path::replace_path;
use super::pattern::Pattern;
use super::{
    EncodedSlash, Normalise, PathPolicy, PathRewrite, Redirect, Rewrite, RuleFault, Slashes,
    TargetFault,
};

/// What a rule does to a request, or to its client.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) replacement: Option<Replacement>,
    pub(super) destination: Option<Destination>,
}

/// A change of a path.
#[derive(Debug)]
pub(super) enum PathEdit {
    Exact(Box<str>),
    /// Without a slash at its end.
    Prefix(Box<str>),
    Regex(Pattern, Box<str>),
}

impl PathEdit {
    pub(super) fn of(rewrite: &PathRewrite) -> Result<Self, RuleFault> {
        Ok(match rewrite {
            PathRewrite::Exact(path) => Self::Exact(own_path(path)?.into()),
            PathRewrite::Prefix(path) => Self::Prefix(own_path(path)?.trim_end_matches('/').into()),
            PathRewrite::Regex { pattern, to } => {
                Self::Regex(Pattern::part(pattern)?, to.as_str().into())
            }
        })
    }

    /// What becomes of `path`, of which the first `prefix` bytes are what a rule matched; `None` if
    /// it stays.
    fn edit(
        &self,
        policy: &PathPolicy,
        path: &str,
        prefix: usize,
    ) -> Result<Option<Vec<u8>>, TargetFault> {
        if !path.starts_with('/') {
            return Ok(None);
        }
        Ok(match self {
            Self::Exact(to) => Some(to.as_bytes().into()),
            Self::Prefix(to) => path
                .get(prefix..)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .map(|rest| [to, rest].concat())
                .map(|path| if path.is_empty() { "/".into() } else { path })
                .map(String::into_bytes),
            Self::Regex(pattern, to) => match pattern.replace(path.as_bytes(), to) {
                None => None,
                Some(replaced) => Some(rewriting(policy).rebuild(&replaced)?),
            },
        })
    }
}

/// The policy for what rules make of a path: not the client's spelling, so it is put right.
fn rewriting(policy: &PathPolicy) -> PathPolicy {
    let mut own = *policy;
    if own.normalise == Normalise::Reject {
        own.normalise = Normalise::Rewrite;
    }
    own
}

/// A path that a rule names as a destination.
fn own_path(path: &str) -> Result<String, RuleFault> {
    let policy = PathPolicy {
        normalise: Normalise::Rewrite,
        slashes: Slashes::Keep,
        encoded_slash: EncodedSlash::Keep,
    };
    rule_path(path, &policy)
}

/// The normal form of a path in a rule.
pub(super) fn rule_path(path: &str, policy: &PathPolicy) -> Result<String, RuleFault> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(RuleFault::Path(path.into()));
    }
    let refused = |fault| RuleFault::PathRefused {
        path: path.into(),
        fault,
    };
    rewriting(policy).normal(path).map_err(refused)
}

/// What a backend sees in place of host and path.
#[derive(Debug)]
pub(super) struct Replacement {
    host: Option<HeaderValue>,
    path: Option<PathEdit>,
}

impl Replacement {
    pub(super) fn of(rewrite: &Rewrite) -> Result<Self, RuleFault> {
        Ok(Self {
            host: rewrite.host.as_deref().map(host::authority).transpose()?,
            path: rewrite.path.as_ref().map(PathEdit::of).transpose()?,
        })
    }

    pub(super) fn apply(
        &self,
        policy: &PathPolicy,
        parts: &mut Parts,
        prefix: usize,
    ) -> Result<(), TargetFault> {
        if let Some(edit) = &self.path
            && let Some(path) = edit.edit(policy, parts.uri.path(), prefix)?
        {
            replace_path(parts, path)?;
        }
        if let Some(host) = &self.host {
            let _full = parts.headers.try_insert(header::HOST, host.clone());
        }
        Ok(())
    }
}

/// Where a redirect leads.
#[derive(Debug)]
pub(super) struct Destination {
    scheme: Option<Scheme>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Option<PathEdit>,
}

impl Destination {
    pub(super) fn of(redirect: &Redirect) -> Result<Self, RuleFault> {
        let built = Self {
            scheme: redirect.scheme.clone(),
            host: redirect.host.as_deref().map(host::exact).transpose()?,
            port: redirect.port,
            path: redirect.path.as_ref().map(PathEdit::of).transpose()?,
        };
        let place = built.scheme.is_some() || built.host.is_some() || built.port.is_some();
        if !place && built.path.is_none() {
            return Err(RuleFault::RedirectToItself);
        }
        Ok(built)
    }

    /// An absolute URI: a path alone that began with two slashes would be another host.
    pub(super) fn location(
        &self,
        policy: &PathPolicy,
        parts: &Parts,
        scheme: &Scheme,
        prefix: usize,
    ) -> Result<HeaderValue, TargetFault> {
        let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
        let (name, port) = split_port(host.unwrap_or_default());
        let theirs = self.host.is_none();
        let name = self.host.as_deref().map_or(name, str::as_bytes);
        if !host::is_plain(name) {
            return Err(TargetFault::NoHost);
        }
        let port = match (self.port, port) {
            (Some(port), _) => Some(port),
            // A port of the request belongs to its host and its scheme.
            (None, Some(port)) if theirs && self.scheme.is_none() && !port.is_empty() => {
                Some(number(port).ok_or(TargetFault::NoHost)?)
            }
            _ => None,
        };
        let scheme = self.scheme.as_ref().unwrap_or(scheme);
        let mut out = Vec::with_capacity(TYPICAL);
        out.extend_from_slice(scheme.as_str().as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(name);
        if let Some(port) = port.filter(|&port| default_port(scheme) != Some(port)) {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.write_path(policy, parts, prefix, &mut out)?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).map_err(|_| TargetFault::NoHost)
    }

    fn write_path(
        &self,
        policy: &PathPolicy,
        parts: &Parts,
        prefix: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TargetFault> {
        let path = parts.uri.path();
        let edited = match &self.path {
            Some(edit) => edit.edit(policy, path, prefix)?,
            None => None,
        };
        match edited {
            Some(edited) => out.extend_from_slice(&edited),
            None if path.starts_with('/') => out.extend_from_slice(path.as_bytes()),
            // The targets `*` and those of `CONNECT` name no path.
            None => out.push(b'/'),
        }
        if let Some(query) = parts.uri.query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        Ok(())
    }
}

fn default_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Bytes of a usual location.
const TYPICAL: usize = 128;
