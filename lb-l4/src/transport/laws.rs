//! What every transport must keep, whoever wrote it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{BURST, Capabilities, HEADROOM, MAX_OTHERS, Sent, Transport, Woken};
use crate::Clock;
use crate::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use crate::wire::{checksum, ethernet};

/// What every [`Transport`] must keep, whoever wrote it.
///
/// `make` returns a transport and a second one at the other end of its link: what one sends, the
/// other is shown. It is asked once for each law. Packets are IPv4, from [`SOURCE`] to
/// [`DESTINATION`], of the protocol 253 (RFC 3692: experiments); others on the link, such as a
/// kernel's own, are passed over.
///
/// 1. It can do what it says, and says the same each time: [`Capabilities`] in their ranges.
/// 2. What goes in comes out, unchanged and in order, the smallest and the largest.
/// 3. `Reply`, and `Forward` to its own interface, return the packet as rewritten and in order;
///    no other verdict does, and each is counted.
/// 4. A packet grows at its front by all of the headroom, and at its back by all of the tailroom.
/// 5. What is sent arrives; what is too large for the link does not, and is no error.
/// 6. A wait ends with a packet, another descriptor or the deadline, in this order.
/// 7. Two bursts can wait in a row and nothing is lost.
/// 8. A full queue is no error, blocks nobody, is counted, and passes.
/// 9. `decide` is not called when nothing waits.
///
/// # Panics
///
/// At the first broken law, which the message names.
#[track_caller]
pub fn transport_laws<T: Transport, P: Transport>(make: impl Fn() -> (T, P)) {
    let link = || {
        let (transport, peer) = make();
        Wire { transport, peer }
    };
    law("1, capabilities", || {
        link().capabilities_are_in_their_ranges();
    });
    law("2, unchanged and in order", || {
        link().packets_come_unchanged_and_in_order();
    });
    law("3, verdicts", || link().verdicts_are_carried_out());
    law("4, growth", || link().packets_grow());
    law("5, sends", || link().sends_arrive());
    law("6, waits", || link().waits_end());
    law("7, two bursts", || link().bursts_are_not_lost());
    law("8, full queues", || link().full_queues_are_counted());
    law("9, nothing waits", || link().nothing_is_not_shown());
}

/// Holds a transport to one law, and names it where it is broken.
#[track_caller]
fn law(name: &str, hold: impl FnOnce()) {
    // What was broken is not looked at again.
    if let Err(why) = catch_unwind(AssertUnwindSafe(hold)) {
        let text = why.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| why.downcast_ref::<&str>().copied());
        panic!("law {name}: {}", text.unwrap_or("it panicked"));
    }
}

/// Where the packets of the laws come from (RFC 5737, TEST-NET-1).
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where the packets of the laws go (RFC 5737, TEST-NET-1).
pub const DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long a packet may be under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// An IPv4 header without options, and the mark of our packets behind it.
const IP_HEADER: usize = 20;
const MARK: [u8; 4] = *b"laws";
/// The smallest packet: the header, the mark and a number.
const SMALLEST: usize = IP_HEADER + MARK.len() + 4;

/// A transport, and what is at the other end of its link.
struct Wire<T, P> {
    transport: T,
    peer: P,
}

impl<T: Transport, P: Transport> Wire<T, P> {
    fn capabilities_are_in_their_ranges(self) {
        let can = self.transport.capabilities();
        assert!(can.headroom >= HEADROOM, "headroom of {}", can.headroom);
        assert!((1..=BURST).contains(&can.burst), "bursts of {}", can.burst);
        let whole = can.mtu + header(&can);
        assert!(can.max_packet >= whole, "{} of {whole}", can.max_packet);
        assert!(can.mtu >= SMALLEST, "an MTU of {}", can.mtu);
        assert_eq!(can, self.transport.capabilities());
    }

    fn packets_come_unchanged_and_in_order(mut self) {
        let can = self.transport.capabilities();
        let lens = [
            SMALLEST,
            SMALLEST + 1,
            60,
            61,
            can.mtu / 2,
            can.mtu - 1,
            can.mtu,
        ];
        let sent: Vec<_> = (0..)
            .zip(lens)
            .map(|(n, len)| packet(&can, n, len))
            .collect();
        for bytes in &sent {
            deliver(&mut self.peer, bytes);
        }
        let shown = receive(&mut self.transport, sent.len(), |packet| {
            assert_eq!(packet.link(), can.link);
            assert_eq!(packet.interface(), can.interface);
            assert_eq!(
                packet.verdict(),
                Verdict::Pass,
                "before anybody has decided"
            );
            packet.set_verdict(Verdict::Drop(DropReason::NoSession));
        });
        assert_alike(&shown, &sent);
        let stats = self.transport.stats();
        assert!(stats.received >= 7 && stats.dropped >= 7, "{stats:?}");
        let bytes: usize = sent.iter().map(Vec::len).sum();
        assert!(stats.received_bytes >= bytes as u64, "{stats:?}");
    }

