//! What listeners of http and https may say, and a table of what is said when it is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lb_l7::Timeouts;
use lb_l7::upstream::{BackendProtocol, Hedge, RetryOn};

use super::*;

/// A listener of http, in whose line 10 the cases below say something.
const BASE: &str = "[[pool]]\nname = \"web\"\nscheduler = \"random\"\n\
    backends = [{ name = \"a\", address = \"127.0.0.1:1\" }]\n\
    [[listener]]\nname = \"front\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:80\"\npool = \"web\"\n";

/// A certificate for `a.test` that signs itself, and its key.
pub(super) fn key_pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A folder with `cert.pem` and `key.pem`, and one of this name beside them.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn with(name: &str, text: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("clb-http-tests-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(folder));
        fs::create_dir_all(&folder.0).expect("a folder of its own");
        let (cert, key) = key_pair();
        folder.write("cert.pem", cert.as_bytes());
        folder.write("key.pem", key.as_bytes());
        folder.write(name, text);
        folder
    }

    pub(super) fn write(&self, name: &str, text: &[u8]) {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        // Keys are their owner's alone.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn mistakes_in(text: &str, folder: &Path) -> String {
    let told = parse_in(text, folder).map(|parsed| parsed.config);
    let told: Vec<_> = told
        .expect_err(text)
        .iter()
        .map(ToString::to_string)
        .collect();
    told.join("\n")
}

/// What is told of each line 10 of the listener is this, under its key, and nothing else.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let told = mistakes_in(&format!("{BASE}{text}\n"), Path::new(""));
        assert_eq!(told, format!("10: listener.front.{expected}"), "{text}");
    }
}

