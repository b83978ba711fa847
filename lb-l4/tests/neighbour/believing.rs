//! Who is believed.

use lb_l4::packet::Verdict;
use lb_l4::wire::arp::Operation;
use lb_l4::wire::ethernet::Mac;

use super::setup::{
    ITS, MINE, NOBODY, Ndp, OTHER, arp, arp_of, at, director, ip, known, option, reply, sent, show,
};

#[test]
fn a_message_that_nobody_asked_for_creates_nothing() {
    let mut link = director();
    let seven = (ITS, "10.0.0.7");
    for message in [
        reply(ITS, "10.0.0.7"),
        arp(Operation::Request, seven, (NOBODY, "10.0.0.7")),
        arp(Operation::Request, seven, (NOBODY, "10.0.0.1")),
        arp(Operation::Reply, seven, (Mac::BROADCAST, "10.0.0.7")),
    ] {
        link.handle_arp(at(0), &message);
    }
    for message in [Ndp::answer(ITS, 0x60), Ndp::question("fd00::1")] {
        show(&mut link, at(0), &message.frame());
    }
    assert_eq!(link.stats().neighbours, 0);
    assert_eq!(link.stats().learned, 0);
}

#[test]
fn an_answer_to_somebody_else_is_no_answer() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    link.handle_arp(
        at(1),
        &arp(Operation::Reply, (OTHER, "10.0.0.7"), (ITS, "10.0.0.1")),
    );
    link.handle_arp(
        at(1),
        &arp(Operation::Request, (OTHER, "10.0.0.7"), (MINE, "10.0.0.1")),
    );
    assert_eq!(link.lookup(at(1), ip("10.0.0.7")), None);
    link.handle_arp(at(2), &reply(ITS, "10.0.0.7"));
    assert_eq!(link.lookup(at(2), ip("10.0.0.7")), Some(ITS));
    assert_eq!(link.stats().learned, 1);
}

#[test]
fn a_group_is_nobody_s_link_address() {
    let mut link = director();
    link.lookup(at(0), ip("10.0.0.7"));
    link.lookup(at(0), ip("fd00::7"));
    link.handle_arp(at(1), &reply(Mac([3, 0, 0, 0, 0, 7]), "10.0.0.7"));
    let mut message = Ndp::answer(ITS, 0x60);
    message.options = option(2, Mac([3, 0, 0, 0, 0, 7]));
    show(&mut link, at(1), &message.frame());
    assert_eq!(link.lookup(at(1), ip("10.0.0.7")), None);
    assert_eq!(link.lookup(at(1), ip("fd00::7")), None);
}

#[test]
fn a_claim_is_asked_about_and_not_believed() {
    let mut link = director();
    known(&mut link, at(0));
    let version = link.version();
    let claim = arp(
        Operation::Request,
        (OTHER, "10.0.0.7"),
        (NOBODY, "10.0.0.7"),
    );
    link.handle_arp(at(100), &claim);
    let frames = sent(&mut link);
    assert_eq!(frames.len(), 1);
    assert_eq!(arp_of(&frames[0]).0, Mac::BROADCAST);
    assert_eq!(link.lookup(at(100), ip("10.0.0.7")), Some(ITS));
    assert_eq!((link.stats().claims, link.version()), (1, version));

    // The true owner answers, and all is as before.
    link.handle_arp(at(101), &reply(ITS, "10.0.0.7"));
    assert_eq!(link.lookup(at(101), ip("10.0.0.7")), Some(ITS));
    assert_eq!((link.stats().changed, link.version()), (0, version));
}

#[test]
fn a_neighbour_that_has_moved_is_found_by_its_claim() {
    let mut link = director();
    known(&mut link, at(0));
    let version = link.version();
    link.handle_arp(
        at(100),
        &arp(
            Operation::Reply,
            (OTHER, "10.0.0.7"),
            (Mac::BROADCAST, "10.0.0.7"),
        ),
    );
    sent(&mut link);
    link.handle_arp(at(101), &reply(OTHER, "10.0.0.7"));
    assert_eq!(link.lookup(at(101), ip("10.0.0.7")), Some(OTHER));
    assert_eq!(link.stats().changed, 1);
    assert_ne!(link.version(), version);
}

