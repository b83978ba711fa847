//! gRPC through the proxy, by tonic at both ends: HTTP/2 to HTTP/2, in the clear and over TLS.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use harness::client::Pattern;
use harness::keys::Keys;
use harness::proxy::{Proxy, Setup};
use harness::wait::{PATIENCE, eventually_async};
use harness::websocket::{Client, Tunnel};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_l7::upstream::BackendProtocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages of bytes, whatever they mean.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A server of gRPC that ends with this value.
///
/// | method | it answers |
/// |---|---|
/// | `/t/Echo` | the message; its metadata `x-a` comes back |
/// | `/t/Name` | its name |
/// | `/t/Count` | as many messages as the message says, each with its number |
/// | `/t/Sum` | how many messages and bytes came |
/// | `/t/Chat` | each message as it comes |
/// | `/t/Fail` | an error before any message: trailers only |
/// | `/t/Break` | one message, and then an error |
/// | `/t/Wait` | never; how long it may take is told, and when it was given up |
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _stop: oneshot::Sender<()>,
}

/// What a server has seen of calls without an answer.
#[derive(Default)]
struct Seen {
    waiting: AtomicU64,
    given_up: AtomicU64,
    timeout: std::sync::Mutex<Option<String>>,
}

/// Counts the end of a wait, however it ends.
struct Wait(Arc<Seen>);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Relaxed);
    }
}

impl Server {
    fn start(name: &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener may be");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let seen = Arc::<Seen>::default();
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is bound");
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let _ = stream.set_nodelay(true);
                        tokio::spawn(serve(stream, name, Arc::clone(&told)));
                    }
                });
                // Whether it is told or forgotten, it ends.
                let _ = stopped.await;
            });
        });
        Self {
            address,
            seen,
            _stop: stop,
        }
    }
}

async fn serve(stream: TcpStream, name: &'static str, seen: Arc<Seen>) {
    let service = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(request, name, seen).await) }
    });
    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // How a connection ends is for the client to judge.
    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
}

/// A service of tonic is any function of a request; a newtype says of which kind.
struct Method<F>(F);

macro_rules! method {
    ($kind:ident, $ask:ty, $answer:ty $(, $stream:ident)?) => {
        impl<F, T> tonic::server::$kind<Bytes> for Method<F>
        where
            F: FnMut(Request<$ask>) -> T,
            T: Future<Output = Result<Response<$answer>, Status>>,
        {
            type Response = Bytes;
            $(type $stream = Answers;)?
            type Future = T;

            fn call(&mut self, request: Request<$ask>) -> T {
                self.0(request)
            }
        }
    };
}

method!(UnaryService, Bytes, Bytes);
method!(ServerStreamingService, Bytes, Answers, ResponseStream);
method!(ClientStreamingService, Streaming<Bytes>, Bytes);
method!(StreamingService, Streaming<Bytes>, Answers, ResponseStream);

async fn answer(
    request: http::Request<Incoming>,
    name: &'static str,
    seen: Arc<Seen>,
) -> http::Response<tonic::body::Body> {
    let most = 64 << 20;
    let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(most);
    match request.uri().path() {
        "/t/Echo" => grpc.unary(Method(echo), request).await,
        "/t/Name" => {
            let name =
                move |_| async move { Ok(Response::new(Bytes::from_static(name.as_bytes()))) };
            grpc.unary(Method(name), request).await
        }
        "/t/Count" => grpc.server_streaming(Method(count), request).await,
        "/t/Sum" => grpc.client_streaming(Method(sum), request).await,
        "/t/Chat" => grpc.streaming(Method(chat), request).await,
        "/t/Break" => grpc.server_streaming(Method(break_off), request).await,
        "/t/Wait" => {
            let wait = |request: Request<Bytes>| {
                let timeout = request.metadata().get("grpc-timeout");
                let timeout = timeout.and_then(|timeout| timeout.to_str().ok());
                *seen.timeout.lock().expect("nobody panics") = timeout.map(str::to_owned);
                seen.waiting.fetch_add(1, Relaxed);
                let waiting = Wait(Arc::clone(&seen));
                async move {
                    std::future::pending::<()>().await;
                    drop(waiting);
                    Ok(Response::new(Bytes::new()))
                }
            };
            grpc.unary(Method(wait), request).await
        }
        _ => {
            let fail = |_| async { Err(Status::failed_precondition("not today: 100 %")) };
            grpc.unary(Method(fail), request).await
        }
    }
}

