//! `GET /metrics`: a snapshot in the names that Prometheus expects.

use std::collections::BTreeMap;

use super::http_metrics;
use super::packets_metrics;
use super::page::{Figure, Kind, Page, Sample};
use super::process::Common;
use super::remote_keys_metrics;
use super::snapshot::{Backend, Listener, Resource, Snapshot};

/// The page for `snapshot`.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    process(&mut page, snapshot);
    budget(&mut page, &snapshot.budget);
    listeners(&mut page, &snapshot.listeners);
    http_metrics::listeners(&mut page, &snapshot.listeners);
    backends(&mut page, snapshot);
    http_metrics::connections(&mut page, &snapshot.pools);
    if let Some(packets) = &snapshot.packet {
        packets_metrics::render(&mut page, packets, &snapshot.listeners);
    }
    if let Some(keys) = &snapshot.key_server {
        remote_keys_metrics::render(&mut page, keys);
    }
    page.into_text()
}

fn process(page: &mut Page, snapshot: &Snapshot) {
    let common = Common {
        version: snapshot.version,
        started: snapshot.started,
        draining: snapshot.draining,
        reloads: snapshot.reloads,
        process: snapshot.process,
    };
    common.render(page);
    let workers = Figure::Count(snapshot.workers as u64);
    page.single("clb_workers", Kind::Gauge, "Worker threads.", workers);
}

fn budget(page: &mut Page, resources: &[Resource]) {
    let of = |r: &Resource, count| ([("resource", r.name)], Figure::Count(count));
    let used = resources.iter().map(|r| of(r, r.used));
    page.family(
        "clb_budget_used",
        Kind::Gauge,
        "What sessions take now.",
        used,
    );
    let limits = resources.iter().filter_map(|r| Some(of(r, r.limit?)));
    page.family(
        "clb_budget_limit",
        Kind::Gauge,
        "The most that sessions may take.",
        limits,
    );
    let refused = resources.iter().map(|r| of(r, r.refused));
    let help = "New work refused for the lack of it.";
    page.family("clb_budget_refused_total", Kind::Counter, help, refused);
}

fn listeners(page: &mut Page, listeners: &[Listener]) {
    let bytes = listeners.iter().flat_map(|l| {
        [("in", l.bytes_in), ("out", l.bytes_out)].map(|(direction, bytes)| {
            let labels = [("listener", l.name.as_str()), ("direction", direction)];
            (labels, Figure::Count(bytes))
        })
    });
    let help =
        "Payload bytes from clients (in) and to clients (out); of forwarded packets all bytes.";
    page.family("clb_listener_bytes_total", Kind::Counter, help, bytes);
    let mut each = |name, kind, help, figure: fn(&Listener) -> u64| {
        let sample = |l| -> Sample<'_, 1> { (by_name(l), Figure::Count(figure(l))) };
        page.family(name, kind, help, listeners.iter().map(sample));
    };
    let counter = Kind::Counter;
    each(
        "clb_listener_accepted_total",
        counter,
        "Clients that came.",
        |l| l.accepted,
    );
    each(
        "clb_listener_sessions_total",
        counter,
        "Sessions begun.",
        |l| l.sessions,
    );
    let help = "Tries to reach a backend that failed.";
    each("clb_listener_connect_failures_total", counter, help, |l| {
        l.connect_failed
    });
    each(
        "clb_listener_sessions_active",
        Kind::Gauge,
        "Sessions under way.",
        |l| l.active,
    );
    let mut split = |name, label, help, counts: fn(&Listener) -> &BTreeMap<&'static str, u64>| {
        let samples = listeners.iter().flat_map(move |l| {
            counts(l).iter().map(move |(word, count)| {
                (
                    [("listener", l.name.as_str()), (label, *word)],
                    Figure::Count(*count),
                )
            })
        });
        page.family(name, counter, help, samples);
    };
    let help = "Sessions not begun, by reason.";
    split("clb_refused_total", "reason", help, |l| &l.refused);
    let help = "Sessions over, by how they ended.";
    split("clb_listener_sessions_ended_total", "how", help, |l| {
        &l.ended
    });
    let help = "Datagrams dropped, by reason.";
    split("clb_datagrams_dropped_total", "reason", help, |l| {
        &l.dropped
    });
}

fn backends(page: &mut Page, snapshot: &Snapshot) {
    let all = || {
        let pools = snapshot.pools.iter();
        pools.flat_map(|pool| pool.backends.iter().map(move |b| (pool.name.as_str(), b)))
    };
    let mut each = |name, kind, help, figure: fn(&Backend) -> Figure| {
        let sample = |(pool, b)| -> Sample<'_, 2> { (of_pool(pool, b), figure(b)) };
        page.family(name, kind, help, all().map(sample));
    };
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    let help = "Whether probes and traffic find it fit.";
    each("clb_backend_up", gauge, help, |b| Figure::flag(b.is_up()));
    each(
        "clb_backend_ejected",
        gauge,
        "Whether traffic's errors took it out.",
        |b| Figure::flag(b.ejected),
    );
    each("clb_backend_weight", gauge, "Its weight.", |b| {
        Figure::Count(b.weight.into())
    });
    let help =
        "Its share of new sessions now, beside the others' (256 is a warm backend of weight 1).";
    each("clb_backend_share", gauge, help, |b| {
        Figure::Count(b.share.into())
    });
    each(
        "clb_backend_sessions_active",
        gauge,
        "Sessions under way.",
        |b| Figure::Count(b.active),
    );
    each(
        "clb_backend_picks_total",
        counter,
        "Sessions given to it.",
        |b| Figure::Count(b.picks),
    );
    let latencies = all().filter_map(|(pool, b)| {
        let mean = b.mean_latency?;
        Some((of_pool(pool, b), Figure::Real(mean)))
    });
    let help = "The mean latency of its sessions that succeeded.";
    page.family("clb_backend_mean_latency_seconds", gauge, help, latencies);
    let mut split = |name, label, help, counts: fn(&Backend) -> &BTreeMap<&'static str, u64>| {
        let samples = all().flat_map(move |(pool, b)| {
            counts(b).iter().map(move |(word, count)| {
                let [pool, backend] = of_pool(pool, b);
                ([pool, backend, (label, *word)], Figure::Count(*count))
            })
        });
        page.family(name, counter, help, samples);
    };
    let help = "Sessions over, by outcome.";
    split("clb_backend_outcomes_total", "outcome", help, |b| {
        &b.outcomes
    });
    let help = "Probes over, by result.";
    split("clb_backend_probes_total", "result", help, |b| &b.probes);
}

fn by_name(listener: &Listener) -> [(&'static str, &str); 1] {
    [("listener", &listener.name)]
}

fn of_pool<'s>(pool: &'s str, backend: &'s Backend) -> [(&'static str, &'s str); 2] {
    [("pool", pool), ("backend", &backend.name)]
}
