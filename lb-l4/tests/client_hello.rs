//! ClientHellos as OpenSSL and curl sent them, whole and damaged, read beside rustls.
#![cfg(feature = "tokio")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the report"
)]

use std::fs;
use std::path::Path;

use lb_l4::stream::client_hello::{ClientHello, MAX_LENGTH, Peek, PeekError, peek};
use proptest::prelude::*;
use rustls::server::Acceptor;

/// The hellos that fuzzing starts from: one file each, what a client sent first.
fn hellos() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/client_hello");
    let mut hellos: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    hellos.sort();
    hellos
}

/// Name and protocols, in a form that both can be brought to.
type Wish = (Option<String>, Vec<Vec<u8>>);

fn wish(hello: &ClientHello) -> Wish {
    let name = hello.server_name.as_ref().map(ToString::to_string);
    (name, hello.alpn().map(<[u8]>::to_vec).collect())
}

/// What rustls makes of it; `None` if it refuses it or wants more.
fn rustls_wish(mut bytes: &[u8]) -> Option<Wish> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let name = hello.server_name().map(str::to_lowercase);
            let protocols = hello.alpn().map(|all| all.map(<[u8]>::to_vec).collect());
            return Some((name, protocols.unwrap_or_default()));
        }
    }
    None
}

/// Where rustls sees a hello, so do we, and the same one; we refuse some names that it takes, and
/// what it does not look at (see [`has_another_name`]).
fn agree(bytes: &[u8]) {
    let Some(theirs) = rustls_wish(bytes) else {
        return;
    };
    match peek(bytes) {
        Ok(Peek::Complete(hello)) => assert_eq!(wish(&hello), theirs),
        Err(PeekError::Malformed) if has_another_name(bytes) => {}
        Err(PeekError::ServerName) => assert!(theirs.0.is_some()),
        Err(PeekError::TooLong) => assert!(bytes.len() > MAX_LENGTH),
        other => panic!("rustls reads {theirs:?}, and we {other:?}"),
    }
}

/// Whether a name of another type stands in the list of names of a hello that rustls has read.
///
/// Behind its type rustls reads no further, whatever comes, as if its form were unknown. It is
/// known: "all future data structures associated with new NameTypes MUST begin with a 16-bit
/// length field" (RFC 6066, 3). We read on by it, so that what is behind is either sound or
/// refused.
fn has_another_name(bytes: &[u8]) -> bool {
    fn take<'a>(from: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (taken, rest) = from.split_at(length);
        *from = rest;
        taken
    }
    fn block<'a>(from: &mut &'a [u8], width: usize) -> &'a [u8] {
        let length = take(from, width)
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        take(from, length)
    }
    let (mut records, mut message) = (bytes, Vec::new());
    // Behind a whole hello may stand half a record.
    while records.len() >= 5 {
        let length = usize::from(u16::from_be_bytes([records[3], records[4]]));
        take(&mut records, 5);
        let here = length.min(records.len());
        message.extend_from_slice(take(&mut records, here));
    }
    let mut message = &message[1..];
    let mut body = block(&mut message, 3);
    take(&mut body, 2 + 32);
    for width in [1, 2, 1] {
        block(&mut body, width);
    }
    if body.is_empty() {
        return false;
    }
    let mut extensions = block(&mut body, 2);
    while !extensions.is_empty() {
        let kind = take(&mut extensions, 2);
        let mut data = block(&mut extensions, 2);
        if kind != [0, 0] {
            continue;
        }
        let mut list = block(&mut data, 2);
        while !list.is_empty() {
            if take(&mut list, 1) != [0] {
                return true;
            }
            block(&mut list, 2);
        }
    }
    false
}

/// The same handshake in records of `size` bytes; the hello is one record.
fn recut(hello: &[u8], size: usize) -> Vec<u8> {
    let (header, message) = hello.split_at(5);
    message
        .chunks(size)
        .flat_map(|chunk| {
            let length = u16::try_from(chunk.len()).unwrap().to_be_bytes();
            [&header[..3], &length, chunk].concat()
        })
        .collect()
}

