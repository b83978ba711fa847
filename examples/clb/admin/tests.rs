//! The pages held to their formats, and the endpoint to its manners.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::snapshot::{Backend, Listener, Pool, Process, Reloads, Resource};
use super::*;

pub(super) fn sample() -> Snapshot {
    Snapshot {
        version: "1.2.3",
        started: 1_700_000_000.25,
        workers: 2,
        draining: false,
        reloads: Reloads {
            applied: 3,
            refused: 1,
        },
        process: Process {
            cpu_seconds: 1.5,
            open_fds: 20,
            max_fds: 4096,
            resident_bytes: 4096,
        },
        budget: vec![
            Resource {
                name: "bytes",
                used: 5,
                limit: None,
                refused: 0,
            },
            Resource {
                name: "sessions",
                used: 4,
                limit: Some(9),
                refused: 8,
            },
        ],
        key_server: None,
        packet: None,
        listeners: vec![Listener {
            name: "front".into(),
            protocol: "tcp",
            address: "127.0.0.1:80".into(),
            pools: vec!["web".into()],
            state: "serving",
            bytes_in: u64::MAX,
            bytes_out: 7,
            accepted: 12,
            sessions: 10,
            active: 4,
            connect_failed: 2,
            refused: BTreeMap::from([("all-down", 1), ("rate", 0)]),
            ended: BTreeMap::from([("client", 6)]),
            dropped: BTreeMap::from([("bandwidth", 5)]),
            http: None,
            forwarding: None,
        }],
        pools: vec![Pool {
            name: "web".into(),
            scheduler: "round-robin".into(),
            backends: vec![Backend {
                name: "a".into(),
                address: "10.0.0.1:80".into(),
                weight: 3,
                health: "up",
                admin: "ready",
                share: 65_536,
                picks: 10,
                active: 4,
                outcomes: BTreeMap::from([("ok", 6)]),
                probes: BTreeMap::from([("pass", 9), ("timeout", 2)]),
                mean_latency: Some(0.25),
                ..Backend::default()
            }],
        }],
    }
}

/// The figures of a page by name and labels, or the first line that breaks the format.
///
/// After the description of the text format 0.0.4: a family is one block, its HELP and TYPE stand
/// once and before its samples, and no sample is there twice.
pub(super) fn parse(page: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut help, mut family) = (None, None::<(String, String)>);
    if !page.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in page.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, text)) = rest.split_once(' ') else {
                return wrong("no help text");
            };
            if text.is_empty() || !is_name(name) || !families.insert(name.to_owned()) {
                return wrong("help of a bad name, or twice");
            }
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                return wrong("no type");
            };
            if help.take().as_deref() != Some(name)
                || !["counter", "gauge", "histogram"].contains(&kind)
            {
                return wrong("type without help");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("counters, and only they, end in _total");
            }
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let Some((family, kind)) = &family else {
                return wrong("a sample before any family");
            };
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let name = &line[..end];
            let of_family = if kind == "histogram" {
                let end = name.strip_prefix(family.as_str());
                matches!(end, Some("_bucket" | "_sum" | "_count"))
            } else {
                name == family
            };
            if !of_family {
                return wrong("a sample of another family");
            }
            let rest = labels(&line[end..]).ok_or_else(|| format!("bad labels: {line}"))?;
            let Some(Ok(figure)) = rest.strip_prefix(' ').map(str::parse::<f64>) else {
                return wrong("no figure");
            };
            if !figure.is_finite() || kind == "counter" && figure < 0.0 {
                return wrong("an impossible figure");
            }
            let key = line[..line.len() - rest.len()].to_owned();
            if samples.insert(key, figure).is_some() {
                return wrong("a sample twice");
            }
        }
    }
    Ok(samples)
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// What follows the labels that `text` begins with.
fn labels(text: &str) -> Option<&str> {
    let Some(mut rest) = text.strip_prefix('{') else {
        return Some(text);
    };
    let mut seen = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"")?;
        if !is_name(name) || !seen.insert(name) {
            return None;
        }
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => matches!(letters.next()?.1, '\\' | '"' | 'n').then_some(())?,
                (_, '\n') => return None,
                _ => {}
            }
        };
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.strip_prefix('}'),
        }
    }
}

