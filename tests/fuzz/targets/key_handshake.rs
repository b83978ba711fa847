//! A client's bytes, in pieces of any size, end a handshake with a key elsewhere as they end one with
//! the key here.
//!
//! The first byte says what the server speaks, the second how long the pieces are. The rest is what
//! the client sends: as it is, or changes to a right ClientHello, or what follows one.
#![no_main]

use std::sync::{Arc, LazyLock};

use lb_keyserver::rustls::{Fatal, Handshake, RemoteKey, Step, remote_provider};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

fuzz_target!(|bytes: &[u8]| {
    let [flags, piece, bytes @ ..] = bytes else {
        return;
    };
    let pair = match flags & 3 {
        0 => &PLAIN,
        1 => &RETRIES,
        _ => &ASKS,
    };
    let piece = usize::from(*piece).max(1);
    match flags >> 2 & 3 {
        0 => drop(remote(&pair.remote, bytes, piece)),
        1 => drop(remote(&pair.remote, &changed(bytes), piece)),
        _ => {
            let sent = [&HELLO, bytes].concat();
            let (here, elsewhere) = (
                local(&pair.local, &sent, piece),
                remote(&pair.remote, &sent, piece),
            );
            assert_eq!(here, elsewhere, "{sent:x?}");
        }
    }
});

/// The same, but for where the key is.
struct Pair {
    local: Arc<ServerConfig>,
    remote: Arc<ServerConfig>,
}

struct Site {
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["a.test".into()]).expect("a name");
    let certificate = params.self_signed(&pair).expect("a certificate");
    let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
    Site {
        certificate: certificate.der().clone(),
        key: aws_lc_rs::sign::any_supported_type(&key).expect("a key"),
    }
});

static PLAIN: LazyLock<Pair> = LazyLock::new(|| pair(&aws_lc_rs::default_provider(), false));
static ASKS: LazyLock<Pair> = LazyLock::new(|| pair(&aws_lc_rs::default_provider(), true));
static RETRIES: LazyLock<Pair> = LazyLock::new(|| {
    let kx_groups = vec![aws_lc_rs::kx_group::SECP384R1];
    let provider = CryptoProvider {
        kx_groups,
        ..aws_lc_rs::default_provider()
    };
    pair(&provider, false)
});

/// What a client of rustls says first.
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "a.test".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).expect("memory takes it");
    }
    hello
});

fn pair(provider: &CryptoProvider, asks: bool) -> Pair {
    let chain = vec![SITE.certificate.clone()];
    let local = CertifiedKey::new(chain.clone(), Arc::clone(&SITE.key));
    let remote = RemoteKey::certified(chain).expect("P-256 is served");
    Pair {
        local: config(provider.clone(), local, asks),
        remote: config(remote_provider(provider), remote, asks),
    }
}

fn config(provider: CryptoProvider, key: CertifiedKey, asks: bool) -> Arc<ServerConfig> {
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("both versions");
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(SITE.certificate.clone()).expect("a certificate");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))))
}

/// The ClientHello with some bytes changed: each by a place of two bytes and a value.
fn changed(changes: &[u8]) -> Vec<u8> {
    let mut hello = HELLO.clone();
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]]));
        let length = hello.len();
        hello[place % length] = change[2];
    }
    hello
}

/// Whether the bytes were all taken by a server with its key.
fn local(config: &Arc<ServerConfig>, bytes: &[u8], piece: usize) -> bool {
    let mut server = ServerConnection::new(Arc::clone(config)).expect("a server");
    bytes.chunks(piece).all(|piece| feed(&mut server, piece))
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

/// The same of one whose key is elsewhere.
fn remote(config: &Arc<ServerConfig>, bytes: &[u8], piece: usize) -> bool {
    let mut handshake = Handshake::new(Arc::clone(config));
    let mut pieces = bytes.chunks(piece);
    let is_ready = loop {
        let Some(piece) = pieces.next() else {
            break false;
        };
        match answer(&mut handshake, piece) {
            Ok(true) => break true,
            Ok(false) => {}
            Err(fatal) => {
                assert!(fatal.alert.len() < 1 << 16);
                assert!(handshake.input(b"more").is_err());
                assert!(handshake.into_connection().is_none());
                return false;
            }
        }
    };
    assert!(handshake.replays() <= 1);
    let connection = handshake.into_connection();
    assert_eq!(connection.is_some(), is_ready);
    connection.is_none_or(|mut server| pieces.all(|piece| feed(&mut server, piece)))
}

/// Gives a piece, and signs what is asked for; whether the key is needed no more.
fn answer(handshake: &mut Handshake, piece: &[u8]) -> Result<bool, Fatal> {
    let mut step = handshake.input(piece)?;
    loop {
        step = match step {
            Step::NeedInput(_) => return Ok(false),
            Step::NeedSignature(pending) => {
                let request = pending.request();
                let signer = SITE.key.choose_scheme(&[request.scheme.to_tls()]);
                let signature = signer.expect("its scheme").sign(&request.message);
                handshake.signature(pending, signature.expect("a signature"))?
            }
            _ => return Ok(true),
        };
    }
}
