//! Handshakes of rustls, asked for in every mode, through the bytes of a frame and back.

use std::io::Read;
use std::sync::{Arc, Mutex};

use lb_keyserver::question::{Answer, Request, ask, emit_signature, read};
use lb_keyserver::store::Input;
use lb_keyserver::wire::{self, ErrorCode, ParseError};
use lb_keyserver::{Hash, Mode, PublicKey, Scheme, SignRequest};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion, version,
};

/// A scheme, and what was signed by it.
type Signed = Arc<Mutex<Option<(SignatureScheme, Vec<u8>)>>>;

/// A key that remembers what it signs.
#[derive(Debug)]
struct Remembering {
    key: Arc<dyn SigningKey>,
    signed: Signed,
}

impl SigningKey for Remembering {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(RememberingSigner {
            signer: self.key.choose_scheme(offered)?,
            signed: Arc::clone(&self.signed),
        }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

#[derive(Debug)]
struct RememberingSigner {
    signer: Box<dyn Signer>,
    signed: Signed,
}

impl Signer for RememberingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signed = (self.scheme(), message.to_vec());
        *self.signed.lock().expect("whole") = Some(signed);
        self.signer.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.signer.scheme()
    }
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What a server signed in a handshake, and that handshake.
struct Taken {
    key: Arc<PublicKey>,
    signer: Arc<dyn SigningKey>,
    scheme: Scheme,
    message: Vec<u8>,
    transcript: Vec<u8>,
    was_retried: bool,
}

/// A handshake of `www.a.test`, as far as the server's signature.
fn handshake(
    algorithm: &'static rcgen::SignatureAlgorithm,
    version: &'static SupportedProtocolVersion,
    group: &'static dyn SupportedKxGroup,
) -> Taken {
    let pair = KeyPair::generate_for(algorithm).expect("made");
    let params = CertificateParams::new(vec!["www.a.test".into()]).expect("good");
    let certificate = params.self_signed(&pair).expect("signed").der().clone();
    let private = PrivateKeyDer::try_from(pair.serialize_der()).expect("PKCS #8");
    let signer = provider::sign::any_supported_type(&private).expect("supported");
    let signed = Signed::default();
    let remembering = Remembering {
        key: Arc::clone(&signer),
        signed: Arc::clone(&signed),
    };
    let certified = CertifiedKey::new(vec![certificate.clone()], Arc::new(remembering));
    let client = client(&certificate, version);
    let server = server(certified, version, group);
    let hellos = exchange(client, server, &signed);
    let (scheme, message) = signed.lock().expect("whole").take().expect("signed");
    Taken {
        key: Arc::new(PublicKey::of_certificate(&certificate).expect("good")),
        signer,
        scheme: Scheme::from_code(scheme.into()).expect("offered"),
        was_retried: hellos.0.len() > 1,
        transcript: match version.version {
            rustls::ProtocolVersion::TLSv1_2 => tls12(hellos),
            _ => tls13(hellos, &certificate, &message),
        },
        message,
    }
}

fn client(
    certificate: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("added");
    let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[version])
        .expect("supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("www.a.test").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("made")
}

fn server(
    certified: CertifiedKey,
    version: &'static SupportedProtocolVersion,
    group: &'static dyn SupportedKxGroup,
) -> ServerConnection {
    let provider = CryptoProvider {
        kx_groups: vec![group],
        ..provider::default_provider()
    };
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("supported")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(One(Arc::new(certified))));
    ServerConnection::new(Arc::new(config)).expect("made")
}

/// The messages of either side that are not encrypted, until the server has signed.
fn exchange(
    mut client: ClientConnection,
    mut server: ServerConnection,
    signed: &Signed,
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    loop {
        let from = sent.len();
        client.write_tls(&mut sent).expect("memory");
        feed(&sent[from..], |bytes| server.read_tls(bytes));
        server.process_new_packets().expect("good");
        let from = answered.len();
        while server.wants_write() {
            server.write_tls(&mut answered).expect("memory");
        }
        if signed.lock().expect("whole").is_some() {
            return (messages(&sent), messages(&answered));
        }
        feed(&answered[from..], |bytes| client.read_tls(bytes));
        client.process_new_packets().expect("good");
    }
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut dyn Read) -> std::io::Result<usize>) {
    while !bytes.is_empty() {
        read(&mut bytes).expect("memory");
    }
}

/// The messages in the handshake records that are not encrypted (RFC 8446, 5.1).
fn messages(mut records: &[u8]) -> Vec<Vec<u8>> {
    let mut handshake = Vec::new();
    while let [of_type, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *of_type == 22 {
            handshake.extend_from_slice(&rest[..length]);
        }
        records = &rest[length..];
    }
    let (mut rest, mut messages) = (&handshake[..], Vec::new());
    while let [_, a, b, c, ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        let (message, more) = rest.split_at(4 + usize::try_from(length).expect("small"));
        messages.push(message.to_vec());
        rest = more;
    }
    messages
}

fn tls12((client, server): (Vec<Vec<u8>>, Vec<Vec<u8>>)) -> Vec<u8> {
    let types: Vec<_> = server.iter().map(|message| message[0]).collect();
    assert_eq!(types, [2, 11, 12, 14]);
    [&client[..1], &server[..2]].concat().concat()
}

