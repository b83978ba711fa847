use super::*;
use crate::Ticket;
use crate::flow::Protocol;
use crate::session::{ChangeStream, Limits, WhenFull};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn table(change: impl Fn(&mut SessionConfig)) -> Table {
    let mut config = SessionConfig {
        v4: Limits::of(1_000),
        v6: Limits::of(1_000),
        ..SessionConfig::default()
    };
    change(&mut config);
    Table::new(config, HashKey::from_seed(1)).unwrap()
}

fn tcp(n: u16) -> FlowKey {
    let source = ([192, 0, 2, 1], n).into();
    FlowKey::new(Protocol::Tcp, source, ([203, 0, 113, 1], 80).into())
}

fn tcp6(n: u16) -> FlowKey {
    let address = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
    FlowKey::new(Protocol::Tcp, (address, n).into(), (address, 80).into())
}

fn binding(n: u64) -> Binding {
    Ticket::from_bits(n).into()
}

fn put(table: &mut Table, now: Instant, n: u16, state: State) -> SessionId {
    let put = table.insert(now, &tcp(n), state, binding(n.into()));
    put.unwrap()
}

/// Ports of the sessions given up, in order.
fn collect(table: &mut Table) -> Vec<u16> {
    std::iter::from_fn(|| table.poll_expired())
        .map(|expired| expired.session.key.source.port())
        .collect()
}

fn changes(table: &mut Table) -> Vec<Change> {
    std::iter::from_fn(|| table.poll_change()).collect()
}

#[test]
fn a_session_ends_between_its_timeout_and_two_ticks_after_it() {
    let mut table = table(|_| {});
    for offset in [0, 1, TICK / 2, TICK - 1] {
        let now = table.ticks.ago(0) + 5 * SECOND + Duration::from_nanos(offset);
        put(&mut table, now, 1, State::Closed);
        let end = now + 10 * SECOND;
        table.handle_timeout(end - Duration::from_nanos(1), 9);
        assert_eq!(collect(&mut table), [], "too early");
        table.handle_timeout(end + Duration::from_nanos(2 * TICK), 9);
        assert_eq!(collect(&mut table), [1], "too late");
    }
}

#[test]
fn a_touch_puts_the_end_off_and_moves_no_timer() {
    let mut table = table(|_| {});
    let id = put(&mut table, Instant::ZERO, 1, State::Established);
    let armed = table.poll_timeout();
    let touched = Instant::ZERO + 800 * SECOND;
    let touch = table.touch(touched, id, |state| state).unwrap();
    assert_eq!(
        (touch.before, touch.after),
        (State::Established, State::Established)
    );
    let looked_at = armed.map(|armed| armed.max(table.ticks.ago(0)));
    assert_eq!(table.poll_timeout(), looked_at);
    table.handle_timeout(touched + 899 * SECOND, 9);
    assert_eq!(collect(&mut table), []);
    table.handle_timeout(touched + 901 * SECOND, 9);
    assert_eq!(collect(&mut table), [1]);
}

#[test]
fn a_shorter_timeout_holds_at_once() {
    let mut table = table(|_| {});
    let id = put(&mut table, Instant::ZERO, 1, State::Established);
    table.touch(Instant::ZERO, id, |_| State::Closed);
    table.handle_timeout(Instant::ZERO + 11 * SECOND, 9);
    assert_eq!(collect(&mut table), [1]);
}

#[test]
fn another_profile_holds_at_once_and_an_unknown_one_is_the_first() {
    let short = Timeouts {
        established: SECOND,
        ..Timeouts::default()
    };
    let mut table = table(|config| config.timeouts.push(short.clone()));
    assert_eq!(table.timeout(State::Established, 1), SECOND);
    assert_eq!(table.timeout(State::Established, 2), 900 * SECOND);
    for (n, profile) in [(1, 1), (2, 2)] {
        let id = put(&mut table, Instant::ZERO, n, State::Established);
        let other = Binding {
            profile,
            ..binding(7)
        };
        assert_eq!(
            table.rebind(Instant::ZERO, id, other),
            Some(binding(n.into()))
        );
    }
    table.handle_timeout(Instant::ZERO + 2 * SECOND, 9);
    assert_eq!(collect(&mut table), [1]);
}

