use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SLOTS: u32 = 24;

fn wheel() -> Wheel {
    let mut wheel = Wheel::new(SLOTS as usize);
    (0..SLOTS).for_each(|_| wheel.grow());
    wheel
}

/// Pops what is due at `now`, arming again what only began to be near; tells who was due, sorted.
fn due(wheel: &mut Wheel, now: u64, deadlines: &BTreeMap<u32, u64>) -> Vec<u32> {
    let mut due = BTreeSet::new();
    while let Some(slot) = wheel.pop(now) {
        let deadline = deadlines[&slot];
        if deadline > now {
            wheel.arm(now, slot, deadline);
        } else {
            assert!(due.insert(slot), "slot {slot} twice");
        }
    }
    due.into_iter().collect()
}

#[derive(Clone, Debug)]
enum Step {
    Arm(u32, u64),
    Disarm(u32),
    Wait(u64),
    PopOne,
}

fn span() -> impl Strategy<Value = u64> {
    // Every level, and the edges between levels.
    (0..32_u32, -1..=1_i64).prop_map(|(bits, off)| (1_u64 << bits).saturating_add_signed(off))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..SLOTS, span()).prop_map(|(slot, span)| Step::Arm(slot, span)),
        1 => (0..SLOTS).prop_map(Step::Disarm),
        2 => span().prop_map(Step::Wait),
        1 => Just(Step::PopOne),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_sorted_map(start in 0..u64::MAX / 2, steps in prop::collection::vec(step(), 1..80)) {
        let mut wheel = wheel();
        let mut now = start;
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Arm(slot, span) => {
                    wheel.arm(now, slot, now + span);
                    model.insert(slot, now + span);
                }
                Step::Disarm(slot) => {
                    wheel.disarm(slot);
                    model.remove(&slot);
                }
                Step::PopOne => if let Some(slot) = wheel.pop(now) {
                    let deadline = model[&slot];
                    if deadline > now {
                        wheel.arm(now, slot, deadline);
                    } else {
                        model.remove(&slot);
                    }
                },
                Step::Wait(span) => {
                    now += span;
                    let expected: Vec<u32> =
                        model.iter().filter(|(_, due)| **due <= now).map(|(slot, _)| *slot).collect();
                    prop_assert_eq!(due(&mut wheel, now, &model), expected);
                    model.retain(|_, due| *due > now);
                }
            }
            prop_assert_eq!(wheel.position().is_some(), !model.is_empty());
            match (wheel.next(), model.values().min()) {
                (Some(next), Some(first)) => prop_assert!(next <= *first, "{next} after {first}"),
                (next, first) => prop_assert!(next.is_none() && first.is_none()),
            }
        }
    }
}

#[test]
fn a_deadline_is_met_to_the_tick_on_both_sides_of_every_level() {
    for bits in 0..32 {
        for span in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
            let mut wheel = wheel();
            let start = 77;
            let deadlines = BTreeMap::from([(3, start + span)]);
            wheel.arm(start, 3, start + span);
            if span > 0 {
                assert_eq!(due(&mut wheel, start + span - 1, &deadlines), [], "{span}");
            }
            assert_eq!(due(&mut wheel, start + span, &deadlines), [3], "{span}");
        }
    }
}

#[test]
fn a_slot_is_popped_at_most_once_a_level() {
    let mut wheel = wheel();
    let deadline = (1 << 31) - 1;
    wheel.arm(1, 0, deadline);
    let mut pops = 0;
    while let Some(slot) = wheel.pop(deadline - 1) {
        pops += 1;
        wheel.arm(deadline - 1, slot, deadline);
    }
    assert!(pops <= LEVELS, "{pops}");
    assert_eq!(wheel.pop(deadline), Some(0));
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut wheel = wheel();
    wheel.arm(1_000, 0, 5_000);
    assert_eq!(wheel.pop(1_000), None);
    wheel.arm(1_000, 1, 3);
    assert_eq!(wheel.next(), Some(1_000));
    assert_eq!(wheel.pop(1_000), Some(1));
}

#[test]
fn an_empty_wheel_follows_time_without_work() {
    let mut wheel = wheel();
    assert_eq!((wheel.next(), wheel.position()), (None, None));
    assert_eq!(wheel.pop(u64::MAX / 2), None);
    wheel.arm(u64::MAX / 2, 0, u64::MAX / 2 + 1);
    assert_eq!(wheel.position(), Some(u64::MAX / 2));
    assert_eq!(wheel.next(), Some(u64::MAX / 2 + 1));
}
