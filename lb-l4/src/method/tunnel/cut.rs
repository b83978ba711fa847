//! Packets cut into pieces that pass.

use std::ops::Range;

use super::{Tunnel, TunnelError};
use crate::packet::Packet;
use crate::wire::{Frame, Headers, checksum, ipv4, ipv6, parse};

/// Puts the packet of `headers` into `tunnel` in pieces, each an outer packet of at most `mtu` bytes
/// (and its link header) that `each` is shown; answers how many.
///
/// For packets that [fit](Tunnel::fit) as [`Fit::Pieces`](super::Fit::Pieces); one that passes whole
/// is shown whole. IPv4 is cut before it
/// goes in, and its receiver puts it together; IPv6 goes in whole, and the outer packet is cut, so
/// that the backend puts it together before it takes the tunnel off. For the latter the
/// [identification](Tunnel::identification) has to be new.
///
/// Cost: one allocation, and two copies of the packet.
///
/// # Errors
///
/// Those of [`encapsulate`](fn@super::encapsulate), and [`TunnelError::Uncuttable`]. Nothing was shown
/// then.
pub fn encapsulate(
    packet: &Packet<'_>,
    headers: &Headers,
    tunnel: &Tunnel,
    entropy: u32,
    mtu: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, TunnelError> {
    let front = tunnel.overhead();
    let mut buffer = Vec::with_capacity(front + headers.end);
    let length = headers.end.saturating_sub(headers.network);
    if headers.is_ipv4() && length + front > mtu {
        let pieces = Pieces::v4(packet.bytes(), headers, mtu.saturating_sub(front))?;
        let mut shown = 0;
        for piece in pieces {
            buffer.clear();
            buffer.resize(front, 0);
            piece.emit(&mut buffer);
            with_tunnel(&mut buffer, front, packet, tunnel, entropy, |bytes, _| {
                each(bytes)
            })?;
            shown += 1;
        }
        return Ok(shown);
    }
    buffer.resize(front, 0);
    buffer.extend_from_slice(packet.bytes());
    with_tunnel(
        &mut buffer,
        front,
        packet,
        tunnel,
        entropy,
        |bytes, outer| {
            let identification = entropy << 16 | u32::from(tunnel.identification);
            if outer.end - outer.network <= mtu {
                each(bytes);
                return Ok(1);
            }
            let pieces = if outer.is_ipv4() {
                Pieces::v4(bytes, outer, mtu)?
            } else {
                Pieces::v6(bytes, outer, mtu, identification)?
            };
            let mut out = Vec::with_capacity(mtu + outer.network);
            let mut shown = 0;
            for piece in pieces {
                out.clear();
                piece.emit(&mut out);
                each(&out);
                shown += 1;
            }
            Ok(shown)
        },
    )?
}

/// Puts what stands behind `front` of `buffer` into `tunnel`, and lets `then` see it.
fn with_tunnel<T>(
    buffer: &mut [u8],
    front: usize,
    original: &Packet<'_>,
    tunnel: &Tunnel,
    entropy: u32,
    then: impl FnOnce(&[u8], &Headers) -> T,
) -> Result<T, TunnelError> {
    let end = buffer.len();
    let mut packet = Packet::new(buffer, front..end, original.link()).offload(original.offloads());
    let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), original.link()) else {
        return Err(TunnelError::Uncuttable);
    };
    super::encapsulate(&mut packet, &mut headers, tunnel, entropy)?;
    Ok(then(packet.bytes(), &headers))
}

/// The pieces of one packet.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    /// What each begins with: link header and IP header.
    first_header: &'a [u8],
    /// Offset of the IP header in it.
    network: usize,
    /// The IP header of all but the first, with those options alone that go into each.
    later_header: Vec<u8>,
    /// What is cut.
    body: &'a [u8],
    /// How much of it has been given.
    given: usize,
    /// Where the body stands in the packet that this one may itself be a piece of.
    base: usize,
    /// Whether pieces follow the last one of this packet.
    more: bool,
    /// Bytes of the largest IP packet.
    mtu: usize,
    /// The protocol and identification of a fragment header of IPv6.
    fragment: Option<(u8, u32)>,
}

impl<'a> Pieces<'a> {
    /// Cuts the IPv4 packet of `headers` into packets of at most `mtu` bytes; whether it may be cut
    /// is the caller's to look at. A piece can be cut again.
    ///
    /// Source: RFC 791, 3.2, "An Example Fragmentation Procedure".
    ///
    /// # Errors
    ///
    /// [`TunnelError::Uncuttable`] if `mtu` leaves no room for 8 bytes behind the header, or if the
    /// checksum of the header is wrong: each piece gets a right one.
    pub fn v4(bytes: &'a [u8], headers: &Headers, mtu: usize) -> Result<Self, TunnelError> {
        let header = headers.network..headers.transport;
        if !headers.is_ipv4() || !headers.header_checksum_is_right(bytes) {
            return Err(TunnelError::Uncuttable);
        }
        let options = at(bytes, header.start + ipv4::HEADER..header.end);
        let fixed = at(bytes, header.start..header.start + ipv4::HEADER);
        let mut later_header = fixed.to_vec();
        copied_options(options, &mut later_header);
        let part = headers.fragment;
        Self {
            first_header: at(bytes, 0..header.end),
            network: header.start,
            later_header,
            body: at(bytes, header.end..headers.end),
            given: 0,
            base: part.map_or(0, |part| part.offset),
            more: part.is_some_and(|part| part.more),
            mtu,
            fragment: None,
        }
        .check()
    }

