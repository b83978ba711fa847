//! Rules as they are written.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use lbcore::address_list::AddressRules;

use super::{HeaderOps, Split};

/// What requests a rule is for, and what becomes of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rule<T> {
    /// What it is called in log and metrics; no two rules have the same.
    pub name: String,
    /// It is for requests that any of these fits; for all, if there are none.
    pub matches: Vec<Match>,
    /// What becomes of them.
    pub action: Action<T>,
    /// What the backend sees in place of host and path.
    pub rewrite: Option<Rewrite>,
    /// What is done to the fields of the request.
    pub request_headers: HeaderOps,
    /// What is done to the fields of the response.
    pub response_headers: HeaderOps,
    /// Whose requests it serves, by the client's own address; others get a 403. Default all.
    pub clients: Option<Arc<AddressRules>>,
}

impl<T> Rule<T> {
    /// A rule for every request, until [`on`](Self::on) narrows it.
    pub fn new(name: impl Into<String>, action: Action<T>) -> Self {
        Self {
            name: name.into(),
            matches: Vec::new(),
            action,
            rewrite: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            clients: None,
        }
    }

    /// A rule that sends every request to `target`.
    pub fn forward(name: impl Into<String>, target: T) -> Self {
        Self::new(name, Action::Forward(Split::to(target)))
    }

    /// Makes it for requests that fit this too.
    #[must_use]
    pub fn on(mut self, fits: Match) -> Self {
        self.matches.push(fits);
        self
    }

    /// Shows the backend another host or path.
    #[must_use]
    pub fn rewrite(mut self, rewrite: Rewrite) -> Self {
        self.rewrite = Some(rewrite);
        self
    }

    /// Changes the fields of the request.
    #[must_use]
    pub fn request_headers(mut self, headers: HeaderOps) -> Self {
        self.request_headers = headers;
        self
    }

    /// Serves only clients that these rules allow; others get a 403.
    ///
    /// They do not choose the rule: a request that it fits goes to no other.
    #[must_use]
    pub fn clients(mut self, rules: impl Into<Arc<AddressRules>>) -> Self {
        self.clients = Some(rules.into());
        self
    }

    /// Changes the fields of the response.
    #[must_use]
    pub fn response_headers(mut self, headers: HeaderOps) -> Self {
        self.response_headers = headers;
        self
    }
}

/// What a request must be like; all of it must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// `example.com` alone, `*.example.com` for all below it however deep, an address (IPv6 in
    /// brackets), or any host. Case, port and a final dot make no difference.
    pub host: Option<String>,
    /// The path, or any target: also `*` and that of `CONNECT`.
    pub path: Option<PathMatch>,
    /// One of these methods; any, if there are none.
    pub methods: Vec<Method>,
    /// Fields: any line of the name may fit.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query parameters; the first of the name counts. `%` and `+` are decoded.
    pub query: Vec<(String, ValueMatch)>,
    /// Cookies; the first of the name counts.
    pub cookies: Vec<(String, ValueMatch)>,
}

impl Match {
    /// Only this host, or those below with `*.` before it.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Only this path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(PathMatch::Exact(path.into()));
        self
    }

    /// Only this path and those below it.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path = Some(PathMatch::Prefix(prefix.into()));
        self
    }

    /// Only paths that this expression matches whole.
    #[must_use]
    pub fn regex(mut self, pattern: impl Into<String>) -> Self {
        self.path = Some(PathMatch::Regex(pattern.into()));
        self
    }

    /// Only this method, or another so given.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Only with this field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: ValueMatch) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Only with this query parameter.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: ValueMatch) -> Self {
        self.query.push((name.into(), value));
        self
    }

    /// Only with this cookie.
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>, value: ValueMatch) -> Self {
        self.cookies.push((name.into(), value));
        self
    }
}

