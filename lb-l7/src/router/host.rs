//! Host names: as rules write them and as requests carry them.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use super::RuleFault;

/// Which hosts a rule is for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum HostRule {
    /// All of them.
    Any,
    /// This one, in lower case.
    Exact(Box<str>),
    /// All below this one, however deep, and not itself.
    Below(Box<str>),
}

impl HostRule {
    /// Reads `name`, `*.name`, an address, or `*`.
    pub(super) fn parse(text: &str) -> Result<Self, RuleFault> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return name_of(name)
                .map(Self::Below)
                .ok_or_else(|| RuleFault::Host(text.into()));
        }
        exact(text).map(Self::Exact)
    }
}

/// One host, in the form that requests are compared by.
pub(super) fn exact(text: &str) -> Result<Box<str>, RuleFault> {
    let address = text.parse::<Ipv4Addr>().map(|v4| v4.to_string());
    let address = address.ok().or_else(|| bracketed(text.as_bytes()));
    address
        .map(Box::from)
        .or_else(|| name_of(text))
        .ok_or_else(|| RuleFault::Host(text.into()))
}

fn bracketed(text: &[u8]) -> Option<String> {
    address_in_brackets(text).map(|v6| format!("[{v6}]"))
}

fn address_in_brackets(text: &[u8]) -> Option<Ipv6Addr> {
    let inner = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    str::from_utf8(inner).ok()?.parse().ok()
}

/// A DNS name in lower case without a final dot (RFC 1035, 2.3.4; underscores are in use).
fn name_of(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    // A last label of digits alone makes it an address (RFC 1123, 2.1).
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    (text.len() <= LONGEST && text.split('.').all(is_label) && !number)
        .then(|| text.to_ascii_lowercase().into())
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The host a request is for: lower case, without port and final dot, in no memory but its own.
#[derive(Debug)]
pub(super) struct Host {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Host {
    /// That of the `host` field; `None` when there is none, or none that any rule could name.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(HOST)?.as_bytes())
    }

    fn parse(authority: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST];
        let name = split_port(authority).0;
        if let Some(v6) = address_in_brackets(name) {
            let mut rest = bytes.as_mut_slice();
            write!(rest, "[{v6}]").ok()?;
            let free = rest.len();
            let length = LONGEST.checked_sub(free)?;
            return Some(Self { bytes, length });
        }
        let name = name.strip_suffix(b".").unwrap_or(name);
        let to = bytes.get_mut(..name.len())?;
        to.copy_from_slice(name);
        to.make_ascii_lowercase();
        let length = name.len();
        (length > 0).then_some(Self { bytes, length })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The labels from the right, as the tree of hosts has them.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(self.as_bytes())
    }
}

/// A host with a port if need be, as a rule puts it in the place of a client's.
pub(super) fn authority(text: &str) -> Result<HeaderValue, RuleFault> {
    let fault = || RuleFault::Host(text.into());
    let (host, port) = split_port(text.as_bytes());
    let host = exact(str::from_utf8(host).map_err(|_| fault())?)?;
    let written = match port {
        None => String::from(host),
        Some(port) => format!("{host}:{}", number(port).ok_or_else(fault)?),
    };
    HeaderValue::try_from(written).map_err(|_| fault())
}

/// A port as it must be written: digits alone.
pub(super) fn number(port: &[u8]) -> Option<u16> {
    let digits = port.iter().all(u8::is_ascii_digit);
    str::from_utf8(port).ok()?.parse().ok().filter(|_| digits)
}

/// Whether a host can be repeated in a URI: a name of plain bytes (RFC 3986, 3.2.2, without escapes)
/// or an IPv6 address in brackets; nothing that could end it.
pub(super) fn is_plain(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && (host.iter().all(plain) || address_in_brackets(host).is_some())
}

/// The labels of a name from the right.
pub(super) fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.rsplit(|&byte| byte == b'.')
}

/// The host and the port of an authority; the port without its colon, as it was written.
pub(crate) fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = memchr::memrchr(b':', authority);
    let bracket = memchr::memrchr(b']', authority);
    match colon.filter(|&colon| bracket.is_none_or(|bracket| bracket < colon)) {
        None => (authority, None),
        Some(colon) => (
            authority.get(..colon).unwrap_or_default(),
            authority.get(colon.saturating_add(1)..),
        ),
    }
}

/// Bytes of a name as text (RFC 1035, 2.3.4: 255 on the wire).
const LONGEST: usize = 253;

/// RFC 1035, 2.3.4.
const LONGEST_LABEL: usize = 63;
