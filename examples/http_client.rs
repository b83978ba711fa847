//! Balances a program's own requests over two servers.
#![expect(clippy::print_stdout, reason = "this is what it is run for")]

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use lb_l7::upstream::RetryPolicy;
use lb_l7::{Client, Target};
use lbcore::schedule::PeakEwma;
use lbcore::{Backend, BackendId, Pool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(PeakEwma::default())
        .backend(Backend::new("a", server("I am a").await?.into()))
        .backend(Backend::new("b", server("I am b").await?.into()));
    let target = Target::from(pool).retry(RetryPolicy::default().tries(3));
    let client = Client::new(target).authority("api.internal".parse()?);

    for _ in 0..4 {
        let request = http::Request::get("/hello").body(Empty::<Bytes>::new())?;
        let response = client.send(request).await?;
        let backend = response.extensions().get::<BackendId>().copied();
        let body = response.into_body().collect().await?.to_bytes();
        println!("{backend:?} says {body:?}");
    }
    Ok(())
}

/// Something to ask.
async fn server(says: &'static str) -> std::io::Result<SocketAddr> {
    let app = axum::Router::new().fallback(async move || says);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}
