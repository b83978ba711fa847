use std::time::Duration;

use lbcore::rng::{Rng, Xoshiro};

use super::super::{Bandwidth, Rate};
use super::*;

fn limits(clients: u32) -> RequestLimits {
    RequestLimits::default()
        .client_rate(Rate::per_second(1))
        .clients(clients)
}

fn table(limits: &RequestLimits) -> Clients {
    Clients::new(HashKey::from_seed(5), limits)
}

fn v4(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(n).into()
}

const T0: Instant = Instant::ZERO;

#[test]
fn the_same_client_is_found_again() {
    let limits = limits(100);
    let table = table(&limits);
    let first = table.client(T0, v4(1), &limits);
    let again = table.client(T0, v4(1), &limits);
    let other = table.client(T0, v4(2), &limits);
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!Arc::ptr_eq(&first, &other));
    assert_eq!(table.len(), 2);
}

#[test]
fn a_million_clients_take_no_more_places_than_there_are() {
    let limits = limits(1000);
    let table = table(&limits);
    assert_eq!(table.sets.len() * WAYS, 1000);
    let mut rng = Xoshiro::new(1);
    let mut now = T0;
    for _ in 0..1_000_000 {
        now += Duration::from_nanos(1);
        let address = std::net::Ipv6Addr::from_bits(u128::from(rng.next_u64()) << 64);
        table.client(now, address.into(), &limits);
    }
    assert_eq!(table.len(), 1000);
    assert_eq!(table.sets.len(), 125);
    assert_eq!(table.forgotten(), 0);
}

#[test]
fn there_is_room_for_one_set_at_least() {
    for (clients, sets) in [(0, 1), (1, 1), (8, 1), (9, 2)] {
        assert_eq!(table(&limits(clients)).sets.len(), sets);
    }
}

#[test]
fn the_one_that_was_idle_longest_makes_room_unless_it_is_at_work() {
    let limits = limits(8);
    let table = table(&limits);
    let at = |n: u32| T0 + Duration::from_millis(n.into());
    let at_work = table.client(at(0), v4(0), &limits);
    for n in 1..8 {
        table.client(at(n), v4(n), &limits);
    }
    // Seen again, so that 2 is now the oldest.
    table.client(at(8), v4(1), &limits);
    table.client(at(9), v4(100), &limits);
    let known = |n| {
        table
            .set(prefix(v4(n), limits.prefixes))
            .unwrap()
            .iter()
            .flatten()
            .any(|entry| entry.prefix == prefix(v4(n), limits.prefixes))
    };
    let left: Vec<u32> = [0, 1, 2, 3, 4, 5, 6, 7, 100]
        .into_iter()
        .filter(|n| !known(*n))
        .collect();
    assert_eq!(left, [2]);
    drop(at_work);
    table.client(at(10), v4(101), &limits);
    assert!(!known(0));
}

#[test]
fn time_that_runs_back_makes_nobody_older() {
    let limits = limits(8);
    let table = table(&limits);
    let later = T0 + Duration::from_secs(5);
    table.client(later, v4(0), &limits);
    table.client(T0, v4(0), &limits);
    for n in 1..=8 {
        table.client(T0 + Duration::from_secs(1), v4(n), &limits);
    }
    let set = table.set(0).unwrap();
    assert!(set.iter().flatten().any(|entry| entry.seen == later));
}

#[test]
fn whoever_is_forgotten_in_debt_is_counted() {
    let limits = RequestLimits::default()
        .client_rate(Rate::per_second(1).burst(2))
        .client_bandwidth(Bandwidth::default().bytes_in(1000).bytes_out(1000))
        .clients(8);
    let second = Duration::from_secs(1);
    let spends: [fn(&Client) -> u64; 3] = [
        |client| u64::from(client.requests.try_take(T0, 1)),
        |client| u64::from(client.bytes_in.charge(T0, 1000).is_none()),
        |client| u64::from(client.bytes_out.charge(T0, 1000).is_none()),
    ];
    for spend in spends {
        for (wait, forgotten) in [(second - Duration::from_nanos(1), 1), (second, 0)] {
            let table = table(&limits);
            assert_eq!(spend(&table.client(T0, v4(0), &limits)), 1);
            for n in 1..=8 {
                table.client(T0 + wait, v4(n), &limits);
            }
            assert_eq!(table.forgotten(), forgotten);
        }
    }
}

#[test]
fn a_prefix_is_one_client() {
    let of = |text: &str, prefixes| prefix(text.parse().unwrap(), prefixes);
    let usual = ClientPrefixes::default();
    assert_ne!(of("192.0.2.1", usual), of("192.0.2.2", usual));
    assert_eq!(of("192.0.2.1", usual), of("::ffff:192.0.2.1", usual));
    assert_eq!(of("2001:db8::1", usual), of("2001:db8::ffff:2", usual));
    assert_ne!(of("2001:db8::1", usual), of("2001:db8:0:1::1", usual));
    let wide = ClientPrefixes::default().v4(24).v6(48);
    assert_eq!(of("192.0.2.1", wide), of("192.0.2.255", wide));
    assert_ne!(of("192.0.2.1", wide), of("192.0.3.1", wide));
    assert_eq!(of("2001:db8:0:1::1", wide), of("2001:db8:0:2::1", wide));
    let all = ClientPrefixes::default().v4(0).v6(0);
    assert_eq!(of("1.2.3.4", all), of("200.0.0.1", all));
    assert_eq!(of("::1", all), of("ffff::", all));
    assert_ne!(of("1.2.3.4", all), of("::1", all));
    let most = ClientPrefixes::default().v4(255).v6(255);
    assert_ne!(of("192.0.2.1", most), of("192.0.2.2", most));
    assert_ne!(of("2001:db8::1", most), of("2001:db8::2", most));
}

#[test]
fn a_half_full_table_forgets_few() {
    let limits = limits(65_536);
    let table = table(&limits);
    for n in 0..32_768 {
        table.client(T0, v4(n), &limits);
    }
    assert!(table.len() > 32_768 * 97 / 100, "{}", table.len());
}
