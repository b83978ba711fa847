use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};

use http::{StatusCode, Version};
use lbcore::backend::Address;
use proptest::prelude::*;
use serde_json::Value;

use super::desk::Batch;
use super::line::Moment;
use super::*;
use crate::report::tests::{address, report};
use crate::report::{Party, Phase, Report, Termination, Tls, Why};

/// 2026-11-23T04:05:06.000007Z.
const UNIX: Duration = Duration::new(1_795_406_706, 7_000);

fn line_of(format: Format, report: &Report<'_>, sample: u32) -> String {
    let mut line = Vec::new();
    let moment = Moment { unix: UNIX, sample };
    LineWriter::new(format).write(&mut line, report, moment);
    String::from_utf8(line).unwrap()
}

fn parsed(report: &Report<'_>) -> Value {
    serde_json::from_str(&line_of(Format::Json, report, 1)).unwrap()
}

#[test]
fn a_combined_line_is_that_of_nginx_with_more_behind() {
    let address = address();
    let mut report = report(&address);
    assert_eq!(
        line_of(Format::Combined, &report, 1),
        "10.0.0.9 - - [23/Nov/2026:04:05:06 +0000] \"GET /index.html?a=b HTTP/1.1\" 200 12 \"-\" \
         \"curl/8.5.0\" \"example.com\" \"web\" \"all\" \"app\" \"10.0.0.11:8080\" 1 0.062000 \
         0.028000 done - \"4bf92f3577b34da6\"\n"
    );
    report.client.address = "[2001:db8::9]:1".parse().unwrap();
    report.request = crate::report::RequestLine::new("", b"", b"");
    report.request.referer = Some(b"\"\n");
    (report.route, report.upstream, report.backend) = (None, None, None);
    report.status = None;
    report.times.response = None;
    report.termination = Termination::new(Party::Client, Phase::Handshake, Why::Closed);
    report.detail = Some("tls-hello");
    assert_eq!(
        line_of(Format::Combined, &report, 1),
        "2001:db8::9 - - [23/Nov/2026:04:05:06 +0000] \"\" 000 12 \"\\x22\\x0A\" \"-\" \"-\" \
         \"web\" \"-\" \"-\" \"-\" 0 0.062000 - client-closed-in-handshake tls-hello \"-\"\n"
    );
}

#[test]
fn a_json_line_has_every_fact() {
    let address = address();
    let mut report = report(&address);
    assert_eq!(
        line_of(Format::Json, &report, 1),
        "{\"time\":\"2026-11-23T04:05:06.000007Z\",\"client\":\"10.0.0.9\",\"port\":51234,\
         \"listener\":\"web\",\"protocol\":\"HTTP/1.1\",\"method\":\"GET\",\
         \"authority\":\"example.com\",\"path\":\"/index.html?a=b\",\"id\":\"4bf92f3577b34da6\",\
         \"user_agent\":\"curl/8.5.0\",\"route\":\"all\",\"upstream\":\"app\",\
         \"backend\":\"app-1\",\"backend_address\":\"10.0.0.11:8080\",\
         \"backend_protocol\":\"HTTP/1.1\",\"tries\":1,\"reused\":true,\"status\":200,\
         \"head_in\":120,\"body_in\":3,\"head_out\":200,\"body_out\":12,\"total\":0.062000,\
         \"reading_head\":0.002000,\"queued\":0.004000,\"connecting\":0.008000,\
         \"waiting\":0.016000,\"responding\":0.032000,\"termination\":\"done\"}\n"
    );
    report.client.tls = Some(Tls {
        version: "TLSv1.3",
        cipher: "TLS13_AES_128_GCM_SHA256",
        server_name: Some("example.com"),
        resumed: true,
        client_certificate: Some("CN=\"a\""),
    });
    report.backend.as_mut().unwrap().hedged = true;
    report.detail = Some("first-byte");
    let line = line_of(Format::Json, &report, 20);
    let value: Value = serde_json::from_str(&line).unwrap();
    for (key, want) in [
        ("tls", Value::from("TLSv1.3")),
        ("cipher", Value::from("TLS13_AES_128_GCM_SHA256")),
        ("server_name", Value::from("example.com")),
        ("resumed", Value::from(true)),
        ("client_certificate", Value::from("CN=\"a\"")),
        ("hedged", Value::from(true)),
        ("detail", Value::from("first-byte")),
        ("sample", Value::from(20)),
    ] {
        assert_eq!(value[key], want, "{key}");
    }
}

