//! One connection, played through without a socket.

use std::sync::Arc;
use std::time::Duration;

use lbcore::Instant;
use proptest::prelude::*;

use super::decide::{Rules, decide};
use super::*;
use crate::access::{AccessList, Denial, Identities, Identity, Rule};
use crate::mode::Mode;
use crate::question::{Answer, Request, ask, certificate_verify, read};
use crate::quota::{Limits, QuotaConfig, QuotaExceeded, Quotas, Rate};
use crate::scheme::Scheme;
use crate::sign::SignRequest;
use crate::store::{MemoryStore, SigningKey, SoftKey};
use crate::wire::{self, ErrorCode, Items, Opcode, ParseError};
use crate::{PublicKey, Ski};

const SECOND: Duration = Duration::from_secs(1);
const T0: Instant = Instant::from_nanos(1 << 40);

struct World {
    store: MemoryStore,
    access: AccessList,
    quotas: Quotas,
    counters: Counters,
    told: Told,
    key: Arc<PublicKey>,
}

impl World {
    fn new(rule: Rule) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = SoftKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
        let spki = key.public_key().spki().as_ref().to_vec();
        Self {
            store: MemoryStore::new().with_key(key),
            access: AccessList::new([rule]).unwrap(),
            quotas: Quotas::new(QuotaConfig::default()),
            counters: Counters::default(),
            told: Told::new(T0),
            key: Arc::new(PublicKey::from_spki(spki).unwrap()),
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            store: &self.store,
            access: &self.access,
            quotas: &self.quotas,
        }
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            rules: self.rules(),
            counters: &self.counters,
            audit: None,
            told: &self.told,
            unix_millis: 0,
        }
    }

    fn question(&self, id: u32) -> Vec<u8> {
        question(id, &self.key)
    }

    fn stats(&self) -> ServerStats {
        self.counters.stats(Gauges::default(), None)
    }
}

fn question(id: u32, key: &Arc<PublicKey>) -> Vec<u8> {
    let message = certificate_verify(&[7; 32]).unwrap();
    let request = SignRequest::new(Arc::clone(key), Scheme::EcdsaP256Sha256, message);
    frame(id, &ask(Mode::Bound, &request).unwrap().items())
}

fn frame(id: u32, items: &Items<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::emit(id, items, &mut bytes).unwrap();
    bytes
}

fn ping(id: u32) -> Vec<u8> {
    let items = Items {
        opcode: Opcode::PING,
        ..Items::default()
    };
    frame(id, &items)
}

fn everybody() -> Rule {
    Rule::new("lb://node/*".parse().unwrap()).all_keys()
}

fn node() -> Identities {
    Identities::from("lb://node/7".parse::<Identity>().unwrap())
}

fn session(config: SessionConfig) -> Session {
    Session::new(T0, node(), None, Mode::Bound, config)
}

/// Ids and answers, in their order.
fn answers(mut bytes: &[u8]) -> Vec<(u32, Option<ErrorCode>)> {
    let mut all = Vec::new();
    while let Some((frame, used)) = wire::parse(bytes).unwrap() {
        let code = match Answer::read(&frame.items) {
            Answer::Refused(code) => Some(code),
            _ => None,
        };
        all.push((frame.id, code));
        bytes = &bytes[used..];
    }
    all
}

#[test]
fn what_is_asked_becomes_a_job_whose_answer_is_a_signature() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default());
    let bytes = world.question(5);
    let used = session
        .handle_bytes(T0, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!(
        (used, turn.jobs.len(), turn.answers.len()),
        (bytes.len(), 1, 0)
    );
    let job = turn.jobs.remove(0);
    assert_eq!((job.scheme(), job.arrived()), (Scheme::EcdsaP256Sha256, T0));
    let signature = job.sign().unwrap();
    let message = certificate_verify(&[7; 32]).unwrap();
    assert!(
        world
            .key
            .verifies(Scheme::EcdsaP256Sha256, &message, &signature)
    );
    let mut answer = Vec::new();
    assert_eq!(
        job.answer(Ok(&signature), SECOND, None, &mut answer),
        Ok(())
    );
    let (frame, _) = wire::parse(&answer).unwrap().unwrap();
    assert_eq!(frame.id, 5);
    assert_eq!(Answer::read(&frame.items), Answer::Signature(&signature));
}

