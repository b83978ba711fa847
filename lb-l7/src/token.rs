//! Tokens, and the white space around them (RFC 9110, 5.6.2 and 5.6.3).

/// Whether `byte` may stand in a token.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|&is| is)
}

/// Whether `bytes` are a token: not empty, and nothing but token bytes.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// `bytes` without the spaces and tabs around them (OWS).
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    // One space at the start is what nearly everyone writes.
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    match bytes {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => trim_all(bytes),
        _ => bytes,
    }
}

#[cold]
fn trim_all(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The bytes of tokens: a look-up costs less than the comparisons.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = may_be_in_token(byte);
        byte += 1;
    }
    table
};

const fn may_be_in_token(byte: u8) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_are_those_of_the_rfc() {
        let others = "\"(),/:;<=>?@[\\]{} \t\x7f";
        for byte in 0..=255_u8 {
            let expected = byte.is_ascii_graphic() && !others.as_bytes().contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#x}");
        }
        assert!(is_token(b"a-b") && !is_token(b"") && !is_token(b"a b"));
    }

    #[test]
    fn white_space_goes_from_both_ends_and_from_nowhere_else() {
        for (text, expected) in [
            ("", ""),
            (" ", ""),
            (" \t ", ""),
            ("a", "a"),
            (" a", "a"),
            ("  a", "a"),
            ("\ta \t", "a"),
            (" a b ", "a b"),
            ("\ra", "\ra"),
        ] {
            assert_eq!(trim(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
    }
}
