//! How much may be asked beyond what was asked for.

/// What requests have earned of further attempts: a share of each request, and a reserve.
///
/// Free of time: an hour without a request earns nothing, and a thousand requests at once earn
/// what a thousand over an hour do. So attempts never exceed `requests × (1 + percent / 100) +
/// reserve`, whatever the key servers do, and servers that come back are not met by a storm.
///
/// Source: the retry budget of Finagle, without its window.
///
/// # Examples
///
/// ```
/// use lb_keyserver::client::Allowance;
///
/// let mut hedges = Allowance::new(5, 1);
/// assert!(hedges.try_take() && !hedges.try_take());
/// for _ in 0..20 {
///     hedges.earn();
/// }
/// assert!(hedges.try_take() && !hedges.try_take());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Hundredths of an attempt.
    balance: u64,
    percent: u64,
    most: u64,
}

/// Hundredths in one attempt.
const ONE: u64 = 100;

impl Allowance {
    /// Allows `percent` attempts for each hundred requests, and starts with, and never holds more
    /// than, `reserve` of them.
    #[must_use]
    pub fn new(percent: u32, reserve: u32) -> Self {
        let most = u64::from(reserve) * ONE;
        Self {
            balance: most,
            percent: percent.into(),
            most,
        }
    }

    /// A request has come.
    pub fn earn(&mut self) {
        self.balance = (self.balance + self.percent).min(self.most);
    }

    /// Takes a further attempt, if there is one left.
    pub fn try_take(&mut self) -> bool {
        let left = self.balance.checked_sub(ONE);
        self.balance = left.unwrap_or(self.balance);
        left.is_some()
    }

    /// Whole attempts that are left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.balance / ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_there_from_the_start_and_is_the_most_there_is() {
        let mut allowance = Allowance::new(50, 3);
        for _ in 0..100 {
            allowance.earn();
        }
        assert_eq!(allowance.left(), 3);
        assert_eq!((0..10).filter(|_| allowance.try_take()).count(), 3);
        assert_eq!(allowance.left(), 0);
    }

    #[test]
    fn a_share_of_the_requests_is_earned_to_the_hundredth() {
        let mut allowance = Allowance::new(20, 5);
        while allowance.try_take() {}
        for _ in 0..4 {
            allowance.earn();
            assert!(!allowance.try_take());
        }
        allowance.earn();
        assert!(allowance.try_take() && !allowance.try_take());
    }

    #[test]
    fn without_a_reserve_nothing_is_ever_allowed() {
        let mut allowance = Allowance::new(100, 0);
        allowance.earn();
        assert!(!allowance.try_take());
    }
}
