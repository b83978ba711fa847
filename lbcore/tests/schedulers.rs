//! The laws, held by every scheduler.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lbcore::schedule::{
    AnyScheduler, BoundedLoad, Ketama, LeastConnections, LocalityLeastConnections, Maglev,
    NeverQueue, Overflow, PeakEwma, PowerOfTwo, Prequal, Random, Rendezvous, RoundRobin, RowBits,
    ShortestExpectedDelay, WeightedFailover, WeightedRoundRobin,
};
use lbcore::sim::laws::scheduler_laws;

/// One test a scheduler: its name, and how it is made.
macro_rules! laws {
    ($($name:ident: $make:expr;)*) => {
        $(#[test]
        fn $name() {
            scheduler_laws(|| $make);
        })*
    };
}

// Tables are small, so that a thousand pools are drawn in seconds.
laws! {
    any_scheduler_keeps_the_laws: AnyScheduler::new(LeastConnections::weighted());
    bounded_load_keeps_the_laws: BoundedLoad::over(maglev()).factor(100).unwrap();
    bounded_load_over_a_ring_keeps_the_laws: BoundedLoad::over(ketama());
    ketama_keeps_the_laws: ketama();
    least_connections_keeps_the_laws: LeastConnections::unweighted();
    locality_least_connections_keeps_the_laws: LocalityLeastConnections;
    maglev_keeps_the_laws: maglev();
    never_queue_keeps_the_laws: NeverQueue;
    overflow_keeps_the_laws: Overflow;
    peak_ewma_keeps_the_laws: PeakEwma::default();
    power_of_two_keeps_the_laws: PowerOfTwo;
    prequal_keeps_the_laws: Prequal::default();
    random_keeps_the_laws: Random::unweighted();
    rendezvous_keeps_the_laws: rendezvous();
    round_robin_keeps_the_laws: RoundRobin;
    shortest_expected_delay_keeps_the_laws: ShortestExpectedDelay;
    weighted_failover_keeps_the_laws: WeightedFailover;
    weighted_least_connections_keeps_the_laws: LeastConnections::weighted();
    weighted_random_keeps_the_laws: Random::weighted();
    weighted_round_robin_keeps_the_laws: WeightedRoundRobin;
}

fn maglev() -> Maglev {
    Maglev::default().table_size(251).unwrap()
}

fn ketama() -> Ketama {
    Ketama::default().most_points(500)
}

fn rendezvous() -> Rendezvous {
    Rendezvous::default().rows(RowBits::new(7).unwrap())
}

mod broken {
    //! The laws catch who breaks them.

    use lbcore::schedule::{Candidates, Scheduler, Start, Tier};

    use super::scheduler_laws;

    macro_rules! breaks {
        ($($name:ident, $law:literal: |$cursor:ident, $candidates:ident| $pick:expr;)*) => {
            $(#[test]
            #[should_panic(expected = $law)]
            fn $name() {
                #[derive(Debug)]
                struct Broken;

                impl Scheduler for Broken {
                    type Plan = ();
                    type Cursor = usize;

                    fn plan(&self, _: &Tier, _: Option<&()>) {}

                    fn cursor(&self, _: &(), _: &Tier, start: Start<'_, usize>) -> usize {
                        start.previous.unwrap_or_default()
                    }

                    fn pick(
                        &self,
                        _: &(),
                        $cursor: &mut usize,
                        $candidates: &Candidates<'_>,
                    ) -> Option<usize> {
                        *$cursor += 1;
                        $pick
                    }
                }

                scheduler_laws(|| Broken);
            })*
        };
    }

    breaks! {
        one_that_gives_up_is_caught, "law 1:": |cursor, candidates| {
            candidates.first_from(0).filter(|_| !cursor.is_multiple_of(10))
        };
        one_that_asks_nobody_is_caught, "law 1 and 4:": |cursor, candidates| {
            Some(*cursor % candidates.tier().len().max(1))
        };
        one_that_forgets_what_was_tried_is_caught, "law 2:": |_cursor, candidates| {
            let all = candidates.tier().candidates();
            all.iter().position(|candidate| candidate.is_eligible())
        };
        one_that_rolls_dice_of_its_own_is_caught, "law 3:": |_cursor, candidates| {
            let address = std::ptr::from_ref(candidates.tier()).addr();
            candidates.first_from((address >> 4) % candidates.tier().len().max(1))
        };
    }
}