#[test]
fn claims_cost_one_question_a_second() {
    let mut link = director();
    known(&mut link, at(0));
    let mut questions = 0;
    for time in 0..100 {
        // Two stations that both answer.
        link.handle_arp(at(time * 10), &reply(OTHER, "10.0.0.7"));
        questions += sent(&mut link).len();
        link.handle_arp(at(time * 10), &reply(ITS, "10.0.0.7"));
        questions += sent(&mut link).len();
    }
    assert_eq!(questions, 1);
    link.handle_arp(at(1_000), &reply(OTHER, "10.0.0.7"));
    assert_eq!(sent(&mut link).len(), 1);
}

#[test]
fn a_claim_that_says_what_is_known_is_none() {
    let mut link = director();
    known(&mut link, at(0));
    link.handle_arp(
        at(100),
        &arp(Operation::Request, (ITS, "10.0.0.7"), (NOBODY, "10.0.0.1")),
    );
    assert_eq!((link.stats().claims, sent(&mut link).len()), (0, 0));
    // Nor does it make what is known last longer.
    assert_eq!(link.poll_timeout(), Some(at(30_000)));
}

#[test]
fn no_message_changes_what_is_fixed() {
    let mut link = director();
    link.fix(ip("10.0.0.7"), ITS).unwrap();
    link.handle_arp(at(0), &reply(OTHER, "10.0.0.7"));
    assert_eq!(link.lookup(at(0), ip("10.0.0.7")), Some(ITS));
    assert_eq!(sent(&mut link).len(), 0);
}

#[test]
fn who_claims_an_address_of_ours_is_counted_and_not_learned() {
    let mut link = director();
    link.handle_arp(
        at(0),
        &arp(
            Operation::Request,
            (OTHER, "10.0.0.1"),
            (NOBODY, "10.0.0.1"),
        ),
    );
    link.handle_arp(at(0), &reply(OTHER, "10.0.0.1"));
    let mut message = Ndp::answer(OTHER, 0x20);
    message.target = "fd00::1".parse().unwrap();
    show(&mut link, at(0), &message.frame());
    assert_eq!(link.stats().conflicts, 3);
    assert_eq!((link.stats().answers, link.stats().neighbours), (0, 0));
}

#[test]
fn what_comes_back_from_ourselves_is_not_heard() {
    let mut link = director();
    let looped = arp(Operation::Request, (MINE, "10.0.0.1"), (NOBODY, "10.0.0.1"));
    assert_eq!(link.handle_arp(at(0), &looped), None);
    let mut message = Ndp::question("fd00::1");
    message.from.0 = MINE;
    show(&mut link, at(0), &message.frame());
    assert_eq!(link.stats(), lb_l4::neighbour::NeighbourStats::default());
}

/// What RFC 4861, 7.2.5 makes of an advertisement while nobody is known.
#[test]
fn the_first_advertisement_is_believed_if_it_names_a_link_address() {
    for (flags, options, expected) in [
        (0x60, option(2, ITS), Some(ITS)),
        (0x40, option(2, ITS), Some(ITS)),
        (0x00, option(2, ITS), Some(ITS)),
        (0x60, vec![], None),
        // Another option, and then the right one.
        (
            0x60,
            [vec![14, 2], vec![0; 14], option(2, ITS)].concat(),
            Some(ITS),
        ),
        (0x60, option(1, ITS), None),
    ] {
        let mut link = director();
        link.lookup(at(0), ip("fd00::7"));
        let mut message = Ndp::answer(ITS, flags);
        message.options = options;
        show(&mut link, at(1), &message.frame());
        assert_eq!(link.lookup(at(1), ip("fd00::7")), expected, "{flags:02x}");
    }
}

