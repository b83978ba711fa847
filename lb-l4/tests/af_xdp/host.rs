//! The host's own stack beside a transport, and kernels as peers.

use std::net::UdpSocket;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::{Packet, Verdict};
use lb_l4::transport::Transport;
use lb_l4::transport::af_xdp::{AfXdp, Steer, disable_transmit_offloads};

use crate::link::small;
use crate::namespace::{Namespace, run};

/// A director's namespace with the interface `near`, 10.0.0.1, and a client's with `far`, 10.0.0.2.
/// The calling thread is in the director's.
fn director_and_client() -> Option<(Namespace, Namespace)> {
    let (director, client) = (Namespace::new()?, Namespace::new()?);
    client.enter();
    let to = director.pid();
    run(&format!(
        "ip link add far type veth peer name near netns {to}"
    ));
    run("ip addr add 10.0.0.2/24 dev far");
    run("ip link set far up");
    director.enter();
    run("ip addr add 10.0.0.1/24 dev near");
    run("ip link set near up");
    Some((director, client))
}

/// Answers ARP for any address, and UDP with the same bytes to where they came from.
fn answer(packet: &mut Packet<'_>) {
    let bytes = packet.bytes_mut();
    bytes[..12].rotate_left(6);
    match bytes[12..14] {
        [0x08, 0x06] => {
            // The asker is answered by whom it asked for.
            bytes[21] = 2;
            bytes[22..42].rotate_left(10);
        }
        [0x08, 0x00] if bytes[23] == 17 => {
            bytes[26..34].rotate_left(4);
            bytes[34..38].rotate_left(2);
        }
        _ => return,
    }
    packet.set_verdict(Verdict::Reply);
}

/// Sends to `address` from the client's namespace; whether an answer comes while `queue` is served.
fn is_answered(client: &Namespace, queue: &mut AfXdp, address: &str, patience: Duration) -> bool {
    let clock = Clock::monotonic();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            client.enter();
            let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
            socket.set_read_timeout(Some(patience)).unwrap();
            socket.send_to(&[b'x'; 1000], (address, 7)).unwrap();
            socket.recv(&mut [0; 2000]).is_ok_and(|len| len == 1000)
        });
        while !asked.is_finished() {
            let now = clock.now();
            let soon = now + Duration::from_millis(5);
            queue.wait(now, Some(soon), &[]).unwrap();
            let each = |burst: &mut [Packet<'_>]| burst.iter_mut().for_each(answer);
            queue.forward(each).unwrap();
        }
        asked.join().unwrap()
    })
}

#[test]
fn steered_addresses_come_here_and_the_others_stay_with_the_host() {
    let Some((_director, client)) = director_and_client() else {
        return;
    };
    let mut queue = AfXdp::open(&small("near")).unwrap().pop().unwrap();
    let host = UdpSocket::bind("10.0.0.1:7").unwrap();
    host.set_read_timeout(Some(LONG)).unwrap();

    client.enter();
    disable_transmit_offloads("far").unwrap();
    let features = run("ethtool -k far");
    for feature in [
        "tx-checksumming",
        "tcp-segmentation-offload",
        "generic-segmentation-offload",
    ] {
        assert!(
            features.contains(&format!("\n{feature}: off")),
            "{features}"
        );
    }
    let asker = UdpSocket::bind("10.0.0.2:0").unwrap();
    asker.send_to(b"to the host", "10.0.0.1:7").unwrap();
    assert_eq!(
        host.recv(&mut [0; 100]).unwrap(),
        11,
        "nothing is steered yet"
    );

    queue
        .steer("10.0.0.100/32".parse().unwrap(), Steer::Redirect)
        .unwrap();
    assert!(is_answered(&client, &mut queue, "10.0.0.100", LONG));
    assert!(!is_answered(&client, &mut queue, "10.0.0.101", SHORT));
    let received = queue.stats().received;
    assert!(received >= 2, "a question and a datagram");
    asker.send_to(b"to the host", "10.0.0.1:7").unwrap();
    assert_eq!(host.recv(&mut [0; 100]).unwrap(), 11);
    assert_eq!(queue.stats().received, received);

    assert!(
        queue
            .steering()
            .forget("10.0.0.100/32".parse().unwrap())
            .unwrap()
    );
    assert!(!is_answered(&client, &mut queue, "10.0.0.100", SHORT));
}

#[test]
fn answers_of_backends_come_here_and_those_to_the_host_do_not() {
    let Some((_director, client)) = director_and_client() else {
        return;
    };
    let mut queue = AfXdp::open(&small("near")).unwrap().pop().unwrap();
    let host = UdpSocket::bind("10.0.0.1:7").unwrap();
    host.set_read_timeout(Some(LONG)).unwrap();
    queue
        .steer("10.0.0.0/24".parse().unwrap(), Steer::RedirectAnswers)
        .unwrap();
    queue
        .steer("10.0.0.1/32".parse().unwrap(), Steer::Host)
        .unwrap();

    client.enter();
    disable_transmit_offloads("far").unwrap();
    let backend = UdpSocket::bind("10.0.0.2:0").unwrap();
    backend.send_to(b"to the host", "10.0.0.1:7").unwrap();
    assert_eq!(host.recv(&mut [0; 100]).unwrap(), 11);
    assert_eq!(queue.stats().received, 0);
    run("ip route add default via 10.0.0.1");
    assert!(is_answered(&client, &mut queue, "198.51.100.1", LONG));
}

/// Long enough for the kernel to ask again for a link address, which it does after a second.
const LONG: Duration = Duration::from_secs(10);

/// How long an answer that must not come is waited for.
const SHORT: Duration = Duration::from_millis(300);