#[test]
fn at_the_bound_nothing_more_is_taken_up_until_something_is_answered() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default().in_flight(2));
    let bytes: Vec<u8> = (0..3)
        .flat_map(|id| world.question(id))
        .chain(ping(9))
        .collect();
    let used = session
        .handle_bytes(T0, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!((used, turn.jobs.len()), (2 * 1024, 2));
    assert!(!session.has_room() && session.is_busy());
    let rest = &bytes[used..];
    assert_eq!(
        session
            .handle_bytes(T0, rest, &world.desk(), &mut turn)
            .unwrap(),
        0
    );
    session.handle_answered(T0, 1);
    assert!(session.has_room());
    assert_eq!(
        session
            .handle_bytes(T0, rest, &world.desk(), &mut turn)
            .unwrap(),
        1024
    );
    session.handle_answered(T0, 2);
    assert!(!session.is_busy());
    let rest = &rest[1024..];
    assert_eq!(
        session
            .handle_bytes(T0, rest, &world.desk(), &mut turn)
            .unwrap(),
        1024
    );
    assert_eq!(answers(&turn.answers), [(9, None)]);
}

#[test]
fn no_room_at_all_is_taken_for_one() {
    assert!(session(SessionConfig::default().in_flight(0)).has_room());
}

#[test]
fn a_turn_ends_when_there_is_enough_to_answer() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default());
    let short = [1, 0, 0, 4, 0, 0, 0, 5, 0x11, 0, 1, 0xf1].repeat(100);
    let used = session
        .handle_bytes(T0, &short, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!((used, turn.answers.len()), (64 * 12, 64 * 1024));
}

#[test]
fn an_error_of_framing_is_an_error_of_the_connection() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default());
    let bad = [1, 0, 0, 5, 0, 0, 0, 1, 0x11, 0, 2, 0xf1, 0xf1];
    let error = session.handle_bytes(T0, &bad, &world.desk(), &mut turn);
    assert_eq!(error, Err(ParseError::BadOpcode));
}

#[test]
fn while_it_drains_nothing_more_is_signed_and_pings_are_answered() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default());
    let bytes = world.question(1);
    session
        .handle_bytes(T0, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert!(!session.is_drained());
    session.drain();
    assert!(!session.is_drained());
    let bytes = [world.question(2), ping(3)].concat();
    session
        .handle_bytes(T0, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!(
        answers(&turn.answers),
        [(2, Some(ErrorCode::Internal)), (3, None)]
    );
    session.handle_answered(T0, 1);
    assert!(session.is_drained());
}

#[test]
fn who_asks_for_nothing_is_idle_and_who_waits_for_an_answer_is_not() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default().idle_timeout(30 * SECOND));
    assert_eq!(session.poll_timeout(), Some(T0 + 30 * SECOND));
    let nanosecond = Duration::from_nanos(1);
    assert_eq!(
        session.handle_timeout(T0 + (30 * SECOND - nanosecond)),
        None
    );
    assert_eq!(session.handle_timeout(T0 + 30 * SECOND), Some(Ending::Idle));
    let bytes = world.question(1);
    session
        .handle_bytes(T0 + SECOND, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.handle_timeout(T0 + 1000 * SECOND), None);
    session.handle_answered(T0 + 50 * SECOND, 1);
    assert_eq!(session.poll_timeout(), Some(T0 + 80 * SECOND));
}

