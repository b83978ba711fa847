//! Packets of an interface by packet sockets, beside the host's own stack.

use std::cell::Cell;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use lbcore::Instant;

use super::burst::{Action, Burst};
use super::finish::send_finished;
use super::presence::Presence;
use super::vnet::{self, Emitted};
use super::wait;
use super::{Capabilities, Sent, Transport, TransportStats, Woken};
use crate::packet::{InterfaceId, Link, Offload, Packet};
use crate::sys::interface::{Hardware, Interfaces};
use crate::sys::packet as sys;
use crate::sys::ring::{Cursor, Frame, Ring};
use crate::wire::ethernet;

/// Which interface, and how its packets are received and sent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AfPacketConfig {
    /// The name of the interface.
    pub name: String,
    /// Its number among the interfaces of the forwarder. Default 0.
    pub interface: InterfaceId,
    /// Memory for received packets, of each queue: blocks of 256 KiB, at least two. Default 32, which
    /// is 8 MiB.
    pub blocks: NonZeroU32,
    /// How long a block that is not full waits for more packets: 1 to 1,000 milliseconds, in whole
    /// ones. Default 1.
    ///
    /// Packets are seen by the block: at low load each is seen this much later.
    pub retire: Duration,
    /// Which packets are received. Default [`Receiving::Addressed`].
    pub receiving: Receiving,
    /// Which way packets leave. Default [`Sending::Queued`].
    pub sending: Sending,
    /// A program of the classic packet filter, run by the kernel before a packet is copied; its
    /// result is how many bytes of a packet are received, and 0 is none of it. Default empty: all.
    pub filter: Vec<FilterInstruction>,
}

/// Which packets are received.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Receiving {
    /// What the interface takes: its own link address, broadcast, and groups it is in.
    #[default]
    Addressed,
    /// Also what is addressed to others (promiscuous mode).
    Everything,
}

/// Which way packets leave.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Sending {
    /// At once to the driver (`PACKET_QDISC_BYPASS`). Saves the queue's work where there is one (on
    /// veth, which has none, nothing could be measured); but a driver that cannot cut segments loses
    /// packets that are to be cut.
    Direct,
    /// Through the interface's queueing discipline.
    #[default]
    Queued,
}

/// One instruction of the classic packet filter, as `tcpdump -dd` prints them.
///
/// Source: Linux, Documentation/networking/filter.rst.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a format that does not change")]
pub struct FilterInstruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub if_true: u8,
    /// Instructions to skip if it does not.
    pub if_false: u8,
    /// A number that the instruction uses.
    pub operand: u32,
}

impl Default for AfPacketConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            interface: InterfaceId::default(),
            blocks: NonZeroU32::MIN.saturating_add(31),
            retire: Duration::from_millis(1),
            receiving: Receiving::default(),
            sending: Sending::default(),
            filter: Vec::new(),
        }
    }
}

impl AfPacketConfig {
    /// The interface of this name, and defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub const fn interface(mut self, interface: InterfaceId) -> Self {
        self.interface = interface;
        self
    }

    /// Sets [`blocks`](Self::blocks).
    #[must_use]
    pub const fn blocks(mut self, blocks: NonZeroU32) -> Self {
        self.blocks = blocks;
        self
    }

    /// Sets [`retire`](Self::retire).
    #[must_use]
    pub const fn retire(mut self, retire: Duration) -> Self {
        self.retire = retire;
        self
    }

    /// Sets [`receiving`](Self::receiving).
    #[must_use]
    pub const fn receiving(mut self, receiving: Receiving) -> Self {
        self.receiving = receiving;
        self
    }

    /// Sets [`sending`](Self::sending).
    #[must_use]
    pub const fn sending(mut self, sending: Sending) -> Self {
        self.sending = sending;
        self
    }

    /// Sets [`filter`](Self::filter).
    #[must_use]
    pub fn filter(mut self, filter: Vec<FilterInstruction>) -> Self {
        self.filter = filter;
        self
    }
}

