//! What a pass of a handshake drew by chance, to be given again in the next.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::crypto::ActiveKeyExchange;
use zeroize::Zeroizing;

use super::hashed::Hashes;
use super::schedule::Schedule;
use super::step::Question;
use super::transcript::{Recorder, Transcripts};
use crate::sign::Signature;

/// The record of one handshake.
///
/// Chance enters in a sequence: what the next pass asks for at the same place must be the same
/// question, and gets the same answer. Another question is an error, as the passes have diverged
/// then. Past the end of the record the next pass draws anew, and is recorded in turn.
#[derive(Default)]
pub(super) struct Tape {
    entries: Vec<Entry>,
    at: usize,
    signatures: Vec<(Question, Signature)>,
    pending: Option<Question>,
    exchanged: bool,
    pub(super) recorder: Recorder,
    pub(super) hashes: Hashes,
    pub(super) schedule: Schedule,
}

enum Entry {
    Random(Zeroizing<Box<[u8]>>),
    Completed(Completed),
    Started(Started),
}

/// A key exchange of TLS 1.3, which is complete at once.
pub(super) struct Completed {
    pub(super) group: NamedGroup,
    pub(super) peer: Box<[u8]>,
    pub(super) public: Box<[u8]>,
    pub(super) secret: Zeroizing<Box<[u8]>>,
}

/// A key exchange of TLS 1.2, which the client completes later; clones are the same one.
#[derive(Clone)]
pub(super) struct Started {
    pub(super) group: NamedGroup,
    pub(super) public: Arc<[u8]>,
    inner: Arc<Mutex<Option<Box<dyn ActiveKeyExchange>>>>,
}

/// The passes have diverged, or the record is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a handshake with a remote key did not repeat itself; does it compute with remote_provider?"
)]
pub(super) struct Diverged;

impl Tape {
    /// Whether what is hashed is recorded, from now on.
    pub(super) fn record_transcripts(&mut self, transcripts: Transcripts) {
        self.recorder = Recorder::new(transcripts);
    }

    /// Begins the next pass.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.pending = None;
        self.exchanged = false;
        self.recorder.rewind();
        self.hashes.rewind();
        self.schedule.rewind();
    }

    /// Fills `into` as before; `false` when the record has ended.
    pub(super) fn play_random(&mut self, into: &mut [u8]) -> Result<bool, Diverged> {
        match self.entries.get(self.at) {
            None => return Ok(false),
            Some(Entry::Random(bytes)) if bytes.len() == into.len() => into.copy_from_slice(bytes),
            Some(_) => return Err(Diverged),
        }
        self.at += 1;
        Ok(true)
    }

    pub(super) fn record_random(&mut self, bytes: &[u8]) -> Result<(), Diverged> {
        self.record(Entry::Random(Zeroizing::new(bytes.into())))
    }

    /// The exchange with `peer`, as before; `None` when the record has ended.
    pub(super) fn play_completed(
        &mut self,
        group: NamedGroup,
        peer: &[u8],
    ) -> Result<Option<&Completed>, Diverged> {
        match self.entries.get(self.at) {
            None => Ok(None),
            Some(Entry::Completed(done)) if done.group == group && *done.peer == *peer => {
                self.at += 1;
                self.exchanged = true;
                Ok(Some(done))
            }
            Some(_) => Err(Diverged),
        }
    }

    pub(super) fn record_completed(&mut self, exchange: Completed) -> Result<(), Diverged> {
        self.exchanged = true;
        self.record(Entry::Completed(exchange))
    }

    /// The exchange that was begun, as before; `None` when the record has ended.
    pub(super) fn play_started(&mut self, group: NamedGroup) -> Result<Option<Started>, Diverged> {
        match self.entries.get(self.at) {
            None => Ok(None),
            Some(Entry::Started(started)) if started.group == group => {
                self.at += 1;
                self.exchanged = true;
                Ok(Some(started.clone()))
            }
            Some(_) => Err(Diverged),
        }
    }

    pub(super) fn record_started(&mut self, exchange: Started) -> Result<(), Diverged> {
        self.exchanged = true;
        self.record(Entry::Started(exchange))
    }

    fn record(&mut self, entry: Entry) -> Result<(), Diverged> {
        if self.at != self.entries.len() || self.at >= MAX_ENTRIES {
            return Err(Diverged);
        }
        self.entries.push(entry);
        self.at += 1;
        Ok(())
    }

    /// The signature that answers `question`, if it has come; otherwise the question is noted.
    pub(super) fn sign(&mut self, question: Question) -> Option<Signature> {
        let mut answered = self.signatures.iter();
        let answer = answered.find(|(asked, _)| *asked == question);
        if let Some((_, signature)) = answer {
            return Some(signature.clone());
        }
        self.pending = Some(question);
        None
    }

    /// What this pass broke off for.
    pub(super) const fn take_pending(&mut self) -> Option<Question> {
        self.pending.take()
    }

    pub(super) fn answer(&mut self, question: Question, signature: Signature) {
        self.signatures.push((question, signature));
    }

    /// Whether keys were exchanged in this pass.
    pub(super) const fn has_exchanged(&self) -> bool {
        self.exchanged
    }

    /// The handshake up to what is signed by `message`, if it is recorded.
    pub(super) fn transcript(&self, message: &[u8]) -> Option<Arc<[u8]>> {
        self.recorder.transcript(message).map(Arc::from)
    }
}

