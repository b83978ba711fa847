//! Where a fragment lies in its datagram, and where its identification lies in the packet.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use super::spans::Span;
use crate::wire::checksum::Delta;
use crate::wire::{FragmentPart, Headers, ipv4, ipv6, protocol};

/// What the fragments of one datagram have in common (RFC 791; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct DatagramKey {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// 0 in IPv6, whose fragments may disagree about it.
    protocol: u8,
}

impl DatagramKey {
    pub(super) const fn of(headers: &Headers, part: FragmentPart) -> Self {
        Self {
            source: headers.source,
            destination: headers.destination,
            identification: part.identification,
            protocol: if headers.is_ipv4() {
                headers.protocol
            } else {
                0
            },
        }
    }
}

/// The bytes of the datagram in this fragment; `None` for those that no datagram can have.
pub(super) fn span(bytes: &[u8], headers: &Headers, part: FragmentPart) -> Option<Span> {
    let (front, start_at) = if headers.is_ipv4() {
        (headers.transport - headers.network, headers.transport)
    } else {
        let at = fragment_header(bytes, headers)?;
        // The headers before the fragment header are in the whole datagram too, less the fixed one
        // which its length does not count (RFC 8200, section 4.5).
        let front = at.checked_sub(headers.network + ipv6::HEADER)?;
        (front, at + FRAGMENT_HEADER)
    };
    let len = headers.end.checked_sub(start_at)?;
    let end = part.offset.checked_add(len)?;
    let uneven = part.more && len % 8 != 0;
    let inside_tcp = headers.protocol == protocol::TCP
        && part.offset > 0
        && part.offset < TCP_HEADER
        && headers.is_later_fragment();
    if len == 0 || uneven || inside_tcp || front + end > usize::from(u16::MAX) {
        return None;
    }
    Some(Span {
        start: u16::try_from(part.offset).ok()?,
        end: u16::try_from(end).ok()?,
        last: !part.more,
    })
}

/// Gives a fragment another identification, and says whether it has one.
///
/// All fragments of a datagram must get the same, and no other datagram between the same addresses
/// for as long as the receiver remembers it (RFC 6864; RFC 4963 tells what comes of mixing). The checksum of an IPv4 header stays as right or as wrong as it was.
pub fn set_identification(bytes: &mut [u8], headers: &mut Headers, identification: u32) -> bool {
    let Some(part) = &mut headers.fragment else {
        return false;
    };
    let written = if headers.source.is_ipv4() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the field of IPv4 has 16 bits"
        )]
        let new = identification as u16;
        part.identification = u32::from(new);
        set_ipv4(bytes, headers.network, new)
    } else {
        part.identification = identification;
        set_ipv6(bytes, headers, identification)
    };
    written.is_some()
}

fn set_ipv4(bytes: &mut [u8], network: usize, new: u16) -> Option<()> {
    let header = bytes
        .get_mut(network..)?
        .first_chunk_mut::<{ ipv4::HEADER }>()?;
    let [_, _, _, _, i0, i1, _, _, _, _, c0, c1, ..] = header;
    let old = u16::from_be_bytes([*i0, *i1]);
    let checksum = Delta::default()
        .replace(old, new)
        .apply(u16::from_be_bytes([*c0, *c1]));
    [*i0, *i1] = new.to_be_bytes();
    [*c0, *c1] = checksum.to_be_bytes();
    Some(())
}

fn set_ipv6(bytes: &mut [u8], headers: &Headers, new: u32) -> Option<()> {
    let at = fragment_header(bytes, headers)?;
    let field = bytes.get_mut(at + 4..)?.first_chunk_mut::<4>()?;
    *field = new.to_be_bytes();
    Some(())
}

/// Offset of the fragment header of an IPv6 packet that [`parse`](crate::wire::parse) has read.
pub(super) fn fragment_header(bytes: &[u8], headers: &Headers) -> Option<usize> {
    let header = bytes
        .get(headers.network..)?
        .first_chunk::<{ ipv6::HEADER }>()?;
    let [_, _, _, _, _, _, mut next, ..] = *header;
    let mut at = headers.network + ipv6::HEADER;
    for _ in 0..=ipv6::MAX_EXTENSIONS {
        let &[following, units, o0, o1, ..] = bytes.get(at..)?.first_chunk::<8>()?;
        // One that says "from 0 to the end" makes no fragment (RFC 6946); another may be behind it.
        if next == FRAGMENT && (u16::from_be_bytes([o0, o1]) & !RESERVED) != 0 {
            return Some(at);
        }
        at += match next {
            FRAGMENT => FRAGMENT_HEADER,
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(units) + 1) * 8,
            _ => return None,
        };
        next = following;
    }
    None
}

/// Bytes of the fragment header of IPv6.
pub(super) const FRAGMENT_HEADER: usize = 8;

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// The two bits between the offset and the flag that fragments follow.
const RESERVED: u16 = 0b110;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
