//! The same key to the same backend, until that one has too much to do.

use super::least::Least;
use super::least_connections::LeastConnections;
use super::ratio::Ratio;
use crate::BackendId;
use crate::rng::mix;
use crate::schedule::{Candidate, Candidates, Load, Scheduler, Start, Tier};

/// Sends sessions of one key to the backend that had the last of them; when that has more sessions
/// than its weight while another has less than half of its own, the key moves to the least loaded.
///
/// For caches: a key (a destination, say) stays where it is warm. A session without a key goes to
/// the least loaded. Each worker remembers [`LocalityLeastConnections::KEYS`] keys, the later of two
/// that share a place, and counts its own sessions.
///
/// Cost: O(1) for a key that stays, O(log n) otherwise; 256 KiB a worker and tier.
///
/// Source: IPVS `lblc`.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::LocalityLeastConnections;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(LocalityLeastConnections)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?).weight(10))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?).weight(10));
/// let mut balancer = pool.balancer(0);
/// let first = balancer.acquire(Instant::ZERO, &Pick::keyed(7)).unwrap();
/// let again = balancer.acquire(Instant::ZERO, &Pick::keyed(7)).unwrap();
/// assert_eq!(first.backend(), again.backend());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "lblc")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct LocalityLeastConnections;

impl LocalityLeastConnections {
    /// How many keys a worker remembers for each tier.
    pub const KEYS: usize = 16_384;
}

/// A worker's loads, and where each key went last.
#[derive(Debug)]
pub struct Localities {
    least: Least<Ratio>,
    keys: Box<[Option<Went>]>,
}

#[derive(Clone, Copy, Debug)]
struct Went {
    /// Which of the keys that share the place.
    tag: u32,
    to: u32,
    id: BackendId,
}

const LOADS: LeastConnections = LeastConnections::weighted();

impl Scheduler for LocalityLeastConnections {
    type Plan = ();
    type Cursor = Localities;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, _tier: &Tier, _previous: Option<&()>) {}

    fn cursor(&self, _: &(), tier: &Tier, mut start: Start<'_, Localities>) -> Localities {
        let keys = start.previous.take().map(|old| old.keys);
        let mut keys = keys.unwrap_or_else(|| vec![None; Self::KEYS].into());
        for went in keys.iter_mut().flatten() {
            // A backend that has gone leaves a number that its identity never answers to.
            let to = tier.position(went.id).and_then(|to| u32::try_from(to).ok());
            went.to = to.unwrap_or(u32::MAX);
        }
        Localities {
            least: LOADS.cursor(&(), tier, start.map(|_| None)),
            keys,
        }
    }

    fn pick(&self, _: &(), cursor: &mut Localities, candidates: &Candidates<'_>) -> Option<usize> {
        let Localities { least, keys } = cursor;
        let Some(key) = candidates.key else {
            return least.pick(candidates);
        };
        let spread = mix(key);
        let place = usize::try_from(spread).unwrap_or(0) % Self::KEYS;
        let place = keys.get_mut(place)?;
        let tag = u32::try_from(spread >> 32).unwrap_or(0);
        let before = place
            .filter(|went| went.tag == tag)
            .map(|went| went.to as usize);
        if let Some(position) = before
            && candidates.allows(position)
            && !(is_overloaded(least.key(position)) && is_idle(least.least()))
        {
            return Some(position);
        }
        let position = least.pick(candidates)?;
        let id = candidates.candidate(position)?.backend.id;
        *place = Some(Went {
            tag,
            to: u32::try_from(position).unwrap_or(u32::MAX),
            id,
        });
        Some(position)
    }

    fn observe(&self, _: &(), cursor: &mut Localities, position: usize, load: &Load) {
        LOADS.observe(&(), &mut cursor.least, position, load);
    }
}

/// More sessions than its weight.
fn is_overloaded(key: Option<Ratio>) -> bool {
    key.is_some_and(|key| u64::from(key.load) * u64::from(Candidate::ONE) > key.share.into())
}

/// Less than half as many sessions as its weight.
fn is_idle(key: Option<Ratio>) -> bool {
    key.is_some_and(|key| u64::from(key.load) * 2 * u64::from(Candidate::ONE) < key.share.into())
}
