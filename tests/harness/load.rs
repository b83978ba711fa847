//! Load from real clients, and what they report: wrk and iperf3.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Launch, Process};
use crate::wait::PATIENCE;

/// What wrk reports of one run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requests {
    /// Answered requests.
    pub answered: u64,
    /// Answers whose status is not 2xx or 3xx.
    pub refused: u64,
    /// Connections that failed, and reads, writes and answers that failed or came too late.
    pub failed: u64,
    /// Answers a second.
    pub rate: f64,
    /// The latency that half of all stay below.
    pub p50: Duration,
    /// The latency that one in a hundred passes.
    pub p99: Duration,
}

/// wrk, about to ask for `http://ADDRESS/` for whole seconds, on one thread.
pub fn wrk(address: SocketAddr, connections: usize, span: Duration) -> Launch {
    wrk_at(&format!("http://{address}/"), connections, span)
}

/// wrk, about to ask for `url`, `https` included, for whole seconds, on one thread.
pub fn wrk_at(url: &str, connections: usize, span: Duration) -> Launch {
    let seconds = span.as_secs().max(1);
    Launch::new("wrk")
        .args(["--threads=1", "--latency"])
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={seconds}s"))
        .arg(url)
}

impl Requests {
    /// Waits until wrk has ended, which it does by itself, and reads its report.
    ///
    /// # Panics
    ///
    /// When it failed, or still runs 10 seconds after `span`.
    #[track_caller]
    #[must_use]
    pub fn of(mut wrk: Process, span: Duration) -> Self {
        let status = wrk.wait(span + PATIENCE);
        let report = wrk.log();
        assert!(status.success(), "wrk: {status}\n{report}");
        Self::parse(&report).unwrap_or_else(|| panic!("not a report of wrk:\n{report}"))
    }

    fn parse(report: &str) -> Option<Self> {
        let after = |name: &str| -> Option<&str> {
            report
                .lines()
                .find_map(|line| line.trim().strip_prefix(name))
        };
        let answered = report.lines().find(|line| line.contains(" requests in "))?;
        Some(Self {
            answered: answered.split_whitespace().next()?.parse().ok()?,
            refused: after("Non-2xx or 3xx responses:")
                .map_or(Some(0), |number| number.trim().parse().ok())?,
            failed: after("Socket errors:").map_or(Some(0), sum)?,
            rate: after("Requests/sec:")?.trim().parse().ok()?,
            p50: span(after("50%")?)?,
            p99: span(after("99%")?)?,
        })
    }
}

/// `connect 1, read 2, write 3, timeout 4` is 10.
fn sum(errors: &str) -> Option<u64> {
    errors
        .split(',')
        .map(|error| error.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}

/// `310.00us`, `1.20ms`, `2.01s` or `1.50m`.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    units.iter().find_map(|(unit, seconds)| {
        let value: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(value * seconds).ok()
    })
}

/// What iperf3 reports of one run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Bytes that arrived.
    pub bytes: f64,
    /// Seconds that they took.
    pub seconds: f64,
}

/// Which way iperf3 sends.
#[expect(clippy::exhaustive_enums, reason = "there and back again")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// From the server to the client.
    Back,
    /// From the client to the server.
    There,
}

/// iperf3, about to send to the server at `address` for whole seconds, on one connection.
pub fn iperf3(address: SocketAddr, way: Way, span: Duration) -> Launch {
    let reverse = match way {
        Way::Back => Some("--reverse"),
        Way::There => None,
    };
    Launch::new("iperf3")
        .args(["--json", "--client"])
        .arg(address.ip().to_string())
        .arg("--port")
        .arg(address.port().to_string())
        .arg("--time")
        .arg(span.as_secs().max(1).to_string())
        .args(reverse)
}

impl Transfer {
    /// Waits until iperf3 has ended, which it does by itself, and reads its report.
    ///
    /// # Panics
    ///
    /// When it failed, or still runs 10 seconds after `span`.
    #[track_caller]
    #[must_use]
    pub fn of(mut iperf3: Process, span: Duration) -> Self {
        let status = iperf3.wait(span + PATIENCE);
        let report = iperf3.log();
        assert!(status.success(), "iperf3: {status}\n{report}");
        Self::parse(&report).unwrap_or_else(|| panic!("not a report of iperf3:\n{report}"))
    }

    fn parse(report: &str) -> Option<Self> {
        let report: Value = serde_json::from_str(report).ok()?;
        let arrived = &report["end"]["sum_received"];
        Some(Self {
            bytes: arrived["bytes"].as_f64()?,
            seconds: arrived["seconds"].as_f64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::peer;

    const REPORT: &str = "\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   103.75us   36.02us   1.01ms   88.02%
    Req/Sec    38.36k     1.11k   40.34k    70.00%
  Latency Distribution
     50%   99.00us
     75%  112.00us
     90%  132.00us
     99%    1.25ms
  41982 requests in 1.10s, 6.37MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  38168.41
Transfer/sec:      5.79MB
";

    #[test]
    fn a_report_of_wrk_is_read_to_the_last_figure() {
        let expected = Requests {
            answered: 41_982,
            refused: 5,
            failed: 10,
            rate: 38_168.41,
            p50: Duration::from_micros(99),
            p99: Duration::from_micros(1_250),
        };
        assert_eq!(Requests::parse(REPORT), Some(expected));
    }

    #[test]
    fn what_wrk_leaves_out_did_not_happen_and_a_cut_report_is_none() {
        let lines = REPORT.lines();
        let good = lines.filter(|line| !line.contains("errors") && !line.contains("Non-2xx"));
        let good = good.collect::<Vec<_>>().join("\n");
        let report = Requests::parse(&good).unwrap();
        assert_eq!((report.refused, report.failed), (0, 0));
        assert_eq!(Requests::parse(""), None);
        assert_eq!(Requests::parse(&REPORT[..REPORT.len() / 2]), None);
    }

    #[test]
    fn times_are_read_in_every_unit() {
        assert_eq!(span(" 310.00us"), Some(Duration::from_micros(310)));
        assert_eq!(span("1.20ms"), Some(Duration::from_micros(1_200)));
        assert_eq!(span("2.50s"), Some(Duration::from_millis(2_500)));
        assert_eq!(span("1.50m"), Some(Duration::from_secs(90)));
        assert_eq!(span("-1s"), None);
        assert_eq!(span("fast"), None);
    }

    #[test]
    fn only_what_arrived_counts_as_a_transfer() {
        let report = r#"{"end": {"sum_sent": {"bytes": 9, "seconds": 9},
                                 "sum_received": {"bytes": 8, "seconds": 2.5}}}"#;
        let transfer = Transfer::parse(report).unwrap();
        assert_eq!((transfer.bytes, transfer.seconds), (8.0, 2.5));
        assert_eq!(Transfer::parse(r#"{"error": "refused"}"#), None);
        assert_eq!(Transfer::parse("refused"), None);
    }

    #[test]
    fn wrk_loads_nginx_and_iperf3_its_server() {
        let span = Duration::from_secs(1);
        let (web, bulk) = (free_address(), free_address());
        let _web = peer::http_server(web, "hello").start();

        let requests = Requests::of(wrk(web, 4, span).start(), span);
        assert!(requests.answered > 100, "{requests:?}");
        assert_eq!((requests.failed, requests.refused), (0, 0));
        for way in [Way::There, Way::Back] {
            let _server = peer::iperf3_server(bulk).start();
            let transfer = Transfer::of(iperf3(bulk, way, span).start(), span);
            assert!(transfer.bytes > 1e6, "{transfer:?}");
        }
    }
}
