//! What the file may say, and a table of what is said when it is wrong.

use std::path::PathBuf;
use std::sync::LazyLock;

use lb_l7::probe::{HttpProbe, ProbeProtocol};

use super::listener::Limits;
use super::pool::SlowStart;
use super::*;

/// A file with one of everything; the cases below replace one of its lines, counted from 1.
const BASE: &str = r#"workers = 1
drain_timeout = "30s"
[admin]
listen = "127.0.0.1:9000"
[[pool]]
name = "web"
scheduler = "random"
backends = [{ name = "a", address = "127.0.0.1:1" }]
health = { kind = "tcp", interval = "2s" }
slow_start = { window = "10s" }
[[listener]]
name = "front"
protocol = "tcp"
listen = "127.0.0.1:80"
pool = "web"
limits = {}
"#;

/// The base with `text` in place of its line number `line`.
fn with(line: usize, text: &str) -> String {
    let lines = BASE.lines().enumerate();
    lines
        .map(|(n, old)| if n + 1 == line { text } else { old })
        .flat_map(|l| [l, "\n"])
        .collect()
}

fn mistakes(text: &str) -> String {
    let told = parse(text).map(|parsed| parsed.config).expect_err(text);
    told.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What is told, when `text` stands in place of line `line`, is `expected` and nothing else.
#[track_caller]
fn check(cases: &[(usize, &str, &str)]) {
    for (line, text, expected) in cases {
        assert_eq!(
            mistakes(&with(*line, text)),
            *expected,
            "line {line}: {text}"
        );
    }
}

fn good(text: &str) -> Config {
    parse(text)
        .map(|parsed| parsed.config)
        .unwrap_or_else(|notes| panic!("{notes:?}"))
}

#[test]
fn the_base_is_a_good_file_and_nothing_in_it_is_odd() {
    assert_eq!(parse(BASE).expect("good").warnings, []);
}

#[test]
fn mistakes_of_the_whole_file_are_told() {
    let keys = "workers, zone, drain_timeout, admin, budget, key_server, packet, listener, pool";
    let unknown = format!("1: color: unknown key, expected one of {keys}");
    check(&[
        (
            1,
            "workers = 0",
            "1: workers: expected a whole number in 1..=1024, found 0",
        ),
        (
            1,
            "workers = 1025",
            "1: workers: expected a whole number in 1..=1024, found 1025",
        ),
        (
            1,
            "workers = -1",
            "1: workers: expected a whole number in 1..=1024, found -1",
        ),
        (
            1,
            "workers = \"4\"",
            "1: workers: expected a whole number in 1..=1024, found \"4\"",
        ),
        (
            1,
            "workers = 1.5",
            "1: workers: expected a whole number in 1..=1024, found 1.5",
        ),
        (
            1,
            "worker = 1",
            "1: worker: unknown key; did you mean \"workers\"?",
        ),
        (
            1,
            "zone = 1",
            "1: zone: expected the name of a zone, found 1",
        ),
        (1, "color = 1", &unknown),
        (
            1,
            "budget = { session = 1 }",
            "1: budget.session: unknown key; did you mean \"sessions\"?",
        ),
        (
            1,
            "budget = { bytes = -1 }",
            "1: budget.bytes: expected a whole number in 0..=9223372036854775807, found -1",
        ),
        (
            2,
            "drain_timeout = 30",
            "2: drain_timeout: expected a duration of 0s to 1d, such as \"500ms\", \"2s\" or \"5m\", found 30",
        ),
        (
            2,
            "drain_timeout = \"25h\"",
            "2: drain_timeout: expected a duration of 0s to 1d, such as \"500ms\", \"2s\" or \"5m\", found \"25h\"",
        ),
        (4, "", "3: admin.listen: missing, expected IP:PORT"),
        (
            4,
            "listen = 9000",
            "4: admin.listen: expected IP:PORT, found 9000",
        ),
        (
            4,
            "listen = \":9000\"",
            "4: admin.listen: \":9000\" is not an address, expected IP:PORT or [IPv6]:PORT",
        ),
        (
            4,
            "listen = \"127.0.0.1:80\"",
            "14: listener.front.listen: 127.0.0.1:80 is taken by admin",
        ),
    ]);
}

#[test]
fn mistakes_of_pools_are_told() {
    let unknown = format!("expected {}", one_of(scheduler::NAMES));
    let near = format!(
        "7: pool.web.scheduler: unknown scheduler \"round-robbin\", {unknown}; did you mean \"round-robin\"?"
    );
    let far = format!("7: pool.web.scheduler: unknown scheduler \"best\", {unknown}");
    let missing = format!("5: pool.web.scheduler: missing, {unknown}");
    let typed = format!("7: pool.web.scheduler: {unknown}, found 3");
    check(&[
        (7, "scheduler = \"round-robbin\"", &near),
        (7, "scheduler = \"best\"", &far),
        (7, "scheduler = 3", &typed),
        (7, "", &missing),
        (
            7,
            "scheduler = \"random\"\noptions = { seed = 1 }",
            "8: pool.web.options.seed: random has no such option; it is for maglev, rendezvous, bounded-load",
        ),
        (
            7,
            "scheduler = \"maglev\"\noptions = { table_size = 65536 }",
            "8: pool.web.options.table_size: table size 65536 is not a prime",
        ),
        (
            7,
            "scheduler = \"bounded-load\"\noptions = { factor = 99 }",
            "8: pool.web.options.factor: expected a whole number in 100..=1000, found 99",
        ),
        (
            7,
            "scheduler = \"ketama\"\noptions = { draws = 17 }",
            "8: pool.web.options.draws: expected a whole number in 2..=16, found 17\n\
             8: pool.web.options.draws: ketama has no such option; it is for prequal",
        ),
        (
            7,
            "scheduler = \"prequal\"\noptions = { quantile = 1.5 }",
            "8: pool.web.options.quantile: expected a number in 0..=1, found 1.5",
        ),
        (
            7,
            "scheduler = \"random\"\noptions = { tabel_size = 1 }",
            "8: pool.web.options.tabel_size: unknown key; did you mean \"table_size\"?",
        ),
        (
            7,
            "scheduler = \"random\"\noptions = 1",
            "8: pool.web.options: expected a table, found 1",
        ),
        (
            6,
            "",
            "5: pool[0].name: missing, expected a name of 1 to 64 letters, digits, '-', '_' or '.'\n\
             15: listener.front.pool: unknown pool \"web\", and the file has no [[pool]]",
        ),
        (
            6,
            "name = \"a b\"",
            "6: pool[0].name: expected a name of 1 to 64 letters, digits, '-', '_' or '.', found \"a b\"\n\
             15: listener.front.pool: unknown pool \"web\", and the file has no [[pool]]",
        ),
        (
            11,
            "[[pool]]\nname = \"web\"\nscheduler = \"random\"\n[[listener]]",
            "12: pool.web.name: the name \"web\" is taken by the one in line 5",
        ),
        (
            10,
            "panic_threshold = 101",
            "10: pool.web.panic_threshold: expected a whole number in 0..=100, found 101",
        ),
        (
            10,
            "zone = []",
            "10: pool.web.zone: expected the name of a zone, found a list",
        ),
        (
            10,
            "slow_start = {}",
            "10: pool.web.slow_start.window: missing, expected a duration",
        ),
        (
            10,
            "slow_start = \"10s\"",
            "10: pool.web.slow_start: expected a table, found \"10s\"",
        ),
        (
            10,
            "slow_start = { window = \"1s\", aggression = 0 }",
            "10: pool.web.slow_start.aggression: expected a number in 0.1..=10, found 0",
        ),
        (
            10,
            "slow_start = { window = \"1s\", minimum = 0 }",
            "10: pool.web.slow_start.minimum: expected a whole number in 1..=100, found 0",
        ),
        (
            10,
            "outlier = { max_ejected_percent = 101 }",
            "10: pool.web.outlier.max_ejected_percent: expected a whole number in 0..=100, found 101",
        ),
        (
            10,
            "outlier = { base_ejection = \"1m\", max_ejection = \"59s\" }",
            "10: pool.web.outlier.max_ejection: expected at least the base_ejection (1m), found 59s",
        ),
    ]);
}

#[test]
fn mistakes_of_backends_are_told() {
    check(&[
        (
            8,
            "backends = 1",
            "8: pool.web.backends: expected a list of tables, found 1",
        ),
        (
            8,
            "backends = [1]",
            "8: pool.web.backends[0]: expected a table, found 1",
        ),
        (
            8,
            "backends = [{ address = \"127.0.0.1:1\" }]",
            "8: pool.web.backends[0].name: missing, expected a name of 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            8,
            "backends = [{ name = \"a\" }]",
            "8: pool.web.backends.a.address: missing, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"localhost:80\" }]",
            "8: pool.web.backends.a.address: \"localhost:80\" is not an address, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"127.0.0.1:65536\" }]",
            "8: pool.web.backends.a.address: \"127.0.0.1:65536\" is not an address, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"127.0.0.1:0\" }]",
            "8: pool.web.backends.a.address: \"127.0.0.1:0\" has port 0, expected a port in 1..=65535",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"[::]:80\" }]",
            "8: pool.web.backends.a.address: \"[::]:80\" names no host, expected the address of a backend",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"unix:run/a\" }]",
            "8: pool.web.backends.a.address: \"unix:run/a\" is relative, expected an absolute path",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"memory:a\" }]",
            "8: pool.web.backends.a.address: \"memory:a\" lies within a process, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", weight = 65536 }]",
            "8: pool.web.backends.a.weight: expected a whole number in 0..=65535, found 65536",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", priority = 256 }]",
            "8: pool.web.backends.a.priority: expected a whole number in 0..=255, found 256",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", max_connections = -1 }]",
            "8: pool.web.backends.a.max_connections: expected a whole number in 0..=4294967295, found -1",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", admin = \"drian\" }]",
            "8: pool.web.backends.a.admin: unknown state \"drian\", expected one of ready, drain, maintenance; did you mean \"drain\"?",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", wieght = 2 }]",
            "8: pool.web.backends.a.wieght: unknown key; did you mean \"weight\"?",
        ),
        (
            8,
            "backends = [\n{ name = \"a\", address = \"10.0.0.1:1\" },\n{ name = \"a\", address = \"10.0.0.2:1\" }]",
            "10: pool.web.backends.a.name: the name \"a\" is taken by the one in line 9",
        ),
    ]);
}

