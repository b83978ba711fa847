//! As many connections at once as the descriptors of a host allow, on one worker.

use harness::clb::{Clb, pair};
use harness::client::Clients;
use harness::host;
use harness::process::Launch;
use harness::procfs::Protocol;

/// Two descriptors each in `clb`, which has 20,000 here; one in the client and in the backend,
/// which are therefore processes of their own.
const CONNECTIONS: usize = 9_000;

#[tokio::test]
async fn nine_thousand_connections_are_held_by_one_worker_and_every_byte_is_right() {
    let most = host::raise_descriptors();
    assert!(most >= 20_000, "this host allows {most} descriptors");
    let (front, back) = (host::free_address(), host::free_address());
    let _backend = Launch::new(env!("CARGO_BIN_EXE_echo"))
        .arg(back.to_string())
        .serving(Protocol::Tcp, back)
        .start();
    let clb = Clb::start(1, &pair("l", "tcp", front, back, "")).serves(Protocol::Tcp, front);

    let mut clients = Clients::connect(front, CONNECTIONS)
        .await
        .expect("room for all");
    for bytes in [1, 3_000, 20_000] {
        let failed = clients.exchange(bytes).await;
        assert!(failed.is_empty(), "{bytes} bytes: {failed:?}");
        clb.await_figure("clb_listener_sessions_active", &[], 9_000.0);
    }
    assert!(clb.process().descriptors() >= 2 * CONNECTIONS);
    clb.assert_memory(9_000);

    drop(clients);
    clb.await_figure("clb_listener_sessions_active", &[], 0.0);
    let metrics = clb.metrics();
    for way in ["in", "out"] {
        let bytes = metrics.sum("clb_listener_bytes_total", &[("direction", way)]);
        assert_eq!(bytes, 9_000.0 * 23_001.0, "{way}");
    }
    assert_eq!(metrics.sum("clb_listener_sessions_total", &[]), 9_000.0);
    assert_eq!(metrics.sum("clb_refused_total", &[]), 0.0);
    assert!(clb.process().descriptors() < 100, "sockets are left behind");
}
