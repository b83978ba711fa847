//! What is shown of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{StatusCode, Version};
use lb_l7::report::{ClientSide, Report, RequestLine};
use lb_l7::stats::{ExchangeFigures, ExchangeStats, Writers};
use lbcore::Instant;

use super::snapshot::{Certificate, Exchanges, Http, LogLines, Upstream};
use super::tests::{parse, sample};
use super::*;

/// Two exchanges, of 3 ms and of 3 s, the second an error.
fn two() -> ExchangeFigures {
    let writers = Writers::new(1);
    let stats = ExchangeStats::new(&writers);
    let mut writer = writers.take().expect("one");
    for (status, millis) in [(StatusCode::OK, 3), (StatusCode::BAD_GATEWAY, 3_000)] {
        let client = ClientSide::new(
            "10.0.0.9:1".parse().expect("an address"),
            "web",
            Version::HTTP_11,
        );
        let mut report = Report::new(client, RequestLine::new("GET", b"a.test", b"/"));
        report.status = Some(status);
        report.traffic.head_in = 10;
        report.traffic.body_out = 7;
        report.times.end = Instant::ZERO + Duration::from_millis(millis);
        stats.began(&mut writer);
        stats.record(&mut writer, &report);
    }
    stats.began(&mut writer);
    stats.read()
}

fn http() -> Http {
    let exchanges = || Exchanges(two());
    let upstream = Upstream {
        all: exchanges(),
        backends: BTreeMap::from([("a".into(), exchanges())]),
    };
    let certificate = |not_after| Certificate {
        name: "a.test".into(),
        not_after,
    };
    Http {
        requests: BTreeMap::from([("http/1.1", 2)]),
        terminations: BTreeMap::from([("done", 2)]),
        turned_away: BTreeMap::from([("rate", 3)]),
        handshakes: 4,
        resumed: 5,
        tls_refused: BTreeMap::from([("not-tls", 6)]),
        certificates: vec![certificate(1_800_000_000), certificate(1_900_000_000)],
        routes: BTreeMap::from([("api".into(), exchanges())]),
        upstreams: BTreeMap::from([("web".into(), upstream)]),
        access_log: Some(LogLines {
            written: 7,
            dropped: 8,
            failed: 9,
        }),
    }
}

fn shown() -> Snapshot {
    let mut snapshot = sample();
    snapshot.listeners[0].http = Some(Box::new(http()));
    snapshot
}

#[test]
fn every_figure_of_requests_is_in_the_metrics_under_its_name() {
    let page = metrics::render(&shown());
    let found = parse(&page).unwrap_or_else(|wrong| panic!("{wrong}\n{page}"));
    let at = |name: &str, labels: &str| {
        let key = format!("{name}{{listener=\"front\",{labels}}}");
        *found.get(&key).unwrap_or_else(|| panic!("{key}\n{page}"))
    };
    assert_eq!(at("clb_http_requests_total", "protocol=\"http/1.1\""), 2.0);
    assert_eq!(at("clb_http_terminations_total", "code=\"done\""), 2.0);
    assert_eq!(at("clb_http_turned_away_total", "limit=\"rate\""), 3.0);
    assert_eq!(at("clb_tls_handshakes_total", "kind=\"full\""), 4.0);
    assert_eq!(at("clb_tls_handshakes_total", "kind=\"resumed\""), 5.0);
    assert_eq!(at("clb_tls_refused_total", "reason=\"not-tls\""), 6.0);
    for (result, lines) in [("written", 7.0), ("dropped", 8.0), ("failed", 9.0)] {
        let labels = format!("result=\"{result}\"");
        assert_eq!(at("clb_access_log_lines_total", &labels), lines);
    }
    for (place, until) in [(0, 1_800_000_000.0), (1, 1_900_000_000.0)] {
        let labels = format!("certificate=\"a.test\",place=\"{place}\"");
        assert_eq!(at("clb_certificate_not_after_seconds", &labels), until);
    }
    for (prefix, labels) in [
        ("clb_http_route", "route=\"api\""),
        ("clb_http_upstream", "pool=\"web\""),
        ("clb_http_backend", "pool=\"web\",backend=\"a\""),
    ] {
        let of =
            |what: &str, more: &str| at(&format!("{prefix}_{what}"), &format!("{labels}{more}"));
        assert_eq!(of("responses_total", ",class=\"2xx\""), 1.0);
        assert_eq!(of("responses_total", ",class=\"5xx\""), 1.0);
        assert_eq!(of("responses_total", ",class=\"4xx\""), 0.0);
        assert_eq!(
            (of("errors_total", ""), of("retries_total", "")),
            (1.0, 0.0)
        );
        assert_eq!(of("received_bytes_total", ""), 20.0);
        assert_eq!(of("sent_bytes_total", ""), 14.0);
        assert_eq!(of("exchanges_active", ""), 1.0);
        let bucket = |le: &str| of("duration_seconds_bucket", &format!(",le=\"{le}\""));
        assert_eq!((bucket("0.0025"), bucket("0.005")), (0.0, 1.0));
        assert_eq!((bucket("1"), bucket("5"), bucket("+Inf")), (1.0, 2.0, 2.0));
        assert_eq!(of("duration_seconds_sum", ""), 3.003);
        assert_eq!(of("duration_seconds_count", ""), 2.0);
    }
}

