//! A method and a transport: what the file of `clb` says of them, and what hosts must know.

use harness::lan::{DIRECTORS, DIRECTORS_V6, Lan, SERVERS, SERVERS_V6, VIP, VIP_V6};
use harness::process::{Launch, Process};

/// How packets reach servers, and how `clb` gets them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Setting {
    pub(crate) method: Method,
    pub(crate) transport: Transport,
}

/// As `forwarding` of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    DirectRouting,
    FullNat,
    Nat,
    Tunnel(Kind, Outside),
}

/// As `tunnel` of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Gre,
    Gue,
    Ipip,
}

/// Which packets are outside: those of the servers' addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outside {
    V4,
    V6,
}

/// As `transport` of `[packet]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    AfPacket,
    AfXdp,
    Tun,
}

/// The forwarder's own addresses.
pub(crate) const OWN: [&str; 2] = ["10.9.0.100", "fd09::100"];

/// The device that `clb` makes.
const DEVICE: &str = "lb0";

impl Method {
    /// Whether packets come to servers with the addresses that clients ask for.
    pub(crate) const fn serves_vips(self) -> bool {
        matches!(self, Self::DirectRouting | Self::Tunnel(..))
    }

    /// Bytes that packets to servers are longer by.
    pub(crate) const fn overhead(self) -> usize {
        let Self::Tunnel(kind, outside) = self else {
            return 0;
        };
        let header = match outside {
            Outside::V4 => 20,
            Outside::V6 => 40,
        };
        header
            + match kind {
                Kind::Ipip => 0,
                Kind::Gre => 4,
                Kind::Gue => 12,
            }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Gue => "gue",
            Self::Ipip => "ipip",
        }
    }

    /// What `ip rule` knows outer packets by, in each family of theirs.
    const fn selectors(self) -> &'static [&'static str] {
        match self {
            Self::Gre => &["ipproto 47"],
            Self::Gue => &["ipproto udp dport 6080"],
            Self::Ipip => &["ipproto 4", "ipproto 41"],
        }
    }
}

impl Setting {
    pub(crate) const fn new(method: Method, transport: Transport) -> Self {
        Self { method, transport }
    }

    /// The section `[packet]`.
    pub(crate) fn packet(self) -> String {
        let link = match self.transport {
            Transport::AfPacket => "transport = \"af-packet\"\ninterface = \"eth0\"",
            Transport::AfXdp => "transport = \"af-xdp\"\ninterface = \"eth0\"",
            Transport::Tun => "transport = \"tun\"\ninterface = \"lb0\"",
        };
        let gateway = match self.transport {
            Transport::Tun => "",
            _ => "gateway = [\"10.9.0.1\", \"fd09::1\"]\n",
        };
        let [v4, v6] = OWN;
        format!("[packet]\n{link}\nlocal_addresses = [\"{v4}\", \"{v6}\"]\n{gateway}")
    }

    /// The keys of a listener.
    pub(crate) fn forwarding(self) -> String {
        match self.method {
            Method::DirectRouting => "forwarding = \"direct-routing\"".to_owned(),
            Method::FullNat => "forwarding = \"fullnat\"".to_owned(),
            Method::Nat => "forwarding = \"nat\"".to_owned(),
            Method::Tunnel(kind, _) => {
                let kind = kind.name();
                format!("forwarding = \"tunnel\"\ntunnel = {{ kind = \"{kind}\" }}")
            }
        }
    }

    /// The address of a server as a backend of services of one family.
    pub(crate) fn backend(self, server: usize, is_v4: bool) -> String {
        let is_v4 = match self.method {
            Method::Tunnel(_, outside) => outside == Outside::V4,
            _ => is_v4,
        };
        match is_v4 {
            true => SERVERS[server].to_owned(),
            false => format!("[{}]", SERVERS_V6[server]),
        }
    }

    /// Before anything runs.
    pub(crate) fn prepare(self, lan: &Lan) {
        let [v4, v6] = match self.transport {
            // The director's own stack takes packets in and out.
            Transport::Tun => [DIRECTORS[0], DIRECTORS_V6[0]],
            _ => OWN,
        };
        if self.method == Method::Nat {
            lan.answer_through(v4, v6);
        }
        if self.method.serves_vips() {
            lan.serve_vips();
        }
        if self.transport != Transport::Tun {
            return;
        }
        lan.forward(&lan.directors[0]);
        lan.router.ip(&format!("route replace {VIP}/32 via {v4}"));
        lan.router
            .ip(&format!("-6 route replace {VIP_V6}/128 via {v6}"));
        for server in &lan.servers {
            server.ip(&format!("route add {}/32 via {v4}", OWN[0]));
            server.ip(&format!("-6 route add {}/128 via {v6}", OWN[1]));
        }
    }

    /// What takes packets out of their tunnels, on every server.
    ///
    /// The kernel's own tunnels are not in every kernel. Its rules of routing give the outer packets
    /// to a TUN device, before it finds that they are addressed to the host.
    pub(crate) fn receivers(self, lan: &Lan) -> Vec<Process> {
        let Method::Tunnel(kind, _) = self.method else {
            return Vec::new();
        };
        let servers = lan.servers.iter().map(|server| {
            lan.forward(server);
            let started = Launch::new(env!("CARGO_BIN_EXE_decapsulate"))
                .arg("tunnel0")
                .within(server)
                .start();
            server.await_device("tunnel0");
            for family in ["-4", "-6"] {
                server.ip(&format!("{family} route add default dev tunnel0 table 77"));
                server.ip(&format!("{family} rule add pref 20 lookup local"));
                for selector in kind.selectors() {
                    let rule = format!("rule add pref 10 iif eth0 {selector} lookup 77");
                    server.ip(&format!("{family} {rule}"));
                }
                server.ip(&format!("{family} rule delete pref 0"));
            }
            started
        });
        servers.collect()
    }

    /// Has the director's own stack give packets to the device of `clb`, if it has one.
    pub(crate) fn route(self, lan: &Lan) {
        if self.transport != Transport::Tun {
            return;
        }
        let director = &lan.directors[0];
        director.await_device(DEVICE);
        for (family, vip, own, servers) in [
            ("-4", VIP, OWN[0], SERVERS),
            ("-6", VIP_V6, OWN[1], SERVERS_V6),
        ] {
            for address in [vip, own] {
                director.ip(&format!("{family} route add {address} dev {DEVICE}"));
            }
            director.ip(&format!("{family} route add default dev {DEVICE} table 77"));
            for server in servers {
                let rule = format!("rule add iif eth0 from {server} lookup 77");
                director.ip(&format!("{family} {rule}"));
            }
        }
    }
}
