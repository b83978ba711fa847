use proptest::prelude::*;

use super::super::hello::HELLO_RETRY_REQUEST;
use super::handshakes::*;
use super::*;
use crate::scheme::Hash;

const SHA256_ID: u8 = 4;
const SHA384_ID: u8 = 5;

/// What is signed for a handshake of TLS 1.3.
fn sign13(id: u8, handshake: &[Vec<u8>]) -> Result<ToSign, ErrorCode> {
    let payload = [&[id][..], &handshake.concat()].concat();
    let payload = coded(Scheme::Ed25519, &payload);
    signed(Mode::Strict, Opcode::STRICT_TLS13, &payload, key_of(KIND))
}

/// What is signed for a handshake of TLS 1.2.
fn sign12(handshake: &[Vec<u8>]) -> Result<ToSign, ErrorCode> {
    let payload = [vector16(&params(0x1d, 1, 32)), handshake.concat()].concat();
    let payload = coded(Scheme::Ed25519, &payload);
    signed(Mode::Strict, Opcode::STRICT_TLS12, &payload, key_of(KIND))
}

const MALFORMED: Option<ErrorCode> = Some(ErrorCode::Format);

fn with(mut handshake: Vec<Vec<u8>>, at: usize, message: Vec<u8>) -> Vec<Vec<u8>> {
    handshake[at] = message;
    handshake
}

#[test]
fn the_server_hashes_a_handshake_of_tls_1_3_itself() {
    for mode in [Mode::Strict, Mode::Bound] {
        let handshake = tls13().concat();
        let payload = coded(Scheme::Ed25519, &[&[SHA256_ID], &handshake[..]].concat());
        let to_sign = signed(mode, Opcode::STRICT_TLS13, &payload, key_of(KIND)).expect("signed");
        let hash = Hash::Sha256.digest(&handshake);
        let expected = certificate_verify(hash.as_ref()).expect("a hash");
        assert_eq!(to_sign.input(), Input::Message(&expected));
        assert_eq!(to_sign.server_name(), Some("www.a.test"));
        let shown = format!("{to_sign:?}");
        assert!(
            shown.contains("www.a.test") && shown.contains("Ed25519"),
            "{shown}"
        );
    }
}

#[test]
fn the_server_takes_the_randoms_of_tls_1_2_out_of_the_hellos() {
    let expected = [&[0xc1; 32][..], &[0x51; 32], &params(0x1d, 1, 32)].concat();
    let status = message(22, &[1, 0, 0, 1, 9]);
    let bare = Hello {
        extensions: None,
        ..Hello::server12()
    };
    let stapled = [tls12(), vec![status.clone()]].concat();
    for handshake in [tls12(), stapled.clone(), with(tls12(), 1, bare.bytes())] {
        let to_sign = sign12(&handshake).expect("signed");
        assert_eq!(to_sign.input(), Input::Message(&expected));
        assert_eq!(to_sign.server_name(), Some("www.a.test"));
    }
    assert_eq!(
        refused(sign12(&[stapled, vec![status]].concat())),
        MALFORMED
    );
}

#[test]
fn a_handshake_is_hashed_as_its_cipher_suite_says() {
    for (suite, id) in [
        (0x1301, SHA256_ID),
        (0x1302, SHA384_ID),
        (0x1303, SHA256_ID),
        (0x1304, SHA256_ID),
        (0x1305, SHA256_ID),
    ] {
        let offers = Hello::client().suite(suite).bytes();
        let chosen = Hello::server().suite(suite).bytes();
        let handshake = with(with(tls13(), 0, offers), 1, chosen);
        for given in 0..=u8::MAX {
            let to_sign = sign13(given, &handshake);
            let expected = if given == id { None } else { MALFORMED };
            assert_eq!(refused(to_sign), expected, "{suite:#x} {given}");
        }
    }
    for suite in [0x1300, 0x1306, 0xc02b] {
        let offers = Hello::client().suite(suite).bytes();
        let chosen = Hello::server().suite(suite).bytes();
        let handshake = with(with(tls13(), 0, offers), 1, chosen);
        for id in [SHA256_ID, SHA384_ID] {
            assert_eq!(refused(sign13(id, &handshake)), MALFORMED, "{suite:#x}");
        }
    }
    // By SHA-384, to the byte.
    let chosen = Hello::server().suite(0x1302).bytes();
    let handshake = with(tls13(), 1, chosen);
    let hash = Hash::Sha384.digest(&handshake.concat());
    let expected = certificate_verify(hash.as_ref()).expect("a hash");
    let to_sign = sign13(SHA384_ID, &handshake).expect("signed");
    assert_eq!(to_sign.input(), Input::Message(&expected));
}

