//! The front of an error of our own: an IP header, and the ICMP header before the quotation.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use super::Refusal;
use super::embedded::ICMP_HEADER;
use crate::wire::emit::DEFAULT_TTL;
use crate::wire::{checksum, ipv4, ipv6, protocol};

/// An error to be written before what it quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) refusal: Refusal,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

impl Message {
    /// Bytes of both headers.
    pub(super) const fn front(&self) -> usize {
        match self.destination {
            IpAddr::V4(_) => ipv4::HEADER + ICMP_HEADER,
            IpAddr::V6(_) => ipv6::HEADER + ICMP_HEADER,
        }
    }

    /// Bytes of the packet that may be quoted: IPv4 up to 576 in all (RFC 1812, section 4.3.2.3),
    /// IPv6 up to 1280 (RFC 4443, section 2.4(c)).
    pub(super) const fn quotes(&self) -> usize {
        match self.destination {
            IpAddr::V4(_) => 576 - ipv4::HEADER - ICMP_HEADER,
            IpAddr::V6(_) => 1280 - ipv6::HEADER - ICMP_HEADER,
        }
    }

    /// Writes both headers over the front of `packet`, which begins where its IP header is to be;
    /// what is behind is the quotation. `None` if the two addresses are of different families.
    pub(super) fn write(&self, packet: &mut [u8]) -> Option<()> {
        let (kind, code, rest) = self.refusal.number(self.destination);
        let [r0, r1, r2, r3] = rest.to_be_bytes();
        let (ip, message) = packet.split_at_mut_checked(self.front() - ICMP_HEADER)?;
        *message.first_chunk_mut()? = [kind, code, 0, 0, r0, r1, r2, r3];
        let sum = checksum::sum(message);
        let len = message.len();
        let pseudo = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // That of the quoted packet: as unique between these two, should it be fragmented.
                let identification = message.get(ICMP_HEADER + 4..)?.first_chunk()?;
                let header = ipv4::Header {
                    source,
                    destination,
                    protocol: protocol::ICMP,
                    ttl: DEFAULT_TTL,
                    // RFC 1812, section 4.3.2.5: internetwork control.
                    traffic_class: 6 << 5,
                    identification: u16::from_be_bytes(*identification),
                    dont_fragment: false,
                    payload_len: len,
                };
                ip.copy_from_slice(&header.bytes());
                0
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = ipv6::Header {
                    source,
                    destination,
                    protocol: protocol::ICMPV6,
                    ttl: DEFAULT_TTL,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: len,
                };
                ip.copy_from_slice(&header.bytes());
                checksum::pseudo_header(self.source, self.destination, protocol::ICMPV6, len)
            }
            _ => return None,
        };
        let [_, _, c0, c1, ..] = message.first_chunk_mut::<ICMP_HEADER>()?;
        [*c0, *c1] = (!checksum::fold(pseudo + sum)).to_be_bytes();
        Some(())
    }
}
