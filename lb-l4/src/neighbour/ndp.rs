//! The two messages of neighbour discovery that say who is where (RFC 4861, 4.3 and 4.4).
//!
//! Accepted: what the rules of 7.1.1 and 7.1.2 permit; options other than link addresses are passed
//! over. Not accepted: fragments (RFC 6980), and messages that came through a router.

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

use super::announce::ALL_NODES;
use super::ask::multicast_mac;
use crate::packet::Checksum;
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Body, Headers, checksum, ipv6, protocol};

/// What a neighbour says.
#[expect(clippy::exhaustive_enums, reason = "a question or an answer")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// Who has the target?
    Solicitation {
        /// Whose link address is asked for.
        target: Ipv6Addr,
        /// The link address of who asks; `None` if it only asks whether the target is taken (RFC
        /// 4862, 5.4), or left it out.
        source_mac: Option<Mac>,
    },
    /// The target is here.
    Advertisement {
        /// Whose link address it is.
        target: Ipv6Addr,
        /// The link address; `None` if it was left out, as an answer to one that knew it may.
        mac: Option<Mac>,
        /// Whether it answers a question.
        solicited: bool,
        /// Whether it counts more than what is known.
        overrides: bool,
    },
}

/// Whether the packet of `headers` is one of these messages, right or wrong.
#[must_use]
pub const fn is_message(headers: &Headers) -> bool {
    headers.protocol == protocol::ICMPV6
        && matches!(
            headers.body,
            Body::Icmp {
                kind: SOLICITATION | ADVERTISEMENT,
                ..
            }
        )
}

/// Whether it says what a neighbour's link address is, right or wrong.
pub(crate) const fn is_advertisement(headers: &Headers) -> bool {
    is_message(headers)
        && matches!(
            headers.body,
            Body::Icmp {
                kind: ADVERTISEMENT,
                ..
            }
        )
}

impl Message {
    /// Reads the message of the packet of `headers`, and checks all that RFC 4861 wants checked.
    ///
    /// # Errors
    ///
    /// See [`NdpError`]; the packet is to be discarded silently.
    pub fn parse(bytes: &[u8], headers: &Headers) -> Result<Self, NdpError> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (headers.source, headers.destination)
        else {
            return Err(NdpError::Other);
        };
        if !is_message(headers) {
            return Err(NdpError::Other);
        }
        if headers.ttl != HOP_LIMIT {
            return Err(NdpError::HopLimit);
        }
        if headers.fragment.is_some() {
            return Err(NdpError::Fragment);
        }
        if !headers.checksum_is_right(bytes, Checksum::Complete) {
            return Err(NdpError::Checksum);
        }
        let body = bytes.get(headers.transport..headers.end);
        let (fixed, options) = body
            .and_then(<[u8]>::split_first_chunk::<FIXED>)
            .ok_or(NdpError::Length)?;
        let &[kind, code, _, _, flags, _, _, _, target @ ..] = fixed;
        let target = Ipv6Addr::from_octets(target);
        if code != 0 || target.is_multicast() {
            return Err(NdpError::Content);
        }
        if kind == SOLICITATION {
            let source_mac = option(options, SOURCE_OPTION)?;
            let to_group = is_solicited_node(destination);
            if source.is_unspecified() && (source_mac.is_some() || !to_group) {
                return Err(NdpError::Content);
            }
            return Ok(Self::Solicitation { target, source_mac });
        }
        let solicited = flags & SOLICITED != 0;
        if solicited && destination.is_multicast() {
            return Err(NdpError::Content);
        }
        Ok(Self::Advertisement {
            target,
            mac: option(options, TARGET_OPTION)?,
            solicited,
            overrides: flags & OVERRIDE != 0,
        })
    }
}

/// Why a message is to be discarded; the bytes came from the network.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum NdpError {
    /// The ICMPv6 checksum.
    #[error("checksum is wrong")]
    Checksum,
    /// A code, a target or a destination that there must not be.
    #[error("fields contradict RFC 4861, 7.1")]
    Content,
    /// RFC 6980: none of its messages may be cut.
    #[error("fragmented")]
    Fragment,
    /// It came through a router, so not from the link.
    #[error("hop limit is not 255")]
    HopLimit,
    /// Shorter than its fixed part, or an option that is longer than the rest or empty.
    #[error("message or option is cut short")]
    Length,
    /// Another message.
    #[error("neither a solicitation nor an advertisement")]
    Other,
}

