//! A client, a forwarder and a backend, joined by links that lose and reorder, in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::LocalPortsConfig;
use lb_l4::packet::{Checksum, InterfaceId, Link, Packet, Verdict};
use lb_l4::syn_proxy::{Cookies, SynProxyConfig, SynProxyLimits};
use lb_l4::wire::tcp::flags::ACK;
use lb_l4::wire::tcp::{TcpOption, options};
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::hash::HashKey;
use lbcore::rng::{Rng, Xoshiro};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Instant, Pool};

use crate::hosts::{Host, Options};

/// Everything that a test decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) ipv6: bool,
    pub(crate) client: Options,
    pub(crate) backend: Options,
    pub(crate) proxy: SynProxyConfig,
    pub(crate) method: ForwardingMethod,
    /// Of a thousand packets of either host, how many are lost.
    pub(crate) lost: u64,
    /// Of a thousand packets, how many take twice as long, so that others overtake them.
    pub(crate) late: u64,
    /// Microseconds that a packet takes over a link.
    pub(crate) delay: u64,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Backend,
    Client,
    Forwarder,
}

pub(crate) struct World {
    pub(crate) micros: u64,
    pub(crate) forwarder: Forwarder<RoundRobin>,
    pub(crate) client: Host,
    pub(crate) backend: Host,
    pub(crate) service: SocketAddr,
    plan: Plan,
    dice: Xoshiro,
    /// What is on a link, by when it arrives.
    under_way: BTreeMap<(u64, u64), (At, Vec<u8>)>,
    packets: u64,
    /// The greatest numbers that each host has sent: client, backend.
    sent: [Option<u32>; 2],
    pub(crate) sack_blocks: u64,
    /// Whether the backend gets anything.
    pub(crate) backend_reachable: bool,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let ends = if plan.ipv6 {
            ["[2001:db8::1]:40000", "[2001:db8::10]:80", "[fd00::7]:8080"]
        } else {
            ["192.0.2.1:40000", "203.0.113.10:80", "10.0.0.7:8080"]
        };
        let [client, service, backend] = ends.map(|it| it.parse::<SocketAddr>().unwrap());
        let pool = Pool::new(RoundRobin).backend(Backend::new("a", backend.into()));
        let address = service.ip().to_string();
        let prefix = format!("{address}/{}", if plan.ipv6 { 128 } else { 32 });
        let matches = Match::endpoint(ServiceProtocol::Tcp, prefix.parse().unwrap(), 80);
        let services = vec![
            VirtualService::new("web", matches, pool)
                .method(plan.method)
                .syn_proxy(plan.proxy),
        ];
        let cookies = Cookies::new(
            HashKey::from_seed(plan.seed),
            Duration::from_secs(1_700_000_000),
        );
        let local = ["10.9.0.1", "fd00:9::1"].map(|it| it.parse().unwrap());
        let mut config = ForwarderConfig::default()
            .interface(Interface::ip(InterfaceId(0)))
            .local_ports(LocalPortsConfig::default().addresses(local))
            .syn_cookies(cookies)
            .syn_proxy(SynProxyLimits::default());
        // These stacks wait for minutes when much is lost, also behind a FIN that overtook data.
        if plan.lost > 0
            && let Some(timeouts) = config.sessions.timeouts.first_mut()
        {
            let patience = Duration::from_secs(3_600);
            timeouts.close_wait = patience;
            timeouts.fin_wait = patience;
            timeouts.last_ack = patience;
            timeouts.time_wait = patience;
        }
        let key = HashKey::from_seed(9);
        Self {
            micros: 0,
            forwarder: Forwarder::new(Instant::ZERO, config, key, services).unwrap(),
            client: Host::new(client, plan.client),
            backend: Host::new(backend, plan.backend),
            service,
            plan,
            dice: Xoshiro::new(plan.seed),
            under_way: BTreeMap::new(),
            packets: 0,
            sent: [None; 2],
            sack_blocks: 0,
            backend_reachable: true,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_micros(self.micros)
    }

    /// Lets time pass until `done` or nothing more happens; at most `seconds`.
    pub(crate) fn run(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.micros + seconds * 1_000_000;
        while self.micros < end {
            self.step();
            if done(self) {
                return true;
            }
            let Some(next) = self.next() else {
                return false;
            };
            self.micros = next.max(self.micros);
        }
        false
    }

