//! Who the client is, and telling the backend.
//!
//! Anyone can write `X-Forwarded-For`. What it says is believed of trusted peers only, the proxies
//! that the operator names, and from right to left as far as they reach; of all others it is taken
//! off. Only one of the two kinds of field is read, since a trusted proxy that writes one kind hands
//! on the other as the client wrote it.

mod chain;
mod config;

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use lbcore::address_list::AddressRules;

pub use config::{
    ClientFrom, DEFAULT_MAX_HOPS, IdentityConfig, IdentityError, MAX_FIELD_BYTES, Mode,
};

use super::Scheme;
use super::forwarded::{self, is_obfuscated, put_address, put_value};
use super::names::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO,
};
use super::via::{Via, append_element};

/// Finds clients behind trusted peers, and writes who they are.
///
/// Made once a listener. Cost: see the methods.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue, Version};
/// use lb_l7::headers::Scheme;
/// use lb_l7::headers::identity::{Identity, IdentityConfig};
///
/// let mut config = IdentityConfig::default();
/// config.trusted = vec!["10.0.0.0/8".parse()?];
/// let identity = Identity::new(config)?;
///
/// let hop = identity.hop("10.0.0.7".parse()?, "203.0.113.1:443".parse()?, Scheme::Https);
/// let mut headers = HeaderMap::new();
/// let chain = HeaderValue::from_static("192.0.2.66, 198.51.100.9");
/// headers.insert("x-forwarded-for", chain);
/// assert_eq!(identity.client_address(&hop, &headers), "198.51.100.9".parse::<std::net::IpAddr>()?);
///
/// identity.apply(&mut headers, &hop, Version::HTTP_11);
/// assert_eq!(headers["x-forwarded-for"], "192.0.2.66, 198.51.100.9, 10.0.0.7");
/// assert_eq!(headers["x-forwarded-proto"], "https");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// The defaults name nobody and nothing that could be wrong.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    config: IdentityConfig,
    /// `None` trusts no one; rules of two empty lists would trust everyone.
    trusted: Option<AddressRules>,
    via: Option<Via>,
}

impl Identity {
    /// Checks `config`, and lays it out for use.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the value that cannot be.
    pub fn new(config: IdentityConfig) -> Result<Self, IdentityError> {
        if let Some(by) = config
            .by
            .as_deref()
            .filter(|by| !is_obfuscated(by.as_bytes()))
        {
            return Err(IdentityError::By(by.into()));
        }
        if config.max_hops == 0 {
            return Err(IdentityError::MaxHops);
        }
        let trusted = config.trusted.iter().copied();
        Ok(Self {
            trusted: (!config.trusted.is_empty()).then(|| AddressRules::new(trusted, [])),
            via: config.via.as_deref().map(Via::new).transpose()?,
            config,
        })
    }

