//! What anybody may send to a tunnel's end.

use lb_l4::method::tunnel::{
    DecapsulateError, Encapsulation, InnerError, decapsulate, encapsulate,
};
use lb_l4::packet::{Checksum, DropReason, Link, Offload};
use lb_l4::wire::{Frame, ParseError, parse};
use proptest::prelude::*;

use super::setup::{
    OUTER, V4, V6, buffer, datagram, dont_fragment, headers, packet, right_checksum, tunnel,
    tunnels,
};

fn around(inner: &[u8], kind: Encapsulation, outer: usize) -> Vec<u8> {
    let mut buffer = buffer(inner);
    let mut packet = packet(&mut buffer, Link::Ip);
    let mut read = headers(packet.bytes(), Link::Ip);
    encapsulate(&mut packet, &mut read, &tunnel(kind, OUTER[outer]), 1).unwrap();
    packet.bytes().to_vec()
}

/// Why `bytes` are not taken out; they are then as they were.
fn refused(bytes: &[u8]) -> Option<DecapsulateError> {
    let mut buffer = buffer(bytes);
    let mut packet = packet(&mut buffer, Link::Ip);
    let read = headers(packet.bytes(), Link::Ip);
    let error = decapsulate(&mut packet, &read, Some(6080)).err();
    if error.is_some() {
        assert_eq!(packet.bytes(), bytes);
    }
    error
}

#[test]
fn a_packet_that_is_no_tunnel_is_left() {
    let none = Some(DecapsulateError::Header(InnerError::NoTunnel));
    assert_eq!(refused(&datagram(V4, b"x")), none);
    let bytes = around(&datagram(V4, b"x"), Encapsulation::Gue { port: 1 }, 0);
    assert_eq!(refused(&bytes), none);
}

#[test]
fn a_fragment_of_a_tunnel_is_left() {
    let mut bytes = around(&datagram(V4, b"x"), Encapsulation::Ipip, 0);
    bytes[6] = 0x20;
    bytes.truncate(44);
    bytes[3] = 44;
    right_checksum(&mut bytes);
    assert_eq!(refused(&bytes), Some(DecapsulateError::Fragment));
}

#[test]
fn content_must_be_what_the_tunnel_says() {
    let mut bytes = around(&datagram(V4, b"x"), Encapsulation::Gre, 0);
    bytes[22..24].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(refused(&bytes), Some(DecapsulateError::Version));
    let mut bytes = around(&datagram(V6, b"x"), Encapsulation::Ipip, 0);
    bytes[9] = 4;
    right_checksum(&mut bytes);
    assert_eq!(refused(&bytes), Some(DecapsulateError::Version));
}

#[test]
fn content_must_not_be_longer_than_the_tunnel_s_packet() {
    let mut bytes = around(&datagram(V4, b"x"), Encapsulation::Ipip, 0);
    bytes[23] += 1;
    let error = refused(&bytes);
    assert_eq!(error, Some(DecapsulateError::Inner(ParseError::Length)));
    assert_eq!(
        error.map(DecapsulateError::reason),
        Some(DropReason::Malformed)
    );
}

#[test]
fn what_follows_shorter_content_is_cut_off() {
    let inner = datagram(V4, b"x");
    let bytes = around(&[&inner[..], b""].concat(), Encapsulation::Ipip, 1);
    let mut longer = [&bytes[..], b"rest"].concat();
    longer[5] += 4;
    let mut buffer = buffer(&longer);
    let mut packet = packet(&mut buffer, Link::Ip);
    let read = headers(packet.bytes(), Link::Ip);
    assert!(decapsulate(&mut packet, &read, None).is_ok());
    assert_eq!(packet.bytes(), inner);
}

#[test]
fn what_lies_behind_the_udp_length_is_no_content() {
    let mut bytes = around(&datagram(V4, b"xyz"), Encapsulation::GUE, 0);
    bytes[25] -= 1;
    assert_eq!(
        refused(&bytes),
        Some(DecapsulateError::Inner(ParseError::Length))
    );
}

#[test]
fn a_wrong_checksum_of_the_tunnel_is_refused_and_none_is_taken() {
    let mut bytes = around(&datagram(V4, b"x"), Encapsulation::GUE, 1);
    assert_eq!(refused(&bytes), None);
    bytes[46] ^= 1;
    assert_eq!(refused(&bytes), Some(DecapsulateError::Checksum));
    bytes[46..48].copy_from_slice(&[0, 0]);
    assert_eq!(refused(&bytes), None);
}