async fn echo(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let (metadata, _, message) = request.into_parts();
    let mut response = Response::new(message);
    if let Some(value) = metadata.get("x-a") {
        response.metadata_mut().insert("x-a", value.clone());
    }
    Ok(response)
}

async fn count(request: Request<Bytes>) -> Result<Response<Answers>, Status> {
    let number = request.into_inner().get_u32();
    let numbers = (0..number).map(|number| Ok(message(number)));
    Ok(Response::new(Box::pin(tokio_stream::iter(numbers))))
}

async fn sum(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let (mut messages, mut bytes, mut stream) = (0_u64, 0_u64, request.into_inner());
    while let Some(message) = stream.message().await? {
        messages += 1;
        bytes += message.len() as u64;
    }
    Ok(Response::new(format!("{messages} {bytes}").into()))
}

async fn chat(request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

async fn break_off(_: Request<Bytes>) -> Result<Response<Answers>, Status> {
    let answers = [Ok(message(1)), Err(Status::data_loss("the rest is gone"))];
    Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
}

fn message(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// One connection of a client, to be called again and again.
type Grpc = tonic::client::Grpc<Channel>;

async fn client(proxy: SocketAddr, tls: bool) -> Grpc {
    let endpoint = Endpoint::from_shared(format!("http://{proxy}")).expect("a URI");
    let channel = endpoint
        .connect_with_connector(Connector { proxy, tls })
        .await;
    Grpc::new(channel.expect("a connection")).max_decoding_message_size(64 << 20)
}

/// Connects in the clear, or over TLS without a look at the certificate.
struct Connector {
    proxy: SocketAddr,
    tls: bool,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Tunnel>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Tunnel>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = Client::new(self.tls, http::Version::HTTP_2).connect(self.proxy);
        Box::pin(async { connecting.await.map(TokioIo::new) })
    }
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(name)
}

/// A server, a proxy before it, and a client: in the clear, and over TLS.
async fn paths() -> Vec<(Server, Proxy, Grpc)> {
    let keys = Keys::p256("a.test");
    let mut paths = Vec::new();
    for tls in [false, true] {
        let server = Server::start("one");
        let setup = Setup::before(&[server.address], BackendProtocol::Http2);
        let setup = if tls { setup.tls(&keys) } else { setup };
        let proxy = setup.start();
        let mut grpc = client(proxy.address(), tls).await;
        grpc.ready().await.expect("a channel");
        paths.push((server, proxy, grpc));
    }
    paths
}

#[tokio::test]
async fn a_call_is_answered_with_its_metadata() {
    for (_server, proxy, mut grpc) in paths().await {
        let mut request = Request::new(Bytes::from_static(b"hello"));
        request
            .metadata_mut()
            .insert("x-a", "1".parse().expect("a value"));
        let answer = grpc.unary(request, method("/t/Echo"), Raw).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.metadata().get("x-a").expect("it came back"), "1");
        assert_eq!(answer.into_inner(), "hello");
        ended(&proxy, &[("done", 1)]).await;
    }
}

#[tokio::test]
async fn a_server_streams_a_thousand_messages_in_order() {
    for (_server, _proxy, mut grpc) in paths().await {
        let request = Request::new(message(1_000));
        let answer = grpc
            .server_streaming(request, method("/t/Count"), Raw)
            .await;
        let mut stream = answer.expect("an answer").into_inner();
        for number in 0..1_000 {
            let came = stream.message().await.expect("no error");
            assert_eq!(came, Some(message(number)));
        }
        assert_eq!(stream.message().await.expect("no error"), None);
    }
}

#[tokio::test]
async fn a_client_streams_a_thousand_messages() {
    for (_server, _proxy, mut grpc) in paths().await {
        let request = Request::new(tokio_stream::iter((0..1_000).map(message)));
        let answer = grpc.client_streaming(request, method("/t/Sum"), Raw).await;
        assert_eq!(answer.expect("an answer").into_inner(), "1000 4000");
    }
}

