//! WebSocket through the proxy: every pairing of HTTP/1.1 and HTTP/2, with and without TLS.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use harness::client::Pattern;
use harness::keys::Keys;
use harness::proxy::{Proxy, Setup};
use harness::raw::connect_with_window;
use harness::wait::{self, PATIENCE, eventually_async};
use harness::websocket::{Backend, Client, Http2Client, REFUSED, Tunnel, read_head, speak};
use http::Version;
use lb_l7::Timeouts;
use lb_l7::upstream::BackendProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// How a tunnel ends that both sides have ended.
const CLOSED: &str = "client-closed-in-tunnel";

/// A backend, a proxy before it, and how a client comes.
struct Path {
    client: Client,
    proxy: Proxy,
    backend: Backend,
}

impl Path {
    async fn websocket(&self) -> WebSocketStream<Tunnel> {
        let opening = self.client.websocket(self.proxy.address(), "/");
        opening.await.expect("a handshake")
    }

    /// Waits until exchanges have ended so, and no others.
    async fn ended(&self, expected: &[(&str, u64)]) {
        let seen = timeout(PATIENCE, async {
            while self.proxy.endings() != expected {
                tokio::task::yield_now().await;
            }
        });
        let seen = seen.await;
        let (client, endings) = (self.client, self.proxy.endings());
        assert!(seen.is_ok(), "{client:?}: {endings:?}");
    }

    async fn tunnel(&self) -> Tunnel {
        let opened = self.client.open(self.proxy.address(), "/").await;
        opened.expect("an answer").taken_up()
    }
}

/// Every way from a client to what `backend` starts, with a proxy that `change` has changed.
fn paths(
    backend: impl Fn(Version) -> Backend,
    change: impl Fn(Setup) -> Setup,
) -> impl Iterator<Item = Path> {
    let keys = Keys::p256("a.test");
    let pairs = VERSIONS
        .into_iter()
        .flat_map(|version| Client::ALL.map(|client| (client, version)));
    pairs.map(move |(client, version)| {
        let backend = backend(version);
        let setup = change(before(backend.address(), version));
        let setup = if client.tls { setup.tls(&keys) } else { setup };
        Path {
            client,
            proxy: setup.start(),
            backend,
        }
    })
}

fn before(backend: SocketAddr, version: Version) -> Setup {
    let protocol = match version {
        Version::HTTP_2 => BackendProtocol::Http2,
        _ => BackendProtocol::Http1,
    };
    Setup::before(&[backend], protocol)
}

fn unchanged(setup: Setup) -> Setup {
    setup
}

/// What comes next, which must.
async fn next(socket: &mut WebSocketStream<Tunnel>) -> Message {
    let message = timeout(PATIENCE, socket.next()).await.expect("in time");
    message.expect("a message").expect("a whole one")
}

#[tokio::test]
async fn messages_of_every_size_come_back_on_every_path() {
    for path in paths(Backend::echo, unchanged) {
        let mut socket = path.websocket().await;
        for size in [0, 1, 125, 126, 127, 65_535, 65_536, 3 << 20] {
            let mut bytes = vec![0; size];
            Pattern::new(size as u64).fill(&mut bytes);
            let message = Message::binary(bytes);
            // What is large fills all buffers on its way: its echo must be read meanwhile.
            let (mut sink, mut stream) = socket.split();
            let (sent, came) = tokio::join!(sink.send(message.clone()), stream.next());
            sent.expect("it is sent");
            let came = came.expect("a message").expect("a whole one");
            assert!(came == message, "{:?} of {size}", path.client);
            socket = sink.reunite(stream).expect("two halves of one");
        }
        assert_eq!(path.backend.taken_up(), 1);
    }
}

#[tokio::test]
async fn the_library_s_own_client_and_server_agree_through_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let backend = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut socket = tokio_tungstenite::accept_async(stream)
            .await
            .expect("a handshake");
        let message = socket
            .next()
            .await
            .expect("a message")
            .expect("a whole one");
        socket.send(message).await.expect("it is sent");
    });
    let proxy = before(backend, Version::HTTP_11).start();
    let stream = TcpStream::connect(proxy.address())
        .await
        .expect("a connection");
    let url = format!("ws://{}/chat?room=1", proxy.address());
    let opened = tokio_tungstenite::client_async(url, stream).await;
    let (mut socket, answer) = opened.expect("a handshake");
    assert_eq!(answer.status(), 101);
    socket.send("hello".into()).await.expect("it is sent");
    let came = socket
        .next()
        .await
        .expect("a message")
        .expect("a whole one");
    assert_eq!(came, "hello".into());
    server.await.expect("the server is content");
}

