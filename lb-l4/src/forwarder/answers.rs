//! Which session an answer of a backend belongs to.

use std::hint::black_box;
use std::net::SocketAddr;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::session::{Index, Region};

/// As many as are looked up at once.
const BATCH: usize = 32;

/// An index from what answers carry, the backend's end and the client's or local end, to slots.
#[derive(Debug)]
pub(crate) struct Answers {
    index: Index,
    hash: HashKey,
}

impl Answers {
    pub(crate) fn new(slots: usize, hash: HashKey) -> Self {
        let index = Index::new(slots);
        Self { index, hash }
    }

    /// What answers from `backend` to `end` are found by.
    #[inline]
    pub(crate) fn tag(&self, protocol: Protocol, backend: SocketAddr, end: SocketAddr) -> u32 {
        high(FlowKey::new(protocol, backend, end).keyed_hash(&self.hash))
    }

    pub(crate) fn insert(&mut self, tag: u32, slot: usize) -> bool {
        u32::try_from(slot).is_ok_and(|slot| self.index.insert(tag, slot))
    }

    pub(crate) fn remove(&mut self, tag: u32, slot: usize) {
        if let Ok(slot) = u32::try_from(slot) {
            self.index.remove(tag, slot);
        }
    }

    /// Reads from where a tag stands, which fetches its cache line.
    #[inline]
    pub(crate) fn fetch(&self, tag: u32) -> u64 {
        self.index.first(tag)
    }

    /// The slot with this tag that `is_it` agrees to.
    pub(crate) fn find(&self, tag: u32, mut is_it: impl FnMut(usize) -> bool) -> Option<usize> {
        let first = self.index.first(tag);
        let found = self.index.find(first, tag, |slot| is_it(slot as usize));
        found.map(|slot| slot as usize)
    }

    /// The slot of each answer, into the same place of `found`: as far as both go, and no more than
    /// a burst. `near` fetches what belongs to a slot, and `is_it` compares.
    #[inline]
    pub(crate) fn find_batch(
        &self,
        keys: &[FlowKey],
        found: &mut [Option<usize>],
        mut near: impl FnMut(usize) -> u32,
        mut is_it: impl FnMut(usize, &FlowKey) -> bool,
    ) {
        let mut tags = [0; BATCH];
        let mut firsts = [0; BATCH];
        for (tag, key) in tags.iter_mut().zip(keys) {
            *tag = high(key.keyed_hash(&self.hash));
        }
        for (first, tag) in firsts.iter_mut().zip(tags).take(keys.len()) {
            *first = self.index.first(tag);
        }
        let mut likely = [None; BATCH];
        let mut fetched = 0;
        let probes = firsts.iter().zip(tags).take(keys.len());
        for (likely, (first, tag)) in likely.iter_mut().zip(probes) {
            *likely = self.index.likely(*first, tag);
            if let Some(slot) = *likely {
                fetched ^= near(slot as usize);
            }
        }
        black_box(fetched);
        let probes = firsts.iter().zip(tags).zip(keys);
        for ((found, likely), ((first, tag), key)) in found.iter_mut().zip(likely).zip(probes) {
            // No word has the tag, or the first that has it is the one but for rare chance.
            let slot = likely.and_then(|slot| {
                if is_it(slot as usize, key) {
                    return Some(slot);
                }
                let is_it = |slot| is_it(slot as usize, key);
                self.index.find(*first, tag, is_it)
            });
            *found = slot.map(|slot| slot as usize);
        }
    }

    pub(crate) fn region(&self) -> Region {
        self.index.region()
    }
}

/// The half that the table of sessions, under the same key, does not use.
const fn high(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn answers_of_other_ends_protocols_and_keys_have_other_tags() {
        let end = |a, port| SocketAddr::from(([10, 0, 0, a], port));
        let mut tags = HashSet::new();
        for key in [1, 2] {
            let answers = Answers::new(4, HashKey::from_seed(key));
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for (a, port) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
                    tags.insert(answers.tag(protocol, end(a, port), end(9, 9)));
                    tags.insert(answers.tag(protocol, end(9, 9), end(a, port)));
                }
            }
        }
        assert_eq!(tags.len(), 32);
    }
}
