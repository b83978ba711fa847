//! Load over HTTP/2, or HTTP/1.1, by h2load of nghttp2, and what it reports.

use std::time::Duration;

use crate::process::{Launch, Process};
use crate::wait::PATIENCE;

/// What h2load reports of one run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Requests that were answered by 2xx or 3xx.
    pub succeeded: u64,
    /// Requests answered by another status, cut short, or late.
    pub failed: u64,
    /// Answers a second.
    pub rate: f64,
}

/// How h2load is to ask.
#[expect(clippy::exhaustive_enums, reason = "what h2load can be told here")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// HTTP/1.1, one request at a time.
    H1,
    /// HTTP/2, with that many streams at once on each connection.
    H2(usize),
}

/// h2load, about to ask for `url` for whole seconds, on one thread.
///
/// Over `http://`, HTTP/2 is spoken by prior knowledge; over `https://`, by ALPN.
pub fn h2load(url: &str, clients: usize, version: Version, span: Duration) -> Launch {
    let (streams, version) = match version {
        Version::H1 => (1, Some("--h1")),
        Version::H2(streams) => (streams, None),
    };
    let seconds = span.as_secs().max(1);
    Launch::new("h2load")
        .args(["--threads=1"])
        .arg(format!("--clients={clients}"))
        .arg(format!("--max-concurrent-streams={streams}"))
        .arg(format!("--duration={seconds}"))
        .args(version)
        .arg(url)
}

impl Report {
    /// Waits until h2load has ended, which it does by itself, and reads its report.
    ///
    /// # Panics
    ///
    /// When it failed, or still runs 10 seconds after `span`.
    #[track_caller]
    #[must_use]
    pub fn of(mut h2load: Process, span: Duration) -> Self {
        let status = h2load.wait(span + PATIENCE);
        let report = h2load.log();
        assert!(status.success(), "h2load: {status}\n{report}");
        Self::parse(&report).unwrap_or_else(|| panic!("not a report of h2load:\n{report}"))
    }

    fn parse(report: &str) -> Option<Self> {
        let line = |name: &str| report.lines().find_map(|line| line.strip_prefix(name));
        let requests = line("requests: ")?;
        let figure = |name: &str| -> Option<u64> {
            let mut parts = requests.split(", ");
            let number = parts.find_map(|part| part.strip_suffix(name))?;
            number.trim().parse().ok()
        };
        let rate = line("finished in ")?.split(", ").nth(1)?;
        Some(Self {
            succeeded: figure(" succeeded")?,
            failed: figure(" failed")?,
            rate: rate.strip_suffix(" req/s")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keys::Keys;
    use crate::peer::https_server;

    const REPORT: &str = "\
starting benchmark...
finished in 1.00s, 30521.00 req/s, 1.80MB/s
requests: 30521 total, 30585 started, 30521 done, 30519 succeeded, 2 failed, 1 errored, 1 timeout
status codes: 30519 2xx, 0 3xx, 0 4xx, 1 5xx
";

    #[test]
    fn a_report_is_read_and_a_cut_one_is_none() {
        let expected = Report {
            succeeded: 30_519,
            failed: 2,
            rate: 30_521.0,
        };
        assert_eq!(Report::parse(REPORT), Some(expected));
        assert_eq!(Report::parse(&REPORT[..60]), None);
        assert_eq!(Report::parse(""), None);
    }

    #[test]
    fn h2load_loads_nginx_in_both_versions() {
        let (address, span) = (free_address(), Duration::from_secs(1));
        let _server = https_server(address, "hello", &Keys::p256("a.test")).start();
        for version in [Version::H1, Version::H2(16)] {
            let url = format!("https://{address}/");
            let load = h2load(&url, 4, version, span).start();
            let report = Report::of(load, span);
            assert!(report.succeeded > 100, "{report:?}");
            assert_eq!(report.failed, 0, "{report:?}");
        }
    }
}
