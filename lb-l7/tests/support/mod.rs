//! Real servers of hyper on loopback, and bodies that tests feed by hand.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Piece = Result<Frame<Bytes>, BoxError>;

/// Runs a test on two threads, for half a minute at most.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    runtime.block_on(limited).expect("the test hangs")
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speak {
    Http1,
    Http2,
}

/// A server, for as long as the runtime lasts.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Connections taken so far.
    pub(crate) accepted: Arc<AtomicUsize>,
    /// Connections that are over.
    pub(crate) ended: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are over.
    pub(crate) async fn ended(&self, count: usize) {
        while self.ended.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

/// Answers every request by `answer`.
pub(crate) async fn serve<F, A>(speak: Speak, answer: F) -> Server
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        accepted: Arc::default(),
        ended: Arc::default(),
    };
    let (accepted, ended) = (Arc::clone(&server.accepted), Arc::clone(&server.ended));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            accepted.fetch_add(1, Ordering::SeqCst);
            let (answer, ended) = (answer.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async { Ok::<_, Infallible>(answered.await) }
                });
                let io = TokioIo::new(stream);
                let _ = match speak {
                    Speak::Http1 => {
                        let http1 = hyper::server::conn::http1::Builder::new();
                        http1.serve_connection(io, service).await
                    }
                    Speak::Http2 => {
                        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        http2.serve_connection(io, service).await
                    }
                };
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    server
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn answer(status: u16, body: &'static str) -> Response<Body> {
    let mut response = Response::new(text(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// Gives back what it gets, piece by piece, trailers included.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<Body> {
    Response::new(request.into_body().map_err(Into::into).boxed_unsync())
}

/// A body that is fed by its other end; it ends when that is dropped.
pub(crate) struct Fed(mpsc::Receiver<Piece>);

/// A body, and where its pieces are put in. It holds one at most.
pub(crate) fn fed() -> (mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver).boxed_unsync())
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.0.poll_recv(cx)
    }
}

pub(crate) fn data(bytes: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(bytes.into()))
}

pub(crate) fn trailer(name: &'static str, value: &'static str) -> Piece {
    let mut fields = HeaderMap::new();
    fields.insert(name, value.parse().unwrap());
    Ok(Frame::trailers(fields))
}
