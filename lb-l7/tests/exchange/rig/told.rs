//! What the proxy reports, kept.

use std::sync::{Arc, Mutex};

use http::{StatusCode, Version};
use lb_l7::report::Times;
use lb_l7::{Filter, Report};

/// Every report, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Ended>>>);

/// One report.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) how: &'static str,
    pub(crate) status: Option<StatusCode>,
    pub(crate) detail: Option<&'static str>,
    pub(crate) tries: u32,
    pub(crate) reused: bool,
    pub(crate) hedged: bool,
    pub(crate) hedges: u32,
    pub(crate) backend: Option<String>,
    pub(crate) spoken: Option<Version>,
    pub(crate) body_in: u64,
    pub(crate) body_out: u64,
    pub(crate) times: Times,
}

impl Ended {
    /// How it ended, and the status that the client was told.
    pub(crate) fn code(&self) -> (&'static str, u16) {
        (self.how, self.status.map_or(0, |status| status.as_u16()))
    }
}

impl Told {
    pub(crate) fn all(&self) -> Vec<Ended> {
        self.0.lock().unwrap().clone()
    }
}

impl Filter for Told {
    fn on_report(&self, report: &Report<'_>) {
        self.0.lock().unwrap().push(Ended {
            method: report.request.method.to_owned(),
            path: String::from_utf8_lossy(report.request.path).into_owned(),
            how: report.termination.as_str(),
            status: report.status,
            detail: report.detail,
            tries: report.backend.map_or(0, |side| side.tries),
            reused: report.backend.is_some_and(|side| side.reused),
            hedged: report.backend.is_some_and(|side| side.hedged),
            hedges: report.backend.map_or(0, |side| side.hedges),
            backend: report.backend.map(|side| side.address.to_string()),
            spoken: report.backend.and_then(|side| side.version),
            body_in: report.traffic.body_in,
            body_out: report.traffic.body_out,
            times: report.times,
        });
    }
}
