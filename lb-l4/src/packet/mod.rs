//! One packet in a buffer, with room on either side of it.

mod offload;
mod verdict;

use std::fmt;
use std::ops::Range;

pub use offload::{Checksum, Offload};
pub use verdict::{DropReason, Verdict};

/// One interface of the host, as its owner numbers them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct InterfaceId(pub u16);

/// What the bytes of a packet begin with.
#[expect(
    clippy::exhaustive_enums,
    reason = "a link has addresses of its own or it has none"
)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Link {
    /// An Ethernet header of 14 bytes, and 4 more for each VLAN tag.
    #[default]
    Ethernet,
    /// An IPv4 or IPv6 header: TUN, and other links without addresses.
    Ip,
}

/// One packet in a buffer of its transport's, to be read, rewritten and given a [`Verdict`].
///
/// ```text
///   buffer  ├── headroom ──┼── bytes: [Ethernet] IP … ──┼── tailroom ──┤
/// ```
///
/// It grows at its front into the headroom, as encapsulation does, and at its back into the
/// tailroom, without a copy of what stands before.
///
/// # Examples
///
/// ```
/// use lb_l4::packet::{Link, Packet, Verdict};
///
/// let mut buffer = [0; 128];
/// let mut packet = Packet::new(&mut buffer, 64..104, Link::Ip);
/// assert_eq!((packet.headroom(), packet.bytes().len(), packet.tailroom()), (64, 40, 24));
/// assert_eq!(packet.verdict(), Verdict::Pass);
/// packet.grow_front(20).ok_or("no headroom")?[0] = 0x45;
/// assert_eq!(packet.bytes().len(), 60);
/// # Ok::<(), &str>(())
/// ```
pub struct Packet<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
    link: Link,
    interface: InterfaceId,
    mark: u32,
    offload: Offload,
    verdict: Verdict,
}

impl<'a> Packet<'a> {
    /// The packet in `range` of `buffer`; of the range what lies inside.
    #[must_use]
    pub fn new(buffer: &'a mut [u8], range: Range<usize>, link: Link) -> Self {
        let end = range.end.min(buffer.len());
        Self {
            start: range.start.min(end),
            end,
            buffer,
            link,
            interface: InterfaceId::default(),
            mark: 0,
            offload: Offload::default(),
            verdict: Verdict::Pass,
        }
    }

    /// Sets the interface that it came in by. Default 0.
    #[must_use]
    pub const fn on(mut self, interface: InterfaceId) -> Self {
        self.interface = interface;
        self
    }

    /// Sets its firewall mark, as a transport or a filter before it has given it. Default 0: none.
    #[must_use]
    pub const fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// Sets what the sender has left to be done by hardware. Default nothing.
    #[must_use]
    pub const fn offload(mut self, offload: Offload) -> Self {
        self.offload = offload;
        self
    }

    /// The interface that it came in by.
    #[must_use]
    pub const fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Its firewall mark; 0 is none.
    #[must_use]
    pub const fn firewall_mark(&self) -> u32 {
        self.mark
    }

    /// What its bytes begin with.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// What the sender has left to be done by hardware.
    #[must_use]
    pub const fn offloads(&self) -> Offload {
        self.offload
    }

    /// Changes what is left to be done by hardware, after headers were put before or taken off.
    pub const fn set_offloads(&mut self, offload: Offload) {
        self.offload = offload;
    }

    /// What becomes of it; [`Verdict::Pass`] until somebody decides.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Decides what becomes of it.
    pub const fn set_verdict(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// Its bytes, from the link's header on.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Its bytes, to be rewritten.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer
            .get_mut(self.start..self.end)
            .unwrap_or_default()
    }

