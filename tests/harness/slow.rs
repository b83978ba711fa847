//! Clients that are slow on purpose: the four attacks of slowhttptest.

use std::net::SocketAddr;
use std::time::Duration;

use crate::process::{Launch, Process};
use crate::wait::PATIENCE;

/// What slowhttptest keeps a server waiting for.
#[expect(clippy::exhaustive_enums, reason = "the four that slowhttptest knows")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attack {
    /// Header fields that never end (slowloris).
    Headers,
    /// A body that comes in drops (R-U-Dead-Yet).
    Body,
    /// Many overlapping ranges of one file (Apache killer).
    Range,
    /// An answer that is read in drops, through a tiny window.
    Read,
}

impl Attack {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Headers, Self::Body, Self::Range, Self::Read];

    fn flag(self) -> &'static str {
        match self {
            Self::Headers => "-H",
            Self::Body => "-B",
            Self::Range => "-R",
            Self::Read => "-X",
        }
    }
}

/// New connections a second: below what a listen backlog holds, so that nobody is kept out by it.
const RATE: &str = "200";

/// slowhttptest, about to attack `http://ADDRESS/PATH` by that many connections at once.
///
/// A drop follows every 5 seconds. It ends by itself when `span` is over, or when every connection
/// has been closed by the server.
pub fn slowhttptest(
    attack: Attack,
    address: SocketAddr,
    path: &str,
    connections: usize,
    span: Duration,
) -> Launch {
    let launch = Launch::new("slowhttptest")
        .arg(attack.flag())
        .args(["-u", &format!("http://{address}{path}")])
        .args(["-c", &connections.to_string()])
        .args(["-r", RATE])
        .args(["-l", &span.as_secs().max(1).to_string()])
        .args(["-i", "5", "-p", "2"]);
    match attack {
        // Windows of some bytes, and 3 requests on each connection.
        Attack::Read => launch.args(["-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"]),
        Attack::Range => launch.args(["-a", "5", "-b", "3000"]),
        Attack::Headers | Attack::Body => launch.args(["-x", "24", "-s", "8192"]),
    }
}

/// How an attack ended, by what slowhttptest said.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fate {
    /// Whether the server had closed every connection before the time was over.
    pub all_closed: bool,
    /// Whether slowhttptest's own probe was answered each time that it says so.
    pub available: bool,
}

impl Fate {
    /// Waits until it has ended, and reads what it said.
    ///
    /// # Panics
    ///
    /// When it still runs 10 seconds after `span`, or does not say why it ended.
    #[track_caller]
    #[must_use]
    pub fn of(mut slowhttptest: Process, span: Duration) -> Self {
        slowhttptest.wait(span + PATIENCE);
        let report = slowhttptest.log();
        Self::parse(&report).unwrap_or_else(|| panic!("not a report of slowhttptest:\n{report}"))
    }

    fn parse(report: &str) -> Option<Self> {
        let lines: Vec<_> = report.lines().map(plain).collect();
        let after = |name: &str| {
            let rest = lines
                .iter()
                .filter_map(|line| line.trim().strip_prefix(name));
            rest.map(str::trim).map(str::to_owned).collect::<Vec<_>>()
        };
        Some(Self {
            all_closed: after("Exit status:").pop()? == "No open connections left",
            available: after("service available:").iter().all(|word| word == "YES"),
        })
    }
}

/// Without what colours it (ECMA-48: escape, bracket, figures, a letter).
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        let rest = part.split_once(|c: char| c.is_ascii_alphabetic());
        plain + rest.map_or("", |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::peer::http_server;

    #[test]
    fn a_report_is_read_without_its_colours_and_a_cut_one_is_none() {
        let report = "\u{1b}[1mservice available:\u{1b}[0m   \u{1b}[1;32mYES\u{1b}[0m\n\
                      Exit status:\u{1b}[1;36m No open connections left\u{1b}[0m\n\
                      service available:  YES\n";
        let fate = Fate::parse(report).unwrap();
        assert!(fate.all_closed && fate.available);
        let report = "service available: NO\nExit status: Hit test time limit\n";
        let fate = Fate::parse(report).unwrap();
        assert!(!fate.all_closed && !fate.available);
        assert_eq!(Fate::parse("service available: YES"), None);
    }

    #[test]
    fn every_attack_starts_and_ends_and_nginx_waits_for_a_minute() {
        let (address, span) = (free_address(), Duration::from_secs(2));
        let _server = http_server(address, "hello").start();
        for attack in Attack::ALL {
            let fate = Fate::of(slowhttptest(attack, address, "/", 5, span).start(), span);
            assert!(fate.available, "{attack:?}");
            if attack == Attack::Headers {
                assert!(!fate.all_closed);
            }
        }
    }
}
