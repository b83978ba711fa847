//! Clusters live through seeded troubles, the judge finds whoever does not, and links keep promises.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lbcore::schedule::{Maglev, RoundRobin};
use lbcore::sim::cluster::{ClusterConfig, Plain, Record, Replicate, Report, Told, run};
use lbcore::sim::{Arrival, Clock, Link, LinkConfig, NodeId};
use lbcore::{BackendId, Instant};
use proptest::prelude::*;

const REFRESH: Duration = Duration::from_secs(1);

fn plain(now: Instant, _node: NodeId) -> Plain {
    Plain::new(now, REFRESH)
}

fn with_loss(loss: f64) -> ClusterConfig {
    let config = ClusterConfig::default()
        .duration(Duration::from_secs(45))
        .flow_gap(Duration::from_millis(500));
    let link = config.link.clone().loss(loss);
    config.link(link)
}

/// Runs 56 seeds, half of them with each scheduler, and adds their reports up.
fn live_through(config: &ClusterConfig) -> Report {
    let mut all = Report::default();
    for seed in 0..56 {
        let report = if seed % 2 == 0 {
            run(config, seed, Maglev::default, plain)
        } else {
            run(config, seed, || RoundRobin, plain)
        };
        all.flows += report.flows;
        all.taken_over += report.taken_over;
        all.missed += report.missed;
        all.broken += report.broken;
        all.reconciled += report.reconciled;
        all.survived += report.survived;
        all.deaths += report.deaths;
        all.partitions += report.partitions;
        all.removals += report.removals;
        all.outages += report.outages;
        all.link.lost += report.link.lost;
        all.steps += report.steps;
    }
    all
}

/// The runs were worth judging: everything has happened, and often.
fn was_troubled(all: &Report) {
    let often = [
        all.deaths,
        all.partitions,
        all.removals,
        all.outages,
        all.survived,
    ];
    assert!(often.iter().all(|times| *times >= 56), "{all:?}");
    assert!(
        all.flows > 56 * 70 && 2 * all.taken_over > all.flows,
        "{all:?}"
    );
    assert!(all.broken <= all.missed, "{all:?}");
    assert!(all.reconciled >= 28, "{all:?}");
}

#[test]
fn a_cluster_lives_through_troubles_when_nothing_is_lost() {
    let all = live_through(&with_loss(0.0));
    was_troubled(&all);
    assert_eq!(all.link.lost, 0);
}

#[test]
fn a_cluster_lives_through_troubles_when_one_message_in_20_is_lost() {
    was_troubled(&live_through(&with_loss(0.05)));
}

#[test]
fn a_cluster_lives_through_troubles_when_one_message_in_5_is_lost() {
    was_troubled(&live_through(&with_loss(0.2)));
}

/// What a wrong protocol does otherwise than the plain one inside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// Loses one in eight of the things it was told.
    Deaf,
    /// Believes that some live sessions have ended.
    Hasty,
    /// Takes one backend for another, sometimes.
    Mistaken,
    /// Never sends anything.
    Mute,
    /// Sends changes alone, so that what is lost stays lost.
    Terse,
}

struct Wrong {
    plain: Plain,
    fault: Fault,
    told: u64,
}

impl Replicate for Wrong {
    type Message = <Plain as Replicate>::Message;

    fn tells(message: &Self::Message, visit: &mut dyn FnMut(&Told)) {
        Plain::tells(message, visit);
    }

    fn handle_change(&mut self, now: Instant, change: &Told) {
        self.plain.handle_change(now, change);
    }

    fn handle_message(&mut self, now: Instant, from: NodeId, message: &Self::Message) {
        self.plain.handle_message(now, from, message);
    }

    fn handle_timeout(&mut self, now: Instant, sessions: &[Record]) {
        let sessions = if self.fault == Fault::Terse {
            &[]
        } else {
            sessions
        };
        self.plain.handle_timeout(now, sessions);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.plain.poll_timeout()
    }

    fn poll_transmit(&mut self) -> Option<Self::Message> {
        let message = self.plain.poll_transmit();
        message.filter(|_| self.fault != Fault::Mute)
    }

    fn poll_told(&mut self) -> Option<Told> {
        let told = self.plain.poll_told()?;
        self.told += 1;
        match (self.fault, told) {
            (Fault::Deaf, _) if self.told.is_multiple_of(8) => self.poll_told(),
            (Fault::Hasty, Told::Is(record)) if self.told.is_multiple_of(32) => {
                Some(Told::Gone(record))
            }
            (Fault::Mistaken, Told::Is(record)) if self.told.is_multiple_of(32) => {
                let backend = BackendId::of_name("backend-1");
                Some(Told::Is(Record { backend, ..record }))
            }
            _ => Some(told),
        }
    }
}

