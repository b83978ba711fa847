//! Which local address and port a session has on its way to a backend.
#![warn(clippy::indexing_slicing)]

mod config;
mod ends;
mod order;
mod rest;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lbcore::Instant;
use lbcore::flow::Protocol;
use lbcore::hash::HashKey;
use thiserror::Error;

use super::WorkerPorts;
use config::sorted;
use ends::{Ends, Port};
use order::Order;

pub use config::{LocalPortsConfig, LocalPortsConfigError};
pub use rest::Rest;

/// Why a session gets no local port; drop it under `ports-exhausted`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Exhausted {
    /// There is no local address of the backend's family: a fault of the configuration.
    #[error("no local address is of the backend's address family")]
    Family,
    /// As many ports as may be are taken or at rest, over all backend ends.
    #[error("as many local ports as may be are taken or at rest")]
    Limit,
    /// Each port of each local address is taken or at rest for this backend end.
    #[error("every local port is taken or at rest for this backend")]
    Ports,
}

/// Counts of one worker's local ports.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LocalPortsStats {
    /// Ports that sessions have now.
    pub taken: usize,
    /// Ports at rest now.
    pub resting: usize,
    /// Backend ends for which a port is taken or at rest now.
    pub backends: usize,
    /// Sessions that have got no port.
    pub exhausted: u64,
}

/// Local addresses and ports of one worker, handed out for each backend end on its own.
///
/// A backend tells sessions apart by their source, so the same local port may serve as many
/// sessions as there are backend ends (protocol, address and port): what is exhausted for one is
/// not for another.
///
/// - **Which address**: by the flow's hash, so that they are used evenly; another if its ports are
///   all taken.
/// - **Which port**: the next free one behind a counter and an offset that only the holder of the
///   key can predict (RFC 6056, 3.3.4: "double-hash"), so that a port just given back is the last
///   to be used again.
/// - **When again**: a backend's TIME-WAIT refuses a SYN whose sequence number or timestamp is not
///   beyond those it remembers (RFC 6191), and those of the next client are of another clock. So a
///   port rests until [`time_wait`](LocalPortsConfig::time_wait) after the last packet, which a
///   session in the table mostly outlasts by itself. The other way, new initial sequence numbers
///   and no timestamps, would cost every session a rewriting of each packet, and its timestamps,
///   with which a fast connection loses its protection from wrapped sequence numbers (RFC 7323, 5).
///   The price of resting: at most `ports × addresses ÷ 60 s` new sessions a second and backend
///   end, where backends close first; 1,075 for each address. A session whose own client comes
///   again keeps its port: its sequence numbers and timestamps go on.
///
/// Cost: O(1), without a lock; a hash and two memory pages a call. Memory: for ports taken or at
/// rest, no more than [`max_ports`](LocalPortsConfig::max_ports) of them.
///
/// # Examples
///
/// ```
/// use lb_l4::method::fullnat::{LocalPorts, LocalPortsConfig, Rest};
/// use lbcore::Instant;
/// use lbcore::flow::Protocol;
/// use lbcore::hash::HashKey;
///
/// let config = LocalPortsConfig::default().addresses(["10.0.0.1".parse()?]).ports(5000..=5001);
/// let mut ports = LocalPorts::new(config, HashKey::new([7; 16]))?;
/// let backend = "10.0.1.1:80".parse()?;
/// let now = Instant::ZERO;
///
/// let first = ports.allocate(now, Protocol::Tcp, backend, 1)?;
/// let second = ports.allocate(now, Protocol::Tcp, backend, 2)?;
/// assert_ne!(first, second);
/// assert!(ports.allocate(now, Protocol::Tcp, backend, 3).is_err());
/// // The same port, to another backend.
/// assert!(ports.allocate(now, Protocol::Tcp, "10.0.1.2:80".parse()?, 3).is_ok());
///
/// ports.release(now, Protocol::Tcp, backend, first, Rest::None);
/// assert_eq!(ports.allocate(now, Protocol::Tcp, backend, 3), Ok(first));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalPorts {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    shared: WorkerPorts,
    /// The first port of this worker, and how many follow it.
    first: u16,
    len: u32,
    time_wait: Duration,
    max_ports: usize,
    order: Order,
    ends: Ends,
    /// In the order of being given back, which is nearly that of waking.
    resting: VecDeque<(Instant, Port)>,
    taken: usize,
    exhausted: u64,
}

