//! The proxies: each forwards one address to one backend, and nothing more.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use harness::host::{self, TempDir};
use harness::peer;
use harness::process::{Launch, Process};
use harness::procfs::Protocol;
use harness::workspace::{self, Profile};

use crate::PROXY_CORE;
use crate::options::Options;

/// What a proxy is to forward.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Traffic {
    /// TCP, bytes of which come in bulk.
    Bulk,
    /// TCP in small pieces.
    Tcp,
    /// UDP in trains of segments.
    Trains,
    /// UDP in single datagrams.
    Udp,
}

impl Traffic {
    fn protocol(self) -> Protocol {
        match self {
            Self::Bulk | Self::Tcp => Protocol::Tcp,
            Self::Trains | Self::Udp => Protocol::Udp,
        }
    }
}

/// A proxy that runs, and where it listens.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) front: SocketAddr,
    pub(crate) process: Process,
    /// Holds the program, if it was built for this run.
    _program: Option<TempDir>,
}

impl Contender {
    /// Starts a proxy on its core, and waits until it listens.
    pub(crate) fn start(name: &'static str, front: SocketAddr, launch: Launch) -> Self {
        let launch = launch.pinned(PROXY_CORE).serving(Protocol::Tcp, front);
        Self {
            name,
            front,
            process: launch.start(),
            _program: None,
        }
    }

    /// CPU time it has used so far, in nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> f64 {
        self.process.cpu_time().total().as_nanos() as f64
    }
}

/// Starts all contenders that speak this protocol, in front of `backend`.
pub(crate) fn start(options: &Options, traffic: Traffic, backend: SocketAddr) -> Vec<Contender> {
    let mut contenders = Vec::new();
    let mut add = |name, front, launch: Launch, program| {
        let launch = launch.pinned(PROXY_CORE).serving(traffic.protocol(), front);
        contenders.push(Contender {
            name,
            front,
            process: launch.start(),
            _program: program,
        });
    };
    let udp = traffic.protocol() == Protocol::Udp;
    if options.wants("floor") {
        let front = host::free_address();
        let (launch, program) = floor(traffic, front, backend);
        add("floor", front, launch, Some(program));
    }
    // HAProxy forwards no UDP.
    if options.wants("haproxy") && !udp {
        let front = host::free_address();
        add("haproxy", front, haproxy(traffic, front, backend), None);
    }
    if options.wants("nginx") {
        let front = host::free_address();
        add("nginx", front, nginx(udp, front, backend), None);
    }
    if options.wants("clb") {
        match program(options) {
            Ok(program) => {
                let front = host::free_address();
                add("clb", front, clb(program, udp, front, backend), None);
            }
            Err(error) => eprintln!("clb is left out: {error}"),
        }
    }
    contenders
}

pub(crate) fn program(options: &Options) -> Result<PathBuf, String> {
    let given = options.clb.as_ref();
    given.map_or_else(
        || workspace::program("clb", Profile::Release),
        |path| path.canonicalize().map_err(|error| error.to_string()),
    )
}

/// Our own relays of the least possible cost, compiled for this run.
fn floor(traffic: Traffic, front: SocketAddr, backend: SocketAddr) -> (Launch, TempDir) {
    let (source, mode) = match traffic {
        Traffic::Bulk => ("relay.c", Some("splice")),
        Traffic::Tcp => ("relay.c", None),
        Traffic::Trains => ("udp_relay.c", Some("gso")),
        Traffic::Udp => ("udp_relay.c", None),
    };
    let folder = TempDir::new("floor");
    let program = folder.path().join("floor");
    let compiled = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(workspace::root().join("tests/bench/floor").join(source))
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc {source}");
    let launch = Launch::new(&program)
        .arg(front.port().to_string())
        .arg(backend.port().to_string())
        .args(mode);
    (launch, folder)
}

fn haproxy(traffic: Traffic, front: SocketAddr, backend: SocketAddr) -> Launch {
    let splice = match traffic {
        Traffic::Bulk => "option splice-auto",
        _ => "",
    };
    peer::haproxy(&format!(
        "defaults
             mode tcp
             timeout connect 5s
             timeout client 900s
             timeout server 900s
             {splice}
         listen front
             bind {front} backlog 4096
             server back {backend}"
    ))
}

fn nginx(udp: bool, front: SocketAddr, backend: SocketAddr) -> Launch {
    let listen = if udp { "udp" } else { "backlog=4096" };
    peer::nginx(&format!(
        "events {{ worker_connections 19000; }}
         stream {{
             server {{ listen {front} {listen}; proxy_pass {backend}; proxy_timeout 900s; }}
         }}"
    ))
}

fn clb(program: PathBuf, udp: bool, front: SocketAddr, backend: SocketAddr) -> Launch {
    let mut text = String::from("workers = 1\n");
    let protocol = if udp { "udp" } else { "tcp" };
    write!(
        text,
        "[[pool]]\nname = \"back\"\nscheduler = \"round-robin\"\n\
         backends = [ {{ name = \"a\", address = \"{backend}\" }} ]\n\
         [[listener]]\nname = \"front\"\nprotocol = \"{protocol}\"\n\
         listen = \"{front}\"\npool = \"back\"\nidle_timeout = \"900s\"\n"
    )
    .expect("a string takes all");
    Launch::new(program)
        .args(["--config", "clb.toml"])
        .file("clb.toml", &text)
}
