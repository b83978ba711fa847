//! Which thread is this?

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
}

/// The number of the calling thread: no other thread has it or ever had it, and it is not 0.
#[inline]
pub(super) fn number() -> u64 {
    NUMBER.with(|&number| number)
}
