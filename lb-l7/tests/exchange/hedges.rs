//! Requests of which a second copy is sent because the first answer is slow.

use std::time::Duration;

use lb_l7::cookie::{CookieConfig, CookiePersistence, KeyRing};
use lb_l7::upstream::{Hedge, RetryBudgetConfig, RetryOn, RetryPolicy};
use lbcore::Outcome;
use lbcore::hash::HashKey;
use tokio::time::Instant;

use crate::rig::{A_MOMENT, Announced, Door, Http1, Http2, PAIRS, Plan, Speaks, World, secs};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two backends, and a hedge after 100 ms.
fn plan(backend: Speaks) -> Plan {
    Plan::to(backend).backends(2).hedge(Hedge::after(ms(100)))
}

/// How many sessions of all backends have ended so.
fn outcomes(world: &World, outcome: Outcome) -> u64 {
    let stats = world.pool.stats();
    let of = |stats: &lbcore::pool::BackendStats| stats.outcomes()[outcome.kind()];
    stats.iter().map(of).sum()
}

/// The one backend whose session has ended well.
fn answered_by(world: &World) -> Option<String> {
    let stats = world.pool.stats();
    let mut well = stats
        .iter()
        .filter(|stats| stats.outcomes()[Outcome::Ok.kind()] > 0);
    let address = well
        .next()
        .map(|stats| format!("memory:{}", stats.backend.name));
    assert!(well.next().is_none());
    address
}

