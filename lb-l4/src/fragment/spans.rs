//! Which bytes of a datagram have been seen.

/// The ranges of one datagram's fragments, in order, none overlapping.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    /// First byte, and the byte behind the last.
    seen: Vec<(u16, u16)>,
    /// Bytes in all of them.
    covered: u32,
    /// Where the datagram ends, once its last fragment has come.
    end: Option<u16>,
}

/// Where one fragment lies in its datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) start: u16,
    /// The byte behind its last; more than `start`.
    pub(super) end: u16,
    /// No other fragment is behind it.
    pub(super) last: bool,
}

/// What a fragment is to those seen before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placed {
    /// The same range again.
    Again,
    /// It contradicts another one.
    Conflict,
    New,
    /// There are as many as there may be.
    TooMany,
}

impl Spans {
    /// Forgets all, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.covered = 0;
        self.end = None;
    }

    /// Whether every byte has been seen.
    pub(super) fn complete(&self) -> bool {
        self.end.is_some_and(|end| u32::from(end) == self.covered)
    }

    /// Adds `span` unless it is there, contradicts another, or `most` are there.
    ///
    /// Cost: a search among the fragments of one datagram; those in order are added at the end.
    pub(super) fn insert(&mut self, span: Span, most: usize) -> Placed {
        let at = self.seen.partition_point(|&(start, _)| start < span.start);
        if self.seen.get(at) == Some(&(span.start, span.end)) {
            let was_last = self.end == Some(span.end);
            return if was_last == span.last {
                Placed::Again
            } else {
                Placed::Conflict
            };
        }
        let before = at.checked_sub(1).and_then(|it| self.seen.get(it));
        let overlaps = before.is_some_and(|&(_, end)| end > span.start)
            || self
                .seen
                .get(at)
                .is_some_and(|&(start, _)| start < span.end);
        if overlaps || self.contradicts_end(span) {
            return Placed::Conflict;
        }
        if self.seen.len() >= most {
            return Placed::TooMany;
        }
        self.seen.insert(at, (span.start, span.end));
        self.covered += u32::from(span.end - span.start);
        if span.last {
            self.end = Some(span.end);
        }
        Placed::New
    }

    fn contradicts_end(&self, span: Span) -> bool {
        match (self.end, span.last) {
            (Some(_), true) => true,
            (Some(end), false) => span.end >= end,
            (None, true) => self.seen.last().is_some_and(|&(_, end)| end > span.end),
            (None, false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u16, end: u16) -> Span {
        let last = false;
        Span { start, end, last }
    }

    fn last(start: u16, end: u16) -> Span {
        let last = true;
        Span { start, end, last }
    }

    fn after(spans: &[Span]) -> Spans {
        let mut seen = Spans::default();
        for &span in spans {
            assert_eq!(seen.insert(span, 128), Placed::New, "{span:?}");
        }
        seen
    }

    #[test]
    fn a_datagram_is_complete_when_every_byte_has_come_in_any_order() {
        let parts = [span(0, 8), span(8, 24), last(24, 25)];
        for [a, b, c] in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut seen = after(&[parts[a], parts[b]]);
            assert!(!seen.complete());
            assert_eq!(seen.insert(parts[c], 128), Placed::New);
            assert!(seen.complete());
        }
        assert!(!after(&[span(0, 8), span(8, 24)]).complete());
    }

    #[test]
    fn the_same_range_again_is_no_conflict_unless_it_ends_otherwise() {
        let mut seen = after(&[span(0, 8), last(8, 16)]);
        assert_eq!(seen.insert(span(0, 8), 128), Placed::Again);
        assert_eq!(seen.insert(last(8, 16), 128), Placed::Again);
        assert_eq!(seen.insert(last(0, 8), 128), Placed::Conflict);
        assert_eq!(seen.insert(span(8, 16), 128), Placed::Conflict);
        assert!(seen.complete());
    }

    #[test]
    fn one_shared_byte_is_a_conflict_and_a_touch_is_none() {
        let seen = after(&[span(16, 32)]);
        for (at, placed) in [
            (span(8, 16), Placed::New),
            (span(8, 17), Placed::Conflict),
            (span(16, 24), Placed::Conflict),
            (span(24, 32), Placed::Conflict),
            (span(16, 40), Placed::Conflict),
            (span(8, 40), Placed::Conflict),
            (span(24, 40), Placed::Conflict),
            (span(31, 40), Placed::Conflict),
            (span(32, 40), Placed::New),
        ] {
            assert_eq!(seen.clone().insert(at, 128), placed, "{at:?}");
        }
    }

    #[test]
    fn nothing_may_lie_behind_the_last() {
        let mut seen = after(&[last(16, 24)]);
        assert_eq!(seen.clone().insert(span(24, 32), 128), Placed::Conflict);
        assert_eq!(seen.clone().insert(last(24, 32), 128), Placed::Conflict);
        assert_eq!(seen.clone().insert(last(8, 16), 128), Placed::Conflict);
        assert_eq!(seen.insert(span(8, 16), 128), Placed::New);
        let mut seen = after(&[span(16, 24)]);
        assert_eq!(seen.clone().insert(last(8, 16), 128), Placed::Conflict);
        assert_eq!(seen.insert(last(24, 32), 128), Placed::New);
    }

    #[test]
    fn as_many_fragments_as_may_be_and_no_more() {
        let mut seen = after(&[span(0, 8), span(8, 16)]);
        assert_eq!(seen.insert(span(16, 24), 2), Placed::TooMany);
        assert_eq!(seen.insert(span(8, 16), 2), Placed::Again);
        assert_eq!(seen.insert(span(16, 24), 3), Placed::New);
        seen.clear();
        assert_eq!(seen.insert(last(8, 16), 1), Placed::New);
        assert!(!seen.complete());
    }
}