    /// When something happens next.
    fn next(&mut self) -> Option<u64> {
        let micros = i64::try_from(self.micros).unwrap();
        let hosts = [&mut self.client, &mut self.backend].map(|it| it.poll_at(micros));
        let hosts = hosts
            .into_iter()
            .flatten()
            .map(|it| u64::try_from(it).unwrap());
        let link = self.under_way.keys().next().map(|(at, _)| *at);
        let timeout = self.forwarder.poll_timeout();
        // Rounded up, so that it is due then.
        let timeout = timeout.map(|it| it.as_nanos().div_ceil(1_000));
        hosts.chain(link).chain(timeout).min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > self.micros {
                break;
            }
            let (at, packet) = entry.remove();
            match at {
                At::Forwarder => self.forward(packet),
                At::Client => self.deliver(0, packet),
                At::Backend => self.deliver(1, packet),
            }
        }
        let now = self.now();
        self.forwarder.handle_timeout(now);
        self.transmit();
        let micros = i64::try_from(self.micros).unwrap();
        self.client.poll(micros);
        self.backend.poll(micros);
        for side in [0, 1] {
            while let Some(packet) = [&mut self.client, &mut self.backend][side]
                .wire
                .sent
                .pop_front()
            {
                self.note(side, &packet);
                self.put(At::Forwarder, packet);
            }
        }
    }

    /// Puts a packet onto a link.
    fn put(&mut self, at: At, packet: Vec<u8>) {
        let lost = at == At::Forwarder && self.dice.below(1_000) < self.plan.lost;
        if lost {
            return;
        }
        self.packets += 1;
        let late = self.dice.below(1_000) < self.plan.late;
        let delay = self.plan.delay * if late { 2 } else { 1 };
        let key = (self.micros + delay, self.packets);
        self.under_way.insert(key, (at, packet));
    }

    /// Sends a packet of anyone's through the forwarder.
    pub(crate) fn forward(&mut self, packet: Vec<u8>) {
        let len = packet.len();
        let mut buffer = vec![0; 64];
        buffer.extend(packet);
        buffer.resize(64 + len + 64, 0);
        let mut packet = Packet::new(&mut buffer, 64..64 + len, Link::Ip);
        let now = self.now();
        self.forwarder.handle_packet(now, &mut packet);
        match packet.verdict() {
            Verdict::Forward(_) | Verdict::Reply => {
                let bytes = packet.bytes().to_vec();
                self.send_on(bytes);
            }
            _ => {}
        }
        self.transmit();
    }

    fn transmit(&mut self) {
        let now = self.now();
        let mut sent = Vec::new();
        while let Some(transmit) = self.forwarder.poll_transmit(now) {
            sent.push(transmit.bytes.to_vec());
        }
        for packet in sent {
            self.send_on(packet);
        }
    }

    fn send_on(&mut self, packet: Vec<u8>) {
        let headers = headers_of(&packet);
        assert!(headers.checksum_is_right(&packet, Checksum::Complete));
        assert!(headers.header_checksum_is_right(&packet));
        if headers.destination == self.client.address.ip() {
            self.put(At::Client, packet);
        } else if headers.destination == self.backend.address.ip() && self.backend_reachable {
            self.put(At::Backend, packet);
        }
    }

    fn deliver(&mut self, side: usize, packet: Vec<u8>) {
        self.judge(side, &packet);
        let host = [&mut self.client, &mut self.backend];
        let [client, backend] = host;
        let host = if side == 0 { client } else { backend };
        host.wire.arrived.push_back(packet);
    }

    /// Remembers the last number that a host has used.
    fn note(&mut self, side: usize, packet: &[u8]) {
        let headers = headers_of(packet);
        let end = headers
            .tcp()
            .unwrap()
            .sequence
            .wrapping_add(headers.segment_len());
        let last = &mut self.sent[side];
        match last {
            Some(last) if end.wrapping_sub(*last) > 1 << 31 => {}
            _ => *last = Some(end),
        }
    }

    /// What a host is told of its own numbers must be something that it has sent.
    fn judge(&mut self, side: usize, packet: &[u8]) {
        let headers = headers_of(packet);
        let tcp = headers.tcp().unwrap();
        let Some(last) = self.sent[side].filter(|_| tcp.has(ACK)) else {
            return;
        };
        let ahead = last.wrapping_sub(tcp.acknowledgement);
        assert!(
            ahead < 4_000_000,
            "{side} never sent {}",
            tcp.acknowledgement
        );
        let bytes = &packet[headers.transport + 20..headers.payload().start];
        for option in options(bytes) {
            let TcpOption::Sack(blocks) = option else {
                continue;
            };
            for block in blocks.iter() {
                self.sack_blocks += 1;
                let span = block.right.wrapping_sub(block.left);
                let above = block.left.wrapping_sub(tcp.acknowledgement);
                assert!(span > 0 && span < 4_000_000, "{block:?}");
                assert!(above < 4_000_000, "{block:?} below {}", tcp.acknowledgement);
                assert!(last.wrapping_sub(block.right) < 4_000_000, "{block:?}");
            }
        }
    }
}

pub(crate) fn headers_of(packet: &[u8]) -> Headers {
    match parse(packet, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}
