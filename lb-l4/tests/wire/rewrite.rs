//! Every change leaves the checksums as right, or as wrong, as they were.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_l4::packet::Checksum;
use lb_l4::wire::{Body, Frame, Headers, parse, rewrite};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::judge::errors;
use crate::sample::{Sample, sample};

#[derive(Clone, Debug)]
enum Change {
    Source(u128, Option<u16>),
    Destination(u128, Option<u16>),
    Ttl,
    Class(u8),
    Sequence(u32),
    Acknowledgement(u32),
    Window(u16),
}

fn change() -> impl Strategy<Value = Change> {
    // Values at the edges of the arithmetic come often.
    let word = prop_oneof![any::<u16>(), Just(0), Just(1), Just(0xfffe), Just(0xffff)];
    let bits = prop_oneof![any::<u128>(), Just(0), Just(u128::MAX), Just(1)];
    prop_oneof![
        (bits.clone(), prop::option::of(word.clone())).prop_map(|(a, b)| Change::Source(a, b)),
        (bits, prop::option::of(word.clone())).prop_map(|(a, b)| Change::Destination(a, b)),
        Just(Change::Ttl),
        any::<u8>().prop_map(Change::Class),
        (word.clone(), word.clone())
            .prop_map(|(a, b)| Change::Sequence(u32::from(a) << 16 | u32::from(b))),
        (word.clone(), word.clone())
            .prop_map(|(a, b)| Change::Acknowledgement(u32::from(a) << 16 | u32::from(b))),
        word.prop_map(Change::Window),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "any 32 bits are an address"
)]
fn address(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn ports(headers: &Headers) -> bool {
    matches!(headers.body, Body::Tcp(_) | Body::Udp { .. })
}

/// Does the change, and says what is to be seen of it.
fn apply(
    change: &Change,
    bytes: &mut [u8],
    headers: &mut Headers,
    checksum: Checksum,
) -> Result<(), TestCaseError> {
    let before = *headers;
    match *change {
        Change::Source(bits, port) => {
            let address = address(headers.source, bits);
            rewrite::set_source(bytes, headers, address, port, checksum);
            prop_assert_eq!(headers.source, address);
            prop_assert_eq!(headers.destination_end(), before.destination_end());
            if ports(headers) {
                let port = port.unwrap_or_else(|| before.source_end().port());
                prop_assert_eq!(headers.source_end().port(), port);
            }
        }
        Change::Destination(bits, port) => {
            let address = address(headers.destination, bits);
            rewrite::set_destination(bytes, headers, address, port, checksum);
            prop_assert_eq!(headers.destination, address);
            prop_assert_eq!(headers.source_end(), before.source_end());
            if ports(headers) {
                let port = port.unwrap_or_else(|| before.destination_end().port());
                prop_assert_eq!(headers.destination_end().port(), port);
            }
        }
        Change::Ttl => {
            let done = rewrite::decrement_ttl(bytes, headers).is_ok();
            prop_assert_eq!(done, before.ttl > 1);
            prop_assert_eq!(headers.ttl, before.ttl - u8::from(done));
        }
        Change::Class(class) => {
            rewrite::set_traffic_class(bytes, headers, class);
            prop_assert_eq!(headers.traffic_class, class);
        }
        Change::Sequence(to) => {
            rewrite::set_sequence(bytes, headers, to, checksum);
            prop_assert!(headers.tcp().is_none_or(|tcp| tcp.sequence == to));
        }
        Change::Acknowledgement(to) => {
            rewrite::set_acknowledgement(bytes, headers, to, checksum);
            prop_assert!(headers.tcp().is_none_or(|tcp| tcp.acknowledgement == to));
        }
        Change::Window(to) => {
            rewrite::set_window(bytes, headers, to, checksum);
            prop_assert!(headers.tcp().is_none_or(|tcp| tcp.window == to));
        }
    }
    Ok(())
}

/// The checksum of UDP, if it is UDP.
fn udp_field(bytes: &[u8], headers: &Headers) -> Option<u16> {
    let Body::Udp { .. } = headers.body else {
        return None;
    };
    let at = headers.l4_checksum_field()?;
    Some(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_checksum_stays_as_wrong_as_it_was_through_any_changes(
        sample in sample(),
        broken in prop_oneof![Just((0, 0)), any::<(u16, u16)>()],
        changes in vec(change(), 1..8),
    ) {
        let Sample { mut bytes, link, checksum } = sample;
        let Ok(Frame::Ip(mut headers)) = parse(&bytes, link) else {
            return Err(TestCaseError::fail("not IP"));
        };
        let none = udp_field(&bytes, &headers) == Some(0) && checksum == Checksum::Complete;
        for (at, by) in [
            (headers.is_ipv4().then_some(headers.network + 10), broken.0),
            (headers.l4_checksum_field().filter(|_| !none), broken.1),
        ] {
            if let Some(at) = at {
                let field = u16::from_be_bytes([bytes[at], bytes[at + 1]]) ^ by;
                bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
            }
        }
        let none = udp_field(&bytes, &headers) == Some(0) && checksum == Checksum::Complete;
        let before = errors(&bytes, &headers, checksum);
        let payload = bytes[headers.payload()].to_vec();
        for change in &changes {
            apply(change, &mut bytes, &mut headers, checksum)?;
            prop_assert_eq!(parse(&bytes, link), Ok(Frame::Ip(headers)));
            prop_assert_eq!(&bytes[headers.payload()], &payload[..]);
            let after = errors(&bytes, &headers, checksum);
            prop_assert_eq!(after.0, before.0);
            if none {
                prop_assert_eq!(udp_field(&bytes, &headers), Some(0));
            } else {
                prop_assert_eq!(after.1, before.1);
                if checksum == Checksum::Complete {
                    prop_assert_ne!(udp_field(&bytes, &headers), Some(0));
                }
            }
            let right = (after.0 == 0, after.1 == 0 || none);
            prop_assert_eq!(headers.header_checksum_is_right(&bytes), right.0);
            prop_assert_eq!(headers.checksum_is_right(&bytes, checksum), right.1);
        }
    }

    #[test]
    fn an_address_of_the_other_family_changes_nothing(sample in sample(), port in any::<u16>()) {
        let Sample { mut bytes, link, checksum } = sample;
        let Ok(Frame::Ip(mut headers)) = parse(&bytes, link) else {
            return Err(TestCaseError::fail("not IP"));
        };
        let (old, before) = (bytes.clone(), headers);
        let other: IpAddr = match headers.source {
            IpAddr::V4(_) => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
        };
        rewrite::set_source(&mut bytes, &mut headers, other, Some(port), checksum);
        rewrite::set_destination(&mut bytes, &mut headers, other, Some(port), checksum);
        prop_assert_eq!((bytes, headers), (old, before));
    }

    #[test]
    fn ports_do_not_touch_a_partial_checksum(
        sample in sample(),
        ports in any::<(u16, u16)>(),
    ) {
        let Sample { mut bytes, link, .. } = sample;
        let Ok(Frame::Ip(mut headers)) = parse(&bytes, link) else {
            return Err(TestCaseError::fail("not IP"));
        };
        if headers.flow().is_none() {
            return Ok(());
        }
        let at = headers.l4_checksum_field().unwrap();
        let before = bytes[at..at + 2].to_vec();
        let (source, destination) = (headers.source, headers.destination);
        let partial = Checksum::Partial;
        rewrite::set_source(&mut bytes, &mut headers, source, Some(ports.0), partial);
        rewrite::set_destination(&mut bytes, &mut headers, destination, Some(ports.1), partial);
        rewrite::set_sequence(&mut bytes, &mut headers, 1, partial);
        // The same sum; but 0 and 65,535 are the same.
        let after = &bytes[at..at + 2];
        prop_assert!(after == before || (before == [0, 0] && after == [0xff, 0xff]));
    }
}
