//! A backend dies under load, and comes back: nobody else is touched.

use std::fmt::Write;
use std::net::SocketAddr;

use harness::clb::Clb;
use harness::host::free_address;
use harness::process::{Launch, Process};
use harness::procfs::Protocol;
use harness::steady::{Load, Request, assert_none_failed};
use harness::wait::{self, PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_backend_takes_only_its_own_sessions_with_it() {
    let mut backends = Backends::start();
    let front = free_address();
    let clb = backends.behind("round-robin", front, "");
    let long = Load::of_long_sessions(front, 12, 2_000);
    let short = Load::of_short_sessions(front, 6, 2_000);
    eventually(PATIENCE, "each backend has long sessions", || {
        NAMES.iter().all(|name| clb.active(name) >= 4.0)
    });
    short.await_more(50);

    backends.kill("a");
    let killed = wait::now();
    eventually(PATIENCE, "a is found down", || clb.up("a") == 0.0);
    let picks = clb.picks("a");
    short.await_more(100);
    assert_eq!(clb.picks("a"), picks, "a is down, and had a new session");

    let (short, long) = (short.stop().await, long.stop().await);
    // Who came before the end of a, and was given to it, shares its fate; nobody else does.
    assert_fate("a", short.iter().filter(|r| r.began < killed));
    assert_fate("a", &long);
    let late: Vec<Request> = short.into_iter().filter(|r| r.began >= killed).collect();
    assert!(late.len() >= 100);
    assert_none_failed(&late);
    let lost = long.iter().filter(|r| r.failed.is_some()).count();
    assert!(lost >= 4, "a had four sessions, and {lost} were lost");
    let retried = clb
        .metrics()
        .sum("clb_listener_connect_failures_total", &[]);
    assert!(retried > 0.0, "nobody was retried while a was not yet down");
    assert_eq!(clb.refused("front", "connect-failed"), 0.0);
    assert_eq!(clb.refused("front", "all-down"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backend_is_down_after_so_many_failed_probes_and_no_sooner() {
    let mut backends = Backends::start();
    let clb = backends.behind("round-robin", free_address(), "");
    eventually(PATIENCE, "a is up", || clb.up("a") == 1.0);
    backends.kill("a");
    // A probe is counted just after its result is put to use.
    let found = wait::until(PATIENCE, || {
        let metrics = clb.metrics();
        let failed = [("backend", "a"), ("result", "refused")];
        let failed = metrics.sum("clb_backend_probes_total", &failed);
        let up = metrics.sum("clb_backend_up", &[("backend", "a")]) == 1.0;
        assert!(!up || failed <= FALL - 1.0, "up after {failed} failures");
        assert!(up || failed >= FALL - 1.0, "down after {failed} failures");
        (!up).then_some(())
    });
    assert!(found.is_some(), "a is never found down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backend_that_comes_back_is_ramped_by_slow_start() {
    let mut backends = Backends::start();
    let front = free_address();
    let slow = "slow_start = { window = \"4s\", minimum = 10 }\n";
    let clb = backends.behind("weighted-round-robin", front, slow);
    backends.kill("a");
    eventually(PATIENCE, "a is found down", || clb.up("a") == 0.0);
    // The ramp of those that were there from the start is over.
    eventually(PATIENCE, "b and c have whole shares", || {
        ["b", "c"].iter().all(|name| clb.share(name) == WHOLE)
    });
    let load = Load::of_short_sessions(front, 6, 500);
    load.await_more(50);

    backends.restart("a");
    eventually(PATIENCE, "a is found up", || clb.up("a") == 1.0);
    let early = clb.share("a");
    assert!(early <= WHOLE / 2.0, "a begins with {early} of {WHOLE}");
    let first = taken(&clb, &load, 100);
    let mut last = 0.0;
    eventually(PATIENCE, "a has its whole share", || {
        let share = clb.share("a");
        assert!(share >= last, "from {last} to {share}");
        last = share;
        share == WHOLE
    });
    let then = taken(&clb, &load, 300);
    assert!(first < 0.75, "early, a takes {first} of what b does");
    assert!((0.9..=1.1).contains(&then), "late, a takes {then} of it");
    assert_none_failed(&load.stop().await);
}

/// How many sessions a takes for each that b takes, while the load makes so many more.
fn taken(clb: &Clb, load: &Load, exchanges: u64) -> f64 {
    let before = (clb.picks("a"), clb.picks("b"));
    load.await_more(exchanges);
    let after = (clb.picks("a"), clb.picks("b"));
    (after.0 - before.0) / (after.1 - before.1)
}

/// Asserts that whoever failed was served by `name`, or had not yet heard from anybody.
#[track_caller]
fn assert_fate<'r>(name: &str, requests: impl IntoIterator<Item = &'r Request>) {
    let mut failed = requests.into_iter().filter(|r| r.failed.is_some());
    let other = failed.find(|r| r.server.as_deref().is_some_and(|server| server != name));
    assert!(other.is_none(), "{other:?}");
}

/// Three echo servers, each a process of its own.
struct Backends(Vec<(&'static str, SocketAddr, Process)>);

impl Backends {
    fn start() -> Self {
        let start = |name| {
            let address = free_address();
            (name, address, echo(name, address))
        };
        Self(NAMES.map(start).into())
    }

    fn behind(&self, scheduler: &str, front: SocketAddr, rest: &str) -> Clb {
        let mut file = format!(
            "[[pool]]\nname = \"web\"\nscheduler = \"{scheduler}\"\n\
             health = {{ kind = \"tcp\", interval = \"200ms\", timeout = \"200ms\", rise = 2, fall = {FALL} }}\n{rest}"
        );
        for (name, address, _) in &self.0 {
            let line = "[[pool.backends]]";
            writeln!(file, "{line}\nname = \"{name}\"\naddress = \"{address}\"")
                .expect("a string takes text");
        }
        writeln!(
            file,
            "[[listener]]\nname = \"front\"\nprotocol = \"tcp\"\nlisten = \"{front}\"\npool = \"web\""
        ).expect("a string takes text");
        let clb = Clb::start(2, &file).serves(Protocol::Tcp, front);
        eventually(PATIENCE, "all backends are up", || {
            NAMES.iter().all(|name| clb.up(name) == 1.0)
        });
        clb
    }

    /// Kills it as `kill -9` does, and returns when the kernel has closed all it had.
    fn kill(&mut self, name: &str) {
        let (_, _, process) = self.find(name);
        process.kill();
    }

    fn restart(&mut self, name: &str) {
        let (name, address, process) = self.find(name);
        *process = echo(name, *address);
    }

    fn find(&mut self, name: &str) -> &mut (&'static str, SocketAddr, Process) {
        let mut all = self.0.iter_mut();
        all.find(|(own, ..)| *own == name).expect("a known name")
    }
}

fn echo(name: &str, address: SocketAddr) -> Process {
    Launch::new(env!("CARGO_BIN_EXE_echo"))
        .args([&address.to_string(), name])
        .serving(Protocol::Tcp, address)
        .start()
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Probes in a row.
const FALL: f64 = 3.0;

/// What is shown as the share of a backend of weight 1 that is not ramped.
const WHOLE: f64 = 256.0;

/// What `clb` shows of a backend.
trait Figures {
    fn figure(&self, name: &str, backend: &str) -> f64;

    fn active(&self, backend: &str) -> f64 {
        self.figure("clb_backend_sessions_active", backend)
    }

    fn picks(&self, backend: &str) -> f64 {
        self.figure("clb_backend_picks_total", backend)
    }

    fn share(&self, backend: &str) -> f64 {
        self.figure("clb_backend_share", backend)
    }

    fn up(&self, backend: &str) -> f64 {
        self.figure("clb_backend_up", backend)
    }
}

impl Figures for Clb {
    fn figure(&self, name: &str, backend: &str) -> f64 {
        self.metrics().sum(name, &[("backend", backend)])
    }
}