/// One queue of an interface, by a packet socket with a receive ring (`TPACKET_V3`).
///
/// The host's own stack sees every packet too: `Pass` leaves it that, and a packet that is forwarded
/// here must not mean anything to the host, so that it does not answer as well. A virtual address is
/// therefore none of the host's. What the host itself sends is not shown.
///
/// Packets come without a copy by this program, and leave in bursts, by one system call each.
/// What other hosts of the same machine (veth, virtio) leave to be done is told by
/// [`Packet::offloads`], and passed on: checksums are partial, and packets are of up to 64 KiB.
/// Segments in a tunnel, of which the kernel cannot be told, are cut here. A VLAN tag that hardware
/// has taken out is put back.
///
/// Needs `CAP_NET_RAW`, and Linux 6.0.
///
/// # Examples
///
/// ```no_run
/// use lb_l4::packet::Verdict;
/// use lb_l4::transport::af_packet::{AfPacket, AfPacketConfig};
/// use lb_l4::transport::Transport;
///
/// let mut eth0 = AfPacket::open(AfPacketConfig::new("eth0"))?;
/// let now = lb_l4::Clock::monotonic().now();
/// eth0.wait(now, None, &[])?;
/// eth0.forward(|burst| burst.iter_mut().for_each(|it| it.set_verdict(Verdict::Pass)))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AfPacket {
    // Before the socket, so that it is unmapped first.
    ring: Ring,
    /// How far the block that waits is read; `None` is from its beginning.
    cursor: Option<Cursor>,
    socket: OwnedFd,
    capabilities: Capabilities,
    scratch: Vec<u8>,
    /// Whether a wait found something: an empty ring then means an error.
    woken: bool,
    presence: Presence,
    stats: TransportStats,
    /// What the kernel has dropped, as far as it was asked: asking it begins anew.
    kernel_dropped: Cell<u64>,
}

/// Bytes of a block: more than the largest packet, and a power of two pages.
const BLOCK: u32 = 1 << 18;
/// The largest packet, segments joined (RFC 791, 3.1).
const MAX_PACKET: usize = 65_535 + ethernet::HEADER + ethernet::TAG;
/// Bytes that the kernel leaves before each packet, beside those of its own: IP headers then begin
/// at a multiple of four (the frame's header takes 96, with this and a virtio header 232).
const RESERVE: u32 = 126;
/// Bytes before a packet: behind the frame's header of 68, less the link's, less a tag put back.
const ROOM: usize = 232 - 68 - ethernet::HEADER - ethernet::TAG;

const _: () = assert!(ROOM >= super::HEADROOM);
const _: () = assert!(vnet::LEN == sys::VNET_HEADER);

impl AfPacket {
    /// Opens one queue, which receives all packets of the interface.
    ///
    /// # Errors
    ///
    /// Those of packet(7): above all that the right is missing, or the interface; that the interface
    /// is down, or neither Ethernet nor without link header; that `retire` is out of range.
    pub fn open(config: AfPacketConfig) -> io::Result<Self> {
        Self::bind(&config, |_| Ok(()))
    }