#[test]
fn what_is_unknown_has_no_key() {
    let address = address();
    let mut report = report(&address);
    report.backend = None;
    report.status = None;
    report.times.response = None;
    let value = parsed(&report);
    for key in [
        "tls",
        "backend",
        "tries",
        "status",
        "waiting",
        "responding",
        "sample",
        "detail",
    ] {
        assert!(value.get(key).is_none(), "{key}");
    }
    report.termination = Termination::new(Party::Client, Phase::Queue, Why::Reset);
    assert_eq!(parsed(&report)["status"], 499);
}

#[test]
fn a_long_field_is_cut() {
    let address = address();
    let mut report = report(&address);
    let long = vec![b'a'; 8_193];
    report.request.path = &long;
    assert_eq!(parsed(&report)["path"].as_str().unwrap().len(), 8_192);
    report.request.path = &long[1..];
    assert_eq!(parsed(&report)["path"].as_str().unwrap().len(), 8_192);
}

#[test]
fn each_version_has_its_name() {
    for (version, name) in [
        (Version::HTTP_09, "HTTP/0.9"),
        (Version::HTTP_10, "HTTP/1.0"),
        (Version::HTTP_2, "HTTP/2.0"),
        (Version::HTTP_3, "HTTP/3.0"),
    ] {
        let address = address();
        let mut report = report(&address);
        report.client.version = version;
        assert_eq!(parsed(&report)["protocol"], name);
    }
}

proptest! {
    #[test]
    fn whatever_a_client_sends_a_line_is_one_line_and_json_is_json(
        method in ".*", authority: Vec<u8>, path: Vec<u8>, referer: Vec<u8>, name in ".*",
    ) {
        let address = Address::Unix(std::path::Path::new(&name).into());
        let mut report = report(&address);
        report.request = crate::report::RequestLine::new(&method, &authority, &path);
        report.request.referer = Some(&referer);
        report.route = Some(&name);
        for format in [Format::Combined, Format::Json] {
            let line = line_of(format, &report, 1);
            prop_assert_eq!(line.bytes().filter(|&b| b == b'\n').count(), 1);
            prop_assert!(line.ends_with('\n'));
        }
        let value = parsed(&report);
        if !name.chars().any(|c| ('\u{ef80}'..='\u{efff}').contains(&c)) {
            prop_assert_eq!(value["route"].as_str(), Some(&*name));
            prop_assert_eq!(value["backend_address"].as_str().unwrap(), format!("unix:{name}"));
        }
    }
}

/// A target that hands on what it is given, when it is let.
struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
    to: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (open, changed) = &*self.open;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        let _ = self.to.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gate {
    fn new(is_open: bool) -> (Self, Receiver<Vec<u8>>) {
        let (to, from) = channel();
        let open = Arc::new((Mutex::new(is_open), Condvar::new()));
        (Self { open, to }, from)
    }

    fn target(self) -> Target {
        Target::Writer(Box::new(self))
    }
}

fn sink() -> (Target, Receiver<Vec<u8>>) {
    let (gate, written) = Gate::new(true);
    (gate.target(), written)
}

/// So long that no test sees it pass.
fn patient() -> Config {
    Config {
        flush_interval: Duration::from_secs(3_600),
        queue: 1,
        ..Config::default()
    }
}

#[test]
fn what_is_flushed_is_written_once_and_in_order() {
    let (target, written) = sink();
    let log = AccessLog::open(target, &patient()).unwrap();
    let mut worker = log.worker();
    let address = address();
    let mut report = report(&address);
    for path in [b"/1", b"/2"] {
        report.request.path = path;
        worker.record(&report);
    }
    log.flush();
    let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("GET /1 ") && lines[1].contains("GET /2 "));
    assert_eq!(
        log.stats(),
        LogStats {
            written: 2,
            ..LogStats::default()
        }
    );
    log.flush();
    assert!(written.try_recv().is_err());
    assert!(format!("{log:?}").contains("written: 2"));
}

