//! Which signatures are verified before they are used.

use lbcore::rng::Rng;

use crate::scheme::{KeyKind, Scheme};

/// Which signatures the client verifies before it hands them on.
///
/// A TLS client verifies each of them as well, and breaks off a handshake whose signature is wrong:
/// what is gained is that another server can be asked in time, and that a server which lies is found
/// out. A verification costs about 65 µs on P-256 and Ed25519, 20 µs with RSA of 2,048 bits.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verify {
    /// All.
    #[default]
    Always,
    /// All by RSA; of the others the first [16](Self::FIRST) after a server has been connected to
    /// anew, and then one in [64](Self::ONE_IN), by chance. Saves about 64 µs a signature; up to 63
    /// handshakes may fail, on average, before a server that lies is found out.
    Sampled,
}

impl Verify {
    /// Signatures of a server that are all verified after a reconnect.
    pub const FIRST: u32 = 16;
    /// Of how many signatures one is verified after that.
    pub const ONE_IN: u64 = 64;

    /// Whether to verify a signature by `scheme`, the server having made `made` since it was
    /// connected to.
    pub(crate) fn is_due(self, scheme: Scheme, made: u32, rng: &mut impl Rng) -> bool {
        self == Self::Always
            || scheme.kind() == KeyKind::Rsa
            || made < Self::FIRST
            || rng.below(Self::ONE_IN) == 0
    }
}

#[cfg(test)]
mod tests {
    use lbcore::rng::Xoshiro;

    use super::*;

    fn verified(verify: Verify, scheme: Scheme, made: u32) -> usize {
        let mut rng = Xoshiro::new(3);
        (0..6_400)
            .filter(|_| verify.is_due(scheme, made, &mut rng))
            .count()
    }

    #[test]
    fn all_are_verified_unless_they_are_sampled() {
        assert_eq!(
            verified(Verify::default(), Scheme::Ed25519, u32::MAX),
            6_400
        );
    }

    #[test]
    fn sampling_spares_none_by_rsa_and_none_of_the_first_sixteen() {
        for scheme in Scheme::ALL {
            assert_eq!(verified(Verify::Sampled, scheme, 15), 6_400);
            let later = verified(Verify::Sampled, scheme, 16);
            if scheme.kind() == KeyKind::Rsa {
                assert_eq!(later, 6_400);
            } else {
                // Four standard deviations of a binomial of 6,400 tries at 1/64 are 40.
                assert!(later.abs_diff(100) < 40, "{later}");
            }
        }
    }
}
