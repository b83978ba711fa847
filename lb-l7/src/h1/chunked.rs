//! The body behind a head: counted, chunked, or up to the connection's end.

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::framing::MAX_LENGTH;
use super::{Rejection, Scan, trailers};
use crate::body::BodyLength;
use crate::token::is_token_byte;

/// A piece of a body as the decoder finds it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the pieces there are"
)]
pub enum Piece {
    /// Bytes of the content, not empty: a slice of the buffer.
    Data(Bytes),
    /// The fields behind the content, at least one; nothing follows them.
    Trailers(HeaderMap),
    /// There is no more. Said as often as asked.
    End,
}

/// How much may stand behind the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TrailerLimits {
    /// Bytes, with the empty line; 16 KiB by default.
    pub bytes: usize,
    /// Field lines; 32 by default, and 64 at most.
    pub fields: usize,
}

impl Default for TrailerLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            fields: 32,
        }
    }
}

/// Takes a body off a buffer, piece by piece, and never a byte of what is behind it.
///
/// Content is not copied: a piece is as large as what is in the buffer and in the chunk.
///
/// # Examples
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use lb_l7::BodyLength;
/// use lb_l7::h1::{BodyDecoder, Piece};
///
/// let mut decoder = BodyDecoder::new(BodyLength::Streamed);
/// let mut buffer = BytesMut::from("5\r\nhello\r\n0\r\n\r\nGET /next");
///
/// assert_eq!(decoder.decode(&mut buffer)?, Some(Piece::Data(Bytes::from("hello"))));
/// assert_eq!(decoder.decode(&mut buffer)?, Some(Piece::End));
/// assert_eq!(buffer, "GET /next");
/// # Ok::<(), lb_l7::h1::Rejection>(())
/// ```
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes that chunk extensions may still hold.
    extensions: usize,
    trailers: TrailerLimits,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes are to come.
    Exact(u64),
    /// All that comes is content.
    UntilClose,
    /// A chunk's size is to come; so many bytes of its line were looked at.
    Size(usize),
    /// So many bytes of a chunk are to come, at least one, and a CRLF behind them.
    Chunk(u64),
    /// The CRLF behind a chunk is to come.
    ChunkEnd,
    /// The trailer section is to come.
    Trailers(Scan),
    Done,
}

impl BodyDecoder {
    /// Starts behind a head that says this of its body.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        Self {
            state: match length {
                BodyLength::Empty | BodyLength::Exact(0) => State::Done,
                BodyLength::Exact(bytes) => State::Exact(bytes),
                BodyLength::Streamed => State::Size(0),
                BodyLength::UntilClose => State::UntilClose,
            },
            extensions: MAX_EXTENSIONS,
            trailers: TrailerLimits::default(),
        }
    }

    /// Limits the trailers.
    #[must_use]
    pub const fn trailers(mut self, limits: TrailerLimits) -> Self {
        self.trailers = limits;
        self
    }

    /// Whether the body has ended, so that what is in the buffer belongs to the next message.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes of content are still to come, if the head said how many there are.
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Exact(bytes) => Some(bytes),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece off the front of `buffer`, or returns `None` if more bytes are needed.
    ///
    /// Costs no more than the bytes that are new, however often it is called.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] says why the bytes are no body that every parser reads alike. It is the same
    /// however the bytes are cut into reads; calling again is then of no use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Rejection> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Some(Piece::End)),
                State::UntilClose => {
                    let data = buffer.split();
                    return Ok((!data.is_empty()).then(|| Piece::Data(data.freeze())));
                }
                State::Exact(remaining) => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state = State::Done;
                    }
                    return Ok(data.map(Piece::Data));
                }
                State::Chunk(remaining) => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(data.map(Piece::Data));
                }
                State::ChunkEnd => {
                    if !chunk_end(buffer)? {
                        return Ok(None);
                    }
                    self.state = State::Size(0);
                }
                State::Size(seen) => {
                    let Some(size) = parse_size(buffer, seen, &mut self.extensions)? else {
                        return Ok(None);
                    };
                    self.state = match size {
                        0 => State::Trailers(Scan::default()),
                        size => State::Chunk(size),
                    };
                }
                State::Trailers(scan) => {
                    let Some(fields) = trailers::parse(buffer, scan, &self.trailers)? else {
                        return Ok(None);
                    };
                    self.state = State::Done;
                    if !fields.is_empty() {
                        return Ok(Some(Piece::Trailers(fields)));
                    }
                }
            }
        }
    }

    /// The connection has ended, and all that came was decoded.
    ///
    /// # Errors
    ///
    /// [`Rejection::Truncated`], if the body had not ended.
    pub fn handle_close(&mut self) -> Result<(), Rejection> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Rejection::Truncated),
        }
    }
}