#[test]
fn mistakes_of_health_checks_are_told() {
    let kinds = "grpc, http, tcp, tcp-exchange, udp-exchange";
    let missing = format!("9: pool.web.health.kind: missing, expected one of {kinds}");
    let other =
        format!("9: pool.web.health.kind: unknown kind of probe \"icmp\", expected one of {kinds}");
    check(&[
        (9, "health = {}", &missing),
        (9, "health = { kind = \"icmp\" }", &other),
        (
            9,
            "health = { kind = \"tcp\", intervall = \"1s\" }",
            "9: pool.web.health.intervall: unknown key; did you mean \"interval\"?",
        ),
        (
            9,
            "health = { kind = \"tcp\", interval = \"0s\" }",
            "9: pool.web.health.interval: expected a duration of 1ms to 1d, such as \"500ms\", \"2s\" or \"5m\", found \"0s\"",
        ),
        (
            9,
            "health = { kind = \"tcp\", timeout = \"2001ms\" }",
            "9: pool.web.health.timeout: expected at most the interval (2s), found 2001ms",
        ),
        (
            9,
            "health = { kind = \"tcp\", interval = \"3s\", fast_interval = \"4s\" }",
            "9: pool.web.health.fast_interval: expected at most the interval (3s), found 4s",
        ),
        (
            9,
            "health = { kind = \"tcp\", rise = 0 }",
            "9: pool.web.health.rise: expected a whole number in 1..=1000, found 0",
        ),
        (
            9,
            "health = { kind = \"tcp\", fall = 1001 }",
            "9: pool.web.health.fall: expected a whole number in 1..=1000, found 1001",
        ),
        (
            9,
            "health = { kind = \"tcp\", jitter = 51 }",
            "9: pool.web.health.jitter: expected a whole number in 0..=50, found 51",
        ),
        (
            9,
            "health = { kind = \"tcp\", send = \"hello\" }",
            "9: pool.web.health.send: only for kind tcp-exchange or udp-exchange",
        ),
        (
            9,
            "health = { kind = \"tcp-exchange\" }",
            "9: pool.web.health.kind: tcp-exchange needs send or expect, or use \"tcp\"",
        ),
        (
            9,
            "health = { kind = \"udp-exchange\", expect = \"x\" }",
            "9: pool.web.health.send: missing, expected what the datagram holds",
        ),
        (
            9,
            "health = { kind = \"udp-exchange\", send_hex = \"0g\" }",
            "9: pool.web.health.send_hex: \"0g\" is not hexadecimal, expected pairs of 0-9 and a-f",
        ),
        (
            9,
            "health = { kind = \"tcp-exchange\", send = \"a\", send_hex = \"61\" }",
            "9: pool.web.health.send_hex: expected one of send and send_hex, found both",
        ),
        (
            9,
            "health = true",
            "9: pool.web.health: expected a table, found true",
        ),
    ]);
}

