use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::Instant;

fn key(byte: u8) -> TicketSecret {
    TicketSecret::new([byte; TicketSecret::LEN])
}

fn names<'a>(keys: impl Iterator<Item = &'a TicketSecret>) -> Vec<u8> {
    keys.map(|key| key.name()[0]).collect()
}

fn started(keep: u8) -> TicketRing {
    let mut ring = TicketRing::new(keep);
    ring.start(key(1), key(2));
    ring
}

/// Any ring that turns, supplies and merges lead to.
fn rings() -> impl Strategy<Value = TicketRing> {
    let keys = proptest::collection::vec((0..7_u64, 0..12_u8, any::<u8>()), 0..30);
    (0..6_u64, keys).prop_map(|(turn, keys)| {
        let mut ring = TicketRing::new(3);
        ring.turn = turn;
        for (generation, name, secret) in keys {
            let mut bytes = [secret; TicketSecret::LEN];
            bytes[..TicketSecret::NAME].fill(name);
            ring.add(generation, TicketSecret::new(bytes));
        }
        ring
    })
}

fn merged(left: &TicketRing, right: &TicketRing) -> TicketRing {
    let mut left = left.clone();
    left.merge(right);
    left
}

proptest! {
    #[test]
    fn merging_needs_no_order_and_no_count(a in rings(), b in rings(), c in rings()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&a, &a), &a);
        let mut again = merged(&a, &b);
        prop_assert!(!again.merge(&a) && !again.merge(&b), "nothing new");
    }

    #[test]
    fn a_merge_says_whether_it_changed_anything(a in rings(), b in rings()) {
        let mut now = a.clone();
        let changed = now.merge(&b);
        prop_assert!(changed || now == a);
    }

    #[test]
    fn bytes_lead_back_to_the_ring(ring in rings()) {
        let mut bytes = Vec::new();
        ring.emit(&mut bytes);
        prop_assert!(bytes.len() <= TicketRing::MAX_LEN);
        prop_assert_eq!(TicketRing::parse(&bytes), Ok(ring));
        for end in 0..bytes.len() {
            if (end < TicketRing::HEAD) || !(end - TicketRing::HEAD).is_multiple_of(TicketRing::EACH) {
                prop_assert_eq!(TicketRing::parse(&bytes[..end]), Err(RingError::Length));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_ring_that_is_too_big(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        if let Ok(ring) = TicketRing::parse(&bytes) {
            let mut again = Vec::new();
            ring.emit(&mut again);
            prop_assert!(again.len() <= TicketRing::MAX_LEN);
        }
    }
}

#[test]
fn a_ring_that_is_full_is_as_long_as_it_is_said() {
    let mut ring = TicketRing::new(u8::MAX);
    assert_eq!(ring.kept_for(), TicketRing::MAX_KEEP);
    ring.turn = 1_000;
    for generation in 900..=1_010 {
        for name in 0..9 {
            ring.add(generation, key(name));
        }
    }
    let mut bytes = Vec::new();
    ring.emit(&mut bytes);
    assert_eq!(bytes.len(), TicketRing::MAX_LEN);
    assert_eq!(names(ring.of(1_000)), [0, 1, 2, 3]);
    assert_eq!(ring.of(935).count(), 0);
    assert_eq!(ring.of(936).count(), 4);
    assert_eq!(ring.of(1_001).count(), 4);
    assert_eq!(ring.of(1_002).count(), 0);
}

#[test]
fn bytes_of_no_ring_are_refused() {
    let mut bytes = Vec::new();
    started(2).emit(&mut bytes);
    let broken = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        TicketRing::parse(&bytes)
    };
    assert_eq!(broken(0, 2), Err(RingError::Version(2)));
    assert_eq!(broken(1, 65), Err(RingError::Keys), "kept for too long");
    assert!(broken(1, 64).is_ok());
    assert_eq!(
        broken(TicketRing::HEAD, 2),
        Err(RingError::Keys),
        "before the first turn"
    );
    let twice = [&bytes[..], &bytes[TicketRing::HEAD..]].concat();
    assert_eq!(TicketRing::parse(&twice), Err(RingError::Keys));
}

#[test]
fn a_key_is_spread_seals_opens_and_goes() {
    let mut ring = started(1);
    assert_eq!(
        (
            names(ring.sealing().into_iter()),
            names(ring.next().into_iter())
        ),
        (vec![1], vec![2])
    );
    assert_eq!(names(ring.opening()), [2, 1]);
    ring.turn(key(3));
    assert_eq!(
        (
            names(ring.sealing().into_iter()),
            names(ring.next().into_iter())
        ),
        (vec![2], vec![3])
    );
    assert_eq!(names(ring.opening()), [3, 2, 1]);
    ring.turn(key(4));
    assert_eq!(names(ring.opening()), [4, 3, 2], "kept for one turn");
    assert_eq!(ring.turns(), 2);
}

#[test]
fn a_ring_is_started_and_supplied_once() {
    let mut ring = started(1);
    ring.start(key(7), key(8));
    ring.supply(key(9));
    assert_eq!(names(ring.opening()), [2, 1]);
    ring.keys.pop_last();
    ring.supply(key(9));
    assert_eq!(names(ring.opening()), [9, 1]);
}

#[test]
fn a_ring_that_lost_its_sealing_key_seals_with_the_newest() {
    let mut ring = started(3);
    ring.turn = 2;
    assert_eq!(names(ring.sealing().into_iter()), [2]);
    assert!(TicketRing::default().sealing().is_none());
    assert!(TicketRing::default().next().is_none());
}

#[test]
fn what_is_shown_of_a_ring_holds_no_secret() {
    assert_eq!(
        format!("{:?}", started(1)),
        "TicketRing { turns: 0, keys: 2, .. }"
    );
    assert_eq!(
        format!("{:?}", key(0xab)),
        format!("TicketSecret({})", "ab".repeat(16))
    );
}

/// Random bytes that count, and can fail.
struct Source(u8, bool);

impl Source {
    fn give(&mut self) -> Option<TicketSecret> {
        self.0 += 1;
        self.1.then(|| key(self.0))
    }
}

const HOUR: Duration = Rotation::EVERY;

#[test]
fn a_ring_turns_when_its_time_has_come_and_not_before() {
    let (mut ring, mut rotation) = (TicketRing::default(), Rotation::new(HOUR));
    let mut source = Source(0, true);
    let start = Instant::ZERO + Duration::from_secs(5);
    assert_eq!(rotation.poll_timeout(), None);
    assert!(rotation.handle_timeout(start, &mut ring, || source.give()));
    assert_eq!((ring.turns(), names(ring.opening())), (0, vec![2, 1]));
    assert_eq!(rotation.poll_timeout(), Some(start + HOUR));
    let early = start + HOUR - Duration::from_nanos(1);
    assert!(!rotation.handle_timeout(early, &mut ring, || source.give()));
    assert!(rotation.handle_timeout(start + HOUR, &mut ring, || source.give()));
    assert_eq!((ring.turns(), names(ring.opening())), (1, vec![3, 2, 1]));
    assert_eq!(rotation.poll_timeout(), Some(start + HOUR + HOUR));
}

#[test]
fn a_turn_of_another_node_counts_as_ones_own() {
    let (mut ring, mut rotation) = (started(7), Rotation::new(HOUR));
    let mut source = Source(10, true);
    assert!(!rotation.handle_timeout(Instant::ZERO, &mut ring, || source.give()));
    let mut other = ring.clone();
    other.turn(key(3));
    let later = Instant::ZERO + HOUR;
    ring.merge(&other);
    assert!(!rotation.handle_timeout(later, &mut ring, || source.give()));
    assert_eq!(
        (ring.turns(), rotation.poll_timeout()),
        (1, Some(later + HOUR))
    );
}

#[test]
fn a_missing_next_key_is_spread_before_the_turn() {
    let (mut ring, mut rotation) = (started(7), Rotation::new(HOUR));
    ring.keys.pop_last();
    let mut source = Source(10, true);
    rotation.handle_timeout(Instant::ZERO, &mut ring, || source.give());
    let due = Instant::ZERO + HOUR;
    assert!(rotation.handle_timeout(due, &mut ring, || source.give()));
    assert_eq!(
        (ring.turns(), names(ring.next().into_iter())),
        (0, vec![11])
    );
    assert!(!rotation.handle_timeout(due, &mut ring, || source.give()));
    assert!(rotation.handle_timeout(due + HOUR, &mut ring, || source.give()));
    assert_eq!(
        (ring.turns(), names(ring.sealing().into_iter())),
        (1, vec![11])
    );
}

#[test]
fn without_random_bytes_all_stays_and_is_tried_again() {
    let (mut ring, mut rotation) = (TicketRing::default(), Rotation::new(HOUR));
    let mut source = Source(0, false);
    assert!(!rotation.handle_timeout(Instant::ZERO, &mut ring, || source.give()));
    let due = Instant::ZERO + Rotation::RETRY;
    assert_eq!(
        (ring.is_empty(), rotation.poll_timeout()),
        (true, Some(due))
    );
    source.1 = true;
    assert!(rotation.handle_timeout(due, &mut ring, || source.give()));
    source.1 = false;
    let due = due + HOUR;
    assert!(!rotation.handle_timeout(due, &mut ring, || source.give()));
    assert_eq!(
        (ring.turns(), rotation.poll_timeout()),
        (0, Some(due + Rotation::RETRY))
    );
}

#[test]
fn it_turns_no_faster_than_every_second_and_as_late_as_it_staggers() {
    let stagger = Duration::from_secs(9);
    let mut rotation = Rotation::new(Duration::ZERO).stagger(stagger);
    rotation.handle_timeout(Instant::ZERO, &mut started(1), || None);
    let due = Instant::ZERO + Duration::from_secs(1) + stagger;
    assert_eq!(rotation.poll_timeout(), Some(due));
}
