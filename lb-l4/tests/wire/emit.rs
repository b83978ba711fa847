//! What is written, another parser reads, and finds right.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpSlice, SlicedPacket, TransportSlice};
use lb_l4::packet::{Checksum, Link};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::{Frame, parse};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::judge::errors;
use crate::sample::tcp_options;

fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    (prop_oneof![v4, v6], any::<(u16, u16)>())
        .prop_map(|((a, b), (p, q))| (SocketAddr::new(a, p), SocketAddr::new(b, q)))
}

/// Reads it with ours, which also judges its checksums, and gives the other's reading.
fn judged(bytes: &[u8]) -> Result<SlicedPacket<'_>, TestCaseError> {
    let Ok(Frame::Ip(headers)) = parse(bytes, Link::Ip) else {
        return Err(TestCaseError::fail("not IP"));
    };
    prop_assert_eq!(errors(bytes, &headers, Checksum::Complete), (0, 0));
    prop_assert_eq!(headers.end, bytes.len());
    let sliced = SlicedPacket::from_ip(bytes).unwrap();
    Ok(sliced)
}

proptest! {
    #[test]
    fn a_segment_is_read_as_it_was_meant(
        ends in ends(),
        numbers in any::<(u32, u32, u16)>(),
        marks in any::<(u8, u8, u8)>(),
        options in tcp_options(),
        payload in vec(any::<u8>(), 0..50),
    ) {
        let (sequence, acknowledgement, window) = numbers;
        let (flags, ttl, class) = marks;
        let mut bytes = b"before".to_vec();
        TcpSegment::new(ends.0, ends.1, flags)
            .sequence(sequence)
            .acknowledgement(acknowledgement)
            .window(window)
            .options(&options)
            .payload(&payload)
            .ttl(ttl)
            .traffic_class(class)
            .emit(&mut bytes);
        let bytes = bytes.strip_prefix(b"before").unwrap();
        let sliced = judged(bytes)?;
        let ip = IpSlice::from_slice(bytes).unwrap();
        prop_assert_eq!(ip.source_addr(), ends.0.ip());
        prop_assert_eq!(ip.destination_addr(), ends.1.ip());
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            return Err(TestCaseError::fail("not TCP"));
        };
        prop_assert_eq!([tcp.source_port(), tcp.destination_port()], [ends.0.port(), ends.1.port()]);
        prop_assert_eq!([tcp.sequence_number(), tcp.acknowledgment_number()], [sequence, acknowledgement]);
        prop_assert_eq!((tcp.window_size(), tcp.urgent_pointer()), (window, 0));
        prop_assert_eq!(bytes[bytes.len() - payload.len() - tcp.header_slice().len() + 13], flags);
        prop_assert_eq!(tcp.options(), &options[..]);
        prop_assert_eq!(tcp.payload(), &payload[..]);
        let Ok(Frame::Ip(headers)) = parse(bytes, Link::Ip) else {
            return Err(TestCaseError::fail("not IP"));
        };
        prop_assert_eq!((headers.ttl, headers.traffic_class, headers.dont_fragment), (ttl, class, true));
    }

    #[test]
    fn a_datagram_is_read_as_it_was_meant_and_always_has_a_checksum(
        ends in ends(),
        payload in vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = Vec::new();
        Datagram::new(ends.0, ends.1, &payload).ttl(9).traffic_class(0x88).emit(&mut bytes);
        let sliced = judged(&bytes)?;
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
            return Err(TestCaseError::fail("not UDP"));
        };
        prop_assert_eq!([udp.source_port(), udp.destination_port()], [ends.0.port(), ends.1.port()]);
        prop_assert_eq!(udp.payload(), &payload[..]);
        prop_assert_ne!(udp.checksum(), 0);
        let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
            return Err(TestCaseError::fail("not IP"));
        };
        prop_assert_eq!((headers.ttl, headers.traffic_class), (9, 0x88));
    }
}

#[test]
fn a_datagram_whose_sum_comes_out_as_none_is_sent_with_all_ones() {
    // Every first word of the payload is tried: one of them makes the sum 0xffff.
    let mut all_ones = 0;
    for word in 0..=u16::MAX {
        let mut bytes = Vec::new();
        Datagram::new(
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
            &word.to_be_bytes(),
        )
        .emit(&mut bytes);
        assert_ne!(bytes[26..28], [0, 0]);
        all_ones += usize::from(bytes[26..28] == [0xff, 0xff]);
    }
    assert_eq!(all_ones, 1);
}

#[test]
fn a_segment_whose_sum_comes_out_as_zero_is_sent_with_zero() {
    let mut zeros = 0;
    for window in 0..=u16::MAX {
        let mut bytes = Vec::new();
        let (source, destination) = ("192.0.2.1:1", "192.0.2.2:2");
        TcpSegment::new(source.parse().unwrap(), destination.parse().unwrap(), 2)
            .window(window)
            .emit(&mut bytes);
        assert_ne!(bytes[36..38], [0xff, 0xff]);
        zeros += usize::from(bytes[36..38] == [0, 0]);
    }
    assert!((1..=2).contains(&zeros));
}

#[test]
fn what_is_too_long_is_cut_to_the_largest_packet() {
    let long = vec![1; 70_000];
    for (source, destination) in [
        ("192.0.2.1:1", "192.0.2.2:2"),
        ("[2001:db8::1]:1", "[2001:db8::2]:2"),
    ] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut bytes = Vec::new();
        TcpSegment::new(source, destination, 2)
            .options(&long)
            .payload(&long)
            .emit(&mut bytes);
        let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
            panic!("not IP")
        };
        assert_eq!(headers.tcp().unwrap().len, 60);
        assert_eq!(headers.end - headers.transport, 65_515);
        assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
        let mut bytes = Vec::new();
        Datagram::new(source, destination, &long).emit(&mut bytes);
        let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
            panic!("not IP")
        };
        assert_eq!(headers.payload().len(), 65_507);
        assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
    }
}

#[test]
fn ends_of_two_families_make_an_ipv6_packet() {
    let mut bytes = Vec::new();
    let (v4, v6) = (
        "192.0.2.1:1".parse().unwrap(),
        "[2001:db8::2]:2".parse().unwrap(),
    );
    TcpSegment::new(v4, v6, 2).emit(&mut bytes);
    let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
        panic!("not IP")
    };
    assert_eq!(headers.source.to_string(), "::ffff:192.0.2.1");
    assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
}
