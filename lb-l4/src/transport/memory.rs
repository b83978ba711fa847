//! Queues in this process, in pairs: for tests, simulations and programs that make their packets.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lbcore::Instant;
use rustix::event::{EventfdFlags, eventfd};

use super::burst::{Action, Burst};
use super::wait;
use super::{BURST, Capabilities, HEADROOM, Sent, Transport, TransportStats, Woken};
use crate::packet::{InterfaceId, Link, Offload, Packet, Verdict};
use crate::wire::ethernet;

/// How the two ends of a pair treat packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Packets that may wait in each direction before more are dropped. At least 1; default 256.
    pub capacity: usize,
    /// What packets begin with. Default Ethernet.
    pub link: Link,
    /// The largest IP packet, in bytes, unless it is to be cut into segments. Default 1500.
    pub mtu: usize,
    /// Whether [`Transport::wait`] sleeps. Default [`Waiting::Sleep`].
    pub waiting: Waiting,
}

/// Whether a wait sleeps.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Waiting {
    /// Time is the caller's: a wait for which nothing is there returns [`Woken::Deadline`] at once,
    /// and whoever runs the simulation moves its clock there.
    Return,
    /// Time is the kernel's: the other end is on another thread.
    #[default]
    Sleep,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            capacity: 256,
            link: Link::Ethernet,
            mtu: 1500,
            waiting: Waiting::default(),
        }
    }
}

impl MemoryConfig {
    /// Sets [`capacity`](Self::capacity).
    #[must_use]
    pub const fn capacity(mut self, packets: usize) -> Self {
        self.capacity = packets;
        self
    }

    /// Sets [`link`](Self::link).
    #[must_use]
    pub const fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Sets [`mtu`](Self::mtu).
    #[must_use]
    pub const fn mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// Sets [`waiting`](Self::waiting).
    #[must_use]
    pub const fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }
}

/// One end of a pair of queues: what one end sends, the other is shown.
///
/// A packet that is forwarded moves from queue to queue without a copy, and buffers are used again:
/// in the steady state nothing is allocated. What is left to hardware
/// ([`Offload`]) travels with the packet, as on a veth pair.
///
/// Once the other end is dropped, what it has sent is still shown; then every call fails with
/// [`io::ErrorKind::BrokenPipe`].
///
/// # Examples
///
/// ```
/// use lb_l4::packet::Verdict;
/// use lb_l4::transport::memory::{Memory, MemoryConfig, Waiting};
/// use lb_l4::transport::{Transport, Woken};
/// use lbcore::Instant;
///
/// let (mut near, mut far) = Memory::pair_with(MemoryConfig::default().waiting(Waiting::Return))?;
/// let now = Instant::ZERO;
/// assert_eq!(near.wait(now, None, &[])?, Woken::Deadline);
/// far.send(b"to nobody")?;
/// assert_eq!(near.wait(now, None, &[])?, Woken::Packet);
/// near.forward(|burst| assert_eq!(burst[0].verdict(), Verdict::Pass))?;
/// assert_eq!(near.stats().passed, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    config: MemoryConfig,
    interface: InterfaceId,
    incoming: Arc<Queue>,
    outgoing: Arc<Queue>,
    burst: Vec<Frame>,
    stats: TransportStats,
}

/// One packet in a buffer of its own, with [`HEADROOM`] on both sides.
#[derive(Debug, Default)]
struct Frame {
    buffer: Vec<u8>,
    range: Range<usize>,
    offload: Offload,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// Readable while packets wait, or the other end is gone.
    ready: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Frame>,
    /// Buffers to be used again; at most as many as may wait.
    spare: Vec<Frame>,
    closed: bool,
}

