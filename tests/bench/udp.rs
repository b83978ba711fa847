//! Small datagrams: 64 clients, each with a few under way, and an echo behind the proxy.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::wait;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::contender::{self, Contender, Traffic};
use crate::options::Options;
use crate::table::{Sample, Table, percentile};

const CLIENTS: usize = 64;

/// The length of a question to a resolver, about.
const LENGTH: usize = 64;

/// When nothing came for so long, what is under way is lost: far longer than a busy host keeps a
/// process waiting for its core.
const LOST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// How long a silence ends a turn.
const SILENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// CPU microseconds of the proxy for a datagram there and its answer back.
pub(crate) fn compare(options: &Options) -> Table {
    let echo = Echo::start();
    let contenders = contender::start(options, Traffic::Udp, echo.address);
    let loads: Vec<_> = contenders
        .iter()
        .map(|contender| Load::new(contender.front))
        .collect();
    let title = ("UDP, 64 bytes there and back: 64 clients", "CPU us/pair");
    Table::measure(title, options, &contenders, |contender| {
        let load = loads.iter().find(|load| load.front == contender.front);
        load.expect("each has its load").turn(options, contender)
    })
}

/// The sockets that ask one contender; they stay, so that its sessions do.
struct Load {
    front: SocketAddr,
    sockets: Vec<UdpSocket>,
    epoll: std::os::fd::OwnedFd,
}

impl Load {
    fn new(front: SocketAddr) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
        let sockets: Vec<_> = (0..CLIENTS).map(|_| client(front)).collect();
        for (number, socket) in sockets.iter().enumerate() {
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, socket, data, EventFlags::IN).expect("a socket can be watched");
        }
        Self {
            front,
            sockets,
            epoll,
        }
    }

    /// Throws away what an earlier turn left under way.
    fn settle(&self) {
        let mut events = Vec::with_capacity(CLIENTS);
        loop {
            events.clear();
            let ready = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.epoll, ready, Some(&SILENCE)).expect("sockets can be watched");
            if events.is_empty() {
                return;
            }
            for socket in &self.sockets {
                while socket.recv(&mut [0; LENGTH]).is_ok() {}
            }
        }
    }

    fn turn(&self, options: &Options, contender: &Contender) -> Sample {
        self.settle();
        let mut answers = Answers::new();
        let before = contender.cpu_nanos();
        let mut under_way = [0; CLIENTS];
        let mut events = Vec::with_capacity(CLIENTS);
        while answers.start.elapsed() < options.turn {
            for (socket, under_way) in self.sockets.iter().zip(&mut under_way) {
                while *under_way < options.window && answers.ask(socket) {
                    *under_way += 1;
                }
            }
            events.clear();
            let ready = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.epoll, ready, Some(&LOST)).expect("sockets can be watched");
            if events.is_empty() {
                answers.lost += under_way.iter().sum::<usize>();
                under_way = [0; CLIENTS];
            }
            for event in &events {
                let number = usize::try_from(event.data.u64()).expect("a small number");
                while under_way[number] > 0 && answers.hear(&self.sockets[number]) {
                    under_way[number] -= 1;
                }
            }
        }
        let nanos = contender.cpu_nanos() - before;
        if answers.lost > 0 {
            println!("{}: {} lost", contender.name, answers.lost);
        }
        answers.sample(nanos)
    }
}

/// What came back, and how late.
struct Answers {
    start: Instant,
    lost: usize,
    latencies: Vec<f64>,
    buffer: [u8; LENGTH],
}

impl Answers {
    fn new() -> Self {
        Self {
            start: wait::now(),
            lost: 0,
            latencies: Vec::with_capacity(1 << 20),
            buffer: [0; LENGTH],
        }
    }

    /// Sends the time; whether the socket took it.
    fn ask(&mut self, socket: &UdpSocket) -> bool {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.buffer[..8].copy_from_slice(&nanos.to_ne_bytes());
        socket.send(&self.buffer).is_ok()
    }

    /// Takes one answer, if there is one.
    fn hear(&mut self, socket: &UdpSocket) -> bool {
        match socket.recv(&mut self.buffer) {
            Ok(length) => assert_eq!(length, LENGTH, "an answer is as long as its question"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("a proxy that refuses: {error}"),
        }
        let (stamp, _) = self.buffer.split_first_chunk().expect("eight bytes");
        let sent = Duration::from_nanos(u64::from_ne_bytes(*stamp));
        let late = self.start.elapsed().saturating_sub(sent);
        self.latencies.push(late.as_secs_f64() * 1e6);
        true
    }

    fn sample(mut self, nanos: f64) -> Sample {
        let count = self.latencies.len() as f64;
        Sample {
            cost: nanos / 1_000.0 / count,
            rate: count / self.start.elapsed().as_secs_f64(),
            p50: percentile(&mut self.latencies, 50),
            p99: percentile(&mut self.latencies, 99),
        }
    }
}

fn client(front: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.connect(front).expect("loopback is there");
    socket
        .set_nonblocking(true)
        .expect("sockets can be nonblocking");
    socket
}

/// A thread that sends back what it gets.
struct Echo {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Echo {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let ended = Arc::new(AtomicBool::new(false));
        let read_timeout = Some(Duration::from_millis(200));
        socket.set_read_timeout(read_timeout).expect("it can wait");
        std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                let mut buffer = [0; 2048];
                while !ended.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        // What the proxy does not take, the client counts as lost.
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
            }
        });
        Self { address, ended }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
