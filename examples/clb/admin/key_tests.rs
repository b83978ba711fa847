//! What is shown of key servers, by who asks them and by themselves.

use std::collections::BTreeMap;

use super::key_server::{Audit, Durations, KeyReloads, KeyServerSnapshot};
use super::snapshot::{KeyServer, RemoteKey, RemoteKeys};
use super::tests::{parse, sample};
use super::*;

fn remote() -> RemoteKeys {
    let key = |ski: &str, ready| RemoteKey {
        ski: ski.into(),
        certificate: "a.test".into(),
        ready,
    };
    RemoteKeys {
        mode: "bound",
        requests: 10,
        signed: 7,
        failed: BTreeMap::from([("late", 2), ("no-server", 1)]),
        waiting: 3,
        retries: 4,
        retries_denied: 5,
        hedges: 6,
        hedges_won: 8,
        hedges_denied: 9,
        late: 11,
        bad_signatures: 12,
        fallbacks: 13,
        p95: Some(0.25),
        servers: vec![KeyServer {
            name: "10.0.0.5:2407".into(),
            state: "closed",
            connections: 2,
            latency: Some(0.001),
            in_flight: 14,
            asked: 15,
            signed: 16,
            troubles: BTreeMap::from([("slow", 17)]),
            refused: BTreeMap::from([("key-not-found", 18)]),
            faults: BTreeMap::from([("tls", 19)]),
        }],
        keys: vec![
            key("aa", Some(true)),
            key("bb", Some(false)),
            key("cc", None),
        ],
    }
}

#[test]
fn every_figure_of_key_servers_is_in_the_metrics_under_its_name() {
    let mut snapshot = sample();
    snapshot.key_server = Some(remote());
    let page = metrics::render(&snapshot);
    let found = parse(&page).unwrap_or_else(|wrong| panic!("{wrong}\n{page}"));
    let server = "{server=\"10.0.0.5:2407\"";
    for (name, expected) in [
        ("requests_total".to_owned(), 10.0),
        ("signatures_total".into(), 7.0),
        ("failures_total{reason=\"late\"}".into(), 2.0),
        ("failures_total{reason=\"no-server\"}".into(), 1.0),
        ("waiting".into(), 3.0),
        ("retries_total".into(), 4.0),
        ("retries_denied_total".into(), 5.0),
        ("hedges_total".into(), 6.0),
        ("hedges_won_total".into(), 8.0),
        ("hedges_denied_total".into(), 9.0),
        ("late_answers_total".into(), 11.0),
        ("bad_signatures_total".into(), 12.0),
        ("fallbacks_total".into(), 13.0),
        ("p95_seconds".into(), 0.25),
        (format!("up{server}}}"), 1.0),
        (format!("connections{server}}}"), 2.0),
        (format!("latency_seconds{server}}}"), 0.001),
        (format!("in_flight{server}}}"), 14.0),
        (format!("asked_total{server}}}"), 15.0),
        (format!("signed_total{server}}}"), 16.0),
        (format!("troubles_total{server},kind=\"slow\"}}"), 17.0),
        (
            format!("refused_total{server},code=\"key-not-found\"}}"),
            18.0,
        ),
        (
            format!("connection_faults_total{server},reason=\"tls\"}}"),
            19.0,
        ),
        ("key_ready{ski=\"aa\",certificate=\"a.test\"}".into(), 1.0),
        ("key_ready{ski=\"bb\",certificate=\"a.test\"}".into(), 0.0),
    ] {
        let name = format!("clb_key_server_{name}");
        assert_eq!(found.get(&name), Some(&expected), "{name}\n{page}");
    }
    assert!(!page.contains("ski=\"cc\""), "not tried yet");
    assert!(!metrics::render(&sample()).contains("clb_key_server"));
}

#[test]
fn a_key_server_is_up_while_it_is_asked_and_connected_to() {
    for (state, connections, up) in [
        ("closed", 1, 1.0),
        ("closed", 0, 0.0),
        ("half-open", 1, 0.0),
        ("open", 2, 0.0),
    ] {
        let mut snapshot = sample();
        let mut keys = remote();
        keys.servers[0].state = state;
        keys.servers[0].connections = connections;
        snapshot.key_server = Some(keys);
        let found = parse(&metrics::render(&snapshot)).expect("metrics");
        let name = "clb_key_server_up{server=\"10.0.0.5:2407\"}";
        assert_eq!(found[name], up, "{state} {connections}");
    }
}

