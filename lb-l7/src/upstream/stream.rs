//! What a connection to a backend is read from and written to.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A stream whose type is forgotten.
pub(crate) trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for T {}

/// A stream to a backend, and how many bytes it has taken.
pub(crate) struct BackendStream {
    inner: Inner,
    /// Bytes that have left this side, or that TLS has taken.
    written: u64,
}

/// The two kinds that nearly all have cost no indirection.
enum Inner {
    Tcp(TcpStream),
    Unix(UnixStream),
    Any(Box<dyn AnyStream>),
}

impl BackendStream {
    /// A stream of any type.
    pub(crate) fn any(stream: impl AnyStream + 'static) -> Self {
        Self::new(Inner::Any(Box::new(stream)))
    }

    const fn new(inner: Inner) -> Self {
        Self { inner, written: 0 }
    }

    /// How many bytes it has taken since it was made.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }
}

impl From<TcpStream> for BackendStream {
    fn from(stream: TcpStream) -> Self {
        Self::new(Inner::Tcp(stream))
    }
}

impl From<UnixStream> for BackendStream {
    fn from(stream: UnixStream) -> Self {
        Self::new(Inner::Unix(stream))
    }
}

impl AsyncRead for BackendStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Any(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Any(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Inner::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Inner::Any(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Tcp(stream) => stream.is_write_vectored(),
            Inner::Unix(stream) => stream.is_write_vectored(),
            Inner::Any(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Any(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Any(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl BackendStream {
    fn count(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &result {
            self.written = self.written.saturating_add(*written as u64);
        }
        result
    }
}

impl fmt::Debug for BackendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.inner {
            Inner::Tcp(_) => "tcp",
            Inner::Unix(_) => "unix",
            Inner::Any(_) => "any",
        };
        f.debug_struct("BackendStream")
            .field("kind", &kind)
            .field("written", &self.written)
            .finish()
    }
}
