//! A client that has connected and has no session yet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::net::getsockname;
use tokio::net::{TcpStream, UnixStream};

use super::counters::{Refused, WorkerCounters};
use super::log::RefusalLog;
use super::reactor::Socket;
use super::side::Side;
use crate::connect::Stream;

/// The client's end, registered with the runtime only if something is read before it is relayed.
#[derive(Debug)]
pub(crate) enum Client {
    Accepted(Socket),
    Stream(Stream),
}

impl Client {
    /// As a stream that a task can wait for.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Stream(stream) => Ok(stream),
            Self::Accepted(Socket { fd, is_tcp: true }) => {
                Ok(Stream::Tcp(TcpStream::from_std(fd.into())?))
            }
            Self::Accepted(Socket { fd, is_tcp: false }) => {
                Ok(Stream::Unix(UnixStream::from_std(fd.into())?))
            }
        }
    }

    /// Makes the coming close a reset.
    fn reset(&mut self) {
        match self {
            Self::Accepted(socket) => socket.reset(),
            Self::Stream(stream) => stream.reset(),
        }
    }

    /// The address that the client has connected to, if it is one of IP.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        let address = match self {
            Self::Accepted(socket) => getsockname(&socket.fd).ok()?.try_into().ok()?,
            Self::Stream(Stream::Tcp(tcp)) => tcp.local_addr().ok()?,
            Self::Stream(_) => return None,
        };
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

/// A client before its session; dropped, it is refused.
///
/// Each arrival is counted once: as refused, or by the session that is begun for it.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// `None` once it was taken.
    client: Option<Client>,
    peer: Option<SocketAddr>,
    counters: WorkerCounters,
    log: Arc<RefusalLog>,
}

impl Arrival {
    /// Counts the client as accepted.
    pub(crate) fn new(
        client: Client,
        peer: Option<SocketAddr>,
        counters: WorkerCounters,
        log: Arc<RefusalLog>,
    ) -> Self {
        counters.accepted();
        Self {
            client: Some(client),
            peer,
            counters,
            log,
        }
    }

    /// Who connected: the other end of the socket, whatever a header says.
    pub(crate) const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) const fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    pub(crate) const fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// The client's stream, to read from it before the session begins.
    pub(crate) fn stream(&mut self) -> Result<&mut Stream, Refused> {
        let client = self.client.take().ok_or(Refused::Resources)?;
        let stream = client.into_stream().map_err(|_| Refused::Resources)?;
        match self.client.insert(Client::Stream(stream)) {
            Client::Stream(stream) => Ok(stream),
            Client::Accepted(_) => Err(Refused::Resources),
        }
    }

    /// The client, for its session, which counts from here on.
    pub(crate) fn take(&mut self) -> Option<Client> {
        self.client.take()
    }

    /// Turns the client away by a reset: a FIN would leave this host in TIME-WAIT.
    pub(crate) fn refuse(&mut self, why: Refused) {
        if let Some(mut client) = self.client.take() {
            client.reset();
            self.counters.refused(why);
            self.log.refused(why, self.peer);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.refuse(Refused::Draining);
    }
}
