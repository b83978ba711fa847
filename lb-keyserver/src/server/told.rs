//! How many refusals the audit log is told of.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use lbcore::Instant;
use lbcore::limit::TokenBucket;

use crate::access::Identity;

/// Refusals a second that the audit log tells of, of one client: it is a log of signatures, and
/// no client is to fill it with what it did not get. Ten times as many at once. The rest is counted.
pub const REFUSALS_RECORDED: u64 = 100;

/// How many refusals of each client the audit log has been told of, on however many connections,
/// one after the other or at once.
///
/// Clients share 1,024 places by a hash that nobody outside knows, so that nothing grows with their
/// number, and nothing is forgotten when one goes and comes back. Two in one place share what the
/// log tells of them.
pub(crate) struct Told {
    places: Box<[TokenBucket]>,
    hasher: RandomState,
}

impl Told {
    pub(crate) fn new(now: Instant) -> Self {
        let place = || TokenBucket::new(now, REFUSALS_RECORDED, 10 * REFUSALS_RECORDED);
        Self {
            places: std::iter::repeat_with(place).take(PLACES).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Whether one more refusal of that client is to be told of.
    pub(crate) fn try_take(&self, now: Instant, client: &Identity) -> bool {
        let hash = self.hasher.hash_one(client);
        let place = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        let place = self.places.get(place);
        place.is_some_and(|place| place.try_take(now, 1))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

const PLACES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(number: u32) -> Identity {
        format!("lb://node/{number}").parse().expect("a name")
    }

    #[test]
    fn each_client_is_told_of_so_often_and_no_more() {
        let now = Instant::from_nanos(1 << 40);
        let told = Told::new(now);
        let many = |now, client: &Identity| {
            let taken = (0..5_000).take_while(|_| told.try_take(now, client));
            u64::try_from(taken.count()).expect("small")
        };
        assert_eq!(many(now, &node(1)), 10 * REFUSALS_RECORDED);
        assert_eq!(many(now, &node(1)), 0);
        let later = now + Duration::from_secs(1);
        assert_eq!(many(later, &node(1)), REFUSALS_RECORDED);
        // That twenty others all are in one place with it is beyond chance.
        assert!((2..22).any(|number| told.try_take(later, &node(number))));
    }
}
