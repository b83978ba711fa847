//! Ten backends, one of which is fifty times slower: how much of that do clients see?

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use harness::load::{Requests, wrk};
use harness::process::Launch;
use harness::web::SlowWeb;
use harness::{host, peer};

use crate::LOAD_CORE;
use crate::contender::Contender;
use crate::http_contender::configured;
use crate::options::Options;
use crate::table::{Sample, Table};

const CONNECTIONS: usize = 64;

/// How long the nine take for an answer, and the tenth: long enough that what the host does
/// meanwhile is little beside it.
const FAST: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(500);

/// The latency, in microseconds, that one request in a hundred passes.
///
/// `clb` is peak EWMA, `p2c` the better of two, both with the slow one; `even` is peak EWMA with
/// ten that are fast. HAProxy takes the better of two as well.
pub(crate) fn compare(options: &Options) -> Table {
    let fast = SlowWeb::start(&[FAST; 10]);
    let mut delays = [FAST; 10];
    delays[9] = SLOW;
    let slow = SlowWeb::start(&delays);
    let (even, uneven) = (fast.addresses(), slow.addresses());
    let mut running = Vec::new();
    let mut absent = Vec::new();
    if options.wants("haproxy") {
        let front = host::free_address();
        running.push(Contender::start("haproxy", front, haproxy(front, uneven)));
    }
    for (name, scheduler, backends) in [
        ("even", "peak-ewma", even),
        ("clb", "peak-ewma", uneven),
        ("p2c", "power-of-two", uneven),
    ] {
        if !options.wants("clb") {
            continue;
        }
        let front = host::free_address();
        match configured(options, &clb(front, scheduler, backends)) {
            Ok(launch) => running.push(Contender::start(name, front, launch)),
            Err(error) => {
                eprintln!("*** {name} IS LEFT OUT, and no limit on it is kept: {error}");
                absent.push(name);
            }
        }
    }
    let title = (
        "One of ten backends is 50 times slower: wrk, 64 connections",
        "p99 us",
    );
    let table = Table::measure(title, options, &running, |contender| {
        turn(options, contender)
    });
    table.without(&absent)
}

fn turn(options: &Options, contender: &Contender) -> Sample {
    let load = wrk(contender.front, CONNECTIONS, options.turn).pinned(LOAD_CORE);
    let requests = Requests::of(load.start(), options.turn);
    assert_eq!((requests.failed, requests.refused), (0, 0), "{requests:?}");
    let p99 = requests.p99.as_secs_f64() * 1e6;
    Sample {
        cost: p99,
        rate: requests.rate,
        p50: requests.p50.as_secs_f64() * 1e6,
        p99,
    }
}

fn clb(front: SocketAddr, scheduler: &str, backends: &[SocketAddr]) -> String {
    let mut file = format!("[[pool]]\nname = \"back\"\nscheduler = \"{scheduler}\"\n");
    for (number, address) in backends.iter().enumerate() {
        writeln!(
            file,
            "[[pool.backends]]\nname = \"b{number}\"\naddress = \"{address}\""
        )
        .expect("a string takes all");
    }
    write!(
        file,
        "[[listener]]\nname = \"front\"\nprotocol = \"http\"\nlisten = \"{front}\"\n\
         pool = \"back\"\n"
    )
    .expect("a string takes all");
    file
}

fn haproxy(front: SocketAddr, backends: &[SocketAddr]) -> Launch {
    let mut text = format!(
        "defaults
             mode http
             http-reuse always
             balance random(2)
             timeout connect 5s
             timeout client 900s
             timeout server 900s
         listen front
             bind {front} backlog 4096\n"
    );
    for (number, address) in backends.iter().enumerate() {
        writeln!(
            text,
            "             server b{number} {address} pool-max-conn -1"
        )
        .expect("a string takes all");
    }
    peer::haproxy(&text)
}
