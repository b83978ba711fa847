//! A bounded table of hashes and backends, whose longest unused entry goes first.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::hash::HashKey;
use crate::{BackendId, Instant};

/// What a persistence table holds, and what it has done since it was made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PersistStats {
    /// Clients remembered now, those included whose time is over but who have not been met since.
    pub entries: usize,
    /// Look-ups that found a backend.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Clients forgotten because their time was over.
    pub expired: u64,
    /// Clients forgotten because the table was full.
    pub evicted: u64,
    /// Clients forgotten because their backend was gone.
    pub forgotten: u64,
}

impl PersistStats {
    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            expired: self.expired + other.expired,
            evicted: self.evicted + other.evicted,
            forgotten: self.forgotten + other.forgotten,
        }
    }
}

/// Sharded by hash, so that workers seldom meet at one lock.
#[derive(Debug)]
pub(super) struct Table {
    key: HashKey,
    timeout: Duration,
    shards: Box<[Mutex<Shard>]>,
}

impl Table {
    /// Entries unused for `timeout` are gone; there are never more than `capacity`.
    pub(super) fn new(timeout: Duration, capacity: usize) -> Self {
        Self {
            key: HashKey::random(),
            timeout,
            shards: shards(capacity),
        }
    }

    /// Empties the table.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.shards = shards(capacity);
    }

    pub(super) fn set_key(&mut self, key: HashKey) {
        self.key = key;
    }

    pub(super) fn key(&self) -> &HashKey {
        &self.key
    }

    pub(super) fn lookup(&self, now: Instant, hash: u64) -> Option<BackendId> {
        let mut shard = self.shard(hash)?;
        shard.expire(now, self.timeout);
        let found = shard.find(now, self.timeout, hash);
        match found {
            Some(_) => shard.stats.hits += 1,
            None => shard.stats.misses += 1,
        }
        found
    }

    pub(super) fn remember(&self, now: Instant, hash: u64, backend: BackendId) {
        if let Some(mut shard) = self.shard(hash) {
            shard.expire(now, self.timeout);
            shard.remember(now, hash, backend);
        }
    }

    pub(super) fn forget_backend(&self, backend: BackendId) {
        for shard in &self.shards {
            lock(shard).forget_backend(backend);
        }
    }

    pub(super) fn stats(&self) -> PersistStats {
        self.shards
            .iter()
            .map(|shard| lock(shard).stats())
            .fold(PersistStats::default(), PersistStats::plus)
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // The map within goes by the low bits and by the top seven, so these are left to it. The
        // number of shards is a power of two.
        let choice = usize::from((hash >> 32).to_le_bytes()[0]);
        let at = choice & (self.shards.len() - 1);
        self.shards.get(at).map(lock)
    }
}

/// One part of the table: a map into a list that is ordered by last use.
///
/// Since every entry lives equally long, the order of use is the order of expiry too: what expires
/// next, and what goes when the table is full, is always the last of the list.
#[derive(Debug)]
struct Shard {
    places: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
    capacity: usize,
    /// The last used.
    newest: u32,
    /// The longest unused.
    oldest: u32,
    stats: PersistStats,
}

