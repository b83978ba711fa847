//! What a thief of a node's certificate gets from a key server: signatures for handshakes of TLS with
//! the keys of that node, until it is revoked, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::authority::Authority;
use harness::keys::{Algorithm, Keys};
use harness::keyserver::Setup;
use harness::wire::{Heard, Wire};
use lb_keyserver::question::{ask, certificate_verify};
use lb_keyserver::rustls::{Handshake, Step, Transcripts, certified_key_from_pem, remote_provider};
use lb_keyserver::wire::{ErrorCode, Items, Opcode};
use lb_keyserver::{Hash, Mode, PublicKey, Scheme, SignRequest, Ski};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConnection, ServerConfig};

/// With every opcode there is, and with our own in every scheme, a thief asks for signatures over
/// statements that are worth something: what comes back is none over any of them.
#[test]
fn in_the_bound_mode_no_signature_is_over_anything_but_a_handshake() {
    let authority = Authority::new();
    for algorithm in [Algorithm::Rsa2048, Algorithm::P256, Algorithm::Ed25519] {
        let keys = Keys::of(algorithm, "a.test");
        let key = keys.public_key();
        let server = Setup::of(&authority).key(&keys).start();
        let stolen = authority.node("node-7");
        let mut thief = Wire::connect(server.address(), &authority, &stolen, Mode::Bound).unwrap();
        let (signed, forged) = rob(&mut thief, &keys);
        assert_eq!(forged, BTreeSet::new(), "{algorithm:?}");
        // A hash is signed as that of a handshake, whatever it is of: that is the bound mode.
        assert_eq!(
            signed,
            BTreeSet::from([Opcode::SIGN_TLS13.0]),
            "{algorithm:?}"
        );
        let (hash, scheme) = ([7; 32], tls13_scheme(&key));
        let payload = [&scheme.code().to_be_bytes()[..], &hash].concat();
        let heard = thief.ask(&asking(Opcode::SIGN_TLS13, &payload, key.ski()));
        let Heard::Signature(signature) = heard else {
            panic!("{heard:?}");
        };
        let message = certificate_verify(&hash).unwrap();
        assert!(key.verifies(scheme, &message, &signature));
    }
}

/// Why the plain mode is for those alone who cannot do without, and whether the test above would tell.
#[test]
fn in_the_plain_mode_a_thief_signs_what_it_likes() {
    let authority = Authority::new();
    for algorithm in [Algorithm::Rsa2048, Algorithm::Ed25519] {
        let keys = Keys::of(algorithm, "a.test");
        let server = Setup::of(&authority).key(&keys).modes(&["plain"]).start();
        let stolen = authority.node("node-7");
        let mut thief = Wire::connect(server.address(), &authority, &stolen, Mode::Plain).unwrap();
        let (_, forged) = rob(&mut thief, &keys);
        assert_eq!(forged.len(), statements(&keys).len(), "{algorithm:?}");
    }
}

/// RSA decryption is RSA signing: m^d mod n of a block that the thief has padded is a signature.
#[test]
fn no_mode_decrypts() {
    let authority = Authority::new();
    let keys = Keys::of(Algorithm::Rsa2048, "a.test");
    let setup = Setup::of(&authority)
        .key(&keys)
        .modes(&["plain", "bound", "strict"]);
    let server = setup.start();
    let stolen = authority.node("node-7");
    for mode in Mode::ALL {
        let mut thief = Wire::connect(server.address(), &authority, &stolen, mode).unwrap();
        for opcode in [0x01, 0x08] {
            for message in statements(&keys) {
                let items = emsa_pkcs1(&message);
                let items = asking(Opcode(opcode), &items, keys.public_key().ski());
                let heard = thief.ask(&items);
                assert_eq!(heard, Heard::Refused(ErrorCode::BadOpcode), "{mode:?}");
            }
        }
    }
}

