//! A transport of your own: IP packets in UDP datagrams, so that two processes make a link.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

use lb_l4::packet::{InterfaceId, Link, Packet};
use lb_l4::transport::laws::transport_laws;
use lb_l4::transport::{
    Action, BURST, Capabilities, HEADROOM, Sent, Transport, TransportStats, Woken, wait_on,
};
use lbcore::Instant;

/// The largest packet; datagrams of up to 64 KiB would do.
const MTU: usize = 1400;
/// A packet with room before it, and a byte more by which one that is too large is known.
type Buffer = [u8; HEADROOM + MTU + 1];

/// One end of a link, which is a connected socket.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    buffers: Box<[Buffer; BURST]>,
    stats: TransportStats,
}

impl Datagrams {
    /// Two ends on this host.
    fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = (
            UdpSocket::bind("127.0.0.1:0")?,
            UdpSocket::bind("127.0.0.1:0")?,
        );
        near.connect(far.local_addr()?)?;
        far.connect(near.local_addr()?)?;
        Ok((Self::new(near)?, Self::new(far)?))
    }

    fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            buffers: Box::new([[0; HEADROOM + MTU + 1]; BURST]),
            stats: TransportStats::default(),
        })
    }
}

/// Sends one packet and counts what became of it.
fn transmit(socket: &UdpSocket, bytes: &[u8], stats: &mut TransportStats) -> io::Result<Sent> {
    if bytes.len() > MTU {
        stats.too_large += 1;
        return Ok(Sent::TooLarge);
    }
    match socket.send(bytes) {
        Ok(len) => {
            stats.count_sent(len);
            Ok(Sent::Queued)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            stats.queue_full += 1;
            Ok(Sent::QueueFull)
        }
        Err(error) => Err(error),
    }
}

impl Transport for Datagrams {
    fn forward(&mut self, mut decide: impl FnMut(&mut [Packet<'_>])) -> io::Result<usize> {
        let mut burst = Vec::with_capacity(BURST);
        for buffer in self.buffers.iter_mut() {
            let (_, room) = buffer.split_at_mut(HEADROOM);
            match self.socket.recv(room) {
                Ok(len) if len > MTU => self.stats.too_large += 1,
                Ok(len) => {
                    self.stats.count_received(len);
                    burst.push(Packet::new(buffer, HEADROOM..HEADROOM + len, Link::Ip));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if burst.is_empty() {
            return Ok(0);
        }
        decide(&mut burst);
        for packet in &burst {
            if self.stats.judge(packet.verdict(), InterfaceId::default()) == Action::Send {
                transmit(&self.socket, packet.bytes(), &mut self.stats)?;
            }
        }
        Ok(burst.len())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<Sent> {
        transmit(&self.socket, bytes, &mut self.stats)
    }

    fn wait(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
    ) -> io::Result<Woken> {
        wait_on(self.socket.as_fd(), now, deadline, others)
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::default();
        can.link = Link::Ip;
        can.mtu = MTU;
        can.max_packet = MTU;
        can
    }

    fn stats(&self) -> TransportStats {
        self.stats
    }
}

fn main() {
    // Panics at the first broken law.
    transport_laws(|| Datagrams::pair().expect("two ports of this host are free"));
}