/// How the run of this seed ends.
fn verdict(fault: Fault, seed: u64) -> Result<Report, String> {
    let wrong = |now, node| Wrong {
        plain: plain(now, node),
        fault,
        told: 0,
    };
    let lived = catch_unwind(AssertUnwindSafe(|| {
        run(&with_loss(0.05), seed, || RoundRobin, wrong)
    }));
    lived.map_err(|panic| panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn each_wrong_protocol_breaks_its_law_and_breaks_it_again_with_the_same_seed() {
    for (fault, laws) in [
        (Fault::Deaf, &["law 3"][..]),
        (Fault::Hasty, &["law 3"]),
        (Fault::Mistaken, &["law 3"]),
        (Fault::Mute, &["law 4", "law 5"]),
        (Fault::Terse, &["law 4", "law 5"]),
    ] {
        for seed in 0..4 {
            let broken = verdict(fault, seed).expect_err("a law is broken");
            assert!(
                laws.iter().any(|law| broken.starts_with(law)),
                "{fault:?}: {broken}"
            );
            assert!(broken.ends_with(&format!("(seed {seed})")), "{broken}");
            assert_eq!(verdict(fault, seed), Err(broken), "{fault:?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_again_and_another_gives_another() {
    let config = with_loss(0.05);
    let first = run(&config, 1, Maglev::default, plain);
    assert_eq!(run(&config, 1, Maglev::default, plain), first);
    assert_ne!(run(&config, 2, Maglev::default, plain), first);
}

#[test]
fn without_trouble_no_packet_misses_its_session() {
    let config = with_loss(0.0).trouble_gap(Duration::MAX);
    let report = run(&config, 3, || RoundRobin, plain);
    assert_eq!((report.missed, report.broken, report.refused), (0, 0, 0));
    assert_eq!((report.deaths, report.taken_over), (0, 0));
    assert!(report.survived > 0 && report.flows > 70, "{report:?}");
}

#[test]
fn a_cluster_of_one_node_needs_nobody() {
    let report = run(&with_loss(1.0).nodes(1), 4, Maglev::default, plain);
    assert_eq!(
        (report.deaths, report.partitions, report.link.sent),
        (0, 0, 0)
    );
    assert!(report.survived > 0, "{report:?}");
}

const TO: NodeId = NodeId(2);

/// Sends message `n` at `n` ms from node `n % 2`, and gives what arrives, and when.
fn arrivals(link: &mut Link<u64>, messages: u64) -> Vec<(Instant, Arrival<u64>)> {
    let mut clock = Clock::default();
    let mut arrived = Vec::new();
    let mut next = 0;
    loop {
        let send = (next < messages).then(|| sent_at(next));
        if clock.advance_to_next([send, link.poll_timeout()]).is_none() {
            return arrived;
        }
        while let Some(arrival) = link.poll_arrival(clock.now()) {
            arrived.push((clock.now(), arrival));
        }
        if send == Some(clock.now()) {
            link.send(clock.now(), sender(next), TO, next);
            next += 1;
        }
    }
}

fn sent_at(message: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(message)
}

fn sender(message: u64) -> NodeId {
    NodeId(usize::from(message % 2 == 1))
}

fn link_config() -> impl Strategy<Value = LinkConfig> {
    let chance = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
    let spans = (0..20_u64, 0..20_u64);
    (spans, chance(), chance(), chance(), 1..40_usize).prop_map(
        |((latency, jitter), loss, duplication, reordering, capacity)| {
            LinkConfig::default()
                .latency(Duration::from_millis(latency))
                .jitter(Duration::from_millis(jitter))
                .loss(loss)
                .duplication(duplication)
                .reordering(reordering)
                .capacity(capacity)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_link_counts_every_message_and_keeps_its_delay(config in link_config(), seed: u64) {
        let mut link = Link::new(config.clone(), seed).unwrap();
        let arrived = arrivals(&mut link, 200);
        let stats = link.stats();
        prop_assert_eq!(stats.sent, 200);
        prop_assert_eq!(stats.arrived, arrived.len() as u64);
        let copies = stats.sent + stats.duplicated;
        prop_assert_eq!(copies, stats.arrived + stats.lost + stats.cut + stats.overflowed);
        prop_assert_eq!((stats.cut, link.under_way()), (0, 0));
        prop_assert!(stats.reordered == 0 || config.reordering > 0.0);
        let mut copies: HashMap<u64, u64> = HashMap::new();
        for (moment, arrival) in &arrived {
            let delay = moment.since(sent_at(arrival.message));
            prop_assert!(*moment >= sent_at(arrival.message));
            prop_assert!(delay >= config.latency && delay <= config.latency + config.jitter);
            prop_assert_eq!((arrival.from, arrival.to), (sender(arrival.message), TO));
            *copies.entry(arrival.message).or_default() += 1;
        }
        prop_assert!(copies.values().all(|copies| *copies <= 2));
    }

    #[test]
    fn a_link_without_loss_loses_nothing_and_without_reordering_keeps_the_order(
        config in link_config(),
        seed: u64,
    ) {
        let config = config.loss(0.0).capacity(1_000).reordering(0.0);
        let mut link = Link::new(config, seed).unwrap();
        let mut last: BTreeMap<NodeId, u64> = BTreeMap::new();
        let mut seen = [false; 100];
        for (_, arrival) in arrivals(&mut link, 100) {
            let last = last.entry(arrival.from).or_default();
            prop_assert!(arrival.message >= *last);
            *last = arrival.message;
            seen[usize::try_from(arrival.message).unwrap()] = true;
        }
        prop_assert!(seen.iter().all(|seen| *seen));
        prop_assert_eq!(link.stats().lost + link.stats().overflowed, 0);
    }

    #[test]
    fn a_link_does_the_same_again_with_the_same_seed(config in link_config(), seed: u64) {
        let run = || {
            let mut link = Link::new(config.clone(), seed).unwrap();
            (arrivals(&mut link, 100), link.stats())
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn chances_of_one_happen_always_and_a_quarter_of_the_time_a_quarter() {
    let stats = |config: LinkConfig| {
        let mut link = Link::new(config, 5).unwrap();
        arrivals(&mut link, 4_000);
        link.stats()
    };
    let config = LinkConfig::default().jitter(Duration::from_millis(9));
    assert_eq!(stats(config.clone().loss(1.0)).lost, 4_000);
    assert_eq!(stats(config.clone().duplication(1.0)).arrived, 8_000);
    assert_eq!(stats(config.clone().reordering(1.0)).reordered, 4_000);
    // Four standard deviations of 4,000 tries at 1/4 are 110.
    for times in [
        stats(config.clone().loss(0.25)).lost,
        stats(config.clone().duplication(0.25)).duplicated,
        stats(config.reordering(0.25)).reordered,
    ] {
        assert!(times.abs_diff(1_000) < 110, "{times}");
    }
}

#[test]
fn a_full_link_drops_what_goes_to_the_same_node_only() {
    let mut link = Link::new(LinkConfig::default().capacity(2), 1).unwrap();
    for to in [1, 1, 1, 2] {
        link.send(Instant::ZERO, NodeId(0), NodeId(to), to);
    }
    assert_eq!((link.under_way(), link.stats().overflowed), (3, 1));
    let later = link.poll_timeout().unwrap();
    assert_eq!(link.poll_arrival(later).unwrap().to, NodeId(1));
    link.send(later, NodeId(0), NodeId(1), 1);
    assert_eq!((link.under_way(), link.stats().overflowed), (3, 1));
}

#[test]
fn a_partition_stops_what_crosses_it_until_it_heals() {
    let mut link = Link::new(LinkConfig::default(), 1).unwrap();
    let send = |link: &mut Link<&'static str>, from, to, word| {
        link.send(Instant::ZERO, NodeId(from), NodeId(to), word);
    };
    let later = sent_at(1);
    send(&mut link, 0, 1, "under way");
    link.partition([NodeId(0), NodeId(3)]);
    assert!(link.is_parted());
    for (from, to, word) in [
        (0, 1, "out"),
        (1, 0, "in"),
        (0, 3, "inside"),
        (1, 2, "outside"),
    ] {
        send(&mut link, from, to, word);
    }
    let mut arrived = Vec::new();
    while let Some(arrival) = link.poll_arrival(later) {
        arrived.push(arrival.message);
    }
    assert_eq!(arrived, ["inside", "outside"]);
    assert_eq!(link.stats().cut, 3);

    link.heal();
    assert!(!link.is_parted());
    send(&mut link, 0, 1, "healed");
    assert_eq!(link.poll_arrival(later).unwrap().message, "healed");
}

#[test]
fn a_chance_beyond_one_is_refused_by_its_name() {
    let config = LinkConfig::default;
    for (config, text) in [
        (
            config().loss(1.5),
            "`loss` is 1.5: expected a chance of 0 to 1",
        ),
        (
            config().duplication(-0.5),
            "`duplication` is -0.5: expected a chance of 0 to 1",
        ),
        (
            config().reordering(f64::NAN),
            "`reordering` is NaN: expected a chance of 0 to 1",
        ),
    ] {
        assert_eq!(Link::<u64>::new(config, 1).unwrap_err().to_string(), text);
    }
}
