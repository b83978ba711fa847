//! A flood of SYNs from addresses that nobody has, while somebody asks for a file.

use std::time::Duration;

use harness::lan::VIP;
use harness::process::Launch;

use crate::checks::Family;
use crate::rig::{Extra, Rig, WEB};
use crate::setting::{Method, Setting, Transport};

/// Packets of a flood, 50 µs apart.
const FLOOD: u32 = 20_000;

/// How many of them reach `clb` at least: addresses that cannot be a source are stopped on the way,
/// and a busy host loses some.
const FELT: f64 = 5_000.0;

/// How long a flood may take on a host that is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends the flood, asks for files until it is over, and gives the most sessions that were under way.
fn flood(rig: &Rig) -> f64 {
    let mut hping = Launch::new("hping3")
        .args(["--quiet", "--numeric", "--syn", "--rand-source"])
        .args(["--interval", "u50", "--count", &FLOOD.to_string()])
        .args(["--destport", &WEB.to_string(), VIP])
        .within(&rig.lan.client)
        .start();
    let mut most: f64 = 0.0;
    let mut files = 0;
    while hping.is_running() {
        rig.a_web_server_answers(Family::V4);
        rig.a_large_file_arrives_whole(Family::V4);
        files += 1;
        most = most.max(rig.sessions());
    }
    // It says that it failed, for nobody has answered it.
    let _ = hping.wait(LIMIT);
    let said = hping.log();
    let sent = format!("{FLOOD} packets transmitted");
    assert!(said.contains(&sent) && files > 0, "{files} files: {said}");
    most.max(rig.sessions())
}

fn rig(method: Method, listener: &'static str) -> Option<Rig> {
    let extra = Extra {
        listener,
        ..Extra::default()
    };
    let rig = Rig::with(Setting::new(method, Transport::AfPacket), &extra)?;
    rig.a_web_server_answers(Family::V4);
    Some(rig)
}

fn leaves_no_trace(method: Method, listener: &'static str) {
    let Some(rig) = rig(method, listener) else {
        return;
    };
    let most = flood(&rig);
    assert!(most < FELT / 5.0, "{most} sessions");
    let answered = [("event", "answered")];
    let name = "clb_packet_syn_proxy_total";
    let answered = rig.clb.metrics().sum(name, &answered);
    assert!(answered > FELT, "{answered} answered");
    rig.the_least_works();
}

#[test]
fn by_nat_a_flood_leaves_no_trace_behind_the_syn_proxy() {
    leaves_no_trace(Method::Nat, "syn_proxy = \"always\"");
}

#[test]
fn by_fullnat_a_flood_leaves_no_trace_behind_the_syn_proxy() {
    leaves_no_trace(Method::FullNat, "syn_proxy = \"always\"");
}

#[test]
fn above_a_rate_a_flood_leaves_no_trace_either() {
    leaves_no_trace(Method::Nat, "syn_proxy = { above = 100 }");
}

/// The judge is awake: the same flood is felt where there is no proxy.
#[test]
fn without_the_syn_proxy_each_packet_of_a_flood_takes_a_session() {
    let Some(rig) = rig(Method::Nat, "") else {
        return;
    };
    let most = flood(&rig);
    assert!(most > FELT, "{most} sessions");
}
