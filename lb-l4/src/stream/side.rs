//! One side of a session, as the relay sees it.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::connect::Stream;
use crate::sys::pipe::Pipe;
use crate::sys::socket;

/// The client or the backend: reads and writes that never block.
///
/// `Pending` means that the side tells its driver when to ask again: through the waker in a tokio
/// task, through its readiness flags in a reactor.
pub(crate) trait Side {
    /// Reads up to `buffer.len()` bytes; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes the beginning of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends what a stream of layers, such as TLS, has not sent yet; sockets hold nothing back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that no more bytes will be written: a FIN.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the two methods below work: it is a socket of the kernel's.
    fn splices(&self) -> bool;

    /// Moves bytes from the socket into an empty pipe; 0 is the end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>>;

    /// Moves bytes from the pipe to the socket.
    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>>;

    /// Makes the coming close a reset.
    fn reset(&mut self);
}

impl Side for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(AsyncRead::poll_read(Pin::new(self), cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }

    fn splices(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let result = match self {
                Self::Tcp(tcp) => {
                    ready!(tcp.poll_read_ready(cx))?;
                    let from = tcp.as_fd();
                    tcp.try_io(Interest::READABLE, || pipe.fill(from, most))
                }
                Self::Unix(unix) => {
                    ready!(unix.poll_read_ready(cx))?;
                    let from = unix.as_fd();
                    unix.try_io(Interest::READABLE, || pipe.fill(from, most))
                }
                Self::Memory(_) | Self::Boxed(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        loop {
            let result = match self {
                Self::Tcp(tcp) => {
                    ready!(tcp.poll_write_ready(cx))?;
                    let to = tcp.as_fd();
                    tcp.try_io(Interest::WRITABLE, || pipe.drain(to))
                }
                Self::Unix(unix) => {
                    ready!(unix.poll_write_ready(cx))?;
                    let to = unix.as_fd();
                    unix.try_io(Interest::WRITABLE, || pipe.drain(to))
                }
                Self::Memory(_) | Self::Boxed(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn reset(&mut self) {
        // A Unix stream knows no reset: its peer reads the end, or ECONNRESET if it had sent more.
        if let Self::Tcp(tcp) = self {
            socket::set_reset_on_close(&*tcp);
        }
    }
}
