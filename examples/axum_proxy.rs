//! An axum program that forwards everything below `/api` to the servers of a pool.
#![expect(clippy::print_stdout, reason = "this is what it is run for")]

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use axum::{Router, middleware};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use lb_l7::{Client, HttpProxy, Peer, Settings};
use lbcore::schedule::LeastConnections;
use lbcore::{Backend, Pool};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(LeastConnections::weighted())
        .backend(Backend::new("api-1", serve(api()).await?.into()));
    let proxy = HttpProxy::new(Settings::to(pool)?);
    let app = Router::new()
        .route("/", get(async || "the program's own page"))
        .route_service("/api/{*rest}", proxy.service(Peer::unnamed()))
        .layer(middleware::map_request(name_client));
    let app = serve(app).await?;

    let client = Client::new(
        Pool::new(LeastConnections::weighted()).backend(Backend::new("app", app.into())),
    );
    for path in ["/", "/api/who"] {
        let uri = format!("http://app.example{path}");
        let request = Request::get(uri).body(Empty::<Bytes>::new())?;
        let page = client.send(request).await?.into_body().collect().await?;
        println!("{path}: {:?}", page.to_bytes());
    }
    Ok(())
}

/// Tells the proxy who asks, for `X-Forwarded-For`, limits and logs.
async fn name_client(
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Request {
    let local = SocketAddr::from(([127, 0, 0, 1], 80));
    request.extensions_mut().insert(Peer::new(client, local));
    request
}

/// What stands behind the proxy: it tells for whom it is asked.
fn api() -> Router {
    let who = async |request: Request| {
        let client = request.headers().get("x-forwarded-for");
        format!("{} for {client:?}", request.uri())
    };
    Router::new().fallback(who)
}

async fn serve(app: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}
