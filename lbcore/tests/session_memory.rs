//! What a session table takes from the allocator, counted there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::session::{
    Binding, ChangeStream, Cursor, Limits, SessionConfig, SessionTable, State, Table,
};
use lbcore::{Instant, Ticket};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MILLION: usize = 1_000_000;

fn v4(n: u32) -> FlowKey {
    let source = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 1_024));
    FlowKey::new(Protocol::Tcp, source, ([203, 0, 113, 1], 80).into())
}

fn v6(n: u32) -> FlowKey {
    let net = 0x2001_0db8_u128 << 96;
    let [source, to] = [n, u32::MAX].map(|n| Ipv6Addr::from_bits(net + u128::from(n)));
    FlowKey::new(Protocol::Tcp, (source, 1_024).into(), (to, 80).into())
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_million_sessions_take_at_most_96_bytes_each_or_128_and_nothing_after_the_start() {
    for (flow, most) in [(v4 as fn(u32) -> FlowKey, 96), (v6, 128)] {
        let mut config = SessionConfig::default();
        let none = Limits::of(0);
        (config.v4, config.v6) = if most == 96 {
            (Limits::of(MILLION), none)
        } else {
            (none, Limits::of(MILLION))
        };
        config.changes = ChangeStream::All;

        let region = Region::new(ALLOCATOR);
        let mut table = Table::new(config, HashKey::from_seed(1)).unwrap();
        fill(&mut table, flow);
        let change = region.change();
        let bytes = change.bytes_allocated - change.bytes_deallocated;
        let each = bytes.div_ceil(MILLION);
        assert!(each <= most, "{each} bytes a session");
        let told = table.memory().v4 + table.memory().v6;
        assert!(
            bytes >= told && bytes - told < 4_096,
            "{told} told, {bytes} taken"
        );

        let region = Region::new(ALLOCATOR);
        use_all(&mut table, flow);
        assert_eq!(
            region.change().allocations,
            0,
            "allocated on the path of packets"
        );
        assert_eq!(
            region.change().reallocations,
            0,
            "moved on the path of packets"
        );
    }
}

fn fill(table: &mut Table, flow: fn(u32) -> FlowKey) {
    let binding = Binding::from(Ticket::from_bits(1));
    for n in 0..u32::try_from(MILLION).unwrap() {
        let put = table.insert(Instant::ZERO, &flow(n), State::Established, binding);
        assert!(put.is_ok());
    }
    assert_eq!(table.len(), MILLION);
}

/// Looks up, touches, alters, walks, refuses and ends sessions by the ten thousand.
fn use_all(table: &mut Table, flow: fn(u32) -> FlowKey) {
    let binding = Binding::from(Ticket::from_bits(1));
    let mut now = Instant::ZERO + Duration::from_secs(1);
    let keys: [FlowKey; 32] = std::array::from_fn(|n| flow(u32::try_from(n).unwrap() * 31));
    let mut found = [None; 32];
    table.lookup_batch(&keys, &mut found);
    for id in found.into_iter().flatten() {
        assert!(table.touch(now, id, |_| State::FinWait).is_some());
    }
    let cursor = table.walk(Cursor::default(), 10_000, |_, session| {
        assert_eq!(session.binding, binding);
    });
    assert!(cursor.is_some());
    let full = table.insert(now, &flow(u32::MAX >> 8), State::Established, binding);
    assert!(full.is_err());
    now += Duration::from_secs(1_000);
    table.handle_timeout(now, 10_000);
    while table.poll_expired().is_some() {}
    for _ in 0..20_000 {
        assert!(table.poll_change().is_some());
    }
    for n in 0..1_000 {
        let put = table.insert(now, &flow(0x00f0_0000 + n), State::SynSent, binding);
        assert!(put.is_ok());
    }
}