    /// Cuts the IPv6 packet of `headers`, which is the caller's own, into packets of at most `mtu`
    /// bytes; routers must not do so.
    ///
    /// Source: RFC 8200, 4.5.
    ///
    /// # Errors
    ///
    /// [`TunnelError::Uncuttable`] if `mtu` leaves no room for 8 bytes behind the headers, or if
    /// there is an extension header already.
    pub fn v6(
        bytes: &'a [u8],
        headers: &Headers,
        mtu: usize,
        identification: u32,
    ) -> Result<Self, TunnelError> {
        let end = headers.network + ipv6::HEADER;
        if headers.is_ipv4() || headers.transport != end {
            return Err(TunnelError::Uncuttable);
        }
        Self {
            first_header: at(bytes, 0..end),
            network: headers.network,
            later_header: at(bytes, headers.network..end).to_vec(),
            body: at(bytes, end..headers.end),
            given: 0,
            base: 0,
            more: false,
            mtu,
            fragment: Some((headers.protocol, identification)),
        }
        .check()
    }

    fn check(self) -> Result<Self, TunnelError> {
        if self.room(self.first_header.len() - self.network) == 0 {
            return Err(TunnelError::Uncuttable);
        }
        Ok(self)
    }

    /// Bytes that a piece has behind a header of `header` bytes: a multiple of 8.
    fn room(&self, header: usize) -> usize {
        let extension = if self.fragment.is_some() { FRAGMENT } else { 0 };
        self.mtu.saturating_sub(header + extension) & !7
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.body.get(self.given..).filter(|it| !it.is_empty())?;
        let link = at(self.first_header, 0..self.network);
        let mut header = if self.given == 0 {
            at(self.first_header, self.network..self.first_header.len()).to_vec()
        } else {
            self.later_header.clone()
        };
        // The last one need not end at a multiple of 8, so it may use what there is.
        let extension = if self.fragment.is_some() { FRAGMENT } else { 0 };
        let all = self.mtu.saturating_sub(header.len() + extension);
        let len = if rest.len() <= all {
            rest.len()
        } else {
            self.room(header.len())
        };
        let more = self.more || len < rest.len();
        let offset = self.base + self.given;
        match self.fragment {
            Some((next, identification)) => {
                finish_v6(&mut header, len, next, identification, offset, more);
            }
            None => finish_v4(&mut header, len, offset, more),
        }
        self.given += len;
        Some(Piece {
            link,
            header,
            body: at(rest, 0..len),
        })
    }
}

/// One piece: a packet that stands for itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece<'a> {
    link: &'a [u8],
    header: Vec<u8>,
    body: &'a [u8],
}

impl Piece<'_> {
    /// Puts it behind what is in `out`, with the link header of the packet it was cut from.
    pub fn emit(&self, out: &mut Vec<u8>) {
        for part in [self.link, &self.header, self.body] {
            out.extend_from_slice(part);
        }
    }
}

/// Puts those options behind `header` that each piece has, and makes it a multiple of four bytes.
///
/// RFC 791, 3.1: the first bit of an option says so.
fn copied_options(mut options: &[u8], header: &mut Vec<u8>) {
    while let Some((&kind, rest)) = options.split_first() {
        let len = match kind {
            END_OF_OPTIONS => break,
            NO_OPERATION => 1,
            // A length that is impossible was refused when the headers were read; no less than two
            // bytes are passed over, so this ends.
            _ => rest.first().map_or(2, |&len| usize::from(len).max(2)),
        };
        let len = len.min(options.len());
        if kind & COPIED != 0 {
            header.extend_from_slice(at(options, 0..len));
        }
        options = at(options, len..options.len());
    }
    header.resize(header.len().next_multiple_of(4), END_OF_OPTIONS);
}

/// Length, place and checksum of a piece of IPv4.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a header of at most 15 words, and a piece no longer than the packet was"
)]
fn finish_v4(header: &mut [u8], body: usize, offset: usize, more: bool) {
    let len = header.len();
    let flag = if more { MORE_V4 } else { 0 };
    let [a, b] = ((len + body) as u16).to_be_bytes();
    let [c, d] = ((offset / 8) as u16 | flag).to_be_bytes();
    if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER }>() {
        fixed[0] = 0x40 | (len / 4) as u8;
        [fixed[2], fixed[3]] = [a, b];
        [fixed[6], fixed[7]] = [c, d];
        [fixed[10], fixed[11]] = [0, 0];
    }
    let sum = !checksum::fold(checksum::sum(header));
    if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER }>() {
        [fixed[10], fixed[11]] = sum.to_be_bytes();
    }
}

/// Length and fragment header of a piece of IPv6.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a piece is no longer than the packet was, which had no fragment header"
)]
fn finish_v6(
    header: &mut Vec<u8>,
    body: usize,
    next: u8,
    identification: u32,
    offset: usize,
    more: bool,
) {
    if let Some(fixed) = header.first_chunk_mut::<{ ipv6::HEADER }>() {
        [fixed[4], fixed[5]] = ((body + FRAGMENT) as u16).to_be_bytes();
        fixed[6] = FRAGMENT_HEADER;
    }
    let place = offset as u16 | u16::from(more);
    header.extend_from_slice(&[next, 0]);
    header.extend_from_slice(&place.to_be_bytes());
    header.extend_from_slice(&identification.to_be_bytes());
}

/// What lies in `range`, of which all is there.
fn at(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const COPIED: u8 = 0x80;
const MORE_V4: u16 = 0x2000;
/// Bytes of the fragment header, and its number (RFC 8200, 4.5).
const FRAGMENT: usize = 8;
const FRAGMENT_HEADER: u8 = 44;