#[tokio::test]
async fn fragments_are_put_together_and_a_ping_between_them_is_answered() {
    for path in paths(Backend::echo, unchanged) {
        let mut socket = path.websocket().await;
        let piece = |bytes: &'static [u8], data, is_last| {
            Message::Frame(Frame::message(bytes, OpCode::Data(data), is_last))
        };
        let ping = Message::Ping("between".into());
        for message in [
            piece(b"one ", Data::Text, false),
            piece(b"two ", Data::Continue, false),
            ping,
            piece(b"three", Data::Continue, true),
        ] {
            socket.send(message).await.expect("it is sent");
        }
        assert_eq!(next(&mut socket).await, Message::Pong("between".into()));
        assert_eq!(next(&mut socket).await, "one two three".into());
    }
}

#[tokio::test]
async fn close_codes_and_reasons_pass_and_the_exchange_is_done() {
    for path in paths(Backend::echo, unchanged) {
        for code in [1000, 1001, 1011, 3000, 4999] {
            let mut socket = path.websocket().await;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: "that was all".into(),
            };
            socket.close(Some(frame.clone())).await.expect("it is sent");
            assert_eq!(next(&mut socket).await, Message::Close(Some(frame)));
            let end = timeout(PATIENCE, socket.next()).await.expect("in time");
            assert!(
                matches!(end, None | Some(Err(Error::ConnectionClosed))),
                "{end:?}"
            );
            // The library leaves it to us to tell TLS.
            let ended = socket.get_mut().shutdown().await;
            ended.expect("it is told");
        }
        path.ended(&[(CLOSED, 5)]).await;
    }
}

