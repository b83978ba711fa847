//! Connections that have each had one answer and then say nothing.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::tls::TlsClient;
use crate::wait::PATIENCE;

/// What is spoken on each connection.
#[expect(
    clippy::exhaustive_enums,
    reason = "those that a listener may keep idle"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speech {
    /// HTTP/1.1 over TCP.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    H2,
}

/// Connections that are open and idle, until this value ends.
#[derive(Debug, Default)]
pub struct Idle {
    kept: Vec<Kept>,
}

enum Kept {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

/// How many ask at the same time, so that a proxy needs no more connections to its backend.
const WAVE: usize = 32;

impl Idle {
    /// Opens `number` connections to `address`; each asks for `/` and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Of the first that failed, or that was answered by another status than 200.
    pub async fn open(address: SocketAddr, speech: Speech, number: usize) -> io::Result<Self> {
        let client = TlsClient::new(match speech {
            Speech::H2 => &["h2"],
            Speech::Http | Speech::Https => &["http/1.1"],
        });
        let mut kept = Vec::with_capacity(number);
        while kept.len() < number {
            let mut wave = JoinSet::new();
            for _ in kept.len()..number.min(kept.len() + WAVE) {
                let client = client.clone();
                wave.spawn(async move {
                    tokio::time::timeout(PATIENCE, one(&client, address, speech)).await?
                });
            }
            for connection in wave.join_all().await {
                kept.push(connection?);
            }
        }
        Ok(Self { kept })
    }

    /// Connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many the other side has ended or said more on; none may have.
    #[must_use]
    pub fn disturbed(&self) -> usize {
        let disturbed = |kept: &&Kept| {
            let stream = match kept {
                Kept::Plain(stream) => stream,
                Kept::Tls(stream) => stream.get_ref().0,
            };
            let looked = stream.try_read(&mut [0; 1]);
            !matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        self.kept.iter().filter(disturbed).count()
    }
}

async fn one(client: &TlsClient, address: SocketAddr, speech: Speech) -> io::Result<Kept> {
    match speech {
        Speech::Http => {
            let mut stream = TcpStream::connect(address).await?;
            ask(&mut stream).await?;
            Ok(Kept::Plain(stream))
        }
        Speech::Https => {
            let mut stream = Box::new(client.connect(address).await?);
            ask(&mut stream).await?;
            Ok(Kept::Tls(stream))
        }
        Speech::H2 => {
            let mut stream = Box::new(client.connect(address).await?);
            ask_h2(&mut stream).await?;
            Ok(Kept::Tls(stream))
        }
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let request = b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n";
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        let length = stream.read_buf(&mut answer).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if whole(&answer)? {
            return Ok(());
        }
    }
}

/// Whether this is a whole answer by 200 that tells its length.
fn whole(answer: &[u8]) -> io::Result<bool> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        value.trim().parse::<usize>().ok().filter(|_| named)
    });
    match length {
        Some(length) if head.starts_with("HTTP/1.1 200") => Ok(body.len() >= length),
        _ => Err(io::Error::other(head.to_owned())),
    }
}

/// RFC 9113, 4.1: the length (3 octets), the type, the flags, the stream (4).
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

async fn ask_h2(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    // GET, https and / are in the static table of HPACK; :authority follows as a literal.
    request.extend([0, 0, 14, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1]);
    request.extend([0x82, 0x87, 0x84, 0x01, 9]);
    request.extend(b"idle.test");
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut acknowledged = false;
    let mut ended = false;
    while !(acknowledged && ended) {
        let mut head = [0; FRAME_HEAD];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                stream
                    .write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0])
                    .await?;
                stream.flush().await?;
            }
            SETTINGS => acknowledged = true,
            // 0x88 is `:status 200`; an update of the table's size may come before it.
            HEADERS if !payload.iter().take(4).any(|&byte| byte == 0x88) => {
                return Err(io::Error::other("another status than 200"));
            }
            DATA | HEADERS if id == [0, 0, 0, 1] => ended |= flags & END_STREAM != 0,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keys::Keys;
    use crate::peer::{http_server, https_server};

    #[tokio::test]
    async fn connections_stay_idle_until_the_server_ends() {
        let (plain, tls) = (free_address(), free_address());
        let mut servers = [
            http_server(plain, "hello").start(),
            https_server(tls, "hello", &Keys::p256("a.test")).start(),
        ];
        let mut all = Vec::new();
        for (address, speech) in [
            (plain, Speech::Http),
            (tls, Speech::Https),
            (tls, Speech::H2),
        ] {
            let idle = Idle::open(address, speech, WAVE + 5).await.unwrap();
            assert_eq!(idle.len(), WAVE + 5);
            all.push(idle);
        }
        assert_eq!(all[0].disturbed(), 0);
        for server in &mut servers {
            server.kill();
        }
        let gone = || all[0].disturbed() == WAVE + 5;
        crate::wait::eventually_async(PATIENCE, "all ends are seen", gone).await;
    }

    #[test]
    fn an_answer_is_whole_when_its_length_has_come() {
        assert!(!whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n").unwrap());
        assert!(!whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh").unwrap());
        assert!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap());
        whole(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err();
        whole(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n").unwrap_err();
    }
}
