//! Control messages of UDP: which address was asked, and where datagrams of a train end.
//!
//! Laid out by hand as `cmsg(3)` says, so that a truncated or odd buffer ends in `None`, not in a
//! pointer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use super::Asked;

/// Room for the control messages of one datagram.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control([u8; SIZE]);

/// What the control messages of a received datagram said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    /// The local address that the sender addressed.
    pub(super) asked: Option<Asked>,
    /// The bytes of one datagram, if the kernel joined several.
    pub(super) segment: Option<NonZeroU16>,
}

impl Control {
    /// Room in which the kernel may write.
    pub(super) const EMPTY: Self = Self([0; SIZE]);

    /// How many bytes the kernel may write.
    pub(super) const SIZE: usize = SIZE;

    /// Reads the first `len` bytes.
    pub(super) fn parse(&self, len: usize) -> Said {
        let mut said = Said::default();
        let mut rest = self.0.get(..len).unwrap_or(&[]);
        while let Some((header, body)) = Header::parse(rest) {
            match (header.level, header.kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => said.segment = segment(body),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => said.asked = pktinfo_v4(body),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => said.asked = pktinfo_v6(body),
                _ => {}
            }
            rest = rest.get(aligned(header.len)..).unwrap_or(&[]);
        }
        said
    }

    /// Lays out what a message to send says; returns how many bytes of it count.
    pub(super) fn emit(&mut self, from: Option<Asked>, segment: Option<NonZeroU16>) -> usize {
        let mut at = 0;
        if let Some(segment) = segment {
            let body = segment.get().to_ne_bytes();
            at = self.append(at, libc::SOL_UDP, libc::UDP_SEGMENT, &body);
        }
        match from.map(|from| (from.address, from.interface)) {
            // struct in_pktinfo: interface, the local address to send from, the header's (unread).
            Some((IpAddr::V4(address), _)) => {
                let mut body = [0; 12];
                body[4..8].copy_from_slice(&address.octets());
                at = self.append(at, libc::IPPROTO_IP, libc::IP_PKTINFO, &body);
            }
            Some((IpAddr::V6(address), interface)) => {
                let mut body = [0; 20];
                body[..16].copy_from_slice(&address.octets());
                body[16..].copy_from_slice(&interface.to_ne_bytes());
                at = self.append(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &body);
            }
            None => {}
        }
        at
    }

    /// Appends one message at `at`; returns where the next one starts.
    fn append(&mut self, at: usize, level: i32, kind: i32, body: &[u8]) -> usize {
        let len = HEADER + body.len();
        self.0[at..at + 8].copy_from_slice(&len.to_ne_bytes());
        self.0[at + 8..at + 12].copy_from_slice(&level.to_ne_bytes());
        self.0[at + 12..at + HEADER].copy_from_slice(&kind.to_ne_bytes());
        self.0[at + HEADER..at + len].copy_from_slice(body);
        self.0[at + len..at + aligned(len)].fill(0);
        at + aligned(len)
    }
}

/// The head of one control message.
struct Header {
    len: usize,
    level: i32,
    kind: i32,
}

impl Header {
    /// The first message of `bytes` and its body; `None` if it is not whole.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let header = Self {
            len: usize::from_ne_bytes(*len),
            level: i32::from_ne_bytes(*level),
            kind: i32::from_ne_bytes(*kind),
        };
        let body = bytes.get(HEADER..header.len)?;
        Some((header, body))
    }
}

/// A `UDP_GRO` body: an `int` on receipt.
fn segment(body: &[u8]) -> Option<NonZeroU16> {
    let bytes = i32::from_ne_bytes(*body.first_chunk()?);
    NonZeroU16::new(u16::try_from(bytes).ok()?)
}

/// The second word of `struct in_pktinfo`: the local address, also when the datagram was broadcast.
fn pktinfo_v4(body: &[u8]) -> Option<Asked> {
    let octets: [u8; 4] = *body.get(4..)?.first_chunk()?;
    Some(Asked {
        address: Ipv4Addr::from(octets).into(),
        interface: 0,
    })
}

