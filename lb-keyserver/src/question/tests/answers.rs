use super::*;
use crate::wire::{PADDED, parse};

fn answered(bytes: &[u8]) -> (u32, Answer<'_>) {
    let (frame, used) = parse(bytes).expect("good").expect("whole");
    assert_eq!(used, bytes.len());
    (frame.id, Answer::read(&frame.items))
}

#[test]
fn an_error_is_padded_like_every_answer() {
    let mut golden = Vec::new();
    emit_error(0x0a0b_0c0d, ErrorCode::KeyNotFound, &mut golden);
    let mut expected = b"\x01\x00\x03\xf8\x0a\x0b\x0c\x0d\x11\x00\x01\xff\x12\x00\x01\x02".to_vec();
    expected.extend(b"\x20\x03\xed");
    expected.resize(PADDED, 0);
    assert_eq!(golden, expected);
    for byte in 0..=u8::MAX {
        let mut bytes = Vec::new();
        emit_error(7, ErrorCode::from_byte(byte), &mut bytes);
        let refused = Answer::Refused(ErrorCode::from_byte(byte));
        assert_eq!((bytes.len(), answered(&bytes)), (PADDED, (7, refused)));
    }
}

#[test]
fn answers_lead_back_to_what_was_answered() {
    let (mut signature, mut pong) = (Vec::new(), Vec::new());
    emit_signature(1, b"signature", &mut signature);
    emit_pong(2, b"echo", &mut pong);
    assert_eq!(answered(&signature), (1, Answer::Signature(b"signature")));
    assert_eq!(answered(&pong), (2, Answer::Pong(b"echo")));
    assert_eq!((signature.len(), pong.len()), (PADDED, PADDED));
}

#[test]
fn the_longest_ping_has_a_pong_and_what_is_longer_an_error() {
    let longest = vec![1; 65_535 - 4 - 3];
    let mut bytes = Vec::new();
    emit_pong(2, &longest, &mut bytes);
    assert_eq!(answered(&bytes), (2, Answer::Pong(&longest)));
    let internal = Answer::Refused(ErrorCode::Internal);
    for emit in [emit_pong, emit_signature] {
        let mut bytes = Vec::new();
        emit(3, &[&longest[..], &[1]].concat(), &mut bytes);
        assert_eq!(answered(&bytes), (3, internal));
    }
}

#[test]
fn what_is_no_answer_is_unknown() {
    for (opcode, payload) in [
        (Opcode::NONE, &b"x"[..]),
        (Opcode::PING, b"x"),
        (Opcode::ECDSA_SHA256, b"x"),
        (Opcode::ERROR, b""),
        (Opcode::ERROR, b"\x02\x02"),
    ] {
        let items = Items {
            opcode,
            payload,
            ..Items::default()
        };
        assert_eq!(Answer::read(&items), Answer::Unknown, "{opcode}");
    }
}

#[test]
fn what_is_shown_of_an_answer_has_no_bytes() {
    assert_eq!(
        format!("{:?}", Answer::Signature(b"secret")),
        "Signature(6 bytes)"
    );
    assert_eq!(format!("{:?}", Answer::Pong(b"hi")), "Pong(2 bytes)");
    let refused = Answer::Refused(ErrorCode::BadOpcode);
    assert_eq!(format!("{refused:?}"), "Refused(bad-opcode)");
    assert_eq!(format!("{:?}", Answer::Unknown), "Unknown");
}
