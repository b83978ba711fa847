//! What the hashes of the first pass were fed, so that the next need not compute them again.

use std::sync::Arc;

use rustls::crypto::hash::{Context, Hash, Output};

/// The hashes of a handshake, in the order in which they were begun.
#[derive(Default)]
pub(super) struct Hashes {
    /// Of the first pass, while it is under way.
    recorded: Vec<Fed>,
    bytes: usize,
    /// Of the first pass, once it is over.
    played: Option<Vec<Arc<Fed>>>,
    next: usize,
}

/// All that one hash was fed, and what was read of it on the way.
pub(super) struct Fed {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// A hash at the moment at which a digest was taken.
struct Mark {
    at: usize,
    digest: Output,
    state: Box<dyn Context>,
}

/// What becomes of a hash that begins.
pub(super) enum Begun {
    /// It is computed, and recorded under that number.
    Recorded(usize),
    /// It is most likely fed the same as this one was.
    Played(Arc<Fed>),
    /// It is computed.
    Computed,
}

impl Hashes {
    pub(super) fn begin(&mut self) -> Begun {
        if let Some(played) = &self.played {
            let fed = played.get(self.next).map(Arc::clone);
            self.next += 1;
            return fed.map_or(Begun::Computed, Begun::Played);
        }
        if self.recorded.len() >= MAX_HASHES {
            return Begun::Computed;
        }
        self.recorded.push(Fed {
            bytes: Vec::with_capacity(if self.recorded.is_empty() {
                USUAL_BYTES
            } else {
                0
            }),
            marks: Vec::new(),
        });
        Begun::Recorded(self.recorded.len() - 1)
    }

    /// The hash of that number was fed `bytes`.
    ///
    /// One that is fed more than there is room for is remembered up to there: in the next pass it is
    /// computed from there on.
    pub(super) fn feed(&mut self, number: usize, bytes: &[u8]) {
        let room = MAX_BYTES.saturating_sub(self.bytes);
        if let Some(fed) = self
            .recorded
            .get_mut(number)
            .filter(|_| bytes.len() <= room)
        {
            fed.bytes.extend_from_slice(bytes);
            self.bytes += bytes.len();
        } else {
            self.bytes = MAX_BYTES;
        }
    }

    /// A digest of the hash of that number was taken.
    pub(super) fn mark(&mut self, number: usize, digest: &Output, state: &dyn Context) {
        // With a hole in what was recorded, a later mark would stand at the wrong place.
        if self.bytes == MAX_BYTES {
            return;
        }
        if let Some(fed) = self
            .recorded
            .get_mut(number)
            .filter(|fed| fed.marks.len() < MAX_MARKS)
        {
            fed.marks.push(Mark {
                at: fed.bytes.len(),
                digest: Output::new(digest.as_ref()),
                state: state.fork(),
            });
        }
    }

    /// Begins the next pass.
    pub(super) fn rewind(&mut self) {
        let recorded = std::mem::take(&mut self.recorded);
        let played = || recorded.into_iter().map(Arc::new).collect();
        self.played.get_or_insert_with(played);
        self.next = 0;
    }
}

impl Fed {
    /// Whether `bytes` are what was fed behind the first `at`.
    pub(super) fn has(&self, at: usize, bytes: &[u8]) -> bool {
        self.bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(bytes))
    }

    /// The digest of the first `at` bytes, if it was taken.
    pub(super) fn digest(&self, at: usize) -> Option<Output> {
        let mark = self.marks.iter().find(|mark| mark.at == at)?;
        Some(Output::new(mark.digest.as_ref()))
    }

    /// A hash of the first `at` bytes, from the last mark before.
    pub(super) fn context(&self, hash: &dyn Hash, at: usize) -> Box<dyn Context> {
        let mark = self.marks.iter().rev().find(|mark| mark.at <= at);
        let (mut context, from) = match mark {
            Some(mark) => (mark.state.fork(), mark.at),
            None => (hash.start(), 0),
        };
        context.update(self.bytes.get(from..at).unwrap_or_default());
        context
    }
}

/// More than a handshake has until its signature: the transcript, one more after a HelloRetryRequest,
/// and a binder of a ticket.
const MAX_HASHES: usize = 8;

/// Digests that are taken of one until then are two.
const MAX_MARKS: usize = 8;

/// What the hellos and a short chain come to.
const USUAL_BYTES: usize = 4096;

