//! Without descriptors: alone in its process, whose limit it lowers.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_l4::stream::{Refused, TcpBalancer, TcpService};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A socket that can connect when no descriptor is left.
fn prepared() -> Arc<Socket> {
    Arc::new(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
}

/// Connects and says whether the connection was reset, be it at once or later.
///
/// The socket stays open, so that its descriptor is not free for the balancer.
async fn is_turned_away(socket: &Arc<Socket>, address: SocketAddr) -> bool {
    let socket = Arc::clone(socket);
    tokio::task::spawn_blocking(move || {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        socket.connect(&address.into()).is_err() || socket.recv(&mut byte).is_err()
    })
    .await
    .unwrap()
}

async fn without_descriptors() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = backend.local_addr().unwrap();
    let web = Pool::new(RoundRobin).backend(Backend::new("b", at.into()));
    let service = TcpService::new("127.0.0.1:0".parse().unwrap(), web);
    let balancer = TcpBalancer::bind(service).await.unwrap();
    let address = balancer.addresses()[0].socket().unwrap();
    let handle = balancer.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(balancer.run_until(stopped));
    let mut old = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = backend.accept().await.unwrap();

    let clients: Vec<_> = (0..5).map(|_| prepared()).collect();
    let taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for client in &clients {
        assert!(is_turned_away(client, address).await);
    }
    let refused = handle.stats().refused(Refused::Accept);
    assert!((5..50).contains(&refused), "{refused}: it spins");
    // What is under way goes on.
    old.write_all(b"still").await.unwrap();
    let mut got = [0; 5];
    server.read_exact(&mut got).await.unwrap();

    drop((taken, clients));
    let mut new = TcpStream::connect(address).await.unwrap();
    let (mut served, _) = backend.accept().await.unwrap();
    new.write_all(b"again").await.unwrap();
    served.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"again");
    drop((old, server, new, served, stop));
    running.await.unwrap().unwrap();
}

#[test]
fn without_descriptors_clients_are_turned_away_and_accepting_goes_on_after() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let low = Rlimit {
        current: Some(96),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, low).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let limited =
        async { tokio::time::timeout(Duration::from_secs(20), without_descriptors()).await };
    runtime.block_on(limited).expect("the test hangs");
}
