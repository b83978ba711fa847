//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

/// How to call this bench.
pub(crate) const USAGE: &str = "\
usage: cargo bench -p tests --bench relay -- [SCENE]... [OPTION VALUE]...
  scenes: tcp, bulk, udp, trains, memory; all of them if none is named
  --only a,b         contenders: floor, haproxy, nginx, clb (all)
  --clb PATH         the program to take for clb (built in release if not given)
  --at-most a=1.0    fail if clb costs more than that many times as much as a
  --rounds N         turns of each contender (5)
  --seconds N        how long a turn lasts (3)
  --connections N    for memory (9000)
  --window N         for udp: datagrams under way on each of 64 sockets (2)";

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scene {
    /// CPU time a byte of a bulk transfer.
    Bulk,
    /// Memory a connection.
    Memory,
    /// CPU time of a small HTTP exchange.
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
    /// Contenders, and the most that clb may cost, theirs being 1.
    pub(crate) at_most: Vec<(String, f64)>,
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
            at_most: Vec::new(),
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
        Ok(options)
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
            "--at-most" => {
                let (name, limit) = value.split_once('=').ok_or_else(mistake)?;
                let limit = limit.parse().map_err(|_| mistake())?;
                self.at_most.push((name.to_owned(), limit));
            }
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

const NAMES: [(&str, Scene); 5] = [
    ("tcp", Scene::Tcp),
    ("bulk", Scene::Bulk),
    ("udp", Scene::Udp),
    ("trains", Scene::Trains),
    ("memory", Scene::Memory),
];

fn scene(name: &str) -> Option<Scene> {
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.map(|(_, scene)| *scene)
}
