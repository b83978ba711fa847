//! Whose port it is: a range of ports, cut into as many as there are workers.

use std::ops::RangeInclusive;

/// A range of ports shared out among workers, each with a range of its own.
///
/// The ranges follow each other in the order of the workers; they are of one length, but for the
/// first ones, which have a port more if the ports do not come out even.
///
/// # Examples
///
/// ```
/// use lb_l4::method::fullnat::WorkerPorts;
///
/// let ports = WorkerPorts::new(32768..=65535, 4).ok_or("no port for each")?;
/// assert_eq!(ports.of(1), Some(40960..=49151));
/// assert_eq!(ports.owner(49151), Some(1));
/// assert_eq!(ports.owner(1024), None);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WorkerPorts {
    first: u16,
    last: u16,
    workers: u16,
}

impl WorkerPorts {
    /// `ports`, shared out among `workers`; `None` if there is no port for each, or no worker.
    #[must_use]
    pub fn new(ports: RangeInclusive<u16>, workers: u16) -> Option<Self> {
        let (first, last) = ports.into_inner();
        let shared = Self {
            first,
            last,
            workers,
        };
        let enough = first <= last && shared.len() >= u32::from(workers);
        (enough && workers > 0).then_some(shared)
    }

    /// How many workers share.
    #[must_use]
    pub const fn workers(self) -> u16 {
        self.workers
    }

    /// The ports of a worker, counted from 0; `None` if there is no such worker.
    #[must_use]
    pub fn of(self, worker: u16) -> Option<RangeInclusive<u16>> {
        if worker >= self.workers {
            return None;
        }
        let first = u16::try_from(u32::from(self.first) + self.start(worker)).ok()?;
        let behind = u32::from(self.first) + self.start(worker + 1);
        Some(first..=u16::try_from(behind - 1).ok()?)
    }

    /// The worker that hands out `port`, and gets the answers to it. O(1): one division.
    #[inline]
    #[must_use]
    pub fn owner(self, port: u16) -> Option<u16> {
        if port < self.first || port > self.last {
            return None;
        }
        let place = u32::from(port - self.first);
        let (each, more) = self.parts();
        let worker = match place.checked_sub(more * (each + 1)) {
            Some(behind) => more + behind / each,
            None => place / (each + 1),
        };
        u16::try_from(worker).ok()
    }

    fn len(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Ports that each worker has, and how many workers have one more.
    fn parts(self) -> (u32, u32) {
        let workers = u32::from(self.workers);
        (self.len() / workers, self.len() % workers)
    }

    /// How many ports the workers before `worker` have.
    fn start(self, worker: u16) -> u32 {
        let (each, more) = self.parts();
        u32::from(worker) * each + u32::from(worker).min(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_workers_tile_the_ports_and_each_knows_its_owner() {
        for (ports, workers) in [
            (1025..=65535, 1),
            (1025..=65535, 7),
            (0..=65535, 64),
            (10..=12, 2),
            (10..=12, 3),
            (5..=5, 1),
        ] {
            let shared = WorkerPorts::new(ports.clone(), workers).unwrap();
            let mut next = u32::from(*ports.start());
            let mut lengths = Vec::new();
            for worker in 0..workers {
                let own = shared.of(worker).unwrap();
                assert_eq!(u32::from(*own.start()), next);
                for port in own.clone() {
                    assert_eq!(shared.owner(port), Some(worker), "{port} of {workers}");
                }
                lengths.push(own.len());
                next = u32::from(*own.end()) + 1;
            }
            assert_eq!(next, u32::from(*ports.end()) + 1);
            assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
            assert!(lengths[0] - lengths[lengths.len() - 1] <= 1);
            assert_eq!(shared.of(workers), None);
            assert_eq!(shared.workers(), workers);
        }
    }

    #[test]
    fn a_port_outside_has_no_owner() {
        let shared = WorkerPorts::new(100..=199, 2).unwrap();
        assert_eq!(
            [99, 100, 149, 150, 199, 200].map(|port| shared.owner(port)),
            [None, Some(0), Some(0), Some(1), Some(1), None]
        );
    }

    #[test]
    fn each_worker_needs_a_port() {
        assert!(WorkerPorts::new(10..=12, 4).is_none());
        assert!(WorkerPorts::new(10..=12, 0).is_none());
        let backwards = RangeInclusive::new(12, 10);
        assert!(WorkerPorts::new(backwards, 1).is_none());
    }
}
