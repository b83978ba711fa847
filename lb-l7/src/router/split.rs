//! One of several targets, by weight.

use http::HeaderName;

/// Where requests go: to one target, or shared between several by weight.
///
/// # Examples
///
/// ```
/// use lb_l7::router::Split;
///
/// // One request in ten tries the new version.
/// let split = Split::weighted([(9, "stable"), (1, "canary")]);
/// assert_eq!(split.pick(0), Some(&"stable"));
/// assert_eq!(split.pick(u64::MAX), Some(&"canary"));
/// ```
#[derive(Clone, Debug)]
pub struct Split<T> {
    /// Each with the sum of the weights up to and with its own; those of weight 0 are left out.
    targets: Vec<(u64, T)>,
    sticky: Option<StickyKey>,
}

/// What keeps a client at the target it was given first.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StickyKey {
    /// The value of this cookie.
    Cookie(String),
    /// The value of this field; its first line.
    Header(HeaderName),
}

impl<T> Split<T> {
    /// Everything to one target.
    #[must_use]
    pub fn to(target: T) -> Self {
        Self::weighted([(1, target)])
    }

    /// To each its share; one of weight 0 gets nothing.
    ///
    /// The order matters when weights change and keys are sticky: each target has a stretch of the
    /// keys, in this order, so between two targets only the keys move that must.
    #[must_use]
    pub fn weighted(targets: impl IntoIterator<Item = (u32, T)>) -> Self {
        let mut sum = 0_u64;
        let targets = targets.into_iter().filter(|(weight, _)| *weight > 0);
        let targets = targets.map(|(weight, target)| {
            sum = sum.saturating_add(u64::from(weight));
            (sum, target)
        });
        Self {
            targets: targets.collect(),
            sticky: None,
        }
    }

    /// Chooses by this key where a request has it, so that the same key gets the same target.
    ///
    /// The choice is the same in every process and for ever, while the weights stay.
    #[must_use]
    pub fn sticky(mut self, key: StickyKey) -> Self {
        self.sticky = Some(key);
        self
    }

    /// The target for this random number: every number is as likely to be given as any other.
    ///
    /// O(log n) in the number of targets. `None` only if there is none with a weight, which no
    /// router accepts.
    #[must_use]
    pub fn pick(&self, entropy: u64) -> Option<&T> {
        let total = self.targets.last()?.0;
        // Scaled to 0..total by a multiplication, not a remainder: even, and by the high bits.
        let wide = (u128::from(entropy) * u128::from(total)) >> 64;
        let at = u64::try_from(wide).unwrap_or(u64::MAX);
        let index = self.targets.partition_point(|(sum, _)| *sum <= at);
        self.targets.get(index).map(|(_, target)| target)
    }

    /// The targets that have a weight, in the order they were written.
    pub fn targets(&self) -> impl Iterator<Item = &T> {
        self.targets.iter().map(|(_, target)| target)
    }

    pub(super) const fn sticky_key(&self) -> Option<&StickyKey> {
        self.sticky.as_ref()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_split_without_weight_has_no_target() {
        assert!(Split::weighted([(0, 'a'), (0, 'b')]).is_empty());
        assert_eq!(Split::weighted([(0, 'a')]).pick(7), None);
        assert!(!Split::to('a').is_empty());
    }

    #[test]
    fn shares_end_exactly_where_the_weights_say() {
        let split = Split::weighted([(1, 'a'), (0, 'x'), (3, 'b')]);
        let border = 1_u64 << 62;
        assert_eq!(split.pick(0), Some(&'a'));
        assert_eq!(split.pick(border - 1), Some(&'a'));
        assert_eq!(split.pick(border), Some(&'b'));
        assert_eq!(split.pick(u64::MAX), Some(&'b'));
        assert!(split.targets().eq(&['a', 'b']));
    }

    proptest! {
        #[test]
        fn numbers_spread_evenly_give_each_its_share(
            weights in prop::collection::vec(0_u32..20, 1..6),
        ) {
            let split = Split::weighted(weights.iter().copied().zip(0_usize..));
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            prop_assume!(total > 0);
            let mut seen = vec![0_u64; weights.len()];
            // In the middle of each of `total` equal stretches.
            for step in 0..total {
                let at = ((u128::from(step) * 2 + 1) << 63) / u128::from(total);
                seen[*split.pick(u64::try_from(at).unwrap()).unwrap()] += 1;
            }
            let weights: Vec<u64> = weights.into_iter().map(u64::from).collect();
            prop_assert_eq!(seen, weights);
        }
    }
}