#[tokio::test]
async fn ten_thousand_small_messages_each_way_at_once_all_arrive_in_order() {
    const NUMBER: u32 = 10_000;
    // The backend sends its own numbers, and does not wait for the client's.
    async fn count(tunnel: Tunnel) -> std::io::Result<()> {
        let socket = WebSocketStream::from_raw_socket(
            tunnel,
            tokio_tungstenite::tungstenite::protocol::Role::Server,
            None,
        );
        numbers(socket.await).await.map_err(std::io::Error::other)
    }
    async fn numbers(socket: WebSocketStream<Tunnel>) -> Result<(), Error> {
        let (mut sink, mut stream) = socket.split();
        let send = async {
            for number in 0..NUMBER {
                let message = Message::binary(number.to_be_bytes().to_vec());
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        let receive = async {
            for number in 0..NUMBER {
                let message = stream.next().await.ok_or(Error::ConnectionClosed)??;
                assert_eq!(&message.into_data()[..], number.to_be_bytes());
            }
            Ok(())
        };
        tokio::try_join!(send, receive).map(|_: ((), ())| ())
    }
    for path in paths(|version| Backend::start(version, count), unchanged) {
        let all = timeout(PATIENCE, numbers(path.websocket().await)).await;
        all.expect("in time").expect("all of them");
    }
}

#[tokio::test]
async fn a_direction_that_ends_leaves_the_other_open() {
    /// Answers once all has come, and ends first by its own half in the other order.
    async fn answer_at_the_end(mut tunnel: Tunnel) -> std::io::Result<()> {
        let mut heard = Vec::new();
        tunnel.read_to_end(&mut heard).await?;
        tunnel.write_all(&heard.repeat(1000)).await?;
        tunnel.shutdown().await
    }
    for path in paths(
        |version| Backend::start(version, answer_at_the_end),
        unchanged,
    ) {
        let mut tunnel = path.tunnel().await;
        tunnel.write_all(b"half a word").await.expect("it is sent");
        tunnel.shutdown().await.expect("one half ends");
        let mut heard = Vec::new();
        let reading = timeout(PATIENCE, tunnel.read_to_end(&mut heard));
        reading.await.expect("in time").expect("an end");
        assert!(heard == b"half a word".repeat(1000), "{:?}", path.client);
        path.ended(&[(CLOSED, 1)]).await;
    }
}

#[tokio::test]
async fn a_backend_that_ends_its_direction_goes_on_reading() {
    let heard = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&heard);
    let only_read = move |mut tunnel: Tunnel| {
        let counted = Arc::clone(&counted);
        async move {
            tunnel.shutdown().await?;
            let bytes = tokio::io::copy(&mut tunnel, &mut tokio::io::sink()).await?;
            counted.fetch_add(bytes, Relaxed);
            Ok(())
        }
    };
    let mut expected = 0;
    for path in paths(
        |version| Backend::start(version, only_read.clone()),
        unchanged,
    ) {
        let mut tunnel = path.tunnel().await;
        let end = timeout(PATIENCE, tunnel.read(&mut [0; 1])).await;
        assert_eq!(end.expect("in time").expect("an end"), 0);
        tunnel.write_all(&[7; 100_000]).await.expect("it is taken");
        tunnel.shutdown().await.expect("it ends");
        expected += 100_000;
        let what = format!("the backend has it all by {:?}", path.client);
        eventually_async(PATIENCE, &what, || heard.load(Relaxed) == expected).await;
    }
}

#[tokio::test]
async fn a_tunnel_that_says_nothing_ends_and_one_that_speaks_one_way_does_not() {
    let mut timeouts = Timeouts::default();
    timeouts.tunnel_idle = Duration::from_millis(300);
    let change = |setup: Setup| setup.timeouts(timeouts);
    for path in paths(Backend::echo, change) {
        let start = wait::now();
        let mut silent = path.tunnel().await;
        let end = timeout(PATIENCE, silent.read(&mut [0; 1]))
            .await
            .expect("in time");
        // HTTP/1.1 can only close; a stream of HTTP/2 is reset.
        assert!(!matches!(end, Ok(1)), "{end:?}");
        assert!(start.elapsed() >= timeouts.tunnel_idle);
        path.ended(&[("proxy-timeout-in-tunnel", 1)]).await;
    }
}

#[tokio::test]
async fn what_is_sent_before_the_101_reaches_nobody_until_then() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let backend = listener.local_addr().expect("it is bound");
    let proxy = before(backend, Version::HTTP_11).start();
    let mut client = TcpStream::connect(proxy.address())
        .await
        .expect("a connection");
    let eager = b"GET /early HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    client.write_all(eager).await.expect("it is sent");
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let (head, rest) = read_head(&mut stream).await.expect("a head");
    assert!(head.starts_with("GET /early "), "{head}");
    assert_eq!(rest, "", "nothing comes with the head");
    // Nor later: an interim answer goes to the client and back, and the way up was free all along.
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    stream.write_all(interim).await.expect("it is sent");
    let (hints, _) = read_head(&mut client).await.expect("a head");
    assert!(hints.starts_with("HTTP/1.1 103 "), "{hints}");
    let early = stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));

    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(agreed).await.expect("it is sent");
    let mut held = vec![0; b"GET /smuggled HTTP/1.1\r\n\r\n".len()];
    let reading = timeout(PATIENCE, stream.read_exact(&mut held)).await;
    reading.expect("in time").expect("what was held back");
    assert_eq!(held, b"GET /smuggled HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn what_was_sent_early_behind_a_refused_handshake_is_no_request() {
    let backend = Backend::echo(Version::HTTP_11);
    let proxy = before(backend.address(), Version::HTTP_11).start();
    let mut client = TcpStream::connect(proxy.address())
        .await
        .expect("a connection");
    let two = format!(
        "GET {REFUSED} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
         GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    );
    client.write_all(two.as_bytes()).await.expect("it is sent");
    let mut answers = String::new();
    let reading = timeout(PATIENCE, client.read_to_string(&mut answers)).await;
    reading.expect("in time").expect("an end");
    assert_eq!(answers.matches("HTTP/1.1 403 ").count(), 1, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert_eq!(backend.taken_up(), 0);
}

#[tokio::test]
async fn a_refusal_passes_with_its_status_on_every_path() {
    for path in paths(Backend::echo, unchanged) {
        let opened = path.client.open(path.proxy.address(), REFUSED).await;
        assert_eq!(opened.expect("an answer").refused(), 403);
        assert_eq!(path.backend.taken_up(), 0);
    }
}

#[tokio::test]
async fn a_drain_lets_a_tunnel_go_on_until_its_deadline() {
    for mut path in paths(Backend::echo, |setup| {
        setup.drain_timeout(Duration::from_millis(300))
    }) {
        let mut socket = path.websocket().await;
        let start = wait::now();
        path.proxy.drain();
        eventually_async(PATIENCE, "nobody listens", || {
            std::net::TcpStream::connect(path.proxy.address()).is_err()
        })
        .await;
        socket.send("still here".into()).await.expect("it is sent");
        assert_eq!(next(&mut socket).await, "still here".into());
        let end = timeout(PATIENCE, socket.next()).await.expect("in time");
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back_and_then_gets_everything() {
    let mut piece = vec![0; 64 << 10];
    Pattern::new(1).fill(&mut piece);
    let (piece, sent) = (Bytes::from(piece), Arc::new(AtomicUsize::new(0)));
    let (poured, counted) = (piece.clone(), Arc::clone(&sent));
    let pour = |pieces| {
        move |mut tunnel: Tunnel| {
            let (piece, counted) = (poured.clone(), Arc::clone(&counted));
            async move {
                for _ in 0..pieces {
                    tunnel.write_all(&piece).await?;
                    counted.fetch_add(piece.len(), Relaxed);
                }
                tunnel.shutdown().await?;
                pending().await
            }
        }
    };
    for (version, front) in VERSIONS.into_iter().flat_map(|v| VERSIONS.map(|w| (v, w))) {
        let held = PROXY + kernel_buffers(version);
        let pieces = (held + (8 << 20)) / piece.len();
        sent.store(0, Relaxed);
        let backend = Backend::start(version, pour.clone()(pieces));
        let proxy = before(backend.address(), version).start();
        let stream = connect_with_window(proxy.address(), 256 << 10).await;
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        let client = Client::new(false, front);
        let opened = client.open_over(Box::new(stream), "/");
        let mut tunnel = opened.await.expect("an answer").taken_up();
        stalled(&sent).await;
        let taken = sent.load(Relaxed);
        assert!(taken < held, "{taken} bytes from {version:?} to {front:?}");

        let mut came = vec![0; piece.len()];
        for _ in 0..pieces {
            let reading = timeout(PATIENCE, tunnel.read_exact(&mut came)).await;
            reading.expect("in time").expect("bytes");
            assert!(came == piece);
        }
        let end = timeout(PATIENCE, tunnel.read(&mut came)).await;
        assert_eq!(end.expect("in time").expect("an end"), 0);
    }
}

/// More than a proxy holds itself for one tunnel.
const PROXY: usize = 2 << 20;

/// The most that the kernel holds on the way from a backend (tcp(7): `tcp_rmem`, `tcp_wmem`): on the
/// proxy's side of the connection to the client, and, where no window of HTTP/2 is smaller, on both
/// sides of the connection to the backend.
fn kernel_buffers(backend: Version) -> usize {
    let most = |name: &str| -> usize {
        let path = format!("/proc/sys/net/ipv4/{name}");
        let text = std::fs::read_to_string(path).expect("this is Linux");
        let last = text.split_whitespace().last();
        last.and_then(|bytes| bytes.parse().ok())
            .expect("three numbers")
    };
    let (read, write) = (most("tcp_rmem"), most("tcp_wmem"));
    if backend == Version::HTTP_2 {
        write
    } else {
        write + read + write
    }
}

/// Waits until a counter has begun, and then has not moved for a hundred looks.
async fn stalled(counter: &AtomicUsize) {
    let (mut last, mut looks) = (0, 0);
    eventually_async(PATIENCE, "nothing moves", || {
        let now = counter.load(Relaxed);
        looks = if now == last && now > 0 { looks + 1 } else { 0 };
        last = now;
        looks == 100
    })
    .await;
}

#[tokio::test]
async fn many_streams_of_one_connection_are_tunnels_of_their_own() {
    let backend = Backend::echo(Version::HTTP_2);
    let proxy = before(backend.address(), Version::HTTP_2).start();
    let stream = Client::new(false, Version::HTTP_2).connect(proxy.address());
    let client = Http2Client::new(stream.await.expect("a connection"));
    let client = client.await.expect("HTTP/2");
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let opened = client.open("/").await.expect("an answer");
        sockets.push(speak(opened.taken_up()).await);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let message = Message::text(number.to_string());
        socket.send(message).await.expect("it is sent");
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(next(socket).await, Message::text(number.to_string()));
    }
}
