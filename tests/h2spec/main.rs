//! HTTP/2 as RFC 9113 and RFC 7541 have it: 148 rules, each shown to a server by raw frames.
//!
//! The rules are those that h2spec 2.6 lists, 146 and one of `--strict`, under its numbers, in words
//! and code of our own; one is added. They are judged more strictly: [`Kept::Exactly`] wants the
//! error code that the RFC names, where h2spec is content with any end of the connection. Where an
//! RFC permits more than one answer, so does the case.

use std::collections::BTreeSet;
use std::fmt::Write;

use harness::process::Launch;
use harness::procfs::Protocol;
use harness::{host, peer, wait};
use lb_l7::h2_guard::H2Limits;
use lb_l7::upstream::BackendProtocol;

mod client;
mod definitions;
mod fields;
mod floods;
mod frames;
mod generic;
mod hpack;
mod messages;
mod server;
mod streams;

use client::{Kept, Peer, Place, Verdict};
use server::{Server, proxied};

/// One rule: h2spec's number, ours in words, and how it is shown.
pub(crate) struct Case {
    number: &'static str,
    rule: &'static str,
    run: fn(&mut Peer) -> Verdict,
}

/// A table of rules by the functions that show them.
macro_rules! cases {
    ($($number:literal => $rule:ident,)*) => {
        pub(crate) const CASES: &[$crate::Case] = &[
            $($crate::Case { number: $number, rule: stringify!($rule), run: $rule }),*
        ];
    };
}
pub(crate) use cases;

fn all() -> impl Iterator<Item = &'static Case> {
    [
        generic::CASES,
        streams::CASES,
        definitions::CASES,
        messages::CASES,
        hpack::CASES,
    ]
    .into_iter()
    .flatten()
}

/// What became of every rule at that address, and what to print of those not kept exactly.
struct Tally {
    /// The numbers of the rules kept only by closing.
    by_closing: BTreeSet<&'static str>,
    /// The numbers of the rules broken.
    broken: BTreeSet<&'static str>,
    report: String,
}

fn judge(place: &Place) -> Tally {
    let mut tally = Tally {
        by_closing: BTreeSet::new(),
        broken: BTreeSet::new(),
        report: String::new(),
    };
    for case in all() {
        let verdict = Peer::open(place).and_then(|mut peer| (case.run)(&mut peer));
        let told = match verdict {
            Ok(Kept::Exactly) => continue,
            Ok(Kept::Vacuously) => "does not apply".to_owned(),
            Ok(Kept::ByClosing(last)) => {
                tally.by_closing.insert(case.number);
                format!("closed after {last:?}")
            }
            Err(why) => {
                tally.broken.insert(case.number);
                format!("BROKEN: {why}")
            }
        };
        writeln!(tally.report, "{} {}: {told}", case.number, case.rule).expect("a string");
    }
    tally
}

/// The rules of RFC 7541 and 4.3 that the `h2` crate keeps by GOAWAY(PROTOCOL_ERROR) where
/// COMPRESSION_ERROR is due: only a second decoder before it could know.
const UNDECODABLE: [&str; 9] = [
    "http2/4.3/1",
    "hpack/2.3.3/1",
    "hpack/2.3.3/2",
    "hpack/4.2/1",
    "hpack/5.2/1",
    "hpack/5.2/2",
    "hpack/5.2/3",
    "hpack/6.1/1",
    "hpack/6.3/1",
];

/// The rules that the `h2` crate alone keeps by GOAWAY(PROTOCOL_ERROR) where another code is due.
const MENDED: [&str; 12] = [
    "http2/5.1/5",
    "http2/5.1/6",
    "http2/5.1/9",
    "http2/6.1/2",
    "http2/6.3/2",
    "http2/6.4/3",
    "http2/6.5/1",
    "http2/6.5/3",
    "http2/6.5.2/2",
    "http2/6.7/4",
    "http2/6.9/3",
    "http2/6.9.2/3",
];

/// The rule that the `h2` crate does not keep: it drops the field, and the rest is served. Nobody
/// behind it ever sees such a field. HAProxy 2.6 answers by INTERNAL_ERROR.
const UNKEPT: [&str; 1] = ["http2/8.1.2.1/5"];

#[test]
fn there_are_148_rules_of_as_many_numbers() {
    let numbers: BTreeSet<_> = all().map(|case| case.number).collect();
    assert_eq!(numbers.len(), 148);
    assert_eq!(all().count(), 148);
}

#[test]
fn haproxy_keeps_what_h2spec_lists() {
    let (front, back) = (host::free_address(), Server::bare());
    let _haproxy = peer::haproxy(&format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         listen f\n bind {front} proto h2\n server a {} proto h2\n",
        back.address()
    ))
    .serving(Protocol::Tcp, front)
    .start();
    let tally = judge(&front.into());
    assert_eq!(tally.broken, UNKEPT.into(), "{}", tally.report);
}

#[test]
fn the_h2_crate_alone_answers_some_by_the_wrong_code() {
    let tally = judge(&Server::bare().place());
    assert_eq!(tally.broken, UNKEPT.into(), "{}", tally.report);
    let wrong: BTreeSet<_> = UNDECODABLE.into_iter().chain(MENDED).collect();
    assert_eq!(tally.by_closing, wrong, "{}", tally.report);
}

#[test]
fn behind_the_guard_all_that_can_be_decoded_is_answered_by_the_right_code() {
    let tally = judge(&Server::guarded(H2Limits::default()).place());
    assert_eq!(tally.broken, UNKEPT.into(), "{}", tally.report);
    assert_eq!(tally.by_closing, UNDECODABLE.into(), "{}", tally.report);
}

#[test]
fn the_proxy_answers_all_that_can_be_decoded_by_the_right_code() {
    for (protocol, tls) in [
        (BackendProtocol::Http1, false),
        (BackendProtocol::Http1, true),
        (BackendProtocol::Http2, false),
        (BackendProtocol::Http2, true),
    ] {
        let (_proxy, _server, place) = proxied(protocol, tls);
        let tally = judge(&place);
        let way = format!("to {protocol:?}, TLS {tls}: {}", tally.report);
        assert_eq!(tally.broken, UNKEPT.into(), "{way}");
        assert_eq!(tally.by_closing, UNDECODABLE.into(), "{way}");
    }
}

#[test]
#[ignore = "needs h2load, of the Debian package nghttp2-client"]
fn a_load_of_many_streams_passes_the_guard() {
    let server = Server::guarded(H2Limits::default());
    let url = format!("http://{}/", server.address());
    let args = ["-n", "100000", "-c", "4", "-m", "100", "-w", "16", &url];
    let mut load = Launch::new("h2load").args(args).start();
    assert!(load.wait(wait::PATIENCE * 12).success());
    let log = load.log();
    let all = "requests: 100000 total, 100000 started, 100000 done, 100000 succeeded";
    assert!(log.contains(all), "{log}");
}

#[test]
#[ignore = "needs h2spec, which Debian does not have"]
fn h2spec_itself_finds_no_fault_behind_the_guard() {
    let server = Server::guarded(H2Limits::default());
    let port = server.address().port().to_string();
    let args = ["-h", "127.0.0.1", "-p", &port, "--strict"];
    let mut judge = Launch::new("h2spec").args(args).start();
    let status = judge.wait(wait::PATIENCE * 12);
    assert!(status.success(), "{}", judge.log());
}
