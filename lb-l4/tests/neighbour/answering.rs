//! What is answered and announced.

use std::net::Ipv6Addr;

use lb_l4::neighbour::{NeighbourConfig, Neighbours};
use lb_l4::packet::{Link, Packet, Verdict};
use lb_l4::wire::arp::Operation;
use lb_l4::wire::ethernet::Mac;
use lb_l4::wire::parse;

use super::setup::{
    ITS, MINE, NOBODY, Ndp, arp, arp_of, at, director, header, ip, sent, show, v6_of, with,
};

const VIP: &str = "203.0.113.10";

fn frame(message: &lb_l4::wire::arp::Message, tags: &[u8]) -> Vec<u8> {
    let addresses = [[0xff; 6], message.sender_mac.0].concat();
    [&addresses[..], tags, &[8, 6], &message.bytes()].concat()
}

fn with_service() -> Neighbours {
    let mut link = director();
    link.answer_for(["203.0.113.10/32", "2001:db8::80/128"].map(|it| it.parse().unwrap()));
    link
}

#[test]
fn a_question_about_our_address_is_answered_in_place() {
    for tags in [
        &[][..],
        &[0x81, 0, 0, 7],
        &[0x88, 0xa8, 0, 3, 0x81, 0, 0, 7],
    ] {
        for (mut link, target) in [(director(), "10.0.0.1"), (with_service(), VIP)] {
            let question = arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, target));
            // Padding to the least frame goes.
            let padded = [frame(&question, tags), vec![0; 18]].concat();
            let (verdict, answer) = show(&mut link, at(0), &padded);
            assert_eq!(verdict, Some(Verdict::Reply));
            let expected = arp(Operation::Reply, (MINE, target), (ITS, "10.0.0.7"));
            let mut whole = frame(&expected, tags);
            whole[..6].copy_from_slice(&ITS.0);
            assert_eq!(answer, whole);
            assert_eq!((link.stats().answers, sent(&mut link).len()), (1, 0));
        }
    }
}

#[test]
fn a_question_about_another_address_is_the_host_s() {
    for (mut link, target) in [(director(), VIP), (with_service(), "203.0.113.11")] {
        let question = arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, target));
        let asked = frame(&question, &[]);
        let (verdict, after) = show(&mut link, at(0), &asked);
        assert_eq!((verdict, after), (Some(Verdict::Pass), asked));
        assert_eq!(link.stats().answers, 0);
    }
}

#[test]
fn who_only_asks_whether_an_address_is_taken_is_told() {
    let mut link = with_service();
    let probe = arp(Operation::Request, (ITS, "0.0.0.0"), (NOBODY, VIP));
    let answer = link.handle_arp(at(0), &probe).unwrap();
    assert_eq!(answer, arp(Operation::Reply, (MINE, VIP), (ITS, "0.0.0.0")));
}

#[test]
fn an_answer_is_never_answered() {
    let mut link = with_service();
    let message = arp(Operation::Reply, (ITS, "10.0.0.7"), (MINE, VIP));
    assert_eq!(link.handle_arp(at(0), &message), None);
}

#[test]
fn a_standby_is_silent_for_the_services_and_not_for_itself() {
    let mut link = with_service();
    assert!(link.answers(ip(VIP)) && link.answers(ip("10.0.0.1")));
    link.answer_for([]);
    assert!(!link.answers(ip(VIP)) && link.answers(ip("10.0.0.1")));
    let question = arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, VIP));
    assert_eq!(link.handle_arp(at(0), &question), None);
}

/// The advertisement in `answer`: to whom, and its body but for the checksum.
fn advertised(answer: &[u8], target: &str, flags: u8) {
    let target: Ipv6Addr = target.parse().unwrap();
    let mut body = vec![136, 0, answer[56], answer[57], flags, 0, 0, 0];
    body.extend(target.octets());
    body.extend([2, 1]);
    body.extend(MINE.0);
    assert_eq!(answer[54..], body);
    assert_eq!(header(answer).source, MINE);
}

#[test]
fn a_solicitation_is_answered_in_place() {
    for (mut link, target) in [(director(), "fd00::1"), (with_service(), "2001:db8::80")] {
        let (verdict, answer) = show(&mut link, at(0), &Ndp::question(target).frame());
        assert_eq!(verdict, Some(Verdict::Reply));
        let headers = v6_of(&answer);
        assert_eq!(header(&answer).destination, ITS);
        assert_eq!(
            (headers.source, headers.destination),
            (ip(target), ip("fd00::7"))
        );
        assert_eq!(headers.ttl, 255);
        advertised(&answer, target, 0x60);
    }
}

#[test]
fn a_solicitation_without_a_link_address_is_answered_to_whom_it_came_from() {
    let mut question = Ndp::question("fd00::1");
    question.options.clear();
    question.to = (MINE, "fd00::1".parse().unwrap());
    let (verdict, answer) = show(&mut director(), at(0), &question.frame());
    assert_eq!(verdict, Some(Verdict::Reply));
    assert_eq!(header(&answer).destination, ITS);
    advertised(&answer, "fd00::1", 0x60);
}

#[test]
fn an_answer_without_room_in_place_is_sent_by_itself() {
    let mut question = Ndp::question("fd00::1");
    question.options.clear();
    let mut bytes = question.frame();
    let len = bytes.len();
    let mut packet = Packet::new(&mut bytes, 0..len, Link::Ethernet);
    let read = parse(packet.bytes(), Link::Ethernet).unwrap();
    let mut link = director();
    assert_eq!(link.handle(at(0), &mut packet, &read), Some(Verdict::Held));
    let frames = sent(&mut link);
    assert_eq!(frames.len(), 1);
    advertised(&frames[0], "fd00::1", 0x60);
}

