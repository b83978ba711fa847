//! Many connections at once, each byte of which is checked.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Bytes that follow from a seed and have no short period, so that a byte lost, repeated or taken
/// from another connection is seen (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    /// The bytes of `seed`, from the first.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            word: [0; 8],
            used: 8,
        }
    }

    /// The next bytes, as many as `buffer` holds.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill_with(|| self.byte());
    }

    /// How many of `bytes`, from the first, are the next ones; the rest is not consumed.
    #[must_use]
    pub fn matches(&mut self, bytes: &[u8]) -> usize {
        let wrong = bytes.iter().position(|&byte| byte != self.byte());
        wrong.unwrap_or(bytes.len())
    }

    fn byte(&mut self) -> u8 {
        if self.used == self.word.len() {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.word = (z ^ (z >> 31)).to_le_bytes();
            self.used = 0;
        }
        self.used += 1;
        self.word[self.used - 1]
    }
}

/// One TCP connection to an echo server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    sent: Pattern,
    expected: Pattern,
    echoed: u64,
}

impl Client {
    /// Connects; what it will send follows from `seed`.
    ///
    /// # Errors
    ///
    /// As of connecting.
    pub async fn connect(address: SocketAddr, seed: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream, seed))
    }

    /// Uses a connection that the test has made.
    #[must_use]
    pub fn new(stream: TcpStream, seed: u64) -> Self {
        Self {
            stream,
            sent: Pattern::new(seed),
            expected: Pattern::new(seed),
            echoed: 0,
        }
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Bytes that came back, and were right.
    #[must_use]
    pub fn echoed(&self) -> u64 {
        self.echoed
    }

    /// Reads one line, such as the name that a server gives first.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the connection ends first; `InvalidData` when it is no short text.
    pub async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while line.len() < 256 {
            match self.stream.read_u8().await? {
                b'\n' => return String::from_utf8(line).map_err(io::Error::other),
                byte => line.push(byte),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "no line"))
    }

    /// Sends the next `bytes` bytes, and reads them back at the same time.
    ///
    /// # Errors
    ///
    /// `InvalidData` at the first wrong byte, and names its place; `UnexpectedEof` when the
    /// connection ends before the last byte; else as the socket.
    pub async fn exchange(&mut self, bytes: usize) -> io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        let send = async {
            let mut buffer = [0; 4096];
            for piece in pieces(bytes, buffer.len()) {
                self.sent.fill(&mut buffer[..piece]);
                writer.write_all(&buffer[..piece]).await?;
            }
            Ok(())
        };
        let receive = async {
            let mut buffer = [0; 4096];
            for piece in pieces(bytes, buffer.len()) {
                let heard = &mut buffer[..piece];
                reader.read_exact(heard).await?;
                let right = self.expected.matches(heard);
                self.echoed += right as u64;
                if right < piece {
                    let place = format!("byte {} is wrong", self.echoed);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, place));
                }
            }
            Ok(())
        };
        tokio::try_join!(send, receive).map(|_: ((), ())| ())
    }

    /// Ends its own direction, and returns how many bytes still came before the other's end.
    ///
    /// # Errors
    ///
    /// As the socket, a reset among them.
    pub async fn finish(mut self) -> io::Result<u64> {
        self.stream.shutdown().await?;
        tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
    }
}

/// `total` in pieces of at most `size`.
fn pieces(total: usize, size: usize) -> impl Iterator<Item = usize> {
    (0..total)
        .step_by(size)
        .map(move |done| size.min(total - done))
}

/// Many connections to one address.
///
/// # Examples
///
/// ```
/// use harness::client::Clients;
/// use harness::server::{Behaviour, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::tcp(Behaviour::Echo);
/// let mut clients = Clients::connect(server.address(), 100).await?;
/// assert_eq!(clients.exchange(1_000).await.len(), 0);
/// assert_eq!(server.bytes(), 100_000);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Clients {
    clients: Vec<Client>,
}

/// How many connections are opened, or spoken on, at the same time: below every listen backlog.
const WAVE: usize = 256;

impl Clients {
    /// Opens `number` connections, in waves.
    ///
    /// # Errors
    ///
    /// Of the first that failed.
    pub async fn connect(address: SocketAddr, number: usize) -> io::Result<Self> {
        let mut clients = Vec::with_capacity(number);
        while clients.len() < number {
            let mut wave = JoinSet::new();
            for seed in clients.len()..number.min(clients.len() + WAVE) {
                wave.spawn(Client::connect(address, seed as u64));
            }
            for client in wave.join_all().await {
                clients.push(client?);
            }
        }
        Ok(Self { clients })
    }