/// Takes what there is of so many bytes.
fn take(buffer: &mut BytesMut, remaining: &mut u64) -> Option<Bytes> {
    let most = usize::try_from(*remaining).unwrap_or(usize::MAX);
    let length = buffer.len().min(most);
    if length == 0 {
        return None;
    }
    *remaining -= length as u64;
    Some(buffer.split_to(length).freeze())
}

/// Takes the CRLF behind a chunk, if it is there.
fn chunk_end(buffer: &mut BytesMut) -> Result<bool, Rejection> {
    match buffer.get(..buffer.len().min(2)) {
        Some(b"\r\n") => {
            buffer.advance(2);
            Ok(true)
        }
        Some(b"" | b"\r") => Ok(false),
        _ => Err(Rejection::ChunkEnd),
    }
}

/// Takes the line with a chunk's size, if it is whole; its first `seen` bytes hold no line's end.
fn parse_size(
    buffer: &mut BytesMut,
    seen: &mut usize,
    extensions: &mut usize,
) -> Result<Option<u64>, Rejection> {
    let most = MAX_DIGITS + *extensions + 2;
    let new = buffer.get(*seen..).unwrap_or_default();
    let Some(at) = memchr(b'\n', new) else {
        *seen = buffer.len();
        if buffer.len() < most {
            return Ok(None);
        }
        return Err(size_fault(buffer));
    };
    let end = *seen + at;
    if end >= most {
        return Err(size_fault(buffer));
    }
    let line = buffer.get(..end).unwrap_or_default();
    let Some(line) = line.strip_suffix(b"\r") else {
        return Err(Rejection::BareLineFeed);
    };
    let (size, extension) = split_size(line)?;
    check_extensions(extension).map_err(|fault| match memchr(b'\r', extension) {
        Some(_) => Rejection::BareCarriageReturn,
        None => fault,
    })?;
    *extensions = extensions
        .checked_sub(extension.len())
        .ok_or(Rejection::ChunkExtensionsTooLarge)?;
    buffer.advance(end + 1);
    Ok(Some(size))
}

/// What is wrong with a line that is too long.
#[cold]
fn size_fault(line: &[u8]) -> Rejection {
    match split_size(line) {
        Ok((_, [b';' | b' ' | b'\t', ..])) => Rejection::ChunkExtensionsTooLarge,
        Ok(_) => Rejection::BareCarriageReturn,
        Err(fault) => fault,
    }
}

/// The size at the front of a line, and what is behind it.
fn split_size(line: &[u8]) -> Result<(u64, &[u8]), Rejection> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    if digits.is_empty() {
        return Err(Rejection::ChunkSize);
    }
    if digits.len() > MAX_DIGITS {
        return Err(Rejection::ChunkSizeOverflow);
    }
    let size = digits.iter().fold(0_u64, |size, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        (size << 4) | u64::from(digit)
    });
    if size > MAX_LENGTH {
        return Err(Rejection::ChunkSizeOverflow);
    }
    match rest {
        [] | [b';' | b' ' | b'\t' | b'\r', ..] => Ok((size, rest)),
        _ => Err(Rejection::ChunkSize),
    }
}

