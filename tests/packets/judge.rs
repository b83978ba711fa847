//! tshark and scapy as judges: of every packet that reaches a host, no checksum, length or option
//! may be wrong.
//!
//! What `clb` sends is recorded where it arrives, so that nothing is in between.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::host::TempDir;
use harness::lan::SERVERS;
use harness::netns::Namespace;
use harness::process::{Launch, Process};
use harness::wait::{self, PATIENCE};
use rustix::process::Signal;

use crate::checks::Family;
use crate::rig::Rig;
use crate::setting::{Kind, Method, Outside, Setting, Transport};

/// Every packet that comes to a device of a host, in a file.
struct Recording {
    tcpdump: Process,
    file: PathBuf,
}

impl Recording {
    fn start(host: &Namespace, device: &str, file: PathBuf) -> Self {
        let tcpdump = Launch::new("tcpdump")
            .args(["-Z", "root", "-U", "-B", "65536", "-Q", "in", "-n"])
            .args(["-i", device, "-w"])
            .arg(&file)
            .args(["ip or ip6"])
            .within(host)
            .start();
        wait::eventually(PATIENCE, "tcpdump listens", || {
            tcpdump.log().contains("listening on")
        });
        Self { tcpdump, file }
    }

    /// Whether this is among what was recorded.
    fn holds(&self, bytes: &[u8]) -> bool {
        let recorded = std::fs::read(&self.file).expect("it is being recorded");
        recorded.windows(bytes.len()).any(|it| it == bytes)
    }

    fn end(mut self) -> PathBuf {
        self.tcpdump.signal(Signal::INT);
        let status = self.tcpdump.wait(PATIENCE);
        let said = self.tcpdump.log();
        assert!(status.success(), "{said}");
        assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
        self.file
    }
}

/// Both judges' complaints about these files; they must hold at least that many packets.
fn complaints(files: &[PathBuf], least: usize) -> Vec<String> {
    let mut all: Vec<_> = files.iter().flat_map(|file| by_tshark(file)).collect();
    let (count, wrong) = by_scapy(files);
    assert!(count >= least, "{count} packets were recorded");
    all.extend(wrong);
    all
}

