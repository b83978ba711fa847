//! Spreads TCP connections over three web servers.

use std::sync::Arc;
use std::time::Duration;

use lb_l4::stream::{Settings, TcpBalancer, TcpService};
use lb_l4::{Clock, probe};
use lbcore::health::HealthConfig;
use lbcore::persist::SourceAddress;
use lbcore::pool::PoolConfig;
use lbcore::schedule::LeastConnections;
use lbcore::{Backend, Pool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let health = HealthConfig::tcp_connect(Duration::from_secs(2));
    let web = Pool::new(LeastConnections::weighted())
        .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?).weight(2))
        .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?))
        .backend(Backend::new("web-3", "10.0.0.13:8080".parse()?))
        .config(PoolConfig::default().health(health))?;
    let sticky = Arc::new(SourceAddress::lasting(Duration::from_secs(300)));
    let settings = Settings::new(web.clone()).persistence(sticky);

    tokio::spawn(probe::run_until(
        web,
        Clock::monotonic(),
        std::future::pending::<()>(),
    ));
    let balancer = TcpBalancer::bind(TcpService::new("[::]:8080".parse()?, settings)).await?;
    balancer.run_until(tokio::signal::ctrl_c()).await?;
    Ok(())
}