    /// Sends `bytes` bytes on each connection and reads them back; the failures, and on which.
    ///
    /// A connection that failed is closed, and takes no part in later exchanges.
    pub async fn exchange(&mut self, bytes: usize) -> Vec<(usize, io::Error)> {
        let mut failed = Vec::new();
        let mut waiting = std::mem::take(&mut self.clients).into_iter().enumerate();
        loop {
            let mut wave = JoinSet::new();
            for (number, mut client) in waiting.by_ref().take(WAVE) {
                wave.spawn(async move { (number, client.exchange(bytes).await, client) });
            }
            if wave.is_empty() {
                return failed;
            }
            for (number, result, client) in wave.join_all().await {
                match result {
                    Ok(()) => self.clients.push(client),
                    Err(error) => failed.push((number, error)),
                }
            }
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The connections, each for itself.
    #[must_use]
    pub fn into_inner(self) -> Vec<Client> {
        self.clients
    }
}

/// Sends `payload` from `socket`, which is connected, and returns the next datagram.
///
/// # Errors
///
/// `TimedOut` when none comes within `limit`; `ConnectionRefused` when the port is unreachable.
pub async fn ask(
    socket: &UdpSocket,
    payload: &[u8],
    limit: std::time::Duration,
) -> io::Result<Vec<u8>> {
    socket.send(payload).await?;
    let mut answer = vec![0; 64 * 1024];
    let length = tokio::time::timeout(limit, socket.recv(&mut answer)).await??;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::{Behaviour, Server};
    use crate::wait::PATIENCE;

    #[test]
    fn a_pattern_depends_on_its_seed_and_not_on_how_it_is_cut() {
        let mut whole = [0; 100];
        Pattern::new(1).fill(&mut whole);
        let mut cut = Pattern::new(1);
        assert_eq!(cut.matches(&whole[..13]), 13);
        assert_eq!(cut.matches(&whole[13..]), 87);
        assert!(Pattern::new(2).matches(&whole) < 3);

        let mut late = whole;
        late[60] ^= 1;
        assert_eq!(Pattern::new(1).matches(&late), 60);
        let mut lost = whole.to_vec();
        lost.remove(60);
        assert!((60..64).contains(&Pattern::new(1).matches(&lost)));
    }

    #[test]
    fn pieces_make_up_the_total() {
        assert_eq!(pieces(10, 4).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(pieces(8, 4).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(pieces(0, 4).count(), 0);
    }

    #[tokio::test]
    async fn an_exchange_larger_than_every_buffer_comes_back_whole() {
        let server = Server::tcp(Behaviour::Echo);
        let mut client = Client::connect(server.address(), 7).await.unwrap();
        client.exchange(20 << 20).await.unwrap();
        client.exchange(1).await.unwrap();
        assert_eq!(client.echoed(), (20 << 20) + 1);
        assert_eq!(client.finish().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_byte_too_many_is_a_wrong_byte_and_a_name_is_a_line() {
        let server = Server::tcp(Behaviour::Named("abc".into()));
        let mut client = Client::connect(server.address(), 7).await.unwrap();
        let error = client.exchange(10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "byte 0 is wrong");

        let mut client = Client::connect(server.address(), 7).await.unwrap();
        assert_eq!(client.line().await.unwrap(), "abc");
        client.exchange(10).await.unwrap();
    }

    #[tokio::test]
    async fn clients_that_fail_are_told_and_the_others_go_on() {
        let server = Server::tcp(Behaviour::Echo);
        let mut clients = Clients::connect(server.address(), WAVE + 3).await.unwrap();
        assert!(clients.exchange(5_000).await.is_empty());
        assert_eq!(clients.len(), WAVE + 3);
        assert_eq!(server.open(), WAVE as u64 + 3);

        server.stop().await;
        assert_eq!(clients.exchange(1).await.len(), WAVE + 3);
        assert!(clients.is_empty());
    }

    #[tokio::test]
    async fn a_question_is_answered_refused_or_late() {
        let server = Server::udp(Behaviour::Echo);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.address()).await.unwrap();
        assert_eq!(ask(&socket, b"q", PATIENCE).await.unwrap(), b"q");

        server.stop().await;
        let error = ask(&socket, b"q", PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);

        let silent = Server::udp(Behaviour::Silent);
        socket.connect(silent.address()).await.unwrap();
        let late = ask(&socket, b"q", Duration::from_millis(5)).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
