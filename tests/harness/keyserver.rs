//! `clb keyserver` as a test builds it, with keys, nodes that may use them, and its admin port.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::authority::{Authority, CA};
use crate::clb;
use crate::host;
use crate::keys::{CERT, KEY, Keys};
use crate::metrics::Metrics;
use crate::netns::Namespace;
use crate::process::{Launch, Process};
use crate::procfs::Protocol;

/// What a key server is to hold, and for whom.
///
/// Started twice, it is two servers with the same keys.
#[derive(Clone, Debug)]
#[must_use]
pub struct Setup<'a> {
    authority: &'a Authority,
    identity: Keys,
    keys: Vec<&'a Keys>,
    modes: Vec<&'a str>,
    rules: Option<String>,
}

impl<'a> Setup<'a> {
    /// No keys, for nodes that `authority` vouches for; the modes are the default ones.
    #[track_caller]
    pub fn of(authority: &'a Authority) -> Self {
        Self {
            authority,
            identity: authority.server("keys.test"),
            keys: Vec::new(),
            modes: vec!["bound", "strict"],
            rules: None,
        }
    }

    /// Holds one more key.
    pub fn key(mut self, keys: &'a Keys) -> Self {
        self.keys.push(keys);
        self
    }

    /// Speaks these modes, the weakest first, and no others.
    pub fn modes(mut self, modes: &[&'a str]) -> Self {
        self.modes = modes.to_vec();
        self
    }

    /// Replaces the one rule that there is else: every node may use every key in every mode.
    pub fn rules(mut self, rules: impl Into<String>) -> Self {
        self.rules = Some(rules.into());
        self
    }

    /// Starts it on a free port.
    #[track_caller]
    #[must_use]
    pub fn start(&self) -> KeyServer {
        self.start_at(host::free_address())
    }

    /// Starts it there, such as where one was killed before.
    #[track_caller]
    #[must_use]
    pub fn start_at(&self, address: SocketAddr) -> KeyServer {
        let launch = Launch::new(clb::program()).args(["keyserver", "--config", FILE]);
        self.launch(launch, address)
    }

    /// Starts it in that namespace, at an address of it.
    #[track_caller]
    #[must_use]
    pub fn start_within(&self, namespace: &Namespace, address: SocketAddr) -> KeyServer {
        let launch = Launch::new(clb::program()).args(["keyserver", "--config", FILE]);
        self.launch(launch.within(namespace), address)
    }

    #[track_caller]
    fn launch(&self, mut launch: Launch, address: SocketAddr) -> KeyServer {
        let admin = host::free_address();
        for (number, keys) in self.keys.iter().enumerate() {
            launch = launch.secret(&format!("keys/{number}.pem"), &keys.key);
        }
        let identity = match address.ip() {
            ip if ip.is_loopback() => self.identity.clone(),
            ip => self.authority.server_at("keys.test", ip),
        };
        let process = self
            .authority
            .beside(launch)
            .file(FILE, &self.file(address, admin, ""))
            .file(CERT, &identity.cert)
            .secret(KEY, &identity.key)
            .serving(Protocol::Tcp, address)
            .serving(Protocol::Tcp, admin)
            .start();
        KeyServer {
            process,
            address,
            admin,
        }
    }

    /// Has a server of this setup read its file again, with more lines at the top.
    pub fn reload(&self, server: &KeyServer, lines: &str) {
        let text = self.file(server.address, server.admin, lines);
        server.process.dir().write(FILE, &text);
        server.process.signal(Signal::HUP);
    }

    fn file(&self, address: SocketAddr, admin: SocketAddr, lines: &str) -> String {
        let weakest = self.modes.first().expect("it speaks some mode");
        let everyone = || {
            format!("[[allow]]\nidentity = \"lb://node/*\"\nkeys = [\"*\"]\nmode = \"{weakest}\"\n")
        };
        let rules = self.rules.clone().unwrap_or_else(everyone);
        format!(
            "listen = \"{address}\"\ncertificate = \"{CERT}\"\nkey = \"{KEY}\"\nca = \"{CA}\"\n\
             modes = {:?}\nkeys = \"keys\"\n{lines}\n[admin]\nlisten = \"{admin}\"\n{rules}",
            self.modes
        )
    }
}

/// A running key server, which is killed with this value.
#[derive(Debug)]
pub struct KeyServer {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl KeyServer {
    /// Where nodes come in.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All its figures now.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.admin)
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
}

/// The file that it reads, in its directory.
const FILE: &str = "keyserver.toml";
