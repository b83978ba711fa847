//! Which port comes next: after a counter and an offset that nobody else can predict (RFC 6056).

use std::net::{IpAddr, SocketAddr};

use lbcore::flow::Protocol;
use lbcore::hash::HashKey;

/// The counters of RFC 6056, 3.3.4, and the key that hides them.
#[derive(Debug)]
pub(super) struct Order {
    key: HashKey,
    counters: Box<[u16; COUNTERS]>,
}

/// Where the search for a port of one backend end and local address goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    offset: u32,
    counter: usize,
}

impl Order {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            key,
            counters: Box::new([0; COUNTERS]),
        }
    }

    /// F and G of RFC 6056, 3.3.4: an offset below the number of ports, and a counter's place.
    pub(super) fn of(
        &self,
        protocol: Protocol,
        backend: SocketAddr,
        (address, len): (u8, u32),
    ) -> Next {
        let ip = match backend.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let [a, b, c, d, e, f, g, h, rest @ ..] = ip.to_be_bytes();
        let end =
            u64::from(protocol as u8) << 32 | u64::from(backend.port()) << 16 | u64::from(address);
        let words = [
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes(rest),
            end,
        ];
        let [a, b, c, d, e, f, ..] = self.key.sip13_words(words).to_le_bytes();
        Next {
            offset: u32::from_le_bytes([a, b, c, d]) % len,
            counter: usize::from(u16::from_le_bytes([e, f])) % COUNTERS,
        }
    }

    /// The first port to be tried, below `len`.
    pub(super) fn from(&self, next: Next, len: u32) -> u32 {
        let counter = self.counters.get(next.counter).copied().unwrap_or(0);
        (next.offset + u32::from(counter)) % len
    }

    /// Goes behind the port that was found.
    pub(super) fn behind(&mut self, next: Next, found: u32, len: u32) {
        // Below the length of a range of ports without port 0, which fits.
        let counted = (found + 1 + len - next.offset) % len;
        if let Some(counter) = self.counters.get_mut(next.counter) {
            *counter = u16::try_from(counted).unwrap_or(0);
        }
    }
}

/// Counters of RFC 6056, 3.3.4, which proposes 10 for a host: a forwarder has as many backends as
/// a host has peers in a thousand.
const COUNTERS: usize = 1024;
