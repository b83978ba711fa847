//! By source address, or by the network it is in.

use std::net::IpAddr;
use std::time::Duration;

use super::table::{DEFAULT_CAPACITY, Table};
use super::{Client, PersistStats, Persistence};
use crate::flow::SourcePrefix;
use crate::hash::HashKey;
use crate::{BackendId, Instant};

/// Sends clients of one address, or of one network, to the backend they had.
///
/// An IPv4-mapped IPv6 address is taken as IPv4.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::persist::{Client, Persistence, SourceAddress};
/// use lbcore::{BackendId, Instant};
///
/// let persistence = SourceAddress::lasting(Duration::from_secs(300)).prefix_v4(24);
/// let now = Instant::ZERO;
/// let one = Client::from_source("192.0.2.1".parse().unwrap());
/// let neighbour = Client::from_source("192.0.2.200".parse().unwrap());
/// persistence.remember(now, &one, BackendId::new(7));
/// assert_eq!(persistence.lookup(now, &neighbour), Some(BackendId::new(7)));
/// ```
#[derive(Debug)]
#[doc(alias = "sticky source")]
pub struct SourceAddress {
    table: Table,
    prefix: SourcePrefix,
}

impl SourceAddress {
    /// Remembers each address until `timeout` after its last session began.
    ///
    /// Holds at most 2^20 addresses, some 70 MiB when all are in use; the longest unused goes
    /// first.
    #[must_use]
    pub fn lasting(timeout: Duration) -> Self {
        Self {
            table: Table::new(timeout, DEFAULT_CAPACITY),
            prefix: SourcePrefix::default(),
        }
    }

    /// How many leading bits of an IPv4 address count. At most 32 (more is taken as 32), which is
    /// the default.
    #[must_use]
    pub fn prefix_v4(mut self, bits: u8) -> Self {
        self.prefix.v4 = bits;
        self
    }

    /// How many leading bits of an IPv6 address count. At most 128 (more is taken as 128); the
    /// default is 64, the least that a client is given (RFC 6177).
    #[must_use]
    pub fn prefix_v6(mut self, bits: u8) -> Self {
        self.prefix.v6 = bits;
        self
    }

    /// How many addresses are remembered at most; at least 1.
    #[must_use]
    pub fn capacity(mut self, most: usize) -> Self {
        self.table.set_capacity(most);
        self
    }

    /// Hashes by this key instead of one drawn by the process: for a run that can be repeated.
    #[must_use]
    pub fn hash_key(mut self, key: HashKey) -> Self {
        self.table.set_key(key);
        self
    }

    /// What the table holds and has done.
    #[must_use]
    pub fn stats(&self) -> PersistStats {
        self.table.stats()
    }

    fn hash(&self, source: IpAddr) -> u64 {
        self.table.key().sip13_words(words(self.prefix.of(source)))
    }
}

impl Persistence for SourceAddress {
    fn lookup(&self, now: Instant, client: &Client<'_>) -> Option<BackendId> {
        self.table.lookup(now, self.hash(client.source))
    }

    fn remember(&self, now: Instant, client: &Client<'_>, backend: BackendId) {
        self.table.remember(now, self.hash(client.source), backend);
    }

    fn forget_backend(&self, backend: BackendId) {
        self.table.forget_backend(backend);
    }
}

/// The address as words to hash; an IPv4 one as its mapped form, which no IPv6 client has.
fn words(address: IpAddr) -> [u64; 2] {
    let bytes = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
    .octets();
    let (halves, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| halves.get(i).map_or(0, |half| u64::from_be_bytes(*half)))
}
