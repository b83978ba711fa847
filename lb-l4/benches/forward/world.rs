//! A forwarder with its sessions, and the packets that are shown to it.

use std::net::SocketAddr;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::huge_pages;
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{FullNatConfig, LocalPortsConfig};
use lb_l4::method::tunnel::{Encapsulation, TunnelConfig};
use lb_l4::packet::{InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::emit::TcpSegment;
use lb_l4::wire::ethernet::{self, Mac};
use lb_l4::wire::tcp::flags;
use lbcore::hash::HashKey;
use lbcore::rng::{Rng, Xoshiro};
use lbcore::schedule::Scheduler;
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Backend, Instant, Pool};

use crate::BURST;

/// Whose packets are shown, and how they are forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    Nat,
    /// Answers of backends.
    Back,
    /// By NAT of both ends; clients' packets again.
    FullNat,
    DirectRouting,
    Ipip,
    Gue,
}

impl Subject {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nat,
        Self::Back,
        Self::FullNat,
        Self::DirectRouting,
        Self::Ipip,
        Self::Gue,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Back => "back",
            Self::FullNat => "fullnat",
            Self::DirectRouting => "dr",
            Self::Ipip => "tunnel",
            Self::Gue => "gue",
        }
    }

    fn method(self) -> ForwardingMethod {
        let tunnel = |kind| {
            let config = TunnelConfig::default().kind(kind);
            ForwardingMethod::Tunnel(config.source_v4([10, 0, 0, 254].into()))
        };
        match self {
            Self::Nat | Self::Back => ForwardingMethod::Nat,
            Self::FullNat => ForwardingMethod::FullNat(FullNatConfig::default()),
            Self::DirectRouting => ForwardingMethod::DirectRouting,
            Self::Ipip => tunnel(Encapsulation::Ipip),
            Self::Gue => tunnel(Encapsulation::Gue { port: 6080 }),
        }
    }

    /// Whether answers pass here.
    fn sees_both_sides(self) -> bool {
        matches!(self, Self::Nat | Self::Back | Self::FullNat)
    }
}

pub(crate) const NOW: Instant = Instant::from_nanos(1_000_000_000);
pub(crate) const PORT: u16 = 40_000;
pub(crate) const SERVICE: ([u8; 4], u16) = ([203, 0, 113, 10], 80);
const BACKENDS: u8 = 100;
const BACKEND_PORT: u16 = 8080;
const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Where packets begin in their buffers: room for any tunnel.
const ROOM: usize = 64;
const FRAME: usize = 64;

/// A forwarder of one service of 100 backends, with room for so many sessions.
pub(crate) fn forwarder<S: Scheduler>(
    scheduler: S,
    subject: Subject,
    sessions: u32,
    huge: bool,
) -> (Forwarder<S>, Pool<S>) {
    let backends = (1..=BACKENDS).map(|n| {
        let address = SocketAddr::from(([10, 0, 0, n], BACKEND_PORT));
        Backend::new(&format!("backend {n}"), address.into())
    });
    let pool = Pool::new(scheduler).backends(backends);
    let web = Match::endpoint(
        ServiceProtocol::Tcp,
        "203.0.113.10/32".parse().expect("a prefix"),
        SERVICE.1,
    );
    let service = VirtualService::new("web", web, pool.clone()).method(subject.method());
    let interface = Interface::ethernet(InterfaceId(0), OWN)
        .prefix(
            [10, 0, 0, 254].into(),
            "10.0.0.0/24".parse().expect("a prefix"),
        )
        .gateway([10, 0, 0, 253].into());
    let mut table = SessionConfig::default();
    table.v4 = Limits {
        sessions: sessions as usize,
        embryonic: sessions as usize,
    };
    table.v6 = Limits::of(0);
    // As many ports at each backend as it takes.
    let mut local = LocalPortsConfig::default();
    local.addresses = (240..244).map(|n| [10, 0, 0, n].into()).collect();
    local.max_ports = sessions as usize;
    let mut config = ForwarderConfig::default()
        .sessions(table)
        .local_ports(local)
        .interface(interface);
    for last in (1..=BACKENDS).chain([253]) {
        config = config.neighbour([10, 0, 0, last].into(), OTHER);
    }
    let key = HashKey::from_seed(1);
    let forwarder = Forwarder::new(NOW, config, key, vec![service]).expect("it is right");
    if huge {
        huge_pages::advise(&forwarder.regions()).expect("the kernel knows huge pages");
    }
    (forwarder, pool)
}

/// The client of session `n`: a bijection of 29 bits, so that flows differ and follow no order.
pub(crate) fn client(n: u32) -> [u8; 4] {
    (n.wrapping_mul(0x9e37_79b1) & 0x1fff_ffff | 0x4000_0000).to_be_bytes()
}

