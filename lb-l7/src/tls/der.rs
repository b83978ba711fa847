//! The few fields of a certificate that a proxy shows or routes by, read from its DER.
//!
//! A walk, not a validation: rustls decides whom to trust, and this only says what was in there.
//! Pure; nothing here panics, whatever the bytes, and the work is linear in them. It takes definite
//! lengths of at most four bytes, and one-byte tags, which is all that X.509 has (RFC 5280, 4.1).

use std::fmt::Write as _;
use std::net::IpAddr;

/// The fields of one certificate (RFC 5280, 4.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fields<'a> {
    /// The serial number, big endian, a sign byte kept.
    pub(super) serial: &'a [u8],
    /// The content of the issuer's name.
    pub(super) issuer: &'a [u8],
    /// Seconds since 1970 from which it is valid.
    pub(super) not_before: u64,
    /// Seconds since 1970 after which it is not.
    pub(super) not_after: u64,
    /// The content of the subject's name.
    pub(super) subject: &'a [u8],
    /// The DNS names of the subject's alternative names, as they are written.
    pub(super) dns_names: Vec<&'a str>,
    /// The addresses of the subject's alternative names.
    pub(super) addresses: Vec<IpAddr>,
}

impl<'a> Fields<'a> {
    /// Reads a whole certificate; `None` when it is not one.
    pub(super) fn parse(certificate: &'a [u8]) -> Option<Self> {
        let certificate = Reader(certificate).expect(SEQUENCE)?;
        let mut tbs = Reader(Reader(certificate).expect(SEQUENCE)?);
        if tbs.peek() == Some(VERSION) {
            tbs.next()?;
        }
        let serial = tbs.expect(INTEGER)?;
        tbs.expect(SEQUENCE)?; // The signature's algorithm.
        let issuer = tbs.expect(SEQUENCE)?;
        let mut validity = Reader(tbs.expect(SEQUENCE)?);
        let not_before = time(validity.next()?)?;
        let not_after = time(validity.next()?)?;
        let subject = tbs.expect(SEQUENCE)?;
        tbs.expect(SEQUENCE)?; // The public key.
        let mut fields = Self {
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        };
        while let Some((tag, content)) = tbs.next() {
            if tag == EXTENSIONS {
                fields.read_extensions(Reader(Reader(content).expect(SEQUENCE)?))?;
            }
        }
        Some(fields)
    }

    fn read_extensions(&mut self, mut extensions: Reader<'a>) -> Option<()> {
        while !extensions.0.is_empty() {
            let mut extension = Reader(extensions.expect(SEQUENCE)?);
            if extension.expect(OBJECT_IDENTIFIER)? != SUBJECT_ALTERNATIVE_NAME {
                continue;
            }
            if extension.peek() == Some(BOOLEAN) {
                extension.next()?; // Whether it is critical.
            }
            let value = extension.expect(OCTET_STRING)?;
            let mut names = Reader(Reader(value).expect(SEQUENCE)?);
            while let Some((tag, content)) = names.next() {
                self.read_name(tag, content);
            }
        }
        Some(())
    }

    fn read_name(&mut self, tag: u8, content: &'a [u8]) {
        match tag {
            DNS_NAME => self.dns_names.extend(str::from_utf8(content)),
            IP_ADDRESS => {
                let v4 = <[u8; 4]>::try_from(content).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(content).map(IpAddr::from);
                self.addresses.extend(v4.or_else(|_| v6()));
            }
            _ => {}
        }
    }
}

/// Writes the content of a name as text (RFC 4514), in visible ASCII alone.
///
/// The most specific part comes first, as that document says and as OpenSSL's RFC 2253 form has it.
/// What is not visible ASCII is escaped byte by byte, so that the text can be a header's value.
/// `None` when the bytes are no name, or the text would be longer than [`MAX_NAME`].
pub(super) fn name_to_text(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut name = Reader(name);
    while !name.0.is_empty() {
        parts.push(name.expect(SET)?);
    }
    let mut text = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let mut values = Reader(part);
        let mut first = true;
        while !values.0.is_empty() {
            if !std::mem::replace(&mut first, false) {
                text.push('+');
            }
            let mut pair = Reader(values.expect(SEQUENCE)?);
            let kind = pair.expect(OBJECT_IDENTIFIER)?;
            let (tag, value) = pair.next()?;
            write_attribute(&mut text, kind, tag, value)?;
            if text.len() > MAX_NAME {
                return None;
            }
        }
    }
    Some(text)
}

fn write_attribute(text: &mut String, kind: &[u8], tag: u8, value: &[u8]) -> Option<()> {
    let known = ATTRIBUTES
        .iter()
        .find(|(identifier, _)| *identifier == kind);
    let Some((_, name)) = known else {
        write_identifier(text, kind)?;
        return write_hex_value(text, tag, value);
    };
    text.push_str(name);
    match tag {
        UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | T61_STRING | IA5_STRING => {
            text.push('=');
            write_escaped(text, value);
        }
        BMP_STRING => {
            text.push('=');
            let (pairs, _) = value.as_chunks::<2>();
            let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
            let decoded: String = char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            write_escaped(text, decoded.as_bytes());
        }
        _ => write_hex_value(text, tag, value)?,
    }
    Some(())
}

