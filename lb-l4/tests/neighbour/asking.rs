//! When who is asked, and how often.

use lb_l4::neighbour::{NeighbourConfig, Neighbours};
use lb_l4::wire::arp::Operation;
use lb_l4::wire::ethernet::Mac;

use super::setup::{
    ITS, MINE, NOBODY, Ndp, arp, arp_of, at, director, header, ip, known, reply, sent, show, v6_of,
    with,
};

#[test]
fn nobody_is_asked_for_twice_at_once() {
    let mut link = director();
    for _ in 0..5 {
        assert_eq!(link.lookup(at(0), ip("10.0.0.7")), None);
    }
    let frames = sent(&mut link);
    let question = arp(Operation::Request, (MINE, "10.0.0.1"), (NOBODY, "10.0.0.7"));
    assert_eq!(frames.len(), 1);
    assert_eq!(arp_of(&frames[0]), (Mac::BROADCAST, question));
    assert_eq!(header(&frames[0]).source, MINE);
}

#[test]
fn three_questions_a_second_apart_and_then_nobody_is_there() {
    let mut link = director();
    assert_eq!(link.poll_timeout(), None);
    link.lookup(at(0), ip("10.0.0.7"));
    let mut asked = vec![];
    for _ in 0..10 {
        asked.push((sent(&mut link).len(), link.poll_timeout()));
        let Some(next) = link.poll_timeout() else {
            break;
        };
        link.handle_timeout(next);
    }
    let expected = [
        (1, Some(at(1_000))),
        (1, Some(at(2_000))),
        (1, Some(at(3_000))),
        // Nobody is asked for again until then.
        (0, Some(at(6_000))),
        (0, None),
    ];
    assert_eq!(asked, expected);
    assert_eq!((link.stats().failed, link.stats().questions), (1, 3));
    assert_eq!(link.stats().neighbours, 0);
}

#[test]
fn a_timeout_before_its_time_does_nothing() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    sent(&mut link);
    link.handle_timeout(at(999));
    assert_eq!(sent(&mut link).len(), 0);
    link.handle_timeout(at(1_000));
    assert_eq!(sent(&mut link).len(), 1);
}

#[test]
fn who_did_not_answer_is_not_asked_for_a_while() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    for time in [1_000, 2_000, 3_000] {
        link.handle_timeout(at(time));
    }
    sent(&mut link);
    assert_eq!(link.lookup(at(5_999), ip("10.0.0.7")), None);
    assert_eq!(sent(&mut link).len(), 0);
    link.handle_timeout(at(6_000));
    assert_eq!(link.lookup(at(6_000), ip("10.0.0.7")), None);
    assert_eq!(sent(&mut link).len(), 1);
}

#[test]
fn an_answer_is_trusted_for_30_seconds_and_used_while_it_is_asked_for_again() {
    let mut link = director();
    known(&mut link, at(0));
    assert_eq!(link.lookup(at(29_999), ip("10.0.0.7")), Some(ITS));
    assert_eq!(sent(&mut link).len(), 0);
    assert_eq!(link.poll_timeout(), Some(at(30_000)));
    let version = link.version();
    link.handle_timeout(at(30_000));
    assert_ne!(link.version(), version);
    assert_eq!((link.poll_timeout(), sent(&mut link).len()), (None, 0));

    // Used again: asked for, and of itself alone.
    assert_eq!(link.lookup(at(40_000), ip("10.0.0.7")), Some(ITS));
    assert_eq!(link.lookup(at(40_000), ip("10.0.0.7")), Some(ITS));
    let frames = sent(&mut link);
    assert_eq!(frames.len(), 1);
    let question = arp(Operation::Request, (MINE, "10.0.0.1"), (NOBODY, "10.0.0.7"));
    assert_eq!(arp_of(&frames[0]), (ITS, question));

    link.handle_arp(at(40_001), &reply(ITS, "10.0.0.7"));
    assert_eq!(link.poll_timeout(), Some(at(70_001)));
    assert_eq!(link.lookup(at(50_000), ip("10.0.0.7")), Some(ITS));
    assert_eq!(sent(&mut link).len(), 0);
}

#[test]
fn what_is_old_is_asked_for_even_before_its_timeout_is_handled() {
    let mut link = director();
    known(&mut link, at(0));
    assert_eq!(link.lookup(at(30_000), ip("10.0.0.7")), Some(ITS));
    assert_eq!(sent(&mut link).len(), 1);
    assert_eq!(link.poll_timeout(), Some(at(31_000)));
}

