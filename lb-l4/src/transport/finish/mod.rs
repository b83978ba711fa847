//! What hardware would do, done in software: checksums, and cutting into segments.
#![warn(clippy::indexing_slicing)]

use std::io;

use super::Sent;
use super::layers::{Layer, Layers, Protocol, set_u16, u16_at};
use crate::packet::{Checksum, Link, Offload};
use crate::wire::checksum::{fold, sum};

/// What was left to be done does not fit the packet: it is not one of TCP or UDP, or too short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unfit;

/// Calls `emit` with each packet that stands on a wire for `bytes`, in order.
///
/// A packet that is to be cut is so also in a tunnel: every header around it is made right. Without
/// cutting, the checksum is completed in place. `scratch` is used again from call to call.
pub(crate) fn finish<E>(
    bytes: &mut [u8],
    link: Link,
    offload: Offload,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, Unfit> {
    match offload.segment {
        None if offload.checksum == Checksum::Complete => Ok(emit(bytes)),
        None => {
            complete(bytes, &Layers::parse(bytes, link).ok_or(Unfit)?).ok_or(Unfit)?;
            Ok(emit(bytes))
        }
        Some(size) => {
            let layers = Layers::parse(bytes, link).ok_or(Unfit)?;
            let cut = Cut::new(bytes, &layers, usize::from(size.get())).ok_or(Unfit)?;
            for index in 0..cut.count {
                cut.segment(index, scratch).ok_or(Unfit)?;
                if let Err(error) = emit(scratch) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        }
    }
}

/// As [`finish`], where each packet is sent: the last that became of one but [`Sent::Queued`].
pub(crate) fn send_finished(
    bytes: &mut [u8],
    link: Link,
    offload: Offload,
    scratch: &mut Vec<u8>,
    mut send: impl FnMut(&[u8]) -> io::Result<Sent>,
) -> Result<io::Result<Sent>, Unfit> {
    let mut worst = Sent::Queued;
    let each = |packet: &[u8]| {
        match send(packet)? {
            Sent::Queued => {}
            refused => worst = refused,
        }
        Ok(())
    };
    let done = finish(bytes, link, offload, scratch, each)?;
    Ok(done.map(|()| worst))
}

/// Computes the checksum of the innermost TCP or UDP header over all of its packet.
pub(crate) fn complete(bytes: &mut [u8], layers: &Layers) -> Option<()> {
    let field = layers.transport + usize::from(layers.protocol.checksum());
    set_u16(bytes, field, 0)?;
    let start = u64::from(pseudo(bytes, layers)?);
    let sum = start + sum(bytes.get(layers.transport..layers.end)?);
    let checksum = match (layers.protocol, !fold(sum)) {
        // RFC 768: zero is none, and its other form stands for it.
        (Protocol::Udp, 0) => 0xffff,
        (_, checksum) => checksum,
    };
    set_u16(bytes, field, checksum)
}

/// Puts the sum of the pseudo-header into the checksum's place, as a partial one is.
#[cfg(any(feature = "af-packet", feature = "tun"))]
pub(crate) fn begin(bytes: &mut [u8], layers: &Layers) -> Option<()> {
    let field = layers.transport + usize::from(layers.protocol.checksum());
    let sum = pseudo(bytes, layers)?;
    set_u16(bytes, field, sum)
}

/// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo(bytes: &[u8], layers: &Layers) -> Option<u16> {
    let addresses = match layers.is_v6 {
        false => layers.network + 12..layers.network + 20,
        true => layers.network + 8..layers.network + 40,
    };
    let len = (layers.end - layers.transport) as u64;
    let rest = len + u64::from(layers.protocol.number());
    Some(fold(rest + sum(bytes.get(addresses)?)))
}

/// A packet that is to be cut.
struct Cut<'a> {
    layers: &'a Layers,
    headers: &'a [u8],
    payload: &'a [u8],
    size: usize,
    count: usize,
}

impl<'a> Cut<'a> {
    fn new(bytes: &'a [u8], layers: &'a Layers, size: usize) -> Option<Self> {
        let at = layers.payload(bytes)?;
        let payload = bytes.get(at..layers.end)?;
        Some(Self {
            layers,
            headers: bytes.get(..at)?,
            payload,
            size,
            count: payload.len().div_ceil(size).max(1),
        })
    }

    /// Makes the segment number `index` in `out`.
    fn segment(&self, index: usize, out: &mut Vec<u8>) -> Option<()> {
        let from = index * self.size;
        let to = (from + self.size).min(self.payload.len());
        out.clear();
        out.extend_from_slice(self.headers);
        out.extend_from_slice(self.payload.get(from..to)?);
        let mut layers = *self.layers;
        let less = layers.end - out.len();
        layers.end = out.len();
        match layers.protocol {
            Protocol::Tcp => self.number_tcp(index, from, out)?,
            Protocol::Udp => shorten(out, layers.transport + 4, less)?,
        }
        for layer in layers.around() {
            match layer {
                Layer::V4(at) => {
                    let id = u16_at(out, at + 4)?.wrapping_add(low(index));
                    set_u16(out, at + 4, id)?;
                    shorten(out, at + 2, less)?;
                    sum_v4(out, at)?;
                }
                Layer::V6(at) => shorten(out, at + 4, less)?,
                // It has no checksum, else it would not have been taken for a tunnel.
                Layer::Udp(at) => shorten(out, at + 4, less)?,
                Layer::Gre(_) => {}
            }
        }
        complete(out, &layers)?;
        for layer in layers.around().rev() {
            if let Layer::Gre(at) = layer {
                sum_gre(out, at)?;
            }
        }
        Some(())
    }

    /// The sequence number; FIN and PSH are of the last segment alone, and CWR of the first
    /// (RFC 3168, 6.1.2: it answers one window).
    fn number_tcp(&self, index: usize, from: usize, out: &mut [u8]) -> Option<()> {
        const FIN_PSH: u8 = 0x09;
        const CWR: u8 = 0x80;
        let at = self.layers.transport;
        let field = out.get_mut(at + 4..)?.first_chunk_mut::<4>()?;
        let sequence = u32::from_be_bytes(*field);
        *field = sequence
            .wrapping_add(u32::try_from(from).ok()?)
            .to_be_bytes();
        let flags = out.get_mut(at + 13)?;
        if index + 1 < self.count {
            *flags &= !FIN_PSH;
        }
        if index > 0 {
            *flags &= !CWR;
        }
        Some(())
    }
}

/// Makes the length that stands at `at` less.
fn shorten(bytes: &mut [u8], at: usize, less: usize) -> Option<()> {
    let len = usize::from(u16_at(bytes, at)?).checked_sub(less)?;
    set_u16(bytes, at, u16::try_from(len).ok()?)
}

fn sum_v4(bytes: &mut [u8], at: usize) -> Option<()> {
    set_u16(bytes, at + 10, 0)?;
    let len = usize::from(bytes.get(at)? & 0xf) * 4;
    let sum = sum(bytes.get(at..at + len)?);
    set_u16(bytes, at + 10, !fold(sum))
}

/// A GRE header may sum itself and all behind it (RFC 2784, 2.5).
fn sum_gre(bytes: &mut [u8], at: usize) -> Option<()> {
    if u16_at(bytes, at)? & 0x8000 == 0 {
        return Some(());
    }
    set_u16(bytes, at + 4, 0)?;
    let sum = sum(bytes.get(at..)?);
    set_u16(bytes, at + 4, !fold(sum))
}

/// The low 16 bits.
const fn low(index: usize) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "an identification wraps")]
    let low = index as u16;
    low
}

#[cfg(test)]
mod tests;
