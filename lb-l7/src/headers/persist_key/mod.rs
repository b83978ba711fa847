//! A number from any part of a request, for schedulers that place by hash.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts, PrefixError};

use crate::cookie::pairs::Pairs;

/// Makes keys of requests: equal parts make equal keys, on every node that has the same secret.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use lb_l7::headers::persist_key::{KeySource, PersistKey, Subject};
/// use lbcore::hash::HashKey;
///
/// let keys = PersistKey::new(KeySource::Query("user".into()), HashKey::new([7; 16]));
/// let (headers, client) = (HeaderMap::new(), "192.0.2.1".parse()?);
/// let key = |target| keys.of(&Subject { client, headers: &headers, target });
/// assert_eq!(key("/a?user=7"), key("/b?page=2&user=7"));
/// assert_ne!(key("/a?user=7"), key("/a?user=8"));
/// assert_eq!(key("/a"), None);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PersistKey {
    source: KeySource,
    keys: KeyExtractor,
}

/// Which part of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeySource {
    /// The client's address.
    Client,
    /// The value of the cookie of this name, the first if there are several.
    Cookie(Box<str>),
    /// The value of this field, the first if there are several.
    Header(HeaderName),
    /// The path, without the query.
    Path,
    /// The value of this query parameter as it is written, the first if there are several.
    Query(Box<str>),
    /// Path and query.
    Target,
}

/// What a request shows of itself.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct Subject<'a> {
    /// The client, as [`Identity`](super::identity::Identity) finds it.
    pub client: IpAddr,
    /// The fields of the request.
    pub headers: &'a HeaderMap,
    /// Path and query.
    pub target: &'a str,
}

impl PersistKey {
    /// Keys of `source`, hashed under `secret`, without which a client could choose its backend.
    #[must_use]
    pub const fn new(source: KeySource, secret: HashKey) -> Self {
        Self {
            source,
            keys: KeyExtractor::new(KeyParts::Source, secret),
        }
    }

    /// How many leading bits of an address count, for [`KeySource::Client`]: by default all.
    ///
    /// # Errors
    ///
    /// More than 32 for `v4`, or more than 128 for `v6`.
    pub fn prefixes(self, v4: u8, v6: u8) -> Result<Self, PrefixError> {
        let keys = self.keys.prefix_v4(v4)?.prefix_v6(v6)?;
        Ok(Self { keys, ..self })
    }

    /// The key of a request, or `None` if it lacks that part or has it empty.
    ///
    /// Cost: O(bytes) of the part and of what is searched for it; allocates nothing.
    #[must_use]
    pub fn of(&self, request: &Subject<'_>) -> Option<u64> {
        let path = request.target.split('?').next().unwrap_or_default();
        let bytes = match &self.source {
            KeySource::Client => {
                let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                let client = SocketAddr::new(request.client, 0);
                return self
                    .keys
                    .of_flow(&FlowKey::new(Protocol::Tcp, client, nowhere));
            }
            KeySource::Cookie(name) => {
                Pairs::of_headers(request.headers)
                    .find(|pair| pair.name == name.as_bytes())?
                    .value
            }
            KeySource::Header(name) => request.headers.get(name)?.as_bytes(),
            KeySource::Path => path.as_bytes(),
            KeySource::Query(name) => parameter(request.target, name)?.as_bytes(),
            KeySource::Target => request.target.as_bytes(),
        };
        (!bytes.is_empty()).then(|| self.keys.of_bytes(bytes))
    }
}

/// The first value of a query parameter, as it is written.
fn parameter<'a>(target: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = target.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests;
