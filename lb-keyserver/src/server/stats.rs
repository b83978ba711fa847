//! What a key server has done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{Histogram, Times};
use super::refusal::Refusal;
use crate::audit::AuditStats;
use crate::scheme::Scheme;
use crate::wire::ParseError;

/// Why a client did not become a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// Its certificate was verified, but names nobody.
    BadCertificate,
    /// The access list does not admit it, or not in this mode.
    Denied,
    /// The server was shutting down before the handshake was over.
    Draining,
    /// It speaks in a mode that is not offered.
    Mode,
    /// The handshake took too long.
    Timeout,
    /// The handshake failed: another authority, a revoked or expired certificate, or none.
    Tls,
    /// There are as many connections as may be.
    TooMany,
    /// The address has as many handshakes under way as it may.
    TooManyOfAddress,
    /// The client has as many connections as it may.
    TooManyOfIdentity,
}

impl Rejection {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::BadCertificate,
        Self::Denied,
        Self::Draining,
        Self::Mode,
        Self::Timeout,
        Self::Tls,
        Self::TooMany,
        Self::TooManyOfAddress,
        Self::TooManyOfIdentity,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadCertificate => "bad-certificate",
            Self::Denied => "denied",
            Self::Draining => "draining",
            Self::Mode => "mode",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::TooMany => "too-many",
            Self::TooManyOfAddress => "too-many-of-address",
            Self::TooManyOfIdentity => "too-many-of-identity",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Ending {
    /// It broke: reset, or ended without a word.
    Broken,
    /// The client closed it.
    Client,
    /// The server was shutting down, and all was answered.
    Drained,
    /// A frame took too long to come.
    FrameTimeout,
    /// Nothing was asked for too long.
    Idle,
    /// What came was no frame.
    Malformed,
    /// The access list, the authorities or the revocation lists no longer admit the client.
    Revoked,
    /// The server was shutting down, and could not wait.
    ShutDown,
    /// The client took nothing of what it was answered for too long.
    WriteTimeout,
}

impl Ending {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::Broken,
        Self::Client,
        Self::Drained,
        Self::FrameTimeout,
        Self::Idle,
        Self::Malformed,
        Self::Revoked,
        Self::ShutDown,
        Self::WriteTimeout,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Client => "client",
            Self::Drained => "drained",
            Self::FrameTimeout => "frame-timeout",
            Self::Idle => "idle",
            Self::Malformed => "malformed",
            Self::Revoked => "revoked",
            Self::ShutDown => "shut-down",
            Self::WriteTimeout => "write-timeout",
        }
    }
}

/// Counts as it happens, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    signed: [AtomicU64; Scheme::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    malformed: [AtomicU64; ParseError::ALL.len()],
    rejected: [AtomicU64; Rejection::ALL.len()],
    ended: [AtomicU64; Ending::ALL.len()],
    pings: AtomicU64,
    accepted: AtomicU64,
    unrecorded_refusals: AtomicU64,
    waited: Histogram,
    signing: Histogram,
}

impl Counters {
    pub(crate) fn signed(&self, scheme: Scheme, waited: Duration, took: Duration) {
        add(
            &self.signed,
            Scheme::ALL.iter().position(|one| *one == scheme),
        );
        self.waited.add(waited);
        self.signing.add(took);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        add(&self.refused, why.place());
    }

    pub(crate) fn malformed(&self, why: ParseError) {
        add(
            &self.malformed,
            ParseError::ALL.iter().position(|one| *one == why),
        );
    }

    pub(crate) fn rejected(&self, why: Rejection) {
        add(
            &self.rejected,
            Rejection::ALL.iter().position(|one| *one == why),
        );
    }

    pub(crate) fn ended(&self, how: Ending) {
        add(&self.ended, Ending::ALL.iter().position(|one| *one == how));
    }

