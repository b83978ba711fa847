//! What it costs to send a packet back where it came from, by transport, over a veth pair.
//!
//! One thread does everything in turn, in a network namespace of its own: it sends a thousand
//! packets of 64 bytes, of 32,768 flows, into `far`; then the transport on `near` swaps their
//! Ethernet addresses and sends them back; then they are counted. A figure is the CPU time of the
//! whole arrangement per packet, that of the kernel's own thread for packets (`ksoftirqd`) with it:
//! the median of five, the least and the most. What the sending and the arriving take by themselves
//! is in the first line, which drops packets as they come; "over drop" is the rest, way back
//! included, and the last column its inverse.
//!
//! "NAT" is the forwarder of this crate behind a transport, which translates to two backends as the
//! lines of nftables do; without it, a transport only swaps Ethernet addresses. The kernel's own are
//! packets forwarded by route, and translated by nftables with its connection tracking: to one
//! destination, or to two by a map of round robin (`numgen`) or of a hash (`jhash`). nginx takes each
//! datagram and sends another; its process is counted, too, and it has fewer flows, since each takes
//! a socket of it. A TUN device is reached by the kernel's
//! routes, on the way there and on the way back.
//!
//! Run it as root with `cargo bench -p lb-l4 --features af-packet,af-xdp,tun --bench transports`,
//! and with `-- NAT nftables nginx` or other parts of names for less. With `-- --check` the exit
//! status is 1 if NAT by AF_XDP forwards less for a CPU second than nftables by a map.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for engineers"
)]

#[expect(dead_code, reason = "as much of it as the floors take")]
#[path = "../../src/transport/af_xdp/assembler.rs"]
mod assembler;
mod echo;
mod forward;
#[path = "../../tests/af_xdp/namespace.rs"]
mod namespace;
mod program;
#[expect(dead_code, reason = "as much of it as the floors take")]
mod sys;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::Offload;
#[cfg(feature = "af-packet")]
use lb_l4::transport::AfPacket;
#[cfg(feature = "af-packet")]
use lb_l4::transport::af_packet::{AfPacketConfig, Sending};
use lb_l4::transport::af_xdp::{AfXdp, AfXdpConfig, Attach, Steer, disable_transmit_offloads};
use lb_l4::transport::{Transport, Woken};
#[cfg(feature = "tun")]
use lb_l4::transport::{Tun, tun::TunConfig};
use namespace::{Namespace, run};
use rustix::time::{ClockId, clock_gettime};

use echo::{Discard, Echo, Forwarding, Host, Nginx, Reflect, Routed, route};
use forward::Translate;

