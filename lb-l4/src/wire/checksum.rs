//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The one's-complement sum of 16-bit words in network order, not yet folded; a last odd byte is
/// the high half of a word.
///
/// Sums of parts add up, so long as each part but the last has an even length. Cost: 8 bytes a
/// step.
///
/// # Examples
///
/// ```
/// use lb_l4::wire::checksum::{fold, sum};
///
/// // RFC 1071, section 3.
/// assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
/// assert_eq!(fold(sum(&[0x12])), 0x1200);
/// ```
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // The sum does not depend on the byte order but for a swap of the result (RFC 1071, 2(B)).
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = 0_u64;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let last = u64::from_ne_bytes(last);
    sum += (last >> 32) + (last & 0xffff_ffff);
    u64::from(u16::from_be(fold(sum)))
}

/// The sum in 16 bits, with every carry added in again.
#[inline]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    // The high half of a word added to itself with its halves swapped is the sum of both, and the
    // carry out of the low half has been added in.
    let sum = (sum.wrapping_add(sum.rotate_right(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_right(16)) >> 16) as u16
}

/// The sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section
/// 8.1); `len` counts the header of the protocol and its payload.
#[inline]
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u64 {
    Words::from(source).0 + Words::from(destination).0 + u64::from(protocol) + len as u64
}

/// How a checksum changes when fields that it covers change (RFC 1624, equation 3).
///
/// # Examples
///
/// ```
/// use lb_l4::wire::checksum::Delta;
///
/// // RFC 1624, section 4: a word 0x5555 becomes 0x3285.
/// assert_eq!(Delta::default().replace(0x5555_u16, 0x3285_u16).apply(0xdd2f), 0x0000);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Delta {
    /// The sum of `~m + m'` over all words that changed, or what is as much modulo 2^16 - 1.
    sum: u64,
}

impl Delta {
    /// Also `old` becomes `new`.
    #[inline]
    pub fn replace<T: Into<Words>>(self, old: T, new: T) -> Self {
        let (old, new) = (old.into().0, new.into().0);
        Self {
            sum: self.sum + (NOTHING - old) + new,
        }
    }

    /// Also the bytes that sum up to `old` become others that sum up to `new`, as [`sum`] gives
    /// them.
    #[inline]
    pub fn replace_sum(self, old: u64, new: u64) -> Self {
        Self {
            sum: self.sum + u64::from(!fold(old)) + u64::from(fold(new)),
        }
    }

    /// Also all that changes in `other`.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
        }
    }

    /// The checksum after the changes; as right, or as wrong by the same difference, as before.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !self.add_to(!checksum)
    }

    /// The sum after the changes: for a checksum that is left partial, which is not complemented.
    #[inline]
    #[must_use]
    pub const fn add_to(self, sum: u16) -> u16 {
        fold(self.sum + sum as u64)
    }

    /// Whether nothing changes: no checksum needs to be touched.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.sum == 0
    }
}

/// As good as 0 in one's complement, a multiple of 2^16 - 1, and more than the words of any field
/// sum up to: what is taken from it needs no fold.
const NOTHING: u64 = 0xffff_ffff_ffff;

/// A field as the sum of its 16-bit words.
#[derive(Clone, Copy, Debug)]
pub struct Words(u64);

impl From<u16> for Words {
    #[inline]
    fn from(word: u16) -> Self {
        Self(u64::from(word))
    }
}

impl From<u32> for Words {
    #[inline]
    fn from(words: u32) -> Self {
        // Not folded: 2^16 is 1 in this arithmetic.
        Self(u64::from(words))
    }
}

impl From<Ipv4Addr> for Words {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(u64::from(address.to_bits()))
    }
}

impl From<Ipv6Addr> for Words {
    #[inline]
    fn from(address: Ipv6Addr) -> Self {
        let octets = address.octets();
        let (quarters, _) = octets.as_chunks::<4>();
        let quarters = quarters.iter().map(|it| u64::from(u32::from_be_bytes(*it)));
        Self(quarters.sum())
    }
}

