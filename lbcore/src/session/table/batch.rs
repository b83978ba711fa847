//! Look-ups of a burst, whose misses of the caches overlap.

use std::hint::black_box;

use super::{SessionId, Table, V6};
use crate::flow::FlowKey;
use crate::session::key::{Compact, low};

impl Table {
    /// [`lookup_batch`](crate::session::SessionTable::lookup_batch), which shows the
    /// [`slot`](Self::slot) that each look-up most likely finds to `near` while the entries are on
    /// their way.
    ///
    /// So the owner fetches what it keeps beside the table, and waits for memory once for both. A
    /// slot that is shown may be of another flow, or of none.
    #[inline]
    pub fn lookup_batch_near(
        &self,
        keys: &[FlowKey],
        found: &mut [Option<SessionId>],
        mut near: impl FnMut(usize),
    ) {
        for (keys, found) in keys.chunks(BATCH).zip(found.chunks_mut(BATCH)) {
            let mut tags = [0; BATCH];
            let mut firsts = [0; BATCH];
            for (tag, key) in tags.iter_mut().zip(keys) {
                *tag = low(key.keyed_hash(&self.rules.hash));
            }
            for ((first, tag), key) in firsts.iter_mut().zip(tags).zip(keys) {
                *first = self.first(key, tag);
            }
            let mut likely = [None; BATCH];
            let mut fetched = 0;
            let probes = firsts.iter().zip(tags).zip(keys);
            for (likely, ((first, tag), key)) in likely.iter_mut().zip(probes) {
                let (slot, read) = self.fetch_likely(key, tag, *first, &mut near);
                *likely = slot;
                fetched ^= read;
            }
            black_box(fetched);
            let probes = firsts.iter().zip(tags).zip(keys);
            for ((found, likely), ((first, tag), key)) in found.iter_mut().zip(likely).zip(probes) {
                // No word has the tag, or the first that has it is the one but for rare chance.
                *found = likely.and_then(|slot| {
                    let confirmed = self.confirm(slot, key);
                    confirmed.or_else(|| self.find(key, tag, *first))
                });
            }
        }
    }

    /// Reads from the entry of a [`slot`](Self::slot), whatever it holds, so that its cache line is
    /// fetched; what is read means nothing.
    #[inline]
    #[must_use]
    pub fn fetch(&self, slot: usize) -> u32 {
        let v6 = slot.checked_sub(self.v4.slots());
        let slot = u32::try_from(v6.unwrap_or(slot)).unwrap_or(u32::MAX);
        match v6 {
            Some(_) => self.v6.fetch(slot),
            None => self.v4.fetch(slot),
        }
    }

    /// The slot that `key` most likely has, in the store of its family, and something read from its
    /// entry; tells `near` of it.
    #[inline]
    fn fetch_likely(
        &self,
        key: &FlowKey,
        tag: u32,
        first: u64,
        near: &mut impl FnMut(usize),
    ) -> (Option<u32>, u32) {
        if key.source.is_ipv4() {
            let Some(slot) = self.v4.likely(first, tag) else {
                return (None, 0);
            };
            near(slot as usize);
            (Some(slot), self.v4.fetch(slot))
        } else {
            let Some(slot) = self.v6.likely(first, tag) else {
                return (None, 0);
            };
            near(self.v4.slots() + slot as usize);
            (Some(slot), self.v6.fetch(slot))
        }
    }

    /// The session in `slot`, in the store of its family, if it is that of `key`.
    #[inline]
    fn confirm(&self, slot: u32, key: &FlowKey) -> Option<SessionId> {
        match Compact::of(key)? {
            Compact::V4(short) => {
                let found = self.v4.confirm(slot, short, key.protocol);
                found.map(|handle| SessionId::new(0, handle))
            }
            Compact::V6(short) => {
                let found = self.v6.confirm(slot, short, key.protocol);
                found.map(|handle| SessionId::new(V6, handle))
            }
        }
    }
}

/// As many keys as a processor of today can have loads under way for, and more.
const BATCH: usize = 32;
