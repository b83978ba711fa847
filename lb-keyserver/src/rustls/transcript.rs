//! The handshake as it is hashed, for key servers that hash it themselves.

use std::sync::Arc;

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};

use super::hashed::{Begun, Fed};
use super::tape;

/// Whether the handshake goes with the request for a signature.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Transcripts {
    /// No: a digest is enough, as in all but the [strict](crate::Mode::Strict) mode.
    #[default]
    Omitted,
    /// The handshake up to the Certificate is copied, some 2 to 8 KiB, into
    /// [`SignRequest::transcript`](crate::SignRequest::transcript).
    Recorded,
}

/// What the hashes of one pass were fed.
#[derive(Default)]
pub(super) struct Recorder {
    transcripts: Transcripts,
    /// By the number of the hash.
    fed: Vec<Vec<u8>>,
    bytes: usize,
    last: Option<usize>,
    /// The last digest that was taken, of which hash, and of how much of it.
    digest: Option<(Output, usize, usize)>,
}

impl Recorder {
    pub(super) fn new(transcripts: Transcripts) -> Self {
        Self {
            transcripts,
            ..Self::default()
        }
    }

    pub(super) fn rewind(&mut self) {
        *self = Self::new(self.transcripts);
    }

    /// A number for a new hash that has been fed what `parent` has; `None` if nothing is recorded.
    fn begin(&mut self, parent: Option<usize>) -> Option<usize> {
        if self.transcripts == Transcripts::Omitted {
            return None;
        }
        let prefix = parent.and_then(|parent| self.fed.get(parent));
        let prefix = prefix.cloned().unwrap_or_default();
        self.bytes += prefix.len();
        if self.fed.len() >= MAX_HASHES || self.bytes > MAX_BYTES {
            self.give_up();
            return None;
        }
        self.fed.push(prefix);
        Some(self.fed.len() - 1)
    }

    /// A transcript with a hole is none.
    fn give_up(&mut self) {
        *self = Self::new(Transcripts::Omitted);
    }

    fn feed(&mut self, number: usize, bytes: &[u8]) {
        if self.bytes + bytes.len() > MAX_BYTES {
            return self.give_up();
        }
        let Some(fed) = self.fed.get_mut(number) else {
            return;
        };
        fed.extend_from_slice(bytes);
        self.bytes += bytes.len();
        self.last = Some(number);
    }

    fn digest(&mut self, number: usize, digest: &Output) {
        if let Some(fed) = self.fed.get(number) {
            self.digest = Some((Output::new(digest.as_ref()), number, fed.len()));
        }
    }

    /// What was hashed when `message` is signed.
    ///
    /// TLS 1.3 signs a digest, which must be that of the transcript. In TLS 1.2 the signature covers
    /// randoms and parameters, and the transcript is what the hash was fed until then.
    pub(super) fn transcript(&self, message: &[u8]) -> Option<&[u8]> {
        let number = self.last?;
        let fed = self.fed.get(number)?;
        let signed = message.strip_prefix(PADDING);
        let Some(hash) = signed.and_then(|signed| signed.strip_prefix(CERTIFICATE_VERIFY)) else {
            return Some(fed);
        };
        let (digest, of, length) = self.digest.as_ref()?;
        let is_of_it = *of == number && *length == fed.len() && digest.as_ref() == hash;
        is_of_it.then_some(fed.as_slice())
    }
}

