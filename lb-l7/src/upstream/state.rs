//! What all workers share of one backend.

use std::sync::atomic::AtomicU32;

use lbcore::BackendId;

use super::gate::Gate;
use super::stats::Counts;

/// One backend's limit, queue and counters.
#[derive(Debug)]
pub(super) struct BackendState<H> {
    pub(super) id: BackendId,
    pub(super) gate: Gate<H>,
    /// How many exchanges the connection opened last serves at once: 1 for HTTP/1.
    pub(super) shared: AtomicU32,
    pub(super) counts: Counts,
}
