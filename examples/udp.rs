//! Answers DNS from three resolvers: each question goes to one, and nothing is remembered of it.

use std::time::Duration;

use lb_l4::stream::udp::{OnePacket, UdpBalancer, UdpConfig, UdpService, UdpSettings};
use lb_l4::{Clock, probe};
use lbcore::health::{HealthConfig, ProbeKind};
use lbcore::pool::PoolConfig;
use lbcore::schedule::PowerOfTwo;
use lbcore::{Backend, Pool};

/// The question for the root's name servers; an answer begins with the same identity.
const ROOT: &[u8] = b"lb\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = ProbeKind::UdpExchange {
        send: ROOT.into(),
        expect: (*b"lb").into(),
    };
    let health = HealthConfig::new(question).interval(Duration::from_secs(5));
    let resolvers = Pool::new(PowerOfTwo)
        .backend(Backend::new("ns-1", "10.0.0.11:53".parse()?))
        .backend(Backend::new("ns-2", "10.0.0.12:53".parse()?))
        .backend(Backend::new("ns-3", "10.0.0.13:53".parse()?))
        .config(PoolConfig::default().health(health))?;

    tokio::spawn(probe::run_until(
        resolvers.clone(),
        Clock::monotonic(),
        std::future::pending::<()>(),
    ));
    let dns = UdpConfig::default().one_packet(OnePacket::default());
    let settings = UdpSettings::new(resolvers).config(dns);
    let balancer = UdpBalancer::bind(UdpService::new("[::]:5300".parse()?, settings))?;
    balancer.run_until(tokio::signal::ctrl_c()).await?;
    Ok(())
}
