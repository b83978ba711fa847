//! Every tunnel, and its pieces, as Wireshark reads them.

use std::io::Write;
use std::process::Command;

use lb_l4::method::tunnel::{UdpChecksum, cut, encapsulate};
use lb_l4::packet::Link;

use super::setup::{V4, V6, buffer, datagram, dont_fragment, headers, packet, segment, tunnels};

#[test]
#[expect(
    clippy::print_stderr,
    reason = "whoever runs it learns that it did not"
)]
fn wireshark_finds_no_fault_in_any() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: there is no tshark");
        return;
    }
    let mut packets = Vec::new();
    for tunnel in tunnels() {
        let tunnel = tunnel.udp_checksum(UdpChecksum::Computed);
        for ends in [V4, V6] {
            for inner in [segment(ends, b"GET /"), datagram(ends, b"odd")] {
                let mut buffer = buffer(&inner);
                let mut packet = packet(&mut buffer, Link::Ip);
                let mut read = headers(packet.bytes(), Link::Ip);
                encapsulate(&mut packet, &mut read, &tunnel, 0xdead_beef).unwrap();
                packets.push(packet.bytes().to_vec());
            }
            let mut long = datagram(ends, &[7; 1_200]);
            if ends == V4 {
                dont_fragment(&mut long, false);
            }
            let mut buffer = buffer(&long);
            let packet = packet(&mut buffer, Link::Ip);
            let read = headers(packet.bytes(), Link::Ip);
            let keep = |piece: &[u8]| packets.push(piece.to_vec());
            cut::encapsulate(&packet, &read, &tunnel, 5, 600, keep).unwrap();
        }
    }
    let report = tshark(&packets);
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), packets.len());
    for line in &lines {
        let (found, faults) = line.split_once('\t').unwrap();
        // What it says of the connection, and not of the packet: all segments here are alike.
        let fault = |it: &&str| !it.contains("Zero Window") && !it.contains("retransmission");
        let fault = faults.trim().split(',').find(fault);
        assert!(fault.is_none_or(str::is_empty), "{line}");
        assert!(found.starts_with("raw:ip"), "{line}");
    }
    // It looks into IPIP and GRE, and puts together what was cut inside and outside.
    let count = |what: &str| lines.iter().filter(|it| it.contains(what)).count();
    assert_eq!(count("tcp"), 8, "{report}");
    assert_eq!(count("ipv6.fraghdr:ipv6:udp"), 1, "{report}");
    assert_eq!(count("ipv6.fraghdr:gre:ipv6:udp"), 1, "{report}");
    assert_eq!(count("gre:ip:udp"), 4, "{report}");
}

/// What tshark calls the protocols of each packet, and what it finds wrong.
fn tshark(packets: &[Vec<u8>]) -> String {
    let path = std::env::temp_dir().join(format!("lb-l4-tunnels-{}.pcap", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    // Little endian, version 2.4, packets that begin with an IP header.
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101];
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect::<Vec<_>>()
    };
    file.write_all(&words(&header)).unwrap();
    for packet in packets {
        let len = u32::try_from(packet.len()).unwrap();
        file.write_all(&words(&[0, 0, len, len])).unwrap();
        file.write_all(packet).unwrap();
    }
    let checks = ["ip", "udp", "tcp"].map(|it| format!("{it}.check_checksum:TRUE"));
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(checks.iter().flat_map(|it| ["-o", it]))
        .args([
            "-T",
            "fields",
            "-e",
            "frame.protocols",
            "-e",
            "_ws.malformed",
        ])
        .args(["-e", "_ws.expert.message"])
        .output()
        .unwrap();
    std::fs::remove_file(path).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
