//! The HTTP proxies, each before one backend, as well configured as we know how.

use std::net::SocketAddr;
use std::path::PathBuf;

use harness::clb::pair;
use harness::host;
use harness::idle::Speech;
use harness::keys::{BOTH, CERT, KEY, Keys};
use harness::peer;
use harness::process::Launch;
use harness::workspace;

use crate::contender::{Contender, program};
use crate::options::Options;

/// Those that run, and those that ought to and do not.
#[derive(Debug)]
pub(crate) struct Contenders {
    pub(crate) running: Vec<Contender>,
    pub(crate) absent: Vec<&'static str>,
}

impl Contenders {
    /// Starts all that are wanted, in front of `backend`, with one key for all.
    pub(crate) fn start(options: &Options, speech: Speech, backend: SocketAddr) -> Self {
        let keys = Keys::p256("bench.test");
        let mut started = Self {
            running: Vec::new(),
            absent: Vec::new(),
        };
        let make: [(&'static str, Make); 4] = [
            ("haproxy", |_, speech, front, back| {
                Ok(haproxy(speech, front, back))
            }),
            ("nginx", |_, speech, front, back| {
                Ok(nginx(speech, front, back))
            }),
            ("pingora", pingora),
            ("clb", clb),
        ];
        for (name, make) in make {
            if !options.wants(name) {
                continue;
            }
            let front = host::free_address();
            match make(options, speech, front, backend) {
                Ok(launch) => {
                    let launch = keys.beside(launch);
                    started.running.push(Contender::start(name, front, launch));
                }
                Err(error) => {
                    eprintln!("*** {name} IS LEFT OUT, and no limit on it is kept: {error}");
                    started.absent.push(name);
                }
            }
        }
        started
    }
}

type Make = fn(&Options, Speech, SocketAddr, SocketAddr) -> Result<Launch, String>;

/// Connections to the backend are kept, as many as there are, and shared by all clients. Splicing
/// costs it a few percent less, even here; larger buffers would cost it more.
fn haproxy(speech: Speech, front: SocketAddr, backend: SocketAddr) -> Launch {
    let tls = match speech {
        Speech::Http => String::new(),
        Speech::Https => format!("ssl crt {BOTH} alpn http/1.1"),
        Speech::H2 => format!("ssl crt {BOTH} alpn h2"),
    };
    peer::haproxy(&format!(
        "defaults
             mode http
             option splice-auto
             http-reuse always
             timeout connect 5s
             timeout client 900s
             timeout server 900s
             timeout http-keep-alive 900s
         listen front
             bind {front} backlog 4096 {tls}
             server back {backend} pool-max-conn -1 pool-purge-delay 900s"
    ))
}

/// Buffers hold the larger answer, so that none of it goes through a file.
fn nginx(speech: Speech, front: SocketAddr, backend: SocketAddr) -> Launch {
    let tls = match speech {
        Speech::Http => "",
        Speech::Https => "ssl",
        Speech::H2 => "ssl http2",
    };
    peer::nginx(&format!(
        "events {{ worker_connections 19000; }}
         http {{
             access_log off; keepalive_requests 1000000000; keepalive_timeout 900s;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             ssl_certificate {CERT}; ssl_certificate_key {KEY}; ssl_protocols TLSv1.2 TLSv1.3;
             upstream back {{
                 server {backend}; keepalive 1024; keepalive_requests 1000000000;
                 keepalive_timeout 900s;
             }}
             server {{
                 listen {front} backlog=4096 {tls};
                 location / {{
                     proxy_pass http://back; proxy_http_version 1.1;
                     proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
                     proxy_buffers 8 16k; proxy_max_temp_file_size 0;
                 }}
             }}
         }}"
    ))
}

/// A pool as large as the load, and one thread that is its own runtime: with its default, a runtime
/// that could steal, small answers cost it 7 % more, and large ones as much.
fn pingora(
    options: &Options,
    speech: Speech,
    front: SocketAddr,
    backend: SocketAddr,
) -> Result<Launch, String> {
    let tls: &[&str] = match speech {
        Speech::Http => &[],
        Speech::Https | Speech::H2 => &[CERT, KEY],
    };
    let conf = "---\nversion: 1\nthreads: 1\nwork_stealing: false\n\
                upstream_keepalive_pool_size: 2048\n\
                pid_file: pingora.pid\nupgrade_sock: pingora.sock\n";
    Ok(Launch::new(built(options)?)
        .args(["pingora.yaml", &front.to_string(), &backend.to_string()])
        .args(tls)
        .file("pingora.yaml", conf))
}

/// Never built here: it takes minutes, and a clean run has no cmake.
fn built(options: &Options) -> Result<PathBuf, String> {
    let usual = || workspace::root().join("tests/peers/target/release/pingora_proxy");
    let path = options.pingora.clone().unwrap_or_else(usual);
    path.canonicalize().map_err(|_| {
        format!(
            "there is no {}; to build it: \
             cargo build --release --manifest-path tests/peers/Cargo.toml --bin pingora_proxy",
            path.display()
        )
    })
}

fn clb(
    options: &Options,
    speech: Speech,
    front: SocketAddr,
    backend: SocketAddr,
) -> Result<Launch, String> {
    let (protocol, more) = match speech {
        Speech::Http => ("http", String::new()),
        Speech::Https | Speech::H2 => ("https", Keys::line()),
    };
    let file = pair("front", protocol, front, backend, &more);
    configured(options, &file)
}

/// `clb` with one worker and this file.
pub(crate) fn configured(options: &Options, file: &str) -> Result<Launch, String> {
    Ok(Launch::new(program(options)?)
        .args(["--config", "clb.toml"])
        .file("clb.toml", &format!("workers = 1\n{file}")))
}
