//! Reads a client's first message, before anything is decided.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::StartHandshake;

use super::refusal::{Refusal, Refused};

/// Reads a ClientHello, so that the configuration can be chosen by it.
///
/// It does what `tokio_rustls::LazyConfigAcceptor` does, but looks at the first byte before rustls
/// does, which would answer everything with an alert: who speaks HTTP to this port can be told so in
/// HTTP. It waits for the client without end, so the caller sets the deadline, and it holds 64 KiB
/// at most, which is the longest message that rustls takes.
///
/// # Errors
///
/// When no ClientHello came; see [`Refused`] for what may be done with the connection.
pub async fn read_hello<Raw>(mut raw: Raw) -> Result<StartHandshake<Raw>, Refused<Raw>>
where
    Raw: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut first = None;
    loop {
        let read = poll_fn(|cx| poll_read(&mut acceptor, &mut raw, cx, &mut first));
        match read.await {
            Ok(0) => return Err(Refused::new(Refusal::Closed, raw)),
            Ok(_) => {}
            Err(error) => return Err(Refused::new(error, raw)),
        }
        if let Some(refusal) = first.and_then(stranger) {
            return Err(Refused::new(refusal, raw));
        }
        let mut alert = Vec::new();
        let error = match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(StartHandshake::from_parts(accepted, raw)),
            Ok(None) => continue,
            Err((error, mut message)) => {
                // Writing to memory does not fail.
                let _ = message.write_all(&mut alert);
                error
            }
        };
        tell(&mut raw, &alert).await;
        return Err(Refused::new(error, raw));
    }
}

/// Sends an alert, if it can be sent; the connection is lost anyway.
pub(super) async fn tell<Raw: AsyncWrite + Unpin>(raw: &mut Raw, alert: &[u8]) {
    if raw.write_all(alert).await.is_ok() {
        let _ = raw.flush().await;
    }
}

/// Who begins with this byte and is no client of TLS.
const fn stranger(first: u8) -> Option<Refusal> {
    match first {
        HANDSHAKE => None,
        // Every registered method begins with a letter (RFC 9110, 16.1.1), upper-case as they are.
        b'A'..=b'Z' => Some(Refusal::PlainHttp),
        _ => Some(Refusal::NotTls),
    }
}

fn poll_read<Raw: AsyncRead + Unpin>(
    acceptor: &mut Acceptor,
    raw: &mut Raw,
    cx: &mut Context<'_>,
    first: &mut Option<u8>,
) -> Poll<io::Result<usize>> {
    match acceptor.read_tls(&mut Watched { raw, cx, first }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// A stream read as rustls reads, which keeps the first byte.
struct Watched<'a, 'b, Raw> {
    raw: &'a mut Raw,
    cx: &'a mut Context<'b>,
    first: &'a mut Option<u8>,
}

impl<Raw: AsyncRead + Unpin> Watched<'_, '_, Raw> {
    fn poll(&mut self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(&mut *self.raw).poll_read(self.cx, &mut buffer))?;
        let filled = buffer.filled();
        *self.first = self.first.or_else(|| filled.first().copied());
        Poll::Ready(Ok(filled.len()))
    }
}

impl<Raw: AsyncRead + Unpin> Read for Watched<'_, '_, Raw> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.poll(into) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The content type of a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