#[test]
fn who_no_longer_answers_is_asked_for_of_all_before_he_is_given_up() {
    let mut link = director();
    known(&mut link, at(0));
    link.handle_timeout(at(30_000));
    link.lookup(at(30_000), ip("10.0.0.7"));
    let mut asked = vec![];
    for time in (31_000..=40_000).step_by(1_000) {
        asked.extend(sent(&mut link).iter().map(|it| arp_of(it).0));
        let before = link.version();
        link.handle_timeout(at(time));
        let mac = link.lookup(at(time), ip("10.0.0.7"));
        // Three of itself, and then it is no longer known.
        assert_eq!(mac, (time < 33_000).then_some(ITS), "{time}");
        assert_eq!(link.version() != before, time == 33_000, "{time}");
        if time == 36_000 {
            break;
        }
    }
    let all = Mac::BROADCAST;
    assert_eq!(asked, [ITS, ITS, ITS, all, all, all]);
    assert_eq!(link.stats().failed, 1);
}

#[test]
fn an_ipv6_neighbour_is_asked_for_in_the_group_of_its_last_bits() {
    let mut link = director();
    assert_eq!(link.lookup(at(0), ip("fd00::12:3456")), None);
    let frames = sent(&mut link);
    let headers = v6_of(&frames[0]);
    assert_eq!(
        header(&frames[0]).destination,
        Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
    );
    assert_eq!(header(&frames[0]).source, MINE);
    assert_eq!(
        (headers.source, headers.destination),
        (ip("fd00::1"), ip("ff02::1:ff12:3456"))
    );
    assert_eq!((headers.ttl, headers.protocol), (255, 58));
    let mut body = vec![135, 0, frames[0][56], frames[0][57], 0, 0, 0, 0];
    body.extend(
        "fd00::12:3456"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    body.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(frames[0][54..], body);
}

#[test]
fn a_known_ipv6_neighbour_is_asked_itself() {
    let mut link = director();
    link.lookup(at(0), ip("fd00::7"));
    sent(&mut link);
    let (verdict, _) = show(&mut link, at(1), &Ndp::answer(ITS, 0x60).frame());
    assert_eq!(verdict, Some(lb_l4::packet::Verdict::Pass));
    assert_eq!(link.lookup(at(30_001), ip("fd00::7")), Some(ITS));
    let frames = sent(&mut link);
    assert_eq!(header(&frames[0]).destination, ITS);
    assert_eq!(v6_of(&frames[0]).destination, ip("fd00::7"));
}

#[test]
fn questions_are_asked_from_the_nearest_address() {
    let own = ["10.0.0.1", "192.168.3.1", "10.9.0.1", "fd00::1", "fe80::1"].map(ip);
    let mut link = Neighbours::new(MINE, own, NeighbourConfig::default()).unwrap();
    for (asked, from) in [
        ("10.9.0.5", "10.9.0.1"),
        ("10.0.0.9", "10.0.0.1"),
        ("192.168.3.9", "192.168.3.1"),
    ] {
        link.lookup(at(0), ip(asked));
        let frames = sent(&mut link);
        assert_eq!(ip(from), arp_of(&frames[0]).1.sender);
    }
    link.lookup(at(0), ip("fe80::7"));
    assert_eq!(v6_of(&sent(&mut link)[0]).source, ip("fe80::1"));
    link.lookup(at(0), ip("fd00::7"));
    assert_eq!(v6_of(&sent(&mut link)[0]).source, ip("fd00::1"));
}

#[test]
fn nobody_is_asked_for_who_cannot_be_there() {
    let mut link = director();
    for nobody in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ] {
        assert_eq!(link.lookup(at(0), ip(nobody)), None);
    }
    assert_eq!(link.stats().refused, 7);
    let mut v4 = Neighbours::new(MINE, [ip("10.0.0.1")], NeighbourConfig::default()).unwrap();
    assert_eq!(v4.lookup(at(0), ip("fd00::7")), None);
    assert_eq!(v4.stats().refused, 1);
    for link in [&mut link, &mut v4] {
        assert_eq!((sent(link).len(), link.stats().neighbours), (0, 0));
        assert_eq!(link.poll_timeout(), None);
    }
}

