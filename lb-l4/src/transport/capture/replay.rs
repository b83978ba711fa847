//! Packets of a capture, shown again.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lbcore::Instant;

use super::super::burst::{Action, Burst};
use super::super::wait;
use super::super::{BURST, Capabilities, HEADROOM, Sent, Transport, TransportStats, Woken};
use super::pcap::{PcapError, Reader, Writer};
use crate::packet::{InterfaceId, Link, Packet};
use crate::wire::ethernet;

/// How a capture is shown again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplayConfig {
    /// Packets shown at once, 1 to [`BURST`]. Default 1, so that each has a time of its own.
    pub burst: usize,
    /// The number of the interface. Default 0.
    pub interface: InterfaceId,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            burst: 1,
            interface: InterfaceId::default(),
        }
    }
}

impl ReplayConfig {
    /// Sets [`burst`](Self::burst).
    #[must_use]
    pub const fn burst(mut self, packets: usize) -> Self {
        self.burst = packets;
        self
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub const fn interface(mut self, interface: InterfaceId) -> Self {
        self.interface = interface;
        self
    }
}

/// Shows the packets of one capture, and writes what is sent to another.
///
/// Nothing takes time: [`at`](Self::at) is when the packets shown last were captured, and what is
/// sent bears this time. Packets that were cut when they were captured are shown as they are.
/// After the last packet `forward` returns 0, and a wait comes to its deadline at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::packet::{Link, Verdict};
/// use lb_l4::transport::Transport;
/// use lb_l4::transport::capture::pcap::{MAX_SNAPLEN, Writer};
/// use lb_l4::transport::capture::{Replay, ReplayConfig};
///
/// let mut before = Writer::new(Vec::new(), Link::Ip, MAX_SNAPLEN)?;
/// before.write(Duration::from_secs(7), b"a packet")?;
/// let before = before.into_inner();
///
/// let mut replay = Replay::new(&before[..], Vec::new(), ReplayConfig::default())?;
/// while replay.forward(|burst| burst[0].set_verdict(Verdict::Reply))? > 0 {
///     assert_eq!(replay.at(), Duration::from_secs(7));
/// }
/// assert_eq!(replay.into_inner(), before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replay<R, W> {
    reader: Reader<R>,
    writer: Writer<W>,
    config: ReplayConfig,
    /// The next packets, each behind the headroom; as many buffers as a burst has.
    buffers: Vec<Vec<u8>>,
    waiting: usize,
    record: Vec<u8>,
    /// When the first and the last of the packets that wait were captured.
    next_at: Option<Duration>,
    at: Duration,
    is_over: bool,
    /// What was found behind the packets that wait.
    fault: Option<PcapError>,
    stats: TransportStats,
}

impl<R: Read, W: Write> Replay<R, W> {
    /// Opens a capture to be shown, and begins one of what is sent.
    ///
    /// # Errors
    ///
    /// The capture cannot be read, or the new one not be written.
    pub fn new(from: R, to: W, config: ReplayConfig) -> Result<Self, PcapError> {
        let reader = Reader::new(from)?;
        let writer = Writer::new(to, reader.link(), super::pcap::MAX_SNAPLEN)?;
        Ok(Self {
            reader,
            writer,
            buffers: vec![Vec::new(); config.burst.clamp(1, BURST)],
            config,
            waiting: 0,
            record: Vec::new(),
            next_at: None,
            at: Duration::ZERO,
            is_over: false,
            fault: None,
            stats: TransportStats::default(),
        })
    }

    /// When the packets that were shown last were captured, since the beginning of 1970.
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// When the packets that are shown next were captured; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The capture cannot be read.
    pub fn next_at(&mut self) -> Result<Option<Duration>, PcapError> {
        self.fill()?;
        Ok(self.next_at)
    }

    /// What was sent is written to this.
    pub fn into_inner(self) -> W {
        self.writer.into_inner()
    }

    /// Reads the next burst, unless it waits already. What stands before a fault is shown first, and
    /// nothing behind it.
    fn fill(&mut self) -> Result<(), PcapError> {
        if self.waiting > 0 || self.is_over {
            return Ok(());
        }
        if let Some(fault) = self.fault.take() {
            self.is_over = true;
            return Err(fault);
        }
        self.next_at = None;
        for buffer in &mut self.buffers {
            match self.reader.read(&mut self.record) {
                Ok(Some(record)) => {
                    buffer.clear();
                    buffer.resize(HEADROOM, 0);
                    buffer.extend_from_slice(&self.record);
                    buffer.resize(buffer.len() + HEADROOM, 0);
                    self.next_at.get_or_insert(record.at);
                    self.waiting += 1;
                }
                Ok(None) => {
                    self.is_over = self.waiting == 0;
                    break;
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        match self.waiting {
            0 if self.fault.is_some() => self.fill(),
            _ => Ok(()),
        }
    }
}

impl<R: Read, W: Write> Transport for Replay<R, W> {
    /// # Errors
    ///
    /// The capture cannot be read or written: the reason is the error's source, a [`PcapError`].
    fn forward(&mut self, decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        self.fill().map_err(io::Error::other)?;
        let Some(at) = self.next_at.take() else {
            return Ok(0);
        };
        self.at = at;
        let (link, interface) = (self.reader.link(), self.config.interface);
        let stats = &mut self.stats;
        let waiting = self.buffers.iter_mut().take(self.waiting);
        self.waiting = 0;
        let mut burst = Burst::collect(waiting.map(|buffer| {
            let range = HEADROOM..buffer.len() - HEADROOM;
            stats.count_received(range.len());
            Packet::new(buffer, range, link).on(interface)
        }));
        burst.show(decide);
        for packet in burst.iter_mut() {
            if self.stats.judge(packet.verdict(), interface) == Action::Send {
                self.writer.write(at, packet.bytes())?;
                self.stats.count_sent(packet.bytes().len());
            }
        }
        Ok(burst.len())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        self.writer.write(self.at, bytes)?;
        self.stats.count_sent(bytes.len());
        Ok(Sent::Queued)
    }

    fn wait(
        &mut self,
        _now: Instant,
        _deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        self.fill().map_err(io::Error::other)?;
        if self.waiting > 0 {
            return Ok(Woken::Packet);
        }
        wait::wait(None, others, Some(Duration::ZERO))
    }

    fn capabilities(&self) -> Capabilities {
        let link = self.reader.link();
        // Of what was captured nothing is known but that IP has 16 bits for a length.
        let mtu = usize::from(u16::MAX);
        Capabilities {
            interface: self.config.interface,
            link,
            mtu,
            max_packet: match link {
                Link::Ethernet => mtu + ethernet::HEADER,
                Link::Ip => mtu,
            },
            tailroom: HEADROOM,
            burst: self.buffers.len(),
            ..Capabilities::default()
        }
    }

    fn stats(&self) -> TransportStats {
        self.stats
    }
}
