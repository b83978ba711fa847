//! Questions, answers, time and garbage in any order: an answer reaches who asked, once, or nobody.
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use lb_keyserver::client::{Answered, Multiplexer, Overdue, Unasked};
use lb_keyserver::question::{Answer, emit_error, emit_pong, emit_signature};
use lb_keyserver::wire::{ErrorCode, Items, Opcode};
use lbcore::Instant;
use libfuzzer_sys::fuzz_target;

/// What is known of a question that is not answered.
struct Question {
    waiter: u64,
    slow_at: Instant,
    deadline: Instant,
    is_slow: bool,
    is_waited_for: bool,
}

fuzz_target!(|bytes: &[u8]| {
    let mut steps = bytes.iter().copied();
    let mut step = || steps.next();
    let window = usize::from(step().unwrap_or(0) % 16) + 1;
    let near_the_end = step().unwrap_or(0) % 2 == 0;
    let first = if near_the_end { u32::MAX - 8 } else { 0 };
    let mut connection = Multiplexer::new(window).starting_at(first);
    let mut open: BTreeMap<u32, Question> = BTreeMap::new();
    let mut now = Instant::ZERO;
    let mut waiters = 0;
    let (mut late, mut unknown) = (0, 0);
    let mut unwritten = 0;

    while let Some(kind) = step() {
        let argument = step().unwrap_or(0);
        match kind % 7 {
            0 | 1 => {
                let payload = [argument; 300];
                let payload = &payload[..usize::from(argument)];
                let items = Items {
                    opcode: Opcode::ED25519,
                    payload,
                    ..Items::default()
                };
                let slow_at = now + Duration::from_nanos((argument % 16).into());
                let deadline = now + Duration::from_nanos((argument / 16).into());
                waiters += 1;
                match connection.ask(now, slow_at, deadline, &items, waiters) {
                    Ok(id) => {
                        unwritten += 1_024;
                        let question = Question {
                            waiter: waiters,
                            slow_at,
                            deadline,
                            is_slow: false,
                            is_waited_for: true,
                        };
                        assert!(open.insert(id, question).is_none(), "an id that is in use");
                    }
                    Err(Unasked::Full(waiter)) => {
                        assert_eq!((waiter, open.len()), (waiters, window));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            2 | 3 => {
                // To one that is open, or to any other.
                let place = usize::from(argument) % open.len().max(1);
                let id = match open.keys().nth(place) {
                    Some(id) if kind % 7 == 2 => *id,
                    _ => u32::from(argument).wrapping_sub(16),
                };
                let answer = answer(id, argument);
                let cut = usize::from(argument) % answer.len();
                let mut told = Vec::new();
                for part in [&answer[..cut], &answer[cut..]] {
                    let taken =
                        connection.handle_input(part, |Answered { waiter, answer, .. }| {
                            assert_ne!(answer, Answer::Unknown);
                            told.push(waiter);
                        });
                    assert!(taken.is_ok());
                }
                match open.remove(&id) {
                    None => unknown += 1,
                    Some(Question {
                        is_waited_for: false,
                        ..
                    }) => late += 1,
                    Some(Question { waiter, .. }) => assert_eq!(told.pop(), Some(waiter)),
                }
                assert!(told.is_empty(), "nobody else is told");
            }
            4 => {
                now += Duration::from_nanos(argument.into());
                let mut slow = 0;
                let mut expired = Vec::new();
                connection.handle_timeout(now, |overdue| match overdue {
                    Overdue::Slow { .. } => slow += 1,
                    Overdue::Expired(waiter) => expired.push(waiter),
                });
                for question in open.values_mut() {
                    if !question.is_slow && question.slow_at <= now {
                        question.is_slow = true;
                        slow -= 1;
                    }
                    if question.is_waited_for && question.deadline <= now {
                        question.is_waited_for = false;
                        let place = expired.iter().position(|one| *one == question.waiter);
                        expired.swap_remove(place.expect("is told of"));
                    }
                }
                assert!(slow == 0 && expired.is_empty());
                assert!(connection.poll_timeout().is_none_or(|at| at > now));
            }
            5 => {
                let written = usize::from(argument).pow(2).min(connection.output().len());
                connection.handle_written(written);
                unwritten -= written;
            }
            _ => {
                // Bytes that mean nothing: at worst an end.
                let garbage: Vec<_> = (0..argument % 32).map_while(|_| step()).collect();
                let mut told = Vec::new();
                let taken =
                    connection.handle_input(&garbage, |answered| told.push(answered.waiter));
                let left: Vec<_> = connection.take_waiters().collect();
                for waiter in told.into_iter().chain(left) {
                    let id = open
                        .iter()
                        .find(|(_, one)| one.waiter == waiter && one.is_waited_for);
                    let id = *id.expect("was waiting").0;
                    open.remove(&id);
                }
                assert!(open.values().all(|one| !one.is_waited_for));
                let _ = taken;
                return;
            }
        }
        assert_eq!(connection.unanswered(), open.len());
        assert_eq!(connection.has_room(), open.len() < window);
        let abandoned = open.values().filter(|one| !one.is_waited_for).count();
        assert_eq!(connection.abandoned(), abandoned);
        assert_eq!(connection.output().len(), unwritten);
    }
    let strays = connection.take_strays();
    assert_eq!((strays.late, strays.unknown), (late, unknown));
});

fn answer(id: u32, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind % 3 {
        0 => emit_pong(id, b"", &mut bytes),
        1 => emit_error(id, ErrorCode::from_byte(kind), &mut bytes),
        _ => emit_signature(id, &[kind; 64], &mut bytes),
    }
    bytes
}
