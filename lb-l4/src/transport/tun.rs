//! A TUN device: the host routes packets to a file, and takes what is written for received.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use lbcore::Instant;

use super::burst::{Action, Burst};
use super::finish::send_finished;
use super::vnet::{self, Emitted};
use super::wait;
use super::{BURST, Capabilities, HEADROOM, Sent, Transport, TransportStats, Woken};
use crate::packet::{InterfaceId, Link, Offload, Packet};
use crate::sys::interface::Interfaces;
use crate::sys::tun::{self as sys, Queues};

/// What a TUN device is called and can do.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TunConfig {
    /// The name, at most 15 bytes; `%d` in it stands for a number that the kernel chooses. Default
    /// `tun%d`.
    pub name: String,
    /// The largest packet that the host routes to it, in bytes: 68 to 65,535. Default 1500.
    pub mtu: usize,
    /// Its number among the interfaces of the forwarder. Default 0.
    pub interface: InterfaceId,
    /// What the host leaves to be done. Default [`Offloading::On`].
    pub offloading: Offloading,
}

/// Whether the host hands over packets that are not finished.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Offloading {
    /// Every checksum is complete, and every packet as small as the MTU.
    Off,
    /// Checksums may be partial, and up to 64 KiB of segments come as one packet.
    #[default]
    On,
}

impl Default for TunConfig {
    fn default() -> Self {
        Self {
            name: "tun%d".to_owned(),
            mtu: 1500,
            interface: InterfaceId::default(),
            offloading: Offloading::default(),
        }
    }
}

impl TunConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`mtu`](Self::mtu).
    #[must_use]
    pub const fn mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub const fn interface(mut self, interface: InterfaceId) -> Self {
        self.interface = interface;
        self
    }

    /// Sets [`offloading`](Self::offloading).
    #[must_use]
    pub const fn offloading(mut self, offloading: Offloading) -> Self {
        self.offloading = offloading;
        self
    }
}

/// One queue of a TUN device.
///
/// The host routes packets to the device, and they are shown here; what is sent here, the host takes
/// for received by the device, and routes on. Packets have no link header, so direct routing, which
/// rewrites one, cannot work here. `Pass` is counted and does nothing: the host has routed the
/// packet away, and would do so again.
///
/// Needs `CAP_NET_ADMIN`. The device is gone when its last queue is dropped. Each queue has a system
/// call for each packet in each direction, and 2 MiB of buffers.
///
/// # Examples
///
/// ```no_run
/// use lb_l4::packet::Verdict;
/// use lb_l4::transport::tun::TunConfig;
/// use lb_l4::transport::{Transport, Tun};
///
/// let mut tun = Tun::open(TunConfig::default().name("lb0"))?;
/// tun.forward(|burst| burst.iter_mut().for_each(|it| it.set_verdict(Verdict::Reply)))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    capabilities: Capabilities,
    buffers: Box<[u8]>,
    scratch: Vec<u8>,
    stats: TransportStats,
}

/// The largest packet of IP, segments joined (RFC 791, 3.1; RFC 8200, 3: 40 bytes more, which no
/// virtio header has room to tell of).
const MAX_PACKET: usize = 65_535;
/// Where packets begin in their buffers: [`HEADROOM`] bytes, and the kernel's header, are before.
const START: usize = HEADROOM + vnet::LEN;
/// Bytes of a buffer.
const STRIDE: usize = START + MAX_PACKET + HEADROOM;

impl Tun {
    /// Creates the device, or attaches to a persistent one, and takes it into service.
    ///
    /// # Errors
    ///
    /// Those of `/dev/net/tun`, above all that the right is missing; that the name is taken, or that
    /// the MTU is out of range.
    pub fn open(config: TunConfig) -> io::Result<Self> {
        Self::queue(config, Queues::One)
    }