#[test]
fn what_a_worker_has_recorded_is_written_after_both_are_gone() {
    let (target, written) = sink();
    let log = AccessLog::open(target, &patient()).unwrap();
    let mut worker = log.worker();
    drop(log);
    let address = address();
    worker.record(&report(&address));
    drop(worker);
    // Ends when the thread does, and drops the target.
    let text: Vec<u8> = written.iter().flatten().collect();
    assert_eq!(text.iter().filter(|&&b| b == b'\n').count(), 1);
}

#[test]
fn a_line_waits_no_longer_than_the_interval() {
    let (target, written) = sink();
    let config = Config {
        flush_interval: Duration::ZERO,
        ..Config::default()
    };
    let log = AccessLog::open(target, &config).unwrap();
    let address = address();
    log.worker().record(&report(&address));
    assert!(written.recv().is_ok());
}

#[test]
fn what_a_full_queue_cannot_take_is_dropped_and_counted() {
    let (gate, written) = Gate::new(false);
    let open = Arc::clone(&gate.open);
    let log = AccessLog::open(gate.target(), &patient()).unwrap();
    let mut worker = log.worker();
    let address = address();
    let mut recorded = 0;
    // One batch is held at the gate and one waits in the queue; the third is too many, or the fourth
    // if the thread has not taken the first yet.
    while log.stats().dropped == 0 {
        worker.record(&report(&address));
        recorded += 1;
        assert!(
            recorded * 100 < 8 * Batch::FULL,
            "the queue takes more than it should"
        );
    }
    let dropped = log.stats().dropped;
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    log.flush();
    let stats = log.stats();
    assert_eq!(stats.dropped, dropped);
    assert_eq!(stats.written + dropped, recorded as u64);
    let text: Vec<u8> = written.try_iter().flatten().collect();
    let lines = text.iter().filter(|&&b| b == b'\n').count();
    assert_eq!(lines as u64, stats.written);
}

#[test]
fn one_in_ten_is_logged_and_every_failure() {
    let (target, _written) = sink();
    let config = Config {
        sample: NonZeroU32::new(10).unwrap(),
        ..patient()
    };
    let log = AccessLog::open(target, &config).unwrap();
    let mut worker = log.worker();
    let address = address();
    let mut report = report(&address);
    (0..100).for_each(|_| worker.record(&report));
    report.status = Some(StatusCode::BAD_GATEWAY);
    (0..7).for_each(|_| worker.record(&report));
    log.flush();
    assert_eq!(log.stats().written, 17);
}

#[test]
fn a_file_is_appended_to_and_opened_anew_when_asked() {
    let dir = std::env::temp_dir().join(format!("lb-l7-access-log-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (path, old) = (dir.join("access.log"), dir.join("access.log.1"));
    fs::write(&path, "before\n").unwrap();
    let log = AccessLog::open(Target::File(path.clone()), &patient()).unwrap();
    let mut worker = log.worker();
    let address = address();
    worker.record(&report(&address));
    log.flush();
    fs::rename(&path, &old).unwrap();
    worker.record(&report(&address));
    log.reopen();
    log.flush();
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&old), lines(&path)), (2, 1));

    // A file that cannot be opened leaves the old one in its place.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    log.reopen();
    worker.record(&report(&address));
    log.flush();
    let stats = log.stats();
    assert_eq!((stats.reopen_failed, stats.written), (1, 3));
    assert!(AccessLog::open(Target::File(path), &patient()).is_err());
    fs::remove_dir_all(&dir).unwrap();
}

/// Refuses the second and the third write, the second after some bytes.
struct Failing {
    writes: usize,
    to: Sender<Vec<u8>>,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        match self.writes {
            2 => {
                let _ = self.to.send(bytes[..9].to_vec());
                Ok(9)
            }
            3 | 4 => Err(io::ErrorKind::StorageFull.into()),
            _ => {
                let _ = self.to.send(bytes.to_vec());
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_was_cut_does_not_spoil_the_next() {
    let (to, written) = channel();
    let target = Target::Writer(Box::new(Failing { writes: 0, to }));
    let log = AccessLog::open(target, &patient()).unwrap();
    let mut worker = log.worker();
    let address = address();
    for failed in [0, 1, 2, 2] {
        worker.record(&report(&address));
        log.flush();
        assert_eq!(log.stats().failed, failed);
    }
    assert_eq!(log.stats().written, 2);
    let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], "10.0.0.9 ");
    assert_eq!(lines[0], lines[2]);
}