impl Started {
    pub(super) fn new(exchange: Box<dyn ActiveKeyExchange>) -> Self {
        Self {
            group: exchange.group(),
            public: exchange.pub_key().into(),
            inner: Arc::new(Mutex::new(Some(exchange))),
        }
    }

    /// The exchange itself, which only one may complete, and once.
    pub(super) fn take(&self) -> Option<Box<dyn ActiveKeyExchange>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.take()
    }
}

/// Calls `act` with `slot`'s tape in place on this thread, and puts everything back after, even
/// when `act` panics.
///
/// For synchronous calls into rustls alone: nothing may wait in it.
pub(super) fn installed<T>(slot: &mut Option<Box<Tape>>, act: impl FnOnce() -> T) -> T {
    let outer = CURRENT.replace(slot.take());
    let _restore = Restore { slot, outer };
    act()
}

/// Calls `act` with the tape that is in place on this thread; `None` without one.
pub(super) fn with<T>(act: impl FnOnce(&mut Tape) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|tape| tape.as_deref_mut().map(act))
}

/// Whether a tape is in place on this thread.
pub(super) fn is_installed() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

struct Restore<'a> {
    slot: &'a mut Option<Box<Tape>>,
    outer: Option<Box<Tape>>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        *self.slot = CURRENT.replace(self.outer.take());
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Box<Tape>>> = const { RefCell::new(None) };
}

