//! What a key server is doing at this moment.

use lb_keyserver::audit::{AuditLog, AuditStats};
use lb_keyserver::server::{ServerStats, Times};
use lb_keyserver::store::KeyStore;

use super::serving::Serving;
use crate::admin::key_server::{Audit, Durations, KeyServerSnapshot};
use crate::process;

impl Serving {
    pub(super) fn snapshot(&self) -> KeyServerSnapshot {
        let stats: ServerStats = self.handle.stats();
        let keys = self.keys.names();
        KeyServerSnapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            address: self.address.to_string(),
            draining: self.draining,
            reloads: self.reloads,
            key_reloads: self.keys.reloads(),
            process: process::read(),
            keys: keys.iter().map(ToString::to_string).collect(),
            rules: self.config.rules.len(),
            accepted: stats.accepted,
            connections: stats.now.connections,
            handshakes: stats.now.handshakes,
            queued: stats.now.queued,
            signing: stats.now.signing,
            pings: stats.pings,
            signed: stats.signed().map(|(one, n)| (one.as_str(), n)).collect(),
            refused: stats.refused().map(|(one, n)| (one.as_str(), n)).collect(),
            rejected: stats.rejected().map(|(one, n)| (one.as_str(), n)).collect(),
            malformed: stats
                .malformed()
                .map(|(one, n)| (one.as_str(), n))
                .collect(),
            ended: stats.ended().map(|(one, n)| (one.as_str(), n)).collect(),
            waited: durations(&stats.waited),
            took: durations(&stats.signing),
            audit: self.audit.as_deref().map(audit),
        }
    }
}

fn durations(times: &Times) -> Durations {
    let mut sum = 0;
    let bounds = Times::BOUNDS.iter().zip(times.counts);
    let cumulative = bounds.map(|(bound, count)| {
        sum += count;
        (bound.as_secs_f64(), sum)
    });
    Durations {
        cumulative: cumulative.collect(),
        count: times.count(),
        sum: times.sum.as_secs_f64(),
    }
}

fn audit(log: &AuditLog) -> Audit {
    let AuditStats {
        recorded,
        lost,
        refused_full,
        refused_failed,
        refused_closed,
        failures,
        rotations,
        ..
    } = log.stats();
    let records = [
        ("recorded", recorded),
        ("lost", lost),
        ("refused-full", refused_full),
        ("refused-failed", refused_failed),
        ("refused-closed", refused_closed),
    ];
    Audit {
        records: records.into(),
        failures,
        rotations,
        head: log.head().to_string(),
    }
}
