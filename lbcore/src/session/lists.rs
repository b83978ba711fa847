//! Doubly linked lists over small numbers: timers, ages and changes are all kept in these.

/// Some lists, and slots that each stand in at most one of them.
///
/// Each list is a ring through a head of its own, so that no operation has a special case, and a
/// slot leaves its list without knowing which one it is. Every operation is O(1); a slot costs 8
/// bytes.
#[derive(Debug)]
pub(super) struct Lists {
    heads: u32,
    links: Vec<Link>,
}

/// Neighbours in the ring; a slot in no list is its own neighbour.
#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    prev: u32,
}

impl Lists {
    /// `heads` empty lists, with room for `slots` slots, of which [`grow`](Self::grow) adds each.
    pub(super) fn new(heads: u32, slots: usize) -> Self {
        let mut links = Vec::with_capacity(heads as usize + slots);
        links.extend((0..heads).map(Link::alone));
        Self { heads, links }
    }

    /// Adds the next slot, in no list.
    pub(super) fn grow(&mut self) {
        let node = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        self.links.push(Link::alone(node));
    }

    /// Puts `slot`, which must be in no list, at the end of `list`.
    pub(super) fn push_back(&mut self, list: u32, slot: u32) {
        debug_assert!(list < self.heads && !self.contains(slot));
        self.link(self.links[list as usize].prev, self.heads + slot, list);
    }

    /// Puts `slot`, which must be in no list, at the front of `list`.
    pub(super) fn push_front(&mut self, list: u32, slot: u32) {
        debug_assert!(list < self.heads && !self.contains(slot));
        self.link(list, self.heads + slot, self.links[list as usize].next);
    }

    fn link(&mut self, prev: u32, node: u32, next: u32) {
        self.links[node as usize] = Link { next, prev };
        self.links[prev as usize].next = node;
        self.links[next as usize].prev = node;
    }

    /// Takes `slot` out of the list that it is in, if any; tells the list if this emptied it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<u32> {
        let node = self.heads + slot;
        let Link { next, prev } = self.links[node as usize];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.links[node as usize] = Link::alone(node);
        (next == prev && next < self.heads).then_some(next)
    }

    /// The first slot of `list`.
    pub(super) fn front(&self, list: u32) -> Option<u32> {
        self.links[list as usize].next.checked_sub(self.heads)
    }

    /// Whether `slot` is in a list.
    pub(super) fn contains(&self, slot: u32) -> bool {
        let node = self.heads + slot;
        self.links[node as usize].next != node
    }

    /// Bytes reserved.
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }
}

impl Link {
    fn alone(node: u32) -> Self {
        Self {
            next: node,
            prev: node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(slots: usize) -> Lists {
        let mut lists = Lists::new(2, slots);
        (0..slots).for_each(|_| lists.grow());
        lists
    }

    fn drain(lists: &mut Lists, list: u32) -> Vec<u32> {
        std::iter::from_fn(|| {
            let slot = lists.front(list)?;
            lists.remove(slot);
            Some(slot)
        })
        .collect()
    }

    #[test]
    fn slots_leave_from_the_front_in_the_order_they_were_pushed_to_the_back() {
        let mut lists = lists(4);
        for slot in [2, 0, 3] {
            lists.push_back(1, slot);
        }
        lists.push_front(1, 1);
        lists.remove(0);
        assert_eq!(drain(&mut lists, 1), [1, 2, 3]);
        assert_eq!(lists.front(1), None);
    }

    #[test]
    fn the_removal_that_empties_a_list_tells_which() {
        let mut lists = lists(3);
        lists.push_back(0, 0);
        lists.push_back(1, 1);
        lists.push_back(1, 2);
        assert_eq!(lists.remove(1), None);
        assert_eq!(lists.remove(2), Some(1));
        assert_eq!(lists.remove(0), Some(0));
    }

    #[test]
    fn a_slot_in_no_list_may_be_removed_and_nothing_happens() {
        let mut lists = lists(2);
        lists.push_back(0, 0);
        assert!(lists.contains(0) && !lists.contains(1));
        assert_eq!(lists.remove(1), None);
        assert_eq!(lists.front(0), Some(0));
    }
}
