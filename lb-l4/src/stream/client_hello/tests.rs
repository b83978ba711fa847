use super::*;

/// An extension's bytes.
fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &block16(data)].concat()
}

fn block8(data: &[u8]) -> Vec<u8> {
    [&[u8::try_from(data.len()).unwrap()], data].concat()
}

fn block16(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

fn name_extension(name: &[u8]) -> Vec<u8> {
    extension(0, &block16(&[&[0][..], &block16(name)].concat()))
}

fn alpn_extension(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| block8(name)).collect();
    extension(16, &block16(&list))
}

/// Everything of a ClientHello before its extensions.
fn before_extensions() -> Vec<u8> {
    let session_id = block8(&[7; 32]);
    let cipher_suites = block16(&[0x0a, 0x0a, 0x13, 0x01]);
    [
        &[3, 3][..],
        &[9; 32],
        &session_id,
        &cipher_suites,
        &block8(&[0]),
    ]
    .concat()
}

fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
    [before_extensions(), block16(&extensions.concat())].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[..], body].concat()
}

fn record(payload: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &block16(payload)].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(record).collect()
}

/// A hello in one record.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(&body(extensions)))
}

fn typical() -> Vec<Vec<u8>> {
    vec![
        extension(0x0a0a, &[]),
        name_extension(b"www.Example.com"),
        extension(43, &[2, 3, 4]),
        alpn_extension(&[b"\x0a\x0a", b"h2", b"http/1.1"]),
        // Encrypted Client Hello, outer, and a GREASE extension with a byte in it.
        extension(0xfe0d, &[0; 40]),
        extension(0xfafa, &[0]),
    ]
}

