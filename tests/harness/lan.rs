//! A small data centre: a client, a router, and a segment with two directors and three servers.

use std::fs;
use std::process::Command;

use crate::netns::Namespace;
use crate::wait::{self, PATIENCE};

/// Hosts of their own, all on one machine.
///
/// ```text
///   client ── router ──┬── director 0, director 1
///                      └── server 0, server 1, server 2
///
///   198.51.100.2   .1 │ 10.9.0.1   10.9.0.2, .3   10.9.0.11, .12, .13
///   2001:db8:1::2  ::1│ fd09::1    fd09::2, ::3   fd09::11, ::12, ::13
/// ```
///
/// Every host's link on the segment is `eth0`; the client's, and the router's to it, is `wan0`.
/// Nobody leaves checksums or segmentation to hardware that is not there, and the kernels of the
/// directors forward nothing. The addresses that clients ask for, [`VIP`] and [`VIP_V6`], are on the
/// segment as far as the router knows: whoever answers for them has them.
#[derive(Debug)]
pub struct Lan {
    /// Who asks.
    pub client: Namespace,
    /// Between the client and the segment; the default route of everybody.
    pub router: Namespace,
    /// Where balancers run.
    pub directors: [Namespace; 2],
    /// Where backends run.
    pub servers: [Namespace; 3],
    /// The segment itself.
    switch: Namespace,
}

/// What clients ask for.
pub const VIP: &str = "203.0.113.10";

/// What clients ask for in IPv6.
pub const VIP_V6: &str = "2001:db8:cb::10";

/// The directors' addresses of their kernels; 10.9.0.100 and beyond are free for balancers.
pub const DIRECTORS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];

/// The same in IPv6.
pub const DIRECTORS_V6: [&str; 2] = ["fd09::2", "fd09::3"];

/// The servers' addresses.
pub const SERVERS: [&str; 3] = ["10.9.0.11", "10.9.0.12", "10.9.0.13"];

/// The servers' addresses in IPv6.
pub const SERVERS_V6: [&str; 3] = ["fd09::11", "fd09::12", "fd09::13"];

impl Lan {
    /// All of it, or a loud skip where the host permits no namespaces.
    #[must_use]
    #[track_caller]
    pub fn open() -> Option<Self> {
        let [client, router, switch, d0, d1, s0, s1, s2] = Namespace::open()?;
        let lan = Self {
            client,
            router,
            directors: [d0, d1],
            servers: [s0, s1, s2],
            switch,
        };
        lan.join();
        Some(lan)
    }

    fn join(&self) {
        let Self {
            client,
            router,
            directors: [d0, d1],
            servers: [s0, s1, s2],
            switch,
        } = self;
        for host in [client, router, switch, d0, d1, s0, s1, s2] {
            quiet(host);
        }
        switch.ip("link add br0 type bridge mcast_snooping 0");
        switch.ip("link set br0 up");
        for (port, (host, last)) in [
            (router, "1"),
            (d0, "2"),
            (d1, "3"),
            (s0, "11"),
            (s1, "12"),
            (s2, "13"),
        ]
        .into_iter()
        .enumerate()
        {
            let peer = switch.name();
            host.ip(&format!(
                "link add eth0 type veth peer name p{port} netns {peer}"
            ));
            switch.ip(&format!("link set p{port} master br0 up"));
            switch.run("ethtool", &format!("-K p{port} {NO_OFFLOAD}"));
            up(
                host,
                "eth0",
                &format!("10.9.0.{last}/24"),
                &format!("fd09::{last}/64"),
            );
        }
        let peer = router.name();
        client.ip(&format!(
            "link add wan0 type veth peer name wan0 netns {peer}"
        ));
        up(client, "wan0", "198.51.100.2/24", "2001:db8:1::2/64");
        up(router, "wan0", "198.51.100.1/24", "2001:db8:1::1/64");
        self.forward(router);
        client.ip("route add default via 198.51.100.1");
        client.ip("-6 route add default via 2001:db8:1::1");
        for host in [d0, d1, s0, s1, s2] {
            host.ip("route add default via 10.9.0.1");
            host.ip("-6 route add default via fd09::1");
        }
        router.ip(&format!("route add {VIP}/32 dev eth0"));
        router.ip(&format!("-6 route add {VIP_V6}/128 dev eth0"));
    }

