//! What a frame carries, and why it is refused.

use thiserror::Error;

use super::{Headers, arp, ethernet, ipv4, ipv6};
use crate::packet::{DropReason, Link};

/// What a frame carries.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// An IPv4 or IPv6 packet.
    Ip(Headers),
    /// A question or an answer about the link address of an IPv4 address.
    Arp(arp::Message),
    /// Another protocol of the link, or one below more VLAN tags than two: the host's business.
    Other,
}

/// Reads every header of a packet, up to the one that has ports.
///
/// All offsets in what it gives are offsets in `bytes`. Checksums are not looked at: what comes in
/// wrong goes out wrong (see [`Headers::checksum_is_right`]).
///
/// Cost: below 10 ns for IPv4 and TCP; takes no allocation; the walk through IPv6 extension headers
/// ends after [`ipv6::MAX_EXTENSIONS`].
///
/// # Errors
///
/// Refuses what no host would take, and what a forwarder cannot follow: [`ParseError::reason`] says
/// under which reason it is to be counted.
#[inline]
pub fn parse(bytes: &[u8], link: Link) -> Result<Frame, ParseError> {
    match link {
        Link::Ethernet => {
            let (kind, network) = ethernet::kind(bytes).ok_or(ParseError::Truncated)?;
            match kind {
                ethernet::IPV4 => ipv4::parse(bytes, network),
                ethernet::IPV6 => ipv6::parse(bytes, network),
                ethernet::ARP => {
                    let message = bytes.get(network..).unwrap_or_default();
                    arp::Message::parse(message).map(Frame::Arp)
                }
                _ => Ok(Frame::Other),
            }
        }
        Link::Ip => match bytes.first().ok_or(ParseError::Truncated)? >> 4 {
            4 => ipv4::parse(bytes, 0),
            6 => ipv6::parse(bytes, 0),
            _ => Err(ParseError::Version),
        },
    }
}

/// Why the headers of a packet could not be read.
///
/// The bytes came from the network: none of these is a fault of this program. Drop the packet and
/// count it under [`reason`](Self::reason).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum ParseError {
    /// An ARP message for another link or network than Ethernet and IPv4, or with an operation
    /// other than request and reply.
    #[error("ARP message is not for IPv4 over Ethernet")]
    Arp,
    /// An IPsec authentication header: nothing behind it, or before it, may be rewritten.
    #[error("authentication header")]
    Authenticated,
    /// More extension headers than [`ipv6::MAX_EXTENSIONS`].
    #[error("too many extension headers")]
    ExtensionChain,
    /// A fragment that ends beyond the largest packet, is not a multiple of 8 bytes though more
    /// follow, or is cut inside the headers (RFC 791, 1858, 8200 section 4.5).
    #[error("impossible fragment")]
    Fragment,
    /// A header shorter than its own fixed part, or longer than the packet.
    #[error("header length is impossible")]
    HeaderLength,
    /// The packet is longer than its bytes, or a length inside is longer than one outside.
    #[error("length is beyond the end")]
    Length,
    /// A packet of more than 65,535 bytes (RFC 2675).
    #[error("jumbogram")]
    Jumbogram,
    /// A route that the sender chose and that is not at its end (RFC 5095, 7126).
    #[error("source route")]
    SourceRoute,
    /// Fewer bytes than a header has.
    #[error("header is cut short")]
    Truncated,
    /// The version field is not that of the protocol.
    #[error("IP version is wrong")]
    Version,
}

