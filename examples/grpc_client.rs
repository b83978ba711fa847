//! Balances the calls of a gRPC client over two servers.
#![expect(clippy::print_stdout, reason = "this is what it is run for")]

use std::net::SocketAddr;

use lb_l7::upstream::{BackendProtocol, UpstreamConfig};
use lb_l7::{Client, Upstream};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, BackendId, Pool};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(RoundRobin)
        .backend(Backend::new("a", server()?.into()))
        .backend(Backend::new("b", server()?.into()));
    let grpc = UpstreamConfig::default().protocol(BackendProtocol::Http2);
    let upstream = Upstream::new(pool).config(grpc)?;
    let client = Client::new(upstream).authority("health.internal".parse()?);

    let mut health = HealthClient::new(client);
    for _ in 0..4 {
        let answer = health.check(HealthCheckRequest::default()).await?;
        let backend = answer.extensions().get::<BackendId>().copied();
        println!("{backend:?}: {:?}", answer.get_ref().status());
    }
    Ok(())
}

/// Something to ask: a server that says that it serves.
fn server() -> std::io::Result<SocketAddr> {
    let (_, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
    let address = incoming.local_addr()?;
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(address)
}
