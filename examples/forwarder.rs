//! Forwards packets to two web servers by NAT, as their gateway.

use lb_l4::Clock;
use lb_l4::forwarder::{Forwarder, ForwarderConfig, Interface};
use lb_l4::forwarder::{Match, ServiceProtocol, VirtualService};
use lb_l4::packet::InterfaceId;
use lb_l4::transport::Transport;
use lb_l4::transport::af_packet::{AfPacket, AfPacketConfig};
use lb_l4::wire::ethernet::Mac;
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
use lbcore::{Backend, Pool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let web = Pool::new(Maglev::default())
        .backend(Backend::new("web-1", "10.9.0.11:80".parse()?))
        .backend(Backend::new("web-2", "10.9.0.12:80".parse()?));
    let address = Match::endpoint(ServiceProtocol::Tcp, "203.0.113.10/32".parse()?, 80);
    let key = HashKey::random();
    let service =
        VirtualService::new("web", address, web).keys(KeyExtractor::new(KeyParts::Flow, key));

    let mut link = AfPacket::open(AfPacketConfig::new("eth0"))?;
    let mac = link.capabilities().mac.ok_or("eth0 has no link address")?;
    let eth0 = Interface::ethernet(InterfaceId(0), Mac(mac))
        .prefix("10.9.0.100".parse()?, "10.9.0.0/24".parse()?)
        .gateway("10.9.0.1".parse()?);
    let config = ForwarderConfig::default().interface(eth0);
    let clock = Clock::monotonic();
    let mut forwarder = Forwarder::new(clock.now(), config, key, vec![service])?;
    loop {
        while link.forward(|burst| forwarder.handle_burst(clock.now(), burst))? > 0 {}
        let now = clock.now();
        forwarder.handle_timeout(now);
        while let Some(packet) = forwarder.poll_transmit(now) {
            link.send(packet.bytes)?;
        }
        link.wait(now, forwarder.poll_timeout(), &[])?;
    }
}
