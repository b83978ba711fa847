//! The SYN proxy in front of FULLNAT: handshakes answered here, and backends told of clients.

use std::time::Duration;

use lb_l4::packet::Verdict;
use lb_l4::syn_proxy::{Cookies, SynProxyConfig, SynProxyMode};

use super::*;
use crate::raw::{headers, line, unframed};

fn proxied(client_address: ClientAddress) -> World {
    let always = SynProxyConfig::default().mode(SynProxyMode::Always);
    let cookies = Cookies::new(HashKey::new([3; 16]), Duration::from_secs(1_800_000_000));
    let tcp = |it: VirtualService<_>| {
        if it.name.starts_with("web") {
            it.syn_proxy(always)
        } else {
            it
        }
    };
    world_with(EACH, client_address, |it| it.syn_cookies(cookies), tcp)
}

/// A line of the client's to the service, or of the service's to the client.
fn client(text: String) -> &'static str {
    format!("tcp 192.0.2.1:40000 > 203.0.113.10:80 {text}").leak()
}

fn back(text: String) -> &'static str {
    format!("tcp 203.0.113.10:80 > 192.0.2.1:40000 {text}").leak()
}

/// What the SYN proxy answers a SYN with, by which the client's next segment is known.
fn cookie(world: &mut World) -> u32 {
    let syn = line("tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 mss=1460");
    let (verdict, frame) = world.shown(&syn);
    assert_eq!(verdict, Verdict::Reply);
    headers(&unframed(&frame).0).tcp().unwrap().sequence
}

#[test]
fn the_header_is_put_between_numbers_that_differ_anyway() {
    let mut world = proxied(ClientAddress::ProxyProtocol);
    let ack = cookie(&mut world).wrapping_add(1);
    for step in [
        In(
            client(format!("A seq=101 ack={ack} win=500")),
            Becomes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S seq=100 win=500 mss=1460 ttl=63"),
        ),
        In(
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 win=20000 mss=1460",
            Becomes(back(format!("A seq={ack} ack=101 win=20000 ttl=63"))),
        ),
        Sends(
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101 ack=501 win=500 len=28 ttl=63 \
             proxy=192.0.2.1:40000,203.0.113.10:80",
        ),
        Silent,
        In(
            client(format!("PA seq=101 ack={ack} len=7")),
            Goes(
                "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=101 ack=501 len=35 \
                 proxy=192.0.2.1:40000,203.0.113.10:80",
            ),
        ),
        In(
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=136 len=3",
            Goes(back(format!("A seq={ack} ack=108"))),
        ),
        In(
            client(format!("A seq=108 ack={} len=2", ack.wrapping_add(3))),
            Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=136 ack=504"),
        ),
    ] {
        world.step(&step, "proxied");
    }
    let now = world.now;
    assert!(world.forwarder.take_changes(now).next().is_none());
}

#[test]
fn the_option_is_in_the_syn_however_often_it_is_sent() {
    let mut world = proxied(ClientAddress::Toa);
    let ack = cookie(&mut world).wrapping_add(1);
    let syn = "tcp 10.0.0.100:5000 > 10.0.0.7:8080 S seq=100 win=500 mss=1460 \
               toa=192.0.2.1:40000";
    for step in [
        In(
            client("S seq=100 mss=1460".to_owned()),
            Replies(back(format!(
                "SA seq={} ack=101 win=14600 mss=1452",
                ack.wrapping_sub(1)
            ))),
        ),
        In(
            client(format!("A seq=101 ack={ack} win=500")),
            Becomes(format!("{syn} ttl=63").leak()),
        ),
        Wait(2),
        Sends(format!("{syn} ttl=63 mac=07").leak()),
        In(
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 win=20000 mss=1460",
            Becomes(back(format!("A seq={ack} ack=101 win=20000 ttl=63"))),
        ),
        Sends(
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101 ack=501 win=500 ttl=63 \
             toa=192.0.2.1:40000",
        ),
        In(
            client(format!("PA seq=101 ack={ack} len=7")),
            Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=101 ack=501 toa=192.0.2.1:40000"),
        ),
        In(
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=108 len=3",
            Goes(back(format!("A seq={ack} ack=108"))),
        ),
        In(
            client(format!("A seq=108 ack={} len=2", ack.wrapping_add(3))),
            Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=108 ack=504"),
        ),
    ] {
        world.step(&step, "proxied");
    }
}
