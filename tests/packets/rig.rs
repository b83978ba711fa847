//! A segment whose first director runs `clb`, and servers that say who they are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use harness::clb::Clb;
use harness::host::TempDir;
use harness::lan::{Lan, SERVERS, SERVERS_V6, VIP, VIP_V6};
use harness::length::either;
use harness::process::{Launch, Process};
use harness::procfs::Protocol;
use harness::server::{Behaviour, Server};

use crate::setting::{Method, Setting};

/// The whole of it, of which the parts live as long as it does.
pub(crate) struct Rig {
    pub(crate) clb: Clb,
    pub(crate) lan: Lan,
    pub(crate) setting: Setting,
    /// nginx of each server.
    webs: Vec<Process>,
    #[expect(dead_code, reason = "they serve while they are kept")]
    echoes: Vec<Server>,
    pub(crate) iperf: Process,
    #[expect(dead_code, reason = "they serve while they are kept")]
    receivers: Vec<Process>,
}

/// The ports of the web servers, of the echo by TCP and UDP, and of iperf3.
pub(crate) const WEB: u16 = 80;
pub(crate) const ECHO: u16 = 7;
pub(crate) const IPERF: u16 = 5201;

impl Rig {
    /// `clb` in this setting; `None` where the host permits no namespaces.
    #[track_caller]
    pub(crate) fn open(setting: Setting) -> Option<Self> {
        Self::with(setting, &Extra::default())
    }

    /// The same with more in its file.
    #[track_caller]
    pub(crate) fn with(setting: Setting, extra: &Extra) -> Option<Self> {
        let lan = Lan::open()?;
        setting.prepare(&lan);
        let webs = (0..SERVERS.len()).map(|n| web(&lan, n)).collect();
        let echoes = echoes(&lan, setting.method);
        let iperf = iperf(&lan);
        let receivers = setting.receivers(&lan);
        let clb = Clb::within(&lan.directors[0], 1, &sections(setting, extra));
        setting.route(&lan);
        Some(Self {
            clb,
            lan,
            setting,
            webs,
            echoes,
            iperf,
            receivers,
        })
    }

    /// Takes in what is said of the same setting.
    #[track_caller]
    pub(crate) fn reload(&self, extra: &Extra, times: u32) {
        self.clb.reload(&sections(self.setting, extra), times);
    }

    /// Ends the web server of a server, or starts it again.
    pub(crate) fn set_web(&mut self, server: usize, is_up: bool) {
        self.webs[server].kill();
        if is_up {
            self.webs[server] = web(&self.lan, server);
        }
    }

    /// Sessions under way.
    pub(crate) fn sessions(&self) -> f64 {
        self.clb.metrics().sum("clb_packet_sessions", &[])
    }
}

/// What a test has in the file beside the setting.
#[derive(Clone, Debug)]
pub(crate) struct Extra {
    /// Keys of pools of TCP.
    pub(crate) pool: &'static str,
    /// Keys of listeners of TCP.
    pub(crate) listener: &'static str,
    /// Keys of listeners of UDP.
    pub(crate) udp_listener: &'static str,
    /// Keys of `[packet]`.
    pub(crate) packet: &'static str,
    /// The servers that the pools have, of three.
    pub(crate) servers: &'static [usize],
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            pool: "",
            listener: "",
            udp_listener: "",
            packet: "",
            servers: &[0, 1, 2],
        }
    }
}

