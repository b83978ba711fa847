//! What a session is placed by.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::place::Crc32;
use crate::flow::FlowKey;
use crate::hash::HashKey;

/// Which part of a session its key is made from.
///
/// Read from text by the names given here.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum KeyParts {
    /// `application`: bytes that the application gives, such as a URL; a flow alone has no key.
    Application,
    /// `flow`: protocol, both addresses and both ports.
    #[doc(alias = "five-tuple")]
    Flow,
    /// `none`: nothing; sessions have no key.
    #[default]
    Nothing,
    /// `source`: the client's address, so that a client stays with its backend.
    Source,
    /// `source-destination`: the addresses of client and service, without ports.
    SourceDestination,
    /// `source-text`: the client's address as it is written, under no secret: for
    /// [`Ketama`](super::Ketama) beside nginx's `hash $remote_addr consistent`.
    ///
    /// The text is that of RFC 5952, of a mapped address that of the IPv4 address. Whoever chooses
    /// their address can choose their backend.
    SourceText,
    /// `tuple`: both addresses and both ports, so that the same client's TCP and UDP stay together,
    /// as for DNS or QUIC beside HTTP.
    #[doc(alias = "four-tuple")]
    Tuple,
}

impl KeyParts {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::Application,
        Self::Flow,
        Self::Nothing,
        Self::Source,
        Self::SourceDestination,
        Self::SourceText,
        Self::Tuple,
    ];

    /// Whether the address that the client has asked counts.
    ///
    /// Where it is costly to know, it can be left out of the [`FlowKey`] of the others.
    #[must_use]
    pub const fn has_destination(self) -> bool {
        matches!(self, Self::Flow | Self::SourceDestination | Self::Tuple)
    }

    /// Its name in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Flow => "flow",
            Self::Nothing => "none",
            Self::Source => "source",
            Self::SourceDestination => "source-destination",
            Self::SourceText => "source-text",
            Self::Tuple => "tuple",
        }
    }
}

impl FromStr for KeyParts {
    type Err = KeyPartsError;

    fn from_str(text: &str) -> Result<Self, KeyPartsError> {
        let named = Self::ALL.into_iter().find(|parts| parts.as_str() == text);
        named.ok_or_else(|| KeyPartsError(text.into()))
    }
}

/// A text that is no name of [`KeyParts`]; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "`{0}` is not a key: expected `application`, `flow`, `none`, `source`, `source-destination`, \
     `source-text` or `tuple`"
)]
pub struct KeyPartsError(Box<str>);

/// Makes keys of sessions: input to schedulers, through [`Pick::keyed`](crate::Pick::keyed).
///
/// Keys are hashed under a secret, so that clients cannot choose flows that all meet in one backend.
/// Nodes that must place alike are given the same secret. An IPv4 address and the IPv6 address that
/// it is mapped to are the same.
///
/// Cost: about 15 ns a flow, more with [`KeyParts::SourceText`], which writes the address; no
/// allocation.
///
/// # Examples
///
/// ```
/// use lbcore::flow::{FlowKey, Protocol};
/// use lbcore::hash::HashKey;
/// use lbcore::schedule::{KeyExtractor, KeyParts};
///
/// let keys = KeyExtractor::new(KeyParts::Source, HashKey::new([7; 16])).prefix_v4(24)?;
/// let flow = |source: &str| {
///     let service = "203.0.113.10:80".parse().unwrap();
///     FlowKey::new(Protocol::Tcp, source.parse().unwrap(), service)
/// };
/// assert_eq!(keys.of_flow(&flow("192.0.2.1:40000")), keys.of_flow(&flow("192.0.2.9:50000")));
/// assert_ne!(keys.of_flow(&flow("192.0.2.1:40000")), keys.of_flow(&flow("192.0.3.1:40000")));
/// # Ok::<(), lbcore::schedule::PrefixError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KeyExtractor {
    parts: KeyParts,
    secret: HashKey,
    /// Which bits of a source count, of an IPv4 address as it is mapped to IPv6.
    mask_v4: u128,
    mask_v6: u128,
}

impl KeyExtractor {
    /// Makes keys of `parts`, hashed under `secret`.
    #[must_use]
    pub const fn new(parts: KeyParts, secret: HashKey) -> Self {
        Self {
            parts,
            secret,
            mask_v4: u128::MAX,
            mask_v6: u128::MAX,
        }
    }

    /// Sets how many leading bits of an IPv4 source count, so that neighbours stay together.
    ///
    /// 0..=32, default 32. For [`KeyParts::Source`], [`KeyParts::SourceDestination`] and
    /// [`KeyParts::SourceText`]; the others take whole addresses.
    ///
    /// # Errors
    ///
    /// The number is above 32.
    pub fn prefix_v4(self, bits: u8) -> Result<Self, PrefixError> {
        let mask_v4 = mask(bits, 32)?;
        Ok(Self { mask_v4, ..self })
    }

