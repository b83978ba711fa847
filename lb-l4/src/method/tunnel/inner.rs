//! Where the packet inside another one begins.

use thiserror::Error;

use super::Encapsulation;
use crate::wire::{checksum, ethernet, protocol, udp};

/// A packet inside another one.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Inner {
    /// How it is wrapped.
    pub kind: Encapsulation,
    /// Where its IP header begins, in bytes behind the outer IP header.
    pub offset: usize,
    /// [`protocol::IPV4`] or [`protocol::IPV6`], as the header before it says.
    pub protocol: u8,
}

/// Finds the packet inside one whose IP header says `protocol` and is followed by `body`.
///
/// Of `body` only the headers before the inner packet need be there, as in an ICMP error that gives
/// the first bytes of the packet it is about. UDP is GUE if it goes to `gue_port`.
///
/// Accepted: GRE with a checksum, which [`decapsulate`](fn@super::decapsulate) checks; GUE with private
/// fields behind its header. Not accepted: GRE with a key or a sequence number, control messages of
/// GUE, and its flags, each of which changes what follows.
///
/// # Errors
///
/// See [`InnerError`].
///
/// # Examples
///
/// ```
/// use lb_l4::method::tunnel::{Encapsulation, inner};
/// use lb_l4::wire::protocol;
///
/// let found = inner(protocol::GRE, &[0, 0, 0x86, 0xdd, 0x60], None)?;
/// assert_eq!(found.kind, Encapsulation::Gre);
/// assert_eq!((found.offset, found.protocol), (4, protocol::IPV6));
/// # Ok::<(), lb_l4::method::tunnel::InnerError>(())
/// ```
pub fn inner(protocol: u8, body: &[u8], gue_port: Option<u16>) -> Result<Inner, InnerError> {
    match (protocol, gue_port) {
        (protocol::IPV4 | protocol::IPV6, _) => Ok(Inner {
            kind: Encapsulation::Ipip,
            offset: 0,
            protocol,
        }),
        (protocol::GRE, _) => gre(body),
        (protocol::UDP, Some(port)) => gue(body, port),
        _ => Err(InnerError::NoTunnel),
    }
}

/// Why no packet was found inside another one; the bytes came from the network.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum InnerError {
    /// Another protocol, or another port than that of GUE.
    #[error("not a tunnel of a kind that is known here")]
    NoTunnel,
    /// Fewer bytes than the header has.
    #[error("tunnel header is cut short")]
    Truncated,
    /// An option, a version, or a content that is not taken.
    #[error("tunnel header asks for what is not supported")]
    Unsupported,
}

/// RFC 2784, 2: flags and version, protocol type, and a checksum with two bytes of nothing if the
/// first flag says so.
fn gre(body: &[u8]) -> Result<Inner, InnerError> {
    let &[flags, version, a, b] = body.first_chunk().ok_or(InnerError::Truncated)?;
    // RFC 2784, 2.3 ignores bits 6 to 12, which later documents left zero or use for what changes
    // the meaning of the rest (RFC 2637): they are refused here.
    if flags & !GRE_CHECKSUM != 0 || version != 0 {
        return Err(InnerError::Unsupported);
    }
    let protocol = match u16::from_be_bytes([a, b]) {
        ethernet::IPV4 => protocol::IPV4,
        ethernet::IPV6 => protocol::IPV6,
        _ => return Err(InnerError::Unsupported),
    };
    let offset = if flags & GRE_CHECKSUM == 0 { 4 } else { 8 };
    if body.len() < offset {
        return Err(InnerError::Truncated);
    }
    Ok(Inner {
        kind: Encapsulation::Gre,
        offset,
        protocol,
    })
}

/// Whether the checksum of a GRE header, if it has one, is right for all of `body`.
pub(super) fn gre_checksum_is_right(body: &[u8]) -> bool {
    let has_one = body.first().is_some_and(|flags| flags & GRE_CHECKSUM != 0);
    !has_one || checksum::fold(checksum::sum(body)) == u16::MAX
}

/// A UDP header, then draft-ietf-intarea-gue-09, 3.1: two bits of variant, one that tells control
/// messages, five of length in words of four bytes; the protocol inside; 16 flags.
fn gue(body: &[u8], port: u16) -> Result<Inner, InnerError> {
    let &[_, _, a, b, ..] = body
        .first_chunk::<{ udp::HEADER }>()
        .ok_or(InnerError::Truncated)?;
    if u16::from_be_bytes([a, b]) != port {
        return Err(InnerError::NoTunnel);
    }
    let header = body.get(udp::HEADER..).unwrap_or_default();
    let &[first, protocol, flags @ ..] =
        header.first_chunk::<GUE>().ok_or(InnerError::Truncated)?;
    let known = matches!(protocol, protocol::IPV4 | protocol::IPV6);
    if first & !GUE_LENGTH != 0 || flags != [0, 0] || !known {
        return Err(InnerError::Unsupported);
    }
    let offset = udp::HEADER + GUE + 4 * usize::from(first & GUE_LENGTH);
    if body.len() < offset {
        return Err(InnerError::Truncated);
    }
    Ok(Inner {
        kind: Encapsulation::Gue { port },
        offset,
        protocol,
    })
}

