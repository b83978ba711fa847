//! What became of requests, in the names that Prometheus expects.

use lb_l7::stats::{ExchangeFigures, StatusClass};
use lb_l7::upstream::{CloseReason, ConnectionStats};

use super::page::{Figure, Kind, Labels, Page};
use super::snapshot::{Http, Listener, Pool};

/// The families of listeners of http.
pub(super) fn listeners(page: &mut Page, listeners: &[Listener]) {
    let all: Vec<(&str, &Http)> = listeners
        .iter()
        .filter_map(|listener| Some((listener.name.as_str(), listener.http.as_deref()?)))
        .collect();
    each_listener(page, &all);
    certificates(page, &all);
    let routes = all.iter().flat_map(|(listener, http)| {
        http.routes.iter().map(move |(route, exchanges)| {
            let labels = vec![("listener", *listener), ("route", route.as_str())];
            (labels, &exchanges.0)
        })
    });
    exchanges(page, "clb_http_route", &routes.collect::<Vec<_>>());
    let upstreams = || {
        all.iter().flat_map(|(listener, http)| {
            let each = http.upstreams.iter();
            each.map(move |(pool, upstream)| {
                let labels = vec![("listener", *listener), ("pool", pool.as_str())];
                (labels, upstream)
            })
        })
    };
    let sums = upstreams().map(|(labels, upstream)| (labels, &upstream.all.0));
    exchanges(page, "clb_http_upstream", &sums.collect::<Vec<_>>());
    let backends = upstreams().flat_map(|(labels, upstream)| {
        upstream.backends.iter().map(move |(backend, exchanges)| {
            let mut labels = labels.clone();
            labels.push(("backend", backend.as_str()));
            (labels, &exchanges.0)
        })
    });
    exchanges(page, "clb_http_backend", &backends.collect::<Vec<_>>());
}

