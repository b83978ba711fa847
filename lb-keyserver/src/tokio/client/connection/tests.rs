use std::future::Future;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::lane::Lanes;
use super::super::request;
use super::super::shared::Gate;
use super::*;
use crate::client::KeyClientConfig;
use crate::mutual_tls::MutualTls;
use crate::public_key::PublicKey;
use crate::question::{certificate_verify, emit_error, emit_pong};
use crate::scheme::Scheme;
use crate::sign::{SignError, SignRequest};
use crate::wire;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn identity() -> MutualTls {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("made"));
    let (issuer, key) = (issuer.expect("signed"), KeyPair::generate().expect("made"));
    let params = CertificateParams::new(vec!["node.test".to_owned()]).expect("good");
    let chain = params.signed_by(&key, &issuer).expect("signed").pem();
    let (key, authority) = (key.serialize_pem(), issuer.pem());
    MutualTls::from_pem(chain.as_bytes(), key.as_bytes(), authority.as_bytes()).expect("good")
}

/// A client whose one server is reached by a pipe: the other end of the pipe is given out.
fn piped(config: ConnectionConfig) -> (Setting, Arc<Gate>, Connection<DuplexStream>, DuplexStream) {
    let config = KeyClientConfig::default().connections(config);
    let shared = Arc::new(Shared::new(config, identity(), 1));
    let gate = Arc::new(Gate {
        address: ([127, 0, 0, 1], 1).into(),
        name: ServerName::try_from("keys.test").expect("a name"),
        lanes: Lanes::default(),
    });
    let server = shared.servers().add(Arc::clone(&gate));
    let setting = Setting { shared, server };
    let (own, peer) = tokio::io::duplex(1 << 20);
    let connection = Connection::new(setting.clone(), own);
    gate.lanes.add(connection.lane());
    setting.shared.servers().handle_connected(server);
    (setting, gate, connection, peer)
}

fn request(within: Duration) -> SignRequest {
    let pair = KeyPair::generate().expect("made");
    let key = PublicKey::from_spki(pair.subject_public_key_info()).expect("read");
    let message = certificate_verify(&[7; 32]).expect("a hash");
    SignRequest::new(Arc::new(key), Scheme::EcdsaP256Sha256, message).within(within)
}

