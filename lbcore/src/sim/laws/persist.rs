//! What every persistence must keep.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::persist::{Client, Persistence};
use crate::rng::{Rng, Xoshiro};
use crate::{BackendId, Instant};

/// What every [`Persistence`] must keep, whoever wrote it.
///
/// Runs 100 random histories, of 300 steps each, through the empty ones that `make` returns. Their
/// 32 clients bring a token each, and no two have the first 8 bits of an IPv4 address in common or
/// the first 16 of an IPv6 one.
///
/// 1. It tells a backend only of a client of whom one was told, and only the one told last.
/// 2. What it was told, it tells again if asked at the same moment.
/// 3. A backend that it was to forget, it tells of no client until it is told of it anew.
/// 4. The answers do not depend on which thread asks.
///
/// # Panics
///
/// Panics at the first broken law, and names the seed that breaks it again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::persist::SourceAddress;
/// use lbcore::sim::laws::persistence_laws;
///
/// persistence_laws(|| SourceAddress::lasting(Duration::from_secs(60)));
/// ```
#[track_caller]
pub fn persistence_laws<P: Persistence>(make: impl Fn() -> P) {
    for seed in 0..HISTORIES {
        history(&make(), seed);
    }
}

#[track_caller]
fn history(persistence: &impl Persistence, seed: u64) {
    let mut dice = Xoshiro::new(seed);
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut last: [Option<BackendId>; CLIENTS] = [None; CLIENTS];
    for _ in 0..STEPS {
        let number = dice.below(CLIENTS.try_into().unwrap_or(u64::MAX));
        let token = number.to_be_bytes();
        let client = client(number).token(&token);
        let Some(known) = usize::try_from(number).ok().and_then(|at| last.get_mut(at)) else {
            continue;
        };
        match dice.below(16) {
            0 => {
                let gone = BackendId::new(dice.below(BACKENDS));
                persistence.forget_backend(gone);
                for known in &mut last {
                    *known = known.filter(|kept| *kept != gone);
                }
            }
            1..=3 => now += Duration::from_millis(dice.below(10_000)),
            4..=8 => {
                let backend = BackendId::new(dice.below(BACKENDS));
                persistence.remember(now, &client, backend);
                *known = Some(backend);
                let found = persistence.lookup(now, &client);
                assert!(
                    found == Some(backend),
                    "law 2: {backend:?} was told and {found:?} is remembered (seed {seed})"
                );
                if dice.below(8) == 0 {
                    let elsewhere = on_another_thread(persistence, now, &client);
                    assert!(
                        elsewhere == found,
                        "law 4: {found:?} here and {elsewhere:?} on another thread (seed {seed})"
                    );
                }
            }
            _ => {
                let found = persistence.lookup(now, &client);
                assert!(
                    found.is_none() || found == *known,
                    "laws 1, 3: {known:?} holds and {found:?} is remembered (seed {seed})"
                );
            }
        }
    }
}

fn on_another_thread(
    persistence: &impl Persistence,
    now: Instant,
    client: &Client<'_>,
) -> Option<BackendId> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| persistence.lookup(now, client)).join();
        // A panic over there is the caller's to see here.
        asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The even ones have IPv4 addresses, the odd ones IPv6.
fn client(number: u64) -> Client<'static> {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    let [_, low] = number.to_be_bytes();
    Client::from_source(match number % 2 {
        0 => IpAddr::from(Ipv4Addr::new(low.saturating_add(1), 0, 2, 1)),
        _ => IpAddr::from(Ipv6Addr::new(0x2000 + number, 0, 0, 0, 0, 0, 0, 1)),
    })
}

const CLIENTS: usize = 32;

/// Few, so that clients share them and one that is forgotten is forgotten of many.
const BACKENDS: u64 = 4;

const HISTORIES: u64 = 100;

const STEPS: u32 = 300;
