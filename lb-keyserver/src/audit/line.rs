//! Reads a line of a log.
#![warn(clippy::indexing_slicing)]

use super::chain;
use super::json::from_hex;

/// No line is longer, its end included.
///
/// A `sign` line has some 700 bytes, and up to six for each of two names of 255; a `torn` line up to
/// six for each of 1,024.
pub(super) const MAX_LINE: usize = 8_192;

/// A line whose hash is right.
#[derive(Debug)]
pub(super) struct ReadLine<'a> {
    pub(super) seq: u64,
    pub(super) prev: [u8; 32],
    pub(super) hash: [u8; 32],
    pub(super) body: Body<'a>,
}

/// What a line says.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Body<'a> {
    Begin {
        at: u64,
        mac: Option<[u8; 32]>,
    },
    Checkpoint {
        at: u64,
        mac: [u8; 32],
    },
    Lost(u64),
    Open,
    Sign,
    Torn,
    /// Of a version of this format that is yet to come.
    Unknown(&'a [u8]),
}

/// Why bytes are no line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BadLine {
    /// It does not have the form.
    Malformed,
    /// It does, and has been changed.
    Hash,
}

impl<'a> ReadLine<'a> {
    /// Reads a line, which comes without its line feed.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, BadLine> {
        let (covered, hash) = split(line).ok_or(BadLine::Malformed)?;
        let mut read = Self::fields(covered).ok_or(BadLine::Malformed)?;
        read.hash = hash;
        if chain::hash(&read.prev, covered) != hash {
            return Err(BadLine::Hash);
        }
        Ok(read)
    }

    fn fields(covered: &'a [u8]) -> Option<Self> {
        let (seq, rest) = number(covered.strip_prefix(br#"{"seq":"#)?)?;
        let (prev, rest) = digest(rest.strip_prefix(br#","prev":"#)?)?;
        let rest = rest.strip_prefix(br#","kind":""#)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (kind, rest) = rest.split_at_checked(end)?;
        let rest = rest.strip_prefix(b"\"")?;
        Some(Self {
            seq,
            prev,
            hash: [0; 32],
            body: body(kind, rest)?,
        })
    }
}

fn body<'a>(kind: &'a [u8], rest: &'a [u8]) -> Option<Body<'a>> {
    Some(match kind {
        b"begin" => {
            let (at, rest) = number(rest.strip_prefix(br#","version":1,"at":"#)?)?;
            let mac = rest.strip_prefix(br#","mac":"#)?;
            let mac = match mac {
                b"null" => None,
                mac => Some(whole(digest(mac)?)?),
            };
            Body::Begin { at, mac }
        }
        b"checkpoint" => {
            let (at, rest) = number(rest.strip_prefix(br#","at":"#)?)?;
            let mac = whole(digest(rest.strip_prefix(br#","mac":"#)?)?)?;
            Body::Checkpoint { at, mac }
        }
        b"lost" => {
            let (_, rest) = number(rest.strip_prefix(br#","at":"#)?)?;
            Body::Lost(whole(number(rest.strip_prefix(br#","count":"#)?)?)?)
        }
        b"open" => Body::Open,
        b"sign" => Body::Sign,
        b"torn" => Body::Torn,
        other => Body::Unknown(other),
    })
}

/// What the hash covers, and the hash.
fn split(line: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let (covered, end) = line.split_at_checked(line.len().checked_sub(END)?)?;
    let hash = end.strip_prefix(br#","hash":""#)?.strip_suffix(br#""}"#)?;
    Some((covered, from_hex(hash)?))
}

/// Bytes of `,"hash":"`, 64 digits, and `"}`.
const END: usize = 9 + 64 + 2;

fn whole<T>((value, rest): (T, &[u8])) -> Option<T> {
    rest.is_empty().then_some(value)
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

fn digest(text: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (digits, rest) = text.strip_prefix(b"\"")?.split_at_checked(64)?;
    Some((from_hex(digits)?, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::json::Line;

    /// A line of those fields, with the hash that is right for it.
    fn line(fields: &str) -> Vec<u8> {
        let covered = format!(r#"{{"seq":7,"prev":"{}","kind":{fields}"#, "0a".repeat(32));
        let mut end = Vec::new();
        let mut line = Line::new(&mut end);
        line.number("x", 0)
            .hex("hash", &chain::hash(&[0x0a; 32], covered.as_bytes()));
        line.end();
        let end = &end[br#"{"x":0"#.len()..end.len() - 1];
        [covered.as_bytes(), end].concat()
    }

    fn read(fields: &str) -> Option<Body<'static>> {
        let line = line(fields).leak();
        let read = ReadLine::parse(line);
        assert!(!matches!(read, Err(BadLine::Hash)));
        read.ok().map(|read| {
            assert_eq!((read.seq, read.prev), (7, [0x0a; 32]));
            read.body
        })
    }

    #[test]
    fn each_kind_is_read() {
        let mac = "0b".repeat(32);
        let sealed = Some(Body::Begin {
            at: 5,
            mac: Some([0x0b; 32]),
        });
        assert_eq!(
            read(&format!(r#""begin","version":1,"at":5,"mac":"{mac}""#)),
            sealed
        );
        let plain = Some(Body::Begin { at: 5, mac: None });
        assert_eq!(read(r#""begin","version":1,"at":5,"mac":null"#), plain);
        let checkpoint = Some(Body::Checkpoint {
            at: 5,
            mac: [0x0b; 32],
        });
        assert_eq!(
            read(&format!(r#""checkpoint","at":5,"mac":"{mac}""#)),
            checkpoint
        );
        assert_eq!(read(r#""lost","at":5,"count":3"#), Some(Body::Lost(3)));
        assert_eq!(read(r#""open","at":5"#), Some(Body::Open));
        assert_eq!(read(r#""sign","at":5"#), Some(Body::Sign));
        assert_eq!(read(r#""torn","at":5"#), Some(Body::Torn));
        assert_eq!(read(r#""new","at":5"#), Some(Body::Unknown(b"new")));
    }

    #[test]
    fn a_field_that_is_missing_or_more_than_there_is_makes_it_malformed() {
        let mac = "0b".repeat(32);
        for bad in [
            String::new(),
            r#""sign"#.to_owned(),
            r#""begin","version":2,"at":5,"mac":null"#.to_owned(),
            r#""begin","version":1,"at":5,"mac":nul"#.to_owned(),
            r#""begin","version":1,"at":5,"mac":null,"#.to_owned(),
            r#""begin","version":1,"at":,"mac":null"#.to_owned(),
            format!(r#""begin","version":1,"at":5,"mac":"{mac}","x":1"#),
            format!(r#""checkpoint","at":5,"mac":"{mac}","x":1"#),
            r#""checkpoint","at":5,"mac":null"#.to_owned(),
            r#""lost","at":5,"count":3,"x":1"#.to_owned(),
            r#""lost","at":5,"count":99999999999999999999"#.to_owned(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_that_is_cut_off_is_a_line() {
        let line = line(r#""sign","at":5"#);
        assert!(ReadLine::parse(&line).is_ok());
        for length in 0..line.len() {
            assert!(ReadLine::parse(&line[..length]).is_err(), "{length}");
            assert!(
                ReadLine::parse(&line[line.len() - length..]).is_err(),
                "{length}"
            );
        }
    }
}
