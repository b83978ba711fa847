//! Ways to a backend: TCP, Unix and in-memory streams.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use lbcore::backend::Address;
use lbcore::connect::Connect;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::stream::Socket;

/// A stream of bytes, of any kind that this crate carries.
///
/// Every variant but [`Boxed`](Self::Boxed) is known to the relay, which then spares system calls.
#[non_exhaustive]
#[derive(Debug)]
pub enum Stream {
    /// Any other: TLS, a tunnel, something recorded.
    Boxed(Boxed),
    /// Both ends in this process.
    Memory(DuplexStream),
    /// A TCP connection.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

impl Stream {
    /// A stream of a kind of its own.
    pub fn boxed(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::Boxed(Boxed(Box::new(stream)))
    }
}

impl Stream {
    /// The socket itself, no longer watched by the runtime; gives back what is none.
    pub(crate) fn into_socket(self) -> Result<Socket, Self> {
        let (fd, is_tcp) = match self {
            Self::Tcp(tcp) => (tcp.into_std().map(OwnedFd::from), true),
            Self::Unix(unix) => (unix.into_std().map(OwnedFd::from), false),
            other => return Err(other),
        };
        match fd {
            Ok(fd) => Ok(Socket { fd, is_tcp }),
            // The runtime fails to forget a socket only when it is shutting down.
            Err(_) => Err(Self::boxed(tokio::io::empty())),
        }
    }

    /// A socket under the runtime's care, unless the runtime has no room for it.
    pub(crate) fn from_socket(socket: Socket) -> Option<Self> {
        if socket.is_tcp {
            TcpStream::from_std(socket.fd.into()).ok().map(Self::Tcp)
        } else {
            UnixStream::from_std(socket.fd.into()).ok().map(Self::Unix)
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl From<DuplexStream> for Stream {
    fn from(stream: DuplexStream) -> Self {
        Self::Memory(stream)
    }
}

/// A stream whose type is not known here.
pub struct Boxed(Box<dyn AnyStream>);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Boxed(..)")
    }
}

trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for T {}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($stream:expr, $one:ident => $call:expr) => {
        match $stream {
            Stream::Boxed(Boxed(boxed)) => {
                let $one = Pin::new(boxed);
                $call
            }
            Stream::Memory(memory) => {
                let $one = Pin::new(memory);
                $call
            }
            Stream::Tcp(tcp) => {
                let $one = Pin::new(tcp);
                $call
            }
            Stream::Unix(unix) => {
                let $one = Pin::new(unix);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => stream.poll_shutdown(cx))
    }
}

/// Connects to backends by their [`Address`].
///
/// # Examples
///
/// ```no_run
/// # async fn connect() -> std::io::Result<()> {
/// use lb_l4::connect::Dial;
/// use lbcore::connect::Connect;
///
/// let stream = Dial::default().connect(&"127.0.0.1:80".parse().unwrap()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dial {
    memory: MemoryNet,
}

impl Dial {
    /// Reaches addresses of the form `memory:name` through this net.
    #[must_use]
    pub fn memory(mut self, net: MemoryNet) -> Self {
        self.memory = net;
        self
    }
}

/// TCP connections do not wait to fill segments (`TCP_NODELAY`). An in-memory name that nobody
/// serves refuses the connection.
impl Connect for Dial {
    type Stream = Stream;

    async fn connect(&self, address: &Address) -> io::Result<Stream> {
        match address {
            Address::Socket(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Address::Memory(name) => Ok(Stream::Memory(self.memory.connect(name)?)),
            other => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("`{other}` is of a kind that is not connected to"),
            )),
        }
    }
}

/// Services inside this process, by name; clones are the same net.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use lb_l4::connect::{Dial, MemoryNet};
/// use lbcore::connect::Connect;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let net = MemoryNet::default();
/// let mut echo = net.listen("echo");
/// let mut near = Dial::default().memory(net).connect(&"memory:echo".parse().unwrap()).await?;
/// near.write_all(b"hello").await?;
///
/// let mut far = echo.accept().await.unwrap();
/// let mut got = [0; 5];
/// far.read_exact(&mut got).await?;
/// assert_eq!(&got, b"hello");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryNet(Arc<Mutex<HashMap<Arc<str>, mpsc::Sender<DuplexStream>>>>);

impl MemoryNet {
    /// Serves `name`, instead of whoever served it before.
    #[must_use]
    pub fn listen(&self, name: &str) -> MemoryListener {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        self.lock().insert(name.into(), sender);
        MemoryListener { incoming }
    }

    fn connect(&self, name: &str) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(BUFFER);
        let served = self.lock().get(name).map(|sender| sender.try_send(far));
        match served {
            Some(Ok(())) => Ok(near),
            None | Some(Err(_)) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, mpsc::Sender<DuplexStream>>> {
        // A map of senders has no half-done state that a panic elsewhere could leave.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the streams to one name of a [`MemoryNet`] arrive.
#[derive(Debug)]
pub struct MemoryListener {
    incoming: mpsc::Receiver<DuplexStream>,
}

impl MemoryListener {
    /// The next stream; `None` when another listener has taken the name.
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.incoming.recv().await
    }
}

/// Streams that may wait to be accepted, as on a socket (`sys::socket::BACKLOG` is the kernel's).
const BACKLOG: usize = 4096;

/// Bytes that wait in an in-memory stream each way, as much as a relay reads at once.
const BUFFER: usize = 16 * 1024;
