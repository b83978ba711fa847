//! Memory of many connections, idle and when each has echoed.

use harness::client::Clients;
use harness::server::{Behaviour, Server};
use harness::wait::{PATIENCE, eventually};

use crate::contender::{self, Contender, Traffic};
use crate::options::Options;
use crate::table::{Sample, Table};

/// What each connection echoes before it is idle again: enough to need a buffer once.
const BYTES: usize = 4_096;

/// KiB of memory in RAM a connection, once each has echoed; what it was before is told aside.
///
/// A contender has one turn: a process that has once used memory seldom gives it back.
pub(crate) fn compare(options: &Options) -> Table {
    let server = Server::tcp(Behaviour::Echo);
    let contenders = contender::start(options, Traffic::Tcp, server.address());
    let title = ("TCP, memory of many connections", "KiB/conn");
    Table::once(title, &contenders, |contender| {
        let sample = turn(options, contender);
        // The next turn needs the descriptors of this one.
        eventually(PATIENCE, "all connections are closed", || {
            server.open() == 0
        });
        sample
    })
}

fn turn(options: &Options, contender: &Contender) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let number = options.connections as f64;
    let before = contender.process.memory().resident as f64;
    let each = |resident: u64| (resident as f64 - before) / 1_024.0 / number;
    runtime.block_on(async {
        let clients = Clients::connect(contender.front, options.connections).await;
        let mut clients = clients.unwrap_or_else(|error| panic!("{}: {error}", contender.name));
        let idle = each(contender.process.memory().resident);
        let failed = clients.exchange(BYTES).await;
        let (name, failures) = (contender.name, failed.len());
        assert_eq!(failures, 0, "{name}: the first is {:?}", failed[0]);
        let echoed = each(contender.process.memory().resident);
        let descriptors = contender.process.descriptors();
        println!(
            "{}: {number} connections, {descriptors} descriptors, {idle:.2} KiB each before a \
             byte, {echoed:.2} KiB after {BYTES}",
            contender.name
        );
        Sample {
            cost: echoed,
            rate: number,
            ..Sample::default()
        }
    })
}
