//! A client that has connected and has not been let in yet.

use std::io;
use std::pin::Pin;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use lbcore::proxy_protocol::{self, Parse, Proxied};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::accept::Accepted;
use crate::peer::Peer;
use crate::rewound::Rewound;
use crate::stats::Refused;

/// A client's connection as the kernel gave it, behind its PROXY protocol header.
#[derive(Debug)]
pub struct Raw(RawStream);

#[derive(Debug)]
enum RawStream {
    Tcp(Rewound<TcpStream>),
    Unix(Rewound<UnixStream>),
}

impl Raw {
    pub(super) fn new(accepted: Accepted, first: Bytes) -> Self {
        match accepted {
            Accepted::Tcp(stream) => Self(RawStream::Tcp(Rewound::new(first, stream))),
            Accepted::Unix(stream) => Self(RawStream::Unix(Rewound::new(first, stream))),
        }
    }

    /// What has been read of it and not used.
    pub(super) const fn first(&self) -> &Bytes {
        match &self.0 {
            RawStream::Tcp(stream) => stream.first(),
            RawStream::Unix(stream) => stream.first(),
        }
    }
}

/// A stream that says what its handshake settled, if it had one.
///
/// What an [`Accept`](lbcore::connect::Accept) of this crate's server makes of a [`Raw`] must be
/// one: that is how the proxy learns of the protocol and the names that were agreed on.
pub trait Secured: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// What was settled; `None` where there was no handshake.
    #[cfg(feature = "tls")]
    fn handshake(&self) -> Option<crate::tls::Handshake>;
}

impl Secured for Raw {
    #[cfg(feature = "tls")]
    fn handshake(&self) -> Option<crate::tls::Handshake> {
        None
    }
}

#[cfg(feature = "tls")]
impl<IO> Secured for tokio_rustls::server::TlsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn handshake(&self) -> Option<crate::tls::Handshake> {
        Some(crate::tls::Handshake::of(self))
    }
}

/// Puts what a handshake settled into `peer`.
#[cfg_attr(
    not(feature = "tls"),
    expect(clippy::needless_pass_by_ref_mut, reason = "by feature")
)]
pub(super) fn settle(peer: &mut Peer, stream: &impl Secured) {
    #[cfg(feature = "tls")]
    {
        peer.tls = stream.handshake().map(Arc::new);
    }
    #[cfg(not(feature = "tls"))]
    let _ = (peer, stream);
}

/// Reads the PROXY protocol header that must come; what was read behind it is given back.
pub(super) async fn read_proxy_header(
    accepted: &mut Accepted,
    peer: &mut Peer,
) -> Result<Bytes, Refused> {
    let mut bytes = BytesMut::new();
    loop {
        let need = match proxy_protocol::parse(&bytes) {
            Ok(Parse::Complete {
                header, consumed, ..
            }) => {
                if let Proxied::Flow(flow) = header.proxied {
                    peer.via = Some(peer.address);
                    peer.address = flow.source;
                    peer.local = flow.destination;
                }
                return Ok(bytes.split_off(consumed).freeze());
            }
            Ok(Parse::Incomplete { need }) => need,
            Err(_) => return Err(Refused::ProxyHeader),
        };
        // `need` is bounded by the parser.
        bytes.reserve(need.saturating_sub(bytes.len()).max(FIRST));
        let read = match accepted {
            Accepted::Tcp(stream) => stream.read_buf(&mut bytes).await,
            Accepted::Unix(stream) => stream.read_buf(&mut bytes).await,
        };
        if !matches!(read, Ok(n) if n > 0) {
            return Err(Refused::ProxyHeader);
        }
    }
}

/// Room for a first read: a header and the request behind it mostly come in one.
const FIRST: usize = 1024;

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($raw:expr, $stream:ident => $call:expr) => {
        match &mut $raw.get_mut().0 {
            RawStream::Tcp(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            RawStream::Unix(unix) => {
                let $stream = Pin::new(unix);
                $call
            }
        }
    };
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