    /// Where its bytes lie in the buffer.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Bytes it can grow by at its front.
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes it can grow by at its back.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.buffer.len().saturating_sub(self.end)
    }

    /// Puts `more` bytes, of any content, before it, and gives all of it; `None` if there is no room.
    #[inline]
    pub fn grow_front(&mut self, more: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(more)?;
        Some(self.bytes_mut())
    }

    /// Takes `less` bytes off its front; `None`, and nothing is changed, if it is shorter.
    #[inline]
    pub fn shrink_front(&mut self, less: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_add(less)?;
        if start > self.end {
            return None;
        }
        self.start = start;
        Some(self.bytes_mut())
    }

    /// Makes it `len` bytes long, at its back; `None`, and nothing is changed, if there is no room.
    ///
    /// New bytes are of any content.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.start.checked_add(len)?;
        if end > self.buffer.len() {
            return None;
        }
        self.end = end;
        Some(self.bytes_mut())
    }

    /// Opens a gap of `gap` bytes, of any content, before the byte `at`: what stands before it
    /// moves into the headroom. Gives all of the packet; `None`, and nothing is changed, if there is
    /// no room or no such byte.
    ///
    /// Cost: a copy of `at` bytes, which are headers, and not of the payload.
    #[inline]
    pub fn open_gap(&mut self, at: usize, gap: usize) -> Option<&mut [u8]> {
        if at > self.end - self.start {
            return None;
        }
        let start = self.start.checked_sub(gap)?;
        match self.buffer.get(self.start..)?.first_chunk::<ETHERNET>() {
            // By far the most: two moves of a processor's, where any length takes a call.
            Some(&header) if at == ETHERNET => {
                *self.buffer.get_mut(start..)?.first_chunk_mut()? = header;
            }
            _ => self.buffer.copy_within(self.start..self.start + at, start),
        }
        self.start = start;
        Some(self.bytes_mut())
    }

    /// Takes out the `gap` bytes from the byte `at` on: what stands before them moves up. Gives all
    /// of the packet; `None`, and nothing is changed, if it has no such bytes.
    pub fn close_gap(&mut self, at: usize, gap: usize) -> Option<&mut [u8]> {
        let behind = at.checked_add(gap)?;
        if behind > self.end - self.start {
            return None;
        }
        self.buffer
            .copy_within(self.start..self.start + at, self.start + gap);
        self.start += gap;
        Some(self.bytes_mut())
    }
}

/// Bytes of a link header without tags.
const ETHERNET: usize = 14;

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &(self.end - self.start))
            .field("link", &self.link)
            .field("interface", &self.interface)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_shrinks_as_far_as_its_buffer_goes() {
        let mut buffer: Vec<u8> = (0..10).collect();
        let mut packet = Packet::new(&mut buffer, 4..7, Link::Ip);
        assert_eq!(packet.bytes(), [4, 5, 6]);
        assert_eq!(packet.grow_front(4).map(|it| it.len()), Some(7));
        assert!(packet.grow_front(1).is_none());
        assert!(packet.shrink_front(8).is_none());
        assert_eq!(
            packet.shrink_front(5).map(|it| it.to_vec()),
            Some(vec![5, 6])
        );
        assert_eq!(
            packet.set_len(5).map(|it| it.to_vec()),
            Some(vec![5, 6, 7, 8, 9])
        );
        assert!(packet.set_len(6).is_none());
        assert_eq!(packet.tailroom(), 0);
    }

    #[test]
    fn a_gap_moves_what_stands_before_it() {
        let mut buffer: Vec<u8> = (0..10).collect();
        let mut packet = Packet::new(&mut buffer, 4..10, Link::Ip);
        let bytes = packet.open_gap(2, 3).unwrap();
        assert_eq!(
            (bytes.len(), &bytes[..2], &bytes[5..]),
            (9, &[4, 5][..], &[6, 7, 8, 9][..])
        );
        assert_eq!(packet.close_gap(2, 3).unwrap(), [4, 5, 6, 7, 8, 9]);
        assert!(packet.open_gap(7, 1).is_none());
        assert!(packet.open_gap(2, 5).is_none());
        assert!(packet.close_gap(4, 3).is_none());
        assert_eq!(packet.bytes(), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_range_beyond_the_buffer_is_cut() {
        let mut buffer = [0; 4];
        assert_eq!(Packet::new(&mut buffer, 2..9, Link::Ip).range(), 2..4);
        let backwards = Range { start: 3, end: 1 };
        assert_eq!(Packet::new(&mut buffer, backwards, Link::Ip).range(), 1..1);
    }
}
