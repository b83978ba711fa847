//! The client's address in a header of the PROXY protocol.

use lb_l4::packet::{Checksum, DropReason, InterfaceId, Verdict};
use lb_l4::wire::emit::TcpSegment;
use lb_l4::wire::tcp::flags;

use super::*;
use crate::raw::{headers, unframed};

/// As [`OPEN`](super::OPEN), and the acknowledgement that carries the header.
const OPENED: [Step; 3] = [
    In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 mss=1460",
        Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S mac=07"),
    ),
    In(
        "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 mss=1460",
        Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
    ),
    In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
        Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A len=28 proxy=192.0.2.1:40000,203.0.113.10:80"),
    ),
];

fn opened(says: &'static str, then: impl IntoIterator<Item = Step>) -> Row {
    let steps: Vec<Step> = OPENED.into_iter().chain(then).collect();
    Row {
        says,
        world: proxy,
        steps: steps.leak(),
    }
}

#[test]
fn connections() {
    run(&[
        opened(
            "the header goes with the client's first word, and numbers are shifted from then on",
            [
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=129",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=101"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=1460",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=129"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 PA seq=501 ack=1589 len=6",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 PA ack=1561"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=1561 ack=507",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 FA seq=1589"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 FA seq=507 ack=1590",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA ack=1562"),
                ),
            ],
        ),
        opened(
            "what begins at the first byte brings the header until the backend has it",
            [
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=50",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA len=78 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=151 ack=501 len=50",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=179"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=101",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=101"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=50",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA len=78 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=128",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=101"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=5",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA len=33 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=129",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=101"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=5",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=129"),
                ),
            ],
        ),
        opened(
            "where the header has no room it goes in a segment of its own",
            [
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 win=77 mss=9 len=1433",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=129"),
                ),
                Sends(
                    "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101 ack=501 win=77 mss=9 len=28 \
                     proxy=192.0.2.1:40000,203.0.113.10:80 mac=07",
                ),
                Do(|world| assert_eq!(world.forwarder.stats().transmitted, 1)),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=1432",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA len=1460 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                Silent,
            ],
        ),
        opened(
            "a header of the client's own is data behind ours",
            [In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=40 \
                 proxy=10.9.9.9:1,203.0.113.10:80",
                Goes(
                    "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA len=68 \
                     proxy=192.0.2.1:40000,203.0.113.10:80",
                ),
            )],
        ),
        opened(
            "a RST of the client's has the backend's numbers, and brings nothing",
            [In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R seq=129"),
            )],
        ),
        opened(
            "who expires is reset with the number that he expects",
            [
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=129",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=101"),
                ),
                Wait(1_000),
                Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
                Sends("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R seq=129 mac=07"),
            ],
        ),
        opened(
            "a backend that has not acknowledged the header expects that when it is reset",
            [
                Wait(1_000),
                Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
                Sends("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R seq=101 mac=07"),
            ],
        ),
    ]);
}

#[test]
fn beginnings() {
    run(&[
        Row {
            says: "a client that gives up at once resets with numbers as they are",
            world: proxy,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R"),
                ),
            ],
        },
        Row {
            says: "a SYN brings no data, which would be read before the header",
            world: proxy,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 len=1",
                    Drops(DropReason::NoRoom),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
                ),
            ],
        },
        Row {
            says: "nothing of a client's is believed before its backend has answered",
            world: proxy,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=5",
                    Drops(DropReason::OutsideWindow),
                ),
            ],
        },
        Row {
            says: "data that overtakes the first byte is shifted, and brings no header",
            world: proxy,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=201 ack=501 len=5",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=229"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 FA len=28 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
            ],
        },
        Row {
            says: "who begins anew between the same ends is told of anew, in new numbers",
            world: proxy,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A len=28 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 RA seq=501 ack=129",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA ack=101"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=900",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S seq=900"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=50 ack=901",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA ack=901"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=901 ack=51",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A len=28 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
            ],
        },
        Row {
            says: "over IPv6 the header has 52 bytes",
            world: proxy,
            steps: &[
                In(
                    "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S seq=100",
                    Goes("tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 S"),
                ),
                In(
                    "tcp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 SA seq=5 ack=101",
                    Goes("tcp [2001:db8::10]:80 > [2001:db8:2::1]:40000 SA"),
                ),
                In(
                    "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 PA seq=101 ack=6 len=3",
                    Goes(
                        "tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 PA len=55 \
                         proxy=[2001:db8:2::1]:40000,[2001:db8::10]:80",
                    ),
                ),
                In(
                    "tcp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 A seq=6 ack=156",
                    Goes("tcp [2001:db8::10]:80 > [2001:db8:2::1]:40000 A ack=104"),
                ),
                In(
                    "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 PA seq=104 ack=6 len=3",
                    Goes("tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 PA seq=156"),
                ),
            ],
        },
    ]);
}

#[test]
fn datagrams() {
    run(&[
        Row {
            says: "the first datagram of a session brings the header, and the others do not",
            world: proxy,
            steps: &[
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
                    Goes(
                        "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=61 \
                         proxy=192.0.2.1:40000,203.0.113.10:53",
                    ),
                ),
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
                    Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
                ),
                In(
                    "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=33",
                    Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
                ),
                Wait(400),
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                    Goes(
                        "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=29 \
                         proxy=192.0.2.1:40000,203.0.113.10:53",
                    ),
                ),
            ],
        },
        Row {
            says: "of IPv6, too",
            world: proxy,
            steps: &[In(
                "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=9",
                Goes(
                    "udp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 len=61 \
                     proxy=[2001:db8:2::1]:40000,[2001:db8::10]:53",
                ),
            )],
        },
        Row {
            says: "no datagram goes before the header, and one that has no room for it is dropped",
            world: proxy,
            steps: &[
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1445",
                    Drops(DropReason::NoRoom),
                ),
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1444",
                    Goes(
                        "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=1472 \
                         proxy=192.0.2.1:40000,203.0.113.10:53",
                    ),
                ),
                In(
                    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1472",
                    Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
                ),
            ],
        },
    ]);
}

#[test]
fn a_backend_is_offered_no_data_in_a_syn_where_a_header_comes_first() {
    const FAST_OPEN: u8 = 34;
    for (told, kept) in [
        (ClientAddress::None, true),
        (ClientAddress::ProxyProtocol, false),
    ] {
        let mut world = world_with(EACH, told, |it| it, |it| it);
        let mut syn = Vec::new();
        let [client, service] = ["192.0.2.1:40000", "203.0.113.10:80"];
        TcpSegment::new(
            client.parse().unwrap(),
            service.parse().unwrap(),
            flags::SYN,
        )
        .options(&[FAST_OPEN, 2, 1, 1])
        .emit(&mut syn);
        let (verdict, frame) = world.shown(&syn);
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
        let (sent, _) = unframed(&frame);
        assert!(headers(&sent).checksum_is_right(&sent, Checksum::Complete));
        assert_eq!(sent[40] == FAST_OPEN, kept, "{told:?}");
    }
}
