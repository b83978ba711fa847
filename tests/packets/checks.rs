//! What must work whatever the method: each a sentence that a test runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use harness::lan::{VIP, VIP_V6};
use harness::length::either;
use harness::load::{Transfer, Way, iperf3};
use harness::wait::{self, PATIENCE};

use crate::rig::{ECHO, IPERF, Rig, WEB, sum_of_the_file};

/// One family of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn vip(self, port: u16) -> SocketAddr {
        let host = match self {
            Self::V4 => VIP,
            Self::V6 => VIP_V6,
        };
        SocketAddr::new(host.parse().expect("an address"), port)
    }
}

impl Rig {
    /// All that must work whatever the method.
    pub(crate) fn everything_works(&self) {
        for family in Family::BOTH {
            self.a_web_server_answers(family);
            self.a_large_file_arrives_whole(family);
            self.short_connections_all_succeed(family, either(1_000, 10_000));
            self.a_stream_comes_back_whole(family, either(1 << 20, 16 << 20));
            self.large_datagrams_come_back(family);
            self.bulk_flows_both_ways(family);
            self.the_address_answers_ping(family);
            self.the_path_is_traced(family);
        }
        self.lan.narrow(1_300);
        for family in Family::BOTH {
            self.no_black_hole_where_the_path_narrows(family);
        }
    }

    /// The least that must work over every transport.
    pub(crate) fn the_least_works(&self) {
        for family in Family::BOTH {
            self.a_web_server_answers(family);
            self.a_large_file_arrives_whole(family);
            self.large_datagrams_come_back(family);
            self.the_address_answers_ping(family);
        }
    }

    /// Waits for the first answer: nobody knows anybody's link address before.
    #[track_caller]
    pub(crate) fn a_web_server_answers(&self, family: Family) {
        let address = family.vip(WEB);
        let mut last = None;
        let seen = wait::until(PATIENCE, || match self.ask(address) {
            Ok(server) => Some(server),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        assert!(seen.is_some(), "{address}: {last:?}");
    }

    #[track_caller]
    pub(crate) fn a_large_file_arrives_whole(&self, family: Family) {
        let url = format!("http://{}/large", family.vip(WEB));
        let script = format!("curl --silent --show-error --fail --max-time 60 {url} | sha256sum");
        let output = self.lan.client.command("sh").args(["-c", &script]).output();
        let output = output.expect("sh is there");
        let sum = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        let sum = sum.split_whitespace().next();
        assert_eq!(sum, Some(sum_of_the_file()), "{url}: {said}");
    }

    /// Each a connection of its own, spread over the servers.
    #[track_caller]
    pub(crate) fn short_connections_all_succeed(&self, family: Family, count: usize) {
        const THREADS: usize = 8;
        let address = family.vip(WEB);
        let counts = self.lan.client.enter(|| {
            let workers: Vec<_> = (0..THREADS)
                .map(|_| {
                    // The thread of a namespace hands it on to those that it starts.
                    thread::spawn(move || {
                        let mut counts = [0_usize; 3];
                        for _ in 0..count / THREADS {
                            counts[ask(address, PATIENCE).expect("each is answered")] += 1;
                        }
                        counts
                    })
                })
                .collect();
            workers.into_iter().fold([0; 3], |sum: [usize; 3], worker| {
                let counts = worker.join().expect("each is answered");
                std::array::from_fn(|n| sum[n] + counts[n])
            })
        });
        let fair = count / 3;
        for seen in counts {
            assert!(seen > fair * 9 / 10 && seen < fair * 11 / 10, "{counts:?}");
        }
    }

    /// Full packets both ways at once.
    #[track_caller]
    pub(crate) fn a_stream_comes_back_whole(&self, family: Family, length: u32) {
        let address = family.vip(ECHO);
        let sent: Vec<u8> = (0..length)
            .map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
            .collect();
        let got = self.lan.client.enter(|| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            thread::scope(|scope| {
                let mut writer = stream.try_clone()?;
                let sent = &sent;
                let writing = scope.spawn(move || {
                    writer.write_all(sent)?;
                    writer.shutdown(std::net::Shutdown::Write)
                });
                let mut got = Vec::new();
                stream.read_to_end(&mut got)?;
                writing.join().expect("it does not panic")?;
                std::io::Result::Ok(got)
            })
        });
        let got = got.unwrap_or_else(|error| panic!("{address}: {error}"));
        assert!(got == sent, "{} bytes of {address} differ", got.len());
    }

    /// 8,000 bytes are six fragments on the link, there and back.
    #[track_caller]
    pub(crate) fn large_datagrams_come_back(&self, family: Family) {
        let address = family.vip(ECHO);
        let sent: Vec<u8> = (0..8_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let lost = self.lan.client.enter(|| {
            let lengths = [1, 1_400, 1_473, 8_000].into_iter();
            let lost = lengths.filter(|length| !comes_back(address, &sent[..*length]));
            lost.collect::<Vec<_>>()
        });
        assert!(lost.is_empty(), "lengths that {address} lost: {lost:?}");
    }

    #[track_caller]
    pub(crate) fn bulk_flows_both_ways(&self, family: Family) {
        let span = Duration::from_secs(1);
        for way in [Way::There, Way::Back] {
            self.await_iperf();
            let run = iperf3(family.vip(IPERF), way, span).within(&self.lan.client);
            let transfer = Transfer::of(run.start(), span);
            assert!(transfer.bytes > 1e6, "{family:?} {way:?}: {transfer:?}");
        }
    }

    /// Waits until the server of iperf3 listens, which it does anew for each run.
    #[track_caller]
    fn await_iperf(&self) {
        wait::eventually(PATIENCE, "iperf3 listens", || {
            let log = self.iperf.log();
            let times = |words| log.matches(words).count();
            times("Server listening") > times("Accepted connection")
        });
    }

    /// Which server answers a request of the client's on a connection of its own.
    pub(crate) fn ask(&self, address: SocketAddr) -> std::io::Result<usize> {
        self.lan.client.enter(|| ask(address, PATIENCE))
    }

    /// The same where no answer may be one: it waits no longer than for some SYNs.
    pub(crate) fn ask_briefly(&self, address: SocketAddr) -> std::io::Result<usize> {
        let client = &self.lan.client;
        client.enter(|| ask(address, Duration::from_millis(300)))
    }
}

fn ask(address: SocketAddr, patience: Duration) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let last = text.trim_end().rsplit(' ').next();
    let server = last.and_then(|it| it.parse().ok());
    server.ok_or_else(|| std::io::Error::other(text))
}

/// Whether a datagram comes back; a neighbour that is being asked for, or a path that is found to be
/// narrower, may cost the first.
fn comes_back(address: SocketAddr, sent: &[u8]) -> bool {
    let any: SocketAddr = match address.is_ipv4() {
        true => ([0_u8; 4], 0).into(),
        false => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).expect("a socket");
    let span = Some(Duration::from_secs(2));
    socket.set_read_timeout(span).expect("a span");
    socket.connect(address).expect("a route");
    let mut got = [0; 9_000];
    (0..5).any(|_| {
        // An error is told by the next call, whichever it is.
        let _ = socket.send(sent);
        socket.recv(&mut got).is_ok_and(|len| got[..len] == *sent)
    })
}
