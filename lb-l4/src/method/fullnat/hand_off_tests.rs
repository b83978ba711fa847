use std::num::NonZeroU16;

use super::*;
use crate::packet::{Checksum, Offload};
use crate::wire::emit::TcpSegment;
use crate::wire::{Frame, parse};

fn two(depth: usize) -> [HandOff; 2] {
    HandOff::rings(2, depth).unwrap().try_into().unwrap()
}

fn give(from: &mut HandOff, to: u16, text: &[u8]) -> Result<(), DropReason> {
    let mut bytes = text.to_vec();
    let packet = Packet::new(&mut bytes, 0..text.len(), Link::Ip);
    from.give(to, &packet.on(InterfaceId(3)).mark(9))
}

fn is_readable(end: &HandOff) -> bool {
    let mut polled = [rustix::event::PollFd::new(
        end,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default())).unwrap() > 0
}

#[test]
fn packets_come_in_their_order_and_as_they_were() {
    let [mut near, mut far] = two(4);
    assert_eq!([near.worker(), far.worker()], [0, 1]);
    for text in [b"one", b"two"] {
        give(&mut near, 1, text).unwrap();
    }
    for text in [b"one", b"two"] {
        let mut handed = far.take().unwrap();
        let packet = handed.packet();
        assert_eq!(packet.bytes(), text);
        assert_eq!(
            (packet.interface(), packet.firewall_mark()),
            (InterfaceId(3), 9)
        );
        assert_eq!((packet.link(), packet.headroom()), (Link::Ip, ROOM));
        far.give_back(handed);
    }
    assert!(far.take().is_none());
    assert!(near.take().is_none());
    assert_eq!((near.stats().given, far.stats().taken), (2, 2));
}

#[test]
fn a_full_ring_drops_and_counts_and_takes_again() {
    let [mut near, mut far] = two(2);
    give(&mut near, 1, b"a").unwrap();
    give(&mut near, 1, b"b").unwrap();
    assert_eq!(give(&mut near, 1, b"c"), Err(DropReason::HandOffFull));
    let stats = near.stats();
    assert_eq!((stats.given, stats.full), (2, 1));
    let handed = far.take().unwrap();
    far.give_back(handed);
    give(&mut near, 1, b"d").unwrap();
    let mut rest = Vec::new();
    while let Some(mut handed) = far.take() {
        rest.extend_from_slice(handed.packet().bytes());
    }
    assert_eq!(rest, b"bd");
}

#[test]
fn there_is_no_ring_to_oneself_nor_to_nobody() {
    let [mut near, far] = two(2);
    assert_eq!(give(&mut near, 0, b"a"), Err(DropReason::HandOffFull));
    assert_eq!(give(&mut near, 2, b"a"), Err(DropReason::HandOffFull));
    assert_eq!(near.stats(), HandOffStats::default());
    drop(far);
    give(&mut near, 1, b"nobody takes it").unwrap_err();
    assert_eq!(near.stats().full, 1);
}

#[test]
fn buffers_come_back_and_are_used_again() {
    let [mut near, mut far] = two(2);
    give(&mut near, 1, &[7; 600]).unwrap();
    let handed = far.take().unwrap();
    let place = handed.bytes.as_ptr();
    far.give_back(handed);
    give(&mut near, 1, &[8; 600]).unwrap();
    let mut handed = far.take().unwrap();
    assert_eq!(handed.bytes.as_ptr(), place);
    assert_eq!(handed.packet().bytes(), [8; 600]);
}

#[test]
fn what_hardware_would_have_done_is_done() {
    let ends = ["10.0.0.1:1", "10.0.0.2:2"].map(|it| it.parse().unwrap());
    let mut bytes = Vec::new();
    TcpSegment::new(ends[0], ends[1], crate::wire::tcp::flags::ACK)
        .payload(&[7; 100])
        .emit(&mut bytes);
    let [mut near, mut far] = two(8);
    let len = bytes.len();
    let packet = Packet::new(&mut bytes, 0..len, Link::Ip);
    let packet = packet.offload(Offload::partial(NonZeroU16::new(40)));
    near.give(1, &packet).unwrap();
    let mut sizes = Vec::new();
    while let Some(mut handed) = far.take() {
        let packet = handed.packet();
        let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
            panic!("not IP");
        };
        assert!(headers.checksum_is_right(packet.bytes(), Checksum::Complete));
        assert_eq!(packet.offloads(), Offload::default());
        sizes.push(headers.payload().len());
    }
    assert_eq!(sizes, [40, 40, 20]);
    let mut bytes = *b"no packet at all";
    let packet = Packet::new(&mut bytes, 0..16, Link::Ip).offload(Offload::partial(None));
    assert_eq!(near.give(1, &packet), Err(DropReason::Malformed));
}

#[test]
fn whoever_waits_is_woken_once_and_whoever_has_something_does_not_wait() {
    let [mut near, mut far] = two(8);
    give(&mut near, 1, b"a").unwrap();
    assert!(!is_readable(&far), "nobody waits");
    assert!(!far.is_idle());
    assert!(!far.is_idle(), "it is still there");
    assert!(far.take().is_some());
    assert!(far.take().is_none());

    assert!(far.is_idle());
    assert!(!is_readable(&far));
    give(&mut near, 1, b"b").unwrap();
    assert!(is_readable(&far));
    give(&mut near, 1, b"c").unwrap();
    assert!(far.take().is_some());
    assert!(!is_readable(&far), "it has got up");
    give(&mut near, 1, b"d").unwrap();
    assert!(!is_readable(&far), "it is awake");
    assert!(far.take().is_some());
    assert!(far.take().is_some());
    assert!(far.is_idle());
    assert!(far.take().is_none(), "woken by something else");
    give(&mut near, 1, b"e").unwrap();
    assert!(!is_readable(&far));
    assert!(far.take().is_some());
}

#[test]
fn nothing_is_lost_between_threads_that_wait_for_each_other() {
    const PACKETS: u32 = 20_000;
    let [mut near, mut far] = two(16);
    let taker = std::thread::spawn(move || {
        let mut next = 0;
        while next < PACKETS {
            while let Some(mut handed) = far.take() {
                assert_eq!(handed.packet().bytes(), next.to_be_bytes());
                next += 1;
                far.give_back(handed);
            }
            if next < PACKETS && far.is_idle() {
                let mut polled = [rustix::event::PollFd::new(
                    &far,
                    rustix::event::PollFlags::IN,
                )];
                let patience = rustix::event::Timespec {
                    tv_sec: 5,
                    tv_nsec: 0,
                };
                let woken = rustix::event::poll(&mut polled, Some(&patience)).unwrap();
                assert_eq!(woken, 1, "it was never woken, at {next}");
            }
        }
        far.stats()
    });
    let mut full = 0;
    for number in 0..PACKETS {
        while give(&mut near, 1, &number.to_be_bytes()).is_err() {
            full += 1;
            std::thread::yield_now();
        }
    }
    let stats = taker.join().unwrap();
    assert_eq!(stats.taken, PACKETS.into());
    assert_eq!(near.stats().given, PACKETS.into());
    assert_eq!(near.stats().full, full);
}