#[test]
fn a_jump_of_any_length_ends_all_and_breaks_nothing() {
    let jumps = [
        3 * YEAR,
        9 * YEAR,
        10 * YEAR,
        100 * YEAR,
        584 * YEAR,
        Duration::MAX,
    ];
    for jump in jumps {
        let mut table = table(|_| {});
        let mut now = Instant::ZERO + 3 * SECOND;
        put(&mut table, now, 1, State::Established);
        now += jump;
        let late = put(&mut table, now, 2, State::Established);
        while table.poll_timeout().is_some_and(|next| next <= now) {
            table.handle_timeout(now, 1);
        }
        assert_eq!(collect(&mut table), [1], "{jump:?}");
        // Back in time is the same time.
        table.touch(Instant::ZERO, late, |state| state);
        table.handle_timeout(Instant::ZERO, 9);
        assert_eq!(table.len(), 1, "{jump:?}");
        if now < Instant::MAX - YEAR {
            table.handle_timeout(now + 901 * SECOND, 9);
            assert_eq!(collect(&mut table), [2], "{jump:?}");
        }
    }
}

#[test]
fn jumps_without_a_turn_of_the_wheel_stop_the_clock_rather_than_wrap_it() {
    let mut table = table(|_| {});
    let mut now = Instant::ZERO;
    let idle = put(&mut table, now, 1, State::Established);
    let busy = put(&mut table, now, 2, State::Established);
    for _ in 0..20 {
        now += 2 * YEAR;
        table.touch(now, busy, |state| state);
    }
    table.handle_timeout(now, 100);
    assert_eq!(collect(&mut table), [1]);
    assert_eq!(table.session(idle), None);
    assert!(table.session(busy).is_some());
    now += 2 * SECOND;
    table.handle_timeout(now, 100);
    assert_eq!(table.len(), 1);
    table.handle_timeout(now + 901 * SECOND, 100);
    assert_eq!(collect(&mut table), [2]);
}

#[test]
fn a_session_that_is_touched_lives_on_while_its_4_bytes_of_time_wrap() {
    let mut table = table(|_| {});
    let mut now = Instant::ZERO;
    let id = put(&mut table, now, 1, State::Established);
    while now < Instant::ZERO + 20 * YEAR {
        now += 800 * SECOND;
        table.handle_timeout(now, 4);
        assert!(table.touch(now, id, |state| state).is_some(), "{now:?}");
    }
    table.handle_timeout(now + 901 * SECOND, 4);
    assert_eq!(collect(&mut table), [1]);
}

#[test]
fn an_adopted_session_ends_as_if_it_had_always_been_here() {
    let mut table = table(|config| config.changes = ChangeStream::All);
    let now = Instant::ZERO + 5_000 * SECOND;
    for (n, idle) in [(1, 890 * SECOND), (2, Duration::ZERO), (3, Duration::MAX)] {
        let put = table.adopt(now, &tcp(n), State::Established, binding(0), idle);
        let seen = table.session(put.unwrap()).unwrap().seen;
        assert!(now.since(seen) <= idle.saturating_add(SECOND).min(901 * SECOND));
    }
    assert_eq!(changes(&mut table), []);
    table.handle_timeout(now, 9);
    assert_eq!(collect(&mut table), [3]);
    table.handle_timeout(now + 11 * SECOND, 9);
    assert_eq!(collect(&mut table), [1]);
    assert_eq!(changes(&mut table), []);
    let id = table.lookup(&tcp(2)).unwrap();
    table.touch(now, id, |_| State::CloseWait);
    assert!(matches!(changes(&mut table)[..], [Change::Created(_)]));
}

