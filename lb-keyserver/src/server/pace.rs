//! How long keys take to sign.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::scheme::KeyKind;
use crate::ski::Ski;

/// How long keys take to sign, as was measured: a key in a hardware module may take a hundred times as
/// long as one of the same kind in memory.
///
/// Keys share 1,024 places by their names, so that nothing grows with the number of keys. Two in one
/// place spoil each other's estimate and nothing else.
#[derive(Debug)]
pub(crate) struct Paces(Box<[AtomicU32; PLACES]>);

/// A power of two, so that names, which are hashes, spread evenly.
const PLACES: usize = 1024;

impl Default for Paces {
    fn default() -> Self {
        Self(Box::new([const { AtomicU32::new(0) }; PLACES]))
    }
}

impl Paces {
    /// What a signature by that key is going to take.
    pub(crate) fn estimate(&self, key: &Ski, kind: KeyKind) -> Duration {
        match self.place(key).map_or(0, |place| place.load(Relaxed)) {
            0 => typical(kind),
            nanos => Duration::from_nanos(nanos.into()),
        }
    }

    /// Takes account of a signature that took so long.
    ///
    /// Halfway to what is shorter, a sixteenth of the way to what is longer: a thread that lost its
    /// processor in the middle of a signature says little about the key.
    pub(crate) fn learn(&self, key: &Ski, kind: KeyKind, took: Duration) {
        let Some(place) = self.place(key) else {
            return;
        };
        let old = nanos(self.estimate(key, kind));
        let new = nanos(took);
        let next = match new.checked_sub(old) {
            Some(longer) => old + longer / 16,
            None => old - (old - new) / 2,
        };
        // Zero stands for what has not been measured.
        place.store(next.max(1), Relaxed);
    }

    fn place(&self, key: &Ski) -> Option<&AtomicU32> {
        let [high, low, ..] = *key.as_bytes();
        self.0
            .get(usize::from(u16::from_be_bytes([high, low])) % PLACES)
    }
}

/// What keys in memory take, in round figures, until something is measured.
const fn typical(kind: KeyKind) -> Duration {
    Duration::from_micros(match kind {
        KeyKind::EcdsaP256 => 25,
        KeyKind::Ed25519 => 50,
        KeyKind::EcdsaP384 => 150,
        KeyKind::EcdsaP521 => 300,
        KeyKind::Rsa => 500,
    })
}

/// Saturates at four seconds.
fn nanos(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn key(first: u16) -> Ski {
        let mut bytes = [7; Ski::LEN];
        [bytes[0], bytes[1]] = first.to_be_bytes();
        Ski::from_bytes(bytes)
    }

    #[test]
    fn what_was_not_measured_is_as_its_kind() {
        let paces = Paces::default();
        let kinds = [
            KeyKind::EcdsaP256,
            KeyKind::Ed25519,
            KeyKind::EcdsaP384,
            KeyKind::Rsa,
        ];
        let times = kinds.map(|kind| paces.estimate(&key(1), kind));
        assert!(times.is_sorted());
    }

    #[test]
    fn what_is_slow_is_learnt_slowly_and_what_is_quick_at_once() {
        let (paces, key, kind) = (Paces::default(), key(1), KeyKind::EcdsaP256);
        let micros = Duration::from_micros;
        paces.learn(&key, kind, micros(25 + 1600));
        assert_eq!(paces.estimate(&key, kind), micros(125));
        paces.learn(&key, kind, micros(25));
        assert_eq!(paces.estimate(&key, kind), micros(75));
        paces.learn(&key, kind, micros(75));
        assert_eq!(paces.estimate(&key, kind), micros(75));
    }

    #[test]
    fn keys_do_not_learn_from_each_other() {
        let (paces, kind) = (Paces::default(), KeyKind::EcdsaP256);
        (0..500).for_each(|_| paces.learn(&key(1), kind, MILLISECOND));
        assert!(paces.estimate(&key(1), kind) > MILLISECOND / 2);
        assert_eq!(paces.estimate(&key(2), kind), Duration::from_micros(25));
    }

    #[test]
    fn no_time_is_not_taken_for_unmeasured_and_an_hour_does_not_overflow() {
        let (paces, kind) = (Paces::default(), KeyKind::Rsa);
        (0..64).for_each(|_| paces.learn(&key(3), kind, Duration::ZERO));
        assert_eq!(paces.estimate(&key(3), kind), Duration::from_nanos(1));
        let hour = Duration::from_secs(3600);
        (0..1000).for_each(|_| paces.learn(&key(4), kind, hour));
        assert!(paces.estimate(&key(4), kind) > Duration::from_secs(4));
    }
}
