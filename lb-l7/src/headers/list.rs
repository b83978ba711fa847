//! Lists of elements apart by commas (RFC 9110, 5.6.1).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::token::trim;

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
}