#[test]
fn what_a_listener_lacks_is_not_shown_of_it() {
    let mut snapshot = sample();
    snapshot.listeners[0].http = Some(Box::default());
    let page = metrics::render(&snapshot);
    assert!(parse(&page).is_ok(), "{page}");
    for family in [
        "clb_tls",
        "clb_certificate",
        "clb_access_log",
        "clb_http_route",
    ] {
        assert!(!page.contains(family), "{family}");
    }
}

#[test]
fn the_status_of_requests_is_json_with_quantiles() {
    let value: serde_json::Value = serde_json::from_str(&status(&shown())).expect("JSON");
    let http = &value["listeners"][0]["http"];
    assert_eq!(http["routes"]["api"]["2xx"], 1);
    assert_eq!(http["routes"]["api"]["in_flight"], 1);
    assert_eq!(http["certificates"][1]["not_after"], 1_900_000_000_u64);
    let p99 = http["upstreams"]["web"]["backends"]["a"]["total"]["p99"].as_f64();
    assert!(p99.is_some_and(|p99| (2.8..3.2).contains(&p99)), "{http}");
    assert!(http["routes"]["api"]["first_byte"]["p50"].is_null());
    let plain: serde_json::Value = serde_json::from_str(&status(&sample())).expect("JSON");
    assert!(plain["listeners"][0]["http"].is_null());
}

#[test]
fn nothing_that_was_counted_of_requests_is_lost_in_a_sum() {
    let one = snapshot::Listener {
        http: Some(Box::new(http())),
        ..snapshot::Listener::default()
    };
    let mut sum = snapshot::Listener::of_past(&one);
    sum.add(&one);
    sum.add(&one);
    let sum = sum.http.expect("requests");
    assert_eq!((sum.handshakes, sum.resumed), (8, 10));
    assert_eq!((sum.requests["http/1.1"], sum.terminations["done"]), (4, 4));
    assert_eq!(sum.tls_refused["not-tls"], 12);
    assert_eq!(sum.turned_away["rate"], 6);
    assert!(sum.certificates.is_empty(), "of one moment");
    let log = sum.access_log.expect("lines");
    assert_eq!((log.written, log.dropped, log.failed), (14, 16, 18));
    let upstream = &sum.upstreams["web"];
    for exchanges in [&sum.routes["api"], &upstream.all, &upstream.backends["a"]] {
        assert_eq!((exchanges.0.began, exchanges.0.recorded()), (6, 4));
        assert_eq!(exchanges.0.total.count(), 4);
    }
}