/// What a listener counts of all its requests and connections.
fn each_listener(page: &mut Page, all: &[(&str, &Http)]) {
    type Counts = fn(&Http) -> Vec<(&'static str, u64)>;
    let families: [(&str, &str, &str, Counts); 6] = [
        (
            "clb_http_requests_total",
            "Exchanges over, by the version of HTTP that they came by.",
            "protocol",
            |http| pairs(&http.requests),
        ),
        (
            "clb_http_terminations_total",
            "Exchanges over, by who ended them, in which phase, and why.",
            "code",
            |http| pairs(&http.terminations),
        ),
        (
            "clb_http_turned_away_total",
            "Requests that a limit has turned away.",
            "limit",
            |http| pairs(&http.turned_away),
        ),
        (
            "clb_tls_handshakes_total",
            "TLS handshakes, by kind.",
            "kind",
            |http| match http.tls_refused.is_empty() {
                // In the clear there is nothing to be counted.
                true => Vec::new(),
                false => vec![("full", http.handshakes), ("resumed", http.resumed)],
            },
        ),
        (
            "clb_tls_refused_total",
            "TLS handshakes that failed, by reason.",
            "reason",
            |http| pairs(&http.tls_refused),
        ),
        (
            "clb_access_log_lines_total",
            "Lines of the access log, by what became of them.",
            "result",
            |http| {
                let Some(lines) = http.access_log else {
                    return Vec::new();
                };
                let (written, dropped) = (("written", lines.written), ("dropped", lines.dropped));
                vec![written, dropped, ("failed", lines.failed)]
            },
        ),
    ];
    for (name, help, label, counts) in families {
        let samples = all.iter().flat_map(|(listener, http)| {
            let each = counts(http).into_iter();
            each.map(move |(word, count)| {
                let labels = [("listener", *listener), (label, word)];
                (labels, Figure::Count(count))
            })
        });
        page.family(name, Kind::Counter, help, samples);
    }
}

fn pairs(counts: &std::collections::BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    counts.iter().map(|(word, count)| (*word, *count)).collect()
}

fn certificates(page: &mut Page, all: &[(&str, &Http)]) {
    // Two may be for the same name: its place tells them apart.
    let most = all.iter().map(|(_, http)| http.certificates.len()).max();
    let places: Vec<String> = (0..most.unwrap_or(0)).map(|n| n.to_string()).collect();
    let samples = all.iter().flat_map(|(listener, http)| {
        let each = http.certificates.iter().zip(&places);
        each.map(move |(certificate, place)| {
            let labels = [
                ("listener", *listener),
                ("certificate", certificate.name.as_str()),
                ("place", place.as_str()),
            ];
            (labels, Figure::Count(certificate.not_after))
        })
    });
    let help = "When the certificate ends to be valid, since 1970.";
    page.family(
        "clb_certificate_not_after_seconds",
        Kind::Gauge,
        help,
        samples,
    );
}

/// The families of one kind of exchanges, under names that begin with `prefix`.
fn exchanges(page: &mut Page, prefix: &str, all: &[(Labels<'_>, &ExchangeFigures)]) {
    let classes = all.iter().flat_map(|(labels, figures)| {
        StatusClass::ALL.iter().map(move |&class| {
            let mut labels = labels.clone();
            labels.push(("class", class.as_str()));
            (labels, Figure::Count(figures.class(class)))
        })
    });
    let name = format!("{prefix}_responses_total");
    let help = "Exchanges over, by the kind of answer.";
    page.rows(&name, Kind::Counter, help, classes);
    type Count = fn(&ExchangeFigures) -> u64;
    let counters: [(&str, &str, Count); 7] = [
        ("errors", "Exchanges that failed.", |f| f.errors),
        ("retries", "Tries beyond the first.", |f| f.retries),
        ("hedges", "Copies sent because an answer was slow.", |f| {
            f.hedges
        }),
        ("hedged", "Exchanges that a hedge has answered.", |f| {
            f.hedged
        }),
        (
            "reused",
            "Exchanges over a connection that had served others.",
            |f| f.reused,
        ),
        (
            "received_bytes",
            "Bytes from clients, heads included.",
            |f| f.bytes_in,
        ),
        ("sent_bytes", "Bytes to clients, heads included.", |f| {
            f.bytes_out
        }),
    ];
    for (what, help, count) in counters {
        let samples = all
            .iter()
            .map(|(labels, figures)| (labels.clone(), Figure::Count(count(figures))));
        page.rows(
            &format!("{prefix}_{what}_total"),
            Kind::Counter,
            help,
            samples,
        );
    }
    let active = all
        .iter()
        .map(|(labels, figures)| (labels.clone(), Figure::Count(figures.in_flight())));
    let name = format!("{prefix}_exchanges_active");
    page.rows(&name, Kind::Gauge, "Exchanges under way.", active);
    let first = all
        .iter()
        .map(|(labels, f)| (labels.clone(), &f.first_byte));
    let help = "From the request's head to the answer's first byte.";
    page.durations(&format!("{prefix}_first_byte_seconds"), help, first);
    let total = all.iter().map(|(labels, f)| (labels.clone(), &f.total));
    let help = "From the request's first byte to the end.";
    page.durations(&format!("{prefix}_duration_seconds"), help, total);
}

/// The families of connections to backends.
pub(super) fn connections(page: &mut Page, pools: &[Pool]) {
    let all: Vec<([(&'static str, &str); 2], ConnectionStats)> = pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
        .filter_map(|(pool, backend)| {
            let labels = [
                ("pool", pool.name.as_str()),
                ("backend", backend.name.as_str()),
            ];
            Some((labels, backend.connections?.0))
        })
        .collect();
    type Count = fn(&ConnectionStats) -> u64;
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    let families: [(&str, Kind, &str, Count); 7] = [
        ("open", gauge, "Connections now.", |s| s.open.into()),
        ("idle", gauge, "Connections without an exchange.", |s| {
            s.idle.into()
        }),
        (
            "pending",
            gauge,
            "Exchanges that wait for a connection.",
            |s| s.pending.into(),
        ),
        ("opened_total", counter, "Connections opened.", |s| s.opened),
        (
            "failed_total",
            counter,
            "Connections that could not be opened.",
            |s| s.failed,
        ),
        (
            "reused_total",
            counter,
            "Exchanges that found a connection.",
            |s| s.reused,
        ),
        (
            "queue_full_total",
            counter,
            "Exchanges refused by a full queue.",
            |s| s.queue_full,
        ),
    ];
    for (what, kind, help, count) in families {
        let samples = all
            .iter()
            .map(|(labels, s)| (*labels, Figure::Count(count(s))));
        page.family(
            &format!("clb_backend_connections_{what}"),
            kind,
            help,
            samples,
        );
    }
    let closed = all.iter().flat_map(|([pool, backend], stats)| {
        CloseReason::ALL.map(|why| {
            let labels = [*pool, *backend, ("reason", why.as_str())];
            (labels, Figure::Count(stats.closed_for(why)))
        })
    });
    let name = "clb_backend_connections_closed_total";
    page.family(name, counter, "Connections ended, by reason.", closed);
}
