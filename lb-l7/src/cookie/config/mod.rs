//! How a client's backend is kept in a cookie.

use std::fmt::Write;
use std::time::Duration;

use lbcore::hash::HashKey;
use thiserror::Error;

use crate::token::is_token;

/// How a client's backend is kept in a cookie.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct CookieConfig {
    /// The cookie's name: a token (RFC 9110, 5.6.2) of 1 to [`MAX_NAME`] bytes; case matters.
    pub name: Box<str>,
    /// Whose cookie it is; default [`CookieMode::Insert`].
    pub mode: CookieMode,
    /// What signs tokens. Nodes that share clients share it.
    pub keys: KeyRing,
    /// How long a client keeps its backend at most, in whole seconds of at least 1; default without
    /// end.
    pub max_age: Option<Duration>,
    /// How long a client may be away and keep its backend, in whole seconds of at least 1; default
    /// without end. Only when inserting: the time of a backend's own cookie is the backend's.
    pub max_idle: Option<Duration>,
}

/// The longest name of a cookie, in bytes; `__Host-` and a UUID fit.
pub const MAX_NAME: usize = 64;

impl CookieConfig {
    /// Inserts a cookie of this name, with the defaults.
    #[must_use]
    pub fn new(name: &str, keys: KeyRing) -> Self {
        Self {
            name: name.into(),
            mode: CookieMode::Insert(Attributes::default()),
            keys,
            max_age: None,
            max_idle: None,
        }
    }

    /// Refuses what no cookie can be.
    pub(super) fn check(&self) -> Result<(), CookieError> {
        if self.name.len() > MAX_NAME || !is_token(self.name.as_bytes()) {
            return Err(CookieError::Name(self.name.clone()));
        }
        let times = [("max_age", self.max_age), ("max_idle", self.max_idle)];
        for (field, time) in times {
            check_time(field, time)?;
        }
        match &self.mode {
            CookieMode::Insert(attributes) => attributes.check(&self.name),
            CookieMode::Rewrite if self.max_idle.is_some() => Err(CookieError::IdleOfRewritten),
            CookieMode::Rewrite => Ok(()),
        }
    }
}

/// Whose cookie it is.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CookieMode {
    /// One of the proxy's own, which the backend does not see.
    Insert(Attributes),
    /// The backend's: a token and `~` are put before its value on the way to the client, and taken
    /// off on the way back. A client that the backend gives no cookie is not kept.
    #[doc(alias = "prefix")]
    Rewrite,
}

/// What a browser is told of an inserted cookie (RFC 6265bis, 4.1.2).
///
/// By default a session cookie for `/`, hidden from scripts, `SameSite=Lax`, and secure when it is
/// given over https.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attributes {
    /// `Max-Age`, in whole seconds of at least 1; without it the cookie goes with the browser.
    pub lifetime: Option<Duration>,
    /// `Path`; begins with `/`.
    pub path: Box<str>,
    /// `Domain`; without it the cookie is for this host alone.
    pub domain: Option<Box<str>>,
    /// `Secure`.
    pub secure: Secure,
    /// `HttpOnly`: scripts do not see it.
    pub http_only: bool,
    /// `SameSite`.
    pub same_site: SameSite,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            lifetime: None,
            path: "/".into(),
            domain: None,
            secure: Secure::OverHttps,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }
}

/// When a cookie is marked for https only.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Secure {
    /// Always; a browser takes no such cookie over http.
    Always,
    /// Never.
    Never,
    /// When it is given over https.
    #[default]
    OverHttps,
}

/// Whether other sites' requests bring a cookie (RFC 6265bis, 5.6.7).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SameSite {
    /// `Lax`: on the way to a page only.
    #[default]
    Lax,
    /// `None`: all of them; needs [`Secure::Always`].
    None,
    /// `Strict`: none of them.
    Strict,
    /// Nothing is said, and the browser decides.
    Unset,
}

