//! The rings through which frames go to the kernel and come back: one writes, the other reads.
//!
//! ```text
//!   consumer            producer          both count on for ever and wrap at 2^32;
//!      ▼                   ▼              the slot is the count modulo the size
//!   ───┬───┬───┬───┬───┬───┬───┬───
//!      │ 4 │ 5 │ 6 │ 7 │ 8 │              size: a power of two
//!   ───┴───┴───┴───┴───┴───┴───┴───
//! ```
//!
//! Counters that the kernel writes are not believed: whatever they say, a slot lies in the ring.
//!
//! Source: Documentation/networking/af_xdp.rst, "Rings".

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

use super::mapping::Mapping;

/// What may stand in a slot: every pattern of bits is a value of it.
///
/// # Safety
///
/// The type has no padding, no pointers, no destructor and no invalid pattern of bits.
pub(super) unsafe trait Slot: Copy + fmt::Debug {}

// SAFETY: an integer.
unsafe impl Slot for u64 {}
// SAFETY: three integers, 16 bytes, without padding between them.
unsafe impl Slot for Descriptor {}

/// A packet in a frame: `struct xdp_desc`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub(super) struct Descriptor {
    /// Where its first byte is, counted from the first frame.
    pub(super) address: u64,
    /// Bytes.
    pub(super) len: u32,
    /// `XDP_PKT_CONTD` and others, none of which is asked for.
    pub(super) options: u32,
}

/// One ring's memory.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// What the pointers point into.
    _mapping: Arc<Mapping>,
}

// SAFETY: the pointers point into the mapping, which the ring keeps alive and which any thread may
// use; the slots, of one end, are reached through this value alone.
unsafe impl<T: Slot> Send for Shared<T> {}

impl<T: Slot> Shared<T> {
    /// The ring of `size` slots that lies in `mapping` as the kernel has said.
    fn new(mapping: Arc<Mapping>, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        let ring = || {
            Some(Self {
                producer: mapping.field(offsets.producer, 1)?,
                consumer: mapping.field(offsets.consumer, 1)?,
                flags: mapping.field(offsets.flags?, 1)?,
                slots: mapping.field(offsets.desc, usize::try_from(size).ok()?)?,
                size: Some(size).filter(|it| it.is_power_of_two())?,
                _mapping: mapping,
            })
        };
        // Kernels before 5.4 do not say where the flags are.
        ring().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside the mapping (`Mapping::field`), and only read and written as
        // an atomic, here and in the kernel.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }

    fn slot(&self, count: u32) -> NonNull<T> {
        let index = (count & (self.size - 1)) as usize;
        // SAFETY: masked by a power of two less one, the index is less than the size, and so many
        // slots lie in the mapping.
        unsafe { self.slots.add(index) }
    }
}

/// The writing end: the fill ring and the transmit ring.
pub(super) struct Producer<T> {
    ring: Shared<T>,
    /// Slots written, of which `published` are known to the kernel.
    written: u32,
    published: u32,
    /// The kernel's counter as last read.
    consumed: u32,
}

impl<T: Slot> Producer<T> {
    pub(super) fn new(
        mapping: Arc<Mapping>,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        let ring = Shared::new(mapping, offsets, size)?;
        let (written, consumed) = (ring.producer().load(Relaxed), ring.consumer().load(Acquire));
        Ok(Self {
            ring,
            written,
            published: written,
            consumed,
        })
    }

    /// Slots that can be written. Reads the kernel's counter only if none was left of the last time.
    #[inline]
    pub(super) fn free(&mut self) -> u32 {
        let used = self.written.wrapping_sub(self.consumed);
        if used < self.ring.size {
            return self.ring.size - used;
        }
        self.consumed = self.ring.consumer().load(Acquire);
        self.ring
            .size
            .saturating_sub(self.written.wrapping_sub(self.consumed))
    }

    /// Writes the next slot, which the kernel sees when it is published; `false` if none is free.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.free() == 0 {
            return false;
        }
        let slot = self.ring.slot(self.written);
        // SAFETY: the slot lies in the mapping and is aligned. It is free: the acquire load in
        // `free` saw that the kernel has read what was there before.
        unsafe { slot.write(value) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written since, and says how many slots that is.
    #[inline]
    pub(super) fn publish(&mut self) -> u32 {
        let new = self.written.wrapping_sub(self.published);
        if new > 0 {
            // Release: the slots are written before the kernel sees the count.
            self.ring.producer().store(self.written, Release);
            self.published = self.written;
        }
        new
    }

    /// Whether the kernel waits to be called before it looks at the ring again.
    #[inline]
    pub(super) fn wants_wakeup(&self) -> bool {
        self.ring.flags().load(Relaxed) & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0
    }

    /// Slots that are published and that the kernel has not read.
    pub(super) fn unread(&self) -> u32 {
        let consumed = self.ring.consumer().load(Acquire);
        self.published.wrapping_sub(consumed).min(self.ring.size)
    }
}

/// The reading end: the receive ring and the completion ring.
pub(super) struct Consumer<T> {
    ring: Shared<T>,
    /// Slots read, of which `released` are known to the kernel.
    read: u32,
    released: u32,
    /// The kernel's counter as last read.
    produced: u32,
}

impl<T: Slot> Consumer<T> {
    pub(super) fn new(
        mapping: Arc<Mapping>,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        let ring = Shared::new(mapping, offsets, size)?;
        let (read, produced) = (ring.consumer().load(Relaxed), ring.producer().load(Acquire));
        Ok(Self {
            ring,
            read,
            released: read,
            produced,
        })
    }

    /// Slots that can be read, of those the kernel is known to have filled or, if there is none, has.
    #[inline]
    pub(super) fn ready(&mut self) -> u32 {
        if self.read == self.produced {
            self.produced = self.ring.producer().load(Acquire);
        }
        let ready = self.produced.wrapping_sub(self.read);
        // More than there are slots is no count; none of it is believed.
        if ready > self.ring.size { 0 } else { ready }
    }

    /// Reads the next slot, which the kernel may fill again when it is released.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.ready() == 0 {
            return None;
        }
        let slot = self.ring.slot(self.read);
        // SAFETY: the slot lies in the mapping, is aligned, and has a valid value whatever its
        // bits; the acquire load in `ready` saw the kernel hand it over, so nobody writes it.
        let value = unsafe { slot.read() };
        self.read = self.read.wrapping_add(1);
        Some(value)
    }

    /// Gives the kernel the slots back that were read since.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.read != self.released {
            // Release: the slots are read before the kernel sees that it may fill them.
            self.ring.consumer().store(self.read, Release);
            self.released = self.read;
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("written", &self.written)
            .field("size", &self.ring.size)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("read", &self.read)
            .field("size", &self.ring.size)
            .finish_non_exhaustive()
    }
}

/// Bytes of a ring of `size` slots whose places are `offsets`, as the kernel counts them.
pub(super) fn mapped_len<T>(offsets: &XdpRingOffset, size: u32) -> io::Result<usize> {
    let len = || {
        let slots = usize::try_from(size).ok()?.checked_mul(size_of::<T>())?;
        usize::try_from(offsets.desc).ok()?.checked_add(slots)
    };
    len().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests;
