//! What is shown of keys that are elsewhere, and of those who hold them.

use std::collections::BTreeMap;

use serde::Serialize;

/// All that was asked of key servers. It begins anew when the file names others.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RemoteKeys {
    /// As in the file.
    pub(crate) mode: &'static str,
    /// Signatures asked for.
    pub(crate) requests: u64,
    /// Signatures that came.
    pub(crate) signed: u64,
    /// Signatures that did not, by reason.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// Signatures awaited now.
    pub(crate) waiting: u64,
    /// Further tries, after a failure or a silence.
    pub(crate) retries: u64,
    /// Tries that the budget did not allow.
    pub(crate) retries_denied: u64,
    /// Second servers asked because the first was slow.
    pub(crate) hedges: u64,
    /// Hedges that answered first.
    pub(crate) hedges_won: u64,
    /// Hedges that the budget did not allow.
    pub(crate) hedges_denied: u64,
    /// Answers that nobody waited for any more, or that were to no question.
    pub(crate) late: u64,
    /// Signatures that were wrong.
    pub(crate) bad_signatures: u64,
    /// Signatures made by keys of this node, because no server answered.
    pub(crate) fallbacks: u64,
    /// The 95th percentile of late, in seconds.
    pub(crate) p95: Option<f64>,
    /// In the order of their names.
    pub(crate) servers: Vec<KeyServer>,
    /// In the order of the file, each once.
    pub(crate) keys: Vec<RemoteKey>,
}

/// One key server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct KeyServer {
    /// Its address, and the name in its certificate.
    pub(crate) name: String,
    /// `closed` where it is asked, `open` where it is not, `half-open` where it is tried.
    pub(crate) state: &'static str,
    /// Open now.
    pub(crate) connections: u32,
    /// The mean of late, in seconds.
    pub(crate) latency: Option<f64>,
    /// Questions that it has not answered.
    pub(crate) in_flight: u32,
    /// Questions that it was asked.
    pub(crate) asked: u64,
    /// Signatures that it made.
    pub(crate) signed: u64,
    /// Answers that came too late, connections that were lost, wrong signatures, and the like.
    pub(crate) troubles: BTreeMap<&'static str, u64>,
    /// What it refused, by code.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Connections that failed, by reason.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

/// One key.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RemoteKey {
    /// Its subject key identifier.
    pub(crate) ski: String,
    /// The first name of its certificate.
    pub(crate) certificate: String,
    /// Whether a key server has signed with it, when that was tried last; none until then.
    pub(crate) ready: Option<bool>,
}
