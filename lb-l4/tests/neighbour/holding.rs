//! Frames that wait for a link address.

use lb_l4::neighbour::NeighbourConfig;
use lb_l4::packet::DropReason;

use super::setup::{ITS, MINE, OTHER, at, director, ip, known, reply, sent, with};

fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0xee; len];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame
}

#[test]
fn the_first_frame_goes_out_when_the_link_address_is_known() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    assert_eq!(link.hold(ip("10.0.0.7"), &frame(60)), Ok(()));
    assert_eq!(
        link.hold(ip("10.0.0.7"), &frame(61)),
        Err(DropReason::HoldFull)
    );
    assert_eq!((link.stats().held, link.stats().held_bytes), (1, 60));
    assert_eq!(sent(&mut link).len(), 1);
    link.handle_arp(at(1), &reply(ITS, "10.0.0.7"));
    let mut expected = frame(60);
    expected[..12].copy_from_slice(&[ITS.0, MINE.0].concat());
    assert_eq!(sent(&mut link), [expected]);
    assert_eq!((link.stats().held_bytes, link.stats().held_dropped), (0, 0));
}

#[test]
fn a_frame_goes_when_nobody_answers() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    assert_eq!(link.hold(ip("10.0.0.7"), &frame(60)), Ok(()));
    for time in [1_000, 2_000, 3_000] {
        assert_eq!(link.stats().held_bytes, 60);
        link.handle_timeout(at(time));
    }
    assert_eq!((link.stats().held_bytes, link.stats().held_dropped), (0, 1));
    assert!(sent(&mut link).iter().all(|it| it.len() < 60));
    // And no other is held for it.
    assert_eq!(
        link.hold(ip("10.0.0.7"), &frame(60)),
        Err(DropReason::Unresolved)
    );
}

#[test]
fn nothing_is_held_for_whom_nobody_asks() {
    let mut link = director();
    assert_eq!(
        link.hold(ip("10.0.0.7"), &frame(60)),
        Err(DropReason::Unresolved)
    );
    known(&mut link, at(0));
    assert_eq!(
        link.hold(ip("10.0.0.7"), &frame(60)),
        Err(DropReason::Unresolved)
    );
}

#[test]
fn all_frames_together_have_a_bound() {
    let mut link = with(NeighbourConfig::default().held_bytes(100));
    for (address, len, outcome) in [
        ("10.0.0.7", 60, Ok(())),
        ("10.0.0.8", 41, Err(DropReason::HoldFull)),
        ("10.0.0.8", 40, Ok(())),
        ("10.0.0.9", 14, Err(DropReason::HoldFull)),
    ] {
        link.lookup(at(0), ip(address));
        assert_eq!(link.hold(ip(address), &frame(len)), outcome);
    }
    link.handle_arp(at(1), &reply(OTHER, "10.0.0.8"));
    assert_eq!(link.hold(ip("10.0.0.9"), &frame(40)), Ok(()));
    assert_eq!(link.stats().held_bytes, 100);
}

#[test]
fn a_frame_goes_with_the_neighbour_that_gives_way() {
    let mut link = with(NeighbourConfig::default().capacity(1));
    link.lookup(at(0), ip("10.0.0.7"));
    assert_eq!(link.hold(ip("10.0.0.7"), &frame(60)), Ok(()));
    link.lookup(at(1), ip("10.0.0.8"));
    assert_eq!((link.stats().held_bytes, link.stats().held_dropped), (0, 1));
}

#[test]
fn a_frame_goes_out_when_its_neighbour_is_fixed() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    assert_eq!(link.hold(ip("10.0.0.7"), &frame(60)), Ok(()));
    sent(&mut link);
    link.fix(ip("10.0.0.7"), ITS).unwrap();
    assert_eq!(sent(&mut link).len(), 1);
}
