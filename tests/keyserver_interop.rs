//! The plain protocol between two implementations: ours in Rust, and one in Python whose signatures
//! the `openssl` command makes and verifies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use harness::authority::Authority;
use harness::host::free_address;
use harness::keyless::{self, lines, told};
use harness::keys::{Algorithm, Keys};
use harness::keyserver::{KeyServer, Setup};
use harness::process::Launch;
use harness::wait::{PATIENCE, eventually};
use lb_keyserver::client::{Fault, KeyClientConfig};
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{ConnectError, KeyClient, Mode, RemoteSigner, SignError, SignRequest};
use serde_json::Value;
use tokio::task::JoinSet;

/// The signing operations of each kind, as the Python half counts them: opcodes by kinds.
const OPERATIONS: [(&str, &[u64]); 4] = [
    ("ed25519", &[0x18]),
    ("p256", &[0x15]),
    ("p384", &[0x16]),
    ("rsa", &[0x05, 0x06, 0x07, 0x35, 0x36, 0x37]),
];

/// Lengths of messages that it signs by each.
const LENGTHS: usize = 3;

#[test]
fn a_client_in_python_gets_every_kind_of_signature_and_openssl_verifies_it() {
    let world = World::start();
    for version in ["1.2", "1.3"] {
        let told = told(
            world
                .python("client", world.server.address(), version)
                .start(),
        );
        let of = |case: &str| {
            told.iter()
                .filter(|told| told["case"] == case)
                .collect::<Vec<_>>()
        };
        let tls = format!("TLSv{version}");
        assert_eq!(of("connected")[0]["tls"], tls.as_str());
        assert!(of("connected")[0]["alpn"].is_null());
        for ping in of("ping") {
            assert_eq!(ping["ok"], true, "{ping}");
            assert_eq!(ping["size"], ping["expected_size"], "{ping}");
        }
        let signed = of("sign");
        for (kind, opcodes) in OPERATIONS {
            for opcode in opcodes {
                let those = signed.iter().filter(|sign| {
                    sign["key"] == kind && sign["opcode"] == *opcode && sign["verified"] == true
                });
                assert_eq!(those.count(), LENGTHS, "{kind} {opcode:#x}: {signed:?}");
            }
        }
        // Every one of them is padded, whatever its length.
        let is_padded = |sign: &&Value| sign["size"] == 1024 && sign["ok_id"] == true;
        assert!(signed.iter().all(is_padded), "{signed:?}");
        let many = of("pipeline");
        assert_eq!(
            (&many[0]["verified"], &many[0]["unanswered"]),
            (&50.into(), &0.into())
        );
    }
}