#[test]
fn every_figure_of_a_snapshot_is_in_the_metrics_under_its_name() {
    let page = metrics::render(&sample());
    let found = parse(&page).unwrap_or_else(|wrong| panic!("{wrong}\n{page}"));
    let expected = [
        ("clb_backend_ejected{pool=\"web\",backend=\"a\"}", 0.0),
        (
            "clb_backend_mean_latency_seconds{pool=\"web\",backend=\"a\"}",
            0.25,
        ),
        (
            "clb_backend_outcomes_total{pool=\"web\",backend=\"a\",outcome=\"ok\"}",
            6.0,
        ),
        ("clb_backend_picks_total{pool=\"web\",backend=\"a\"}", 10.0),
        (
            "clb_backend_probes_total{pool=\"web\",backend=\"a\",result=\"pass\"}",
            9.0,
        ),
        (
            "clb_backend_probes_total{pool=\"web\",backend=\"a\",result=\"timeout\"}",
            2.0,
        ),
        (
            "clb_backend_sessions_active{pool=\"web\",backend=\"a\"}",
            4.0,
        ),
        ("clb_backend_share{pool=\"web\",backend=\"a\"}", 65_536.0),
        ("clb_backend_up{pool=\"web\",backend=\"a\"}", 1.0),
        ("clb_backend_weight{pool=\"web\",backend=\"a\"}", 3.0),
        ("clb_budget_limit{resource=\"sessions\"}", 9.0),
        ("clb_budget_refused_total{resource=\"bytes\"}", 0.0),
        ("clb_budget_refused_total{resource=\"sessions\"}", 8.0),
        ("clb_budget_used{resource=\"bytes\"}", 5.0),
        ("clb_budget_used{resource=\"sessions\"}", 4.0),
        ("clb_build_info{version=\"1.2.3\"}", 1.0),
        ("clb_config_reloads_total{result=\"applied\"}", 3.0),
        ("clb_config_reloads_total{result=\"refused\"}", 1.0),
        (
            "clb_datagrams_dropped_total{listener=\"front\",reason=\"bandwidth\"}",
            5.0,
        ),
        ("clb_draining", 0.0),
        ("clb_listener_accepted_total{listener=\"front\"}", 12.0),
        (
            "clb_listener_bytes_total{listener=\"front\",direction=\"in\"}",
            18_446_744_073_709_551_615.0,
        ),
        (
            "clb_listener_bytes_total{listener=\"front\",direction=\"out\"}",
            7.0,
        ),
        (
            "clb_listener_connect_failures_total{listener=\"front\"}",
            2.0,
        ),
        ("clb_listener_sessions_active{listener=\"front\"}", 4.0),
        (
            "clb_listener_sessions_ended_total{listener=\"front\",how=\"client\"}",
            6.0,
        ),
        ("clb_listener_sessions_total{listener=\"front\"}", 10.0),
        (
            "clb_refused_total{listener=\"front\",reason=\"all-down\"}",
            1.0,
        ),
        ("clb_refused_total{listener=\"front\",reason=\"rate\"}", 0.0),
        ("clb_workers", 2.0),
        ("process_cpu_seconds_total", 1.5),
        ("process_open_fds", 20.0),
        ("process_max_fds", 4096.0),
        ("process_resident_memory_bytes", 4096.0),
        ("process_start_time_seconds", 1_700_000_000.25),
    ];
    let expected: BTreeMap<String, f64> = expected
        .iter()
        .map(|(name, figure)| ((*name).to_owned(), *figure))
        .collect();
    assert_eq!(found, expected);
    assert!(
        page.contains(" 18446744073709551615\n"),
        "bytes are exact at any size"
    );
}

#[test]
fn a_backend_is_up_when_probes_pass_and_traffic_has_not_ejected_it() {
    for (health, ejected, up) in [
        ("up", false, true),
        ("up", true, false),
        ("down", false, false),
        ("unknown", false, false),
    ] {
        let backend = Backend {
            health,
            ejected,
            ..Backend::default()
        };
        assert_eq!(backend.is_up(), up, "{health} {ejected}");
    }
}

#[test]
fn a_process_without_listeners_still_has_a_page() {
    let found = parse(&metrics::render(&Snapshot::default())).expect("a page");
    assert_eq!(found["clb_draining"], 0.0);
    let draining = Snapshot {
        draining: true,
        ..Snapshot::default()
    };
    assert_eq!(
        parse(&metrics::render(&draining)).expect("a page")["clb_draining"],
        1.0
    );
}