/// An advertisement to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) target: Ipv6Addr,
    /// Who asked; `None` for all.
    pub(super) to: Option<(Ipv6Addr, Mac)>,
}

impl Answer {
    /// Its frame, from `mac`.
    pub(super) fn frame(&self, mac: Mac) -> Vec<u8> {
        let (address, to) = self.to.unwrap_or((ALL_NODES, multicast_mac(ALL_NODES)));
        let solicited = if self.to.is_some() { SOLICITED } else { 0 };
        let message = Emitted {
            kind: ADVERTISEMENT,
            flags: OVERRIDE | solicited,
            target: self.target,
            option: TARGET_OPTION,
        };
        message.frame(self.target, mac, address, to)
    }
}

/// Who has `target`? To `known` alone if it is said.
pub(super) fn solicitation(
    mac: Mac,
    source: Ipv6Addr,
    known: Option<Mac>,
    target: Ipv6Addr,
) -> Vec<u8> {
    let group = solicited_node(target);
    let (address, to) = match known {
        Some(known) => (target, known),
        None => (group, multicast_mac(group)),
    };
    let message = Emitted {
        kind: SOLICITATION,
        flags: 0,
        target,
        option: SOURCE_OPTION,
    };
    message.frame(source, mac, address, to)
}

/// A message with the sender's link address as its option.
struct Emitted {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
}

impl Emitted {
    fn frame(&self, source: Ipv6Addr, mac: Mac, destination: Ipv6Addr, to: Mac) -> Vec<u8> {
        let mut body = Vec::with_capacity(FIXED + OPTION);
        body.extend_from_slice(&[self.kind, 0, 0, 0, self.flags, 0, 0, 0]);
        body.extend_from_slice(&self.target.octets());
        body.extend_from_slice(&[self.option, 1]);
        body.extend_from_slice(&mac.0);
        let pseudo = checksum::pseudo_header(
            source.into(),
            destination.into(),
            protocol::ICMPV6,
            body.len(),
        );
        let checksum = !checksum::fold(pseudo + checksum::sum(&body));
        if let Some([_, _, field @ ..]) = body.first_chunk_mut::<4>() {
            *field = checksum.to_be_bytes();
        }
        let header = ipv6::Header {
            source,
            destination,
            protocol: protocol::ICMPV6,
            ttl: HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
            payload_len: body.len(),
        };
        let mut frame = Vec::with_capacity(ethernet::HEADER + ipv6::HEADER + body.len());
        ethernet::Header {
            destination: to,
            source: mac,
            kind: ethernet::IPV6,
            ..ethernet::Header::default()
        }
        .emit(&mut frame);
        frame.extend_from_slice(&header.bytes());
        frame.extend_from_slice(&body);
        frame
    }
}

/// The link address in the last option of this kind. Reads every option: one wrong one spoils all.
fn option(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, NdpError> {
    let mut found = None;
    while let Some((&kind, rest)) = options.split_first() {
        let words = rest.first().copied().unwrap_or(0);
        let (option, behind) = options
            .split_at_checked(usize::from(words) * 8)
            .filter(|_| words > 0)
            .ok_or(NdpError::Length)?;
        if kind == wanted {
            // RFC 2464, 6: the option of Ethernet has 8 bytes.
            let &[_, _, mac @ ..] = option.first_chunk::<OPTION>().ok_or(NdpError::Length)?;
            if words != 1 {
                return Err(NdpError::Length);
            }
            found = Some(Mac(mac)).filter(|mac| !mac.is_multicast());
        }
        options = behind;
    }
    Ok(found)
}

/// The group that all addresses with these last 24 bits listen to (RFC 4291, 2.7.1).
const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(SOLICITED_NODE | address.to_bits() & LOW_24)
}

const fn is_solicited_node(address: Ipv6Addr) -> bool {
    address.to_bits() & !LOW_24 == SOLICITED_NODE
}

const LOW_24: u128 = 0xff_ffff;
const SOLICITED_NODE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// No router has taken one off.
const HOP_LIMIT: u8 = 255;
const FIXED: usize = 24;
const OPTION: usize = 8;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