/// The rules of frames close connections; what a key may not do is answered, and goes on.
#[test]
fn what_nobody_should_ask_is_refused_as_it_is_documented() {
    let world = World::start();
    let stranger = Keys::of(Algorithm::Rsa2048, "b.test");
    let other = Keys::p256("c.test");
    let mut asks = world.python("negative", world.server.address(), "1.3");
    for (name, key) in [
        ("stranger.pub", &stranger),
        ("other.pub", &other),
        ("own.pub", &world.foreign),
    ] {
        asks = asks.file(name, &key.public()).args(["--foreign", name]);
    }
    let told = told(asks.start());
    let seen: BTreeMap<&str, &Value> = told
        .iter()
        .map(|case| (case["name"].as_str().unwrap(), case))
        .collect();
    let mut wrong = Vec::new();
    for (name, case) in &seen {
        let expected = expected(name);
        let lives = expected != "closed";
        // A pong is as long as its ping, if that was longer than what is padded.
        let size = if lives { 1024 } else { 0 };
        let fits = case["size"] == size || *name == "longest frame";
        if case["came"] != expected || case["lives"] != lives || !fits {
            wrong.push(format!("{case}, not {expected}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        seen.len(),
        wrong.join("\n")
    );
    assert!(seen.len() > 400, "{}", seen.len());
}

/// What is to come back; see the module `negative` in Python for what is sent.
fn expected(name: &str) -> &'static str {
    let mut words = name.split(' ');
    match (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    ) {
        // Answers' opcodes, and those that are none here.
        ("opcode", "f0" | "f2" | "ff") => "error 06",
        ("opcode", "of" | "twice") => "closed",
        ("opcode", _) | ("mismatch" | "block", _) => "error 05",
        ("digest", _) => "error 01",
        ("empty" | "body", _) => "error 05",
        ("no", "opcode") => "error 05",
        ("no" | "foreign", _) | ("unknown", "ski") => "error 02",
        ("ski", "twice") => "closed",
        ("ski", _) => "error 02",
        ("certificate", "digest") if name.ends_with("only") => "error 02",
        ("certificate", _) | ("own", _) => "signature",
        ("payload" | "padding" | "extra", "twice") => "closed",
        ("item", _) | ("unknown", "item") => "closed",
        ("client" | "server", _) if name.ends_with(" 4") || name.ends_with(" 16") => "pong",
        ("client" | "server", _) => "closed",
        ("compliance", _) if !name.ends_with(" one") => "closed",
        _ => "pong",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn our_client_gets_every_kind_of_signature_from_a_server_in_python() {
    let authority = Authority::new();
    let keys = Algorithm::ALL.map(|algorithm| Keys::of(algorithm, "a.test"));
    for version in ["1.2", "1.3"] {
        let (address, identity) = (free_address(), authority.server("keys.test"));
        let more = ["--shuffle", "--tls", version];
        let server = keyless::server(address, &authority, &identity, &keys.each_ref(), &more);
        let client = plain_client(&authority, address).await.unwrap();
        let mut asked = JoinSet::new();
        for number in 0..100_u8 {
            let key = keys[usize::from(number) % keys.len()].public_key();
            let schemes = key.kind().schemes();
            let scheme = schemes[usize::from(number / 4) % schemes.len()];
            let (client, message) = (client.clone(), vec![number; 130]);
            asked.spawn(async move {
                let request = SignRequest::new(Arc::clone(&key), scheme, message.clone());
                let signature = client.sign(request.within(PATIENCE)).await.unwrap();
                assert!(key.verifies(scheme, &message, &signature), "{scheme}");
            });
        }
        assert_eq!(asked.join_all().await.len(), 100);
        let unknown = Keys::p256("b.test").public_key();
        let scheme = unknown.kind().schemes()[0];
        let refused = client
            .sign(SignRequest::new(unknown, scheme, *b"a message"))
            .await;
        assert_eq!(refused, Err(SignError::Refused(ErrorCode::KeyNotFound)));
        let accepted = lines(&server.log()).into_iter();
        let mut accepted = accepted.filter(|told| told["case"] == "accepted");
        let tls = format!("TLSv{version}");
        assert!(
            accepted.all(|told| told["tls"] == tls.as_str()),
            "{}",
            server.log()
        );
    }
}

/// Else whoever sits between the two could take the weakest mode for them.
#[tokio::test]
async fn our_client_does_not_fall_back_to_the_plain_mode() {
    let authority = Authority::new();
    let (address, identity) = (free_address(), authority.server("keys.test"));
    let key = Keys::p256("a.test");
    let server = keyless::server(address, &authority, &identity, &[&key], &[]);
    for mode in [Mode::Bound, Mode::Strict] {
        let node = authority.mutual_tls(&authority.node("node-7"));
        let config = KeyClientConfig::default().mode(mode);
        let refused = KeyClient::with_config(address.to_string(), node, config).await;
        assert_eq!(
            refused.err(),
            Some(ConnectError::NoServer(Fault::Mode)),
            "{mode:?}"
        );
    }
    drop(server);
}

#[test]
fn a_server_that_ends_closes_its_connections_in_good_order() {
    let world = World::start();
    let mut holding = world.python("hold", world.server.address(), "1.3").start();
    eventually(PATIENCE, "it is connected", || {
        holding.log().contains("holding")
    });
    world.server.process().signal(rustix::process::Signal::TERM);
    assert!(holding.wait(3 * PATIENCE).success(), "{}", holding.log());
    let last = lines(&holding.log()).pop().unwrap();
    assert_eq!(
        (&last["case"], &last["clean"]),
        (&"closed".into(), &true.into())
    );
}

/// A key server that speaks the plain mode, with a key of each kind that its nodes may use, and one
/// that they may not.
struct World {
    authority: Authority,
    keys: [Keys; 4],
    foreign: Keys,
    server: KeyServer,
}

impl World {
    fn start() -> Self {
        let authority = Authority::new();
        let keys = Algorithm::ALL.map(|algorithm| Keys::of(algorithm, "a.test"));
        let foreign = Keys::of(Algorithm::P384, "d.test");
        let names = keys
            .each_ref()
            .map(|key| key.public_key().ski().to_string());
        let rules = format!(
            "[[allow]]\nidentity = \"lb://node/node-7\"\nkeys = {names:?}\nmode = \"plain\"\n"
        );
        let setup = Setup::of(&authority)
            .modes(&["plain", "bound"])
            .rules(rules);
        let setup = keys.iter().chain([&foreign]).fold(setup, Setup::key);
        let server = setup.start();
        Self {
            authority,
            keys,
            foreign,
            server,
        }
    }

    fn python(&self, command: &str, address: SocketAddr, version: &str) -> Launch {
        let node = self.authority.node("node-7");
        let mut asks = keyless::client(command, address, &self.authority, &node);
        asks = asks.args(["--tls", version]);
        for (number, key) in self.keys.iter().enumerate() {
            let file = format!("{number}.pub");
            asks = asks.file(&file, &key.public()).args(["--pubkey", &file]);
        }
        asks
    }
}

async fn plain_client(
    authority: &Authority,
    server: SocketAddr,
) -> Result<KeyClient, ConnectError> {
    let config = KeyClientConfig::default().mode(Mode::Plain);
    // The command takes its time for each signature, and there are many.
    let config = config.ask(config.ask.attempt_timeout(PATIENCE));
    let identity = authority.mutual_tls(&authority.node("node-7"));
    KeyClient::with_config(server.to_string(), identity, config).await
}
