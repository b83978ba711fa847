//! A balancer, its backends and its clients, in one process.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::stream::{Settings, TcpBalancer, TcpConfig, TcpHandle, TcpService};
use lbcore::backend::Address;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A balancer that runs, and what ends it.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) handle: TcpHandle<RoundRobin>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<std::io::Result<()>>,
}

impl Front {
    pub(crate) async fn start(settings: Settings<RoundRobin>) -> Self {
        let service = TcpService::new("127.0.0.1:0".parse().unwrap(), settings);
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let address = balancer.addresses()[0].socket().unwrap();
        let handle = balancer.handle();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(balancer.run_until(stopped));
        Self {
            address,
            handle,
            stop,
            ended,
        }
    }

    /// In front of one backend.
    pub(crate) async fn of(backend: &TcpListener, config: TcpConfig) -> Self {
        Self::start(Settings::new(pool([backend.local_addr().unwrap()])).config(config)).await
    }

    /// A client and the backend's end of its session, which is counted.
    pub(crate) async fn session(&self, backend: &TcpListener) -> (TcpStream, TcpStream) {
        let before = self.handle.stats().began;
        let client = TcpStream::connect(self.address).await.unwrap();
        let (server, _) = backend.accept().await.unwrap();
        // The backend may have accepted before the front knows that it is connected.
        eventually(|| self.handle.stats().began > before).await;
        (client, server)
    }

    /// Ends the balancer; returns when its sessions have ended.
    pub(crate) async fn finish(self) {
        drop(self.stop);
        self.ended.await.unwrap().unwrap();
    }
}

pub(crate) fn pool(backends: impl IntoIterator<Item = SocketAddr>) -> Pool<RoundRobin> {
    let named = backends.into_iter().enumerate();
    named.fold(Pool::new(RoundRobin), |pool, (n, address)| {
        pool.backend(Backend::new(&format!("b{n}"), Address::from(address)))
    })
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An address of loopback where nobody listens, and nobody will: the port is bound and kept.
pub(crate) fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Waits for what the counters will say, since they are written after the bytes arrive.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// Runs a test that must end.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(limited).expect("the test hangs")
}

/// Whether a client is reset, be it while it connects or later.
pub(crate) async fn is_turned_away(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(mut client) => client.read(&mut [0]).await.is_err(),
        Err(_) => true,
    }
}
