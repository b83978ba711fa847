//! Three doors that close one after another, exact to the last unit.

use std::thread;

use lbcore::budget::{Budget, BudgetConfig, Exhausted, Resource, Stage};
use proptest::prelude::*;

const BYTES: Resource = Resource::Bytes;

fn hundred() -> Budget {
    Budget::new(BudgetConfig::default().bytes(100))
}

#[test]
fn new_work_is_taken_to_the_limit_and_no_further() {
    let budget = hundred();
    let grant = budget.try_take(BYTES, 100).unwrap();
    assert_eq!((grant.resource(), grant.amount()), (BYTES, 100));
    let refused = budget.try_take(BYTES, 1).unwrap_err();
    assert_eq!(refused, Exhausted { resource: BYTES });
    assert_eq!(refused.to_string(), "out of bytes");
    drop(grant);
    assert!(budget.try_take(BYTES, 101).is_err());
    assert_eq!(budget.stats(BYTES).used, 0);
    assert_eq!(budget.stats(BYTES).refused_work, 2);
}

#[test]
fn comfort_is_taken_to_just_below_the_saving_stage() {
    let budget = hundred();
    assert!(budget.try_take_optional(BYTES, 90).is_err());
    let grant = budget.try_take_optional(BYTES, 89).unwrap();
    assert_eq!(budget.stage(BYTES), Stage::Normal);
    assert!(budget.try_take_optional(BYTES, 1).is_err());
    let work = budget.try_take(BYTES, 1).unwrap();
    assert_eq!(budget.stage(BYTES), Stage::Saving);
    let stats = budget.stats(BYTES);
    assert_eq!((stats.refused_optional, stats.refused_work), (2, 0));
    drop((grant, work));
}

#[test]
fn each_stage_begins_at_its_share() {
    let budget = hundred();
    for (used, stage) in [
        (0, Stage::Normal),
        (89, Stage::Normal),
        (90, Stage::Saving),
        (99, Stage::Saving),
        (100, Stage::Full),
        (101, Stage::Full),
    ] {
        let grant = budget.take_for_work(BYTES, used);
        assert_eq!(
            (budget.stage(BYTES), budget.pressure()),
            (stage, stage),
            "{used}"
        );
        drop(grant);
    }
    assert!(Stage::Normal < Stage::Saving && Stage::Saving < Stage::Full);
}

#[test]
fn a_share_is_rounded_up_and_at_most_the_whole() {
    let stage = |limit, percent, used| {
        let config = BudgetConfig::default()
            .sessions(limit)
            .saving_percent(percent);
        let budget = Budget::new(config);
        let _grant = budget.take_for_work(Resource::Sessions, used);
        budget.pressure()
    };
    assert_eq!(stage(15, 90, 13), Stage::Normal);
    assert_eq!(stage(15, 90, 14), Stage::Saving);
    assert_eq!(stage(15, 200, 14), Stage::Normal);
    assert_eq!(stage(15, 200, 15), Stage::Full);
    assert_eq!(stage(15, 0, 0), Stage::Saving);
}

#[test]
fn work_under_way_is_never_refused_and_what_is_overdrawn_is_counted() {
    let budget = hundred();
    let first = budget.take_for_work(BYTES, 100);
    assert_eq!(budget.stats(BYTES).overdrawn, 0);
    let second = budget.take_for_work(BYTES, 1);
    assert_eq!(budget.stats(BYTES).used, 101);
    assert_eq!(budget.stats(BYTES).overdrawn, 1);
    let absurd = budget.take_for_work(BYTES, u64::MAX);
    assert_eq!((budget.stats(BYTES).used, absurd.amount()), (101, 0));
    assert_eq!(budget.stats(BYTES).limit, 100);
    drop((first, second, absurd));
    assert_eq!(budget.stats(BYTES).used, 0);
}

#[test]
fn resources_are_apart_and_the_shortest_tells_the_pressure() {
    let config = BudgetConfig::default()
        .bytes(10)
        .descriptors(10)
        .sessions(10);
    let budget = Budget::new(config);
    for resource in Resource::ALL {
        let grant = budget.try_take(resource, 10).unwrap();
        assert_eq!(budget.pressure(), Stage::Full);
        for other in Resource::ALL {
            let expected = if other == resource {
                Stage::Full
            } else {
                Stage::Normal
            };
            assert_eq!(budget.stage(other), expected);
        }
        drop(grant);
    }
}

#[test]
fn without_a_limit_all_is_counted_and_nothing_refused() {
    let budget = Budget::default();
    let grant = budget.try_take(BYTES, 1 << 60).unwrap();
    assert!(budget.try_take_optional(BYTES, 1 << 60).is_ok());
    assert_eq!(budget.pressure(), Stage::Normal);
    assert_eq!(budget.stats(BYTES).used, 1 << 60);
    assert_eq!(budget.stats(BYTES).limit, u64::MAX);
    assert!(budget.try_take(BYTES, u64::MAX).is_err());
    drop(grant);
}

#[test]
fn a_clone_is_the_same_budget() {
    let budget = hundred();
    let same = budget.clone();
    let grant = same.try_take(BYTES, 60);
    assert!(budget.try_take(BYTES, 60).is_err());
    drop(grant);
    assert!(budget.try_take(BYTES, 60).is_ok());
}

#[test]
fn two_threads_never_have_more_than_there_is() {
    let budget = Budget::new(BudgetConfig::default().descriptors(3));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let two = budget.try_take(Resource::Descriptors, 2);
                    let one = budget.try_take(Resource::Descriptors, 1);
                    assert!(budget.stats(Resource::Descriptors).used <= 3);
                    drop((two, one));
                }
            });
        }
    });
    assert_eq!(budget.stats(Resource::Descriptors).used, 0);
}

#[test]
fn names_are_printed_in_lower_case() {
    let resources = Resource::ALL.map(|resource| resource.to_string());
    assert_eq!(resources, ["bytes", "descriptors", "sessions"]);
    let stages = [Stage::Normal, Stage::Saving, Stage::Full].map(|stage| stage.to_string());
    assert_eq!(stages, ["normal", "saving", "full"]);
}

proptest! {
    /// Whatever is taken and dropped, what is in use is the sum of the grants.
    #[test]
    fn what_is_in_use_is_what_was_granted(
        steps in proptest::collection::vec((0..4_u8, 0..60_u64, any::<prop::sample::Index>()), 1..60),
    ) {
        let budget = hundred();
        let mut grants = Vec::new();
        for (door, amount, which) in steps {
            let used: u64 = grants.iter().map(lbcore::budget::Grant::amount).sum();
            prop_assert_eq!(budget.stats(BYTES).used, used);
            match door {
                0 => match budget.try_take(BYTES, amount) {
                    Ok(grant) => { prop_assert!(used + amount <= 100); grants.push(grant); }
                    Err(_) => prop_assert!(used + amount > 100),
                },
                1 => match budget.try_take_optional(BYTES, amount) {
                    Ok(grant) => { prop_assert!(used + amount < 90); grants.push(grant); }
                    Err(_) => prop_assert!(used + amount >= 90),
                },
                2 => grants.push(budget.take_for_work(BYTES, amount)),
                _ if grants.is_empty() => {}
                _ => drop(grants.swap_remove(which.index(grants.len()))),
            }
        }
    }
}