#[tokio::test]
async fn a_thousand_messages_go_to_and_fro_each_after_the_one_before() {
    for (_server, _proxy, mut grpc) in paths().await {
        let (send, mut sent) = mpsc::unbounded_channel();
        send.send(message(0)).expect("it is taken");
        let asked = tokio_stream::once(message(u32::MAX))
            .chain(futures_util::stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let answer = grpc
            .streaming(Request::new(asked), method("/t/Chat"), Raw)
            .await;
        let mut stream = answer.expect("an answer").into_inner();
        assert_eq!(
            stream.message().await.expect("no error"),
            Some(message(u32::MAX))
        );
        for number in 0..1_000 {
            let came = stream.message().await.expect("no error");
            assert_eq!(came, Some(message(number)));
            send.send(message(number + 1)).expect("it is taken");
        }
        drop(send);
        assert_eq!(
            stream.message().await.expect("no error"),
            Some(message(1_000))
        );
        assert_eq!(stream.message().await.expect("no error"), None);
    }
}

#[tokio::test]
async fn errors_come_as_they_are_before_and_after_a_message() {
    for (_server, proxy, mut grpc) in paths().await {
        let answer = grpc.unary(Request::new(Bytes::new()), method("/t/Fail"), Raw);
        let status = answer.await.expect_err("it fails");
        let told = (status.code(), status.message());
        assert_eq!(told, (Code::FailedPrecondition, "not today: 100 %"));

        grpc.ready().await.expect("a channel");
        let request = Request::new(Bytes::new());
        let answer = grpc
            .server_streaming(request, method("/t/Break"), Raw)
            .await;
        let mut stream = answer.expect("an answer").into_inner();
        assert_eq!(stream.message().await.expect("the first"), Some(message(1)));
        let status = stream.message().await.expect_err("it breaks off");
        let told = (status.code(), status.message());
        assert_eq!(told, (Code::DataLoss, "the rest is gone"));
        ended(&proxy, &[("done", 2)]).await;
    }
}

#[tokio::test]
async fn a_deadline_is_told_to_the_backend_and_a_call_given_up_ends_there() {
    for (server, proxy, mut grpc) in paths().await {
        let mut request = Request::new(Bytes::new());
        request.set_timeout(Duration::from_secs(70));
        let call = tokio::spawn(async move {
            let answer = grpc.unary(request, method("/t/Wait"), Raw).await;
            drop(answer);
        });
        let seen = &server.seen;
        eventually_async(PATIENCE, "the call arrives", || {
            seen.waiting.load(Relaxed) == 1
        })
        .await;
        let told = seen.timeout.lock().expect("nobody panics").clone();
        assert_eq!(told.as_deref(), Some("70000000u"));
        assert_eq!(seen.given_up.load(Relaxed), 0);
        call.abort();
        eventually_async(PATIENCE, "it is given up", || {
            seen.given_up.load(Relaxed) == 1
        })
        .await;
        ended(&proxy, &[("client-reset-in-response-head", 1)]).await;
    }
}

#[tokio::test]
async fn a_message_of_sixteen_mebibytes_goes_and_comes_back() {
    for (_server, _proxy, mut grpc) in paths().await {
        let mut large = vec![0; 16 << 20];
        Pattern::new(1).fill(&mut large);
        let large = Bytes::from(large);
        let answer = grpc.unary(Request::new(large.clone()), method("/t/Echo"), Raw);
        assert!(answer.await.expect("an answer").into_inner() == large);
    }
}

#[tokio::test]
async fn calls_of_one_connection_are_spread_over_three_backends() {
    let names = ["one", "two", "three"];
    let servers = names.map(Server::start);
    let addresses = servers.each_ref().map(|server| server.address);
    let proxy = Setup::before(&addresses, BackendProtocol::Http2).start();
    let mut grpc = client(proxy.address(), false).await;
    let mut answered = BTreeMap::new();
    for _ in 0..30 {
        grpc.ready().await.expect("a channel");
        let answer = grpc.unary(Request::new(Bytes::new()), method("/t/Name"), Raw);
        *answered
            .entry(answer.await.expect("an answer").into_inner())
            .or_insert(0) += 1;
    }
    assert_eq!(answered, names.map(|name| (Bytes::from(name), 10)).into());
    assert_eq!(proxy.proxy().stats().accepted, 1);
}

/// Waits until exchanges have ended so, and no others.
async fn ended(proxy: &Proxy, expected: &[(&str, u64)]) {
    let what = format!("{expected:?}");
    let mut last = Vec::new();
    let told = timeout(PATIENCE, async {
        while last != expected {
            last = proxy.endings();
            tokio::task::yield_now().await;
        }
    });
    let in_time = told.await.is_ok();
    assert!(in_time, "{:?}, not {what}", proxy.endings());
}
