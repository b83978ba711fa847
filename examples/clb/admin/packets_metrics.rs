//! What becomes of packets that are forwarded, in the names that Prometheus expects.

use std::collections::BTreeMap;

use super::packets::{PacketWorker, Packets};
use super::page::{Figure, Kind, Page};
use super::snapshot::Listener;

/// The families of forwarded packets.
pub(super) fn render(page: &mut Page, packets: &Packets, listeners: &[Listener]) {
    let about = [
        ("interface", packets.interface.as_str()),
        ("transport", packets.transport),
        ("mode", packets.mode),
    ];
    let help = "By what packets are forwarded.";
    let one = [(about, Figure::Count(1))];
    page.family("clb_packet_info", Kind::Gauge, help, one);
    of_listeners(page, listeners);
    let places: Vec<String> = (0..packets.workers.len()).map(|n| n.to_string()).collect();
    let all = || places.iter().map(String::as_str).zip(&packets.workers);
    for (name, help, figure) in FIGURES {
        let sample = |(place, worker)| ([("worker", place)], Figure::Count(figure(worker)));
        page.family(name, kind(name), help, all().map(sample));
    }
    for (name, label, help, counts) in COUNTS {
        let samples = all().flat_map(|(place, worker)| {
            let row = move |(word, count): (&&'static str, &u64)| {
                ([("worker", place), (label, *word)], Figure::Count(*count))
            };
            counts(worker).iter().map(row)
        });
        page.family(name, kind(name), help, samples);
    }
}

fn of_listeners(page: &mut Page, listeners: &[Listener]) {
    let samples = listeners.iter().filter_map(|listener| {
        let forwarding = listener.forwarding.as_ref()?;
        let rows = [
            ("in", forwarding.packets_in),
            ("out", forwarding.packets_out),
        ];
        let row = |(direction, count)| {
            let labels = [
                ("listener", listener.name.as_str()),
                ("method", forwarding.method),
                ("direction", direction),
            ];
            (labels, Figure::Count(count))
        };
        Some(rows.map(row))
    });
    let help = "Packets forwarded, of clients (in) and of backends (out).";
    let name = "clb_listener_packets_total";
    page.family(name, kind(name), help, samples.flatten());
}

/// As Prometheus names them: what only grows ends in `total`.
fn kind(name: &str) -> Kind {
    match name.ends_with("_total") {
        true => Kind::Counter,
        false => Kind::Gauge,
    }
}

/// A family of one figure a worker: its name, what it is, and which it is.
type OfWorker = (&'static str, &'static str, fn(&PacketWorker) -> u64);

const FIGURES: [OfWorker; 7] = [
    ("clb_packet_sessions", "Sessions under way.", |it| {
        it.sessions
    }),
    (
        "clb_packet_half_open",
        "Handshakes that no backend has answered yet.",
        |it| it.half_open,
    ),
    (
        "clb_packet_originated_total",
        "Packets of the forwarder's own: SYNs, RSTs, errors, held data.",
        |it| it.originated,
    ),
    (
        "clb_packet_received_total",
        "Packets that have come, whoever they are for.",
        |it| it.received,
    ),
    (
        "clb_packet_received_bytes_total",
        "Bytes of packets that have come, with link headers.",
        |it| it.received_bytes,
    ),
    (
        "clb_packet_sent_total",
        "Packets given to the link.",
        |it| it.sent,
    ),
    (
        "clb_packet_sent_bytes_total",
        "Bytes of packets given to the link, with link headers.",
        |it| it.sent_bytes,
    ),
];

/// A family of several figures a worker: its name, what tells them apart, what they are.
type Split = (
    &'static str,
    &'static str,
    &'static str,
    fn(&PacketWorker) -> &BTreeMap<&'static str, u64>,
);

