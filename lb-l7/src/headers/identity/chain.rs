//! Walks back over the proxies that a request came by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;

use super::super::forwarded::{Node, parse};
use super::super::list::elements;
use super::super::names::{FORWARDED, X_FORWARDED_FOR};
use super::{Identity, MAX_FIELD_BYTES};

/// The client by `X-Forwarded-For`, read from right to left.
pub(super) fn walk_x_forwarded(
    identity: &Identity,
    peer: IpAddr,
    headers: &HeaderMap,
    most: usize,
) -> IpAddr {
    let mut client = peer;
    let mut bytes = 0;
    for entry in elements(headers, &X_FORWARDED_FOR).rev().take(most) {
        bytes += entry.len();
        let Some(address) = address(entry).filter(|_| bytes <= MAX_FIELD_BYTES) else {
            break;
        };
        client = address;
        if !identity.trusts(client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bracketed = || -> Option<IpAddr> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.parse::<Ipv6Addr>().ok()?.into())
    };
    let address = text
        .parse()
        .ok()
        .or_else(bracketed)
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

/// The last entries of `Forwarded`.
///
/// Quotes can be read only from left to right, so what the walk wants is kept in a ring.
pub(super) struct Forwarded {
    last: [Option<IpAddr>; RING],
    count: usize,
    most: usize,
}

/// How many entries are kept: a power of two, and a bound on `max_hops` for this field.
const RING: usize = 32;

impl Forwarded {
    /// Reads all lines; a line that cannot be read makes the whole say nothing.
    pub(super) fn read(headers: &HeaderMap, most: usize) -> Self {
        let mut chain = Self {
            last: [None; RING],
            count: 0,
            most: most.min(RING),
        };
        let mut bytes = 0;
        for line in headers.get_all(&FORWARDED) {
            bytes += line.len();
            if bytes > MAX_FIELD_BYTES {
                return Self { count: 0, ..chain };
            }
            for element in parse(line.as_bytes()) {
                let Ok(element) = element else {
                    return Self { count: 0, ..chain };
                };
                let address = match element.node() {
                    Some(Node::Address(address)) => Some(address.to_canonical()),
                    _ => None,
                };
                if let Some(slot) = chain.last.get_mut(chain.count % RING) {
                    *slot = address;
                }
                chain.count += 1;
            }
        }
        chain
    }

    pub(super) fn client(&self, identity: &Identity, peer: IpAddr) -> IpAddr {
        let mut client = peer;
        for n in (0..self.count).rev().take(self.most) {
            let Some(address) = self.last.get(n % RING).copied().flatten() else {
                break;
            };
            client = address;
            if !identity.trusts(client) {
                break;
            }
        }
        client
    }
}