#[test]
fn a_handshake_that_was_retried_begins_with_the_hash_of_the_first_hello() {
    assert!(sign13(SHA256_ID, &retried(first_hash(32), &Hello::retry())).is_ok());
    for length in [0, 31, 33, 48] {
        let handshake = retried(first_hash(length), &Hello::retry());
        assert_eq!(
            refused(sign13(SHA256_ID, &handshake)),
            MALFORMED,
            "{length}"
        );
    }
    let session = Hello {
        session_id: vec![6; 32],
        ..Hello::retry()
    };
    for retry in [
        Hello::server(),
        Hello::server12(),
        Hello::retry().suite(0x1302),
        Hello::retry().extensions(vec![]),
        session,
    ] {
        let handshake = retried(first_hash(32), &retry);
        assert_eq!(refused(sign13(SHA256_ID, &handshake)), MALFORMED);
    }
    // The hash alone, the retry alone, or the first hello in place of its hash.
    let hash = [vec![first_hash(32)], tls13()].concat();
    let retry = [vec![Hello::retry().bytes()], tls13()].concat();
    let hello = retried(Hello::client().bytes(), &Hello::retry());
    let again = with(tls13(), 1, Hello::retry().bytes());
    for handshake in [hash, retry, hello, again] {
        assert_eq!(refused(sign13(SHA256_ID, &handshake)), MALFORMED);
    }
}

#[test]
fn a_handshake_may_ask_for_the_clients_certificate_once_and_in_its_place() {
    let mut handshake = tls13();
    handshake.insert(3, certificate_request());
    assert!(sign13(SHA256_ID, &handshake).is_ok());
    handshake.insert(3, certificate_request());
    assert_eq!(refused(sign13(SHA256_ID, &handshake)), MALFORMED);
    let mut early = tls13();
    early.insert(2, certificate_request());
    assert_eq!(refused(sign13(SHA256_ID, &early)), MALFORMED);
    for body in [&[1, 7, 0, 0][..], &[0, 0], &[0, 0, 1], &[0, 0, 0, 0], &[]] {
        let mut handshake = tls13();
        handshake.insert(3, message(13, body));
        assert_eq!(
            refused(sign13(SHA256_ID, &handshake)),
            MALFORMED,
            "{body:?}"
        );
    }
}

#[test]
fn nothing_is_missing_doubled_swapped_or_of_another_type() {
    let signs = |is_tls13, handshake: &[Vec<u8>]| match is_tls13 {
        true => refused(sign13(SHA256_ID, handshake)),
        false => refused(sign12(handshake)),
    };
    for (is_tls13, good) in [(true, tls13()), (false, tls12())] {
        assert_eq!(signs(is_tls13, &good), None);
        assert_eq!(signs(is_tls13, &[]), MALFORMED);
        for at in 0..good.len() {
            let (mut missing, mut doubled, mut typed) = (good.clone(), good.clone(), good.clone());
            missing.remove(at);
            assert_eq!(signs(is_tls13, &missing), MALFORMED);
            doubled.insert(at, good[at].clone());
            assert_eq!(signs(is_tls13, &doubled), MALFORMED);
            for of_type in (0..=u8::MAX).filter(|of_type| *of_type != good[at][0]) {
                typed[at][0] = of_type;
                assert_eq!(signs(is_tls13, &typed), MALFORMED, "{at} {of_type}");
            }
            if at > 0 {
                let mut swapped = good.clone();
                swapped.swap(at - 1, at);
                assert_eq!(signs(is_tls13, &swapped), MALFORMED);
            }
        }
        for of_type in [0, 4, 12, 13, 14, 15, 20, 25] {
            let longer = [good.clone(), vec![message(of_type, b"")]].concat();
            assert_eq!(signs(is_tls13, &longer), MALFORMED, "{of_type}");
        }
    }
}