    /// Whether this peer is believed. O(log n) in the trusted prefixes.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted
            .as_ref()
            .is_some_and(|rules| rules.allows(peer))
    }

    /// What there is to say of a connection; made once, when it is accepted.
    ///
    /// `peer` is who connected, or whom a PROXY header names where one was accepted; `local` is the
    /// address that was reached. Allocates three short buffers.
    #[must_use]
    pub fn hop(&self, peer: IpAddr, local: SocketAddr, scheme: Scheme) -> Hop {
        let peer = peer.to_canonical();
        let mut node = BytesMut::with_capacity(96);
        node.put_slice(b"for=");
        put_address(&mut node, peer);
        if let Some(by) = &self.config.by {
            node.put_slice(b";by=");
            node.put_slice(by.as_bytes());
        }
        node.put_slice(b";proto=");
        node.put_slice(scheme.as_str().as_bytes());
        Hop {
            peer,
            scheme,
            trusted: self.trusts(peer),
            address: printable(peer.to_string().into()),
            port: local.port().into(),
            proto: HeaderValue::from_static(scheme.as_str()),
            node: printable(node.freeze()),
        }
    }

    /// The client: the peer, or whom trusted peers name.
    ///
    /// The field is walked from right to left while the one who wrote an entry is trusted, for at
    /// most [`max_hops`](IdentityConfig::max_hops) entries and [`MAX_FIELD_BYTES`]; an entry that is
    /// no address ends the walk. Allocates nothing; of an untrusted peer it reads nothing.
    #[must_use]
    pub fn client_address(&self, hop: &Hop, headers: &HeaderMap) -> IpAddr {
        if !hop.trusted {
            return hop.peer;
        }
        let most = usize::from(self.config.max_hops);
        match self.config.client_from {
            ClientFrom::Forwarded => chain::Forwarded::read(headers, most).client(self, hop.peer),
            ClientFrom::Peer => hop.peer,
            ClientFrom::XForwardedFor => chain::walk_x_forwarded(self, hop.peer, headers, most),
        }
    }

    /// Takes off what is not believed, and writes what the backend is told.
    ///
    /// `version` is that of the request, for `via`. Returns what was taken off because of who sent
    /// it or how it was written. Cost: one pass over the names and a look-up for each field; a field
    /// that was not there before is written without allocation, but for `Forwarded`, one buffer; one
    /// that is added to needs one buffer.
    pub fn apply(&self, headers: &mut HeaderMap, hop: &Hop, version: Version) -> Option<Discarded> {
        let unfit = if hop.trusted {
            discard_unfit(headers)
        } else {
            None
        };
        let mut strange = remove_aliases(headers, &self.config.trusted_only);
        if !hop.trusted {
            for name in &self.config.trusted_only {
                strange |= headers.remove(name).is_some();
            }
        }
        let mut had = match (self.config.x_forwarded, hop.trusted) {
            (Mode::Append, true) => {
                append_element(headers, &X_FORWARDED_FOR, &hop.address);
                write_origin(headers, hop);
                false
            }
            (Mode::Append, false) | (Mode::Replace, _) => overwrite(headers, hop),
            (Mode::Pass, true) => false,
            (Mode::Pass, false) | (Mode::Remove, _) => remove_x_forwarded(headers),
        };
        match (self.config.forwarded, hop.trusted) {
            (Mode::Append, true) => write_forwarded(headers, hop),
            (Mode::Append, false) | (Mode::Replace, _) => {
                had |= headers.remove(&FORWARDED).is_some();
                write_forwarded(headers, hop);
            }
            (Mode::Pass, true) => {}
            (Mode::Pass, false) | (Mode::Remove, _) => {
                had |= headers.remove(&FORWARDED).is_some();
            }
        }
        if let Some(via) = &self.via {
            via.append(headers, version);
        }
        strange |= had && !hop.trusted;
        let strange = strange.then_some(Discarded::Untrusted);
        unfit.or(strange)
    }

    /// How often this request has been here before, by `Via`; 0 if no name is set.
    #[must_use]
    pub fn passes(&self, headers: &HeaderMap) -> usize {
        self.via.as_ref().map_or(0, |via| via.passes(headers))
    }
}

/// What a connection says of all its requests, written once.
#[derive(Clone, Debug)]
pub struct Hop {
    peer: IpAddr,
    scheme: Scheme,
    trusted: bool,
    address: HeaderValue,
    port: HeaderValue,
    proto: HeaderValue,
    /// The element of `Forwarded`, but for the host.
    node: HeaderValue,
}

impl Hop {
    /// Who connected; an IPv4-mapped IPv6 address is the IPv4 address.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// How the peer connected.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the peer is believed.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }
}

/// Why fields that name a client were taken off.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Discarded {
    /// `Forwarded` of a trusted peer could not be read.
    Malformed,
    /// Longer than [`MAX_FIELD_BYTES`].
    TooLong,
    /// The peer is not trusted, or the name was one that backends take for a trusted one.
    Untrusted,
}

impl Discarded {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Malformed, Self::TooLong, Self::Untrusted];

    /// Its name for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "identity-malformed",
            Self::TooLong => "identity-too-long",
            Self::Untrusted => "identity-untrusted",
        }
    }
}

/// Takes off what even a trusted peer may not send on; says the gravest reason.
fn discard_unfit(headers: &mut HeaderMap) -> Option<Discarded> {
    let mut discarded = None;
    for name in [&X_FORWARDED_FOR, &FORWARDED] {
        let length: usize = headers.get_all(name).iter().map(HeaderValue::len).sum();
        if length > MAX_FIELD_BYTES {
            headers.remove(name);
            discarded = Some(Discarded::TooLong);
        }
    }
    // An unbalanced quote would swallow what is added behind it.
    if !forwarded_is_readable(headers) {
        headers.remove(&FORWARDED);
        discarded = Some(Discarded::Malformed);
    }
    discarded
}

