//! The client's address in a TCP option.

use super::*;

fn untold<const N: u64>(world: &mut World) {
    assert_eq!(world.forwarder.stats().untold, N);
}

const ROWS: &[Row] = &[
    Row {
        says: "a backend is told in the SYN and in what follows, until it has acknowledged data",
        world: toa,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 mss=1460 ws=7",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000 mac=07"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 mss=1460",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA mss=1452"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 PA seq=501 ack=101 len=10",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 PA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=511 len=1452",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=511 ack=1553",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1553 ack=511 len=5",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA"),
            ),
            Do(untold::<0>),
        ],
    },
    Row {
        says: "IPv6 has an option of its own, of 20 bytes",
        world: toa,
        steps: &[
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S seq=100 mss=1440",
                Goes(
                    "tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 S toa=[2001:db8:2::1]:40000",
                ),
            ),
            In(
                "tcp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 SA seq=5 ack=101 mss=1440",
                Goes("tcp [2001:db8::10]:80 > [2001:db8:2::1]:40000 SA mss=1420"),
            ),
        ],
    },
    Row {
        says: "a segment that has no room for the option goes without, and is counted",
        world: toa,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=1453",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
            ),
            Do(untold::<1>),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1554 ack=501 len=1452",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A toa=192.0.2.1:40000"),
            ),
            Do(untold::<1>),
        ],
    },
    Row {
        says: "a RST tells nothing, and a datagram has no options",
        world: toa,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=7",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
            ),
            Do(untold::<0>),
        ],
    },
    Row {
        says: "who begins anew between the same ends is told of anew",
        world: toa,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=9",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 RA seq=501 ack=110",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=900",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "what a client forges is taken out, and ours is put in",
        world: toa,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 toa=10.9.9.9:1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=1 toa=[2001:db8::9]:1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A toa=192.0.2.1:40000"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=102 ack=501 len=1 toa=10.9.9.9:1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
            ),
        ],
    },
    Row {
        says: "forged options are taken out where backends are told nothing, too",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 mss=1460 toa=10.9.9.9:1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 mss=1460",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA mss=1460"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 toa=[2001:db8::9]:1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
            ),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}