    /// Leaves checksums and segmentation to the links, as they would be without [`Lan`]: what a
    /// program gets has partial checksums, and tens of kilobytes in one packet.
    pub fn offload(&self) {
        const ALL: &str = "tx on rx on tso on gso on gro on";
        let Self {
            client,
            router,
            directors: [d0, d1],
            servers: [s0, s1, s2],
            switch,
        } = self;
        client.run("ethtool", &format!("-K wan0 {ALL}"));
        router.run("ethtool", &format!("-K wan0 {ALL}"));
        for (port, host) in [router, d0, d1, s0, s1, s2].into_iter().enumerate() {
            host.run("ethtool", &format!("-K eth0 {ALL}"));
            switch.run("ethtool", &format!("-K p{port} {ALL}"));
        }
    }

    /// Has the kernel of a host forward packets.
    pub fn forward(&self, host: &Namespace) {
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            set(host, key, "1");
        }
    }

    /// Gives every server the addresses that clients ask for, on its loopback, where nobody on the
    /// segment hears of them: for direct routing and tunnels, whose packets still bear them.
    pub fn serve_vips(&self) {
        for server in &self.servers {
            set(server, "ipv4/conf/all/arp_ignore", "1");
            set(server, "ipv4/conf/all/arp_announce", "2");
            server.ip(&format!("address add {VIP}/32 dev lo"));
            server.ip(&format!("address add {VIP_V6}/128 dev lo nodad"));
        }
    }

    /// Has the servers' answers pass `v4` and `v6`: for NAT, whose answers bear the servers'
    /// addresses.
    pub fn answer_through(&self, v4: &str, v6: &str) {
        for server in &self.servers {
            server.ip(&format!("route replace default via {v4}"));
            server.ip(&format!("-6 route replace default via {v6}"));
        }
    }

    /// Makes the way to the client narrow, which nobody but the router knows: the client goes on
    /// asking for packets as large as its link takes.
    pub fn narrow(&self, mtu: u16) {
        let router = &self.router;
        // By the link's own size it would drop what comes the other way, too.
        let (v4, v6) = ("198.51.100.0/24", "2001:db8:1::/64");
        router.ip(&format!("route replace {v4} dev wan0 mtu lock {mtu}"));
        // The metric is that of the kernel's own route, which it replaces.
        router.ip(&format!(
            "-6 route replace {v6} dev wan0 metric 256 mtu {mtu}"
        ));
    }
}

impl Namespace {
    /// A command of that program in it, about to be started.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(), program]);
        command
    }

    /// Waits until it has a device of that name, which is up.
    ///
    /// # Panics
    ///
    /// When it has none within [`PATIENCE`].
    #[track_caller]
    pub fn await_device(&self, name: &str) {
        wait::eventually(PATIENCE, &format!("{name} is up"), || {
            let mut ip = self.command("ip");
            let output = ip.args(["-o", "link", "show", "up"]).output();
            let text = output.expect("ip is there").stdout;
            // One end of a pair bears the other's name, too.
            let is_it = |word: &str| word.split(['@', ':']).next() == Some(name);
            let text = String::from_utf8_lossy(&text);
            text.lines()
                .any(|line| line.split_whitespace().nth(1).is_some_and(is_it))
        });
    }

    /// What `program` writes, with arguments as one would type them; it must succeed.
    #[track_caller]
    pub fn run(&self, program: &str, words: &str) -> String {
        let output = self
            .command(program)
            .args(words.split_ascii_whitespace())
            .output()
            .expect("ip is there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {words}: {}{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

/// What the kernel of a host has counted under that name of `/proc/net/snmp6`, or of the ICMP of
/// `/proc/net/snmp`.
///
/// # Panics
///
/// When it counts no such thing.
#[must_use]
pub fn counted(host: &Namespace, name: &str) -> u64 {
    let [v4, v6] = host.enter(|| {
        ["snmp", "snmp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")))
    });
    let (v4, v6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
    let mut icmp = v4.lines().filter(|line| line.starts_with("Icmp: "));
    let [names, values] = [icmp.next(), icmp.next()].map(|line| {
        let words = line.unwrap_or_default().split_ascii_whitespace();
        words.collect::<Vec<_>>()
    });
    let mut of_v4 = names.into_iter().zip(values);
    let mut of_v6 = v6.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        Some((words.next()?, words.next()?))
    });
    let found = of_v4.find(|(it, _)| *it == name);
    let found = found.or_else(|| of_v6.find(|(it, _)| *it == name));
    let value = found.and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("the kernel does not count {name}"))
}

