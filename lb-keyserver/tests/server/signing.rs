//! What is signed.

use std::sync::Arc;

use lb_keyserver::server::Refusal;
use lb_keyserver::store::{MemoryStore, SignFailure};
use lb_keyserver::wire::{ErrorCode, Items, Opcode};
use lb_keyserver::{Mode, PublicKey, Scheme};

use crate::client::{Answered, Client, frame, message, question, tls12_message};
use crate::world::{Faulty, Gated, Keys, p256, public};
use crate::{Running, access, config, count, everybody, name};

/// Asks for every scheme of every key, all at once, and checks each signature by its id.
async fn signs_everything(mode: Mode) {
    let keys = Keys::new();
    let server = Running::of(keys.store()).await;
    let mut client = server.client_as(1, mode).await;
    let asked: Vec<(Arc<PublicKey>, Scheme)> = (keys.all().into_iter())
        .flat_map(|key| {
            let key = public(&**key);
            let schemes = key.kind().schemes();
            schemes
                .iter()
                .map(move |scheme| (Arc::clone(&key), *scheme))
        })
        .collect();
    let questions = (0..).zip(&asked);
    let bytes = questions.flat_map(|(id, (key, scheme))| question(mode, id, key, *scheme));
    client.send(&bytes.collect::<Vec<_>>()).await.unwrap();
    for _ in &asked {
        let (id, answered) = client.answer().await.unwrap();
        let (key, scheme) = &asked[usize::try_from(id).unwrap()];
        let Answered::Signature(signature) = answered else {
            panic!("{scheme}: {answered:?}")
        };
        let message = match scheme.is_tls13() || mode == Mode::Plain {
            true => message(),
            false => tls12_message(),
        };
        assert!(key.verifies(*scheme, &message, &signature), "{scheme}");
    }
    let stats = server.handle.stats();
    assert!(stats.signed().all(|(_, signed)| signed == 1));
    assert_eq!(stats.signing.count(), 10);
    assert_eq!(stats.waited.count(), 10);
    server.shut_down().await;
}

#[tokio::test]
async fn every_scheme_is_signed_in_the_plain_mode() {
    signs_everything(Mode::Plain).await;
}

#[tokio::test]
async fn every_scheme_is_signed_in_the_bound_mode() {
    signs_everything(Mode::Bound).await;
}

