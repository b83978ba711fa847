//! What address translation does to every packet on its way: one hop less, and one end another.

use std::net::IpAddr;

use super::checksum::Delta;
use super::rewrite::{self, HopLimitExceeded, Side};
use super::{Body, Headers, ipv4, tcp};
use crate::packet::Checksum;

/// Takes one off the time to live, and changes the address of one end, and its port if one is given.
///
/// As [`rewrite::decrement_ttl`] and then [`rewrite::set_source`] or
/// [`set_destination`](rewrite::set_destination), and in a third of the instructions for TCP over
/// IPv4: the headers lie in one place of a known length, and each checksum is touched once.
///
/// # Errors
///
/// As those of [`rewrite::decrement_ttl`]; nothing is changed then.
#[inline(always)]
pub(crate) fn translate(
    bytes: &mut [u8],
    headers: &mut Headers,
    side: Side,
    (address, port): (IpAddr, Option<u16>),
    checksum: Checksum,
) -> Result<(), HopLimitExceeded> {
    if headers.is_at_its_last_hop() {
        return Err(HopLimitExceeded);
    }
    if checksum == Checksum::Complete
        && let Some(port) = port
        && plain(bytes, headers, side, (address, port)) == Some(())
    {
        return Ok(());
    }
    by_steps(bytes, headers, side, (address, port), checksum)
}

#[inline(never)]
fn by_steps(
    bytes: &mut [u8],
    headers: &mut Headers,
    side: Side,
    (address, port): (IpAddr, Option<u16>),
    checksum: Checksum,
) -> Result<(), HopLimitExceeded> {
    rewrite::decrement_ttl(bytes, headers)?;
    rewrite::set_end(bytes, headers, side, address, port, checksum);
    Ok(())
}

/// TCP over IPv4 without options; `None`, and nothing is changed, if the packet is another.
#[inline(always)]
fn plain(
    bytes: &mut [u8],
    headers: &mut Headers,
    side: Side,
    (address, port): (IpAddr, u16),
) -> Option<()> {
    let (Body::Tcp(tcp), IpAddr::V4(_), IpAddr::V4(new)) =
        (&mut headers.body, headers.source, address)
    else {
        return None;
    };
    if headers.transport != headers.network + ipv4::HEADER {
        return None;
    }
    let packet = bytes.get_mut(headers.network..)?;
    let (ip, rest) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    let segment = rest.first_chunk_mut::<{ tcp::HEADER }>()?;
    let [.., ttl, protocol, k0, k1, a, b, c, d, e, f, g, h] = ip;
    let [i, j, k, l, .., t0, t1, _, _] = segment;
    let hops = u16::from_be_bytes([*ttl, *protocol]);
    *ttl = ttl.saturating_sub(1);
    headers.ttl = *ttl;
    let fewer = u16::from_be_bytes([*ttl, *protocol]);
    // Spelt out for each side, so that each field is one load and one store.
    let (old, old_port) = match side {
        Side::Source => (
            u32::from_be_bytes([*a, *b, *c, *d]),
            u16::from_be_bytes([*i, *j]),
        ),
        Side::Destination => (
            u32::from_be_bytes([*e, *f, *g, *h]),
            u16::from_be_bytes([*k, *l]),
        ),
    };
    match side {
        Side::Source => {
            [*a, *b, *c, *d] = new.octets();
            [*i, *j] = port.to_be_bytes();
        }
        Side::Destination => {
            [*e, *f, *g, *h] = new.octets();
            [*k, *l] = port.to_be_bytes();
        }
    }
    let moved = Delta::default().replace(old, new.to_bits());
    let sum = u16::from_be_bytes([*k0, *k1]);
    [*k0, *k1] = moved.replace(hops, fewer).apply(sum).to_be_bytes();
    let sum = u16::from_be_bytes([*t0, *t1]);
    [*t0, *t1] = moved.replace(old_port, port).apply(sum).to_be_bytes();
    match side {
        Side::Source => (headers.source, tcp.source_port) = (new.into(), port),
        Side::Destination => (headers.destination, tcp.destination_port) = (new.into(), port),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Link;
    use crate::wire::emit::{Datagram, TcpSegment};
    use crate::wire::{Frame, parse};

    /// A packet of either family and protocol, with one byte behind the addresses changed.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let any = (any::<[bool; 2]>(), 0..4_u8, any::<(usize, u8)>());
        any.prop_map(|([v4, tcp], ttl, (at, byte))| {
            let ends = if v4 {
                ["192.0.2.1:4000", "203.0.113.9:80"]
            } else {
                ["[2001:db8::1]:4000", "[2001:db8::9]:80"]
            };
            let [from, to] = ends.map(|end| end.parse().unwrap());
            let mut bytes = Vec::new();
            if tcp {
                TcpSegment::new(from, to, 0x10).ttl(ttl).emit(&mut bytes);
            } else {
                Datagram::new(from, to, b"?").ttl(ttl).emit(&mut bytes);
            }
            // Checksums stay as wrong as they are.
            let end = bytes.len();
            let at = [10, 11, end - 4, end - 3][at % 4];
            bytes[at] ^= byte;
            bytes
        })
    }

    proptest! {
        #[test]
        fn it_says_what_the_steps_say(
            bytes in packet(),
            address in prop_oneof![
                any::<[u8; 4]>().prop_map(IpAddr::from),
                any::<[u8; 16]>().prop_map(IpAddr::from),
            ],
            port in any::<Option<u16>>(),
            (source, partial) in any::<(bool, bool)>(),
        ) {
            let side = if source { Side::Source } else { Side::Destination };
            let checksum = if partial { Checksum::Partial } else { Checksum::Complete };
            let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else { return Ok(()) };
            let (mut once, mut changed) = (bytes.clone(), headers);
            let end = (address, port);
            let said = translate(&mut once, &mut changed, side, end, checksum);

            let (mut steps, mut expected) = (bytes, headers);
            let wanted = rewrite::decrement_ttl(&mut steps, &mut expected);
            if wanted.is_ok() {
                rewrite::set_end(&mut steps, &mut expected, side, address, port, checksum);
            }
            prop_assert_eq!(said, wanted);
            prop_assert_eq!(once, steps);
            prop_assert_eq!(changed, expected);
        }
    }
}