#[test]
fn a_handshake_that_is_cut_off_or_goes_on_is_refused() {
    for handshake in [tls13(), retried(first_hash(32), &Hello::retry())] {
        let whole = handshake.concat();
        for end in 0..whole.len() {
            let cut = [whole[..end].to_vec()];
            assert_eq!(refused(sign13(SHA256_ID, &cut)), MALFORMED, "{end}");
        }
        assert_eq!(refused(sign13(SHA256_ID, &[whole, vec![0]])), MALFORMED);
    }
    let whole = tls12().concat();
    for end in 0..whole.len() {
        assert_eq!(
            refused(sign12(&[whole[..end].to_vec()])),
            MALFORMED,
            "{end}"
        );
    }
    assert_eq!(refused(sign12(&[whole, vec![0]])), MALFORMED);
}

#[test]
fn a_handshake_is_of_the_version_of_its_opcode() {
    let other13 = with(tls13(), 1, Hello::server12().bytes());
    let other12 = with(tls12(), 1, Hello::server().bytes());
    assert_eq!(refused(sign13(SHA256_ID, &other13)), MALFORMED);
    assert_eq!(refused(sign12(&other12)), MALFORMED);
    assert_eq!(refused(sign13(SHA256_ID, &tls12())), MALFORMED);
    assert_eq!(refused(sign12(&tls13())), MALFORMED);
    for version in [0x0300, 0x0301, 0x0302, 0x0304] {
        for (at, hello) in [
            (0, Hello::client()),
            (1, Hello::server()),
            (1, Hello::server12()),
        ] {
            let old = Hello { version, ..hello }.bytes();
            assert_eq!(
                refused(sign13(SHA256_ID, &with(tls13(), at, old.clone()))),
                MALFORMED
            );
            assert_eq!(refused(sign12(&with(tls12(), at, old))), MALFORMED);
        }
    }
    for supported in [vec![3, 3], vec![3, 4, 0], vec![], vec![0x7f, 0x1c]] {
        let odd = Hello::server()
            .extensions(vec![(SUPPORTED_VERSIONS, supported)])
            .bytes();
        assert_eq!(
            refused(sign13(SHA256_ID, &with(tls13(), 1, odd.clone()))),
            MALFORMED
        );
        assert_eq!(refused(sign12(&with(tls12(), 1, odd))), MALFORMED);
    }
    let retry = Hello {
        random: *HELLO_RETRY_REQUEST,
        ..Hello::server12()
    };
    assert_eq!(refused(sign12(&with(tls12(), 1, retry.bytes()))), MALFORMED);
}