#[test]
fn the_status_tells_of_key_servers_where_there_are_any() {
    let mut snapshot = sample();
    let json = |snapshot: &Snapshot| -> serde_json::Value {
        serde_json::from_str(&snapshot.status()).expect("JSON")
    };
    assert!(json(&snapshot)["key_server"].is_null());
    snapshot.key_server = Some(remote());
    let found = &json(&snapshot)["key_server"];
    assert_eq!(found["servers"][0]["troubles"]["slow"], 17);
    assert_eq!(found["keys"][1]["ready"], false);
    assert!(found["keys"][2]["ready"].is_null());
}

fn server() -> KeyServerSnapshot {
    let durations = || Durations {
        cumulative: vec![(0.000_025, 1), (5.0, 2)],
        count: 3,
        sum: 7.5,
    };
    KeyServerSnapshot {
        version: "1.2.3",
        address: "127.0.0.1:2407".into(),
        keys: vec!["aa".into(), "bb".into()],
        rules: 3,
        key_reloads: KeyReloads { ok: 18, failed: 19 },
        accepted: 4,
        connections: 5,
        handshakes: 6,
        queued: 7,
        signing: 8,
        pings: 9,
        signed: BTreeMap::from([("ed25519", 10)]),
        refused: BTreeMap::from([("quota", 11)]),
        rejected: BTreeMap::from([("tls", 12)]),
        malformed: BTreeMap::from([("twice", 13)]),
        ended: BTreeMap::from([("idle", 14)]),
        waited: durations(),
        took: durations(),
        audit: Some(Audit {
            records: BTreeMap::from([("recorded", 15)]),
            failures: 16,
            rotations: 17,
            head: "0:00".into(),
        }),
        ..KeyServerSnapshot::default()
    }
}

#[test]
fn every_figure_of_a_key_server_is_in_its_metrics_under_its_name() {
    let page = server().metrics();
    let found = parse(&page).unwrap_or_else(|wrong| panic!("{wrong}\n{page}"));
    for (name, expected) in [
        ("keys", 2.0),
        ("rules", 3.0),
        ("accepted_total", 4.0),
        ("connections", 5.0),
        ("handshakes", 6.0),
        ("queued", 7.0),
        ("signing", 8.0),
        ("pings_total", 9.0),
        ("requests_total{result=\"signed\"}", 10.0),
        ("requests_total{result=\"refused\"}", 11.0),
        ("signatures_total{scheme=\"ed25519\"}", 10.0),
        ("refused_total{reason=\"quota\"}", 11.0),
        ("rejected_total{reason=\"tls\"}", 12.0),
        ("malformed_total{reason=\"twice\"}", 13.0),
        ("ended_total{how=\"idle\"}", 14.0),
        ("audit_records_total{result=\"recorded\"}", 15.0),
        ("audit_failures_total", 16.0),
        ("audit_rotations_total", 17.0),
        ("key_reloads_total{result=\"ok\"}", 18.0),
        ("key_reloads_total{result=\"failed\"}", 19.0),
        ("wait_seconds_bucket{le=\"0.000025\"}", 1.0),
        ("wait_seconds_bucket{le=\"5\"}", 2.0),
        ("wait_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("sign_seconds_sum", 7.5),
        ("sign_seconds_count", 3.0),
    ] {
        let name = format!("clb_keyserver_{name}");
        assert_eq!(found.get(&name), Some(&expected), "{name}\n{page}");
    }
    assert_eq!(found["clb_build_info{version=\"1.2.3\"}"], 1.0);
    let without = KeyServerSnapshot {
        audit: None,
        ..server()
    };
    assert!(!without.metrics().contains("audit"));
}

#[test]
fn the_status_of_a_key_server_names_its_keys_and_no_more_of_them() {
    let status: serde_json::Value = serde_json::from_str(&server().status()).expect("JSON");
    assert_eq!(status["keys"], serde_json::json!(["aa", "bb"]));
    assert_eq!(status["audit"]["head"], "0:00");
}
