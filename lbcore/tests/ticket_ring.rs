//! Nodes that turn their rings over a network that loses, repeats and reorders: whatever one seals,
//! the others open.

use std::time::Duration;

use lbcore::Instant;
use lbcore::rng::{Rng, Xoshiro};
use lbcore::sim::{Link, LinkConfig, NodeId};
use lbcore::ticket_ring::{Rotation, TicketRing, TicketSecret};

const NODES: usize = 4;
const EVERY: Duration = Duration::from_secs(3600);
/// How often each node says its ring again.
const AGAIN: Duration = Duration::from_secs(60);

struct Node {
    ring: TicketRing,
    rotation: Rotation,
    again: Instant,
}

struct Cluster {
    nodes: Vec<Node>,
    link: Link<Vec<u8>>,
    dice: Xoshiro,
}

impl Cluster {
    fn new(seed: u64, stagger: Duration) -> Self {
        let config = LinkConfig::default()
            .latency(Duration::from_millis(2))
            .jitter(Duration::from_secs(2))
            .loss(0.3)
            .duplication(0.1)
            .reordering(0.2);
        let each = |index: usize| Node {
            ring: TicketRing::default(),
            rotation: Rotation::new(EVERY).stagger(stagger * u32::try_from(index).expect("few")),
            again: Instant::ZERO,
        };
        Self {
            nodes: (0..NODES).map(each).collect(),
            link: Link::new(config, seed).expect("a good link"),
            dice: Xoshiro::new(seed),
        }
    }

    fn step(&mut self, now: Instant) {
        while let Some(arrival) = self.link.poll_arrival(now) {
            let ring = TicketRing::parse(&arrival.message).expect("as it was sent");
            self.nodes[arrival.to.0].ring.merge(&ring);
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let dice = &mut self.dice;
            let random = || Some(TicketSecret::new(std::array::from_fn(|_| byte(dice))));
            let changed = node.rotation.handle_timeout(now, &mut node.ring, random);
            if !changed && now < node.again {
                continue;
            }
            node.again = now + AGAIN;
            let mut bytes = Vec::new();
            node.ring.emit(&mut bytes);
            for other in (0..NODES).filter(|other| *other != index) {
                self.link
                    .send(now, NodeId(index), NodeId(other), bytes.clone());
            }
        }
    }

    /// Whether each node opens what each other seals.
    fn all_open(&self) -> bool {
        let sealing = self
            .nodes
            .iter()
            .map(|node| node.ring.sealing().expect("a key"));
        sealing.into_iter().all(|key| {
            let opens = |node: &Node| node.ring.opening().any(|own| own == key);
            self.nodes.iter().all(opens)
        })
    }
}

fn byte(dice: &mut Xoshiro) -> u8 {
    u8::try_from(dice.below(256)).expect("below 256")
}

/// Runs a day, after an hour of settling, and says how many turns there were.
fn a_day(seed: u64, stagger: Duration) -> u64 {
    let mut cluster = Cluster::new(seed, stagger);
    for second in 0..25 * 3600 {
        let now = Instant::ZERO + Duration::from_secs(second);
        cluster.step(now);
        assert!(
            second < 1_800 || cluster.all_open(),
            "seed {seed}, second {second}"
        );
    }
    cluster.nodes[0].ring.turns()
}

#[test]
fn what_one_node_seals_every_other_opens_through_loss_and_turns() {
    for seed in 0..6 {
        let turns = a_day(seed, Duration::from_secs(30));
        assert!((23..=25).contains(&turns), "seed {seed}: {turns}");
    }
}

#[test]
fn nodes_that_turn_at_the_same_moment_agree_all_the_same() {
    for seed in 10..14 {
        let turns = a_day(seed, Duration::ZERO);
        assert!((23..=25).contains(&turns), "seed {seed}: {turns}");
    }
}
