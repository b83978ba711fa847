//! An AF_XDP socket: packet memory of its own and four rings, bound to one queue of one interface.
//!
//! ```text
//!           fill ──▶  driver writes a packet  ──▶ receive
//!   frame                                                    frame, and where in it
//!           transmit ──▶ driver sends it ──▶ completion
//! ```
//!
//! Source: Documentation/networking/af_xdp.rst; net/xdp/xsk.c.

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
    set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_options, xdp_statistics,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpRingOffset,
    XdpStatistics, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use super::mapping::Mapping;
use super::umem::{CHUNK, FRAME, Frame, Umem};
use super::xdp_ring::{Consumer, Descriptor, Producer, Slot, mapped_len};

/// What a socket is opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpSocketOptions {
    /// The interface, by its index, and its queue.
    pub(crate) interface: u32,
    pub(crate) queue: u32,
    /// Frames of its memory.
    pub(crate) frames: u32,
    /// Slots of each ring; a power of two.
    pub(crate) slots: u32,
    pub(crate) huge_pages: bool,
    /// Whether the driver must (`true`) or must not (`false`) use the frames themselves.
    pub(crate) zero_copy: Option<bool>,
    pub(crate) busy_poll: Option<(Duration, u16)>,
}

/// Which step of opening failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Allocate,
    Socket,
    Register,
    Rings,
    BusyPoll,
    Bind,
}

/// A packet that has come in.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) frame: Frame,
    /// Where in the frame it is.
    pub(crate) range: Range<usize>,
}

/// An AF_XDP socket and its memory.
#[derive(Debug)]
pub(crate) struct XdpSocket {
    fd: OwnedFd,
    umem: Umem,
    fill: Producer<u64>,
    completion: Consumer<u64>,
    receive: Consumer<Descriptor>,
    transmit: Producer<Descriptor>,
    zero_copy: bool,
}

impl XdpSocket {
    /// Opens and binds a socket, and gives the rights to all of its frames.
    ///
    /// # Errors
    ///
    /// The step that failed, and why.
    pub(crate) fn open(
        options: &XdpSocketOptions,
    ) -> Result<(Self, Vec<Frame>), (Step, io::Error)> {
        let at = |step| move |error: io::Error| (step, error);
        let os = |step| move |error: Errno| (step, io::Error::from(error));
        let (umem, frames) =
            Umem::allocate(options.frames, options.huge_pages).map_err(at(Step::Allocate))?;
        let fd = socket_with(
            AddressFamily::from_raw(AF_XDP),
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(os(Step::Socket))?;
        let region = XdpUmemReg {
            addr: umem.address(),
            len: umem.len(),
            chunk_size: CHUNK,
            // The kernel leaves 256 bytes before a packet anyway (`XDP_PACKET_HEADROOM`).
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        set_xdp_umem_reg(&fd, region).map_err(os(Step::Register))?;
        let rings = Rings::make(fd.as_fd(), options.slots).map_err(at(Step::Rings))?;
        if let Some((time, budget)) = options.busy_poll {
            set_busy_poll(fd.as_fd(), time, budget).map_err(at(Step::BusyPoll))?;
        }
        let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP
            | match options.zero_copy {
                // With neither flag the kernel tries without a copy and then with one.
                None => SocketAddrXdpFlags::empty(),
                Some(true) => SocketAddrXdpFlags::XDP_ZEROCOPY,
                Some(false) => SocketAddrXdpFlags::XDP_COPY,
            };
        let address = SocketAddrXdp::new(flags, options.interface, options.queue);
        bind_soon(fd.as_fd(), &address).map_err(os(Step::Bind))?;
        let bound = xdp_options(&fd).map_err(os(Step::Bind))?;
        let socket = Self {
            fill: rings.fill,
            completion: rings.completion,
            receive: rings.receive,
            transmit: rings.transmit,
            zero_copy: bound.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY),
            umem,
            fd,
        };
        Ok((socket, frames))
    }

    /// Whether driver and process share the frames; else the kernel copies each packet once.
    pub(crate) const fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The bytes of a frame.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.umem.bytes(frame)
    }

    /// Gives the driver a frame to receive into; `Err` gives it back if the ring is full.
    #[inline]
    pub(crate) fn fill(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.fill.free() == 0 {
            return Err(frame);
        }
        let address = self.umem.lend(frame)?;
        let pushed = self.fill.push(address);
        debug_assert!(pushed, "a slot was free");
        Ok(())
    }

    /// The next packet that has come in.
    ///
    /// What the kernel says of a frame that it does not have is passed over.
    #[inline]
    pub(crate) fn take_received(&mut self) -> Option<Received> {
        while let Some(descriptor) = self.receive.pop() {
            if let Some((frame, start)) = self.umem.take_back(descriptor.address) {
                let end = start.saturating_add(descriptor.len as usize).min(FRAME);
                let range = start..end;
                return Some(Received { frame, range });
            }
        }
        None
    }

    /// Whether a packet has come in.
    #[inline]
    pub(crate) fn has_received(&mut self) -> bool {
        self.receive.ready() > 0
    }

    /// Queues what stands in `range` of a frame for sending; `Err` gives the frame back if the ring
    /// is full or the range is not in the frame.
    #[inline]
    pub(crate) fn transmit(&mut self, frame: Frame, range: &Range<usize>) -> Result<(), Frame> {
        let len = range.end.checked_sub(range.start);
        let (Some(len), true) = (
            len.and_then(|it| u32::try_from(it).ok()),
            range.end <= FRAME,
        ) else {
            return Err(frame);
        };
        if self.transmit.free() == 0 {
            return Err(frame);
        }
        let address = self.umem.lend(frame)? + range.start as u64;
        let pushed = self.transmit.push(Descriptor {
            address,
            len,
            options: 0,
        });
        debug_assert!(pushed, "a slot was free");
        Ok(())
    }