    /// Sets how many leading bits of an IPv6 source count.
    ///
    /// 0..=128, default 128. With 64 a host keeps its backend when its temporary address changes
    /// (RFC 8981).
    ///
    /// # Errors
    ///
    /// The number is above 128.
    pub fn prefix_v6(self, bits: u8) -> Result<Self, PrefixError> {
        let mask_v6 = mask(bits, 128)?;
        Ok(Self { mask_v6, ..self })
    }

    /// What keys are made from.
    #[must_use]
    pub const fn parts(&self) -> KeyParts {
        self.parts
    }

    /// The key of `flow`; `None` if keys are not made from flows.
    #[inline]
    #[must_use]
    pub fn of_flow(&self, flow: &FlowKey) -> Option<u64> {
        let source = address(flow.source.ip());
        let destination = address(flow.destination.ip());
        let ports = u64::from(flow.source.port()) << 16 | u64::from(flow.destination.port());
        match self.parts {
            KeyParts::Application | KeyParts::Nothing => None,
            KeyParts::Flow => {
                let protocol = flow.protocol as u64;
                Some(self.hash(source, destination, 1 << 40 | protocol << 32 | ports))
            }
            KeyParts::Source => Some(self.hash(self.masked(flow.source.ip()), 0, 2 << 40)),
            KeyParts::SourceDestination => {
                Some(self.hash(self.masked(flow.source.ip()), destination, 3 << 40))
            }
            KeyParts::SourceText => Some(self.text(flow.source.ip())),
            KeyParts::Tuple => Some(self.hash(source, destination, 4 << 40 | ports)),
        }
    }

    /// The key of bytes that the application gives, whatever [`parts`](Self::parts) says.
    #[must_use]
    pub fn of_bytes(&self, bytes: &[u8]) -> u64 {
        self.secret.sip13(bytes)
    }

    fn masked(&self, source: IpAddr) -> u128 {
        match source.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits() & self.mask_v4,
            IpAddr::V6(v6) => v6.to_bits() & self.mask_v6,
        }
    }

    /// What `Ketama::key` says of the text of `source`.
    fn text(&self, source: IpAddr) -> u64 {
        let ip = Ipv6Addr::from_bits(self.masked(source)).to_canonical();
        let mut text = Text(Crc32::new());
        // A checksum takes every text.
        let _ = write!(text, "{ip}");
        u64::from(text.0.finish())
    }

    #[inline]
    fn hash(&self, source: u128, destination: u128, rest: u64) -> u64 {
        let [s0, s1] = halves(source);
        let [d0, d1] = halves(destination);
        self.secret.sip13_words([s0, s1, d0, d1, rest])
    }
}

/// The checksum of what is written to it.
struct Text(Crc32);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.update(text.as_bytes());
        Ok(())
    }
}

/// Why a prefix length is none; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("prefix length {bits} is above {most}")]
pub struct PrefixError {
    bits: u8,
    most: u8,
}

/// A mask of the first `bits` of the last `most` bits of an address, and of all before them.
fn mask(bits: u8, most: u8) -> Result<u128, PrefixError> {
    let host = most.checked_sub(bits).ok_or(PrefixError { bits, most })?;
    Ok(u128::MAX.checked_shl(u32::from(host)).unwrap_or(0))
}

