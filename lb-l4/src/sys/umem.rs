//! Packet memory shared with the kernel, and who may touch which frame of it.
//!
//! A [`Frame`] is the right to one frame: there is one for each, it is neither copied nor made
//! anew, and the memory is reached only through `&mut Frame`. What is lent to the kernel is given
//! up, as [`Umem::lend`] takes the frame and leaves its address; what the kernel hands back is a
//! frame again only if it had been lent. So two `&mut` to one frame cannot be had, whatever the
//! kernel writes into a ring.

use std::io;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::mapping::Mapping;

/// Bytes of one frame: a page, the size that every driver takes.
pub(crate) const FRAME: usize = CHUNK as usize;

/// The same, as the kernel is told it.
pub(super) const CHUNK: u32 = 4096;

/// The right to one frame of a [`Umem`].
#[must_use = "a frame that is dropped is lost until the socket is closed"]
#[derive(Debug)]
pub(crate) struct Frame {
    /// Which [`Umem`] of this process it is of.
    umem: u32,
    index: u32,
}

/// Frames of [`FRAME`] bytes in one piece of memory.
#[derive(Debug)]
pub(crate) struct Umem {
    memory: Mapping,
    id: u32,
    /// By frame: whether the kernel has it.
    lent: Box<[bool]>,
}

impl Umem {
    /// `count` frames, and the rights to them, lowest address last.
    ///
    /// # Errors
    ///
    /// Those of `mmap(2)`; `InvalidInput` for no frames, or more than memory has addresses for.
    pub(crate) fn allocate(count: u32, huge_pages: bool) -> io::Result<(Self, Vec<Frame>)> {
        let frames = usize::try_from(count).unwrap_or(usize::MAX);
        let len = frames
            .checked_mul(FRAME)
            .and_then(|it| it.checked_next_multiple_of(if huge_pages { HUGE_PAGE } else { FRAME }))
            .filter(|len| *len > 0)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let memory = Mapping::anonymous(len, huge_pages)?;
        // After 2^32 sets of frames numbers are given again; no process makes as many.
        let id = NEXT.fetch_add(1, Relaxed);
        let umem = Self {
            memory,
            id,
            lent: vec![false; frames].into_boxed_slice(),
        };
        let rights = (0..count).rev().map(|index| Frame { umem: id, index });
        Ok((umem, rights.collect()))
    }

    /// The address of its first byte, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.memory.start().addr().get() as u64
    }

    /// Bytes of all of its frames.
    pub(crate) const fn len(&self) -> u64 {
        (self.lent.len() * FRAME) as u64
    }

    /// Gives a frame to the kernel: its address, counted from the first frame. `Err` gives the
    /// frame back that is not of this memory.
    pub(super) fn lend(&mut self, frame: Frame) -> Result<u64, Frame> {
        let lent = self.lent.get_mut(frame.index as usize);
        match lent {
            Some(lent) if frame.umem == self.id => {
                *lent = true;
                Ok(u64::from(frame.index) * FRAME as u64)
            }
            _ => Err(frame),
        }
    }

    /// The frame that the kernel hands back by any address in it, and where in it the address
    /// points; `None` if the kernel does not have it.
    pub(super) fn take_back(&mut self, address: u64) -> Option<(Frame, usize)> {
        let index = u32::try_from(address / FRAME as u64).ok()?;
        let lent = self.lent.get_mut(usize::try_from(index).ok()?)?;
        if !std::mem::replace(lent, false) {
            return None;
        }
        let umem = self.id;
        let offset = usize::try_from(address % FRAME as u64).ok()?;
        Some((Frame { umem, index }, offset))
    }

    /// The bytes of a frame; none if it is of other memory.
    #[inline]
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "who borrows the frame alone has its bytes alone"
    )]
    pub(crate) fn bytes<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        if frame.umem != self.id || frame.index as usize >= self.lent.len() {
            return &mut [];
        }
        let offset = frame.index as usize * FRAME;
        // SAFETY: the index was compared with the number of frames, all of which are mapped.
        let start = unsafe { self.memory.start().add(offset) };
        // SAFETY: the bytes are mapped and initialised (zeroed pages) while `self` is borrowed.
        // There is one `Frame` of this memory with this index, as `allocate` makes one of each and
        // `take_back` makes one only for the one that `lend` has taken; it is borrowed exclusively
        // for as long as the slice. The kernel writes to frames that are lent and to no others.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), FRAME) }
    }
}

/// Numbers the sets of frames of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_bytes_of_its_own() {
        let (umem, mut frames) = Umem::allocate(3, false).unwrap();
        assert_eq!(umem.len(), 3 * 4096);
        for (n, frame) in (1..).zip(&mut frames) {
            umem.bytes(frame).fill(n);
        }
        let [a, b, c] = &mut frames[..] else {
            panic!("three frames")
        };
        let (a, b, c) = (umem.bytes(a), umem.bytes(b), umem.bytes(c));
        assert!(a.iter().all(|it| *it == 1) && a.len() == FRAME);
        assert!(b.iter().all(|it| *it == 2) && b.len() == FRAME);
        assert!(c.iter().all(|it| *it == 3) && c.len() == FRAME);
    }

    #[test]
    fn a_frame_comes_back_once_for_each_time_it_was_lent() {
        let (mut umem, mut frames) = Umem::allocate(2, false).unwrap();
        let first = frames.pop().unwrap();
        assert!(umem.take_back(0).is_none(), "never lent");
        assert_eq!(umem.lend(first).unwrap(), 0);
        let (first, offset) = umem.take_back(4095).unwrap();
        assert_eq!((first.index, offset), (0, 4095));
        assert!(umem.take_back(0).is_none(), "handed back twice");
        let second = frames.pop().unwrap();
        assert_eq!(umem.lend(second).unwrap(), 4096);
        assert!(umem.take_back(0).is_none(), "the other one is lent");
        assert_eq!(umem.take_back(4096).unwrap().1, 0);
    }

    #[test]
    fn an_address_outside_is_nobody_s_frame() {
        let (mut umem, frames) = Umem::allocate(2, false).unwrap();
        for frame in frames {
            umem.lend(frame).unwrap();
        }
        assert!(umem.take_back(2 * 4096).is_none());
        assert!(umem.take_back(u64::MAX).is_none());
        assert!(umem.take_back(4097).is_some());
    }

    #[test]
    fn a_frame_of_other_memory_gives_no_bytes_and_is_not_lent() {
        let (mut umem, _own) = Umem::allocate(1, false).unwrap();
        let (_other, mut frames) = Umem::allocate(1, false).unwrap();
        let mut foreign = frames.pop().unwrap();
        assert!(umem.bytes(&mut foreign).is_empty());
        assert!(umem.lend(foreign).is_err());
    }

    #[test]
    fn no_frames_are_refused() {
        assert!(Umem::allocate(0, false).is_err());
    }
}
