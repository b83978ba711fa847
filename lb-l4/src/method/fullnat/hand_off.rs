//! Packets that have come to one worker and belong to another.
//!
//! Where the ports of an answer do not bring it to the worker that keeps its session, the worker
//! that it came to hands it over. Each worker has a bounded ring that all others write to, and they
//! get their buffers back by another one:
//!
//! ```text
//!            give ──▶ ring of worker 1 ──▶ take       a full ring drops, and that is counted
//!   worker 0                                worker 1
//!       buffers ◀── ring of worker 0 ◀── give_back
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::packet::{DropReason, InterfaceId, Link, Packet};
use crate::sys::wake::Wake;
use crate::transport::finish::finish;

/// Counts of what one worker has handed over, and has been handed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HandOffStats {
    /// Packets that it has given to others.
    pub given: u64,
    /// Packets that it has dropped, as the ring of their worker was full.
    pub full: u64,
    /// Packets that others have given to it.
    pub taken: u64,
}

/// One worker's end of the rings between workers.
///
/// Packets of one flow stay in their order. Cost of a packet: a copy, no lock, and no allocation once
/// as many buffers go round as are under way. A worker that sleeps is woken by a system call.
///
/// # Examples
///
/// ```
/// use lb_l4::method::fullnat::hand_off::HandOff;
/// use lb_l4::packet::{Link, Packet};
///
/// let [mut first, mut second] = HandOff::rings(2, 64)?.try_into().map_err(|_| "two")?;
/// let mut bytes = *b"a packet";
/// first.give(1, &Packet::new(&mut bytes, 0..8, Link::Ip)).map_err(|reason| reason.as_str())?;
/// let mut handed = second.take().ok_or("nothing")?;
/// assert_eq!(handed.packet().bytes(), b"a packet");
/// second.give_back(handed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HandOff {
    worker: u16,
    /// By worker.
    others: Vec<Other>,
    inbox: Receiver<Handed>,
    returned: Receiver<Vec<u8>>,
    /// Taken out of the ring when it was looked whether there was something.
    next: Option<Handed>,
    wake: Arc<Wake>,
    has_lain_down: bool,
    scratch: [Vec<u8>; 2],
    stats: HandOffStats,
}

/// How a worker is reached.
#[derive(Clone, Debug)]
struct Other {
    ring: SyncSender<Handed>,
    buffers: SyncSender<Vec<u8>>,
    wake: Arc<Wake>,
}

/// A packet that was handed over: whole, with its checksum complete.
#[derive(Debug)]
pub struct Handed {
    from: u16,
    bytes: Vec<u8>,
    link: Link,
    interface: InterfaceId,
    mark: u32,
}

impl Handed {
    /// The packet, with room before it for what a method puts there.
    pub fn packet(&mut self) -> Packet<'_> {
        let range = ROOM.min(self.bytes.len())..self.bytes.len();
        Packet::new(&mut self.bytes, range, self.link)
            .on(self.interface)
            .mark(self.mark)
    }
}

impl HandOff {
    /// The ends of `workers` workers, each of which can be given `depth` packets before it takes
    /// one: at least 1.
    ///
    /// # Errors
    ///
    /// Those of eventfd(2): too many descriptors are open.
    pub fn rings(workers: u16, depth: usize) -> io::Result<Vec<Self>> {
        let mut others = Vec::new();
        let mut ends = Vec::new();
        for worker in 0..workers {
            let (ring, inbox) = sync_channel(depth.max(1));
            let (buffers, returned) = sync_channel(depth.max(1));
            let wake = Arc::new(Wake::new()?);
            ends.push((worker, inbox, returned, Arc::clone(&wake)));
            others.push(Other {
                ring,
                buffers,
                wake,
            });
        }
        let ends = ends.into_iter();
        let made = ends.map(|(worker, inbox, returned, wake)| Self {
            worker,
            others: others.clone(),
            inbox,
            returned,
            next: None,
            wake,
            has_lain_down: false,
            scratch: [Vec::new(), Vec::new()],
            stats: HandOffStats::default(),
        });
        Ok(made.collect())
    }

