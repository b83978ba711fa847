//! WebSocket over HTTP/1.1 (RFC 6455) and within a stream of HTTP/2 (RFC 8441): both ends.
//!
//! A handshake here gives the bytes behind it, so that a test may speak WebSocket over them by a
//! library, or anything else by hand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode, Version};
use lb_l7::Rewound;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::tls::TlsClient;
use crate::wait::{self, PATIENCE};

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, or a stream within one, after its handshake.
pub type Tunnel = Box<dyn Io>;

/// The path that a [`Backend`] refuses, by 403.
pub const REFUSED: &str = "/refused";

/// How a client comes.
#[expect(clippy::exhaustive_structs, reason = "the two things it chooses")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// Whether over TLS.
    pub tls: bool,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
}

impl Client {
    /// Every way there is.
    pub const ALL: [Self; 4] = [
        Self::new(false, Version::HTTP_11),
        Self::new(true, Version::HTTP_11),
        Self::new(false, Version::HTTP_2),
        Self::new(true, Version::HTTP_2),
    ];

    /// A client of that version.
    #[must_use]
    pub const fn new(tls: bool, version: Version) -> Self {
        Self { tls, version }
    }

    /// Connects, and does the handshake of TLS if there is one.
    ///
    /// # Errors
    ///
    /// As of either.
    pub async fn connect(self, address: SocketAddr) -> io::Result<Tunnel> {
        if self.tls {
            let name = match self.version {
                Version::HTTP_2 => "h2",
                _ => "http/1.1",
            };
            return Ok(Box::new(TlsClient::new(&[name]).connect(address).await?));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// Connects, and asks for a WebSocket at `path`.
    ///
    /// # Errors
    ///
    /// As the connection.
    pub async fn open(self, address: SocketAddr, path: &str) -> io::Result<Opened> {
        let stream = self.connect(address).await?;
        self.open_over(stream, path).await
    }

    /// The same over a connection that the test has made.
    ///
    /// # Errors
    ///
    /// As the connection; `InvalidData` when what answers is not HTTP, or its proof is wrong.
    pub async fn open_over(self, stream: Tunnel, path: &str) -> io::Result<Opened> {
        let opening = async {
            match self.version {
                Version::HTTP_2 => ask_http2(stream, path).await,
                _ => ask_http1(stream, path).await,
            }
        };
        tokio::time::timeout(PATIENCE, opening).await?
    }

    /// Connects, asks for a WebSocket at `path`, and speaks it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `ConnectionRefused` when it is refused.
    pub async fn websocket(
        self,
        address: SocketAddr,
        path: &str,
    ) -> io::Result<WebSocketStream<Tunnel>> {
        match self.open(address, path).await? {
            Opened::Yes(tunnel) => Ok(speak(tunnel).await),
            Opened::No(status) => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                status.as_str().to_owned(),
            )),
        }
    }
}

/// What came of asking for a WebSocket.
#[expect(clippy::exhaustive_enums, reason = "it is taken up or not")]
pub enum Opened {
    /// It was refused by this status.
    No(StatusCode),
    /// From here on anything goes.
    Yes(Tunnel),
}

impl Opened {
    /// The bytes behind the handshake.
    ///
    /// # Panics
    ///
    /// When it was refused.
    #[track_caller]
    #[must_use]
    pub fn taken_up(self) -> Tunnel {
        match self {
            Self::Yes(tunnel) => tunnel,
            Self::No(status) => panic!("refused by {status}"),
        }
    }

    /// The status of the refusal.
    ///
    /// # Panics
    ///
    /// When it was taken up.
    #[track_caller]
    #[must_use]
    pub fn refused(self) -> StatusCode {
        match self {
            Self::Yes(_) => panic!("it was taken up"),
            Self::No(status) => status,
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No(status) => f.debug_tuple("No").field(status).finish(),
            Self::Yes(_) => f.write_str("Yes(..)"),
        }
    }
}

/// Speaks WebSocket as a client.
pub async fn speak(tunnel: Tunnel) -> WebSocketStream<Tunnel> {
    WebSocketStream::from_raw_socket(tunnel, Role::Client, Some(large())).await
}

