//! Cuts an IPv4 packet that is too big, and may be cut.
#![warn(clippy::indexing_slicing)]

use thiserror::Error;

use crate::packet::{Checksum, Packet};
use crate::wire::checksum::{self, Delta};
use crate::wire::{Headers, ipv4};

/// Why a packet was not cut into fragments.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Unsplittable {
    /// Its sender forbids it, or it is IPv6, which only its sender may cut (RFC 8200, section 4.5):
    /// answer that it is too big.
    #[error("the packet must not be fragmented")]
    Forbidden,
    /// Less than 8 bytes fit behind the header: the MTU is wrong.
    #[error("no fragment fits the MTU")]
    MtuTooSmall,
    /// Its checksum or its segments are left to hardware that cannot do either for fragments.
    #[error("offloaded work is not done")]
    Offloaded,
}

/// Gives `each` fragment of an IPv4 packet, at most `mtu` bytes from its IP header on, with the
/// link's header in front; gives how many there were.
///
/// A packet that fits is given as it is. One that is a fragment itself is cut into smaller ones.
/// Options go into all fragments if they say so, else into the first alone (RFC 791, section 3.1).
/// Cost: one allocation, and a copy of the packet.
///
/// # Errors
///
/// See [`Unsplittable`]; nothing was given then.
pub fn split(
    packet: &Packet<'_>,
    headers: &Headers,
    mtu: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, Unsplittable> {
    let bytes = packet.bytes();
    let whole = bytes.get(..headers.end).unwrap_or_default();
    if headers.end - headers.network <= mtu {
        each(whole);
        return Ok(1);
    }
    if headers.dont_fragment || !headers.is_ipv4() {
        return Err(Unsplittable::Forbidden);
    }
    let offload = packet.offloads();
    if offload.checksum == Checksum::Partial || offload.segment.is_some() {
        return Err(Unsplittable::Offloaded);
    }
    let (front, payload) = whole
        .split_at_checked(headers.transport)
        .ok_or(Unsplittable::MtuTooSmall)?;
    let (link, header) = front
        .split_at_checked(headers.network)
        .ok_or(Unsplittable::MtuTooSmall)?;
    let step = mtu.saturating_sub(header.len()) & !7;
    if step == 0 {
        return Err(Unsplittable::MtuTooSmall);
    }
    let (base, more) = headers
        .fragment
        .map_or((0, false), |part| (part.offset, part.more));
    let later = without_uncopied_options(header);
    let count = payload.len().div_ceil(step);
    let mut fragment = Vec::with_capacity(link.len() + mtu);
    for (index, piece) in payload.chunks(step).enumerate() {
        let front = if index == 0 { header } else { &later };
        let follows = more || index + 1 < count;
        fragment.clear();
        fragment.extend_from_slice(link);
        fragment.extend_from_slice(front);
        fragment.extend_from_slice(piece);
        let at = base + index * step;
        finish(
            fragment.get_mut(link.len()..).unwrap_or_default(),
            front.len(),
            header,
            at,
            follows,
        );
        each(&fragment);
    }
    Ok(count)
}

/// Sets length and place in a packet that begins with `header_len` bytes made of `original`, and a
/// checksum that is as right, or as wrong, as that of `original`.
fn finish(packet: &mut [u8], header_len: usize, original: &[u8], at: usize, more: bool) {
    // A packet is at most 65,535 bytes long, as the length it was parsed by.
    let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let place = u16::try_from(at / 8).unwrap_or(u16::MAX) | if more { MORE } else { 0 };
    let Some(header) = packet.get_mut(..header_len) else {
        return;
    };
    let Some([_, _, t0, t1, _, _, p0, p1, _, _, c0, c1, ..]) =
        header.first_chunk_mut::<{ ipv4::HEADER }>()
    else {
        return;
    };
    [*t0, *t1] = total.to_be_bytes();
    [*p0, *p1] = place.to_be_bytes();
    let old = u16::from_be_bytes([*c0, *c1]);
    // With the old checksum in both sums, that makes no difference.
    let delta = Delta::default().replace_sum(checksum::sum(original), checksum::sum(header));
    let field = header
        .get_mut(CHECKSUM..)
        .and_then(|it| it.first_chunk_mut());
    if let Some(field) = field {
        *field = delta.apply(old).to_be_bytes();
    }
}

/// The header of the later fragments: without the options that go into the first alone.
fn without_uncopied_options(header: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = header
        .split_at_checked(ipv4::HEADER)
        .unwrap_or((header, &[]));
    let mut later = fixed.to_vec();
    while let &[kind, ref rest @ ..] = options {
        let len = match kind {
            END => break,
            NO_OPERATION => {
                options = rest;
                continue;
            }
            _ => usize::from(rest.first().copied().unwrap_or_default()),
        };
        let Some((option, behind)) = options.split_at_checked(len).filter(|_| len >= 2) else {
            break;
        };
        if kind & COPIED != 0 {
            later.extend_from_slice(option);
        }
        options = behind;
    }
    later.resize(later.len().next_multiple_of(4), END);
    let words = u8::try_from(later.len() / 4).unwrap_or(5);
    if let Some(first) = later.first_mut() {
        *first = 0x40 | words;
    }
    later
}

const CHECKSUM: usize = 10;
const MORE: u16 = 0x2000;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// The bit of an option's kind that puts it into every fragment.
const COPIED: u8 = 0x80;
