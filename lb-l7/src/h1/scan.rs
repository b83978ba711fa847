//! Where a head ends, found once however its bytes arrive.

use bytes::{Buf as _, BytesMut};

use super::Rejection;
use super::lines::Ends;
use crate::token::is_token_byte;

/// The most fields that [`HeadLimits::fields`] may allow.
pub const MAX_FIELDS: usize = 256;

/// How much a head may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Bytes, from the first line to the empty one; 64 KiB by default.
    pub bytes: usize,
    /// Field lines; 100 by default, and [`MAX_FIELDS`] at most.
    pub fields: usize,
    /// Bytes of the request target; 16 KiB by default, and 65,534 at most.
    pub target: usize,
}

impl HeadLimits {
    /// What Apache and Node.js allow or more: nothing legitimate is known to need it.
    pub const DEFAULT: Self = Self {
        bytes: 64 * 1024,
        fields: 100,
        target: 16 * 1024,
    };

    /// The longest first line, with its end, that can still be a request of this target.
    const fn first_line(&self) -> usize {
        self.target
            .saturating_add(MAX_METHOD + "  HTTP/1.1\r\n".len())
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far the head at the front of a buffer was looked at.
///
/// One for each connection: a head that arrives byte by byte is looked at once, not once a byte. It
/// starts anew by itself when a head was taken off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Bytes that hold no line's end, or whole lines.
    seen: usize,
    /// Where the line starts that is looked at.
    line: usize,
    /// Lines that ended.
    lines: usize,
    /// Whether an empty line before the first was taken off.
    skipped: bool,
}

impl Scan {
    /// Whether nothing of a message has come: an end of the connection here is no truncation.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// The length of a request's head with its empty line, once that is there.
    pub(super) fn request(
        &mut self,
        buffer: &mut BytesMut,
        limits: &HeadLimits,
        ends: &mut Ends,
    ) -> Result<Option<usize>, Rejection> {
        if self.seen == 0 {
            match buffer.first() {
                None => return Ok(None),
                Some(b'\r') => match (buffer.get(1), self.skipped) {
                    (None, _) => return Ok(None),
                    (Some(b'\n'), true) => return Err(Rejection::EmptyLines),
                    (Some(b'\n'), false) => {
                        // RFC 9112, 2.2: a server SHOULD ignore at least one empty line there.
                        buffer.advance(2);
                        self.skipped = true;
                        return self.request(buffer, limits, ends);
                    }
                    (Some(_), _) => return Err(Rejection::BareCarriageReturn),
                },
                Some(b'\n') => return Err(Rejection::BareLineFeed),
                Some(b' ' | b'\t') => return Err(Rejection::LeadingSpace),
                // Another protocol, such as TLS, is not made to wait for a line's end.
                Some(&byte) if !is_token_byte(byte) => return Err(Rejection::Method),
                Some(_) => {}
            }
        }
        self.advance(buffer, &Bounds::of_head(limits, limits.first_line()), ends)
    }

    /// The length of a response's head with its empty line, once that is there.
    pub(super) fn response(
        &mut self,
        buffer: &[u8],
        limits: &HeadLimits,
        ends: &mut Ends,
    ) -> Result<Option<usize>, Rejection> {
        if self.seen < STATUS_LINE.len() {
            let known = buffer.len().min(STATUS_LINE.len());
            if buffer.get(..known) != STATUS_LINE.get(..known) {
                return Err(Rejection::StatusLine);
            }
        }
        self.advance(buffer, &Bounds::of_head(limits, limits.bytes), ends)
    }

    /// The length of a section of `most` fields and its empty line, once that is there.
    pub(super) fn fields(
        &mut self,
        buffer: &[u8],
        bytes: usize,
        most: usize,
        ends: &mut Ends,
    ) -> Result<Option<usize>, Rejection> {
        let bounds = Bounds {
            bytes,
            first_line: bytes,
            least: bytes,
            lines: most,
        };
        self.advance(buffer, &bounds, ends)
    }

    fn advance(
        &mut self,
        buffer: &[u8],
        bounds: &Bounds,
        ends: &mut Ends,
    ) -> Result<Option<usize>, Rejection> {
        // Words instead of a search for each line: lines are short, and a search has to be begun.
        let rest = buffer.get(self.seen..).unwrap_or_default();
        let (words, tail) = rest.as_chunks();
        let mut start = self.seen;
        for word in words {
            let mut found = line_feeds(*word);
            while found != 0 {
                let end = start + (found.trailing_zeros() / u8::BITS) as usize;
                if self.line(buffer, end, bounds, ends)? {
                    return Ok(Some(self.seen));
                }
                found &= found - 1;
            }
            start += size_of_val(word);
        }
        for (at, &byte) in tail.iter().enumerate() {
            if byte == b'\n' && self.line(buffer, start + at, bounds, ends)? {
                return Ok(Some(self.seen));
            }
        }
        self.check(buffer.len(), bounds)?;
        self.seen = buffer.len();
        Ok(None)
    }

    /// Takes note of a line that ends with the LF at `end`; whether it is the empty one.
    #[inline]
    fn line(
        &mut self,
        buffer: &[u8],
        end: usize,
        bounds: &Bounds,
        ends: &mut Ends,
    ) -> Result<bool, Rejection> {
        if end >= bounds.least {
            self.check(end + 1, bounds)?;
        }
        let before = end.checked_sub(1).filter(|&at| at >= self.line);
        let Some(before) = before.filter(|&at| buffer.get(at) == Some(&b'\r')) else {
            return Err(Rejection::BareLineFeed);
        };
        let is_empty = before == self.line;
        ends.note(self.lines, end);
        self.seen = end + 1;
        self.line = self.seen;
        if !is_empty {
            if self.lines == bounds.lines {
                return Err(Rejection::TooManyFields);
            }
            self.lines += 1;
        }
        Ok(is_empty)
    }

