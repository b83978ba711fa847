//! Listening sockets, one a worker.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use lbcore::backend::Address;
use socket2::{Domain, Type};
use tokio::net::{TcpListener, UnixListener};

/// A listening socket that no runtime has taken yet.
#[derive(Debug)]
pub(super) enum Socket {
    /// Of TCP.
    Tcp(std::net::TcpListener),
    /// Of a path.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket under the care of a runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Puts `socket` under the care of the runtime that this is called in.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            Socket::Unix(socket) => UnixListener::from_std(socket).map(Self::Unix),
        }
    }
}

/// Listens at `address` once for each worker, and tells where.
pub(super) fn listen(
    address: &Address,
    shares_port: bool,
    workers: &mut [Vec<Socket>],
) -> io::Result<Address> {
    match address {
        Address::Socket(address) => {
            if !shares_port {
                check_free(*address)?;
            }
            let mut bound = *address;
            for worker in workers {
                let socket = tcp(bound)?;
                bound = socket.local_addr()?;
                worker.push(Socket::Tcp(socket));
            }
            Ok(Address::Socket(bound))
        }
        Address::Unix(path) => {
            let shared = unix(path)?;
            for worker in workers {
                worker.push(Socket::Unix(shared.try_clone()?));
            }
            Ok(address.clone())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A socket that shares its port with those of the other workers (`SO_REUSEPORT`).
fn tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(address), kind, None)?;
    // A restart need not wait for connections in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // `[::]` serves both families whatever the host's default (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    // Inherited by what is accepted: a system call a connection less (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Refuses a port that somebody else has: workers' sockets, which share theirs, would not notice.
fn check_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let kind = Type::STREAM.cloexec();
    let socket = socket2::Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())
}

/// A socket file that nobody listens on any more is replaced.
fn unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            let left = UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_socket || !left {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connections that may wait to be accepted: as many as the kernel allows by default
/// (`net.core.somaxconn`, 4096 since Linux 5.4).
const BACKLOG: i32 = 4096;
