use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::question::{emit_error, emit_pong, emit_signature};
use crate::wire::{ErrorCode, Opcode};

const T0: Instant = Instant::ZERO;
const T1: Instant = Instant::from_nanos(1);
const T2: Instant = Instant::from_nanos(2);

fn ping() -> Items<'static> {
    Items {
        opcode: Opcode::PING,
        payload: b"hello",
        ..Items::default()
    }
}

/// Asks, to be answered before T1 and not waited for after T2.
fn ask(connection: &mut Multiplexer<u32>, waiter: u32) -> u32 {
    let asked = connection.ask(T0, T1, T2, &ping(), waiter);
    asked.expect("there is room")
}

fn pong(id: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit_pong(id, b"hello", &mut bytes);
    bytes
}

/// Who is told of an answer to those questions.
fn told(connection: &mut Multiplexer<u32>, bytes: &[u8]) -> Vec<u32> {
    let mut told = Vec::new();
    let taken = connection.handle_input(bytes, |answered| told.push(answered.waiter));
    taken.expect("frames");
    told
}

fn overdue(connection: &mut Multiplexer<u32>, now: Instant) -> Vec<Overdue<u32>> {
    let mut overdue = Vec::new();
    connection.handle_timeout(now, |one| overdue.push(one));
    overdue
}

#[test]
fn answers_in_any_order_reach_who_asked() {
    let mut connection = Multiplexer::new(8);
    let ids: Vec<_> = (10..15).map(|who| ask(&mut connection, who)).collect();
    assert_eq!(connection.unanswered(), 5);
    for (who, id) in (10..15).zip(&ids).rev() {
        assert_eq!(told(&mut connection, &pong(*id)), [who]);
    }
    assert_eq!(connection.unanswered(), 0);
    assert_eq!(connection.take_strays(), Strays::default());
}

#[test]
fn each_kind_of_answer_is_read() {
    let mut connection = Multiplexer::new(8);
    let ids: Vec<_> = (0..3).map(|who| ask(&mut connection, who)).collect();
    let mut bytes = Vec::new();
    emit_signature(ids[0], b"signed", &mut bytes);
    emit_error(ids[1], ErrorCode::Internal, &mut bytes);
    emit_pong(ids[2], b"hello", &mut bytes);
    let mut answers = 0;
    let taken = connection.handle_input(&bytes, |Answered { waiter, answer, .. }| {
        let expected = match waiter {
            0 => Answer::Signature(b"signed"),
            1 => Answer::Refused(ErrorCode::Internal),
            _ => Answer::Pong(b"hello"),
        };
        assert_eq!(answer, expected);
        answers += 1;
    });
    assert_eq!((taken, answers), (Ok(()), 3));
}

#[test]
fn a_second_answer_and_one_to_nothing_are_counted_and_dropped() {
    let mut connection = Multiplexer::new(8);
    let id = ask(&mut connection, 1);
    assert_eq!(told(&mut connection, &pong(id)), [1]);
    assert!(told(&mut connection, &pong(id)).is_empty());
    assert!(told(&mut connection, &pong(id + 8)).is_empty());
    let Strays { late, unknown } = connection.take_strays();
    assert_eq!((late, unknown), (0, 2));
    assert_eq!(connection.take_strays(), Strays::default());
}

#[test]
fn an_answer_for_the_same_place_and_another_id_is_not_taken_for_it() {
    let mut connection = Multiplexer::new(8);
    let id = ask(&mut connection, 1);
    assert!(told(&mut connection, &pong(id.wrapping_sub(8))).is_empty());
    assert_eq!(told(&mut connection, &pong(id)), [1]);
}

#[test]
fn what_is_overdue_is_told_once_and_its_answer_is_late() {
    let mut connection = Multiplexer::new(8);
    let id = ask(&mut connection, 7);
    assert_eq!(connection.poll_timeout(), Some(T1));
    assert_eq!(overdue(&mut connection, T0), []);
    assert_eq!(overdue(&mut connection, T1), [Overdue::Slow { asked: T0 }]);
    assert_eq!(overdue(&mut connection, T1), []);
    assert_eq!(connection.poll_timeout(), Some(T2));
    assert_eq!(connection.abandoned(), 0);
    assert_eq!(overdue(&mut connection, T2), [Overdue::Expired(7)]);
    assert_eq!(overdue(&mut connection, Instant::MAX), []);
    assert_eq!(connection.poll_timeout(), None);
    assert_eq!((connection.unanswered(), connection.abandoned()), (1, 1));
    assert!(told(&mut connection, &pong(id)).is_empty());
    assert_eq!((connection.unanswered(), connection.abandoned()), (0, 0));
    let Strays { late, unknown } = connection.take_strays();
    assert_eq!((late, unknown), (1, 0));
}

#[test]
fn a_slow_answer_is_still_waited_for() {
    let mut connection = Multiplexer::new(8);
    let id = ask(&mut connection, 7);
    assert_eq!(overdue(&mut connection, T1).len(), 1);
    assert_eq!(told(&mut connection, &pong(id)), [7]);
}

#[test]
fn both_come_due_at_once_the_slowness_first() {
    let mut connection = Multiplexer::new(8);
    ask(&mut connection, 7);
    let both = [Overdue::Slow { asked: T0 }, Overdue::Expired(7)];
    assert_eq!(overdue(&mut connection, T2), both);
}

