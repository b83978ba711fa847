//! Names and paths as trees of segments, where each step down is one look-up in a hash table.

use lbcore::rng::mix;

/// Trees of segments, any number of them in one table; every node carries a `V`.
///
/// A step down costs one hash of the segment, whatever the number of its siblings. What is looked up
/// comes from clients, what is stored does not: nobody can fill a bucket from outside.
#[derive(Debug)]
pub(super) struct Tree<V> {
    nodes: Vec<Node<V>>,
    /// Open addressing with linear probing; a power of two, at most half full.
    slots: Vec<Option<Slot>>,
}

/// A node of a [`Tree`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NodeId(usize);

/// The node where a way down ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reached {
    pub(super) node: NodeId,
    /// Whether every segment was found.
    pub(super) whole: bool,
}

#[derive(Debug)]
struct Node<V> {
    parent: Option<NodeId>,
    segment: Box<[u8]>,
    value: V,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    node: NodeId,
}

impl<V: Default> Tree<V> {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// A new root, apart from the others.
    pub(super) fn plant(&mut self) -> NodeId {
        self.push(None, &[])
    }

    /// The node at the end of these segments, made where it is missing.
    pub(super) fn insert<'s>(
        &mut self,
        from: NodeId,
        segments: impl Iterator<Item = &'s [u8]>,
    ) -> NodeId {
        segments.fold(from, |parent, segment| {
            self.child(parent, segment).unwrap_or_else(|| {
                let node = self.push(Some(parent), segment);
                self.grow();
                self.place(Slot {
                    hash: hash(parent, segment),
                    node,
                });
                node
            })
        })
    }

    fn push(&mut self, parent: Option<NodeId>, segment: &[u8]) -> NodeId {
        self.nodes.push(Node {
            parent,
            segment: segment.into(),
            value: V::default(),
        });
        NodeId(self.nodes.len().saturating_sub(1))
    }

    /// Doubles the table when it would be more than half full.
    fn grow(&mut self) {
        if self.nodes.len().saturating_mul(2) <= self.slots.len() {
            return;
        }
        let size = self.slots.len().saturating_mul(2).max(SMALLEST);
        let old = std::mem::replace(&mut self.slots, vec![None; size]);
        for slot in old.into_iter().flatten() {
            self.place(slot);
        }
    }

    fn place(&mut self, slot: Slot) {
        let free =
            probe(slot.hash, self.slots.len()).find(|&at| matches!(self.slots.get(at), Some(None)));
        if let Some(place) = free.and_then(|at| self.slots.get_mut(at)) {
            *place = Some(slot);
        }
    }
}

impl<V> Tree<V> {
    /// What the node carries.
    pub(super) fn value(&self, node: NodeId) -> Option<&V> {
        self.nodes.get(node.0).map(|node| &node.value)
    }

    pub(super) fn value_mut(&mut self, node: NodeId) -> Option<&mut V> {
        self.nodes.get_mut(node.0).map(|node| &mut node.value)
    }

    /// The node above; none above a root.
    pub(super) fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes.get(node.0)?.parent
    }

    /// Goes down from `from` as far as the segments lead.
    ///
    /// Stops at the first that is not there, so the cost is bounded by what was inserted.
    pub(super) fn descend<'s>(
        &self,
        from: NodeId,
        segments: impl Iterator<Item = &'s [u8]>,
    ) -> Reached {
        let mut node = from;
        for segment in segments {
            match self.child(node, segment) {
                Some(child) => node = child,
                None => return Reached { node, whole: false },
            }
        }
        Reached { node, whole: true }
    }

    fn child(&self, parent: NodeId, segment: &[u8]) -> Option<NodeId> {
        let hash = hash(parent, segment);
        probe(hash, self.slots.len())
            .map_while(|at| *self.slots.get(at)?)
            .filter(|slot| slot.hash == hash)
            .map(|slot| slot.node)
            .find(|node| {
                self.nodes
                    .get(node.0)
                    .is_some_and(|node| node.parent == Some(parent) && *node.segment == *segment)
            })
    }
}

