//! The laws of transports, run over every transport that this host has.

use lb_l4::packet::{InterfaceId, Link};
use lb_l4::transport::Memory;
use lb_l4::transport::laws::transport_laws;
use lb_l4::transport::memory::{MemoryConfig, Waiting};

#[test]
fn queues_in_memory_keep_the_laws() {
    transport_laws(|| Memory::pair().expect("a descriptor"));
}

#[test]
fn queues_in_memory_keep_the_laws_in_virtual_time_without_a_link_header() {
    let config = MemoryConfig::default()
        .capacity(64)
        .link(Link::Ip)
        .mtu(576)
        .waiting(Waiting::Return);
    transport_laws(|| {
        let (near, far) = Memory::pair_with(config).expect("a descriptor");
        (near.on(InterfaceId(3)), far)
    });
}

#[cfg(all(feature = "af-packet", feature = "tun"))]
mod kernel {
    use lb_l4::transport::af_packet::{AfPacketConfig, Sending};
    use lb_l4::transport::tun::{Offloading, TunConfig};
    use lb_l4::transport::{AfPacket, Tun};

    use super::*;
    use crate::netns::Namespace;

    fn packet(name: &str) -> AfPacket {
        AfPacket::open(AfPacketConfig::new(name)).expect("root may open a packet socket")
    }

    #[test]
    fn packet_sockets_on_a_wire_keep_the_laws() {
        let Some(host) = Namespace::open() else {
            return;
        };
        host.wire("near", "far");
        host.enter(|| transport_laws(|| (packet("near"), packet("far"))));
    }

    #[test]
    fn packet_sockets_that_pass_the_queue_by_keep_the_laws() {
        let Some(host) = Namespace::open() else {
            return;
        };
        host.wire("near", "far");
        let near = AfPacketConfig::new("near")
            .interface(InterfaceId(9))
            .sending(Sending::Direct);
        let open = || AfPacket::open(near.clone()).expect("root may open a packet socket");
        host.enter(|| transport_laws(|| (open(), packet("far"))));
    }

    #[test]
    fn tun_devices_keep_the_laws() {
        let Some(host) = Namespace::open() else {
            return;
        };
        for offloading in [Offloading::On, Offloading::Off] {
            let config = TunConfig::default().name("laws").offloading(offloading);
            let open = || Tun::open(config.clone()).expect("root may open a device");
            // Whatever else reads the device is at its other end.
            host.enter(|| {
                transport_laws(|| {
                    let tun = open();
                    (tun, packet("laws"))
                });
            });
        }
    }
}
