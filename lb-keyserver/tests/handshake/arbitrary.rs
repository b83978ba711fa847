//! Whatever a client sends, in whatever pieces, ends as it does where the key is at hand.

use std::slice::from_ref;
use std::sync::{Arc, LazyLock};

use lb_keyserver::KeyKind;
use lb_keyserver::rustls::{Fatal, Handshake, Step};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq, sample};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

use crate::pipe::output;
use crate::tls::{self, Site};

static SITE: LazyLock<Site> = LazyLock::new(|| Site::new(KeyKind::EcdsaP256));

/// The ClientHellos of both versions.
static HELLOS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [&TLS13, &TLS12].map(|version| {
        let config = tls::client_config(from_ref(&*SITE), version, None);
        output(&mut tls::client(config))
    })
});

/// The same configurations with the key here and elsewhere: as usual, and such that ask for a retry.
static CONFIGS: LazyLock<[[Arc<ServerConfig>; 2]; 2]> = LazyLock::new(|| {
    [tls::provider(), tls::retrying_provider()].map(|provider| {
        let both = [SITE.local(), SITE.remote()];
        both.map(|key| Arc::new(tls::server_config(provider.clone(), key)))
    })
});

/// A ClientHello with some bytes changed, and something behind it.
fn hellos() -> impl Strategy<Value = Vec<u8>> {
    let changes = collection::vec((any::<sample::Index>(), any::<u8>()), 0..4);
    let more = collection::vec(any::<u8>(), 0..40);
    // A record of each type, so that what follows is now and then read as one.
    let kind = sample::select(vec![20_u8, 21, 22, 23]);
    (0..2_usize, changes, kind, more).prop_map(|(hello, changes, kind, more)| {
        let mut sent = HELLOS[hello].clone();
        for (place, value) in changes {
            // Past the type of the record: who does not begin with one is turned away before.
            let place = 1 + place.index(sent.len() - 1);
            sent[place] = value;
        }
        if !more.is_empty() {
            sent.extend([kind, 3, 3, 0, more.len().try_into().unwrap()]);
            sent.extend(more);
        }
        sent
    })
}

/// Whether a server with its key takes all of it.
fn is_taken_here(config: &Arc<ServerConfig>, sent: &[u8], piece: usize) -> bool {
    let mut server = ServerConnection::new(Arc::clone(config)).unwrap();
    sent.chunks(piece).all(|piece| feed(&mut server, piece))
}

fn feed(server: &mut ServerConnection, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if !matches!(server.read_tls(&mut bytes), Ok(1..)) || server.process_new_packets().is_err()
        {
            return false;
        }
    }
    true
}

/// Whether one without does; and how often it asked for a signature.
fn is_taken_elsewhere(config: &Arc<ServerConfig>, sent: &[u8], piece: usize) -> (bool, usize) {
    let mut handshake = Handshake::new(Arc::clone(config));
    let (mut pieces, mut signed) = (sent.chunks(piece), 0);
    loop {
        let Some(piece) = pieces.next() else {
            return (true, signed);
        };
        match step(&mut handshake, piece, &mut signed) {
            Ok(true) => break,
            Ok(false) => {}
            Err(fatal) => {
                assert!(!fatal.to_string().is_empty());
                assert!(handshake.input(b"more").is_err());
                return (false, signed);
            }
        }
    }
    let mut server = handshake.into_connection().unwrap();
    (pieces.all(|piece| feed(&mut server, piece)), signed)
}

fn step(handshake: &mut Handshake, piece: &[u8], signed: &mut usize) -> Result<bool, Fatal> {
    let mut step = handshake.input(piece)?;
    loop {
        step = match step {
            Step::NeedInput(_) => return Ok(false),
            Step::NeedSignature(pending) => {
                *signed += 1;
                let signature = SITE.sign(pending.request());
                handshake.signature(pending, signature)?
            }
            _ => return Ok(true),
        };
    }
}

proptest! {
    #[test]
    fn a_client_is_taken_elsewhere_as_it_is_here(
        config in 0..2_usize,
        sent in hellos(),
        piece in prop_oneof![1..20_usize, 100..3_000_usize],
    ) {
        let [here, elsewhere] = &CONFIGS[config];
        let (is_taken, signed) = is_taken_elsewhere(elsewhere, &sent, piece);
        prop_assert_eq!(is_taken, is_taken_here(here, &sent, piece));
        prop_assert!(signed <= 1);
    }

    #[test]
    fn what_is_no_tls_is_survived(
        config in 0..2_usize,
        sent in collection::vec(any::<u8>(), 0..200),
        piece in 1..20_usize,
    ) {
        let (_, signed) = is_taken_elsewhere(&CONFIGS[config][1], &sent, piece);
        prop_assert_eq!(signed, 0);
    }
}
