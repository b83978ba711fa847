//! The packets of one call of `forward`.

#[cfg(feature = "af-xdp")]
use std::ops::Range;

use super::{BURST, TransportStats};
#[cfg(feature = "af-xdp")]
use crate::packet::Offload;
use crate::packet::{InterfaceId, Link, Packet, Verdict};

/// Up to [`BURST`] packets, on the stack: a burst allocates nothing.
#[derive(Debug)]
pub(crate) struct Burst<'a> {
    packets: [Packet<'a>; BURST],
    count: usize,
}

impl<'a> Burst<'a> {
    /// The first packets, of which no more than [`BURST`] are taken.
    pub(crate) fn collect(packets: impl IntoIterator<Item = Packet<'a>>) -> Self {
        let mut packets = packets.into_iter();
        let mut count = 0;
        let packets = std::array::from_fn(|_| match packets.next() {
            Some(packet) => {
                count += 1;
                packet
            }
            None => Packet::new(&mut [], 0..0, Link::Ip),
        });
        Self { packets, count }
    }

    /// Shows them, if there are any.
    pub(crate) fn show(&mut self, decide: impl FnOnce(&mut [Packet<'_>])) {
        match self.packets.get_mut(..self.count) {
            None | Some([]) => {}
            Some(packets) => decide(packets),
        }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Each of them, as it was left.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Packet<'a>> {
        self.packets.iter_mut().take(self.count)
    }
}

/// What `decide` left of one packet, for transports that know a packet by its place.
///
/// The range is one that `decide` had in its hands, and may be of another buffer: a transport reads
/// its buffer through it with a check.
#[cfg(feature = "af-xdp")]
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) range: Range<usize>,
    pub(crate) offload: Offload,
    pub(crate) verdict: Verdict,
}

/// Shows `packets` to `decide`; then calls `act` with the place and the fate of each. Returns how
/// many there were.
#[cfg(feature = "af-xdp")]
pub(crate) fn show<'a>(
    packets: impl Iterator<Item = Packet<'a>>,
    decide: impl FnOnce(&mut [Packet<'_>]),
    mut act: impl FnMut(usize, Fate),
) -> usize {
    let mut burst = Burst::collect(packets);
    burst.show(decide);
    for (place, packet) in burst.iter_mut().enumerate() {
        let fate = Fate {
            range: packet.range(),
            offload: packet.offloads(),
            verdict: packet.verdict(),
        };
        act(place, fate);
    }
    burst.len()
}

/// What a verdict asks of a transport; see [`TransportStats::judge`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Free the buffer: nothing more is to be done.
    Free,
    /// Leave the packet to the host, if the transport is of such a kind, and free the buffer.
    Pass,
    /// Send the packet, as rewritten, and count it: [`TransportStats::count_sent`].
    Send,
}

/// For those who write a transport.
impl TransportStats {
    /// What `verdict` asks of the transport of `interface`; counts all but what is to be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::packet::{InterfaceId, Verdict};
    /// use lb_l4::transport::{Action, TransportStats};
    ///
    /// let mut stats = TransportStats::default();
    /// assert_eq!(stats.judge(Verdict::Reply, InterfaceId(1)), Action::Send);
    /// assert_eq!(stats.judge(Verdict::Forward(InterfaceId(1)), InterfaceId(1)), Action::Send);
    /// assert_eq!(stats.judge(Verdict::Forward(InterfaceId(2)), InterfaceId(1)), Action::Free);
    /// assert_eq!((stats.misdirected, stats.sent), (1, 0));
    /// ```
    pub const fn judge(&mut self, verdict: Verdict, interface: InterfaceId) -> Action {
        let counter = match verdict {
            Verdict::Reply => return Action::Send,
            Verdict::Forward(to) if to.0 == interface.0 => return Action::Send,
            Verdict::Pass => {
                self.passed += 1;
                return Action::Pass;
            }
            Verdict::Forward(_) => &mut self.misdirected,
            Verdict::Drop(_) => &mut self.dropped,
            Verdict::Held => &mut self.held,
        };
        *counter += 1;
        Action::Free
    }

    /// Counts a packet of `len` bytes that is shown.
    pub const fn count_received(&mut self, len: usize) {
        self.received += 1;
        self.received_bytes += len as u64;
    }

    /// Counts a packet of `len` bytes that is in the hands of the link.
    pub const fn count_sent(&mut self, len: usize) {
        self.sent += 1;
        self.sent_bytes += len as u64;
    }
}
