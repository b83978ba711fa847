//! Bulk transfers: iperf3 through a proxy, to the server and from it.

use std::net::SocketAddr;

use harness::load::{self, Transfer, Way};
use harness::{host, peer};

use crate::LOAD_CORE;
use crate::contender::{self, Contender, Traffic};
use crate::options::Options;
use crate::table::{Sample, Table};

/// CPU microseconds of the proxy a mebibyte; half of a turn goes each way.
pub(crate) fn compare(options: &Options) -> Table {
    let backend = host::free_address();
    let contenders = contender::start(options, Traffic::Bulk, backend);
    let title = ("TCP, bulk: iperf3, one stream, both ways", "CPU us/MiB");
    Table::measure(title, options, &contenders, |contender| {
        let before = contender.cpu_nanos();
        let there = transfer(options, contender, backend, Way::There);
        let back = transfer(options, contender, backend, Way::Back);
        let mebibytes = (there.bytes + back.bytes) / f64::from(1 << 20);
        Sample {
            cost: (contender.cpu_nanos() - before) / 1_000.0 / mebibytes,
            rate: mebibytes / (there.seconds + back.seconds),
            ..Sample::default()
        }
    })
}

fn transfer(options: &Options, contender: &Contender, backend: SocketAddr, way: Way) -> Transfer {
    let _server = peer::iperf3_server(backend).pinned(LOAD_CORE).start();
    let span = options.turn / 2;
    Transfer::of(load::iperf3(contender.front, way, span).start(), span)
}
