//! Socket options that the standard library does not set.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted: as many as the kernel allows by default
/// (`net.core.somaxconn`, 4096 since Linux 5.4).
pub(crate) const BACKLOG: i32 = 4096;

/// A listening TCP socket that shares its port with those of the other workers (`SO_REUSEPORT`).
pub(crate) fn listen_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    // A restart need not wait for connections in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // `[::]` serves both families whatever the host's default (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    // Inherited by what is accepted: two system calls a connection less (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Refuses a port that somebody else has: workers' sockets, which share theirs, would not notice.
///
/// Sessions of a listener that is gone, which may be in TIME-WAIT, do not keep it from a new one.
/// Who takes the port between this and the binding of the workers is not noticed.
///
/// # Errors
///
/// Those of `socket(2)` and `bind(2)`: the address is taken, or not one of this host.
pub(crate) fn check_free(address: SocketAddr, kind: Type) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), kind.cloexec(), None)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())
}

/// A listening Unix socket. A socket file that nobody listens on any more is replaced.
pub(crate) fn listen_unix(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_left_behind(path, &address) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether a socket is there that nobody listens on. What is no socket is somebody's data.
fn is_left_behind(path: &Path, address: &SockAddr) -> bool {
    let is_socket = || {
        Some(
            std::fs::symlink_metadata(path)
                .ok()?
                .file_type()
                .is_socket(),
        )
    };
    // Not blocking: a full backlog is served too.
    let probe = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket() == Some(true)
        && probe().is_ok_and(|probe| probe.connect(address).is_err_and(is_refused))
}

/// The next waiting connection, non-blocking, and who it is from (`None`: a Unix socket).
///
/// An IPv4 client of an IPv6 listener is told by its IPv4 address, so that address lists match it.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((fd, peer.and_then(socket_address)))
}

fn socket_address(any: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(any).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Asks the kernel to notice a peer that is gone: first after `idle`, then every quarter of it.
///
/// Dead after four unanswered probes, so within twice `idle`. Set on a listener, it is inherited.
pub(crate) fn set_keepalive(socket: impl AsFd, idle: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(idle.max(Duration::from_secs(1)))
        .with_interval((idle / 4).max(Duration::from_secs(1)))
        .with_retries(4);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)
}

/// Makes the coming close a reset: unsent bytes are thrown away and the peer gets an RST.
///
/// Source: RFC 9293, 3.10.4 (ABORT); socket(7), `SO_LINGER` with a timeout of zero.
pub(crate) fn set_reset_on_close(socket: impl AsFd) {
    // Fails only on what is no socket; then there is no peer to tell.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}
