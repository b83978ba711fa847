//! How an interface is opened.

use std::ops::Range;
use std::time::Duration;

use crate::packet::InterfaceId;

/// How [`AfXdp::open`](super::AfXdp::open) opens an interface.
///
/// # Examples
///
/// ```
/// use lb_l4::transport::af_xdp::{AfXdpConfig, BusyPoll};
///
/// let config = AfXdpConfig::new("eth0").queues(0..4).busy_poll(BusyPoll::default());
/// assert_eq!(config.memory(), 4 * 16 * 1024 * 1024);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AfXdpConfig {
    /// The interface's name, in the network namespace of the calling thread.
    pub interface: String,
    /// Its number among the interfaces of the forwarder. Default 0.
    pub number: InterfaceId,
    /// Its receive queues that are served, each by a transport of its own. Default all.
    ///
    /// Packets of other queues are left to the host, steered or not, so leave none out unless the
    /// interface is told to spread its packets over these alone (`ethtool -X`).
    pub queues: Option<Range<u32>>,
    /// Frames of packet memory for each queue, of 4 KiB: for packets that wait to be shown or are
    /// being sent. At least twice the [`slots`](Self::slots); the default, 4,096, is 16 MiB.
    pub frames: u32,
    /// Packets that wait in each direction, in each queue: slots of the rings. A power of two from
    /// 64 to 65,536. Default 2,048, as in the kernel's samples.
    pub slots: u32,
    /// Whether the packet memory is of huge pages, which the host must have set aside
    /// (`vm.nr_hugepages`). Spares address translations. Default no.
    pub huge_pages: bool,
    /// Where the program runs. Default [`Attach::Any`].
    pub attach: Attach,
    /// Whether the driver uses the packet memory itself. Default [`Copying::Any`].
    pub copying: Copying,
    /// Whether the worker runs the driver. Default no.
    pub busy_poll: Option<BusyPoll>,
    /// The most prefixes that can be steered. Default 65,536; memory is taken when one is added,
    /// about 100 bytes for each.
    pub max_prefixes: u32,
}

/// Where the program runs that steers packets.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Attach {
    /// In the driver if it can, else in the kernel.
    #[default]
    Any,
    /// In the kernel, over any driver: a buffer of the kernel's own is made for each packet first
    /// (`XDP_FLAGS_SKB_MODE`). On veth, whose packets have one anyway, no dearer than `Native`.
    Generic,
    /// In the driver, before anything else is done with a packet (`XDP_FLAGS_DRV_MODE`).
    Native,
}

/// Whether the kernel copies packets between the driver's memory and this process's.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Copying {
    /// Not if the driver can do without;
    /// [`Capabilities::zero_copy`](crate::transport::Capabilities::zero_copy) tells.
    #[default]
    Any,
    /// Always (`XDP_COPY`).
    Copy,
    /// Never: drivers that cannot are refused (`XDP_ZEROCOPY`).
    ZeroCopy,
}

/// A worker that runs the driver itself, instead of an interrupt that does so on any CPU.
///
/// Takes a CPU per queue whole, and gives the lowest latency. It comes to effect with
/// `/sys/class/net/<interface>/napi_defer_hard_irqs` (2) and `gro_flush_timeout` (200,000 ns) set,
/// which tell the kernel for how long to leave the interrupts off. Needs CAP_NET_ADMIN.
///
/// Source: Documentation/networking/af_xdp.rst and napi.rst; Linux 5.11.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct BusyPoll {
    /// How long the driver may be asked for packets in one call. Whole microseconds; default 20.
    pub time: Duration,
    /// The most packets that it may bring in one call. Default 64, as that of an interrupt.
    pub budget: u16,
}

