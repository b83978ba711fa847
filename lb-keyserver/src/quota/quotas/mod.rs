//! What each client has used of what it may.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lbcore::Instant;
use lbcore::limit::{Concurrency, ConcurrencyGuard, TokenBucket};

use super::limits::{Limits, Rate};
use super::table::Table;
use crate::access::{Grant, Identity};
use crate::ski::Ski;
use crate::wire::ErrorCode;

/// How much is remembered of who used what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QuotaConfig {
    /// Clients that are counted at once, each once for every rule that it is granted something by.
    /// Rounded up to a multiple of 16. Default 16,384.
    pub identities: usize,
    /// Keys that are counted at once for each of them. Default 1,024.
    pub keys: usize,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            identities: 16_384,
            keys: 1_024,
        }
    }
}

impl QuotaConfig {
    /// Sets [`identities`](Self::identities).
    #[must_use]
    pub const fn identities(mut self, most: usize) -> Self {
        self.identities = most;
        self
    }

    /// Sets [`keys`](Self::keys).
    #[must_use]
    pub const fn keys(mut self, most: usize) -> Self {
        self.keys = most;
        self
    }
}

/// Counts what each client signs against the [`Limits`] of the rule that lets it.
///
/// A client has an account for each rule that grants it something, and on it a bucket for each key.
/// What one client does costs another nothing: keys are counted within an account, and a place is
/// taken only from an account that is idle, which forgets nothing. Where limits change, the account
/// begins anew, and full.
///
/// Shared by all workers. Cost: one lock of 16 and two look-ups in hash tables, about 0.2 µs; nothing
/// where the rule has no limits. Allocates for a new client or key only.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::{AccessList, Identities, Identity, Rule};
/// use lb_keyserver::quota::{Limits, QuotaConfig, QuotaExceeded, Quotas, Rate};
/// use lb_keyserver::{Mode, Scheme, Ski};
/// use lbcore::Instant;
///
/// let limits = Limits::default().per_identity(Rate::new(10, 2));
/// let list = AccessList::new([Rule::new("lb://node/*".parse()?).all_keys().limits(limits)])?;
/// let node = Identities::from("lb://node/7".parse::<Identity>()?);
/// let key = Ski::of_bits(b"abc");
/// let grant = list.check(&node, &key, Scheme::Ed25519, Mode::Bound, None)?;
///
/// let (quotas, now) = (Quotas::new(QuotaConfig::default()), Instant::ZERO);
/// let first = quotas.take(now, &grant, &key)?;
/// let second = quotas.take(now, &grant, &key)?;
/// assert_eq!(quotas.take(now, &grant, &key).unwrap_err(), QuotaExceeded::IdentityRate);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Quotas {
    shards: [Mutex<Table<(u32, Identity), Account>>; SHARDS],
    hasher: RandomState,
    keys: usize,
    refused: [AtomicU64; QuotaExceeded::ALL.len()],
}

/// So many clients are counted at once that do not wait for one another.
const SHARDS: usize = 16;

impl Quotas {
    /// Nobody has used anything.
    #[must_use]
    pub fn new(config: QuotaConfig) -> Self {
        let most = config.identities.div_ceil(SHARDS);
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Table::new(most))),
            hasher: RandomState::new(),
            keys: config.keys,
            refused: Default::default(),
        }
    }

    /// Counts one signature, which is under way until the permit is dropped.
    ///
    /// One that is refused spends nothing.
    ///
    /// # Errors
    ///
    /// Names the limit that is reached, and counts the refusal. To a peer all of them are
    /// [`QuotaExceeded::CODE`].
    pub fn take(
        &self,
        now: Instant,
        grant: &Grant<'_>,
        key: &Ski,
    ) -> Result<Permit, QuotaExceeded> {
        if grant.limits().is_none() {
            return Ok(Permit { _in_flight: None });
        }
        let taken = self.take_limited(now, grant, key);
        if let Err(why) = taken
            && let Some(count) = self.refused.get(why.place())
        {
            count.fetch_add(1, Relaxed);
        }
        taken
    }

    /// How often that has been the reason of a refusal.
    #[must_use]
    pub fn refused(&self, why: QuotaExceeded) -> u64 {
        let count = self.refused.get(why.place());
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// How many accounts there are; at most [`QuotaConfig::identities`]. Takes each lock once.
    #[must_use]
    pub fn accounts(&self) -> usize {
        let lengths = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.len()
        });
        lengths.sum()
    }

    fn take_limited(
        &self,
        now: Instant,
        grant: &Grant<'_>,
        key: &Ski,
    ) -> Result<Permit, QuotaExceeded> {
        let (owner, limits) = ((grant.number(), grant.identity().clone()), grant.limits());
        let hash = usize::try_from(self.hasher.hash_one(&owner) % SHARDS as u64).unwrap_or(0);
        let full = QuotaExceeded::TableFull;
        let shard = self.shards.get(hash).ok_or(full)?;
        // Nothing is called under the lock that could panic, so that a poisoned one is as good.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Account::new(now, limits, self.keys);
        let account = shard.entry(owner, make, |account| account.is_idle(now));
        let account = account.ok_or(full)?;
        if account.limits != *limits {
            *account = make();
        }
        account.take(now, key)
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas")
            .field("accounts", &self.accounts())
            .finish_non_exhaustive()
    }
}

