use super::*;
use crate::packet::{DropReason, Link};
use crate::transport::Memory;
use crate::transport::memory::{MemoryConfig, Waiting};
use pcap::{Reader, Writer};

fn packets(mut file: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let mut reader = Reader::new(&mut file).unwrap();
    let mut all = Vec::new();
    let mut bytes = Vec::new();
    while let Some(record) = reader.read(&mut bytes).unwrap() {
        all.push((record.at, bytes.clone()));
    }
    all
}

fn file(count: u8) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Link::Ip, 100).unwrap();
    for n in 0..count {
        writer
            .write(Duration::from_secs(n.into()), &[n; 40])
            .unwrap();
    }
    writer.into_inner()
}

#[test]
fn a_capture_has_what_came_and_what_was_sent() {
    let (near, mut far) = Memory::pair().unwrap();
    let near = Capture::new(near.on(InterfaceId(4)), Vec::new(), 100).unwrap();
    let mut near = near.time(|| Duration::from_secs(9));
    for bytes in [b"a", b"b", b"c", b"d"] {
        far.send(bytes).unwrap();
    }
    let verdicts = [
        Verdict::Reply,
        Verdict::Drop(DropReason::NoSession),
        Verdict::Forward(InterfaceId(4)),
        Verdict::Forward(InterfaceId(5)),
    ];
    let shown = near.forward(|burst| {
        for (packet, verdict) in burst.iter_mut().zip(verdicts) {
            packet.bytes_mut()[0] ^= 0x20;
            packet.set_verdict(verdict);
        }
    });
    assert_eq!(shown.unwrap(), 4);
    assert_eq!(near.send(b"e").unwrap(), Sent::Queued);
    assert_eq!(near.send(&[0; 2000]).unwrap(), Sent::TooLarge);
    let offload = Offload::partial(None);
    assert_eq!(near.send_offloaded(b"f", offload).unwrap(), Sent::Queued);
    assert!(near.error().is_none());
    assert_eq!(near.recorded(), 8);
    near.flush().unwrap();
    let all = packets(&near.into_parts().1);
    let bytes: Vec<u8> = all.iter().flat_map(|it| it.1.clone()).collect();
    assert_eq!(bytes, b"abcdACef");
    assert!(all.iter().all(|it| it.0 == Duration::from_secs(9)));
}

#[test]
fn the_time_of_day_is_that_of_this_century() {
    assert!(time_of_day() > Duration::from_secs(1_700_000_000));
}

#[test]
fn a_full_disk_ends_the_capture_and_not_the_packets() {
    let (near, mut far) = Memory::pair().unwrap();
    let mut room = [0; 24 + 17];
    let mut near = Capture::new(near, &mut room[..], 100).unwrap();
    for _ in 0..3 {
        far.send(b"a").unwrap();
        let shown = near.forward(|burst| burst[0].set_verdict(Verdict::Reply));
        assert_eq!(shown.unwrap(), 1);
    }
    assert_eq!(near.recorded(), 1);
    assert!(near.error().is_some());
    assert_eq!(far.waiting(), 3);
}

#[test]
fn a_replay_shows_each_packet_at_its_time() {
    let file = file(3);
    let config = ReplayConfig::default().interface(InterfaceId(2));
    let mut replay = Replay::new(&file[..], Vec::new(), config).unwrap();
    let can = replay.capabilities();
    assert_eq!(
        (can.interface, can.link, can.burst),
        (InterfaceId(2), Link::Ip, 1)
    );
    for n in 0..3 {
        let time = Duration::from_secs(n);
        assert_eq!(replay.next_at().unwrap(), Some(time));
        assert_eq!(
            replay.wait(Instant::ZERO, None, &[]).unwrap(),
            Woken::Packet
        );
        let shown = replay.forward(|burst| {
            assert_eq!(burst[0].interface(), InterfaceId(2));
            burst[0].set_verdict(if n == 1 {
                Verdict::Pass
            } else {
                Verdict::Reply
            });
        });
        assert_eq!((shown.unwrap(), replay.at()), (1, time));
    }
    replay.send(b"own").unwrap();
    assert_eq!(replay.next_at().unwrap(), None);
    assert_eq!(
        replay.wait(Instant::ZERO, None, &[]).unwrap(),
        Woken::Deadline
    );
    assert_eq!(replay.forward(|_| panic!("nothing is left")).unwrap(), 0);
    let stats = replay.stats();
    assert_eq!((stats.received, stats.passed, stats.sent), (3, 1, 3));
    assert_eq!((stats.received_bytes, stats.sent_bytes), (120, 83));
    let sent = packets(&replay.into_inner());
    let times: Vec<_> = sent.iter().map(|it| it.0.as_secs()).collect();
    assert_eq!(times, [0, 2, 2]);
    assert_eq!(sent[2].1, b"own");
}

#[test]
fn a_burst_of_a_replay_is_as_large_as_it_is_told() {
    let file = file(70);
    for (burst, expected) in [
        (0, vec![1; 70]),
        (32, vec![32, 32, 6]),
        (99, vec![32, 32, 6]),
    ] {
        let config = ReplayConfig::default().burst(burst);
        let mut replay = Replay::new(&file[..], io::sink(), config).unwrap();
        let mut bursts = Vec::new();
        loop {
            match replay.forward(|_| ()).unwrap() {
                0 => break,
                shown => bursts.push(shown),
            }
        }
        assert_eq!(bursts, expected);
    }
}

#[test]
fn a_damaged_capture_is_an_error_that_says_why() {
    let mut file = file(1);
    file.pop();
    let mut replay = Replay::new(&file[..], io::sink(), ReplayConfig::default()).unwrap();
    let error = replay.forward(|_| panic!("it is damaged")).unwrap_err();
    let source = error.into_inner().unwrap();
    assert!(matches!(
        source.downcast_ref(),
        Some(pcap::PcapError::Truncated)
    ));
}

#[test]
fn a_capture_keeps_the_laws_of_what_it_records() {
    let config = MemoryConfig::default().waiting(Waiting::Return);
    crate::transport::laws::transport_laws(|| {
        let (near, far) = Memory::pair_with(config).unwrap();
        (Capture::new(near, Vec::new(), 100).unwrap(), far)
    });
}
