//! Services that are gone from the file and go on with the sessions that they have.

use std::time::Duration;

use lb_l4::Clock;
use lbcore::Instant;
use tracing::info;

use super::Service;
use super::services::Kept;

/// Services that begin no session, each until its drain is over.
#[derive(Debug, Default)]
pub(super) struct Leaving(Vec<(Instant, Kept, Service)>);

impl Leaving {
    /// Takes those of `before` whose name and match nobody has from here on, and lets go those whose
    /// name or match somebody has again.
    pub(super) fn change(
        &mut self,
        now: Instant,
        before: impl IntoIterator<Item = (Kept, Service)>,
        after: &[Service],
    ) {
        let is_gone = |service: &Service| {
            after
                .iter()
                .all(|it| it.name != service.name && it.matches != service.matches)
        };
        self.0.retain(|(.., service)| is_gone(service));
        for (kept, service) in before.into_iter().filter(|(_, service)| is_gone(service)) {
            let (name, address) = (&kept.config.name, &kept.config.listen);
            info!(listener = %name, %address, "draining");
            let until = now + kept.config.drain_timeout;
            self.0.push((until, kept, service.accepting(false)));
        }
        self.handle_timeout(now);
    }

    /// Lets go those whose drain is over; whether there was one.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|(until, ..)| *until > now);
        self.0.len() < before
    }

    /// How long until the next drain is over.
    pub(super) fn next(&self, clock: Clock) -> Option<Duration> {
        let next = self.0.iter().map(|(until, ..)| *until).min()?;
        Some(next.since(clock.now()))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Kept, &Service)> {
        self.0.iter().map(|(_, kept, service)| (kept, service))
    }
}

#[cfg(test)]
mod tests {
    use lb_l4::forwarder::{Match, ServiceProtocol};
    use lbcore::schedule::{AnyScheduler, RoundRobin};

    use super::*;
    use crate::engine::packets::services::kept;

    fn service(name: &str, address: &str) -> Service {
        let matches = address.parse().expect("an address");
        let matches = Match::endpoint(ServiceProtocol::Tcp, matches, 80);
        Service::new(
            name,
            matches,
            lbcore::Pool::new(AnyScheduler::new(RoundRobin)),
        )
    }

    fn names(leaving: &Leaving) -> Vec<String> {
        leaving
            .iter()
            .map(|(_, service)| service.name.to_string())
            .collect()
    }

    #[test]
    fn a_service_leaves_until_its_drain_is_over_or_somebody_takes_its_place() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let (a, b) = (service("a", "192.0.2.1/32"), service("b", "192.0.2.2/32"));
        let both = || {
            let all = [&a, &b].map(|it| (kept(&it.name, Duration::from_secs(10)), it.clone()));
            all.into_iter()
        };
        let mut leaving = Leaving::default();
        leaving.change(at(1), both(), std::slice::from_ref(&a));
        assert_eq!(names(&leaving), ["b"]);
        assert!(leaving.iter().all(|(_, service)| !service.accepting));
        assert!(!leaving.handle_timeout(at(10)));
        assert!(leaving.handle_timeout(at(11)));
        assert_eq!(names(&leaving), [""; 0]);
        // Of its name, or of its match.
        for again in ["192.0.2.9/32", "192.0.2.2/32"] {
            leaving.change(at(20), both(), std::slice::from_ref(&a));
            let name = if again == "192.0.2.9/32" { "b" } else { "c" };
            leaving.change(at(21), [], &[a.clone(), service(name, again)]);
            assert_eq!(names(&leaving), [""; 0], "{again}");
        }
        // Without a drain it is gone at once.
        let short = [(kept("b", Duration::ZERO), b.clone())];
        leaving.change(at(30), short, &[a]);
        assert_eq!(names(&leaving), [""; 0]);
    }
}
