//! The key schedule of TLS 1.3 (RFC 8446, 7.1), computed once for all passes.

use std::ops::Range;
use std::sync::Arc;

use rustls::Error;
use rustls::crypto::ActiveKeyExchange;
use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use zeroize::Zeroizing;

use super::tape;

/// What the first pass derived, in order.
#[derive(Default)]
pub(super) struct Schedule {
    steps: Vec<Derived>,
    /// Inputs and outputs of all steps.
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
    is_played: bool,
}

struct Derived {
    /// The secret that was expanded; none was where one was extracted.
    of: Option<Arc<dyn HkdfExpander>>,
    input: Range<usize>,
    output: Outcome,
}

enum Outcome {
    Secret(Arc<dyn HkdfExpander>),
    Bytes(Range<usize>),
}

impl Schedule {
    /// Begins the next pass.
    pub(super) const fn rewind(&mut self) {
        self.at = 0;
        self.is_played = true;
    }

    /// The secret that this step extracted in the first pass; `None` where there is no such step, or
    /// it was another.
    fn secret(&mut self, input: &[&[u8]]) -> Option<Arc<dyn HkdfExpander>> {
        let Outcome::Secret(secret) = &self.play(None, input)?.output else {
            return None;
        };
        Some(Arc::clone(secret))
    }

    /// What this step expanded `of` to in the first pass.
    fn expanded(&mut self, of: &Arc<dyn HkdfExpander>, input: &[&[u8]]) -> Option<&[u8]> {
        let Outcome::Bytes(bytes) = &self.play(Some(of), input)?.output else {
            return None;
        };
        let bytes = bytes.clone();
        self.bytes.get(bytes)
    }

    fn play(&mut self, of: Option<&Arc<dyn HkdfExpander>>, input: &[&[u8]]) -> Option<&Derived> {
        let step = self.steps.get(self.at).filter(|_| self.is_played)?;
        let known = self.bytes.get(step.input.clone())?;
        if !is_joined(known, input) || address(step.of.as_ref()) != address(of) {
            // From here on the passes differ, and everything is computed.
            self.at = self.steps.len();
            return None;
        }
        self.at += 1;
        Some(step)
    }

    fn record_secret(&mut self, input: &[&[u8]], secret: &Arc<dyn HkdfExpander>) {
        self.record(None, input, |_| Outcome::Secret(Arc::clone(secret)));
    }

    fn record_expanded(&mut self, of: &Arc<dyn HkdfExpander>, input: &[&[u8]], output: &[u8]) {
        self.record(Some(Arc::clone(of)), input, |bytes| {
            Outcome::Bytes(append(bytes, &[output]))
        });
    }

    fn record(
        &mut self,
        of: Option<Arc<dyn HkdfExpander>>,
        input: &[&[u8]],
        output: impl FnOnce(&mut Vec<u8>) -> Outcome,
    ) {
        if self.is_played || self.steps.len() >= MAX_STEPS {
            return;
        }
        if self.steps.is_empty() {
            self.steps.reserve(MAX_STEPS / 2);
            self.bytes.reserve(USUAL_BYTES);
        }
        let input = append(&mut self.bytes, input);
        let output = output(&mut self.bytes);
        self.steps.push(Derived { of, input, output });
    }
}

fn append(bytes: &mut Vec<u8>, parts: &[&[u8]]) -> Range<usize> {
    let start = bytes.len();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    start..bytes.len()
}

/// Whether `known` is these parts, one after the other.
fn is_joined(mut known: &[u8], parts: &[&[u8]]) -> bool {
    for part in parts {
        match known.strip_prefix(*part) {
            Some(rest) => known = rest,
            None => return false,
        }
    }
    known.is_empty()
}

fn address(of: Option<&Arc<dyn HkdfExpander>>) -> Option<*const ()> {
    of.map(|expander| Arc::as_ptr(expander).cast())
}

