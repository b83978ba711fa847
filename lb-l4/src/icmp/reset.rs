//! Turns a TCP segment into the RST against it.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use super::refuse::turn_back;
use super::{Unanswerable, may_be_answered};
use crate::packet::Packet;
use crate::wire::emit::DEFAULT_TTL;
use crate::wire::tcp::flags;
use crate::wire::{Headers, TcpHeader, checksum, ipv4, ipv6, protocol, tcp};

/// Turns a TCP segment into the RST that a host sends which knows no such connection, in its
/// buffer; the link's addresses change places.
///
/// Clients take it as "connection refused", and it passes where ICMP does not. [`Headers`] and
/// offloads do not hold any more. Source: RFC 9293, section 3.10.7.1.
///
/// # Errors
///
/// [`Unanswerable::Forbidden`] for a RST, a fragment, what is no TCP, and what
/// [`may_be_answered`] says no of; the packet is as it was.
pub fn reset(packet: &mut Packet<'_>, headers: &Headers) -> Result<(), Unanswerable> {
    let tcp = headers.tcp().filter(|tcp| !tcp.has(flags::RST));
    let whole = headers.fragment.is_none();
    let Some(tcp) = tcp.filter(|_| whole && may_be_answered(packet, headers)) else {
        return Err(Unanswerable::Forbidden);
    };
    let segment = segment(headers, tcp);
    let ip_len = write_ip(packet, headers).ok_or(Unanswerable::Family)?;
    let transport = headers.network + ip_len;
    let bytes = packet
        .set_len(transport + segment.len())
        .ok_or(Unanswerable::NoRoom)?;
    let place = bytes.get_mut(transport..).unwrap_or_default();
    place.copy_from_slice(&segment);
    turn_back(packet);
    Ok(())
}

/// The 20 bytes of the header, with its checksum.
fn segment(headers: &Headers, tcp: &TcpHeader) -> [u8; tcp::HEADER] {
    let (sequence, acknowledgement, flags) = if tcp.has(flags::ACK) {
        (tcp.acknowledgement, 0, flags::RST)
    } else {
        let acknowledgement = tcp.sequence.wrapping_add(headers.segment_len());
        (0, acknowledgement, flags::RST | flags::ACK)
    };
    let [s0, s1] = tcp.destination_port.to_be_bytes();
    let [d0, d1] = tcp.source_port.to_be_bytes();
    let [q0, q1, q2, q3] = sequence.to_be_bytes();
    let [a0, a1, a2, a3] = acknowledgement.to_be_bytes();
    let mut segment = [
        s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, 0x50, flags, 0, 0, 0, 0, 0, 0,
    ];
    let (source, destination) = (headers.destination, headers.source);
    let pseudo = checksum::pseudo_header(source, destination, protocol::TCP, segment.len());
    let [c0, c1] = (!checksum::fold(pseudo + checksum::sum(&segment))).to_be_bytes();
    let [.., field0, field1, _, _] = &mut segment;
    (*field0, *field1) = (c0, c1);
    segment
}

/// Writes the IP header of the answer over that of the segment, and gives its length.
fn write_ip(packet: &mut Packet<'_>, headers: &Headers) -> Option<usize> {
    let place = packet.bytes_mut().get_mut(headers.network..)?;
    match (headers.destination, headers.source) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = ipv4::Header {
                source,
                destination,
                protocol: protocol::TCP,
                ttl: DEFAULT_TTL,
                traffic_class: 0,
                identification: 0,
                dont_fragment: true,
                payload_len: tcp::HEADER,
            };
            *place.first_chunk_mut()? = header.bytes();
            Some(ipv4::HEADER)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = ipv6::Header {
                source,
                destination,
                protocol: protocol::TCP,
                ttl: DEFAULT_TTL,
                traffic_class: 0,
                flow_label: 0,
                payload_len: tcp::HEADER,
            };
            *place.first_chunk_mut()? = header.bytes();
            Some(ipv6::HEADER)
        }
        _ => None,
    }
}