/// Not asked about the network, such as what came twice, and about the TCP that an error quotes: of a
/// packet that is cut off, tshark sums what is there.
fn by_tshark(file: &Path) -> Vec<String> {
    const WRONG: &str = "_ws.malformed or ip.checksum.status == \"Bad\" \
        or icmp.checksum.status == \"Bad\" or icmpv6.checksum.status == \"Bad\" \
        or ((_ws.expert.severity == \"Error\" or _ws.expert.severity == \"Warning\") \
        and not icmp.type in {3, 11} and not icmpv6.type in {1..4} \
        and not icmp.resp_not_found and not icmpv6.resp_not_found \
        and not tcp.options.sack.dsack and not tcp.connection.rst)";
    let mut tshark = Command::new("tshark");
    for option in [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
        "tcp.analyze_sequence_numbers:FALSE",
    ] {
        tshark.args(["-o", option]);
    }
    let fields = ["frame.number", "_ws.expert.message", "_ws.col.Info"];
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    tshark
        .args(["-n", "-Y", WRONG, "-T", "fields"])
        .args(fields);
    let output = tshark.arg("-r").arg(file).output();
    let output = output.expect("tshark is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| format!("tshark: {line}")).collect()
}

/// How many packets there are, and those that scapy would have built otherwise.
fn by_scapy(files: &[PathBuf]) -> (usize, Vec<String>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packets/judge.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .args(files)
        .output();
    let output = output.expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scapy: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let count = lines.next().and_then(|line| line.parse().ok());
    let wrong = lines.map(|line| format!("scapy: {line}")).collect();
    (count.expect("a count stands first"), wrong)
}

fn every_packet_is_right(setting: Setting) {
    let Some(rig) = Rig::open(setting) else {
        return;
    };
    let dir = TempDir::new("judged");
    let hosts = std::iter::once((&rig.lan.router, "eth0"));
    let hosts = hosts.chain(rig.lan.servers.iter().map(|host| (host, "eth0")));
    let inside = match setting.method {
        Method::Tunnel(..) => Some((&rig.lan.servers[0], "tunnel0")),
        _ => None,
    };
    let recordings: Vec<_> = hosts
        .chain(inside)
        .enumerate()
        .map(|(n, (host, device))| {
            Recording::start(host, device, dir.path().join(format!("{n}.pcap")))
        })
        .collect();
    for family in Family::BOTH {
        rig.a_web_server_answers(family);
        rig.short_connections_all_succeed(family, 48);
        rig.large_datagrams_come_back(family);
        rig.the_address_answers_ping(family);
        rig.the_path_is_traced(family);
        rig.a_stream_comes_back_whole(family, LENGTH);
    }
    rig.lan.narrow(1_300);
    for family in Family::BOTH {
        rig.a_stream_comes_back_whole(family, LENGTH);
    }
    // Nothing of the kernel's may be under way to the files.
    for server in SERVERS {
        rig.lan
            .router
            .run("ping", &format!("-c 1 -p {MARK} {server}"));
    }
    wait::eventually(PATIENCE, "all is recorded", || {
        let links = recordings.iter().take(1 + SERVERS.len());
        links.into_iter().all(|it| it.holds(&[0xfe; 16]))
    });
    let files: Vec<_> = recordings.into_iter().map(Recording::end).collect();
    let wrong = complaints(&files, 1_000);
    assert!(wrong.is_empty(), "{setting:?}:\n{}", wrong.join("\n"));
    both_judges_are_awake(&files[0]);
}

/// Bytes of each stream: enough for full packets, and quickly judged.
const LENGTH: u32 = 64 << 10;

/// What fills the last packet.
const MARK: &str = "fefefefefefefefefefefefefefefefe";

/// A byte of content that is not what was sent makes a checksum wrong.
fn both_judges_are_awake(file: &Path) {
    let mut bytes = std::fs::read(file).expect("it was recorded");
    // A header of 24 bytes, and of each packet one of 16, with its length in bytes 8 to 12.
    let mut at = 24;
    while let Some(header) = bytes.get(at..at + 16) {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        at += 16 + length as usize;
        if length > 1_000 {
            break;
        }
    }
    bytes[at - 1] ^= 1;
    let dir = TempDir::new("wrong");
    let wrong = dir.path().join("wrong.pcap");
    std::fs::write(&wrong, bytes).expect("it can be written");
    assert_eq!(by_tshark(&wrong).len(), 1);
    assert_eq!(by_scapy(&[wrong]).1.len(), 1);
}

#[test]
fn every_packet_of_nat_is_right() {
    every_packet_is_right(Setting::new(Method::Nat, Transport::AfPacket));
}

#[test]
fn every_packet_of_fullnat_is_right() {
    every_packet_is_right(Setting::new(Method::FullNat, Transport::AfPacket));
}

#[test]
fn every_packet_of_direct_routing_is_right() {
    every_packet_is_right(Setting::new(Method::DirectRouting, Transport::AfXdp));
}

#[test]
fn every_packet_in_ipip_tunnels_is_right() {
    let method = Method::Tunnel(Kind::Ipip, Outside::V4);
    every_packet_is_right(Setting::new(method, Transport::AfPacket));
}

#[test]
fn every_packet_in_gre_tunnels_is_right() {
    let method = Method::Tunnel(Kind::Gre, Outside::V6);
    every_packet_is_right(Setting::new(method, Transport::Tun));
}

#[test]
fn every_packet_in_gue_tunnels_is_right() {
    let method = Method::Tunnel(Kind::Gue, Outside::V6);
    every_packet_is_right(Setting::new(method, Transport::AfPacket));
}