#[test]
fn the_clock_of_a_frame_starts_with_its_first_byte_and_more_bytes_do_not_stop_it() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let config = SessionConfig::default().frame_timeout(5 * SECOND);
    let mut session = session(config.idle_timeout(30 * SECOND));
    let (desk, ping) = (world.desk(), ping(1));
    session
        .handle_bytes(T0, &ping[..1], &desk, &mut turn)
        .unwrap();
    session
        .handle_bytes(T0 + 4 * SECOND, &ping[..1000], &desk, &mut turn)
        .unwrap();
    assert_eq!(session.poll_timeout(), Some(T0 + 5 * SECOND));
    assert_eq!(session.handle_timeout(T0 + 4 * SECOND), None);
    assert_eq!(
        session.handle_timeout(T0 + 5 * SECOND),
        Some(Ending::FrameTimeout)
    );
    // Its end, and the beginning of the next, which has a clock of its own.
    let both = [&ping[..], &ping[..10]].concat();
    let used = session
        .handle_bytes(T0 + 5 * SECOND, &both, &desk, &mut turn)
        .unwrap();
    assert_eq!(
        (used, session.poll_timeout()),
        (1024, Some(T0 + 10 * SECOND))
    );
    let used = session
        .handle_bytes(T0 + 6 * SECOND, &ping, &desk, &mut turn)
        .unwrap();
    assert_eq!(
        (used, session.poll_timeout()),
        (1024, Some(T0 + 36 * SECOND))
    );
}

#[test]
fn refusals_are_counted_by_their_reason() {
    let (world, mut turn) = (World::new(everybody()), Turn::default());
    let mut session = session(SessionConfig::default());
    let other = World::new(everybody());
    let bytes = other.question(1);
    session
        .handle_bytes(T0, &bytes, &world.desk(), &mut turn)
        .unwrap();
    assert_eq!(answers(&turn.answers), [(1, Some(ErrorCode::KeyNotFound))]);
    let refused = world
        .stats()
        .refused()
        .filter(|(_, count)| *count != 0)
        .collect::<Vec<_>>();
    assert_eq!(refused, [(Refusal::UnknownKey, 1)]);
}

/// What becomes of the question `items` asks.
fn decided(world: &World, mode: Mode, items: &Items<'_>) -> Result<(), Refusal> {
    let Ok(Request::Sign(question)) = read(mode, items) else {
        panic!("{items:?}")
    };
    decide(T0, &world.rules(), &node(), mode, &question).map(drop)
}

fn bound(key: &Ski, scheme: Scheme) -> (Ski, Vec<u8>) {
    let payload = [&scheme.code().to_be_bytes()[..], &[7; 32]].concat();
    (*key, payload)
}

fn items((ski, payload): &(Ski, Vec<u8>)) -> Items<'_> {
    Items {
        opcode: Opcode::SIGN_TLS13,
        payload,
        ski: Some(*ski),
        ..Items::default()
    }
}

#[test]
fn whether_it_may_comes_before_whether_there_is_such_a_key() {
    let stranger = Ski::of_bits(b"no such key");
    let world = World::new(Rule::new("lb://node/*".parse().unwrap()).keys([stranger]));
    // Of a key that is there and not the client's, not even a wrong kind is told.
    let others = bound(&world.key.ski(), Scheme::Ed25519);
    let denied = Err(Refusal::Denied(Denial::Key));
    assert_eq!(decided(&world, Mode::Bound, &items(&others)), denied);
    let unknown = bound(&stranger, Scheme::Ed25519);
    let answer = decided(&world, Mode::Bound, &items(&unknown));
    assert_eq!(answer, Err(Refusal::UnknownKey));
}

#[test]
fn a_scheme_of_another_kind_of_key_is_a_bad_opcode() {
    let world = World::new(everybody());
    let wrong = bound(&world.key.ski(), Scheme::Ed25519);
    assert_eq!(
        decided(&world, Mode::Bound, &items(&wrong)),
        Err(Refusal::BadOpcode)
    );
}

#[test]
fn what_is_malformed_spends_nothing_of_a_quota() {
    let once = Limits::default().per_identity(Rate::new(1, 1));
    let world = World::new(everybody().limits(once));
    let wrong = bound(&world.key.ski(), Scheme::Ed25519);
    assert_eq!(
        decided(&world, Mode::Bound, &items(&wrong)),
        Err(Refusal::BadOpcode)
    );
    let right = bound(&world.key.ski(), Scheme::EcdsaP256Sha256);
    assert_eq!(decided(&world, Mode::Bound, &items(&right)), Ok(()));
    let spent = Err(Refusal::Limited(QuotaExceeded::IdentityRate));
    assert_eq!(decided(&world, Mode::Bound, &items(&right)), spent);
}

