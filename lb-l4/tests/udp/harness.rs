//! A balancer on a thread of its own, and the sockets around it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::stream::udp::{UdpBalancer, UdpConfig, UdpHandle, UdpService, UdpSettings, UdpStats};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Outcome, Pool};
use tokio::sync::oneshot;

/// A balancer that runs until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: UdpHandle<RoundRobin>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub(crate) fn start(address: &str, settings: impl Into<UdpSettings<RoundRobin>>) -> Self {
        let service = UdpService::new(address.parse().unwrap(), settings);
        Self::of(UdpBalancer::bind(service).unwrap())
    }

    pub(crate) fn of(balancer: UdpBalancer<RoundRobin>) -> Self {
        let address = balancer.addresses()[0];
        let handle = balancer.handle();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(balancer.run_until(stopped))
        });
        Self {
            address,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Begins the drain.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end of the drain.
    pub(crate) fn join(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    /// Waits until `of` the statistics is `expected`: counters are written one after another, so
    /// none of them tells that the others have been.
    #[track_caller]
    pub(crate) fn settles<T: PartialEq + std::fmt::Debug>(
        &self,
        of: impl Fn(&UdpStats) -> T,
        expected: T,
    ) {
        let what = format!("{expected:?}");
        self.until(&what, |it| of(it) == expected);
    }

    /// Waits until the counters are as they should be; fails after ten seconds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, reached: impl Fn(&UdpStats) -> bool) -> UdpStats {
        let clock = Clock::monotonic();
        let begin = clock.now();
        loop {
            let stats = self.handle.stats();
            if reached(&stats) {
                return stats;
            }
            assert!(
                clock.now().since(begin) < PATIENCE,
                "waited for {what}: {stats:?}"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A bound socket with room for bursts.
pub(crate) fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket2::SockRef::from(&socket)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    socket
}

/// A client that hears `server` alone.
pub(crate) fn client(server: SocketAddr) -> UdpSocket {
    let client = socket(if server.is_ipv4() { "127.0.0.1" } else { "::1" });
    client.connect(server).unwrap();
    client
}

/// A backend that listens at `socket`.
pub(crate) fn backend(name: &str, socket: &UdpSocket) -> Backend {
    Backend::new(name, socket.local_addr().unwrap().into())
}

/// A pool that takes these by turns: names are `0`, `1` and so on.
pub(crate) fn pool(sockets: &[&UdpSocket]) -> Pool<RoundRobin> {
    let backends = sockets
        .iter()
        .enumerate()
        .map(|(n, it)| backend(&n.to_string(), it));
    Pool::new(RoundRobin).backends(backends)
}

pub(crate) fn settings(sockets: &[&UdpSocket], config: UdpConfig) -> UdpSettings<RoundRobin> {
    UdpSettings::new(pool(sockets)).config(config)
}

/// How many sessions of the pool ended so.
pub(crate) fn finished(pool: &Pool<RoundRobin>, outcome: Outcome) -> u64 {
    pool.stats()
        .iter()
        .map(|it| it.outcomes()[outcome.kind()])
        .sum()
}

#[track_caller]
pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    let len = socket.recv(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[track_caller]
pub(crate) fn send(from: &UdpSocket, bytes: &[u8]) {
    assert_eq!(from.send(bytes).unwrap(), bytes.len());
}

#[track_caller]
pub(crate) fn send_to(from: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    assert_eq!(from.send_to(bytes, to).unwrap(), bytes.len());
}

/// Receives one datagram, sends it back, and gives its sender.
#[track_caller]
pub(crate) fn echo(backend: &UdpSocket) -> SocketAddr {
    let mut bytes = vec![0; 65_536];
    let (len, from) = backend.recv_from(&mut bytes).unwrap();
    backend.send_to(&bytes[..len], from).unwrap();
    from
}

/// One request and its answer, which is the same.
#[track_caller]
pub(crate) fn exchange(client: &UdpSocket, backend: &UdpSocket, bytes: &[u8]) {
    client.send(bytes).unwrap();
    echo(backend);
    assert_eq!(receive(client), bytes);
}

/// Fails if something waits at `socket`. What is on loopback is there when its sender goes on.
#[track_caller]
pub(crate) fn nothing(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    let error = socket.recv(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
}

/// Longer than any of this takes on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
