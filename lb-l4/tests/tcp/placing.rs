//! What sessions are placed by.

use std::net::SocketAddr;

use lb_l4::stream::{Settings, TcpBalancer, TcpConfig, TcpService};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::{Ketama, KeyExtractor, KeyParts};
use lbcore::{Backend, Instant, Pick, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::setup::{listener, run};

/// Five backends, each of which says its number to every client.
async fn numbered() -> Pool<Ketama> {
    let mut pool = Pool::new(Ketama::default());
    for number in 0..5_u8 {
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        pool = pool.backend(Backend::new(&number.to_string(), address.into()));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.write_u8(number).await;
            }
        });
    }
    pool
}

/// The number of the backend that a key is placed at.
fn place(pool: &Pool<Ketama>, key: Option<u64>) -> u8 {
    let pick = Pick::default().key(key);
    let lease = pool.balancer(0).acquire(Instant::ZERO, &pick).unwrap();
    let view = pool.view();
    let backend = &view.backend(lease.backend()).unwrap().backend;
    backend.name.parse().unwrap()
}

/// Serves, and gives the address and what ends it.
async fn serve(settings: Settings<Ketama>) -> (SocketAddr, oneshot::Sender<()>) {
    let service = TcpService::new("127.0.0.1:0".parse().unwrap(), settings);
    let balancer = TcpBalancer::bind(service).await.unwrap();
    let address = balancer.addresses()[0].socket().unwrap();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(balancer.run_until(stopped));
    (address, stop)
}

const PARTS: [KeyParts; 5] = [
    KeyParts::Flow,
    KeyParts::Source,
    KeyParts::SourceDestination,
    KeyParts::SourceText,
    KeyParts::Tuple,
];

#[test]
fn a_session_goes_where_the_key_of_its_two_ends_is_placed() {
    run(async {
        let pool = numbered().await;
        for parts in PARTS {
            let keys = KeyExtractor::new(parts, HashKey::from_seed(9));
            let (address, _stop) = serve(Settings::new(pool.clone()).keys(keys)).await;
            for _ in 0..4 {
                let mut client = TcpStream::connect(address).await.unwrap();
                let source = client.local_addr().unwrap();
                let key = keys.of_flow(&FlowKey::new(Protocol::Tcp, source, address));
                let number = client.read_u8().await.unwrap();
                assert_eq!(number, place(&pool, key), "{parts:?}");
            }
        }
    });
}

#[test]
fn the_ends_that_a_proxy_tells_of_are_those_that_count() {
    run(async {
        let pool = numbered().await;
        for parts in PARTS {
            let keys = KeyExtractor::new(parts, HashKey::from_seed(9))
                .prefix_v4(24)
                .unwrap();
            let config = TcpConfig::default().accept_proxy();
            let settings = Settings::new(pool.clone()).config(config).keys(keys);
            let (address, _stop) = serve(settings).await;
            for host in 0..4 {
                let mut client = TcpStream::connect(address).await.unwrap();
                let header = format!("PROXY TCP4 192.0.{host}.1 203.0.113.10 40000 443\r\n");
                client.write_all(header.as_bytes()).await.unwrap();
                let source = format!("192.0.{host}.1:40000").parse().unwrap();
                let asked = "203.0.113.10:443".parse().unwrap();
                let key = keys.of_flow(&FlowKey::new(Protocol::Tcp, source, asked));
                let number = client.read_u8().await.unwrap();
                assert_eq!(number, place(&pool, key), "{parts:?}");
            }
        }
    });
}

#[test]
fn without_a_word_the_clients_address_counts_as_on_every_other_node() {
    run(async {
        let pool = numbered().await;
        let (address, _stop) = serve(Settings::new(pool.clone())).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let keys = KeyExtractor::new(KeyParts::Source, HashKey::from_seed(0));
        let source = client.local_addr().unwrap();
        let key = keys.of_flow(&FlowKey::new(Protocol::Tcp, source, address));
        assert_eq!(client.read_u8().await.unwrap(), place(&pool, key));
    });
}