#[test]
fn the_parser_of_these_tests_is_strict() {
    for (page, why) in [
        (
            "# HELP a_total H\n# TYPE a_total counter\na_total 1",
            "the last line",
        ),
        ("a 1\n", "before any family"),
        ("# HELP a H\n# TYPE a counter\na 1\n", "_total"),
        (
            "# HELP a_total H\n# TYPE a_total gauge\na_total 1\n",
            "_total",
        ),
        ("# TYPE a gauge\na 1\n", "type without help"),
        ("# HELP a H\n# TYPE a gauge\nb 1\n", "another family"),
        ("# HELP a H\n# TYPE a gauge\na 1\na 1\n", "twice"),
        ("# HELP a H\n# TYPE a gauge\na 1\n# HELP a H\n", "twice"),
        ("# HELP a H\n# TYPE a gauge\na{x=\"1} 1\n", "bad labels"),
        ("# HELP a H\n# TYPE a gauge\na{x=\"\\t\"} 1\n", "bad labels"),
        ("# HELP a H\n# TYPE a gauge\na NaN\n", "impossible"),
    ] {
        let told = parse(page).expect_err(page);
        assert!(told.contains(why), "{told}");
    }
}

proptest! {
    #[test]
    fn whatever_a_name_holds_the_page_keeps_its_format(listener in ".*", backend in ".*") {
        let mut snapshot = sample();
        snapshot.listeners[0].name = listener;
        snapshot.pools[0].backends[0].name = backend;
        let page = metrics::render(&snapshot);
        prop_assert!(parse(&page).is_ok(), "{}", page);
    }
}

#[test]
fn the_status_is_the_snapshot_as_json() {
    let value: serde_json::Value = serde_json::from_str(&status(&sample())).expect("JSON");
    assert_eq!(value["listeners"][0]["bytes_in"], u64::MAX);
    assert_eq!(value["listeners"][0]["refused"]["all-down"], 1);
    assert_eq!(value["pools"][0]["backends"][0]["health"], "up");
    assert_eq!(value["pools"][0]["backends"][0]["outcomes"]["ok"], 6);
    assert_eq!(value["reloads"]["refused"], 1);
}

/// The answer to `method` at `path`.
fn answer(method: &Method, path: &str) -> Response<Full<Bytes>> {
    route(method, path).map_or_else(|refusal| *refusal, |page| page.response(&sample()))
}

#[test]
fn each_path_and_method_has_its_code() {
    for (method, path, code) in [
        (Method::GET, "/metrics", 200),
        (Method::HEAD, "/metrics", 200),
        (Method::GET, "/status", 200),
        (Method::POST, "/status", 405),
        (Method::DELETE, "/metrics", 405),
        (Method::GET, "/", 404),
        (Method::POST, "/other", 404),
        (Method::GET, "/metrics/", 404),
    ] {
        let found = answer(&method, path);
        assert_eq!(found.status(), code, "{method} {path}");
        assert_eq!(
            found.headers().contains_key(ALLOW),
            code == 405,
            "{method} {path}"
        );
    }
    let metrics = answer(&Method::GET, "/metrics");
    assert_eq!(
        metrics.headers()[CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let status = answer(&Method::GET, "/status");
    assert_eq!(status.headers()[CONTENT_TYPE], "application/json");
}

/// What the endpoint answers to `request`, until it closes the connection.
async fn exchanged(request: &[u8], source: impl Fn() -> Option<Snapshot>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asker, mut questions) = Asker::new();
    let server = tokio::spawn(serve(listener, asker));
    let client = async {
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(request).await.expect("sent");
        let mut text = String::new();
        client
            .read_to_string(&mut text)
            .await
            .expect("all, and the end");
        text
    };
    let answers = async {
        while let Some(question) = questions.recv().await {
            if let Some(snapshot) = source() {
                question.send(snapshot).expect("someone who asked");
            }
        }
        String::new()
    };
    let text = tokio::select! {
        text = client => text,
        text = answers => text,
    };
    server.abort();
    text
}

#[tokio::test]
async fn a_status_is_served_over_a_socket_and_the_connection_closed() {
    let text = exchanged(
        b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n",
        || Some(sample()),
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("connection: close\r\n"), "{text}");
    let body = answer(&Method::GET, "/status").into_body().collect().await;
    let body = body.expect("a body").to_bytes();
    assert!(text.as_bytes().ends_with(&body));
}

#[tokio::test]
async fn a_head_has_no_body_and_an_ending_program_no_page() {
    let text = exchanged(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", || {
        Some(sample())
    })
    .await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
    let text = exchanged(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", || None).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_ask_is_not_waited_for() {
    let text = exchanged(b"GET /sta", || Some(sample())).await;
    assert!(!text.contains("200"), "{text}");
}