/// Messages of any size.
fn large() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None)
}

async fn ask_http1(mut stream: Tunnel, path: &str) -> io::Result<Opened> {
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let (head, rest) = read_head(&mut stream).await?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, head.clone());
    let status = head.get(9..12).ok_or_else(wrong)?;
    let status = status.parse().map_err(|_| wrong())?;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Opened::No(status));
    }
    let proof = field(&head, "sec-websocket-accept");
    if proof != Some(&derive_accept_key(key.as_bytes())) {
        return Err(wrong());
    }
    Ok(Opened::Yes(Box::new(Rewound::new(rest, stream))))
}

/// The head of a message, and what has come behind it.
///
/// # Errors
///
/// As the stream; `UnexpectedEof` when it ends within the head.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, Bytes)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).map_err(io::Error::other)?;
            return Ok((head, rest.into()));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The value of a field of a head of HTTP/1.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let named = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim())
}

async fn ask_http2(stream: Tunnel, path: &str) -> io::Result<Opened> {
    Http2Client::new(stream).await?.open(path).await
}

/// One connection of HTTP/2, for as many WebSockets as its server takes.
#[derive(Clone, Debug)]
pub struct Http2Client(h2::client::SendRequest<Bytes>);

impl Http2Client {
    /// Speaks HTTP/2 over `stream`, whose server offers extended CONNECT.
    ///
    /// # Errors
    ///
    /// As the connection.
    pub async fn new(stream: Tunnel) -> io::Result<Self> {
        let opening = h2::client::handshake(stream).await;
        let (requests, connection) = opening.map_err(io::Error::other)?;
        // How the connection ends is seen in its streams.
        tokio::spawn(connection);
        wait::eventually_async(PATIENCE, "extended CONNECT is offered", || {
            requests.is_extended_connect_protocol_enabled()
        })
        .await;
        Ok(Self(requests))
    }

    /// Asks for a WebSocket at `path`.
    ///
    /// # Errors
    ///
    /// As the connection, or the stream.
    pub async fn open(&self, path: &str) -> io::Result<Opened> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://a.test{path}"))
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .map_err(io::Error::other)?;
        let mut requests = self.0.clone().ready().await.map_err(io::Error::other)?;
        let asked = requests.send_request(request, false);
        let (response, send) = asked.map_err(io::Error::other)?;
        let response = response.await.map_err(io::Error::other)?;
        if response.status() != StatusCode::OK {
            return Ok(Opened::No(response.status()));
        }
        let receive = response.into_body();
        Ok(Opened::Yes(Box::new(Http2Stream::new(send, receive))))
    }
}

/// The bytes of a stream of HTTP/2, as a socket.
struct Http2Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    unread: Bytes,
}

impl Http2Stream {
    fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        let flow = self.receive.flow_control();
        // A stream that is over owes no window.
        let _ = flow.release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len().min(64 << 10));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = self.send.capacity().min(bytes.len());
        let data = Bytes::copy_from_slice(&bytes[..length]);
        let sent = self.send.send_data(data, false);
        Poll::Ready(sent.map(|()| length).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.send.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}

/// A server that takes up every WebSocket but at [`REFUSED`], and ends with this value.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    taken_up: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

impl Backend {
    /// Speaks that version, and has `serve` do what it likes with the bytes behind each handshake.
    #[track_caller]
    #[must_use]
    pub fn start<S, F>(version: Version, serve: S) -> Self
    where
        S: Fn(Tunnel) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener is bound");
        let taken_up = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken_up);
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be started").block_on(async {
                tokio::spawn(accept(version, listener, serve, counted));
                // Whether it is told or forgotten, it ends.
                let _ = stopped.await;
            });
        });
        Self {
            address,
            taken_up,
            _stop: stop,
        }
    }

    /// Sends every message back, as a library of WebSocket understands them.
    #[track_caller]
    #[must_use]
    pub fn echo(version: Version) -> Self {
        Self::start(version, echo)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handshakes that it has taken up.
    #[must_use]
    pub fn taken_up(&self) -> u64 {
        self.taken_up.load(Relaxed)
    }
}

