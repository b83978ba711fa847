//! Full recomputation, a byte at a time, of what the library changes by differences.

use std::net::IpAddr;

use lb_l4::packet::Checksum;
use lb_l4::wire::{Body, Headers};

/// The sum of 16-bit words modulo 65,535, the slow way; an odd byte is a high half.
pub(crate) fn residue(bytes: &[u8]) -> u64 {
    let mut sum = 0;
    for (at, byte) in bytes.iter().enumerate() {
        sum += u64::from(*byte) << (8 * (1 - at % 2));
    }
    sum % 65_535
}

/// Of the pseudo-header, as the two RFCs draw it.
pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u64 {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(u32::try_from(len).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    residue(&bytes)
}

/// How wrong the checksums are, modulo 65,535: (of the IPv4 header, of what is behind it). Zero is
/// right, and no change of the library's may change either.
pub(crate) fn errors(bytes: &[u8], headers: &Headers, checksum: Checksum) -> (u64, u64) {
    let header = match headers.source {
        IpAddr::V4(_) => residue(&bytes[headers.network..headers.transport]),
        IpAddr::V6(_) => 0,
    };
    let Some(field) = headers.l4_checksum_field() else {
        return (header, 0);
    };
    let (len, end) = match headers.body {
        Body::Udp { length, .. } => (usize::from(length), headers.payload().end),
        _ => (headers.end - headers.transport, headers.end),
    };
    let pseudo = match headers.body {
        Body::Icmp { .. } if headers.source.is_ipv4() => 0,
        _ => pseudo(headers.source, headers.destination, headers.protocol, len),
    };
    let ports = matches!(headers.body, Body::Tcp(_) | Body::Udp { .. });
    let body = match checksum {
        Checksum::Partial if ports => {
            (residue(&bytes[field..field + 2]) + 65_535 - pseudo) % 65_535
        }
        _ => (pseudo + residue(&bytes[headers.transport..end])) % 65_535,
    };
    (header, body)
}
