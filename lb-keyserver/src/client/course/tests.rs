use super::*;
use crate::client::{BreakerState, ClientStats, KeyClientConfig};

const T0: Instant = Instant::ZERO;
const MS: Duration = Duration::from_millis(1);
const WITHIN: Duration = Duration::from_secs(2);

/// `N` servers that can be asked, under a configuration.
fn servers<const N: usize>(ask: AskConfig) -> (Servers<usize>, [ServerId; N]) {
    let mut servers = Servers::new(&KeyClientConfig::default().ask(ask), 5);
    let ids = std::array::from_fn(|n| {
        let id = servers.add(n);
        servers.handle_connected(id);
        id
    });
    (servers, ids)
}

fn course() -> Course {
    Course::new(T0, WITHIN, Scheme::Ed25519)
}

#[track_caller]
fn asks(course: &mut Course, now: Instant, servers: &mut Servers<usize>) -> Ask<usize> {
    match course.poll(now, servers) {
        Step::Ask(ask) => ask,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn waits(course: &mut Course, now: Instant, servers: &mut Servers<usize>) -> Instant {
    match course.poll(now, servers) {
        Step::Wait(until) => until,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fails(course: &mut Course, now: Instant, servers: &mut Servers<usize>) -> SignError {
    match course.poll(now, servers) {
        Step::Fail(error) => error,
        other => panic!("{other:?}"),
    }
}

fn stats(servers: &Servers<usize>) -> ClientStats {
    servers.stats(|_| String::new())
}

/// Lets the servers' latencies be known: all of `latency`.
fn know(servers: &mut Servers<usize>, ids: &[ServerId], latency: Duration) {
    for id in ids.iter().cycle().take(64) {
        servers.handle_signed(T0, *id, latency);
    }
}

#[test]
fn without_a_server_it_fails_at_once() {
    let (mut none, []) = servers(AskConfig::default());
    assert_eq!(fails(&mut course(), T0, &mut none), SignError::NoServer);
    let counted = stats(&none);
    assert_eq!((counted.requests, counted.attempts), (1, 0));
    assert_eq!(counted.failed.of(SignError::NoServer), 1);
}

#[test]
fn the_only_server_is_waited_for_to_the_deadline_exactly() {
    let (mut servers, [only]) = servers(AskConfig::default());
    let mut course = course();
    let ask = asks(&mut course, T0, &mut servers);
    assert_eq!((ask.server, ask.attempt, ask.verify), (only, 0, true));
    assert_eq!((ask.slow_at, ask.deadline), (T0 + 1_000 * MS, T0 + WITHIN));
    let last = T0 + WITHIN - Duration::from_nanos(1);
    assert_eq!(waits(&mut course, T0, &mut servers), T0 + 1_000 * MS);
    assert_eq!(
        waits(&mut course, T0 + 1_000 * MS, &mut servers),
        T0 + WITHIN
    );
    assert_eq!(waits(&mut course, last, &mut servers), T0 + WITHIN);
    assert_eq!(
        fails(&mut course, T0 + WITHIN, &mut servers),
        SignError::Late
    );
    assert_eq!(stats(&servers).attempts, 1);
}

#[test]
fn the_only_server_is_not_called_slow_for_a_hurried_request() {
    let (mut servers, [_]) = servers(AskConfig::default());
    let mut hurried = Course::new(T0, 10 * MS, Scheme::Ed25519);
    let ask = asks(&mut hurried, T0, &mut servers);
    assert_eq!((ask.slow_at, ask.deadline), (T0 + 1_000 * MS, T0 + 10 * MS));
}

#[test]
fn a_silent_server_is_joined_by_another_after_the_attempt_s_time() {
    let (mut servers, ids) = servers::<3>(AskConfig::default());
    let mut course = course();
    let first = asks(&mut course, T0, &mut servers);
    assert_eq!(first.slow_at, T0 + 300 * MS);
    assert_eq!(waits(&mut course, T0, &mut servers), T0 + 300 * MS);
    let second = asks(&mut course, T0 + 300 * MS, &mut servers);
    assert_eq!(
        waits(&mut course, T0 + 300 * MS, &mut servers),
        T0 + 600 * MS
    );
    let third = asks(&mut course, T0 + 600 * MS, &mut servers);
    let mut asked = [first.server, second.server, third.server];
    asked.sort_unstable();
    assert_eq!(asked, ids, "each was asked once");
    // Nobody else is left: the rest is waiting.
    assert_eq!(
        waits(&mut course, T0 + 1_000 * MS, &mut servers),
        T0 + WITHIN
    );
    assert_eq!(stats(&servers).retries, 2);
    // The answer of the first is as good as any.
    course.handle_signature(T0 + 950 * MS, first.attempt, &mut servers);
    assert_eq!(stats(&servers).signed, 1);
}

#[test]
fn servers_that_are_all_slow_are_given_twice_what_most_take() {
    let (mut servers, ids) = servers::<2>(AskConfig::default());
    know(&mut servers, &ids, 400 * MS);
    let ask = asks(&mut course(), T0, &mut servers);
    let patience = ask.slow_at.since(T0);
    assert!(patience >= 800 * MS && patience < 960 * MS, "{patience:?}");
}

#[test]
fn what_is_lost_goes_to_another_and_for_want_of_one_to_the_same() {
    let (mut servers, [one, other]) = servers(AskConfig::default());
    let mut course = course();
    let first = asks(&mut course, T0, &mut servers);
    course.handle_failure(first.attempt, Failure::Lost);
    let second = asks(&mut course, T0, &mut servers);
    assert_ne!(first.server, second.server);
    assert_eq!(second.attempt, 1);
    course.handle_failure(second.attempt, Failure::Lost);
    servers.handle_disconnected(T0, one, 0);
    let third = asks(&mut course, T0, &mut servers);
    assert_eq!(third.server, other);
    course.handle_failure(third.attempt, Failure::Lost);
    servers.handle_disconnected(T0, other, 0);
    assert_eq!(fails(&mut course, T0, &mut servers), SignError::NoServer);
}

#[test]
fn no_more_is_asked_than_there_may_be_attempts() {
    for attempts in 1..=AskConfig::MOST_ATTEMPTS {
        let (mut servers, _) = servers::<8>(AskConfig::default().attempts(attempts));
        let mut course = course();
        for n in 0..attempts {
            let ask = asks(&mut course, T0, &mut servers);
            assert_eq!(ask.attempt, n);
            course.handle_failure(ask.attempt, Failure::Lost);
        }
        assert_eq!(fails(&mut course, T0, &mut servers), SignError::NoServer);
    }
}

#[test]
fn a_refusal_is_asked_again_as_its_code_says() {
    for byte in 0..=u8::MAX {
        let code = ErrorCode::from_byte(byte);
        let (mut servers, _) = servers::<2>(AskConfig::default());
        let mut course = course();
        let ask = asks(&mut course, T0, &mut servers);
        course.handle_failure(ask.attempt, Failure::Refused(code));
        if [0x02, 0x03, 0x08, 0x0b].contains(&byte) {
            let again = asks(&mut course, T0, &mut servers);
            assert_ne!(again.server, ask.server);
            course.handle_failure(again.attempt, Failure::Refused(code));
        }
        let error = fails(&mut course, T0, &mut servers);
        assert_eq!(error, SignError::Refused(code));
    }
}

#[test]
fn a_refusal_is_not_asked_again_of_the_same() {
    let (mut servers, [_]) = servers(AskConfig::default());
    let mut course = course();
    let ask = asks(&mut course, T0, &mut servers);
    course.handle_failure(ask.attempt, Failure::Refused(ErrorCode::Internal));
    let refused = SignError::Refused(ErrorCode::Internal);
    assert_eq!(fails(&mut course, T0, &mut servers), refused);
    assert_eq!(stats(&servers).retries_denied, 0);
}

#[test]
fn a_missing_key_is_looked_for_once_more_and_the_one_without_it_is_blamed() {
    let (mut servers, _) = servers::<3>(AskConfig::default());
    let missing = Failure::Refused(ErrorCode::KeyNotFound);
    for round in 0..5 {
        let mut course = course();
        let ask = asks(&mut course, T0, &mut servers);
        course.handle_failure(ask.attempt, missing);
        let again = asks(&mut course, T0, &mut servers);
        let before = servers.server(ask.server).expect("known").counts.opened;
        assert_eq!(before, 0, "in round {round}");
        servers.handle_signed(T0, again.server, MS);
        course.handle_signature(T0, again.attempt, &mut servers);
    }
    let mut twice = course();
    for _ in 0..2 {
        let ask = asks(&mut twice, T0, &mut servers);
        twice.handle_failure(ask.attempt, missing);
    }
    let error = fails(&mut twice, T0, &mut servers);
    assert_eq!(error, SignError::Refused(ErrorCode::KeyNotFound));
}

#[test]
fn five_times_without_a_key_that_another_has_is_the_server_s_fault() {
    let (mut servers, [one, other]) = servers(AskConfig::default());
    for n in 0..5 {
        let state = servers.server(one).expect("known").state;
        assert_eq!(state, BreakerState::Closed, "after {n}");
        let (mut course, first) = loop {
            let mut course = course();
            let ask = asks(&mut course, T0, &mut servers);
            if ask.server == one {
                break (course, ask);
            }
        };
        course.handle_failure(first.attempt, Failure::Refused(ErrorCode::KeyNotFound));
        let again = asks(&mut course, T0, &mut servers);
        assert_eq!(again.server, other);
        course.handle_signature(T0, again.attempt, &mut servers);
    }
    assert_eq!(
        servers.server(one).expect("known").state,
        BreakerState::Open
    );
    assert_eq!(
        servers.server(other).expect("known").state,
        BreakerState::Closed
    );
}

#[test]
fn a_lie_goes_to_another_and_ends_where_there_is_none() {
    let (mut servers, [_, _]) = servers(AskConfig::default());
    let mut course = course();
    for _ in 0..2 {
        let ask = asks(&mut course, T0, &mut servers);
        servers.handle_lie(T0, ask.server);
        course.handle_failure(ask.attempt, Failure::Lie);
    }
    assert_eq!(fails(&mut course, T0, &mut servers), SignError::NoServer);
    assert_eq!(stats(&servers).bad_signatures, 2);
}

#[test]
fn what_cannot_be_sent_is_not_asked_again() {
    let (mut servers, [_, _]) = servers(AskConfig::default());
    let mut course = course();
    let ask = asks(&mut course, T0, &mut servers);
    course.handle_failure(ask.attempt, Failure::Unsendable(SignError::BadRequest));
    assert_eq!(fails(&mut course, T0, &mut servers), SignError::BadRequest);
}

#[test]
fn a_failure_of_what_was_not_asked_is_passed_over() {
    let (mut servers, [_]) = servers(AskConfig::default());
    let mut course = course();
    asks(&mut course, T0, &mut servers);
    course.handle_failure(1, Failure::Lost);
    course.handle_failure(200, Failure::Lost);
    assert_eq!(waits(&mut course, T0, &mut servers), T0 + 1_000 * MS);
}

#[test]
fn retries_end_with_their_budget() {
    let ask = AskConfig::default().retry_percent(50).retry_reserve(1);
    let (mut servers, [_, _]) = servers(ask);
    let mut retried = Vec::new();
    for _ in 0..6 {
        let mut course = course();
        let ask = asks(&mut course, T0, &mut servers);
        course.handle_failure(ask.attempt, Failure::Lost);
        match course.poll(T0, &mut servers) {
            Step::Ask(_) => retried.push(true),
            Step::Fail(error) => {
                assert_eq!(error, SignError::NoServer);
                retried.push(false);
            }
            Step::Wait(until) => panic!("{until:?}"),
        }
    }
    assert_eq!(retried, [true, false, true, false, true, false]);
    assert_eq!(stats(&servers).retries_denied, 3);
}

#[test]
fn a_hedge_comes_after_what_most_take_and_not_before() {
    let (mut servers, ids) = servers::<2>(AskConfig::default());
    know(&mut servers, &ids, 20 * MS);
    let mut course = course();
    let first = asks(&mut course, T0, &mut servers);
    let hedge_at = waits(&mut course, T0, &mut servers);
    let after = hedge_at.since(T0);
    assert!(after >= 20 * MS && after < 24 * MS, "{after:?}");
    let before = hedge_at - Duration::from_nanos(1);
    assert_eq!(waits(&mut course, before, &mut servers), hedge_at);
    let hedge = asks(&mut course, hedge_at, &mut servers);
    assert_ne!(hedge.server, first.server);
    assert!(course.is_hedge(hedge.attempt) && !course.is_hedge(first.attempt));
    assert_eq!(waits(&mut course, hedge_at, &mut servers), first.slow_at);
    course.handle_signature(hedge_at, hedge.attempt, &mut servers);
    let counted = stats(&servers);
    assert_eq!(
        (counted.hedges, counted.hedges_won, counted.retries),
        (1, 1, 0)
    );
}

#[test]
fn fast_servers_are_hedged_after_the_floor() {
    let (mut servers, ids) = servers::<2>(AskConfig::default());
    know(&mut servers, &ids, Duration::from_micros(100));
    let mut course = course();
    asks(&mut course, T0, &mut servers);
    assert_eq!(waits(&mut course, T0, &mut servers), T0 + 5 * MS);
}

#[test]
fn nothing_is_hedged_without_another_server_without_latencies_or_if_turned_off() {
    let off = AskConfig::default().hedge_percent(0);
    let (mut alone, [id]) = servers(AskConfig::default());
    know(&mut alone, &[id], MS);
    let (mut off, ids) = servers::<2>(off);
    know(&mut off, &ids, MS);
    let (mut unknown, [_, _]) = servers(AskConfig::default());
    for (servers, wait) in [
        (&mut alone, 1_000 * MS),
        (&mut off, 300 * MS),
        (&mut unknown, 300 * MS),
    ] {
        let mut course = course();
        asks(&mut course, T0, servers);
        assert_eq!(waits(&mut course, T0, servers), T0 + wait);
    }
}

#[test]
fn hedges_end_with_their_budget() {
    let (mut servers, ids) = servers::<2>(AskConfig::default());
    know(&mut servers, &ids, MS);
    let mut hedged = 0;
    for _ in 0..1_000 {
        let mut course = course();
        asks(&mut course, T0, &mut servers);
        let at = waits(&mut course, T0, &mut servers);
        hedged += u64::from(matches!(course.poll(at, &mut servers), Step::Ask(_)));
    }
    // A twentieth of them, and the sixteen of the start.
    assert!((60..=66).contains(&hedged), "{hedged}");
    let counted = stats(&servers);
    assert_eq!(
        (counted.hedges, counted.hedges_denied),
        (hedged, 1_000 - hedged)
    );
}

#[test]
fn a_request_that_was_retried_is_not_hedged() {
    let (mut servers, ids) = servers::<3>(AskConfig::default());
    know(&mut servers, &ids, MS);
    let mut course = course();
    let ask = asks(&mut course, T0, &mut servers);
    course.handle_failure(ask.attempt, Failure::Lost);
    asks(&mut course, T0, &mut servers);
    assert_eq!(waits(&mut course, T0, &mut servers), T0 + 5 * MS);
    assert_eq!(waits(&mut course, T0 + 5 * MS, &mut servers), T0 + 300 * MS);
    assert_eq!(stats(&servers).hedges, 0);
}

#[test]
fn a_refusal_of_one_does_not_end_what_another_may_answer() {
    let (mut servers, ids) = servers::<2>(AskConfig::default());
    know(&mut servers, &ids, MS);
    let mut course = course();
    let first = asks(&mut course, T0, &mut servers);
    let hedge = asks(&mut course, T0 + 5 * MS, &mut servers);
    course.handle_failure(first.attempt, Failure::Refused(ErrorCode::Crypto));
    assert_eq!(waits(&mut course, T0 + 6 * MS, &mut servers), hedge.slow_at);
    course.handle_failure(hedge.attempt, Failure::Refused(ErrorCode::Format));
    let refused = SignError::Refused(ErrorCode::Format);
    assert_eq!(fails(&mut course, T0 + 7 * MS, &mut servers), refused);
}
