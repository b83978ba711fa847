//! Turns an echo request into its reply.
#![warn(clippy::indexing_slicing)]

use super::Unanswerable;
use super::patch::Patch;
use super::refuse::{is_between_hosts, turn_back};
use super::rewrite::ICMP_CHECKSUM;
use crate::packet::{Checksum, Packet};
use crate::wire::emit::DEFAULT_TTL;
use crate::wire::{Body, Headers, ipv4, ipv6, protocol, rewrite};

/// Turns an echo request into its reply, in place; the link's addresses change places too.
///
/// A later fragment of a request, which [`FragmentTable`](crate::fragment::FragmentTable) knows as
/// [`Subject::Echo`](crate::fragment::Subject::Echo), becomes that fragment of the reply; the caller
/// answers for that it is one. The checksum is updated by what changes alone, with every carry: a
/// wrong one stays wrong, and the sender sees it. Cost: no look at the payload.
///
/// Source: RFC 792, RFC 1122 section 3.2.2.6, RFC 4443 section 4.2.
///
/// # Errors
///
/// [`Unanswerable::Forbidden`], and the packet is as it was: no echo request, options or extension
/// headers, which the reply would have to turn round, or addresses that are not those of hosts.
pub fn echo_reply(packet: &mut Packet<'_>, headers: &Headers) -> Result<(), Unanswerable> {
    let ipv4 = headers.is_ipv4();
    let plain = match (ipv4, headers.fragment) {
        (true, _) => ipv4::HEADER,
        (false, None) => ipv6::HEADER,
        (false, Some(_)) => ipv6::HEADER + FRAGMENT_HEADER,
    };
    let reply = match (headers.protocol, headers.body) {
        (protocol::ICMP, Body::Icmp { kind: 8, .. }) if ipv4 => Some(0),
        (protocol::ICMPV6, Body::Icmp { kind: 128, .. }) if !ipv4 => Some(129),
        (protocol::ICMP, Body::LaterFragment) if ipv4 => None,
        (protocol::ICMPV6, Body::LaterFragment) if !ipv4 => None,
        _ => return Err(Unanswerable::Forbidden),
    };
    if headers.transport - headers.network != plain || !is_between_hosts(packet, headers) {
        return Err(Unanswerable::Forbidden);
    }
    let mut headers = *headers;
    let (source, destination) = (headers.source, headers.destination);
    let bytes = packet.bytes_mut();
    rewrite::set_source(bytes, &mut headers, destination, None, Checksum::Complete);
    rewrite::set_destination(bytes, &mut headers, source, None, Checksum::Complete);
    let written = match reply {
        Some(kind) => set_kind(bytes, headers.transport, kind),
        None => Some(()),
    };
    written
        .and_then(|()| renew_ttl(bytes, &headers))
        .ok_or(Unanswerable::Forbidden)?;
    turn_back(packet);
    Ok(())
}

fn set_kind(bytes: &mut [u8], transport: usize, kind: u8) -> Option<()> {
    let mut patch = Patch::new(bytes);
    let [_, code] = patch.word(transport)?.to_be_bytes();
    patch.set_word(transport, u16::from_be_bytes([kind, code]))?;
    let delta = patch.delta;
    let checksum = match delta.apply(patch.word(transport + ICMP_CHECKSUM)?) {
        // A reply may be of zeros alone, whose checksum is all ones, and which equation 3 of RFC
        // 1624 gives as 0. Over anything else either is as right.
        0 => u16::MAX,
        checksum => checksum,
    };
    patch.set_word(transport + ICMP_CHECKSUM, checksum)
}

fn renew_ttl(bytes: &mut [u8], headers: &Headers) -> Option<()> {
    if !headers.is_ipv4() {
        *bytes.get_mut(headers.network + HOP_LIMIT)? = DEFAULT_TTL;
        return Some(());
    }
    let mut patch = Patch::new(bytes);
    let field = headers.network + TTL;
    let [_, protocol] = patch.word(field)?.to_be_bytes();
    patch.set_word(field, u16::from_be_bytes([DEFAULT_TTL, protocol]))?;
    let delta = patch.delta;
    let field = headers.network + CHECKSUM;
    let checksum = patch.word(field)?;
    patch.set_word(field, delta.apply(checksum))
}

/// Where the fields lie in their headers.
const TTL: usize = 8;
const CHECKSUM: usize = 10;
const HOP_LIMIT: usize = 7;

const FRAGMENT_HEADER: usize = 8;
