//! Trains of segments, one way, as a QUIC server sends them (UDP_SEGMENT and UDP_GRO, udp(7)).

use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use harness::wait;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::contender::{self, Contender, Traffic};
use crate::options::Options;
use crate::table::{Sample, Table};

/// What fits a packet of 1,280 bytes, the least MTU of IPv6, with room for a tunnel.
const SEGMENT: usize = 1_200;

/// Segments a train.
const TRAIN: usize = 16;

/// Trains under way: with more, those that a proxy reads one by one overflow its socket.
const WINDOW: usize = 4;

/// Messages read at once, of the largest size that UDP_GRO joins.
const BATCH: usize = 8;

/// When nothing came for so long, what is under way is lost.
const LOST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// CPU microseconds of the proxy a packet of 1,200 bytes.
pub(crate) fn compare(options: &Options) -> Table {
    let sink = Sink::bind();
    let contenders = contender::start(options, Traffic::Trains, sink.address());
    let title = ("UDP, trains of 16 × 1200 bytes, one way", "CPU us/pkt");
    let sources: Vec<_> = contenders
        .iter()
        .map(|contender| Source::connect(contender.front))
        .collect();
    let mut sink = sink;
    Table::measure(title, options, &contenders, |contender| {
        let source = sources
            .iter()
            .find(|source| source.front == contender.front);
        turn(
            options,
            contender,
            source.expect("each has its source"),
            &mut sink,
        )
    })
}

fn turn(options: &Options, contender: &Contender, source: &Source, sink: &mut Sink) -> Sample {
    sink.settle();
    let before = contender.cpu_nanos();
    let start = wait::now();
    let (mut sent, mut arrived, mut lost) = (0, 0, 0);
    while start.elapsed() < options.turn {
        while sent + TRAIN <= arrived + lost + WINDOW * TRAIN && source.send() {
            sent += TRAIN;
        }
        match sink.receive() {
            0 => lost = sent - arrived,
            packets => arrived += packets,
        }
    }
    let nanos = contender.cpu_nanos() - before;
    if lost > 0 {
        println!("{}: {lost} of {sent} lost", contender.name);
    }
    Sample {
        cost: nanos / 1_000.0 / arrived as f64,
        rate: arrived as f64 / start.elapsed().as_secs_f64(),
        ..Sample::default()
    }
}

/// Sends trains to one contender.
struct Source {
    front: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Source {
    fn connect(front: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let state = UdpSocketState::new((&socket).into()).expect("a socket of this kernel");
        Self {
            front,
            socket,
            state,
        }
    }

    /// Whether the kernel took a train.
    fn send(&self) -> bool {
        let train = Transmit {
            destination: self.front,
            ecn: None,
            contents: &[7; SEGMENT * TRAIN],
            segment_size: Some(SEGMENT),
            src_ip: None,
        };
        self.state.try_send((&self.socket).into(), &train).is_ok()
    }
}

/// Counts the packets that come.
struct Sink {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<Vec<u8>>,
}

impl Sink {
    fn bind() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let state = UdpSocketState::new((&socket).into()).expect("a socket of this kernel");
        Self {
            socket,
            state,
            buffers: vec![vec![0; 1 << 16]; BATCH],
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Throws away what an earlier turn left under way.
    fn settle(&mut self) {
        while self.receive() > 0 {}
    }

    /// Waits for packets and counts those there are; zero when none comes in time.
    fn receive(&mut self) -> usize {
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = poll(&mut ready, Some(&LOST)).expect("a socket can be awaited");
        if ready == 0 {
            return 0;
        }
        let mut slices = self
            .buffers
            .iter_mut()
            .map(|buffer| IoSliceMut::new(buffer));
        let mut slices: [_; BATCH] = std::array::from_fn(|_| slices.next().expect("a buffer each"));
        let mut metas = [RecvMeta::default(); BATCH];
        match self
            .state
            .recv((&self.socket).into(), &mut slices, &mut metas)
        {
            Ok(count) => {
                let bytes: usize = metas[..count].iter().map(|meta| meta.len).sum();
                assert_eq!(bytes % SEGMENT, 0, "no packet is cut");
                bytes / SEGMENT
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("a sink that fails: {error}"),
        }
    }
}
