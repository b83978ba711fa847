//! Memory mapped into this process, unmapped when dropped.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

#[cfg(feature = "af-xdp")]
use rustix::mm::mmap_anonymous;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Pages that nobody else in this process has mapped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: pages belong to the process and not to a thread; what reads and writes them through
// `start` answers for its own accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above; the mapping itself is never changed through a shared reference.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed pages of `len` bytes, of 2 MiB each if `huge` is asked for.
    ///
    /// # Errors
    ///
    /// Those of `mmap(2)`: `ENOMEM` also when the host has set too few huge pages aside
    /// (`vm.nr_hugepages`).
    #[cfg(feature = "af-xdp")]
    pub(super) fn anonymous(len: usize, huge: bool) -> io::Result<Self> {
        let mut flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        if huge {
            // Of 2 MiB whatever the host's default size is.
            flags |= MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        }
        // SAFETY: with no address given the kernel chooses one that nothing is mapped at.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, PROTECTION, flags) }?;
        Self::of(start.cast(), len)
    }

    /// `len` bytes of what `fd` shares from `offset` on: a ring of a socket.
    pub(super) fn shared(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: with no address given the kernel chooses one that nothing is mapped at.
        let start = unsafe { mmap(ptr::null_mut(), len, PROTECTION, flags, fd, offset) }?;
        Self::of(start.cast(), len)
    }

    fn of(start: *mut u8, len: usize) -> io::Result<Self> {
        // A mapping at address 0 is refused to programs (`vm.mmap_min_addr`).
        let start =
            NonNull::new(start).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, len })
    }

    /// Its first byte; at least page-aligned.
    #[cfg(feature = "af-xdp")]
    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The `T` that begins at byte `offset`, if `count` of them fit there and it is aligned.
    pub(super) fn field<T>(&self, offset: u64, count: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.len || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: `offset` is at most `len`, so the sum stays inside the mapping or at its end.
        let field = unsafe { self.start.add(offset) };
        Some(field.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages are this mapping's alone, and what points into them borrows from it.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped once");
    }
}

const PROTECTION: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

#[cfg(test)]
#[cfg(feature = "af-xdp")]
mod tests {
    use super::*;

    #[test]
    fn a_field_lies_inside_and_is_aligned() {
        let mapping = Mapping::anonymous(4096, false).unwrap();
        assert_eq!(mapping.field::<u64>(0, 512), Some(mapping.start().cast()));
        assert!(mapping.field::<u64>(0, 513).is_none());
        assert!(mapping.field::<u64>(4, 1).is_none());
        assert!(mapping.field::<u32>(4, 1).is_some());
        assert!(mapping.field::<u32>(4092, 1).is_some());
        assert!(mapping.field::<u32>(4096, 1).is_none());
        assert!(mapping.field::<u32>(u64::MAX - 3, 1).is_none());
        assert!(mapping.field::<u64>(8, usize::MAX / 4).is_none());
    }

    #[test]
    fn a_failed_mapping_is_an_error() {
        assert!(Mapping::anonymous(0, false).is_err());
        assert!(Mapping::anonymous(usize::MAX & !4095, false).is_err());
    }
}
