//! What is read is what etherparse reads.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_l4::packet::Link;
use lb_l4::wire::{Body, Frame, Headers, TcpHeader, parse};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::sample::{Sample, sample};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_field_of_a_valid_packet_is_what_another_parser_reads(sample in sample()) {
        let headers = read(&sample.bytes, sample.link).unwrap();
        let judged = judge(&sample.bytes, sample.link).unwrap();
        compare(&sample.bytes, &headers, &judged)?;
        prop_assert_eq!(headers.fragment, None);
        prop_assert!(headers.header_checksum_is_right(&sample.bytes));
        prop_assert!(headers.checksum_is_right(&sample.bytes, sample.checksum));
    }

    #[test]
    fn where_both_parsers_take_a_broken_packet_they_read_the_same(
        sample in sample(),
        changes in prop::collection::vec(any::<(Index, u8)>(), 1..4),
        cut in any::<Index>(),
    ) {
        let Sample { mut bytes, link, .. } = sample;
        // Few changes make a packet that is still taken; most of those are in the headers.
        for (at, value) in changes {
            let len = bytes.len().min(80);
            bytes[at.index(len)] = value;
        }
        if cut.index(3) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (Some(headers), Some(judged)) = (read(&bytes, link), judge(&bytes, link)) else {
            return Ok(());
        };
        compare(&bytes, &headers, &judged)?;
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_lie_about_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        first in prop::option::of(prop::sample::select(vec![0x45_u8, 0x46, 0x4f, 0x60])),
        ethernet in any::<bool>(),
    ) {
        let link = if ethernet { Link::Ethernet } else { Link::Ip };
        let mut bytes = bytes;
        if let (Some(first), Some(byte)) = (first, bytes.first_mut()) {
            *byte = first;
        }
        if let Some(headers) = read(&bytes, link) {
            prop_assert!(headers.network < headers.transport);
            prop_assert!(headers.transport <= headers.end);
            prop_assert!(headers.end <= bytes.len());
            let payload = headers.payload();
            prop_assert!(payload.start <= payload.end && payload.end <= headers.end);
        }
    }

    #[test]
    fn a_packet_that_is_cut_anywhere_is_refused(sample in sample(), at in any::<Index>()) {
        let headers = read(&sample.bytes, sample.link).unwrap();
        let short = &sample.bytes[..at.index(headers.end)];
        // Without its Ethernet type even the question is not there.
        prop_assert!(parse(short, sample.link).is_err());
    }
}

fn read(bytes: &[u8], link: Link) -> Option<Headers> {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => Some(headers),
        _ => None,
    }
}

fn judge(bytes: &[u8], link: Link) -> Option<SlicedPacket<'_>> {
    match link {
        Link::Ethernet => SlicedPacket::from_ethernet(bytes).ok(),
        Link::Ip => SlicedPacket::from_ip(bytes).ok(),
    }
}

fn compare(
    bytes: &[u8],
    headers: &Headers,
    judged: &SlicedPacket<'_>,
) -> Result<(), TestCaseError> {
    let payload = match judged.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            prop_assert_eq!(headers.source, header.source_addr());
            prop_assert_eq!(headers.destination, header.destination_addr());
            prop_assert_eq!(headers.ttl, header.ttl());
            let class = header.dcp().value() << 2 | header.ecn().value();
            prop_assert_eq!(headers.traffic_class, class);
            prop_assert_eq!(headers.dont_fragment, header.dont_fragment());
            prop_assert_eq!(headers.fragment.is_some(), header.is_fragmenting_payload());
            if let Some(part) = headers.fragment {
                prop_assert_eq!(part.identification, u32::from(header.identification()));
                prop_assert_eq!(
                    part.offset,
                    usize::from(header.fragments_offset().value()) * 8
                );
                prop_assert_eq!(part.more, header.more_fragments());
            }
            ip.payload()
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            prop_assert_eq!(headers.source, header.source_addr());
            prop_assert_eq!(headers.destination, header.destination_addr());
            prop_assert_eq!(headers.ttl, header.hop_limit());
            prop_assert_eq!(headers.traffic_class, header.traffic_class());
            prop_assert_eq!(headers.fragment.is_some(), ip.is_payload_fragmented());
            // In a later fragment the one takes data for headers, and in the first the other reads
            // on.
            if headers.fragment.is_some() {
                return Ok(());
            }
            // A length of 0 is taken as "all there is" by one, and as none by the other.
            if header.payload_length() == 0 {
                return Ok(());
            }
            ip.payload()
        }
        NetSlice::Arp(_) => return Err(TestCaseError::fail("ARP read as IP")),
    };
    if headers.is_first_fragment() {
        // The one reads the header behind, and the other does not.
        return Ok(());
    }
    prop_assert_eq!(headers.protocol, payload.ip_number.0);
    let offset = payload.payload.as_ptr() as usize - bytes.as_ptr() as usize;
    prop_assert_eq!(headers.transport, offset);
    prop_assert_eq!(headers.end, offset + payload.payload.len());
    match (headers.body, &judged.transport) {
        (Body::Tcp(ours), Some(TransportSlice::Tcp(tcp))) => {
            compare_tcp(&ours, tcp, bytes, headers)
        }
        (
            Body::Udp {
                source_port,
                destination_port,
                length,
            },
            Some(TransportSlice::Udp(udp)),
        ) => {
            prop_assert_eq!(source_port, udp.source_port());
            prop_assert_eq!(destination_port, udp.destination_port());
            prop_assert_eq!(length, udp.length());
            prop_assert_eq!(&bytes[headers.payload()], udp.payload());
            Ok(())
        }
        (Body::Icmp { kind, code }, Some(TransportSlice::Icmpv4(icmp))) => {
            prop_assert_eq!([kind, code], [icmp.type_u8(), icmp.code_u8()]);
            Ok(())
        }
        (Body::Icmp { kind, code }, Some(TransportSlice::Icmpv6(icmp))) => {
            prop_assert_eq!([kind, code], [icmp.type_u8(), icmp.code_u8()]);
            Ok(())
        }
        (Body::LaterFragment | Body::Other | Body::Sctp { .. } | Body::Icmp { .. }, None) => Ok(()),
        (Body::Other, Some(TransportSlice::Igmp(_))) => Ok(()),
        (ours, theirs) => Err(TestCaseError::fail(format!("{ours:?} is not {theirs:?}"))),
    }
}

fn compare_tcp(
    ours: &TcpHeader,
    tcp: &etherparse::TcpSlice<'_>,
    bytes: &[u8],
    headers: &Headers,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.source_port, tcp.source_port());
    prop_assert_eq!(ours.destination_port, tcp.destination_port());
    prop_assert_eq!(ours.sequence, tcp.sequence_number());
    prop_assert_eq!(ours.acknowledgement, tcp.acknowledgment_number());
    prop_assert_eq!(ours.window, tcp.window_size());
    let flags = [
        tcp.fin(),
        tcp.syn(),
        tcp.rst(),
        tcp.psh(),
        tcp.ack(),
        tcp.urg(),
        tcp.ece(),
        tcp.cwr(),
    ];
    for (bit, set) in flags.into_iter().enumerate() {
        prop_assert_eq!(ours.flags >> bit & 1 == 1, set);
    }
    prop_assert_eq!(ours.len, tcp.header_slice().len());
    prop_assert_eq!(&bytes[headers.payload()], tcp.payload());
    let extra = u32::from(tcp.syn()) + u32::from(tcp.fin());
    let len = u32::try_from(tcp.payload().len()).unwrap() + extra;
    prop_assert_eq!(headers.segment_len(), len);
    Ok(())
}
