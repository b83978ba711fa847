//! Two transports at the ends of a link.

use lb_l4::Clock;
use lb_l4::packet::{DropReason, InterfaceId, Offload, Verdict};
use lb_l4::transport::af_xdp::{AfXdp, AfXdpConfig, Attach, BusyPoll, Steer};
use lb_l4::transport::{Ports, Sent, Transport, Woken};

use crate::namespace::{Namespace, run};
use crate::packets::{receive, udp};

/// A veth pair of `queues` queues, both ends up.
pub(crate) fn veth(queues: u32) {
    let sizes = format!("numrxqueues {queues} numtxqueues {queues}");
    run(&format!(
        "ip link add near {sizes} type veth peer name far {sizes}"
    ));
    for end in ["near", "far"] {
        // No neighbour discovery or other packets of the kernel's own.
        run(&format!(
            "ip link set {end} addrgenmode none arp off multicast off"
        ));
        run(&format!("ip link set {end} up"));
    }
}

/// The queues of one end, all packets steered there.
pub(crate) fn open(config: &AfXdpConfig) -> Vec<AfXdp> {
    let queues = AfXdp::open(config).unwrap();
    for prefix in ["0.0.0.0/0", "::/0"] {
        let everything = prefix.parse().unwrap();
        queues[0].steer(everything, Steer::Redirect).unwrap();
    }
    queues
}

pub(crate) fn small(interface: &str) -> AfXdpConfig {
    AfXdpConfig::new(interface).slots(256).frames(1_024)
}

fn open_one(interface: &str) -> AfXdp {
    open(&small(interface)).pop().unwrap()
}

#[test]
fn a_packet_is_answered_from_where_it_came_to_lie() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    for attach in [Attach::Generic, Attach::Native] {
        let mut near = open(&small("near").attach(attach)).pop().unwrap();
        let mut far = open(&small("far").attach(attach)).pop().unwrap();
        assert_eq!(near.steering().attached(), attach);
        assert!(!near.capabilities().zero_copy, "veth cannot");
        assert_eq!(far.send(&udp(7, 60)).unwrap(), Sent::Queued);
        let shown = receive(&mut near, 1, |packet| {
            assert_eq!(packet.headroom(), 256);
            packet.bytes_mut()[..12].rotate_left(6);
            packet.grow_front(200).unwrap()[..200].fill(0);
            packet.shrink_front(200).unwrap();
            packet.set_verdict(Verdict::Reply);
        });
        assert_eq!(shown, [udp(7, 60)]);
        let mut expected = udp(7, 60);
        expected[..12].rotate_left(6);
        assert_eq!(receive(&mut far, 1, |_| ()), [expected]);
        assert_eq!((near.stats().sent, near.stats().received), (1, 1));
        assert_eq!(near.stats().kernel_dropped, 0);
    }
}

#[test]
fn no_frame_is_lost_whatever_becomes_of_the_packets() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let (mut near, mut far) = (open_one("near"), open_one("far"));
    let verdicts = [
        Verdict::Reply,
        Verdict::Drop(DropReason::NoSession),
        Verdict::Held,
        Verdict::Pass,
        Verdict::Forward(InterfaceId(0)),
        Verdict::Forward(InterfaceId(1)),
    ];
    // Many times as many packets as there are frames.
    for round in 0..200_u16 {
        let sent: Vec<_> = (0..60).map(|n| udp(round * 60 + n, 100)).collect();
        for bytes in &sent {
            assert_eq!(far.queue(bytes, Offload::default()).unwrap(), Sent::Queued);
        }
        far.flush().unwrap();
        let mut next = verdicts.iter().cycle();
        let shown = receive(&mut near, sent.len(), |packet| {
            packet.set_verdict(*next.next().unwrap());
        });
        assert_eq!(shown, sent);
        let answered = sent
            .iter()
            .enumerate()
            .filter(|(n, _)| matches!(n % 6, 0 | 4));
        let answered: Vec<_> = answered.map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(receive(&mut far, answered.len(), |_| ()), answered);
    }
    let stats = near.stats();
    assert_eq!((stats.received, stats.sent), (12_000, 4_000));
    assert_eq!(
        (stats.dropped, stats.held, stats.passed),
        (2_000, 2_000, 2_000)
    );
    assert_eq!((stats.misdirected, stats.queue_full), (2_000, 0));
    assert_eq!(stats.kernel_dropped, 0);
}