/// Random sessions below `sessions`.
pub(crate) fn visit(rng: &mut Xoshiro, sessions: u32) -> [u32; BURST] {
    std::array::from_fn(|_| u32::try_from(rng.below(u64::from(sessions))).unwrap_or(0))
}

/// The sessions from `first` on, or the last one again.
pub(crate) fn in_order(first: u32, sessions: u32) -> [u32; BURST] {
    std::array::from_fn(|i| (first + u32::try_from(i).unwrap_or(0)).min(sessions - 1))
}

/// 32 frames that are written anew for each burst; their checksums are as wrong as they may be.
pub(crate) struct Frames<'a> {
    template: [u8; FRAME],
    buffers: Vec<[u8; ROOM + FRAME]>,
    /// The last byte of each session's backend, for answers.
    backends: Option<&'a [u8]>,
}

impl<'a> Frames<'a> {
    /// TCP segments of clients.
    pub(crate) fn of_clients(flags: u8) -> Self {
        let ends = [([0; 4], PORT), SERVICE];
        Self::new(ends, flags, None)
    }

    /// TCP segments of backends; `backends` has the last byte of each session's.
    pub(crate) fn of_backends(flags: u8, backends: &'a [u8]) -> Self {
        let ends = [([10, 0, 0, 0], BACKEND_PORT), ([0; 4], PORT)];
        Self::new(ends, flags, Some(backends))
    }

    fn new(
        [source, destination]: [([u8; 4], u16); 2],
        flags: u8,
        backends: Option<&'a [u8]>,
    ) -> Self {
        let mut bytes = Vec::new();
        let header = ethernet::Header {
            destination: OWN,
            source: OTHER,
            kind: ethernet::IPV4,
            ..ethernet::Header::default()
        };
        header.emit(&mut bytes);
        TcpSegment::new(source.into(), destination.into(), flags)
            .sequence(1)
            .acknowledgement(1)
            .emit(&mut bytes);
        bytes.resize(FRAME, 0);
        Self {
            template: bytes.try_into().expect("64 bytes"),
            buffers: vec![[0; ROOM + FRAME]; BURST],
            backends,
        }
    }

    /// Writes the frames of these sessions.
    #[inline]
    pub(crate) fn write(&mut self, sessions: &[u32; BURST]) {
        for (buffer, &session) in self.buffers.iter_mut().zip(sessions) {
            let frame = &mut buffer[ROOM..];
            frame.copy_from_slice(&self.template);
            match self.backends {
                None => frame[26..30].copy_from_slice(&client(session)),
                Some(backends) => {
                    frame[29] = backends[session as usize];
                    frame[30..34].copy_from_slice(&client(session));
                }
            }
        }
    }

    #[inline]
    pub(crate) fn packets(&mut self) -> [Packet<'_>; BURST] {
        let mut buffers = self.buffers.iter_mut();
        std::array::from_fn(|_| {
            let buffer = buffers.next().expect("32 buffers");
            Packet::new(buffer, ROOM..ROOM + FRAME, Link::Ethernet)
        })
    }
}

/// Establishes every session at `now`; gives the last byte of each one's backend, where answers
/// pass.
pub(crate) fn fill<S: Scheduler>(
    now: Instant,
    forwarder: &mut Forwarder<S>,
    sessions: u32,
    subject: Subject,
) -> Vec<u8> {
    let mut syn = Frames::of_clients(flags::SYN);
    let mut ack = Frames::of_clients(flags::ACK);
    let mut backends = vec![0; sessions as usize];
    for first in (0..sessions).step_by(BURST) {
        let burst = in_order(first, sessions);
        syn.write(&burst);
        let mut packets = syn.packets();
        forwarder.handle_burst(now, &mut packets);
        assert!(
            matches!(packets[0].verdict(), Verdict::Forward(_)),
            "a session begins"
        );
        if subject.sees_both_sides() {
            for (packet, session) in packets.iter().zip(burst) {
                backends[session as usize] = packet.bytes()[33];
            }
            answer(&mut packets);
            forwarder.handle_burst(now, &mut packets);
        }
        ack.write(&burst);
        forwarder.handle_burst(now, &mut ack.packets());
    }
    assert_eq!(forwarder.stats().sessions, sessions as usize);
    backends
}

/// Turns SYNs that were forwarded into their answers.
fn answer(packets: &mut [Packet<'_>]) {
    for packet in packets {
        let bytes = packet.bytes_mut();
        let (source, destination) = bytes[26..34].split_at_mut(4);
        source.swap_with_slice(destination);
        let (source, destination) = bytes[34..38].split_at_mut(2);
        source.swap_with_slice(destination);
        bytes[47] = flags::SYN | flags::ACK;
    }
}

/// The frames that `subject` is about.
pub(crate) fn frames(subject: Subject, backends: &[u8]) -> Frames<'_> {
    match subject {
        Subject::Back => Frames::of_backends(flags::ACK, backends),
        _ => Frames::of_clients(flags::ACK),
    }
}
