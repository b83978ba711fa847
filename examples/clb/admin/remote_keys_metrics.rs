//! What came of asking key servers, in the names that Prometheus expects.

use std::collections::BTreeMap;

use super::page::{Figure, Kind, Page};
use super::snapshot::{KeyServer, RemoteKeys};

/// The families of key servers.
pub(super) fn render(page: &mut Page, keys: &RemoteKeys) {
    totals(page, keys);
    each_server(page, &keys.servers);
    let ready = keys.keys.iter().filter_map(|key| {
        let labels = [
            ("ski", key.ski.as_str()),
            ("certificate", key.certificate.as_str()),
        ];
        Some((labels, Figure::flag(key.ready?)))
    });
    let help =
        "Whether a key server has signed with the key, when it was tried last, each 30 s or so.";
    page.family("clb_key_server_key_ready", Kind::Gauge, help, ready);
}

fn totals(page: &mut Page, keys: &RemoteKeys) {
    let counters = [
        ("requests", "Signatures asked for.", keys.requests),
        ("signatures", "Signatures that came.", keys.signed),
        (
            "retries",
            "Further tries, after a failure or a silence.",
            keys.retries,
        ),
        (
            "retries_denied",
            "Tries that the budget did not allow.",
            keys.retries_denied,
        ),
        (
            "hedges",
            "Second servers asked because the first was slow.",
            keys.hedges,
        ),
        ("hedges_won", "Hedges that answered first.", keys.hedges_won),
        (
            "hedges_denied",
            "Hedges that the budget did not allow.",
            keys.hedges_denied,
        ),
        (
            "late_answers",
            "Answers that nobody waited for any more.",
            keys.late,
        ),
        (
            "bad_signatures",
            "Signatures that were wrong.",
            keys.bad_signatures,
        ),
        (
            "fallbacks",
            "Signatures by keys of this node, as no server answered.",
            keys.fallbacks,
        ),
    ];
    for (what, help, count) in counters {
        let name = format!("clb_key_server_{what}_total");
        page.single(&name, Kind::Counter, help, Figure::Count(count));
    }
    let failed = keys
        .failed
        .iter()
        .map(|(reason, count)| ([("reason", *reason)], Figure::Count(*count)));
    let help = "Signatures that did not come, by reason.";
    page.family("clb_key_server_failures_total", Kind::Counter, help, failed);
    let waiting = Figure::Count(keys.waiting);
    let help = "Signatures awaited now.";
    page.single("clb_key_server_waiting", Kind::Gauge, help, waiting);
    let p95 = keys.p95.map(|p95| ([], Figure::Real(p95)));
    let help = "The 95th percentile of how long signatures took of late.";
    page.family("clb_key_server_p95_seconds", Kind::Gauge, help, p95);
}

fn each_server(page: &mut Page, servers: &[KeyServer]) {
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    type Count = fn(&KeyServer) -> u64;
    let families: [(&str, Kind, &str, Count); 5] = [
        ("up", gauge, "Whether it is asked.", |one| {
            u64::from(one.state == "closed" && one.connections > 0)
        }),
        ("connections", gauge, "Connections now.", |one| {
            one.connections.into()
        }),
        (
            "in_flight",
            gauge,
            "Questions that it has not answered.",
            |one| one.in_flight.into(),
        ),
        (
            "asked_total",
            counter,
            "Questions that it was asked.",
            |one| one.asked,
        ),
        ("signed_total", counter, "Signatures that it made.", |one| {
            one.signed
        }),
    ];
    for (what, kind, help, count) in families {
        let samples = servers
            .iter()
            .map(|one| ([("server", one.name.as_str())], Figure::Count(count(one))));
        page.family(&format!("clb_key_server_{what}"), kind, help, samples);
    }
    let latencies = servers.iter().filter_map(|one| {
        let latency = Figure::Real(one.latency?);
        Some(([("server", one.name.as_str())], latency))
    });
    let help = "How long its signatures took of late.";
    page.family("clb_key_server_latency_seconds", gauge, help, latencies);
    type Counts = fn(&KeyServer) -> &BTreeMap<&'static str, u64>;
    let split: [(&str, &str, &str, Counts); 3] = [
        (
            "troubles",
            "kind",
            "What else became of questions: slow, lost, lies, and its breaker.",
            |one| &one.troubles,
        ),
        ("refused", "code", "What it refused, by code.", |one| {
            &one.refused
        }),
        (
            "connection_faults",
            "reason",
            "Connections that failed, by reason.",
            |one| &one.faults,
        ),
    ];
    for (what, label, help, counts) in split {
        let samples = servers.iter().flat_map(|one| {
            counts(one).iter().map(move |(word, count)| {
                let labels = [("server", one.name.as_str()), (label, *word)];
                (labels, Figure::Count(*count))
            })
        });
        page.family(
            &format!("clb_key_server_{what}_total"),
            counter,
            help,
            samples,
        );
    }
}
