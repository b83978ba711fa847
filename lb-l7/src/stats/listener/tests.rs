use super::*;
use crate::report::tests::{address, report};
use crate::report::{Party, Phase, Why};

#[test]
fn connections_and_handshakes_are_summed_over_workers() {
    let writers = Writers::new(2);
    let stats = ListenerStats::new(&writers);
    let (mut one, mut two) = (writers.take().unwrap(), writers.take().unwrap());
    for writer in [&mut one, &mut two] {
        (0..5).for_each(|_| stats.accepted(writer));
        (0..2).for_each(|_| stats.closed(writer));
        (0..3).for_each(|_| stats.handshake(writer));
        (0..4).for_each(|_| stats.resumed(writer));
    }
    let figures = stats.read();
    assert_eq!(
        (figures.accepted, figures.closed, figures.open()),
        (10, 4, 6)
    );
    assert_eq!((figures.handshakes, figures.resumed), (6, 8));
    assert_eq!(
        format!("{stats:?}"),
        "ListenerStats { accepted: 10, closed: 4, .. }"
    );
}

#[test]
fn each_reason_has_a_counter_of_its_own() {
    let writers = Writers::new(1);
    let stats = ListenerStats::new(&writers);
    let mut writer = writers.take().unwrap();
    for (n, &why) in Refused::ALL.iter().enumerate() {
        (0..=n).for_each(|_| stats.refused(&mut writer, why));
    }
    let figures = stats.read();
    for (n, &why) in Refused::ALL.iter().enumerate() {
        assert_eq!(figures.refused(why), n as u64 + 1, "{why}");
    }
}

#[test]
fn exchanges_are_counted_by_protocol_and_by_termination() {
    let writers = Writers::new(1);
    let stats = ListenerStats::new(&writers);
    let mut writer = writers.take().unwrap();
    let address = address();
    let mut report = report(&address);
    let slow = Termination::new(Party::Backend, Phase::ResponseHead, Why::Timeout);
    for (version, times) in [
        (Version::HTTP_10, 1),
        (Version::HTTP_11, 2),
        (Version::HTTP_2, 3),
        (Version::HTTP_3, 4),
    ] {
        report.client.version = version;
        (0..times).for_each(|_| stats.record(&mut writer, &report));
        report.termination = slow;
    }
    let figures = stats.read();
    assert_eq!(figures.requests(Protocol::Http10), 1);
    assert_eq!(figures.requests(Protocol::Http11), 2);
    assert_eq!(figures.requests(Protocol::Http2), 3);
    assert_eq!(figures.requests(Protocol::Other), 4);
    assert_eq!(figures.ended(Termination::DONE), 1);
    assert_eq!(figures.ended(slow), 9);
    let met: Vec<_> = figures.terminations().collect();
    assert_eq!(met, [(Termination::DONE, 1), (slow, 9)]);
}

#[test]
fn the_names_of_reasons_are_kebab_case_and_differ() {
    let names: std::collections::BTreeSet<_> =
        Refused::ALL.iter().map(|why| why.as_str()).collect();
    assert_eq!(names.len(), Refused::ALL.len());
    let kebab = |name: &&str| name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
    assert!(names.iter().all(kebab));
}

#[test]
fn a_share_is_as_large_as_documented() {
    assert!(size_of::<Share>() <= 5_000);
}
