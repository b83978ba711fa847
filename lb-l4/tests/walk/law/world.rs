//! The forwarder, its pools and its clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, OnExpiry, Orphans, Scheduling, ServiceProtocol,
    Straying, VirtualService,
};
use lb_l4::method::ForwardingMethod::{DirectRouting, FullNat, Tunnel};
use lb_l4::method::fullnat::{ClientAddress, FullNatConfig, LocalPortsConfig};
use lb_l4::method::tunnel::TunnelConfig;
use lb_l4::packet::{InterfaceId, Link, Packet, Verdict};
use lb_l4::syn_proxy::{Cookies, SynProxyConfig, SynProxyMode};
use lb_l4::wire::ethernet::Mac;
use lbcore::address_list::AddressRules;
use lbcore::backend::Admin;
use lbcore::hash::HashKey;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::persist::SourceAddress;
use lbcore::schedule::{AnyScheduler, KeyExtractor, KeyParts, Maglev, RoundRobin};
use lbcore::session::{Limits as Sessions, SessionConfig, Timeouts};
use lbcore::{Backend, BackendId, Delta, Instant, Pool};

pub(crate) const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(super) const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
pub(super) const MARK: u32 = 7;
/// Sessions that the table holds of each family.
pub(super) const MOST: usize = 20;
const ROOM: usize = 128;

/// Backends of the pool that changes: a name, and where it listens.
pub(super) const BACKENDS: [(&str, &str); 4] = [
    ("a", "10.0.0.7:8080"),
    ("b", "10.0.0.8:8080"),
    ("c", "10.0.0.9:0"),
    ("d", "[2001:db8:1::7]:8080"),
];

