//! What is believed of whom, and what backends are told.

use http::HeaderName;
use lbcore::address_list::Prefix;
use thiserror::Error;

use super::super::names::X_REAL_IP;
use super::super::via::ViaError;

/// What is believed of whom, and what backends are told.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// Peers that are believed; default none.
    pub trusted: Vec<Prefix>,
    /// The field by which trusted peers name the client; default `X-Forwarded-For`.
    pub client_from: ClientFrom,
    /// What becomes of `X-Forwarded-For`, `-Proto`, `-Port` and `-Host`; default
    /// [`Append`](Mode::Append).
    pub x_forwarded: Mode,
    /// What becomes of `Forwarded`; default [`Remove`](Mode::Remove), for few backends read it and
    /// one truth is enough.
    pub forwarded: Mode,
    /// What `by=` of `Forwarded` says: an obfuscated name such as `_edge-1` (RFC 7239, 6.3);
    /// default nothing.
    pub by: Option<Box<str>>,
    /// This proxy's name in `Via`; default none, and then `Via` is left as it is.
    pub via: Option<Box<str>>,
    /// Other fields that only trusted peers may set, taken off of all others; default `x-real-ip`.
    pub trusted_only: Vec<HeaderName>,
    /// The most proxies that are walked back to find the client. Range 1 and up, default
    /// [`DEFAULT_MAX_HOPS`].
    pub max_hops: u16,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            client_from: ClientFrom::XForwardedFor,
            x_forwarded: Mode::Append,
            forwarded: Mode::Remove,
            by: None,
            via: None,
            trusted_only: vec![X_REAL_IP.clone()],
            max_hops: DEFAULT_MAX_HOPS,
        }
    }
}

/// How many proxies are walked back at most, unless said otherwise: three is a long path.
pub const DEFAULT_MAX_HOPS: u16 = 16;

/// How many bytes of `X-Forwarded-For` or `Forwarded` are read and added to; a longer field is
/// taken off. 100 IPv6 addresses fit.
pub const MAX_FIELD_BYTES: usize = 4096;

/// Which field names the client, if a trusted peer sent it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClientFrom {
    /// `Forwarded`.
    Forwarded,
    /// None: the client is the peer.
    Peer,
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
}

/// What becomes of the fields that name the client.
///
/// Whatever an untrusted peer sent in them is taken off first, in every mode.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// The peer is added behind what trusted peers said; scheme, port and host are theirs if they
    /// said them, else as seen here.
    #[default]
    Append,
    /// What a trusted peer sent goes on as it is, and nothing is added.
    Pass,
    /// The backend sees none of them.
    Remove,
    /// The backend sees what this proxy saw, and nothing that others said.
    Replace,
}

/// Why an [`IdentityConfig`] is refused; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum IdentityError {
    /// `by` is not an obfuscated name.
    #[error("by `{0}` does not begin with `_` or has other than letters, digits, `.`, `_`, `-`")]
    By(Box<str>),
    /// `max_hops` is zero.
    #[error("max_hops is 0")]
    MaxHops,
    /// `via` cannot stand in the field.
    #[error(transparent)]
    Via(#[from] ViaError),
}
