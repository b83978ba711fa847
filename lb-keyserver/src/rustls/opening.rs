//! Reading and writing until the signature is there.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::driver::Handshake;
use super::error::RemoteTlsError;
use super::step::{Fatal, Step};
use crate::sign::SignError;

/// A handshake that needs the key no more.
pub(super) struct Signed {
    pub(super) config: Arc<ServerConfig>,
    pub(super) connection: ServerConnection,
}

impl Signed {
    pub(super) fn of(handshake: Handshake) -> Option<Self> {
        Some(Self {
            config: Arc::clone(handshake.config()?),
            connection: handshake.into_connection()?,
        })
    }
}

/// Why there is none, and what the client is told.
pub(super) struct Refused {
    pub(super) error: RemoteTlsError,
    pub(super) answer: Vec<u8>,
}

impl Refused {
    pub(super) fn unsigned(handshake: Handshake, error: SignError) -> Self {
        Self {
            error: RemoteTlsError::Sign(error),
            answer: handshake.refuse(AlertDescription::InternalError).to_vec(),
        }
    }

    pub(super) fn unknown_name(handshake: Handshake) -> Self {
        let answer = handshake.refuse(AlertDescription::UnrecognisedName);
        Self {
            error: RemoteTlsError::UnknownName,
            answer: answer.to_vec(),
        }
    }
}

impl From<RemoteTlsError> for Refused {
    fn from(error: RemoteTlsError) -> Self {
        let answer = Vec::new();
        Self { error, answer }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        RemoteTlsError::from(error).into()
    }
}

impl From<Fatal> for Refused {
    fn from(fatal: Fatal) -> Self {
        Self {
            error: RemoteTlsError::Tls(fatal.error),
            answer: fatal.alert,
        }
    }
}

/// Reads once, and gives it to the handshake.
///
/// The buffer is on the stack, so that a handshake that waits holds none.
pub(super) fn poll_input<Raw: AsyncRead + Unpin>(
    raw: &mut Raw,
    cx: &mut Context<'_>,
    handshake: &mut Handshake,
    is_first: bool,
) -> Poll<Result<Step, Refused>> {
    let mut buffer = [MaybeUninit::uninit(); READ];
    let mut buffer = ReadBuf::uninit(&mut buffer);
    ready!(Pin::new(raw).poll_read(cx, &mut buffer)).map_err(Refused::from)?;
    let filled = buffer.filled();
    let Some(first) = filled.first() else {
        return Poll::Ready(Err(RemoteTlsError::Closed.into()));
    };
    if let Some(stranger) = stranger(*first).filter(|_| is_first) {
        return Poll::Ready(Err(stranger.into()));
    }
    Poll::Ready(handshake.input(filled).map_err(Refused::from))
}

/// Who begins with this byte and is no client of TLS.
const fn stranger(first: u8) -> Option<RemoteTlsError> {
    match first {
        HANDSHAKE => None,
        // Every registered method begins with a letter (RFC 9110, 16.1.1), upper-case as they are.
        b'A'..=b'Z' => Some(RemoteTlsError::PlainHttp),
        _ => Some(RemoteTlsError::NotTls),
    }
}

/// Writes all of `bytes`, if there are any.
pub(super) async fn send<Raw>(raw: &mut Raw, bytes: &[u8]) -> io::Result<()>
where
    Raw: AsyncWrite + Unpin,
{
    if bytes.is_empty() {
        return Ok(());
    }
    raw.write_all(bytes).await?;
    raw.flush().await
}

/// Sends the last words, if they can be sent; the connection is lost anyway.
pub(super) async fn tell<Raw: AsyncWrite + Unpin>(raw: &mut Raw, answer: &[u8]) {
    if send(raw, answer).await.is_ok() {
        let _ = raw.shutdown().await;
    }
}

/// The content type of a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// More than a ClientHello with a post-quantum key share, which has some 1,800 bytes.
const READ: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_speak_tls_is_known_by_the_first_byte() {
        for byte in 0..=u8::MAX {
            let reason = stranger(byte).map(|error| error.as_str());
            let expected = match byte {
                22 => None,
                b'A'..=b'Z' => Some("plain-http"),
                _ => Some("not-tls"),
            };
            assert_eq!(reason, expected, "{byte}");
        }
    }
}
