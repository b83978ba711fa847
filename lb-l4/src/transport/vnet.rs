//! The header by which a kernel and a program say what is left to hardware.
//!
//! `struct virtio_net_hdr` (virtio 1.2, 5.1.6), of ten bytes, in the byte order of the host, as
//! TUN devices and packet sockets put it before each packet.
#![warn(clippy::indexing_slicing)]

use std::num::NonZeroU16;

use super::finish;
use super::layers::{Layers, Protocol};
use crate::packet::{Checksum, Link, Offload};

/// Bytes of the header.
pub(crate) const LEN: usize = 10;

/// The checksum is partial (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const NEEDS_CHECKSUM: u8 = 1;
/// What kind of segments (`VIRTIO_NET_HDR_GSO_*`).
const NO_SEGMENTS: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
/// The TCP header bears CWR.
const ECN: u8 = 0x80;

/// What the header before a received packet says is left to be done.
pub(crate) fn parse(header: [u8; LEN]) -> Offload {
    let [flags, kind, _, _, size_0, size_1, ..] = header;
    let mut offload = Offload::default();
    if flags & NEEDS_CHECKSUM != 0 {
        offload.checksum = Checksum::Partial;
    }
    if kind & !ECN != NO_SEGMENTS {
        offload.segment = NonZeroU16::new(u16::from_ne_bytes([size_0, size_1]));
    }
    offload
}

/// How a packet is handed to the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Emitted {
    /// With this header.
    Header([u8; LEN]),
    /// The kernel cannot be told: [`finish::finish`] does it.
    Unfinished,
}

/// The header that says of `bytes` that `offload` is left; may have to begin its checksum.
///
/// Segments in a tunnel cannot be told of. `None` if what is left does not fit the packet.
pub(crate) fn emit(bytes: &mut [u8], link: Link, offload: Offload) -> Option<Emitted> {
    if offload == Offload::default() {
        return Some(Emitted::Header([0; LEN]));
    }
    let layers = Layers::parse(bytes, link)?;
    if offload.segment.is_some() {
        if layers.is_tunnelled() {
            return Some(Emitted::Unfinished);
        }
        // Segments have checksums of their own, which all begin with the pseudo-header's.
        if offload.checksum == Checksum::Complete {
            finish::begin(bytes, &layers)?;
        }
    }
    let (mut kind, mut len, mut size) = (NO_SEGMENTS, 0, 0);
    if let Some(segment) = offload.segment {
        len = u16::try_from(layers.payload(bytes)?).ok()?;
        size = segment.get();
        kind = match (layers.protocol, layers.is_v6) {
            (Protocol::Udp, _) => UDP,
            (Protocol::Tcp, false) => TCP_V4,
            (Protocol::Tcp, true) => TCP_V6,
        };
        let flags = bytes.get(layers.transport + 13);
        if layers.protocol == Protocol::Tcp && flags? & CWR != 0 {
            kind |= ECN;
        }
    }
    let [len_0, len_1] = len.to_ne_bytes();
    let [size_0, size_1] = size.to_ne_bytes();
    let [start_0, start_1] = u16::try_from(layers.transport).ok()?.to_ne_bytes();
    let [offset_0, offset_1] = layers.protocol.checksum().to_ne_bytes();
    Some(Emitted::Header([
        NEEDS_CHECKSUM,
        kind,
        len_0,
        len_1,
        size_0,
        size_1,
        start_0,
        start_1,
        offset_0,
        offset_1,
    ]))
}

