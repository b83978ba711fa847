//! Persistence by cookie: the client keeps the token, and no table is needed.
//!
//! The cookie names a backend and is signed, so that a client cannot choose one, and cannot bring
//! what another cookie or another key has signed. A token is not bound to its client: whoever copies
//! it comes to the same backend, which is no secret. What is signed is 64 bits wide, so a blind guess
//! is right once in 2^64 tries.
//!
//! ```text
//!   token  = base64url( backend: u64 | issued: u32 | seen: u32 | SipHash-2-4: u64 )   32 characters
//!   Insert:   Set-Cookie: name=token; Path=/; HttpOnly; SameSite=Lax
//!   Rewrite:  Set-Cookie: name=token~the backend's value; its attributes
//! ```

mod config;
pub mod pairs;
mod token;

use bytes::{BufMut, BytesMut};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use lbcore::BackendId;
use thiserror::Error;

pub use config::{
    Attributes, CookieConfig, CookieError, CookieMode, KeyRing, MAX_NAME, SameSite, Secure,
};
pub use token::Token;

use self::pairs::{Pair, Pairs, cut};
use self::token::{TOKEN_LENGTH, has_form};
use crate::headers::Scheme;

/// Reads, strips and writes the cookie of one service.
///
/// The order for each exchange: [`read`](Self::read) and [`strip`](Self::strip) on the request,
/// [`apply`](Self::apply) on the response.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use lb_l7::cookie::{CookieConfig, CookiePersistence, KeyRing};
/// use lb_l7::headers::Scheme;
/// use lbcore::{BackendId, hash::HashKey};
///
/// let keys = KeyRing::new(HashKey::new([7; 16]), []);
/// let cookies = CookiePersistence::new(CookieConfig::new("backend", keys))?;
/// let (chosen, now) = (BackendId::of_name("web-1"), 1_800_000_000);
///
/// let mut response = HeaderMap::new();
/// cookies.apply(&mut response, None, chosen, Scheme::Https, now);
/// let line = response["set-cookie"].to_str()?.to_owned();
/// assert!(line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
///
/// let mut request = HeaderMap::new();
/// let pair = line.split(';').next().unwrap();
/// request.insert("cookie", HeaderValue::try_from(format!("theme=dark; {pair}"))?);
/// let token = cookies.read(&request, now + 60)?;
/// assert_eq!(token.backend(), chosen);
/// cookies.strip(&mut request);
/// assert_eq!(request["cookie"], "theme=dark");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "sticky session")]
pub struct CookiePersistence {
    config: CookieConfig,
    /// What keeps this cookie's tokens from being another's: the mode and the name.
    label: Box<[u8]>,
    /// What stands behind an inserted value, without and with `Secure` as the scheme has it.
    tail_http: Box<str>,
    tail_https: Box<str>,
    max_age: u64,
    max_idle: u64,
}

impl CookiePersistence {
    /// Checks `config`, and lays it out for use.
    ///
    /// # Errors
    ///
    /// [`CookieError`] names the value that cannot be.
    pub fn new(config: CookieConfig) -> Result<Self, CookieError> {
        config.check()?;
        let (mode, tails) = match &config.mode {
            CookieMode::Insert(attributes) => {
                let http = attributes.tail(attributes.secure == Secure::Always);
                let https = attributes.tail(attributes.secure != Secure::Never);
                (b'i', [http, https])
            }
            CookieMode::Rewrite => (b'r', Default::default()),
        };
        let [tail_http, tail_https] = tails;
        let seconds = |time: Option<std::time::Duration>| time.map_or(u64::MAX, |it| it.as_secs());
        Ok(Self {
            label: [&[mode], config.name.as_bytes()].concat().into(),
            tail_http,
            tail_https,
            max_age: seconds(config.max_age),
            max_idle: seconds(config.max_idle),
            config,
        })
    }