impl ParseError {
    /// The reason to drop the packet under.
    #[must_use]
    pub const fn reason(self) -> DropReason {
        match self {
            Self::Arp
            | Self::Authenticated
            | Self::ExtensionChain
            | Self::Jumbogram
            | Self::SourceRoute => DropReason::Unsupported,
            Self::Fragment
            | Self::HeaderLength
            | Self::Length
            | Self::Truncated
            | Self::Version => DropReason::Malformed,
        }
    }
}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> Self {
        error.reason()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::emit::Datagram;
    use crate::wire::ethernet::{Header, Mac, Tag};

    fn datagram() -> Vec<u8> {
        let mut bytes = Vec::new();
        let (from, to) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        Datagram::new(from, to, b"x").emit(&mut bytes);
        bytes
    }

    fn framed(kind: u16, tags: [Option<Tag>; 2], behind: &[u8]) -> Vec<u8> {
        let header = Header {
            destination: Mac([2, 0, 0, 0, 0, 1]),
            source: Mac([2, 0, 0, 0, 0, 2]),
            tags,
            kind,
        };
        let mut frame = Vec::new();
        header.emit(&mut frame);
        frame.extend(behind);
        frame
    }

    #[test]
    fn a_packet_is_found_behind_none_one_or_two_vlan_tags_and_before_padding() {
        let tag = Some(Tag {
            protocol: 0x8100,
            control: 5,
        });
        let outer = Some(Tag {
            protocol: 0x88a8,
            control: 9,
        });
        let old = Some(Tag {
            protocol: 0x9100,
            control: 9,
        });
        for (tags, network) in [
            ([None, None], 14),
            ([tag, None], 18),
            ([outer, tag], 22),
            ([old, tag], 22),
        ] {
            let frame = framed(ethernet::IPV4, tags, &[&datagram()[..], &[0; 17]].concat());
            let Ok(Frame::Ip(headers)) = parse(&frame, Link::Ethernet) else {
                panic!("{tags:?}")
            };
            let found = (headers.network, headers.transport, headers.end);
            assert_eq!(found, (network, network + 20, network + 29));
            assert_eq!(frame[headers.payload()], *b"x");
        }
    }

    #[test]
    fn what_is_not_for_a_forwarder_is_left_to_the_host() {
        let tag = Some(Tag {
            protocol: 0x8100,
            control: 5,
        });
        for (kind, tags) in [
            (0x88cc, [None, None]),
            (0x0026, [None, None]),
            // A third tag.
            (0x8100, [tag, tag]),
        ] {
            let frame = framed(kind, tags, &datagram());
            assert_eq!(parse(&frame, Link::Ethernet), Ok(Frame::Other));
        }
    }

    #[test]
    fn arp_is_read_behind_the_link_header_alone() {
        let message = arp::Message {
            operation: arp::Operation::Request,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender: [192, 0, 2, 1].into(),
            target_mac: Mac::default(),
            target: [192, 0, 2, 2].into(),
        };
        let frame = framed(ethernet::ARP, [None, None], &message.bytes());
        assert_eq!(parse(&frame, Link::Ethernet), Ok(Frame::Arp(message)));
        let short = &frame[..frame.len() - 1];
        assert_eq!(parse(short, Link::Ethernet), Err(ParseError::Truncated));
    }

    #[test]
    fn the_version_has_to_be_that_of_the_link() {
        let v4 = datagram();
        let v6 = framed(ethernet::IPV6, [None, None], &[&v4[..], &[0; 20]].concat());
        assert_eq!(parse(&v6, Link::Ethernet), Err(ParseError::Version));
        let mut six = v4;
        six[0] = 0x65;
        let frame = framed(ethernet::IPV4, [None, None], &six);
        assert_eq!(parse(&frame, Link::Ethernet), Err(ParseError::Version));
        for first in [0x05, 0x55, 0x75, 0xf5] {
            six[0] = first;
            assert_eq!(parse(&six, Link::Ip), Err(ParseError::Version));
        }
        assert_eq!(parse(&[], Link::Ip), Err(ParseError::Truncated));
        for len in [0, 13] {
            let frame = &v6[..len];
            assert_eq!(parse(frame, Link::Ethernet), Err(ParseError::Truncated));
        }
    }

    #[test]
    fn each_refusal_is_counted_under_one_of_two_reasons() {
        for error in [
            ParseError::Arp,
            ParseError::Authenticated,
            ParseError::ExtensionChain,
            ParseError::Jumbogram,
            ParseError::SourceRoute,
        ] {
            assert_eq!(DropReason::from(error), DropReason::Unsupported);
        }
        for error in [
            ParseError::Fragment,
            ParseError::HeaderLength,
            ParseError::Length,
            ParseError::Truncated,
            ParseError::Version,
        ] {
            assert_eq!(error.reason(), DropReason::Malformed);
        }
    }
}