/// Sets `net/KEY` of a host.
pub fn set(host: &Namespace, key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    host.enter(|| fs::write(&path, value))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// No duplicate address detection, no advertisements, and packets from anywhere.
fn quiet(host: &Namespace) {
    for (key, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ] {
        set(host, key, value);
    }
}

fn up(host: &Namespace, link: &str, v4: &str, v6: &str) {
    host.run("ethtool", &format!("-K {link} {NO_OFFLOAD}"));
    host.ip(&format!("address add {v4} dev {link}"));
    host.ip(&format!("address add {v6} dev {link} nodad"));
    host.ip(&format!("link set {link} up"));
}

/// What a virtual link would leave undone in packets that a program reads.
const NO_OFFLOAD: &str = "tx off rx off tso off gso off gro off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_reaches_everybody() {
        let Some(lan) = Lan::open() else {
            return;
        };
        for address in SERVERS.iter().chain(&DIRECTORS).chain(&SERVERS_V6) {
            lan.client.run("ping", &format!("-c 1 -W 5 {address}"));
        }
    }

    #[test]
    fn nobody_answers_for_an_address_on_a_servers_loopback() {
        let Some(lan) = Lan::open() else {
            return;
        };
        lan.serve_vips();
        lan.servers[0].run("ping", &format!("-c 1 -W 5 {VIP}"));
        for address in [VIP, VIP_V6] {
            let mut ping = lan.client.command("ping");
            let output = ping.args(["-c", "1", "-W", "1", address]).output().unwrap();
            assert!(!output.status.success());
        }
    }

    #[test]
    fn where_the_way_narrows_the_router_complains_and_its_kernel_counts_that() {
        let Some(lan) = Lan::open() else {
            return;
        };
        lan.narrow(1_300);
        for (server, client, name) in [
            (SERVERS[0], "198.51.100.2", "OutDestUnreachs"),
            (SERVERS_V6[0], "2001:db8:1::2", "Icmp6OutPktTooBigs"),
        ] {
            // What comes the other way is not too big.
            lan.client.run("ping", &format!("-c 1 -W 5 {server}"));
            assert_eq!(counted(&lan.router, name), 0);
            let mut ping = lan.servers[0].command("ping");
            let words = ["-c", "1", "-W", "1", "-M", "do", "-s", "1400", client];
            assert!(!ping.args(words).output().unwrap().status.success());
            assert_eq!(counted(&lan.router, name), 1);
        }
    }

    #[test]
    fn a_link_that_was_left_work_gets_more_in_one_packet_than_it_carries() {
        let Some(lan) = Lan::open() else {
            return;
        };
        lan.offload();
        let features = lan.servers[0].run("ethtool", "-k eth0");
        for feature in ["tx-checksumming", "tcp-segmentation-offload"] {
            assert!(features.contains(&format!("{feature}: on")), "{features}");
        }
    }

    #[test]
    fn a_device_is_awaited_until_it_is_up() {
        let Some(lan) = Lan::open() else {
            return;
        };
        lan.client.await_device("wan0");
    }
}
