//! Why an interface cannot be opened.

use lb_l4::transport::Transport;
use lb_l4::transport::af_xdp::{AfXdp, AfXdpConfig, Copying, MAX_MTU, OpenError};

use crate::link::{open, small, veth};
use crate::namespace::{Namespace, run};
use crate::packets::{receive, udp};

#[test]
fn what_cannot_be_opened_says_why() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(2);
    let refused = |config: AfXdpConfig| AfXdp::open(&config).unwrap_err();
    let nowhere = refused(small("nowhere"));
    assert!(
        matches!(nowhere, OpenError::NoInterface { .. }),
        "{nowhere:?}"
    );
    let queue = refused(small("near").queues(1..3));
    let no_queue = matches!(
        queue,
        OpenError::NoQueue {
            queue: 2,
            queues: 2,
            ..
        }
    );
    assert!(no_queue, "{queue:?}");
    let zero_copy = refused(small("near").copying(Copying::ZeroCopy));
    assert!(
        matches!(zero_copy, OpenError::ZeroCopy { .. }),
        "{zero_copy:?}"
    );
    run("ip tuntap add name points mode tun");
    let points = refused(small("points"));
    assert!(matches!(points, OpenError::NotEthernet(_)), "{points:?}");
    let setting = refused(small("near").slots(100));
    assert!(matches!(setting, OpenError::Config(_)), "{setting:?}");

    run(&format!("ip link set near mtu {MAX_MTU}"));
    run(&format!("ip link set far mtu {MAX_MTU}"));
    let largest = AfXdp::open(&small("near")).unwrap();
    assert_eq!(largest[0].capabilities().mtu, 3_072);
    drop(largest);
    run(&format!("ip link set near mtu {}", MAX_MTU + 1));
    let jumbo = refused(small("near"));
    assert!(
        matches!(jumbo, OpenError::MtuTooLarge { mtu: 3_073, .. }),
        "{jumbo:?}"
    );
    assert!(jumbo.to_string().contains("3073"), "{jumbo}");
}

#[test]
fn an_interface_has_one_program_and_loses_it_with_its_transports() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(2);
    let first = AfXdp::open(&small("near").queues(0..1)).unwrap();
    assert!(run("ip link show near").contains("prog/xdp"));
    let second = AfXdp::open(&small("near").queues(1..2)).unwrap_err();
    assert!(matches!(second, OpenError::Occupied(_)), "{second:?}");
    let same = AfXdp::open(&small("near").queues(0..1)).unwrap_err();
    assert!(
        matches!(same, OpenError::QueueTaken { queue: 0, .. }),
        "{same:?}"
    );
    drop(first);
    assert!(!run("ip link show near").contains("prog/xdp"));
    assert_eq!(AfXdp::open(&small("near")).unwrap().len(), 2);
}

#[test]
fn the_largest_packet_has_room_to_grow() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    run(&format!("ip link set near mtu {MAX_MTU}"));
    run(&format!("ip link set far mtu {MAX_MTU}"));
    let (mut near, mut far) = (open(&small("near")), open(&small("far")));
    let largest = udp(1, 3_086);
    far[0].send(&largest).unwrap();
    let shown = receive(&mut near[0], 1, |packet| {
        assert!(packet.headroom() >= near_headroom());
        assert!(packet.tailroom() >= 320);
    });
    assert_eq!(shown, [largest]);
}

const fn near_headroom() -> usize {
    lb_l4::transport::HEADROOM
}