    /// Which worker this is.
    #[must_use]
    pub const fn worker(&self) -> u16 {
        self.worker
    }

    /// Gives a copy of a packet to another worker; what hardware would have done to it is done here.
    ///
    /// # Errors
    ///
    /// [`DropReason::HandOffFull`]: the ring of that worker is full, or there is no such worker.
    /// [`DropReason::Malformed`]: what was left to hardware cannot be done.
    pub fn give(&mut self, to: u16, packet: &Packet<'_>) -> Result<(), DropReason> {
        let other = usize::from(to);
        if to == self.worker || other >= self.others.len() {
            return Err(DropReason::HandOffFull);
        }
        let like = (packet.link(), packet.interface(), packet.firewall_mark());
        let [mut whole, mut part] = std::mem::take(&mut self.scratch);
        whole.clear();
        whole.extend_from_slice(packet.bytes());
        let offload = packet.offloads();
        let done = finish(&mut whole, packet.link(), offload, &mut part, |bytes| {
            self.give_one(other, bytes, like)
        });
        self.scratch = [whole, part];
        done.unwrap_or(Err(DropReason::Malformed))
    }

    /// Gives a copy of a packet to every other worker. One whose ring is full goes without; it is
    /// counted.
    pub fn give_all(&mut self, packet: &Packet<'_>) {
        for to in (0..).take(self.others.len()) {
            if to != self.worker {
                let _ = self.give(to, packet);
            }
        }
    }

    fn give_one(
        &mut self,
        to: usize,
        packet: &[u8],
        (link, interface, mark): (Link, InterfaceId, u32),
    ) -> Result<(), DropReason> {
        let other = self.others.get(to).ok_or(DropReason::HandOffFull)?;
        let mut bytes = self.returned.try_recv().unwrap_or_default();
        bytes.clear();
        bytes.resize(ROOM, 0);
        bytes.extend_from_slice(packet);
        let handed = Handed {
            from: self.worker,
            bytes,
            link,
            interface,
            mark,
        };
        match other.ring.try_send(handed) {
            Ok(()) => {
                self.stats.given += 1;
                other.wake.wake();
                Ok(())
            }
            Err(TrySendError::Full(handed) | TrySendError::Disconnected(handed)) => {
                self.stats.full += 1;
                self.give_back(handed);
                Err(DropReason::HandOffFull)
            }
        }
    }

    /// The next packet that was given to this worker; pass it to [`give_back`](Self::give_back) when
    /// it is done with.
    pub fn take(&mut self) -> Option<Handed> {
        if self.has_lain_down {
            self.has_lain_down = false;
            self.wake.get_up();
        }
        let next = self.next.take();
        let handed = next.or_else(|| self.inbox.try_recv().ok())?;
        self.stats.taken += 1;
        Some(handed)
    }

    /// Gives the buffer of a packet back to the worker that it is from.
    pub fn give_back(&self, handed: Handed) {
        if let Some(other) = self.others.get(usize::from(handed.from)) {
            // If it has enough of them, it is freed here.
            let _ = other.buffers.try_send(handed.bytes);
        }
    }

    /// Whether nothing was given to this worker, which may then wait: until the next
    /// [`take`](Self::take), what is given makes its descriptor readable.
    ///
    /// Wait for the descriptor among the others of
    /// [`Transport::wait`](crate::transport::Transport::wait), and take afterwards in any case.
    pub fn is_idle(&mut self) -> bool {
        self.has_lain_down = true;
        self.wake.lie_down();
        if self.next.is_none() {
            self.next = self.inbox.try_recv().ok();
        }
        self.next.is_none()
    }

    /// The counts of now.
    #[must_use]
    pub const fn stats(&self) -> HandOffStats {
        self.stats
    }
}

impl AsFd for HandOff {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Room before each packet, for what is told of clients.
const ROOM: usize = 128;

#[cfg(test)]
#[path = "hand_off_tests.rs"]
mod tests;
