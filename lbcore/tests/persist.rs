//! The same client gets the same backend, until its time is over or the table is full.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use lbcore::hash::HashKey;
use lbcore::persist::{Client, Persistence, SourceAddress, Token};
use lbcore::{BackendId, Instant};
use proptest::prelude::*;

const T0: Instant = Instant::from_nanos(5_000_000_000);
const NANO: Duration = Duration::from_nanos(1);
const TIMEOUT: Duration = Duration::from_secs(300);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(text: &str) -> Client<'static> {
    Client::from_source(text.parse().expect("an address"))
}

fn numbered(n: u32) -> Client<'static> {
    Client::from_source(IpAddr::from(Ipv4Addr::from_bits(n)))
}

fn backend(n: u64) -> BackendId {
    BackendId::new(n)
}

fn table() -> SourceAddress {
    SourceAddress::lasting(TIMEOUT).hash_key(HashKey::from_seed(1))
}

#[test]
fn a_client_that_is_remembered_gets_its_backend_and_another_none() {
    let table = table();
    assert_eq!(table.lookup(T0, &at("192.0.2.1")), None);
    table.remember(T0, &at("192.0.2.1"), backend(7));
    assert_eq!(table.lookup(T0, &at("192.0.2.1")), Some(backend(7)));
    assert_eq!(table.lookup(T0, &at("::ffff:192.0.2.1")), Some(backend(7)));
    assert_eq!(table.lookup(T0, &at("192.0.2.2")), None);
    assert_eq!(table.lookup(T0, &at("::192.0.2.1")), None);
    let stats = table.stats();
    assert_eq!((stats.entries, stats.hits, stats.misses), (1, 2, 3));
}

