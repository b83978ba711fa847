//! What a polite client does not do: resets, half-closes, tiny windows.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Ends a connection by a reset: a linger of zero throws away what is unsent (tcp(7), socket(7)).
pub fn reset<S: std::os::fd::AsFd>(stream: S) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.expect("a socket can linger");
}

/// How the other side ended a connection.
#[expect(clippy::exhaustive_enums, reason = "TCP has these two ends, and none")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// By a FIN.
    Closed,
    /// Not within the limit.
    Open,
    /// By an RST.
    Reset,
}

/// Reads and throws away what comes, and tells how and after how many bytes it ended.
///
/// # Errors
///
/// Any error of the socket other than a reset.
pub async fn drain(stream: &mut TcpStream, limit: Duration) -> io::Result<(u64, End)> {
    let mut bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    let ended = tokio::time::timeout(limit, async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(End::Closed),
                Ok(length) => bytes += length as u64,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(End::Reset);
                }
                Err(error) => return Err(error),
            }
        }
    });
    let end = ended.await.unwrap_or(Ok(End::Open))?;
    Ok((bytes, end))
}

/// Connects with a receive buffer of about `bytes`, so that a client that does not read soon
/// closes its window. The kernel doubles the number, and has a least of about 2 KiB (tcp(7)).
///
/// # Errors
///
/// As of connecting.
pub async fn connect_with_window(address: SocketAddr, bytes: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Only a buffer that is set before the connection is offered in the SYN.
    socket.set_recv_buffer_size(bytes)?;
    socket.set_nonblocking(true)?;
    let stream: std::net::TcpStream = match socket.connect(&SockAddr::from(address)) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            return Err(error);
        }
        _ => socket.into(),
    };
    let stream = TcpStream::from_std(stream)?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Connects from that local address, such as another of 127.0.0.0/8.
///
/// # Errors
///
/// As of binding and connecting.
pub async fn connect_from(local: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match local {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.bind(local)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::wait::PATIENCE;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn the_two_ends_of_tcp_are_told_apart() {
        let (client, mut server) = pair().await;
        reset(client);
        assert_eq!(drain(&mut server, PATIENCE).await.unwrap(), (0, End::Reset));

        let (mut client, mut server) = pair().await;
        client.write_all(b"abc").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(
            drain(&mut server, PATIENCE).await.unwrap(),
            (3, End::Closed)
        );

        let (_client, mut server) = pair().await;
        assert_eq!(
            drain(&mut server, Duration::from_millis(1)).await.unwrap(),
            (0, End::Open)
        );
    }

    #[tokio::test]
    async fn a_small_window_holds_the_sender_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = connect_with_window(address, 2048).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        SockRef::from(&server).set_send_buffer_size(2048).unwrap();
        let mut taken = 0;
        while let Ok(length) = server.try_write(&[0; 1024]) {
            taken += length;
        }
        assert!(taken < 64 * 1024, "{taken}");
        drop(client);
        connect_with_window(crate::host::free_address(), 2048)
            .await
            .unwrap_err();
    }

    #[tokio::test]
    async fn a_client_has_the_address_it_chose() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = "127.0.0.9:0".parse().unwrap();
        let _client = connect_from(local, listener.local_addr().unwrap())
            .await
            .unwrap();
        assert_eq!(listener.accept().await.unwrap().1.ip(), local.ip());
    }
}