pub(crate) struct World {
    pub(crate) forwarder: Forwarder<AnyScheduler>,
    pub(crate) now: Instant,
    /// The pool that changes.
    pub(super) pool: Pool<AnyScheduler>,
    /// All pools.
    pub(super) pools: Vec<Pool<AnyScheduler>>,
    pub(super) limits: Arc<Limits>,
    services: Vec<VirtualService<AnyScheduler>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let pool = Pool::new(AnyScheduler::new(RoundRobin));
        let pool = pool.backends(BACKENDS.map(|(name, address)| backend(name, address)));
        let remote = [
            ("r", "10.1.0.7:0"),
            ("s", "10.1.0.8:0"),
            ("t", "[fd00::7]:0"),
        ];
        let remote = Pool::new(AnyScheduler::new(Maglev::default()))
            .backends(remote.map(|(name, address)| backend(name, address)));
        let each = [("x", "10.0.0.20:53"), ("y", "10.0.0.21:53")];
        let each = Pool::new(AnyScheduler::new(RoundRobin))
            .backends(each.map(|(name, address)| backend(name, address)));
        let limits = LimitConfig::default()
            .connections(4)
            .connections_per_second(3);
        let limits = Arc::new(Limits::new(now, limits));
        let services = services(&pool, &remote, &each, &limits);
        let forwarder = Forwarder::new(now, config(), HashKey::new([7; 16]), services.clone());
        Self {
            forwarder: forwarder.unwrap(),
            now,
            pools: vec![pool.clone(), remote, each],
            pool,
            limits,
            services,
        }
    }

    /// What becomes of a frame: the verdict, and the bytes.
    pub(super) fn packet(&mut self, frame: &[u8], mark: u32) -> (Verdict, Vec<u8>) {
        self.burst(&[(frame.to_vec(), mark)]).remove(0)
    }

    /// What becomes of frames that come in together.
    pub(super) fn burst(&mut self, frames: &[(Vec<u8>, u32)]) -> Vec<(Verdict, Vec<u8>)> {
        let room = |(frame, _): &(Vec<u8>, u32)| [&[0; ROOM], &**frame, &[0; ROOM]].concat();
        let mut buffers: Vec<_> = frames.iter().map(room).collect();
        let packet = |(buffer, (_, mark)): (_, &(_, u32))| {
            let buffer: &mut Vec<u8> = buffer;
            let range = ROOM..buffer.len() - ROOM;
            Packet::new(buffer, range, Link::Ethernet).mark(*mark)
        };
        let mut packets: Vec<_> = buffers.iter_mut().zip(frames).map(packet).collect();
        self.forwarder.handle_burst(self.now, &mut packets);
        let shown = packets.iter();
        shown
            .map(|it| (it.verdict(), it.bytes().to_vec()))
            .collect()
    }

    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(own) = self.forwarder.poll_transmit(self.now) {
            assert_eq!(own.interface, InterfaceId(0));
            sent.push(own.bytes.to_vec());
        }
        sent
    }

    /// Comes back whenever the forwarder asks for it, until `span` has passed.
    pub(crate) fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        let mut calls = 0;
        while let Some(due) = self.forwarder.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(due);
            self.pool.handle_timeout(self.now);
            self.forwarder.handle_timeout(self.now);
            calls += 1;
            assert!(calls < 20_000, "it asks to be called again and again");
            if calls % 1_000 == 0 {
                // Neighbours may be asked for without end; nobody looks on.
                self.sent();
            }
        }
        self.now = until;
        self.pool.handle_timeout(until);
        self.forwarder.handle_timeout(until);
    }

    /// A backend as it is configured, if it is in a pool.
    pub(super) fn backend(&self, backend: BackendId) -> Option<Arc<Backend>> {
        let mut views = self.pools.iter().map(Pool::view);
        views.find_map(|it| Some(Arc::clone(&it.backend(backend)?.backend)))
    }

    /// Where a backend listens, if it is in a pool.
    pub(super) fn address_of(&self, backend: BackendId) -> Option<SocketAddr> {
        self.backend(backend)?.address.socket()
    }

    pub(super) fn change_pool(&self, a: u8, b: u8) {
        let (name, address) = BACKENDS[usize::from(a % 4)];
        let backend = backend(name, address);
        let delta = match b % 8 {
            0 => Delta::Remove(id(name)),
            1 => Delta::Upsert(backend.weight(0)),
            2 => Delta::Upsert(backend.admin(Admin::Drain)),
            3 => Delta::Upsert(backend.admin(Admin::Maintenance)),
            4 => Delta::Upsert(backend.max_connections(1)),
            5 => Delta::Upsert(self::backend(name, "10.0.0.8:8081")),
            _ => Delta::Upsert(backend),
        };
        self.pool.apply(self.now, [delta]).unwrap();
    }

    /// Leaves out the services of the bits that are not set.
    pub(super) fn update(&mut self, bits: u8) {
        let places = (0..).zip(self.services.iter().cloned());
        let kept = places.filter(|(place, _)| bits >> (place % 8) & 1 == 1);
        let services = kept.map(|(_, service)| service).collect();
        self.forwarder.update(self.now, services).unwrap();
        // What is swept is gone before anything else comes in.
        self.wait(Duration::ZERO);
    }
}