#[test]
fn a_clock_younger_than_an_adopted_session_is_no_trouble() {
    let mut table = table(|_| {});
    let put = table.adopt(
        Instant::ZERO,
        &tcp(1),
        State::Established,
        binding(0),
        600 * SECOND,
    );
    assert!(put.is_ok());
    table.handle_timeout(Instant::ZERO + 299 * SECOND, 9);
    assert_eq!(table.len(), 1);
    table.handle_timeout(Instant::ZERO + 301 * SECOND, 9);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_storm_is_shared_between_the_families() {
    let mut table = table(|_| {});
    for n in 0..40 {
        put(&mut table, Instant::ZERO, n, State::Closed);
        let put = table.insert(Instant::ZERO, &tcp6(n), State::Closed, binding(0));
        assert!(put.is_ok());
    }
    let late = Instant::ZERO + 60 * SECOND;
    let lens = |table: &Table| (table.v4.stats.sessions, table.v6.stats.sessions);
    table.handle_timeout(late, 0);
    assert_eq!(lens(&table), (40, 40));
    table.handle_timeout(late, 11);
    assert_eq!(lens(&table), (34, 35));
    while table.v6.stats.sessions > 0 {
        table.handle_timeout(late, 10);
    }
    let (left, _) = lens(&table);
    table.handle_timeout(late, 4);
    assert_eq!(lens(&table), (left.saturating_sub(4), 0));
}

#[test]
fn ends_that_nobody_reads_take_the_spare_slots_and_no_more() {
    let mut table = table(|config| {
        config.v4 = Limits {
            sessions: 100,
            embryonic: 1,
        };
        config.changes = ChangeStream::All;
    });
    let slots = 100 + 100 / 16 + 64;
    assert_eq!(table.v4.slots(), slots);
    let ids: Vec<_> = (0..100)
        .map(|n| put(&mut table, Instant::ZERO, n, State::Established))
        .collect();
    assert_eq!(changes(&mut table).len(), 100);
    for id in ids {
        assert!(table.remove(Instant::ZERO, id).is_some());
    }
    // The ends of 100 are untold; 70 slots are left, and 30 of the ends must go.
    for n in 100..200 {
        put(&mut table, Instant::ZERO, n, State::Established);
    }
    assert_eq!(table.stats().lost, 30);
    let told = changes(&mut table);
    assert_eq!(told[0], Change::Lost(30));
    let gone = told.iter().filter_map(|change| match change {
        Change::Gone(session) => Some(session.key.source.port()),
        _ => None,
    });
    assert_eq!(
        gone.collect::<Vec<_>>(),
        (30..100).collect::<Vec<_>>(),
        "the oldest are lost"
    );
    assert_eq!(told.len(), 1 + 70 + 100);
    assert_eq!(table.stats().sessions, 100);
}

#[test]
fn tickets_that_nobody_collects_stop_new_sessions_and_are_not_lost() {
    let mut table = table(|config| {
        config.v4 = Limits {
            sessions: 1,
            embryonic: 1,
        }
    });
    for n in 0..=64 {
        put(&mut table, Instant::ZERO, n, State::SynSent);
    }
    let refused = table.insert(Instant::ZERO, &tcp(65), State::SynSent, binding(0));
    assert_eq!(refused, Err(SessionRefusal::Backlog));
    assert!(
        table.lookup(&tcp(64)).is_some(),
        "nobody gave way for a session that was refused"
    );
    assert_eq!(collect(&mut table), (0..64).collect::<Vec<_>>());
    put(&mut table, Instant::ZERO, 65, State::SynSent);
    assert_eq!(table.stats().refused_backlog, 1);
}

#[test]
fn an_end_that_was_told_before_its_ticket_was_collected_frees_the_slot_once() {
    let mut table = table(|config| {
        config.v4 = Limits {
            sessions: 1,
            embryonic: 1,
        };
        config.changes = ChangeStream::All;
    });
    for n in 0..1_000 {
        put(&mut table, Instant::ZERO, n, State::SynSent);
        let told = changes(&mut table);
        assert_eq!(told.len(), if n == 0 { 1 } else { 2 });
        if n % 2 == 0 {
            collect(&mut table);
        }
    }
    assert!(table.v4.used_slots() <= 4, "{}", table.v4.used_slots());
    assert_eq!(table.stats().lost, 0);
}

#[test]
fn an_end_that_is_told_after_its_ticket_was_collected_frees_the_slot_once() {
    let mut table = table(|config| {
        config.v4 = Limits {
            sessions: 1,
            embryonic: 1,
        };
        config.changes = ChangeStream::All;
    });
    for n in 0..1_000 {
        put(&mut table, Instant::ZERO, n, State::SynSent);
        assert_eq!(collect(&mut table).len(), usize::from(n > 0));
        assert_eq!(changes(&mut table).len(), if n == 0 { 1 } else { 2 });
    }
    assert!(table.v4.used_slots() <= 4, "{}", table.v4.used_slots());
    assert_eq!(table.stats().lost, 0);
}

#[test]
fn a_walk_looks_at_no_more_than_it_may_of_both_families_together() {
    let mut table = table(|_| {});
    for n in 0..6 {
        put(&mut table, Instant::ZERO, n, State::SynSent);
        let put = table.insert(Instant::ZERO, &tcp6(n), State::SynSent, binding(0));
        assert!(put.is_ok());
    }
    let mut shown = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        let mut calls = 0;
        cursor = table.walk(from, 4, |_, _| calls += 1);
        shown.push(calls);
    }
    assert_eq!(shown, [4, 4, 4]);
}