#[test]
fn the_last_backend_told_is_the_one_remembered() {
    let table = table();
    table.remember(T0, &numbered(1), backend(7));
    table.remember(T0, &numbered(1), backend(8));
    assert_eq!(table.lookup(T0, &numbered(1)), Some(backend(8)));
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn a_client_is_forgotten_when_its_timeout_is_over_and_not_before() {
    let table = table();
    table.remember(T0, &numbered(1), backend(7));
    table.remember(T0 + NANO, &numbered(2), backend(7));
    assert_eq!(table.lookup(T0 + TIMEOUT, &numbered(1)), None);
    assert_eq!(table.lookup(T0 + TIMEOUT, &numbered(2)), Some(backend(7)));
    assert_eq!((table.stats().expired, table.stats().entries), (1, 1));
}

#[test]
fn each_session_starts_the_timeout_afresh() {
    let table = table();
    table.remember(T0, &numbered(1), backend(7));
    let mut now = T0;
    for _ in 0..5 {
        now = now + TIMEOUT - NANO;
        assert_eq!(table.lookup(now, &numbered(1)), Some(backend(7)));
    }
    now = now + TIMEOUT - NANO;
    table.remember(now, &numbered(1), backend(8));
    assert_eq!(
        table.lookup(now + TIMEOUT - NANO, &numbered(1)),
        Some(backend(8))
    );
    assert_eq!(table.lookup(now + TIMEOUT * 2, &numbered(1)), None);
}

#[test]
fn a_call_cleans_up_at_most_two_that_are_over_and_still_tells_no_lie() {
    let table = table().capacity(100);
    for n in 0..10 {
        table.remember(T0, &numbered(n), backend(7));
    }
    let later = T0 + TIMEOUT;
    assert_eq!(table.lookup(later, &numbered(99)), None);
    assert_eq!(table.stats().entries, 8);
    // This one is over, too, and not among the next two.
    assert_eq!(table.lookup(later, &numbered(9)), None);
    assert_eq!(table.stats().entries, 5);
    assert_eq!(table.stats().expired, 5);
    table.remember(later, &numbered(50), backend(7));
    assert_eq!(table.stats().entries, 4);
}

#[test]
fn when_the_table_is_full_the_longest_unused_goes() {
    let table = table().capacity(3);
    for n in 0..3 {
        table.remember(T0 + secs(n.into()), &numbered(n), backend(n.into()));
    }
    assert_eq!(table.lookup(T0 + secs(3), &numbered(0)), Some(backend(0)));
    table.remember(T0 + secs(4), &numbered(3), backend(3));
    let found = [0, 1, 2, 3].map(|n| table.lookup(T0 + secs(5), &numbered(n)).is_some());
    assert_eq!(found, [true, false, true, true]);
    let stats = table.stats();
    assert_eq!((stats.entries, stats.evicted), (3, 1));
}

#[test]
fn no_table_grows_beyond_its_capacity() {
    for (capacity, filled) in [(0, 1), (1, 1), (4095, 4095), (4096, 3900), (10_000, 9900)] {
        let table = table().capacity(capacity);
        for n in 0..40_000 {
            table.remember(T0, &numbered(n), backend(1));
        }
        let stats = table.stats();
        assert!(stats.entries <= capacity.max(1), "{capacity}: {stats:?}");
        assert!(stats.entries >= filled, "{capacity}: {stats:?}");
        assert_eq!(stats.evicted, 40_000 - stats.entries as u64);
    }
}

#[test]
fn a_backend_that_is_gone_is_forgotten_and_no_other() {
    for capacity in [1000, 100_000] {
        let table = table().capacity(capacity);
        for n in 0..600 {
            table.remember(T0, &numbered(n), backend(u64::from(n % 3)));
        }
        table.forget_backend(backend(1));
        for n in 0..600 {
            let expected = (n % 3 != 1).then(|| backend(u64::from(n % 3)));
            assert_eq!(table.lookup(T0, &numbered(n)), expected);
        }
        assert_eq!((table.stats().entries, table.stats().forgotten), (400, 200));
    }
}

#[test]
fn clients_of_one_network_share_a_backend_when_asked() {
    let table = table().prefix_v4(24).prefix_v6(56);
    table.remember(T0, &at("192.0.2.1"), backend(4));
    table.remember(T0, &at("2001:db8::1"), backend(6));
    for (client, expected) in [
        ("192.0.2.255", Some(backend(4))),
        ("192.0.3.0", None),
        ("192.0.1.255", None),
        ("2001:db8:0:ff:ffff:ffff:ffff:ffff", Some(backend(6))),
        ("2001:db8:0:100::", None),
    ] {
        assert_eq!(table.lookup(T0, &at(client)), expected, "{client}");
    }
}

#[test]
fn a_client_is_an_ipv4_address_or_an_ipv6_network_unless_told_otherwise() {
    let table = table();
    table.remember(T0, &at("2001:db8::1"), backend(6));
    assert_eq!(table.lookup(T0, &at("2001:db8::2")), Some(backend(6)));
    assert_eq!(table.lookup(T0, &at("2001:db8:0:1::1")), None);
}

#[test]
fn a_prefix_longer_than_the_address_is_the_address() {
    let table = table().prefix_v4(200).prefix_v6(200);
    table.remember(T0, &at("192.0.2.1"), backend(4));
    table.remember(T0, &at("2001:db8::1"), backend(6));
    assert_eq!(table.lookup(T0, &at("192.0.2.1")), Some(backend(4)));
    assert_eq!(table.lookup(T0, &at("192.0.2.0")), None);
    assert_eq!(table.lookup(T0, &at("2001:db8::1")), Some(backend(6)));
    assert_eq!(table.lookup(T0, &at("2001:db8::")), None);
}

#[test]
fn a_time_that_goes_back_a_little_shortens_no_memory() {
    let table = table().capacity(2);
    table.remember(T0 + secs(10), &numbered(1), backend(1));
    // Another worker, whose clock was read a little earlier.
    table.remember(T0 + secs(9), &numbered(2), backend(2));
    let later = T0 + secs(10) + TIMEOUT - NANO;
    assert_eq!(table.lookup(later, &numbered(2)), Some(backend(2)));
    assert_eq!(table.lookup(later, &numbered(1)), Some(backend(1)));
}

#[test]
fn a_token_finds_its_backend_from_anywhere_and_no_token_finds_none() {
    let tokens = Token::lasting(TIMEOUT)
        .hash_key(HashKey::from_seed(2))
        .capacity(10);
    let plain = at("192.0.2.1");
    tokens.remember(T0, &plain, backend(1));
    assert_eq!(tokens.lookup(T0, &plain), None);
    assert_eq!(tokens.stats().entries, 0);
    tokens.remember(T0, &plain.token(b"one"), backend(1));
    tokens.remember(T0, &plain.token(b""), backend(2));
    assert_eq!(
        tokens.lookup(T0, &at("::1").token(b"one")),
        Some(backend(1))
    );
    assert_eq!(tokens.lookup(T0, &plain.token(b"")), Some(backend(2)));
    assert_eq!(tokens.lookup(T0, &plain.token(b"on")), None);
    tokens.forget_backend(backend(1));
    assert_eq!(tokens.lookup(T0, &plain.token(b"one")), None);
    assert_eq!(tokens.lookup(T0 + TIMEOUT, &plain.token(b"")), None);
    let stats = tokens.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.forgotten, stats.expired),
        (2, 3, 1, 1)
    );
}