/// How a path is compared, in its [normal form](super::PathPolicy).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PathMatch {
    /// The whole path; a slash at its end counts.
    Exact(String),
    /// The path and all below it: `/a` and `/a/` both mean `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(String),
    /// An expression that matches the whole path; needs the feature `regex`.
    Regex(String),
}

/// How a value is compared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ValueMatch {
    /// Byte by byte.
    Exact(String),
    /// There is one, whatever it is.
    Present,
    /// An expression that matches the whole value; needs the feature `regex`. That of a query
    /// parameter is seen undecoded.
    Regex(String),
}

/// What becomes of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action<T> {
    /// It goes to one of these.
    Forward(Split<T>),
    /// Its client is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(Respond),
}

/// What a backend sees in place of host and path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rewrite {
    /// The host, with a port if need be, in place of the client's.
    pub host: Option<String>,
    /// The path; the query stays.
    pub path: Option<PathRewrite>,
}

impl Rewrite {
    /// Puts this host, with a port if need be, in the place of the client's.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Changes the path.
    #[must_use]
    pub fn path(mut self, path: PathRewrite) -> Self {
        self.path = Some(path);
        self
    }
}

/// How a path is changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PathRewrite {
    /// It becomes this.
    Exact(String),
    /// The prefix that matched becomes this, and the rest stays.
    Prefix(String),
    /// The first match of `pattern` becomes `to`, where `$1` or `${name}` stands for a group. What
    /// comes out is brought into its normal form, or refused. Needs the feature `regex`.
    Regex {
        /// What is looked for, anywhere in the path.
        pattern: String,
        /// What stands in its place.
        to: String,
    },
}

/// Where a client is sent, in the parts that change; the query stays.
///
/// # Examples
///
/// ```
/// use http::uri::Scheme;
/// use lb_l7::router::{Redirect, RedirectStatus};
///
/// let to_https = Redirect::new(RedirectStatus::PermanentRedirect).scheme(Scheme::HTTPS);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redirect {
    /// Under which status.
    pub status: RedirectStatus,
    /// To this scheme; at its own port, if none is given.
    pub scheme: Option<Scheme>,
    /// To this host.
    pub host: Option<String>,
    /// To this port.
    pub port: Option<u16>,
    /// To this path.
    pub path: Option<PathRewrite>,
}

impl Redirect {
    /// A redirect to where the request came from; it needs a change.
    #[must_use]
    pub const fn new(status: RedirectStatus) -> Self {
        Self {
            status,
            scheme: None,
            host: None,
            port: None,
            path: None,
        }
    }

    /// To this scheme; at its own port, if none is given.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// To this host.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// To this port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// To another path.
    #[must_use]
    pub fn path(mut self, path: PathRewrite) -> Self {
        self.path = Some(path);
        self
    }
}

/// The statuses that send a client elsewhere (RFC 9110, 15.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 9110 has no more of them")]
pub enum RedirectStatus {
    /// 301: for good; a POST may become a GET.
    MovedPermanently,
    /// 302: for now; a POST may become a GET.
    Found,
    /// 303: another thing, by GET.
    SeeOther,
    /// 307: for now, by the same method.
    TemporaryRedirect,
    /// 308: for good, by the same method.
    PermanentRedirect,
}

impl RedirectStatus {
    /// The status.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        match self {
            Self::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            Self::Found => StatusCode::FOUND,
            Self::SeeOther => StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        }
    }

    /// That of this code.
    #[must_use]
    pub const fn of(code: u16) -> Option<Self> {
        Some(match code {
            301 => Self::MovedPermanently,
            302 => Self::Found,
            303 => Self::SeeOther,
            307 => Self::TemporaryRedirect,
            308 => Self::PermanentRedirect,
            _ => return None,
        })
    }
}

/// An answer that is always the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Respond {
    /// Its status, 200 to 599.
    pub status: StatusCode,
    /// Its fields, without those that frame it.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Bytes,
}

impl Respond {
    /// An answer without content.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// With these fields.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// With this content.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}
