//! Backends in this process: echo, silent, resetting, named.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};

use crate::raw;

/// What a [`Server`] does with each connection, or with each datagram.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Sends back what it gets, and passes on the end.
    Echo,
    /// Says its name and a line feed, once a connection or before each datagram; then echoes.
    Named(String),
    /// Closes at once by a reset; drops each datagram.
    Reset,
    /// Takes all, and answers nothing.
    Silent,
    /// Accepts and never reads, so that the sender's window fills.
    Stalled,
}

/// A server in this process, on a thread that all of them share; it ends with this value.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use harness::server::{Behaviour, Server};
///
/// let server = Server::tcp(Behaviour::Echo);
/// let mut client = std::net::TcpStream::connect(server.address())?;
/// client.write_all(b"hello")?;
/// let mut answer = [0; 5];
/// client.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"hello");
/// assert_eq!(server.accepted(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    bytes: AtomicU64,
    open: AtomicU64,
}

impl Server {
    /// A TCP server on a free loopback port.
    #[must_use]
    #[track_caller]
    pub fn tcp(behaviour: Behaviour) -> Self {
        Self::tcp_at("127.0.0.1:0", behaviour)
    }

    /// A TCP server on that address, such as one that a stopped server had.
    #[must_use]
    #[track_caller]
    pub fn tcp_at(address: impl ToString, behaviour: Behaviour) -> Self {
        let address = address.to_string();
        let listener = listen(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::accept_from(listener, behaviour)
    }

    /// A TCP server on a listener that the test has bound, in whichever namespace.
    #[must_use]
    #[track_caller]
    pub fn accept_from(listener: std::net::TcpListener, behaviour: Behaviour) -> Self {
        let address = listener.local_addr().expect("a listener is bound");
        let counts = Arc::new(Counts::default());
        let task = runtime().spawn({
            let counts = Arc::clone(&counts);
            async move { serve_tcp(nonblocking(listener), behaviour, counts).await }
        });
        Self {
            address,
            counts,
            task: Some(task),
        }
    }

    /// A UDP server on a free loopback port.
    #[must_use]
    #[track_caller]
    pub fn udp(behaviour: Behaviour) -> Self {
        Self::udp_at("127.0.0.1:0", behaviour)
    }

    /// A UDP server on that address.
    #[must_use]
    #[track_caller]
    pub fn udp_at(address: impl ToString, behaviour: Behaviour) -> Self {
        let address = address.to_string();
        let socket = std::net::UdpSocket::bind(&address)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = socket.local_addr().expect("a socket is bound");
        socket
            .set_nonblocking(true)
            .expect("a socket can be nonblocking");
        let counts = Arc::new(Counts::default());
        let task = runtime().spawn({
            let counts = Arc::clone(&counts);
            async move {
                let socket = UdpSocket::from_std(socket).expect("a runtime takes a socket");
                serve_udp(socket, behaviour, counts).await;
            }
        });
        Self {
            address,
            counts,
            task: Some(task),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections, or datagrams, that came so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now; none for UDP.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Payload bytes that came so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Closes the port and every connection, and returns when that is done.
    pub async fn stop(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // An aborted task's result is that it was aborted.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// One thread for all servers of this process: a test may block its own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("servers")
            .enable_all();
        builder.build().expect("a runtime can be started")
    })
}

/// As of `std`, whose backlog of 128 is too short for clients that come in waves.
pub(crate) fn listen(address: &str) -> io::Result<std::net::TcpListener> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(4096)?;
    Ok(socket.into())
}

pub(crate) fn nonblocking(listener: std::net::TcpListener) -> TcpListener {
    listener
        .set_nonblocking(true)
        .expect("a socket can be nonblocking");
    TcpListener::from_std(listener).expect("a runtime takes a listener")
}

async fn serve_tcp(listener: TcpListener, behaviour: Behaviour, counts: Arc<Counts>) {
    // Aborts all connections when the listener's task is aborted.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // No descriptor is free: one will be, when a connection ends.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                let open = Open::new(Arc::clone(&counts));
                let behaviour = behaviour.clone();
                connections.spawn(async move {
                    // How a connection ends is for the client to judge.
                    let _ = serve_stream(stream, behaviour, &open.0).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection that is counted as open until it is dropped.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_stream(
    mut stream: TcpStream,
    behaviour: Behaviour,
    counts: &Counts,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = match behaviour {
        Behaviour::Reset => {
            raw::reset(stream);
            return Ok(());
        }
        Behaviour::Stalled => return std::future::pending().await,
        Behaviour::Silent => false,
        Behaviour::Echo => true,
        Behaviour::Named(name) => {
            stream.write_all(format!("{name}\n").as_bytes()).await?;
            true
        }
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        if answer {
            stream.write_all(&buffer[..length]).await?;
        }
    }
}

async fn serve_udp(socket: UdpSocket, behaviour: Behaviour, counts: Arc<Counts>) {
    let name = match &behaviour {
        Behaviour::Echo => String::new(),
        Behaviour::Named(name) => format!("{name}\n"),
        Behaviour::Reset | Behaviour::Silent | Behaviour::Stalled => {
            return count_datagrams(socket, &counts).await;
        }
    };
    let mut buffer = vec![0; 64 * 1024];
    buffer[..name.len()].copy_from_slice(name.as_bytes());
    loop {
        // A port-unreachable that belongs to an earlier answer is no reason to stop.
        let Ok((length, from)) = socket.recv_from(&mut buffer[name.len()..]).await else {
            continue;
        };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let _ = socket.send_to(&buffer[..name.len() + length], from).await;
    }
}

async fn count_datagrams(socket: UdpSocket, counts: &Counts) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Ok(length) = socket.recv(&mut buffer).await {
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream as Stream, UdpSocket as Datagrams};

    use super::*;
    use crate::wait::{PATIENCE, eventually};

    fn dialogue(server: &Server, say: &[u8]) -> io::Result<Vec<u8>> {
        let mut client = Stream::connect(server.address())?;
        client.write_all(say)?;
        client.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        client.read_to_end(&mut heard)?;
        Ok(heard)
    }

    #[test]
    fn each_behaviour_answers_as_it_says() {
        let echo = Server::tcp(Behaviour::Echo);
        assert_eq!(dialogue(&echo, b"abc").unwrap(), b"abc");
        assert_eq!((echo.accepted(), echo.bytes()), (1, 3));
        eventually(PATIENCE, "closed connections are not open", || {
            echo.open() == 0
        });

        let named = Server::tcp(Behaviour::Named("a".into()));
        assert_eq!(dialogue(&named, b"bc").unwrap(), b"a\nbc");

        let silent = Server::tcp(Behaviour::Silent);
        assert_eq!(dialogue(&silent, b"abc").unwrap(), b"");
        assert_eq!(silent.bytes(), 3);

        let reset = Server::tcp(Behaviour::Reset);
        let mut client = Stream::connect(reset.address()).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_stalled_server_lets_the_window_fill() {
        let stalled = Server::tcp(Behaviour::Stalled);
        let mut client = Stream::connect(stalled.address()).unwrap();
        client.set_nonblocking(true).unwrap();
        let block = vec![0; 1 << 20];
        // Send and receive buffers end somewhere below 64 MiB (tcp_wmem and tcp_rmem).
        let refused = (0..64).any(|_| client.write(&block).is_err());
        assert!(refused);
        assert_eq!(stalled.bytes(), 0);
    }

    #[tokio::test]
    async fn a_stopped_server_has_closed_all_and_its_port_can_be_taken_again() {
        let server = Server::tcp(Behaviour::Echo);
        let address = server.address();
        let mut client = Stream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();

        server.stop().await;
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(Stream::connect(address).is_err());

        let again = Server::tcp_at(address, Behaviour::Echo);
        assert_eq!(dialogue(&again, b"y").unwrap(), b"y");
    }

    #[test]
    fn datagrams_are_answered_as_well() {
        let socket = Datagrams::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 16];
        for (behaviour, answer) in [
            (Behaviour::Echo, "abc"),
            (Behaviour::Named("n".into()), "n\nabc"),
        ] {
            let server = Server::udp(behaviour);
            socket.send_to(b"abc", server.address()).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], answer.as_bytes());
            assert_eq!((server.accepted(), server.bytes()), (1, 3));
        }
        let silent = Server::udp(Behaviour::Silent);
        socket.send_to(b"abc", silent.address()).unwrap();
        eventually(PATIENCE, "the datagram is counted", || {
            silent.accepted() == 1
        });
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut buffer).unwrap_err();
    }
}
