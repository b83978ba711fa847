//! Bytes in both directions, after a backend has agreed to them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::ConnectionPlace;
use super::http2::Http2Tunnel;
use super::stream::BackendStream;

/// What a connection or a stream has become after a 101 or a 2xx to CONNECT.
///
/// Reads first what had already come behind the head. Dropping it closes the connection, or resets
/// the stream unless both directions have ended.
#[derive(Debug)]
pub(crate) struct Tunnel {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Http1 {
        stream: BackendStream,
        unread: BytesMut,
        /// Held for as long as the tunnel lasts.
        _place: ConnectionPlace,
    },
    Http2(Http2Tunnel),
}

impl Tunnel {
    pub(super) const fn http1(
        stream: BackendStream,
        unread: BytesMut,
        place: ConnectionPlace,
    ) -> Self {
        Self {
            inner: Inner::Http1 {
                stream,
                unread,
                _place: place,
            },
        }
    }

    pub(super) const fn http2(tunnel: Http2Tunnel) -> Self {
        Self {
            inner: Inner::Http2(tunnel),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Http1 { stream, unread, .. } if unread.is_empty() => {
                Pin::new(stream).poll_read(cx, buffer)
            }
            Inner::Http1 { unread, .. } => {
                let length = unread.len().min(buffer.remaining());
                buffer.put_slice(&unread.split_to(length));
                if unread.is_empty() {
                    *unread = BytesMut::new();
                }
                Poll::Ready(Ok(()))
            }
            Inner::Http2(tunnel) => {
                let mut piece = ready!(tunnel.poll_piece(cx))?;
                let length = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece.split_to(length));
                tunnel.taken(length, piece);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Http1 { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Inner::Http2(tunnel) => tunnel.poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Http1 { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
            Inner::Http2(tunnel) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                tunnel.poll_write(cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Http1 { stream, .. } => stream.is_write_vectored(),
            Inner::Http2(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Http1 { stream, .. } => Pin::new(stream).poll_flush(cx),
            // The task of the connection writes what its streams have queued.
            Inner::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Http1 { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Inner::Http2(tunnel) => Poll::Ready(tunnel.shutdown()),
        }
    }
}
