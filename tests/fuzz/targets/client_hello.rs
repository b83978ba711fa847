//! A ClientHello is the same however its bytes arrive.
//!
//! Lengths nest five deep, and a mutation seldom keeps them all: so the input is taken for a whole
//! hello, for the extensions of one, and for a server name, with right lengths around it.
#![no_main]

use lb_l4::stream::client_hello::{MAX_LENGTH, Peek, PeekError, peek};
use lb_l4::stream::server_name::ServerName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = check(bytes);
    match (&whole, by_steps(bytes)) {
        (Ok(Peek::Complete(whole)), Ok(Peek::Complete(steps))) => assert_eq!(whole, &steps),
        (Err(_), Err(_) | Ok(Peek::Incomplete { .. })) => {}
        (Ok(Peek::Incomplete { .. }), Ok(Peek::Incomplete { .. })) => {}
        (_, steps) => panic!("{whole:?} at once, {steps:?} by steps"),
    }

    let _ = check(&around_extensions(bytes));
    if let Ok(Peek::Complete(hello)) = check(&around_extensions(&around_name(bytes)))
        && let Some(name) = hello.server_name
    {
        assert_eq!(name.as_str().as_bytes(), bytes.to_ascii_lowercase());
    }
});

/// What holds of every answer.
fn check(bytes: &[u8]) -> Result<Peek, PeekError> {
    let answer = peek(bytes);
    match &answer {
        Ok(Peek::Complete(hello)) => {
            let name = hello.server_name.as_ref();
            let again = name.map(|name| name.as_str().parse::<ServerName>());
            assert_eq!(again, name.cloned().map(Ok));
            assert!(hello.alpn().all(|protocol| !protocol.is_empty()));
        }
        Ok(Peek::Incomplete { need }) => assert!(*need > bytes.len() && *need <= MAX_LENGTH),
        Err(_) => {}
    }
    answer
}

/// What a reader comes to who reads just what is asked for; it does so in few steps.
fn by_steps(bytes: &[u8]) -> Result<Peek, PeekError> {
    let (mut have, mut looks) = (0, 0);
    loop {
        match peek(bytes.get(..have).expect("no more than there is")) {
            Ok(Peek::Incomplete { need }) if need <= bytes.len() => {
                assert!(need > have && looks <= bytes.len() / 5 + 2);
                (have, looks) = (need, looks + 1);
            }
            end => return end,
        }
    }
}

/// A hello with these extensions, in as many records as it takes.
fn around_extensions(extensions: &[u8]) -> Vec<u8> {
    let head = [&[3, 3][..], &[0; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let body = [head, block16(extensions)].concat();
    let [_, length @ ..] = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1], &length[..], &body].concat();
    message
        .chunks(1 << 14)
        .flat_map(|chunk| [vec![22, 3, 1], block16(chunk)].concat())
        .collect()
}

/// The extension that asks for this name.
fn around_name(name: &[u8]) -> Vec<u8> {
    let entry = [vec![0], block16(name)].concat();
    [vec![0, 0], block16(&block16(&entry))].concat()
}

/// These bytes behind their length in two bytes.
fn block16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("inputs are shorter");
    [&length.to_be_bytes(), bytes].concat()
}
