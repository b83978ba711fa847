//! One queue of an interface, as a transport.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use lbcore::Instant;
use lbcore::address_list::Prefix;

use super::{AfXdpConfig, Interface, Steer, Steering};
use crate::packet::{InterfaceId, Link, Offload, Packet};
use crate::sys::umem::Frame;
use crate::sys::xdp_socket::{Received, XdpSocket};
use crate::transport::burst::{Action, Fate, show};
use crate::transport::{BURST, Capabilities, Sent, Transport, TransportStats, Woken, wait};
use crate::wire::ethernet;

/// One queue of an interface: packets that the program steers here, and packets to send.
///
/// [`AfXdp::open`] opens them; see the [module](super) for what it needs and what it does not do.
/// Made for one worker, ideally on the CPU that takes the queue's interrupts.
///
/// [`forward`](Transport::forward) allocates nothing and copies nothing; it makes a system call
/// when the driver asks to be called: in copy mode once for every 32 packets sent.
pub struct AfXdp {
    interface: InterfaceId,
    mtu: usize,
    mac: [u8; 6],
    busy: bool,
    socket: XdpSocket,
    /// Frames that nobody uses.
    free: Vec<Frame>,
    burst: Vec<Received>,
    /// A wait said that something is there.
    woken: bool,
    stats: TransportStats,
    steering: Arc<Steering>,
}

impl AfXdp {
    pub(super) fn new(
        config: &AfXdpConfig,
        interface: &Interface,
        socket: XdpSocket,
        free: Vec<Frame>,
        steering: Arc<Steering>,
    ) -> Self {
        let mut queue = Self {
            interface: config.number,
            mtu: interface.mtu,
            mac: interface.mac,
            busy: config.busy_poll.is_some(),
            socket,
            free,
            burst: Vec::with_capacity(BURST),
            woken: false,
            stats: TransportStats::default(),
            steering,
        };
        queue.refill();
        queue.socket.publish();
        queue
    }

    /// The program of the interface, which says what comes here.
    #[must_use]
    pub const fn steering(&self) -> &Arc<Steering> {
        &self.steering
    }

    /// As [`Steering::steer`], for all queues of the interface.
    ///
    /// # Errors
    ///
    /// As [`Steering::steer`].
    pub fn steer(&self, prefix: Prefix, steer: Steer) -> io::Result<()> {
        self.steering.steer(prefix, steer)
    }