#[test]
fn keys_of_other_nodes_look_like_keys_that_are_not_there() {
    let authority = Authority::new();
    let own = Keys::p256("a.test");
    let others = [Algorithm::Rsa2048, Algorithm::P384].map(|kind| Keys::of(kind, "b.test"));
    let rules = format!(
        "[[allow]]\nidentity = \"lb://node/thief\"\nkeys = [\"{}\"]\nmode = \"plain\"\n\
         [[allow]]\nidentity = \"lb://node/other\"\nkeys = [\"*\"]\nmode = \"plain\"\n",
        own.public_key().ski()
    );
    let setup = Setup::of(&authority).modes(&["plain", "bound", "strict"]);
    let setup = setup.key(&own).key(&others[0]).key(&others[1]).rules(rules);
    let server = setup.start();
    let (stolen, other) = (authority.node("thief"), authority.node("other"));
    for mode in Mode::ALL {
        let mut thief = Wire::connect(server.address(), &authority, &stolen, mode).unwrap();
        for keys in &others {
            let key = keys.public_key();
            for opcode in (0..=u8::MAX)
                .map(Opcode)
                .filter(|opcode| *opcode != Opcode::PING)
            {
                for payload in [&[4, 3][..], &[8, 4], &[5, 3]].map(|code| [code, &[7; 32]].concat())
                {
                    for payload in [&payload[..], &payload[2..], b""] {
                        let theirs = thief.ask(&asking(opcode, payload, key.ski()));
                        let none = Ski::from_bytes([7; Ski::LEN]);
                        let unknown = thief.ask(&asking(opcode, payload, none));
                        assert_eq!(theirs, unknown, "{mode:?} {opcode}");
                        assert!(matches!(theirs, Heard::Refused(_)), "{theirs:?}");
                    }
                }
            }
        }
    }
    // They are there, for who may use them.
    let key = others[1].public_key();
    let payload = [&[5, 3][..], &[7; 48]].concat();
    let items = asking(Opcode::SIGN_TLS13, &payload, key.ski());
    let mut owner = Wire::connect(server.address(), &authority, &other, Mode::Bound).unwrap();
    assert!(matches!(owner.ask(&items), Heard::Signature(_)));
    let mut thief = Wire::connect(server.address(), &authority, &stolen, Mode::Bound).unwrap();
    assert_eq!(thief.ask(&items), Heard::Refused(ErrorCode::KeyNotFound));
}

/// The name is read out of the handshake that is signed for: what the node says of it is no proof.
#[test]
fn in_the_strict_mode_no_signature_is_for_another_name_or_certificate() {
    let authority = Authority::new();
    let (keys, other) = (Keys::p256("a.test"), Keys::p256("b.test"));
    let rules = "[[allow]]\nidentity = \"lb://node/node-7\"\nkeys = [\"*\"]\nmode = \"strict\"\n\
                 server_names = [\"a.test\"]\n";
    let setup = Setup::of(&authority).key(&keys).key(&other).rules(rules);
    let server = setup.start();
    let stolen = authority.node("node-7");
    let connect = |mode| Wire::connect(server.address(), &authority, &stolen, mode).unwrap();

    let mut thief = connect(Mode::Strict);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let good = handshake(&keys, "a.test", version);
        let asking_good = ask(Mode::Strict, &good).unwrap();
        let heard = thief.ask(&asking_good.items());
        let Heard::Signature(signature) = heard else {
            panic!("{version:?}: {heard:?}");
        };
        assert!(good.key.verifies(good.scheme, &good.message, &signature));

        // Another name, which is admitted, denied, or left out.
        let bad = handshake(&keys, "b.test", version);
        let asking_bad = ask(Mode::Strict, &bad).unwrap();
        for name in [&b"b.test"[..], b"a.test", b""] {
            let items = Items {
                server_name: name,
                ..asking_bad.items()
            };
            assert!(
                matches!(thief.ask(&items), Heard::Refused(_)),
                "{version:?}"
            );
        }
        // The handshake shows another certificate than that of the key.
        let foreign = Items {
            ski: Some(other.public_key().ski()),
            ..asking_good.items()
        };
        assert!(matches!(thief.ask(&foreign), Heard::Refused(_)));
        // One byte of it is another, or gone, or too many.
        let payload = asking_good.items().payload.to_vec();
        let cut = payload[..payload.len() - 1].to_vec();
        let long = [&payload[..], b"\0"].concat();
        for payload in [cut, long] {
            let items = Items {
                payload: &payload,
                ..asking_good.items()
            };
            assert!(matches!(thief.ask(&items), Heard::Refused(_)));
        }
    }
    // Nor does a weaker mode help, where the rule wants the strict one.
    let good = handshake(&keys, "a.test", &rustls::version::TLS13);
    let weaker = ask(Mode::Bound, &good).unwrap();
    assert_eq!(connect(Mode::Bound).ask(&weaker.items()), Heard::Closed);
}