/// Checks `*( BWS ";" BWS name [ BWS "=" BWS value ] )` (RFC 9112, 7.1.1).
///
/// Without the white space, which only ancient senders write and which parsers treat unlike.
fn check_extensions(mut rest: &[u8]) -> Result<(), Rejection> {
    while let [b';', name @ ..] = rest {
        rest = skip_token(name)?;
        if let [b'=', value @ ..] = rest {
            rest = match value {
                [b'"', quoted @ ..] => skip_quoted(quoted)?,
                _ => skip_token(value)?,
            };
        }
    }
    match rest {
        [] => Ok(()),
        _ => Err(Rejection::ChunkExtension),
    }
}

/// What is behind a token.
fn skip_token(bytes: &[u8]) -> Result<&[u8], Rejection> {
    let end = bytes
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(bytes.len());
    match bytes.split_at(end) {
        ([], _) => Err(Rejection::ChunkExtension),
        (_, rest) => Ok(rest),
    }
}

/// What is behind the rest of a quoted string (RFC 9110, 5.6.4).
fn skip_quoted(mut bytes: &[u8]) -> Result<&[u8], Rejection> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
            [b'\t' | b' '..=b'[' | b']'..=b'~' | 0x80.., rest @ ..] => rest,
            _ => return Err(Rejection::ChunkExtension),
        }
    }
}