impl From<IpAddr> for Words {
    #[inline]
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_at_every_length() {
        let bytes: Vec<u8> = (1..=40).map(|it| it * 5).collect();
        for len in 0..=bytes.len() {
            let slow: u64 = bytes[..len]
                .iter()
                .enumerate()
                .map(|(at, byte)| u64::from(*byte) << (8 * (1 - at % 2)))
                .sum();
            assert_eq!(fold(sum(&bytes[..len])), fold(slow), "{len}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_adds_up() {
        // RFC 1071, 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
        assert_eq!(fold(sum(&bytes[..3])), 0xf201);
        assert_eq!(fold(sum(&bytes[..2])), 1);
        assert_eq!(fold(sum(&[])), 0);
    }

    #[test]
    fn a_sum_is_folded_until_nothing_is_left_over() {
        for (sum, folded) in [
            (0, 0),
            (0xffff, 0xffff),
            (0x1_0000, 1),
            (0x1_ffff, 1),
            (0xffff_0001, 1),
            (0xffff_ffff, 0xffff),
            (0xffff_ffff_ffff_ffff, 0xffff),
            (0xffff_ffff_ffff_0001, 1),
            (0x0001_0002_0003_0004, 10),
        ] {
            assert_eq!(fold(sum), folded, "{sum:x}");
        }
        assert_eq!(fold(sum(&[0xff; 1500])), 0xffff);
        assert_eq!(fold(sum(&[0xff; 4_000])), 0xffff);
    }

    #[test]
    fn the_pseudo_headers_are_those_of_the_standards() {
        let v4 = |it: &str| it.parse::<IpAddr>().unwrap();
        let sum = pseudo_header(v4("1.2.3.4"), v4("5.6.7.8"), 17, 0x0900);
        assert_eq!(fold(sum), 0x0102 + 0x0304 + 0x0506 + 0x0708 + 17 + 0x0900);
        let (a, b) = ("1:2:3:4:5:6:7:8", "10:20:30:40:50:60:70:80");
        let sum = pseudo_header(v4(a), v4(b), 6, 0x1_0003);
        assert_eq!(fold(sum), 36 + 0x240 + 6 + 4);
    }

    #[test]
    fn a_difference_does_what_recomputing_does() {
        // Two fields and an odd tail; the first field goes from one edge to the other.
        let make = |word: u16, long: u32| {
            let words = [word.to_be_bytes().to_vec(), long.to_be_bytes().to_vec()];
            [&words.concat()[..], &[7]].concat()
        };
        let edges = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff];
        for old in edges {
            for new in edges {
                let longs = (u32::from(old) << 16 | 9, u32::from(new) << 16 | 0xffff);
                let (before, after) = (make(old, longs.0), make(new, longs.1));
                let delta = Delta::default().replace(old, new).replace(longs.0, longs.1);
                let right = !fold(sum(&before));
                assert_eq!(delta.apply(right), !fold(sum(&after)), "{old:x} to {new:x}");
                let partial = delta.add_to(fold(sum(&before)));
                assert_eq!(partial, fold(sum(&after)));
                let sums = Delta::default().replace_sum(sum(&before), sum(&after));
                assert_eq!(sums.apply(right), !fold(sum(&after)));
                // As wrong as before, by the same.
                let wrong = right.wrapping_sub(0x1234);
                let error = fold(sum(&before) + u64::from(wrong));
                assert_eq!(fold(sum(&after) + u64::from(delta.apply(wrong))), error);
            }
        }
    }

    #[test]
    fn nothing_is_a_difference_that_changes_nothing() {
        assert!(Delta::default().is_none());
        assert!(!Delta::default().replace(1_u16, 2_u16).is_none());
        for checksum in [0, 1, 0xfffe, 0xffff] {
            assert_eq!(Delta::default().apply(checksum), checksum);
            assert_eq!(Delta::default().add_to(checksum), checksum);
        }
    }
}