/// Reads frames, and answers each as told: what comes back is written.
async fn answer(mut peer: DuplexStream, mut each: impl FnMut(u32, Opcode) -> Vec<u8>) {
    let mut bytes = Vec::new();
    while peer.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        while let Some((frame, used)) = wire::parse(&bytes).expect("frames") {
            let answer = each(frame.id, frame.items.opcode);
            bytes.drain(..used);
            if peer.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn pong(id: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit_pong(id, ECHO, &mut bytes);
    bytes
}

/// Runs a future beside a peer that never ends before it.
async fn beside<T>(peer: impl Future<Output = ()>, own: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        out = own => out,
        () = async { peer.await; std::future::pending::<()>().await } => unreachable!("pending"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_is_asked_for_every_ten_seconds_and_waited_for_for_two() {
    let (setting, _gate, mut connection, peer) = piped(ConnectionConfig::default());
    let clock = setting.shared.clock;
    let mut asked = Vec::new();
    let peer = answer(peer, |id, opcode| {
        assert_eq!(opcode, Opcode::PING);
        asked.push(clock.now().since(Instant::ZERO));
        if asked.len() < 4 {
            pong(id)
        } else {
            Vec::new()
        }
    });
    let ended = beside(peer, connection.run()).await;
    assert_eq!(ended, Err(Fault::Silent));
    let ended = clock.now().since(Instant::ZERO);
    assert_eq!(asked, [0, 10, 20, 30].map(|seconds| SECOND * seconds));
    assert!(
        ended >= 32 * SECOND && ended < 32 * SECOND + 2 * LOOK_EVERY,
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn greet_waits_for_the_first_pong_and_for_no_refusal() {
    let (.., mut connection, peer) = piped(ConnectionConfig::default());
    let good = answer(peer, |id, _| pong(id));
    assert_eq!(beside(good, connection.greet()).await, Ok(()));
    let (.., mut connection, peer) = piped(ConnectionConfig::default());
    let refusing = answer(peer, |id, _| {
        let mut bytes = Vec::new();
        emit_error(id, ErrorCode::BadOpcode, &mut bytes);
        bytes
    });
    assert_eq!(
        beside(refusing, connection.greet()).await,
        Err(Fault::Refused)
    );
    let (.., mut connection, peer) = piped(ConnectionConfig::default());
    let wrong = answer(peer, |id, _| {
        let mut bytes = Vec::new();
        emit_pong(id, b"another echo", &mut bytes);
        bytes
    });
    assert_eq!(beside(wrong, connection.greet()).await, Err(Fault::Garbage));
    let (.., mut connection, peer) = piped(ConnectionConfig::default());
    drop(peer);
    assert!(connection.greet().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_at_its_deadline_to_the_millisecond() {
    for within in [MS, 299 * MS, 2 * SECOND] {
        let (setting, _gate, mut connection, peer) = piped(ConnectionConfig::default());
        let peer = answer(peer, |id, opcode| match opcode {
            Opcode::PING => pong(id),
            _ => Vec::new(),
        });
        let begun = tokio::time::Instant::now();
        let running = async {
            let ended = connection.run().await;
            panic!("{ended:?}");
        };
        let signing = request::sign(&setting.shared, request(within));
        let signed = beside(peer, async {
            tokio::select! { signed = signing => signed, () = running => unreachable!() }
        });
        assert_eq!(signed.await, Err(SignError::Late));
        assert_eq!(begun.elapsed(), within);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_only_forgets_is_given_up() {
    let config = ConnectionConfig::default().window(8);
    let (setting, gate, mut connection, peer) = piped(config);
    let peer = answer(peer, |id, opcode| match opcode {
        Opcode::PING => pong(id),
        _ => Vec::new(),
    });
    let asking = async {
        for _ in 0..5 {
            let signed = request::sign(&setting.shared, request(MS)).await;
            assert_eq!(signed, Err(SignError::Late));
        }
        std::future::pending::<()>().await;
    };
    let ended = beside(peer, async {
        tokio::select! { ended = connection.run() => ended, () = asking => unreachable!() }
    });
    assert_eq!(ended.await, Err(Fault::Silent));
    assert!(connection.end().is_empty(), "nobody waits any more");
    let in_flight = setting
        .shared
        .servers()
        .server(setting.server)
        .expect("known")
        .in_flight;
    assert_eq!(in_flight, 0);
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn a_closed_lane_ends_it_once_all_is_answered() {
    let (setting, gate, mut connection, peer) = piped(ConnectionConfig::default());
    let clock = setting.shared.clock;
    let peer = answer(peer, |id, opcode| {
        let mut bytes = pong(id);
        if opcode != Opcode::PING {
            gate.lanes.close();
            bytes.clear();
            emit_error(id, ErrorCode::Crypto, &mut bytes);
        }
        bytes
    });
    let both = async {
        tokio::join!(
            connection.run(),
            request::sign(&setting.shared, request(SECOND))
        )
    };
    let (ended, signed) = beside(peer, both).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(signed, Err(SignError::Refused(ErrorCode::Crypto)));
    assert!(clock.now().since(Instant::ZERO) < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_brings_a_sign_of_life_before_its_time() {
    let (setting, _gate, mut connection, peer) = piped(ConnectionConfig::default());
    let clock = setting.shared.clock;
    let mut pinged = Vec::new();
    let peer = answer(peer, |id, opcode| {
        if opcode == Opcode::PING && pinged.is_empty() {
            pinged.push(clock.now().since(Instant::ZERO));
            return pong(id);
        } else if opcode == Opcode::PING {
            pinged.push(clock.now().since(Instant::ZERO));
        }
        Vec::new()
    });
    let signing = async {
        drop(request::sign(&setting.shared, request(5 * SECOND)).await);
        std::future::pending::<()>().await;
    };
    let ended = beside(peer, async {
        tokio::select! { ended = connection.run() => ended, () = signing => unreachable!() }
    });
    // Asked at 0, slow after a second as no other server may be asked, silent two seconds later.
    assert_eq!(ended.await, Err(Fault::Silent));
    let ended = clock.now().since(Instant::ZERO);
    assert!(
        ended >= 3 * SECOND && ended < 3 * SECOND + 4 * LOOK_EVERY,
        "{ended:?}"
    );
    assert_eq!(pinged.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_answering_what_nobody_asked_is_given_up() {
    for (strays, ended) in [(MOST_UNKNOWN, false), (MOST_UNKNOWN + 1, true)] {
        let (.., mut connection, peer) = piped(ConnectionConfig::default());
        let mut sent = false;
        let peer = answer(peer, |id, _| {
            let mut bytes = pong(id);
            if !std::mem::replace(&mut sent, true) {
                (0..strays).for_each(|_| bytes.extend(pong(7_777)));
            }
            bytes
        });
        let run = tokio::time::timeout(9 * SECOND, connection.run());
        let run = beside(peer, run).await;
        assert_eq!(run.ok(), ended.then_some(Err(Fault::Garbage)));
    }
}