#[test]
fn a_client_of_tls_1_3_has_offered_what_the_server_chose() {
    let refuses = |client: &Hello| refused(sign13(SHA256_ID, &with(tls13(), 0, client.bytes())));
    let versions =
        |list: &[u8]| Hello::client().extensions(vec![(SUPPORTED_VERSIONS, list.to_vec())]);
    assert_eq!(refuses(&versions(&[2, 3, 4])), None);
    for list in [
        &[2, 3, 3][..],
        &[0],
        &[3, 3, 4, 0],
        &[2, 3, 4, 0],
        &[1, 3],
        &[2, 3],
        &[],
    ] {
        assert_eq!(refuses(&versions(list)), MALFORMED, "{list:?}");
    }
    assert_eq!(refuses(&Hello::client().extensions(vec![])), MALFORMED);
    let session = Hello {
        session_id: vec![],
        ..Hello::client()
    };
    assert_eq!(refuses(&session), MALFORMED);
    assert_eq!(refuses(&Hello::client().suite(0x1302)), MALFORMED);
    // A suite is two bytes, and those of two neighbours are none.
    let across = Hello {
        suites: vec![0, 0x13, 0x01, 0],
        ..Hello::client()
    };
    assert_eq!(refuses(&across), MALFORMED);
    let odd = Hello {
        suites: vec![0x13, 0x01, 0],
        ..Hello::client()
    };
    assert_eq!(refuses(&odd), MALFORMED);
    let old = Hello::client().suite(0xc02b);
    let to_sign = sign12(&with(
        tls12(),
        0,
        Hello {
            extensions: None,
            ..old
        }
        .bytes(),
    ));
    assert_eq!(to_sign.expect("signed").server_name(), None);
    let other = Hello::client().suite(0x1301);
    assert_eq!(refused(sign12(&with(tls12(), 0, other.bytes()))), MALFORMED);
}

#[test]
fn fields_of_hellos_keep_their_bounds() {
    let long = |hello: Hello| Hello {
        session_id: vec![5; 33],
        ..hello
    };
    let both = with(tls13(), 0, long(Hello::client()).bytes());
    let both = with(both, 1, long(Hello::server()).bytes());
    assert_eq!(refused(sign13(SHA256_ID, &both)), MALFORMED);
    let client12 = with(tls12(), 0, long(Hello::client()).bytes());
    let server12 = with(tls12(), 1, long(Hello::server12()).bytes());
    for handshake in [client12, server12] {
        assert_eq!(refused(sign12(&handshake)), MALFORMED);
    }
    for compression in [vec![], vec![1]] {
        let client = Hello {
            compression,
            ..Hello::client()
        };
        assert_eq!(
            refused(sign13(SHA256_ID, &with(tls13(), 0, client.bytes()))),
            MALFORMED
        );
    }
    let client = Hello {
        compression: vec![1, 0],
        ..Hello::client()
    };
    assert_eq!(refused(sign12(&with(tls12(), 0, client.bytes()))), None);
    let server = Hello {
        compression: vec![1],
        ..Hello::server()
    };
    assert_eq!(
        refused(sign13(SHA256_ID, &with(tls13(), 1, server.bytes()))),
        MALFORMED
    );
    for (at, hello) in [(0, Hello::client()), (1, Hello::server())] {
        let tail = Hello {
            tail: vec![0],
            ..hello
        };
        assert_eq!(
            refused(sign13(SHA256_ID, &with(tls13(), at, tail.bytes()))),
            MALFORMED
        );
    }
}

#[test]
fn an_extension_that_is_looked_at_comes_once() {
    let twice = |hello: &Hello, of_type: u16| {
        let mut all = hello.extensions.clone().expect("some");
        let found = all.iter().find(|(kind, _)| *kind == of_type);
        all.push(found.expect("there").clone());
        hello.clone().extensions(all).bytes()
    };
    for of_type in [SERVER_NAME, SUPPORTED_VERSIONS] {
        let client = twice(&Hello::client(), of_type);
        assert_eq!(
            refused(sign13(SHA256_ID, &with(tls13(), 0, client))),
            MALFORMED
        );
    }
    let server = twice(&Hello::server(), SUPPORTED_VERSIONS);
    assert_eq!(
        refused(sign13(SHA256_ID, &with(tls13(), 1, server))),
        MALFORMED
    );
    let cut = Hello {
        extensions: None,
        tail: vec![0, 3, 0, 9, 0],
        ..Hello::server12()
    };
    assert_eq!(refused(sign12(&with(tls12(), 1, cut.bytes()))), MALFORMED);
}

