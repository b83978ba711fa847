//! A client of rustls and a handshake of ours, without a network.

use std::io::{Read, Write};

use lb_keyserver::rustls::{Fatal, Handshake, Step};
use rustls::{ClientConnection, ServerConnection};

use crate::tls::Signer;

/// Runs until the key is needed no more; the client's bytes come in pieces of that size. What is
/// left of them is returned.
pub(crate) fn open(
    client: &mut ClientConnection,
    handshake: &mut Handshake,
    signer: &Signer,
    pieces: usize,
) -> Result<Vec<u8>, Fatal> {
    loop {
        let sent = output(client);
        assert!(!sent.is_empty(), "the client waits, and the server too");
        let mut back = Vec::new();
        let mut chunks = sent.chunks(pieces);
        while let Some(piece) = chunks.next() {
            let mut step = handshake.input(piece)?;
            loop {
                step = match step {
                    Step::NeedInput(output) => {
                        back.extend(output);
                        break;
                    }
                    Step::NeedSignature(pending) => {
                        let signature = signer.answer(pending.request());
                        handshake.signature(pending, signature)?
                    }
                    _ => return Ok(chunks.flatten().copied().collect()),
                };
            }
        }
        input(client, &back);
    }
}

/// Ends the handshake, and carries data both ways.
pub(crate) fn talk(client: &mut ClientConnection, server: &mut ServerConnection) {
    client.writer().write_all(b"ping").unwrap();
    server.writer().write_all(b"pong").unwrap();
    for _ in 0..4 {
        let mut sent = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut sent).unwrap();
        }
        input(client, &sent);
        let mut sent = &*output(client);
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let mut word = [0; 4];
    server.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    client.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"pong");
}

pub(crate) fn output(client: &mut ClientConnection) -> Vec<u8> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).unwrap();
    }
    sent
}

pub(crate) fn input(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
    }
}
