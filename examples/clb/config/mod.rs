//! The TOML file: what it may say, what it must, and every way in which it is wrong.

mod backend;
mod bytes;
mod duration;
mod file;
mod forwarding;
mod hash;
mod health;
mod http;
#[cfg(test)]
#[path = "tests/http.rs"]
mod http_tests;
mod key_server;
#[cfg(test)]
#[path = "tests/key_server.rs"]
mod key_server_tests;
mod listener;
mod notes;
mod outlier;
mod packet;
#[cfg(test)]
#[path = "tests/packets.rs"]
mod packet_tests;
mod pool;
mod prefix;
mod remote_keys;
#[cfg(test)]
#[path = "tests/remote_keys.rs"]
mod remote_keys_tests;
mod scheduler;
mod section;
mod sockets;
mod suggest;
mod syn_proxy;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

pub(crate) use duration::print;
pub(crate) use forwarding::{Forwarding, Method};
pub(crate) use hash::Hash;
pub(crate) use health::{Health, HealthKind};
pub(crate) use http::{AccessLog, Http, LogTarget, Rule};
pub(crate) use key_server::{Audit, KeyServer, Keys, Module, name_of, parse_key_server_in};
pub(crate) use listener::{Listener, Persistence, Protocol, SendProxy, Target};
pub(crate) use notes::Note;
pub(crate) use outlier::Outlier;
pub(crate) use packet::{Packet, Transport};
pub(crate) use pool::Pool;
pub(crate) use prefix::Prefix;
pub(crate) use remote_keys::{RemoteKeys, Verify};
#[cfg(test)]
pub(crate) use scheduler::NAMES as SCHEDULERS;
pub(crate) use scheduler::Scheduler;
pub(crate) use tls::{Certificate, SharedKey, Tickets, Tls};
pub(crate) use upstream::Upstream;

use notes::Notes;
use pool::Used;
use section::{Section, one_of};
use sockets::Sockets;
use suggest::did_you_mean;

/// All that a file says, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Worker threads, 1..=1024. Default none: one a core.
    pub(crate) workers: Option<u16>,
    /// Where metrics and status are served. Default none: nowhere.
    pub(crate) admin: Option<Admin>,
    /// What the whole process may use.
    pub(crate) budget: Budget,
    /// Who holds the keys that are not here. Default none: all are.
    pub(crate) key_server: Option<RemoteKeys>,
    /// Where packets are forwarded. Default none: sockets have all sessions.
    pub(crate) packet: Option<Packet>,
    /// In the order of the file, each name once.
    pub(crate) pools: Vec<Pool>,
    /// In the order of the file, each name once; at least one.
    pub(crate) listeners: Vec<Listener>,
}

impl Config {
    /// Listeners whose packets are forwarded.
    pub(crate) fn forwarded(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|it| it.forwarding.is_some())
    }
}

/// The admin endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
}

/// The most that the process takes; what would go beyond is refused and counted. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Budget {
    /// Bytes in buffers.
    pub(crate) bytes: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    /// Sessions, all listeners together.
    pub(crate) sessions: u64,
}

/// A file that can be used, with what is odd about it.
#[derive(Debug)]
pub(crate) struct Parsed<C = Config> {
    /// What it says.
    pub(crate) config: C,
    /// What is probably not meant.
    pub(crate) warnings: Vec<Note>,
}

/// Reads a whole text, and checks all of it before anything is begun.
///
/// Its paths begin from the working directory.
///
/// # Errors
///
/// As [`parse_in`].
pub(crate) fn parse(text: &str) -> Result<Parsed, Vec<Note>> {
    parse_in(text, Path::new(""))
}

/// Reads a whole file in `folder`, and checks all of it, and of the files that it names, before
/// anything is begun.
///
/// # Errors
///
/// Every mistake of the file, in its order: those of TOML itself, or else those of what it says.
pub(crate) fn parse_in(text: &str, folder: &Path) -> Result<Parsed, Vec<Note>> {
    read_in(text, folder, whole)
}

