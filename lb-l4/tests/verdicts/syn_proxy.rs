//! SYN cookies, what is held before the backend has answered, and what is translated afterwards.
//!
//! In these rows `C` is the client, `S` the service, `A` the first backend, and `K` the cookie that
//! the client's SYN is answered with: `K+1` is the number after it.

use std::sync::Arc;
use std::time::Duration;

use lb_l4::forwarder::ServiceProtocol::Tcp;
use lb_l4::forwarder::{Forwarder, ForwarderError, VirtualService};
use lb_l4::method::ForwardingMethod;
use lb_l4::packet::DropReason;
use lb_l4::syn_proxy::{
    ClientSyn, Cookies, SynOptions, SynProxyConfig, SynProxyConfigError, SynProxyMode,
};
use lbcore::address_list::AddressRules;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::schedule::AnyScheduler;
use lbcore::session::ChangeStream;
use lbcore::{Instant, Pool};

use crate::harness::*;

const START: Instant = Instant::from_nanos(1_000_000_000);

fn cookies() -> Cookies {
    Cookies::new(HashKey::new([3; 16]), Duration::from_secs(1_800_000_000))
}

/// A world of one service, given its pool.
fn proxied(make: fn(VirtualService<AnyScheduler>) -> VirtualService<AnyScheduler>) -> World {
    let mut world = world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)]);
    let web = service("web", Tcp, "203.0.113.10/32", 80, &world.pool);
    world.forwarder = forwarder(world.now, vec![make(always(web))]).expect("right");
    world
}

fn forwarder(
    now: Instant,
    services: Vec<VirtualService<AnyScheduler>>,
) -> Result<Forwarder<AnyScheduler>, ForwarderError> {
    let config = config().syn_cookies(cookies());
    Forwarder::new(now, config, HashKey::new([7; 16]), services)
}

fn always(web: VirtualService<AnyScheduler>) -> VirtualService<AnyScheduler> {
    web.syn_proxy(SynProxyConfig::default().mode(SynProxyMode::Always))
}

pub(crate) fn web() -> World {
    proxied(|web| web)
}

/// More than two SYNs a second are answered here.
fn above() -> World {
    proxied(|web| {
        let mode = SynProxyMode::Above { syns_per_second: 2 };
        web.syn_proxy(SynProxyConfig::default().mode(mode))
    })
}

fn one_session() -> World {
    proxied(|web| {
        let limits = LimitConfig::default().connections(1);
        web.limits(Arc::new(Limits::new(START, limits)))
    })
}

fn picky() -> World {
    proxied(|web| {
        let deny = ["192.0.2.0/24".parse().unwrap()];
        web.rules(Arc::new(AddressRules::new([], deny)))
    })
}

fn web6() -> World {
    let mut world = world_of(InTurn, &[C, D], |pool| {
        vec![service("web", Tcp, "2001:db8::10/128", 80, &pool)]
    });
    let web = service("web", Tcp, "2001:db8::10/128", 80, &world.pool);
    world.forwarder = forwarder(world.now, vec![always(web)]).expect("right");
    world
}

const V4: [&str; 3] = ["192.0.2.1:40000", "203.0.113.10:80", "10.0.0.7:8080"];
const V6: [&str; 3] = [
    "[2001:db8::1]:40000",
    "[2001:db8::10]:80",
    "[2001:db8:1::7]:8080",
];

/// The cookie of a SYN with number `sequence`, that asks for `mss` and perhaps window scale 8.
fn cookie([client, service, _]: [&str; 3], sequence: u32, mss: u16, scale: Option<u8>) -> u32 {
    let ends = [client, service].map(|it| it.parse().unwrap());
    let flow = FlowKey::new(Protocol::Tcp, ends[0], ends[1]);
    let syn = ClientSyn {
        sequence,
        promised_scale: 7,
    };
    let asked = SynOptions {
        mss,
        window_scale: scale,
        sack: false,
        timestamps: false,
        ecn: false,
    };
    cookies().issue(START, &flow, syn, &asked).sequence
}

/// A line with its names filled in: the ends of `ends`, and the cookie of SYN 100.
fn text(ends: [&str; 3], line: &str) -> &'static str {
    let cookie = cookie(ends, 100, 1460, Some(8));
    let [client, service, backend] = ends;
    let words = line.split(' ').enumerate().map(|(at, word)| match word {
        "C" if at < 3 => client.to_owned(),
        "S" if at < 3 => service.to_owned(),
        "A" if at < 3 => backend.to_owned(),
        word => word
            .replace("K+1001", &cookie.wrapping_add(1_001).to_string())
            .replace("K+1", &cookie.wrapping_add(1).to_string())
            .replace("=K", &format!("={cookie}")),
    });
    format!("tcp {}", words.collect::<Vec<_>>().join(" ")).leak()
}

