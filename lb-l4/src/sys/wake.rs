//! Waking a worker that waits on descriptors: eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes one worker, if it has said that it sleeps.
#[derive(Debug)]
pub(crate) struct Wake {
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            asleep: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Says that its worker is going to sleep. What is looked for after this, and not found, wakes.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        // Before what is looked for next, as the other one's store is before his look at this.
        fence(Ordering::SeqCst);
    }

    /// Says that its worker is awake, and clears what woke it.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        // Fails only if nothing has woken it. What is about to, will for nothing next time, and is
        // read then.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Wakes the worker, if it sleeps. What it is to find is in place.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // Fails only if as many have woken it as fit into 64 bits.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
