//! Full handshakes of TLS 1.3 on P-256: none is resumed.

use harness::idle::Speech;
use harness::tls::TlsClient;
use harness::{host, peer};

use crate::LOAD_CORE;
use crate::contender::Contender;
use crate::http_contender::Contenders;
use crate::options::Options;
use crate::table::{Sample, Table};

/// Under way at the same time.
const AT_ONCE: usize = 16;

/// CPU microseconds of the proxy a connection that shakes hands and is closed: X25519, one ECDSA
/// signature, AES-128-GCM, for all alike.
pub(crate) fn compare(options: &Options) -> Table {
    let backend = host::free_address();
    let _server = peer::http_server(backend, "hello")
        .pinned(LOAD_CORE)
        .start();
    let contenders = Contenders::start(options, Speech::Https, backend);
    let title = ("TLS 1.3, full handshakes, P-256: 16 at once", "CPU us/each");
    let table = Table::measure(title, options, &contenders.running, |contender| {
        turn(options, contender)
    });
    table.without(&contenders.absent)
}

fn turn(options: &Options, contender: &Contender) -> Sample {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let client = TlsClient::new(&["http/1.1"]);
    let before = contender.cpu_nanos();
    let done = runtime.block_on(client.handshakes(contender.front, AT_ONCE, options.turn));
    let done = done.unwrap_or_else(|error| panic!("{}: {error}", contender.name)) as f64;
    Sample {
        cost: (contender.cpu_nanos() - before) / 1_000.0 / done,
        rate: done / options.turn.as_secs_f64(),
        ..Sample::default()
    }
}