    /// Whether this many bytes, all of them in or before one line, can still be a whole head.
    fn check(&self, bytes: usize, bounds: &Bounds) -> Result<(), Rejection> {
        if self.lines == 0 && bytes > bounds.first_line {
            return Err(Rejection::TargetTooLong);
        }
        if bytes > bounds.bytes {
            return Err(Rejection::HeadTooLarge);
        }
        Ok(())
    }
}

/// How far a scan goes.
struct Bounds {
    bytes: usize,
    /// Bytes of the first line with its end.
    first_line: usize,
    /// The lower of the two.
    least: usize,
    /// Lines before the empty one.
    lines: usize,
}

impl Bounds {
    fn of_head(limits: &HeadLimits, first_line: usize) -> Self {
        Self {
            bytes: limits.bytes,
            first_line,
            least: limits.bytes.min(first_line),
            lines: limits.fields.min(MAX_FIELDS) + 1,
        }
    }
}

/// The high bit of each byte that is an LF, the first byte lowest.
const fn line_feeds(word: [u8; 8]) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let other = u64::from_le_bytes(word) ^ u64::from_ne_bytes([b'\n'; 8]);
    // A byte that is zero does not carry into its high bit (Warren, Hacker's Delight, 6-1).
    !(((other & LOW) + LOW) | other | LOW)
}

/// Twice what the registered methods need; those of WebDAV have up to 17 bytes.
pub(super) const MAX_METHOD: usize = 32;

/// What every response begins with.
const STATUS_LINE: &[u8] = b"HTTP/1.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::parse_request;

    fn parse(head: &str, limits: &HeadLimits) -> Result<bool, Rejection> {
        let mut fields = http::HeaderMap::new();
        parse_request(&mut head.into(), &mut Scan::default(), limits, &mut fields)
            .map(|request| request.is_some())
    }

    #[test]
    fn every_line_feed_of_a_word_is_found_and_nothing_else() {
        for first in 0..=u8::MAX {
            for second in [b'\n', 0x0b, 0x8a, b'x'] {
                let mut word = [first; 8];
                word[3] = second;
                word[7] = second;
                let expected = word.map(|byte| if byte == b'\n' { 0x80 } else { 0 });
                assert_eq!(line_feeds(word), u64::from_le_bytes(expected));
            }
        }
    }

    #[test]
    fn a_head_may_have_as_many_bytes_as_its_limit_and_no_more() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let limits = |bytes| HeadLimits {
            bytes,
            ..HeadLimits::DEFAULT
        };
        assert_eq!(parse(head, &limits(head.len())), Ok(true));
        let less = limits(head.len() - 1);
        assert_eq!(parse(head, &less), Err(Rejection::HeadTooLarge));
        let begun = head.split_at(head.len() - 1).0;
        assert_eq!(parse(begun, &less), Ok(false));
        assert_eq!(
            parse(begun, &limits(head.len() - 2)),
            Err(Rejection::HeadTooLarge)
        );
    }

    #[test]
    fn a_head_may_have_as_many_fields_as_its_limit_and_no_more() {
        let head = |fields| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(fields)
            )
        };
        let limits = HeadLimits::DEFAULT;
        assert_eq!(parse(&head(99), &limits), Ok(true));
        assert_eq!(parse(&head(100), &limits), Err(Rejection::TooManyFields));
        let limits = HeadLimits {
            fields: usize::MAX,
            ..limits
        };
        assert_eq!(parse(&head(MAX_FIELDS - 1), &limits), Ok(true));
        assert_eq!(
            parse(&head(MAX_FIELDS), &limits),
            Err(Rejection::TooManyFields)
        );
    }

    #[test]
    fn a_target_may_have_as_many_bytes_as_its_limit_and_no_more() {
        let limits = HeadLimits {
            target: 10,
            ..HeadLimits::DEFAULT
        };
        let head = |target| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(target));
        assert_eq!(parse(&head(9), &limits), Ok(true));
        assert_eq!(parse(&head(10), &limits), Err(Rejection::TargetTooLong));
        assert_eq!(parse(&head(1000), &limits), Err(Rejection::TargetTooLong));
        // It is refused before its line has ended, once no method could make the line that long.
        let begun = |bytes: usize| format!("GET /{}", "x".repeat(bytes - 5));
        assert_eq!(parse(&begun(limits.first_line()), &limits), Ok(false));
        let longer = begun(limits.first_line() + 1);
        assert_eq!(parse(&longer, &limits), Err(Rejection::TargetTooLong));
        let method = "M".repeat(MAX_METHOD);
        let longest = format!("{method} /123456789 HTTP/1.1\r\n");
        assert_eq!(longest.len(), limits.first_line());
        assert_eq!(parse(&longest, &limits), Ok(false));
    }

    #[test]
    fn a_scan_is_empty_until_a_message_begins() {
        let (mut scan, mut buffer) = (Scan::default(), BytesMut::from("\r\n"));
        let mut ends = Ends::new();
        assert_eq!(
            scan.request(&mut buffer, &HeadLimits::DEFAULT, &mut ends),
            Ok(None)
        );
        assert!(scan.is_empty() && buffer.is_empty());
        buffer.extend_from_slice(b"G");
        assert_eq!(
            scan.request(&mut buffer, &HeadLimits::DEFAULT, &mut ends),
            Ok(None)
        );
        assert!(!scan.is_empty());
    }
}