impl AfXdpConfig {
    /// All queues of `interface`, with the defaults.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            number: InterfaceId::default(),
            queues: None,
            frames: 4_096,
            slots: 2_048,
            huge_pages: false,
            attach: Attach::default(),
            copying: Copying::default(),
            busy_poll: None,
            max_prefixes: 65_536,
        }
    }

    /// Bytes of locked memory that it takes, if all queues to be served are named: 4 KiB for each
    /// frame. For one queue if they are not.
    ///
    /// The kernel refuses more than `RLIMIT_MEMLOCK` (often 8 MiB) to a process without
    /// CAP_IPC_LOCK.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let queues = self.queues.as_ref().map_or(1, ExactSizeIterator::len);
        queues as u64 * u64::from(self.frames) * crate::sys::umem::FRAME as u64
    }

    /// Sets [`number`](Self::number).
    #[must_use]
    pub const fn number(mut self, number: InterfaceId) -> Self {
        self.number = number;
        self
    }

    /// Sets [`queues`](Self::queues).
    #[must_use]
    pub const fn queues(mut self, queues: Range<u32>) -> Self {
        self.queues = Some(queues);
        self
    }

    /// Sets [`frames`](Self::frames).
    #[must_use]
    pub const fn frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    /// Sets [`slots`](Self::slots).
    #[must_use]
    pub const fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Sets [`huge_pages`](Self::huge_pages).
    #[must_use]
    pub const fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// Sets [`attach`](Self::attach).
    #[must_use]
    pub const fn attach(mut self, attach: Attach) -> Self {
        self.attach = attach;
        self
    }

    /// Sets [`copying`](Self::copying).
    #[must_use]
    pub const fn copying(mut self, copying: Copying) -> Self {
        self.copying = copying;
        self
    }

    /// Sets [`busy_poll`](Self::busy_poll).
    #[must_use]
    pub const fn busy_poll(mut self, busy_poll: BusyPoll) -> Self {
        self.busy_poll = Some(busy_poll);
        self
    }

    /// Sets [`max_prefixes`](Self::max_prefixes).
    #[must_use]
    pub const fn max_prefixes(mut self, prefixes: u32) -> Self {
        self.max_prefixes = prefixes;
        self
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let faults = [
            (
                !self.slots.is_power_of_two() || !(64..=65_536).contains(&self.slots),
                "slots must be a power of two from 64 to 65,536",
            ),
            (
                u64::from(self.frames) < 2 * u64::from(self.slots),
                "frames must be at least twice the slots",
            ),
            (
                self.queues.as_ref().is_some_and(Range::is_empty),
                "at least one queue must be served",
            ),
            (self.max_prefixes == 0, "at least one prefix must fit"),
        ];
        faults
            .into_iter()
            .find_map(|(wrong, fault)| wrong.then_some(fault))
    }
}

impl BusyPoll {
    /// Sets [`time`](Self::time).
    #[must_use]
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets [`budget`](Self::budget).
    #[must_use]
    pub const fn budget(mut self, packets: u16) -> Self {
        self.budget = packets;
        self
    }
}

impl Default for BusyPoll {
    fn default() -> Self {
        Self {
            time: Duration::from_micros(20),
            budget: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_a_reason() {
        let good = AfXdpConfig::new("eth0");
        assert_eq!(good.fault(), None);
        assert_eq!(good.clone().slots(64).frames(128).fault(), None);
        assert_eq!(good.clone().slots(65_536).frames(131_072).fault(), None);
        assert_eq!(good.clone().queues(3..4).max_prefixes(1).fault(), None);
        for (bad, word) in [
            (good.clone().slots(0), "slots"),
            (good.clone().slots(96), "slots"),
            (good.clone().slots(32), "slots"),
            (good.clone().slots(131_072), "slots"),
            (good.clone().frames(4_095), "frames"),
            (good.clone().queues(3..3), "queue"),
            (good.max_prefixes(0), "prefix"),
        ] {
            assert!(bad.fault().is_some_and(|it| it.contains(word)), "{bad:?}");
        }
    }
}