/// A file for `clb`: services of web, echo, iperf3 and all other ports of UDP, in each family.
pub(crate) fn sections(setting: Setting, extra: &Extra) -> String {
    let mut text = setting.packet() + extra.packet + "\n";
    let forwarding = setting.forwarding();
    for (family, vip) in [("4", VIP.to_owned()), ("6", format!("[{VIP_V6}]"))] {
        for (name, protocol, listen, port, count) in [
            ("web", "tcp", WEB, WEB, 3),
            ("stream", "tcp", ECHO, ECHO, 3),
            ("echo", "udp", ECHO, ECHO, 3),
            // Its two connections must meet in one server.
            ("iperf", "tcp", IPERF, IPERF, 1),
            // Every other port, as tracepath asks for; nobody is there.
            ("rest", "udp", 0, 0, 1),
        ] {
            let (pools, listeners) = match protocol {
                "tcp" => (extra.pool, extra.listener),
                _ => ("", extra.udp_listener),
            };
            let servers = extra.servers.iter().take(count);
            let backends: Vec<_> = servers
                .map(|&n| {
                    let address = setting.backend(n, family == "4");
                    format!("{{ name = \"{n}\", address = \"{address}:{port}\" }}")
                })
                .collect();
            let backends = backends.join(", ");
            text += &format!(
                "[[pool]]\nname = \"{name}{family}\"\nscheduler = \"round-robin\"\n\
                 backends = [{backends}]\n{pools}\n\
                 [[listener]]\nname = \"{name}{family}\"\nprotocol = \"{protocol}\"\n\
                 listen = \"{vip}:{listen}\"\npool = \"{name}{family}\"\n{forwarding}\n{listeners}\n"
            );
        }
    }
    text
}

/// nginx with a large file and a small answer on a server.
pub(crate) fn web(lan: &Lan, n: usize) -> Process {
    let root = large_file().parent().expect("it is in a folder");
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; user root;
         events {{ worker_connections 4096; }}
         http {{ access_log off; server {{
             listen {WEB} reuseport; listen [::]:{WEB} reuseport ipv6only=on;
             root {}; location = / {{ return 200 \"server {n}\\n\"; }} }} }}",
        root.display()
    );
    Launch::new("nginx")
        .args(["-p", ".", "-e", "stderr", "-c", "nginx.conf"])
        .file("nginx.conf", &config)
        .within(&lan.servers[n])
        .serving(Protocol::Tcp, ([0, 0, 0, 0], WEB).into())
        .start()
}

/// Echoes by TCP and UDP on every server, at the addresses that packets come with: a socket of UDP
/// that is bound to all of them would answer by another.
fn echoes(lan: &Lan, method: Method) -> Vec<Server> {
    let mut echoes = Vec::new();
    for (n, server) in lan.servers.iter().enumerate() {
        let [v4, v6] = match method.serves_vips() {
            true => [VIP, VIP_V6],
            false => [SERVERS[n], SERVERS_V6[n]],
        };
        for address in [format!("{v4}:{ECHO}"), format!("[{v6}]:{ECHO}")] {
            server.enter(|| {
                echoes.push(Server::tcp_at(&address, Behaviour::Echo));
                echoes.push(Server::udp_at(&address, Behaviour::Echo));
            });
        }
    }
    echoes
}

fn iperf(lan: &Lan) -> Process {
    let any = format!("[::]:{IPERF}").parse().expect("an address");
    Launch::new("iperf3")
        .args(["--server", "--forceflush", "--port", &IPERF.to_string()])
        .within(&lan.servers[0])
        .serving(Protocol::Tcp, any)
        .start()
}

/// A file of random bytes, made once, and its SHA-256 in hexadecimal.
fn large() -> &'static (TempDir, PathBuf, String) {
    static FILE: OnceLock<(TempDir, PathBuf, String)> = OnceLock::new();
    FILE.get_or_init(|| {
        let dir = TempDir::new("large");
        let path = dir.path().join("large");
        let (shown, length) = (path.display(), either(8 << 20, 100 << 20));
        let script = format!("head -c {length} /dev/urandom > {shown} && sha256sum {shown}");
        let output = Command::new("sh").arg("-c").arg(script).output();
        let text = output.expect("sh is there").stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        let sum = text
            .split_whitespace()
            .next()
            .expect("the sum stands first");
        let sum = sum.to_owned();
        (dir, path, sum)
    })
}

/// What `/large` of the web servers is.
pub(crate) fn large_file() -> &'static std::path::Path {
    &large().1
}

/// Its hash.
pub(crate) fn sum_of_the_file() -> &'static str {
    &large().2
}
