//! Packets, and waiting for them.

use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::Packet;
use lb_l4::transport::Transport;

/// A frame of `len` bytes: UDP over IPv4 whose source port is `number`; no checksums.
pub(crate) fn udp(number: u16, len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let total = u16::try_from(len - 14).unwrap();
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend(number.to_be_bytes());
    frame.extend(7_u16.to_be_bytes());
    frame.extend((total - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((frame.len()..len).map(|n| n.to_le_bytes()[0]));
    frame
}

/// The next `count` packets as shown; `look` sees each before it goes.
#[track_caller]
pub(crate) fn receive(
    transport: &mut impl Transport,
    count: usize,
    mut look: impl FnMut(&mut Packet<'_>),
) -> Vec<Vec<u8>> {
    let clock = Clock::monotonic();
    let until = clock.now() + Duration::from_secs(5);
    let mut shown = Vec::new();
    while shown.len() < count {
        let now = clock.now();
        assert!(now < until, "{} of {count} packets have come", shown.len());
        transport.wait(now, Some(until), &[]).unwrap();
        let each = |burst: &mut [Packet<'_>]| {
            for packet in burst {
                shown.push(packet.bytes().to_vec());
                look(packet);
            }
        };
        transport.forward(each).unwrap();
    }
    shown
}