#[test]
fn a_later_advertisement_changes_what_is_known_if_it_was_asked_for_and_overrides() {
    for (asked, flags, expected) in [
        (true, 0x60, OTHER),
        (true, 0x40, ITS),
        (true, 0x20, ITS),
        (false, 0x60, ITS),
        (false, 0x20, ITS),
    ] {
        let mut link = director();
        link.lookup(at(0), ip("fd00::7"));
        show(&mut link, at(1), &Ndp::answer(ITS, 0x60).frame());
        let now = at(if asked { 30_001 } else { 29_000 });
        link.lookup(now, ip("fd00::7"));
        sent(&mut link);
        show(&mut link, now, &Ndp::answer(OTHER, flags).frame());
        assert_eq!(
            link.lookup(now, ip("fd00::7")),
            Some(expected),
            "{asked} {flags:02x}"
        );
        // What is not believed is asked about.
        assert_eq!(sent(&mut link).len(), usize::from(expected == ITS));
    }
}

#[test]
fn an_answer_may_leave_out_what_is_known() {
    let mut link = director();
    link.lookup(at(0), ip("fd00::7"));
    show(&mut link, at(1), &Ndp::answer(ITS, 0x60).frame());
    link.lookup(at(30_001), ip("fd00::7"));
    let mut message = Ndp::answer(ITS, 0x40);
    message.options.clear();
    show(&mut link, at(30_002), &message.frame());
    assert_eq!(link.stats().learned, 2);
    assert_eq!(link.poll_timeout(), Some(at(60_002)));
}

#[test]
fn a_message_that_breaks_the_rules_is_not_heard() {
    let right = Ndp::answer(ITS, 0x60);
    let mut wrong: Vec<Vec<u8>> = vec![
        Ndp {
            ttl: 254,
            ..right.clone()
        }
        .frame(),
        Ndp {
            code: 1,
            ..right.clone()
        }
        .frame(),
        Ndp {
            target: "ff02::1".parse().unwrap(),
            ..right.clone()
        }
        .frame(),
        // Asked for, and told to all.
        Ndp {
            to: (MINE, "ff02::1".parse().unwrap()),
            ..right.clone()
        }
        .frame(),
        // An empty option, one beyond the end, and one too long for Ethernet.
        Ndp {
            options: vec![2, 0, 2, 0, 0, 0, 0, 7],
            ..right.clone()
        }
        .frame(),
        Ndp {
            options: vec![2, 2, 2, 0, 0, 0, 0, 7],
            ..right.clone()
        }
        .frame(),
        Ndp {
            options: [option(2, ITS), vec![9]].concat(),
            ..right.clone()
        }
        .frame(),
        Ndp {
            options: [vec![2, 2], vec![2; 14]].concat(),
            ..right
        }
        .frame(),
    ];
    let mut damaged = right.frame();
    damaged[60] ^= 1;
    wrong.push(damaged);
    for (at_row, frame) in wrong.iter().enumerate() {
        let mut link = director();
        link.lookup(at(0), ip("fd00::7"));
        let (verdict, _) = show(&mut link, at(1), frame);
        assert_eq!(verdict, Some(Verdict::Pass));
        assert_eq!(
            (link.stats().malformed, link.stats().learned),
            (1, 0),
            "{at_row}"
        );
    }
    let mut link = director();
    link.lookup(at(0), ip("fd00::7"));
    show(&mut link, at(1), &right.frame());
    assert_eq!((link.stats().malformed, link.stats().learned), (0, 1));
}

#[test]
fn a_message_too_short_is_not_heard() {
    let mut link = director();
    let mut frame = Ndp {
        options: vec![],
        ..Ndp::answer(ITS, 0x60)
    }
    .frame();
    // 23 bytes of the 24, with a right checksum: the last byte of the target was not zero.
    let cut = Ndp {
        options: vec![],
        target: "fd00::700".parse().unwrap(),
        ..Ndp::answer(ITS, 0x60)
    };
    let mut shorter = cut.frame();
    shorter.pop();
    shorter[19] = 23;
    // One less in the pseudo-header is one more in the checksum.
    let checksum = u16::from_be_bytes([shorter[56], shorter[57]]) + 1;
    shorter[56..58].copy_from_slice(&checksum.to_be_bytes());
    show(&mut link, at(0), &shorter);
    assert_eq!(link.stats().malformed, 1);
    frame[54] = 134;
    assert_eq!(show(&mut link, at(0), &frame).0, None);
}
