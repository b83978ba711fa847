//! What local ports a worker may hand out.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use thiserror::Error;

/// What local ports a worker may hand out.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct LocalPortsConfig {
    /// The local addresses, of both families: 1 to 64 of each that has backends, in any order.
    ///
    /// They belong to the forwarder alone: the host's own stack must not answer for them.
    /// Default none.
    pub addresses: Vec<IpAddr>,

    /// The ports of each local address, shared out among the workers; not port 0.
    ///
    /// Default 1025..=65535, as in DPVS.
    pub ports: RangeInclusive<u16>,

    /// This worker, counted from 0; a forwarder sets it to its own. Default 0.
    pub worker: u16,

    /// How many workers share the ports; a forwarder sets it to its own. Default 1.
    pub workers: u16,

    /// How long a backend may keep a closed connection in TIME-WAIT; until then the port that it
    /// had is not handed out for that backend end again.
    ///
    /// At most an hour; more counts as one. Default 60 seconds, as Linux (`TCP_TIMEWAIT_LEN`).
    pub time_wait: Duration,

    /// How many ports may be taken or at rest at once, over all backend ends.
    ///
    /// Each costs 17 bytes where many are, and up to 700 where a backend end has but one, so the
    /// default, 2^21, takes 36 MiB at best.
    pub max_ports: usize,
}

impl Default for LocalPortsConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ports: 1025..=65535,
            worker: 0,
            workers: 1,
            time_wait: Duration::from_secs(60),
            max_ports: 1 << 21,
        }
    }
}

impl LocalPortsConfig {
    /// Sets the local addresses.
    #[must_use]
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// Sets the ports of each local address.
    #[must_use]
    pub const fn ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// Sets which worker this is, counted from 0.
    #[must_use]
    pub const fn worker(mut self, worker: u16) -> Self {
        self.worker = worker;
        self
    }

    /// Sets how many workers share the ports.
    #[must_use]
    pub const fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// Sets how long a port rests after its backend may have gone into TIME-WAIT.
    #[must_use]
    pub const fn time_wait(mut self, time_wait: Duration) -> Self {
        self.time_wait = time_wait;
        self
    }

    /// Sets how many ports may be taken or at rest at once.
    #[must_use]
    pub const fn max_ports(mut self, max_ports: usize) -> Self {
        self.max_ports = max_ports;
        self
    }
}

/// Why [`LocalPorts::new`](super::LocalPorts::new) refuses a configuration; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LocalPortsConfigError {
    /// An address is unspecified, multicast, or stands there twice.
    #[error("{0} cannot be a local address, or is listed twice")]
    Address(IpAddr),
    /// More than 64 addresses of one family.
    #[error("{0} local addresses of one family are more than 64")]
    Addresses(usize),
    /// Port 0, an empty range, or fewer ports than workers.
    #[error("ports {0}..={1} are not a port for each worker, or include port 0")]
    Ports(u16, u16),
    /// The worker is none of the workers.
    #[error("worker {worker} is none of {workers}, counted from 0")]
    Worker {
        /// The worker.
        worker: u16,
        /// How many there are.
        workers: u16,
    },
}

/// The addresses of each family, in order.
pub(super) fn sorted(
    addresses: &[IpAddr],
) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LocalPortsConfigError> {
    let mut all = addresses.to_vec();
    all.sort_unstable();
    let twice = all.iter().zip(all.iter().skip(1)).find(|(a, b)| a == b);
    let useless = all
        .iter()
        .find(|it| it.is_unspecified() || it.is_multicast());
    if let Some(address) = useless.or_else(|| twice.map(|(address, _)| address)) {
        return Err(LocalPortsConfigError::Address(*address));
    }
    let (v4, v6): (Vec<_>, Vec<_>) = all.into_iter().partition(IpAddr::is_ipv4);
    match v4.len().max(v6.len()) {
        0..=MOST_ADDRESSES => Ok((v4, v6)),
        more => Err(LocalPortsConfigError::Addresses(more)),
    }
}

/// A bit each in a `u64`.
pub(super) const MOST_ADDRESSES: usize = u64::BITS as usize;