impl LocalPorts {
    /// Every port of `config` is free; which come next only the holder of `key` can tell.
    ///
    /// # Errors
    ///
    /// When a field of `config` is out of its range: see [`LocalPortsConfigError`].
    pub fn new(config: LocalPortsConfig, key: HashKey) -> Result<Self, LocalPortsConfigError> {
        let (first, last) = (*config.ports.start(), *config.ports.end());
        let bad_ports = LocalPortsConfigError::Ports(first, last);
        let shared = WorkerPorts::new(config.ports, config.workers)
            .filter(|_| first > 0)
            .ok_or(bad_ports)?;
        let own = shared
            .of(config.worker)
            .ok_or(LocalPortsConfigError::Worker {
                worker: config.worker,
                workers: config.workers,
            })?;
        let (v4, v6) = sorted(&config.addresses)?;
        Ok(Self {
            v4,
            v6,
            shared,
            first: *own.start(),
            len: u32::from(*own.end()) - u32::from(*own.start()) + 1,
            time_wait: config.time_wait.min(LONGEST_TIME_WAIT),
            max_ports: config.max_ports,
            order: Order::new(key),
            ends: Ends::default(),
            resting: VecDeque::new(),
            taken: 0,
            exhausted: 0,
        })
    }

    /// A local address and port that no session to this backend end has, for a flow of this hash.
    ///
    /// `hash` is one that clients cannot predict, such as
    /// [`FlowKey::keyed_hash`](lbcore::flow::FlowKey::keyed_hash). Fails at once and does not try
    /// long.
    ///
    /// # Errors
    ///
    /// See [`Exhausted`]; each is counted.
    pub fn allocate(
        &mut self,
        now: Instant,
        protocol: Protocol,
        backend: SocketAddr,
        hash: u64,
    ) -> Result<SocketAddr, Exhausted> {
        self.wake(now, WOKEN_EACH_TIME);
        let mut got = self.try_allocate(protocol, backend, hash);
        if got.is_err() && self.wake(now, WOKEN_IN_NEED) > 0 {
            got = self.try_allocate(protocol, backend, hash);
        }
        self.exhausted += u64::from(got.is_err());
        got
    }

    /// Takes a port that another node has handed out, as for an adopted session; whether it could.
    ///
    /// A port at rest is taken too: the other node knows better when its backend has done with it.
    /// `false` if it is none of this worker's or is taken, or if there are too many.
    #[must_use]
    pub fn claim(&mut self, protocol: Protocol, backend: SocketAddr, local: SocketAddr) -> bool {
        let Some((address, number)) = self.place(local) else {
            return false;
        };
        if local.is_ipv4() != backend.is_ipv4() || self.is_at_limit() {
            return false;
        }
        let end = self.ends.enter(protocol, backend);
        let port = Port {
            end,
            address,
            number,
        };
        let claimed = self.ends.claim(port, self.len);
        self.taken += usize::from(claimed);
        self.ends.leave(end);
        claimed
    }

    /// Gives back a port that [`allocate`](Self::allocate) gave, to be used again after its rest.
    ///
    /// What is not taken is not given back: nothing happens.
    pub fn release(
        &mut self,
        now: Instant,
        protocol: Protocol,
        backend: SocketAddr,
        local: SocketAddr,
        rest: Rest,
    ) {
        let Some((address, number)) = self.place(local) else {
            return;
        };
        let Some(end) = self.ends.number(protocol, backend) else {
            return;
        };
        let until = match rest {
            Rest::None => now,
            Rest::TimeWait(since) => since + self.time_wait,
        };
        let port = Port {
            end,
            address,
            number,
        };
        if !self.ends.is_taken(port) {
            return;
        }
        self.taken -= 1;
        if until <= now {
            self.ends.free(port);
            return;
        }
        self.ends.rest(port);
        self.resting.push_back((until, port));
    }

    /// The worker that hands out this local end, and to whom answers to it belong; `None` if it is
    /// no local end at all.
    #[must_use]
    pub fn owner(&self, local: SocketAddr) -> Option<u16> {
        let own = self.family(local.is_ipv4()).contains(&local.ip());
        own.then(|| self.shared.owner(local.port())).flatten()
    }

    /// Frees up to `most` ports whose rest is over.
    pub fn handle_timeout(&mut self, now: Instant, most: usize) {
        self.wake(now, most);
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do; it may be late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.resting.front().map(|(until, _)| *until)
    }

