use super::*;

#[test]
fn every_scheme_signs_the_digest_that_it_gets() {
    for scheme in Scheme::ALL {
        let payload = input(scheme, b"message");
        let to_sign = signed(Mode::Plain, Opcode::of(scheme), &payload, key_for(scheme));
        let to_sign = to_sign.expect("signed");
        let expected = match scheme.hash() {
            Some(_) => Input::Digest(&payload),
            None => Input::Message(b"message"),
        };
        assert_eq!(to_sign.input(), expected, "{scheme}");
        assert_eq!(to_sign.scheme(), scheme);
        assert_eq!(to_sign.server_name(), None);
    }
}

#[test]
fn an_opcode_signs_with_its_own_kind_of_key_only() {
    for scheme in Scheme::ALL {
        for kind in KINDS {
            let payload = input(scheme, b"message");
            let to_sign = signed(Mode::Plain, Opcode::of(scheme), &payload, key_of(kind));
            let expected = (scheme.kind() != kind).then_some(ErrorCode::BadOpcode);
            assert_eq!(refused(to_sign), expected, "{scheme} {kind}");
        }
    }
}

#[test]
fn a_digest_is_as_long_as_its_hash_for_every_kind_of_key() {
    for scheme in Scheme::ALL {
        let Some(hash) = scheme.hash() else { continue };
        for length in (0..=66).chain([128, 2000]) {
            let payload = vec![1; length];
            let to_sign = signed(Mode::Plain, Opcode::of(scheme), &payload, key_for(scheme));
            let expected = (length != hash.len()).then_some(ErrorCode::Crypto);
            assert_eq!(refused(to_sign), expected, "{scheme} {length}");
        }
    }
}

#[test]
fn ed25519_signs_messages_of_any_length() {
    let key = key_of(KeyKind::Ed25519);
    for length in [0, 1, 32, 64, 2000] {
        let message = vec![1; length];
        let to_sign = signed(Mode::Plain, Opcode::ED25519, &message, key).expect("signed");
        assert_eq!(to_sign.input(), Input::Message(&message));
    }
}

#[test]
fn what_is_not_offered_is_no_opcode() {
    let plain = [0x05, 0x06, 0x07, 0x15, 0x16, 0x17, 0x18, 0x35, 0x36, 0x37];
    let (answers, ping) = ([0xf0, 0xf2, 0xff], 0xf1);
    for byte in 0..=u8::MAX {
        let items = Items {
            opcode: Opcode(byte),
            payload: &[1; 32],
            ski: Some(Ski::from_bytes([1; 20])),
            ..Items::default()
        };
        let expected = match byte {
            _ if answers.contains(&byte) => Some(ErrorCode::UnexpectedOpcode),
            _ if plain.contains(&byte) || byte == ping => None,
            _ => Some(ErrorCode::BadOpcode),
        };
        assert_eq!(refused(read(Mode::Plain, &items)), expected, "{byte:#x}");
    }
}

#[test]
fn opcodes_are_of_their_mode() {
    for (mode, own) in [
        (Mode::Plain, &[0x15][..]),
        (Mode::Bound, &[0x40, 0x41, 0x42, 0x43]),
        (Mode::Strict, &[0x42, 0x43]),
    ] {
        for byte in [0x00, 0x15, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44] {
            let items = Items {
                opcode: Opcode(byte),
                ..Items::default()
            };
            // Without a key's name, an opcode of the mode goes as far as to miss it.
            let expected = match own.contains(&byte) {
                true => ErrorCode::KeyNotFound,
                false => ErrorCode::BadOpcode,
            };
            assert_eq!(
                refused(read(mode, &items)),
                Some(expected),
                "{mode:?} {byte:#x}"
            );
        }
    }
}

#[test]
fn a_ping_is_one_in_every_mode_and_an_answer_in_none() {
    for mode in Mode::ALL {
        let items = |opcode| Items {
            opcode,
            payload: b"echo",
            ..Items::default()
        };
        let ping = read(mode, &items(Opcode::PING));
        assert!(matches!(ping, Ok(Request::Ping(b"echo"))), "{mode:?}");
        for opcode in [Opcode::RESPONSE, Opcode::PONG, Opcode::ERROR] {
            let answer = refused(read(mode, &items(opcode)));
            assert_eq!(
                answer,
                Some(ErrorCode::UnexpectedOpcode),
                "{mode:?} {opcode}"
            );
        }
    }
}