/// The flag of TCP (RFC 3168, 6.1).
const CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 with an option word, and TCP with these flags and 100 bytes behind it.
    fn tcp(flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x46, 0, 0, 144, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1]);
        bytes.extend([
            0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0, 0, 0, 0, 0, 0,
        ]);
        bytes.resize(144, 7);
        bytes
    }

    /// IPv6 and UDP, with 12 bytes behind it.
    fn udp() -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 20, 17, 64];
        bytes.extend([1; 32]);
        bytes.extend([0, 53, 0, 53, 0, 20, 1, 1]);
        bytes.resize(60, 7);
        bytes
    }

    fn header(mut bytes: Vec<u8>, offload: Offload) -> Option<[u16; 5]> {
        match emit(&mut bytes, Link::Ip, offload)? {
            Emitted::Unfinished => None,
            Emitted::Header(header) => {
                assert_eq!(parse(header), offload);
                let (pairs, _) = header.as_chunks::<2>();
                let mut words = [0; 5];
                for (word, pair) in words.iter_mut().zip(pairs) {
                    *word = u16::from_ne_bytes(*pair);
                }
                words[0] = u16::from_be_bytes(pairs[0]);
                Some(words)
            }
        }
    }

    fn cut(size: u16) -> Offload {
        Offload::partial(NonZeroU16::new(size))
    }

    #[test]
    fn a_header_says_where_the_checksum_is_and_how_to_cut() {
        assert_eq!(header(tcp(0x10), Offload::default()), Some([0; 5]));
        assert_eq!(header(tcp(0x10), cut(0)), Some([0x0100, 0, 0, 24, 16]));
        assert_eq!(header(udp(), cut(0)), Some([0x0100, 0, 0, 40, 6]));
        assert_eq!(header(tcp(0x10), cut(40)), Some([0x0101, 44, 40, 24, 16]));
        assert_eq!(header(tcp(0x90), cut(40)), Some([0x0181, 44, 40, 24, 16]));
        assert_eq!(header(udp(), cut(4)), Some([0x0105, 48, 4, 40, 6]));
    }

    #[test]
    fn tcp_of_ipv6_is_another_kind_of_segment() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 40, 6, 64];
        bytes.extend([1; 32]);
        bytes.extend([
            0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
        ]);
        bytes.resize(80, 7);
        assert_eq!(header(bytes, cut(9)), Some([0x0104, 60, 9, 40, 16]));
    }

    #[test]
    fn segments_of_a_complete_packet_get_the_sum_of_the_pseudo_header() {
        let mut whole = tcp(0x10);
        let complete = Offload {
            checksum: Checksum::Complete,
            ..cut(40)
        };
        let emitted = emit(&mut whole, Link::Ip, complete);
        let Some(Emitted::Header(header)) = emitted else {
            panic!("the kernel can be told: {emitted:?}");
        };
        assert_eq!(parse(header), cut(40));
        // 10.0.0.1, 10.0.0.2, 6 and 120 bytes.
        assert_eq!(whole[40..42], (0x1400_u16 + 3 + 6 + 120).to_be_bytes());
    }

    #[test]
    fn segments_in_a_tunnel_are_cut_here_and_sums_are_not() {
        let mut outer = vec![0x45, 0, 0, 164, 0, 0, 0, 0, 64, 4, 0, 0];
        outer.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        outer.extend(tcp(0x10));
        assert_eq!(
            emit(&mut outer.clone(), Link::Ip, cut(40)),
            Some(Emitted::Unfinished)
        );
        assert_eq!(header(outer, cut(0)), Some([0x0100, 0, 0, 44, 16]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut icmp = tcp(0x10);
        icmp[9] = 1;
        assert_eq!(emit(&mut icmp.clone(), Link::Ip, cut(0)), None);
        assert_eq!(emit(&mut icmp, Link::Ip, cut(40)), None);
    }

    #[test]
    fn flags_that_say_something_else_are_passed_over() {
        // Data whose checksum was found right, by hardware.
        assert_eq!(parse([2, 0, 0, 0, 9, 9, 0, 0, 0, 0]), Offload::default());
        let size = 1448_u16.to_ne_bytes();
        let joined = parse([3, 0x81, 0, 0, size[0], size[1], 0, 0, 0, 0]);
        assert_eq!(joined, cut(1448));
    }
}
