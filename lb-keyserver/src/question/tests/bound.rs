use proptest::prelude::*;

use super::*;

const PREFIX: &[u8] = b"                                                                \
TLS 1.3, server CertificateVerify\0";

fn tls12_message(params: &[u8]) -> Vec<u8> {
    [&[0xc1; 32][..], &[0x51; 32], params].concat()
}

#[test]
fn the_server_builds_a_certificate_verify_around_the_hash() {
    assert_eq!(PREFIX.len(), 64 + 33 + 1);
    for scheme in Scheme::ALL.into_iter().filter(|scheme| scheme.is_tls13()) {
        for length in [32, 48] {
            let hash = vec![0x77; length];
            let payload = coded(scheme, &hash);
            let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS13, &payload, key_for(scheme));
            let to_sign = to_sign.expect("signed");
            let message = [PREFIX, &hash].concat();
            assert_eq!(bytes(to_sign.input()), input(scheme, &message), "{scheme}");
            let sha256 = input(Scheme::EcdsaP256Sha256, &message);
            assert_eq!(to_sign.digest()[..], sha256, "{scheme}");
            assert_eq!(certificate_verify(&hash), Some(message));
        }
    }
}

#[test]
fn a_hash_that_tls_1_3_has_not_is_refused() {
    for length in (0..=100).filter(|length| ![32, 48].contains(length)) {
        let payload = coded(Scheme::Ed25519, &vec![7; length]);
        let key = key_of(KeyKind::Ed25519);
        let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS13, &payload, key);
        assert_eq!(refused(to_sign), Some(ErrorCode::Crypto), "{length}");
        assert_eq!(certificate_verify(&vec![7; length]), None);
    }
}

#[test]
fn the_server_signs_randoms_and_parameters() {
    for scheme in Scheme::ALL {
        for (group, first, length) in GROUPS {
            let message = tls12_message(&params(group, first, length));
            let payload = coded(scheme, &message);
            let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key_for(scheme));
            let to_sign = to_sign.expect("signed");
            assert_eq!(bytes(to_sign.input()), input(scheme, &message), "{scheme}");
            assert_eq!(to_sign.scheme(), scheme);
        }
    }
}

#[test]
fn parameters_are_of_a_named_curve_and_a_point_of_its_length() {
    let answer = |params: &[u8]| {
        let payload = coded(Scheme::Ed25519, &tls12_message(params));
        let key = key_of(KeyKind::Ed25519);
        refused(signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key))
    };
    let malformed = Some(ErrorCode::Format);
    for (group, first, length) in GROUPS {
        let good = params(group, first, length);
        assert_eq!(answer(&good), None);
        for end in 0..good.len() {
            assert_eq!(answer(&good[..end]), malformed, "{group:#x} {end}");
        }
        assert_eq!(answer(&[&good[..], &[0]].concat()), malformed);
        assert_eq!(answer(&params(group, first, length - 1)), malformed);
        assert_eq!(answer(&params(group, first, length + 1)), malformed);
        for curve_type in [0, 1, 2, 4, 0x20] {
            let other = [&[curve_type], &good[1..]].concat();
            assert_eq!(answer(&other), malformed, "{group:#x} {curve_type}");
        }
        if first == 4 {
            for form in [0, 2, 3, 5, 6] {
                assert_eq!(answer(&params(group, form, length)), malformed);
            }
        }
    }
    for group in [0, 0x16, 0x19, 0x1a, 0x1c, 0x1e, 0x1f, 0x100, 0x11ec, 0x1700] {
        for (_, first, length) in GROUPS {
            assert_eq!(
                answer(&params(group, first, length)),
                malformed,
                "{group:#x}"
            );
        }
    }
}

#[test]
fn what_is_no_point_of_its_curve_is_refused() {
    let key = key_of(KeyKind::EcdsaP256);
    for (group, first, length) in GROUPS.into_iter().filter(|(_, first, _)| *first == 4) {
        let good = params(group, first, length);
        for place in [5, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            let payload = coded(Scheme::EcdsaP256Sha256, &tls12_message(&bad));
            let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key);
            assert_eq!(
                refused(to_sign),
                Some(ErrorCode::Format),
                "{group:#x} {place}"
            );
        }
    }
    // What a curve has no room for.
    for (group, length) in [(0x19, 133), (0x1e, 56)] {
        let payload = coded(
            Scheme::EcdsaP256Sha256,
            &tls12_message(&params(group, 4, length)),
        );
        let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key);
        assert_eq!(refused(to_sign), Some(ErrorCode::Format), "{group:#x}");
    }
}

#[test]
fn randoms_that_are_cut_off_are_refused() {
    let key = key_of(KeyKind::Ed25519);
    for length in 0..64 {
        let payload = coded(Scheme::Ed25519, &vec![1; length]);
        let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key);
        assert_eq!(refused(to_sign), Some(ErrorCode::Format), "{length}");
    }
}

#[test]
fn the_scheme_is_one_that_is_offered_and_that_the_key_has() {
    let key = key_of(KeyKind::Rsa);
    let message = tls12_message(&params(0x1d, 0, 32));
    let answer = |opcode, code: u16, rest: &[u8]| {
        let payload = [&code.to_be_bytes()[..], rest].concat();
        refused(signed(Mode::Bound, opcode, &payload, key))
    };
    for code in 0..=u16::MAX {
        let scheme = Scheme::from_code(code);
        let is_rsa = scheme.is_some_and(|scheme| scheme.kind() == KeyKind::Rsa);
        let tls12 = (!is_rsa).then_some(ErrorCode::BadOpcode);
        assert_eq!(
            answer(Opcode::SIGN_TLS12, code, &message),
            tls12,
            "{code:#x}"
        );
        let is_pss = is_rsa && scheme.is_some_and(Scheme::is_tls13);
        let tls13 = (!is_pss).then_some(ErrorCode::BadOpcode);
        assert_eq!(
            answer(Opcode::SIGN_TLS13, code, &[1; 32]),
            tls13,
            "{code:#x}"
        );
    }
    for payload in [&[][..], &[4]] {
        for opcode in [0x40, 0x41, 0x42, 0x43].map(Opcode) {
            let to_sign = signed(Mode::Bound, opcode, payload, key);
            assert_eq!(refused(to_sign), Some(ErrorCode::Format), "{opcode}");
        }
    }
}

