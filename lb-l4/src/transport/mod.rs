//! Where packets come from, and where they go.
//!
//! ```text
//!               forward                       decide
//!   interface ──▶ Transport ──▶ &mut [Packet] ──▶ Forwarder
//!             ◀──          ◀── a verdict in each ◀──
//! ```
//!
//! One transport is one interface, or one queue of it, and belongs to one worker. [`Ports`] joins
//! several, for verdicts that name another interface.
//!
//! | transport | feature | packets of |
//! |---|---|---|
//! | [`Memory`] | | another end in this process |
//! | [`Capture`] | | any other transport, which it records as pcap |
//! | [`Replay`](capture::Replay) | | a pcap file |
//! | `Tun` | `tun` | a TUN device |
//! | `AfPacket` | `af-packet` | an interface, beside the host's own stack |
//! | `AfXdp` | `af-xdp` | an interface, before the host's own stack |
//!
//! [`laws::transport_laws`] holds anybody's transport to what this module promises.

#[cfg(feature = "af-packet")]
pub mod af_packet;
#[cfg(feature = "af-xdp")]
pub mod af_xdp;
mod burst;
pub mod capture;
pub(crate) mod finish;
#[cfg(any(feature = "af-packet", feature = "af-xdp", feature = "tun"))]
mod host;
pub mod laws;
mod layers;
pub mod memory;
mod ports;
#[cfg(feature = "af-packet")]
mod presence;
#[cfg(feature = "tun")]
pub mod tun;
#[cfg(any(feature = "af-packet", feature = "tun"))]
mod vnet;
mod wait;

use std::io;
use std::os::fd::BorrowedFd;

use lbcore::Instant;

use crate::packet::{InterfaceId, Link, Offload, Packet};
use crate::wire::ethernet;

#[cfg(feature = "af-packet")]
pub use af_packet::AfPacket;
#[cfg(feature = "af-xdp")]
pub use af_xdp::AfXdp;
pub use burst::Action;
pub use capture::Capture;
#[cfg(any(feature = "af-packet", feature = "af-xdp", feature = "tun"))]
pub use host::{HostAddress, host_addresses};
pub use memory::Memory;
pub use ports::Ports;
#[cfg(feature = "tun")]
pub use tun::Tun;
pub use wait::wait_on;

/// The most packets that one call of [`Transport::forward`] shows.
pub const BURST: usize = 32;

/// The least [`Capabilities::headroom`]: two IPv6 headers, a UDP header and a GUE header, and a
/// VLAN tag, fit with room to spare.
pub const HEADROOM: usize = 128;

/// Where packets come from, and where they go: one interface, or one queue of it.
///
/// A worker's loop calls [`forward`](Self::forward) until nothing waits, [`send`](Self::send) for
/// what the forwarder originates, and then [`wait`](Self::wait).
///
/// # Examples
///
/// ```
/// use lb_l4::packet::Verdict;
/// use lb_l4::transport::{Memory, Transport};
///
/// let (mut near, mut far) = Memory::pair()?;
/// far.send(b"ping")?;
/// let shown = near.forward(|burst| {
///     for packet in burst {
///         packet.bytes_mut()[1] = b'o';
///         packet.set_verdict(Verdict::Reply);
///     }
/// })?;
/// assert_eq!(shown, 1);
/// far.forward(|burst| assert_eq!(burst[0].bytes(), b"pong"))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Transport {
    /// Shows the packets that wait, up to [`Capabilities::burst`] of them, to `decide`, and does
    /// what it leaves in each as a [`Verdict`](crate::packet::Verdict). Returns how many were shown.
    ///
    /// `decide` is called at most once, with a burst that is not empty. It may rewrite a packet in
    /// place and grow it at its front by up to [`Capabilities::headroom`] bytes. Returns 0 at once
    /// when nothing waits; packets are shown in the order in which they came.
    ///
    /// `Reply`, and `Forward` to [`Capabilities::interface`], send the packet, in the order of the
    /// burst. `Forward` to another interface is counted as [`TransportStats::misdirected`] and
    /// dropped: [`Ports`] takes such packets to where they belong. `Drop` and `Held` free the
    /// buffer. `Pass` leaves the packet to the host, if the transport is of such a kind.
    ///
    /// # Errors
    ///
    /// Fails when the interface is gone or down. A full transmit queue is no error: the packet is
    /// dropped and counted ([`TransportStats::queue_full`]).
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize>;

    /// Sends one packet, complete from the link's header on, that nobody sent here.
    ///
    /// Never blocks. Cost: a copy, and for kernel transports a system call.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); a full queue and a packet that is too large are values of
    /// [`Sent`].
    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent>;

    /// Sleeps until a packet waits, `deadline` comes, or one of `others` is readable.
    ///
    /// Returns at once if one of these is so already; a packet goes before another descriptor, and
    /// both before the deadline. `now` is the moment of the call; a `deadline` of `None` never
    /// comes. A waking may be in vain: [`forward`](Self::forward) may then show nothing.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and `EINVAL` for more than [`MAX_OTHERS`] descriptors.
    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken>;

    /// What this transport can do; constant for its lifetime.
    fn capabilities(&self) -> Capabilities;

    /// What it has done so far.
    fn stats(&self) -> TransportStats;

    /// A descriptor that is readable while packets wait, for an epoll set or another transport's
    /// [`wait`](Self::wait); `None`, the default, if there is none.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// As [`send`](Self::send), for a packet that leaves `offload` to be done.
    ///
    /// The default does it in software, in a copy, and sends what comes of it: as many packets as
    /// there are segments, of which some may be refused; the worst that became of one is returned.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); what is left does not fit the packet if the kind is
    /// [`io::ErrorKind::InvalidInput`].
    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        if offload == Offload::default() {
            return self.send(bytes);
        }
        let link = self.capabilities().link;
        let send = |packet: &[u8]| self.send(packet);
        let (mut bytes, mut scratch) = (bytes.to_vec(), Vec::new());
        let sent = finish::send_finished(&mut bytes, link, offload, &mut scratch, send);
        sent.map_err(|_| io::ErrorKind::InvalidInput)?
    }

    /// As [`send_offloaded`](Self::send_offloaded), but the packet may stay here until
    /// [`flush`](Self::flush), [`forward`](Self::forward) or [`wait`](Self::wait): many packets in a
    /// row then take one system call. The default sends it at once.
    ///
    /// # Errors
    ///
    /// As [`send_offloaded`](Self::send_offloaded).
    fn queue(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        self.send_offloaded(bytes, offload)
    }

    /// Sends what is queued. The default has nothing to do.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most other descriptors that [`Transport::wait`] takes.