    pub(crate) fn pinged(&self) {
        self.pings.fetch_add(1, Relaxed);
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn refusal_unrecorded(&self) {
        self.unrecorded_refusals.fetch_add(1, Relaxed);
    }

    /// All of it, next to what is so now.
    pub(crate) fn stats(&self, now: Gauges, audit: Option<AuditStats>) -> ServerStats {
        ServerStats {
            now,
            signed: load(&self.signed),
            refused: load(&self.refused),
            malformed: load(&self.malformed),
            rejected: load(&self.rejected),
            ended: load(&self.ended),
            pings: self.pings.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            unrecorded_refusals: self.unrecorded_refusals.load(Relaxed),
            waited: self.waited.times(),
            signing: self.signing.times(),
            audit,
        }
    }
}

/// What is so at a moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Gauges {
    /// Connections, without those whose handshake is not over.
    pub connections: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Signatures that wait for a thread.
    pub queued: usize,
    /// Threads that sign.
    pub signing: usize,
}

/// What a key server has done since it was made, and what it is doing. A copy: it does not change.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ServerStats {
    /// What is so now.
    pub now: Gauges,
    /// Clients that were accepted by TCP.
    pub accepted: u64,
    /// Pings that were answered.
    pub pings: u64,
    /// Refusals that the audit log does not tell of: one client had more than
    /// [`REFUSALS_RECORDED`](super::REFUSALS_RECORDED) a second.
    pub unrecorded_refusals: u64,
    /// How long signatures waited for a thread.
    pub waited: Times,
    /// How long keys took to sign.
    pub signing: Times,
    /// What the audit log says of itself; `None` without one.
    pub audit: Option<AuditStats>,
    signed: [u64; Scheme::ALL.len()],
    refused: [u64; Refusal::ALL.len()],
    malformed: [u64; ParseError::ALL.len()],
    rejected: [u64; Rejection::ALL.len()],
    ended: [u64; Ending::ALL.len()],
}

impl ServerStats {
    /// Signatures made, by scheme.
    pub fn signed(&self) -> impl Iterator<Item = (Scheme, u64)> {
        Scheme::ALL.into_iter().zip(self.signed)
    }

    /// Questions that got no signature, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.refused)
    }

    /// Connections closed as what came was no frame, by what was wrong.
    pub fn malformed(&self) -> impl Iterator<Item = (ParseError, u64)> {
        ParseError::ALL.into_iter().zip(self.malformed)
    }

    /// Clients that did not become connections, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Rejection, u64)> {
        Rejection::ALL.into_iter().zip(self.rejected)
    }

    /// Connections that ended, by how.
    pub fn ended(&self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL.into_iter().zip(self.ended)
    }
}

fn add(counts: &[AtomicU64], place: Option<usize>) {
    if let Some(count) = place.and_then(|place| counts.get(place)) {
        count.fetch_add(1, Relaxed);
    }
}

fn load<const N: usize>(counts: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|place| counts.get(place).map_or(0, |count| count.load(Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let counters = Counters::default();
        let zero = Duration::ZERO;
        Scheme::ALL
            .iter()
            .for_each(|scheme| counters.signed(*scheme, zero, zero));
        Refusal::ALL.iter().for_each(|why| counters.refused(*why));
        ParseError::ALL
            .iter()
            .for_each(|why| counters.malformed(*why));
        Rejection::ALL
            .iter()
            .for_each(|why| counters.rejected(*why));
        Ending::ALL.iter().for_each(|how| counters.ended(*how));
        let stats = counters.stats(Gauges::default(), None);
        assert!(stats.signed().all(|(_, count)| count == 1));
        assert!(stats.refused().all(|(_, count)| count == 1));
        assert!(stats.malformed().all(|(_, count)| count == 1));
        assert!(stats.rejected().all(|(_, count)| count == 1));
        assert!(stats.ended().all(|(_, count)| count == 1));
        assert_eq!(stats.waited.count(), 10);
    }
}
