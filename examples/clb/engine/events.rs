//! One line of the log for each thing that happens to a pool.
//!
//! Here and all over the log, names and addresses stand bare, and sentences are quoted.

use lbcore::Instant;
use lbcore::health::{EjectionReason, Health, ProbeOutcome};
use lbcore::pool::{EventKind, Events};
use tracing::{info, warn};

/// Logs what has happened to the pool of this name.
pub(super) fn log(pool: &str, now: Instant, events: &Events) {
    if events.lost > 0 {
        warn!(
            %pool,
            lost = events.lost,
            "events came faster than they were told"
        );
    }
    for event in &events.events {
        one(pool, now, &event.kind);
    }
}

fn one(pool: &str, now: Instant, kind: &EventKind) {
    match kind {
        EventKind::Added { backend } => info!(%pool, backend = %backend.name, "added"),
        EventKind::Changed { backend } => info!(%pool, backend = %backend.name, "changed"),
        EventKind::Removed { backend } => info!(%pool, backend = %backend.name, "removed"),
        EventKind::Returned { backend } => info!(%pool, backend = %backend.name, "returned"),
        EventKind::Ejected {
            backend,
            until,
            reason,
        } => {
            let (for_, why) = (until.since(now), because(*reason));
            warn!(%pool, backend = %backend.name, r#for = ?for_, why, "ejected");
        }
        EventKind::Health {
            backend,
            transition,
        } => {
            let why = answer(transition.because);
            match transition.to {
                Health::Up => {
                    info!(%pool, backend = %backend.name, from = %transition.from, why, "up")
                }
                to => warn!(%pool, backend = %backend.name, from = %transition.from, why, "{to}"),
            }
        }
        EventKind::Panic { priority, on: true } => {
            warn!(
                %pool,
                priority, "too few backends are up: health is disregarded"
            );
        }
        EventKind::Panic {
            priority,
            on: false,
        } => {
            info!(
                %pool,
                priority, "enough backends are up: health counts again"
            );
        }
        other => info!(%pool, ?other, "changed"),
    }
}

fn answer(outcome: ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Pass(after) => format!("answered in {after:?}"),
        ProbeOutcome::Fail(failure) => failure.to_string(),
    }
}

fn because(reason: EjectionReason) -> String {
    match reason {
        EjectionReason::ConsecutiveFailures(count) => format!("{count} failures in a row"),
        EjectionReason::FailurePercentage(share) => format!("{share} % of its sessions failed"),
        EjectionReason::Latency(mean) => {
            format!("a mean latency of {mean:?}, far above its peers'")
        }
        EjectionReason::SuccessRate(share) => {
            format!("{share} % of its sessions succeeded, far below its peers'")
        }
        other => format!("{other:?}"),
    }
}
