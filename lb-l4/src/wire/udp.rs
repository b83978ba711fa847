//! UDP (RFC 768).

use super::{Body, ParseError};

/// Bytes of a header.
pub const HEADER: usize = 8;

pub(super) const LENGTH: usize = 4;
pub(super) const CHECKSUM: usize = 6;

/// Reads the header at the front of `bytes`; its length may be up to `whole`.
#[inline(always)]
pub(super) fn parse(bytes: &[u8], whole: usize) -> Result<Body, ParseError> {
    let header = bytes.first_chunk::<HEADER>().ok_or(ParseError::Truncated)?;
    let length = u16::from_be_bytes([header[4], header[5]]);
    if usize::from(length) < HEADER {
        return Err(ParseError::HeaderLength);
    }
    if usize::from(length) > whole {
        return Err(ParseError::Length);
    }
    Ok(Body::Udp {
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_has_a_header_at_least_and_no_more_than_the_whole() {
        let parsed = |length: u8, whole| parse(&[0, 1, 0xff, 2, 0, length, 0, 0], whole);
        assert_eq!(parsed(7, 100), Err(ParseError::HeaderLength));
        assert_eq!(parsed(9, 8), Err(ParseError::Length));
        for (length, whole) in [(8, 8), (9, 9), (9, usize::MAX)] {
            let body = Body::Udp {
                source_port: 1,
                destination_port: 0xff02,
                length: length.into(),
            };
            assert_eq!(parsed(length, whole), Ok(body));
        }
    }
}
