//! Valid packets at random, written by etherparse and, where it has no writer, by hand.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header};
use etherparse::{Ipv6RawExtHeader, TcpHeader, UdpHeader};
use lb_l4::packet::{Checksum, Link};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::judge::{pseudo, residue};

/// A packet, and what the transport says of its checksum.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) link: Link,
    pub(crate) checksum: Checksum,
}

/// What is behind the IP header.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Tcp { flags: u8, options: Vec<u8> },
    Udp { without_checksum: bool },
    Icmp { kind: u8 },
    Other,
}

/// IP header, options and extension headers.
#[derive(Clone, Debug)]
struct Outer {
    ends: Ends,
    class: u8,
    ttl: u8,
    options: Vec<u8>,
    extensions: Vec<Extension>,
}

#[derive(Clone, Debug)]
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

#[derive(Clone, Debug)]
enum Extension {
    HopByHop(Vec<u8>),
    Destination(Vec<u8>),
    Routing(Vec<u8>),
    Atomic(u32),
}

/// Options of a TCP header as stacks send them: any sequence of whole ones, padded to a multiple of
/// 4 bytes, at most 40.
pub(crate) fn tcp_options() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        Just(vec![1]),
        any::<[u8; 2]>().prop_map(|it| [&[2, 4][..], &it].concat()),
        any::<u8>().prop_map(|it| vec![3, 3, it]),
        Just(vec![4, 2]),
        vec(any::<[u8; 8]>(), 1..4).prop_map(|it| {
            let blocks = it.concat();
            [&[5, u8::try_from(blocks.len() + 2).unwrap()][..], &blocks].concat()
        }),
        any::<[u8; 8]>().prop_map(|it| [&[8, 10][..], &it].concat()),
        any::<[u8; 6]>().prop_map(|it| [&[254, 8][..], &it].concat()),
        any::<[u8; 18]>().prop_map(|it| [&[253, 20][..], &it].concat()),
        vec(any::<u8>(), 0..6)
            .prop_map(|it| [&[30, u8::try_from(it.len() + 2).unwrap()][..], &it].concat()),
    ];
    (vec(one, 0..6), any::<bool>()).prop_map(|(options, ended)| {
        let mut bytes = Vec::new();
        for option in options {
            if bytes.len() + option.len() <= 40 {
                bytes.extend(option);
            }
        }
        let padding = if ended { 0 } else { 1 };
        bytes.resize(bytes.len().next_multiple_of(4), padding);
        bytes
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => (any::<u8>(), tcp_options())
            .prop_map(|(flags, options)| Content::Tcp { flags, options }),
        3 => prop::bool::weighted(0.2)
            .prop_map(|without_checksum| Content::Udp { without_checksum }),
        1 => any::<u8>().prop_map(|kind| Content::Icmp { kind }),
        1 => Just(Content::Other),
    ]
}

fn outer() -> impl Strategy<Value = Outer> {
    let ends = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| Ends::V4(a, b)),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| Ends::V6(a, b)),
    ];
    let options = prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![0x94, 4, 0, 0]),
        1 => any::<[u8; 8]>().prop_map(|it| [&[7, 11, 4][..], &it, &[1]].concat()),
        1 => Just(vec![1; 40]),
        1 => Just(vec![0x94, 4, 0, 0, 0, 0, 0, 0]),
    ];
    let payload = || (0..3_usize, any::<u8>()).prop_map(|(n, fill)| vec![fill; 6 + 8 * n]);
    let routing = payload().prop_map(|mut it| {
        it[1] = 0;
        it
    });
    let extensions = (
        prop::option::weighted(0.2, payload().prop_map(Extension::HopByHop)),
        prop::option::weighted(0.2, payload().prop_map(Extension::Destination)),
        prop::option::weighted(0.2, routing.prop_map(Extension::Routing)),
        prop::option::weighted(0.2, any::<u32>().prop_map(Extension::Atomic)),
        prop::option::weighted(0.2, payload().prop_map(Extension::Destination)),
    )
        .prop_map(|(a, b, c, d, e)| {
            // Destination options stand twice only if a routing header is between them.
            let e = if b.is_some() && c.is_none() { None } else { e };
            [a, b, c, d, e].into_iter().flatten().collect()
        });
    (ends, any::<u8>(), any::<u8>(), options, extensions).prop_map(
        |(ends, class, ttl, options, extensions)| Outer {
            ends,
            class,
            ttl,
            options,
            extensions,
        },
    )
}

/// Whole packets with right checksums, of every kind that is read.
pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    of(content())
}

/// The same, of TCP alone.
pub(crate) fn segment() -> impl Strategy<Value = Sample> {
    let content = (any::<u8>(), tcp_options());
    of(content.prop_map(|(flags, options)| Content::Tcp { flags, options }))
}

