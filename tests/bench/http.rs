//! HTTP exchanges: wrk or h2load, a proxy, and nginx behind it.

use harness::h2load::{Report, Version, h2load};
use harness::idle::Speech;
use harness::load::{Requests, wrk_at};
use harness::peer::{self, run};
use harness::process::Process;
use harness::wait::PATIENCE;
use harness::{host, procfs};

use crate::LOAD_CORE;
use crate::contender::Contender;
use crate::http_contender::Contenders;
use crate::options::Options;
use crate::table::{Sample, Table};

const CONNECTIONS: usize = 64;

/// On each connection of HTTP/2.
const STREAMS: usize = 16;

/// The paths of the two answers, and their bytes.
const SMALL: (&str, usize) = ("/", 100);
const LARGE: (&str, usize) = ("/large", 64 << 10);

/// CPU microseconds of the proxy a request, for a small answer and for a large one.
pub(crate) fn compare(options: &Options, speech: Speech) -> Vec<Table> {
    let backend = host::free_address();
    let _server = server(backend);
    let contenders = Contenders::start(options, speech, backend);
    let titles = match speech {
        Speech::Http => [
            "HTTP/1.1, 100 B: wrk, 64 connections",
            "HTTP/1.1, 64 KiB: wrk, 64 connections",
        ],
        Speech::Https => [
            "HTTP/1.1 over TLS, 100 B: wrk, 64 connections",
            "HTTP/1.1 over TLS, 64 KiB: wrk, 64 connections",
        ],
        Speech::H2 => [
            "HTTP/2 over TLS, 100 B: h2load, 64 connections of 16 streams",
            "HTTP/2 over TLS, 64 KiB: h2load, 64 connections of 16 streams",
        ],
    };
    let scenes = titles.into_iter().zip([SMALL, LARGE]);
    let race = |(title, answer)| {
        for contender in &contenders.running {
            answers(contender, speech, answer);
        }
        let title = (title, "CPU us/req");
        let table = Table::measure(title, options, &contenders.running, |contender| {
            turn(options, speech, contender, answer)
        });
        table.without(&contenders.absent)
    };
    scenes.map(race).collect()
}

/// nginx on the core of the load, which answers both from memory.
fn server(address: std::net::SocketAddr) -> Process {
    let text = format!(
        "events {{ worker_connections 16384; }}
         http {{
             access_log off; keepalive_requests 1000000000; keepalive_timeout 900s;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             sendfile on; tcp_nopush on; open_file_cache max=10; open_file_cache_valid 1h;
             server {{
                 listen {address} backlog=4096; root .;
                 location = / {{ return 200 \"{}\"; }}
             }}
         }}",
        "x".repeat(SMALL.1)
    );
    peer::nginx(&format!("user root;\n{text}"))
        .file(LARGE.0.trim_start_matches('/'), &"y".repeat(LARGE.1))
        .serving(procfs::Protocol::Tcp, address)
        .pinned(LOAD_CORE)
        .start()
}

fn url(contender: &Contender, speech: Speech, path: &str) -> String {
    let scheme = match speech {
        Speech::Http => "http",
        Speech::Https | Speech::H2 => "https",
    };
    format!("{scheme}://{}{path}", contender.front)
}

/// Who answers by anything but 200 and all bytes, or in another version, takes no part in a race.
fn answers(contender: &Contender, speech: Speech, (path, bytes): (&str, usize)) {
    let version = match speech {
        Speech::Http | Speech::Https => "1.1",
        Speech::H2 => "2",
    };
    let url = url(contender, speech, path);
    let ask = ["--silent", "--insecure", "--output", "/dev/null", &url];
    let asked = match speech {
        Speech::Http | Speech::Https => "--http1.1",
        Speech::H2 => "--http2",
    };
    let form = "%{http_code} %{size_download} %{http_version}";
    let words = ask.into_iter().chain([asked, "--write-out", form]);
    let seen = run("curl", words, PATIENCE);
    assert_eq!(seen, format!("200 {bytes} {version}"), "{}", contender.name);
}

fn turn(
    options: &Options,
    speech: Speech,
    contender: &Contender,
    (path, _): (&str, usize),
) -> Sample {
    let url = url(contender, speech, path);
    let before = contender.cpu_nanos();
    let mut sample = match speech {
        Speech::Http | Speech::Https => {
            let wrk = wrk_at(&url, CONNECTIONS, options.turn).pinned(LOAD_CORE);
            let requests = Requests::of(wrk.start(), options.turn);
            assert_eq!((requests.failed, requests.refused), (0, 0), "{requests:?}");
            Sample {
                cost: requests.answered as f64,
                rate: requests.rate,
                p50: requests.p50.as_secs_f64() * 1e6,
                p99: requests.p99.as_secs_f64() * 1e6,
            }
        }
        Speech::H2 => {
            let load = h2load(&url, CONNECTIONS, Version::H2(STREAMS), options.turn);
            let report = Report::of(load.pinned(LOAD_CORE).start(), options.turn);
            assert_eq!(report.failed, 0, "{}: {report:?}", contender.name);
            Sample {
                cost: report.succeeded as f64,
                rate: report.rate,
                ..Sample::default()
            }
        }
    };
    sample.cost = (contender.cpu_nanos() - before) / 1_000.0 / sample.cost;
    sample
}
