//! Which packets pass a tunnel.

use lb_l4::method::tunnel::{Encapsulation, Fit, overhead};
use lb_l4::packet::Link;

use super::setup::{KINDS, OUTER, V4, V6, datagram, dont_fragment, headers, ip, tunnel};

#[test]
fn each_tunnel_adds_its_headers() {
    let all = KINDS.map(|kind| OUTER.map(|(_, to)| overhead(kind, ip(to))));
    assert_eq!(all, [[20, 40], [24, 44], [32, 52]]);
}

fn fit(length: usize, ends: (&str, &str), outer: usize, mtu: usize) -> Fit {
    let header = if ends == V4 { 28 } else { 48 };
    let mut bytes = datagram(ends, &vec![0; length - header]);
    if ends == V4 {
        dont_fragment(&mut bytes, true);
    }
    let headers = headers(&bytes, Link::Ip);
    tunnel(Encapsulation::Ipip, OUTER[outer]).fit(&headers, mtu)
}

#[test]
fn what_may_not_be_cut_is_told_the_size_that_passes() {
    assert_eq!(fit(1480, V4, 0, 1500), Fit::Whole);
    assert_eq!(fit(1481, V4, 0, 1500), Fit::TooBig { mtu: 1480 });
    assert_eq!(fit(1461, V4, 1, 1500), Fit::TooBig { mtu: 1460 });
    assert_eq!(fit(1460, V6, 1, 1500), Fit::Whole);
    assert_eq!(fit(1461, V6, 1, 1500), Fit::TooBig { mtu: 1460 });
    assert_eq!(fit(1481, V6, 0, 1500), Fit::TooBig { mtu: 1480 });
    assert_eq!(fit(100, V4, 1, 20), Fit::TooBig { mtu: 0 });
}

#[test]
fn what_may_be_cut_is() {
    let mut bytes = datagram(V4, &[0; 1453]);
    dont_fragment(&mut bytes, false);
    let headers = headers(&bytes, Link::Ip);
    let ipip = tunnel(Encapsulation::Ipip, OUTER[0]);
    assert_eq!(ipip.fit(&headers, 1501), Fit::Whole);
    assert_eq!(ipip.fit(&headers, 1500), Fit::Pieces);
}

#[test]
fn an_ipv6_sender_is_never_told_less_than_1280() {
    assert_eq!(fit(1281, V6, 1, 1300), Fit::TooBig { mtu: 1280 });
    assert_eq!(fit(1281, V6, 1, 1320), Fit::TooBig { mtu: 1280 });
    assert_eq!(fit(1282, V6, 1, 1321), Fit::TooBig { mtu: 1281 });
    assert_eq!(fit(1280, V6, 1, 1319), Fit::Pieces);
    assert_eq!(fit(1280, V6, 1, 1320), Fit::Whole);
}