const COUNTS: [Split; 8] = [
    (
        "clb_packet_verdicts_total",
        "verdict",
        "Packets that were not dropped, by what became of them.",
        |it| &it.verdicts,
    ),
    (
        "clb_packet_dropped_total",
        "reason",
        "Packets dropped, or refused with an answer, by reason.",
        |it| &it.dropped,
    ),
    (
        "clb_packet_lost_total",
        "reason",
        "Packets that the link has lost, by reason.",
        |it| &it.lost,
    ),
    (
        "clb_packet_handed_total",
        "direction",
        "Answers handed to the worker that has their session, and taken from others.",
        |it| &it.handed,
    ),
    (
        "clb_packet_answers_total",
        "kind",
        "Answers of the forwarder's own, and packets that got none.",
        |it| &it.answers,
    ),
    (
        "clb_packet_fragmented_total",
        "result",
        "Datagrams that came in fragments, by what became of them.",
        |it| &it.fragments,
    ),
    (
        "clb_packet_local_ports",
        "state",
        "Ports of local addresses that are not free.",
        |it| &it.local_ports,
    ),
    (
        "clb_packet_syn_proxy_total",
        "event",
        "Handshakes that were answered in the place of backends.",
        |it| &it.syn_proxy,
    ),
];

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Forwarding, Snapshot};
    use super::super::{metrics, tests};
    use super::*;

    #[test]
    fn every_figure_of_forwarded_packets_is_in_the_metrics_under_its_name() {
        let count = |word, count| BTreeMap::from([(word, count)]);
        let worker = PacketWorker {
            sessions: 3,
            verdicts: count("forward", 4),
            originated: 5,
            handed: count("taken", 19),
            answers: count("reset", 6),
            fragments: count("completed", 7),
            local_ports: count("taken", 8),
            half_open: 9,
            syn_proxy: count("answered", 10),
            dropped: count("no-session", 11),
            received: 12,
            received_bytes: u64::MAX,
            sent: 14,
            sent_bytes: 15,
            lost: count("kernel", 16),
        };
        let mut snapshot: Snapshot = tests::sample();
        snapshot.listeners[0].forwarding = Some(Forwarding {
            method: "nat",
            packets_in: 17,
            packets_out: 18,
        });
        snapshot.packet = Some(Packets {
            interface: "eth0".into(),
            transport: "af-xdp",
            mode: "native, zero-copy",
            mtu: 1500,
            workers: vec![PacketWorker::default(), worker],
        });
        let found = tests::parse(&metrics::render(&snapshot)).expect("a page");
        let info =
            "clb_packet_info{interface=\"eth0\",transport=\"af-xdp\",mode=\"native, zero-copy\"}";
        assert_eq!(found[info], 1.0);
        for (name, labels, expected) in [
            ("sessions", "", 3.0),
            ("verdicts_total", ",verdict=\"forward\"", 4.0),
            ("originated_total", "", 5.0),
            ("handed_total", ",direction=\"taken\"", 19.0),
            ("answers_total", ",kind=\"reset\"", 6.0),
            ("fragmented_total", ",result=\"completed\"", 7.0),
            ("local_ports", ",state=\"taken\"", 8.0),
            ("half_open", "", 9.0),
            ("syn_proxy_total", ",event=\"answered\"", 10.0),
            ("dropped_total", ",reason=\"no-session\"", 11.0),
            ("received_total", "", 12.0),
            ("received_bytes_total", "", 18_446_744_073_709_551_615.0),
            ("sent_total", "", 14.0),
            ("sent_bytes_total", "", 15.0),
            ("lost_total", ",reason=\"kernel\"", 16.0),
        ] {
            let name = format!("clb_packet_{name}{{worker=\"1\"{labels}}}");
            assert_eq!(found[&name], expected, "{name}");
        }
        for (direction, expected) in [("in", 17.0), ("out", 18.0)] {
            let labels = format!("listener=\"front\",method=\"nat\",direction=\"{direction}\"");
            assert_eq!(
                found[&format!("clb_listener_packets_total{{{labels}}}")],
                expected
            );
        }
        assert_eq!(found["clb_packet_sessions{worker=\"0\"}"], 0.0);
    }
}