#[test]
fn the_name_is_the_one_host_name_of_the_client_hello() {
    let name = |extension: Vec<u8>| {
        let versions = (SUPPORTED_VERSIONS, vec![2, 3, 4]);
        let client = Hello::client().extensions(vec![(SERVER_NAME, extension), versions]);
        let to_sign = sign13(SHA256_ID, &with(tls13(), 0, client.bytes()));
        to_sign.map(|to_sign| to_sign.server_name().map(str::to_owned))
    };
    for (sent, read) in [
        (&b"a.test"[..], Some("a.test")),
        (b"A.TEST", Some("a.test")),
        (b"192.0.2.1", None),
        (b"\xff", None),
        (b"a.test.", None),
        (b"", None),
    ] {
        assert_eq!(name(sni(sent).1), Ok(read.map(str::to_owned)), "{sent:?}");
    }
    let entry = |kind: u8, name: &[u8]| [vec![kind], vector16(name)].concat();
    let two = [entry(0, b"a.test"), entry(0, b"b.test")].concat();
    for broken in [
        vec![],
        vector16(&[]),
        vector16(&two),
        vector16(&entry(1, b"a.test")),
        [sni(b"a.test").1, vec![0]].concat(),
        sni(b"a.test").1[..7].to_vec(),
        vector16(&[0]),
    ] {
        assert_eq!(name(broken.clone()), Err(ErrorCode::Format), "{broken:?}");
    }
}

#[test]
fn the_first_certificate_is_of_the_key_that_is_asked_for() {
    for kind in KINDS {
        let expected = if kind == KIND { None } else { MALFORMED };
        let tls13 = with(tls13(), 3, certificate13(kind));
        assert_eq!(refused(sign13(SHA256_ID, &tls13)), expected, "{kind}");
        let tls12 = with(tls12(), 2, certificate12(kind));
        assert_eq!(refused(sign12(&tls12)), expected, "{kind}");
    }
    let own = certificate_of(KIND);
    let chain = |chain: &[&[u8]]| {
        let each = chain.iter().map(|one| vector24(one));
        message(11, &vector24(&each.collect::<Vec<_>>().concat()))
    };
    assert_eq!(refused(sign12(&with(tls12(), 2, chain(&[own])))), None);
    for broken in [
        chain(&[]),
        chain(&[b"issuer", own]),
        chain(&[&own[1..]]),
        message(11, &[vector24(&vector24(own)), vec![0]].concat()),
        message(11, &vector24(&[vector24(own), vec![0, 0, 1]].concat())),
    ] {
        assert_eq!(refused(sign12(&with(tls12(), 2, broken))), MALFORMED);
    }
}

#[test]
fn a_certificate_of_tls_1_3_has_no_context_and_whole_entries() {
    let own = certificate_of(KIND);
    let entry = [vector24(own), vector16(&[])].concat();
    let good = [vec![0], vector24(&entry)].concat();
    let refuses = |body: &[u8]| refused(sign13(SHA256_ID, &with(tls13(), 3, message(11, body))));
    assert_eq!(refuses(&good), None);
    for broken in [
        [vec![1, 9], vector24(&entry)].concat(),
        [vec![0], vector24(&vector24(own))].concat(),
        [vec![0], vector24(&[])].concat(),
        [good.clone(), vec![0]].concat(),
        [vec![0], vector24(&[entry.clone(), vec![0]].concat())].concat(),
        [vec![0], vector24(&[entry, vector24(b"issuer")].concat())].concat(),
    ] {
        assert_eq!(refuses(&broken), MALFORMED);
    }
    // As a CompressedCertificate (RFC 8879), which nobody here unpacks.
    assert_eq!(
        refused(sign13(SHA256_ID, &with(tls13(), 3, message(25, &good)))),
        MALFORMED
    );
    for broken in [&[][..], &[0], &[0, 1], &[0, 0, 0]] {
        let handshake = with(tls13(), 2, message(8, broken));
        assert_eq!(refused(sign13(SHA256_ID, &handshake)), MALFORMED);
    }
}

