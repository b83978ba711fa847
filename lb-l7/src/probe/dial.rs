//! How a probe gets its connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::uri::Authority;
use lbcore::backend::Address;
use lbcore::health::ProbeFailure;
use tokio::net::{TcpStream, UnixStream};

use super::HttpProbe;
use crate::upstream::BackendStream;

/// The address with another port, if it has ports.
pub(super) fn at_port(address: &Address, port: Option<u16>) -> Address {
    match (address, port) {
        (Address::Socket(socket), Some(port)) => {
            let mut socket = *socket;
            socket.set_port(port);
            socket.into()
        }
        _ => address.clone(),
    }
}

/// The host to ask for: the one that is set, or else the address.
pub(super) fn host(set: Option<&Authority>, address: &Address) -> Result<Authority, ProbeFailure> {
    if let Some(host) = set {
        return Ok(host.clone());
    }
    let Some(socket) = address.socket() else {
        return Ok(Authority::from_static("localhost"));
    };
    // The zone of a link-local address is this host's alone (RFC 6874, 1).
    let socket = SocketAddr::new(socket.ip(), socket.port());
    let host = Authority::try_from(socket.to_string());
    host.map_err(|_| ProbeFailure::Unreachable)
}

/// A connection that is ready for what is to be asked.
pub(super) async fn connect(
    probe: &HttpProbe,
    address: &Address,
    host: &str,
) -> Result<BackendStream, ProbeFailure> {
    let stream = match address {
        Address::Socket(address) => tcp(*address).await,
        Address::Unix(path) => UnixStream::connect(path).await.map(BackendStream::from),
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    let stream = stream.map_err(|error| failure(&error))?;
    secure(probe, stream, host).await
}

async fn tcp(address: SocketAddr) -> io::Result<BackendStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Closed by a reset, so that probing never leaves a port of this host in TIME-WAIT.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream.into())
}

#[cfg(feature = "tls")]
async fn secure(
    probe: &HttpProbe,
    stream: BackendStream,
    host: &str,
) -> Result<BackendStream, ProbeFailure> {
    use crate::tls::Alpn;

    let Some(tls) = &probe.tls else {
        return Ok(stream);
    };
    let name = tls.name_for(None, host).map_err(|_| ProbeFailure::Io)?;
    let stream = tls.connect(stream, &name).await;
    let stream = stream.map_err(|error| failure(&error))?;
    // A server that agrees on nothing may still speak what it is asked in.
    match (Alpn::of_backend(&stream), probe.is_http2()) {
        (Some(Alpn::Http1), Some(true)) | (Some(Alpn::Http2), Some(false)) => {
            Err(ProbeFailure::WrongAnswer)
        }
        _ => Ok(BackendStream::any(stream)),
    }
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "with TLS it waits")]
async fn secure(
    _probe: &HttpProbe,
    stream: BackendStream,
    _host: &str,
) -> Result<BackendStream, ProbeFailure> {
    Ok(stream)
}

/// Whose fault an error is.
pub(super) fn failure(error: &io::Error) -> ProbeFailure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused | Kind::NotFound => ProbeFailure::Refused,
        Kind::BrokenPipe | Kind::ConnectionAborted | Kind::ConnectionReset => ProbeFailure::Reset,
        Kind::TimedOut => ProbeFailure::Timeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::Unsupported => {
            ProbeFailure::Unreachable
        }
        // The handshake of TLS: a certificate that is not believed, or no TLS at all.
        Kind::InvalidData | Kind::UnexpectedEof => ProbeFailure::WrongAnswer,
        _ => ProbeFailure::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn a_port_that_is_set_stands_before_the_backends_own() {
        let (own, other) = (address("10.0.0.1:80"), address("10.0.0.1:9000"));
        assert_eq!(at_port(&own, None), own);
        assert_eq!(at_port(&own, Some(9000)), other);
        let unix = Address::Unix(std::path::Path::new("/run/a.sock").into());
        assert_eq!(at_port(&unix, Some(9000)), unix);
    }

    #[test]
    fn the_host_is_the_one_set_or_else_the_address() {
        fn of(set: Option<&Authority>, at: &Address) -> String {
            host(set, at).unwrap().to_string()
        }
        let set = Authority::from_static("app.internal");
        assert_eq!(of(Some(&set), &address("10.0.0.1:80")), "app.internal");
        assert_eq!(of(None, &address("10.0.0.1:80")), "10.0.0.1:80");
        assert_eq!(of(None, &address("[fe80::1%3]:80")), "[fe80::1]:80");
        assert_eq!(
            of(
                None,
                &Address::Unix(std::path::Path::new("/run/a.sock").into())
            ),
            "localhost"
        );
    }

    #[test]
    fn each_error_is_told_by_what_it_says_of_the_backend() {
        use io::ErrorKind as Kind;
        let told = |kind: Kind| failure(&kind.into());
        assert_eq!(told(Kind::ConnectionRefused), ProbeFailure::Refused);
        assert_eq!(told(Kind::NotFound), ProbeFailure::Refused);
        assert_eq!(told(Kind::ConnectionReset), ProbeFailure::Reset);
        assert_eq!(told(Kind::BrokenPipe), ProbeFailure::Reset);
        assert_eq!(told(Kind::TimedOut), ProbeFailure::Timeout);
        assert_eq!(told(Kind::HostUnreachable), ProbeFailure::Unreachable);
        assert_eq!(told(Kind::InvalidData), ProbeFailure::WrongAnswer);
        assert_eq!(told(Kind::OutOfMemory), ProbeFailure::Io);
    }
}