    /// Opens `count` queues, one for each worker, at least one.
    ///
    /// The kernel gives each flow to one queue, both directions to the same one (`PACKET_FANOUT`,
    /// by a symmetric hash of addresses and ports). Once addresses are rewritten the directions
    /// are two flows: answers of a backend may come by another queue than what they answer.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_queues(config: AfPacketConfig, count: usize) -> io::Result<Vec<Self>> {
        let mut group = None;
        let mut join = |socket: BorrowedFd<'_>| {
            match group {
                Some(group) => sys::join_fanout(socket, group)?,
                None => group = Some(sys::begin_fanout(socket)?),
            }
            Ok(())
        };
        (0..count.max(1))
            .map(|_| Self::bind(&config, &mut join))
            .collect()
    }

    fn bind(
        config: &AfPacketConfig,
        join: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let retire = u32::try_from(config.retire.as_millis()).unwrap_or(u32::MAX);
        if !(1..=1000).contains(&retire) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let interfaces = Interfaces::open()?;
        let index = interfaces.index(&config.name)?;
        let hardware = interfaces.hardware(&config.name)?;
        let mut capabilities = capabilities(&interfaces, config)?;
        capabilities.interface = config.interface;

        let owned = sys::open()?;
        let socket = owned.as_fd();
        sys::set_vnet_header(socket)?;
        sys::set_ignore_outgoing(socket)?;
        if config.sending == Sending::Direct {
            sys::set_qdisc_bypass(socket)?;
        }
        let blocks = config.blocks.get().max(2);
        sys::set_ring(socket, BLOCK, blocks, RESERVE, retire)?;
        let ring = Ring::map(socket, BLOCK as usize, blocks as usize)?;
        // Until the queue has joined its group it would receive what belongs to the others.
        sys::set_filter(socket, &[instruction(NOTHING)])?;
        sys::bind(socket, index)?;
        join(socket)?;
        if config.receiving == Receiving::Everything {
            sys::set_promiscuous(socket, index)?;
        }
        match &config.filter[..] {
            [] => sys::clear_filter(socket)?,
            filter => {
                let program: Vec<_> = filter.iter().copied().map(instruction).collect();
                sys::set_filter(socket, &program)?;
            }
        }
        Ok(Self {
            ring,
            cursor: None,
            socket: owned,
            capabilities,
            scratch: Vec::new(),
            woken: false,
            presence: Presence::new(interfaces, config, index, hardware),
            stats: TransportStats::default(),
            kernel_dropped: Cell::new(0),
        })
    }

    /// An error that is pending on the socket: the interface went down, or away.
    ///
    /// The socket tells it once. Until the interface is back it is an error again and again, so that
    /// nobody sleeps on a socket that will never wake.
    fn pending_error(&mut self) -> io::Result<()> {
        if self.presence.is_lost() {
            return self.presence.come_back(self.socket.as_fd());
        }
        if !std::mem::take(&mut self.woken) {
            return Ok(());
        }
        match rustix::net::sockopt::socket_error(&self.socket)? {
            Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What packets of this interface are like.
fn capabilities(interfaces: &Interfaces, config: &AfPacketConfig) -> io::Result<Capabilities> {
    let (link, mac) = match interfaces.hardware(&config.name)? {
        Hardware::Ethernet(mac) => (Link::Ethernet, Some(mac)),
        Hardware::None => (Link::Ip, None),
        Hardware::Other(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(Capabilities {
        link,
        mac,
        mtu: interfaces.mtu(&config.name)?,
        max_packet: MAX_PACKET,
        headroom: ROOM,
        partial_checksums: true,
        segmentation: true,
        ..Capabilities::default()
    })
}

/// `ret #0`: receive no packet.
const NOTHING: FilterInstruction = FilterInstruction {
    code: 0x06,
    if_true: 0,
    if_false: 0,
    operand: 0,
};

const fn instruction(of: FilterInstruction) -> sys::Instruction {
    sys::Instruction {
        code: of.code,
        jt: of.if_true,
        jf: of.if_false,
        k: of.operand,
    }
}

/// The packet in a frame; `None`, and it is counted, if it cannot be shown.
fn packet<'a>(frame: Frame<'a>, link: Link, stats: &mut TransportStats) -> Option<Packet<'a>> {
    let Frame {
        buffer,
        start,
        len,
        is_cut,
        vlan,
        is_outgoing,
    } = frame;
    if is_outgoing {
        return None;
    }
    if is_cut {
        stats.too_large += 1;
        return None;
    }
    let header = start.checked_sub(vnet::LEN).and_then(|at| buffer.get(at..));
    let offload = vnet::parse(*header?.first_chunk()?);
    let mut packet = Packet::new(buffer, start..start + len, link).offload(offload);
    if let (Some((kind, content)), Link::Ethernet) = (vlan, link) {
        // Behind the two link addresses.
        let tag = packet.open_gap(2 * 6, ethernet::TAG)?.get_mut(2 * 6..)?;
        let [kind_0, kind_1] = kind.to_be_bytes();
        let [content_0, content_1] = content.to_be_bytes();
        *tag.first_chunk_mut()? = [kind_0, kind_1, content_0, content_1];
    }
    stats.count_received(packet.bytes().len());
    Some(packet)
}

/// Packets that are about to be sent by one call.
struct Outbox<'a, 's> {
    socket: BorrowedFd<'s>,
    stats: &'s mut TransportStats,
    messages: [sys::Message<'a>; sys::BATCH],
    count: usize,
}

impl<'a, 's> Outbox<'a, 's> {
    const fn new(socket: BorrowedFd<'s>, stats: &'s mut TransportStats) -> Self {
        let empty = sys::Message {
            header: [0; vnet::LEN],
            bytes: &[],
        };
        Self {
            socket,
            stats,
            messages: [empty; sys::BATCH],
            count: 0,
        }
    }

    /// Sends `bytes`, on which `offload` is left, together with what comes after it.
    fn push(
        &mut self,
        bytes: &'a mut [u8],
        link: Link,
        offload: Offload,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Sent> {
        match vnet::emit(bytes, link, offload) {
            Some(Emitted::Header(header)) => {
                if self.count == self.messages.len() {
                    self.flush()?;
                }
                if let Some(message) = self.messages.get_mut(self.count) {
                    *message = sys::Message { header, bytes };
                    self.count += 1;
                }
                Ok(Sent::Queued)
            }
            Some(Emitted::Unfinished) => {
                // What was before it goes before it.
                let before = self.flush()?;
                let mut alone = Outbox::new(self.socket, self.stats);
                let send = |segment: &[u8]| alone.send(segment);
                match send_finished(bytes, link, offload, scratch, send) {
                    Ok(Ok(Sent::Queued)) => Ok(before),
                    Ok(sent) => sent,
                    Err(_) => Ok(self.refuse()),
                }
            }
            None => Ok(self.refuse()),
        }
    }

    fn refuse(&mut self) -> Sent {
        self.stats.malformed += 1;
        Sent::TooLarge
    }

    /// Sends one packet that is finished.
    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        let message = sys::Message {
            header: [0; vnet::LEN],
            bytes,
        };
        transmit(self.socket, &[message], self.stats)
    }

    /// Sends what waits; tells the worst that became of one.
    fn flush(&mut self) -> io::Result<Sent> {
        let messages = self.messages.get(..self.count).unwrap_or_default();
        self.count = 0;
        transmit(self.socket, messages, self.stats)
    }
}

/// Sends all of `messages`, or counts why not.
fn transmit(
    socket: BorrowedFd<'_>,
    mut messages: &[sys::Message<'_>],
    stats: &mut TransportStats,
) -> io::Result<Sent> {
    let mut worst = Sent::Queued;
    while let Some((first, others)) = messages.split_first() {
        match sys::send(socket, messages) {
            Ok(sent) => {
                let (gone, rest) = messages.split_at_checked(sent).unwrap_or((messages, &[]));
                for message in gone {
                    stats.count_sent(message.bytes.len());
                }
                // None would be sent for ever.
                messages = if sent == 0 { others } else { rest };
            }
            Err(error) => {
                worst = refused(&error, first, stats).ok_or(error)?;
                messages = others;
            }
        }
    }
    Ok(worst)
}

/// Counts a packet that was not sent; `None` if it is the interface that fails.
fn refused(
    error: &io::Error,
    message: &sys::Message<'_>,
    stats: &mut TransportStats,
) -> Option<Sent> {
    match error.raw_os_error()? {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR => {
            stats.queue_full += 1;
            Some(Sent::QueueFull)
        }
        libc::EMSGSIZE => {
            stats.too_large += 1;
            Some(Sent::TooLarge)
        }
        // Shorter than a link header, or what is left to be done is beyond its end.
        libc::EINVAL => {
            debug_assert!(
                message.bytes.len() < ethernet::HEADER || message.header != [0; vnet::LEN]
            );
            stats.malformed += 1;
            Some(Sent::TooLarge)
        }
        _ => None,
    }
}

impl Transport for AfPacket {
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        let Some(block) = self.ring.block() else {
            let pending = self.pending_error();
            return self.presence.watch(pending.map(|()| 0));
        };
        let cursor = self.cursor.take().unwrap_or_else(|| block.begin());
        let mut frames = block.frames(cursor);
        let (link, interface) = (self.capabilities.link, self.capabilities.interface);
        let stats = &mut self.stats;
        let shown = (&mut frames).filter_map(|frame| packet(frame, link, stats));
        let mut burst = Burst::collect(shown.map(|packet| packet.on(interface)));
        burst.show(decide);

        let shown = burst.len();
        let mut outbox = Outbox::new(self.socket.as_fd(), &mut self.stats);
        let mut result = Ok(Sent::Queued);
        for packet in burst.iter_mut() {
            if outbox.stats.judge(packet.verdict(), interface) == Action::Send && result.is_ok() {
                let offload = packet.offloads();
                result = outbox.push(packet.bytes_mut(), link, offload, &mut self.scratch);
            }
        }
        let result = result.and_then(|_| outbox.flush());
        let cursor = frames.cursor();
        if cursor.left > 0 {
            self.cursor = Some(cursor);
        } else {
            self.ring.release();
        }
        self.woken = false;
        self.presence.watch(result.map(|_| shown))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        let sent = Outbox::new(self.socket.as_fd(), &mut self.stats).send(bytes);
        self.presence.watch(sent)
    }

    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let mut copy = bytes.to_vec();
        let mut outbox = Outbox::new(self.socket.as_fd(), &mut self.stats);
        let link = self.capabilities.link;
        match outbox.push(&mut copy, link, offload, &mut self.scratch)? {
            Sent::Queued => outbox.flush(),
            refused => Ok(refused),
        }
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        if self.ring.block().is_some() && others.len() <= super::MAX_OTHERS {
            return Ok(Woken::Packet);
        }
        let woken = wait::wait_on(self.socket.as_fd(), now, deadline, others)?;
        self.woken = woken == Woken::Packet;
        Ok(woken)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Costs a system call, which asks the kernel what it has dropped.
    fn stats(&self) -> TransportStats {
        // It can only fail on what is no packet socket.
        let lately = sys::dropped(self.socket.as_fd()).unwrap_or(0);
        let dropped = self.kernel_dropped.get() + u64::from(lately);
        self.kernel_dropped.set(dropped);
        TransportStats {
            kernel_dropped: dropped,
            ..self.stats
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}
