//! Early data, which is never taken, and is in the way.

use std::io::{Read, Write};
use std::slice::from_ref;
use std::sync::Arc;

use lb_keyserver::KeyKind;
use lb_keyserver::rustls::Handshake;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConnection};

use crate::pipe::{input, open, output, talk};
use crate::tls::{self, Signer, Site};

/// A client with a ticket of a server that takes early data.
fn tempted(site: &Site) -> Arc<ClientConfig> {
    let mut config = tls::client_config(from_ref(site), &TLS13, None);
    config.resumption = Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut taking = tls::server_config(aws_lc_rs::default_provider(), site.local());
    taking.max_early_data_size = 16_384;
    let mut client = connect(&config);
    let mut server = ServerConnection::new(Arc::new(taking)).unwrap();
    server.read_tls(&mut &*output(&mut client)).unwrap();
    server.process_new_packets().unwrap();
    talk(&mut client, &mut server);
    config
}

fn connect(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), tls::NAME.try_into().unwrap()).unwrap()
}

fn feed(server: &mut ServerConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).unwrap();
        server.process_new_packets().unwrap();
    }
}

fn refuse(provider: CryptoProvider, length: usize, pieces: usize) {
    let site = Site::new(KeyKind::EcdsaP256);
    let config = tempted(&site);
    let signer = Signer::new([site.clone()]);
    let mut client = connect(&config);
    let mut early = client.early_data().expect("the ticket allows early data");
    early.write_all(&vec![7; length]).unwrap();
    let mut config = tls::server_config(provider, site.remote());
    // How much rustls passes over; it takes none, as it does not know the ticket.
    config.max_early_data_size = 16_384;
    let mut handshake = Handshake::new(Arc::new(config));
    let rest = open(&mut client, &mut handshake, &signer, pieces).unwrap();
    let mut server = handshake.into_connection().unwrap();
    feed(&mut server, &rest);
    // What was refused is the client's to send again, behind the handshake.
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    input(&mut client, &flight);
    assert!(!client.is_early_data_accepted());
    client.writer().write_all(b"again").unwrap();
    feed(&mut server, &output(&mut client));
    let mut word = [0; 5];
    server.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"again");
    assert!(server.early_data().is_none());
    assert_eq!(signer.signed(), 1);
}

#[test]
fn what_comes_with_the_client_hello_is_passed_over_in_the_replay() {
    refuse(tls::provider(), 1, usize::MAX);
    refuse(tls::provider(), 3_000, usize::MAX);
    refuse(tls::provider(), 3_000, 1);
    refuse(tls::provider(), 3_000, 700);
}

#[test]
fn what_comes_before_a_retry_is_passed_over_in_the_replay() {
    refuse(tls::retrying_provider(), 1, usize::MAX);
    refuse(tls::retrying_provider(), 3_000, 700);
}
