//! What asking key servers came to.

use lb_keyserver::client::{ClientStats, ServerStats};

use super::RemoteKeys;
use crate::admin::snapshot;

impl RemoteKeys {
    /// What asking came to so far; none if nobody is asked.
    pub(in super::super) fn figures(&self) -> Option<snapshot::RemoteKeys> {
        let asked = self.asked.as_ref()?;
        let ClientStats {
            requests,
            signed,
            failed,
            waiting,
            retries,
            retries_denied,
            hedges,
            hedges_won,
            hedges_denied,
            late_answers,
            unknown_answers,
            bad_signatures,
            p95,
            servers,
            ..
        } = asked.client.stats();
        let mut servers: Vec<_> = servers.iter().map(server).collect();
        servers.sort_by(|left, right| left.name.cmp(&right.name));
        Some(snapshot::RemoteKeys {
            mode: asked.config.mode.as_str(),
            requests,
            signed,
            failed: failed.iter().collect(),
            waiting,
            retries,
            retries_denied,
            hedges,
            hedges_won,
            hedges_denied,
            late: late_answers + unknown_answers,
            bad_signatures,
            fallbacks: self.signer.fallbacks(),
            p95: p95.map(|p95| p95.as_secs_f64()),
            servers,
            keys: self.trials.shown(),
        })
    }
}

fn server(stats: &ServerStats) -> snapshot::KeyServer {
    let counts = &stats.counts;
    let troubles = [
        ("slow", counts.slow),
        ("lost", counts.lost),
        ("lies", counts.lies),
        ("opened", counts.opened),
        ("trials", counts.trials),
        ("trials-failed", counts.trials_failed),
    ];
    let refused = counts.refused.iter();
    let faults = stats.faults.iter();
    snapshot::KeyServer {
        name: stats.name.clone(),
        state: stats.state.as_str(),
        connections: stats.connections,
        latency: stats.latency.map(|latency| latency.as_secs_f64()),
        in_flight: stats.in_flight,
        asked: counts.asked,
        signed: counts.signed,
        troubles: troubles.into(),
        refused: refused
            .map(|(code, count)| (code.as_str(), count))
            .collect(),
        faults: faults.map(|(why, count)| (why.as_str(), count)).collect(),
    }
}
