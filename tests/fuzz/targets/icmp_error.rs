//! Whatever an error quotes, it is rewritten in bounds, and its checksum stays as right as it was.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use lb_l4::icmp::{
    Embedded, Refusal, Translation, echo_reply, embedded, is_error, refuse, reset, rewrite,
    tunnelled,
};
use lb_l4::packet::{Checksum, Link, Packet};
use lb_l4::wire::emit::IpHeader;
use lb_l4::wire::{Frame, Headers, checksum, parse, protocol};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[how, a, b], rest)) = input.split_first_chunk() else {
        return;
    };
    // A quotation in an error that is right around it, or all of the packet.
    let bytes = match how % 3 {
        0 => error("198.51.100.1", "192.0.2.1", protocol::ICMP, &[a, b], rest),
        1 => error(
            "2001:db8::1",
            "2001:db8::2",
            protocol::ICMPV6,
            &[a, b],
            rest,
        ),
        _ => rest.to_vec(),
    };
    let link = if how & 0x40 == 0 {
        Link::Ip
    } else {
        Link::Ethernet
    };
    let Ok(Frame::Ip(headers)) = parse(&bytes, link) else {
        return;
    };
    let room = if how & 0x80 == 0 { 0 } else { 64 };
    rewritten(&bytes, &headers);
    answered(&bytes, link, &headers, room);
});

/// An ICMP message whose type, code, and rest of the header are at the front of `behind`.
fn error(from: &str, to: &str, protocol: u8, kind: &[u8], behind: &[u8]) -> Vec<u8> {
    let [source, destination]: [IpAddr; 2] = [from, to].map(|it| it.parse().expect("an address"));
    let mut message = [kind, &[0, 0], behind].concat();
    let mut pseudo = 0;
    if destination.is_ipv6() {
        pseudo = checksum::pseudo_header(source, destination, protocol, message.len());
    }
    let sum = !checksum::fold(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = Vec::new();
    IpHeader {
        source,
        destination,
        protocol,
        ttl: 64,
        traffic_class: 0,
        payload_len: message.len(),
    }
    .emit(&mut bytes);
    bytes.extend_from_slice(&message);
    bytes
}

fn rewritten(bytes: &[u8], headers: &Headers) {
    let Some(found) = embedded(bytes, headers) else {
        return;
    };
    assert!(is_error(headers));
    let mut error = bytes.to_vec();
    let mut after = *headers;
    let [one, other]: [SocketAddr; 2] = if headers.is_ipv4() {
        ["10.1.2.3:456", "10.7.8.9:1"].map(|it| it.parse().expect("an end"))
    } else {
        ["[fd00::1]:456", "[fd00::2]:1"].map(|it| it.parse().expect("an end"))
    };
    let right = headers.checksum_is_right(bytes, Checksum::Complete);
    let into = Translation::new(one, other)
        .from(other.ip())
        .sequence_shift(7);
    if rewrite(&mut error, &mut after, &found, &into).is_err() {
        assert_eq!(error, bytes);
        return;
    }
    assert_eq!(after.checksum_is_right(&error, Checksum::Complete), right);
    let again = embedded(&error, &after).expect("it is one still");
    assert_eq!((again.key.source, again.key.destination), (one, other));
    assert_eq!(again.sequence, found.sequence.map(|it| it.wrapping_add(7)));
    back(error, after, &found, headers, bytes);
}

/// The way back gives the bytes that were, save for the two ways to write 0.
fn back(mut error: Vec<u8>, mut after: Headers, found: &Embedded, headers: &Headers, was: &[u8]) {
    let again = embedded(&error, &after).expect("it is one still");
    let mut into = Translation::new(found.key.source, found.key.destination)
        .from(headers.source)
        .sequence_shift(7_u32.wrapping_neg());
    into.destination = headers.destination;
    rewrite(&mut error, &mut after, &again, &into).expect("as before");
    for (a, b) in error.chunks(2).zip(was.chunks(2)) {
        let zero = |it: &[u8]| it == [0, 0] || it == [0xff, 0xff];
        assert!(a == b || (zero(a) && zero(b)), "{a:02x?} {b:02x?}");
    }
}

fn answered(bytes: &[u8], link: Link, headers: &Headers, room: usize) {
    let in_room = |each: &mut dyn FnMut(&mut Packet<'_>) -> bool| {
        let mut buffer = vec![0; room];
        buffer.extend_from_slice(bytes);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, room..end, link);
        if !each(&mut packet) {
            assert_eq!(packet.bytes(), bytes, "it is as it was");
            return None;
        }
        let Ok(Frame::Ip(read)) = parse(packet.bytes(), link) else {
            panic!("an answer that cannot be read");
        };
        Some((packet.bytes().to_vec(), read))
    };
    let own = headers.destination;
    let refusal = Refusal::TooBig { mtu: 1300 };
    let refused = in_room(&mut |it| refuse(it, headers, refusal, own).is_ok());
    let reset = in_room(&mut |it| reset(it, headers).is_ok());
    let unwrapped = in_room(&mut |it| {
        let found = tunnelled(it.bytes(), headers);
        found.is_some_and(|found| {
            found
                .answer(it, headers, found.inner.key.destination.ip())
                .is_ok()
        })
    });
    for (answer, read) in [&refused, &reset, &unwrapped].into_iter().flatten() {
        assert!(read.header_checksum_is_right(answer));
        assert!(read.checksum_is_right(answer, Checksum::Complete));
    }
    if let Some((answer, read)) = refused {
        assert_eq!((read.source, read.destination), (own, headers.source));
        assert!(read.end - read.network <= if own.is_ipv4() { 576 } else { 1280 });
        assert!(
            headers.flow().is_none() || embedded(&answer, &read).map(|it| it.key) == headers.flow()
        );
    }
    let right = headers.checksum_is_right(bytes, Checksum::Complete);
    if let Some((answer, read)) = in_room(&mut |it| echo_reply(it, headers).is_ok()) {
        assert_eq!(read.checksum_is_right(&answer, Checksum::Complete), right);
    }
}
