//! Writes one line of JSON (RFC 8259), its fields in the order in which they are given.

use std::fmt::Display;
use std::io::Write;

/// A line under way, at the end of a buffer.
#[derive(Debug)]
pub(super) struct Line<'a> {
    into: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(into: &'a mut Vec<u8>) -> Self {
        let start = into.len();
        into.push(b'{');
        Self { into, start }
    }

    pub(super) fn number(&mut self, name: &str, number: u64) -> &mut Self {
        self.name(name);
        self.display(number)
    }

    /// A text of which it is known that nothing in it needs escaping.
    pub(super) fn plain(&mut self, name: &str, text: impl Display) -> &mut Self {
        self.name(name);
        self.into.push(b'"');
        self.display(text);
        self.into.push(b'"');
        self
    }

    /// Any text. All but printable ASCII is escaped: who reads the log on a terminal sees what is
    /// there and nothing else.
    pub(super) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.name(name);
        self.into.push(b'"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.into.extend([b'\\', c as u8]),
                ' '..='~' => self.into.push(c as u8),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.into.extend(b"\\u");
                        hex(&unit.to_be_bytes(), self.into);
                    }
                }
            }
        }
        self.into.push(b'"');
        self
    }

    pub(super) fn hex(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        self.name(name);
        self.into.push(b'"');
        hex(bytes, self.into);
        self.into.push(b'"');
        self
    }

    pub(super) fn null(&mut self, name: &str) -> &mut Self {
        self.name(name);
        self.into.extend(b"null");
        self
    }

    /// What has been written of it.
    pub(super) fn so_far(&self) -> &[u8] {
        self.into.get(self.start..).unwrap_or(&[])
    }

    pub(super) fn end(self) {
        self.into.extend(b"}\n");
    }

    fn name(&mut self, name: &str) {
        if self.into.len() > self.start + 1 {
            self.into.push(b',');
        }
        self.into.push(b'"');
        self.into.extend(name.as_bytes());
        self.into.extend(b"\":");
    }

    fn display(&mut self, value: impl Display) -> &mut Self {
        // A vector takes whatever is written.
        let _ = write!(self.into, "{value}");
        self
    }
}

/// Appends two lower-case digits for each byte.
fn hex(bytes: &[u8], into: &mut Vec<u8>) {
    for byte in bytes {
        into.extend([byte >> 4, byte & 15].map(|digit| match digit {
            0..=9 => b'0' + digit,
            _ => b'a' + digit - 10,
        }));
    }
}

/// Reads lower-case hexadecimal digits, as many as the array takes and no more.
pub(super) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut bytes = b"before".to_vec();
        let mut line = Line::new(&mut bytes);
        write(&mut line);
        assert!(line.so_far().starts_with(b"{"));
        line.end();
        String::from_utf8(bytes.split_off(6)).expect("ASCII")
    }

    #[test]
    fn fields_stand_in_their_order() {
        let text = line(|line| {
            line.number("n", u64::MAX).null("x").hex("h", &[0x0a, 0xf9]);
            line.plain("p", "127.0.0.1:5").text("t", "");
        });
        let expected = r#"{"n":18446744073709551615,"x":null,"h":"0af9","p":"127.0.0.1:5","t":""}"#;
        assert_eq!(text, format!("{expected}\n"));
    }

    #[test]
    fn any_text_reads_back_and_is_printable_ascii_on_one_line() {
        let all: String = ('\0'..='\u{2ff}')
            .chain("\u{2028}\u{202e}\u{1f511}\u{ffff}".chars())
            .collect();
        let text = line(|line| {
            line.text("t", &all);
        });
        assert!(
            text.trim_end()
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte))
        );
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["t"], all);
        assert!(
            text.contains(r##" !\"#$"##) && text.contains(r"[\\]") && text.contains(r"~\u007f")
        );
    }

    #[test]
    fn hexadecimal_digits_are_lower_case_and_as_many_as_asked_for() {
        assert_eq!(from_hex(b"0af9"), Some([0x0a, 0xf9]));
        for bad in [
            &b"0AF9"[..],
            b"0af",
            b"0af9a",
            b"0af9aa",
            b"",
            b"0ag9",
            b"0a:9",
            b"0a/9",
            b"0a`9",
        ] {
            assert_eq!(from_hex::<2>(bad), None);
        }
    }
}
