//! Counts frames, and says at which to stop.

use h2::Reason;
use lbcore::Instant;

use super::frames::{Event, Frames, Head, kind};
use super::{Flood, H2Limits, Illegal};

mod recent;
mod rules;

use recent::Recent;
use rules::{Ended, admit_setting, admit_shape};

/// Why a connection must end.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Too much of it.
    Flood(Flood),
    /// No client may send that.
    Illegal(Illegal),
}

impl Stop {
    /// The error code of the GOAWAY.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Flood(_) => Reason::ENHANCE_YOUR_CALM,
            Self::Illegal(rule) => rule.reason(),
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flood(flood) => flood.as_str(),
            Self::Illegal(rule) => rule.as_str(),
        }
    }
}

/// Where among some bytes to stop, and why.
#[expect(clippy::exhaustive_structs, reason = "a place and a cause, no more")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stopped {
    /// How many of the bytes come before the frame that is at fault.
    pub passed: usize,
    /// What is wrong with that frame.
    pub why: Stop,
}

/// Counts the frames of one connection, in both directions, against [`H2Limits`].
///
/// Reads of a frame its header and at most six bytes at a time of its payload. How the bytes are
/// cut makes no difference. Constant memory, less than 600 bytes, and constant time for a frame.
///
/// # Examples
///
/// ```
/// use lb_l7::h2_guard::{FrameWatch, H2Limits, Illegal, Stop};
/// use lbcore::Instant;
///
/// let mut watch = FrameWatch::new(H2Limits::default(), Instant::ZERO);
/// watch.observe_read(Instant::ZERO, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
/// watch.observe_read(Instant::ZERO, b"\0\0\0\x04\0\0\0\0\0").unwrap();
/// // A PING of seven bytes.
/// let stopped = watch.observe_read(Instant::ZERO, b"\0\0\x07\x06\0\0\0\0\0").unwrap_err();
/// assert_eq!(stopped.why, Stop::Illegal(Illegal::FrameLength));
/// ```
#[derive(Clone, Debug)]
pub struct FrameWatch {
    limits: H2Limits,
    received: Frames,
    sent: Frames,
    recent: Recent,
    block: Option<Block>,
    seen_settings: bool,
    /// The highest stream that the client opened.
    highest: u32,
    /// Streams opened in all.
    opened: u32,
    ended: Ended,
    stop: Option<Stop>,
}

/// A header block under way.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    bytes: u32,
    continuations: u32,
}

impl FrameWatch {
    /// A connection that began `now`; `limits` should have been [checked](H2Limits::check).
    #[must_use]
    pub fn new(limits: H2Limits, now: Instant) -> Self {
        Self {
            limits,
            received: Frames::of_client(),
            sent: Frames::of_server(),
            recent: Recent::new(now),
            block: None,
            seen_settings: false,
            highest: 0,
            opened: 0,
            ended: Ended::default(),
            stop: None,
        }
    }