fn address(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
const fn halves(word: u128) -> [u64; 2] {
    [(word >> 64) as u64, word as u64]
}

#[cfg(test)]
mod tests {
    use super::super::Ketama;
    use super::*;
    use crate::flow::Protocol;

    fn keys(parts: KeyParts) -> KeyExtractor {
        KeyExtractor::new(parts, HashKey::from_seed(1))
    }

    fn flow(source: &str, destination: &str) -> FlowKey {
        FlowKey::new(
            Protocol::Tcp,
            source.parse().unwrap(),
            destination.parse().unwrap(),
        )
    }

    const HERE: &str = "203.0.113.10:80";

    #[test]
    fn each_name_is_read_back_and_others_are_refused() {
        for parts in KeyParts::ALL {
            assert_eq!(parts.as_str().parse(), Ok(parts));
        }
        let error = "Source".parse::<KeyParts>().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`Source` is not a key: expected")
        );
        assert_eq!(keys(KeyParts::Tuple).parts(), KeyParts::Tuple);
    }

    /// Which of the four parts and the protocol change the key of each kind.
    #[test]
    fn a_key_depends_on_its_parts_and_nothing_else() {
        let base = flow("192.0.2.1:4000", HERE);
        let mut udp = base;
        udp.protocol = Protocol::Udp;
        let others = [
            flow("192.0.2.2:4000", HERE),
            flow("192.0.2.1:4001", HERE),
            flow("192.0.2.1:4000", "203.0.113.11:80"),
            flow("192.0.2.1:4000", "203.0.113.10:81"),
            udp,
        ];
        for (parts, expected) in [
            (KeyParts::Source, [true, false, false, false, false]),
            (KeyParts::SourceText, [true, false, false, false, false]),
            (
                KeyParts::SourceDestination,
                [true, false, true, false, false],
            ),
            (KeyParts::Tuple, [true, true, true, true, false]),
            (KeyParts::Flow, [true; 5]),
        ] {
            let key = |flow| keys(parts).of_flow(flow).unwrap();
            let changes = others.each_ref().map(|other| key(other) != key(&base));
            assert_eq!(changes, expected, "{parts:?}");
            assert_eq!(changes[2], parts.has_destination(), "{parts:?}");
        }
        assert_eq!(keys(KeyParts::Nothing).of_flow(&base), None);
        assert_eq!(keys(KeyParts::Application).of_flow(&base), None);
    }

    #[test]
    fn kinds_of_key_and_secrets_say_nothing_of_each_other() {
        let base = flow("192.0.2.1:4000", HERE);
        let kinds = [
            KeyParts::Source,
            KeyParts::SourceDestination,
            KeyParts::Tuple,
            KeyParts::Flow,
        ];
        let mut all: Vec<u64> = kinds
            .iter()
            .filter_map(|&it| keys(it).of_flow(&base))
            .collect();
        all.push(
            KeyExtractor::new(KeyParts::Source, HashKey::from_seed(2))
                .of_flow(&base)
                .unwrap(),
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
        let bytes = |seed| {
            KeyExtractor::new(KeyParts::Application, HashKey::from_seed(seed)).of_bytes(b"a")
        };
        assert_ne!(bytes(1), bytes(2));
        assert_ne!(
            keys(KeyParts::Application).of_bytes(b"a"),
            keys(KeyParts::Application).of_bytes(b"b")
        );
    }

    #[test]
    fn a_text_is_hashed_as_nginx_hashes_it_whatever_the_secret() {
        let secrets = [1, 2].map(HashKey::from_seed);
        for secret in secrets {
            let keys = KeyExtractor::new(KeyParts::SourceText, secret);
            let key = |source: &str| keys.of_flow(&flow(source, HERE));
            assert_eq!(key("192.0.2.1:4000"), Some(Ketama::key(b"192.0.2.1")));
            let v6 = key("[2001:DB8:0:0:1:0:0:1]:4000");
            assert_eq!(v6, Some(Ketama::key(b"2001:db8::1:0:0:1")));
            let near = keys.prefix_v4(24).unwrap().prefix_v6(64).unwrap();
            let key = |source: &str| near.of_flow(&flow(source, HERE));
            assert_eq!(key("192.0.2.9:4000"), Some(Ketama::key(b"192.0.2.0")));
            assert_eq!(key("[2001:db8::1]:4000"), Some(Ketama::key(b"2001:db8::")));
        }
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        for parts in [
            KeyParts::SourceText,
            KeyParts::Source,
            KeyParts::SourceDestination,
            KeyParts::Tuple,
            KeyParts::Flow,
        ] {
            let keys = keys(parts).prefix_v4(24).unwrap();
            let plain = keys.of_flow(&flow("192.0.2.1:4000", HERE));
            assert_eq!(plain, keys.of_flow(&flow("[::ffff:192.0.2.1]:4000", HERE)));
            let mapped = flow("192.0.2.1:4000", "[::ffff:203.0.113.10]:80");
            assert_eq!(plain, keys.of_flow(&mapped), "{parts:?}");
        }
    }

    #[test]
    fn a_prefix_keeps_its_first_bits_of_either_family() {
        let same = |keys: &KeyExtractor, a: &str, b: &str| {
            keys.of_flow(&flow(a, HERE)) == keys.of_flow(&flow(b, HERE))
        };
        let v4 = keys(KeyParts::Source).prefix_v4(23).unwrap();
        assert!(same(&v4, "192.0.2.1:1", "192.0.3.255:1"));
        assert!(!same(&v4, "192.0.2.1:1", "192.0.4.1:1"));
        assert!(!same(&v4, "[2001:db8::1]:1", "[2001:db8::2]:1"));
        let v6 = keys(KeyParts::Source).prefix_v6(64).unwrap();
        assert!(same(&v6, "[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1"));
        assert!(!same(&v6, "[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
        assert!(!same(&v6, "192.0.2.1:1", "192.0.2.2:1"));
        let none = keys(KeyParts::Source)
            .prefix_v4(0)
            .unwrap()
            .prefix_v6(0)
            .unwrap();
        assert!(same(&none, "192.0.2.1:1", "9.9.9.9:1"));
        assert!(same(&none, "[2001:db8::1]:1", "[::1]:1"));
        let whole = keys(KeyParts::Source)
            .prefix_v4(32)
            .unwrap()
            .prefix_v6(128)
            .unwrap();
        assert!(!same(&whole, "192.0.2.1:1", "192.0.2.0:1"));
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_refused() {
        let bits = |result: Result<KeyExtractor, PrefixError>| result.unwrap_err().to_string();
        assert_eq!(
            bits(keys(KeyParts::Source).prefix_v4(33)),
            "prefix length 33 is above 32"
        );
        assert_eq!(
            bits(keys(KeyParts::Source).prefix_v6(129)),
            "prefix length 129 is above 128"
        );
    }
}