    /// The token that a request brings: the first good one, for a browser may send several.
    ///
    /// `unix_seconds` is the wall clock, which nodes that share clients need to agree on within
    /// seconds. Looks at no more than [`MAX_TRIED`] cookies of the name. Cost: O(bytes) of the
    /// cookies, and a hash for each of the name and each key; allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Unread`] says why there is none; [`Forged`](Unread::Forged) goes before
    /// [`Expired`](Unread::Expired) if there are several.
    pub fn read(&self, headers: &HeaderMap, unix_seconds: u64) -> Result<Token, Unread> {
        let mut unread = Unread::Absent;
        let own = Pairs::of_headers(headers).filter(|pair| self.is_own(pair));
        for pair in own.take(MAX_TRIED) {
            let Some(text) = self.token_of(pair.value) else {
                continue;
            };
            match Token::parse(text, self.config.keys.all(), &self.label) {
                Some(token) if self.is_good(token, unix_seconds) => return Ok(token),
                Some(_) if unread == Unread::Absent => unread = Unread::Expired,
                Some(_) => {}
                None => unread = Unread::Forged,
            }
        }
        Err(unread)
    }

    /// Takes what is ours out of the request's cookies; the backend sees the rest as it was.
    ///
    /// Cost: one pass if there is nothing of ours; else one buffer.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if !Pairs::of_headers(headers).any(|pair| self.is_own(&pair)) {
            return;
        }
        let length = headers.get_all(COOKIE).iter().map(|line| line.len() + 2);
        let mut kept = BytesMut::with_capacity(length.sum());
        for line in headers.get_all(COOKIE) {
            let mut rest = Some(line.as_bytes());
            while let Some(bytes) = rest {
                let piece;
                (piece, rest) = cut(bytes, b';');
                self.keep(&mut kept, piece);
            }
        }
        // Parts of values make a value.
        match HeaderValue::from_maybe_shared(kept.freeze()) {
            Ok(value) if !value.is_empty() => drop(headers.insert(COOKIE, value)),
            _ => drop(headers.remove(COOKIE)),
        }
    }

    /// Tells the client of its backend, if it does not know already.
    ///
    /// `brought` is what [`read`](Self::read) gave for the request, `chosen` the backend that
    /// answered. An inserted cookie is written when the client had none, has another backend now,
    /// is [due](CookieConfig::max_idle) to be seen again, or was told under an old key; a rewritten
    /// one whenever the backend sets it. Returns how many were written. Cost: one buffer for each.
    pub fn apply(
        &self,
        headers: &mut HeaderMap,
        brought: Option<Token>,
        chosen: BackendId,
        scheme: Scheme,
        unix_seconds: u64,
    ) -> usize {
        if matches!(self.config.mode, CookieMode::Rewrite) {
            return self.rewrite(headers, chosen, unix_seconds);
        }
        let token = match brought.filter(|token| token.backend() == chosen) {
            Some(token) if !self.is_due(token, unix_seconds) => return 0,
            Some(token) => token.renewed(unix_seconds),
            None => Token::new(chosen, unix_seconds),
        };
        headers.append(SET_COOKIE, self.write(token, scheme));
        1
    }

    /// A line for `set-cookie`.
    fn write(&self, token: Token, scheme: Scheme) -> HeaderValue {
        let tail = match scheme {
            Scheme::Http => &self.tail_http,
            Scheme::Https => &self.tail_https,
        };
        let name = &self.config.name;
        let mut line = BytesMut::with_capacity(name.len() + 1 + TOKEN_LENGTH + tail.len());
        line.put_slice(name.as_bytes());
        line.put_u8(b'=');
        line.put_slice(&self.sign(token));
        line.put_slice(tail.as_bytes());
        value(line)
    }

    /// Puts a token before the value of every `set-cookie` of our name.
    fn rewrite(&self, headers: &mut HeaderMap, chosen: BackendId, unix_seconds: u64) -> usize {
        let http::header::Entry::Occupied(mut lines) = headers.entry(SET_COOKIE) else {
            return 0;
        };
        let mut written = 0;
        for line in lines.iter_mut() {
            let (cookie, attributes) = cut(line.as_bytes(), b';');
            let Some(pair) = Pair::parse(cookie).filter(|pair| self.is_own(pair)) else {
                continue;
            };
            let mut new = BytesMut::with_capacity(line.len() + TOKEN_LENGTH + 3);
            new.put_slice(pair.name);
            new.put_u8(b'=');
            new.put_slice(&self.sign(Token::new(chosen, unix_seconds)));
            new.put_u8(SEPARATOR);
            new.put_slice(pair.value);
            if let Some(attributes) = attributes {
                new.put_u8(b';');
                new.put_slice(attributes);
            }
            *line = value(new);
            written += 1;
        }
        written
    }

    fn sign(&self, token: Token) -> [u8; TOKEN_LENGTH] {
        token.emit(self.config.keys.current(), &self.label)
    }

    fn is_own(&self, pair: &Pair<'_>) -> bool {
        pair.name == self.config.name.as_bytes()
    }

    /// The part of a cookie's value that should be a token; `None` if the value is all another's.
    fn token_of<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match &self.config.mode {
            CookieMode::Insert(_) => Some(unquoted(value)),
            CookieMode::Rewrite => Some(split_rewritten(value)?.0),
        }
    }

    fn is_good(&self, token: Token, unix_seconds: u64) -> bool {
        // A token from the future comes of a clock that is ahead: its age is none.
        unix_seconds.saturating_sub(token.issued()) <= self.max_age
            && unix_seconds.saturating_sub(token.seen()) <= self.max_idle
    }

    /// Whether a token that is good has to be written again.
    fn is_due(&self, token: Token, unix_seconds: u64) -> bool {
        let seen = unix_seconds.saturating_sub(token.seen());
        // Four times in its span: often enough to lose no one, seldom enough to be no burden.
        let idle = self.config.max_idle.is_some() && seen >= self.max_idle.div_ceil(4);
        idle || token.is_by_old_key()
    }

    /// Writes one piece of a cookie line without what is ours.
    fn keep(&self, kept: &mut BytesMut, piece: &[u8]) {
        let own = Pair::parse(piece).filter(|pair| self.is_own(pair));
        let (name, rest): (&[u8], &[u8]) = match (own, &self.config.mode) {
            (Some(_), CookieMode::Insert(_)) => return,
            (Some(pair), CookieMode::Rewrite) => match split_rewritten(pair.value) {
                Some((_, value)) => (pair.name, value),
                None => (&[], crate::token::trim(piece)),
            },
            (None, _) => (&[], crate::token::trim(piece)),
        };
        if name.is_empty() && rest.is_empty() {
            return;
        }
        if !kept.is_empty() {
            kept.put_slice(b"; ");
        }
        if !name.is_empty() {
            kept.put_slice(name);
            kept.put_u8(b'=');
        }
        kept.put_slice(rest);
    }
}

