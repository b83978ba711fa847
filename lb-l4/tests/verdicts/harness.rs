//! The world of a row, its steps, and how they are judged.

use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::packet::{Checksum, DropReason, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::ethernet::{self, Mac};
use lbcore::hash::HashKey;
use lbcore::schedule::{AnyScheduler, Candidates, Scheduler, Start, Tier};
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Backend, BackendId, Delta, Instant, Pool};

use crate::line::Line;

/// A forwarder, its pool and its clock.
pub(crate) struct World {
    pub(crate) forwarder: Forwarder<AnyScheduler>,
    pub(crate) pool: Pool<AnyScheduler>,
    pub(crate) now: Instant,
    /// The firewall mark of the packets to come.
    pub(crate) mark: u32,
}

/// A row of a table.
pub(crate) struct Row {
    /// What it shows, as a sentence.
    pub(crate) says: &'static str,
    /// Where it happens.
    pub(crate) world: fn() -> World,
    /// What happens, and what comes of it.
    pub(crate) steps: &'static [Step],
}

/// What happens in a row.
pub(crate) enum Step {
    /// A packet comes in, and this becomes of it.
    In(&'static str, Out),
    /// So many seconds pass, and the forwarder is driven.
    Wait(u64),
    /// Something is done to the forwarder or its pool.
    Do(fn(&mut World)),
    /// The forwarder sends this by itself.
    Sends(&'static str),
    /// The forwarder has nothing more to send.
    Silent,
}

/// What becomes of a packet.
pub(crate) enum Out {
    Drops(DropReason),
    /// It goes out as this line says; what the line does not say is as it came in, but for a hop
    /// less to live.
    Goes(&'static str),
    Passes,
    /// It is answered with why it is dropped.
    Refused(DropReason),
    /// It goes out as another packet: all that this line says, and the rest as in packets of our own.
    Becomes(&'static str),
    Holds,
    /// It goes back as another packet: as [`Out::Becomes`].
    Replies(&'static str),
}

pub(crate) use Out::{Becomes, Drops, Goes, Holds, Passes, Refused, Replies};
pub(crate) use Step::{Do, In, Sends, Silent, Wait};

/// Runs every row, and names the one that fails.
#[track_caller]
pub(crate) fn run(rows: &[Row]) {
    for row in rows {
        let mut world = (row.world)();
        for (at, step) in row.steps.iter().enumerate() {
            world.step(step, &format!("`{}`, step {at}", row.says));
        }
    }
}

impl World {
    pub(crate) fn step(&mut self, step: &Step, place: &str) {
        match step {
            In(text, out) => self.one(text, out, place),
            Wait(seconds) => {
                for _ in 0..*seconds {
                    self.now += Duration::from_secs(1);
                    self.pool.handle_timeout(self.now);
                    self.forwarder.handle_timeout(self.now);
                }
            }
            Do(change) => change(self),
            Sends(text) => {
                let sent = self.forwarder.poll_transmit(self.now);
                let sent = sent.unwrap_or_else(|| panic!("{place}: nothing is sent"));
                let found = Line::of(sent.bytes, Link::Ethernet, Checksum::Complete);
                compare(&Line::read(text).own(), found, place);
            }
            Silent => {
                let sent = self.forwarder.poll_transmit(self.now);
                let sent = sent
                    .map(|it| Line::of(it.bytes, Link::Ethernet, Checksum::Complete).to_string());
                assert_eq!(sent, None, "{place}");
            }
        }
    }

    fn one(&mut self, text: &str, out: &Out, place: &str) {
        let sent = Line::read(text);
        let mut buffer = vec![0; ROOM];
        let header = ethernet::Header {
            destination: OWN,
            source: GATEWAY,
            kind: if sent.source.is_ipv4() {
                ethernet::IPV4
            } else {
                ethernet::IPV6
            },
            ..ethernet::Header::default()
        };
        header.emit(&mut buffer);
        buffer.extend(sent.bytes());
        let before = buffer.clone();
        let range = ROOM..buffer.len();
        let mut packet = Packet::new(&mut buffer, range, Link::Ethernet).mark(self.mark);
        let counted = self.forwarder.stats();
        self.forwarder.handle_packet(self.now, &mut packet);
        let verdict = packet.verdict();
        let bytes = packet.bytes().to_vec();
        match out {
            Drops(reason) => assert_eq!(verdict, Verdict::Drop(*reason), "{place}: {text}"),
            Refused(reason) => {
                assert_eq!(verdict, Verdict::Reply, "{place}: {text}");
                let count = self.forwarder.stats().dropped_for(*reason);
                assert_eq!(count, counted.dropped_for(*reason) + 1, "{place}: {text}");
            }
            Passes => {
                assert_eq!(verdict, Verdict::Pass, "{place}: {text}");
                assert!(
                    bytes == before[ROOM..],
                    "{place}: a passed packet was changed"
                );
            }
            Holds => assert_eq!(verdict, Verdict::Held, "{place}: {text}"),
            Becomes(expected) | Replies(expected) => {
                let wanted = match out {
                    Replies(_) => Verdict::Reply,
                    _ => Verdict::Forward(InterfaceId(0)),
                };
                assert_eq!(verdict, wanted, "{place}: {text}");
                let found = Line::of(&bytes, Link::Ethernet, Checksum::Complete);
                compare(&Line::read(expected).own(), found, place);
            }
            Goes(expected) => {
                assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{place}: {text}");
                let found = Line::of(&bytes, Link::Ethernet, Checksum::Complete);
                compare(&Line::read(expected).after(&sent), found, place);
            }
        }
    }
}

#[track_caller]
fn compare(expected: &Line, mut found: Line, place: &str) {
    if expected.mac.is_none() {
        found.mac = None;
    }
    assert_eq!(found.to_string(), expected.to_string(), "{place}");
}

/// A world of these services over one pool of the backends [`A`] and [`B`], [in turn](InTurn);
/// `make` is given the pool.
pub(crate) fn world(
    make: impl FnOnce(Pool<AnyScheduler>) -> Vec<VirtualService<AnyScheduler>>,
) -> World {
    world_of(InTurn, &[A, B], make)
}

/// As [`world`], of these backends, picked by `scheduler`.
pub(crate) fn world_of(
    scheduler: impl Scheduler,
    backends: &[(&str, &str)],
    make: impl FnOnce(Pool<AnyScheduler>) -> Vec<VirtualService<AnyScheduler>>,
) -> World {
    let backends = backends.iter().map(|it| backend(*it));
    let pool = Pool::new(AnyScheduler::new(scheduler)).backends(backends);
    let world = world_with(make(pool.clone()), |config| config);
    World { pool, ..world }
}

/// A world of these services, whose pools are their own, and of a configuration that is changed.
pub(crate) fn world_with(
    services: Vec<VirtualService<AnyScheduler>>,
    change: impl FnOnce(ForwarderConfig) -> ForwarderConfig,
) -> World {
    let now = Instant::ZERO + Duration::from_secs(1);
    let forwarder = Forwarder::new(now, change(config()), HashKey::new([7; 16]), services);
    World {
        forwarder: forwarder.expect("the world's services are right"),
        pool: Pool::new(AnyScheduler::new(InTurn)),
        now,
        mark: 0,
    }
}

/// One Ethernet interface, a gateway, and the backends' link addresses: their last byte is that of
/// the IP address.
pub(crate) fn config() -> ForwarderConfig {
    let mut sessions = SessionConfig::default();
    sessions.v4 = Limits::of(256);
    sessions.v6 = Limits::of(64);
    let interface = Interface::ethernet(InterfaceId(0), OWN)
        .prefix(ip("10.0.0.1"), "10.0.0.0/24".parse().unwrap())
        .prefix(ip("2001:db8:1::1"), "2001:db8:1::/64".parse().unwrap())
        .gateway(ip("10.0.0.254"))
        .gateway(ip("2001:db8:1::fe"));
    let mut config = ForwarderConfig::default()
        .sessions(sessions)
        .interface(interface)
        .neighbour(ip("10.0.0.254"), GATEWAY)
        .neighbour(ip("2001:db8:1::fe"), GATEWAY);
    for last in [7, 8, 9] {
        config = config
            .neighbour(ip(&format!("10.0.0.{last}")), Mac([2, 0, 0, 0, 0, last]))
            .neighbour(
                ip(&format!("2001:db8:1::{last}")),
                Mac([2, 0, 0, 0, 0, last]),
            );
    }
    config
}

pub(crate) fn backend((name, address): (&str, &str)) -> Backend {
    Backend::new(name, address.parse().unwrap()).id(id(name))
}

/// Backends stand in the order of the first letters of their names.
pub(crate) fn id(name: &str) -> BackendId {
    BackendId::new(u64::from(name.as_bytes()[0]))
}

/// Every backend in turn, beginning with the first.
#[derive(Debug)]
pub(crate) struct InTurn;

impl Scheduler for InTurn {
    type Plan = ();
    type Cursor = usize;

    fn plan(&self, _: &Tier, _: Option<&()>) {}

    fn cursor(&self, (): &(), _: &Tier, start: Start<'_, usize>) -> usize {
        start.previous.unwrap_or(0)
    }

    fn pick(&self, (): &(), next: &mut usize, candidates: &Candidates<'_>) -> Option<usize> {
        let picked = candidates.first_from(*next % candidates.tier().len().max(1))?;
        *next = picked + 1;
        Some(picked)
    }
}

/// A service of this protocol, prefix and port.
pub(crate) fn service(
    name: &str,
    protocol: ServiceProtocol,
    addresses: &str,
    port: u16,
    pool: &Pool<AnyScheduler>,
) -> VirtualService<AnyScheduler> {
    let matches = Match::endpoint(protocol, addresses.parse().unwrap(), port);
    VirtualService::new(name, matches, pool.clone())
}

pub(crate) fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

pub(crate) const A: (&str, &str) = ("a", "10.0.0.7:8080");
pub(crate) const B: (&str, &str) = ("b", "10.0.0.8:8080");
pub(crate) const C: (&str, &str) = ("c", "[2001:db8:1::7]:8080");
pub(crate) const D: (&str, &str) = ("d", "[2001:db8:1::8]:8080");

/// The forwarder's own link address.
pub(crate) const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The gateway's.
pub(crate) const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// Room before each packet.
const ROOM: usize = 128;

impl World {
    /// The backend takes no new session.
    pub(crate) fn drain(&self, name: &str) {
        self.change_backend(name, |it| it.weight(0));
    }

    /// The backend is out of service: it takes nothing, and is not probed.
    pub(crate) fn out_of_service(&self, name: &str) {
        self.change_backend(name, |it| it.admin(lbcore::backend::Admin::Maintenance));
    }

    /// The backend is another one from here on.
    pub(crate) fn change_backend(&self, name: &str, change: impl FnOnce(Backend) -> Backend) {
        let view = self.pool.view();
        let known = view.backend(id(name)).expect(name);
        let backend = Backend::clone(&known.backend);
        self.change(Delta::Upsert(change(backend)));
    }

    /// The backend leaves the pool.
    pub(crate) fn remove(&self, name: &str) {
        self.change(Delta::Remove(id(name)));
    }

    /// The backend joins the pool, or is another one from here on.
    pub(crate) fn put(&self, it: (&str, &str)) {
        self.change(Delta::Upsert(backend(it)));
    }

    fn change(&self, delta: Delta) {
        self.pool.apply(self.now, [delta]).expect("a change");
    }
}