/// The type of a packet in a GRE header, as in an Ethernet header (RFC 2784, 2.4).
pub(super) const fn ethertype(protocol: u8) -> u16 {
    if protocol == protocol::IPV4 {
        ethernet::IPV4
    } else {
        ethernet::IPV6
    }
}

const GRE_CHECKSUM: u8 = 0x80;
const GUE: usize = 4;
const GUE_LENGTH: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Encapsulation, offset: usize, protocol: u8) -> Result<Inner, InnerError> {
        Ok(Inner {
            kind,
            offset,
            protocol,
        })
    }

    #[test]
    fn ip_in_ip_begins_at_once() {
        for protocol in [protocol::IPV4, protocol::IPV6] {
            let expected = found(Encapsulation::Ipip, 0, protocol);
            assert_eq!(inner(protocol, &[], None), expected);
            assert_eq!(inner(protocol, &[], Some(6080)), expected);
        }
        assert_eq!(
            inner(protocol::TCP, &[0; 40], None),
            Err(InnerError::NoTunnel)
        );
    }

    #[test]
    fn gre_is_four_bytes_and_four_more_with_a_checksum() {
        let gre = |body: &[u8]| inner(protocol::GRE, body, None);
        let kind = Encapsulation::Gre;
        assert_eq!(gre(&[0, 0, 8, 0]), found(kind, 4, protocol::IPV4));
        assert_eq!(gre(&[0, 0, 0x86, 0xdd]), found(kind, 4, protocol::IPV6));
        assert_eq!(gre(&[0, 0, 8]), Err(InnerError::Truncated));
        let with = [0x80, 0, 8, 0, 1, 2, 0, 0];
        assert_eq!(gre(&with), found(kind, 8, protocol::IPV4));
        assert_eq!(gre(&with[..7]), Err(InnerError::Truncated));
    }

    #[test]
    fn gre_with_anything_else_is_refused() {
        for header in [
            [0x40, 0, 8, 0], // routing (RFC 1701)
            [0x20, 0, 8, 0], // key (RFC 2890)
            [0x10, 0, 8, 0], // sequence number
            [0x01, 0, 8, 0],
            [0, 1, 8, 0],    // PPTP (RFC 2637)
            [0, 0x80, 8, 0], // its acknowledgement
            [0, 0, 8, 6],    // ARP
            [0, 0, 0x65, 0x58],
        ] {
            let body = [header, [0; 4]].concat();
            let refused = inner(protocol::GRE, &body, None);
            assert_eq!(refused, Err(InnerError::Unsupported), "{header:02x?}");
        }
    }

    fn gue_body(port: u16, header: [u8; 4], more: usize) -> Vec<u8> {
        let [a, b] = port.to_be_bytes();
        [&[0xc0, 1, a, b, 0, 0, 0, 0][..], &header, &vec![0; more]].concat()
    }

    fn gue(body: &[u8]) -> Result<Inner, InnerError> {
        inner(protocol::UDP, body, Some(6080))
    }

    #[test]
    fn gue_is_told_by_its_port() {
        let body = gue_body(6080, [0, 4, 0, 0], 0);
        assert_eq!(gue(&body), found(Encapsulation::GUE, 12, protocol::IPV4));
        assert_eq!(gue(&body[..11]), Err(InnerError::Truncated));
        assert_eq!(gue(&body[..7]), Err(InnerError::Truncated));
        let other = Err(InnerError::NoTunnel);
        assert_eq!(gue(&gue_body(6081, [0, 4, 0, 0], 0)), other);
        assert_eq!(inner(protocol::UDP, &body, None), other);
        let six = gue(&gue_body(6080, [0, 41, 0, 0], 0));
        assert_eq!(six, found(Encapsulation::GUE, 12, protocol::IPV6));
    }

    #[test]
    fn private_fields_of_gue_are_passed_over() {
        let body = gue_body(6080, [2, 41, 0, 0], 8);
        assert_eq!(gue(&body), found(Encapsulation::GUE, 20, protocol::IPV6));
        assert_eq!(gue(&body[..19]), Err(InnerError::Truncated));
        let most = gue_body(6080, [31, 4, 0, 0], 124);
        assert_eq!(gue(&most), found(Encapsulation::GUE, 136, protocol::IPV4));
    }

    #[test]
    fn gue_with_anything_else_is_refused() {
        for header in [
            [0x20, 4, 0, 0], // a control message
            [0x40, 4, 0, 0], // variant 1
            [0x80, 4, 0, 0], // a variant to come
            [0, 6, 0, 0],    // TCP without IP
            [0, 4, 0x80, 0], // a virtual network
            [0, 4, 0, 1],
        ] {
            let refused = gue(&gue_body(6080, header, 8));
            assert_eq!(refused, Err(InnerError::Unsupported), "{header:02x?}");
        }
    }

    #[test]
    fn a_gre_checksum_is_checked_if_there_is_one() {
        assert!(gre_checksum_is_right(&[0, 0, 8, 0, 9]));
        // 0x8000 + 0x0800 + 0x7700 + 0x00ff = 0xffff + 0x00ff - 0x00ff
        let right = [0x80, 0, 8, 0, 0x77, 0xff, 0, 0];
        assert!(gre_checksum_is_right(&right));
        assert!(!gre_checksum_is_right(&[0x80, 0, 8, 0, 0x77, 0xfe, 0, 0]));
        assert!(gre_checksum_is_right(&[]));
    }
}
