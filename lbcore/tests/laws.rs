//! Our own health check and persistences keep the laws, and the laws notice who does not.
#![cfg(feature = "sim")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use lbcore::health::{
    DueProbe, Health, HealthCheck, HealthConfig, Monitor, ProbeNumber, ProbeOutcome, Transition,
};
use lbcore::persist::{Client, Persistence, SourceAddress, Token};
use lbcore::rng::Rng;
use lbcore::sim::laws::{health_check_laws, persistence_laws};
use lbcore::{BackendId, Instant};

fn monitor() -> Monitor {
    Monitor::new(&HealthConfig::default()).expect("in range")
}

#[test]
fn the_monitor_keeps_the_laws_however_it_is_configured() {
    let short = Duration::from_millis(50);
    for config in [
        HealthConfig::default(),
        HealthConfig::default().rise(1).fall(1).jitter(0),
        HealthConfig::default().interval(short),
        HealthConfig::default().timeout(short).initial_spread(short),
    ] {
        health_check_laws(|| Monitor::new(&config).expect("in range"));
    }
}

#[test]
fn the_persistences_keep_the_laws_with_room_and_without() {
    for timeout in [1, 20, 3600].map(Duration::from_secs) {
        for capacity in [1, 7, 10_000] {
            persistence_laws(|| SourceAddress::lasting(timeout).capacity(capacity));
            persistence_laws(|| Token::lasting(timeout).capacity(capacity));
        }
    }
    persistence_laws(|| {
        let networks = SourceAddress::lasting(Duration::from_secs(60));
        networks.prefix_v4(8).prefix_v6(16)
    });
}

/// What a wrong check does otherwise than the monitor inside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    DrawsElsewhere,
    HeedsAnyAnswer,
    HidesChanges,
    OversleepsDeadline,
    ProbesEarly,
    RepeatsNumbers,
    TimesOutEarly,
    TurnsAnswersRound,
    WaitsForLateAnswers,
}

#[derive(Debug)]
struct Wrong {
    inner: Monitor,
    fault: Fault,
    asked: Option<DueProbe>,
    salt: u64,
}

impl HealthCheck for Wrong {
    fn poll_probe(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<DueProbe> {
        let early = Duration::from_secs(u64::from(self.fault == Fault::ProbesEarly));
        let mut other = lbcore::rng::Xoshiro::new(self.salt);
        let rng = if self.fault == Fault::DrawsElsewhere {
            &mut other
        } else {
            rng
        };
        let probe = self.inner.poll_probe(now + early, rng);
        self.asked = probe.or(self.asked);
        match self.fault {
            Fault::RepeatsNumbers => {
                probe.map(|probe| DueProbe::new(ProbeNumber(0), probe.deadline))
            }
            _ => probe,
        }
    }

    fn handle_outcome(
        &mut self,
        now: Instant,
        probe: ProbeNumber,
        outcome: ProbeOutcome,
    ) -> Option<Transition> {
        let asked = self.asked?;
        match self.fault {
            Fault::HeedsAnyAnswer | Fault::RepeatsNumbers => {
                self.inner.handle_outcome(now, asked.number, outcome)
            }
            Fault::HidesChanges => {
                self.inner.handle_outcome(now, probe, outcome);
                None
            }
            Fault::TurnsAnswersRound => {
                let turned = match outcome {
                    ProbeOutcome::Pass(_) => {
                        ProbeOutcome::Fail(lbcore::health::ProbeFailure::Refused)
                    }
                    ProbeOutcome::Fail(_) => ProbeOutcome::Pass(Duration::ZERO),
                };
                self.inner.handle_outcome(now, probe, turned)
            }
            Fault::WaitsForLateAnswers if now >= asked.deadline => {
                let in_time = asked.deadline - Duration::from_nanos(1);
                let change = self.inner.handle_outcome(in_time, probe, outcome)?;
                Some(Transition::new(now, change.from, change.to, change.because))
            }
            _ => self.inner.handle_outcome(now, probe, outcome),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<Transition> {
        let early = Duration::from_secs(u64::from(self.fault == Fault::TimesOutEarly));
        self.inner.handle_timeout(now + early)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let late = Duration::from_secs(u64::from(self.fault == Fault::OversleepsDeadline));
        self.inner.poll_timeout().map(|next| next + late)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

/// The message of the law that a check with this fault breaks.
fn broken_by(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(run).expect_err("a law is broken");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn each_wrong_check_breaks_its_law() {
    for (fault, law) in [
        (Fault::DrawsElsewhere, "law 6"),
        (Fault::HeedsAnyAnswer, "law 3"),
        (Fault::HidesChanges, "law 5"),
        (Fault::OversleepsDeadline, "law 2"),
        (Fault::ProbesEarly, "law 2"),
        (Fault::RepeatsNumbers, "law 1"),
        (Fault::TimesOutEarly, "law 4"),
        (Fault::TurnsAnswersRound, "law 5"),
        (Fault::WaitsForLateAnswers, "law 4"),
    ] {
        let made = std::sync::atomic::AtomicU64::new(0);
        let make = || Wrong {
            inner: monitor(),
            fault,
            asked: None,
            salt: made.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        };
        let told = broken_by(std::panic::AssertUnwindSafe(|| health_check_laws(make)));
        assert!(told.starts_with(law), "{fault:?}: {told}");
    }
}

/// Forgets, mixes up or keeps what it should not.
#[derive(Debug)]
struct WrongMemory {
    clients: Mutex<BTreeMap<IpAddr, BackendId>>,
    fault: &'static str,
    home: std::thread::ThreadId,
}

impl Persistence for WrongMemory {
    fn lookup(&self, _now: Instant, client: &Client<'_>) -> Option<BackendId> {
        if self.fault == "has a home" && std::thread::current().id() != self.home {
            return None;
        }
        let clients = self.clients.lock().expect("no panic");
        let any = || clients.values().next().copied();
        let found = clients.get(&client.source).copied();
        if self.fault == "guesses" {
            found.or_else(any)
        } else {
            found
        }
    }

    fn remember(&self, _now: Instant, client: &Client<'_>, backend: BackendId) {
        let mut clients = self.clients.lock().expect("no panic");
        if self.fault == "keeps the first" {
            clients.entry(client.source).or_insert(backend);
        } else {
            clients.insert(client.source, backend);
        }
    }

    fn forget_backend(&self, backend: BackendId) {
        if self.fault != "never forgets" {
            let mut clients = self.clients.lock().expect("no panic");
            clients.retain(|_, kept| *kept != backend);
        }
    }
}

#[test]
fn each_wrong_persistence_breaks_its_law() {
    let make = |fault| WrongMemory {
        clients: Mutex::default(),
        fault,
        home: std::thread::current().id(),
    };
    persistence_laws(|| make(""));
    for (fault, law) in [
        ("guesses", "laws 1, 3"),
        ("keeps the first", "law 2"),
        ("never forgets", "laws 1, 3"),
        ("has a home", "law 4"),
    ] {
        let told = broken_by(|| persistence_laws(|| make(fault)));
        assert!(told.starts_with(law), "{fault}: {told}");
    }
}
