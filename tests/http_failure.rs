//! Backends are killed and come back under load, and no idempotent request fails.
//!
//! `TESTS_LONG=1` makes each load last 60 seconds instead of 8.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::Clb;
use harness::h2load::{Report, Version, h2load};
use harness::host::free_address;
use harness::keys::Keys;
use harness::length;
use harness::load::{Requests, wrk};
use harness::peer::http_server;
use harness::process::Process;
use harness::procfs::Protocol;
use harness::wait::{self, PATIENCE, eventually};

#[test]
fn no_request_of_http_1_fails_while_backends_are_killed_in_turn() {
    let mut world = World::start("http", "");
    let span = span();
    let load = wrk(world.front, 32, span).start();
    world.kill_in_turn(span);
    let report = Requests::of(load, span);
    assert_eq!((report.failed, report.refused), (0, 0), "{report:?}");
    assert!(report.answered > 1_000, "{report:?}");
    world.assert_all_served();
}

#[test]
fn no_stream_of_http_2_fails_while_backends_are_killed_in_turn() {
    let mut world = World::start("https", &Keys::line());
    let span = span();
    let url = format!("https://{}/", world.front);
    let load = h2load(&url, 8, Version::H2(16), span).start();
    world.kill_in_turn(span);
    let report = Report::of(load, span);
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.succeeded > 1_000, "{report:?}");
    world.assert_all_served();
}

/// Between a kill and the next, which is of another backend.
const PERIOD: Duration = Duration::from_secs(2);

fn span() -> Duration {
    Duration::from_secs(length::either(8, 60))
}

/// `clb` before three servers, each a process of its own.
struct World {
    clb: Clb,
    front: SocketAddr,
    backends: Vec<(SocketAddr, Process)>,
}

impl World {
    fn start(protocol: &str, rest: &str) -> Self {
        let backends: Vec<_> = (0..3)
            .map(|_| {
                let address = free_address();
                (address, http_server(address, "hello").start())
            })
            .collect();
        let front = free_address();
        let mut file = String::from(
            "[[pool]]\nname = \"web\"\nscheduler = \"round-robin\"\n\
             health = { kind = \"tcp\", interval = \"200ms\", timeout = \"200ms\" }\n",
        );
        for (number, (address, _)) in backends.iter().enumerate() {
            let backend = "[[pool.backends]]";
            writeln!(
                file,
                "{backend}\nname = \"b{number}\"\naddress = \"{address}\""
            )
            .expect("a string takes text");
        }
        write!(
            file,
            "[[listener]]\nname = \"front\"\nprotocol = \"{protocol}\"\nlisten = \"{front}\"\n\
             pool = \"web\"\n{rest}"
        )
        .expect("a string takes text");
        let clb = Clb::with_keys(&Keys::p256("a.test"), 2, &file).serves(Protocol::Tcp, front);
        let world = Self {
            clb,
            front,
            backends,
        };
        eventually(PATIENCE, "all backends are up", || world.up() == 3.0);
        world
    }

    fn up(&self) -> f64 {
        self.clb.metrics().sum("clb_backend_up", &[])
    }

    /// As `kill -9` does, in the middle of whatever it was answering; half a period later, it is
    /// back.
    fn kill_in_turn(&mut self, span: Duration) {
        let end = wait::now() + span;
        for number in (0..self.backends.len()).cycle() {
            if wait::now() + PERIOD > end {
                break;
            }
            let (address, process) = &mut self.backends[number];
            process.kill();
            wait::pause(PERIOD / 2);
            *process = http_server(*address, "hello").start();
            wait::pause(PERIOD / 2);
        }
    }

    /// A load that went to one backend only would prove nothing.
    fn assert_all_served(&self) {
        let metrics = self.clb.metrics();
        for number in 0..self.backends.len() {
            let name = format!("b{number}");
            let picks = metrics.sum("clb_backend_picks_total", &[("backend", &name)]);
            assert!(picks > 0.0, "{name} had no request");
        }
    }
}
