//! Whatever comes in, whenever, and however the pools change meanwhile: the laws of a forwarder.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod law;
mod replay;

use lb_l4::packet::DropReason;
use lbcore::rng::{Rng, Xoshiro};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_laws_hold_on_every_walk(steps in prop::collection::vec(any::<law::Step>(), 1..250)) {
        law::walk(&steps);
    }
}

#[test]
fn walks_go_everywhere() {
    let mut rng = Xoshiro::new(4);
    let mut dropped = [0; DropReason::ALL.len()];
    let mut others = [0; 9];
    for _ in 0..40 {
        let steps: Vec<law::Step> = (0..400).map(|_| rng.next_u64().to_le_bytes()).collect();
        let (stats, _) = law::walk(&steps);
        for (all, more) in dropped.iter_mut().zip(stats.dropped) {
            *all += more;
        }
        let more = [
            stats.forwarded,
            stats.replied,
            stats.held,
            stats.passed,
            stats.transmitted,
            stats.fragments.completed,
            stats.answers.resets,
            stats.answers.echoes,
            stats.answers.errors,
        ];
        for (all, more) in others.iter_mut().zip(more) {
            *all += more;
        }
    }
    assert!(others.iter().all(|it| *it > 50), "{others:?}");
    // The others need a flood, or a neighbour that is not there: the verdict tables have them.
    let wanted = [
        DropReason::AddressDenied,
        DropReason::BackendGone,
        DropReason::BackendUnavailable,
        DropReason::BadChecksum,
        DropReason::FragmentOverlap,
        DropReason::FragmentUnmatched,
        DropReason::HopLimit,
        DropReason::IcmpUnmatched,
        DropReason::Malformed,
        DropReason::NoSession,
        DropReason::PortsExhausted,
        DropReason::RateLimited,
        DropReason::SessionLimit,
        DropReason::SynCookieWrong,
        DropReason::TooBig,
        DropReason::Unsupported,
    ];
    let never = wanted.into_iter().filter(|it| dropped[*it as usize] == 0);
    assert_eq!(never.collect::<Vec<_>>(), []);
}