#[test]
fn another_key_than_the_one_that_is_meant_signs_nothing() {
    let items = Items {
        opcode: Opcode::ECDSA_SHA256,
        payload: &[1; 32],
        ski: Some(Ski::from_bytes([1; 20])),
        ..Items::default()
    };
    let Ok(Request::Sign(question)) = read(Mode::Plain, &items) else {
        panic!("a question");
    };
    let to_sign = question.to_sign(key_of(KeyKind::EcdsaP256));
    assert_eq!(refused(to_sign), Some(ErrorCode::KeyNotFound));
}

#[test]
fn the_audit_log_gets_the_sha_256_of_the_message_where_it_can() {
    for scheme in Scheme::ALL {
        let payload = input(scheme, b"message");
        let to_sign = signed(Mode::Plain, Opcode::of(scheme), &payload, key_for(scheme));
        let sha256 = |bytes| input(Scheme::EcdsaP256Sha256, bytes);
        let expected = match payload.len() {
            48 | 64 => sha256(&payload),
            _ => sha256(b"message"),
        };
        assert_eq!(to_sign.expect("signed").digest()[..], expected, "{scheme}");
    }
}

#[test]
fn a_question_says_who_asks_for_whom() {
    let client = std::net::IpAddr::from([192, 0, 2, 7]);
    let asked = |name: &'static [u8]| {
        let items = Items {
            opcode: Opcode::ED25519,
            ski: Some(Ski::from_bytes([3; 20])),
            server_name: name,
            client_ip: Some(client),
            ..Items::default()
        };
        match read(Mode::Plain, &items) {
            Ok(Request::Sign(question)) => question,
            other => panic!("{other:?}"),
        }
    };
    let question = asked(b"WWW.a.test");
    assert_eq!(question.server_name(), Some("WWW.a.test"));
    assert_eq!(question.client(), Some(client));
    assert_eq!(question.ski(), Ski::from_bytes([3; 20]));
    assert_eq!(question.opcode(), Opcode::ED25519);
    assert_eq!(question.scheme(), Scheme::Ed25519);
    for name in [
        &b""[..],
        b"\xff",
        b"a b",
        b"a.test.",
        b"192.0.2.1",
        b"2001:db8::1",
        b"a\0b",
        b"..",
        &[b'a'; 64],
    ] {
        assert_eq!(asked(name).server_name(), None, "{name:?}");
    }
    let shown = format!("{question:?}");
    assert!(
        shown.contains("WWW.a.test") && shown.contains("0x18"),
        "{shown}"
    );
}

#[test]
fn a_client_asks_for_the_digest_of_its_message() {
    for scheme in Scheme::ALL {
        let request = SignRequest::new(key_for(scheme).clone(), scheme, &b"message"[..])
            .server_name("a.test")
            .client([192, 0, 2, 7].into());
        let asking = ask(Mode::Plain, &request).expect("asked");
        let payload = input(scheme, b"message");
        let expected = Items {
            opcode: Opcode::of(scheme),
            payload: &payload,
            ski: Some(key_for(scheme).ski()),
            server_name: b"a.test",
            client_ip: Some([192, 0, 2, 7].into()),
            ..Items::default()
        };
        assert_eq!(asking.items(), expected, "{scheme}");
        assert!(!format!("{asking:?}").contains("message"));
    }
}

#[test]
fn a_client_does_not_ask_a_key_for_what_it_cannot_do() {
    for scheme in Scheme::ALL {
        for kind in KINDS {
            let request = SignRequest::new(key_of(kind).clone(), scheme, &b"message"[..]);
            let asked = ask(Mode::Plain, &request).err();
            let expected = (scheme.kind() != kind).then_some(SignError::BadScheme);
            assert_eq!(asked, expected, "{scheme} {kind}");
        }
    }
}

#[test]
fn a_message_that_no_frame_holds_is_not_asked_for() {
    // Of 65,535 bytes, the opcode takes 4, the key's name 23, the payload's header 3.
    let most = 65_535 - 4 - 23 - 3;
    for (length, expected) in [(most, None), (most + 1, Some(SignError::BadRequest))] {
        let key = key_of(KeyKind::Ed25519).clone();
        let request = SignRequest::new(key, Scheme::Ed25519, vec![1; length]);
        assert_eq!(ask(Mode::Plain, &request).err(), expected);
    }
}