impl Attributes {
    fn check(&self, name: &str) -> Result<(), CookieError> {
        check_time("lifetime", self.lifetime)?;
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
        if !self.path.starts_with('/') || !self.path.bytes().all(plain) {
            return Err(CookieError::Path(self.path.clone()));
        }
        let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let no_domain = |domain: &&str| domain.is_empty() || !domain.bytes().all(label);
        if let Some(domain) = self.domain.as_deref().filter(no_domain) {
            return Err(CookieError::Domain(domain.into()));
        }
        let secure = self.secure == Secure::Always;
        if self.same_site == SameSite::None && !secure {
            return Err(CookieError::SameSiteNone);
        }
        // Browsers compare prefixes without regard to case (RFC 6265bis, 5.7).
        let begins = |prefix: &str| {
            let start = name.as_bytes().get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let of_host = secure && self.domain.is_none() && &*self.path == "/";
        if (begins("__Secure-") && !secure) || (begins("__Host-") && !of_host) {
            return Err(CookieError::Prefix(name.into()));
        }
        Ok(())
    }

    /// What stands behind the value; `secure` is whether this one is marked so.
    pub(super) fn tail(&self, secure: bool) -> Box<str> {
        let mut tail = format!("; Path={}", self.path);
        if let Some(lifetime) = self.lifetime {
            // A string takes everything.
            let _ = write!(tail, "; Max-Age={}", lifetime.as_secs());
        }
        if let Some(domain) = &self.domain {
            tail.push_str("; Domain=");
            tail.push_str(domain);
        }
        if secure {
            tail.push_str("; Secure");
        }
        if self.http_only {
            tail.push_str("; HttpOnly");
        }
        tail.push_str(match self.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Unset => "",
        });
        tail.into()
    }
}

fn check_time(field: &'static str, time: Option<Duration>) -> Result<(), CookieError> {
    match time {
        Some(time) if time.subsec_nanos() != 0 || time.is_zero() => {
            Err(CookieError::Time { field, time })
        }
        _ => Ok(()),
    }
}

/// The key that signs, and those before it, whose tokens are still good.
///
/// To change keys without forgetting clients: give all nodes the new key as a previous one, then
/// make it the current one, and drop the old one when the cookies signed by it have gone. A token
/// by a previous key is written anew with the next response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRing {
    /// The current key, and those before it; never empty.
    keys: Vec<HashKey>,
    current: HashKey,
}

impl KeyRing {
    /// Signs with `current`, and believes `current` and all of `previous`; each costs a hash of
    /// some 100 ns where a token is none of the others'.
    #[must_use]
    pub fn new(current: HashKey, previous: impl IntoIterator<Item = HashKey>) -> Self {
        let keys = std::iter::once(current).chain(previous).collect();
        Self { keys, current }
    }

    pub(super) const fn current(&self) -> &HashKey {
        &self.current
    }

    /// All keys, the current one first.
    pub(super) fn all(&self) -> &[HashKey] {
        &self.keys
    }
}

/// Why a [`CookieConfig`] is refused; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CookieError {
    /// `domain` is not a name of hosts.
    #[error("domain `{0}` is not a host name")]
    Domain(Box<str>),
    /// `max_idle` with a backend's own cookie.
    #[error("max_idle needs an inserted cookie")]
    IdleOfRewritten,
    /// `name` is not a token, or too long.
    #[error("name `{0}` is not 1 to {MAX_NAME} letters, digits or marks of a token")]
    Name(Box<str>),
    /// `path` cannot be one.
    #[error("path `{0}` does not begin with `/`, or has `;` or unprintable bytes in it")]
    Path(Box<str>),
    /// The name promises what the attributes do not keep.
    #[error(
        "name `{0}` needs `secure` always; with `__Host-` also path `/` and no domain (RFC 6265bis)"
    )]
    Prefix(Box<str>),
    /// `SameSite=None` without `Secure`: browsers refuse it.
    #[error("same_site none needs `secure` always")]
    SameSiteNone,
    /// A time that is zero, or not whole seconds.
    #[error("{field} is {time:?}: expected whole seconds, at least one")]
    Time {
        /// The field of the configuration.
        field: &'static str,
        /// What it says.
        time: Duration,
    },
}

#[cfg(test)]
mod tests;