impl Memory {
    /// Two ends, with the default configuration.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left: each end has an eventfd(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        Self::pair_with(MemoryConfig::default())
    }

    /// Two ends.
    ///
    /// # Errors
    ///
    /// As [`pair`](Self::pair).
    pub fn pair_with(config: MemoryConfig) -> io::Result<(Self, Self)> {
        let (here, there) = (Queue::new()?, Queue::new()?);
        let near = Self::new(config, here.clone(), there.clone());
        Ok((near, Self::new(config, there, here)))
    }

    fn new(config: MemoryConfig, incoming: Arc<Queue>, outgoing: Arc<Queue>) -> Self {
        Self {
            config,
            interface: InterfaceId::default(),
            incoming,
            outgoing,
            burst: Vec::with_capacity(BURST),
            stats: TransportStats::default(),
        }
    }

    /// Sets the number of this end's interface. Default 0.
    #[must_use]
    pub const fn on(mut self, interface: InterfaceId) -> Self {
        self.interface = interface;
        self
    }

    /// Packets that wait to be shown at this end.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.incoming.lock().waiting.len()
    }

    fn max_packet(&self, offload: Offload) -> usize {
        let link = match self.config.link {
            Link::Ethernet => ethernet::HEADER,
            Link::Ip => 0,
        };
        link + match offload.segment {
            // What a total length of 16 bits can say (RFC 791, 3.1).
            Some(_) => self.config.mtu.max(usize::from(u16::MAX)),
            None => self.config.mtu,
        }
    }

    /// Sends what is in `frame`, or gives the frame back.
    fn transmit(&mut self, frame: Frame) -> Result<Sent, (Sent, Frame)> {
        let len = frame.range.len();
        let sent = if len > self.max_packet(frame.offload) {
            self.stats.too_large += 1;
            Err((Sent::TooLarge, frame))
        } else {
            self.outgoing
                .push(frame, self.config.capacity)
                .map(|()| self.stats.count_sent(len))
                .map_err(|frame| {
                    self.stats.queue_full += 1;
                    (Sent::QueueFull, frame)
                })
        };
        sent.map(|()| Sent::Queued)
    }

    fn settle(&mut self, mut frame: Frame, verdict: Verdict) {
        let freed = match self.stats.judge(verdict, self.interface) {
            Action::Free | Action::Pass => frame,
            // `decide` has put packets in another order: the range is not one of this buffer.
            Action::Send if frame.buffer.get(frame.range.clone()).is_none() => {
                self.stats.malformed += 1;
                frame
            }
            Action::Send => {
                frame.make_room();
                match self.transmit(frame) {
                    Ok(_) => return,
                    Err((_, frame)) => frame,
                }
            }
        };
        self.incoming.spare(freed, self.config.capacity);
    }
}

impl Transport for Memory {
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        let mut frames = std::mem::take(&mut self.burst);
        if let Err(error) = self.incoming.pop(&mut frames) {
            self.burst = frames;
            return Err(error);
        }
        let (link, interface) = (self.config.link, self.interface);
        let stats = &mut self.stats;
        let packets = frames.iter_mut().map(|frame| {
            stats.count_received(frame.range.len());
            Packet::new(&mut frame.buffer, frame.range.clone(), link)
                .on(interface)
                .offload(frame.offload)
        });
        let mut burst = Burst::collect(packets);
        burst.show(decide);
        let shown = burst.len();
        let mut fates = [const { None }; BURST];
        for (fate, packet) in fates.iter_mut().zip(burst.iter_mut()) {
            *fate = Some((packet.verdict(), packet.range(), packet.offloads()));
        }
        for (mut frame, (verdict, range, offload)) in
            frames.drain(..).zip(fates.into_iter().flatten())
        {
            frame.range = range;
            frame.offload = offload;
            self.settle(frame, verdict);
        }
        self.burst = frames;
        Ok(shown)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        self.send_offloaded(bytes, Offload::default())
    }

    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let mut frame = self.outgoing.take_spare()?;
        frame.fill(bytes, offload);
        match self.transmit(frame) {
            Ok(sent) => Ok(sent),
            Err((sent, frame)) => {
                self.outgoing.spare(frame, self.config.capacity);
                Ok(sent)
            }
        }
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        let timeout = match self.config.waiting {
            Waiting::Return => Some(std::time::Duration::ZERO),
            Waiting::Sleep => wait::timeout(now, deadline),
        };
        wait::wait(self.descriptor(), others, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            interface: self.interface,
            link: self.config.link,
            mtu: self.config.mtu,
            max_packet: self.max_packet(Offload {
                segment: std::num::NonZeroU16::new(1),
                ..Offload::default()
            }),
            tailroom: HEADROOM,
            partial_checksums: true,
            segmentation: true,
            ..Capabilities::default()
        }
    }

    fn stats(&self) -> TransportStats {
        self.stats
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.ready.as_fd())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

impl Frame {
    /// Puts `bytes` into the buffer, which grows if it has to.
    fn fill(&mut self, bytes: &[u8], offload: Offload) {
        self.range = HEADROOM..HEADROOM + bytes.len();
        self.offload = offload;
        self.buffer.resize(self.range.end + HEADROOM, 0);
        if let Some(room) = self.buffer.get_mut(self.range.clone()) {
            room.copy_from_slice(bytes);
        }
    }

    /// Moves a packet that has grown, so that the other end can have it grow too.
    fn make_room(&mut self) {
        let (from, len) = (self.range.clone(), self.range.len());
        let start = from.start.max(HEADROOM);
        let end = start + len + HEADROOM;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        if start != from.start {
            self.buffer.copy_within(from, start);
            self.range = start..start + len;
        }
    }
}

impl Queue {
    fn new() -> io::Result<Arc<Self>> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Arc::new(Self {
            state: Mutex::default(),
            ready: eventfd(0, flags)?,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it wait, or gives it back if `capacity` wait already.
    fn push(&self, frame: Frame, capacity: usize) -> Result<(), Frame> {
        let mut state = self.lock();
        if state.waiting.len() >= capacity.max(1) {
            return Err(frame);
        }
        if state.waiting.is_empty() && !state.closed {
            self.signal();
        }
        state.waiting.push_back(frame);
        Ok(())
    }

    /// Takes the first frames, up to a burst of them.
    fn pop(&self, into: &mut Vec<Frame>) -> io::Result<()> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return state.check();
        }
        let count = state.waiting.len().min(BURST);
        into.extend(state.waiting.drain(..count));
        if state.waiting.is_empty() && !state.closed {
            // It was written once, when the first packet came; the count of 1 goes to 0.
            let _ = rustix::io::read(&self.ready, &mut [0; 8]);
        }
        Ok(())
    }