#[test]
fn a_checksum_that_the_host_left_to_hardware_is_taken() {
    let mut bytes = around(&datagram(V4, b"x"), Encapsulation::GUE, 1);
    let pseudo = headers(&bytes, Link::Ip).pseudo_header_sum();
    let pseudo = lb_l4::wire::checksum::fold(pseudo);
    bytes[46..48].copy_from_slice(&pseudo.to_be_bytes());
    assert_eq!(refused(&bytes), Some(DecapsulateError::Checksum));
    let mut buffer = buffer(&bytes);
    let mut packet = packet(&mut buffer, Link::Ip).offload(Offload::partial(None));
    let read = headers(packet.bytes(), Link::Ip);
    assert!(decapsulate(&mut packet, &read, Some(6080)).is_ok());
}

#[test]
fn a_gre_checksum_is_checked() {
    let plain = around(&datagram(V4, b"x"), Encapsulation::Gre, 1);
    let mut bytes = [&plain[..40], &[0x80, 0, 8, 0, 0, 0, 0, 0], &plain[44..]].concat();
    bytes[5] += 4;
    let checksum = !lb_l4::wire::checksum::fold(lb_l4::wire::checksum::sum(&bytes[40..]));
    bytes[44..46].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(refused(&bytes), None);
    bytes[45] ^= 1;
    assert_eq!(refused(&bytes), Some(DecapsulateError::Checksum));
}

#[test]
fn each_refusal_has_the_reason_it_is_counted_under() {
    use DecapsulateError::{Checksum, Congestion, Fragment, Header, Version};
    for (error, reason) in [
        (Checksum, DropReason::BadChecksum),
        (Congestion, DropReason::Malformed),
        (Fragment, DropReason::Unsupported),
        (Header(InnerError::NoTunnel), DropReason::Unsupported),
        (Header(InnerError::Unsupported), DropReason::Unsupported),
        (Header(InnerError::Truncated), DropReason::Malformed),
        (
            DecapsulateError::Inner(ParseError::Jumbogram),
            DropReason::Unsupported,
        ),
        (Version, DropReason::Malformed),
    ] {
        assert_eq!(error.reason(), reason, "{error}");
    }
}

#[test]
fn tunnels_in_tunnels_come_out_one_by_one() {
    let inner = datagram(V6, b"x");
    let twice = around(
        &around(&inner, Encapsulation::Gre, 0),
        Encapsulation::Ipip,
        1,
    );
    let mut buffer = buffer(&twice);
    let mut packet = packet(&mut buffer, Link::Ip);
    let read = headers(packet.bytes(), Link::Ip);
    let middle = decapsulate(&mut packet, &read, None).unwrap();
    assert_eq!(middle, headers(packet.bytes(), Link::Ip));
    decapsulate(&mut packet, &middle, None).unwrap();
    assert_eq!(packet.bytes(), inner);
}

proptest! {
    /// Any bytes behind a right outer header: refused and left, or taken out and whole.
    #[test]
    fn any_content_is_refused_or_right(
        protocol in prop::sample::select(vec![4_u8, 41, 47, 17]),
        content in prop::collection::vec(any::<u8>(), 0..200),
        class in any::<u8>(),
    ) {
        let mut bytes = vec![0x45, class, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 1, 7];
        bytes.extend_from_slice(&content);
        let total = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        right_checksum(&mut bytes);
        check(&bytes)?;
    }

    /// As above, of packets that were right but for some bytes.
    #[test]
    fn a_damaged_tunnel_is_refused_or_right(
        which in 0..6_usize,
        six in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut inner = datagram(if six { V6 } else { V4 }, b"some payload");
        if !six {
            dont_fragment(&mut inner, true);
        }
        let made = tunnels().nth(which).unwrap();
        let mut bytes = around(&inner, made.kind, which % 2);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes)?;
    }
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Frame::Ip(read)) = parse(bytes, Link::Ip) else {
        return Ok(());
    };
    let mut buffer = buffer(bytes);
    let mut packet = packet(&mut buffer, Link::Ip);
    match decapsulate(&mut packet, &read, Some(6080)) {
        Ok(inner) => {
            prop_assert_eq!(inner, headers(packet.bytes(), Link::Ip));
            prop_assert_eq!(inner.end, packet.bytes().len());
            let _ = inner.checksum_is_right(packet.bytes(), Checksum::Complete);
        }
        Err(_) => prop_assert_eq!(packet.bytes(), bytes),
    }
    Ok(())
}
