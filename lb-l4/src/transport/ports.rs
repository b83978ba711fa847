//! Several interfaces as one transport.

use std::io;
use std::os::fd::BorrowedFd;

use lbcore::Instant;

use super::wait;
use super::{Capabilities, MAX_OTHERS, Sent, Transport, TransportStats, Woken};
use crate::packet::{InterfaceId, Offload, Packet, Verdict};

/// Several transports of one worker, whose packets are forwarded from any to any.
///
/// A packet whose verdict is to [`Forward`](Verdict::Forward) to another of them is copied there; a
/// reply is not. What is sent goes to the first, unless it is sent by
/// [`send_to`](Self::send_to).
///
/// # Examples
///
/// ```
/// use lb_l4::packet::{InterfaceId, Verdict};
/// use lb_l4::transport::{Memory, Ports, Transport};
///
/// let (outside, mut client) = Memory::pair()?;
/// let (inside, mut server) = Memory::pair()?;
/// let mut ports = Ports::new(vec![outside.on(InterfaceId(1)), inside.on(InterfaceId(2))])?;
/// client.send(b"question")?;
/// ports.forward(|burst| burst[0].set_verdict(Verdict::Forward(InterfaceId(2))))?;
/// server.forward(|burst| assert_eq!(burst[0].bytes(), b"question"))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Ports<T> {
    ports: Vec<T>,
    /// Which one is asked first, so that none starves.
    next: usize,
    outbox: Outbox,
    /// Copied from one to another, which the one took for held.
    carried: u64,
    misdirected: u64,
}

/// Copies of packets on their way from one port to another; the memory is used again.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    packets: Vec<(InterfaceId, usize, Offload)>,
}