fn main() -> ExitCode {
    // Called by `cargo test` with no argument that asks for figures.
    let (flags, parts): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|it| it.starts_with('-'));
    let measure = flags.iter().any(|it| it == "--bench");
    let is_wanted = |name: &str| parts.is_empty() || parts.iter().any(|it| name.contains(it));
    let Some(_namespace) = Namespace::entered() else {
        return ExitCode::SUCCESS;
    };
    pin();
    let rounds = if measure { 200 } else { 2 };
    println!(
        "{:28} {:>8} {:>10} {:>14}",
        "", "ns", "over drop", "per CPU second"
    );
    let mut floor = None;
    let [mut ours, mut theirs] = [f64::MAX, f64::MAX];
    for (place, (name, make)) in KINDS.iter().enumerate() {
        // The first is what the others are over.
        if place > 0 && !is_wanted(name) {
            continue;
        }
        veth();
        let mut figures: Vec<f64> = (0..5).map(|_| one(*make, rounds)).collect();
        run("ip link del near");
        figures.sort_by(f64::total_cmp);
        let median = figures[2];
        let over = median - *floor.get_or_insert(median);
        match *name {
            "AF_XDP, NAT" => ours = over,
            "nftables DNAT, numgen" | "nftables DNAT, jhash" => theirs = theirs.min(over),
            _ => {}
        }
        let rate = if over > 0.0 { 1e9 / over } else { f64::NAN };
        println!(
            "{name:28} {median:8.0} {over:10.0} {rate:14.0}   [{:.0}-{:.0}]",
            figures[0], figures[4]
        );
    }
    match flags.iter().any(|it| it == "--check") && ours > theirs {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// What is measured: its name, and how the near end is made.
const KINDS: &[(&str, Make)] = &[
    ("drop in the driver", || {
        Box::new(Host::attach(&program::drop()))
    }),
    ("answer in the driver", || {
        Box::new(Host::attach(&program::reflect()))
    }),
    ("kernel's forwarding", || Box::new(Routed::forward())),
    ("nftables DNAT", || {
        Box::new(Routed::translate("dnat to 192.0.2.3"))
    }),
    ("nftables DNAT, numgen", || {
        Box::new(Routed::translate(&format!(
            "dnat to numgen inc mod 2 map {TWO}"
        )))
    }),
    ("nftables DNAT, jhash", || {
        Box::new(Routed::translate(&format!(
            "dnat to jhash ip saddr . udp sport mod 2 map {TWO}"
        )))
    }),
    ("nginx stream", || Box::new(Nginx::start())),
    ("AF_XDP, drop", || Box::new(Discard(near(Attach::Native)))),
    ("AF_XDP", || Box::new(Reflect(near(Attach::Native)))),
    ("AF_XDP, generic", || {
        Box::new(Reflect(near(Attach::Generic)))
    }),
    ("AF_XDP, NAT", || {
        Box::new(Translate::new(near(Attach::Native)))
    }),
    ("AF_XDP, generic, NAT", || {
        Box::new(Translate::new(near(Attach::Generic)))
    }),
    #[cfg(feature = "af-packet")]
    ("AF_PACKET", || {
        Box::new(Reflect(packet_socket(Sending::Queued)))
    }),
    #[cfg(feature = "af-packet")]
    ("AF_PACKET, direct", || {
        Box::new(Reflect(packet_socket(Sending::Direct)))
    }),
    #[cfg(feature = "af-packet")]
    ("AF_PACKET, NAT", || {
        Box::new(Translate::new(packet_socket(Sending::Queued)))
    }),
    #[cfg(feature = "tun")]
    ("TUN, NAT", || Box::new(Translate::of_ip(routed_tun()))),
];

/// Two backends, as a map of nftables.
const TWO: &str = "{ 0 : 192.0.2.3, 1 : 192.0.2.4 }";

type Make = fn() -> Box<dyn Echo>;

/// The CPU time of one packet, in nanoseconds.
fn one(make: Make, rounds: u32) -> f64 {
    let mut far = AfXdp::open(&AfXdpConfig::new("far"))
        .unwrap()
        .pop()
        .unwrap();
    far.steer("0.0.0.0/0".parse().unwrap(), Steer::Redirect)
        .unwrap();
    measure(&mut far, &mut *make(), rounds)
}

fn near(attach: Attach) -> AfXdp {
    let config = AfXdpConfig::new("near").attach(attach);
    let queue = AfXdp::open(&config).unwrap().pop().unwrap();
    queue
        .steer("0.0.0.0/0".parse().unwrap(), Steer::Redirect)
        .unwrap();
    queue
}

#[cfg(feature = "af-packet")]
fn packet_socket(sending: Sending) -> AfPacket {
    AfPacket::open(AfPacketConfig::new("near").sending(sending)).unwrap()
}

/// A device that the host routes the service's packets to.
#[cfg(feature = "tun")]
fn routed_tun() -> Tun {
    route(Forwarding::On);
    // The host would ask for routers there, and be counted.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    let tun = Tun::open(TunConfig::default().name("tun0")).unwrap();
    fs::write("/proc/sys/net/ipv4/conf/tun0/rp_filter", "0").unwrap();
    run("ip link set tun0 txqueuelen 2048");
    run("ip route replace 192.0.2.2/32 dev tun0");
    tun
}

fn measure(far: &mut AfXdp, near: &mut dyn Echo, rounds: u32) -> f64 {
    let mut sent = 0;
    while sent < near.flows() {
        sent += round(far, near, sent);
    }
    let before = cpu_time() + near.cpu_time();
    sent = 0;
    while sent < rounds as usize * BATCH {
        sent += round(far, near, sent);
    }
    (cpu_time() + near.cpu_time() - before) as f64 / sent as f64
}

/// Sends a batch from packet number `from` on, and tells how many these were.
fn round(far: &mut AfXdp, near: &mut dyn Echo, from: usize) -> usize {
    let (batch, flows) = (near.batch(), near.flows());
    let mut packet = packet();
    for n in from..from + batch {
        // A bijection of 15 bits: flows follow no order, and none has port 0.
        let port = (n % flows).wrapping_mul(0x9e3b) | FLOWS;
        packet[34..36].copy_from_slice(&port.to_le_bytes()[..2]);
        far.queue(&packet, Offload::default()).unwrap();
    }
    far.flush().unwrap();
    near.serve(batch);
    if near.answers() {
        let before = far.stats().received;
        while far.stats().received - before < batch as u64 {
            if far.forward(|_| ()).unwrap() == 0 {
                // Another process has them.
                let now = Clock::monotonic().now();
                let soon = now + Duration::from_millis(500);
                let woken = far.wait(now, Some(soon), &[]).unwrap();
                assert_eq!(woken, Woken::Packet, "an answer is lost");
            }
        }
    }
    batch
}

/// A packet of 64 bytes: UDP over IPv4, of no checksums.
fn packet() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend([0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0xb6, 0xb7]);
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 7, 0, 30, 0, 0]);
    packet.resize(64, 0);
    packet
}

fn veth() {
    run("ip link add near type veth peer name far");
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    for end in ["near", "far"] {
        run(&format!(
            "ip link set {end} addrgenmode none arp off multicast off"
        ));
        run(&format!("ip link set {end} address 02:00:00:00:00:01 up"));
        disable_transmit_offloads(end).unwrap();
    }
}

/// Keeps this thread, and with it the interrupts that it causes, on one CPU.
fn pin() {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
}

/// Nanoseconds that this thread and the kernel's threads for packets have run.
fn cpu_time() -> u64 {
    let own = clock_gettime(ClockId::ThreadCPUTime);
    let own = own.tv_sec.cast_unsigned() * 1_000_000_000 + own.tv_nsec.cast_unsigned();
    let processes = fs::read_dir("/proc").unwrap();
    let softirqs = processes.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        if !name.starts_with("ksoftirqd/") {
            return None;
        }
        let statistics = fs::read_to_string(path.join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    own + softirqs.sum::<u64>()
}

/// Flows, each of a port of its own.
const FLOWS: usize = 32_768;

/// Packets sent at once: half of what a ring holds.
const BATCH: usize = 1_024;
