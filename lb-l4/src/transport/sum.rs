//! The Internet checksum, over all of something (RFC 1071).

/// The folded one's-complement sum of `bytes` as 16-bit numbers; an odd last byte is a high one.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    fold(add(0, bytes))
}

/// Adds `bytes`, which stand at an even place, to a sum that is not folded yet.
pub(crate) fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words
        .iter()
        .fold(sum, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to 16 bits, with end-around carry.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
    let folded = sum as u16;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_adds_up() {
        // RFC 1071, 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(sum(&bytes[..3]), 0xf201);
        assert_eq!(sum(&bytes[..2]), 1);
        assert_eq!(sum(&[]), 0);
    }

    #[test]
    fn carries_come_around() {
        assert_eq!(sum(&[0xff; 4_000]), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(0x1_ffff), 1);
        assert_eq!(fold(0xffff), 0xffff);
    }
}
