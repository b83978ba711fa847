//! The lines of a head that was scanned, and what stands in one.

use memchr::memchr;

use crate::token::is_token_byte;
use crate::token::trim;

/// Where the first lines of a head end, noted by the scan that found its end.
///
/// A head that comes in pieces is scanned in pieces, and its lines are looked for again.
#[derive(Debug)]
pub(super) struct Ends {
    /// Of each LF.
    at: [u32; NOTED],
    noted: usize,
}

impl Ends {
    pub(super) const fn new() -> Self {
        Self {
            at: [0; NOTED],
            noted: 0,
        }
    }

    /// Notes the end of line `line`, if all before it are noted.
    #[inline]
    pub(super) fn note(&mut self, line: usize, end: usize) {
        if line == self.noted
            && let Some(at) = self.at.get_mut(line)
            && let Ok(end) = u32::try_from(end)
        {
            *at = end;
            self.noted += 1;
        }
    }

    /// The lines of `head`, each without its CRLF, the empty one at the end included.
    ///
    /// `head` is what a scan has found whole: every LF follows a CR.
    pub(super) fn lines<'a>(&'a self, head: &'a [u8]) -> Lines<'a> {
        Lines {
            head,
            start: 0,
            ends: self.at.get(..self.noted).unwrap_or_default().iter(),
        }
    }
}

/// See [`Ends::lines`].
#[derive(Debug)]
pub(super) struct Lines<'a> {
    head: &'a [u8],
    start: usize,
    ends: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = match self.ends.next() {
            Some(&end) => end as usize,
            None => self.start + memchr(b'\n', self.head.get(self.start..)?)?,
        };
        let line = self.head.get(self.start..end.checked_sub(1)?)?;
        self.start = end + 1;
        Some(line)
    }
}

/// The name and the value of a field line, without the white space around it; `None` if its name
/// is no token that a colon follows.
///
/// The bytes of the value are not looked at.
#[inline]
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|&byte| !is_token_byte(byte))?;
    match line.split_at_checked(end)? {
        ([], _) => None,
        (name, [b':', value @ ..]) => Some((name, trim(value))),
        _ => None,
    }
}

/// Whether a value has no byte that none may have (RFC 9110, 5.5): for those that no
/// `HeaderValue` is made of, which looks itself.
pub(super) fn is_value(value: &[u8]) -> bool {
    // Without an early exit, so that the compiler makes vectors of it.
    let bad = |bad, &byte: &u8| bad | (byte < b' ' && byte != b'\t') | (byte == 0x7f);
    !value.iter().fold(false, bad)
}

/// As many lines as a browser's request has; more are no fault.
const NOTED: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(head: &[u8], noted: usize) -> Ends {
        let mut ends = Ends::new();
        let all = memchr::memchr_iter(b'\n', head).enumerate();
        all.take(noted).for_each(|(line, end)| ends.note(line, end));
        ends
    }

    #[test]
    fn lines_are_the_same_however_many_ends_are_noted() {
        let head = (0..30).fold(String::new(), |head, n| head + &"x".repeat(n) + "\r\n");
        let expected: Vec<String> = (0..30).map(|n| "x".repeat(n)).collect();
        for noted in 0..=30 {
            let ends = ends(head.as_bytes(), noted);
            let lines: Vec<&[u8]> = ends.lines(head.as_bytes()).collect();
            assert!(
                lines
                    .iter()
                    .copied()
                    .eq(expected.iter().map(String::as_bytes))
            );
            assert_eq!(ends.noted, noted.min(NOTED));
        }
    }

    #[test]
    fn an_end_behind_one_that_was_not_noted_is_not_noted() {
        let mut ends = Ends::new();
        ends.note(1, 9);
        assert_eq!(ends.noted, 0);
        ends.note(0, 2);
        ends.note(0, 3);
        assert_eq!((ends.noted, ends.at[0]), (1, 2));
        ends.note(1, usize::MAX);
        assert_eq!(ends.noted, 1);
    }

    #[test]
    fn a_field_is_a_token_a_colon_and_a_value() {
        assert_eq!(field(b"a: b c\t "), Some((&b"a"[..], &b"b c"[..])));
        assert_eq!(field(b"a:"), Some((&b"a"[..], &b""[..])));
        assert_eq!(field(b"a: : "), Some((&b"a"[..], &b":"[..])));
        for bad in [
            &b""[..],
            b":",
            b"a",
            b"a b",
            b"a :b",
            b" a:b",
            b"a\x80:b",
            b"\t",
        ] {
            assert_eq!(field(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn values_hold_what_a_header_value_may_hold() {
        for byte in 0..=u8::MAX {
            let value = [b'x', byte];
            let expected = http::HeaderValue::from_bytes(&value).is_ok();
            assert_eq!(is_value(&value), expected, "{byte}");
        }
        assert!(is_value(b""));
    }
}