#[test]
fn mistakes_of_probes_by_http_are_told() {
    let cases = [
        (
            "http",
            "path = \"health\"",
            "path: \"health\" is no path, expected one such as \"/health?deep=1\"",
        ),
        (
            "http",
            "path = \"/a#b\"",
            "path: \"/a#b\" is no path, expected one such as \"/health?deep=1\"",
        ),
        (
            "http",
            "path = \"/a b\"",
            "path: \"/a b\" is no path, expected one such as \"/health?deep=1\"",
        ),
        (
            "http",
            "method = \"get\"",
            "method: \"get\" is no method of a probe, expected one such as \"GET\"",
        ),
        (
            "http",
            "method = \"CONNECT\"",
            "method: \"CONNECT\" is no method of a probe, expected one such as \"GET\"",
        ),
        (
            "http",
            "host = \"a b\"",
            "host: \"a b\" is no host, expected a host, such as \"app.internal\" or \"app.internal:8080\"",
        ),
        (
            "http",
            "host = \"me@a\"",
            "host: \"me@a\" is no host, expected a host, such as \"app.internal\" or \"app.internal:8080\"",
        ),
        (
            "http",
            "expect = \"20\"",
            "expect: `20` is no status: expected 200 to 599",
        ),
        (
            "http",
            "expect = \"300-200\"",
            "expect: `300-200` ends before it begins",
        ),
        (
            "http",
            "expect = 200",
            "expect: expected statuses, such as \"200-299,404\", found 200",
        ),
        ("http", "body = \"\"", "body: empty: every body holds that"),
        (
            "http",
            "method = \"HEAD\", body = \"a\"",
            "body: an answer to HEAD has none",
        ),
        (
            "http",
            "port = 0",
            "port: expected a whole number in 1..=65535, found 0",
        ),
        (
            "http",
            "protocol = \"auto\"",
            "protocol: unknown protocol \"auto\", expected one of http1, h2",
        ),
        (
            "http",
            "headers = { host = \"a\" }",
            "headers: the host has a key of its own: host",
        ),
        (
            "http",
            "headers = { Upgrade = \"a\" }",
            "headers: upgrade is the connection's to say",
        ),
        (
            "grpc",
            "headers = { keep-alive = \"a\" }",
            "headers: keep-alive is the connection's to say",
        ),
        (
            "http",
            "headers = { x-a = \"a\\n\" }",
            "headers.\"x-a\": a field has no line ends and no control characters",
        ),
        (
            "http",
            "tls = { nmae = \"a\" }",
            "tls.nmae: unknown key; did you mean \"name\"?",
        ),
        (
            "http",
            "send = \"a\"",
            "send: only for kind tcp-exchange or udp-exchange",
        ),
        (
            "http",
            "expect_hex = \"61\"",
            "expect_hex: only for kind tcp-exchange or udp-exchange",
        ),
        ("http", "service = \"a\"", "service: only for kind grpc"),
        ("grpc", "path = \"/\"", "path: only for kind http"),
        (
            "grpc",
            "expect = \"200\"",
            "expect: only for kind http or tcp-exchange or udp-exchange",
        ),
        ("grpc", "protocol = \"h2\"", "protocol: only for kind http"),
        ("tcp", "tls = true", "tls: only for kind grpc or http"),
        (
            "tcp-exchange",
            "send = \"a\", host = \"a\"",
            "host: only for kind grpc or http",
        ),
        (
            "http",
            "timeout = \"3s\"",
            "timeout: expected at most the interval (2s), found 3s",
        ),
    ];
    for (kind, text, expected) in cases {
        let told = mistakes(&with(
            9,
            &format!("health = {{ kind = \"{kind}\", {text} }}"),
        ));
        assert_eq!(
            told,
            format!("9: pool.web.health.{expected}"),
            "{kind}: {text}"
        );
    }
}

