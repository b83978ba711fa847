//! Packets that take the place of the one that they answer or stand for.

use std::net::IpAddr;

use crate::packet::{DropReason, Link, Offload, Packet};
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::{TcpOption, kind, options};
use crate::wire::{Frame, Headers, parse};

/// What the options of a segment say, as far as a handshake is concerned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) sack: bool,
    pub(super) timestamps: Option<Timestamps>,
}

/// The sender's clock and the newest that it has seen of the other side's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timestamps {
    pub(super) value: u32,
    pub(super) echo: u32,
}

impl Said {
    /// Reads the options of a TCP packet; of two of a kind the last counts.
    pub(super) fn read(packet: &Packet<'_>, headers: &Headers) -> Self {
        let mut said = Self::default();
        let begin = headers.transport + crate::wire::tcp::HEADER;
        let bytes = packet.bytes().get(begin..headers.payload().start);
        for option in options(bytes.unwrap_or_default()) {
            match option {
                TcpOption::Mss(mss) => said.mss = Some(mss),
                TcpOption::WindowScale(bits) => said.window_scale = Some(bits.min(14)),
                TcpOption::SackPermitted => said.sack = true,
                TcpOption::Timestamps { value, echo } => {
                    said.timestamps = Some(Timestamps { value, echo });
                }
                _ => {}
            }
        }
        said
    }

    /// As bytes, in the order and with the padding that most stacks use, so that values are aligned.
    pub(super) fn options(&self) -> OptionBytes {
        let mut out = OptionBytes::default();
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            out.put(&[kind::MSS, 4, a, b]);
        }
        match (self.sack, self.timestamps) {
            (true, Some(_)) => out.put(&[kind::SACK_PERMITTED, 2]),
            (true, None) => out.put(&[NOP, NOP, kind::SACK_PERMITTED, 2]),
            (false, Some(_)) => out.put(&[NOP, NOP]),
            (false, None) => {}
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            out.put(&[kind::TIMESTAMPS, 10]);
            out.put(&value.to_be_bytes());
            out.put(&echo.to_be_bytes());
        }
        if let Some(bits) = self.window_scale {
            out.put(&[NOP, kind::WINDOW_SCALE, 3, bits]);
        }
        out
    }
}

/// The options of one segment of ours: 4, 4, 10 and 4 bytes at most, and padding.
#[derive(Default)]
pub(super) struct OptionBytes {
    bytes: [u8; 24],
    len: usize,
}

impl OptionBytes {
    fn put(&mut self, part: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(part) {
            *to = *from;
        }
        self.len += part.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Puts `segment` in the place of the IP packet, behind the same link header, and reads it into
/// `headers`; `scratch` is room to write it in.
///
/// # Errors
///
/// There is no room for it, and the packet is as it was.
pub(super) fn replace(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    segment: &TcpSegment<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), DropReason> {
    scratch.clear();
    segment.emit(scratch);
    let network = headers.network;
    let wanted = network + scratch.len();
    let most = packet.bytes().len() + packet.tailroom();
    let missing = wanted.saturating_sub(most);
    if missing > packet.headroom() {
        return Err(DropReason::NoRoom);
    }
    packet.set_len(wanted - missing).ok_or(DropReason::NoRoom)?;
    let bytes = match missing {
        0 => Some(packet.bytes_mut()),
        _ => packet.open_gap(network, missing),
    };
    let place = bytes.and_then(|it| it.get_mut(network..wanted));
    place.ok_or(DropReason::NoRoom)?.copy_from_slice(scratch);
    packet.set_offloads(Offload::default());
    match parse(packet.bytes(), packet.link()) {
        Ok(Frame::Ip(read)) => {
            *headers = read;
            Ok(())
        }
        _ => Err(DropReason::Malformed),
    }
}

/// Turns the link header round, so that the packet goes back to where it came from.
pub(super) fn turn_link(packet: &mut Packet<'_>) {
    if packet.link() == Link::Ethernet
        && let Some([to, from]) = packet
            .bytes_mut()
            .as_chunks_mut::<6>()
            .0
            .first_chunk_mut::<2>()
    {
        std::mem::swap(to, from);
    }
}

/// Whether the packet is whole and its TCP checksum is right, or is left to hardware.
pub(super) fn is_sound(packet: &Packet<'_>, headers: &Headers) -> bool {
    headers.fragment.is_none()
        && headers.checksum_is_right(packet.bytes(), packet.offloads().checksum)
}

/// The largest segment of a host that names none (RFC 9293, 3.7.1; RFC 8200, 5).
pub(super) const fn default_mss(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => 536,
        IpAddr::V6(_) => 1_220,
    }
}

const NOP: u8 = kind::NO_OPERATION;