fn http(text: &str) -> Http {
    let text = format!("{BASE}{text}\n");
    let parsed = parse(&text).unwrap_or_else(|notes| panic!("{text}: {notes:?}"));
    match parsed.config.listeners[0].target.clone() {
        Target::Http(http) => *http,
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistakes_of_rules_are_told() {
    let field = "the field `connection` frames the message or is for one hop, and is not for rules to change";
    let op = format!("rule[0].request_headers: {field}");
    check(&[
        ("rule = 1", "rule: expected a list of tables, found 1"),
        (
            "rule = [{ host = \"a.test\" }]",
            "rule[0].pool: missing, expected one of pool, pools, redirect, respond",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", redirect = { scheme = \"https\" } }]",
            "rule[0].redirect: a rule does one thing, and pool is there",
        ),
        (
            "rule = [{ name = \"a b\", pool = \"web\", path = \"/x\" }]",
            "rule[0].name: expected a name of 1 to 64 letters, digits, '-', '_' or '.', found \"a b\"",
        ),
        (
            "rule = [{ pool = \"wev\", path = \"/x\" }]",
            "rule[0].pool: unknown pool \"wev\", expected \"web\"",
        ),
        (
            "rule = [{ pool = \"web\", paht = \"/x\" }]",
            "rule[0].paht: unknown key; did you mean \"path\"?",
        ),
        (
            "rule = [{ pool = \"web\", path = \"/x\", path_prefix = \"/y\" }]",
            "rule[0].path_prefix: a rule has one path, and path is there",
        ),
        (
            "rule = [{ pool = \"web\", path = \"x\" }]",
            "rule[0].path: `x` is no path: it begins with `/` and has no `?` and no `#`",
        ),
        (
            "rule = [{ pool = \"web\", host = \"a_b:80\" }]",
            "rule[0].host: `a_b:80` is no host: expected `example.com`, `*.example.com` or an address, without port",
        ),
        (
            "rule = [{ pool = \"web\", methods = [\"get\"] }]",
            "rule[0].methods[0]: \"get\" is no method, expected one such as \"GET\"",
        ),
        (
            "rule = [{ pool = \"web\", headers = { \"a b\" = \"1\" } }]",
            "rule[0].headers.\"a b\": \"a b\" is not the name of a field",
        ),
        (
            "rule = [{ pool = \"web\", headers = { \"a\" = 1 } }]",
            "rule[0].headers.\"a\": expected a text, true for any, or { regex = \"…\" }, found 1",
        ),
        (
            "rule = [{ pool = \"web\", query = { \"\" = true } }]",
            "rule[0].query: the name of a query parameter is empty",
        ),
        (
            "rule = [{ pool = \"web\", cookies = { \"a b\" = true } }]",
            "rule[0].cookies: `a b` cannot be the name of a cookie",
        ),
        (
            "rule = [{ path = \"/x\", pools = [{ pool = \"web\", weight = 0 }] }]",
            "rule[0].pools: every weight is zero",
        ),
        (
            "rule = [{ path = \"/x\", pools = [{ weight = 1 }] }]",
            "rule[0].pools[0].pool: missing, expected the name of a pool",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", split_by = { cookie = \"a\" } }]",
            "rule[0].split_by: only with pools",
        ),
        (
            "rule = [{ path = \"/x\", pools = [{ pool = \"web\" }], split_by = {} }]",
            "rule[0].split_by: expected a cookie or a header",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", request_headers = { remove = [\"Connection\"] } }]",
            &op,
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", response_headers = { set = { a = \"\\n\" } } }]",
            "rule[0].response_headers.set.\"a\": a field has no line ends and no control characters",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", rewrite = {} }]",
            "rule[0].rewrite: empty, expected host, path, path_prefix or path_regex",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", rewrite = { path_prefix = \"/y\" } }]",
            "rule[0].rewrite: a prefix is replaced, and not every match of the rule is by a prefix",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", rewrite = { path_regex = \"a\" } }]",
            "rule[0].rewrite.path_regex: path_regex and to are used together",
        ),
        (
            "rule = [{ path = \"/x\", redirect = { status = 300, scheme = \"https\" } }]",
            "rule[0].redirect.status: expected one of 301, 302, 303, 307, 308, found 300",
        ),
        (
            "rule = [{ path = \"/x\", redirect = {} }]",
            "rule[0].redirect: the redirect leads to where it comes from",
        ),
        (
            "rule = [{ path = \"/x\", respond = {} }]",
            "rule[0].respond.status: missing, expected a status in 200..=599",
        ),
        (
            "rule = [{ path = \"/x\", respond = { status = 204, body = \"a\" } }]",
            "rule[0].respond: an answer with status 204 has no body",
        ),
        (
            "rule = [{ path = \"/x\", pool = \"web\", timeouts = { fist_byte = \"1s\" } }]",
            "rule[0].timeouts.fist_byte: unknown key; did you mean \"first_byte\"?",
        ),
    ]);
}

#[test]
fn rules_that_cannot_stand_beside_each_other_are_told_at_the_later_one() {
    check(&[
        (
            "rule = [{ name = \"a\", pool = \"web\", path = \"/x\" }, { pool = \"web\", path = \"/x\" }]",
            "rule[1]: it matches the very same as rule `a`",
        ),
        (
            "rule = [{ name = \"rule-2\", pool = \"web\", path = \"/x\" }, { pool = \"web\", path = \"/y\" }]",
            "rule[1]: another rule has the same name",
        ),
    ]);
    let text = "rule = [{ name = \"default\", pool = \"web\", path = \"/x\" }]";
    check(&[(text, "rule.default: another rule has the same name")]);
    check(&[(
        "rule = [{ name = \"all\", redirect = { scheme = \"https\" } }]",
        "rule: rule all is for every request: none is left for pool \"web\"",
    )]);
}

#[test]
fn mistakes_of_the_keys_of_http_are_told() {
    let seconds = "expected a duration of 1ms to 1d, such as \"500ms\", \"2s\" or \"5m\"";
    let zero = format!("timeouts.total: {seconds}, found \"0s\"");
    check(&[
        ("timeouts = { total = \"0s\" }", &zero),
        (
            "timeouts = { conect = \"1s\" }",
            "timeouts.conect: unknown key; did you mean \"connect\"?",
        ),
        (
            "retry = { tries = 17 }",
            "retry.tries: expected a whole number in 1..=16, found 17",
        ),
        (
            "retry = { on = [\"rest\"] }",
            "retry.on[0]: unknown failure \"rest\", expected one of connect-failure, refused-stream, stale, reset, timeout, 502, 503, 504; did you mean \"reset\"?",
        ),
        (
            "retry = { statuses = [\"200\"] }",
            "retry.statuses[0]: expected a status in 400..=599, found \"200\"",
        ),
        (
            "hedge = { after = \"2m\" }",
            "hedge.after: expected a duration of 1ms to 1m, such as \"500ms\" or \"2s\", found \"2m\"",
        ),
        (
            "hedge = { after = \"1s\", percentile = 90 }",
            "hedge.percentile: only without after, which is a delay of its own",
        ),
        (
            "hedge = { percentile = 49 }",
            "hedge.percentile: expected a number in 50..=99.99, found 49",
        ),
        (
            "hedge = { most = 4 }",
            "hedge.most: expected a whole number in 1..=3, found 4",
        ),
        (
            "http2 = 1",
            "http2: expected a table, true or false, found 1",
        ),
        (
            "http2 = { streams = 0 }",
            "http2.streams: expected a whole number in 1..=4294967295, found 0",
        ),
        (
            "http2 = { connection_window = 65534 }",
            "http2.connection_window: expected a whole number in 65535..=2147483647, found 65534",
        ),
        (
            "body_limit = -1",
            "body_limit: expected a whole number in 0..=9223372036854775807, found -1",
        ),
        (
            "header_limit = { fields = 257 }",
            "header_limit.fields: expected a whole number in 1..=256, found 257",
        ),
        (
            "paths = { slashes = \"merg\" }",
            "paths.slashes: unknown word \"merg\", expected one of merge, keep; did you mean \"merge\"?",
        ),
        (
            "compress = { codecs = [\"gzp\"] }",
            "compress.codecs[0]: unknown coding \"gzp\", expected one of br, gzip, zstd; did you mean \"gzip\"?",
        ),
        (
            "compress = { gzip_level = 10 }",
            "compress.gzip_level: expected a whole number in 1..=9, found 10",
        ),
        (
            "request_limits = { burst = 1 }",
            "request_limits.burst: only with per_second",
        ),
        (
            "request_limits = { client_per_minutes = 1 }",
            "request_limits.client_per_minutes: unknown key; did you mean \"client_per_minute\"?",
        ),
        (
            "request_limits = { adaptive = { min = 9, max = 8 } }",
            "request_limits.adaptive.min: expected at most the max (8), found 9",
        ),
        (
            "certificate_headers = 1",
            "certificate_headers: expected true or false, found 1",
        ),
        ("explain = 1", "explain: expected true or false, found 1"),
        (
            "trusted = [\"10.0.0.1/8\"]",
            "trusted[0]: \"10.0.0.1/8\" has bits behind its prefix, expected 10.0.0.0/8 or a longer prefix",
        ),
        (
            "forwarded = { by = \"edge\" }",
            "forwarded.by: by `edge` does not begin with `_` or has other than letters, digits, `.`, `_`, `-`",
        ),
        (
            "forwarded = { x_forwarded = \"apend\" }",
            "forwarded.x_forwarded: unknown mode \"apend\", expected one of append, pass, remove, replace; did you mean \"append\"?",
        ),
        (
            "request_id = { header = \"a b\" }",
            "request_id.header: \"a b\" is not the name of a field",
        ),
        (
            "trace = { mode = \"on\" }",
            "trace.mode: unknown mode \"on\", expected one of join, pass, off",
        ),
        (
            "access_log = {}",
            "access_log.file: missing, expected a path, or \"stdout\"",
        ),
        (
            "access_log = { file = \"a\", format = \"jsn\" }",
            "access_log.format: unknown format \"jsn\", expected one of combined, json; did you mean \"json\"?",
        ),
        (
            "access_log = { file = \"a\", sample = 0 }",
            "access_log.sample: expected a whole number in 1..=4294967295, found 0",
        ),
        (
            "hash = { by = \"cookie\" }",
            "hash.name: missing, expected the name of what is hashed",
        ),
        (
            "hash = { by = \"path\", name = \"a\" }",
            "hash.name: only by cookie, header or query",
        ),
        (
            "hash = { by = \"path\", prefix_v4 = 8 }",
            "hash.prefix_v4: only by source",
        ),
        (
            "hash = { by = \"header\", name = \"a b\" }",
            "hash.name: \"a b\" is not the name of a field",
        ),
        (
            "hash = { by = \"coockie\" }",
            "hash.by: unknown kind of key \"coockie\", expected one of source, cookie, header, path, query, target; did you mean \"cookie\"?",
        ),
    ]);
}

#[test]
fn mistakes_of_cookies_are_told() {
    check(&[
        (
            "sticky = {}",
            "sticky.cookie: missing, expected the name of a cookie",
        ),
        (
            "sticky = { cookie = \"a b\" }",
            "sticky.cookie: name `a b` is not 1 to 64 letters, digits or marks of a token",
        ),
        (
            "sticky = { cookie = \"a\", key = \"00\" }",
            "sticky.key: expected 16 bytes, found 1",
        ),
        (
            "sticky = { cookie = \"a\", previous_keys = [] }",
            "sticky.previous_keys: only with a key, which signs",
        ),
        (
            "sticky = { cookie = \"a\", max_age = \"1500ms\" }",
            "sticky.max_age: max_age is 1.5s: expected whole seconds, at least one",
        ),
        (
            "sticky = { cookie = \"a\", mode = \"rewrite\", path = \"/\" }",
            "sticky.path: only with mode insert: the cookie is the backend's",
        ),
        (
            "sticky = { cookie = \"a\", mode = \"rewrite\", max_idle = \"1s\" }",
            "sticky.max_idle: max_idle needs an inserted cookie",
        ),
        (
            "sticky = { cookie = \"a\", same_site = \"none\" }",
            "sticky.same_site: same_site none needs `secure` always",
        ),
        (
            "sticky = { cookie = \"a\", path = \"x\" }",
            "sticky.path: path `x` does not begin with `/`, or has `;` or unprintable bytes in it",
        ),
        (
            "sticky = { cookie = \"a\", domain = \"x y\" }",
            "sticky.domain: domain `x y` is not a host name",
        ),
    ]);
}

#[test]
fn keys_of_other_protocols_are_told() {
    let http = "only for protocol http or https";
    check(&[
        (
            "idle_timeout = \"1s\"",
            "idle_timeout: only for protocol tcp, udp or tls; http has timeouts",
        ),
        (
            "connect_timeout = \"1s\"",
            "connect_timeout: only for protocol tcp, udp or tls; http has timeouts",
        ),
        (
            "persistence = { kind = \"source\" }",
            "persistence: only for protocol tcp, udp or tls; http has sticky",
        ),
        ("one_packet = true", "one_packet: only for protocol udp"),
        ("names = {}", "names: only for protocol tls"),
        (
            "proxy_protocol = { send = \"v2\" }",
            "proxy_protocol: send is only for protocol tcp or tls; http has send_proxy of the pool",
        ),
        ("certificates = []", "certificates: only for protocol https"),
        (
            "tls_policy = \"modern\"",
            "tls_policy: only for protocol https",
        ),
        ("tickets = true", "tickets: only for protocol https"),
    ]);
    for key in [
        "rule = []",
        "timeouts = {}",
        "sticky = {}",
        "retry = {}",
        "hedge = {}",
        "http2 = false",
    ] {
        for protocol in ["tcp", "udp", "tls"] {
            let text = BASE.replace("\"http\"", &format!("\"{protocol}\""));
            let told = mistakes_in(&format!("{text}{key}\n"), Path::new(""));
            let name = key.split(' ').next().unwrap_or_default();
            assert_eq!(
                told,
                format!("10: listener.front.{name}: {http}"),
                "{protocol}"
            );
        }
    }
    let nothing = BASE.replace("pool = \"web\"", "");
    assert_eq!(
        mistakes_in(&nothing, Path::new("")),
        "5: listener.front.pool: missing, expected the name of a pool, or rules"
    );
}

#[test]
fn mistakes_of_the_ways_to_backends_are_told() {
    let pool = |text: &str| BASE.replace("[[listener]]", &format!("{text}\n[[listener]]"));
    for (text, expected) in [
        (
            "protocol = \"http2\"",
            "protocol: unknown protocol \"http2\", expected one of http1, h2, auto; did you mean \"http1\"?",
        ),
        (
            "protocol = \"auto\"",
            "protocol: \"auto\" is settled by TLS, expected tls",
        ),
        (
            "connections = { max_connections = 0 }",
            "connections.max_connections: expected a whole number in 1..=4294967295, found 0",
        ),
        (
            "connections = { max_conections = 1 }",
            "connections.max_conections: unknown key; did you mean \"max_connections\"?",
        ),
        (
            "retry_budget = { percent = 101 }",
            "retry_budget.percent: expected a whole number in 0..=100, found 101",
        ),
        (
            "tls = { roots = \"none.pem\" }",
            "tls.roots: none.pem: cannot be read: No such file or directory (os error 2)",
        ),
        (
            "tls = { roots = \"-----BEGIN nothing\" }",
            "tls.roots: the PEM is broken: ",
        ),
        (
            "tls = { insecure = true, roots = \"-----BEGIN nothing\" }",
            "tls.insecure: whoever believes everybody needs no roots",
        ),
        (
            "tls = { insecure = true, name = \"a b\" }",
            "tls.name: \"a b\" is not the name of a host",
        ),
        (
            "tls = { insecure = true, cert = \"a.pem\" }",
            "tls.cert: a.pem: cannot be read: No such file or directory (os error 2)\n5: pool.web.tls.key: missing, expected a path, or PEM",
        ),
    ] {
        let told = mistakes_in(&pool(text), Path::new(""));
        assert!(
            told.starts_with(&format!("5: pool.web.{expected}")),
            "{text}: {told}"
        );
    }
}

#[test]
fn mistakes_of_tls_are_told_with_the_file_that_is_at_fault() {
    let folder = Folder::with(
        "bad.pem",
        b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    );
    let (_, other) = key_pair();
    folder.write("other.pem", other.as_bytes());
    let path = |name: &str| folder.0.join(name).display().to_string();
    let https = BASE.replace("\"http\"", "\"https\"");
    let good = "certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]";
    let cases = [
        (
            String::new(),
            "5: certificates: missing, expected a list of { cert, key }".to_owned(),
        ),
        (
            "certificates = []".into(),
            "10: certificates: empty, expected at least one { cert, key }".into(),
        ),
        (
            "certificates = [{ cert = \"cert.pem\" }]".into(),
            "10: certificates[0].key: missing, expected a path, or PEM".into(),
        ),
        (
            "certificates = [{ cert = \"none.pem\", key = \"key.pem\" }]".into(),
            format!(
                "10: certificates[0].cert: {}: cannot be read: No such file or directory (os error 2)",
                path("none.pem")
            ),
        ),
        (
            "certificates = [{ cert = \"key.pem\", key = \"key.pem\" }]".into(),
            format!(
                "10: certificates[0].cert: {}: no certificate (-----BEGIN CERTIFICATE-----)",
                path("key.pem")
            ),
        ),
        (
            "certificates = [{ cert = \"bad.pem\", key = \"key.pem\" }]".into(),
            format!(
                "10: certificates[0].cert: {}: certificate 1 cannot be read",
                path("bad.pem")
            ),
        ),
        (
            "certificates = [{ cert = \"cert.pem\", key = \"other.pem\" }]".into(),
            format!(
                "10: certificates[0].key: {}: the private key does not belong to the first certificate",
                path("other.pem")
            ),
        ),
        (
            "certificates = [{ cert = \"cert.pem\", key = \"key.pem\", names = [\"a_b\"] }]".into(),
            "10: certificates[0].names[0]: expected the name of a host, such as \"www.example.com\" or \"*.example.com\"".into(),
        ),
        (
            "certificates = [{ cert = \"cert.pem\", key = \"key.pem\", ocsp = \"bad.pem\" }]".into(),
            format!(
                "10: certificates[0].ocsp: {}: not a successful OCSP response in DER",
                path("bad.pem")
            ),
        ),
        (
            "certificates = [{ cert = \"cert.pem\", key = \"key.pem\", nmes = [] }]".into(),
            "10: certificates[0].nmes: unknown key; did you mean \"names\"?".into(),
        ),
        (
            format!("tls_policy = \"tls_cipher_policy_1_0\"\n{good}"),
            "10: tls_policy: tls_cipher_policy_1_0 allows TLS 1.0, which RFC 8996 forbids and this program does not contain; use tls_cipher_policy_1_2 or newer".into(),
        ),
        (
            format!("tls_policy = \"modrn\"\n{good}"),
            "10: tls_policy: no TLS policy is named \"modrn\"; there are modern, tls_cipher_policy_1_2, tls_cipher_policy_1_2_strict, tls_cipher_policy_1_2_strict_with_1_3; did you mean \"modern\"?".into(),
        ),
        (
            format!("client_auth = \"required\"\n{good}"),
            "10: client_auth: only with client_ca, whose certificates are believed".into(),
        ),
        (
            format!("client_ca = \"key.pem\"\n{good}"),
            format!(
                "10: client_ca: {}: no certificate (-----BEGIN CERTIFICATE-----)",
                path("key.pem")
            ),
        ),
        (
            format!("client_ca = \"cert.pem\"\nclient_crl = \"key.pem\"\n{good}"),
            format!(
                "11: client_crl: {}: no revocation list (-----BEGIN X509 CRL-----)",
                path("key.pem")
            ),
        ),
        (
            format!("tickets = [\"bad.pem\"]\n{good}"),
            format!(
                "10: tickets[0]: {}: a ticket key has 48 or 80 bytes, this has 59",
                path("bad.pem")
            ),
        ),
        (
            format!("tickets = []\n{good}"),
            "10: tickets: empty, expected at least one path".into(),
        ),
        (
            format!("tickets = 1\n{good}"),
            "10: tickets: expected a list of paths of keys, or true or false, found 1".into(),
        ),
    ];
    for (text, expected) in cases {
        let told = mistakes_in(&format!("{https}{text}\n"), &folder.0);
        let (line, rest) = expected.split_once(": ").expect("a line");
        assert_eq!(told, format!("{line}: listener.front.{rest}"), "{text}");
    }
}

#[test]
fn what_only_http_uses_is_odd_in_a_pool_of_other_listeners() {
    let odd = |protocol: &str| {
        let text = BASE
            .replace("\"http\"", &format!("\"{protocol}\""))
            .replace(
                "[[listener]]",
                "protocol = \"h2\"\nconnections = {}\n[[listener]]",
            );
        let warnings = parse(&text).expect("usable").warnings;
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    assert_eq!(odd("http"), "");
    let text = "only listeners of http use it, and none uses this pool";
    assert_eq!(
        odd("tcp"),
        format!("5: pool.web.protocol: {text}\n6: pool.web.connections: {text}")
    );
}

#[test]
fn a_file_that_was_replaced_is_another_configuration() {
    let folder = Folder::with("ticket.key", &[7; 80]);
    let text = BASE.replace("\"http\"", "\"https\"")
        + "certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]\n\
           client_ca = \"cert.pem\"\ntickets = [\"ticket.key\"]\n";
    let read = || parse_in(&text, &folder.0).expect("good").config;
    let first = read();
    assert_eq!(read(), first);
    folder.write("ticket.key", &[8; 80]);
    let second = read();
    assert_ne!(second, first);
    let (cert, key) = key_pair();
    folder.write("cert.pem", cert.as_bytes());
    folder.write("key.pem", key.as_bytes());
    assert_ne!(read(), second);
}

#[test]
fn no_secret_is_shown() {
    let (cert, key) = key_pair();
    let text = format!(
        "{}certificates = [{{ cert = \'\'\'\n{cert}\'\'\', key = \'\'\'\n{key}\'\'\' }}]\n",
        BASE.replace("\"http\"", "\"https\"")
    );
    let shown = format!("{:?}", parse(&text).expect("PEM in the text").config);
    let middle = key.lines().nth(1).expect("a line of the key");
    assert!(!shown.contains(middle), "{shown}");
}

#[test]
fn what_is_not_said_of_http_is_the_librarys_default() {
    let none = http("");
    assert_eq!(none.timeouts, Timeouts::default());
    assert_eq!((none.body_limit, none.explain), (u64::MAX, true));
    assert_eq!(none.http2, Some(Default::default()));
    assert_eq!(none.head, Default::default());
    assert_eq!(none.retry, Default::default());
    assert!(none.rules.is_empty() && none.sticky.is_none() && none.request_id.is_none());
    assert_eq!(none.pools().into_iter().collect::<Vec<_>>(), ["web"]);
    assert_eq!(http("http2 = false").http2, None);
    assert!(!http("http2 = false").prior_knowledge);
    assert!(http("request_id = true").request_id.is_some());
}

#[test]
fn every_phase_has_its_own_time() {
    let keys = [
        "handshake",
        "request_head",
        "body_idle",
        "connect",
        "first_byte",
        "between_bytes",
        "write_idle",
        "total",
        "keep_alive",
        "tunnel_idle",
        "expect_continue",
    ];
    let all = keys
        .iter()
        .zip(1..)
        .map(|(key, n)| format!("{key} = \"{n}s\""));
    let text = format!("timeouts = {{ {} }}", all.collect::<Vec<_>>().join(", "));
    let found = http(&text).timeouts;
    let seconds = [
        found.handshake,
        found.request_head,
        found.body_idle,
        found.connect,
        found.first_byte,
        found.between_bytes,
        found.write_idle,
        found.total,
        found.keep_alive,
        found.tunnel_idle,
        found.expect_continue,
    ]
    .map(|time| time.as_secs());
    assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_rule_begins_from_what_its_listener_says() {
    let found = http(
        "timeouts = { total = \"9s\" }\nretry = { tries = 4, on = [\"timeout\", \"503\"] }\n\
         rule = [\n{ path = \"/a\", pool = \"web\", timeouts = { connect = \"1s\" }, retry = { tries = 5 } },\n\
         { path = \"/b\", pool = \"web\" }]",
    );
    let [a, b] = found.rules.as_slice() else {
        panic!("{found:?}");
    };
    let times = a.timeouts.expect("its own");
    assert_eq!((times.total.as_secs(), times.connect.as_secs()), (9, 1));
    let retry = a.retry.as_ref().expect("its own");
    let on = RetryOn::NONE
        .with(RetryOn::TIMEOUT)
        .with(RetryOn::STATUS_503);
    assert_eq!((retry.tries, retry.on), (5, on));
    assert_eq!((a.name.as_str(), b.name.as_str()), ("rule-1", "rule-2"));
    assert!(b.timeouts.is_none() && b.retry.is_none());
}

#[test]
fn a_hedge_is_read_and_a_rule_may_have_none() {
    let ms = Duration::from_millis;
    let percentile = "hedge = { percentile = 99, floor = \"3ms\", most = 3 }";
    for (text, expected) in [
        ("", None),
        ("hedge = false", None),
        ("hedge = true", Some(Hedge::default())),
        ("hedge = {}", Some(Hedge::default())),
        ("hedge = { after = \"100ms\" }", Some(Hedge::after(ms(100)))),
        (percentile, Some(Hedge::quantile(0.99, ms(3)).most(3))),
    ] {
        assert_eq!(http(text).hedge, expected, "{text}");
    }
    let found = http(
        "hedge = true\nrule = [\n{ path = \"/a\", pool = \"web\", hedge = false },\n\
         { path = \"/b\", pool = \"web\", hedge = { after = \"1s\" } },\n\
         { path = \"/c\", pool = \"web\" }]",
    );
    let hedges: Vec<_> = found.rules.iter().map(|rule| rule.hedge).collect();
    assert_eq!(
        hedges,
        [Some(None), Some(Some(Hedge::after(ms(1000)))), None]
    );
}

#[test]
fn the_way_to_backends_is_read() {
    let text = BASE.replace(
        "[[listener]]",
        "protocol = \"h2\"\nconnections = { max_connections = 1, max_pending = 2, max_idle = 3, \
         max_requests = 4, max_streams = 5, idle_timeout = \"6s\", max_age = \"7s\", ping = \"8s\", \
         connect_timeout = \"9s\", send_proxy = \"v2\" }\n\
         retry_budget = { percent = 10, floor_per_second = 11, window = \"12s\" }\n[[listener]]",
    );
    let pool = parse(&text).expect("good").config.pools.remove(0);
    let config = &pool.upstream.config;
    assert_eq!(config.protocol, BackendProtocol::Http2);
    let numbers = [
        config.connections,
        config.pending,
        config.idle_connections,
        config.requests,
        config.streams,
    ];
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let ping = config.http2_ping.unwrap_or_default();
    let times = [config.idle_time, config.age, ping, config.connect_timeout];
    assert_eq!(times.map(|time| time.as_secs()), [6, 7, 8, 9]);
    assert_eq!(
        config.proxy_protocol,
        Some(lbcore::proxy_protocol::Version::V2)
    );
    let budget = pool.upstream.retries;
    assert_eq!((budget.percent, budget.floor_per_second), (10, 11));
    assert_eq!(budget.window.as_secs(), 12);
}