#[test]
fn refusals_are_counted_by_reason() {
    let mut table = table(|config| {
        config.v4 = Limits {
            sessions: 2,
            embryonic: 1,
        };
        config.when_full = WhenFull::Refuse;
    });
    put(&mut table, Instant::ZERO, 1, State::SynSent);
    let mut refuse = |key: FlowKey, state| {
        let put = table.insert(Instant::ZERO, &key, state, binding(0));
        put.unwrap_err()
    };
    assert_eq!(refuse(tcp(1), State::SynSent), SessionRefusal::Present);
    assert_eq!(refuse(tcp(2), State::UdpNew), SessionRefusal::WrongProtocol);
    let mixed = FlowKey {
        destination: tcp6(1).destination,
        ..tcp(2)
    };
    assert_eq!(refuse(mixed, State::SynSent), SessionRefusal::MixedFamilies);
    assert_eq!(
        refuse(tcp(2), State::SynSent),
        SessionRefusal::EmbryonicFull
    );
    put(&mut table, Instant::ZERO, 2, State::Established);
    let full = table.adopt(
        Instant::ZERO,
        &tcp(3),
        State::Established,
        binding(0),
        SECOND,
    );
    assert_eq!(full, Err(SessionRefusal::Full));
    let stats = table.stats();
    let refused = [
        stats.refused_misused,
        stats.refused_embryonic,
        stats.refused_full,
    ];
    assert_eq!(refused, [3, 1, 1]);
    assert_eq!(table.lookup(&mixed), None);
}

#[test]
fn slots_number_the_sessions_of_both_families_without_a_gap() {
    let mut table = table(|_| {});
    let v4 = put(&mut table, Instant::ZERO, 1, State::SynSent);
    let v6 = table
        .insert(Instant::ZERO, &tcp6(1), State::SynSent, binding(0))
        .unwrap();
    let half = 1_000 + 1_000 / 16 + 64;
    assert_eq!(table.slots(), 2 * half);
    assert_eq!((table.slot(v4), table.slot(v6)), (0, half));
}

#[test]
fn at_any_limit_a_session_takes_at_most_96_bytes_and_128() {
    // Just above three quarters of a power of two, the index is at its emptiest.
    for sessions in [
        65_536, 98_304, 98_305, 98_310, 100_000, 131_072, 786_429, 786_433,
    ] {
        let table = table(|config| {
            config.v4 = Limits::of(sessions);
            config.v6 = Limits::of(sessions);
        });
        let memory = table.memory();
        let of_one = [memory.v4, memory.v6].map(|bytes| bytes.div_ceil(sessions));
        assert!(
            of_one[0] <= 96 && of_one[1] <= 128,
            "{of_one:?} at {sessions}"
        );
    }
}