#[test]
fn who_asks_whether_an_ipv6_address_is_taken_is_told_with_all() {
    let mut question = Ndp::question("fd00::1");
    question.from.1 = Ipv6Addr::UNSPECIFIED;
    question.options.clear();
    let (verdict, answer) = show(&mut director(), at(0), &question.frame());
    assert_eq!(verdict, Some(Verdict::Reply));
    assert_eq!(header(&answer).destination, Mac([0x33, 0x33, 0, 0, 0, 1]));
    assert_eq!(v6_of(&answer).destination, ip("ff02::1"));
    advertised(&answer, "fd00::1", 0x20);
}

#[test]
fn a_solicitation_that_breaks_the_rules_is_not_answered() {
    let nobody = Ndp {
        from: (ITS, Ipv6Addr::UNSPECIFIED),
        options: vec![],
        ..Ndp::question("fd00::1")
    };
    let all = "ff02::1".parse().unwrap();
    for question in [
        Ndp {
            ttl: 254,
            ..Ndp::question("fd00::1")
        },
        Ndp {
            code: 1,
            ..Ndp::question("fd00::1")
        },
        Ndp {
            options: vec![1, 0],
            ..Ndp::question("fd00::1")
        },
        Ndp {
            options: super::setup::option(1, ITS),
            ..nobody.clone()
        },
        Ndp {
            to: (MINE, "fd00::1".parse().unwrap()),
            ..nobody.clone()
        },
        Ndp {
            to: (MINE, all),
            ..nobody
        },
    ] {
        let mut link = director();
        let (verdict, _) = show(&mut link, at(0), &question.frame());
        assert_eq!(verdict, Some(Verdict::Pass));
        assert_eq!((link.stats().malformed, link.stats().answers), (1, 0));
    }
}

#[test]
fn packets_of_other_kinds_are_not_touched() {
    let mut link = director();
    let datagram = [
        &[2; 12][..],
        &[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 99, 0, 0],
        &[10; 16],
    ]
    .concat();
    assert_eq!(show(&mut link, at(0), &datagram).0, None);
    let mut bytes = Ndp::question("fd00::1").frame().split_off(14);
    let len = bytes.len();
    let mut packet = Packet::new(&mut bytes, 0..len, Link::Ip);
    let read = parse(packet.bytes(), Link::Ip).unwrap();
    assert_eq!(link.handle(at(0), &mut packet, &read), None);
}

#[test]
fn an_address_taken_over_is_told_to_all_three_times() {
    let mut link = with_service();
    link.announce(at(500), ip(VIP));
    let mut told = vec![];
    let mut frames = sent(&mut link);
    for _ in 0..5 {
        told.push((frames.len(), link.poll_timeout()));
        for frame in &frames {
            let announcement = arp(Operation::Request, (MINE, VIP), (NOBODY, VIP));
            assert_eq!(arp_of(frame), (Mac::BROADCAST, announcement));
        }
        let Some(next) = link.poll_timeout() else {
            break;
        };
        link.handle_timeout(next);
        frames = sent(&mut link);
    }
    let expected = [(1, Some(at(1_500))), (1, Some(at(2_500))), (1, None)];
    assert_eq!(told, expected);
    assert_eq!(link.stats().announcements, 3);
}

#[test]
fn an_ipv6_address_taken_over_is_advertised_to_all() {
    let mut link = with_service();
    link.announce(at(0), ip("2001:db8::80"));
    let frames = sent(&mut link);
    assert_eq!(frames.len(), 1);
    let headers = v6_of(&frames[0]);
    assert_eq!(
        (headers.source, headers.destination),
        (ip("2001:db8::80"), ip("ff02::1"))
    );
    assert_eq!(
        header(&frames[0]).destination,
        Mac([0x33, 0x33, 0, 0, 0, 1])
    );
    advertised(&frames[0], "2001:db8::80", 0x20);
}

#[test]
fn what_is_given_up_again_is_no_longer_announced() {
    let mut link = with_service();
    link.announce(at(0), ip(VIP));
    link.announce(at(0), ip("10.0.0.1"));
    link.answer_for([]);
    sent(&mut link);
    link.handle_timeout(at(1_000));
    let frames = sent(&mut link);
    assert_eq!(frames.len(), 1);
    assert_eq!(ip("10.0.0.1"), arp_of(&frames[0]).1.sender);
    link.announce(at(2_000), ip(VIP));
    assert_eq!(sent(&mut link).len(), 0);
}

#[test]
fn announcements_begin_again_and_do_not_add_up() {
    let mut link = with_service();
    link.announce(at(0), ip(VIP));
    link.announce(at(900), ip(VIP));
    assert_eq!(sent(&mut link).len(), 2);
    assert_eq!(link.poll_timeout(), Some(at(1_900)));
    link.handle_timeout(at(1_900));
    link.handle_timeout(at(2_900));
    assert_eq!((sent(&mut link).len(), link.poll_timeout()), (2, None));
}

#[test]
fn announcements_are_as_many_as_are_wanted() {
    for times in [0, 1, 2] {
        let mut link = with(NeighbourConfig::default().announcements(times));
        link.announce(at(0), ip("10.0.0.1"));
        for time in [1_000, 2_000, 3_000] {
            link.handle_timeout(at(time));
        }
        assert_eq!(sent(&mut link).len(), usize::from(times));
    }
}
