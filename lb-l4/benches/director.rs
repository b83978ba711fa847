//! A director of one service with one backend, for others to measure: it says that it runs, and
//! forwards until it is killed.
//!
//! ```sh
//! cargo bench -p lb-l4 --features af-packet,af-xdp --bench director -- \
//!     af-packet eth0 nat 10.78.0.82:53 10.77.0.21:53 02:00:00:00:00:07
//! ```
//!
//! The transport (`af-packet` or `af-xdp`), its interface, the method (`nat` or `dr`), the service by
//! UDP, the backend, and the backend's link address. The interface's kernel has neither the
//! service's address nor anything to do with its packets. `tests/bench/ipvs/run` starts it beside the
//! kernel's own director.
#![expect(clippy::print_stdout, reason = "a program for other programs")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use lb_l4::Clock;
use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::method::ForwardingMethod;
use lb_l4::packet::InterfaceId;
use lb_l4::transport::af_packet::{AfPacket, AfPacketConfig};
use lb_l4::transport::af_xdp::{AfXdp, AfXdpConfig, Steer};
use lb_l4::transport::{Capabilities, Transport};
use lb_l4::wire::ethernet::Mac;
use lbcore::address_list::Prefix;
use lbcore::hash::HashKey;
use lbcore::schedule::RoundRobin;
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Backend, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    let [transport, interface, method, service, backend, mac] = &words[..] else {
        // Called by `cargo test`, or to see how.
        println!("director TRANSPORT INTERFACE METHOD SERVICE BACKEND LINK-ADDRESS");
        return Ok(());
    };
    let service: SocketAddr = service.parse()?;
    let address: Prefix = format!("{}/32", service.ip()).parse()?;
    let forwarder = |own: Capabilities| {
        let own = Mac(own.mac.ok_or("the interface has no link address")?);
        director(method, (service, address), (backend, mac), own)
    };
    match transport.as_str() {
        "af-packet" => {
            let link = AfPacket::open(AfPacketConfig::new(interface))?;
            let forwarder = forwarder(link.capabilities())?;
            Ok(run(link, forwarder)?)
        }
        "af-xdp" => {
            let mut queues = AfXdp::open(&AfXdpConfig::new(interface))?;
            let link = queues.pop().ok_or("the interface has no queue")?;
            link.steer(address, Steer::Redirect)?;
            let forwarder = forwarder(link.capabilities())?;
            Ok(run(link, forwarder)?)
        }
        _ => Err(format!("no transport is called {transport}").into()),
    }
}

fn director(
    method: &str,
    (service, address): (SocketAddr, Prefix),
    (backend, mac): (&str, &str),
    own: Mac,
) -> Result<Forwarder<RoundRobin>, Box<dyn Error>> {
    let method = match method {
        "dr" => ForwardingMethod::DirectRouting,
        "nat" => ForwardingMethod::Nat,
        _ => return Err(format!("no method is called {method}").into()),
    };
    let pool = Pool::new(RoundRobin).backend(Backend::new("backend", backend.parse()?));
    let matches = Match::endpoint(ServiceProtocol::Udp, address, service.port());
    let service = VirtualService::new("service", matches, pool).method(method);
    let backend: SocketAddr = backend.parse()?;
    // Everybody is on the link, and nobody is asked for a link address.
    let interface =
        Interface::ethernet(InterfaceId(0), own).prefix(address.address(), "0.0.0.0/0".parse()?);
    let mut octets = [0; 6];
    for (octet, word) in octets.iter_mut().zip(mac.split(':')) {
        *octet = u8::from_str_radix(word, 16)?;
    }
    let mut sessions = SessionConfig::default();
    sessions.v4 = Limits::of(65_536);
    sessions.v6 = Limits::of(0);
    let config = ForwarderConfig::default()
        .sessions(sessions)
        .interface(interface)
        .neighbour(backend.ip(), Mac(octets));
    let now = Clock::monotonic().now();
    Ok(Forwarder::new(
        now,
        config,
        HashKey::random(),
        vec![service],
    )?)
}

fn run(mut link: impl Transport, mut forwarder: Forwarder<RoundRobin>) -> io::Result<()> {
    println!("forwarding");
    let clock = Clock::monotonic();
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