const TICK: u64 = crate::session::ticks::TICK;

#[test]
fn a_slot_names_the_session_that_lives_in_it_of_either_family() {
    let mut table = table(|_| {});
    let now = Instant::ZERO;
    let v4 = put(&mut table, now, 1, State::SynSent);
    let v6 = table
        .insert(now, &tcp6(2), State::Established, binding(9))
        .unwrap();
    for (id, flow, state, bound) in [
        (v4, tcp(1), State::SynSent, binding(1)),
        (v6, tcp6(2), State::Established, binding(9)),
    ] {
        let slot = table.slot(id);
        assert_eq!(table.at(slot), Some(id));
        assert_eq!(table.flow(id), Some((flow, state)));
        assert_eq!(table.binding(id), Some(bound));
        assert_eq!(slot >= table.v4_slots(), flow.source.is_ipv6());
        table.remove(now, id);
        let left = (table.at(slot), table.flow(id), table.binding(id));
        assert_eq!(left, (None, None, None));
    }
    assert_eq!(table.at(table.slots()), None);
    assert_eq!(table.at(usize::MAX), None);
}

#[test]
fn a_batch_shows_the_slots_of_what_it_finds_before_it_compares() {
    let mut table = table(|_| {});
    let now = Instant::ZERO;
    let v4 = put(&mut table, now, 1, State::SynSent);
    let v6 = table
        .insert(now, &tcp6(2), State::Established, binding(9))
        .unwrap();
    let mut found = [None; 3];
    let mut near = Vec::new();
    table.lookup_batch_near(&[tcp6(2), tcp(3), tcp(1)], &mut found, |slot| {
        near.push(slot)
    });
    assert_eq!(found, [Some(v6), None, Some(v4)]);
    assert_eq!(near, [table.slot(v6), table.slot(v4)]);
    assert!(near.iter().all(|slot| table.fetch(*slot) % 2 == 1));
}

#[test]
fn an_end_is_given_with_the_slot_that_it_frees() {
    let mut table = table(|_| {});
    let now = Instant::ZERO;
    let ids = [
        put(&mut table, now, 1, State::SynSent),
        table
            .insert(now, &tcp6(2), State::SynSent, binding(2))
            .unwrap(),
    ];
    let slots = ids.map(|id| table.slot(id));
    table.handle_timeout(now + 62 * SECOND, 9);
    let ended = || {
        table
            .poll_expired_slot()
            .map(|(slot, it)| (slot, it.session.key))
    };
    let ended: Vec<_> = std::iter::from_fn(ended).collect();
    assert_eq!(ended, [(slots[0], tcp(1)), (slots[1], tcp6(2))]);
}

#[test]
fn other_timeouts_hold_for_what_comes_and_wrong_ones_change_nothing() {
    let mut table = table(|_| {});
    let now = Instant::ZERO;
    assert!(table.set_timeouts(vec![]).is_err());
    let short = Timeouts {
        syn_sent: SECOND,
        ..Timeouts::default()
    };
    table
        .set_timeouts(vec![Timeouts::default(), short])
        .unwrap();
    let brief = Binding {
        profile: 1,
        ..binding(7)
    };
    table.insert(now, &tcp(1), State::SynSent, brief).unwrap();
    put(&mut table, now, 2, State::SynSent);
    assert_eq!(table.timeout(State::SynSent, 1), SECOND);
    table.handle_timeout(now + 2 * SECOND, 9);
    assert_eq!(collect(&mut table), [1]);
}

#[test]
fn regions_cover_entries_and_indexes_of_both_families() {
    let table = table(|_| {});
    let [entries, index, ..] = table.regions();
    assert!(entries.bytes >= 1_000 * 32 && entries.start % 32 == 0);
    assert!(index.bytes >= 1_000 * 8);
    let all: usize = table.regions().iter().map(|region| region.bytes).sum();
    let memory = table.memory();
    assert!(all < memory.v4 + memory.v6);
}
