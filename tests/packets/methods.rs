//! Every method between real kernels: all of it over packet sockets, and the least of it over the
//! other transports.

use crate::checks::Family;
use crate::rig::{Extra, Rig};
use crate::setting::{Kind, Method, Outside, Setting, Transport};

fn everything_works(method: Method) {
    if let Some(rig) = Rig::open(Setting::new(method, Transport::AfPacket)) {
        rig.everything_works();
    }
}

fn the_least_works(method: Method, transport: Transport) {
    if let Some(rig) = Rig::open(Setting::new(method, transport)) {
        rig.the_least_works();
    }
}

#[test]
fn everything_works_by_nat_over_packet_sockets() {
    everything_works(Method::Nat);
}

#[test]
fn everything_works_by_direct_routing_over_packet_sockets() {
    everything_works(Method::DirectRouting);
}

#[test]
fn everything_works_by_fullnat_over_packet_sockets() {
    everything_works(Method::FullNat);
}

#[test]
fn everything_works_through_ipip_tunnels_over_packet_sockets() {
    everything_works(Method::Tunnel(Kind::Ipip, Outside::V4));
}

#[test]
fn everything_works_through_gue_tunnels_over_packet_sockets() {
    everything_works(Method::Tunnel(Kind::Gue, Outside::V6));
}

#[test]
fn the_other_tunnels_work_over_packet_sockets() {
    for (kind, outside) in [
        (Kind::Ipip, Outside::V6),
        (Kind::Gre, Outside::V4),
        (Kind::Gre, Outside::V6),
        (Kind::Gue, Outside::V4),
    ] {
        the_least_works(Method::Tunnel(kind, outside), Transport::AfPacket);
    }
}

#[test]
fn the_least_works_by_nat_over_xdp_sockets() {
    the_least_works(Method::Nat, Transport::AfXdp);
}

#[test]
fn the_least_works_by_direct_routing_over_xdp_sockets() {
    the_least_works(Method::DirectRouting, Transport::AfXdp);
}

#[test]
fn the_least_works_by_fullnat_over_xdp_sockets() {
    the_least_works(Method::FullNat, Transport::AfXdp);
}

#[test]
fn the_least_works_through_tunnels_over_xdp_sockets() {
    the_least_works(Method::Tunnel(Kind::Ipip, Outside::V4), Transport::AfXdp);
}

#[test]
fn the_least_works_by_nat_over_a_tun_device() {
    the_least_works(Method::Nat, Transport::Tun);
}

#[test]
fn the_least_works_by_fullnat_over_a_tun_device() {
    the_least_works(Method::FullNat, Transport::Tun);
}

#[test]
fn the_least_works_through_tunnels_over_a_tun_device() {
    the_least_works(Method::Tunnel(Kind::Ipip, Outside::V4), Transport::Tun);
}

/// Packets of tens of kilobytes, whose checksums nobody has computed, as kernels leave them to links.
fn everything_works_with_offloads(method: Method, transport: Transport) {
    let setting = Setting::new(method, transport);
    let Some(rig) = Rig::open(setting) else {
        return;
    };
    rig.lan.offload();
    rig.everything_works();
    let figures = rig.clb.metrics();
    let uploaded = [("listener", "iperf4"), ("direction", "in")];
    let sum = |name| figures.sum(name, &uploaded);
    let mean = sum("clb_listener_bytes_total") / sum("clb_listener_packets_total");
    assert!(
        mean > 1_500.0,
        "{setting:?}: links were left nothing: {mean}"
    );
}

#[test]
fn everything_works_by_nat_with_offloads() {
    everything_works_with_offloads(Method::Nat, Transport::AfPacket);
    everything_works_with_offloads(Method::Nat, Transport::Tun);
}

#[test]
fn everything_works_by_direct_routing_with_offloads() {
    everything_works_with_offloads(Method::DirectRouting, Transport::AfPacket);
}

#[test]
fn everything_works_through_tunnels_with_offloads() {
    let method = Method::Tunnel(Kind::Ipip, Outside::V6);
    everything_works_with_offloads(method, Transport::AfPacket);
    everything_works_with_offloads(method, Transport::Tun);
}

/// Answers reach the worker that has their session, and fragments the one that has their first.
fn two_workers_share_the_work(method: Method, transport: Transport) {
    let extra = Extra {
        packet: "workers = 2",
        ..Extra::default()
    };
    if let Some(rig) = Rig::with(Setting::new(method, transport), &extra) {
        rig.the_least_works();
        for family in Family::BOTH {
            rig.short_connections_all_succeed(family, 240);
        }
    }
}

#[test]
fn two_workers_share_packet_sockets() {
    for method in [
        Method::FullNat,
        Method::DirectRouting,
        Method::Tunnel(Kind::Gue, Outside::V4),
    ] {
        two_workers_share_the_work(method, Transport::AfPacket);
    }
}

#[test]
fn two_workers_share_a_tun_device() {
    for method in [Method::FullNat, Method::Tunnel(Kind::Ipip, Outside::V4)] {
        two_workers_share_the_work(method, Transport::Tun);
    }
}
