//! What may be at the near end.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::{DropReason, Packet, Verdict};
use lb_l4::transport::{Transport, Woken};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::namespace::run;
use crate::sys::bpf::{Instruction, Link, Program, XDP_FLAGS_DRV_MODE};
use crate::{BATCH, FLOWS};

/// The near end: what packets are sent to.
pub(crate) trait Echo {
    /// Takes `count` packets that have come, and answers them.
    fn serve(&mut self, count: usize);

    /// Whether packets come back.
    fn answers(&self) -> bool;

    /// Nanoseconds that processes of its own have run.
    fn cpu_time(&self) -> u64 {
        0
    }

    /// Of how many flows it is sent packets: at most [`FLOWS`].
    fn flows(&self) -> usize {
        FLOWS
    }

    /// As many packets as it can be sent at once.
    fn batch(&self) -> usize {
        BATCH
    }
}

/// A transport, whose packets are sent back with their addresses swapped.
pub(crate) struct Reflect<T>(pub(crate) T);

/// A transport that drops its packets.
pub(crate) struct Discard<T>(pub(crate) T);

impl<T: Transport> Echo for Discard<T> {
    fn serve(&mut self, count: usize) {
        serve(&mut self.0, count, |burst| {
            for packet in burst {
                packet.set_verdict(Verdict::Drop(DropReason::NoSession));
            }
        });
    }

    fn answers(&self) -> bool {
        false
    }
}

impl<T: Transport> Echo for Reflect<T> {
    fn serve(&mut self, count: usize) {
        serve(&mut self.0, count, reflect);
    }

    fn answers(&self) -> bool {
        true
    }
}

/// Shows `count` packets to `decide`, as they come.
pub(crate) fn serve(
    transport: &mut impl Transport,
    count: usize,
    mut decide: impl FnMut(&mut [Packet<'_>]),
) {
    let mut shown = 0;
    while shown < count {
        let more = transport.forward(&mut decide).unwrap();
        if more == 0 {
            // Packet sockets are shown whole blocks of packets, or what is there after a while.
            let now = Clock::monotonic().now();
            let soon = now + Duration::from_millis(500);
            let woken = transport.wait(now, Some(soon), &[]).unwrap();
            let lost = count - shown;
            assert_eq!(woken, Woken::Packet, "{lost} of {count} packets are lost");
        }
        shown += more;
    }
}

fn reflect(burst: &mut [Packet<'_>]) {
    for packet in burst {
        packet.bytes_mut()[..12].rotate_left(6);
        packet.set_verdict(Verdict::Reply);
    }
}

/// A program that does it all in the driver.
pub(crate) struct Host {
    answers: bool,
    _link: Link,
}

impl Host {
    pub(crate) fn attach((answers, code): &(bool, Vec<Instruction>)) -> Self {
        let family = AddressFamily::INET;
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        let near = netdevice::name_to_index(&socket, "near").unwrap();
        let program = Program::load("floor", code).unwrap();
        Self {
            answers: *answers,
            _link: program.attach(near, XDP_FLAGS_DRV_MODE).unwrap(),
        }
    }
}

impl Echo for Host {
    fn serve(&mut self, _count: usize) {}

    fn answers(&self) -> bool {
        self.answers
    }
}

/// The kernel's own forwarding: addressed to the host, and sent on by its tables.
pub(crate) struct Routed;

impl Routed {
    /// Has the host forward what is sent to [`NEAR`]'s link address.
    pub(crate) fn forward() -> Self {
        route(Forwarding::On);
        Self
    }

    /// Has the host rewrite the destination too, by this statement of nftables.
    pub(crate) fn translate(to: &str) -> Self {
        run("nft add table ip lb");
        run("nft add chain ip lb in { type nat hook prerouting priority dstnat ; }");
        run(&format!("nft add rule ip lb in ip daddr 192.0.2.2 {to}"));
        Self::forward()
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        run("nft flush ruleset");
    }
}

impl Echo for Routed {
    fn serve(&mut self, _count: usize) {}

    fn answers(&self) -> bool {
        true
    }
}

/// Whether the host forwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forwarding {
    Off,
    On,
}

/// Gives the host an address and neighbours at the near end.
pub(crate) fn route(forwarding: Forwarding) {
    let forward = match forwarding {
        Forwarding::Off => "0",
        Forwarding::On => "1",
    };
    for (setting, value) in [
        ("ip_forward", forward),
        ("conf/all/send_redirects", "0"),
        ("conf/near/send_redirects", "0"),
        ("conf/all/rp_filter", "0"),
        ("conf/near/rp_filter", "0"),
    ] {
        std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).unwrap();
    }
    run("ip link set near arp on");
    run("ip addr replace 192.0.2.254/24 dev near");
    for backend in ["192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        run(&format!(
            "ip neigh replace {backend} lladdr 02:00:00:00:00:02 dev near nud permanent"
        ));
    }
}

/// nginx, which takes every datagram and sends another one.
pub(crate) struct Nginx {
    process: Child,
    _dir: Dir,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        route(Forwarding::Off);
        run("ip addr replace 192.0.2.2/32 dev near");
        let dir = Dir::new();
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = match std::fs::exists(module) {
            Ok(true) => format!("load_module {module};"),
            _ => String::new(),
        };
        let most = 4 * NGINX_FLOWS;
        let config = format!(
            "{load} daemon off; master_process off; pid nginx.pid; error_log stderr crit; \
             user root; worker_rlimit_nofile {most}; events {{ worker_connections {most}; }} \
             stream {{ upstream far {{ hash $remote_addr$remote_port; \
             server 192.0.2.3:7; server 192.0.2.4:7; }} \
             server {{ listen 192.0.2.2:7 udp; proxy_pass far; proxy_timeout 900s; }} }}"
        );
        std::fs::write(dir.0.join("nginx.conf"), config).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(&dir.0)
            .args(["-e", "stderr", "-c", "nginx.conf"])
            .spawn()
            .unwrap();
        while !std::fs::read_to_string("/proc/thread-self/net/udp")
            .unwrap()
            .contains("020200C0:0007")
        {
            std::thread::yield_now();
        }
        Self { process, _dir: dir }
    }
}

impl Echo for Nginx {
    fn serve(&mut self, _count: usize) {}

    fn answers(&self) -> bool {
        true
    }

    fn cpu_time(&self) -> u64 {
        let path = format!("/proc/{}/schedstat", self.process.id());
        let statistics = std::fs::read_to_string(path).unwrap();
        let ran = statistics.split_whitespace().next().unwrap();
        ran.parse().unwrap()
    }

    /// Each takes a socket and a port.
    fn flows(&self) -> usize {
        NGINX_FLOWS
    }

    /// As many as the buffer of its socket holds.
    fn batch(&self) -> usize {
        64
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

const NGINX_FLOWS: usize = 4_096;

/// A folder, for as long as it is needed.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let name = format!("lb-l4-transports-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left is in the folder for such.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