#[test]
fn parameters_stand_before_the_handshake_whole() {
    let answer = |params: &[u8]| {
        let payload = coded(Scheme::Ed25519, &[params, &tls12().concat()].concat());
        refused(signed(
            Mode::Strict,
            Opcode::STRICT_TLS12,
            &payload,
            key_of(KIND),
        ))
    };
    for (group, first, length) in GROUPS {
        let good = params(group, first, length);
        assert_eq!(answer(&vector16(&good)), None);
        assert_eq!(answer(&vector16(&good[1..])), MALFORMED);
        assert_eq!(answer(&good), MALFORMED);
    }
}

fn request(statement: &[u8], handshake: &[Vec<u8>]) -> SignRequest {
    let request = SignRequest::new(key_of(KIND).clone(), Scheme::Ed25519, statement);
    request.transcript(handshake.concat())
}

/// What a client of the strict mode gets signed.
fn asked(request: &SignRequest) -> Result<Vec<u8>, SignError> {
    let asking = ask(Mode::Strict, request)?;
    let Ok(Request::Sign(question)) = read(Mode::Strict, &asking.items()) else {
        panic!("a question");
    };
    let to_sign = question.to_sign(&request.key).expect("signed");
    Ok(bytes(to_sign.input()).to_vec())
}

#[test]
fn a_client_shows_its_handshake_and_gets_its_message_signed() {
    let sha384 = with(tls13(), 1, Hello::server().suite(0x1302).bytes());
    for (handshake, hash) in [(tls13(), Hash::Sha256), (sha384, Hash::Sha384)] {
        let digest = hash.digest(&handshake.concat());
        let message = certificate_verify(digest.as_ref()).expect("a hash");
        assert_eq!(asked(&request(&message, &handshake)), Ok(message));
    }
    for (group, first, length) in GROUPS {
        let message = [&[0xc1; 32][..], &[0x51; 32], &params(group, first, length)].concat();
        assert_eq!(asked(&request(&message, &tls12())), Ok(message));
    }
}

#[test]
fn a_client_does_not_show_a_handshake_of_another_message() {
    let bad = Err(SignError::BadRequest);
    let digest = Hash::Sha256.digest(&tls13().concat());
    let verify = certificate_verify(digest.as_ref()).expect("a hash");
    let exchange = [&[0xc1; 32][..], &[0x51; 32], &params(0x1d, 1, 32)].concat();
    assert_eq!(asked(&request(&verify, &tls12())), bad);
    assert_eq!(asked(&request(&exchange, &tls13())), bad);
    let swapped = [&[0x51; 32][..], &[0xc1; 32], &params(0x1d, 1, 32)].concat();
    assert_eq!(asked(&request(&swapped, &tls12())), bad);
    for message in [verify, exchange] {
        let bare = SignRequest::new(key_of(KIND).clone(), Scheme::Ed25519, message);
        assert_eq!(asked(&bare), bad);
    }
    let huge = vec![message(254, &[0; 65_535])];
    let digest = Hash::Sha256.digest(&huge.concat());
    let verify = certificate_verify(digest.as_ref()).expect("a hash");
    assert_eq!(asked(&request(&verify, &huge)), bad);
}

proptest! {
    #[test]
    fn no_handshake_panics(
        which in 0..3_usize,
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        rest in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let good = [tls13(), retried(first_hash(32), &Hello::retry()), tls12()];
        let mut bytes = good[which].concat();
        for (at, byte) in spoilt {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(rest);
        let _ = sign13(SHA256_ID, &[bytes.clone()]);
        let _ = sign12(&[bytes]);
    }

    #[test]
    fn no_payload_panics(
        opcode in 0x40..0x44_u8,
        payload in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let payload = coded(Scheme::Ed25519, &payload);
        let _ = signed(Mode::Bound, Opcode(opcode), &payload, key_of(KIND));
    }
}
