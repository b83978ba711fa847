//! One TCP header, changed in many places with one change of its checksum.

use crate::packet::{Checksum, Packet};
use crate::wire::checksum::Delta;
use crate::wire::tcp::flags::{ACK, SYN};
use crate::wire::tcp::kind::{END, NO_OPERATION, SACK, TIMESTAMPS};
use crate::wire::{Body, Headers, TcpHeader, rewrite};

/// What is added to the numbers of a segment, and what is taken out.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) sequence: u32,
    /// Instead of `sequence`, for a SYN.
    pub(super) syn_sequence: u32,
    /// Of the acknowledgement and of both edges of every SACK block.
    pub(super) acknowledgement: u32,
    /// An acknowledgement less than `-acknowledgement` before this is this.
    pub(super) first: Option<u32>,
    pub(super) timestamp: u32,
    pub(super) echo: u32,
    pub(super) window: i8,
    pub(super) blank_sack: bool,
    pub(super) blank_timestamps: bool,
}

impl Change {
    pub(super) fn apply(&self, packet: &mut Packet<'_>, headers: &mut Headers) {
        let complete = packet.offloads().checksum == Checksum::Complete;
        let Body::Tcp(tcp) = &mut headers.body else {
            return;
        };
        let end = headers.transport.saturating_add(tcp.len);
        let Some(bytes) = packet.bytes_mut().get_mut(headers.transport..end) else {
            return;
        };
        let mut segment = Segment {
            bytes,
            delta: Delta::default(),
        };
        self.numbers(&mut segment, tcp);
        self.options(&mut segment, tcp.flags & ACK != 0);
        // A partial checksum is of the pseudo-header, of which nothing has changed.
        if complete {
            segment.finish();
        }
    }

    fn numbers(&self, segment: &mut Segment<'_>, tcp: &mut TcpHeader) {
        let syn = tcp.flags & SYN != 0;
        let added = if syn {
            self.syn_sequence
        } else {
            self.sequence
        };
        if added != 0 {
            tcp.sequence = tcp.sequence.wrapping_add(added);
            segment.put(SEQUENCE, tcp.sequence.to_be_bytes());
        }
        if self.acknowledgement != 0 && tcp.flags & ACK != 0 {
            tcp.acknowledgement = self.acknowledged(tcp.acknowledgement);
            segment.put(ACKNOWLEDGEMENT, tcp.acknowledgement.to_be_bytes());
        }
        // RFC 7323, 2.2: the window of a SYN is never scaled.
        if self.window != 0 && !syn {
            tcp.window = shifted(tcp.window, self.window);
            segment.put(WINDOW, tcp.window.to_be_bytes());
        }
    }

    fn acknowledged(&self, number: u32) -> u32 {
        let number = number.wrapping_add(self.acknowledgement);
        match self.first {
            Some(first) if first.wrapping_sub(number) <= self.acknowledgement.wrapping_neg() => {
                first
            }
            _ => number,
        }
    }

    /// Options are bounded by the header: 40 bytes.
    fn options(&self, segment: &mut Segment<'_>, acknowledges: bool) {
        let mut at = OPTIONS;
        while let Some((kind, len)) = segment.option(at) {
            match (kind, len) {
                (SACK, _) if self.blank_sack => segment.blank(at, len),
                (SACK, _) => self.blocks(segment, at, len),
                (TIMESTAMPS, TIMESTAMPS_LEN) if self.blank_timestamps => segment.blank(at, len),
                (TIMESTAMPS, TIMESTAMPS_LEN) => {
                    segment.add(at + 2, self.timestamp);
                    // RFC 7323, 3.2: without ACK the echo means nothing.
                    if acknowledges {
                        segment.add(at + 6, self.echo);
                    }
                }
                _ => {}
            }
            at += len;
        }
    }

    fn blocks(&self, segment: &mut Segment<'_>, at: usize, len: usize) {
        let mut edge = at + 2;
        // An edge is 4 bytes, and what is left of a malformed option stays.
        while edge + 4 <= at + len {
            segment.add(edge, self.acknowledgement);
            edge += 4;
        }
    }
}

struct Segment<'a> {
    bytes: &'a mut [u8],
    delta: Delta,
}

impl Segment<'_> {
    /// The kind and length of the option at `at`; `None` behind the last and at one cut short.
    fn option(&self, at: usize) -> Option<(u8, usize)> {
        match *self.bytes.get(at)? {
            END => None,
            NO_OPERATION => Some((NO_OPERATION, 1)),
            kind => {
                let len = usize::from(*self.bytes.get(at + 1)?);
                (len >= 2 && at + len <= self.bytes.len()).then_some((kind, len))
            }
        }
    }

    fn add(&mut self, at: usize, added: u32) {
        let old = self.bytes.get(at..).and_then(|it| it.first_chunk::<4>());
        if let (Some(old), true) = (old, added != 0) {
            let new = u32::from_be_bytes(*old).wrapping_add(added);
            self.put(at, new.to_be_bytes());
        }
    }

    fn blank(&mut self, at: usize, len: usize) {
        for at in at..at + len {
            self.put(at, [NO_OPERATION]);
        }
    }

    /// Replaces bytes at any place: an option may begin at an odd one.
    fn put<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        let Some(old) = self.bytes.get_mut(at..at + N) else {
            return;
        };
        for (place, (old, new)) in old.iter_mut().zip(new).enumerate() {
            let word = |byte: u8| match (at + place) % 2 {
                0 => u16::from(byte) << 8,
                _ => u16::from(byte),
            };
            self.delta = self.delta.replace(word(*old), word(new));
            *old = new;
        }
    }

    fn finish(self) {
        let Some(field) = self.bytes.get_mut(CHECKSUM..CHECKSUM + 2) else {
            return;
        };
        if let Ok(field) = <&mut [u8; 2]>::try_from(field) {
            *field = self.delta.apply(u16::from_be_bytes(*field)).to_be_bytes();
        }
    }
}

/// A window in another scale; one that is open stays open, since a sender of zero-window probes
/// without data would otherwise never learn that it may send a little.
fn shifted(window: u16, shift: i8) -> u16 {
    let bits = u32::from(shift.unsigned_abs().min(14));
    if shift >= 0 {
        u16::try_from(u32::from(window) << bits).unwrap_or(u16::MAX)
    } else {
        (window >> bits).max(window.min(1))
    }
}

/// RFC 3168, 5: Not-ECT.
pub(super) fn blank_ecn(packet: &mut Packet<'_>, headers: &mut Headers) {
    const ECN: u8 = 0x03;
    if headers.traffic_class & ECN != 0 {
        let class = headers.traffic_class & !ECN;
        rewrite::set_traffic_class(packet.bytes_mut(), headers, class);
    }
}

/// Places in the header (RFC 9293, 3.1).
const SEQUENCE: usize = 4;
const ACKNOWLEDGEMENT: usize = 8;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;

/// RFC 7323, 3.2.
const TIMESTAMPS_LEN: usize = 10;