    fn verdicts_are_carried_out(mut self) {
        let can = self.transport.capabilities();
        let elsewhere = InterfaceId(can.interface.0.wrapping_add(1));
        let verdicts = [
            Verdict::Reply,
            Verdict::Drop(DropReason::NoSession),
            Verdict::Forward(can.interface),
            Verdict::Held,
            Verdict::Forward(elsewhere),
            Verdict::Pass,
            Verdict::Reply,
        ];
        for n in 0..7 {
            deliver(&mut self.peer, &packet(&can, n, 100));
        }
        let mut next = verdicts.into_iter();
        receive(&mut self.transport, verdicts.len(), |packet| {
            packet.set_verdict(next.next().unwrap_or(Verdict::Held));
            if let Some(last) = packet.bytes_mut().last_mut() {
                *last = 0xee;
            }
        });
        let expected = [0, 2, 6].map(|n| {
            let mut bytes = packet(&can, n, 100);
            bytes.pop();
            bytes.push(0xee);
            bytes
        });
        assert_alike(&receive(&mut self.peer, 3, |_| ()), &expected);
        let stats = self.transport.stats();
        assert_eq!(
            (stats.sent, stats.held, stats.misdirected),
            (3, 1, 1),
            "{stats:?}"
        );
        assert_eq!(stats.dropped, 1, "{stats:?}");
        assert!(stats.passed >= 1, "{stats:?}");
        let bytes: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(stats.sent_bytes, bytes as u64, "{stats:?}");
    }

    fn packets_grow(mut self) {
        let can = self.transport.capabilities();
        let at = header(&can) + IP_HEADER;
        let gaps = [1, 20, 40, can.headroom];
        for (n, gap) in (0..).zip(gaps) {
            let before = packet(&can, n, 100);
            deliver(&mut self.peer, &before);
            let mut grown = Vec::new();
            receive(&mut self.transport, 1, |packet| {
                let bytes = packet.open_gap(at, gap).expect("there is headroom");
                bytes
                    .get_mut(at..at + gap)
                    .expect("it has grown")
                    .fill(0xaa);
                let len = packet.bytes().len();
                let back = packet
                    .set_len(len + can.tailroom)
                    .expect("there is tailroom");
                back.get_mut(len..).expect("it has grown").fill(0xbb);
                grown = back.to_vec();
                packet.set_verdict(Verdict::Reply);
            });
            assert_eq!(grown.len(), before.len() + gap + can.tailroom);
            // The mark of our packets now stands behind the gap.
            let is_it = |bytes: &[u8]| bytes.get(at..at + gap) == grown.get(at..at + gap);
            assert_alike(
                &receive_if(&mut self.peer, 1, |_| (), is_it),
                &[grown.clone()],
            );
        }
    }

    fn sends_arrive(mut self) {
        let can = self.transport.capabilities();
        let sent = [SMALLEST, 100, can.mtu].map(|len| packet(&can, 7, len));
        for bytes in &sent {
            assert_eq!(self.transport.send(bytes).expect("it is up"), Sent::Queued);
        }
        // Room for a VLAN tag is above what the link takes otherwise.
        let large = packet(&can, 8, can.mtu + 5);
        assert_eq!(
            self.transport.send(&large).expect("it is up"),
            Sent::TooLarge
        );
        assert_eq!(
            self.transport.send(&sent[0]).expect("it is up"),
            Sent::Queued
        );
        let arrived = receive(&mut self.peer, 4, |_| ());
        assert_alike(&arrived[..3], &sent);
        assert_alike(&arrived[3..], &sent[..1]);
        let stats = self.transport.stats();
        assert_eq!((stats.sent, stats.too_large), (4, 1), "{stats:?}");
    }

