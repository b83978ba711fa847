//! Attacks by frames that are each legal, which end by GOAWAY(ENHANCE_YOUR_CALM), and a client that
//! sends as many frames for good reason, which is served.

use harness::wait;
use lb_l7::h2_guard::H2Limits;
use lb_l7::upstream::BackendProtocol;

use crate::client::{Event, Peer, Place};
use crate::fields::{Coding, Indexing};
use crate::fields::{block, get, indexed, new_name, post, request_with};
use crate::frames::{
    code, continuation, data, dependency, flag, frame, headers, kind, ping, priority, reset,
    settings, window_update,
};
use crate::server::{Server, proxied};

const CALM: u32 = 11;

/// More than any limit with what pays for it.
const MANY: u32 = 2000;

/// What an attacker sends for the `n`th time.
type Attack = fn(&Peer, u32) -> Vec<u8>;

#[test]
fn every_flood_ends_by_enhance_your_calm_and_others_are_served() {
    let server = Server::guarded(H2Limits::default());
    every_flood(&server.place());
}

#[test]
fn every_flood_of_the_proxy_ends_by_enhance_your_calm_and_others_are_served() {
    for tls in [false, true] {
        let (proxy, _server, place) = proxied(BackendProtocol::Http1, tls);
        every_flood(&place);
        let mut told = Vec::new();
        let all = wait::until(wait::PATIENCE, || {
            told = proxy.endings();
            told.contains(&("client-flood-detected-in-keep-alive", 12))
                .then_some(())
        });
        assert!(all.is_some(), "{told:?}");
    }
}

fn every_flood(place: &Place) {
    let attacks: [(&str, Attack); 12] = [
        ("rapid reset", rapid_reset),
        ("made you reset, by a length", length_that_lies),
        ("made you reset, by a window", window_that_overflows),
        ("ping", |_, n| ping(u64::from(n).to_be_bytes())),
        ("settings", |_, _| settings(&[(3, 100)])),
        ("priority", |_, n| {
            priority(2 * n + 1, &dependency(0, false, 1))
        }),
        ("window update", |_, _| window_update(0, 1)),
        ("empty data", empty_data),
        ("continuation", endless_block),
        ("empty fragments", empty_fragments),
        ("unknown frames", |_, _| frame(kind::UNKNOWN, 0, 0, b"?")),
        ("bomb of cookie crumbs", bomb),
    ];
    for (name, attack) in attacks {
        let sent = attacked(place, attack);
        let sent = sent.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(sent < MANY, "{name}");
        let mut polite = Peer::open(place).expect("a handshake");
        let request = get(&polite);
        polite.send(&headers(flag::WHOLE, 1, &request));
        polite.answered(1).expect(name);
    }
}

/// After how many of them the connection ended by ENHANCE_YOUR_CALM.
fn attacked(place: &Place, attack: Attack) -> Result<u32, String> {
    let mut peer = Peer::open(place)?;
    for n in 0..MANY {
        let bytes = attack(&peer, n);
        peer.send(&bytes);
        // Every now and then see whether it has ended, so that its GOAWAY is read in time.
        if n % 16 == 15 && peer.alive().is_err() {
            return calmed(&peer).map(|()| n);
        }
    }
    Err("it goes on".into())
}

fn calmed(peer: &Peer) -> Result<(), String> {
    match peer.goaway {
        Some(CALM) => Ok(()),
        other => Err(format!("it ended by {other:?}")),
    }
}

/// CVE-2023-44487.
fn rapid_reset(peer: &Peer, n: u32) -> Vec<u8> {
    let open = headers(flag::WHOLE, 2 * n + 1, &get(peer));
    [open, reset(2 * n + 1, code::CANCEL)].concat()
}

/// CVE-2025-8671: the server resets what the client broke.
fn length_that_lies(peer: &Peer, n: u32) -> Vec<u8> {
    let request = request_with(peer, "POST", &[("content-length", "1")]);
    let open = headers(flag::END_HEADERS, 2 * n + 1, &request);
    [open, data(flag::END_STREAM, 2 * n + 1, b"more")].concat()
}

/// CVE-2025-8671.
fn window_that_overflows(peer: &Peer, n: u32) -> Vec<u8> {
    let open = headers(flag::END_HEADERS, 2 * n + 1, &post(peer));
    let most = window_update(2 * n + 1, (1 << 31) - 1);
    [&open[..], &most].concat()
}

fn empty_data(peer: &Peer, n: u32) -> Vec<u8> {
    if n == 0 {
        return headers(flag::END_HEADERS, 1, &post(peer));
    }
    data(flag::NONE, 1, b"")
}

/// CVE-2024-27316. No PING may come within a block, so that all is sent at once.
fn endless_block(peer: &Peer, n: u32) -> Vec<u8> {
    let mut bytes = headers(flag::END_STREAM, 2 * n + 1, &get(peer));
    for _ in 0..100 {
        bytes.extend(continuation(flag::NONE, 2 * n + 1, &block(&[("x", "y")])));
    }
    bytes
}

fn empty_fragments(peer: &Peer, n: u32) -> Vec<u8> {
    let empty = headers(flag::END_STREAM, 2 * n + 1, b"");
    [
        empty,
        continuation(flag::END_HEADERS, 2 * n + 1, &get(peer)),
    ]
    .concat()
}

/// CVE-2026-49975: one entry of the table, named by one byte thousands of times.
fn bomb(peer: &Peer, n: u32) -> Vec<u8> {
    let crumb = "x".repeat(1000);
    let mut request = get(peer);
    request.extend(new_name(
        Indexing::Incremental,
        Coding::Plain,
        "cookie",
        &crumb,
    ));
    request.extend(indexed(62).repeat(10_000));
    headers(flag::WHOLE, 2 * n + 1, &request)
}

#[test]
fn a_client_that_measures_its_path_and_reads_in_small_bites_is_served() {
    let server = Server::guarded(H2Limits::default());
    let (_proxy, _backend, proxied) = proxied(BackendProtocol::Http1, false);
    for place in [server.place(), proxied] {
        measure_and_bite(&place);
    }
}

fn measure_and_bite(place: &Place) {
    let mut peer = Peer::open(place).expect("a handshake");
    let request = get(&peer);
    for n in 0..3000 {
        let stream = 2 * n + 1;
        let bytes = [
            headers(flag::WHOLE, stream, &request),
            window_update(0, 8),
            window_update(stream, 8),
            window_update(0, 8),
        ];
        peer.send(&bytes.concat());
        peer.ended(stream).expect("an answer");
        peer.alive().expect("a PING is answered");
    }
    assert!(peer.goaway.is_none());
    peer.send(&frame(kind::GOAWAY, 0, 0, &[0; 8]));
    while let Event::Frame(_) = peer.next() {}
}

#[test]
fn a_window_full_of_small_messages_at_once_is_taken() {
    let server = Server::guarded(H2Limits::default());
    let (_proxy, _backend, proxied) = proxied(BackendProtocol::Http1, false);
    for place in [server.place(), proxied] {
        send_small_messages(&place);
    }
}

fn send_small_messages(place: &Place) {
    let mut peer = Peer::open(place).expect("a handshake");
    let request = post(&peer);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    // As a client of gRPC streams messages of eleven bytes, each in a frame of its own.
    let messages = data(flag::NONE, 1, &[0; 16]).repeat(4000);
    peer.send(&messages);
    peer.send(&data(flag::END_STREAM, 1, b""));
    peer.ended(1).expect("an answer");
}
