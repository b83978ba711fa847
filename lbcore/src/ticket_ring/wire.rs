//! A ring as bytes, for whoever carries it, which encrypts them.
#![warn(clippy::indexing_slicing)]

use super::{TicketRing, TicketSecret};

impl TicketRing {
    /// Bytes of a ring without keys.
    pub(super) const HEAD: usize = 1 + 1 + 8;
    /// Bytes of a key: how many turns it is ahead of the oldest that there can be, and itself.
    pub(super) const EACH: usize = 1 + TicketSecret::LEN;
    /// The most bytes that [`emit`](Self::emit) appends.
    pub const MAX_LEN: usize =
        Self::HEAD + Self::EACH * Self::MAX_ALIKE * (2 + Self::MAX_KEEP as usize);

    /// Appends the ring: a version, 1; the number of turns that keys are kept; the turn, 8 bytes, big
    /// end first; and for each key its age in turns, 0 for the next one, and its 80 bytes.
    ///
    /// These are secrets: who sends them encrypts them.
    pub fn emit(&self, into: &mut Vec<u8>) {
        into.push(VERSION);
        into.push(self.keep);
        into.extend_from_slice(&self.turn.to_be_bytes());
        let newest = self.turn.saturating_add(1);
        for (&(generation, _), key) in &self.keys {
            let age = newest.saturating_sub(generation);
            into.push(u8::try_from(age).unwrap_or(u8::MAX));
            into.extend_from_slice(key.bytes());
        }
    }

    /// Reads what [`emit`](Self::emit) wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, is cut short or runs on, or has keys that such a ring cannot
    /// have.
    pub fn parse(bytes: &[u8]) -> Result<Self, RingError> {
        let (&[version, keep], rest) = bytes.split_first_chunk().ok_or(RingError::Length)?;
        let (turn, mut rest) = rest.split_first_chunk().ok_or(RingError::Length)?;
        if version != VERSION {
            return Err(RingError::Version(version));
        }
        if keep > Self::MAX_KEEP {
            return Err(RingError::Keys);
        }
        let mut ring = Self::new(keep);
        ring.turn = u64::from_be_bytes(*turn);
        let newest = ring.turn.saturating_add(1);
        while let Some((age, after)) = rest.split_first() {
            let (key, after) = after.split_first_chunk().ok_or(RingError::Length)?;
            let generation = newest.checked_sub(u64::from(*age)).ok_or(RingError::Keys)?;
            let more = ring.keys.len() + 1;
            ring.add(generation, TicketSecret::new(*key));
            if ring.keys.len() != more {
                return Err(RingError::Keys);
            }
            rest = after;
        }
        Ok(ring)
    }
}

/// Why bytes are no ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A key is too old or too new, is there twice, or there are too many.
    #[error("the ring has keys that it cannot have")]
    Keys,
    /// There are too few bytes, or too many.
    #[error("the ring is cut short")]
    Length,
    /// Another version wrote it.
    #[error("version {0} of a ring is not known")]
    Version(u8),
}

const VERSION: u8 = 1;
