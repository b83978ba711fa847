use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;

fn pair() -> (UdpSocket, UdpSocket) {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let two = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (socket, peer) in [(&one, &two), (&two, &one)] {
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
    }
    (one, two)
}

/// On loopback a sent datagram is in the peer's queue when the call returns.
fn receive(slots: &mut Slots, socket: &UdpSocket, range: Range<u16>) -> usize {
    slots.receive(socket.as_fd(), range).unwrap()
}

fn piece(slot: u16, start: u16, len: u16) -> Piece {
    Piece { slot, start, len }
}

fn plain(pieces: Range<usize>) -> Message {
    Message {
        pieces,
        to: None,
        from: None,
        segment: None,
    }
}

#[test]
fn a_batch_keeps_lengths_senders_and_order() {
    let (one, two) = pair();
    for text in ["a", "", "ccc"] {
        one.send(text.as_bytes()).unwrap();
    }
    let mut slots = Slots::new(8);
    assert_eq!(receive(&mut slots, &two, 2..8), 3);
    for (slot, text) in (2..).zip(["a", "", "ccc"]) {
        let got = slots.received(slot);
        assert_eq!(slots.bytes(piece(slot, 0, got.len)), text.as_bytes());
        assert_eq!(got.peer, Some(one.local_addr().unwrap()));
        assert!(got.whole);
        assert_eq!((got.asked, got.segment), (None, None));
    }
}

#[test]
fn an_empty_queue_would_block_and_a_full_range_is_not_overrun() {
    let (one, two) = pair();
    let mut slots = Slots::new(4);
    let error = slots.receive(two.as_fd(), 0..4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    for _ in 0..3 {
        one.send(b"x").unwrap();
    }
    assert_eq!(receive(&mut slots, &two, 0..2), 2);
    assert_eq!(receive(&mut slots, &two, 3..4), 1);
}

#[test]
fn a_wildcard_socket_tells_the_address_asked() {
    for (bind, ask, version) in [
        ("0.0.0.0:0", "127.0.0.7", IpVersion::V4),
        ("[::]:0", "::1", IpVersion::V6),
        ("[::]:0", "127.0.0.8", IpVersion::V6),
    ] {
        let server = UdpSocket::bind(bind).unwrap();
        tell_asked(server.as_fd(), version).unwrap();
        let ask: IpAddr = ask.parse().unwrap();
        let client = UdpSocket::bind((if ask.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        client
            .send_to(b"hello", (ask, server.local_addr().unwrap().port()))
            .unwrap();

        let mut slots = Slots::new(1);
        assert_eq!(receive(&mut slots, &server, 0..1), 1);
        let got = slots.received(0);
        let asked = got.asked.unwrap();
        assert_eq!(asked.address.to_canonical(), ask);
        let reply = Message {
            to: got.peer,
            from: got.asked,
            ..plain(0..1)
        };
        assert_eq!(
            slots
                .send(server.as_fd(), &[piece(0, 0, 5)], &[reply])
                .unwrap(),
            1
        );
        let (_, from) = client.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(from.ip(), ask);
    }
}

#[test]
fn a_train_goes_out_whole_and_comes_in_whole() {
    let (one, two) = pair();
    receive_trains(two.as_fd()).unwrap();
    let mut slots = Slots::new(4);
    two.send(&[7; 100]).unwrap();
    two.send(&[8; 100]).unwrap();
    two.send(&[9; 50]).unwrap();
    assert_eq!(receive(&mut slots, &one, 0..4), 3);
    let pieces = [piece(0, 0, 100), piece(1, 0, 100), piece(2, 0, 50)];
    let train = Message {
        segment: NonZeroU16::new(100),
        ..plain(0..3)
    };
    assert_eq!(slots.send(one.as_fd(), &pieces, &[train]).unwrap(), 1);

    assert_eq!(receive(&mut slots, &two, 3..4), 1);
    let got = slots.received(3);
    assert_eq!((got.len, got.segment), (250, NonZeroU16::new(100)));
    assert_eq!(slots.bytes(piece(3, 200, 50)), [9; 50]);
    // One datagram has no segments.
    one.send(&[1; 100]).unwrap();
    assert_eq!(receive(&mut slots, &two, 0..1), 1);
    assert_eq!(slots.received(0).segment, None);
}

#[test]
fn messages_go_out_in_one_call_each_from_its_pieces() {
    let (one, two) = pair();
    let mut slots = Slots::new(4);
    two.send(b"abcdef").unwrap();
    assert_eq!(receive(&mut slots, &one, 0..4), 1);
    let pieces = [piece(0, 4, 2), piece(0, 0, 3), piece(0, 3, 0)];
    let messages = [plain(0..2), plain(2..3)];
    assert_eq!(slots.send(one.as_fd(), &pieces, &messages).unwrap(), 2);
    assert_eq!(receive(&mut slots, &two, 0..4), 2);
    let first = slots.received(0);
    assert_eq!(slots.bytes(piece(0, 0, first.len)), b"efabc");
    assert_eq!(slots.received(1).len, 0);
    assert_eq!(slots.send(one.as_fd(), &[], &[]).unwrap(), 0);
}

#[test]
fn what_does_not_fit_one_call_waits_for_the_next() {
    let (one, two) = pair();
    let mut slots = Slots::new(64);
    let pieces = [piece(0, 0, 1); 100];
    let messages = [plain(0..40), plain(40..60), plain(60..100)];
    assert_eq!(slots.send(one.as_fd(), &pieces, &messages).unwrap(), 2);
    let many: Vec<_> = (0..70).map(|at| plain(at..at + 1)).collect();
    assert_eq!(slots.send(one.as_fd(), &pieces, &many).unwrap(), BATCH);
    assert_eq!(receive(&mut slots, &two, 0..64), 64);
}

#[test]
fn a_refused_port_is_an_error_of_the_connected_socket() {
    let (one, two) = pair();
    drop(two);
    let slots = Slots::new(1);
    let pieces = [piece(0, 0, 1)];
    assert_eq!(slots.send(one.as_fd(), &pieces, &[plain(0..1)]).unwrap(), 1);
    let error = slots
        .send(one.as_fd(), &pieces, &[plain(0..1)])
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_piece_outside_of_the_slots_is_empty() {
    let slots = Slots::new(2);
    assert_eq!(slots.bytes(piece(2, 0, 1)), b"");
    assert_eq!(slots.bytes(piece(1, 65_535, 1)).len(), 1);
    assert_eq!(slots.received(2), Received::default());
}