#[test]
fn a_name_that_a_client_claims_counts_where_the_rule_trusts_it() {
    let names = || everybody().server_names(["a.example".parse().unwrap()]);
    let trusting = World::new(names().trusting_claims());
    let right = bound(&trusting.key.ski(), Scheme::EcdsaP256Sha256);
    let claiming = |name: &'static [u8]| Items {
        server_name: name,
        ..items(&right)
    };
    assert_eq!(
        decided(&trusting, Mode::Bound, &claiming(b"a.example")),
        Ok(())
    );
    let denied = Err(Refusal::Denied(Denial::ServerName));
    assert_eq!(
        decided(&trusting, Mode::Bound, &claiming(b"b.example")),
        denied
    );
}

#[test]
fn in_the_strict_mode_a_handshake_is_read_only_for_who_may_use_the_key() {
    let world = World::new(everybody().server_names(["a.example".parse().unwrap()]));
    let payload = [
        &Scheme::EcdsaP256Sha256.code().to_be_bytes()[..],
        &[4, 1, 2],
    ]
    .concat();
    let strict = |ski| Items {
        opcode: Opcode::STRICT_TLS13,
        payload: &payload,
        ski: Some(ski),
        ..Items::default()
    };
    // Its name is not known until it is read, and it is no handshake.
    let own = decided(&world, Mode::Strict, &strict(world.key.ski()));
    assert_eq!(own, Err(Refusal::BadFormat));
    let mine = World::new(everybody());
    let other = Rule::new("lb://node/*".parse().unwrap()).keys([mine.key.ski()]);
    let access = AccessList::new([other]).unwrap();
    let world = World { access, ..world };
    let others = decided(&world, Mode::Strict, &strict(world.key.ski()));
    assert_eq!(others, Err(Refusal::Denied(Denial::Key)));
}

proptest! {
    /// However the bytes are cut, the same is asked and answered.
    #[test]
    fn cuts_do_not_matter(cuts in proptest::collection::vec(0..5_000_usize, 0..12)) {
        let world = World::new(everybody());
        let bytes = [world.question(1), ping(2), world.question(3), ping(4)].concat();
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut session, mut turn) = (session(SessionConfig::default()), Turn::default());
        let mut start = 0;
        for cut in cuts {
            let received = &bytes[start..cut];
            start += session.handle_bytes(T0, received, &world.desk(), &mut turn).unwrap();
        }
        prop_assert_eq!(start, bytes.len());
        prop_assert_eq!(turn.jobs.len(), 2);
        prop_assert_eq!(answers(&turn.answers), [(2, None), (4, None)]);
        prop_assert!(session.poll_timeout().is_none());
    }

    /// No bytes make it panic, hang, or hold more than its bound.
    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let world = World::new(everybody());
        let (mut session, mut turn) = (session(SessionConfig::default()), Turn::default());
        if let Ok(used) = session.handle_bytes(T0, &bytes, &world.desk(), &mut turn) {
            prop_assert!(used <= bytes.len());
        }
        prop_assert!(turn.answers.len() < 64 * 1024 + wire::MAX_FRAME);
    }
}

#[test]
fn long_messages_are_taken_up_until_they_are_a_mebibyte() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let key = SoftKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    let ski = key.public_key().ski();
    let mut world = World::new(everybody().least_mode(Mode::Plain));
    world.store = MemoryStore::new().with_key(key);
    let mut session = Session::new(T0, node(), None, Mode::Plain, SessionConfig::default());
    let take_up = |session: &mut Session, length| {
        let items = Items {
            opcode: Opcode::of(Scheme::Ed25519),
            payload: &vec![7; length],
            ski: Some(ski),
            ..Items::default()
        };
        let (bytes, mut turn) = (frame(1, &items).repeat(100), Turn::default());
        let used = session.handle_bytes(T0, &bytes, &world.desk(), &mut turn);
        assert!(used.is_ok());
        turn.jobs.len()
    };
    assert_eq!(take_up(&mut session, 512), 100);
    // 16 of them are just short of it.
    let long = (1 << 16) - 1024;
    assert_eq!(take_up(&mut session, long), 17);
    assert_eq!(take_up(&mut session, long), 0);
    session.handle_answered(T0, 116);
    assert!(!session.has_room());
    session.handle_answered(T0, 1);
    assert_eq!(take_up(&mut session, long), 17);
}
