use lbcore::flow::Protocol;
use proptest::prelude::*;

use super::*;

const SYN: ClientSyn = ClientSyn {
    sequence: 0x0102_0304,
    promised_scale: 7,
};

/// A slot's first moment, with an epoch that is not zero: slot 4 of the shared clock.
const EPOCH: Duration = Duration::from_secs(256);

fn cookies() -> Cookies {
    Cookies::new(HashKey::from_seed(1), EPOCH)
}

fn flow(source: &str, destination: &str) -> FlowKey {
    let [source, destination] = [source, destination].map(|it| it.parse().unwrap());
    FlowKey::new(Protocol::Tcp, source, destination)
}

fn v4() -> FlowKey {
    flow("192.0.2.1:40000", "203.0.113.10:80")
}

fn v6() -> FlowKey {
    flow("[2001:db8::1]:40000", "[2001:db8::2]:80")
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

const fn asked(timestamps: bool) -> SynOptions {
    SynOptions {
        mss: 1460,
        window_scale: Some(8),
        sack: true,
        timestamps,
        ecn: timestamps,
    }
}

proptest! {
    #[test]
    fn what_was_asked_comes_back_with_the_mss_rounded_down(
        mss in any::<u16>(), scale in proptest::option::of(0..=14_u8), sack: bool,
        timestamps: bool, ecn: bool, sequence: u32, promised_scale in 0..=14_u8, now in 0..1_u64 << 62,
    ) {
        let syn = ClientSyn { sequence, promised_scale };
        let options = SynOptions { mss, window_scale: scale, sack, timestamps, ecn };
        for flow in [v4(), v6()] {
            let cookie = cookies().issue(at(now), &flow, syn, &options);
            prop_assert_eq!(cookie.timestamp.is_some(), timestamps);
            let checked = cookies().check(at(now), &flow, syn, cookie).unwrap();
            let rounded = MSS.into_iter().rev().find(|it| *it <= mss).unwrap_or(MSS[0]);
            let expected = SynOptions { mss: rounded, ecn: ecn && timestamps, ..options };
            prop_assert_eq!(checked, expected);
        }
    }
}

#[test]
fn each_size_of_the_table_is_told_from_its_neighbours() {
    for (place, size) in MSS.into_iter().enumerate() {
        let place = u32::try_from(place).unwrap();
        assert_eq!((mss_index(size), mss_at(place)), (place, size));
        assert_eq!(mss_index(size - 1), place.saturating_sub(1));
    }
    assert_eq!((mss_index(0), mss_index(u16::MAX)), (0, 7));
}

#[test]
fn without_timestamps_the_bits_stand_where_the_layout_says() {
    let options = SynOptions {
        mss: 1220,
        window_scale: Some(9),
        ..asked(false)
    };
    // 64 seconds on: slot 5, whose last two bits are 01.
    let cookie = cookies().issue(at(64_000_000_000), &v4(), SYN, &options);
    assert_eq!(cookie.sequence >> 22, 0b01 << 8 | 1 << 7 | 9 << 3 | 2);
    let none = SynOptions {
        mss: 216,
        window_scale: None,
        sack: false,
        ..asked(false)
    };
    let cookie = cookies().issue(at(0), &v4(), SYN, &none);
    assert_eq!(cookie.sequence >> 22, 15 << 3);
}

#[test]
fn with_timestamps_the_bits_stand_where_the_layout_says() {
    let options = SynOptions {
        mss: 1340,
        window_scale: Some(9),
        ..asked(true)
    };
    // Two slots and 1,000 ms on.
    let cookie = cookies().issue(at(129_000_000_000), &v4(), SYN, &options);
    assert_eq!(cookie.sequence >> 27, 0b10 << 3 | 3);
    let clock = 256_000 + 129_000;
    assert_eq!(cookie.timestamp.unwrap() >> 6, clock / 64 - 1);
    assert_eq!(cookie.timestamp.unwrap() & 63, 1 << 5 | 1 << 4 | 9);
    let none = SynOptions {
        window_scale: None,
        sack: false,
        ecn: false,
        ..options
    };
    let cookie = cookies().issue(at(0), &v4(), SYN, &none);
    assert_eq!(cookie.timestamp.unwrap() & 63, 15);
}

#[test]
fn a_timestamp_is_never_ahead_of_the_clock_nor_128_ms_behind_it() {
    for millis in 0..200_u32 {
        let now = at(u64::from(millis) * 1_000_000);
        let cookie = cookies().issue(now, &v4(), SYN, &asked(true));
        let behind = (256_000 + millis).wrapping_sub(cookie.timestamp.unwrap());
        assert!((1..128).contains(&behind), "{behind} ms behind");
    }
}

#[test]
fn a_scale_above_14_is_14() {
    let options = SynOptions {
        window_scale: Some(200),
        ..asked(false)
    };
    let cookie = cookies().issue(at(0), &v4(), SYN, &options);
    let checked = cookies().check(at(0), &v4(), SYN, cookie).unwrap();
    assert_eq!(checked.window_scale, Some(14));
}

#[test]
fn a_cookie_is_good_in_its_slot_and_those_beside_it() {
    const SLOT_NANOS: u64 = 64_000_000_000;
    let issued_at = 10 * SLOT_NANOS + SLOT_NANOS / 2;
    for timestamps in [false, true] {
        let cookie = cookies().issue(at(issued_at), &v4(), SYN, &asked(timestamps));
        let good = |now| cookies().check(at(now), &v4(), SYN, cookie).is_some();
        assert!(!good(9 * SLOT_NANOS - 1));
        assert!(good(9 * SLOT_NANOS) && good(10 * SLOT_NANOS) && good(12 * SLOT_NANOS - 1));
        assert!(!good(12 * SLOT_NANOS));
        // Its slot has the same last bits again.
        assert!(!good(14 * SLOT_NANOS));
    }
}

#[test]
fn no_bit_of_a_cookie_can_be_turned() {
    for timestamps in [false, true] {
        let cookie = cookies().issue(at(0), &v4(), SYN, &asked(timestamps));
        for bit in 0..32 {
            let sequence = Cookie {
                sequence: cookie.sequence ^ 1 << bit,
                ..cookie
            };
            assert_eq!(cookies().check(at(0), &v4(), SYN, sequence), None, "{bit}");
            let timestamp = Cookie {
                timestamp: cookie.timestamp.map(|it| it ^ 1 << bit),
                ..cookie
            };
            let same = timestamp == cookie;
            let checked = cookies().check(at(0), &v4(), SYN, timestamp);
            assert_eq!(checked.is_some(), same, "{bit}");
        }
    }
}

#[test]
fn a_cookie_without_timestamps_is_none_with_one_and_the_reverse() {
    let plain = cookies().issue(at(0), &v4(), SYN, &asked(false));
    for timestamp in [0, 1, 256_000] {
        let with = Cookie {
            timestamp: Some(timestamp),
            ..plain
        };
        assert_eq!(cookies().check(at(0), &v4(), SYN, with), None);
    }
    let with = cookies().issue(at(0), &v4(), SYN, &asked(true));
    let without = Cookie {
        timestamp: None,
        ..with
    };
    assert_eq!(cookies().check(at(0), &v4(), SYN, without), None);
}

#[test]
fn a_cookie_is_of_one_flow_one_syn_and_one_key() {
    let others = [
        flow("192.0.2.2:40000", "203.0.113.10:80"),
        flow("192.0.2.1:40001", "203.0.113.10:80"),
        flow("192.0.2.1:40000", "203.0.113.11:80"),
        flow("192.0.2.1:40000", "203.0.113.10:81"),
        flow("203.0.113.10:80", "192.0.2.1:40000"),
        flow("[2001:db8::1]:40000", "[2001:db8::3]:80"),
        flow("[2001:db8::3]:40000", "[2001:db8::2]:80"),
    ];
    for timestamps in [false, true] {
        for own in [v4(), v6()] {
            let cookie = cookies().issue(at(0), &own, SYN, &asked(timestamps));
            let good = |cookies: Cookies, flow: &FlowKey, syn| {
                cookies.check(at(0), flow, syn, cookie).is_some()
            };
            assert!(good(cookies(), &own, SYN));
            assert!(!others.iter().any(|flow| good(cookies(), flow, SYN)));
            let sequence = SYN.sequence + 1;
            assert!(!good(cookies(), &own, ClientSyn { sequence, ..SYN }));
            let promised_scale = 6;
            assert!(!good(
                cookies(),
                &own,
                ClientSyn {
                    promised_scale,
                    ..SYN
                }
            ));
            let other = Cookies::new(HashKey::from_seed(2), EPOCH);
            assert!(!good(other, &own, SYN));
        }
    }
}

#[test]
fn a_second_key_is_taken_and_not_used() {
    let [old, new] = [1, 2].map(HashKey::from_seed);
    let both = Cookies::new(old, EPOCH).accepted(new);
    let of_new = Cookies::new(new, EPOCH).issue(at(0), &v4(), SYN, &asked(true));
    assert_eq!(both.check(at(0), &v4(), SYN, of_new), Some(asked(true)));
    let of_both = both.issue(at(0), &v4(), SYN, &asked(true));
    assert_eq!(of_both, cookies().issue(at(0), &v4(), SYN, &asked(true)));
    assert!(both.check(at(0), &v4(), SYN, of_both).is_some());
}

#[test]
fn keys_are_not_printed() {
    let printed = format!("{:?}", cookies().accepted(HashKey::from_seed(2)));
    assert!(printed.contains("HashKey(..)"), "{printed}");
}

/// Cookies of one node are checked by others, so that they may not change with a version.
#[test]
fn cookies_stay_what_they_are() {
    let plain = cookies().issue(at(0), &v4(), SYN, &asked(false));
    let with = cookies().issue(at(0), &v6(), SYN, &asked(true));
    assert_eq!((plain.sequence, with.sequence), (0x318a_000a, 0x3718_1b94));
    assert_eq!(with.timestamp, Some(255_992));
}