/// More than a handshake draws until its signature: a session's name, the server's random, one key
/// exchange.
const MAX_ENTRIES: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use proptest::{collection, prop_assert_eq};
    use rustls::Error;
    use rustls::crypto::SharedSecret;

    use super::*;
    use crate::public_key::PublicKey;
    use crate::scheme::Scheme;

    const GROUPS: [NamedGroup; 2] = [NamedGroup::X25519, NamedGroup::secp384r1];

    /// What rustls may ask for.
    #[derive(Clone, Debug, PartialEq)]
    enum Ask {
        Random(usize),
        Complete(usize, Vec<u8>),
        Start(usize),
    }

    fn asks() -> impl Strategy<Value = Vec<Ask>> {
        let peer = collection::vec(any::<u8>(), 0..4);
        let ask = prop_oneof![
            (0..40_usize).prop_map(Ask::Random),
            (0..2_usize, peer).prop_map(|(group, peer)| Ask::Complete(group, peer)),
            (0..2_usize).prop_map(Ask::Start),
        ];
        collection::vec(ask, 0..MAX_ENTRIES)
    }

    /// An exchange whose secret is its number.
    struct Numbered(NamedGroup, u8);

    impl ActiveKeyExchange for Numbered {
        fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
            Ok(SharedSecret::from(&[self.1][..]))
        }

        fn pub_key(&self) -> &[u8] {
            std::slice::from_ref(&self.1)
        }

        fn group(&self) -> NamedGroup {
            self.0
        }
    }

    /// Asks as the provider does; what is drawn is made of `drawn`, which counts up.
    fn act(tape: &mut Tape, ask: &Ask, drawn: &mut u8) -> Result<Vec<u8>, Diverged> {
        match ask {
            Ask::Random(length) => {
                let mut bytes = vec![0; *length];
                if !tape.play_random(&mut bytes)? {
                    *drawn += 1;
                    bytes.fill(*drawn);
                    tape.record_random(&bytes)?;
                }
                Ok(bytes)
            }
            Ask::Complete(group, peer) => {
                let group = GROUPS[*group];
                if let Some(done) = tape.play_completed(group, peer)? {
                    return Ok([&*done.public, &**done.secret].concat());
                }
                *drawn += 1;
                tape.record_completed(Completed {
                    group,
                    peer: peer.as_slice().into(),
                    public: Box::new([*drawn]),
                    secret: Zeroizing::new(Box::new([*drawn, 1])),
                })?;
                Ok(vec![*drawn, *drawn, 1])
            }
            Ask::Start(group) => {
                let group = GROUPS[*group];
                if let Some(started) = tape.play_started(group)? {
                    return Ok(started.public.to_vec());
                }
                *drawn += 1;
                let started = Started::new(Box::new(Numbered(group, *drawn)));
                let public = started.public.to_vec();
                tape.record_started(started)?;
                Ok(public)
            }
        }
    }

    fn question(message: &[u8]) -> Question {
        let pair = rcgen::KeyPair::generate().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        Question {
            key: Arc::new(PublicKey::from_spki(spki).unwrap()),
            scheme: Scheme::EcdsaP256Sha256,
            message: message.into(),
        }
    }

    proptest! {
        #[test]
        fn the_same_questions_get_the_same_answers_in_every_pass(asks in asks()) {
            let (mut tape, mut drawn) = (Tape::default(), 0);
            let first: Vec<_> = asks.iter().map(|ask| act(&mut tape, ask, &mut drawn)).collect();
            for _ in 0..3 {
                tape.rewind();
                let before = drawn;
                let again: Vec<_> = asks.iter().map(|ask| act(&mut tape, ask, &mut drawn)).collect();
                prop_assert_eq!(&first, &again);
                prop_assert_eq!(before, drawn);
            }
        }

        #[test]
        fn another_question_at_a_place_is_refused_and_what_is_beyond_the_end_is_new(
            asks in asks(),
            others in asks(),
        ) {
            let (mut tape, mut drawn) = (Tape::default(), 0);
            let first: Vec<_> = asks.iter().map(|ask| act(&mut tape, ask, &mut drawn)).collect();
            tape.rewind();
            for (place, other) in others.iter().enumerate() {
                let before = drawn;
                let answer = act(&mut tape, other, &mut drawn);
                match asks.get(place) {
                    Some(ask) if ask == other => prop_assert_eq!(&answer, &first[place]),
                    Some(_) => {
                        prop_assert_eq!(answer, Err(Diverged));
                        break;
                    }
                    None => prop_assert_eq!((answer.is_ok(), drawn), (true, before + 1)),
                }
            }
        }
    }

    #[test]
    fn a_record_has_an_end() {
        let (mut tape, mut drawn) = (Tape::default(), 0);
        for _ in 0..MAX_ENTRIES {
            assert!(act(&mut tape, &Ask::Random(1), &mut drawn).is_ok());
        }
        for ask in [Ask::Random(1), Ask::Complete(0, vec![]), Ask::Start(0)] {
            assert_eq!(act(&mut tape, &ask, &mut drawn), Err(Diverged));
        }
    }

    #[test]
    fn whether_keys_were_exchanged_is_known_of_each_pass() {
        for ask in [Ask::Complete(0, vec![]), Ask::Start(0)] {
            let (mut tape, mut drawn) = (Tape::default(), 0);
            assert_eq!(act(&mut tape, &Ask::Random(1), &mut drawn), Ok(vec![1]));
            assert!(!tape.has_exchanged());
            for _ in 0..2 {
                assert!(act(&mut tape, &ask, &mut drawn).is_ok());
                assert!(tape.has_exchanged());
                tape.rewind();
                assert!(!tape.has_exchanged());
                assert_eq!(act(&mut tape, &Ask::Random(1), &mut drawn), Ok(vec![1]));
            }
        }
    }

    #[test]
    fn an_exchange_that_was_begun_is_completed_once() {
        let first = Started::new(Box::new(Numbered(NamedGroup::X25519, 7)));
        let second = first.clone();
        assert!(first.take().is_some());
        assert!(second.take().is_none());
    }

    #[test]
    fn a_signature_is_for_its_question_alone() {
        let asked = question(b"a");
        let mut tape = Tape::default();
        assert_eq!(tape.sign(asked.clone()), None);
        assert!(tape.take_pending().is_some_and(|pending| pending == asked));
        assert!(tape.take_pending().is_none());
        tape.answer(asked.clone(), vec![1]);
        assert_eq!(tape.sign(asked.clone()), Some(vec![1]));
        assert!(tape.take_pending().is_none());
        let scheme = Scheme::EcdsaP384Sha384;
        let message = b"b"[..].into();
        for other in [
            question(b"a"),
            Question {
                scheme,
                ..asked.clone()
            },
            Question { message, ..asked },
        ] {
            assert_eq!(tape.sign(other.clone()), None);
            tape.rewind();
            assert!(tape.take_pending().is_none());
        }
    }

    #[test]
    fn tapes_nest_and_a_panic_puts_the_outer_one_back() {
        let mut outer = Some(Box::new(Tape::default()));
        assert!(!is_installed());
        installed(&mut outer, || {
            with(|tape| tape.answer(question(b"outer"), vec![]));
            let mut inner = Some(Box::new(Tape::default()));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                installed(&mut inner, || {
                    assert_eq!(with(|tape| tape.signatures.len()), Some(0));
                    panic!("rustls has a fault");
                })
            }));
            assert!(panicked.is_err() && inner.is_some());
            assert_eq!(with(|tape| tape.signatures.len()), Some(1));
        });
        assert!(outer.is_some() && !is_installed());
        assert_eq!(with(|_| ()), None);
    }
}
