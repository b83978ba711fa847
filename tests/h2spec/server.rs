//! An HTTP/2 server in this process: the `h2` crate as it is, or behind the guard of `lb-l7`.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use harness::keys::Keys;
use harness::proxy::{Proxy, Setup};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lb_l7::h2_guard::{Guarded, H2Limits, poll_accept};
use lb_l7::upstream::BackendProtocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::client::Place;

/// A proxy before a server, in the clear or over TLS.
pub(crate) fn proxied(protocol: BackendProtocol, tls: bool) -> (Proxy, Server, Place) {
    let server = Server::bare_or_http1(protocol);
    let setup = Setup::before(&[server.address()], protocol);
    let setup = if tls {
        setup.tls(&Keys::p256("a.test"))
    } else {
        setup
    };
    let proxy = setup.start();
    let place = if tls {
        Place::secured(proxy.address())
    } else {
        proxy.address().into()
    };
    (proxy, server, place)
}

/// Serves until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    /// The crate alone, with its own defaults and a limit of streams.
    pub(crate) fn bare() -> Self {
        Self::start(|stream| async move {
            let handshake = Builder::new().max_concurrent_streams(100).handshake(stream);
            let Ok(mut connection) = handshake.await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond));
            }
        })
    }

    /// The crate alone, or hyper where HTTP/1 is spoken.
    fn bare_or_http1(protocol: BackendProtocol) -> Self {
        if protocol == BackendProtocol::Http2 {
            return Self::bare();
        }
        Self::start(|stream| async move {
            let service = service_fn(|request: Request<Incoming>| async {
                let whole = request.into_body().collect().await?;
                drop(whole);
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(BODY))))
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            // How a connection ends is judged in front of the proxy.
            let _ = http1.serve_connection(TokioIo::new(stream), service).await;
        })
    }

    /// The crate behind the guard.
    pub(crate) fn guarded(limits: H2Limits) -> Self {
        Self::start(move |stream| serve_guarded(stream, limits))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn place(&self) -> Place {
        self.address.into()
    }

    fn start<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

async fn serve_guarded<IO>(stream: IO, limits: H2Limits)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (guarded, alarm) = Guarded::new(stream, limits);
    let mut builder = Builder::new();
    limits.configure(&mut builder);
    let Ok(mut connection) = builder.handshake(guarded).await else {
        return;
    };
    let connection: &mut Connection<_, Bytes> = &mut connection;
    while let Some(Ok((request, respond))) = poll_fn(|cx| poll_accept(connection, &alarm, cx)).await
    {
        tokio::spawn(answer(request, respond));
    }
}

/// Reads the request to its end and answers with some bytes.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return;
        };
        let _ = body.flow_control().release_capacity(data.len());
    }
    if body.trailers().await.is_err() {
        return;
    }
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
        return;
    };
    if stream.send_data(Bytes::from_static(BODY), true).is_err() {
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// More than a window of a few bytes takes.
const BODY: &[u8] = b"sixteen letters!";