    /// Puts a packet into the ring. Cost: a copy.
    fn enqueue(&mut self, bytes: &[u8]) -> Sent {
        if bytes.len() > self.largest(bytes) {
            self.stats.too_large += 1;
            return Sent::TooLarge;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let Some(mut frame) = self.free.pop() else {
            self.stats.queue_full += 1;
            return Sent::QueueFull;
        };
        let range = HEADROOM..HEADROOM + bytes.len();
        if let Some(room) = self.socket.bytes(&mut frame).get_mut(range.clone()) {
            room.copy_from_slice(bytes);
        }
        match self.socket.transmit(frame, &range) {
            Ok(()) => {
                self.stats.count_sent(bytes.len());
                Sent::Queued
            }
            Err(frame) => {
                self.free.push(frame);
                self.stats.queue_full += 1;
                Sent::QueueFull
            }
        }
    }

    /// The most bytes that a packet may have that begins like `bytes`.
    fn largest(&self, bytes: &[u8]) -> usize {
        // IEEE 802.1Q: a tag does not count.
        let tagged = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        self.mtu + ethernet::HEADER + if tagged { 4 } else { 0 }
    }

    /// Takes the frames back that have been sent.
    fn reclaim(&mut self) {
        while let Some(frame) = self.socket.take_completed() {
            self.free.push(frame);
        }
    }

    /// Gives frames to the driver to receive into, all but a few.
    fn refill(&mut self) {
        while self.free.len() > RESERVE {
            let Some(frame) = self.free.pop() else {
                return;
            };
            if let Err(frame) = self.socket.fill(frame) {
                self.free.push(frame);
                return;
            }
        }
    }

    /// Takes packets that have come, up to a burst of them.
    fn take_burst(&mut self) {
        while self.burst.len() < BURST {
            let Some(received) = self.socket.take_received() else {
                return;
            };
            self.burst.push(received);
        }
    }

    /// Asks the driver for packets, which also tells whether the interface is still there.
    fn poll_driver(&mut self) -> io::Result<()> {
        self.woken = false;
        self.flush()?;
        self.socket.poll_driver()
    }

    fn settle(&mut self, received: Received, fate: Fate) {
        let frame = received.frame;
        match self.stats.judge(fate.verdict, self.interface) {
            Action::Send => self.transmit(frame, &fate),
            Action::Free | Action::Pass => self.free.push(frame),
        }
    }

    fn transmit(&mut self, mut frame: Frame, fate: &Fate) {
        let len = fate.range.len();
        let (largest, counter) = match self.socket.bytes(&mut frame).get(fate.range.clone()) {
            Some(bytes) if fate.offload == Offload::default() => {
                (self.largest(bytes), &mut self.stats.too_large)
            }
            _ => (0, &mut self.stats.malformed),
        };
        if len > largest {
            *counter += 1;
            return self.free.push(frame);
        }
        match self.socket.transmit(frame, &fate.range) {
            Ok(()) => self.stats.count_sent(len),
            Err(frame) => {
                self.stats.queue_full += 1;
                self.free.push(frame);
            }
        }
    }
}

impl Transport for AfXdp {
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        self.take_burst();
        if self.burst.is_empty() && (self.busy || self.woken) {
            self.poll_driver()?;
            self.take_burst();
        }
        if self.burst.is_empty() {
            return Ok(0);
        }
        let mut burst = std::mem::take(&mut self.burst);
        let mut fates = [const { None }; BURST];
        let Self {
            socket,
            stats,
            interface,
            ..
        } = self;
        let packets = burst.iter_mut().map(|it| {
            stats.count_received(it.range.len());
            Packet::new(
                socket.bytes(&mut it.frame),
                it.range.clone(),
                Link::Ethernet,
            )
            .on(*interface)
        });
        let shown = show(packets, decide, |place, fate| {
            if let Some(room) = fates.get_mut(place) {
                *room = Some(fate);
            }
        });
        for (received, fate) in burst.drain(..).zip(fates.into_iter().flatten()) {
            self.settle(received, fate);
        }
        self.burst = burst;
        self.woken = false;
        self.flush()?;
        Ok(shown)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        let sent = self.enqueue(bytes);
        if sent == Sent::Queued {
            self.flush()?;
        }
        Ok(sent)
    }

    fn queue(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        if offload != Offload::default() {
            return self.send_offloaded(bytes, offload);
        }
        Ok(self.enqueue(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reclaim();
        self.refill();
        self.socket.publish();
        self.socket.wake_transmit()?;
        self.socket.wake_fill()
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        if self.socket.has_received() {
            return Ok(Woken::Packet);
        }
        self.poll_driver()?;
        let mut left = wait::timeout(now, deadline);
        loop {
            // A device that took no more is asked again; nothing tells when it would.
            let soon = (self.socket.unsent() > 0).then_some(AGAIN);
            let nap = left.map_or(soon, |left| Some(soon.map_or(left, |soon| soon.min(left))));
            let woken = wait::wait(Some(self.socket.as_fd()), others, nap)?;
            self.woken = woken == Woken::Packet;
            if woken != Woken::Deadline || nap == left {
                return Ok(woken);
            }
            left = left.map(|left| left.saturating_sub(nap.unwrap_or_default()));
            self.flush()?;
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            interface: self.interface,
            link: Link::Ethernet,
            mac: Some(self.mac),
            mtu: self.mtu,
            max_packet: self.mtu + ethernet::HEADER,
            headroom: HEADROOM,
            burst: BURST,
            zero_copy: self.socket.is_zero_copy(),
            ..Capabilities::default()
        }
    }

    fn stats(&self) -> TransportStats {
        let mut stats = self.stats;
        if let Ok(kernel) = self.socket.statistics() {
            stats.kernel_dropped = kernel.rx_dropped + kernel.rx_ring_full.unwrap_or(0);
        }
        stats
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

impl fmt::Debug for AfXdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfXdp")
            .field("interface", &self.interface)
            .field("socket", &self.socket)
            .field("free", &self.free.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Room before every packet: the kernel leaves as much (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

/// How long a device that takes no more packets is left alone: at 10 Gbit/s it sends 15 thousand of
/// the smallest meanwhile, more than the rings of most hold.
const AGAIN: Duration = Duration::from_millis(1);

/// Frames that are kept for packets that nobody sent here: two bursts.
const RESERVE: usize = 2 * BURST;