#[test]
fn real_clients_are_read_as_they_were_told_to_ask() {
    let expected = [
        (
            "curl",
            Some("xn--bcher-kva.example"),
            vec!["h2", "http/1.1"],
        ),
        ("openssl_ip_name", None, vec![]),
        ("openssl_no_name", None, vec![]),
        ("openssl_psk_groups", Some("a.b.c.example.org"), vec!["h3"]),
        ("openssl_tls12", Some("www.example.com"), vec![]),
        ("openssl_tls13", Some("example.com"), vec!["h2", "http/1.1"]),
    ];
    let hellos = hellos();
    for (file, name, protocols) in expected {
        let (_, bytes) = hellos.iter().find(|(found, _)| found == file).unwrap();
        let Ok(Peek::Complete(hello)) = peek(bytes) else {
            panic!("{file} is not read");
        };
        let protocols = protocols
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        assert_eq!(wish(&hello), (name.map(str::to_owned), protocols), "{file}");
    }
}

#[test]
fn a_hello_in_any_records_is_the_same_hello_to_both() {
    for (file, bytes) in hellos() {
        let Ok(Peek::Complete(whole)) = peek(&bytes) else {
            continue;
        };
        if file.starts_with("cut_") {
            continue;
        }
        let whole = wish(&whole);
        for size in 1..bytes.len() - 5 {
            let cut = recut(&bytes, size);
            let Ok(Peek::Complete(hello)) = peek(&cut) else {
                panic!("{file} in records of {size}");
            };
            assert_eq!(wish(&hello), whole, "{file} in records of {size}");
        }
        assert_eq!(rustls_wish(&recut(&bytes, 100)), Some(whole), "{file}");
    }
}

#[test]
fn every_seed_is_read_as_rustls_reads_it() {
    for (_, bytes) in hellos() {
        agree(&bytes);
    }
}

#[test]
fn behind_a_name_of_another_type_rustls_reads_nothing_and_we_to_the_end() {
    let (_, hello) = hellos()
        .into_iter()
        .find(|(name, _)| name == "openssl_tls13")
        .unwrap();
    let at = hello
        .windows(11)
        .position(|name| name == b"example.com")
        .unwrap();
    let with = |changes: &[(usize, u8)]| {
        let mut hello = hello.clone();
        for (place, value) in changes {
            hello[*place] = *value;
        }
        hello
    };
    let ours = |hello: &[u8]| match peek(hello) {
        Ok(Peek::Complete(hello)) => Ok(wish(&hello).0),
        Ok(Peek::Incomplete { .. }) => panic!("it is whole"),
        Err(error) => Err(error),
    };
    let theirs = |hello: &[u8]| rustls_wish(hello).map(|(name, _)| name);
    let text = |name: &str| Some(name.to_owned());

    // The name ends after its first letter; the next is then a type.
    let cut = with(&[(at - 1, 1)]);
    assert_eq!(theirs(&cut), Some(text("e")));
    assert_eq!(
        ours(&cut),
        Err(PeekError::Malformed),
        "\"am\" is no length of what is left"
    );
    // The same, and what is behind it is sound: type x, and 7 bytes.
    let sound = with(&[(at - 1, 1), (at + 2, 0), (at + 3, 7)]);
    assert_eq!(theirs(&sound), Some(text("e")));
    assert_eq!(ours(&sound), Ok(text("e")));
    // A name of another type comes first: 5 bytes, and behind them "com" with its type.
    let first = with(&[
        (at - 3, 9),
        (at - 1, 5),
        (at + 5, 0),
        (at + 6, 0),
        (at + 7, 3),
    ]);
    assert_eq!(theirs(&first), None, "no host name is found");
    assert_eq!(ours(&first), Ok(text("com")));
    // It is in the middle: a host name twice, which must not be.
    let twice = with(&[
        (at - 1, 1),
        (at + 1, 9),
        (at + 2, 0),
        (at + 3, 1),
        (at + 5, 0),
        (at + 6, 0),
        (at + 7, 3),
    ]);
    assert_eq!(theirs(&twice), Some(text("e")));
    assert_eq!(ours(&twice), Err(PeekError::Malformed));
    for hello in [cut, sound, first, twice] {
        agree(&hello);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_damaged_hello_is_refused_or_read_as_rustls_reads_it(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let hellos = hellos();
        let mut bytes = which.get(&hellos).1.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        agree(&bytes);
    }

    #[test]
    fn any_bytes_at_all_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = peek(&bytes);
        bytes.splice(0..0, [22, 3, 1, 1, 0x90, 1, 0, 1, 0x80]);
        let _ = peek(&bytes);
    }
}