#[tokio::test(start_paused = true)]
async fn a_second_backend_answers_when_the_first_is_slow() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).build();
        let call = world.client(client).await.get("/page").await;
        let mut slow = world.call().await;
        let begun = Instant::now();
        assert!(world.call_within(ms(99)).await.is_none());
        let second = world.call().await;
        assert_eq!(begun.elapsed().as_millis() / 10, 10);
        assert_eq!((&*second.method, &*second.path), ("GET", "/page"));
        assert_ne!(second.connection, slow.connection);
        second.answer(200, "second").await;
        assert_eq!(call.answer().await.0.text(), "second");
        slow.gone().await;
        let ended = world.ended().await;
        assert_eq!((ended.code(), ended.tries), (("done", 200), 1));
        assert_eq!((ended.hedged, ended.hedges), (true, 1));
        assert_eq!(answered_by(&world), ended.backend);
        let figures = world.proxy.upstream_stats()["upstream"].read();
        assert_eq!((figures.hedged, figures.hedges), (1, 1));
        assert_eq!((figures.retries, figures.left), (0, 1));
        assert_eq!(outcomes(&world, Outcome::Cancelled), 1);
        assert_eq!(outcomes(&world, Outcome::Ok), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_backend_may_still_win() {
    for backend in [Http1, Http2] {
        let mut world = plan(backend).build();
        let call = world.client(Http1).await.get("/").await;
        let slow = world.call().await;
        let mut second = world.call().await;
        slow.answer(200, "first").await;
        assert_eq!(call.answer().await.0.text(), "first");
        second.gone().await;
        let ended = world.ended().await;
        assert_eq!((ended.hedged, ended.hedges), (false, 1));
        assert_eq!(answered_by(&world), ended.backend);
        let figures = world.proxy.upstream_stats()["upstream"].read();
        assert_eq!((figures.hedged, figures.hedges, figures.left), (0, 1, 0));
        assert_eq!(outcomes(&world, Outcome::Cancelled), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_not_hedged() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        tokio::time::sleep(ms(90)).await;
        // Nor is one whose body takes longer.
        served.head(200, &[]).await;
        world.no_call().await;
        tokio::time::sleep(secs(1)).await;
        served.send(b"late").await;
        served.end(&[]).await;
        assert_eq!(call.answer().await.0.text(), "late");
        world.no_call().await;
        let ended = world.ended().await;
        assert_eq!((ended.hedged, ended.hedges), (false, 0));
        assert_eq!(outcomes(&world, Outcome::Cancelled), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn only_safe_requests_without_a_body_are_hedged() {
    for client in [Http1, Http2] {
        for (method, announced, hedged) in [
            ("GET", Announced::Nothing, true),
            ("HEAD", Announced::Nothing, true),
            ("OPTIONS", Announced::Nothing, true),
            ("GET", Announced::Length(0), true),
            ("GET", Announced::Length(1), false),
            ("GET", Announced::Streamed, false),
            ("POST", Announced::Nothing, false),
            ("PUT", Announced::Nothing, false),
            ("DELETE", Announced::Nothing, false),
        ] {
            let mut world = plan(Http1).build();
            let client = world.client(client).await;
            let mut call = client.begin(method, "/", &[], announced).await;
            if announced == Announced::Length(1) {
                call.send(b"x").await;
            }
            if announced != Announced::Nothing {
                call.end().await;
            }
            let first = world.call().await;
            let second = world.call_within(secs(1)).await;
            // An empty body of HTTP/2 may have its end still to come.
            if announced != Announced::Length(0) {
                assert_eq!(second.is_some(), hedged, "{method} {announced:?}");
            }
            drop(second);
            let mut first = first;
            if announced != Announced::Nothing {
                first.body().await.unwrap();
            }
            first.head_alone(204, &[]).await;
            let _ = call.head().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_behind_an_empty_body_are_passed_on_and_nothing_is_hedged() {
    let mut world = plan(Http2).build();
    let client = world.client(Http2).await;
    let mut call = client.begin("GET", "/", &[], Announced::Length(0)).await;
    call.end_with(&[("x-sum", "0")]).await;
    let mut served = world.call().await;
    assert!(served.body().await.unwrap().0.is_empty());
    assert!(world.call_within(secs(1)).await.is_none());
    served.answer(200, "").await;
    assert_eq!(call.answer().await.0.status, 200);
    world.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_a_cookie_keeps_at_its_backend_is_not_sent_to_another() {
    let config = CookieConfig::new("at", KeyRing::new(HashKey::from_seed(1), []));
    let cookie = CookiePersistence::new(config).unwrap();
    let plan = plan(Http1).target(move |target| target.hedge(Hedge::after(ms(100))).cookie(cookie));
    let mut world = plan.build();
    let call = world.client(Http1).await.get("/").await;
    world.call().await.answer(200, "").await;
    let (answer, client) = call.answer().await;
    let set = answer.field("set-cookie").unwrap();
    let kept = set.split(';').next().unwrap();
    let fields = [("cookie", kept)];
    let call = client.begin("GET", "/", &fields, Announced::Nothing).await;
    let served = world.call().await;
    assert!(world.call_within(secs(1)).await.is_none());
    served.answer(200, "").await;
    call.answer().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_nothing_is_hedged() {
    let none = RetryBudgetConfig::default().percent(0).floor_per_second(0);
    let mut world = plan(Http1).budget(none).build();
    let call = world.client(Http1).await.get("/").await;
    let served = world.call().await;
    assert!(world.call_within(secs(1)).await.is_none());
    served.answer(200, "").await;
    call.answer().await;
    assert_eq!(world.ended().await.hedges, 0);
    assert_eq!(world.upstream.budget().refused(), 1);
    assert_eq!(outcomes(&world, Outcome::Cancelled), 0);
}

#[tokio::test(start_paused = true)]
async fn each_hedge_is_taken_from_the_budget_of_retries() {
    let one = RetryBudgetConfig::default()
        .percent(0)
        .floor_per_second(1)
        .window(secs(1));
    let mut world = plan(Http1).backends(3).budget(one).build();
    let calls = [
        world.client(Http1).await.get("/1").await,
        world.client(Http1).await.get("/2").await,
    ];
    let first = [world.call().await, world.call().await];
    let hedge = world.call().await;
    assert!(world.call_within(ms(500)).await.is_none());
    assert_eq!(world.upstream.budget().refused(), 1);
    for served in first {
        served.answer(200, "").await;
    }
    for call in calls {
        assert_eq!(call.answer().await.0.status, 200);
    }
    drop(hedge);
    world.settle().await;
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn without_another_backend_the_budget_is_left_alone() {
    let one = RetryBudgetConfig::default()
        .percent(0)
        .floor_per_second(1)
        .window(secs(1));
    let mut world = plan(Http1).backends(1).budget(one).build();
    let call = world.client(Http1).await.get("/").await;
    let served = world.call().await;
    assert!(world.call_within(ms(300)).await.is_none());
    assert_eq!(world.upstream.budget().refused(), 0);
    served.abort();
    // It is there for the retry.
    world.call().await.answer(200, "again").await;
    assert_eq!(call.answer().await.0.text(), "again");
    assert_eq!(world.ended().await.hedges, 0);
}

#[tokio::test(start_paused = true)]
async fn as_many_hedges_as_there_may_be_each_after_the_delay() {
    for (most, expected) in [(1, 1), (2, 2), (3, 3), (9, 3)] {
        let mut world = Plan::to(Http1)
            .backends(5)
            .hedge(Hedge::after(ms(100)).most(most))
            .build();
        let call = world.client(Http1).await.get("/").await;
        let begun = Instant::now();
        let mut out = vec![world.call().await];
        while let Some(hedge) = world.call_within(secs(1)).await {
            let due = 100 * out.len() as u128;
            let waited = begun.elapsed().as_millis();
            assert!((due..due + 5).contains(&waited), "{waited} for {due}");
            out.push(hedge);
        }
        assert_eq!(out.len(), 1 + expected);
        out.pop().unwrap().answer(200, "last").await;
        assert_eq!(call.answer().await.0.text(), "last");
        for mut loser in out {
            loser.gone().await;
        }
        let ended = world.ended().await;
        assert_eq!((ended.hedged, ended.hedges), (true, expected as u32));
    }
}

#[tokio::test(start_paused = true)]
async fn the_losers_lease_is_released_and_its_connection_not_used_again() {
    let mut world = plan(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let mut slow = world.call().await;
    let second = world.call().await;
    assert_eq!(
        world
            .pool
            .stats()
            .iter()
            .map(|s| s.in_flight())
            .sum::<u64>(),
        2
    );
    second.answer(200, "").await;
    let (_, client) = call.answer().await;
    slow.gone().await;
    world.settle().await;
    world.checks();
    assert_eq!(world.connections(), (1, 1));
    // The turn of the loser's backend comes again, over a connection that is new.
    for connection in [2, 1] {
        let call = world.client(Http1).await.get("/").await;
        let served = world.call().await;
        assert_eq!(served.connection, connection);
        served.answer(200, "").await;
        call.answer().await;
        world.settle().await;
    }
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_both() {
    for backend in [Http1, Http2] {
        let mut world = plan(backend).build();
        let call = world.client(Http2).await.get("/").await;
        let mut first = world.call().await;
        let mut second = world.call().await;
        call.abort();
        first.gone().await;
        second.gone().await;
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("client-reset-in-response-head", 0));
        assert_eq!((ended.hedged, ended.hedges), (false, 1));
        assert_eq!(outcomes(&world, Outcome::Cancelled), 2);
        if backend == Http1 {
            assert_eq!(world.connections(), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_made_good_by_the_other_without_a_retry() {
    for first_fails in [true, false] {
        let mut world = plan(Http1).build();
        let call = world.client(Http1).await.get("/").await;
        let first = world.call().await;
        let second = world.call().await;
        let (fails, answers) = if first_fails {
            (first, second)
        } else {
            (second, first)
        };
        fails.abort();
        world.no_call().await;
        answers.answer(200, "good").await;
        assert_eq!(call.answer().await.0.text(), "good");
        let ended = world.ended().await;
        assert_eq!((ended.code(), ended.tries), (("done", 200), 1));
        assert_eq!(ended.hedged, first_fails);
        assert_eq!(outcomes(&world, Outcome::Reset), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_a_third_backend_is_tried() {
    let mut world = plan(Http1).backends(3).build();
    let call = world.client(Http1).await.get("/").await;
    let (first, second) = (world.call().await, world.call().await);
    first.abort();
    world.settle().await;
    second.abort();
    let third = world.call().await;
    third.answer(200, "third").await;
    assert_eq!(call.answer().await.0.text(), "third");
    let ended = world.ended().await;
    assert_eq!((ended.tries, ended.hedges, ended.hedged), (2, 1, false));
    assert_eq!(answered_by(&world), ended.backend);
    assert_eq!(outcomes(&world, Outcome::Reset), 2);
    assert!(world.pool.stats().iter().all(|stats| stats.acquired() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_delay_is_retried_as_ever() {
    let mut world = plan(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    world.call().await.abort();
    world.call().await.answer(200, "again").await;
    assert_eq!(call.answer().await.0.text(), "again");
    let ended = world.ended().await;
    assert_eq!((ended.tries, ended.hedges), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_would_be_retried_wins_only_if_no_other_answer_can_come() {
    let on = RetryOn::DEFAULT.with(RetryOn::STATUS_503);
    let retry = RetryPolicy::default().tries(1).on(on);
    for last in [200, 503] {
        let mut world = plan(Http1).retry(retry.clone()).build();
        let call = world.client(Http1).await.get("/").await;
        let (first, second) = (world.call().await, world.call().await);
        second.answer(503, "busy").await;
        world.settle().await;
        first.answer(last, "last").await;
        let (answer, _client) = call.answer().await;
        assert_eq!((answer.status, answer.text()), (last, "last"));
        assert!(!world.ended().await.hedged);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_reached_in_time_is_hedged() {
    let mut world = plan(Http1).build();
    world.dial.meet(&[Door::Silent]);
    let begun = Instant::now();
    let call = world.client(Http1).await.get("/").await;
    world.call().await.answer(200, "other").await;
    assert_eq!(call.answer().await.0.text(), "other");
    assert!(begun.elapsed() < ms(110));
    let ended = world.ended().await;
    assert_eq!((ended.hedged, ended.hedges), (true, 1));
    assert_eq!(outcomes(&world, Outcome::Cancelled), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_meets_a_closed_door_changes_nothing() {
    let mut world = plan(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let first = world.call().await;
    world.dial.meet(&[Door::Refused]);
    assert!(world.call_within(ms(500)).await.is_none());
    first.answer(200, "first").await;
    assert_eq!(call.answer().await.0.text(), "first");
    let ended = world.ended().await;
    assert_eq!((ended.hedged, ended.hedges), (false, 1));
    assert_eq!(outcomes(&world, Outcome::ConnectFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn each_copy_has_its_own_time_to_the_first_byte_and_all_have_the_total() {
    let first_byte = plan(Http1).timeouts(|times| times.first_byte = secs(1));
    let total = plan(Http1).timeouts(|times| times.total = secs(1));
    for (plan, expected, how) in [
        (first_byte, 1100, "backend-timeout-in-response-head"),
        (total, 1000, "proxy-timeout-in-response-head"),
    ] {
        let mut world = plan.build();
        let begun = Instant::now();
        let call = world.client(Http1).await.get("/").await;
        let (mut first, mut second) = (world.call().await, world.call().await);
        let (answer, _client) = call.answer().await;
        assert_eq!(answer.status, 504);
        let waited = begun.elapsed().as_millis();
        assert!((expected..expected + 10).contains(&waited), "{waited}");
        first.gone().await;
        second.gone().await;
        assert_eq!(world.ended().await.code(), (how, 504));
    }
}

#[tokio::test(start_paused = true)]
async fn interim_answers_of_the_first_are_passed_on_and_those_of_a_hedge_are_not() {
    let mut world = plan(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let mut first = world.call().await;
    first.inform(100, &[]).await;
    first.inform(103, &[("link", "</first>")]).await;
    let mut second = world.call().await;
    second.inform(103, &[("link", "</second>")]).await;
    world.settle().await;
    second.answer(200, "second").await;
    let (answer, _client) = call.answer().await;
    assert_eq!(answer.text(), "second");
    let told: Vec<_> = answer.interim.iter().map(|(status, _)| *status).collect();
    assert_eq!(told, [103]);
}

/// The times to the first byte of as many requests, one after the other.
async fn waits(hedge: Option<Hedge>, requests: usize) -> (Vec<Duration>, u64) {
    let mut plan = Plan::to(Http1).backends(10);
    if let Some(hedge) = hedge {
        plan = plan.hedge(hedge);
    }
    let mut world = plan.build();
    world.answer_after(|name| ms(if name.ends_with("b7") { 500 } else { 10 }));
    let mut client = world.client(Http1).await;
    for _ in 0..requests {
        client = client.get("/").await.answer().await.1;
    }
    world.settle().await;
    world.checks();
    let told = world.told.all();
    let mut waits: Vec<_> = told
        .iter()
        .filter_map(|ended| ended.times.to_first_byte())
        .collect();
    assert_eq!(waits.len(), requests);
    waits.sort();
    let hedges = told.iter().map(|ended| u64::from(ended.hedges)).sum();
    (waits, hedges)
}

/// Ten backends in turn, nine of which answer after 10 ms and one after 500 ms; 4000 requests:
///
/// | hedge            | p50   | p95    | p99    | sent twice |
/// |------------------|-------|--------|--------|------------|
/// | none             | 10 ms | 500 ms | 500 ms | none       |
/// | after 20 ms      | 10 ms | 30 ms  | 30 ms  | 11 %       |
/// | p85, floor 12 ms | 10 ms | 22 ms  | 22 ms  | 11 %       |
///
/// Each hedge takes a turn of its own, so that one of nine requests meets the slow backend and not
/// one of ten. The last learns its delay from the first hundred answers, of which none is hedged.
#[tokio::test(start_paused = true)]
async fn one_slow_backend_of_ten_is_no_longer_the_tail() {
    let close = |wait: Duration, to: Duration| {
        assert!(wait >= to && wait < to + A_MOMENT, "{wait:?} for {to:?}");
    };
    for (hedge, tail, twice) in [
        (None, ms(500), 0..=0),
        (Some(Hedge::after(ms(20))), ms(30), 444..=445),
        (Some(Hedge::quantile(0.85, ms(12))), ms(22), 420..=435),
    ] {
        let (waits, hedges) = waits(hedge, 4000).await;
        assert!(twice.contains(&hedges), "{hedges} for {hedge:?}");
        close(waits[1999], ms(10));
        close(waits[3799], tail);
        close(waits[3959], tail);
    }
}