    fn waits_end(mut self) {
        let clock = Clock::monotonic();
        let can = self.transport.capabilities();
        let (quiet, _other_end) = UnixStream::pair().expect("a descriptor");
        let (ready, mut writer) = UnixStream::pair().expect("a descriptor");
        writer.write_all(b"x").expect("there is a reader");
        let others = [quiet.as_fd(), ready.as_fd()];

        let woken = self.wait(Some(Duration::from_millis(20)), &others[..1]);
        assert_eq!(woken, Woken::Deadline, "nothing is there");
        assert_eq!(self.wait(Some(Duration::ZERO), &[]), Woken::Deadline);
        assert_eq!(self.wait(Some(PATIENCE), &others), Woken::Other(1));
        assert_eq!(self.wait(None, &others), Woken::Other(1));

        deliver(&mut self.peer, &packet(&can, 1, 100));
        let until = clock.now() + PATIENCE;
        let woken = loop {
            // In virtual time a wait for what is under way returns at once.
            let woken = self.transport.wait(clock.now(), Some(until), &[]);
            match woken.expect("it is up") {
                Woken::Deadline if clock.now() < until => {}
                woken => break woken,
            }
        };
        assert_eq!(woken, Woken::Packet, "a packet ends a wait");
        let first = self.transport.wait(clock.now(), Some(until), &others);
        assert_eq!(
            first.expect("it is up"),
            Woken::Packet,
            "a packet goes first"
        );
        assert_eq!(receive(&mut self.transport, 1, |_| ()).len(), 1);

        let many = [quiet.as_fd(); MAX_OTHERS + 1];
        let now = clock.now();
        self.transport
            .wait(now, Some(now), &many)
            .expect_err("they are too many");
    }