async fn accept<S, F>(
    version: Version,
    listener: std::net::TcpListener,
    serve: S,
    taken_up: Arc<AtomicU64>,
) where
    S: Fn(Tunnel) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let nonblocking = listener.set_nonblocking(true);
    nonblocking.expect("a listener may be nonblocking");
    let listener = TcpListener::from_std(listener).expect("a listener is bound");
    while let Ok((stream, _)) = listener.accept().await {
        // It only speeds up small messages.
        let _ = stream.set_nodelay(true);
        let (serve, taken_up) = (serve.clone(), Arc::clone(&taken_up));
        tokio::spawn(async move {
            match version {
                Version::HTTP_2 => serve_http2(stream, serve, &taken_up).await,
                _ => serve_http1(stream, serve, &taken_up).await,
            }
        });
    }
}

/// Speaks WebSocket as a server, and sends every message back.
///
/// # Errors
///
/// What ends it other than a closing handshake.
pub async fn echo(tunnel: Tunnel) -> io::Result<()> {
    let socket = WebSocketStream::from_raw_socket(tunnel, Role::Server, Some(large()));
    let (mut sink, mut stream) = socket.await.split();
    while let Some(message) = stream.next().await {
        let message = message.map_err(io::Error::other)?;
        if message.is_text() || message.is_binary() {
            sink.send(message).await.map_err(io::Error::other)?;
        } else {
            // The library has answered it.
            sink.flush().await.map_err(io::Error::other)?;
        }
    }
    let mut socket = sink.reunite(stream).map_err(io::Error::other)?;
    socket.get_mut().shutdown().await
}

async fn serve_http1<S, F>(mut stream: TcpStream, serve: S, taken_up: &AtomicU64) -> io::Result<()>
where
    S: Fn(Tunnel) -> F,
    F: Future<Output = io::Result<()>>,
{
    let (head, rest) = read_head(&mut stream).await?;
    let refused = head.starts_with(&format!("GET {REFUSED} "));
    let Some(key) = field(&head, "sec-websocket-key").filter(|_| !refused) else {
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes()).await?;
    taken_up.fetch_add(1, Relaxed);
    serve(Box::new(Rewound::new(rest, stream))).await
}

async fn serve_http2<S, F>(stream: TcpStream, serve: S, taken_up: &AtomicU64) -> io::Result<()>
where
    S: Fn(Tunnel) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    let handshake = builder.enable_connect_protocol().handshake(stream);
    let mut connection = handshake.await.map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.map_err(io::Error::other)?;
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        let asked = protocol.is_some_and(|name| name.as_str() == "websocket");
        let mut response = Response::new(());
        if !asked || request.uri().path() == REFUSED {
            *response.status_mut() = StatusCode::FORBIDDEN;
            let sent = respond.send_response(response, false);
            let ended = sent.and_then(|mut body| body.send_data(Bytes::from_static(b"no"), true));
            ended.map_err(io::Error::other)?;
            continue;
        }
        let send = respond.send_response(response, false);
        let send = send.map_err(io::Error::other)?;
        taken_up.fetch_add(1, Relaxed);
        let served = serve(Box::new(Http2Stream::new(send, request.into_body())));
        tokio::spawn(served);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    #[tokio::test]
    async fn client_and_backend_understand_each_other_in_both_versions() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let backend = Backend::echo(version);
            let client = Client::new(false, version);
            let mut socket = client.websocket(backend.address(), "/").await.unwrap();
            for size in [0, 5, 70_000] {
                let message = Message::binary(vec![7; size]);
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), message);
            }
            socket.close(None).await.unwrap();
            let refused = client.open(backend.address(), REFUSED).await.unwrap();
            assert_eq!(refused.refused(), 403);
            assert_eq!(backend.taken_up(), 1);
        }
    }

    #[tokio::test]
    async fn the_library_s_own_handshake_agrees() {
        let backend = Backend::echo(Version::HTTP_11);
        let stream = TcpStream::connect(backend.address()).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("ws://a.test/", stream)
            .await
            .unwrap();
        socket.send("hello".into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), "hello".into());
    }
}