#[test]
fn what_no_ring_has_room_for_is_counted() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let (mut near, mut far) = (open_one("near"), open_one("far"));
    let sent = (0..300).map(|n| far.queue(&udp(n, 60), Offload::default()).unwrap());
    let queued = sent.filter(|it| *it == Sent::Queued).count();
    assert_eq!((queued, far.stats().queue_full), (256, 44));
    far.flush().unwrap();
    for n in 300..344 {
        assert_eq!(far.send(&udp(n, 60)).unwrap(), Sent::Queued);
    }
    // The 256 that came first have filled the ring; the rest was lost.
    let shown = receive(&mut near, 256, |_| ());
    let expected: Vec<_> = (0..256).map(|n| udp(n, 60)).collect();
    assert_eq!(shown, expected);
    assert_eq!(near.stats().kernel_dropped, 44);
    assert_eq!(far.send(&udp(1, 60)).unwrap(), Sent::Queued);
    assert_eq!(receive(&mut near, 1, |_| ()), [udp(1, 60)]);
    assert_eq!((far.stats().sent, near.stats().received), (301, 257));
}

#[test]
fn what_is_left_to_hardware_is_not_sent() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let (mut near, mut far) = (open_one("near"), open_one("far"));
    assert_eq!(far.send(&udp(1, 60)).unwrap(), Sent::Queued);
    assert_eq!(far.send(&udp(2, 60)).unwrap(), Sent::Queued);
    let mut offloads = [Offload::partial(None), Offload::default()].into_iter();
    receive(&mut near, 2, |packet| {
        assert_eq!(packet.offloads(), Offload::default());
        packet.set_offloads(offloads.next().unwrap());
        packet.set_verdict(Verdict::Reply);
    });
    assert_eq!((near.stats().malformed, near.stats().sent), (1, 1));
    assert_eq!(receive(&mut far, 1, |_| ()), [udp(2, 60)]);
}

#[test]
fn a_queue_that_is_dropped_leaves_the_others_alone() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(2);
    let (mut near, mut far) = (open(&small("near")), open(&small("far")));
    drop(near.remove(0));
    assert_eq!(far[0].send(&udp(1, 60)).unwrap(), Sent::Queued);
    assert_eq!(far[1].send(&udp(2, 60)).unwrap(), Sent::Queued);
    assert_eq!(receive(&mut near[0], 1, |_| ()), [udp(2, 60)]);
    assert_eq!(near[0].stats().received, 1);
}

#[test]
fn packets_go_from_one_interface_to_another() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let mut client = open_one("far");
    run("ip link add inside type veth peer name server");
    for end in ["inside", "server"] {
        run(&format!(
            "ip link set {end} addrgenmode none arp off multicast off up"
        ));
    }
    let mut server = open_one("server");
    let numbered = |name, n| open(&small(name).number(InterfaceId(n))).pop().unwrap();
    let mut ports = Ports::new(vec![numbered("near", 1), numbered("inside", 2)]).unwrap();
    let sent: Vec<_> = (0..100).map(|n| udp(n, 200)).collect();
    for bytes in &sent {
        client.queue(bytes, Offload::default()).unwrap();
    }
    client.flush().unwrap();
    let shown = receive(&mut ports, sent.len(), |packet| {
        packet.set_verdict(Verdict::Forward(InterfaceId(2)));
    });
    assert_eq!(shown, sent);
    let answered = receive(&mut server, sent.len(), |packet| {
        packet.set_verdict(Verdict::Reply);
    });
    assert_eq!(answered, sent);
    receive(&mut ports, sent.len(), |packet| {
        assert_eq!(packet.interface(), InterfaceId(2));
        packet.set_verdict(Verdict::Forward(InterfaceId(1)));
    });
    assert_eq!(receive(&mut client, sent.len(), |_| ()), sent);
    let stats = ports.stats();
    assert_eq!((stats.received, stats.sent), (200, 200));
    assert_eq!((stats.misdirected, stats.held), (0, 0));
}