/// Writes a value as RFC 4514, 2.4 says; special bytes are escaped wherever they stand.
fn write_escaped(text: &mut String, value: &[u8]) {
    let last = value.len().wrapping_sub(1);
    for (index, &byte) in value.iter().enumerate() {
        let at_an_end = index == 0 || index == last;
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if at_an_end => text.push_str("\\ "),
            b'#' if index == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                text.push('\\');
                push_hex(text, &[byte]);
            }
        }
    }
}

/// Writes a value of a kind that has no text: `=#` and its whole DER in hexadecimal.
fn write_hex_value(text: &mut String, tag: u8, value: &[u8]) -> Option<()> {
    if value.len() > MAX_NAME / 2 {
        return None;
    }
    text.push_str("=#");
    push_hex(text, &[tag]);
    match u8::try_from(value.len()) {
        Ok(length @ 0..=0x7F) => push_hex(text, &[length]),
        Ok(length) => push_hex(text, &[0x81, length]),
        Err(_) => {
            push_hex(text, &[0x82]);
            push_hex(text, &u16::try_from(value.len()).ok()?.to_be_bytes());
        }
    }
    push_hex(text, value);
    Some(())
}

/// Writes an object identifier with dots (X.690, 8.19).
fn write_identifier(text: &mut String, identifier: &[u8]) -> Option<()> {
    let mut component = 0_u64;
    let mut first = true;
    for byte in identifier {
        component = component.checked_mul(128)? + u64::from(byte & 0x7F);
        if byte & 0x80 != 0 {
            continue;
        }
        if std::mem::replace(&mut first, false) {
            let root = (component / 40).min(2);
            write!(text, "{root}.{}", component - root * 40).ok()?;
        } else {
            write!(text, ".{component}").ok()?;
        }
        component = 0;
    }
    (!first && identifier.last()? & 0x80 == 0).then_some(())
}

/// Appends bytes as lower-case hexadecimal digits.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
}

/// Seconds since 1970 of a time in UTC (RFC 5280, 4.1.2.5); what is before 1970 is 0.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = number::<2>(text)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => number::<4>(text)?,
        _ => return None,
    };
    let (month, rest) = number::<2>(rest)?;
    let (day, rest) = number::<2>(rest)?;
    let (hour, rest) = number::<2>(rest)?;
    let (minute, rest) = number::<2>(rest)?;
    let (second, rest) = number::<2>(rest)?;
    let exists = (1..=12).contains(&month) && (1..=31).contains(&day);
    if rest != b"Z" || !exists || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (153 * month + 2) / 5;
    year * 365 + leaps + before_month + day - 1 - DAYS_TO_1970
}

fn number<const DIGITS: usize>(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<DIGITS>()?;
    let mut number = 0;
    for digit in digits {
        number = number * 10 + i64::from(char::from(*digit).to_digit(10)?);
    }
    Some((number, rest))
}

/// Reads one element after another.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The tag and the content of the next element; `None` at the end, or when it is cut short.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], mut rest) = self.0.split_first_chunk()?;
        if tag & 0x1F == 0x1F {
            return None;
        }
        let length = match length {
            0..=0x7F => usize::from(length),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(length & 0x7F))?;
                rest = after;
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }
}

// Tags of X.690, 8, and the context's own of RFC 5280, 4.1 and 4.2.1.6.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1E;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;

/// 2.5.29.17 (RFC 5280, 4.2.1.6).
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// The short names of RFC 4514, 3, and those of OpenSSL for what else is seen.
const ATTRIBUTES: [(&[u8], &str); 14] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0A], "O"),
    (&[0x55, 0x04, 0x0B], "OU"),
    (&[0x55, 0x04, 0x0C], "title"),
    (&[0x55, 0x04, 0x2A], "GN"),
    (
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x01],
        "emailAddress",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x01],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x19],
        "DC",
    ),
];

/// How long a name's text may be, in bytes: half of the head that most servers take, 8 KiB.
const MAX_NAME: usize = 4096;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Whether these bytes are an OCSP response that says it is successful (RFC 6960, 4.2.1).
pub(super) fn is_successful_ocsp(response: &[u8]) -> bool {
    let mut outer = Reader(response);
    let Some(content) = outer.expect(SEQUENCE) else {
        return false;
    };
    let mut content = Reader(content);
    let successful = content.expect(ENUMERATED) == Some(&[0]);
    successful && content.expect(RESPONSE_BYTES).is_some() && outer.0.is_empty()
}

const ENUMERATED: u8 = 0x0A;
const RESPONSE_BYTES: u8 = 0xA0;
