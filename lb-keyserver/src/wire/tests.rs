use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::ski::Ski;

fn emitted(id: u32, items: &Items<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(id, items, &mut bytes).expect("fits");
    bytes
}

/// A frame of that body.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("fits").to_be_bytes();
    [&[1, 0], &length[..], &[0, 0, 0, 9], body].concat()
}

fn item(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("fits").to_be_bytes();
    [&[tag], &length[..], value].concat()
}

/// What a body says, or why it says nothing; `Err(None)` where a frame is cut off.
fn said(bytes: &[u8]) -> Result<Items<'_>, Option<ParseError>> {
    let (frame, used) = parse(bytes).map_err(Some)?.ok_or(None)?;
    assert_eq!(used, bytes.len());
    Ok(frame.items)
}

const PING: Items<'static> = Items {
    opcode: Opcode::PING,
    payload: b"hello",
    ski: None,
    certificate_digest: None,
    client_ip: None,
    server_ip: None,
    server_name: b"",
    cert_id: b"",
    custom_name: b"",
    extra: b"",
    jaeger_span: b"",
    request_context: b"",
    compliance_region: 0,
};

/// Every tag that the protocol has, with a value that is good for it.
fn known() -> Vec<(u8, Vec<u8>)> {
    let long = [(0x01, 32), (0x03, 4), (0x04, 20), (0x05, 16), (0x20, 7)];
    let byte = [(0x11, 1), (0x17, 1)];
    let text = [0x02, 0x06, 0x12, 0x13, 0x14, 0x15, 0x16].map(|tag| (tag, 5));
    let all = long.into_iter().chain(byte).chain(text);
    all.map(|(tag, length)| (tag, vec![tag; length])).collect()
}

#[test]
fn the_golden_ping_is_written_to_the_byte() {
    let mut expected =
        b"\x01\x00\x03\xf8\x00\x00\x00\x01\x11\x00\x01\xf1\x12\x00\x05hello".to_vec();
    expected.extend(item(0x20, &[0; 1001]));
    assert_eq!(expected.len(), 1024);
    assert_eq!(emitted(1, &PING), expected);
}

#[test]
fn the_golden_question_is_written_to_the_byte() {
    let ski = Ski::from_bytes(std::array::from_fn(|at| u8::try_from(at).expect("small")));
    let question = Items {
        opcode: Opcode::ECDSA_SHA256,
        payload: &[0xab; 32],
        ski: Some(ski),
        ..Items::default()
    };
    let expected = [
        &b"\x01\x00\x03\xf8\x00\x00\x00\x0a\x11\x00\x01\x15"[..],
        &item(0x12, &[0xab; 32]),
        &item(0x04, ski.as_bytes()),
        &item(0x20, &[0; 951]),
    ];
    assert_eq!(emitted(10, &question), expected.concat());
}

#[test]
fn a_long_pong_is_not_padded() {
    let pong = Items {
        opcode: Opcode::PONG,
        payload: &[7; 2000],
        ..Items::default()
    };
    let expected = [
        &b"\x01\x00\x07\xd7\x12\x34\x56\x78\x11\x00\x01\xf2"[..],
        &item(0x12, &[7; 2000]),
    ];
    assert_eq!(emitted(0x1234_5678, &pong), expected.concat());
}

#[test]
fn items_are_written_in_the_order_of_the_deployed_clients() {
    let items = Items {
        opcode: Opcode(0x24),
        payload: b"payload",
        ski: Some(Ski::from_bytes([4; 20])),
        certificate_digest: Some(&[1; 32]),
        client_ip: Some(IpAddr::from([192, 0, 2, 1])),
        server_ip: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
        server_name: b"a.test",
        cert_id: b"certificate",
        custom_name: b"function",
        extra: b"extra",
        jaeger_span: b"span",
        request_context: b"{}",
        compliance_region: 1,
    };
    let v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let body = [
        item(0x11, &[0x24]),
        item(0x12, b"payload"),
        item(0x04, &[4; 20]),
        item(0x01, &[1; 32]),
        item(0x03, &[192, 0, 2, 1]),
        item(0x05, &v6),
        item(0x02, b"a.test"),
        item(0x06, b"certificate"),
        item(0x13, b"function"),
        item(0x14, b"extra"),
        item(0x15, b"span"),
        item(0x16, b"{}"),
        item(0x17, &[1]),
    ]
    .concat();
    let bytes = emitted(9, &items);
    assert_eq!(bytes[HEADER..HEADER + body.len()], body);
    assert_eq!(bytes[HEADER + body.len()], 0x20);
    assert_eq!(said(&bytes), Ok(items));
    assert_eq!(length(&items), Ok(PADDED));
}