#[track_caller]
fn complete(bytes: &[u8]) -> ClientHello {
    match peek(bytes) {
        Ok(Peek::Complete(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_typical(bytes: &[u8]) {
    let hello = complete(bytes);
    assert_eq!(hello.server_name, Some("www.example.com".parse().unwrap()));
    let protocols: Vec<&[u8]> = hello.alpn().collect();
    assert_eq!(protocols, [&b"\x0a\x0a"[..], b"h2", b"http/1.1"]);
}

#[track_caller]
fn assert_refused(extensions: &[Vec<u8>], error: PeekError) {
    assert_eq!(peek(&hello(extensions)), Err(error));
}

#[test]
fn name_and_protocols_are_found_among_grease_and_ech() {
    assert_typical(&hello(&typical()));
    assert_typical(&[hello(&typical()), record(b"more")].concat());
}

#[test]
fn every_prefix_is_incomplete_and_needs_more_but_not_too_much() {
    let message = message(&body(&typical()));
    for size in [1, 3, 4, 5, 100, message.len() - 1, message.len()] {
        let bytes = records(&message, size);
        for length in 0..bytes.len() {
            match peek(&bytes[..length]) {
                Ok(Peek::Incomplete { need }) => {
                    assert!(
                        length < need && need <= bytes.len(),
                        "{size} {length} {need}"
                    );
                }
                other => panic!("{size} {length}: {other:?}"),
            }
        }
        assert_typical(&bytes);
    }
}

#[test]
fn a_message_may_be_cut_into_records_at_any_byte() {
    let message = message(&body(&typical()));
    for at in 1..message.len() {
        let (first, second) = message.split_at(at);
        assert_typical(&[record(first), record(second)].concat());
    }
}

#[test]
fn need_is_told_from_what_the_headers_say() {
    let need = |bytes: &[u8]| match peek(bytes) {
        Ok(Peek::Incomplete { need }) => need,
        other => panic!("{other:?}"),
    };
    // A record header and a message header must come.
    assert_eq!(need(&[]), 9);
    assert_eq!(need(&[22, 3, 1, 0]), 9);
    assert_eq!(need(&[22, 3, 1, 0, 50]), 9);
    // The message of 300 bytes fits into its record.
    assert_eq!(need(&[22, 3, 1, 2, 0, 1, 0, 1, 44]), 309);
    assert_eq!(need(&[22, 3, 1, 1, 48, 1, 0, 1, 44]), 309);
    // It lacks one byte more than its record will bring: another header must come.
    assert_eq!(need(&[22, 3, 1, 1, 47, 1, 0, 1, 44]), 309 + 5);
    // Its record brought four bytes alone, and the next header has come in part.
    assert_eq!(need(&[22, 3, 1, 0, 4, 1, 0, 1, 44]), 309 + 5);
    assert_eq!(need(&[22, 3, 1, 0, 4, 1, 0, 1, 44, 22, 3]), 309 + 5);
}

#[test]
fn a_hello_without_extensions_or_names_names_nothing() {
    for bytes in [
        record(&message(&before_extensions())),
        hello(&[]),
        hello(&[extension(43, &[2, 3, 4])]),
    ] {
        let hello = complete(&bytes);
        assert_eq!(hello.server_name, None);
        assert_eq!(hello.alpn().count(), 0);
    }
}

#[test]
fn an_address_in_place_of_a_name_is_no_name() {
    for address in ["192.0.2.1", "2001:db8::1"] {
        let hello = complete(&hello(&[name_extension(address.as_bytes())]));
        assert_eq!(hello.server_name, None);
    }
}

#[test]
fn a_name_of_another_type_is_passed_over() {
    let other = [&[1][..], &block16(b"x")].concat();
    let host = [&[0][..], &block16(b"a.b")].concat();
    let both = extension(0, &block16(&[other.clone(), host].concat()));
    assert_eq!(
        complete(&hello(&[both])).server_name,
        Some("a.b".parse().unwrap())
    );
    let alone = extension(0, &block16(&other));
    assert_eq!(complete(&hello(&[alone])).server_name, None);
}

#[test]
fn a_name_that_is_no_dns_name_is_refused() {
    for name in [&b"*.example.com"[..], b"a..b", b"a.", b"a\0b", b"\xff", b""] {
        assert_refused(&[name_extension(name)], PeekError::ServerName);
    }
}

#[test]
fn whatever_says_a_thing_twice_is_refused() {
    let (name, protocols) = (name_extension(b"a"), alpn_extension(&[b"h2"]));
    assert_refused(&[name.clone(), name], PeekError::Malformed);
    assert_refused(&[protocols.clone(), protocols], PeekError::Malformed);
    let host = [&[0][..], &block16(b"a")].concat();
    let twice = extension(0, &block16(&[host.clone(), host].concat()));
    assert_refused(&[twice], PeekError::Malformed);
}

#[test]
fn broken_extensions_are_refused() {
    for broken in [
        extension(0, &[]),
        extension(0, &block16(&[])),
        extension(0, &block16(&[0])),
        extension(0, &block16(&[0, 0, 2, b'a'])),
        extension(0, &[block16(&[0, 0, 1, b'a']), vec![0]].concat()),
        extension(16, &[]),
        extension(16, &block16(&[])),
        extension(16, &block16(&[0])),
        extension(16, &block16(&[2, b'h'])),
        extension(16, &block16(&[1, b'h', 0])),
        extension(16, &[block16(&[1, b'h']), vec![0]].concat()),
        vec![0, 43],
        vec![0, 43, 0, 1],
    ] {
        assert_refused(&[broken], PeekError::Malformed);
    }
}

#[test]
fn a_body_must_be_whole_and_nothing_more() {
    let whole = body(&typical());
    for length in 0..whole.len() {
        // Without extensions is whole too.
        if length != before_extensions().len() {
            let cut = record(&message(&whole[..length]));
            assert_eq!(peek(&cut), Err(PeekError::Malformed), "{length}");
        }
    }
    let more = record(&message(&[whole, vec![0]].concat()));
    assert_eq!(peek(&more), Err(PeekError::Malformed));
}

#[test]
fn session_suites_and_compression_keep_their_lengths() {
    let body = |session: usize, suites: usize, compression: usize| {
        let session = block8(&vec![0; session]);
        let suites = block16(&vec![0; suites]);
        let compression = block8(&vec![0; compression]);
        let body = [&[3, 3][..], &[9; 32], &session, &suites, &compression].concat();
        peek(&record(&message(&body))).is_ok()
    };
    assert!(body(0, 2, 1) && body(32, 2, 1) && body(32, 4, 255));
    assert!(!body(33, 2, 1) && !body(32, 0, 1) && !body(32, 3, 1) && !body(32, 2, 0));
}

#[test]
fn other_protocols_are_refused_at_their_first_byte() {
    for bytes in [
        &b"G"[..],
        b"SSH-2.0",
        &[21, 3, 1, 0, 2, 1, 0],
        &[0x80, 0x2e, 1, 3, 1],
        &[22, 2],
        &[22, 3, 1, 0, 5, 2],
    ] {
        assert_eq!(peek(bytes), Err(PeekError::NotTls), "{bytes:?}");
    }
}

#[test]
fn records_are_not_empty_not_too_long_and_all_handshake() {
    let message = message(&body(&typical()));
    let (first, second) = message.split_at(10);
    let with = |middle: &[u8]| [record(first), middle.to_vec(), record(second)].concat();
    assert_eq!(peek(&with(&record(&[]))), Err(PeekError::Malformed));
    assert_eq!(
        peek(&with(&[21, 3, 3, 0, 2, 1, 0])),
        Err(PeekError::Malformed)
    );
    assert_eq!(peek(&with(&[22, 4])), Err(PeekError::Malformed));
    assert_eq!(peek(&record(&[])), Err(PeekError::Malformed));
    assert_eq!(peek(&[22, 3, 1, 0x40, 1]), Err(PeekError::Malformed));
    assert!(peek(&[22, 3, 1, 0x40, 0]).is_ok());
}

#[test]
fn one_full_record_is_read_and_a_byte_more_is_refused_as_soon_as_told() {
    let padded = |padding: usize| {
        let mut extensions = typical();
        extensions.push(extension(21, &vec![0; padding]));
        message(&body(&extensions))
    };
    let room = (1 << 14) - padded(0).len();
    let full = record(&padded(room));
    assert_eq!(full.len(), MAX_LENGTH);
    let need = MAX_LENGTH;
    assert_eq!(peek(&full[..9]), Ok(Peek::Incomplete { need }));
    assert_typical(&full);
    assert_typical(&[full, vec![1; 5]].concat());

    let over = records(&padded(room + 1), 1 << 14);
    assert_eq!(peek(&over), Err(PeekError::TooLong));
    assert_eq!(peek(&over[..9]), Err(PeekError::TooLong));
    // The headers of many records count too.
    let in_two = records(&padded(room), 1 << 13);
    assert_eq!(peek(&in_two[..9]), Err(PeekError::TooLong));
    assert_eq!(peek(&in_two), Err(PeekError::TooLong));
    assert_eq!(
        peek(&[22, 3, 1, 1, 0, 1, 0xff, 0xff, 0xff]),
        Err(PeekError::TooLong)
    );
}