/// Says what this proxy saw, whatever was said before; whether there was anything.
fn overwrite(headers: &mut HeaderMap, hop: &Hop) -> bool {
    let mut had = headers
        .insert(&X_FORWARDED_FOR, hop.address.clone())
        .is_some();
    had |= headers
        .insert(&X_FORWARDED_PROTO, hop.proto.clone())
        .is_some();
    had |= headers
        .insert(&X_FORWARDED_PORT, hop.port.clone())
        .is_some();
    let host = match headers.get(HOST).cloned() {
        Some(host) => headers.insert(&X_FORWARDED_HOST, host),
        None => headers.remove(&X_FORWARDED_HOST),
    };
    had | host.is_some()
}

/// Scheme, port and host of the client's request, where no one has said them before.
///
/// Of a client whose scheme is another proxy's word, the port is not ours to tell.
fn write_origin(headers: &mut HeaderMap, hop: &Hop) {
    if !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(&X_FORWARDED_PROTO, hop.proto.clone());
        if !headers.contains_key(&X_FORWARDED_PORT) {
            headers.insert(&X_FORWARDED_PORT, hop.port.clone());
        }
    }
    if !headers.contains_key(&X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(&X_FORWARDED_HOST, host);
    }
}

/// Adds this hop's element to `Forwarded`.
fn write_forwarded(headers: &mut HeaderMap, hop: &Hop) {
    let host = headers.get(HOST).map_or(&[][..], HeaderValue::as_bytes);
    if host.is_empty() {
        append_element(headers, &FORWARDED, &hop.node);
        return;
    }
    let before: usize = headers
        .get_all(&FORWARDED)
        .iter()
        .map(|line| line.len() + 2)
        .sum();
    let mut all = BytesMut::with_capacity(before + hop.node.len() + host.len() + 8);
    for line in headers.get_all(&FORWARDED) {
        all.put_slice(line.as_bytes());
        all.put_slice(b", ");
    }
    all.put_slice(hop.node.as_bytes());
    all.put_slice(b";host=");
    put_value(&mut all, host);
    // Parts that are values make a value.
    if let Ok(value) = HeaderValue::from_maybe_shared(all.freeze()) {
        headers.insert(&FORWARDED, value);
    }
}

/// Whether there was anything to take off.
fn remove_x_forwarded(headers: &mut HeaderMap) -> bool {
    let mut had = false;
    for name in [
        &X_FORWARDED_FOR,
        &X_FORWARDED_HOST,
        &X_FORWARDED_PORT,
        &X_FORWARDED_PROTO,
    ] {
        had |= headers.remove(name).is_some();
    }
    had
}

/// Takes off names that differ from ours by `_` for `-`: CGI and WSGI give both to a program under
/// one name (RFC 3875, 4.1.18), so a client could write `x_forwarded_for` past this proxy.
fn remove_aliases(headers: &mut HeaderMap, trusted_only: &[HeaderName]) -> bool {
    let alias = |name: &&HeaderName| {
        let text = name.as_str();
        (text.starts_with('x') || !trusted_only.is_empty())
            && text.contains('_')
            && (same_but_for_dashes(text, "x-forwarded-", true)
                || trusted_only
                    .iter()
                    .any(|own| same_but_for_dashes(text, own.as_str(), false)))
    };
    let aliases: Vec<HeaderName> = headers.keys().filter(alias).cloned().collect();
    let had = !aliases.is_empty();
    for name in aliases {
        headers.remove(name);
    }
    had
}

/// Whether `text` is `own`, or begins with it, when `_` is taken for `-`.
fn same_but_for_dashes(text: &str, own: &str, only_prefix: bool) -> bool {
    let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    (text.len() == own.len() || (only_prefix && text.len() > own.len()))
        && text.bytes().zip(own.bytes()).all(same)
}

fn forwarded_is_readable(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(&FORWARDED).iter();
    lines
        .flat_map(|line| forwarded::parse(line.as_bytes()))
        .all(|element| element.is_ok())
}

/// A value of bytes that are known to be printable.
fn printable(bytes: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests;