/// 32 bytes; its place in the map takes 20 to 40 more.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    backend: BackendId,
    used: Instant,
    newer: u32,
    older: u32,
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::default(),
            entries: Vec::new(),
            capacity,
            newest: NONE,
            oldest: NONE,
            stats: PersistStats::default(),
        }
    }

    /// The backend of `hash`, which is thereby used.
    fn find(&mut self, now: Instant, timeout: Duration, hash: u64) -> Option<BackendId> {
        let at = *self.places.get(&hash)?;
        let entry = self.entries[index(at)];
        if now.since(entry.used) >= timeout {
            // Others expired before it and were more than one call cleans up.
            self.remove(at);
            self.stats.expired += 1;
            return None;
        }
        self.touch(at, now);
        Some(entry.backend)
    }

    fn remember(&mut self, now: Instant, hash: u64, backend: BackendId) {
        if let Some(&at) = self.places.get(&hash) {
            self.entries[index(at)].backend = backend;
            self.touch(at, now);
            return;
        }
        if self.entries.len() >= self.capacity {
            self.remove(self.oldest);
            self.stats.evicted += 1;
        }
        let at = place(self.entries.len());
        self.entries.push(Entry {
            hash,
            backend,
            used: now,
            newer: NONE,
            older: NONE,
        });
        self.places.insert(hash, at);
        self.link(at, now);
    }

    /// Forgets what is over, a few entries a call, so that no call pays for all.
    fn expire(&mut self, now: Instant, timeout: Duration) {
        for _ in 0..EXPIRED_A_CALL {
            match self.entries.get(index(self.oldest)) {
                Some(oldest) if now.since(oldest.used) >= timeout => {
                    self.remove(self.oldest);
                    self.stats.expired += 1;
                }
                _ => return,
            }
        }
    }

    fn forget_backend(&mut self, backend: BackendId) {
        // From the end, since a removal fills its gap with the last entry.
        for at in (0..self.entries.len()).rev() {
            if self.entries[at].backend == backend {
                self.remove(place(at));
                self.stats.forgotten += 1;
            }
        }
    }

    fn stats(&self) -> PersistStats {
        PersistStats {
            entries: self.entries.len(),
            ..self.stats
        }
    }

    /// Makes it the last used.
    fn touch(&mut self, at: u32, now: Instant) {
        self.unlink(at);
        self.link(at, now);
    }

    /// Puts an entry that is in no list at the front.
    fn link(&mut self, at: u32, now: Instant) {
        // Workers' times differ a little; the list must not go back in time.
        let front = self.entries.get(index(self.newest));
        let used = front.map_or(now, |front| front.used.max(now));
        let entry = &mut self.entries[index(at)];
        entry.used = used;
        entry.newer = NONE;
        entry.older = self.newest;
        self.set_newer(self.newest, at);
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[index(at)];
        self.set_older(newer, older);
        self.set_newer(older, newer);
    }

    /// Takes it out of list, map and slab.
    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let gone = self.entries.swap_remove(index(at));
        self.places.remove(&gone.hash);
        // The entry that was last now lies where `gone` lay.
        if let Some(moved) = self.entries.get(index(at)).copied() {
            self.places.insert(moved.hash, at);
            self.set_older(moved.newer, at);
            self.set_newer(moved.older, at);
        }
    }

    /// What is older than `at`; than none, it is the newest of all.
    fn set_older(&mut self, at: u32, older: u32) {
        match self.entries.get_mut(index(at)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// What is newer than `at`; than none, it is the oldest of all.
    fn set_newer(&mut self, at: u32, newer: u32) {
        match self.entries.get_mut(index(at)) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

/// Passes on a key that is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _bytes: &[u8]) {
        debug_assert!(false, "the keys of this map are u64");
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Poisoned means that a thread died in here, of no memory at worst: the table is still a table.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shards(capacity: usize) -> Box<[Mutex<Shard>]> {
    // A small table is one list, so that exactly its longest unused entry goes.
    let count = if capacity < SMALL { 1 } else { SHARDS };
    let capacity = (capacity / count).clamp(1, index(NONE - 1));
    (0..count)
        .map(|_| Mutex::new(Shard::new(capacity)))
        .collect()
}

/// As an index; no entry is one that no slice has.
fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The capacity keeps every index below `NONE`.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

const NONE: u32 = u32::MAX;

/// Enough that the table shrinks while it is in use, few enough that nobody waits.
const EXPIRED_A_CALL: usize = 2;

/// Far more than there are workers, so that two seldom want the same.
const SHARDS: usize = 64;

/// Below this the table has one shard.
const SMALL: usize = 4096;

/// Some 70 MiB when full.
pub(super) const DEFAULT_CAPACITY: usize = 1 << 20;
