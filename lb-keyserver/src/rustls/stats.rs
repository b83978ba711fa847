//! What became of the handshakes of a listener.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::RemoteTlsError;

/// What became of the handshakes of a [`RemoteTls`](super::RemoteTls), until now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RemoteTlsStats {
    /// Handshakes that ended well, with a signature or as resumed sessions.
    pub accepted: u64,
    /// Signatures that were asked for. More than handshakes, if certificates changed meanwhile.
    pub asked: u64,
    /// Signatures that came.
    pub answered: u64,
    /// Handshakes that failed, by [`RemoteTlsError::as_str`]; of all reasons, zeros too.
    pub refused: Vec<(&'static str, u64)>,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) asked: AtomicU64,
    pub(super) answered: AtomicU64,
    refused: [AtomicU64; RemoteTlsError::REASONS.len()],
}

impl Counters {
    pub(super) fn refuse(&self, error: &RemoteTlsError) {
        let reason = error.as_str();
        let reasons = RemoteTlsError::REASONS.iter().zip(&self.refused);
        for (_, counter) in reasons.filter(|(name, _)| **name == reason) {
            add(counter);
        }
    }

    pub(super) fn read(&self) -> RemoteTlsStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reasons = RemoteTlsError::REASONS.iter().zip(&self.refused);
        RemoteTlsStats {
            accepted: read(&self.accepted),
            asked: read(&self.asked),
            answered: read(&self.answered),
            refused: reasons.map(|(name, count)| (*name, read(count))).collect(),
        }
    }
}

/// Counts one more.
pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