#[test]
fn no_tls_1_2_randoms_make_a_statement_of_tls_1_3() {
    // The randoms of an attacker: the 64 spaces that TLS 1.3 puts before its context strings.
    let key = key_of(KeyKind::Ed25519);
    for (group, first, length) in GROUPS {
        let message = [&[0x20; 64][..], &params(group, first, length)].concat();
        let payload = coded(Scheme::Ed25519, &message);
        let to_sign = signed(Mode::Bound, Opcode::SIGN_TLS12, &payload, key).expect("signed");
        let signed = bytes(to_sign.input());
        assert_eq!(signed, message);
        // Every context string of RFC 8446, RFC 9345 and RFC 9261 begins with a letter.
        assert_eq!(signed[64], 3);
    }
}

/// The context strings that other statements have behind their 64 spaces.
const OTHER_CONTEXTS: [&[u8]; 5] = [
    b"TLS, server delegated credentials\0",
    b"TLS, client delegated credentials\0",
    b"TLS 1.3, client CertificateVerify\0",
    b"Exported Authenticator\0",
    b"",
];

#[test]
fn no_statement_but_a_servers_own_can_be_asked_for() {
    let key = key_of(KeyKind::Ed25519);
    for context in OTHER_CONTEXTS {
        for length in (0..300).step_by(4).chain([32, 48]) {
            let credential = [&[0x20; 64][..], context, &vec![7; length]].concat();
            let request = SignRequest::new(key.clone(), Scheme::Ed25519, credential.clone());
            for mode in [Mode::Bound, Mode::Strict] {
                let request = request.clone().transcript(credential.clone());
                let asked = ask(mode, &request).err();
                assert_eq!(asked, Some(SignError::BadRequest), "{length}");
            }
            // Nor by a client that keeps to no rule.
            for opcode in (0..=u8::MAX).map(Opcode) {
                let payload = coded(Scheme::Ed25519, &credential);
                if opcode == Opcode::PING {
                    continue;
                }
                if let Ok(to_sign) = signed(Mode::Bound, opcode, &payload, key) {
                    assert_ne!(bytes(to_sign.input()), credential, "{opcode} {length}");
                }
            }
        }
    }
}

#[test]
fn a_client_asks_by_what_the_message_is() {
    for scheme in Scheme::ALL {
        let request = |message: &[u8]| SignRequest::new(key_for(scheme).clone(), scheme, message);
        let hash = [9; 48];
        let tls13 = request(&certificate_verify(&hash).expect("good"));
        match ask(Mode::Bound, &tls13) {
            Ok(asking) if scheme.is_tls13() => {
                assert_eq!(asking.items().opcode, Opcode::SIGN_TLS13);
                assert_eq!(asking.items().payload, coded(scheme, &hash));
            }
            other => assert_eq!(other.err(), Some(SignError::BadScheme), "{scheme}"),
        }
        for (group, first, length) in GROUPS {
            let message = tls12_message(&params(group, first, length));
            let tls12 = request(&message);
            let asking = ask(Mode::Bound, &tls12).expect("asked");
            assert_eq!(asking.items().opcode, Opcode::SIGN_TLS12);
            assert_eq!(asking.items().payload, coded(scheme, &message));
            assert_eq!(asking.items().ski, Some(key_for(scheme).ski()));
        }
    }
}

#[test]
fn a_client_asks_for_nothing_that_is_no_handshake() {
    let key = key_of(KeyKind::EcdsaP256);
    let good = certificate_verify(&[9; 32]).expect("good");
    let long = [&good[..], &[0]].concat();
    let mut other = good.clone();
    other[70] ^= 1;
    let params = tls12_message(&params(0x17, 4, 65));
    let (cut, longer) = (&params[..params.len() - 1], [&params[..], &[0]].concat());
    for message in [
        &b""[..],
        b"hello",
        &good[..129],
        &long,
        &other,
        cut,
        &longer,
    ] {
        let request = SignRequest::new(key.clone(), Scheme::EcdsaP256Sha256, message);
        assert_eq!(
            ask(Mode::Bound, &request).err(),
            Some(SignError::BadRequest)
        );
    }
}

proptest! {
    /// Whatever is asked, what is signed is of one of two forms.
    #[test]
    fn in_the_bound_mode_nothing_else_is_signed(
        opcode in 0x3e..0x45_u8,
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..250),
            (any::<[u8; 32]>(), any::<[u8; 32]>(), prop::sample::select(&GROUPS[..]))
                .prop_map(|(client, server, (group, first, length))| {
                    [&client[..], &server, &params(group, first, length)].concat()
                }),
            any::<[u8; 32]>().prop_map(Vec::from),
        ],
    ) {
        let key = key_of(KeyKind::Ed25519);
        let payload = coded(Scheme::Ed25519, &payload);
        if let Ok(to_sign) = signed(Mode::Bound, Opcode(opcode), &payload, key) {
            let message = bytes(to_sign.input());
            let tls13 = message.starts_with(PREFIX) && [130, 146].contains(&message.len());
            let tls12 = message[64] == 3 && [100, 133, 165].contains(&message.len());
            prop_assert!(tls12 ^ tls13);
        }
    }
}
