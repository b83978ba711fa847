//! Turns a packet into the error about it.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use thiserror::Error;

use super::message::Message;
use super::rewrite::{LEAST_V4, LEAST_V6};
use crate::packet::{Link, Offload, Packet};
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Body, Headers, protocol};

/// What to say of a packet that does not go on, in the words of both families.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// It may not (RFC 1812 type 3 code 13, RFC 4443 type 1 code 1).
    AdministrativelyProhibited,
    /// Whom it is for cannot be reached (RFC 792 type 3 code 1, RFC 4443 type 1 code 3).
    HostUnreachable,
    /// Nobody takes what is sent there: no backend (RFC 792 type 3 code 3, RFC 4443 type 1 code 4).
    PortUnreachable,
    /// Its time to live is over (RFC 792 type 11 code 0, RFC 4443 type 3 code 0).
    TimeExceeded,
    /// It does not fit, and may not be cut (RFC 1191 type 3 code 4, RFC 4443 type 2).
    TooBig {
        /// Bytes that fit, from the IP header on: of a tunnel what
        /// [`mtu_inside`](super::mtu_inside) says. Below 68 (IPv4) or 1280 (IPv6) that is said.
        mtu: u32,
    },
}

impl Refusal {
    /// Type, code, and the four bytes behind the checksum, in the family of `to`.
    pub(super) fn number(self, to: IpAddr) -> (u8, u8, u32) {
        match (self, to.is_ipv4()) {
            (Self::AdministrativelyProhibited, true) => (3, 13, 0),
            (Self::AdministrativelyProhibited, false) => (1, 1, 0),
            (Self::HostUnreachable, true) => (3, 1, 0),
            (Self::HostUnreachable, false) => (1, 3, 0),
            (Self::PortUnreachable, true) => (3, 3, 0),
            (Self::PortUnreachable, false) => (1, 4, 0),
            (Self::TimeExceeded, true) => (11, 0, 0),
            (Self::TimeExceeded, false) => (3, 0, 0),
            (Self::TooBig { mtu }, true) => (3, 4, mtu.clamp(LEAST_V4, 0xffff)),
            (Self::TooBig { mtu }, false) => (2, 0, mtu.max(LEAST_V6)),
        }
    }
}

/// Why a packet gets no answer; it is as it was.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Unanswerable {
    /// The address to answer from is of the other family.
    #[error("no address of this family to answer from")]
    Family,
    /// See [`may_be_answered`], or it is not what this answers.
    #[error("the packet must not be answered")]
    Forbidden,
    /// There is no room in the buffer for the headers.
    #[error("no room for the answer")]
    NoRoom,
}

/// Whether a packet may be answered with an error, or with a RST.
///
/// Never (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443 section 2.4(e)): an ICMP error
/// or redirect, or ICMP of a type not known; a fragment but the first; a packet to a group or to
/// all, by its IP or by its link address; one from an address that is not one host's.
#[must_use]
pub fn may_be_answered(packet: &Packet<'_>, headers: &Headers) -> bool {
    let question = match (headers.protocol, headers.body) {
        (_, Body::LaterFragment) => false,
        // Echo and its reply, timestamp and its reply.
        (protocol::ICMP, Body::Icmp { kind, .. }) => matches!(kind, 0 | 8 | 13 | 14),
        (protocol::ICMPV6, Body::Icmp { kind, .. }) => matches!(kind, 128 | 129),
        // A chain of headers that was not understood, or the family's other ICMP.
        (protocol::ICMP | protocol::ICMPV6, _) => false,
        _ => true,
    };
    question && is_between_hosts(packet, headers)
}

/// Whether it comes from one host and goes to one, as far as its addresses tell.
pub(super) fn is_between_hosts(packet: &Packet<'_>, headers: &Headers) -> bool {
    let group = match (packet.link(), packet.bytes().first()) {
        (Link::Ethernet, Some(first)) => first & 1 != 0,
        (Link::Ethernet, None) => true,
        (Link::Ip, _) => false,
    };
    !group && is_host(headers.source) && is_host(headers.destination)
}

/// Whether it may be the address of one host elsewhere (RFC 1122, section 3.2.1.3; RFC 1112 for
/// what begins with 240; RFC 4291, section 2.5).
pub(super) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4
            .octets()
            .first()
            .is_some_and(|first| matches!(first, 1..=126 | 128..=223)),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast()),
    }
}

/// Turns `packet` into the error about it, from `source`, to its sender, in its buffer; the link's
/// addresses change places. What it was before is quoted, as much as the RFCs allow.
///
/// Nothing is limited here; see [`Answers`](super::Answers). [`Headers`] and offloads do not hold
/// any more. Cost: reads what is quoted, and copies what stands in front of it.
///
/// # Errors
///
/// [`Unanswerable`], and the packet is as it was. Without 28 bytes (IPv4) or 48 (IPv6) of headroom
/// there may be no room.
///
/// # Examples
///
/// See [`embedded`](super::embedded()).
pub fn refuse(
    packet: &mut Packet<'_>,
    headers: &Headers,
    refusal: Refusal,
    source: IpAddr,
) -> Result<(), Unanswerable> {
    if !may_be_answered(packet, headers) {
        return Err(Unanswerable::Forbidden);
    }
    if source.is_ipv4() != headers.is_ipv4() {
        return Err(Unanswerable::Family);
    }
    let message = Message {
        refusal,
        source,
        destination: headers.source,
    };
    let quoted = (headers.end - headers.network).min(message.quotes());
    make_room(packet, headers.network, message.front(), quoted).ok_or(Unanswerable::NoRoom)?;
    let bytes = packet.bytes_mut();
    let ip = bytes.get_mut(headers.network..).unwrap_or_default();
    message.write(ip).ok_or(Unanswerable::NoRoom)?;
    turn_back(packet);
    Ok(())
}

/// Leaves the link's header, a gap of `front` bytes, and `quoted` bytes.
fn make_room(packet: &mut Packet<'_>, network: usize, front: usize, quoted: usize) -> Option<()> {
    if packet.headroom() >= front {
        packet.open_gap(network, front)?;
    } else {
        let from = network..network + quoted;
        let len = packet.bytes().len().max(from.end + front);
        let bytes = packet.set_len(len)?;
        bytes.copy_within(from, network + front);
    }
    packet.set_len(network + front + quoted)?;
    Some(())
}

/// Sends a packet that was made from another one where that came from.
pub(super) fn turn_back(packet: &mut Packet<'_>) {
    packet.set_offloads(Offload::default());
    if packet.link() == Link::Ethernet
        && let Some(header) = ethernet::Header::parse(packet.bytes())
    {
        let ethernet::Header {
            source,
            destination,
            ..
        } = header;
        swap_to(packet, source, destination);
    }
}

fn swap_to(packet: &mut Packet<'_>, destination: Mac, source: Mac) {
    // A frame that was parsed is as long as its addresses.
    let _ = ethernet::set_addresses(packet.bytes_mut(), destination, source);
}