/// What hyper bears as well; nobody sends more than a signature a chunk.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// What a 64-bit size takes.
const MAX_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &str) -> Result<Option<Piece>, Rejection> {
        decode_within(body, TrailerLimits::default())
    }

    fn decode_within(body: &str, limits: TrailerLimits) -> Result<Option<Piece>, Rejection> {
        let mut decoder = BodyDecoder::new(BodyLength::Streamed).trailers(limits);
        decoder.decode(&mut body.into())
    }

    #[test]
    fn extensions_may_have_16_kib_in_a_body_and_no_more() {
        let chunk = |bytes: usize| format!("1;{}\r\n", "x".repeat(bytes - 1));
        let fine = Ok(Some(Piece::Data(Bytes::from_static(b"!"))));
        assert_eq!(decode(&(chunk(16 * 1024) + "!")), fine);
        let larger = chunk(16 * 1024 + 1);
        assert_eq!(decode(&larger), Err(Rejection::ChunkExtensionsTooLarge));
        let in_zeros = larger.replacen('1', "0000000000000001", 1);
        assert_eq!(decode(&in_zeros), Err(Rejection::ChunkExtensionsTooLarge));
        // The line's end is not waited for, once it cannot be in time.
        let begun = |bytes: usize| format!("1;{}", "x".repeat(bytes - 2));
        let most = 16 + 16 * 1024 + 2;
        assert_eq!(decode(&begun(most - 1)), Ok(None));
        assert_eq!(
            decode(&begun(most)),
            Err(Rejection::ChunkExtensionsTooLarge)
        );
        assert_eq!(decode(&"0".repeat(most)), Err(Rejection::ChunkSizeOverflow));
    }

    #[test]
    fn the_extensions_of_all_chunks_count() {
        let chunk = format!("1;{}\r\n!\r\n", "x".repeat(1023));
        let mut decoder = BodyDecoder::new(BodyLength::Streamed);
        let mut buffer = BytesMut::from(&*chunk.repeat(17));
        for _ in 0..16 {
            assert!(matches!(
                decoder.decode(&mut buffer),
                Ok(Some(Piece::Data(_)))
            ));
        }
        let refused = decoder.decode(&mut buffer);
        assert_eq!(refused, Err(Rejection::ChunkExtensionsTooLarge));
    }

    #[test]
    fn trailers_may_be_as_many_and_as_large_as_their_limits_and_no_more() {
        let limits = |bytes, fields| TrailerLimits { bytes, fields };
        let body = "0\r\nX: y\r\nX: z\r\n\r\n";
        let length = body.len() - 3;
        let fine = |limits| matches!(decode_within(body, limits), Ok(Some(Piece::Trailers(_))));
        assert!(fine(limits(length, 2)));
        let refused = decode_within(body, limits(length - 1, 2));
        assert_eq!(refused, Err(Rejection::HeadTooLarge));
        assert_eq!(
            decode_within(body, limits(length, 1)),
            Err(Rejection::TooManyFields)
        );

        let many = |fields| format!("0\r\n{}\r\n", "X: y\r\n".repeat(fields));
        let default = TrailerLimits::default();
        assert!(matches!(decode_within(&many(32), default), Ok(Some(_))));
        assert_eq!(
            decode_within(&many(33), default),
            Err(Rejection::TooManyFields)
        );
        let limits = limits(default.bytes, usize::MAX);
        assert!(matches!(decode_within(&many(64), limits), Ok(Some(_))));
        assert_eq!(
            decode_within(&many(65), limits),
            Err(Rejection::TooManyFields)
        );
    }

    #[test]
    fn no_trailers_may_be_allowed_at_all() {
        let limits = TrailerLimits {
            bytes: 2,
            fields: 0,
        };
        assert_eq!(decode_within("0\r\n\r\n", limits), Ok(Some(Piece::End)));
        let limits = TrailerLimits {
            bytes: 100,
            fields: 0,
        };
        let refused = decode_within("0\r\nX: y\r\n\r\n", limits);
        assert_eq!(refused, Err(Rejection::TooManyFields));
    }

    #[test]
    fn quoted_extensions_hold_what_a_quoted_string_may() {
        for fine in [
            "\t", " ", "!", "[", "]", "~", "\u{80}", "\u{ff}", "\\\\", "\\\"", "\\\t", "",
        ] {
            let body = format!("1;x=\"{fine}\"\r\n!");
            assert!(matches!(decode(&body), Ok(Some(_))), "{fine:?}");
        }
        for bad in ["\u{7f}", "\u{1}", "\"", "\\", "\\\u{7f}", "\\\u{1f}"] {
            let body = format!("1;x=\"{bad}\"\r\n!");
            assert_eq!(decode(&body), Err(Rejection::ChunkExtension), "{bad:?}");
        }
    }

    #[test]
    fn every_hexadecimal_digit_has_its_value() {
        for (at, digit) in "0123456789abcdef".chars().enumerate().skip(1) {
            for digit in [digit, digit.to_ascii_uppercase()] {
                let mut decoder = BodyDecoder::new(BodyLength::Streamed);
                let mut buffer = BytesMut::from(&*format!("1{digit}\r\n{}", "!".repeat(40)));
                let Ok(Some(Piece::Data(data))) = decoder.decode(&mut buffer) else {
                    panic!("{digit} is a digit");
                };
                assert_eq!(data.len(), 16 + at);
            }
        }
    }

    #[test]
    fn what_remains_is_told_where_it_was_said() {
        let mut decoder = BodyDecoder::new(BodyLength::Exact(5));
        assert_eq!(decoder.remaining(), Some(5));
        assert!(decoder.decode(&mut "abc".into()).is_ok());
        assert_eq!(decoder.remaining(), Some(2));
        assert_eq!(decoder.handle_close(), Err(Rejection::Truncated));
        assert!(decoder.decode(&mut "de".into()).is_ok());
        assert_eq!(decoder.remaining(), Some(0));
        assert!(decoder.is_done());
        assert_eq!(decoder.handle_close(), Ok(()));
        assert_eq!(BodyDecoder::new(BodyLength::Streamed).remaining(), None);
        assert!(BodyDecoder::new(BodyLength::Empty).is_done());
        assert!(BodyDecoder::new(BodyLength::Exact(0)).is_done());
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut decoder = BodyDecoder::new(BodyLength::UntilClose);
        let mut buffer = BytesMut::from("abc");
        let data = Piece::Data(Bytes::from_static(b"abc"));
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(data)));
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert_eq!(decoder.remaining(), None);
        assert!(!decoder.is_done());
        assert_eq!(decoder.handle_close(), Ok(()));
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Piece::End)));
    }
}
