//! `GET /metrics` of a key server.

use std::collections::BTreeMap;

use super::key_server::{Audit, KeyReloads, KeyServerSnapshot};
use super::page::{Figure, Kind, Page};
use super::process::Common;

/// The page for `snapshot`.
pub(super) fn render(snapshot: &KeyServerSnapshot) -> String {
    let mut page = Page::default();
    let common = Common {
        version: snapshot.version,
        started: snapshot.started,
        draining: snapshot.draining,
        reloads: snapshot.reloads,
        process: snapshot.process,
    };
    common.render(&mut page);
    now(&mut page, snapshot);
    counts(&mut page, snapshot);
    let durations = [
        (
            "clb_keyserver_wait_seconds",
            "How long signatures waited for a thread.",
            &snapshot.waited,
        ),
        (
            "clb_keyserver_sign_seconds",
            "How long keys took to sign.",
            &snapshot.took,
        ),
    ];
    for (name, help, durations) in durations {
        page.histogram(name, help, durations);
    }
    if let Some(log) = &snapshot.audit {
        audit(&mut page, log);
    }
    page.into_text()
}

fn now(page: &mut Page, snapshot: &KeyServerSnapshot) {
    let gauges = [
        ("keys", "Private keys.", snapshot.keys.len()),
        ("rules", "Rules that allow.", snapshot.rules),
        ("connections", "Connections now.", snapshot.connections),
        (
            "handshakes",
            "TLS handshakes under way.",
            snapshot.handshakes,
        ),
        (
            "queued",
            "Signatures that wait for a thread.",
            snapshot.queued,
        ),
        ("signing", "Threads that sign now.", snapshot.signing),
    ];
    for (what, help, figure) in gauges {
        let name = format!("clb_keyserver_{what}");
        page.single(&name, Kind::Gauge, help, Figure::Count(figure as u64));
    }
}

fn counts(page: &mut Page, snapshot: &KeyServerSnapshot) {
    for (what, help, count) in [
        ("accepted", "Clients that came.", snapshot.accepted),
        ("pings", "Pings that were answered.", snapshot.pings),
    ] {
        let name = format!("clb_keyserver_{what}_total");
        page.single(&name, Kind::Counter, help, Figure::Count(count));
    }
    let KeyReloads { ok, failed } = snapshot.key_reloads;
    let reloads = BTreeMap::from([("ok", ok), ("failed", failed)]);
    let help = "Times that the keys were read again, by what came of it.";
    let name = "clb_keyserver_key_reloads_total";
    split(page, name, "result", help, &reloads);
    let (signed, refused) = (
        snapshot.signed.values().sum(),
        snapshot.refused.values().sum(),
    );
    let results = BTreeMap::from([("signed", signed), ("refused", refused)]);
    let help = "Questions answered, pings left out, by what came of them.";
    let name = "clb_keyserver_requests_total";
    split(page, name, "result", help, &results);
    let families: [(&str, &str, &str, &BTreeMap<&'static str, u64>); 5] = [
        ("signatures", "scheme", "Signatures made.", &snapshot.signed),
        (
            "refused",
            "reason",
            "Questions that got no signature, by reason.",
            &snapshot.refused,
        ),
        (
            "rejected",
            "reason",
            "Clients that did not become connections, by reason.",
            &snapshot.rejected,
        ),
        (
            "malformed",
            "reason",
            "Connections closed as what came was no frame.",
            &snapshot.malformed,
        ),
        (
            "ended",
            "how",
            "Connections over, by how they ended.",
            &snapshot.ended,
        ),
    ];
    for (what, label, help, counts) in families {
        split(
            page,
            &format!("clb_keyserver_{what}_total"),
            label,
            help,
            counts,
        );
    }
}

fn audit(page: &mut Page, log: &Audit) {
    let help = "Signatures, by what became of their records.";
    let name = "clb_keyserver_audit_records_total";
    split(page, name, "result", help, &log.records);
    for (what, help, count) in [
        ("failures", "Writes and syncs that failed.", log.failures),
        (
            "rotations",
            "Files that were followed by another.",
            log.rotations,
        ),
    ] {
        let name = format!("clb_keyserver_audit_{what}_total");
        page.single(&name, Kind::Counter, help, Figure::Count(count));
    }
}

fn split(
    page: &mut Page,
    name: &str,
    label: &'static str,
    help: &str,
    counts: &BTreeMap<&'static str, u64>,
) {
    let samples = counts
        .iter()
        .map(|(word, count)| ([(label, *word)], Figure::Count(*count)));
    page.family(name, Kind::Counter, help, samples);
}
