//! Clients' packets into tunnels to their backends.

use std::net::IpAddr;
use std::num::NonZeroU16;

use lbcore::hash::HashKey;
use lbcore::rng::mix;

use super::burst::Decided;
use super::client::Outward;
use super::target::Target;
use super::transmit::Outbox;
use crate::method::tunnel::{Fit, LEAST_V6, Tunnel, TunnelConfig, cut, encapsulate, overhead};
use crate::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use crate::transport::HEADROOM;
use crate::transport::finish::finish;
use crate::wire::emit::TcpSegment;
use crate::wire::{Frame, Headers, parse, rewrite};

/// What tunnels need that is not in a packet.
#[derive(Debug)]
pub(crate) struct Tunnels {
    /// Of the hash that tells flows apart outside: secret, so that nobody aims his flows at one
    /// queue of a backend.
    seed: u64,
    /// The last one given to an outer header.
    identification: u16,
    scratch: Vec<u8>,
}

impl Tunnels {
    pub(crate) fn new(hash: &HashKey, worker: usize) -> Self {
        let seed = hash.sip13(b"lb-l4 tunnels");
        let [a, b, ..] = mix(seed ^ worker as u64).to_le_bytes();
        Self {
            seed,
            identification: u16::from_le_bytes([a, b]),
            scratch: Vec::new(),
        }
    }

    /// Sends a client's packet to `target`, in one outer packet or in several.
    ///
    /// It is as it came in if it is too big, or at its last hop.
    #[inline]
    pub(crate) fn send(
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        (config, target): (&TunnelConfig, &Target),
        outward: Outward<'_>,
    ) -> Decided {
        let Outward {
            now,
            tunnels,
            outbox,
            links,
            ..
        } = outward;
        let out = target.way.out.ok_or(DropReason::Unresolved)?;
        let entropy = tunnels.entropy(headers);
        let tunnel = tunnels.tunnel(config, target, entropy)?;
        let mtu = mtu(config, target);
        let fit = match packet.offloads().segment {
            Some(size) => tunnel.fit(&first_segment(headers, size), mtu),
            None => tunnel.fit(headers, mtu),
        };
        if matches!(fit, Fit::TooBig { .. }) {
            return Err(DropReason::TooBig);
        }
        rewrite::decrement_ttl(packet.bytes_mut(), headers).map_err(|_| DropReason::HopLimit)?;
        if fit == Fit::Whole && goes_in_at_once(packet, headers, &tunnel) {
            encapsulate(packet, headers, &tunnel, entropy)?;
            return target.way.send(now, packet, links);
        }
        target.way.write(now, packet, links)?;
        tunnels.apart(packet, (config, target), (out, entropy, mtu), outbox)
    }

    /// Sends a packet's segments one by one, each in as many outer packets as it takes.
    #[cold]
    fn apart(
        &mut self,
        packet: &mut Packet<'_>,
        (config, target): (&TunnelConfig, &Target),
        (out, entropy, mtu): (InterfaceId, u32, usize),
        outbox: &mut Outbox,
    ) -> Decided {
        let (link, offload) = (packet.link(), packet.offloads());
        let mut scratch = std::mem::take(&mut self.scratch);
        let sent = finish(packet.bytes_mut(), link, offload, &mut scratch, |segment| {
            let mut copy = segment.to_vec();
            let end = copy.len();
            let one = Packet::new(&mut copy, 0..end, link);
            let Ok(Frame::Ip(headers)) = parse(one.bytes(), link) else {
                return Err(DropReason::Malformed);
            };
            let tunnel = self.tunnel(config, target, entropy)?;
            let mut room = true;
            cut::encapsulate(&one, &headers, &tunnel, entropy, mtu, |frame| {
                room &= outbox.push_frame(out, frame);
            })?;
            if room {
                Ok(())
            } else {
                Err(DropReason::QueueFull)
            }
        });
        self.scratch = scratch;
        sent.map_err(|_| DropReason::Unsupported)??;
        Ok(Verdict::Held)
    }

    /// Queues a segment of our own for `target`, in a tunnel; says whether it could.
    pub(crate) fn send_own(
        &mut self,
        segment: &TcpSegment<'_>,
        config: &TunnelConfig,
        target: &Target,
        outbox: &mut Outbox,
    ) -> bool {
        let mut buffer = vec![0; HEADROOM];
        segment.emit(&mut buffer);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, HEADROOM..end, Link::Ip);
        let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), Link::Ip) else {
            return false;
        };
        let entropy = self.entropy(&headers);
        let Ok(tunnel) = self.tunnel(config, target, entropy) else {
            return false;
        };
        if encapsulate(&mut packet, &mut headers, &tunnel, entropy).is_err() {
            return false;
        }
        outbox.push(&target.way, headers.is_ipv4(), |bytes| {
            bytes.extend_from_slice(packet.bytes());
        })
    }

    /// The tunnel of a flow with this hash.
    #[inline]
    fn tunnel(
        &mut self,
        config: &TunnelConfig,
        target: &Target,
        entropy: u32,
    ) -> Result<Tunnel, DropReason> {
        self.identification = self.identification.wrapping_add(1);
        let tunnel = config.tunnel(target.address.ip(), entropy)?;
        Ok(tunnel.identification(self.identification))
    }

    /// A hash of the flow, for the outer header. Parts of a packet that has no ports have another.
    #[inline]
    fn entropy(&self, headers: &Headers) -> u32 {
        let ends = match (headers.source, headers.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits())
            }
            (source, destination) => fold(source) ^ fold(destination).rotate_left(1),
        };
        let ports = u64::from(headers.source_end().port()) << 16
            | u64::from(headers.destination_end().port());
        let rest = u64::from(headers.protocol) << 32 | ports;
        // One multiplication in full, its halves folded: enough for queues, of which there are few.
        let product = u128::from(ends ^ self.seed) * u128::from(rest ^ self.seed.rotate_left(32));
        let [a, b, c, d, ..] = (product ^ product >> 64).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// The half of an address that tells most, mixed with the other.
fn fold(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [a, b, c, d, e, f, g, h, low @ ..] = bits.to_be_bytes();
    mix(u64::from_be_bytes([a, b, c, d, e, f, g, h])) ^ u64::from_be_bytes(low)
}

/// Bytes of the largest outer packet to `target`.
#[inline]
fn mtu(config: &TunnelConfig, target: &Target) -> usize {
    usize::from(config.mtu.min(target.way.mtu))
}

/// Bytes of the largest packet of `client`'s that passes to `target`.
pub(crate) fn room(config: &TunnelConfig, target: &Target, client: IpAddr) -> u16 {
    let added = overhead(config.kind, target.address.ip());
    let room = mtu(config, target).saturating_sub(added);
    let least = if client.is_ipv6() { LEAST_V6 } else { 0 };
    u16::try_from(room.max(least)).unwrap_or(u16::MAX)
}

/// The headers of the first segment of a train.
#[cold]
fn first_segment(headers: &Headers, size: NonZeroU16) -> Headers {
    let mut one = *headers;
    let end = headers.payload().start + usize::from(size.get());
    one.end = one.end.min(end);
    one
}

/// Whether a packet goes into the tunnel as it is: no train, or one that the transport can cut
/// there, and whose length an IP header can tell.
#[inline]
fn goes_in_at_once(packet: &Packet<'_>, headers: &Headers, tunnel: &Tunnel) -> bool {
    let length = headers.end - headers.network + tunnel.overhead();
    packet.offloads().segment.is_none()
        || !tunnel.has_udp_checksum() && length <= usize::from(u16::MAX)
}