#[test]
fn a_node_that_is_revoked_is_cut_off_at_once_and_the_others_are_not() {
    let authority = Authority::new();
    let keys = Keys::p256("a.test");
    let setup = Setup::of(&authority).key(&keys);
    let server = setup.start();
    let (stolen, honest) = (authority.node("thief"), authority.node("honest"));
    let connect = |node| Wire::connect(server.address(), &authority, node, Mode::Bound);
    let (mut thief, mut other) = (connect(&stolen).unwrap(), connect(&honest).unwrap());
    assert!(thief.lives() && other.lives());

    setup.reload(&server, "revoked = [\"lb://node/thief\"]");
    thief.await_close();
    assert!(other.lives());
    let again = connect(&stolen).map(|mut thief| thief.lives());
    assert!(!again.unwrap_or(false));
}

#[test]
fn nobody_comes_in_without_a_certificate_of_the_authority_for_a_node() {
    let (authority, another) = (Authority::new(), Authority::new());
    let keys = Keys::p256("a.test");
    let server = Setup::of(&authority).key(&keys).start();
    let lives = |node: &Keys, mode| {
        let wire = Wire::connect(server.address(), &authority, node, mode);
        wire.map(|mut wire| wire.lives()).unwrap_or(false)
    };
    assert!(lives(&authority.node("node-7"), Mode::Bound));
    assert!(!lives(&another.node("node-7"), Mode::Bound), "another's");
    assert!(
        !lives(&authority.server("node-7"), Mode::Bound),
        "a server's"
    );
    assert!(!lives(&keys, Mode::Bound), "one's own");
    // This server does not speak the plain mode.
    assert!(!lives(&authority.node("node-7"), Mode::Plain), "plain");
    let wire = Wire::anonymous(server.address(), &authority, Mode::Bound);
    assert!(!wire.map(|mut wire| wire.lives()).unwrap_or(false), "none");
}

/// Asks for signatures over all that is worth one, in all ways: the opcodes that gave any signature,
/// and the statements that one was over.
#[track_caller]
fn rob(thief: &mut Wire, keys: &Keys) -> (BTreeSet<u8>, BTreeSet<usize>) {
    let (key, loot) = (keys.public_key(), statements(keys));
    let (mut signed, mut forged) = (BTreeSet::new(), BTreeSet::new());
    for message in &loot {
        for (opcode, payload) in attempts(message) {
            match thief.ask(&asking(opcode, &payload, key.ski())) {
                Heard::Signature(signature) => {
                    signed.insert(opcode.0);
                    let statements = loot.iter().enumerate();
                    let over = statements.filter(|(_, loot)| verifies(&key, loot, &signature));
                    forged.extend(over.map(|(number, _)| number));
                }
                Heard::Refused(_) => {}
                // Pings are answered, and carry nothing.
                Heard::Pong(_) => assert_eq!(opcode, Opcode::PING),
                Heard::Closed => panic!("{opcode} with {payload:x?} closes the connection"),
            }
        }
    }
    (signed, forged)
}

