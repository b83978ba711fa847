//! The longest prefix decides, a denial wins a tie, and the flat ranges agree with the lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbcore::address_list::{AddressRules, Prefix, PrefixError};
use lbcore::rng::{Rng, Xoshiro};
use proptest::prelude::*;

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
    let parse = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect::<Vec<_>>();
    AddressRules::new(parse(allow), parse(deny))
}

fn answers<const N: usize>(rules: &AddressRules, clients: [&str; N]) -> [bool; N] {
    clients.map(|client| rules.allows(address(client)))
}

#[test]
fn prefixes_are_read_and_printed() {
    for (text, printed) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::1", "::1/128"),
        ("2001:db8::1/128", "2001:db8::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
    ] {
        assert_eq!(prefix(text).to_string(), printed);
    }
    assert_eq!(prefix("10.0.0.0/8").address(), address("10.0.0.0"));
    assert_eq!(prefix("10.0.0.0/8").length(), 8);
}

#[test]
fn what_is_no_prefix_is_told_with_a_hint() {
    for text in [
        "",
        "/",
        "10.0.0.0/",
        "/8",
        "10.0.0/8",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0.0/256",
        "10.0.0.0/ 8",
        "host",
        "::g/3",
    ] {
        assert_eq!(
            text.parse::<Prefix>(),
            Err(PrefixError::Form(text.into())),
            "{text}"
        );
    }
    let error = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
    let hint = "`10.0.0.1/8` has bits beyond its length: did you mean `10.0.0.0/8`?";
    assert_eq!(error("10.0.0.1/8"), hint);
    assert_eq!(error("10.0.0.0/33"), "prefix length 33 is more than 32");
    assert_eq!(error("::/129"), "prefix length 129 is more than 128");
    assert!(error("::1/127").contains("`::/127`"));
}

#[test]
fn a_prefix_contains_its_first_and_last_address_and_not_their_neighbours() {
    let net = prefix("10.1.0.0/16");
    for (client, inside) in [
        ("10.0.255.255", false),
        ("10.1.0.0", true),
        ("10.1.255.255", true),
        ("::ffff:10.1.255.255", true),
        ("10.2.0.0", false),
        ("::10.1.0.0", false),
    ] {
        assert_eq!(net.contains(address(client)), inside, "{client}");
    }
    assert!(prefix("0.0.0.0/0").contains(address("255.255.255.255")));
    assert!(!prefix("::/0").contains(address("::ffff:1.2.3.4")));
    assert!(prefix("::/0").contains(address("1::")));
}

#[test]
fn empty_lists_allow_everyone() {
    let clients = ["0.0.0.0", "255.255.255.255", "::", "ffff::"];
    assert_eq!(answers(&AddressRules::default(), clients), [true; 4]);
    assert_eq!(AddressRules::default().memory(), 0);
}

#[test]
fn who_is_in_neither_list_may_come_only_if_nobody_is_allowed_by_name() {
    let clients = ["192.0.2.1", "2001:db8::1"];
    assert_eq!(answers(&rules(&["10.0.0.0/8"], &[]), clients), [false; 2]);
    assert_eq!(answers(&rules(&[], &["10.0.0.0/8"]), clients), [true; 2]);
}

#[test]
fn the_longest_prefix_decides_whichever_list_it_is_in() {
    let rules = rules(
        &["10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/32"],
        &["10.1.0.0/16", "10.1.2.3/32", "255.255.255.255/32"],
    );
    let clients = [
        "10.0.0.0",
        "10.0.255.255",
        "10.1.0.0",
        "10.1.1.255",
        "10.1.2.0",
        "10.1.2.2",
        "10.1.2.3",
        "10.1.2.4",
        "10.1.2.255",
        "10.1.3.0",
        "10.1.255.255",
        "10.2.0.0",
        "10.255.255.255",
        "11.0.0.0",
        "9.255.255.255",
        "0.0.0.0",
        "0.0.0.1",
        "255.255.255.255",
    ];
    let expected = [
        true, true, false, false, true, true, false, true, true, false, false, true, true, false,
        false, true, false, false,
    ];
    assert_eq!(answers(&rules, clients), expected);
}

#[test]
fn a_denial_wins_where_both_lists_have_the_prefix() {
    for rules in [
        rules(&["10.0.0.0/8"], &["10.0.0.0/8"]),
        rules(&["10.0.0.0/8", "10.0.0.0/8"], &["::ffff:10.0.0.0/104"]),
    ] {
        assert_eq!(answers(&rules, ["10.0.0.0", "11.0.0.0"]), [false; 2]);
    }
}

