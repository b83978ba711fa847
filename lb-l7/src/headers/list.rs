//! Lists of elements apart by commas (RFC 9110, 5.6.1).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The elements of every line of `name`, in order, without the spaces around them; empty ones are
/// left out. For fields whose elements have no quoted strings.
pub(crate) fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(of_value)
}

/// The elements of one line.
pub(crate) fn of_value(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &[u8]> {
    let parts = value.as_bytes().split(|&byte| byte == b',');
    parts.map(trim).filter(|element| !element.is_empty())
}

/// `bytes` without the spaces and tabs around them (OWS in RFC 9110, 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether `byte` may stand in a token (RFC 9110, 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `bytes` are a token: not empty, and nothing but token bytes.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn elements_of_all_lines_come_in_order_and_without_spaces() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static(" a ,,\tb\t, "));
        headers.append(CONNECTION, HeaderValue::from_static(","));
        headers.append(CONNECTION, HeaderValue::from_static("c d"));
        let all: Vec<_> = elements(&headers, &CONNECTION).collect();
        assert_eq!(all, [&b"a"[..], b"b", b"c d"]);
        let back: Vec<_> = elements(&headers, &CONNECTION).rev().collect();
        assert_eq!(back, [&b"c d"[..], b"b", b"a"]);
    }

    #[test]
    fn token_bytes_are_those_of_the_rfc() {
        let others = "\"(),/:;<=>?@[\\]{} \t\x7f";
        for byte in 0..=255_u8 {
            let expected = byte.is_ascii_graphic() && !others.as_bytes().contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#x}");
        }
        assert!(is_token(b"a-b") && !is_token(b"") && !is_token(b"a b"));
    }
}
