//! The sockets of a UDP balancer: the one that clients ask, and one to a backend for each session.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::datagram::{self, Asked, IpVersion};

/// A socket that clients send to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Listener {
    /// Makes `socket` fit: it does not block, it tells which address was asked where that is not
    /// one, and it takes trains.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        if address.ip().is_unspecified() {
            datagram::tell_asked(socket.as_fd(), IpVersion::of(&address))?;
        }
        // Without trains, on a kernel before 5.0, datagrams come one by one.
        let _ = datagram::receive_trains(socket.as_fd());
        Ok(Self { socket, address })
    }

    /// The address and port that a client has sent to: that of the socket, or as the kernel told.
    pub(super) fn asked(&self, told: Option<Asked>) -> SocketAddr {
        let ip = told.map_or_else(|| self.address.ip(), |asked| asked.address);
        SocketAddr::new(ip, self.address.port())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opens one socket for each of `workers`, all at `address`; the kernel spreads clients over them
/// and keeps each client with one (`SO_REUSEPORT`).
///
/// Port 0 is chosen once, for all. `[::]` serves IPv4 as well.
pub(super) fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let first = open(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address)?);
    }
    Ok(sockets)
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    // As much as the host allows: a burst waits here while the worker does something else.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Opens a socket that sends to `backend` and hears nobody else.
///
/// # Errors
///
/// Those of `socket(2)` and `connect(2)`: no descriptor, no route.
pub(super) fn connect(backend: SocketAddr, trains: Trains) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(backend), kind, Some(Protocol::UDP))?;
    if trains == Trains::Received {
        let _ = datagram::receive_trains(socket.as_fd());
    }
    socket.connect(&backend.into())?;
    Ok(socket.into())
}

/// Whether the kernel may hand over several datagrams in one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trains {
    /// Not worth a system call: few answers are awaited.
    Single,
    /// It may.
    Received,
}

/// 4 MiB: about 3,000 full frames, a quarter of a second at 100 Mbit/s.
const RECEIVE_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_asked_at_the_socket_or_as_the_kernel_tells() {
        let [socket] =
            <[_; 1]>::try_from(listen("127.0.0.1:0".parse().unwrap(), 1).unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::new(socket).unwrap();
        assert_eq!(listener.asked(None), address);
        let told = Asked {
            address: "127.0.0.9".parse().unwrap(),
            interface: 0,
        };
        let expected = SocketAddr::new(told.address, address.port());
        assert_eq!(listener.asked(Some(told)), expected);
    }

    #[test]
    fn workers_share_one_port() {
        let sockets = listen("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        assert_eq!(sockets.len(), 3);
        assert!(
            sockets
                .iter()
                .all(|it| it.local_addr().unwrap().port() == port)
        );
    }
}