#[test]
fn what_is_empty_is_not_written() {
    let expected = [&[1, 0, 3, 0xf8, 0, 0, 0, 9][..], &item(0x20, &[0; 1013])];
    assert_eq!(emitted(9, &Items::default()), expected.concat());
}

#[test]
fn a_frame_is_padded_up_to_1024_bytes_and_the_two_below_go_over() {
    // The opcode takes 4 bytes, and the payload 3 more than it has.
    for (unpadded, padded) in [
        (1019, 1024),
        (1020, 1024),
        (1021, 1024),
        (1022, 1025),
        (1023, 1026),
        (1024, 1024),
        (1025, 1025),
    ] {
        let payload = vec![5; unpadded - HEADER - 4 - 3];
        let items = Items {
            payload: &payload,
            ..PING
        };
        let bytes = emitted(2, &items);
        assert_eq!(bytes.len(), padded, "{unpadded}");
        assert_eq!(length(&items), Ok(padded), "{unpadded}");
        assert_eq!(said(&bytes), Ok(items));
    }
}

#[test]
fn the_longest_frame_is_written_and_one_byte_more_leaves_no_trace() {
    let payload = vec![5; 65_535 - 4 - 3 + 1];
    let fits = Items {
        payload: &payload[1..],
        ..PING
    };
    let bytes = emitted(3, &fits);
    assert_eq!(bytes.len(), MAX_FRAME);
    assert_eq!(length(&fits), Ok(MAX_FRAME));
    assert_eq!(said(&bytes), Ok(fits));

    let over = Items {
        payload: &payload,
        ..PING
    };
    let mut bytes = b"before".to_vec();
    let refused = TooLong { bytes: 65_536 };
    assert_eq!(emit(3, &over, &mut bytes), Err(refused));
    assert_eq!(length(&over), Err(refused));
    assert_eq!(bytes, b"before");
    let wide = Items {
        extra: &payload,
        ..over
    };
    assert!(emit(3, &wide, &mut bytes).is_err());
}

#[test]
fn frames_are_appended() {
    let mut bytes = emitted(1, &PING);
    emit(2, &PING, &mut bytes).expect("fits");
    let (first, used) = parse(&bytes).expect("good").expect("whole");
    let (second, rest) = parse(&bytes[used..]).expect("good").expect("whole");
    assert_eq!((first.id, second.id, used, rest), (1, 2, 1024, 1024));
}

#[test]
fn a_frame_that_has_not_all_come_is_waited_for() {
    let bytes = emitted(7, &PING);
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
    }
    let more = [&bytes[..], b"next"].concat();
    let (frame, used) = parse(&more).expect("good").expect("whole");
    assert_eq!((frame.id, frame.items, used), (7, PING, bytes.len()));
}

#[test]
fn an_empty_body_is_a_frame_without_an_opcode() {
    assert_eq!(said(&framed(&[])), Ok(Items::default()));
    assert_eq!(Items::default().opcode, Opcode::NONE);
}

#[test]
fn every_version_is_read_and_shown() {
    let mut bytes = emitted(7, &PING);
    let version = |bytes: &[u8]| parse(bytes).expect("good").expect("whole").0.version;
    assert_eq!(version(&bytes), Version::CURRENT);
    (bytes[0], bytes[1]) = (2, 5);
    assert_eq!(version(&bytes), Version { major: 2, minor: 5 });
}

#[test]
fn one_or_two_bytes_behind_the_items_are_passed_over() {
    let ping = item(0x11, &[0xf1]);
    for rest in [&[][..], &[0x11], &[0x11, 0]] {
        let bytes = framed(&[&ping, rest].concat());
        assert_eq!(said(&bytes).map(|items| items.opcode), Ok(Opcode::PING));
    }
}

#[test]
fn an_item_that_ends_beyond_its_frame_is_an_error_known_or_not() {
    for tag in [0x12, 0x20, 0x77] {
        let whole = item(tag, b"four");
        assert!(said(&framed(&whole)).is_ok());
        let cut = framed(&whole[..whole.len() - 1]);
        assert_eq!(said(&cut), Err(Some(ParseError::TruncatedItem)), "{tag}");
    }
}

#[test]
fn a_known_item_comes_once_and_an_unknown_one_as_often_as_it_likes() {
    let known = known();
    for tag in 0..=u8::MAX {
        let named = known.iter().find(|(known, _)| *known == tag);
        let one = item(tag, named.map_or(&[], |(_, value)| value));
        assert!(said(&framed(&one)).is_ok(), "{tag}");
        let twice = framed(&[&one[..], &item(0x99, b""), &one].concat());
        let expected = named.map(|_| Some(ParseError::RepeatedItem));
        assert_eq!(said(&twice).err(), expected, "{tag:#x}");
    }
}

