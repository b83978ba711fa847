//! Counters that forget.

use std::time::Duration;

use lbcore::Instant;

use super::Stop;
use crate::h2_guard::Flood;

/// What happened lately: each number halves with the window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Recent {
    since: Instant,
    counts: [u32; Flood::ALL.len()],
    /// Streams opened.
    streams: u32,
    /// DATA and HEADERS frames sent.
    frames_sent: u32,
    /// Bytes of DATA sent.
    bytes_sent: u64,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            counts: [0; Flood::ALL.len()],
            streams: 0,
            frames_sent: 0,
            bytes_sent: 0,
        }
    }

    /// A stream was opened.
    pub(super) fn opened(&mut self) {
        self.streams = self.streams.saturating_add(1);
    }

    /// A frame of DATA or HEADERS was sent, with so many bytes of DATA.
    pub(super) fn sent(&mut self, bytes: u32) {
        self.frames_sent = self.frames_sent.saturating_add(1);
        self.bytes_sent = self.bytes_sent.saturating_add(bytes.into());
    }

    pub(super) fn of(&self, flood: Flood) -> u32 {
        self.counts.get(flood as usize).map_or(0, |count| *count)
    }

    pub(super) fn streams(&self) -> u64 {
        self.streams.into()
    }

    pub(super) fn frames_sent(&self) -> u64 {
        self.frames_sent.into()
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Halves everything for each window that ended.
    pub(super) fn decay(&mut self, now: Instant, window: Duration) {
        let window = window.as_nanos().max(1);
        let windows = now.since(self.since).as_nanos() / window;
        if windows == 0 {
            return;
        }
        let shift = u32::try_from(windows).unwrap_or(u32::MAX);
        for count in &mut self.counts {
            *count = count.checked_shr(shift).unwrap_or(0);
        }
        self.streams = self.streams.checked_shr(shift).unwrap_or(0);
        self.frames_sent = self.frames_sent.checked_shr(shift).unwrap_or(0);
        self.bytes_sent = self.bytes_sent.checked_shr(shift).unwrap_or(0);
        let past = u64::try_from(windows * window).unwrap_or(u64::MAX);
        self.since += Duration::from_nanos(past);
    }

    /// Counts one more, of which so many are allowed.
    pub(super) fn count(&mut self, flood: Flood, allowed: u64) -> Result<(), Stop> {
        let Some(count) = self.counts.get_mut(flood as usize) else {
            return Ok(());
        };
        *count = count.saturating_add(1);
        if u64::from(*count) > allowed {
            return Err(Stop::Flood(flood));
        }
        Ok(())
    }
}