/// Where a hash may lie in a table of `size`, a power of two or none.
fn probe(hash: u64, size: usize) -> impl Iterator<Item = usize> {
    let mask = size.wrapping_sub(1);
    // The high half chooses: the multiplication below mixes it best.
    let start = usize::try_from(hash >> 32).unwrap_or_default();
    (0..size).map(move |step| start.wrapping_add(step) & mask)
}

fn hash(parent: NodeId, segment: &[u8]) -> u64 {
    let (words, rest) = segment.as_chunks::<8>();
    let mut last = [0_u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let seed = (parent.0 as u64).wrapping_mul(GOLDEN) ^ segment.len() as u64;
    let state = words
        .iter()
        .fold(seed, |state, word| fold(state ^ u64::from_le_bytes(*word)));
    mix(state ^ u64::from_le_bytes(last))
}

/// Mixes 64 bits by one wide multiplication, high half over low (as wyhash does).
#[expect(
    clippy::cast_possible_truncation,
    reason = "each half is taken in its turn"
)]
fn fold(word: u64) -> u64 {
    let wide = u128::from(word) * u128::from(GOLDEN);
    (wide >> 64) as u64 ^ wide as u64
}

/// 2^64 divided by the golden ratio, odd (Knuth, volume 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Slots of a table that holds anything at all.
const SMALLEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> impl Iterator<Item = &[u8]> {
        path.split('/').map(str::as_bytes)
    }

    #[test]
    fn what_was_inserted_is_reached_and_nothing_else() {
        let mut tree = Tree::<u32>::new();
        let root = tree.plant();
        let paths: Vec<String> = (0..1000_u32)
            .map(|n| format!("a{}/b{}/a longer segment {n}", n % 7, n % 31))
            .collect();
        let nodes: Vec<NodeId> = paths
            .iter()
            .map(|path| tree.insert(root, segments(path)))
            .collect();
        for (path, &node) in paths.iter().zip(&nodes) {
            let whole = Reached { node, whole: true };
            assert_eq!(tree.descend(root, segments(path)), whole);
            let below = tree.descend(root, segments(&format!("{path}/x")));
            assert_eq!(below, Reached { node, whole: false });
            let beside = tree.descend(root, segments(&format!("{path}x")));
            let node = tree.parent(node).unwrap();
            assert_eq!(beside, Reached { node, whole: false });
        }
        assert!(tree.nodes.len() * 2 <= tree.slots.len());
        assert!(tree.nodes.len() * 4 > tree.slots.len());
    }

    #[test]
    fn trees_in_one_table_are_apart() {
        let mut tree = Tree::<u32>::new();
        let (one, other) = (tree.plant(), tree.plant());
        let leaf = tree.insert(one, segments("a/b"));
        *tree.value_mut(leaf).unwrap() = 7;
        assert_eq!(tree.value(leaf), Some(&7));
        let nothing = Reached {
            node: other,
            whole: false,
        };
        assert_eq!(tree.descend(other, segments("a/b")), nothing);
        assert_eq!(tree.parent(one), None);
    }

    #[test]
    fn an_empty_tree_has_only_its_root() {
        let mut tree = Tree::<u32>::new();
        let root = tree.plant();
        let (node, none) = (root, std::iter::empty());
        assert_eq!(tree.descend(root, none), Reached { node, whole: true });
        let missing = Reached { node, whole: false };
        assert_eq!(tree.descend(root, segments("a")), missing);
    }

    #[test]
    fn each_part_of_a_step_counts_in_its_hash() {
        let of = |parent, segment: &str| hash(NodeId(parent), segment.as_bytes());
        let all = [
            of(1, ""),
            of(2, ""),
            of(1, "\0"),
            of(1, "12345678"),
            of(1, "123456789"),
            of(1, "12345678\0"),
            of(1, "22345678\0"),
        ];
        let distinct: std::collections::HashSet<u64> = all.into();
        assert_eq!(distinct.len(), all.len());
    }
}
