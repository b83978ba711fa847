//! Bytes from the network as text that no reader of the log takes for anything else (pure).

/// Writes bytes between the quotation marks of a JSON string (RFC 8259, 7).
///
/// UTF-8 stays as it is, but for what must be escaped, and for the control characters from U+007F to
/// U+009F, which a terminal might obey. A byte that is not part of UTF-8 becomes one character of
/// the private use area, U+EF00 and the byte, which is above U+EF7F; those characters are themselves
/// taken for three such bytes. So every string is valid JSON, and the bytes can be had back exactly.
#[inline]
pub(super) fn json(line: &mut Vec<u8>, text: &[u8]) {
    if are_plain(text) {
        line.extend_from_slice(text);
    } else {
        json_slowly(line, text);
    }
}

#[cold]
fn json_slowly(line: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut utf8 = [0; 4];
        for c in chunk.valid().chars() {
            match c {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                '\n' => line.extend_from_slice(b"\\n"),
                '\r' => line.extend_from_slice(b"\\r"),
                '\t' => line.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => unicode(line, u32::from(c)),
                STRAY_FIRST..=STRAY_LAST => {
                    let bytes = c.encode_utf8(&mut utf8).as_bytes();
                    bytes.iter().for_each(|&b| stray(line, b));
                }
                c => line.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|&b| stray(line, b));
    }
}

/// A byte that is not part of UTF-8.
fn stray(line: &mut Vec<u8>, b: u8) {
    unicode(line, STRAY | u32::from(b));
}

fn unicode(line: &mut Vec<u8>, code: u32) {
    let [.., high, low] = code.to_be_bytes();
    line.extend_from_slice(b"\\u");
    hex(line, high, b'a');
    hex(line, low, b'a');
}

/// Writes bytes between the quotation marks of the combined format, as nginx does.
///
/// What is not printable ASCII, a quotation mark and a backslash become `\x` and two hexadecimal
/// digits; so a line is one line, and the bytes can be had back exactly.
#[inline]
pub(super) fn combined(line: &mut Vec<u8>, text: &[u8]) {
    if are_plain(text) {
        line.extend_from_slice(text);
    } else {
        combined_slowly(line, text);
    }
}

#[cold]
fn combined_slowly(line: &mut Vec<u8>, text: &[u8]) {
    for &b in text {
        if is_plain(b) {
            line.push(b);
        } else {
            line.extend_from_slice(b"\\x");
            hex(line, b, b'A');
        }
    }
}

/// Whether all bytes stand for themselves in both formats.
///
/// Sixteen at a time, which the compiler makes a few vector instructions of; the last sixteen may
/// overlap those before.
#[inline]
fn are_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().fold(true, |plain, &b| plain & is_plain(b));
    };
    let (chunks, _) = text.as_chunks();
    chunks.iter().fold(sixteen_plain(last), |plain, chunk| {
        plain & sixteen_plain(chunk)
    })
}

#[inline]
fn sixteen_plain(bytes: &[u8; 16]) -> bool {
    let special = bytes.map(|b| u8::from(!is_plain(b)));
    special.iter().fold(0, |any, b| any | b) == 0
}

/// Whether a byte stands for itself in both formats.
#[inline]
const fn is_plain(b: u8) -> bool {
    (b >= b' ') & (b < 0x7f) & (b != b'"') & (b != b'\\')
}

/// Two hexadecimal digits; `a` is the digit ten.
fn hex(line: &mut Vec<u8>, b: u8, a: u8) {
    for nibble in [b >> 4, b & 15] {
        line.push(if nibble < 10 {
            b'0' + nibble
        } else {
            a + nibble - 10
        });
    }
}

/// Where stray bytes are shown, in the private use area of the basic plane.
const STRAY: u32 = 0xef00;
const STRAY_FIRST: char = '\u{ef80}';
const STRAY_LAST: char = '\u{efff}';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json_of(text: &[u8]) -> String {
        let mut line = b"\"".to_vec();
        json(&mut line, text);
        line.push(b'"');
        String::from_utf8(line).unwrap()
    }

    /// The bytes that were escaped, by another's parser.
    fn read(json: &str) -> Vec<u8> {
        let text: String = serde_json::from_str(json).unwrap();
        let mut bytes = Vec::new();
        for c in text.chars() {
            match u32::from(c) {
                code @ 0xef80..=0xefff => bytes.push(code.to_le_bytes()[0]),
                _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }

    fn combined_of(text: &[u8]) -> String {
        let mut line = Vec::new();
        combined(&mut line, text);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn json_escapes_what_it_must_and_no_more() {
        assert_eq!(json_of(b"/a?b=c d~'<>"), r#""/a?b=c d~'<>""#);
        assert_eq!(json_of(b"\"\\\n\r\t"), r#""\"\\\n\r\t""#);
        assert_eq!(json_of(b"\x00\x1f \x7f"), r#""\u0000\u001f \u007f""#);
        assert_eq!(
            json_of("\u{9f}\u{a0}é€𝄞".as_bytes()),
            "\"\\u009f\u{a0}é€𝄞\""
        );
        assert_eq!(json_of(b"a\x80\xffb"), r#""a\uef80\uefffb""#);
        assert_eq!(json_of(b"\xc3"), r#""\uefc3""#);
        assert_eq!(
            json_of("\u{ef7f}\u{f000}".as_bytes()),
            "\"\u{ef7f}\u{f000}\""
        );
        assert_eq!(json_of("\u{ef80}".as_bytes()), r#""\uefee\uefbe\uef80""#);
        assert_eq!(json_of("\u{efff}".as_bytes()), r#""\uefee\uefbf\uefbf""#);
    }

    #[test]
    fn combined_escapes_what_is_not_printable_ascii() {
        assert_eq!(combined_of(b"/a?b=c d~!"), "/a?b=c d~!");
        assert_eq!(combined_of(b"a\"\\b"), r"a\x22\x5Cb");
        assert_eq!(
            combined_of(b"\x00\x1f\x7f\x80\xff\n"),
            r"\x00\x1F\x7F\x80\xFF\x0A"
        );
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_is() {
        for length in 0..70 {
            let mut text = vec![b'a'; length];
            assert!(are_plain(&text), "{length}");
            for place in 0..length {
                for special in [b'"', b'\\', 0, 0x1f, 0x7f, 0x80, 0xff] {
                    text[place] = special;
                    assert!(!are_plain(&text), "{special} at {place} of {length}");
                }
                text[place] = b'~';
            }
            assert!(are_plain(&text), "{length}");
        }
    }

    #[test]
    fn every_single_byte_is_read_back() {
        for b in 0..=u8::MAX {
            assert_eq!(read(&json_of(&[b])), [b]);
        }
    }

    proptest! {
        #[test]
        fn json_gives_any_bytes_back(text: Vec<u8>) {
            prop_assert_eq!(read(&json_of(&text)), text);
        }

        #[test]
        fn json_gives_any_text_back(text: String) {
            prop_assert_eq!(read(&json_of(text.as_bytes())), text.as_bytes());
        }

        #[test]
        fn combined_is_printable_and_gives_any_bytes_back(text: Vec<u8>) {
            let line = combined_of(&text);
            prop_assert!(line.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"'));
            let mut bytes = Vec::new();
            let mut rest = line.as_bytes();
            while let Some((&b, behind)) = rest.split_first() {
                if b == b'\\' {
                    let digits = std::str::from_utf8(&behind[1..3]).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &behind[3..];
                } else {
                    bytes.push(b);
                    rest = behind;
                }
            }
            prop_assert_eq!(bytes, text);
        }
    }
}
