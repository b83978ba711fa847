//! A scheduler of your own: the nearest backend takes a session, the next nearest when it is busy.

use std::collections::HashMap;

use lbcore::schedule::{Candidates, Load, Scheduler, Start, Tier};
use lbcore::sim::laws::scheduler_laws;
use lbcore::{Backend, BackendId, Instant, Pick, Pool};

/// Sends to the nearest backend with fewer sessions than it may have, then to the next nearest.
#[derive(Debug)]
struct Nearest {
    /// In milliseconds; what is not listed is far.
    distance: HashMap<BackendId, u32>,
    most: u32,
}

impl Scheduler for Nearest {
    /// Positions in the tier, nearest first: built when the pool changes, read by every worker.
    type Plan = Vec<usize>;
    /// Sessions of this worker, by position.
    type Cursor = Vec<u32>;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, _previous: Option<&Vec<usize>>) -> Vec<usize> {
        let distance = |position: &usize| {
            let id = tier
                .candidates()
                .get(*position)
                .map(|candidate| candidate.backend.id);
            id.and_then(|id| self.distance.get(&id))
                .copied()
                .unwrap_or(u32::MAX)
        };
        let mut order: Vec<usize> = (0..tier.len()).collect();
        order.sort_by_key(distance);
        order
    }

    fn cursor(&self, _: &Vec<usize>, tier: &Tier, start: Start<'_, Vec<u32>>) -> Vec<u32> {
        (0..tier.len())
            .map(|position| start.load(position).in_flight)
            .collect()
    }

    fn pick(
        &self,
        order: &Vec<usize>,
        in_flight: &mut Vec<u32>,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let allowed = || order.iter().copied().filter(|&at| candidates.allows(at));
        let has_room = |at: &usize| in_flight.get(*at).is_some_and(|&held| held < self.most);
        allowed().find(has_room).or_else(|| allowed().next())
    }

    fn observe(&self, _: &Vec<usize>, in_flight: &mut Vec<u32>, position: usize, load: &Load) {
        if let Some(held) = in_flight.get_mut(position) {
            *held = load.in_flight;
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let make = || Nearest {
        distance: HashMap::from([
            (BackendId::of_name("here"), 1),
            (BackendId::of_name("there"), 20),
        ]),
        most: 2,
    };
    // A thousand random pools, flows and changes; panics at the first broken law.
    scheduler_laws(make);

    let pool = Pool::new(make())
        .backend(Backend::new("there", "10.1.0.1:80".parse()?))
        .backend(Backend::new("here", "10.0.0.1:80".parse()?));
    let mut balancer = pool.balancer(0);
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(balancer.acquire(Instant::ZERO, &Pick::default())?);
    }
    let places: Vec<String> = leases
        .iter()
        .map(|lease| lease.address().to_string())
        .collect();
    assert_eq!(
        places,
        ["10.0.0.1:80", "10.0.0.1:80", "10.1.0.1:80", "10.1.0.1:80"]
    );
    Ok(())
}