pub(crate) fn t(line: &str) -> &'static str {
    text(V4, line)
}

/// The handshake with the client, and the SYN to the backend.
fn greeting() -> [Step; 2] {
    [
        In(
            t("C > S S seq=100 mss=1460 ws=8"),
            Replies(t("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7 mac=fe")),
        ),
        In(
            t("C > S A seq=101 ack=K+1 win=500"),
            Becomes(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
        ),
    ]
}

/// The handshake with the backend, whose numbers begin at 500, and its scale is 5.
fn joining() -> [Step; 2] {
    [
        In(
            t("A > C SA seq=500 ack=101 win=20000 mss=1460 ws=5"),
            Becomes(t("S > C A seq=K+1 ack=101 win=156 ttl=63 mac=fe")),
        ),
        Sends(t("C > A A seq=101 ack=501 win=500 ttl=63 mac=07")),
    ]
}

/// Nothing of this world's sessions is told to other nodes.
fn untold(world: &mut World) {
    assert!(world.forwarder.take_changes(world.now).next().is_none());
}

fn row(says: &'static str, world: fn() -> World, steps: Vec<Step>) -> Row {
    Row {
        says,
        world,
        steps: steps.leak(),
    }
}

pub(crate) fn joined(then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let begun = greeting().into_iter().chain(joining());
    begun.chain(then).collect()
}

fn half_open(then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    greeting().into_iter().chain(then).collect()
}

fn sessions<const N: usize>(world: &mut World) {
    assert_eq!(world.forwarder.stats().sessions, N);
    let half_open = world.forwarder.syn_proxy_stats().half_open;
    assert!(half_open <= N, "{half_open}");
}

#[test]
fn handshakes() {
    run(&[
        row(
            "a SYN is answered, and nothing is kept",
            web,
            vec![
                In(
                    t("C > S S seq=100 mss=1460 ws=8"),
                    Replies(t("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7 mac=fe")),
                ),
                Silent,
                Do(sessions::<0>),
            ],
        ),
        row(
            "both handshakes, and data both ways",
            web,
            joined([
                Do(sessions::<1>),
                In(
                    t("C > S PA seq=101 ack=K+1 len=37"),
                    Goes(t("C > A PA seq=101 ack=501")),
                ),
                In(
                    t("A > C A seq=501 ack=138 len=1000"),
                    Goes(t("S > C A seq=K+1 ack=138 win=250")),
                ),
                In(
                    t("C > S A seq=138 ack=K+1001"),
                    Goes(t("C > A A seq=138 ack=1501")),
                ),
                In(
                    t("A > C FA seq=1501 ack=138"),
                    Goes(t("S > C FA seq=K+1001 ack=138 win=250")),
                ),
                Silent,
            ]),
        ),
        row(
            "another node answers the ACK of a SYN-ACK of this one",
            web,
            vec![
                In(
                    t("C > S S seq=100 mss=1460 ws=8"),
                    Replies(t("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7")),
                ),
                Do(|world| *world = web()),
                In(
                    t("C > S A seq=101 ack=K+1 win=500"),
                    Becomes(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63")),
                ),
            ],
        ),
        row(
            "no ACK but the one that returns the cookie begins a session",
            web,
            vec![
                In(
                    t("C > S A seq=101 ack=K"),
                    Drops(DropReason::SynCookieWrong),
                ),
                In(
                    t("C > S A seq=102 ack=K+1"),
                    Drops(DropReason::SynCookieWrong),
                ),
                In(
                    t("C > S PA seq=101 ack=77 len=9"),
                    Drops(DropReason::SynCookieWrong),
                ),
                In(t("C > S RA seq=101 ack=K+1"), Drops(DropReason::NoSession)),
                In(t("C > S SA seq=101 ack=K+1"), Drops(DropReason::NoSession)),
                Silent,
                Do(sessions::<0>),
            ],
        ),
        row(
            "a cookie is too old after three slots of 64 seconds",
            web,
            vec![
                Wait(192),
                In(
                    t("C > S A seq=101 ack=K+1"),
                    Drops(DropReason::SynCookieWrong),
                ),
            ],
        ),
        row(
            "a wrong checksum is neither answered nor taken",
            web,
            vec![
                In(t("C > S S seq=100 sum=bad"), Drops(DropReason::BadChecksum)),
                In(
                    t("C > S A seq=101 ack=K+1 sum=bad"),
                    Drops(DropReason::BadChecksum),
                ),
            ],
        ),
        row(
            "who is not allowed is not answered",
            picky,
            vec![
                In(t("C > S S seq=100"), Drops(DropReason::AddressDenied)),
                In(
                    t("C > S A seq=101 ack=K+1"),
                    Drops(DropReason::AddressDenied),
                ),
                In(
                    "tcp 127.0.0.1:40000 > 203.0.113.10:80 S seq=100",
                    Drops(DropReason::Malformed),
                ),
            ],
        ),
    ]);
}

#[test]
fn before_the_backend_has_answered() {
    run(&[
        row(
            "data is held in order and sent when the backend answers",
            web,
            half_open([
                In(t("C > S PA seq=101 ack=K+1 len=37"), Holds),
                In(
                    t("C > S A seq=200 ack=K+1 len=5"),
                    Drops(DropReason::HoldFull),
                ),
                In(t("C > S FA seq=138 ack=K+1 win=501"), Holds),
                joining().into_iter().next().unwrap(),
                Sends(t("C > A FPA seq=101 ack=501 win=501 len=37 ttl=63 mac=07")),
                Silent,
            ]),
        ),
        row(
            "data with the ACK is held too, and neither makes a second session again",
            web,
            vec![
                In(
                    t("C > S PA seq=101 ack=K+1 win=500 len=37"),
                    Becomes(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
                ),
                In(t("C > S PA seq=101 ack=K+1 win=500 len=37"), Holds),
                In(t("C > S A seq=101 ack=K+1 win=500"), Holds),
                Do(sessions::<1>),
                joining().into_iter().next().unwrap(),
                Sends(t("C > A PA seq=101 ack=501 win=500 len=37 ttl=63 mac=07")),
                In(
                    t("C > S PA seq=101 ack=K+1 len=37"),
                    Goes(t("C > A PA seq=101 ack=501")),
                ),
                Do(sessions::<1>),
            ],
        ),
        row(
            "a refusal of the backend is the client's, and the session's end",
            web,
            half_open([
                In(t("A > C R seq=0"), Drops(DropReason::OutsideWindow)),
                In(
                    t("A > C RA ack=101"),
                    Becomes(t("S > C RA seq=K+1 ack=101 ttl=63 mac=fe")),
                ),
                Do(sessions::<0>),
            ]),
        ),
        row(
            "a silent backend is asked again after 1, 3 and 7 seconds, and given up after 15",
            web,
            half_open([
                Silent,
                Wait(1),
                Sends(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
                Wait(1),
                Silent,
                Wait(1),
                Sends(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
                Wait(4),
                Sends(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
                Wait(7),
                Silent,
                Do(sessions::<1>),
                Wait(1),
                Sends(t("S > C RA seq=K+1 ack=101 mac=fe")),
                Silent,
                Do(sessions::<0>),
            ]),
        ),
        row(
            "an answer to the second SYN joins them",
            web,
            half_open([
                Wait(1),
                Sends(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
            ])
            .into_iter()
            .chain(joining())
            .chain([Wait(30), Silent, Do(sessions::<1>)])
            .collect(),
        ),
        row(
            "an old connection of the backend's is reset, and the handshake goes on",
            web,
            half_open([
                In(
                    t("A > C A seq=9 ack=66"),
                    Replies("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R seq=66"),
                ),
                Do(sessions::<1>),
            ])
            .into_iter()
            .chain(joining())
            .collect(),
        ),
        row(
            "a client that gives up takes its SYN back",
            web,
            half_open([
                In(t("C > S R seq=102"), Drops(DropReason::OutsideWindow)),
                In(
                    t("C > S R seq=101"),
                    Becomes(t("C > A R seq=101 ttl=63 mac=07")),
                ),
                Do(sessions::<0>),
            ]),
        ),
        row(
            "another SYN of the same ends is told what has begun",
            web,
            half_open([
                In(
                    t("C > S S seq=900"),
                    Replies(t("S > C A seq=K+1 ack=101 win=114 mac=fe")),
                ),
                In(
                    t("C > S R seq=101"),
                    Becomes(t("C > A R seq=101 ttl=63 mac=07")),
                ),
                Do(sessions::<0>),
            ]),
        ),
        row(
            "without a backend the client gets a RST",
            web,
            vec![
                Do(|world| {
                    world.drain("a");
                    world.drain("b");
                }),
                In(
                    t("C > S A seq=101 ack=K+1"),
                    Replies(t("S > C RA seq=K+1 ack=101 mac=fe")),
                ),
                Do(|world| {
                    let stats = world.forwarder.stats();
                    assert_eq!(stats.dropped_for(DropReason::BackendUnavailable), 1);
                }),
                Do(sessions::<0>),
            ],
        ),
        row(
            "above the limit of sessions too",
            one_session,
            half_open([
                In(
                    t("C > S S seq=100 mss=1460 ws=8")
                        .replace(":40000", ":40001")
                        .leak(),
                    Replies(other("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7")),
                ),
                In(
                    other("C > S A seq=101 ack=K+1"),
                    Replies(other("S > C RA seq=K+1 ack=101")),
                ),
                Do(sessions::<1>),
            ]),
        ),
    ]);
}

/// A line of another client.
fn other(line: &str) -> &'static str {
    text(["192.0.2.1:40001", V4[1], V4[2]], line)
}

#[test]
fn for_the_life_of_the_session() {
    let storm = (0..66).flat_map(|n| {
        [
            In(
                t("C > S A seq=101 ack=K+1"),
                if n < 65 {
                    Goes(t("C > A A seq=101 ack=501"))
                } else {
                    Drops(DropReason::AckStorm)
                },
            ),
            In(
                t("A > C A seq=501 ack=101"),
                if n < 65 {
                    Goes(t("S > C A seq=K+1 ack=101 win=250"))
                } else {
                    Drops(DropReason::AckStorm)
                },
            ),
        ]
    });
    let over = [
        Wait(1),
        In(
            t("C > S A seq=101 ack=K+1"),
            Goes(t("C > A A seq=101 ack=501")),
        ),
    ];
    run(&[
        row(
            "a RST of the backend has the client's numbers",
            web,
            joined([In(t("A > C R seq=501"), Goes(t("S > C R seq=K+1 win=250")))]),
        ),
        row(
            "a SYN-ACK that comes again is answered by the client, who repeats his ACK",
            web,
            joined([
                In(
                    t("A > C SA seq=500 ack=101 win=20000"),
                    Goes(t("S > C SA seq=K ack=101")),
                ),
                In(
                    t("C > S A seq=101 ack=K+1"),
                    Goes(t("C > A A seq=101 ack=501")),
                ),
            ]),
        ),
        row(
            "a SYN in an open session goes to its backend, which challenges it",
            web,
            joined([
                In(t("C > S S seq=900"), Goes(t("C > A S seq=900"))),
                In(
                    t("A > C A seq=501 ack=101"),
                    Goes(t("S > C A seq=K+1 ack=101 win=250")),
                ),
                Do(sessions::<1>),
            ]),
        ),
        row(
            "other nodes, which cannot translate, are not told of it",
            || {
                let mut world = web();
                let mut config = config().syn_cookies(cookies());
                config.sessions.changes = ChangeStream::All;
                let web = always(service("web", Tcp, "203.0.113.10/32", 80, &world.pool));
                let key = HashKey::new([7; 16]);
                world.forwarder = Forwarder::new(START, config, key, vec![web]).expect("right");
                world
            },
            greeting()
                .into_iter()
                .chain([Do(untold)])
                .chain(joining())
                .chain([
                    In(
                        t("C > S A seq=101 ack=K+1"),
                        Goes(t("C > A A seq=101 ack=501")),
                    ),
                    Do(untold),
                ])
                .collect(),
        ),
        row(
            "a storm of acknowledgements ends",
            web,
            joined(storm.chain(over)),
        ),
        row(
            "the same ends again: the SYN is answered, and the ACK begins another session",
            web,
            joined([
                In(t("A > C R seq=501"), Goes(t("S > C R seq=K+1 win=250"))),
                greeting().into_iter().next().unwrap(),
                In(
                    t("C > S A seq=101 ack=K+1 win=500"),
                    Becomes(
                        "tcp 192.0.2.1:40000 > 10.0.0.8:8080 S seq=100 win=65535 mss=1460 ws=8 ttl=63",
                    ),
                ),
                Do(sessions::<1>),
            ]),
        ),
        row(
            "IPv6, both ways",
            web6,
            vec![
                In(
                    text(V6, "C > S S seq=100 mss=1460 ws=8"),
                    Replies(text(
                        V6,
                        "S > C SA seq=K ack=101 win=14600 mss=1440 ws=7 mac=fe",
                    )),
                ),
                In(
                    text(V6, "C > S A seq=101 ack=K+1 win=500"),
                    Becomes(text(
                        V6,
                        "C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07",
                    )),
                ),
                In(
                    text(V6, "A > C SA seq=500 ack=101 win=20000 ws=7"),
                    Becomes(text(V6, "S > C A seq=K+1 ack=101 win=156 ttl=63")),
                ),
                Sends(text(V6, "C > A A seq=101 ack=501 win=500 ttl=63 mac=07")),
                In(
                    text(V6, "C > S PA seq=101 ack=K+1 len=37"),
                    Goes(text(V6, "C > A PA seq=101 ack=501")),
                ),
            ],
        ),
    ]);
}

#[test]
fn above_a_rate_alone() {
    run(&[
        row(
            "below its rate SYNs go to backends, above it they are answered, and sessions stay",
            above,
            vec![
                In(t("C > S S seq=100"), Goes(t("C > A S seq=100"))),
                In(
                    other("C > S S seq=100"),
                    Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S seq=100"),
                ),
                In(
                    "tcp 192.0.2.1:40002 > 203.0.113.10:80 S seq=100 mss=1460",
                    Replies(third("S > C SA seq=K ack=101 win=14600 mss=1460")),
                ),
                // A SYN that comes again, of a session that is not proxied.
                In(t("C > S S seq=100"), Goes(t("C > A S seq=100"))),
                In(
                    t("A > C SA seq=500 ack=101"),
                    Goes(t("S > C SA seq=500 ack=101")),
                ),
                In(
                    t("C > S A seq=101 ack=501"),
                    Goes(t("C > A A seq=101 ack=501")),
                ),
                In(
                    third("C > S A seq=101 ack=77"),
                    Drops(DropReason::SynCookieWrong),
                ),
                Wait(12),
                // Long after the last flood an ACK may still return a cookie of another node.
                In(
                    third("C > S A seq=101 ack=77"),
                    Drops(DropReason::NoSession),
                ),
                In(
                    third("C > S A seq=101 ack=K+1"),
                    Becomes(third("C > A S seq=100 win=1000 mss=1460 ttl=63")),
                ),
                Do(sessions::<3>),
            ],
        ),
        row(
            "a service without it does as ever",
            || proxied(|web| web.syn_proxy(SynProxyConfig::default())),
            vec![
                In(t("C > S A seq=101 ack=K+1"), Drops(DropReason::NoSession)),
                In(t("C > S S seq=100"), Goes(t("C > A S seq=100"))),
            ],
        ),
    ]);
}

/// A line of a third client, whose SYN asks for no window scale.
fn third(line: &str) -> &'static str {
    let ends = ["192.0.2.1:40002", V4[1], V4[2]];
    let wanted = cookie(ends, 100, 1460, None);
    let scaled = cookie(ends, 100, 1460, Some(8));
    text(ends, line)
        .replace(&scaled.to_string(), &wanted.to_string())
        .replace(
            &scaled.wrapping_add(1).to_string(),
            &wanted.wrapping_add(1).to_string(),
        )
        .leak()
}

#[test]
fn what_cannot_be_proxied_is_refused() {
    let pool = || Pool::new(AnyScheduler::new(InTurn)).backends([backend(A)]);
    let web = || always(service("web", Tcp, "203.0.113.10/32", 80, &pool()));
    let refused = |web| forwarder(START, vec![web]).unwrap_err();
    let name: Arc<str> = "web".into();
    assert_eq!(
        refused(web().method(ForwardingMethod::DirectRouting)),
        ForwarderError::SynProxyOneSided(name.clone())
    );
    let wrong = SynProxyConfig::default().window_scale(15);
    assert_eq!(
        refused(web().syn_proxy(wrong)),
        ForwarderError::SynProxy(name.clone(), SynProxyConfigError::WindowScale(15))
    );
    let without = Forwarder::new(START, config(), HashKey::new([7; 16]), vec![web()]);
    assert_eq!(
        without.unwrap_err(),
        ForwarderError::SynProxyWithoutKey(name)
    );
}
