//! Drawing by weight in O(1).

use crate::rng::Rng;
use crate::schedule::Tier;

/// A table from which the eligible positions of a tier are drawn in proportion to their shares.
///
/// 16 bytes a backend. Exact: in integers, with no rounding.
///
/// Source: Walker 1977, in the construction of Vose 1991.
#[derive(Debug)]
pub struct AliasTable {
    columns: Box<[Column]>,
    /// The height of a column: the mean share times the number of columns.
    height: u64,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below this height the column is its own, above it the other's.
    cut: u64,
    own: u32,
    other: u32,
}

impl AliasTable {
    /// The table for the eligible backends of `tier`, each with the share that `share` gives it.
    pub(super) fn new(tier: &Tier, share: impl Fn(u32) -> u32) -> Self {
        let positions = (0..)
            .zip(tier.candidates())
            .filter(|(_, c)| c.is_eligible());
        let shares: Vec<(u32, u64)> = positions
            .map(|(position, c)| (position, u64::from(share(c.share))))
            .collect();
        let count = shares.len() as u64;
        // Shares are scaled by their number, so that the mean column height is a whole number.
        let height: u64 = shares.iter().map(|(_, share)| share).sum();
        let columns = shares.iter().map(|&(own, share)| Column {
            cut: share * count,
            own,
            other: own,
        });
        let mut columns: Vec<Column> = columns.collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..columns.len()).partition(|&at| columns.get(at).is_some_and(|c| c.cut < height));
        while let (Some(poor), Some(&rich)) = (low.pop(), high.last()) {
            let missing = columns.get(poor).map_or(0, |c| height - c.cut);
            let giver = columns.get_mut(rich).map(|c| {
                c.cut -= missing;
                (c.own, c.cut < height)
            });
            if let (Some((own, is_poor)), Some(column)) = (giver, columns.get_mut(poor)) {
                column.other = own;
                if is_poor {
                    high.pop();
                    low.push(rich);
                }
            }
        }
        Self {
            columns: columns.into(),
            height,
        }
    }

    /// A position, each in proportion to its share; `None` if none is eligible. Two random numbers.
    #[inline]
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        let at = usize::try_from(rng.below(self.columns.len() as u64)).ok()?;
        let column = self.columns.get(at)?;
        let own = column.own == column.other || rng.below(self.height) < column.cut;
        Some(if own { column.own } else { column.other } as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, BackendId};

    fn tier(weights: &[u16]) -> Tier {
        Tier::of(weights.iter().zip(1..).map(|(&weight, id)| {
            let address = "10.0.0.1:80".parse().unwrap();
            Backend::new("b", address)
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    /// How much of all columns belongs to each position.
    fn areas(table: &AliasTable, n: usize) -> Vec<u64> {
        let mut areas = vec![0; n];
        for column in &table.columns {
            areas[column.own as usize] += column.cut.min(table.height);
            areas[column.other as usize] += table.height - column.cut.min(table.height);
        }
        areas
    }

    #[test]
    fn each_position_has_exactly_its_share_of_the_table() {
        for weights in [
            &[1, 1, 1][..],
            &[5, 1, 1],
            &[0, 7, 3, 0, 65_535, 1],
            &[1],
            &[0],
            &[],
        ] {
            let table = AliasTable::new(&tier(weights), |share| share);
            let eligible = weights.iter().filter(|&&w| w > 0).count() as u64;
            let expected: Vec<u64> = weights
                .iter()
                .map(|&w| u64::from(w) * 256 * eligible)
                .collect();
            assert_eq!(areas(&table, weights.len()), expected, "{weights:?}");
        }
    }

    #[test]
    fn an_empty_table_draws_nothing() {
        let table = AliasTable::new(&tier(&[0, 0]), |share| share);
        assert_eq!(table.draw(&mut crate::rng::Xoshiro::new(1)), None);
    }
}
