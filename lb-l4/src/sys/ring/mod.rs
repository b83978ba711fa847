//! The receive ring of a packet socket, version 3: blocks that the kernel fills and hands over.
//!
//! Source: Linux, Documentation/networking/packet_mmap.rst; the layouts are those of
//! `include/uapi/linux/if_packet.h`.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::Mapping;

/// Where in a block the word stands that says whose it is (`block_status`).
const STATUS: usize = 8;
/// Where in a block begins what a program may read and write once the block is its own.
const READABLE: usize = 12;
/// Bytes of the header of a block (`struct tpacket_block_desc`).
const BLOCK_HEADER: usize = 48;

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Ring {
    map: Mapping,
    size: usize,
    count: usize,
    /// The block that the kernel hands over next, or has.
    current: usize,
}

impl Ring {
    /// Maps the ring of `count` blocks of `size` bytes that the socket has been given.
    ///
    /// # Errors
    ///
    /// Those of `mmap(2)`, above all that the socket has no ring of this size.
    pub(crate) fn map(socket: BorrowedFd<'_>, size: usize, count: usize) -> io::Result<Self> {
        let len = size.checked_mul(count).ok_or(io::ErrorKind::InvalidInput)?;
        if size < BLOCK_HEADER || count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            map: Mapping::shared(socket, 0, len)?,
            size,
            count,
            current: 0,
        })
    }

    /// The block that waits, if the kernel has handed one over; the same one until it is released.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the block is given out to be written: nobody else may have it"
    )]
    pub(crate) fn block(&mut self) -> Option<Block<'_>> {
        // The kernel writes the status last, behind a barrier: what it says is all there.
        if self.status()?.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let len = self.size - READABLE;
        let bytes: NonNull<u8> = self.field(READABLE, len)?;
        // SAFETY: these bytes lie in the mapping, which lives as long as `self`; the kernel neither
        // writes them nor reads more than the status word, which stands before, until `release`, for
        // which the borrow has to be over.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.as_ptr(), len) };
        Some(Block { bytes })
    }

    /// Gives the block that waits back to the kernel, and goes on to the next one.
    ///
    /// `&mut self` ends every borrow of its bytes.
    pub(crate) fn release(&mut self) {
        if let Some(status) = self.status() {
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.current = (self.current + 1) % self.count;
    }

    fn status(&self) -> Option<&AtomicU32> {
        let word: NonNull<AtomicU32> = self.field(STATUS, 1)?;
        // SAFETY: the word lies in the mapping, which lives as long as `self`, and is aligned; both
        // sides only ever reach it by whole words.
        Some(unsafe { word.as_ref() })
    }

    /// The `count` values that begin at byte `at` of the current block; there always are.
    fn field<T>(&self, at: usize, count: usize) -> Option<NonNull<T>> {
        let at = self.current * self.size + at;
        self.map.field(u64::try_from(at).ok()?, count)
    }
}

/// A block that is the program's: its bytes, from behind the status word on.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    bytes: &'a mut [u8],
}

/// Where in a block one has got to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// Where the next frame stands, from the start of the block.
    next: usize,
    /// How many frames are left.
    pub(crate) left: u32,
}

impl<'a> Block<'a> {
    /// Where its first frame stands, and how many there are.
    pub(crate) fn begin(&self) -> Cursor {
        let word = |at| u32_at(self.bytes, at).unwrap_or(0);
        Cursor {
            left: word(0),
            next: word(4) as usize,
        }
    }

    /// Its frames from `cursor` on.
    pub(crate) fn frames(self, cursor: Cursor) -> Frames<'a> {
        Frames {
            rest: self.bytes,
            passed: READABLE,
            cursor,
        }
    }
}

/// The frames of a block, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a mut [u8],
    /// Bytes of the block before `rest`.
    passed: usize,
    cursor: Cursor,
}

/// One frame, as the kernel describes it.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// Everything between the description of this frame and the next one: room, and the packet.
    pub(crate) buffer: &'a mut [u8],
    /// Where in it the packet begins, with the link's header.
    pub(crate) start: usize,
    /// Bytes of it that are there.
    pub(crate) len: usize,
    /// Whether it was longer.
    pub(crate) is_cut: bool,
    /// The VLAN tag that the kernel has taken out: its type and its content.
    pub(crate) vlan: Option<(u16, u16)>,
    /// Whether this host has sent it.
    pub(crate) is_outgoing: bool,
}

/// Bytes of the description of a frame: `struct tpacket3_hdr`, and a `sockaddr_ll` behind it.
const FRAME_HEADER: usize = 48 + 20;
/// Where the kind of the packet stands in it (`sll_pkttype`).
const KIND: usize = 48 + 10;
/// The type of a VLAN tag, if the kernel does not say (IEEE 802.1Q, 9.6).
const TAG_802_1Q: u16 = 0x8100;

impl<'a> Frames<'a> {
    /// Where one has got to.
    pub(crate) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The bytes up to `at` of the block are passed; what is behind them is left.
    fn skip_to(&mut self, at: usize) -> Option<()> {
        let skip = at.checked_sub(self.passed)?;
        let rest = std::mem::take(&mut self.rest);
        self.rest = rest.split_at_mut_checked(skip)?.1;
        self.passed = at;
        Some(())
    }

    /// The next frame; `None` also if the block contradicts itself, which no kernel writes.
    fn take(&mut self) -> Option<Frame<'a>> {
        let at = self.cursor.next;
        self.skip_to(at)?;
        let (header, _) = self.rest.split_at_checked(FRAME_HEADER)?;
        let word = |at| u32_at(header, at);
        let half = |at| Some(u16::from_ne_bytes(*header.get(at..)?.first_chunk()?));
        let (next, len, whole, status) = (word(0)? as usize, word(12)?, word(16)?, word(20)?);
        let start = usize::from(half(24)?);
        let vlan = match status & libc::TP_STATUS_VLAN_VALID {
            0 => None,
            _ => Some((
                match status & libc::TP_STATUS_VLAN_TPID_VALID {
                    0 => TAG_802_1Q,
                    _ => half(36)?,
                },
                // Its content has 16 bits in a word of 32.
                u16::try_from(word(32)? & 0xffff).ok()?,
            )),
        };
        let is_outgoing = header.get(KIND) == Some(&libc::PACKET_OUTGOING);
        // The last frame of a block has no next one.
        let end = match next {
            0 => start + len as usize,
            next => next,
        };
        self.skip_to(at + FRAME_HEADER)?;
        let rest = std::mem::take(&mut self.rest);
        let (buffer, rest) = rest.split_at_mut_checked(end.checked_sub(FRAME_HEADER)?)?;
        self.rest = rest;
        self.passed = at + end;
        self.cursor.next = at + end;
        Some(Frame {
            buffer,
            start: start.checked_sub(FRAME_HEADER)?,
            len: len as usize,
            is_cut: len < whole,
            vlan,
            is_outgoing,
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        self.cursor.left = self.cursor.left.checked_sub(1)?;
        let frame = self.take();
        if frame.is_none() {
            self.cursor.left = 0;
        }
        frame
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

const _: () = assert!(size_of::<libc::tpacket3_hdr>() == 48);
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20);

#[cfg(test)]
mod tests;
