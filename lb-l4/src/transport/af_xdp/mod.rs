//! Packets of an interface before the host's own stack sees them: AF_XDP.
//!
//! ```text
//!                        XDP program: whose address?
//!   interface ──▶ queue 0 ──┬── ours ──▶ AfXdp of queue 0 ──▶ worker 0
//!                           └── other ─▶ the host's stack
//!             ──▶ queue 1 ──┬── ours ──▶ AfXdp of queue 1 ──▶ worker 1
//!                           └── other ─▶ the host's stack
//! ```
//!
//! Each queue of an interface is a transport with memory and rings of its own: workers share
//! nothing. Which packets come is said by [`Steering::steer`]; nothing comes until then. The
//! program is attached by a link, so it is gone when the transports are, or the process, however it
//! ends.
//!
//! A packet is rewritten where the driver has put it (zero copy), or the kernel, which copies it
//! once (copy mode, for drivers that cannot); a reply goes out from there. There are 256 bytes of
//! room before it.
//!
//! What it does not do:
//!
//! * Packets with more than [`MAX_MTU`] bytes behind the Ethernet header: interfaces that take such
//!   are refused.
//! * Leave a packet to the host once it has come ([`Verdict::Pass`](crate::packet::Verdict::Pass)):
//!   the kernel has no way to take it back. It is counted as
//!   [`passed`](super::TransportStats::passed) and lost, so steer no more than is forwarded.
//! * VLAN tags that the interface takes off (`rxvlan` of ethtool): the program does not see them.
//!   More than one tag is left to the host.
//! * Checksums and segments that senders leave to their hardware. On a wire none arrive; on a
//!   virtual link (veth, and interfaces of virtual machines on this host) **everything arrives
//!   unfinished** unless the sending side's offloads are off:
//!   [`disable_transmit_offloads`].
//!
//! Linux 5.11 or later; the capabilities CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF.
//!
//! Source: Documentation/networking/af_xdp.rst; T. Høiland-Jørgensen et al., "The eXpress Data
//! Path", CoNEXT 2018.

mod assembler;
mod config;
mod error;
mod program;
mod queue;
mod steering;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

pub use config::{AfXdpConfig, Attach, BusyPoll, Copying};
pub use error::OpenError;
pub use queue::AfXdp;
pub use steering::{Steer, Steering};

use crate::sys::interface::{Hardware, Interfaces};
use crate::sys::xdp_socket::{XdpSocket, XdpSocketOptions};

/// The largest packet, in bytes, behind the Ethernet header.
///
/// A frame of 4,096 bytes has 256 of headroom and, for drivers that need them, 320 of tailroom; the
/// rest is for tags and what encapsulation adds at the front of an answer.
pub const MAX_MTU: usize = 3_072;

impl AfXdp {
    /// Opens an interface: one transport for each of its queues, in their order.
    ///
    /// Nothing is steered here yet, so the host goes on to receive everything.
    ///
    /// # Errors
    ///
    /// [`OpenError::MemoryLocked`] and [`OpenError::NotPermitted`] without the rights;
    /// [`OpenError::Occupied`] and [`OpenError::QueueTaken`] if somebody else is there;
    /// [`OpenError::MtuTooLarge`] for jumbo frames.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use lb_l4::transport::Transport;
    /// use lb_l4::transport::af_xdp::{AfXdp, AfXdpConfig, Steer};
    ///
    /// let queues = AfXdp::open(&AfXdpConfig::new("eth0"))?;
    /// queues[0].steering().steer("192.0.2.0/24".parse()?, Steer::Redirect)?;
    /// for mut queue in queues {
    ///     std::thread::spawn(move || while queue.forward(|_burst| ()).is_ok() {});
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(config: &AfXdpConfig) -> Result<Vec<Self>, OpenError> {
        if let Some(fault) = config.fault() {
            return Err(OpenError::Config(fault));
        }
        let interface = Interface::learn(config)?;
        let (mut steering, program) = Steering::load(config, interface.queues.end)?;
        let mut sockets = Vec::new();
        for queue in interface.queues.clone() {
            let opened = XdpSocket::open(&socket_options(config, interface.index, queue))
                .map_err(|error| OpenError::socket(config, queue, error))?;
            steering
                .serve(queue, opened.0.as_fd())
                .map_err(OpenError::kernel(&config.interface, "serve a queue"))?;
            sockets.push(opened);
        }
        steering.attach(&program, config, interface.index)?;
        let steering = Arc::new(steering);
        Ok(sockets
            .into_iter()
            .map(|(socket, frames)| {
                Self::new(config, &interface, socket, frames, Arc::clone(&steering))
            })
            .collect())
    }
}

/// What the kernel says of an interface.
struct Interface {
    index: u32,
    mtu: usize,
    mac: [u8; 6],
    /// Those to be served.
    queues: Range<u32>,
}

impl Interface {
    fn learn(config: &AfXdpConfig) -> Result<Self, OpenError> {
        let interface = &config.interface;
        let failed = |doing| OpenError::kernel(interface, doing);
        let interfaces = Interfaces::open().map_err(failed("ask for the interface"))?;
        let index = interfaces.index(interface);
        let index = index.map_err(|source| OpenError::NoInterface {
            interface: interface.clone(),
            source,
        })?;
        let mtu = interfaces.mtu(interface).map_err(failed("learn the MTU"))?;
        if mtu > MAX_MTU {
            let interface = interface.clone();
            return Err(OpenError::MtuTooLarge { interface, mtu });
        }
        let hardware = interfaces.hardware(interface);
        let Hardware::Ethernet(mac) = hardware.map_err(failed("learn the address"))? else {
            return Err(OpenError::NotEthernet(interface.clone()));
        };
        let queues = interfaces.receive_queues(interface);
        let queues = served(config, queues.map_err(failed("count the queues"))?)?;
        Ok(Self {
            index,
            mtu,
            mac,
            queues,
        })
    }
}

/// Which of `queues` are to be served.
fn served(config: &AfXdpConfig, queues: u32) -> Result<Range<u32>, OpenError> {
    let served = config.queues.clone().unwrap_or(0..queues);
    if served.end > queues {
        return Err(OpenError::NoQueue {
            interface: config.interface.clone(),
            queue: served.end - 1,
            queues,
        });
    }
    Ok(served)
}

fn socket_options(config: &AfXdpConfig, interface: u32, queue: u32) -> XdpSocketOptions {
    XdpSocketOptions {
        interface,
        queue,
        frames: config.frames,
        slots: config.slots,
        huge_pages: config.huge_pages,
        zero_copy: match config.copying {
            Copying::Any => None,
            Copying::Copy => Some(false),
            Copying::ZeroCopy => Some(true),
        },
        busy_poll: config.busy_poll.map(|it| (it.time, it.budget)),
    }
}

/// Has senders on `interface` finish their packets in the kernel: checksums, and segments.
///
/// For both ends of a virtual link that a transport of packets is on. As
/// `ethtool -K <interface> tx off tso off gso off`; what the driver does not let anybody change is
/// left as it is. Lasts until it is changed back. Needs CAP_NET_ADMIN.
///
/// # Errors
///
/// `ENODEV` if there is no such interface in the thread's network namespace; `EPERM`.
pub fn disable_transmit_offloads(interface: &str) -> io::Result<()> {
    Interfaces::open()?.disable_transmit_offloads(interface)
}