    fn take_spare(&self) -> io::Result<Frame> {
        let mut state = self.lock();
        state.check()?;
        Ok(state.spare.pop().unwrap_or_default())
    }

    fn spare(&self, frame: Frame, capacity: usize) {
        let mut state = self.lock();
        if state.spare.len() < capacity {
            state.spare.push(frame);
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.signal();
    }

    /// Makes the descriptor readable. Fails only if it is so 2^64 - 2 times over.
    fn signal(&self) {
        let _ = rustix::io::write(&self.ready, &1_u64.to_ne_bytes());
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match self.closed {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn pair(config: MemoryConfig) -> (Memory, Memory) {
        Memory::pair_with(config.waiting(Waiting::Return)).unwrap()
    }

    #[test]
    fn as_many_wait_as_may_and_no_more() {
        let (mut near, far) = pair(MemoryConfig::default().capacity(2));
        let sent = [(); 3].map(|()| near.send(b"x").unwrap());
        assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::QueueFull]);
        assert_eq!((far.waiting(), near.stats().queue_full), (2, 1));
        let (mut near, far) = pair(MemoryConfig::default().capacity(0));
        assert_eq!(near.send(b"x").unwrap(), Sent::Queued);
        assert_eq!(near.send(b"x").unwrap(), Sent::QueueFull);
        assert_eq!(far.waiting(), 1);
    }

    #[test]
    fn a_packet_is_as_large_as_the_link_takes_unless_it_is_to_be_cut() {
        for (link, header) in [(Link::Ethernet, 14), (Link::Ip, 0)] {
            let (mut near, _far) = pair(MemoryConfig::default().link(link).mtu(100));
            let cut = Offload::partial(NonZeroU16::new(50));
            assert_eq!(near.send(&vec![0; 100 + header]).unwrap(), Sent::Queued);
            assert_eq!(near.send(&vec![0; 101 + header]).unwrap(), Sent::TooLarge);
            let largest = vec![0; 65_535 + header];
            assert_eq!(near.send_offloaded(&largest, cut).unwrap(), Sent::Queued);
            let larger = vec![0; 65_536 + header];
            assert_eq!(near.send_offloaded(&larger, cut).unwrap(), Sent::TooLarge);
            assert_eq!(near.stats().too_large, 2);
            assert_eq!(near.capabilities().max_packet, 65_535 + header);
        }
    }

    #[test]
    fn what_was_sent_before_the_end_is_shown() {
        let (mut near, mut far) = Memory::pair().unwrap();
        far.send(b"last").unwrap();
        drop(far);
        let now = Instant::ZERO;
        assert_eq!(near.wait(now, None, &[]).unwrap(), Woken::Packet);
        assert_eq!(near.forward(|_| ()).unwrap(), 1);
        assert_eq!(
            near.wait(now, None, &[]).unwrap(),
            Woken::Packet,
            "to be told"
        );
        let error = near.forward(|_| panic!("nothing is left")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let error = near.send(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_wait_ends_when_the_other_end_sends_from_its_thread() {
        let (mut near, mut far) = Memory::pair().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(move || {
                let woken = near.wait(Instant::ZERO, None, &[]).unwrap();
                (woken, near.forward(|_| ()).unwrap())
            });
            far.send(b"x").unwrap();
            assert_eq!(waits.join().unwrap(), (Woken::Packet, 1));
        });
    }

    #[test]
    fn buffers_are_used_again_and_not_hoarded() {
        let (mut near, mut far) = pair(MemoryConfig::default().capacity(4));
        for round in 0..10 {
            for _ in 0..4 {
                far.send(&[1; 100]).unwrap();
            }
            near.forward(|_| ()).unwrap();
            let spare = near.incoming.lock().spare.len();
            assert_eq!(spare, 4, "after {round} rounds");
        }
        // What is refused gives its buffer back too.
        far.send(&[1; 2000]).unwrap();
        assert_eq!(near.incoming.lock().spare.len(), 4);
    }

    #[test]
    fn a_range_of_another_packet_sends_nothing_it_should_not() {
        let (mut near, mut far) = pair(MemoryConfig::default());
        far.send(b"short").unwrap();
        far.send(&[7; 1000]).unwrap();
        let shown = near.forward(|burst| {
            burst.swap(0, 1);
            let all = burst.iter_mut();
            all.for_each(|packet| packet.set_verdict(Verdict::Reply));
        });
        assert_eq!(shown.unwrap(), 2);
        let stats = near.stats();
        assert_eq!((stats.sent, stats.malformed), (1, 1));
        assert_eq!(
            far.forward(|burst| assert_eq!(burst[0].bytes(), [7; 5]))
                .unwrap(),
            1
        );
    }
}