    /// The counts of now.
    #[must_use]
    pub fn stats(&self) -> LocalPortsStats {
        LocalPortsStats {
            taken: self.taken,
            resting: self.resting.len(),
            backends: self.ends.len(),
            exhausted: self.exhausted,
        }
    }
}

impl LocalPorts {
    /// The number of a backend end, which it keeps while a port is taken for it.
    pub(crate) fn number_of(&self, protocol: Protocol, backend: SocketAddr) -> Option<u32> {
        self.ends.number(protocol, backend)
    }

    /// The backend end that has this number.
    pub(crate) fn end_of(&self, number: u32) -> Option<(Protocol, SocketAddr)> {
        self.ends.end(number)
    }

    /// The place of a local address among those of its family.
    pub(crate) fn place_of(&self, address: IpAddr) -> Option<u16> {
        let place = self
            .family(address.is_ipv4())
            .binary_search(&address)
            .ok()?;
        u16::try_from(place).ok()
    }

    /// The local address of a family at this place.
    #[inline]
    pub(crate) fn address_at(&self, is_v4: bool, place: u16) -> Option<IpAddr> {
        self.family(is_v4).get(usize::from(place)).copied()
    }

    /// Every local address.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().chain(&self.v6).copied()
    }

    fn try_allocate(
        &mut self,
        protocol: Protocol,
        backend: SocketAddr,
        hash: u64,
    ) -> Result<SocketAddr, Exhausted> {
        let addresses = self.family(backend.is_ipv4()).len();
        if addresses == 0 {
            return Err(Exhausted::Family);
        }
        if self.is_at_limit() {
            return Err(Exhausted::Limit);
        }
        let end = self.ends.enter(protocol, backend);
        let got = self.next_port(end, protocol, backend, (hash, addresses));
        match got.filter(|port| self.take(*port)) {
            Some(port) => self.local(backend.is_ipv4(), port).ok_or(Exhausted::Ports),
            None => {
                self.ends.leave(end);
                Err(Exhausted::Ports)
            }
        }
    }

    /// The port that comes next for a backend end, on the address that `hash` says or, if that one
    /// is full, on another.
    fn next_port(
        &mut self,
        end: u32,
        protocol: Protocol,
        backend: SocketAddr,
        (hash, addresses): (u64, usize),
    ) -> Option<Port> {
        let address = self.ends.with_room(end, addresses, hash)?;
        let next = self.order.of(protocol, backend, (address, self.len));
        let from = self.order.from(next, self.len);
        let number = self.ends.free_from(end, address, from, self.len)?;
        self.order.behind(next, number, self.len);
        Some(Port {
            end,
            address,
            number: u16::try_from(number).ok()?,
        })
    }

    /// Frees up to `most` ports whose rest is over; how many.
    fn wake(&mut self, now: Instant, most: usize) -> usize {
        for woken in 0..most {
            match self.resting.front() {
                Some(&(until, port)) if until <= now => {
                    self.resting.pop_front();
                    self.ends.wake(port);
                }
                _ => return woken,
            }
        }
        most
    }

    fn take(&mut self, port: Port) -> bool {
        let taken = self.ends.take(port, self.len);
        self.taken += usize::from(taken);
        taken
    }

    fn family(&self, is_v4: bool) -> &[IpAddr] {
        if is_v4 { &self.v4 } else { &self.v6 }
    }

    fn local(&self, is_v4: bool, port: Port) -> Option<SocketAddr> {
        let address = self.family(is_v4).get(usize::from(port.address))?;
        Some(SocketAddr::new(*address, self.first + port.number))
    }

    /// The address and the number of one of this worker's local ends.
    fn place(&self, local: SocketAddr) -> Option<(u8, u16)> {
        let address = self
            .family(local.is_ipv4())
            .binary_search(&local.ip())
            .ok()?;
        let number = local.port().checked_sub(self.first)?;
        let own = u32::from(number) < self.len;
        own.then_some((u8::try_from(address).ok()?, number))
    }

    fn is_at_limit(&self) -> bool {
        self.taken + self.resting.len() >= self.max_ports
    }
}

/// Twice what a call can add, so that what is due does not pile up.
const WOKEN_EACH_TIME: usize = 2;

/// What a call that fails otherwise can afford: some microseconds.
const WOKEN_IN_NEED: usize = 256;

const LONGEST_TIME_WAIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