fn of(content: impl Strategy<Value = Content>) -> impl Strategy<Value = Sample> {
    (
        outer(),
        content,
        any::<[u8; 16]>(),
        vec(any::<u8>(), 0..70),
        prop::option::of((0..3_usize, 0..7_usize)),
        any::<bool>(),
    )
        .prop_map(|(outer, content, noise, payload, ethernet, partial)| {
            let checksum = match (&content, partial) {
                (Content::Tcp { .. } | Content::Udp { .. }, true) => Checksum::Partial,
                _ => Checksum::Complete,
            };
            let (protocol, body) = body(&outer, &content, noise, &payload, checksum);
            let packet = ip(&outer, protocol, &body);
            let Some((tags, padding)) = ethernet else {
                return Sample {
                    bytes: packet,
                    link: Link::Ip,
                    checksum,
                };
            };
            let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            let tag: [&[u8]; 3] = [
                &[],
                &[0x81, 0, 0x20, 5],
                &[0x88, 0xa8, 0, 9, 0x81, 0, 0x20, 5],
            ];
            bytes.extend(tag[tags]);
            bytes.extend(if packet[0] >> 4 == 4 {
                [8, 0]
            } else {
                [0x86, 0xdd]
            });
            bytes.extend(packet);
            bytes.extend(vec![0xee; padding]);
            Sample {
                bytes,
                link: Link::Ethernet,
                checksum,
            }
        })
}

/// The bytes behind the IP header, with a right checksum.
fn body(
    outer: &Outer,
    content: &Content,
    noise: [u8; 16],
    payload: &[u8],
    checksum: Checksum,
) -> (u8, Vec<u8>) {
    let word = |at: usize| u16::from_be_bytes([noise[at], noise[at + 1]]);
    let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
    let (protocol, mut bytes, field) = match content {
        Content::Tcp { flags, options } => {
            let mut header = TcpHeader::new(word(0), word(2), long(4), word(12));
            header.acknowledgment_number = long(8);
            header.urgent_pointer = word(14);
            header.set_options_raw(options).unwrap();
            let mut bytes = header.to_bytes().to_vec();
            bytes[13] = *flags;
            (6, bytes, 16)
        }
        Content::Udp { .. } => {
            let header = UdpHeader {
                source_port: word(0),
                destination_port: word(2),
                length: u16::try_from(8 + payload.len()).unwrap(),
                checksum: 0,
            };
            (17, header.to_bytes().to_vec(), 6)
        }
        Content::Icmp { kind } => {
            let protocol = if matches!(outer.ends, Ends::V4(..)) {
                1
            } else {
                58
            };
            (
                protocol,
                [&[*kind, noise[0], 0, 0][..], &noise[1..5]].concat(),
                2,
            )
        }
        Content::Other => return (99, payload.to_vec()),
    };
    bytes.extend(payload);
    if matches!(
        content,
        Content::Udp {
            without_checksum: true
        }
    ) && checksum == Checksum::Complete
    {
        return (protocol, bytes);
    }
    let (source, destination) = match outer.ends {
        Ends::V4(a, b) => (a.into(), b.into()),
        Ends::V6(a, b) => (a.into(), b.into()),
    };
    let pseudo: u64 = match protocol {
        1 => 0,
        _ => pseudo(source, destination, protocol, bytes.len()),
    };
    let sum = match checksum {
        Checksum::Complete => 65_535 - (pseudo + residue(&bytes)) % 65_535,
        Checksum::Partial => pseudo,
    };
    // What is 0 modulo 65,535 is sent as 0, but by UDP.
    let sum = if sum == 65_535 && protocol != 17 {
        0
    } else {
        sum
    };
    let field = &mut bytes[field..field + 2];
    field.copy_from_slice(&u16::try_from(sum).unwrap().to_be_bytes());
    (protocol, bytes)
}

fn ip(outer: &Outer, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match outer.ends {
        Ends::V4(source, destination) => {
            let mut header =
                Ipv4Header::new(0, outer.ttl, IpNumber(protocol), source, destination).unwrap();
            header.options = outer.options[..].try_into().unwrap();
            header.set_payload_len(body.len()).unwrap();
            header.dscp = (outer.class >> 2).try_into().unwrap();
            header.ecn = (outer.class & 3).try_into().unwrap();
            header.dont_fragment = outer.ttl.is_multiple_of(2);
            header.write(&mut bytes).unwrap();
        }
        Ends::V6(source, destination) => {
            let (first, extensions) = chain(&outer.extensions, protocol);
            let header = Ipv6Header {
                traffic_class: outer.class,
                flow_label: 0x000a_bcde.try_into().unwrap(),
                payload_length: u16::try_from(extensions.len() + body.len()).unwrap(),
                next_header: first,
                hop_limit: outer.ttl,
                source,
                destination,
            };
            header.write(&mut bytes).unwrap();
            bytes.extend(extensions);
        }
    }
    bytes.extend(body);
    bytes
}

/// The first next-header field, and the extension headers with theirs.
fn chain(extensions: &[Extension], protocol: u8) -> (IpNumber, Vec<u8>) {
    let mut next = IpNumber(protocol);
    let mut bytes = Vec::new();
    for extension in extensions.iter().rev() {
        let mut header = Vec::new();
        let (number, payload) = match extension {
            Extension::HopByHop(payload) => (0, Some(payload)),
            Extension::Routing(payload) => (43, Some(payload)),
            Extension::Destination(payload) => (60, Some(payload)),
            Extension::Atomic(identification) => {
                let offset = IpFragOffset::ZERO;
                Ipv6FragmentHeader::new(next, offset, false, *identification)
                    .write(&mut header)
                    .unwrap();
                (44, None)
            }
        };
        if let Some(payload) = payload {
            let raw = Ipv6RawExtHeader::new_raw(next, payload).unwrap();
            raw.write(&mut header).unwrap();
        }
        header.extend(bytes);
        bytes = header;
        next = IpNumber(number);
    }
    (next, bytes)
}
