//! Bytes that a probe sends and expects, as text or as hexadecimal digits.

use super::section::Section;

/// The bytes of `text_key`, or of `hex_key`; not of both.
pub(super) fn read(
    section: &mut Section<'_>,
    text_key: &'static str,
    hex_key: &'static str,
) -> Option<Vec<u8>> {
    let text = section.text(text_key, "a text");
    let hex = section.text_as(hex_key, "hexadecimal digits", |text| {
        hex(text)
            .ok_or_else(|| format!("{text:?} is not hexadecimal, expected pairs of 0-9 and a-f"))
    });
    if section.has(text_key) && section.has(hex_key) {
        section.wrong(
            hex_key,
            format!("expected one of {text_key} and {hex_key}, found both"),
        );
    }
    let bytes = hex.or_else(|| text.map(|text| text.as_bytes().to_vec()));
    let long = bytes.as_ref().filter(|bytes| bytes.len() > BYTES_MOST);
    if let Some(long) = long {
        let key = if section.has(hex_key) {
            hex_key
        } else {
            text_key
        };
        section.wrong(
            key,
            format!("expected at most {BYTES_MOST} bytes, found {}", long.len()),
        );
    }
    bytes
}

/// Pairs of hexadecimal digits, with or without spaces between the pairs.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    text.split_ascii_whitespace().flat_map(pairs).collect()
}

fn pairs(word: &str) -> impl Iterator<Item = Option<u8>> {
    word.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    })
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// One datagram that every path carries (the IPv6 minimum link MTU less its headers, RFC 8200, 5).
const BYTES_MOST: usize = 1_232;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_digits_are_bytes_whatever_the_space_between_them() {
        assert_eq!(hex("00ff7F"), Some(vec![0, 255, 127]));
        assert_eq!(hex(" 00 ff\t7f "), Some(vec![0, 255, 127]));
        assert_eq!(hex("a1B2"), Some(vec![0xa1, 0xb2]));
        assert_eq!(hex(""), Some(vec![]));
    }

    #[test]
    fn half_a_pair_or_another_letter_is_not_hexadecimal() {
        for text in ["0", "000", "0 0", "0g", "+1", "0x00", "é"] {
            assert_eq!(hex(text), None, "{text}");
        }
    }
}
