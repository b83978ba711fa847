//! Larger pages for tables that are visited at random.

use std::ffi::c_void;
use std::io;

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// Asks the kernel to hold the `bytes` from the address `start` on in huge pages, as far as they lie
/// in whole pages.
pub(crate) fn advise(start: usize, bytes: usize) -> io::Result<()> {
    let page = page_size();
    let from = start.next_multiple_of(page);
    let to = start.saturating_add(bytes) / page * page;
    if to <= from {
        return Ok(());
    }
    let place = std::ptr::without_provenance_mut::<c_void>(from);
    // SAFETY: this advice changes neither what the memory holds nor who may use it, whoever it
    // belongs to, and the kernel refuses addresses that are not mapped.
    unsafe { madvise(place, to - from, Advice::LinuxHugepage) }.map_err(io::Error::from)
}
