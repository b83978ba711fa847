//! Fractions that are compared exactly.

use std::cmp::Ordering;

/// `load` over `share`, with a number that decides ties: the one used longer ago comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ratio {
    pub(super) load: u32,
    pub(super) share: u32,
    pub(super) used: u64,
}

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        let mine = u64::from(self.load) * u64::from(other.share);
        let theirs = u64::from(other.load) * u64::from(self.share);
        mine.cmp(&theirs).then(self.used.cmp(&other.used))
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_compare_as_they_would_on_paper_and_ties_by_use() {
        let ratio = |load, share, used| Ratio { load, share, used };
        assert!(ratio(1, 3, 9) < ratio(1, 2, 0));
        assert!(ratio(2, 4, 1) > ratio(1, 2, 0));
        assert!(ratio(2, 4, 0) < ratio(1, 2, 1));
        assert!(ratio(u32::MAX, 1, 0) > ratio(u32::MAX - 1, 1, 9));
        assert_eq!(ratio(1, 2, 3).cmp(&ratio(1, 2, 3)), Ordering::Equal);
    }
}