#[test]
fn a_fixed_neighbour_is_never_asked_for() {
    let mut link = with(NeighbourConfig::default().capacity(1));
    link.fix(ip("10.0.0.7"), ITS).unwrap();
    assert_eq!(link.lookup(at(1_000_000), ip("10.0.0.7")), Some(ITS));
    assert_eq!((sent(&mut link).len(), link.poll_timeout()), (0, None));
    assert!(link.fix(ip("10.0.0.8"), ITS).is_err());
    link.fix(ip("10.0.0.7"), super::setup::OTHER).unwrap();
    assert_eq!(
        link.lookup(at(0), ip("10.0.0.7")),
        Some(super::setup::OTHER)
    );
}

#[test]
fn what_was_asked_for_can_be_fixed() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    link.fix(ip("10.0.0.7"), ITS).unwrap();
    assert_eq!(link.poll_timeout(), None);
    assert_eq!(link.lookup(at(0), ip("10.0.0.7")), Some(ITS));
}

#[test]
fn who_is_kept_is_asked_for_again_without_being_looked_up() {
    let mut link = director();
    assert_eq!(link.keep(at(0), ip("10.0.0.7")), None);
    sent(&mut link);
    link.handle_arp(at(0), &reply(ITS, "10.0.0.7"));
    let version = link.version();
    let mut now = 0;
    // Each time after 30 s, for an hour.
    while now < 3_570_000 {
        now += 30_000;
        link.handle_timeout(at(now));
        let frames = sent(&mut link);
        assert_eq!(frames.len(), 1, "{now}");
        assert_eq!(arp_of(&frames[0]).0, ITS);
        link.handle_arp(at(now), &reply(ITS, "10.0.0.7"));
        assert_eq!(link.version(), version);
    }
    // Then whoever keeps it is to say so again.
    link.handle_timeout(at(now + 30_000));
    assert_eq!(sent(&mut link).len(), 0);
    assert_ne!(link.version(), version);
    assert_eq!(link.keep(at(now + 30_000), ip("10.0.0.7")), Some(ITS));
    assert_eq!(sent(&mut link).len(), 1);
}

/// What is sent and known from `from` on, every half second until `until`, in milliseconds.
fn questions(link: &mut Neighbours, from: u64, until: u64) -> Vec<u64> {
    let mut asked = vec![];
    for now in (from..until).step_by(500) {
        link.handle_timeout(at(now));
        asked.extend(sent(link).iter().map(|_| now));
    }
    asked
}

#[test]
fn who_is_kept_and_gone_is_asked_for_now_and_then() {
    let mut link = director();
    link.keep(at(0), ip("10.0.0.7"));
    let first = questions(&mut link, 0, 36_000);
    assert_eq!(first, [0, 1_000, 2_000]);
    let next = questions(&mut link, 36_000, 72_000);
    assert_eq!(next, [36_000, 37_000, 38_000]);
    // At once when it is wanted.
    assert_eq!(link.lookup(at(50_000), ip("10.0.0.7")), None);
    assert_eq!(
        questions(&mut link, 50_000, 53_000),
        [50_000, 51_000, 52_000]
    );
    // And no longer than it is kept.
    questions(&mut link, 53_000, 3_700_000);
    assert_eq!((link.stats().neighbours, link.poll_timeout()), (0, None));
}

#[test]
fn who_did_not_answer_and_says_that_he_is_there_is_asked_for_at_once() {
    let announcement = arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, "10.0.0.7"));
    for now in [4_000, 10_000] {
        let mut link = director();
        link.keep(at(0), ip("10.0.0.7"));
        questions(&mut link, 0, now);
        link.handle_arp(at(now), &announcement);
        assert_eq!(sent(&mut link).len(), 1);
        assert_eq!(link.lookup(at(now), ip("10.0.0.7")), None);
        link.handle_arp(at(now), &reply(ITS, "10.0.0.7"));
        assert_eq!(link.lookup(at(now), ip("10.0.0.7")), Some(ITS));
        // While it is asked for, an announcement is no news.
        link.handle_arp(at(now), &announcement);
        assert_eq!(sent(&mut link).len(), 0);
    }
}

#[test]
fn an_announcement_while_one_is_asked_for_is_no_answer() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    sent(&mut link);
    link.handle_arp(
        at(1),
        &arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, "10.0.0.7")),
    );
    assert_eq!((sent(&mut link).len(), link.stats().claims), (0, 0));
}
