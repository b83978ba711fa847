//! gRPC by tonic, whose clients and servers are others' work: through the proxy, through the client,
//! and as the proxy's probe asks it.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

#[expect(dead_code, reason = "each test program uses its part of it")]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use lb_l7::probe::{self, HttpProbe};
use lb_l7::upstream::{BackendProtocol, UpstreamConfig};
use lb_l7::{Client, HttpProxy, HttpService, Settings, Upstream};
use lbcore::health::{Health, HealthConfig, ProbeKind};
use lbcore::pool::PoolConfig;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, BackendId, Pool};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::server::{NamedService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use support::run;

/// Messages that are bytes, so that no protocol compiler is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// `/test.Echo/One` gives back a message, `/test.Echo/Many` each of many as it comes; an empty one
/// ends the call with an error.
#[derive(Clone, Copy, Debug)]
struct Echo;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

fn judged(message: Bytes) -> Result<Bytes, Status> {
    if message.is_empty() {
        let mut status = Status::new(Code::OutOfRange, "nothing to say");
        status
            .metadata_mut()
            .insert("x-more", MetadataValue::from_static("told"));
        return Err(status);
    }
    Ok(message)
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Boxed<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async { judged(request.into_inner()).map(Response::new) })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Boxed<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        use tokio_stream::StreamExt as _;

        let answers = request.into_inner().map(|message| message.and_then(judged));
        let answers: Answers = Box::pin(answers);
        Box::pin(async { Ok(Response::new(answers)) })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl tower_service::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = tonic::server::Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/test.Echo/One" => grpc.unary(Self, request).await,
                _ => grpc.streaming(Self, request).await,
            })
        })
    }
}

/// A server of gRPC that echoes, and says that it serves.
fn server() -> SocketAddr {
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(health).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

fn upstream(address: SocketAddr) -> Upstream {
    let pool = Pool::new(RoundRobin).backend(Backend::new("a", address.into()));
    let grpc = UpstreamConfig::default().protocol(BackendProtocol::Http2);
    Upstream::new(pool).config(grpc).unwrap()
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// Every kind of call, as `client` carries it.
async fn converse<C>(client: C)
where
    C: GrpcService<Body> + Clone,
    C::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<support::BoxError>,
    C::Error: std::fmt::Debug,
{
    let origin = Uri::from_static("http://echo.example");
    let mut grpc = Grpc::with_origin(client, origin);
    let one = path("/test.Echo/One");
    let said = Bytes::from_static(b"hello");
    grpc.ready().await.map_err(|_| "not ready").unwrap();
    let answer = grpc
        .unary(Request::new(said.clone()), one.clone(), Plain)
        .await;
    assert_eq!(answer.unwrap().into_inner(), said);

    // An error is told by the trailers, or by the head alone where there is nothing else.
    grpc.ready().await.map_err(|_| "not ready").unwrap();
    let error = grpc.unary(Request::new(Bytes::new()), one, Plain).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::OutOfRange, "nothing to say")
    );
    assert_eq!(error.metadata().get("x-more").unwrap(), "told");

    // Both ways at once: each message is answered before the next is sent.
    let (say, saying) = mpsc::channel(1);
    say.send(Bytes::from_static(b"first")).await.unwrap();
    grpc.ready().await.map_err(|_| "not ready").unwrap();
    let asked = Request::new(ReceiverStream::new(saying));
    let heard = grpc.streaming(asked, path("/test.Echo/Many"), Plain).await;
    let mut heard = heard.unwrap().into_inner();
    assert_eq!(heard.message().await.unwrap().unwrap(), "first");
    let large = Bytes::from(vec![9; 1 << 20]);
    for _ in 0..3 {
        say.send(large.clone()).await.unwrap();
        assert!(heard.message().await.unwrap().unwrap() == large);
    }
    say.send(Bytes::new()).await.unwrap();
    let error = heard.message().await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(error.metadata().get("x-more").unwrap(), "told");
}

#[test]
fn calls_of_every_kind_go_through_the_proxy() {
    run(async {
        let proxy = HttpProxy::new(Settings::to(upstream(server())).unwrap());
        let service = HttpService::new("127.0.0.1:0".parse().unwrap(), proxy);
        let front = service.bind().await.unwrap();
        let address = front.addresses()[0].socket().unwrap();
        tokio::spawn(front.run_until(std::future::pending::<()>()));
        let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
        converse(endpoint.connect().await.unwrap()).await;
    });
}

#[test]
fn calls_of_every_kind_go_through_the_client() {
    run(async {
        converse(Client::new(upstream(server()))).await;
    });
}

#[test]
fn calls_of_every_kind_go_through_the_service() {
    run(async {
        let proxy = HttpProxy::new(Settings::to(upstream(server())).unwrap());
        converse(proxy.service(lb_l7::Peer::unnamed())).await;
    });
}

#[test]
fn the_health_service_of_others_answers_the_probe() {
    run(async {
        let health = HealthConfig::new(ProbeKind::Custom);
        let settled = async |service: &str| {
            let pool = Pool::new(RoundRobin)
                .config(PoolConfig::default().health(health.clone()))
                .unwrap()
                .backend(Backend::new("a", server().into()));
            let probing = probe::run_until(
                pool.clone(),
                HttpProbe::grpc(service),
                std::future::pending::<()>(),
            );
            let probing = tokio::spawn(probing);
            let health = loop {
                let view = pool.view();
                match view.backend(BackendId::of_name("a")).unwrap().health {
                    Health::Unknown => tokio::task::yield_now().await,
                    health => break health,
                }
            };
            probing.abort();
            health
        };
        assert_eq!(settled("").await, Health::Up);
        assert_eq!(settled("nobody.Knows").await, Health::Down);
    });
}
