//! One receipt as the datagrams it is made of, and how many of them may pass.

use std::num::NonZeroU16;

use lbcore::Instant;
use lbcore::limit::TokenBucket;

use crate::sys::datagram::Received;

/// Datagrams of one size, the last one perhaps shorter; one alone may be empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Burst {
    /// The bytes of all together.
    pub(super) len: u16,
    /// How many they are.
    pub(super) count: u32,
    /// The bytes of each but the last, at least 1.
    size: u16,
}

impl Burst {
    /// What was received.
    pub(super) fn of(received: Received) -> Self {
        let len = received.len;
        let size = received.segment.map_or(len, NonZeroU16::get).max(1);
        let count = u32::from(len.div_ceil(size).max(1));
        Self { len, count, size }
    }

    /// The bytes of each but the last, if there is more than one.
    pub(super) fn segment(self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.size).filter(|_| self.count > 1)
    }

    /// The first `most` of them.
    pub(super) fn first(self, most: u32) -> Self {
        let count = self.count.min(most);
        let len = u32::from(self.size)
            .saturating_mul(count)
            .min(self.len.into());
        let len = u16::try_from(len).unwrap_or(self.len);
        Self { len, count, ..self }
    }

    /// How many of them are not among those of `part`.
    pub(super) fn count_beyond(self, part: Self) -> u64 {
        self.count.saturating_sub(part.count).into()
    }

    /// Those that the bandwidth lets pass: all, or as many from the first as it has room for.
    pub(super) fn police(self, now: Instant, bytes: &TokenBucket) -> Self {
        if self.count == 0 || bytes.try_take(now, self.len.into()) {
            return self;
        }
        let room = bytes.available(now) / u64::from(self.size);
        let part = self.first(u32::try_from(room).unwrap_or(u32::MAX));
        // Another worker may have been quicker.
        if part.count < self.count && bytes.try_take(now, part.len.into()) {
            part
        } else {
            self.first(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(len: u16, segment: u16) -> Burst {
        let segment = NonZeroU16::new(segment);
        Burst::of(Received {
            len,
            segment,
            ..Received::default()
        })
    }

    #[test]
    fn a_receipt_is_at_least_one_datagram() {
        let cases = [
            (0, 0, 1),
            (1, 0, 1),
            (100, 0, 1),
            (300, 100, 3),
            (301, 100, 4),
            (101, 100, 2),
        ];
        for (len, segment, count) in cases {
            assert_eq!(burst(len, segment).count, count, "{len} by {segment}");
        }
        assert_eq!(burst(100, 0).segment(), None);
        assert_eq!(burst(250, 100).segment(), NonZeroU16::new(100));
    }

    #[test]
    fn the_first_ones_keep_their_sizes() {
        let five = burst(450, 100);
        for (most, len, count) in [
            (0, 0, 0),
            (1, 100, 1),
            (4, 400, 4),
            (5, 450, 5),
            (6, 450, 5),
        ] {
            let part = five.first(most);
            assert_eq!((part.len, part.count), (len, count));
            assert_eq!(five.count_beyond(part), u64::from(5 - count));
        }
        assert_eq!(five.first(1).segment(), None);
        assert_eq!(burst(0, 0).first(1).count, 1);
    }

    #[test]
    fn bandwidth_lets_as_many_whole_datagrams_pass_as_it_has_bytes_for() {
        let now = Instant::ZERO;
        for (bytes, count) in [(99, 0), (100, 1), (399, 3), (449, 4), (450, 5), (1000, 5)] {
            let bucket = TokenBucket::new(now, 1, bytes);
            let passed = burst(450, 100).police(now, &bucket);
            assert_eq!(passed.count, count, "{bytes} bytes");
            assert_eq!(bucket.available(now), bytes - u64::from(passed.len));
        }
        let spent = TokenBucket::new(now, 1, 1);
        assert!(spent.try_take(now, 1));
        assert_eq!(burst(0, 0).police(now, &spent).count, 1);
        assert_eq!(burst(1, 0).police(now, &spent).count, 0);
        let unlimited = TokenBucket::new(now, 0, 0);
        assert_eq!(burst(65_535, 1).police(now, &unlimited).count, 65_535);
    }
}
