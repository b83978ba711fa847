//! What sessions are placed by.

use std::net::{SocketAddr, UdpSocket};

use lb_l4::stream::udp::{UdpBalancer, UdpService, UdpSettings};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::{Ketama, KeyExtractor, KeyParts};
use lbcore::{Instant, Pick, Pool};
use tokio::sync::oneshot;

use crate::harness::{backend, nothing, receive, socket};

/// Where a key is placed.
fn place(pool: &Pool<Ketama>, key: Option<u64>) -> SocketAddr {
    let pick = Pick::default().key(key);
    let lease = pool.balancer(0).acquire(Instant::ZERO, &pick).unwrap();
    lease.address().socket().unwrap()
}

/// Serves at the wildcard on a thread, and gives the port and what ends it.
fn serve(settings: UdpSettings<Ketama>) -> (u16, oneshot::Sender<()>) {
    let service = UdpService::new("0.0.0.0:0".parse().unwrap(), settings);
    let balancer = UdpBalancer::bind(service).unwrap();
    let port = balancer.addresses()[0].port();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(balancer.run_until(stopped)).unwrap();
    });
    (port, stop)
}

#[test]
fn a_session_goes_where_the_key_of_its_two_ends_is_placed() {
    let servers: Vec<UdpSocket> = (0..5).map(|_| socket("127.0.0.1")).collect();
    let backends = servers
        .iter()
        .enumerate()
        .map(|(n, it)| backend(&n.to_string(), it));
    let pool = Pool::new(Ketama::default()).backends(backends);
    for parts in [
        KeyParts::Flow,
        KeyParts::Source,
        KeyParts::SourceDestination,
        KeyParts::SourceText,
        KeyParts::Tuple,
    ] {
        let keys = KeyExtractor::new(parts, HashKey::from_seed(9));
        let (port, _stop) = serve(UdpSettings::new(pool.clone()).keys(keys));
        for host in 1..5 {
            let client = socket("127.0.0.1");
            let asked = SocketAddr::from(([127, 0, 0, host], port));
            client.send_to(b"hello", asked).unwrap();
            let source = client.local_addr().unwrap();
            let key = keys.of_flow(&FlowKey::new(Protocol::Udp, source, asked));
            let home = place(&pool, key);
            for server in &servers {
                if server.local_addr().unwrap() == home {
                    assert_eq!(receive(server), b"hello", "{parts:?}");
                }
            }
            servers.iter().for_each(nothing);
        }
    }
}