#[test]
fn all_known_items_come_together_in_any_order() {
    let mut items = known();
    let body = |items: &[(u8, Vec<u8>)]| {
        let each = items.iter().map(|(tag, value)| item(*tag, value));
        framed(&each.collect::<Vec<_>>().concat())
    };
    let forward = body(&items);
    items.reverse();
    let backward = body(&items);
    assert!(said(&forward).is_ok());
    assert_eq!(said(&forward), said(&backward));
}

#[test]
fn a_repeated_item_counts_even_where_the_first_was_dropped() {
    let twice = [item(0x04, &[1; 19]), item(0x04, &[1; 20])].concat();
    assert_eq!(said(&framed(&twice)), Err(Some(ParseError::RepeatedItem)));
}

#[test]
fn lengths_that_the_protocol_fixes_are_kept() {
    for (tag, good, error) in [
        (0x11, &[1][..], ParseError::BadOpcode),
        (0x17, &[1], ParseError::BadComplianceRegion),
        (0x03, &[4, 16], ParseError::BadAddress),
        (0x05, &[4, 16], ParseError::BadAddress),
    ] {
        for length in 0..20 {
            let bytes = framed(&item(tag, &vec![1; length]));
            let expected = (!good.contains(&length)).then_some(Some(error));
            assert_eq!(said(&bytes).err(), expected, "{tag:#x} {length}");
        }
    }
}

#[test]
fn a_name_or_digest_of_another_length_counts_as_none() {
    for length in [0, 19, 21, 32] {
        let bytes = framed(&item(0x04, &vec![1; length]));
        assert_eq!(said(&bytes), Ok(Items::default()), "{length}");
    }
    for length in [0, 20, 31, 33] {
        let bytes = framed(&item(0x01, &vec![1; length]));
        assert_eq!(said(&bytes), Ok(Items::default()), "{length}");
    }
    let digest = framed(&item(0x01, &[1; 32]));
    let digest = said(&digest).expect("good").certificate_digest;
    assert_eq!(digest, Some(&[1; 32]));
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> =
        ParseError::ALL.iter().map(|error| error.as_str()).collect();
    assert_eq!(names.len(), ParseError::ALL.len());
    let kebab = |name: &&str| {
        name.bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
    };
    assert!(names.iter().all(kebab));
    assert!(names.contains("repeated-item"));
}

#[test]
fn what_is_shown_has_no_payload() {
    let shown = format!(
        "{:?}",
        Items {
            payload: b"secret",
            ..PING
        }
    );
    assert!(
        shown.contains("0xf1") && shown.contains("6 bytes"),
        "{shown}"
    );
    assert!(
        !shown.contains("secret") && !shown.contains("115"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        (id, opcode, region) in any::<(u32, u8, u8)>(),
        (ski, digest) in any::<(Option<[u8; 20]>, Option<[u8; 32]>)>(),
        (client_ip, server_ip) in any::<(Option<IpAddr>, Option<IpAddr>)>(),
        texts in prop::array::uniform7(prop::collection::vec(any::<u8>(), 0..300)),
        trailing in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let [payload, server_name, cert_id, custom_name, extra, jaeger_span, request_context] =
            &texts;
        let items = Items {
            opcode: Opcode(opcode),
            payload,
            ski: ski.map(Ski::from_bytes),
            certificate_digest: digest.as_ref(),
            client_ip,
            server_ip,
            server_name,
            cert_id,
            custom_name,
            extra,
            jaeger_span,
            request_context,
            compliance_region: region,
        };
        let mut bytes = emitted(id, &items);
        let written = bytes.len();
        prop_assert_eq!(length(&items), Ok(written));
        prop_assert!(written >= PADDED);
        bytes.extend(trailing);
        let (frame, used) = parse(&bytes).expect("good").expect("whole");
        prop_assert_eq!((frame.id, frame.items, used), (id, items, written));
    }

    #[test]
    fn bytes_that_are_read_are_written_with_the_same_meaning(
        bodies in prop::collection::vec(
            (0..0x22_u8, prop::collection::vec(any::<u8>(), 0..40)),
            0..6,
        ),
        rest in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let items = bodies.iter().map(|(tag, value)| item(*tag, value));
        let body = [items.collect::<Vec<_>>().concat(), rest].concat();
        if let Ok(items) = said(&framed(&body)) {
            let again = emitted(1, &items);
            prop_assert_eq!(said(&again), Ok(items));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((_, used))) = parse(&bytes) {
            prop_assert!((HEADER..=bytes.len()).contains(&used));
        }
        let _ = said(&framed(&bytes));
    }
}
