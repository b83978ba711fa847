//! A client that does as it is told, on a raw TLS stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::question::{Answer, ask, certificate_verify};
use lb_keyserver::wire::{self, ErrorCode, Items, Opcode};
use lb_keyserver::{Mode, MutualTls, PublicKey, Scheme, SignRequest};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Long for anything on loopback, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) mode: Mode,
    received: Vec<u8>,
}

/// What a server answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answered {
    Pong(Vec<u8>),
    Refused(ErrorCode),
    Signature(Vec<u8>),
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr, tls: &MutualTls, mode: Mode) -> io::Result<Self> {
        Self::connect_with(to, tls.client_config(mode), mode).await
    }

    pub(crate) async fn connect_with(
        to: SocketAddr,
        config: Arc<ClientConfig>,
        mode: Mode,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(to).await?;
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Self {
            stream,
            mode,
            received: Vec::new(),
        })
    }

    /// Whether the server has taken it in: it answers a ping.
    pub(crate) async fn is_served(&mut self) -> bool {
        let ping = frame(7, &ping(b"are you there?"));
        self.send(&ping).await.is_ok()
            && matches!(self.answer().await, Ok((7, Answered::Pong(echo))) if echo == b"are you there?")
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Asks, in its mode, for a signature over a handshake of TLS 1.3.
    pub(crate) async fn ask(&mut self, id: u32, key: &Arc<PublicKey>, scheme: Scheme) {
        let bytes = question(self.mode, id, key, scheme);
        self.send(&bytes).await.unwrap();
    }

    /// The next answer, and the id of its question.
    pub(crate) async fn answer(&mut self) -> io::Result<(u32, Answered)> {
        let frame = self.frame().await?;
        let (frame, _) = wire::parse(&frame).unwrap().unwrap();
        let answered = match Answer::read(&frame.items) {
            Answer::Pong(echo) => Answered::Pong(echo.to_vec()),
            Answer::Refused(code) => Answered::Refused(code),
            Answer::Signature(signature) => Answered::Signature(signature.to_vec()),
            other => panic!("{other:?}"),
        };
        Ok((frame.id, answered))
    }

    /// The bytes of the next frame.
    pub(crate) async fn frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((_, used)) = wire::parse(&self.received).unwrap() {
                return Ok(self.received.drain(..used).collect());
            }
            let read = self.stream.read_buf(&mut self.received);
            if timeout(SOON, read).await.map_err(io::Error::from)?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether the server closes without another word.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.frame().await.is_err()
    }
}

/// What a client signs for, in tests: a handshake with that hash.
pub(crate) fn message() -> Vec<u8> {
    certificate_verify(&[0x5a; 32]).unwrap()
}

pub(crate) fn question(mode: Mode, id: u32, key: &Arc<PublicKey>, scheme: Scheme) -> Vec<u8> {
    let message = match scheme.is_tls13() || mode == Mode::Plain {
        true => message(),
        false => tls12_message(),
    };
    let request = SignRequest::new(Arc::clone(key), scheme, message);
    let asking = ask(mode, &request).unwrap();
    frame(id, &asking.items())
}

/// Randoms, and X25519 parameters (RFC 8422, 5.4).
pub(crate) fn tls12_message() -> Vec<u8> {
    [&[0x11; 64][..], &[3, 0, 0x1d, 32], &[0x22; 32]].concat()
}

pub(crate) fn frame(id: u32, items: &Items<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::emit(id, items, &mut bytes).unwrap();
    bytes
}

pub(crate) fn ping(echo: &[u8]) -> Items<'_> {
    Items {
        opcode: Opcode::PING,
        payload: echo,
        ..Items::default()
    }
}