    /// Creates a device with `count` queues, one for each worker, at least one.
    ///
    /// The host gives a flow to the queue that last sent a packet of it, and a new flow to one by a
    /// symmetric hash of its addresses and ports.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_queues(config: TunConfig, count: usize) -> io::Result<Vec<Self>> {
        let first = Self::queue(config.clone(), Queues::Several)?;
        let config = config.name(first.name());
        let mut queues = vec![first];
        for _ in 1..count {
            queues.push(Self::queue(config.clone(), Queues::Several)?);
        }
        Ok(queues)
    }

    fn queue(config: TunConfig, queues: Queues) -> io::Result<Self> {
        let (file, name) = sys::open(&config.name, queues)?;
        match config.offloading {
            // Whether trains of UDP are among them makes no difference to us.
            Offloading::On => drop(sys::offload(&file)?),
            Offloading::Off => sys::offload_nothing(&file)?,
        }
        let interfaces = Interfaces::open()?;
        interfaces.set_mtu(&name, config.mtu)?;
        interfaces.set_up(&name)?;
        Ok(Self {
            file,
            name,
            capabilities: Capabilities {
                interface: config.interface,
                link: Link::Ip,
                mtu: config.mtu,
                max_packet: MAX_PACKET,
                headroom: START,
                tailroom: HEADROOM,
                partial_checksums: true,
                segmentation: true,
                ..Capabilities::default()
            },
            buffers: vec![0; STRIDE * BURST].into_boxed_slice(),
            scratch: Vec::new(),
            stats: TransportStats::default(),
        })
    }

    /// The name of the device.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads packets into the buffers until none waits or all are full.
    fn read(&mut self) -> io::Result<Received> {
        let mut received = Received::default();
        for buffer in self.buffers.chunks_exact_mut(STRIDE) {
            let Some((_, room)) = buffer.split_at_mut_checked(HEADROOM) else {
                break;
            };
            match (&self.file).read(room.get_mut(..vnet::LEN + MAX_PACKET).unwrap_or_default()) {
                Ok(len) => received.push(room, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What has been read is shown first; the error comes again.
                Err(_) if received.count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }
}

/// What stands in the first buffers.
#[derive(Default)]
struct Received {
    count: usize,
    packets: [(usize, Offload); BURST],
}

impl Received {
    fn push(&mut self, room: &[u8], len: usize) {
        let offload = room.first_chunk().map(|header| vnet::parse(*header));
        if let Some(packet) = self.packets.get_mut(self.count) {
            *packet = (len.saturating_sub(vnet::LEN), offload.unwrap_or_default());
            self.count += 1;
        }
    }
}

/// Writes packets and counts them.
struct Writer<'a> {
    file: &'a File,
    mtu: usize,
    stats: &'a mut TransportStats,
}

impl Writer<'_> {
    fn send(
        &mut self,
        bytes: &mut [u8],
        offload: Offload,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Sent> {
        match vnet::emit(bytes, Link::Ip, offload) {
            Some(Emitted::Header(header)) => self.write(header, bytes, offload),
            Some(Emitted::Unfinished) => {
                let write = |packet: &[u8]| self.write([0; vnet::LEN], packet, Offload::default());
                send_finished(bytes, Link::Ip, offload, scratch, write)
                    .unwrap_or_else(|_| Ok(self.refuse()))
            }
            None => Ok(self.refuse()),
        }
    }

    fn refuse(&mut self) -> Sent {
        self.stats.malformed += 1;
        Sent::TooLarge
    }

    fn write(
        &mut self,
        header: [u8; vnet::LEN],
        bytes: &[u8],
        offload: Offload,
    ) -> io::Result<Sent> {
        // The host takes whatever is written: that it may be no larger is the link's own rule.
        if bytes.len() > self.mtu && offload.segment.is_none() || bytes.len() > MAX_PACKET {
            self.stats.too_large += 1;
            return Ok(Sent::TooLarge);
        }
        let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
        match (&*self.file).write_vectored(&parts) {
            // A device takes a packet whole or not at all.
            Ok(written) => {
                self.stats.count_sent(written.saturating_sub(vnet::LEN));
                Ok(Sent::Queued)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => {
                    self.stats.queue_full += 1;
                    Ok(Sent::QueueFull)
                }
                // The packet is none of IP, or contradicts its header.
                Some(libc::EINVAL) => Ok(self.refuse()),
                _ => Err(error),
            },
        }
    }
}

impl Transport for Tun {
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        let received = self.read()?;
        let interface = self.capabilities.interface;
        let stats = &mut self.stats;
        let packets = self
            .buffers
            .chunks_exact_mut(STRIDE)
            .zip(received.packets)
            .take(received.count)
            .map(|(buffer, (len, offload))| {
                stats.count_received(len);
                let range: Range<usize> = START..START + len;
                Packet::new(buffer, range, Link::Ip)
                    .on(interface)
                    .offload(offload)
            });
        let mut burst = Burst::collect(packets);
        burst.show(decide);
        let mut writer = Writer {
            file: &self.file,
            mtu: self.capabilities.mtu,
            stats: &mut self.stats,
        };
        for packet in burst.iter_mut() {
            if writer.stats.judge(packet.verdict(), interface) == Action::Send {
                let offload = packet.offloads();
                writer.send(packet.bytes_mut(), offload, &mut self.scratch)?;
            }
        }
        Ok(burst.len())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        let mut writer = Writer {
            file: &self.file,
            mtu: self.capabilities.mtu,
            stats: &mut self.stats,
        };
        writer.write([0; vnet::LEN], bytes, Offload::default())
    }

    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let mut writer = Writer {
            file: &self.file,
            mtu: self.capabilities.mtu,
            stats: &mut self.stats,
        };
        writer.send(&mut bytes.to_vec(), offload, &mut self.scratch)
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        wait::wait_on(self.file.as_fd(), now, deadline, others)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn stats(&self) -> TransportStats {
        self.stats
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}
