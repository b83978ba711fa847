//! Which service a packet is addressed to.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbcore::address_list::Prefix;

use super::{Match, ServiceProtocol};
use crate::wire::{Body, Headers};

/// The services by what they match: a few hot cache lines for those of single addresses.
///
/// Built anew when services change. Its size is the operator's; what clients send is only looked up.
#[derive(Debug, Default)]
pub(crate) struct Classifier {
    marks: HashMap<u32, u16>,
    /// The single addresses, whatever the protocol and port.
    addresses: HashSet<IpAddr>,
    /// Of single IPv4 addresses: address, protocol and port in one word.
    v4: Exact<u64>,
    /// Of single IPv6 addresses: the address in two words, protocol and port in the third.
    v6: Exact<[u64; 3]>,
    /// Whether a service of a single address has every port.
    any_port: bool,
    /// The longest first, and of equal ones those of one port first.
    prefixes: Vec<(Prefix, ServiceProtocol, u16, u16)>,
}

/// The service of a packet, and how it was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Classified {
    pub(crate) service: u16,
    /// Whether its match is so wide that an answer could be meant by it.
    pub(crate) wide: bool,
}

impl Classifier {
    /// Of services with their numbers.
    pub(crate) fn new(services: &[(Match, u16)]) -> Self {
        let mut new = Self {
            v4: Exact::new(services.len()),
            v6: Exact::new(services.len()),
            ..Self::default()
        };
        for &(matches, service) in services {
            new.add(matches, service);
        }
        let order = |it: &(Prefix, ServiceProtocol, u16, u16)| {
            (std::cmp::Reverse(it.0.length()), it.2 == 0)
        };
        new.prefixes.sort_by_key(order);
        new
    }

    fn add(&mut self, matches: Match, service: u16) {
        match matches {
            Match::Mark(0) => {}
            Match::Mark(mark) => drop(self.marks.insert(mark, service)),
            Match::Endpoint {
                protocol,
                addresses,
                port,
            } if addresses.is_single() => {
                self.any_port |= port == 0;
                self.addresses.insert(addresses.address());
                match addresses.address() {
                    IpAddr::V4(it) => self.v4.insert(key_v4(it, protocol as u8, port), service),
                    IpAddr::V6(it) => self.v6.insert(key_v6(it, protocol as u8, port), service),
                }
            }
            Match::Endpoint {
                protocol,
                addresses,
                port,
            } => self.prefixes.push((addresses, protocol, port, service)),
        }
    }

    /// The service that a packet with this mark is for; `None` if it is for none.
    #[inline(always)]
    pub(crate) fn find(&self, mark: u32, headers: &Headers) -> Option<Classified> {
        if mark != 0
            && let Some(&service) = self.marks.get(&mark)
        {
            // Whoever marks may mark answers too.
            let wide = true;
            return Some(Classified { service, wide });
        }
        let port = match &headers.body {
            Body::Tcp(tcp) => tcp.destination_port,
            Body::Udp {
                destination_port, ..
            }
            | Body::Sctp {
                destination_port, ..
            } => *destination_port,
            _ => return None,
        };
        let protocol = headers.protocol;
        // By reference: a copy of an address that was just written would wait for its parts.
        let exact = |port| match &headers.destination {
            IpAddr::V4(it) => self.v4.find(key_v4(*it, protocol, port)),
            IpAddr::V6(it) => self.v6.find(key_v6(*it, protocol, port)),
        };
        let found = exact(port).or_else(|| self.any_port.then(|| exact(0))?);
        match found {
            Some(service) => Some(Classified {
                service,
                wide: false,
            }),
            None if self.prefixes.is_empty() => None,
            None => self.in_prefixes(headers.destination, protocol, port),
        }
    }

    /// Whether a service of a single address has this one, on whatever port.
    pub(crate) fn has_single(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether a service has this address, on whatever port, or is reached by it as a prefix.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.addresses.contains(&address) || prefixes.any(|(prefix, ..)| prefix.contains(address))
    }

    fn in_prefixes(&self, address: IpAddr, protocol: u8, port: u16) -> Option<Classified> {
        let mut prefixes = self.prefixes.iter();
        let (.., service) = prefixes.find(|(prefix, of, at, _)| {
            *of as u8 == protocol && (*at == port || *at == 0) && prefix.contains(address)
        })?;
        Some(Classified {
            service: *service,
            wide: true,
        })
    }
}

/// Services by keys of one word or more, of which the default is none: an open table, at most one
/// place of four taken.
#[derive(Debug, Default)]
struct Exact<K> {
    cells: Vec<(K, u16)>,
    mask: usize,
}

/// A key of an [`Exact`] table.
trait Key: Copy + Default + Eq {
    /// Keys are the operator's, so where they stand need not be secret.
    fn home(self) -> usize;
}

impl Key for u64 {
    #[inline(always)]
    fn home(self) -> usize {
        // Fibonacci hashing (Knuth, volume 3, 6.4).
        (self.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
    }
}

impl Key for [u64; 3] {
    #[inline(always)]
    fn home(self) -> usize {
        let [a, b, c] = self;
        (a ^ b.rotate_left(29) ^ c.rotate_left(47)).home()
    }
}

impl<K: Key> Exact<K> {
    fn new(services: usize) -> Self {
        let len = (services * 4).next_power_of_two().max(8);
        Self {
            cells: vec![(K::default(), 0); len],
            mask: len - 1,
        }
    }

    fn insert(&mut self, key: K, service: u16) {
        let mut at = key.home() & self.mask;
        while let Some(cell) = self.cells.get_mut(at) {
            if cell.0 == K::default() || cell.0 == key {
                *cell = (key, service);
                return;
            }
            at = (at + 1) & self.mask;
        }
    }

    #[inline(always)]
    fn find(&self, key: K) -> Option<u16> {
        let mut at = key.home() & self.mask;
        loop {
            let (found, service) = self.cells.get(at)?;
            if *found == key {
                return Some(*service);
            }
            if *found == K::default() {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }
}

/// Never 0, since no protocol of a service is.
#[inline(always)]
fn key_v4(address: Ipv4Addr, protocol: u8, port: u16) -> u64 {
    u64::from(address.to_bits()) << 32 | u64::from(protocol) << 16 | u64::from(port)
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
fn key_v6(address: Ipv6Addr, protocol: u8, port: u16) -> [u64; 3] {
    let bits = address.to_bits();
    let rest = u64::from(protocol) << 16 | u64::from(port);
    [(bits >> 64) as u64, bits as u64, rest]
}
