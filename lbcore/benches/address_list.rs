//! ns an answer, by family and number of prefixes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lbcore::address_list::{AddressRules, Prefix};
use lbcore::rng::{Rng, Xoshiro};

fn random(rng: &mut Xoshiro, v6: bool) -> IpAddr {
    let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    match v6 {
        // All of them in 2000::/8, as the addresses in use are in 2000::/3.
        true => Ipv6Addr::from_bits(bits >> 8 | 0x20 << 120).into(),
        false => Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap_or(0)).into(),
    }
}

/// The network of `length` bits around `address`.
fn network(address: IpAddr, length: u8) -> Prefix {
    let masked = match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << (32 - length))).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - length))).into(),
    };
    Prefix::new(masked, length).expect("the rest is zero")
}

fn answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("address_list");
    for (family, v6) in [("v4", false), ("v6", true)] {
        for count in [100, 10_000, 100_000] {
            let mut rng = Xoshiro::new(9);
            let mut list = |_| {
                let length = if v6 { 48 } else { 24 };
                network(random(&mut rng, v6), length)
            };
            let rules = AddressRules::new([], (0..count).map(&mut list));
            let clients: Vec<IpAddr> = (0..1 << 16).map(|_| random(&mut rng, v6)).collect();
            let mut next = 0_u16;
            group.bench_function(BenchmarkId::new(family, count), |b| {
                b.iter(|| {
                    next = next.wrapping_add(1);
                    black_box(rules.allows(clients[usize::from(next)]))
                });
            });
        }
    }
}

criterion_group!(benches, answer);
criterion_main!(benches);