/// A hash whose contexts tell the tape what they are fed, and in a later pass compute nothing before
/// they are fed something else than in the first.
pub(super) struct TapedHash(pub(super) &'static dyn Hash);

impl Hash for TapedHash {
    fn start(&self) -> Box<dyn Context> {
        let begun = tape::with(|tape| (tape.hashes.begin(), tape.recorder.begin(None)));
        let Some((begun, number)) = begun else {
            return self.0.start();
        };
        let state = match begun {
            Begun::Recorded(at) => State::Computed(self.0.start(), Some(at)),
            Begun::Computed => State::Computed(self.0.start(), None),
            Begun::Played(fed) => State::Played(fed, 0),
        };
        let hash = self.0;
        Box::new(TapedContext {
            hash,
            state,
            number,
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct TapedContext {
    hash: &'static dyn Hash,
    state: State,
    /// In the [`Recorder`], if that records.
    number: Option<usize>,
}

enum State {
    /// And the number in the [`Hashes`](super::hashed::Hashes), if it is recorded.
    Computed(Box<dyn Context>, Option<usize>),
    /// As a hash of the first pass, up to this place.
    Played(Arc<Fed>, usize),
}

impl Context for TapedContext {
    fn fork_finish(&self) -> Output {
        let output = match &self.state {
            State::Computed(inner, recorded) => {
                let output = inner.fork_finish();
                if let Some(at) = recorded {
                    tape::with(|tape| tape.hashes.mark(*at, &output, &**inner));
                }
                output
            }
            State::Played(fed, at) => {
                let played = fed.digest(*at);
                played.unwrap_or_else(|| fed.context(self.hash, *at).finish())
            }
        };
        if let Some(number) = self.number {
            tape::with(|tape| tape.recorder.digest(number, &output));
        }
        output
    }

    fn fork(&self) -> Box<dyn Context> {
        let parent = self.number;
        let number = parent
            .and_then(|parent| tape::with(|tape| tape.recorder.begin(Some(parent))).flatten());
        let state = match &self.state {
            State::Computed(inner, _) => State::Computed(inner.fork(), None),
            State::Played(fed, at) => State::Computed(fed.context(self.hash, *at), None),
        };
        let hash = self.hash;
        Box::new(Self {
            hash,
            state,
            number,
        })
    }

    fn finish(self: Box<Self>) -> Output {
        match self.state {
            State::Computed(inner, _) => inner.finish(),
            State::Played(fed, at) => {
                let played = fed.digest(at);
                played.unwrap_or_else(|| fed.context(self.hash, at).finish())
            }
        }
    }

    fn update(&mut self, data: &[u8]) {
        if let Some(number) = self.number {
            tape::with(|tape| tape.recorder.feed(number, data));
        }
        match &mut self.state {
            State::Computed(inner, recorded) => {
                inner.update(data);
                if let Some(at) = recorded {
                    tape::with(|tape| tape.hashes.feed(*at, data));
                }
            }
            State::Played(fed, at) if fed.has(*at, data) => *at += data.len(),
            State::Played(fed, at) => {
                let mut inner = fed.context(self.hash, *at);
                inner.update(data);
                self.state = State::Computed(inner, None);
            }
        }
    }
}

/// What a server's CertificateVerify signs, the digest left out: this padding, and then this name
/// (RFC 8446, 4.4.3).
const PADDING: &[u8] = &[0x20; 64];
const CERTIFICATE_VERIFY: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// The hash of the transcript, one more after a HelloRetryRequest, and one for each offered ticket's
/// binder.
const MAX_HASHES: usize = 32;

/// Twice the longest message of a handshake that rustls takes.
const MAX_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(Transcripts::Recorded)
    }

    fn verify(digest: &[u8]) -> Vec<u8> {
        [PADDING, CERTIFICATE_VERIFY, digest].concat()
    }

    #[test]
    fn nothing_is_recorded_unless_asked_for() {
        let mut recorder = Recorder::default();
        assert_eq!(recorder.begin(None), None);
        assert_eq!(recorder.transcript(b"message"), None);
    }

    #[test]
    fn a_digest_that_is_signed_has_to_be_of_all_that_was_fed_to_the_last_hash() {
        let mut recorder = recorder();
        let hash = recorder.begin(None).unwrap();
        recorder.feed(hash, b"hello");
        recorder.digest(hash, &Output::new(b"first"));
        assert_eq!(recorder.transcript(&verify(b"first")), Some(&b"hello"[..]));
        assert_eq!(recorder.transcript(&verify(b"other")), None);
        recorder.feed(hash, b", certificate");
        assert_eq!(recorder.transcript(&verify(b"first")), None);
        // What is no CertificateVerify signs no digest.
        let all = &b"hello, certificate"[..];
        assert_eq!(recorder.transcript(b"randoms"), Some(all));
        assert_eq!(recorder.transcript(PADDING), Some(all));
        let fork = recorder.begin(Some(hash)).unwrap();
        recorder.feed(fork, b"!");
        recorder.digest(hash, &Output::new(b"second"));
        assert_eq!(recorder.transcript(&verify(b"second")), None);
        assert_eq!(recorder.transcript(b""), Some(&b"hello, certificate!"[..]));
        recorder.rewind();
        assert_eq!(recorder.transcript(b""), None);
        assert_eq!(recorder.begin(None), Some(0));
    }

    #[test]
    fn what_grows_too_long_is_not_recorded_at_all() {
        for (more, is_kept) in [(0, true), (1, false)] {
            let mut recorder = recorder();
            let hash = recorder.begin(None).unwrap();
            recorder.feed(hash, &vec![0; MAX_BYTES - 1]);
            recorder.feed(hash, &vec![0; 1 + more]);
            assert_eq!(recorder.transcript(b"").is_some(), is_kept);
            recorder.rewind();
            assert_eq!(recorder.begin(None).is_some(), is_kept);
        }
        let mut halves = recorder();
        let hash = halves.begin(None).unwrap();
        halves.feed(hash, &vec![0; MAX_BYTES / 2]);
        assert!(halves.begin(Some(hash)).is_some());
        assert!(halves.begin(Some(hash)).is_none());
        assert_eq!(halves.transcript(b""), None);
    }

    #[test]
    fn more_hashes_than_a_handshake_has_are_not_recorded() {
        let mut recorder = recorder();
        for number in 0..MAX_HASHES {
            assert_eq!(recorder.begin(None), Some(number));
        }
        recorder.feed(0, b"hello");
        assert!(recorder.transcript(b"").is_some());
        assert_eq!(recorder.begin(None), None);
        assert_eq!(recorder.transcript(b""), None);
    }
}
