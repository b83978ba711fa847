//! A heap whose members have a fixed number, so that one's key can change in O(log n).

/// Members numbered 0.., each in the heap or out of it, the smallest key on top.
///
/// The key of a member that is in is also what [`top`](Self::top) orders by; ties go to the member
/// that stands higher, so keys should differ where fairness matters.
#[derive(Clone, Debug)]
pub(super) struct IndexedHeap<K> {
    /// The heap itself: members with their keys.
    order: Vec<(K, u32)>,
    /// Where each member stands in `order`; `OUT` if it does not.
    place: Vec<u32>,
}

const OUT: u32 = u32::MAX;

/// Four children lie side by side in two cache lines, and the heap is half as high as with two.
const CHILDREN: usize = 4;

impl<K: Ord + Copy> IndexedHeap<K> {
    /// A heap for members `0..members`, with those that `keys` gives in it.
    ///
    /// O(n).
    pub(super) fn new(members: usize, keys: impl IntoIterator<Item = (usize, K)>) -> Self {
        let number = |member| u32::try_from(member).unwrap_or(OUT);
        let order = keys
            .into_iter()
            .map(|(member, key)| (key, number(member)))
            .collect();
        let mut heap = Self {
            order,
            place: vec![OUT; members],
        };
        for at in (0..heap.order.len()).rev() {
            heap.sink(at);
        }
        heap
    }

    /// The member with the smallest key.
    #[inline]
    pub(super) fn top(&self) -> Option<(K, usize)> {
        self.order
            .first()
            .map(|&(key, member)| (key, member as usize))
    }

    /// The key of `member`, if it is in the heap. O(1).
    #[inline]
    pub(super) fn key(&self, member: usize) -> Option<K> {
        let at = *self.place.get(member)?;
        self.order.get(at as usize).map(|&(key, _)| key)
    }

    /// Changes the key of `member`, if it is in the heap. O(log n).
    #[inline]
    pub(super) fn update(&mut self, member: usize, key: K) {
        let at = self.place.get(member).map_or(usize::MAX, |&at| at as usize);
        if let Some(entry) = self.order.get_mut(at) {
            entry.0 = key;
            if !self.rise(at) {
                self.sink(at);
            }
        }
    }

    /// Moves the entry at `at` up to where it belongs; whether it moved.
    fn rise(&mut self, from: usize) -> bool {
        let mut at = from;
        let Some(&entry) = self.order.get(at) else {
            return false;
        };
        while let Some(above) = at.checked_sub(1).map(|before| before / CHILDREN)
            && let Some(&parent) = self.order.get(above)
            && entry.0 < parent.0
        {
            self.put(at, parent);
            at = above;
        }
        if at == from {
            return false;
        }
        self.put(at, entry);
        true
    }

    /// Moves the entry at `at` down to where it belongs.
    fn sink(&mut self, mut at: usize) {
        let Some(&entry) = self.order.get(at) else {
            return;
        };
        while let Some((below, child)) = self.least_child(at)
            && child.0 < entry.0
        {
            self.put(at, child);
            at = below;
        }
        self.put(at, entry);
    }

    #[inline]
    fn least_child(&self, at: usize) -> Option<(usize, (K, u32))> {
        let first = CHILDREN * at + 1;
        let children = self.order.get(first..)?.iter().take(CHILDREN);
        let mut children = (first..).zip(children);
        let first = children.next()?;
        let least = children.fold(
            first,
            |least, child| {
                if child.1.0 < least.1.0 { child } else { least }
            },
        );
        Some((least.0, *least.1))
    }

    #[inline]
    fn put(&mut self, at: usize, entry: (K, u32)) {
        if let Some(place) = self.order.get_mut(at) {
            *place = entry;
        }
        if let Some(place) = self.place.get_mut(entry.1 as usize) {
            *place = u32::try_from(at).unwrap_or(OUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Xoshiro};

    #[test]
    fn the_top_is_the_smallest_key_whatever_is_updated() {
        let mut rng = Xoshiro::new(3);
        for n in 0..40_usize {
            let mut keys: Vec<Option<u64>> = (0..n).map(|_| Some(rng.below(50))).collect();
            if n > 2 {
                keys[1] = None;
            }
            let given = keys
                .iter()
                .enumerate()
                .filter_map(|(at, key)| Some((at, (*key)?)));
            let mut heap = IndexedHeap::new(n, given);
            for _ in 0..200 {
                let least = keys.iter().flatten().min().copied();
                assert_eq!(heap.top().map(|(key, _)| key), least);
                assert_eq!(heap.top().and_then(|(_, at)| keys[at]), least);
                if n > 0 {
                    let member = usize::try_from(rng.below(n as u64)).unwrap();
                    let key = rng.below(50);
                    heap.update(member, key);
                    if keys[member].is_some() {
                        keys[member] = Some(key);
                    }
                    assert_eq!(heap.key(member), keys[member]);
                }
            }
            heap.update(n, 0);
            assert_eq!(heap.key(n), None);
        }
    }
}
