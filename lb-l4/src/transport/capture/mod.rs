//! Captures: what passes a transport is recorded, and what was recorded passes again.

pub mod pcap;
mod replay;

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lbcore::Instant;
use rustix::time::{ClockId, clock_gettime};

use super::burst::Action;
use super::{Capabilities, Sent, Transport, TransportStats, Woken};
use crate::packet::{InterfaceId, Offload, Packet, Verdict};

pub use replay::{Replay, ReplayConfig};

/// Records what passes another transport: packets as they came, and packets as they were sent.
///
/// Classic pcap does not say which way a packet went: what was forwarded stands in the file twice,
/// before and after. A capture never disturbs what it records: the first error of writing ends it,
/// and is kept ([`error`](Self::error)).
///
/// Every packet costs a write; give it a [`BufWriter`](io::BufWriter).
///
/// # Examples
///
/// ```
/// use lb_l4::packet::Verdict;
/// use lb_l4::transport::{Capture, Memory, Transport};
///
/// let (near, mut far) = Memory::pair()?;
/// let mut near = Capture::new(near, Vec::new(), 65_535)?;
/// far.send(b"ping")?;
/// near.forward(|burst| burst[0].set_verdict(Verdict::Reply))?;
/// assert_eq!(near.recorded(), 2);
/// let (_near, file) = near.into_parts();
/// assert_eq!(file.len(), 24 + 2 * (16 + 4));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Capture<T, W> {
    inner: T,
    record: Recorder<W>,
}

/// Writes until it fails.
#[derive(Debug)]
struct Recorder<W> {
    writer: pcap::Writer<W>,
    time: fn() -> Duration,
    recorded: u64,
    error: Option<io::Error>,
}

impl<T: Transport, W: Write> Capture<T, W> {
    /// Begins a capture of `inner`, with the host's time of day.
    ///
    /// Of each packet `snaplen` bytes are kept, at most [`pcap::MAX_SNAPLEN`].
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn new(inner: T, to: W, snaplen: u32) -> io::Result<Self> {
        let link = inner.capabilities().link;
        Ok(Self {
            inner,
            record: Recorder {
                writer: pcap::Writer::new(to, link, snaplen)?,
                time: time_of_day,
                recorded: 0,
                error: None,
            },
        })
    }

    /// Sets what tells the time since the beginning of 1970. Default: the host's clock.
    #[must_use]
    pub fn time(mut self, time: fn() -> Duration) -> Self {
        self.record.time = time;
        self
    }

    /// How many packets were recorded.
    pub const fn recorded(&self) -> u64 {
        self.record.recorded
    }

    /// What ended the capture, if something did.
    pub const fn error(&self) -> Option<&io::Error> {
        self.record.error.as_ref()
    }

    /// Has what is recorded so far arrive.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.record.writer.flush()
    }

    /// The transport, and what was written to.
    pub fn into_parts(self) -> (T, W) {
        (self.inner, self.record.writer.into_inner())
    }
}

impl<W: Write> Recorder<W> {
    fn put(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        match self.writer.write((self.time)(), bytes) {
            Ok(()) => self.recorded += 1,
            Err(error) => self.error = Some(error),
        }
    }
}

/// Whether a transport of this interface will send such a packet.
fn is_sent(verdict: Verdict, interface: InterfaceId) -> bool {
    TransportStats::default().judge(verdict, interface) == Action::Send
}

/// The host's time since the beginning of 1970.
fn time_of_day() -> Duration {
    let time = clock_gettime(ClockId::Realtime);
    // Neither part is negative on a host that is set to a day after 1970.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl<T: Transport, W: Write> Transport for Capture<T, W> {
    fn forward(&mut self, mut decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        let interface = self.inner.capabilities().interface;
        let record = &mut self.record;
        self.inner.forward(|burst| {
            for packet in &mut *burst {
                record.put(packet.bytes());
            }
            decide(burst);
            for packet in burst {
                if is_sent(packet.verdict(), interface) {
                    record.put(packet.bytes());
                }
            }
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        let sent = self.inner.send(bytes)?;
        if sent == Sent::Queued {
            self.record.put(bytes);
        }
        Ok(sent)
    }

    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let sent = self.inner.send_offloaded(bytes, offload)?;
        if sent == Sent::Queued {
            self.record.put(bytes);
        }
        Ok(sent)
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        self.inner.wait(now, deadline, others)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn stats(&self) -> TransportStats {
        self.inner.stats()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[cfg(test)]
mod tests;