/// The probe of the pool in whose line 9 this stands.
fn probe(text: &str) -> HttpProbe {
    let pool = good(&with(9, text)).pools.remove(0);
    match pool.health.expect("a check").kind {
        HealthKind::Http(health) => health.made(&pool.upstream).expect("read by the parser"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_probe_by_http_is_told_reaches_the_library() {
    let probe = probe(
        "health = { kind = \"http\", path = \"/health?deep=1\", method = \"OPTIONS\", \
         host = \"a.test:81\", headers = { x-a = \"1\" }, expect = \"204,300-302\", \
         body = \"ready\", port = 9000, protocol = \"h2\" }",
    );
    assert_eq!(probe.protocol, ProbeProtocol::Http2);
    assert_eq!(
        (probe.method.as_str(), probe.target.as_str()),
        ("OPTIONS", "/health?deep=1")
    );
    assert_eq!(probe.host.expect("a host").as_str(), "a.test:81");
    assert_eq!(
        (probe.headers.len(), &probe.headers["x-a"]),
        (1, &"1".parse().expect("a value"))
    );
    assert_eq!(probe.status.to_string(), "204,300-302");
    assert!(probe.body.matches(b"all ready") && !probe.body.matches(b"read"));
    assert_eq!(probe.port, Some(9000));
    assert!(probe.tls.is_none());
}

#[test]
fn what_a_probe_by_http_is_not_told_has_the_default() {
    let plain = probe("health = { kind = \"http\" }");
    assert_eq!(plain.protocol, ProbeProtocol::Http1);
    assert_eq!((plain.method.as_str(), plain.target.as_str()), ("GET", "/"));
    assert_eq!(plain.status.to_string(), "200-399");
    assert!(plain.host.is_none() && plain.port.is_none() && plain.headers.is_empty());
    assert!(plain.body.matches(b"") && plain.tls.is_none());
    let grpc = |service: &str| ProbeProtocol::Grpc {
        service: service.into(),
    };
    assert_eq!(probe("health = { kind = \"grpc\" }").protocol, grpc(""));
    let named = probe("health = { kind = \"grpc\", service = \"a.B\", port = 1 }");
    assert_eq!((named.protocol, named.port), (grpc("a.B"), Some(1)));
}

#[test]
fn probes_speak_as_the_pool_does_unless_they_are_told_otherwise() {
    let tls = "tls = { insecure = true }\n";
    let of = |pool: &str, own: &str| {
        let probe = probe(&format!("{pool}\nhealth = {{ kind = \"http\"{own} }}"));
        (probe.protocol, probe.tls.is_some())
    };
    let (one, two) = (ProbeProtocol::Http1, ProbeProtocol::Http2);
    assert_eq!(of("protocol = \"h2\"", ""), (two.clone(), false));
    assert_eq!(
        of("protocol = \"h2\"", ", protocol = \"http1\""),
        (one.clone(), false)
    );
    let auto = format!("{tls}protocol = \"auto\"");
    assert_eq!(of(&auto, ""), (one.clone(), true));
    assert_eq!(of(&auto, ", tls = false, protocol = \"h2\""), (two, false));
    assert_eq!(of("", ", tls = { insecure = true }"), (one, true));
    let grpc = probe(&format!("{tls}health = {{ kind = \"grpc\" }}"));
    assert!(grpc.tls.is_some());
}

#[test]
fn what_only_probes_use_of_a_pool_is_not_odd_and_a_port_of_no_use_is() {
    let odd = |text: &str| {
        let parsed = parse(&with(9, text)).expect(text);
        let told: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
        told.join("\n")
    };
    let unused = "9: pool.web.protocol: only listeners of http use it, and none uses this pool";
    let h2 = |health: &str| {
        odd(&format!(
            "protocol = \"h2\"\nhealth = {{ kind = {health} }}"
        ))
    };
    assert_eq!(h2("\"http\""), "");
    assert_eq!(h2("\"http\", protocol = \"http1\""), unused);
    assert_eq!(h2("\"grpc\""), unused);
    assert_eq!(h2("\"tcp\""), unused);
    let unix = |health: &str| {
        let text = with(9, &format!("health = {{ {health} }}"));
        let parsed = parse(&text.replace("127.0.0.1:1\"", "unix:/run/a\"")).expect("good");
        parsed
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<String>()
    };
    let port = "9: pool.web.health: a is at unix:/run/a, which has no port to be probed at";
    assert_eq!(unix("kind = \"grpc\", port = 1"), port);
    assert_eq!(unix("kind = \"grpc\""), "");
    assert_eq!(unix("kind = \"tcp\""), "");
}

#[test]
fn mistakes_of_listeners_are_told() {
    check(&[
        (
            12,
            "",
            "11: listener[0].name: missing, expected a name of 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            13,
            "",
            "11: listener.front.protocol: missing, expected one of tcp, udp, tls, http, https",
        ),
        (
            13,
            "protocol = \"tpc\"",
            "13: listener.front.protocol: unknown protocol \"tpc\", expected one of tcp, udp, tls, http, https; did you mean \"tcp\"?",
        ),
        (
            14,
            "",
            "11: listener.front.listen: missing, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            14,
            "listen = \"80\"",
            "14: listener.front.listen: \"80\" is not an address, expected IP:PORT, [IPv6]:PORT or unix:/path",
        ),
        (
            14,
            "listen = \"unix:front\"",
            "14: listener.front.listen: \"unix:front\" is relative, expected an absolute path",
        ),
        (
            15,
            "",
            "11: listener.front.pool: missing, expected the name of a pool",
        ),
        (
            15,
            "pool = \"wbe\"",
            "15: listener.front.pool: unknown pool \"wbe\", expected \"web\"",
        ),
        (
            15,
            "pool = [\"web\"]",
            "15: listener.front.pool: expected the name of a pool, found a list",
        ),
        (
            16,
            "idle_timeout = \"1\"",
            "16: listener.front.idle_timeout: expected a duration of 1ms to 1d, such as \"500ms\", \"2s\" or \"5m\", found \"1\"",
        ),
        (
            16,
            "one_packet = true",
            "16: listener.front.one_packet: only for protocol udp",
        ),
        (
            16,
            "names = { }",
            "16: listener.front.names: only for protocol tls",
        ),
        (
            16,
            "limits = { connections_per_secnd = 1 }",
            "16: listener.front.limits.connections_per_secnd: unknown key; did you mean \"connections_per_second\"?",
        ),
        (
            16,
            "limits = { connections = 1.5 }",
            "16: listener.front.limits.connections: expected a whole number in 0..=4294967295, found 1.5",
        ),
        (
            16,
            "allow = \"10.0.0.0/8\"",
            "16: listener.front.allow: expected a list of an address or ADDRESS/LENGTH, found \"10.0.0.0/8\"",
        ),
        (
            16,
            "allow = [\n\"10.0.0.0/8\",\n\"10.0.0.1/8\"]",
            "18: listener.front.allow[1]: \"10.0.0.1/8\" has bits behind its prefix, expected 10.0.0.0/8 or a longer prefix",
        ),
        (
            16,
            "deny = [\"::/129\", 7]",
            "16: listener.front.deny[0]: \"::/129\" has no good length, expected a number in 0..=128\n\
             16: listener.front.deny[1]: expected an address or ADDRESS/LENGTH, found 7",
        ),
        (
            16,
            "proxy_protocol = { accept = 1 }",
            "16: listener.front.proxy_protocol.accept: expected true or false, found 1",
        ),
        (
            16,
            "proxy_protocol = { send = \"v3\" }",
            "16: listener.front.proxy_protocol.send: unknown version \"v3\", expected one of none, v1, v2; did you mean \"v1\"?",
        ),
        (
            16,
            "persistence = { kind = \"cookie\" }",
            "16: listener.front.persistence.kind: unknown kind of persistence \"cookie\", expected one of source, none",
        ),
        (
            16,
            "persistence = { timeout = \"1s\" }",
            "16: listener.front.persistence.kind: missing, expected one of source, none",
        ),
        (
            16,
            "persistence = { kind = \"source\", prefix_v4 = 33 }",
            "16: listener.front.persistence.prefix_v4: expected a whole number in 0..=32, found 33",
        ),
        (
            16,
            "persistence = { kind = \"source\", prefix_v6 = 129 }",
            "16: listener.front.persistence.prefix_v6: expected a whole number in 0..=128, found 129",
        ),
        (
            16,
            "[[listener]]\nname = \"front\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:81\"\npool = \"web\"",
            "17: listener.front.name: the name \"front\" is taken by the one in line 11",
        ),
        (
            16,
            "[[listener]]\nname = \"b\"\nprotocol = \"tls\"\nlisten = \"127.0.0.1:80\"\npool = \"web\"",
            "19: listener.b.listen: 127.0.0.1:80 is taken by front",
        ),
    ]);
}

#[test]
fn mistakes_of_what_sessions_are_placed_by_are_told() {
    let parts = "expected one of source, source-destination, source-text, tuple, none";
    let near = format!(
        "16: listener.front.hash.by: unknown kind of key \"sorce\", {parts}; did you mean \"source\"?"
    );
    let far = format!("16: listener.front.hash.by: unknown kind of key \"application\", {parts}");
    check(&[
        (16, "hash = { by = \"sorce\", prefix_v4 = 8 }", &near),
        (16, "hash = { by = \"application\" }", &far),
        (
            16,
            "hash = \"source\"",
            "16: listener.front.hash: expected a table, found \"source\"",
        ),
        (
            16,
            "hash = { sed = \"\" }",
            "16: listener.front.hash.sed: unknown key; did you mean \"seed\"?",
        ),
        (
            16,
            "hash = { prefix_v4 = 33 }",
            "16: listener.front.hash.prefix_v4: expected a whole number in 0..=32, found 33",
        ),
        (
            16,
            "hash = { by = \"source-destination\", prefix_v6 = 129 }",
            "16: listener.front.hash.prefix_v6: expected a whole number in 0..=128, found 129",
        ),
        (
            16,
            "hash = { by = \"tuple\", prefix_v4 = 24, prefix_v6 = 64 }",
            "16: listener.front.hash.prefix_v4: only by source or source-destination or source-text\n\
             16: listener.front.hash.prefix_v6: only by source or source-destination or source-text",
        ),
        (
            16,
            "hash = { by = \"none\", seed = \"00112233445566778899aabbccddeeff\" }",
            "16: listener.front.hash.seed: only by source or source-destination or tuple",
        ),
        (
            16,
            "hash = { by = \"source-text\", seed = \"00112233445566778899aabbccddeeff\" }",
            "16: listener.front.hash.seed: only by source or source-destination or tuple",
        ),
        (
            16,
            "hash = { seed = 7 }",
            "16: listener.front.hash.seed: expected 16 bytes in hexadecimal digits, found 7",
        ),
        (
            16,
            "hash = { seed = \"00112233445566778899aabbccddeef\" }",
            "16: listener.front.hash.seed: not hexadecimal, expected pairs of 0-9 and a-f",
        ),
        (
            16,
            "hash = { seed = \"00112233445566778899aabbccddee\" }",
            "16: listener.front.hash.seed: expected 16 bytes, found 15",
        ),
        (
            16,
            "hash = { seed = \"00112233445566778899aabbccddeeff00\" }",
            "16: listener.front.hash.seed: expected 16 bytes, found 17",
        ),
    ]);
}

#[test]
fn what_sessions_are_placed_by_is_read_from_every_protocol() {
    use lbcore::hash::HashKey;
    use lbcore::schedule::KeyParts;

    let hash = |protocol: &str, text: &str| {
        let protocol = format!("protocol = \"{protocol}\"\nhash = {text}");
        good(&with(13, &protocol)).listeners[0].hash
    };
    assert_eq!(good(BASE).listeners[0].hash, Hash::default());
    for protocol in ["tcp", "tls", "udp"] {
        assert_eq!(hash(protocol, "{}"), Hash::default());
        let all = "{ by = \"source-destination\", prefix_v4 = 0, prefix_v6 = 0, seed = \"000102030405060708090a0b0c0d0E0F\" }";
        let expected = Hash {
            by: KeyParts::SourceDestination,
            prefix_v4: 0,
            prefix_v6: 0,
            seed: Some(HashKey::new(std::array::from_fn(|n| {
                u8::try_from(n).expect("below 16")
            }))),
        };
        assert_eq!(hash(protocol, all), expected);
    }
    let edge = hash("tcp", "{ prefix_v4 = 32, prefix_v6 = 128 }");
    assert_eq!(edge, Hash::default());
    for name in ["source", "source-text", "tuple", "none"] {
        let by = hash("tcp", &format!("{{ by = \"{name}\" }}")).by;
        assert_eq!(by.as_str(), name);
    }
}

#[test]
fn mistakes_of_udp_and_tls_listeners_are_told() {
    check(&[
        (
            13,
            "protocol = \"udp\"\nconnect_timeout = \"1s\"\nproxy_protocol = {}",
            "14: listener.front.connect_timeout: only for protocol tcp or tls\n\
             15: listener.front.proxy_protocol: only for protocol tcp or tls",
        ),
        (
            13,
            "protocol = \"tls\"\none_packet = true",
            "14: listener.front.one_packet: only for protocol udp",
        ),
        (
            13,
            "protocol = \"tls\"\nnames = { \"a.example\" = \"wev\" }",
            "14: listener.front.names.\"a.example\": unknown pool \"wev\", expected \"web\"",
        ),
        (
            13,
            "protocol = \"tls\"\nnames = { \"a_b\" = \"web\" }",
            "14: listener.front.names.\"a_b\": expected the name of a host, such as \"www.example.com\" or \"*.example.com\"",
        ),
        (
            13,
            "protocol = \"tls\"\nnames = { \"A.b\" = \"web\",\n\"a.B\" = \"web\" }",
            "15: listener.front.names.\"a.B\": named twice: server names have no case",
        ),
        (
            13,
            "protocol = \"tls\"\nnames = { \"a.b\" = 1 }",
            "14: listener.front.names.\"a.b\": expected the name of a pool, found 1",
        ),
    ]);
    let unix = with(13, "protocol = \"udp\"").replace("127.0.0.1:80", "unix:/run/a");
    assert_eq!(
        mistakes(&unix),
        "14: listener.front.listen: udp has no Unix sockets, expected IP:PORT or [IPv6]:PORT"
    );
    let tls = with(13, "protocol = \"tls\"").replace("pool = \"web\"", "");
    assert_eq!(
        mistakes(&tls),
        "11: listener.front.pool: missing, expected the name of a pool, or a table of names"
    );
}

#[test]
fn a_text_that_is_no_toml_is_told_with_its_line_alone() {
    let told = mistakes(&with(7, "scheduler = random"));
    assert!(told.starts_with("7: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let told = mistakes(&with(7, "name = \"twice\""));
    assert!(told.starts_with("7: "), "{told}");
}

#[test]
fn an_empty_file_is_a_mistake_so_that_a_cut_one_drains_nothing() {
    assert_eq!(
        mistakes(""),
        "1: listener: missing, expected at least one [[listener]]"
    );
}

#[test]
fn one_run_tells_every_mistake_in_the_order_of_the_file() {
    let text = BASE
        .replace("workers = 1", "workers = 0")
        .replace("scheduler = \"random\"", "scheduler = \"randon\"")
        .replace("pool = \"web\"", "pool = \"wob\"");
    let lines: Vec<usize> = parse(&text)
        .expect_err("three mistakes")
        .iter()
        .map(|note| note.line)
        .collect();
    assert_eq!(lines, [1, 7, 15]);
}

#[test]
fn what_is_odd_is_told_and_used_all_the_same() {
    let odd = |text: &str| {
        let warnings = parse(text).expect("usable").warnings;
        warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        odd(&with(8, "backends = []")),
        "8: pool.web.backends: empty: every session will be refused"
    );
    assert_eq!(
        odd(&with(8, "")),
        "5: pool.web.backends: empty: every session will be refused"
    );
    assert_eq!(
        odd(&with(
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", weight = 0 }]"
        )),
        "8: pool.web.backends: every weight is 0: every session will be refused"
    );
    assert_eq!(
        odd(&with(
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\" }, { name = \"b\", address = \"10.0.0.1:1\" }]"
        )),
        "8: pool.web.backends: a and b are both at 10.0.0.1:1"
    );
    assert_eq!(
        odd(&with(
            11,
            "[[pool]]\nname = \"x\"\nscheduler = \"random\"\nbackends = [{ name = \"a\", address = \"10.0.0.1:1\" }]\n[[listener]]"
        )),
        "11: pool.x: no listener uses this pool"
    );
}

#[test]
fn weights_that_the_scheduler_does_not_use_are_odd() {
    let odd = |scheduler: &str, backends: &[(u16, u8)]| {
        let list = backends.iter().enumerate().map(|(n, (weight, priority))| {
            format!("{{ name = \"{n}\", address = \"10.0.0.{}:1\", weight = {weight}, priority = {priority} }}", n + 1)
        });
        let list: Vec<_> = list.collect();
        let text = with(8, &format!("backends = [{}]", list.join(", ")))
            .replace("\"random\"", &format!("{scheduler:?}"));
        let warnings = parse(&text).expect("usable").warnings;
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    for name in ["round-robin", "least-connections", "random"] {
        assert_eq!(
            odd(name, &[(1, 0), (2, 0)]),
            format!(
                "7: pool.web.scheduler: weights differ, and {name} does not use them; did you mean \"weighted-{name}\"?"
            )
        );
        assert_eq!(odd(name, &[(2, 0), (2, 0), (0, 0)]), "");
        assert_eq!(odd(name, &[(1, 0), (2, 1)]), "", "of tiers of their own");
    }
    assert_eq!(odd("maglev", &[(1, 0), (2, 0)]), "");
    for name in ["weighted-failover", "overflow"] {
        assert_eq!(
            odd(name, &[(3, 0), (3, 0), (0, 0)]),
            format!(
                "8: pool.web.backends: weights are equal, and {name} goes by them: give each its own weight"
            )
        );
        assert_eq!(odd(name, &[(2, 0), (1, 0), (1, 0)]), "", "spares alike");
        assert_eq!(odd(name, &[(1, 0), (1, 1)]), "", "of tiers of their own");
    }
    assert_eq!(odd("maglev", &[(1, 0), (1, 0)]), "");
}

#[test]
fn a_header_with_too_few_brackets_is_one_mistake() {
    for header in ["[pool]", "[pool.web]"] {
        assert_eq!(
            mistakes(&with(5, header)),
            "5: pool: write [[pool]], with two brackets"
        );
    }
    assert_eq!(
        mistakes(&with(11, "[listener]")),
        "11: listener: write [[listener]], with two brackets"
    );
}

#[test]
fn datagrams_reach_no_unix_socket() {
    let text = with(
        8,
        "backends = [{ name = \"a\", address = \"unix:/tmp/x\" }]",
    );
    assert_eq!(good(&text).listeners.len(), 1);
    assert_eq!(
        mistakes(&text.replace("protocol = \"tcp\"", "protocol = \"udp\"")),
        "15: listener.front.pool: web has the backend a at unix:/tmp/x, which datagrams cannot reach"
    );
}

#[test]
fn one_place_takes_one_socket_of_each_protocol_and_free_ports_are_never_the_same() {
    let second = |protocol: &str, listen: &str| {
        let text = format!(
            "[[listener]]\nname = \"b\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\npool = \"web\""
        );
        with(16, &text)
    };
    assert_eq!(good(&second("udp", "127.0.0.1:80")).listeners.len(), 2);
    assert_eq!(good(&second("tcp", "127.0.0.2:80")).listeners.len(), 2);
    let free = second("tcp", "127.0.0.1:0").replace("127.0.0.1:80", "127.0.0.1:0");
    assert_eq!(good(&free).listeners.len(), 2);
}

#[test]
fn what_is_not_said_has_the_default() {
    let config = good(&with(9, ""));
    let pool = &config.pools[0];
    assert_eq!(
        (pool.panic_threshold, &pool.health, &pool.outlier),
        (50, &None, &None)
    );
    let slow = SlowStart {
        window: Duration::from_secs(10),
        aggression: 1.0,
        minimum: 10,
    };
    assert_eq!(pool.slow_start, Some(slow));
    let listener = &config.listeners[0];
    assert_eq!(listener.drain_timeout, Duration::from_secs(30));
    assert_eq!(listener.idle_timeout, Duration::from_secs(900));
    assert_eq!(listener.connect_timeout, Duration::from_secs(5));
    assert_eq!(listener.persistence, None);
    assert_eq!(listener.limits, Limits::default());
    let udp = good(&with(13, "protocol = \"udp\""));
    assert_eq!(udp.listeners[0].idle_timeout, Duration::from_secs(120));
    assert!(!udp.listeners[0].one_packet);
}

#[test]
fn what_the_file_says_holds_where_a_pool_or_listener_says_nothing() {
    let file = good(&with(2, "drain_timeout = \"7s\"\nzone = \"north\""));
    assert_eq!(file.listeners[0].drain_timeout, Duration::from_secs(7));
    assert_eq!(file.pools[0].zone.as_deref(), Some("north"));
    let own = with(16, "drain_timeout = \"9s\"")
        .replace("name = \"web\"", "name = \"web\"\nzone = \"south\"");
    let own = good(&own.replace("workers = 1", "zone = \"north\""));
    assert_eq!(own.listeners[0].drain_timeout, Duration::from_secs(9));
    assert_eq!(own.pools[0].zone.as_deref(), Some("south"));
}

#[test]
fn a_default_timeout_is_never_longer_than_a_short_interval() {
    let health = |text| {
        good(&with(9, text)).pools[0]
            .health
            .clone()
            .expect("a check")
    };
    let short = health("health = { kind = \"tcp\", interval = \"200ms\" }");
    assert_eq!(short.timeout, Duration::from_millis(200));
    let long = health("health = { kind = \"tcp\", interval = \"10s\" }");
    assert_eq!(long.timeout, Duration::from_secs(1));
    assert_eq!((long.rise, long.fall, long.jitter), (2, 3, 10));
    let all = health("health = { kind = \"tcp\" }");
    assert_eq!(all.interval, Duration::from_secs(2));
}

#[test]
fn the_edges_of_every_range_are_in_it() {
    for (line, text) in [
        (1, "workers = 1024"),
        (2, "drain_timeout = \"0s\""),
        (2, "drain_timeout = \"1d\""),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", weight = 0 }]",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", weight = 65_535 }]",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", weight = 0xffff }]",
        ),
        (
            8,
            "backends = [{ name = \"a\", address = \"10.0.0.1:1\", priority = 255 }]",
        ),
        (
            9,
            "health = { kind = \"tcp\", interval = \"1ms\", timeout = \"1ms\" }",
        ),
        (
            9,
            "health = { kind = \"tcp\", interval = \"2s\", timeout = \"2s\", fast_interval = \"2s\" }",
        ),
        (
            9,
            "health = { kind = \"tcp\", rise = 1, fall = 1000, jitter = 50 }",
        ),
        (10, "panic_threshold = 0"),
        (10, "panic_threshold = 100"),
        (
            10,
            "outlier = { base_ejection = \"1m\", max_ejection = \"1m\" }",
        ),
        (
            16,
            "persistence = { kind = \"source\", prefix_v4 = 0, prefix_v6 = 0 }",
        ),
        (
            16,
            "persistence = { kind = \"source\", prefix_v4 = 32, prefix_v6 = 128 }",
        ),
        (16, "persistence = { kind = \"none\" }"),
    ] {
        good(&with(line, text));
    }
}

#[test]
fn most_connections_of_0_are_no_limit() {
    for (most, expected) in [("0", None), ("1", Some(1)), ("4294967295", Some(u32::MAX))] {
        let line = format!(
            "backends = [{{ name = \"a\", address = \"10.0.0.1:1\", max_connections = {most} }}]"
        );
        assert_eq!(
            good(&with(8, &line)).pools[0].backends[0].max_connections,
            expected
        );
    }
}

#[test]
fn a_path_may_be_as_long_as_a_unix_socket_takes() {
    let file = |length: usize| {
        with(
            14,
            &format!("listen = \"unix:/{}\"", "x".repeat(length - 1)),
        )
    };
    good(&file(107));
    assert_eq!(
        mistakes(&file(108)),
        "14: listener.front.listen: the path has 108 bytes, expected at most 107"
    );
}

#[test]
fn bytes_and_connections_are_limited_by_what_toml_can_say() {
    let most = i64::MAX;
    let line = format!(
        "limits = {{ bytes_per_second_in = {most}, bytes_per_second_out = 2, connections_per_second = 3, connections = 4 }}"
    );
    let expected = Limits {
        bytes_per_second_in: 9_223_372_036_854_775_807,
        bytes_per_second_out: 2,
        connections_per_second: 3,
        connections: 4,
    };
    assert_eq!(good(&with(16, &line)).listeners[0].limits, expected);
    let budget = good(&with(
        1,
        &format!("budget = {{ bytes = {most}, descriptors = 2, sessions = 3 }}"),
    ))
    .budget;
    let expected = Budget {
        bytes: 9_223_372_036_854_775_807,
        descriptors: 2,
        sessions: 3,
    };
    assert_eq!(budget, expected);
}

#[test]
fn tls_names_are_kept_in_lower_case_beside_the_pool_for_all_others() {
    let text = with(
        13,
        "protocol = \"tls\"\nnames = { \"WWW.a.example\" = \"web\", \"*.b.example\" = \"web\" }",
    );
    let names = [("*.b.example", "web"), ("www.a.example", "web")]
        .map(|(name, pool)| (name.to_owned(), pool.to_owned()));
    let mut expected = Target::ServerName {
        names: names.into(),
        otherwise: Some("web".into()),
    };
    if let (Target::ServerName { names, .. }, Target::ServerName { names: found, .. }) =
        (&mut expected, &mut good(&text).listeners[0].target.clone())
    {
        names.sort();
        found.sort();
        assert_eq!(names, found);
    } else {
        panic!("no names");
    }
}

#[test]
fn every_scheduler_is_known_by_its_name() {
    for name in scheduler::NAMES {
        let config = good(&with(7, &format!("scheduler = \"{name}\"")));
        assert_eq!(config.pools[0].scheduler.name, name);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_file_with_a_line_spoilt_panics(line in 1_usize..17, text in "[a-z_]{1,8} = [\\[\\]{}\"a-z0-9., =]{0,24}") {
        let _ = parse(&with(line, &text));
    }
}

/// A folder with the certificate and the key that the reference names.
fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("clb-reference-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        let (cert, key) = http_tests::key_pair();
        std::fs::write(folder.join("cert.pem"), cert).expect("written");
        std::fs::write(folder.join("key.pem"), key).expect("written");
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join("key.pem"), owner).expect("ours");
        folder
    });
    &FOLDER
}

/// The keys that the section known by `path` takes, as the mistake of one that it does not tells.
fn keys_of(path: &str) -> Vec<String> {
    let text = REFERENCE.replacen(path, &format!("{path}\nqqqqqqqq = 1"), 1);
    let told = parse_in(&text, folder())
        .map(|parsed| parsed.config)
        .expect_err(path);
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    let (_, keys) = told.split_once("expected one of ").expect(&told);
    keys.split(", ").map(Into::into).collect()
}

const REFERENCE: &str = include_str!("../reference.toml");

#[test]
fn the_reference_is_a_good_file_with_nothing_odd_in_it() {
    let parsed = parse_in(REFERENCE, folder()).expect("the reference");
    assert_eq!(parsed.warnings, []);
}

#[test]
fn the_reference_names_every_key_and_every_scheduler() {
    let sections = [
        "# Worker threads, 1 to 1024. Default: one a core. A restart changes it.",
        "[budget]",
        "[key_server]",
        "[packet]",
        "[[pool]]",
        "[[pool.backends]]",
        "[pool.health]",
        "[pool.outlier]",
        "[pool.slow_start]",
        "[pool.options]                       # of the scheduler; each takes its own",
        "[pool.tls]",
        "[pool.connections]",
        "[pool.retry_budget]",
        "[[listener]]",
        "[listener.syn_proxy]",
        "[listener.compress]",
        "[listener.request_limits]",
        "[listener.request_limits.adaptive]",
        "[listener.forwarded]",
        "[listener.timeouts]",
        "[listener.retry]",
        "[listener.hedge]",
        "[listener.http2]",
        "[[listener.rule]]",
        "[listener.rule.rewrite]",
        "[listener.rule.request_headers]",
        "[listener.rule.sticky]",
    ];
    for key in sections.into_iter().flat_map(keys_of) {
        let said = [" = ", "]\n", "]]\n", "] "]
            .iter()
            .any(|end| REFERENCE.contains(&format!("{key}{end}")));
        assert!(said, "{key}");
    }
    for name in scheduler::NAMES {
        assert!(REFERENCE.contains(name), "{name}");
    }
}