#[test]
fn a_full_window_gives_the_waiter_back_and_the_unanswered_keep_their_place() {
    let mut connection = Multiplexer::new(3);
    let ids: Vec<_> = (0..3).map(|who| ask(&mut connection, who)).collect();
    assert!(!connection.has_room());
    let written = connection.output().len();
    let full = connection.ask(T0, T1, T2, &ping(), 9);
    assert_eq!(full, Err(Unasked::Full(9)));
    assert_eq!(connection.output().len(), written);
    overdue(&mut connection, T2);
    assert!(!connection.has_room(), "abandoned, and not answered");
    told(&mut connection, &pong(ids[1]));
    assert!(connection.has_room());
    let id = ask(&mut connection, 4);
    assert!(!ids.contains(&id));
}

#[test]
fn what_does_not_fit_is_given_back_and_leaves_no_trace() {
    let mut connection = Multiplexer::new(3);
    let long = vec![0; 70_000];
    let items = Items {
        payload: &long,
        ..ping()
    };
    let refused = connection.ask(T0, T1, T2, &items, 9);
    assert_eq!(refused, Err(Unasked::TooLong(9)));
    assert_eq!((connection.unanswered(), connection.output().len()), (0, 0));
    assert_eq!(ask(&mut connection, 1), 0);
}

#[test]
fn ids_go_on_past_the_last() {
    let mut connection = Multiplexer::new(4).starting_at(u32::MAX - 1);
    let ids: Vec<_> = (0..4).map(|who| ask(&mut connection, who)).collect();
    assert_eq!(ids, [u32::MAX - 1, u32::MAX, 0, 1]);
    for (who, id) in (0..).zip(ids) {
        assert_eq!(told(&mut connection, &pong(id)), [who]);
    }
}

#[test]
fn an_id_whose_answer_may_still_come_is_passed_over() {
    let mut connection = Multiplexer::new(4);
    let stuck = ask(&mut connection, 100);
    for who in 0..20 {
        let id = ask(&mut connection, who);
        assert_ne!(id % 4, stuck % 4);
        assert_eq!(told(&mut connection, &pong(id)), [who]);
    }
    assert_eq!(told(&mut connection, &pong(stuck)), [100]);
}

#[test]
fn the_window_is_at_least_one_and_at_most_65_536() {
    let mut connection = Multiplexer::new(0);
    ask(&mut connection, 1);
    assert!(!connection.has_room());
    let mut connection = Multiplexer::new(usize::MAX);
    (0..65_536).for_each(|who| {
        ask(&mut connection, who);
    });
    assert!(!connection.has_room());
}

#[test]
fn what_is_written_is_not_written_again() {
    let mut connection = Multiplexer::new(256);
    (0..256).for_each(|who| {
        ask(&mut connection, who);
    });
    let all = connection.output().to_vec();
    assert_eq!(all.len(), 256 * 1_024);
    let mut written = Vec::new();
    for step in [1, 1_000, 65_535, 65_536, 100_000, usize::MAX] {
        let some = step.min(connection.output().len());
        written.extend_from_slice(&connection.output()[..some]);
        connection.handle_written(some);
    }
    assert!(written == all && connection.output().is_empty());
    ask_more(&mut connection);
}

fn ask_more(connection: &mut Multiplexer<u32>) {
    told(connection, &pong(0));
    ask(connection, 1);
    assert_eq!(connection.output().len(), 1_024);
}

#[test]
fn when_a_connection_ends_those_who_still_wait_are_told() {
    let mut connection = Multiplexer::new(8);
    let answered = ask(&mut connection, 1);
    told(&mut connection, &pong(answered));
    ask(&mut connection, 2);
    overdue(&mut connection, T2);
    ask(&mut connection, 3);
    assert_eq!(connection.take_waiters().collect::<Vec<_>>(), [3]);
    assert_eq!((connection.unanswered(), connection.abandoned()), (0, 0));
    assert_eq!(connection.take_waiters().count(), 0);
}

#[test]
fn what_is_no_frame_is_an_error() {
    let mut connection = Multiplexer::<u32>::new(8);
    let garbage = [1, 0, 0, 3, 0, 0, 0, 1, 0x11, 0, 9];
    assert!(connection.handle_input(&garbage, |_| ()).is_err());
}

proptest! {
    /// However the bytes are cut, and in whatever order the answers come.
    #[test]
    fn every_answer_reaches_its_own_however_the_bytes_are_cut(
        order in Just((0..40_u32).collect::<Vec<_>>()).prop_shuffle(),
        cut in 1..3_000_usize,
        first in any::<u32>(),
    ) {
        let mut connection = Multiplexer::new(40).starting_at(first);
        let ids: Vec<_> = order.iter().map(|who| ask(&mut connection, *who)).collect();
        let by_id: HashMap<_, _> = ids.iter().zip(&order).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        let bytes: Vec<u8> = sorted.iter().flat_map(|id| pong(*id)).collect();
        let mut got = Vec::new();
        for chunk in bytes.chunks(cut) {
            got.extend(told(&mut connection, chunk));
        }
        let expected: Vec<_> = sorted.iter().map(|id| *by_id[id]).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(connection.unanswered(), 0);
    }
}
