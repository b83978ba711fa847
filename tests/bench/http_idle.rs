//! Private memory of connections that are kept alive and idle.

use std::time::Duration;

use harness::idle::{Idle, Speech};
use harness::{host, peer, procfs};

use crate::LOAD_CORE;
use crate::contender::Contender;
use crate::http_contender::Contenders;
use crate::options::Options;
use crate::table::{Sample, Table};

/// Opened before the first look: what they need once is not counted.
const FIRST: usize = 128;

/// After the last answer, in which a proxy may put away what it does not need.
const CALM: Duration = Duration::from_secs(2);

/// KiB of private memory a connection, each of which has had one answer; whether all limits are
/// kept.
///
/// A contender has one turn: a process that has once used memory seldom gives it back.
pub(crate) fn compare(options: &Options) -> bool {
    let most = host::raise_descriptors();
    assert!(
        most >= options.connections as u64 + 1_000,
        "this host allows {most} descriptors"
    );
    let scenes = [
        ("plain", Speech::Http, "Idle connections, HTTP/1.1"),
        ("tls", Speech::Https, "Idle connections, HTTP/1.1 over TLS"),
        ("h2", Speech::H2, "Idle connections, HTTP/2 over TLS"),
    ];
    scenes
        .into_iter()
        .fold(true, |within, (name, speech, title)| {
            let backend = host::free_address();
            let server = peer::http_server(backend, "hello").pinned(LOAD_CORE);
            let _server = server.start();
            let contenders = Contenders::start(options, speech, backend);
            let table = Table::once((title, "KiB/conn"), &contenders.running, |contender| {
                turn(options, speech, contender)
            });
            let table = table.without(&contenders.absent);
            println!("{table}");
            let limits = options.kib_at_most.iter().filter(|(of, _)| of == name);
            let kept = limits.fold(true, |kept, (_, most)| kept & table.stays_below(*most));
            within & kept & table.keeps(&options.at_most)
        })
}

fn turn(options: &Options, speech: Speech, contender: &Contender) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let open = async |number| {
        let idle = Idle::open(contender.front, speech, number).await;
        let idle = idle.unwrap_or_else(|error| panic!("{}: {error}", contender.name));
        tokio::time::sleep(CALM).await;
        idle
    };
    runtime.block_on(async {
        let first = open(FIRST).await;
        let before = private(contender);
        let many = open(options.connections).await;
        let grown = private(contender) - before;
        let disturbed = first.disturbed() + many.disturbed();
        // What a server may say late is a ticket of TLS or an acknowledgement, never an end.
        if disturbed > 0 && speech == Speech::Http {
            panic!("{}: {disturbed} are not idle", contender.name);
        }
        Sample {
            cost: grown / 1_024.0 / many.len() as f64,
            rate: many.len() as f64,
            ..Sample::default()
        }
    })
}

fn private(contender: &Contender) -> f64 {
    let bytes = procfs::private_memory(contender.process.id());
    bytes.unwrap_or_else(|| panic!("{} has ended", contender.name)) as f64
}
