//! Which slots of a batch belong to which session, without a list for each.

/// A list of slots of a batch, linked through [`Chains`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    first: u16,
    last: u16,
}

/// The links of the chains of one batch.
#[derive(Debug)]
pub(super) struct Chains {
    next: Box<[u16]>,
}

impl Chain {
    /// Nothing in it.
    pub(super) const EMPTY: Self = Self {
        first: END,
        last: END,
    };

    /// Whether nothing is in it.
    pub(super) const fn is_empty(self) -> bool {
        self.first == END
    }
}

impl Chains {
    /// For batches of up to `slots`.
    pub(super) fn new(slots: u16) -> Self {
        Self {
            next: vec![END; usize::from(slots)].into_boxed_slice(),
        }
    }

    /// Appends `slot` to `chain`; a slot is in one chain at most.
    pub(super) fn append(&mut self, chain: &mut Chain, slot: u16) {
        if let Some(next) = self.next.get_mut(usize::from(slot)) {
            *next = END;
        }
        match self.next.get_mut(usize::from(chain.last)) {
            Some(next) => *next = slot,
            None => chain.first = slot,
        }
        chain.last = slot;
    }

    /// The slots of `chain`, oldest first.
    pub(super) fn iter(&self, chain: Chain) -> impl Iterator<Item = u16> {
        let follow = |slot: &u16| {
            self.next
                .get(usize::from(*slot))
                .copied()
                .filter(|&at| at != END)
        };
        std::iter::successors(Some(chain.first).filter(|&at| at != END), follow)
    }
}

/// No slot of a batch.
const END: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_through_one_batch_do_not_mix() {
        let mut chains = Chains::new(8);
        let (mut a, mut b) = (Chain::EMPTY, Chain::EMPTY);
        assert!(a.is_empty());
        for slot in 0..8 {
            chains.append(if slot % 3 == 0 { &mut a } else { &mut b }, slot);
        }
        assert!(chains.iter(a).eq([0, 3, 6]));
        assert!(chains.iter(b).eq([1, 2, 4, 5, 7]));
        assert!(chains.iter(Chain::EMPTY).next().is_none());
        // The links of the batch before do not show in the next.
        let mut c = Chain::EMPTY;
        chains.append(&mut c, 3);
        assert!(chains.iter(c).eq([3]));
    }
}
