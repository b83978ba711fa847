//! What changes while packets flow: the file, the servers, and `clb` itself.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use harness::wait::{self, PATIENCE};
use rustix::process::Signal;

use crate::checks::Family;
use crate::rig::{Extra, Rig, WEB, large_file};
use crate::setting::{Kind, Method, Outside, Setting, Transport};

/// A download that has begun and waits: what is under way fills the buffers of both ends, and then
/// nothing is until it goes on.
struct Download {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Download {
    /// Asks for the file, and reads its first bytes.
    fn begin(rig: &Rig, family: Family) -> Self {
        let address = family.vip(WEB);
        let stream = rig.lan.client.enter(|| TcpStream::connect(address));
        let mut stream = stream.expect("it is served");
        stream.set_read_timeout(Some(PATIENCE)).expect("a span");
        let ask = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).expect("it is served");
        let mut got = vec![0; 1_000];
        stream.read_exact(&mut got).expect("it is served");
        Self { stream, got }
    }

    /// Reads the rest; the answer, if all of it comes.
    fn rest(mut self) -> std::io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.got)?;
        Ok(self.got)
    }

    /// Reads the rest, which must be the file's to the last byte.
    #[track_caller]
    fn end(self) {
        let got = self.rest().unwrap_or_else(|error| panic!("{error}"));
        assert!(is_the_file(&got), "{} bytes differ", got.len());
    }
}

/// Whether an answer of a web server has the file, to the last byte.
fn is_the_file(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let body = head.and_then(|at| answer.get(at + 4..));
    let file = std::fs::read(large_file()).expect("it is there");
    body == Some(file.as_slice())
}

/// Probes that soon find out.
const WATCHED: &str =
    "health = { kind = \"tcp\", interval = \"200ms\", timeout = \"200ms\", rise = 1, fall = 2 }";

const METHODS: [Method; 4] = [
    Method::Nat,
    Method::FullNat,
    Method::DirectRouting,
    Method::Tunnel(Kind::Ipip, Outside::V4),
];

#[test]
fn a_change_of_the_file_breaks_no_download() {
    for method in METHODS {
        let setting = Setting::new(method, Transport::AfPacket);
        let Some(rig) = Rig::open(setting) else {
            return;
        };
        for family in Family::BOTH {
            rig.a_web_server_answers(family);
        }
        // One on each server, in each family.
        let downloads: Vec<_> = Family::BOTH
            .into_iter()
            .flat_map(|family| [family; 3])
            .map(|family| Download::begin(&rig, family))
            .collect();
        let only = Extra {
            servers: &[1],
            ..Extra::default()
        };
        rig.reload(&only, 1);
        for _ in 0..6 {
            let [v4, v6] = Family::BOTH.map(|it| rig.ask(it.vip(WEB)).expect("it is served"));
            assert_eq!([v4, v6], [1, 1], "a server that is no longer in the file");
        }
        downloads.into_iter().for_each(Download::end);
    }
}

#[test]
fn a_download_under_way_outlives_the_order_to_end() {
    for method in METHODS {
        let setting = Setting::new(method, Transport::AfPacket);
        let Some(mut rig) = Rig::open(setting) else {
            return;
        };
        for family in Family::BOTH {
            rig.a_web_server_answers(family);
        }
        let downloads = Family::BOTH.map(|family| Download::begin(&rig, family));
        rig.clb.process().signal(Signal::TERM);
        wait::eventually(PATIENCE, "no session begins", || {
            rig.ask_briefly(Family::V4.vip(WEB)).is_err()
        });
        assert!(rig.clb.process_mut().is_running(), "{method:?}");
        downloads.into_iter().for_each(Download::end);
    }
}

#[test]
fn a_server_that_dies_gets_no_session_until_it_is_back() {
    let watched = Extra {
        pool: WATCHED,
        ..Extra::default()
    };
    for setting in [
        Setting::new(Method::Nat, Transport::AfPacket),
        Setting::new(Method::DirectRouting, Transport::AfXdp),
    ] {
        let Some(mut rig) = Rig::with(setting, &watched) else {
            return;
        };
        let backend = [("pool", "web4"), ("backend", "1")];
        rig.clb.await_figure("clb_backend_up", &backend, 1.0);
        rig.a_web_server_answers(Family::V4);
        rig.set_web(1, false);
        rig.clb.await_figure("clb_backend_up", &backend, 0.0);
        let served = |rig: &Rig| {
            let mut seen = [0; 3];
            for _ in 0..30 {
                seen[rig.ask(Family::V4.vip(WEB)).expect("another serves")] += 1;
            }
            seen
        };
        assert_eq!(served(&rig), [15, 0, 15], "{setting:?}");
        rig.set_web(1, true);
        rig.clb.await_figure("clb_backend_up", &backend, 1.0);
        assert_eq!(served(&rig), [10, 10, 10], "{setting:?}");
    }
}

/// Nobody says that it is gone: neither its kernel nor its link.
#[test]
fn sessions_of_a_host_that_vanishes_are_reset_if_the_file_says_so() {
    let watched = Extra {
        pool: WATCHED,
        listener: "when_down = \"reset\"",
        servers: &[0, 1],
        ..Extra::default()
    };
    for method in [Method::Nat, Method::FullNat] {
        let setting = Setting::new(method, Transport::AfPacket);
        let Some(rig) = Rig::with(setting, &watched) else {
            return;
        };
        let backend = [("pool", "web4"), ("backend", "1")];
        rig.clb.await_figure("clb_backend_up", &backend, 1.0);
        rig.a_web_server_answers(Family::V4);
        // One on each server, whichever is first.
        let downloads = [(); 2].map(|()| Download::begin(&rig, Family::V4));
        rig.lan.servers[1].ip("link set eth0 down");
        rig.clb.await_figure("clb_backend_up", &backend, 0.0);
        let [one, other] = downloads.map(Download::rest);
        let (whole, reset) = match one {
            Ok(_) => (one, other),
            Err(_) => (other, one),
        };
        assert!(whole.is_ok_and(|got| is_the_file(&got)), "{method:?}");
        let kind = reset.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{method:?}");
    }
}