/// What is worth a signature of a web server's key, beside the handshakes that it is for.
fn statements(keys: &Keys) -> Vec<Vec<u8>> {
    let spaces = [b' '; 64];
    let cert = CertificateDer::from_pem_slice(keys.cert.as_bytes()).expect("PEM");
    // A key of the thief's own for seven days (RFC 9345, 4), in the name of the certificate.
    let own = Keys::p256("thief.test").public_key();
    let spki = own.spki().as_ref();
    let credential = [
        &[0, 9, 0x3a, 0x80, 4, 3, 0][..],
        &u16::try_from(spki.len())
            .expect("keys are short")
            .to_be_bytes(),
        spki,
        &tls13_scheme(&keys.public_key()).code().to_be_bytes(),
    ];
    let delegated = [&b"TLS, server delegated credentials\0"[..], &cert].concat();
    vec![
        b"{\"alg\":\"any\"}.{\"sub\":\"whatever a token says\"}".to_vec(),
        [&spaces[..], &delegated, &credential.concat()].concat(),
        [
            &spaces[..],
            b"TLS 1.3, client CertificateVerify\0",
            &[7; 32],
        ]
        .concat(),
        [&spaces[..], b"Exported Authenticator\0", &[7; 32]].concat(),
    ]
}

/// How one might ask for a signature over a message: all opcodes with what the deployed protocol
/// takes, and ours with whatever scheme before it.
fn attempts(message: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let digests = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
    let digests = digests.map(|hash| hash.digest(message).as_ref().to_vec());
    let mut payloads = vec![message.to_vec(), emsa_pkcs1(message)];
    payloads.extend(digests);
    let mut attempts = Vec::new();
    for opcode in 0..=u8::MAX {
        // Those beyond are nobody's; that they are refused takes no more than one look.
        let worth = if opcode < 0x48 { payloads.len() } else { 1 };
        let payloads = payloads.iter().take(worth).cloned();
        attempts.extend(payloads.map(|payload| (Opcode(opcode), payload)));
    }
    for opcode in [0x40, 0x41, 0x42, 0x43].map(Opcode) {
        for scheme in Scheme::ALL {
            let code = scheme.code().to_be_bytes();
            let with_scheme = |payload| (opcode, [&code[..], payload].concat());
            attempts.extend(payloads.iter().map(|payload| with_scheme(payload)));
        }
    }
    attempts
}

fn asking(opcode: Opcode, payload: &[u8], ski: Ski) -> Items<'_> {
    Items {
        opcode,
        payload,
        ski: Some(ski),
        ..Items::default()
    }
}

/// A block of 2,048 bits over SHA-256 (RFC 8017, 9.2), which a private key turns into a signature.
fn emsa_pkcs1(message: &[u8]) -> Vec<u8> {
    // DigestInfo of SHA-256, up to the digest (RFC 8017, 9.2, note 1).
    const DIGEST_INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let digest = Hash::Sha256.digest(message);
    let padding = vec![0xff; 256 - 3 - DIGEST_INFO.len() - 32];
    [&[0, 1][..], &padding, &[0], &DIGEST_INFO, digest.as_ref()].concat()
}

/// Whether it is a signature over that message, by any scheme.
fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let mut schemes = key.kind().schemes().iter();
    schemes.any(|scheme| key.verifies(*scheme, message, signature))
}

fn tls13_scheme(key: &PublicKey) -> Scheme {
    let mut schemes = key.kind().schemes().iter().copied();
    schemes
        .find(|scheme| scheme.is_tls13())
        .expect("every kind has one")
}

/// What a node would ask to be signed, in a handshake with a client that wants that name.
fn handshake(
    keys: &Keys,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> SignRequest {
    let config = ServerConfig::builder_with_provider(Arc::new(remote_provider(
        &aws_lc_rs::default_provider(),
    )));
    let config = config
        .with_protocol_versions(&[version])
        .expect("the provider has it");
    let key = certified_key_from_pem(keys.cert.as_bytes()).expect("a certificate");
    // It shows the one certificate whatever the name, as a thief would.
    let key = Arc::new(SingleCertAndKey::from(key));
    let config = config.with_no_client_auth().with_cert_resolver(key);
    let mut node = Handshake::new(Arc::new(config)).transcripts(Transcripts::Recorded);
    let client = harness::tls::TlsClient::of_both_versions();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client.config(), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory is written to");
    match node.input(&hello).expect("a good hello") {
        Step::NeedSignature(pending) => pending.request().clone(),
        step => panic!("{step:?}"),
    }
}