/// Why a request has no token.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Unread {
    /// No such cookie; or a backend's own that was set before there were tokens.
    #[error("no cookie")]
    Absent,
    /// Signed by us, and too old.
    #[error("an expired cookie")]
    Expired,
    /// Not signed by any of our keys: made up, or by a key that is gone.
    #[error("a forged cookie")]
    Forged,
}

impl Unread {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Absent, Self::Expired, Self::Forged];

    /// Its name for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "cookie-absent",
            Self::Expired => "cookie-expired",
            Self::Forged => "cookie-forged",
        }
    }
}

/// How many cookies of one name are tried: a browser sends one for each path and domain that has
/// it, and each costs a hash.
pub const MAX_TRIED: usize = 4;

/// What stands between a token and the backend's value; no character of base64url.
const SEPARATOR: u8 = b'~';

/// Token and value of a rewritten cookie; `None` if it has not that form.
fn split_rewritten(value: &[u8]) -> Option<(&[u8], &[u8])> {
    match value.split_at_checked(TOKEN_LENGTH)? {
        (token, [SEPARATOR, rest @ ..]) if has_form(token) => Some((token, rest)),
        _ => None,
    }
}

/// A value without the quotes that some programs put around it.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// A line made of parts that are values.
fn value(line: BytesMut) -> HeaderValue {
    HeaderValue::from_maybe_shared(line.freeze()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