    /// Waits while nothing of ours is under way; packets of a kernel's own are passed over.
    fn wait(&mut self, time: Option<Duration>, others: &[BorrowedFd<'_>]) -> Woken {
        let clock = Clock::monotonic();
        let until = clock.now() + PATIENCE;
        loop {
            let now = clock.now();
            let deadline = time.map(|time| now + time);
            let woken = self.transport.wait(now, deadline, others);
            match woken.expect("it is up") {
                Woken::Packet if now < until => drain(&mut self.transport),
                woken => return woken,
            }
        }
    }

    fn bursts_are_not_lost(mut self) {
        let can = self.transport.capabilities();
        let sent: Vec<_> = (0..64).map(|n| packet(&can, n, 100)).collect();
        for bytes in &sent {
            deliver(&mut self.peer, bytes);
        }
        let shown = receive(&mut self.transport, sent.len(), |packet| {
            packet.set_verdict(Verdict::Reply);
        });
        assert_alike(&shown, &sent);
        assert_alike(&receive(&mut self.peer, sent.len(), |_| ()), &sent);
        let stats = self.transport.stats();
        assert_eq!(
            (stats.kernel_dropped, stats.queue_full),
            (0, 0),
            "{stats:?}"
        );
    }

    fn full_queues_are_counted(mut self) {
        let can = self.transport.capabilities();
        let bytes = packet(&can, 1, SMALLEST);
        let (mut queued, mut full) = (0, 0);
        for _ in 0..20_000 {
            match self.transport.send(&bytes).expect("it is up") {
                Sent::Queued => queued += 1,
                Sent::QueueFull => full += 1,
                Sent::TooLarge => panic!("it is as small as can be"),
            }
        }
        let stats = self.transport.stats();
        assert_eq!((stats.sent, stats.queue_full), (queued, full));
        // Whatever the peer could not take either is lost; then there is room again.
        drain(&mut self.peer);
        let last = packet(&can, 2, SMALLEST);
        assert_eq!(self.transport.send(&last).expect("it is up"), Sent::Queued);
        let is_last = |bytes: &[u8]| bytes.starts_with(&last);
        let arrived = receive_if(&mut self.peer, 1, |_| (), is_last);
        assert_eq!(arrived.len(), 1, "there is room again");
    }

    fn nothing_is_not_shown(mut self) {
        let shown = self.transport.forward(|burst| {
            assert!(!burst.is_empty(), "a burst of nothing");
            let ours = |packet: &Packet<'_>| is_ours(packet.link(), packet.bytes());
            assert!(!burst.iter().any(ours), "nobody has sent one");
        });
        shown.expect("it is up");
    }
}

/// The bytes of a link header.
fn header(can: &Capabilities) -> usize {
    match can.link {
        Link::Ethernet => ethernet::HEADER,
        Link::Ip => 0,
    }
}

/// The packet with this number, `len` bytes long from the IP header on.
fn packet(can: &Capabilities, number: u32, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if can.link == Link::Ethernet {
        bytes.extend(can.mac.unwrap_or([2, 0, 0, 0, 0, 1]));
        bytes.extend([2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    }
    let start = bytes.len();
    let total = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    bytes.extend([0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 253, 0, 0]);
    bytes.extend(SOURCE.octets());
    bytes.extend(DESTINATION.octets());
    bytes.extend(MARK);
    bytes.extend(number.to_be_bytes());
    let filled = bytes.len();
    // Bytes that tell a place from its neighbours.
    bytes.extend((filled..start + len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]));
    let header = bytes.get(start..start + IP_HEADER).unwrap_or_default();
    let sum = !checksum::fold(checksum::sum(header));
    if let Some(field) = bytes.get_mut(start + 10..start + 12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn is_ours(link: Link, bytes: &[u8]) -> bool {
    let start = match link {
        Link::Ethernet => ethernet::HEADER,
        Link::Ip => 0,
    };
    bytes.get(start + IP_HEADER..start + IP_HEADER + MARK.len()) == Some(&MARK)
}

/// Sends, and again for as long as the queue is full.
fn deliver(peer: &mut impl Transport, bytes: &[u8]) {
    let clock = Clock::monotonic();
    let until = clock.now() + PATIENCE;
    while peer.send(bytes).expect("it is up") != Sent::Queued {
        assert!(clock.now() < until, "the other end takes a packet");
    }
}

/// The next `count` of our packets, as shown; `look` sees each before.
fn receive(
    transport: &mut impl Transport,
    count: usize,
    look: impl FnMut(&mut Packet<'_>),
) -> Vec<Vec<u8>> {
    let link = transport.capabilities().link;
    receive_if(transport, count, look, |bytes| is_ours(link, bytes))
}

fn receive_if(
    transport: &mut impl Transport,
    count: usize,
    mut look: impl FnMut(&mut Packet<'_>),
    wanted: impl Fn(&[u8]) -> bool,
) -> Vec<Vec<u8>> {
    let clock = Clock::monotonic();
    let until = clock.now() + PATIENCE;
    let can = transport.capabilities();
    let most = can.burst;
    let mut shown = Vec::new();
    while shown.len() < count {
        let now = clock.now();
        assert!(now < until, "{} of {count} packets have come", shown.len());
        transport.wait(now, Some(until), &[]).expect("it is up");
        let result = transport.forward(|burst| {
            assert!(
                (1..=most).contains(&burst.len()),
                "a burst of {}",
                burst.len()
            );
            for packet in burst {
                let (front, back) = (packet.headroom(), packet.tailroom());
                assert!(front >= can.headroom, "a headroom of {front}");
                assert!(back >= can.tailroom, "a tailroom of {back}");
                if wanted(packet.bytes()) {
                    shown.push(packet.bytes().to_vec());
                    look(packet);
                }
            }
        });
        result.expect("it is up");
    }
    shown
}

/// Takes and frees all that waits.
fn drain(transport: &mut impl Transport) {
    let clock = Clock::monotonic();
    loop {
        while transport.forward(|_| ()).expect("it is up") > 0 {}
        let now = clock.now();
        let soon = Some(now + Duration::from_millis(20));
        if transport.wait(now, soon, &[]).expect("it is up") != Woken::Packet {
            return;
        }
    }
}

/// Alike, but for zeros behind a frame that is shorter than Ethernet's 60 bytes.
#[track_caller]
fn assert_alike(have: &[Vec<u8>], want: &[Vec<u8>]) {
    assert_eq!(have.len(), want.len());
    for (have, want) in have.iter().zip(want) {
        let padding = have.get(want.len()..).unwrap_or_default();
        let differ = have.iter().zip(want).position(|(have, want)| have != want);
        let at = differ.unwrap_or_else(|| have.len().min(want.len()));
        let from_there = |bytes: &[u8]| -> Vec<u8> {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.iter().take(16).copied().collect()
        };
        assert!(
            have.starts_with(want),
            "{} bytes, and not {}; from byte {at} on {:x?}, and not {:x?}",
            have.len(),
            want.len(),
            from_there(have),
            from_there(want),
        );
        assert!(
            padding.is_empty() || have.len() <= 60,
            "{} bytes, and not {}",
            have.len(),
            want.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "law 7, two bursts: one of 3 is lost")]
    fn who_breaks_a_law_learns_which() {
        law("7, two bursts", || panic!("one of {} is lost", 3));
    }
}