/// Reads a whole file as `fields` does.
fn read_in<C>(
    text: &str,
    folder: &Path,
    fields: impl FnOnce(&mut Section<'_>) -> Option<C>,
) -> Result<Parsed<C>, Vec<Note>> {
    let notes = Notes::about(text, folder);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        notes.mistake(at, "", error.message().trim().replace('\n', ", "));
    }
    // What a text that is no TOML seems to say would only add mistakes that are none.
    let config = match errors.as_slice() {
        [] => Section::read(root.get_ref(), &notes, String::new(), 0, fields),
        _ => None,
    };
    match (notes.into_parts(), config) {
        ((mistakes, warnings), Some(config)) if mistakes.is_empty() => {
            Ok(Parsed { config, warnings })
        }
        ((mistakes, _), _) => Err(mistakes),
    }
}

/// The whole file.
fn whole(file: &mut Section<'_>) -> Option<Config> {
    let mut sockets = Sockets::default();
    let workers = file.integer("workers", 1..=WORKERS_MOST);
    let zone = file.text("zone", "the name of a zone");
    let drain_timeout = file.span("drain_timeout", Duration::ZERO..=DAY);
    let drain_timeout = drain_timeout.unwrap_or(DRAIN_TIMEOUT);
    let admin = file
        .table("admin", |section| admin(section, &mut sockets))
        .flatten();
    let budget = file.table("budget", budget).unwrap_or_default();
    let key_server = file.table("key_server", remote_keys::read).flatten();
    let packet = file.table("packet", packet::read).flatten();
    let pools = pool::Known::of(file);
    let mut used = Used::default();
    let section_of_packets = file.has("packet");
    let listeners = file.tables("listener", |section| {
        let around = listener::Around {
            pools: &pools,
            drain: drain_timeout,
            has_packet: section_of_packets,
            packet: packet.as_ref(),
        };
        listener::read(section, &mut sockets, &around, &mut used)
    });
    let pools = file.tables("pool", |section| pool::read(section, zone, &used));
    check_elsewhere(file, &used);
    if section_of_packets && !used.is_forwarding {
        file.odd("packet", "no listener says how packets are forwarded");
    }
    if listeners.is_none() && !file.has("listener") {
        file.wrong("listener", "missing, expected at least one [[listener]]");
    }
    Some(Config {
        workers,
        admin,
        budget,
        key_server,
        packet,
        pools: pools.unwrap_or_default(),
        listeners: listeners.unwrap_or_default(),
    })
}

/// Keys that are elsewhere need somebody to hold them, and the other way round.
fn check_elsewhere(file: &Section<'_>, used: &Used) {
    let mut keys = used.elsewhere.iter().peekable();
    if file.has("key_server") {
        if keys.peek().is_none() {
            file.odd("key_server", "no certificate says key = \"remote\"");
        }
        return;
    }
    for (at, path) in keys {
        let text = "there is no [key_server], which would say who holds it";
        file.notes().mistake(at, path, text);
    }
}

fn admin(section: &mut Section<'_>, sockets: &mut Sockets) -> Option<Admin> {
    section.require("listen", "IP:PORT");
    let listen = section.text_as("listen", "IP:PORT", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| format!("{text:?} is not an address, expected IP:PORT or [IPv6]:PORT"))
    })?;
    sockets.claim_admin(section, listen);
    Some(Admin { listen })
}

fn budget(section: &mut Section<'_>) -> Budget {
    let mut most = |key| section.integer(key, 0..=u64::MAX >> 1).unwrap_or(0);
    Budget {
        bytes: most("bytes"),
        descriptors: most("descriptors"),
        sessions: most("sessions"),
    }
}

/// The name of a pool that the file has, or a mistake that names the nearest one.
fn pool_name(text: &str, pools: &[&str]) -> Result<String, String> {
    if pools.contains(&text) {
        return Ok(text.into());
    }
    let known = || pools.iter().copied();
    Err(match pools {
        [] => format!("unknown pool {text:?}, and the file has no [[pool]]"),
        // The only one needs no guess.
        [only] => format!("unknown pool {text:?}, expected {only:?}"),
        _ => {
            let meant = did_you_mean(text, known());
            format!("unknown pool {text:?}, expected {}{meant}", one_of(known()))
        }
    })
}

/// More threads than any machine of today has cores; a slip of the finger has more digits.
const WORKERS_MOST: u16 = 1024;

/// As long as Kubernetes waits between SIGTERM and SIGKILL.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that most spans may last.
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest span that a timer of a millisecond can keep.
const MILLISECOND: Duration = Duration::from_millis(1);
