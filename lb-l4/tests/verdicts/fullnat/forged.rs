//! What a client sends in the place of the header that tells who it is.

use lb_l4::packet::DropReason;

use super::{OPEN, proxy};
use crate::harness::*;

fn row(says: &'static str, steps: impl IntoIterator<Item = Step>) -> Row {
    let steps: Vec<Step> = OPEN.into_iter().chain(steps).collect();
    Row {
        says,
        world: proxy,
        steps: steps.leak(),
    }
}

/// The client's first segment, which brings the header.
const TOLD: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=10",
    Goes(
        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA seq=101 len=38 \
         proxy=192.0.2.1:40000,203.0.113.10:80 mac=07",
    ),
);

#[test]
fn nothing_of_a_client_stands_where_the_header_belongs() {
    run(&[
        row(
            "what begins before the client's first byte, as long as the header, is not let through",
            [
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=73 ack=501 len=60",
                    Drops(DropReason::OutsideWindow),
                ),
                TOLD,
            ],
        ),
        row(
            "nor a single byte, nor a FIN",
            [
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=100 ack=501 len=1",
                    Drops(DropReason::OutsideWindow),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=100 ack=501",
                    Drops(DropReason::OutsideWindow),
                ),
                TOLD,
            ],
        ),
        row(
            "a probe that brings nothing passes",
            [In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=100 ack=501",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=128 mac=07"),
            )],
        ),
        row(
            "data that acknowledges nothing is not let through unshifted",
            [
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 P seq=101 len=28",
                    Drops(DropReason::OutsideWindow),
                ),
                TOLD,
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 P seq=101 len=28",
                    Drops(DropReason::OutsideWindow),
                ),
            ],
        ),
        row(
            "once the backend has acknowledged the header, an old byte is only old",
            [
                TOLD,
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=139",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=111 mac=fe"),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=100 ack=501 len=1",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=128 mac=07"),
                ),
            ],
        ),
    ]);
    run(&[Row {
        says: "a SYN brings no data, and comes again without",
        world: proxy,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 len=28",
                Drops(DropReason::NoRoom),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S mac=07"),
            ),
        ],
    }]);
}
