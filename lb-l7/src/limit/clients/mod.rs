//! What each client has used: a table of fixed size.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lbcore::Instant;
use lbcore::hash::HashKey;
use lbcore::limit::TokenBucket;

use super::pace::bytes_bucket;
use super::{ClientPrefixes, RequestLimits};

/// What one client may still use.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) requests: TokenBucket,
    pub(super) bytes_in: TokenBucket,
    pub(super) bytes_out: TokenBucket,
}

impl Client {
    fn new(now: Instant, limits: &RequestLimits) -> Self {
        Self {
            requests: limits.client_rate.bucket(now),
            bytes_in: bytes_bucket(now, limits.client_bandwidth.bytes_in),
            bytes_out: bytes_bucket(now, limits.client_bandwidth.bytes_out),
        }
    }

    /// Whether it owes nothing, so that a new client is the same as this one.
    fn is_fresh(&self, now: Instant, limits: &RequestLimits) -> bool {
        let fresh = Self::new(now, limits);
        [
            (&self.requests, &fresh.requests),
            (&self.bytes_in, &fresh.bytes_in),
            (&self.bytes_out, &fresh.bytes_out),
        ]
        .iter()
        .all(|(bucket, full)| bucket.available(now) >= full.available(now))
    }
}

/// The clients that were seen last.
///
/// Sets of [`WAYS`] places, one for each value of a keyed hash, so that nobody can choose whom he
/// drives out. A client that finds its set full takes the place of the one that was idle longest,
/// those with requests under way last. Neither the sets nor their places ever become more.
///
/// Cost of a look-up: a hash of two words, a lock that two workers share only by chance, and
/// [`WAYS`] comparisons.
pub(super) struct Clients {
    key: HashKey,
    prefixes: ClientPrefixes,
    sets: Box<[Mutex<Set>]>,
    /// Clients that were forgotten while they owed something.
    forgotten: AtomicU64,
}

type Set = [Option<Entry>; WAYS];

#[derive(Debug)]
struct Entry {
    prefix: u128,
    seen: Instant,
    client: Arc<Client>,
}

impl Clients {
    pub(super) fn new(key: HashKey, limits: &RequestLimits) -> Self {
        let ways = u32::try_from(WAYS).unwrap_or(u32::MAX);
        let sets = limits.clients.div_ceil(ways).max(1);
        Self {
            key,
            prefixes: limits.prefixes,
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The client of this address, who has come at `now`.
    pub(super) fn client(
        &self,
        now: Instant,
        address: IpAddr,
        limits: &RequestLimits,
    ) -> Arc<Client> {
        let prefix = prefix(address, self.prefixes);
        let Some(mut set) = self.set(prefix) else {
            return Arc::new(Client::new(now, limits));
        };
        let known = set.iter_mut().flatten().find(|one| one.prefix == prefix);
        if let Some(known) = known {
            known.seen = known.seen.max(now);
            return Arc::clone(&known.client);
        }
        let client = Arc::new(Client::new(now, limits));
        let entry = Entry {
            prefix,
            seen: now,
            client: Arc::clone(&client),
        };
        // `None` comes first; then those that nobody holds, by how long they were idle.
        let place = set.iter_mut().min_by_key(|place| {
            place
                .as_ref()
                .map(|entry| (Arc::strong_count(&entry.client) > 1, entry.seen))
        });
        let left = place.and_then(|place| place.replace(entry));
        if left.is_some_and(|left| !left.client.is_fresh(now, limits)) {
            self.forgotten.fetch_add(1, Relaxed);
        }
        client
    }

    /// How many were driven out before what they had used was forgiven: if it grows, there are more
    /// clients than places.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }

    fn set(&self, prefix: u128) -> Option<MutexGuard<'_, Set>> {
        let high = u64::try_from(prefix >> 64).unwrap_or(0);
        let low = u64::try_from(prefix & u128::from(u64::MAX)).unwrap_or(0);
        let hash = self.key.sip13_words([high, low]);
        // The high bits of the product: as even as a remainder, without a division.
        let place = (u128::from(hash) * self.sets.len() as u128) >> 64;
        let set = self.sets.get(usize::try_from(place).ok()?)?;
        Some(set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let lock = |set: &Mutex<Set>| set.lock().unwrap().iter().flatten().count();
        self.sets.iter().map(lock).sum()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("sets", &self.sets.len())
            .finish_non_exhaustive()
    }
}

/// The bits that tell this client from others; IPv4 in its place among the addresses of IPv6
/// (RFC 4291, 2.5.5.2), so that the two never meet.
fn prefix(address: IpAddr, prefixes: ClientPrefixes) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let host = 32_u32.saturating_sub(prefixes.v4.into());
            let kept = u32::MAX.checked_shl(host).unwrap_or(0);
            let address = std::net::Ipv4Addr::from_bits(address.to_bits() & kept);
            address.to_ipv6_mapped().to_bits()
        }
        IpAddr::V6(address) => {
            let host = 128_u32.saturating_sub(prefixes.v6.into());
            let kept = u128::MAX.checked_shl(host).unwrap_or(0);
            address.to_bits() & kept
        }
    }
}

/// Places of a set: two cache lines of what is compared, and with eight a table that is half full
/// drives out one in 10,000.
const WAYS: usize = 8;

#[cfg(test)]
mod tests;