/// What of TLS 1.3 is encrypted is put together here as rustls does; that it is the same, the hash
/// in the signed message says.
fn tls13(
    (client, server): (Vec<Vec<u8>>, Vec<Vec<u8>>),
    certificate: &[u8],
    message: &[u8],
) -> Vec<u8> {
    let hash = match message.len() - 98 {
        32 => Hash::Sha256,
        _ => Hash::Sha384,
    };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_be_bytes();
    let entry = [&length(certificate)[1..], certificate, &[0, 0]].concat();
    let body = [&[0][..], &length(&entry)[1..], &entry].concat();
    let encrypted = [
        // EncryptedExtensions: the name was understood.
        &[8, 0, 0, 6, 0, 4, 0, 0, 0, 0][..],
        &[11],
        &length(&body)[1..],
        &body,
    ]
    .concat();
    let transcript = match (&client[..], &server[..]) {
        ([hello], [answer]) => [&hello[..], answer, &encrypted].concat(),
        ([first, hello], [retry, answer]) => {
            let first = hash.digest(first);
            let first = [&[254][..], &length(first.as_ref())[1..], first.as_ref()].concat();
            [&first, &retry[..], hello, answer, &encrypted].concat()
        }
        _ => panic!("{} and {} messages", client.len(), server.len()),
    };
    assert_eq!(hash.digest(&transcript).as_ref(), &message[98..]);
    transcript
}

/// Asks in `mode`, answers, and returns the name that the server saw; both through bytes.
fn round_trip(mode: Mode, taken: &Taken) -> Option<String> {
    let request = SignRequest::new(taken.key.clone(), taken.scheme, &taken.message[..])
        .transcript(&taken.transcript[..])
        .server_name("claimed.test");
    let asking = ask(mode, &request).expect("asked");
    let mut question = Vec::new();
    wire::emit(7, &asking.items(), &mut question).expect("fits");

    let (frame, used) = wire::parse(&question).expect("good").expect("whole");
    assert_eq!((frame.id, used), (7, question.len()));
    let Ok(Request::Sign(asked)) = read(mode, &frame.items) else {
        panic!("a question");
    };
    assert_eq!(
        (asked.ski(), asked.scheme()),
        (taken.key.ski(), taken.scheme)
    );
    assert_eq!(asked.server_name(), Some("claimed.test"));
    let to_sign = asked.to_sign(&taken.key).expect("signed");
    // The server is made to sign what rustls wants to have signed, and nothing near it.
    match (to_sign.input(), taken.scheme.hash()) {
        (Input::Digest(digest), Some(hash)) => {
            assert_eq!(digest, hash.digest(&taken.message).as_ref());
        }
        (input, _) => assert_eq!(input, Input::Message(&taken.message)),
    }

    let signer = taken.signer.choose_scheme(&[taken.scheme.to_tls()]);
    let signature = signer
        .expect("offered")
        .sign(&taken.message)
        .expect("signed");
    let mut answer = Vec::new();
    emit_signature(frame.id, &signature, &mut answer);
    let (frame, _) = wire::parse(&answer).expect("good").expect("whole");
    let Answer::Signature(signature) = Answer::read(&frame.items) else {
        panic!("a signature");
    };
    assert!(taken.key.verifies(taken.scheme, &taken.message, signature));
    to_sign.server_name().map(str::to_owned)
}

/// Asks in every mode; only in the strict one does the server see a name.
fn in_every_mode(taken: &Taken) {
    for mode in Mode::ALL {
        let expected = (mode == Mode::Strict).then_some("www.a.test");
        assert_eq!(round_trip(mode, taken).as_deref(), expected, "{mode:?}");
    }
}

const ALGORITHMS: [&rcgen::SignatureAlgorithm; 5] = [
    &rcgen::PKCS_ECDSA_P256_SHA256,
    &rcgen::PKCS_ECDSA_P384_SHA384,
    &rcgen::PKCS_ECDSA_P521_SHA512,
    &rcgen::PKCS_ED25519,
    &rcgen::PKCS_RSA_SHA256,
];

#[test]
fn what_rustls_signs_is_asked_for_in_every_mode() {
    for algorithm in ALGORITHMS {
        for version in [&version::TLS12, &version::TLS13] {
            let taken = handshake(algorithm, version, provider::kx_group::X25519);
            assert!(!taken.was_retried);
            in_every_mode(&taken);
        }
    }
}

#[test]
fn a_handshake_that_was_retried_is_asked_for_too() {
    let group = provider::kx_group::SECP384R1;
    let taken = handshake(ALGORITHMS[0], &version::TLS13, group);
    assert!(taken.was_retried);
    in_every_mode(&taken);
}

#[test]
fn every_curve_of_tls_1_2_is_asked_for() {
    for group in [
        provider::kx_group::SECP256R1,
        provider::kx_group::SECP384R1,
        provider::kx_group::X25519,
    ] {
        in_every_mode(&handshake(ALGORITHMS[0], &version::TLS12, group));
    }
}

#[test]
fn the_handshake_of_another_key_is_not_signed_in_the_strict_mode() {
    for version in [&version::TLS12, &version::TLS13] {
        let taken = || handshake(ALGORITHMS[0], version, provider::kx_group::X25519);
        let (own, other) = (taken(), taken());
        // A node that may use one key shows the handshake of another.
        let request = SignRequest::new(own.key.clone(), own.scheme, &other.message[..])
            .transcript(&other.transcript[..]);
        let asking = ask(Mode::Strict, &request).expect("asked");
        let Ok(Request::Sign(question)) = read(Mode::Strict, &asking.items()) else {
            panic!("a question");
        };
        assert_eq!(question.to_sign(&own.key).err(), Some(ErrorCode::Format));
    }
}

#[test]
fn a_frame_says_why_it_is_none() {
    let twice = b"\x01\x00\x00\x08\x00\x00\x00\x01\x11\x00\x01\xf1\x11\x00\x01\xf1";
    assert_eq!(wire::parse(twice), Err(ParseError::RepeatedItem));
}
