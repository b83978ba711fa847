//! Keyed hashes: placement that peers share, and table look-ups that clients cannot aim.

use std::hash::{BuildHasher, RandomState};

use crate::rng::{GOLDEN, mix};

/// A 128-bit key; secret where clients choose what is hashed.
///
/// Nodes that must place alike are given the same key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct HashKey(u64, u64);

impl HashKey {
    /// The key of these 16 bytes, read as two little-endian words.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        Self(low_word(word), low_word(word >> 64))
    }

    /// A key of this process alone, so that clients cannot aim at a place in its tables.
    ///
    /// Made from the seeds of the standard library's hash maps, which are the system's random
    /// numbers. Nodes that must place alike share a key of their configuration instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::hash::HashKey;
    ///
    /// assert_ne!(HashKey::random().sip24(b"a"), HashKey::random().sip24(b"a"));
    /// ```
    #[must_use]
    pub fn random() -> Self {
        let random = RandomState::new();
        let words = [random.hash_one(0), random.hash_one(1)];
        Self(words[0], words[1])
    }

    /// A key spread from 64 bits: for tests and for placement that need not be secret.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(
            mix(seed.wrapping_add(GOLDEN)),
            mix(seed.wrapping_add(GOLDEN.wrapping_mul(2))),
        )
    }

    /// SipHash-2-4 of `bytes` under this key: the same on every machine and for ever.
    ///
    /// Cost: about 1 ns a byte and 15 ns more.
    ///
    /// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::hash::HashKey;
    ///
    /// let key = HashKey::new([7; 16]);
    /// assert_eq!(key.sip24(b"a client"), key.sip24(b"a client"));
    /// assert_ne!(key.sip24(b"a client"), HashKey::new([8; 16]).sip24(b"a client"));
    /// ```
    #[must_use]
    pub fn sip24(&self, bytes: &[u8]) -> u64 {
        self.sip::<2, 4>(bytes)
    }

    /// SipHash-1-3 of `bytes`: for tables inside one process, where speed counts more.
    #[must_use]
    pub fn sip13(&self, bytes: &[u8]) -> u64 {
        self.sip::<1, 3>(bytes)
    }

    #[inline]
    fn sip<const C: usize, const D: usize>(&self, bytes: &[u8]) -> u64 {
        let mut state = State::new(self.0, self.1);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.absorb::<C>(u64::from_le_bytes(*word));
        }
        let mut last = [0_u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        // The last byte is the length modulo 256 (section 2.2 of the paper).
        last[7] = bytes.len().to_le_bytes()[0];
        state.absorb::<C>(u64::from_le_bytes(last));
        state.finish::<D>()
    }

    /// SipHash-1-3 over whole words, with no length byte: for keys of one fixed shape.
    #[inline]
    #[must_use]
    pub fn sip13_words<const N: usize>(&self, words: [u64; N]) -> u64 {
        let mut state = State::new(self.0, self.1);
        for word in words {
            state.absorb::<1>(word);
        }
        state.finish::<3>()
    }
}

/// Never shows the key.
impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

struct State([u64; 4]);

impl State {
    #[inline]
    fn new(k0: u64, k1: u64) -> Self {
        // "somepseudorandomlygeneratedbytes" (section 2.1 of the paper).
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn absorb<const C: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        for _ in 0..C {
            self.round();
        }
        self.0[0] ^= word;
    }

    #[inline]
    fn finish<const D: usize>(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..D {
            self.round();
        }
        self.0.into_iter().fold(0, |all, word| all ^ word)
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
fn low_word(word: u128) -> u64 {
    word as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_the_vector_of_its_paper() {
        // Appendix A: key 00..0f, message 00..0e.
        let key = HashKey::new(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(key.sip24(&message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    #[expect(
        deprecated,
        reason = "std's SipHasher is the independent judge of SipHash-2-4"
    )]
    fn siphash_agrees_with_the_standard_library_at_every_length() {
        use std::hash::{Hasher, SipHasher};
        let key = HashKey(3, 4);
        for len in 0..70_u8 {
            let message: Vec<u8> = (0..len).collect();
            let mut judge = SipHasher::new_with_keys(3, 4);
            judge.write(&message);
            assert_eq!(key.sip24(&message), judge.finish(), "length {len}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", HashKey::from_seed(5)), "HashKey(..)");
    }
}
