//! Which ports are taken: a bitmap in pages, of which only those with a taken port exist.

/// Numbers below 65,536 that are taken; 24 bytes, 8 more for each page, and 136 a page.
///
/// Every operation is O(1): at most two pages of 16 words are looked at.
#[derive(Debug, Default)]
pub(super) struct PortSet {
    /// Which pages exist; the place of a page in `pages` is the number of those before it.
    present: u64,
    /// Which pages have no free number.
    full: u64,
    #[expect(
        clippy::vec_box,
        reason = "pages are put in between, which moves those behind them"
    )]
    pages: Vec<Box<Page>>,
    /// How many numbers are taken.
    len: u32,
}

impl PortSet {
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The first free number from `from` on, going on at 0 from `end`; `None` if there is none
    /// below `end`, which is at most 65,536.
    pub(super) fn free_from(&self, from: u32, end: u32) -> Option<u32> {
        let below = |free: &u32| *free < end;
        let behind = self.next_free(from).filter(below);
        behind.or_else(|| self.next_free(0).filter(below))
    }

    /// The first free number from `from` on.
    fn next_free(&self, from: u32) -> Option<u32> {
        let page = from / Page::BITS;
        let here = match self.page(page) {
            Some(page) => page.next_free(from % Page::BITS),
            None => Some(from % Page::BITS),
        };
        if let Some(bit) = here {
            return Some(page * Page::BITS + bit);
        }
        let later = u64::MAX.checked_shl(page + 1).unwrap_or(0) & !self.full;
        if later == 0 {
            return None;
        }
        let page = later.trailing_zeros();
        let bit = self.page(page).map_or(Some(0), |page| page.next_free(0))?;
        Some(page * Page::BITS + bit)
    }

    /// Whether `number` is taken.
    pub(super) fn contains(&self, number: u32) -> bool {
        let page = self.page(number / Page::BITS);
        page.is_some_and(|page| page.contains(number % Page::BITS))
    }

    /// Takes `number`; whether it was free.
    pub(super) fn take(&mut self, number: u32) -> bool {
        let (mask, place) = self.place(number / Page::BITS);
        if self.present & mask == 0 {
            self.pages.insert(place, Box::default());
            self.present |= mask;
        }
        let Some(page) = self.pages.get_mut(place) else {
            return false;
        };
        let taken = page.take(number % Page::BITS);
        if page.used == Page::BITS {
            self.full |= mask;
        }
        self.len += u32::from(taken);
        taken
    }

    /// Frees `number`; whether it was taken.
    pub(super) fn free(&mut self, number: u32) -> bool {
        let (mask, place) = self.place(number / Page::BITS);
        if self.present & mask == 0 {
            return false;
        }
        let Some(page) = self.pages.get_mut(place) else {
            return false;
        };
        let freed = page.free(number % Page::BITS);
        if freed {
            self.full &= !mask;
            self.len -= 1;
        }
        if page.used == 0 {
            self.pages.remove(place);
            self.present &= !mask;
        }
        freed
    }

    fn page(&self, page: u32) -> Option<&Page> {
        let (mask, place) = self.place(page);
        let present = self.present & mask != 0;
        self.pages
            .get(place)
            .filter(|_| present)
            .map(|page| &**page)
    }

    /// The bit of a page, and where it stands in `pages` or would.
    fn place(&self, page: u32) -> (u64, usize) {
        let mask = 1_u64 << (page % u64::BITS);
        (mask, (self.present & (mask - 1)).count_ones() as usize)
    }
}

/// 1,024 numbers.
#[derive(Debug, Default)]
struct Page {
    words: [u64; 16],
    used: u32,
}

impl Page {
    const BITS: u32 = 1024;

    fn next_free(&self, from: u32) -> Option<u32> {
        let first = (from / u64::BITS) as usize;
        let mut ahead = u64::MAX << (from % u64::BITS);
        for (place, word) in (0..).step_by(64).zip(&self.words).skip(first) {
            let free = !word & ahead;
            if free != 0 {
                return Some(place + free.trailing_zeros());
            }
            ahead = u64::MAX;
        }
        None
    }

    fn contains(&self, bit: u32) -> bool {
        let word = self.words.get((bit / u64::BITS) as usize);
        word.is_some_and(|word| word & (1 << (bit % u64::BITS)) != 0)
    }

    fn take(&mut self, bit: u32) -> bool {
        let (word, mask) = self.word(bit);
        let free = *word & mask == 0;
        *word |= mask;
        self.used += u32::from(free);
        free
    }

    fn free(&mut self, bit: u32) -> bool {
        let (word, mask) = self.word(bit);
        let taken = *word & mask != 0;
        *word &= !mask;
        self.used -= u32::from(taken);
        taken
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a number below 1,024, by 64, is below 16"
    )]
    fn word(&mut self, bit: u32) -> (&mut u64, u64) {
        let bit = bit % Self::BITS;
        (
            &mut self.words[(bit / u64::BITS) as usize],
            1 << (bit % u64::BITS),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_set_is_full_up_to_its_end_and_no_further() {
        for end in [1, 63, 64, 65, 1023, 1024, 1025, 65_536] {
            let mut set = PortSet::default();
            for number in 0..end {
                assert_eq!(set.free_from(0, end), Some(number));
                assert!(set.take(number));
            }
            assert_eq!((set.free_from(0, end), set.len()), (None, end));
            assert_eq!(set.free_from(end - 1, end), None);
            assert!(set.free(end / 2));
            assert_eq!(set.free_from(end - 1, end), Some(end / 2), "of {end}");
            for number in 0..end {
                assert_eq!(set.free(number), number != end / 2);
            }
            assert_eq!((set.len(), set.pages.len(), set.present), (0, 0, 0));
        }
    }

    #[test]
    fn behind_the_end_of_a_page_the_next_one_goes_on() {
        let mut set = PortSet::default();
        assert!(set.take(1023));
        assert_eq!(set.free_from(1023, 4096), Some(1024));
        assert!(set.contains(1023));
        assert!(!set.contains(1024));
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0..4096_u32), 1..400), from in 0..4096_u32) {
            let mut set = PortSet::default();
            let mut model = BTreeSet::new();
            for (take, number) in steps {
                // Few numbers, so that they meet: the ends of words and of pages.
                let number = number / 61 * 61;
                if take {
                    prop_assert_eq!(set.take(number), model.insert(number));
                } else {
                    prop_assert_eq!(set.free(number), model.remove(&number));
                }
                prop_assert_eq!(set.len() as usize, model.len());
                prop_assert_eq!(set.contains(from), model.contains(&from));
                prop_assert_eq!(set.contains(number), model.contains(&number));
                let ahead = (from..4096).chain(0..from).find(|it| !model.contains(it));
                prop_assert_eq!(set.free_from(from, 4096), ahead);
            }
        }
    }
}
