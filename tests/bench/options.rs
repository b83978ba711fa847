//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

/// How to call this bench.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p tests --bench relay -- [SCENE]... [OPTION VALUE]...
  scenes: tcp, bulk, udp, trains, memory, http, https, h2, handshakes, idle, slow-backend;
          all of them if none is named
  --only a,b         contenders: floor, haproxy, nginx, pingora, clb (all)
  --clb PATH         the program to take for clb (built in release if not given)
  --pingora PATH     the program to take for pingora (where tests/peers puts it if not given)
  --at-most a=1.0    fail if clb costs more than that many times as much as a
  --rounds N         turns of each contender (5)
  --seconds N        how long a turn lasts (3)
  --connections N    for memory and idle (9000)
  --kib-at-most p=8  for idle: fail if a connection of p (plain, tls, h2) costs more than that
  --window N         for udp: datagrams under way on each of 64 sockets (2)";

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scene {
    /// CPU time a byte of a bulk transfer.
    Bulk,
    /// Memory a connection.
    Memory,
    /// CPU time of an exchange in HTTP/2 over TLS.
    H2,
    /// CPU time of a full handshake of TLS 1.3.
    Handshakes,
    /// CPU time of an exchange in HTTP/1.1.
    Http,
    /// CPU time of an exchange in HTTP/1.1 over TLS.
    Https,
    /// Private memory of a connection that is kept alive.
    Idle,
    /// Latency while one of ten backends is slow.
    SlowBackend,
    /// CPU time of a small HTTP exchange, forwarded as bytes.
    Tcp,
    /// CPU time of a packet in a train of segments.
    Trains,
    /// CPU time of a small datagram there and back.
    Udp,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scenes: Vec<Scene>,
    /// By name; empty for all.
    pub(crate) only: Vec<String>,
    pub(crate) clb: Option<PathBuf>,
    pub(crate) pingora: Option<PathBuf>,
    /// Contenders, and the most that clb may cost, theirs being 1.
    pub(crate) at_most: Vec<(String, f64)>,
    /// What is spoken on idle connections, and the most KiB that each may cost.
    pub(crate) kib_at_most: Vec<(String, f64)>,
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    pub(crate) connections: usize,
    pub(crate) window: usize,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            scenes: Vec::new(),
            only: Vec::new(),
            clb: None,
            pingora: None,
            at_most: Vec::new(),
            kib_at_most: Vec::new(),
            rounds: 5,
            turn: Duration::from_secs(3),
            connections: 9_000,
            window: 2,
        };
        // Cargo says --bench to every bench.
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            if let Some(scene) = scene(&argument) {
                options.scenes.push(scene);
                continue;
            }
            let value = arguments.next();
            let value = value.ok_or_else(|| format!("{argument}: no such scene, or no value"))?;
            options.set(&argument, value)?;
        }
        if options.scenes.is_empty() {
            options.scenes = NAMES.map(|(_, scene)| scene).to_vec();
        }
        options.agree()?;
        Ok(options)
    }

    /// Whether each limit is on somebody who takes part: else it would be kept by silence.
    fn agree(&self) -> Result<(), String> {
        let unmet = self.at_most.iter().map(|(name, _)| name);
        let mut unmet = unmet.filter(|name| !self.wants(name) && !VARIANTS.contains(&&***name));
        unmet.next().map_or(Ok(()), |name| {
            Err(format!("--at-most {name}: left out by --only"))
        })
    }

    /// Whether that contender takes part.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn set(&mut self, option: &str, value: String) -> Result<(), String> {
        let mistake = || format!("{option} {value}: not understood");
        let number = || value.parse::<usize>().ok().filter(|number| *number > 0);
        match option {
            "--only" => self.only = value.split(',').map(str::to_owned).collect(),
            "--clb" => self.clb = Some(PathBuf::from(value)),
            "--pingora" => self.pingora = Some(PathBuf::from(value)),
            "--at-most" => self.at_most.push(limit(&value).ok_or_else(mistake)?),
            "--kib-at-most" => self.kib_at_most.push(limit(&value).ok_or_else(mistake)?),
            "--rounds" => self.rounds = number().ok_or_else(mistake)?,
            "--seconds" => {
                let seconds = number().ok_or_else(mistake)?;
                self.turn = Duration::from_secs(seconds as u64);
            }
            "--connections" => self.connections = number().ok_or_else(mistake)?,
            "--window" => self.window = number().ok_or_else(mistake)?,
            _ => return Err(format!("{option}: no such option")),
        }
        Ok(())
    }
}

/// `name=1.5`.
fn limit(text: &str) -> Option<(String, f64)> {
    let (name, limit) = text.split_once('=')?;
    Some((name.to_owned(), limit.parse().ok()?))
}

/// Rows that are clb itself under other conditions, or other peers of one scene.
const VARIANTS: [&str; 1] = ["even"];

const NAMES: [(&str, Scene); 11] = [
    ("tcp", Scene::Tcp),
    ("bulk", Scene::Bulk),
    ("udp", Scene::Udp),
    ("trains", Scene::Trains),
    ("memory", Scene::Memory),
    ("http", Scene::Http),
    ("https", Scene::Https),
    ("h2", Scene::H2),
    ("handshakes", Scene::Handshakes),
    ("idle", Scene::Idle),
    ("slow-backend", Scene::SlowBackend),
];

fn scene(name: &str) -> Option<Scene> {
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.map(|(_, scene)| *scene)
}