#[test]
fn a_prefix_at_either_end_of_the_addresses_is_kept() {
    let rules = rules(&[], &["0.0.0.0/1", "255.0.0.0/8", "::/1", "ff00::/8"]);
    let clients = [
        "0.0.0.0",
        "127.255.255.255",
        "128.0.0.0",
        "254.255.255.255",
        "255.0.0.0",
        "255.255.255.255",
        "::",
        "8000::",
        "ff00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    let expected = [
        false, false, true, true, false, false, false, true, false, false,
    ];
    assert_eq!(answers(&rules, clients), expected);
}

#[test]
fn ipv4_and_ipv6_are_apart_and_mapped_addresses_are_ipv4() {
    let six = rules(&[], &["::/0"]);
    assert_eq!(
        answers(&six, ["1.2.3.4", "::ffff:1.2.3.4", "::1"]),
        [true, true, false]
    );
    let four = rules(&[], &["0.0.0.0/0"]);
    assert_eq!(
        answers(&four, ["1.2.3.4", "::ffff:1.2.3.4", "::1"]),
        [false, false, true]
    );
}

#[test]
fn a_hundred_thousand_prefixes_take_eight_or_thirty_two_bytes_each() {
    let mut rng = Xoshiro::new(5);
    let mut random = |v6: bool| {
        let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        if v6 {
            let length = 64 + u8::try_from(rng.below(65)).unwrap();
            let kept = bits >> (128 - length) << (128 - length);
            Prefix::new(Ipv6Addr::from_bits(kept).into(), length).unwrap()
        } else {
            let length = 16 + u8::try_from(rng.below(17)).unwrap();
            let kept = u32::try_from(bits >> 96).unwrap() >> (32 - length) << (32 - length);
            Prefix::new(Ipv4Addr::from_bits(kept).into(), length).unwrap()
        }
    };
    let four: Vec<_> = (0..100_000).map(|_| random(false)).collect();
    let six: Vec<_> = (0..100_000).map(|_| random(true)).collect();
    let four = AddressRules::new([], four);
    let six = AddressRules::new([], six);
    assert!(four.memory() <= 800_000, "{}", four.memory());
    assert!(six.memory() <= 3_200_000, "{}", six.memory());
    assert!(six.memory() > 3_000_000, "{}", six.memory());
}

/// Prefixes in so small a space that they nest, touch and repeat.
fn prefixes(v6: bool) -> impl Strategy<Value = Vec<Prefix>> {
    proptest::collection::vec((any::<u8>(), 0..=8_u8), 0..12).prop_map(move |lines| {
        let make = |(bits, length): (u8, u8)| {
            let kept = bits & 0xff_u8.checked_shl((8 - length).into()).unwrap_or(0);
            if v6 {
                let bits = u128::from(kept) << 120;
                Prefix::new(Ipv6Addr::from_bits(bits).into(), length).expect("no host bits")
            } else {
                let bits = u32::from(kept) << 24;
                Prefix::new(Ipv4Addr::from_bits(bits).into(), length).expect("no host bits")
            }
        };
        lines.into_iter().map(make).collect()
    })
}

/// What the lists say, read line by line.
fn model(allow: &[Prefix], deny: &[Prefix], client: IpAddr) -> bool {
    let longest = |list: &[Prefix]| {
        let within = list.iter().filter(|prefix| prefix.contains(client));
        within.map(|prefix| prefix.length()).max()
    };
    match (longest(allow), longest(deny)) {
        (None, None) => allow.is_empty(),
        (allow, deny) => allow > deny,
    }
}

proptest! {
    #[test]
    fn the_ranges_agree_with_the_lists(
        v6: bool,
        lists in any::<bool>().prop_flat_map(|v6| (prefixes(v6), prefixes(v6))),
        others in prefixes(true),
    ) {
        let (allow, mut deny) = lists;
        if v6 {
            deny.extend(others);
        }
        let rules = AddressRules::new(allow.clone(), deny.clone());
        for top in 0..=255_u8 {
            for rest in [0, u128::MAX >> 8] {
                let bits = u128::from(top) << 120 | rest;
                let six = IpAddr::from(Ipv6Addr::from_bits(bits));
                let four = IpAddr::from(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()));
                for client in [six, four] {
                    prop_assert_eq!(rules.allows(client), model(&allow, &deny, client), "{}", client);
                }
            }
        }
    }

    #[test]
    fn a_prefix_is_read_as_it_was_printed(bits: u128, length in 0..=128_u8, v4: bool) {
        let made = if v4 {
            let length = length % 33;
            let keep = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let bits = u32::try_from(bits >> 96).unwrap() & keep;
            Prefix::new(Ipv4Addr::from_bits(bits).into(), length)
        } else {
            let keep = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Prefix::new(Ipv6Addr::from_bits(bits & keep).into(), length)
        };
        let made = made.unwrap();
        prop_assert_eq!(made.to_string().parse(), Ok(made));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[0-9a-f:./]{0,24}") {
        let _ = text.parse::<Prefix>();
    }
}
