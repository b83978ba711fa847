//! `clb` as a test builds it, serving a file, with its admin port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::Signal;

use crate::host;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::netns::Namespace;
use crate::process::{Launch, Process};
use crate::procfs::{self, Protocol};
use crate::wait::{self, PATIENCE};
use crate::workspace::{self, Profile};

/// A running `clb`, which is killed with this value.
#[derive(Debug)]
pub struct Clb {
    process: Process,
    admin: SocketAddr,
    /// The namespace that it runs in, and its admin port with it.
    namespace: Option<Namespace>,
}

impl Clb {
    /// Serves `sections`, a file without its `workers` and `[admin]`, on that many workers.
    ///
    /// Waits for the admin port only; [`serves`](Self::serves) waits for a listener.
    #[track_caller]
    #[must_use]
    pub fn start(workers: usize, sections: &str) -> Self {
        Self::start_by(Launch::new(program()), workers, sections)
    }

    /// The same with at most that many descriptors.
    #[track_caller]
    #[must_use]
    pub fn with_descriptors(most: u32, workers: usize, sections: &str) -> Self {
        let limited = Launch::new("prlimit").arg(format!("--nofile={most}"));
        Self::start_by(limited.arg(program()), workers, sections)
    }

    /// The same with these keys beside its file, as a listener of TLS needs them.
    #[track_caller]
    #[must_use]
    pub fn with_keys(keys: &Keys, workers: usize, sections: &str) -> Self {
        Self::start_by(keys.beside(Launch::new(program())), workers, sections)
    }

    /// The same with whatever `beside` puts beside its file.
    #[track_caller]
    #[must_use]
    pub fn with_files(
        beside: impl FnOnce(Launch) -> Launch,
        workers: usize,
        sections: &str,
    ) -> Self {
        Self::start_by(beside(Launch::new(program())), workers, sections)
    }

    /// The same in another network namespace.
    #[track_caller]
    #[must_use]
    pub fn within(namespace: &Namespace, workers: usize, sections: &str) -> Self {
        let mut clb = Self::start_by(Launch::new(program()).within(namespace), workers, sections);
        clb.namespace = Some(namespace.same());
        clb
    }

    #[track_caller]
    fn start_by(launch: Launch, workers: usize, sections: &str) -> Self {
        let admin = host::free_address();
        let process = launch
            .args(["--config", FILE])
            .file(FILE, &file(workers, admin, sections))
            .serving(Protocol::Tcp, admin)
            .start();
        Self {
            process,
            admin,
            namespace: None,
        }
    }

    /// Waits until it serves `address`.
    ///
    /// # Panics
    ///
    /// When it does not within [`PATIENCE`].
    #[track_caller]
    #[must_use]
    pub fn serves(self, protocol: Protocol, address: SocketAddr) -> Self {
        let id = self.process.id();
        wait::eventually(PATIENCE, &format!("clb serves {address}"), || {
            procfs::serves(id, protocol, address)
        });
        self
    }

    /// Replaces what it will read at the next SIGHUP.
    pub fn rewrite(&self, workers: usize, sections: &str) {
        let text = file(workers, self.admin, sections);
        self.process.dir().write(FILE, &text);
    }

    /// Has it read `sections`, for two workers, and waits until that is the `times`th file applied.
    #[track_caller]
    pub fn reload(&self, sections: &str, times: u32) {
        self.rewrite(2, sections);
        self.process.signal(Signal::HUP);
        let labels = [("result", "applied")];
        self.await_figure("clb_config_reloads_total", &labels, times.into());
    }

    /// All its figures now.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        match &self.namespace {
            Some(namespace) => namespace.enter(|| Metrics::of(self.admin)),
            None => Metrics::of(self.admin),
        }
    }

    /// Sessions that `listener` refused for that reason.
    #[track_caller]
    #[must_use]
    pub fn refused(&self, listener: &str, reason: &str) -> f64 {
        let labels = [("listener", listener), ("reason", reason)];
        self.metrics().sum("clb_refused_total", &labels)
    }

    /// Sessions of `listener` that ended that way.
    #[track_caller]
    #[must_use]
    pub fn ended(&self, listener: &str, how: &str) -> f64 {
        let labels = [("listener", listener), ("how", how)];
        let name = "clb_listener_sessions_ended_total";
        self.metrics().sum(name, &labels)
    }

    /// Waits until a figure has that value, summed over what the labels leave open.
    ///
    /// # Panics
    ///
    /// When it has another one for [`PATIENCE`]; the message holds the last.
    #[track_caller]
    pub fn await_figure(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut last = f64::NAN;
        let seen = wait::until(PATIENCE, || {
            last = self.metrics().sum(name, labels);
            (last.to_bits() == value.to_bits()).then_some(())
        });
        assert!(seen.is_some(), "{name}{labels:?} is {last}, not {value}");
    }

    /// Where its metrics and status are.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to end it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asserts that it never had more in RAM than 64 MiB and 48 KiB for each of `connections`.
    #[track_caller]
    pub fn assert_memory(&self, connections: u64) {
        let peak = self.process.memory().peak;
        let most = (64 << 20) + connections * (48 << 10);
        assert!(peak <= most, "{peak} bytes for {connections}, not {most}");
    }
}

/// The program, built once a test process.
#[track_caller]
#[must_use]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        workspace::program("clb", Profile::Debug).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn file(workers: usize, admin: SocketAddr, sections: &str) -> String {
    format!("workers = {workers}\n[admin]\nlisten = \"{admin}\"\n{sections}")
}

/// A pool of one backend, and a listener of the same name before it.
///
/// `rest` holds more lines of the listener.
#[must_use]
pub fn pair(
    name: &str,
    protocol: &str,
    listen: impl std::fmt::Display,
    backend: impl std::fmt::Display,
    rest: &str,
) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nscheduler = \"round-robin\"\n\
         backends = [{{ name = \"a\", address = \"{backend}\" }}]\n\
         [[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\n\
         pool = \"{name}\"\n{rest}\n"
    )
}

/// The file that it serves, in its directory.
const FILE: &str = "clb.toml";