#[test]
fn each_queue_is_a_transport_of_its_own() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(3);
    let (mut near, mut far) = (open(&small("near")), open(&small("far")));
    assert_eq!((near.len(), far.len()), (3, 3));
    for (n, queue) in (0..).zip(&mut far) {
        assert_eq!(queue.send(&udp(n, 60)).unwrap(), Sent::Queued);
    }
    for (n, queue) in (0..).zip(&mut near) {
        let shown = receive(queue, 1, |packet| packet.set_verdict(Verdict::Reply));
        assert_eq!(shown, [udp(n, 60)]);
    }
    for (n, queue) in (0..).zip(&mut far) {
        assert_eq!(receive(queue, 1, |_| ()), [udp(n, 60)]);
    }
    drop(near);
    let mut some = open(&small("near").queues(1..2));
    assert_eq!(some.len(), 1);
    assert_eq!(far[1].send(&udp(9, 60)).unwrap(), Sent::Queued);
    assert_eq!(receive(&mut some[0], 1, |_| ()), [udp(9, 60)]);
}

#[test]
fn what_does_not_fit_the_link_is_not_sent() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let (mut near, mut far) = (open_one("near"), open_one("far"));
    let largest = udp(1, 1514);
    assert_eq!(far.send(&largest).unwrap(), Sent::Queued);
    assert_eq!(far.send(&udp(1, 1515)).unwrap(), Sent::TooLarge);
    let mut tagged = udp(1, 1514);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(far.send(&tagged).unwrap(), Sent::Queued);
    tagged.push(0);
    assert_eq!(far.send(&tagged).unwrap(), Sent::TooLarge);
    tagged.pop();
    let shown = receive(&mut near, 2, |packet| {
        assert!(packet.open_gap(14, 1).is_some());
        packet.set_verdict(Verdict::Reply);
    });
    assert_eq!(shown, [largest, tagged]);
    assert_eq!((near.stats().too_large, near.stats().sent), (2, 0));
    assert_eq!((far.stats().too_large, far.stats().sent), (2, 2));
}

#[test]
fn an_interface_that_is_down_or_gone_is_an_error() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let mut near = open_one("near");
    let clock = Clock::monotonic();
    let now = clock.now();
    assert_eq!(near.wait(now, Some(now), &[]).unwrap(), Woken::Deadline);
    run("ip link set near down");
    let down = near.wait(now, Some(now), &[]).unwrap_err();
    assert_eq!(down.kind(), std::io::ErrorKind::NetworkDown);
    assert!(near.send(&udp(1, 60)).is_err());
    run("ip link set near up");
    assert_eq!(near.wait(now, Some(now), &[]).unwrap(), Woken::Deadline);
    run("ip link del near");
    assert!(near.wait(now, Some(now), &[]).is_err());
    assert!(near.send(&udp(1, 60)).is_err());
}

#[test]
fn a_worker_may_run_the_driver() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let config = small("near").busy_poll(BusyPoll::default());
    let (mut near, mut far) = (open(&config).pop().unwrap(), open_one("far"));
    for n in 0..100 {
        assert_eq!(far.send(&udp(n, 60)).unwrap(), Sent::Queued);
        let clock = Clock::monotonic();
        let until = clock.now() + std::time::Duration::from_secs(5);
        let mut shown = 0;
        while shown == 0 {
            assert!(clock.now() < until, "packet {n} comes without a wait");
            shown = near.forward(|_| ()).unwrap();
        }
    }
}