pub const MAX_OTHERS: usize = 64;

/// What a transport can do; constant for its lifetime.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Its number among the interfaces of the forwarder. Default 0.
    pub interface: InterfaceId,
    /// What its packets begin with.
    pub link: Link,
    /// Its own link address, if the link has addresses.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet that the link takes, in bytes, without the link's header.
    pub mtu: usize,
    /// The largest packet that is shown, in bytes, with the link's header: more than the MTU if
    /// segments come joined.
    pub max_packet: usize,
    /// Bytes that every packet can grow by at its front; at least [`HEADROOM`].
    pub headroom: usize,
    /// Bytes that every packet can grow by at its back; may be 0.
    pub tailroom: usize,
    /// The most packets shown at once; 1 to [`BURST`].
    pub burst: usize,
    /// Whether packets with [`Checksum::Partial`](crate::packet::Checksum::Partial) are sent, and
    /// may be shown.
    pub partial_checksums: bool,
    /// Whether packets with [`Offload::segment`] are sent, and may be shown.
    pub segmentation: bool,
    /// Whether packets reach the wire without a copy by the kernel.
    pub zero_copy: bool,
}

impl Default for Capabilities {
    /// Ethernet of 1,500 bytes, in bursts of [`BURST`], with [`HEADROOM`] and nothing else.
    fn default() -> Self {
        Self {
            interface: InterfaceId::default(),
            link: Link::Ethernet,
            mac: None,
            mtu: 1500,
            max_packet: 1500 + ethernet::HEADER,
            headroom: HEADROOM,
            tailroom: 0,
            burst: BURST,
            partial_checksums: false,
            segmentation: false,
            zero_copy: false,
        }
    }
}

/// What a transport has done since it was opened: packets, unless a field says bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransportStats {
    /// Shown to `decide`.
    pub received: u64,
    /// Bytes of these, as received, with the link's header.
    pub received_bytes: u64,
    /// Given to the link: replies, forwards and sends.
    pub sent: u64,
    /// Bytes of these, as sent, with the link's header.
    pub sent_bytes: u64,
    /// Dropped because `decide` said so.
    pub dropped: u64,
    /// Freed because the forwarder keeps a copy.
    pub held: u64,
    /// Left to the host, because `decide` said so.
    pub passed: u64,
    /// Lost by the kernel before they could be shown: the receive queue was full.
    pub kernel_dropped: u64,
    /// Not sent because the transmit queue was full
    /// ([`DropReason::QueueFull`](crate::packet::DropReason::QueueFull)).
    pub queue_full: u64,
    /// Larger than [`Capabilities::max_packet`] when they came, or than the link takes when sent.
    pub too_large: u64,
    /// What came was no packet, or what was left to hardware did not fit what was to be sent.
    pub malformed: u64,
    /// Forwarded to an interface that this transport is not.
    pub misdirected: u64,
}

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Sent {
    /// The transmit queue was full; the packet is dropped and counted.
    QueueFull,
    /// It is in the hands of the link.
    Queued,
    /// The link does not take a packet as large, or as unfinished; it is dropped and counted.
    TooLarge,
}

/// What ended a [`Transport::wait`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Woken {
    /// The deadline has come.
    Deadline,
    /// The descriptor at this place among the others is readable, or broken: reading it tells.
    Other(usize),
    /// A packet waits.
    Packet,
    /// A signal was caught; nothing has been waited for to its end.
    Signal,
}
