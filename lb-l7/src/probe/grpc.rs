//! The health protocol of gRPC (`grpc.health.v1`), encoded and decoded by hand: two messages of one
//! field each.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use lbcore::health::ProbeFailure;

use super::Answer;

/// The method that is called.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// Bytes of an answer that are read; one says what it has to in seven.
pub(super) const LARGEST: usize = 4 * 1024;

/// Makes a request one of gRPC.
pub(super) fn dress(parts: &mut request::Parts) {
    parts.method = Method::POST;
    parts.uri = http::Uri::from_static(PATH);
    let grpc = HeaderValue::from_static("application/grpc");
    parts.headers.insert(CONTENT_TYPE, grpc);
    let trailers = HeaderValue::from_static("trailers");
    parts.headers.insert(TE, trailers);
}

/// The message that asks for `service`, with the prefix that every message has: whether it is
/// compressed, and its length, four bytes, the highest first.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// Whether the server said that it serves.
pub(super) fn judge(answer: &Answer) -> Result<(), ProbeFailure> {
    let is_grpc = answer
        .fields
        .get(CONTENT_TYPE)
        .is_some_and(|is| is.as_bytes().starts_with(b"application/grpc"));
    let is_ok = |fields: &HeaderMap| {
        let status = fields.get("grpc-status");
        status.is_some_and(|status| status.as_bytes() == b"0")
    };
    let is_good = answer.status == StatusCode::OK
        && is_grpc
        && answer.trailers.as_ref().is_some_and(is_ok)
        && serving_status(&answer.body) == Some(SERVING);
    match is_good {
        true => Ok(()),
        false => Err(ProbeFailure::WrongAnswer),
    }
}

/// The status in a framed answer; 0 (unknown), if it has none.
fn serving_status(framed: &[u8]) -> Option<u64> {
    // Nothing was offered to be compressed by.
    let (&0, rest) = framed.split_first()? else {
        return None;
    };
    let (length, message) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    // One question has one answer.
    if length != message.len() {
        return None;
    }
    let mut status = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, 0) => status = take_varint(&mut rest)?,
            (_, kind) => skip(kind, &mut rest)?,
        }
    }
    Some(status)
}

/// Passes over a field of the future.
fn skip(kind: u64, rest: &mut &[u8]) -> Option<()> {
    let length = match kind {
        0 => return take_varint(rest).map(drop),
        1 => 8,
        2 => usize::try_from(take_varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *rest = rest.get(length..)?;
    Some(())
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(shift)?;
        if byte & 0x80 == 0 {
            // The tenth byte has room for one bit.
            return (bits << shift >> shift == bits).then_some(value);
        }
    }
    None
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or(0));
}

/// Field 1, of length and bytes.
const SERVICE: u8 = 1 << 3 | 2;

/// The one good status.
const SERVING: u64 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], message].concat()
    }

    #[test]
    fn a_question_is_five_bytes_and_a_name() {
        assert_eq!(question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(question("abc")[..], *b"\0\0\0\0\x05\x0a\x03abc");
        let long = "x".repeat(300);
        let asked = question(&long);
        assert_eq!(asked[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(asked[8..], *long.as_bytes());
    }

    #[test]
    fn a_status_is_found_among_other_fields() {
        assert_eq!(serving_status(&framed(&[8, 1])), Some(1));
        assert_eq!(serving_status(&framed(&[8, 2])), Some(2));
        assert_eq!(serving_status(&framed(&[])), Some(0));
        let all = [
            0x10, 0xff, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 2, 8, 2, 8, 1, 0x2d, 1, 2, 3, 4,
        ];
        assert_eq!(serving_status(&framed(&all)), Some(1));
        assert_eq!(
            serving_status(&framed(&[8, 1, 8, 2])),
            Some(2),
            "the last one counts"
        );
    }

    #[test]
    fn what_is_no_message_says_nothing() {
        let whole = framed(&[8, 1]);
        for length in 0..whole.len() {
            assert_eq!(serving_status(&whole[..length]), None, "{length}");
        }
        let mut compressed = whole.clone();
        compressed[0] = 1;
        assert_eq!(serving_status(&compressed), None);
        assert_eq!(serving_status(&[&whole[..], &whole].concat()), None);
        for bad in [
            &[8][..],
            &[0, 1],
            &[0x0b],
            &[0x12, 9, 1],
            &[0x15, 1],
            &[0x11, 1],
            &[0x0e],
        ] {
            assert_eq!(serving_status(&framed(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_number_has_at_most_64_bits() {
        let read = |bytes: &[u8]| take_varint(&mut &bytes[..]);
        let nine = [0xff; 9];
        assert_eq!(read(&[&nine[..], &[1]].concat()), Some(u64::MAX));
        assert_eq!(read(&[&nine[..], &[2]].concat()), None);
        assert_eq!(read(&[&nine[..], &[0x81, 0]].concat()), None);
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(value: usize) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            let mut rest = &out[..];
            prop_assert_eq!(take_varint(&mut rest), Some(value as u64));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_answer_makes_it_panic(bytes: Vec<u8>) {
            let _ = serving_status(&bytes);
            let _ = serving_status(&framed(&bytes));
        }
    }
}