    /// Takes what the client sent next, from its preface on.
    ///
    /// # Errors
    ///
    /// Says where to stop and why; from then on nothing passes.
    pub fn observe_read(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Stopped> {
        if let Some(why) = self.stop {
            return Err(Stopped { passed: 0, why });
        }
        self.recent.decay(now, self.limits.window);
        let mut rest = bytes;
        let mut passed = 0;
        loop {
            self.received.pass(&mut rest);
            if self.received.is_between() {
                passed = bytes.len() - rest.len();
            }
            let Some(event) = self.received.next(&mut rest) else {
                return Ok(());
            };
            if let Err(why) = self.receive(event) {
                self.stop = Some(why);
                return Err(Stopped { passed, why });
            }
        }
    }

    /// Takes what was sent to the client next, from the first SETTINGS on.
    ///
    /// # Errors
    ///
    /// The client has provoked too many resets, or opened too many streams to be refused.
    pub fn observe_written(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        while let Some(event) = self.sent.next(&mut bytes) {
            let Event::Frame { head, shown } = event else {
                continue;
            };
            match head.kind {
                kind::DATA => self.recent.sent(head.length),
                kind::HEADERS => self.recent.sent(0),
                kind::RST_STREAM => {
                    if let Err(why) = self.count_own_reset(Reason::from(shown)) {
                        self.stop = self.stop.or(Some(why));
                        return Err(why);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How often this was counted lately, halved with each window.
    #[must_use]
    pub fn count(&self, flood: Flood) -> u32 {
        match flood {
            Flood::Streams => self.opened,
            _ => self.recent.of(flood),
        }
    }

    /// Whether the client has opened all the streams that one connection may have, so that it is
    /// time to drain ([`Flood::Streams`]).
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.limits
            .streams_in_all
            .is_some_and(|most| self.opened >= most)
    }

    fn receive(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Frame { head, shown } => {
                self.admit_order(head).map_err(Stop::Illegal)?;
                admit_shape(head, shown).map_err(Stop::Illegal)?;
                self.admit_stream(head).map_err(Stop::Illegal)?;
                self.count_frame(head, shown)
            }
            Event::Setting { id, value } => admit_setting(id, value).map_err(Stop::Illegal),
        }
    }

    /// First SETTINGS, and no frame between those of one header block.
    fn admit_order(&mut self, head: Head) -> Result<(), Illegal> {
        if !self.seen_settings {
            if head.kind != kind::SETTINGS || head.is_ack() {
                return Err(Illegal::FirstFrame);
            }
            self.seen_settings = true;
        }
        let wanted = self.block.map(|block| block.stream);
        let got = (head.kind == kind::CONTINUATION).then_some(head.stream);
        if wanted != got {
            return Err(Illegal::BlockOrder);
        }
        Ok(())
    }

    /// RFC 9113, 5.1: on an idle stream nothing is received but HEADERS and PRIORITY, and on one
    /// that its client ended neither DATA nor HEADERS.
    fn admit_stream(&mut self, head: Head) -> Result<(), Illegal> {
        let idle = head.stream > self.highest;
        match head.kind {
            kind::DATA | kind::RST_STREAM | kind::WINDOW_UPDATE if idle => {
                return Err(Illegal::IdleStream);
            }
            kind::HEADERS if head.stream.is_multiple_of(2) => return Err(Illegal::StreamId),
            kind::DATA | kind::HEADERS if !idle && self.ended.holds(head.stream) => {
                return Err(Illegal::StreamEnded);
            }
            _ => {}
        }
        let ends = match head.kind {
            kind::DATA | kind::HEADERS => head.ends_stream(),
            kind::RST_STREAM => true,
            _ => false,
        };
        if ends {
            self.ended.push(head.stream);
        }
        Ok(())
    }

    fn count_frame(&mut self, head: Head, shown: u32) -> Result<(), Stop> {
        let limits = self.limits;
        let streams = self.recent.streams();
        let by_streams = |base: u32| u64::from(base) + 4 * streams;
        match head.kind {
            kind::DATA => {
                let padding = if head.is_padded() { shown + 1 } else { 0 };
                if padding >= head.length && !head.ends_stream() {
                    self.recent
                        .count(Flood::EmptyData, limits.empty_data.into())?;
                }
                Ok(())
            }
            kind::HEADERS | kind::CONTINUATION => self.count_fragment(head, shown),
            kind::PRIORITY | kind::PRIORITY_UPDATE => {
                let allowed = by_streams(limits.priorities);
                self.recent.count(Flood::Priority, allowed)
            }
            kind::RST_STREAM => {
                let allowed = self.most_or_half(limits.resets);
                self.recent.count(Flood::Reset, allowed)
            }
            kind::SETTINGS => self.recent.count(Flood::Settings, limits.settings.into()),
            kind::PING => {
                let allowed = u64::from(limits.pings) + self.recent.frames_sent();
                self.recent.count(Flood::Ping, allowed)
            }
            kind::GOAWAY => self.recent.count(Flood::GoAway, limits.goaways.into()),
            kind::WINDOW_UPDATE => {
                let credit = 4 * self.recent.frames_sent() + self.recent.bytes_sent() / 512;
                let allowed = by_streams(limits.window_updates) + credit;
                self.recent.count(Flood::WindowUpdate, allowed)
            }
            _ => {
                let allowed = by_streams(limits.unknown_frames);
                self.recent.count(Flood::UnknownFrame, allowed)
            }
        }
    }

    /// A stream that this side reset.
    fn count_own_reset(&mut self, code: Reason) -> Result<(), Stop> {
        if code == Reason::REFUSED_STREAM {
            let allowed = self.limits.refused;
            return self
                .recent
                .count(Flood::Refused, self.most_or_half(allowed));
        }
        if !blames_client(code) {
            return Ok(());
        }
        let allowed = self.limits.provoked_resets;
        self.recent.count(Flood::ProvokedReset, allowed.into())
    }

    /// `limit`, and at least all streams that may be open, and half of those opened lately.
    fn most_or_half(&self, limit: u32) -> u64 {
        u64::from(limit.max(self.limits.streams)).max(self.recent.streams() / 2)
    }

    /// A part of a header block.
    fn count_fragment(&mut self, head: Head, shown: u32) -> Result<(), Stop> {
        let fragment = if head.kind == kind::HEADERS {
            if head.stream > self.highest {
                self.highest = head.stream;
                self.opened = self.opened.saturating_add(1);
                self.recent.opened();
            }
            let padding = if head.is_padded() { shown + 1 } else { 0 };
            head.length.saturating_sub(padding + head.priority_length())
        } else {
            head.length
        };
        let mut block = self.block.take().unwrap_or(Block {
            stream: head.stream,
            bytes: 0,
            continuations: 0,
        });
        block.bytes = block.bytes.saturating_add(fragment);
        if block.bytes > self.limits.header_block {
            return Err(Stop::Flood(Flood::HeaderBlock));
        }
        if head.kind == kind::CONTINUATION {
            block.continuations = block.continuations.saturating_add(1);
            if block.continuations > self.limits.continuations {
                return Err(Stop::Flood(Flood::Continuation));
            }
        }
        if head.ends_headers() {
            return Ok(());
        }
        self.block = Some(block);
        if fragment == 0 {
            let allowed = self.limits.empty_headers;
            self.recent.count(Flood::EmptyHeaders, allowed.into())?;
        }
        Ok(())
    }
}

/// Whether an RST_STREAM of ours with this code says that the client did wrong.
fn blames_client(code: Reason) -> bool {
    matches!(
        code,
        Reason::PROTOCOL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::STREAM_CLOSED
            | Reason::FRAME_SIZE_ERROR
            | Reason::COMPRESSION_ERROR
            | Reason::ENHANCE_YOUR_CALM
    )
}

#[cfg(test)]
mod tests;