#[test]
fn a_drawn_key_works_like_a_given_one() {
    let table = SourceAddress::lasting(TIMEOUT);
    for n in 0..1000 {
        table.remember(T0, &numbered(n), backend(n.into()));
    }
    for n in 0..1000 {
        assert_eq!(table.lookup(T0, &numbered(n)), Some(backend(n.into())));
    }
}

#[test]
fn workers_on_two_threads_see_what_the_other_remembers() {
    let table = table();
    thread::scope(|scope| {
        for half in 0..2 {
            let table = &table;
            scope.spawn(move || {
                for n in (half..20_000).step_by(2) {
                    table.remember(T0, &numbered(n), backend(n.into()));
                    let _ = table.lookup(T0, &numbered(n ^ 1));
                }
            });
        }
    });
    for n in 0..20_000 {
        assert_eq!(table.lookup(T0, &numbered(n)), Some(backend(n.into())));
    }
    assert_eq!(table.stats().entries, 20_000);
}

/// What the table should be: the last used at the end.
struct Model {
    entries: Vec<(u32, u64, Instant)>,
    capacity: usize,
}

impl Model {
    fn take(&mut self, now: Instant, client: u32) -> Option<u64> {
        self.entries
            .retain(|(_, _, used)| now.since(*used) < TIMEOUT);
        let found = self
            .entries
            .iter()
            .position(|(known, ..)| *known == client)?;
        Some(self.entries.remove(found).1)
    }

    fn put(&mut self, now: Instant, client: u32, backend: u64) {
        if self.entries.len() == self.capacity {
            self.entries.remove(0);
        }
        self.entries.push((client, backend, now));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Forget(u64),
    Lookup(u32),
    Remember(u32, u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..4_u64).prop_map(Step::Forget),
        6 => (0..20_u32).prop_map(Step::Lookup),
        6 => (0..20_u32, 0..4_u64).prop_map(|(client, backend)| Step::Remember(client, backend)),
        3 => (0..150_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_list(
        capacity in 1..12_usize,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let table = table().capacity(capacity);
        let mut model = Model { entries: Vec::new(), capacity };
        let mut now = T0;
        for step in steps {
            match step {
                Step::Forget(gone) => {
                    table.forget_backend(backend(gone));
                    model.entries.retain(|(_, kept, _)| *kept != gone);
                }
                Step::Lookup(client) => {
                    let expected = model.take(now, client);
                    if let Some(found) = expected {
                        model.put(now, client, found);
                    }
                    prop_assert_eq!(table.lookup(now, &numbered(client)), expected.map(backend));
                }
                Step::Remember(client, kept) => {
                    model.take(now, client);
                    model.put(now, client, kept);
                    table.remember(now, &numbered(client), backend(kept));
                }
                Step::Wait(span) => now += secs(span),
            }
            prop_assert!(table.stats().entries <= capacity);
        }
    }
}