/// An HKDF whose steps are remembered while a tape is in place.
pub(super) struct TapedHkdf(pub(super) &'static dyn Hkdf);

impl TapedHkdf {
    /// `input` tells this step from every other: no part but the last may be of any length.
    fn extract(
        &self,
        input: &[&[u8]],
        compute: impl FnOnce(&dyn Hkdf) -> Box<dyn HkdfExpander>,
    ) -> Box<dyn HkdfExpander> {
        if !tape::is_installed() {
            return compute(self.0);
        }
        if let Some(secret) = tape::with(|tape| tape.schedule.secret(input)).flatten() {
            return Box::new(TapedExpander(secret));
        }
        let secret = compute(self.0).into();
        tape::with(|tape| tape.schedule.record_secret(input, &secret));
        Box::new(TapedExpander(secret))
    }
}

impl Hkdf for TapedHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let input = [b"zero", presence(salt), salt.unwrap_or_default()];
        self.extract(&input, |inner| inner.extract_from_zero_ikm(salt))
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        let length = salt.map_or(0, <[u8]>::len).to_be_bytes();
        let salted = [b"secret", presence(salt), &length, salt.unwrap_or_default()];
        let input = [&salted[..], &[secret]].concat();
        self.extract(&input, |inner| inner.extract_from_secret(salt, secret))
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        self.extract(&[b"okm", okm.as_ref()], |inner| inner.expander_for_okm(okm))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        self.0.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// A secret whose expansions are remembered.
struct TapedExpander(Arc<dyn HkdfExpander>);

impl TapedExpander {
    /// Calls `take` with what expanding by `info` gave before.
    fn play<T>(&self, info: &[&[u8]], length: usize, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let length = length.to_be_bytes();
        with_parts(&length, info, |input| {
            let played = tape::with(|tape| tape.schedule.expanded(&self.0, input).map(take));
            played.flatten()
        })
    }

    fn record(&self, info: &[&[u8]], output: &[u8]) {
        let length = output.len().to_be_bytes();
        with_parts(&length, info, |input| {
            tape::with(|tape| tape.schedule.record_expanded(&self.0, input, output));
        });
    }
}

impl HkdfExpander for TapedExpander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        if !tape::is_installed() {
            return self.0.expand_slice(info, output);
        }
        let length = output.len();
        if self
            .play(info, length, |bytes| output.copy_from_slice(bytes))
            .is_none()
        {
            self.0.expand_slice(info, output)?;
            self.record(info, output);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if !tape::is_installed() {
            return self.0.expand_block(info);
        }
        let played = self.play(info, self.0.hash_len(), OkmBlock::new);
        played.unwrap_or_else(|| {
            let block = self.0.expand_block(info);
            self.record(info, block.as_ref());
            block
        })
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

/// Whether there is a salt, as bytes.
const fn presence(salt: Option<&[u8]>) -> &'static [u8] {
    match salt {
        Some(_) => b"+",
        None => b"-",
    }
}

/// Calls `act` with an expansion's input: how long its output is, and then the parts of `info`,
/// which are at most seven (RFC 8446, 7.1, has six).
fn with_parts<T>(length: &[u8], info: &[&[u8]], act: impl FnOnce(&[&[u8]]) -> T) -> T {
    let mut parts = [length, b"", b"", b"", b"", b"", b"", b""];
    match parts.get_mut(1..=info.len()) {
        Some(room) => {
            room.copy_from_slice(info);
            act(&parts)
        }
        None => act(&[&[length], info].concat()),
    }
}

/// Twice the steps that a handshake takes until its signature.
const MAX_STEPS: usize = 32;

/// What those take, with hashes of 48 bytes.
const USUAL_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use proptest::{collection, prelude::*};

    use super::*;
    use crate::rustls::tape::Tape;

    /// Steps that are computed, counted.
    static COMPUTED: AtomicUsize = AtomicUsize::new(0);

    /// Shows its input, so that every step is told from every other.
    struct Plain;

    struct Shown(Vec<u8>);

    impl Hkdf for Plain {
        fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
            shown(&[b"zero", format!("{salt:?}").as_bytes()])
        }

        fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
            shown(&[format!("{salt:?}").as_bytes(), b":", secret])
        }

        fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
            shown(&[b"okm", okm.as_ref()])
        }

        fn hmac_sign(&self, _: &OkmBlock, message: &[u8]) -> Tag {
            Tag::new(message)
        }
    }

    fn shown(parts: &[&[u8]]) -> Box<dyn HkdfExpander> {
        COMPUTED.fetch_add(1, Relaxed);
        Box::new(Shown(parts.concat()))
    }

    impl HkdfExpander for Shown {
        fn expand_slice(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), OutputLengthError> {
            COMPUTED.fetch_add(1, Relaxed);
            let all = [&self.0[..], b"/", &info.concat()].concat();
            let sum = |at: usize| {
                all.iter()
                    .skip(at)
                    .fold(0_u8, |sum, byte| sum.rotate_left(1) ^ byte)
            };
            out.iter_mut()
                .enumerate()
                .for_each(|(at, byte)| *byte = sum(at));
            if out.len() > 60 {
                Err(OutputLengthError)
            } else {
                Ok(())
            }
        }

        fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
            let mut block = [0; 32];
            self.expand_slice(info, &mut block).unwrap();
            OkmBlock::new(&block)
        }

        fn hash_len(&self) -> usize {
            32
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Zero(Option<Vec<u8>>),
        Secret(Option<Vec<u8>>, Vec<u8>),
        Okm(Vec<u8>),
        Slice(usize, Vec<u8>, usize),
        Block(usize, Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let few = || collection::vec(0..3_u8, 0..3);
        let salt = move || proptest::option::of(few());
        let step = prop_oneof![
            salt().prop_map(Step::Zero),
            (salt(), few()).prop_map(|(salt, secret)| Step::Secret(salt, secret)),
            few().prop_map(Step::Okm),
            (0..3_usize, few(), 58..63_usize)
                .prop_map(|(of, info, len)| Step::Slice(of, info, len)),
            (0..3_usize, few()).prop_map(|(of, info)| Step::Block(of, info)),
        ];
        collection::vec(step, 0..2 * MAX_STEPS)
    }

    /// All that the steps give.
    fn run(hkdf: &dyn Hkdf, steps: &[Step]) -> Vec<Option<Vec<u8>>> {
        let mut secrets = vec![hkdf.extract_from_zero_ikm(None)];
        let mut given = Vec::new();
        for step in steps {
            match step {
                Step::Zero(salt) => secrets.push(hkdf.extract_from_zero_ikm(salt.as_deref())),
                Step::Secret(salt, secret) => {
                    secrets.push(hkdf.extract_from_secret(salt.as_deref(), secret));
                }
                Step::Okm(okm) => secrets.push(hkdf.expander_for_okm(&OkmBlock::new(okm))),
                Step::Slice(of, info, length) => {
                    let secret = &secrets[secrets.len() - 1 - of % secrets.len()];
                    let mut out = vec![0; *length];
                    let done = secret.expand_slice(&[info, b"!"], &mut out);
                    given.push(done.ok().map(|()| out));
                }
                Step::Block(of, info) => {
                    let secret = &secrets[secrets.len() - 1 - of % secrets.len()];
                    given.push(Some(secret.expand_block(&[info]).as_ref().to_vec()));
                }
            }
        }
        given
    }

    fn passes(first: &[Step], second: &[Step]) -> [Vec<Option<Vec<u8>>>; 2] {
        let taped = TapedHkdf(&Plain);
        let mut tape = Some(Box::<Tape>::default());
        let one = tape::installed(&mut tape, || run(&taped, first));
        tape.as_mut().unwrap().rewind();
        [one, tape::installed(&mut tape, || run(&taped, second))]
    }

    proptest! {
        #[test]
        fn every_pass_derives_what_it_would_without_a_tape(first in steps(), second in steps(), same in 0..40_usize) {
            let same = same.min(first.len());
            let second = [&first[..same], &second].concat();
            let [one, two] = passes(&first, &second);
            prop_assert_eq!(one, run(&Plain, &first));
            prop_assert_eq!(two, run(&Plain, &second));
        }
    }

    #[test]
    fn the_second_pass_computes_nothing_that_the_first_did() {
        let steps = [
            Step::Secret(Some(vec![1]), vec![2]),
            Step::Block(0, vec![3]),
            Step::Slice(0, vec![4], 58),
        ];
        let before = COMPUTED.load(Relaxed);
        let taped = TapedHkdf(&Plain);
        let mut tape = Some(Box::<Tape>::default());
        for computed in [4, 4] {
            tape::installed(&mut tape, || run(&taped, &steps));
            // The property runs beside this one and only adds.
            assert!(COMPUTED.load(Relaxed) >= before + computed);
            tape.as_mut().unwrap().rewind();
        }
        assert_eq!(tape.as_ref().unwrap().schedule.steps.len(), 4);
    }
}
