//! What a key server is doing at one moment, as plain values.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Shown;
use super::key_server_metrics;
use super::snapshot::{Process, Reloads};

/// All that status and metrics show of a key server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct KeyServerSnapshot {
    /// Of this program.
    pub(crate) version: &'static str,
    /// Seconds since 1970-01-01, as of its start.
    pub(crate) started: f64,
    /// Where it listens.
    pub(crate) address: String,
    /// Whether it takes no new question and is about to end.
    pub(crate) draining: bool,
    /// What came of re-reading the file.
    pub(crate) reloads: Reloads,
    /// What came of re-reading the keys, with the file or as they had changed.
    pub(crate) key_reloads: KeyReloads,
    /// What the kernel says of the process.
    pub(crate) process: Process,
    /// The subject key identifiers of all keys.
    pub(crate) keys: Vec<String>,
    /// How many rules there are.
    pub(crate) rules: usize,
    /// Clients that came.
    pub(crate) accepted: u64,
    /// Connections now.
    pub(crate) connections: usize,
    /// TLS handshakes under way.
    pub(crate) handshakes: usize,
    /// Signatures that wait for a thread.
    pub(crate) queued: usize,
    /// Threads that sign now.
    pub(crate) signing: usize,
    /// Pings that were answered.
    pub(crate) pings: u64,
    /// Signatures made, by scheme.
    pub(crate) signed: BTreeMap<&'static str, u64>,
    /// Questions that got no signature, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Clients that did not become connections, by reason.
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// Connections closed as what came was no frame, by what was wrong.
    pub(crate) malformed: BTreeMap<&'static str, u64>,
    /// Connections over, by how they ended.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// How long signatures waited for a thread.
    pub(crate) waited: Durations,
    /// How long keys took to sign.
    pub(crate) took: Durations,
    /// What the audit log says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<Audit>,
}

/// What came of re-reading keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct KeyReloads {
    /// They were taken up.
    pub(crate) ok: u64,
    /// They stayed as they were.
    pub(crate) failed: u64,
}

/// How many things took how long.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Durations {
    /// Bounds in seconds, each with how many took no longer.
    pub(crate) cumulative: Vec<(f64, u64)>,
    /// All of them.
    pub(crate) count: u64,
    /// Together, in seconds.
    pub(crate) sum: f64,
}

/// What an audit log says of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Audit {
    /// Records by what became of them.
    pub(crate) records: BTreeMap<&'static str, u64>,
    /// Writes and syncs that failed.
    pub(crate) failures: u64,
    /// Files that were followed by another.
    pub(crate) rotations: u64,
    /// How far it is on the disk: to be kept elsewhere, so that a log that was cut off is found out.
    pub(crate) head: String,
}

impl Shown for KeyServerSnapshot {
    fn metrics(&self) -> String {
        key_server_metrics::render(self)
    }

    fn status(&self) -> String {
        super::status(self)
    }
}
