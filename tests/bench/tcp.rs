//! Small HTTP exchanges: wrk, 64 connections, a proxy, and nginx behind it.

use harness::load::{self, Requests};
use harness::{host, peer};

use crate::LOAD_CORE;
use crate::contender::{self, Contender, Traffic};
use crate::options::Options;
use crate::table::{Sample, Table};

const CONNECTIONS: usize = 64;

/// CPU microseconds of the proxy a request.
pub(crate) fn compare(options: &Options) -> Table {
    let backend = host::free_address();
    let _server = peer::http_server(backend, "hello")
        .pinned(LOAD_CORE)
        .start();
    let contenders = contender::start(options, Traffic::Tcp, backend);
    let title = ("TCP, small requests: wrk, 64 connections", "CPU us/req");
    Table::measure(title, options, &contenders, |contender| {
        turn(options, contender)
    })
}

fn turn(options: &Options, contender: &Contender) -> Sample {
    let before = contender.cpu_nanos();
    let wrk = load::wrk(contender.front, CONNECTIONS, options.turn).start();
    let requests = Requests::of(wrk, options.turn);
    let nanos = contender.cpu_nanos() - before;
    assert_eq!((requests.failed, requests.refused), (0, 0), "{requests:?}");
    Sample {
        cost: nanos / 1_000.0 / requests.answered as f64,
        rate: requests.rate,
        p50: requests.p50.as_secs_f64() * 1e6,
        p99: requests.p99.as_secs_f64() * 1e6,
    }
}