/// A ClientHello and a Certificate of usual length, several times.
const MAX_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};
    use rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::rustls::tape::{self, Tape};
    use crate::rustls::transcript::TapedHash;

    fn sha256() -> &'static dyn Hash {
        let suites = aws_lc_rs::default_provider().cipher_suites;
        let suites = suites
            .iter()
            .filter_map(rustls::SupportedCipherSuite::tls13);
        let mut hashes = suites.map(|suite| suite.common.hash_provider);
        hashes.find(|hash| hash.output_len() == 32).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        Feed(Vec<u8>),
        Look,
        Fork,
        Finish,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => Just(Step::Begin),
            4 => collection::vec(0..3_u8, 0..9).prop_map(Step::Feed),
            1 => Just(Step::Feed(vec![7; MAX_BYTES / 2])),
            3 => Just(Step::Look),
            1 => Just(Step::Fork),
            1 => Just(Step::Finish),
        ];
        collection::vec(step, 0..40)
    }

    /// Every digest that the steps take.
    fn run(hash: &dyn Hash, steps: &[Step]) -> Vec<Vec<u8>> {
        let mut contexts = vec![hash.start()];
        let mut digests = Vec::new();
        for step in steps {
            let last = contexts.last_mut();
            match (step, last) {
                (Step::Feed(bytes), Some(last)) => last.update(bytes),
                (Step::Look, Some(last)) => digests.push(last.fork_finish().as_ref().to_vec()),
                (Step::Fork, Some(last)) => {
                    let fork = last.fork();
                    contexts.push(fork);
                }
                (Step::Finish, Some(_)) => {
                    digests.extend(contexts.pop().map(|last| last.finish().as_ref().to_vec()));
                }
                _ => contexts.push(hash.start()),
            }
        }
        digests.extend(
            contexts
                .into_iter()
                .map(|left| left.finish().as_ref().to_vec()),
        );
        digests
    }

    proptest! {
        #[test]
        fn every_pass_hashes_what_it_would_without_a_tape(
            first in steps(),
            second in steps(),
            third in steps(),
            same in 0..40_usize,
        ) {
            let same = same.min(first.len());
            let taped = TapedHash(sha256());
            let mut tape = Some(Box::<Tape>::default());
            for rest in [&first[same..], &second, &third] {
                let steps = [&first[..same], rest].concat();
                let digests = tape::installed(&mut tape, || run(&taped, &steps));
                prop_assert_eq!(digests, run(sha256(), &steps));
                tape.as_mut().unwrap().rewind();
            }
        }
    }

    #[test]
    fn a_hash_that_is_played_goes_on_without_the_tape() {
        let taped = TapedHash(sha256());
        let mut tape = Some(Box::<Tape>::default());
        let begin = || {
            let mut context = taped.start();
            context.update(b"hello");
            context.fork_finish();
            context
        };
        drop(tape::installed(&mut tape, begin));
        tape.as_mut().unwrap().rewind();
        let mut context = tape::installed(&mut tape, begin);
        drop(tape);
        context.update(b", world");
        let digest = context.finish();
        assert_eq!(digest.as_ref(), sha256().hash(b"hello, world").as_ref());
    }

    #[test]
    fn the_second_pass_is_given_what_the_first_was_fed() {
        let mut hashes = Hashes::default();
        let Begun::Recorded(number) = hashes.begin() else {
            panic!("the first pass is recorded");
        };
        hashes.feed(number, b"hello");
        hashes.mark(number, &Output::new(b"digest"), &*sha256().start());
        hashes.feed(number, b"!");
        hashes.rewind();
        let Begun::Played(fed) = hashes.begin() else {
            panic!("the second pass is played");
        };
        assert!(fed.has(0, b"he") && fed.has(2, b"llo!") && !fed.has(0, b"hello!!"));
        assert!(fed.has(6, b"") && !fed.has(7, b"") && !fed.has(1, b"h"));
        assert_eq!(
            fed.digest(5).map(|digest| digest.as_ref().to_vec()),
            Some(b"digest".to_vec())
        );
        assert!(fed.digest(6).is_none());
        assert!(matches!(hashes.begin(), Begun::Computed));
    }

    #[test]
    fn only_so_many_hashes_and_bytes_are_recorded() {
        let mut hashes = Hashes::default();
        for number in 0..MAX_HASHES {
            assert!(matches!(hashes.begin(), Begun::Recorded(at) if at == number));
        }
        assert!(matches!(hashes.begin(), Begun::Computed));
        hashes.feed(0, &vec![0; MAX_BYTES]);
        hashes.feed(1, &[0]);
        assert_eq!(
            (
                hashes.recorded[0].bytes.len(),
                hashes.recorded[1].bytes.len()
            ),
            (MAX_BYTES, 0)
        );
    }
}