/// What one client has used under one rule.
#[derive(Debug)]
struct Account {
    limits: Limits,
    bucket: TokenBucket,
    in_flight: Concurrency,
    keys: Table<Ski, TokenBucket>,
    /// How long the slowest of its buckets takes from empty to full.
    fills_in: Duration,
    /// When all of its buckets are surely full.
    full_at: Instant,
}

impl Account {
    fn new(now: Instant, limits: &Limits, keys: usize) -> Self {
        Self {
            limits: *limits,
            bucket: bucket(now, limits.per_identity),
            in_flight: Concurrency::new(limits.in_flight),
            keys: Table::new(keys),
            fills_in: fills_in(limits.per_identity).max(fills_in(limits.per_key)),
            full_at: now,
        }
    }

    fn take(&mut self, now: Instant, key: &Ski) -> Result<Permit, QuotaExceeded> {
        let permit = self.in_flight.try_acquire();
        let permit = permit.ok_or(QuotaExceeded::InFlight)?;
        // Looked at before either is taken, which is safe under the lock: who is refused for the
        // one spends nothing of the other.
        if self.bucket.available(now) == 0 {
            return Err(QuotaExceeded::IdentityRate);
        }
        let rate = self.limits.per_key;
        if rate.per_second != 0 {
            let is_idle = |bucket: &TokenBucket| is_full(bucket, now, rate);
            let of_key = self.keys.entry(*key, || bucket(now, rate), is_idle);
            let of_key = of_key.ok_or(QuotaExceeded::TableFull)?;
            if !of_key.try_take(now, 1) {
                return Err(QuotaExceeded::KeyRate);
            }
        }
        if !self.bucket.try_take(now, 1) {
            return Err(QuotaExceeded::IdentityRate);
        }
        self.full_at = self.full_at.max(now + self.fills_in);
        let _in_flight = Some(permit);
        Ok(Permit { _in_flight })
    }

    /// Whether an account made anew would be no different. O(1): it does not look at each key.
    fn is_idle(&self, now: Instant) -> bool {
        self.in_flight.in_flight() == 0 && now >= self.full_at
    }
}

/// How long a bucket takes from empty to full, rounded up.
fn fills_in(rate: Rate) -> Duration {
    // What a bucket cannot keep it takes as less (`TokenBucket::MAX_RATE`).
    let a_second = u128::from(rate.per_second.min(TokenBucket::MAX_RATE));
    let nanos = (u128::from(rate.burst.max(1)) * 1_000_000_000).checked_div(a_second);
    let nanos = nanos.map_or(0, |nanos| u64::try_from(nanos + 1).unwrap_or(u64::MAX));
    Duration::from_nanos(nanos)
}

fn bucket(now: Instant, rate: Rate) -> TokenBucket {
    TokenBucket::new(now, rate.per_second, rate.burst)
}

fn is_full(bucket: &TokenBucket, now: Instant, rate: Rate) -> bool {
    bucket.available(now) >= rate.burst.max(1)
}

/// Leave to make one signature; dropped, it is no longer under way.
#[must_use = "dropped, the signature no longer counts as under way"]
#[derive(Debug)]
pub struct Permit {
    _in_flight: Option<ConcurrencyGuard>,
}

/// Which limit a client has reached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaExceeded {
    /// The client has as many signatures under way as it may.
    #[error("too many signatures of the client are under way")]
    InFlight,
    /// The client asks too often.
    #[error("the client asks for too many signatures a second")]
    IdentityRate,
    /// The client asks too often for this key.
    #[error("the client asks for too many signatures a second by this key")]
    KeyRate,
    /// More clients, or keys of one client, are active than can be counted.
    #[error("more clients or keys are active than can be counted")]
    TableFull,
}

impl QuotaExceeded {
    /// Every one of them.
    pub const ALL: [Self; 4] = [
        Self::InFlight,
        Self::IdentityRate,
        Self::KeyRate,
        Self::TableFull,
    ];

    /// What the client is told: that the server has too much to do. It may ask again, elsewhere.
    pub const CODE: ErrorCode = ErrorCode::Internal;

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in-flight",
            Self::IdentityRate => "identity-rate",
            Self::KeyRate => "key-rate",
            Self::TableFull => "table-full",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    const fn place(self) -> usize {
        match self {
            Self::InFlight => 0,
            Self::IdentityRate => 1,
            Self::KeyRate => 2,
            Self::TableFull => 3,
        }
    }
}

#[cfg(test)]
mod tests;