    /// A frame whose packet has been sent, or that could not be sent.
    #[inline]
    pub(crate) fn take_completed(&mut self) -> Option<Frame> {
        while let Some(address) = self.completion.pop() {
            if let Some((frame, _)) = self.umem.take_back(address) {
                return Some(frame);
            }
        }
        None
    }

    /// Shows the kernel what was put into the rings and taken out of them since.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.receive.release();
        self.completion.release();
        self.fill.publish();
        self.transmit.publish();
    }

    /// Calls the driver, if it waits to be called, to send what is queued.
    ///
    /// What it does not take now is left in the ring ([`unsent`](Self::unsent)).
    ///
    /// # Errors
    ///
    /// `ENETDOWN` and others of `sendto(2)` when the interface is gone or down.
    pub(crate) fn wake_transmit(&self) -> io::Result<()> {
        let mut left = self.transmit.unread();
        while left > 0 && self.transmit.wants_wakeup() {
            match send(&self.fd, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                // In copy mode the call itself sends, and no more than a budget (32 packets); or
                // the device's queue is full, or too much is under way, and nothing gets less.
                Err(Errno::AGAIN) if !self.zero_copy => {
                    let before = std::mem::replace(&mut left, self.transmit.unread());
                    if left >= before {
                        return Ok(());
                    }
                }
                Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Calls the driver if it waits to be called before it takes frames to receive into.
    ///
    /// # Errors
    ///
    /// As [`wake_transmit`](Self::wake_transmit).
    pub(crate) fn wake_fill(&self) -> io::Result<()> {
        if self.fill.wants_wakeup() {
            return self.poll_driver();
        }
        Ok(())
    }

    /// Lets the driver receive on this thread, which is what busy polling is.
    ///
    /// # Errors
    ///
    /// As [`wake_transmit`](Self::wake_transmit).
    pub(crate) fn poll_driver(&self) -> io::Result<()> {
        match recv(&self.fd, &mut [0_u8; 0][..], RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::BUSY | Errno::NOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Packets queued for sending that the driver has not looked at.
    pub(crate) fn unsent(&self) -> u32 {
        self.transmit.unread()
    }

    /// The kernel's own counters of this socket.
    pub(crate) fn statistics(&self) -> io::Result<XdpStatistics> {
        Ok(xdp_statistics(&self.fd)?)
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Binds, and waits a little for a queue whose last socket has been closed: the kernel frees it some
/// time after (`xp_put_pool` leaves it to a work queue).
fn bind_soon(fd: BorrowedFd<'_>, address: &SocketAddrXdp) -> Result<(), Errno> {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    for _ in 0..40 {
        match bind(fd, address) {
            Err(Errno::BUSY) => {}
            result => return result,
        }
        // Nothing tells when it is free, so this is a wait for time to pass.
        let _ = poll(&mut [], Some(&pause));
    }
    bind(fd, address)
}

/// The four rings of a socket.
struct Rings {
    fill: Producer<u64>,
    completion: Consumer<u64>,
    receive: Consumer<Descriptor>,
    transmit: Producer<Descriptor>,
}

impl Rings {
    /// Has the kernel make the rings, of `slots` each, and maps them.
    fn make(fd: BorrowedFd<'_>, slots: u32) -> io::Result<Self> {
        set_xdp_umem_fill_ring_size(fd, slots)?;
        set_xdp_umem_completion_ring_size(fd, slots)?;
        set_xdp_rx_ring_size(fd, slots)?;
        set_xdp_tx_ring_size(fd, slots)?;
        let at = xdp_mmap_offsets(fd)?;
        let fill = map::<u64>(fd, XDP_UMEM_PGOFF_FILL_RING, &at.fr, slots)?;
        let completion = map::<u64>(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, slots)?;
        let receive = map::<Descriptor>(fd, XDP_PGOFF_RX_RING, &at.rx, slots)?;
        let transmit = map::<Descriptor>(fd, XDP_PGOFF_TX_RING, &at.tx, slots)?;
        Ok(Self {
            fill: Producer::new(fill, &at.fr, slots)?,
            completion: Consumer::new(completion, &at.cr, slots)?,
            receive: Consumer::new(receive, &at.rx, slots)?,
            transmit: Producer::new(transmit, &at.tx, slots)?,
        })
    }
}

fn map<T: Slot>(
    fd: BorrowedFd<'_>,
    page: u64,
    at: &XdpRingOffset,
    slots: u32,
) -> io::Result<Arc<Mapping>> {
    Mapping::shared(fd, page, mapped_len::<T>(at, slots)?).map(Arc::new)
}

/// Has reads of this socket run the driver, for up to `time` and `budget` packets, and keeps its
/// interrupts off meanwhile.
///
/// Source: Documentation/networking/af_xdp.rst, "Busy-Poll"; Linux 5.11.
fn set_busy_poll(fd: BorrowedFd<'_>, time: Duration, budget: u16) -> io::Result<()> {
    let micros = c_int::try_from(time.as_micros()).unwrap_or(c_int::MAX);
    set_option(fd, SO_PREFER_BUSY_POLL, 1)?;
    set_option(fd, SO_BUSY_POLL, micros)?;
    set_option(fd, SO_BUSY_POLL_BUDGET, budget.into())
}

fn set_option(fd: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the value is an integer of 4 bytes that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            4,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

// include/linux/socket.h and include/uapi/asm-generic/socket.h; libc has them for some targets only.
const AF_XDP: u16 = 44;
const SO_BUSY_POLL: c_int = 46;
const SO_PREFER_BUSY_POLL: c_int = 69;
const SO_BUSY_POLL_BUDGET: c_int = 70;