#[tokio::test]
async fn a_quick_signature_overtakes_a_slow_one_though_all_threads_are_held_up() {
    let (slow, quick) = (p256(), p256());
    let (gated, gate) = Gated::new(Keys::new().rsa);
    let slow_key = public(&gated);
    let store = MemoryStore::new()
        .with_key(gated)
        .with_shared_key(quick.clone());
    let server = Running::of(store.with_shared_key(slow)).await;
    let mut client = server.client().await;
    client.ask(1, &slow_key, Scheme::RsaPssSha256).await;
    client
        .ask(2, &public(&*quick), Scheme::EcdsaP256Sha256)
        .await;
    assert!(matches!(
        client.answer().await.unwrap(),
        (2, Answered::Signature(_))
    ));
    gate.open();
    assert!(matches!(
        client.answer().await.unwrap(),
        (1, Answered::Signature(_))
    ));
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_that_panics_is_answered_for_and_the_thread_goes_on() {
    let (good, broken) = (p256(), p256());
    let store = MemoryStore::new().with_shared_key(good.clone());
    let server = Running::of(store.with_key(Faulty(broken.clone(), None))).await;
    let mut client = server.client().await;
    // More often than there are threads.
    for id in 0..4 {
        client
            .ask(id, &public(&*broken), Scheme::EcdsaP256Sha256)
            .await;
        let internal = Answered::Refused(ErrorCode::Internal);
        assert_eq!(client.answer().await.unwrap(), (id, internal));
    }
    client
        .ask(9, &public(&*good), Scheme::EcdsaP256Sha256)
        .await;
    assert!(matches!(
        client.answer().await.unwrap(),
        (9, Answered::Signature(_))
    ));
    assert_eq!(count(server.handle.stats().refused(), Refusal::Panicked), 4);
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_reached_may_be_asked_of_another_server() {
    let key = p256();
    let failure = SignFailure::Unavailable;
    let store = MemoryStore::new().with_key(Faulty(key.clone(), Some(failure)));
    let server = Running::of(store).await;
    let mut client = server.client().await;
    client.ask(1, &public(&*key), Scheme::EcdsaP256Sha256).await;
    let internal = Answered::Refused(ErrorCode::Internal);
    assert_eq!(client.answer().await.unwrap(), (1, internal));
    assert_eq!(
        count(server.handle.stats().refused(), Refusal::Failed(failure)),
        1
    );
    server.shut_down().await;
}

/// The answer's bytes behind its id.
async fn refusal_of(client: &mut Client, key: &Arc<PublicKey>, scheme: Scheme) -> Vec<u8> {
    client.ask(3, key, scheme).await;
    client.frame().await.unwrap()
}

#[tokio::test]
async fn a_key_of_others_and_no_key_at_all_are_answered_alike() {
    let (own, others, unknown) = (p256(), p256(), p256());
    let store = MemoryStore::new()
        .with_shared_key(own.clone())
        .with_shared_key(others.clone());
    let own = public(&*own);
    let access = access([everybody().least_mode(Mode::Bound).keys([name(&own)])]);
    let server = Running::with(store, access, config()).await;
    let mut client = server.client().await;
    let scheme = Scheme::EcdsaP256Sha256;
    let of_others = refusal_of(&mut client, &public(&*others), scheme).await;
    let of_nobody = refusal_of(&mut client, &public(&*unknown), scheme).await;
    assert_eq!(of_others, of_nobody);
    let expected = Items {
        opcode: Opcode::ERROR,
        payload: &[ErrorCode::KeyNotFound.to_byte()],
        ..Items::default()
    };
    assert_eq!(of_others, frame(3, &expected));
    // Not even what is wrong with a question tells that a key is there.
    let wrong_kind = |key: &Arc<PublicKey>| {
        let mut payload = Scheme::Ed25519.code().to_be_bytes().to_vec();
        payload.extend([0; 32]);
        let items = Items {
            opcode: Opcode::SIGN_TLS13,
            payload: &payload,
            ski: Some(key.ski()),
            ..Items::default()
        };
        frame(3, &items)
    };
    let mut answers = Vec::new();
    for key in [&*others, &*unknown] {
        client.send(&wrong_kind(&public(key))).await.unwrap();
        answers.push(client.frame().await.unwrap());
    }
    assert_eq!(answers, [of_others.clone(), of_others]);
    client.send(&wrong_kind(&own)).await.unwrap();
    let bad = Answered::Refused(ErrorCode::BadOpcode);
    assert_eq!(client.answer().await.unwrap(), (3, bad));
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_refused_is_answered_in_frames_as_long_as_a_signature() {
    let key = p256();
    let server = Running::of(MemoryStore::new().with_shared_key(key.clone())).await;
    let mut client = server.client().await;
    client.ask(1, &public(&*key), Scheme::EcdsaP256Sha256).await;
    let signed = client.frame().await.unwrap();
    client
        .ask(2, &public(&*p256()), Scheme::EcdsaP256Sha256)
        .await;
    let refused = client.frame().await.unwrap();
    assert_eq!((signed.len(), refused.len()), (1024, 1024));
    server.shut_down().await;
}

#[tokio::test]
async fn what_deployed_peers_may_ask_and_we_do_not_do_is_a_bad_opcode() {
    let keys = Keys::new();
    let server = Running::of(keys.store()).await;
    let mut client = server.client_as(1, Mode::Plain).await;
    let rsa = public(&*keys.rsa);
    // RSA decryption, MD5SHA1, SHA-1, SHA-224, ECDSA with these, seal to custom, none at all.
    for opcode in [1, 2, 3, 4, 8, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0] {
        let items = Items {
            opcode: Opcode(opcode),
            payload: &[7; 32],
            ski: Some(rsa.ski()),
            ..Items::default()
        };
        client.send(&frame(opcode.into(), &items)).await.unwrap();
        let bad = Answered::Refused(ErrorCode::BadOpcode);
        assert_eq!(client.answer().await.unwrap(), (opcode.into(), bad));
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_proof_for_a_certificate_request_is_not_had_in_the_bound_mode() {
    let keys = Keys::new();
    let server = Running::of(keys.store()).await;
    let mut client = server.client().await;
    // A certification request (RFC 2986, 4.1) whose subject holds the head of the parameters, and
    // whose key and end stand where a point should.
    for (key, scheme, length, head) in [
        (
            &keys.p256,
            Scheme::EcdsaP256Sha256,
            165,
            &[3, 0, 0x18, 97, 4][..],
        ),
        (
            &keys.p256,
            Scheme::EcdsaP256Sha256,
            201,
            &[3, 0, 0x19, 133, 4],
        ),
        (&keys.ed25519, Scheme::Ed25519, 124, &[3, 0, 0x1e, 56]),
    ] {
        let key = public(&**key);
        let request = certification_request(key.spki().as_ref(), length, head);
        let payload = [&scheme.code().to_be_bytes()[..], &request].concat();
        let items = Items {
            opcode: Opcode::SIGN_TLS12,
            payload: &payload,
            ski: Some(key.ski()),
            ..Items::default()
        };
        client.send(&frame(1, &items)).await.unwrap();
        let malformed = Answered::Refused(ErrorCode::Format);
        assert_eq!(client.answer().await.unwrap(), (1, malformed), "{length}");
    }
    server.shut_down().await;
}

/// A certification request for that key, of that length, with `head` where the randoms end.
fn certification_request(key: &[u8], length: usize, head: &[u8]) -> Vec<u8> {
    let end = [key, &[0xa0, 0]].concat();
    let long = length > 130;
    let start = if long { 3 } else { 2 };
    let name = length - start - 3 - end.len();
    let byte = |length: usize| u8::try_from(length).unwrap();
    let mut request = vec![0x30];
    if long {
        request.push(0x81);
    }
    request.extend([byte(length - start), 2, 1, 0]);
    // A common name of Teletex characters, which are any bytes.
    request.extend([
        0x30,
        byte(name - 2),
        0x31,
        byte(name - 4),
        0x30,
        byte(name - 6),
    ]);
    request.extend([6, 3, 0x55, 4, 3, 0x14, byte(name - 13)]);
    request.resize(64, b'a');
    request.extend(head);
    request.resize(length - end.len(), b'a');
    request.extend(end);
    assert_eq!(request.len(), length);
    request
}