impl<T: Transport> Ports<T> {
    /// Joins `ports`, each with a number of its own.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if there is none, two have one number or different links, or
    /// there are more than [`MAX_OTHERS`].
    pub fn new(ports: Vec<T>) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let first = ports.first().ok_or_else(invalid)?.capabilities();
        let mut numbers: Vec<_> = ports.iter().map(|it| it.capabilities().interface).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let is_alike = |it: &T| it.capabilities().link == first.link;
        if numbers.len() < ports.len() || ports.len() > MAX_OTHERS || !ports.iter().all(is_alike) {
            return Err(invalid());
        }
        Ok(Self {
            ports,
            next: 0,
            outbox: Outbox::default(),
            carried: 0,
            misdirected: 0,
        })
    }

    /// Each of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.ports.iter()
    }

    /// Sends one packet by the interface `to`; nothing is left to be done on it by default.
    ///
    /// # Errors
    ///
    /// As [`Transport::send_offloaded`], and [`io::ErrorKind::NotFound`] if there is no such
    /// interface.
    pub fn send_to(&mut self, to: InterfaceId, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        self.port(to)?.send_offloaded(bytes, offload)
    }

    fn port(&mut self, interface: InterfaceId) -> io::Result<&mut T> {
        let mut ports = self.ports.iter_mut();
        let port = ports.find(|port| port.capabilities().interface == interface);
        port.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Shows what waits at the port `place`, and carries its packets to the others.
    fn forward_from(
        &mut self,
        place: usize,
        decide: impl FnOnce(&mut [Packet<'_>]),
    ) -> io::Result<usize> {
        let Some(port) = self.ports.get_mut(place) else {
            return Ok(0);
        };
        let own = port.capabilities().interface;
        let outbox = &mut self.outbox;
        // It is called once at most.
        let mut decide = Some(decide);
        let shown = port.forward(|burst| {
            if let Some(decide) = decide.take() {
                decide(burst);
            }
            for packet in burst {
                match packet.verdict() {
                    Verdict::Forward(to) if to != own => {
                        outbox.put(to, packet);
                        packet.set_verdict(Verdict::Held);
                    }
                    _ => {}
                }
            }
        })?;
        self.carry()?;
        Ok(shown)
    }

    /// Sends what has been copied.
    fn carry(&mut self) -> io::Result<()> {
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut from = 0;
        let mut result = Ok(());
        for (to, end, offload) in outbox.packets.drain(..) {
            let bytes = outbox.bytes.get(from..end).unwrap_or_default();
            from = end;
            self.carried += 1;
            match self.port(to).and_then(|it| it.queue(bytes, offload)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.misdirected += 1,
                // What is left to be done did not fit the packet.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.misdirected += 1,
                Err(error) => result = Err(error),
            }
        }
        if !outbox.bytes.is_empty() {
            outbox.bytes.clear();
            result = self.flush().and(result);
        }
        self.outbox = outbox;
        result
    }
}

impl Outbox {
    fn put(&mut self, to: InterfaceId, packet: &Packet<'_>) {
        self.bytes.extend_from_slice(packet.bytes());
        self.packets.push((to, self.bytes.len(), packet.offloads()));
    }
}

impl<T: Transport> Transport for Ports<T> {
    /// Shows the packets of one port, the next one at which some wait.
    fn forward(&mut self, mut decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        for _ in 0..self.ports.len() {
            let place = self.next;
            self.next = (place + 1) % self.ports.len();
            let shown = self.forward_from(place, &mut decide)?;
            if shown > 0 {
                return Ok(shown);
            }
        }
        Ok(0)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        self.send_offloaded(bytes, Offload::default())
    }

    fn send_offloaded(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let first = self.capabilities().interface;
        self.send_to(first, bytes, offload)
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        if others.len() > MAX_OTHERS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // What is asked without sleeping knows of packets that no descriptor tells.
        for port in &mut self.ports {
            if port.wait(now, Some(now), &[])? == Woken::Packet {
                return Ok(Woken::Packet);
            }
        }
        let mut all: Vec<_> = self.ports.iter().filter_map(T::descriptor).collect();
        let own = all.len();
        all.extend_from_slice(others);
        Ok(match wait::wait_all(all, wait::timeout(now, deadline))? {
            Woken::Other(place) if place < own => Woken::Packet,
            Woken::Other(place) => Woken::Other(place - own),
            woken => woken,
        })
    }

    fn queue(&mut self, bytes: &[u8], offload: Offload) -> io::Result<Sent> {
        let first = self.capabilities().interface;
        self.port(first)?.queue(bytes, offload)
    }

    fn flush(&mut self) -> io::Result<()> {
        // One that is gone does not keep the others waiting.
        let flushed = self.ports.iter_mut().map(T::flush);
        flushed.fold(Ok(()), io::Result::and)
    }

    /// Those of the first port, and of the others what all of them can do.
    fn capabilities(&self) -> Capabilities {
        let all = self.ports.iter().map(T::capabilities);
        let both = |a: Capabilities, b: Capabilities| Capabilities {
            mtu: a.mtu.min(b.mtu),
            max_packet: a.max_packet.max(b.max_packet),
            headroom: a.headroom.min(b.headroom),
            tailroom: a.tailroom.min(b.tailroom),
            burst: a.burst.max(b.burst),
            partial_checksums: a.partial_checksums || b.partial_checksums,
            segmentation: a.segmentation || b.segmentation,
            zero_copy: a.zero_copy && b.zero_copy,
            ..a
        };
        all.reduce(both).unwrap_or_default()
    }

    /// The sums of all; what went from one to another is not counted as held.
    fn stats(&self) -> TransportStats {
        let sum = self
            .ports
            .iter()
            .map(T::stats)
            .fold(TransportStats::default(), |a, b| TransportStats {
                received: a.received + b.received,
                received_bytes: a.received_bytes + b.received_bytes,
                sent: a.sent + b.sent,
                sent_bytes: a.sent_bytes + b.sent_bytes,
                dropped: a.dropped + b.dropped,
                held: a.held + b.held,
                passed: a.passed + b.passed,
                kernel_dropped: a.kernel_dropped + b.kernel_dropped,
                queue_full: a.queue_full + b.queue_full,
                too_large: a.too_large + b.too_large,
                malformed: a.malformed + b.malformed,
                misdirected: a.misdirected + b.misdirected,
            });
        TransportStats {
            held: sum.held.saturating_sub(self.carried),
            misdirected: sum.misdirected + self.misdirected,
            ..sum
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::packet::Link;
    use crate::transport::Memory;
    use crate::transport::memory::{MemoryConfig, Waiting};

    const ONE: InterfaceId = InterfaceId(1);
    const TWO: InterfaceId = InterfaceId(2);
    const NOBODY: InterfaceId = InterfaceId(3);

    fn pair(config: MemoryConfig) -> (Memory, Memory) {
        Memory::pair_with(config.waiting(Waiting::Return)).unwrap()
    }

    /// Two ports, and the far end of each.
    fn ports() -> (Ports<Memory>, [Memory; 2]) {
        let config = MemoryConfig::default().link(Link::Ip);
        let ((a, far_a), (b, far_b)) = (pair(config), pair(config.mtu(1000).capacity(2)));
        let ports = Ports::new(vec![a.on(ONE), b.on(TWO)]).unwrap();
        (ports, [far_a, far_b])
    }

    fn to(verdict: Verdict) -> impl FnMut(&mut [Packet<'_>]) {
        move |burst| burst.iter_mut().for_each(|it| it.set_verdict(verdict))
    }

    #[test]
    fn packets_go_where_they_are_told() {
        let (mut ports, [mut a, mut b]) = ports();
        a.send(b"across").unwrap();
        b.send(b"back").unwrap();
        assert_eq!(ports.forward(to(Verdict::Forward(TWO))).unwrap(), 1);
        assert_eq!((a.waiting(), b.waiting()), (0, 1), "to the other one");
        assert_eq!(ports.forward(to(Verdict::Forward(TWO))).unwrap(), 1);
        assert_eq!((a.waiting(), b.waiting()), (0, 2), "to its own");
        a.send(b"again").unwrap();
        assert_eq!(ports.forward(to(Verdict::Reply)).unwrap(), 1);
        assert_eq!((a.waiting(), b.waiting()), (1, 2));
        assert_eq!(ports.forward(|_| panic!("nothing waits")).unwrap(), 0);

        let mut heard = Vec::new();
        b.forward(|burst| heard.extend(burst.iter().map(|it| it.bytes().to_vec())))
            .unwrap();
        assert_eq!(heard, [b"across".to_vec(), b"back".to_vec()]);
        let stats = ports.stats();
        assert_eq!((stats.received, stats.received_bytes), (3, 15));
        assert_eq!((stats.sent, stats.sent_bytes, stats.held), (3, 15, 0));
    }

    #[test]
    fn ports_are_asked_in_turn() {
        let (mut ports, [mut a, mut b]) = ports();
        let mut order = Vec::new();
        for _ in 0..3 {
            a.send(b"a").unwrap();
            b.send(b"b").unwrap();
            for _ in 0..2 {
                ports
                    .forward(|burst| order.push(burst[0].interface()))
                    .unwrap();
            }
        }
        assert_eq!(order, [ONE, TWO, ONE, TWO, ONE, TWO]);
    }

    #[test]
    fn what_cannot_be_carried_is_counted() {
        let (mut ports, [mut a, b]) = ports();
        a.send(b"to nobody").unwrap();
        ports.forward(to(Verdict::Forward(NOBODY))).unwrap();
        a.send(&[0; 1001]).unwrap();
        ports.forward(to(Verdict::Forward(TWO))).unwrap();
        for _ in 0..3 {
            a.send(b"x").unwrap();
        }
        ports.forward(to(Verdict::Forward(TWO))).unwrap();
        a.send(b"kept").unwrap();
        ports.forward(to(Verdict::Held)).unwrap();
        let stats = ports.stats();
        assert_eq!((stats.misdirected, stats.too_large), (1, 1));
        assert_eq!((stats.queue_full, stats.sent, stats.held), (1, 2, 1));
        assert_eq!(b.waiting(), 2);
    }

    #[test]
    fn what_is_left_to_hardware_is_carried_too() {
        let (mut ports, [mut a, mut b]) = ports();
        let offload = Offload::partial(NonZeroU16::new(500));
        a.send_offloaded(&[0; 1500], offload).unwrap();
        ports.forward(to(Verdict::Forward(TWO))).unwrap();
        let mut seen = None;
        b.forward(|burst| seen = Some((burst[0].bytes().len(), burst[0].offloads())))
            .unwrap();
        assert_eq!(seen, Some((1500, offload)));
    }

    #[test]
    fn a_packet_is_sent_by_the_first_or_by_name() {
        let (mut ports, [a, b]) = ports();
        assert_eq!(ports.send(b"x").unwrap(), Sent::Queued);
        assert_eq!((a.waiting(), b.waiting()), (1, 0));
        let none = Offload::default();
        assert_eq!(ports.send_to(TWO, b"x", none).unwrap(), Sent::Queued);
        assert_eq!((a.waiting(), b.waiting()), (1, 1));
        let error = ports.send_to(NOBODY, b"x", none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let numbers: Vec<_> = ports.iter().map(|it| it.capabilities().interface).collect();
        assert_eq!(numbers, [ONE, TWO]);
    }

    #[test]
    fn a_wait_ends_with_a_packet_at_any_port() {
        let (mut ports, [mut a, mut b]) = ports();
        let now = Instant::ZERO;
        let (quiet, _end) = std::os::unix::net::UnixStream::pair().unwrap();
        let (ready, mut end) = std::os::unix::net::UnixStream::pair().unwrap();
        io::Write::write_all(&mut end, b"x").unwrap();
        let fds = [&quiet, &ready].map(std::os::fd::AsFd::as_fd);
        assert_eq!(
            ports.wait(now, Some(now), &fds[..1]).unwrap(),
            Woken::Deadline
        );
        assert_eq!(ports.wait(now, None, &fds).unwrap(), Woken::Other(1));
        for far in [&mut b, &mut a] {
            far.send(b"x").unwrap();
            assert_eq!(ports.wait(now, None, &fds).unwrap(), Woken::Packet);
            ports.forward(|_| ()).unwrap();
        }
        let many = [fds[0]; MAX_OTHERS + 1];
        ports.wait(now, Some(now), &many).unwrap_err();
    }

    #[test]
    fn it_can_do_what_all_can() {
        let (ports, _far) = ports();
        let can = ports.capabilities();
        assert_eq!((can.interface, can.mtu), (ONE, 1000));
        assert!(can.segmentation && can.partial_checksums && !can.zero_copy);
    }

    #[test]
    fn ports_that_cannot_be_told_apart_are_refused() {
        let ip = MemoryConfig::default().link(Link::Ip);
        let on = |config, number| pair(config).0.on(number);
        let refused = |ports: Vec<Memory>| {
            let error = Ports::new(ports).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        };
        refused(Vec::new());
        refused(vec![on(ip, ONE), on(ip, ONE)]);
        refused(vec![on(ip, ONE), on(MemoryConfig::default(), TWO)]);
        let numbers = (0..=u16::try_from(MAX_OTHERS).unwrap()).map(InterfaceId);
        let many: Vec<_> = numbers.map(|number| on(ip, number)).collect();
        refused(many);
    }

    #[test]
    fn several_ports_keep_the_laws_of_one() {
        crate::transport::laws::transport_laws(|| {
            let config = MemoryConfig::default();
            let ((near, far), (other, its_far)) = (pair(config), pair(config));
            // Its end would otherwise be an error of the other port.
            std::mem::forget(its_far);
            (Ports::new(vec![near, other.on(NOBODY)]).unwrap(), far)
        });
    }
}