fn services(
    pool: &Pool<AnyScheduler>,
    remote: &Pool<AnyScheduler>,
    each: &Pool<AnyScheduler>,
    limits: &Arc<Limits>,
) -> Vec<VirtualService<AnyScheduler>> {
    use ServiceProtocol::{Tcp, Udp};
    let service = |name: &str, protocol, address: &str, port, pool: &Pool<AnyScheduler>| {
        let matches = Match::endpoint(protocol, address.parse().unwrap(), port);
        VirtualService::new(name, matches, pool.clone())
    };
    let clients = SourceAddress::lasting(Duration::from_secs(100)).hash_key(key());
    let keys = KeyExtractor::new(KeyParts::Flow, key());
    let tunnel = TunnelConfig::default()
        .source_v4("10.0.0.1".parse().unwrap())
        .source_v6("2001:db8:1::1".parse().unwrap());
    let full = |told| FullNat(FullNatConfig::default().client_address(told));
    let mut short = Timeouts::default();
    (short.syn_sent, short.udp_new) = (Duration::from_secs(3), Duration::from_secs(5));
    let rules = AddressRules::new([], ["192.0.2.4/32".parse().unwrap()]);
    let proxied = SynProxyConfig::default().mode(SynProxyMode::Always);
    vec![
        service("web", Tcp, "203.0.113.10/32", 80, pool)
            .persistence(Arc::new(clients))
            .on_expiry(OnExpiry::Reset)
            .removed(Orphans::Reset),
        service("dns", Udp, "203.0.113.10/32", 53, pool)
            .timeouts(short)
            .rules(Arc::new(rules))
            .removed(Orphans::Replace),
        service("routed", Tcp, "203.0.113.11/32", 80, pool)
            .method(DirectRouting)
            .straying(Straying::Place)
            .down(Orphans::Drop),
        service("tunnelled", Tcp, "203.0.113.12/32", 0, remote)
            .keys(keys)
            .method(Tunnel(tunnel))
            .on_expiry(OnExpiry::Reset),
        service("each", Udp, "203.0.113.13/32", 53, each).scheduling(Scheduling::OnePacket),
        service("six", Tcp, "2001:db8::10/128", 80, pool).straying(Straying::Reset),
        service("proxied", Tcp, "203.0.113.14/32", 80, pool).syn_proxy(proxied),
        service("full", Tcp, "203.0.113.15/32", 80, pool).method(full(ClientAddress::Toa)),
        service("full each", Udp, "203.0.113.15/32", 53, pool)
            .method(full(ClientAddress::None))
            .removed(Orphans::Replace),
        service("told", Tcp, "203.0.113.16/32", 80, pool)
            .method(full(ClientAddress::ProxyProtocol)),
        VirtualService::new("marked", Match::Mark(MARK), pool.clone()),
        service("placed", Udp, "203.0.113.128/25", 0, pool)
            .limits(Arc::clone(limits))
            .straying(Straying::Pass),
    ]
}

fn config() -> ForwarderConfig {
    let mut sessions = SessionConfig::default();
    let limits = Sessions {
        sessions: MOST,
        embryonic: 12,
    };
    (sessions.v4, sessions.v6) = (limits, limits);
    let interface = Interface::ethernet(InterfaceId(0), OWN)
        .prefix("10.0.0.1".parse().unwrap(), "10.0.0.0/24".parse().unwrap())
        .prefix(
            "2001:db8:1::1".parse().unwrap(),
            "2001:db8:1::/64".parse().unwrap(),
        )
        .gateway("10.0.0.254".parse().unwrap())
        .gateway("2001:db8:1::fe".parse().unwrap());
    let day = Duration::from_secs(1_800_000_000);
    let mut config = ForwarderConfig::default()
        .sessions(sessions)
        .interface(interface)
        .local_ports(
            LocalPortsConfig::default()
                .addresses(["10.0.0.100".parse().unwrap()])
                .ports(5_000..=5_003),
        )
        .syn_cookies(Cookies::new(HashKey::new([3; 16]), day))
        .neighbour("10.0.0.254".parse().unwrap(), GATEWAY)
        .neighbour("2001:db8:1::fe".parse().unwrap(), GATEWAY);
    for last in [7, 8, 9, 20, 21] {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        for front in ["10.0.0.", "2001:db8:1::"] {
            config = config.neighbour(format!("{front}{last}").parse().unwrap(), mac);
        }
    }
    config
}

fn backend(name: &str, address: &str) -> Backend {
    Backend::new(name, address.parse().unwrap()).id(id(name))
}

pub(super) fn id(name: &str) -> BackendId {
    BackendId::new(u64::from(name.as_bytes()[0]))
}

fn key() -> HashKey {
    HashKey::from_seed(5)
}