/// `struct in6_pktinfo`; the interface is kept where the address means nothing without it.
fn pktinfo_v6(body: &[u8]) -> Option<Asked> {
    let (octets, interface) = body.split_first_chunk::<16>()?;
    let address = Ipv6Addr::from(*octets);
    let interface = u32::from_ne_bytes(*interface.first_chunk()?);
    Some(Asked {
        address: address.into(),
        interface: match address.is_unicast_link_local() {
            true => interface,
            false => 0,
        },
    })
}

/// `CMSG_ALIGN`.
const fn aligned(len: usize) -> usize {
    len.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

const ALIGN: usize = size_of::<usize>();
/// `sizeof(struct cmsghdr)`: a length and two ints; 16 bytes where pointers have 8.
const HEADER: usize = 16;
/// An `in6_pktinfo` (40), a `UDP_GRO` (24), and room for one more that an odd socket option adds.
const SIZE: usize = 96;

const _: () = assert!(size_of::<libc::cmsghdr>() == HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, interface: u32) -> Option<Asked> {
        Some(Asked {
            address: text.parse().unwrap(),
            interface,
        })
    }

    #[test]
    fn the_address_to_send_from_is_read_back() {
        for asked in [
            asked("127.0.0.9", 0),
            asked("2001:db8::9", 0),
            asked("fe80::1", 7),
        ] {
            let mut control = Control([0xff; SIZE]);
            let len = control.emit(asked, None);
            assert_eq!(control.parse(len).asked, asked);
            assert_eq!(
                len,
                if asked.unwrap().address.is_ipv4() {
                    32
                } else {
                    40
                }
            );
        }
    }

    #[test]
    fn an_interface_counts_for_link_local_addresses_alone() {
        let mut control = Control::EMPTY;
        let len = control.emit(asked("2001:db8::9", 7), None);
        assert_eq!(control.parse(len).asked, asked("2001:db8::9", 0));
    }

    #[test]
    fn a_segment_is_two_bytes_out_and_an_int_in() {
        let mut control = Control::EMPTY;
        let len = control.emit(None, NonZeroU16::new(1200));
        assert_eq!(len, 24);
        assert_eq!(control.0[..8], 18_usize.to_ne_bytes());
        let len = control.append(0, libc::SOL_UDP, libc::UDP_GRO, &1200_i32.to_ne_bytes());
        assert_eq!(control.parse(len).segment, NonZeroU16::new(1200));
        let len = control.append(0, libc::SOL_UDP, libc::UDP_GRO, &65_536_i32.to_ne_bytes());
        assert_eq!(control.parse(len).segment, None);
    }

    #[test]
    fn both_are_said_at_once() {
        let mut control = Control::EMPTY;
        let at = control.append(0, libc::SOL_UDP, libc::UDP_GRO, &9_i32.to_ne_bytes());
        let at = control.append(at, 77, 7, &[1, 2, 3]);
        let len = control.append(at, libc::IPPROTO_IP, libc::IP_PKTINFO, &[4; 12]);
        let said = control.parse(len);
        assert_eq!(said.segment, NonZeroU16::new(9));
        assert_eq!(said.asked, asked("4.4.4.4", 0));
    }

    #[test]
    fn every_cut_and_every_length_ends() {
        let mut control = Control::EMPTY;
        let len = control.emit(asked("2001:db8::9", 0), NonZeroU16::new(9));
        // The last four bytes pad.
        for cut in 0..=len {
            let whole = cut >= len - 4;
            assert_eq!(control.parse(cut).asked.is_some(), whole, "cut at {cut}");
        }
        for odd in [0, 1, 15, 16, 17, 4096, usize::MAX] {
            control.0[..8].copy_from_slice(&odd.to_ne_bytes());
            let _ = control.parse(SIZE);
        }
        assert_eq!(control.parse(SIZE + 1), Said::default());
    }
}
