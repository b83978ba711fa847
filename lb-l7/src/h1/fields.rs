//! The fields of a head, sorted into those the codec reads and those it carries.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::Rejection;
use super::framing::Framing;
use super::lines::{self, Lines};
use super::names::{self, is};
use crate::token::trim;

/// What the fields of one head say to the codec itself.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) framing: Framing,
    /// The one Host, which is not in the map yet.
    pub(super) host: Option<HeaderValue>,
    /// Connection has the option `close`.
    pub(super) close: bool,
    /// Connection has the option `keep-alive`.
    pub(super) keep_alive: bool,
    /// Connection has the option `upgrade`.
    pub(super) upgrade: bool,
    pub(super) expectation: Expectation,
    /// The first TE is `trailers` alone.
    pub(super) trailers: bool,
    has_te: bool,
    /// A field that looks like one of framing.
    pub(super) look_alike: bool,
}

/// What Expect says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Expectation {
    #[default]
    Absent,
    Continue,
    Unknown,
}

/// Whose head it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Client,
    Backend,
}

impl Fields {
    /// Reads the field lines of `head` into `map`, all but the framing fields, a client's Host, and
    /// a Connection that says `keep-alive` and nothing else.
    pub(super) fn read(
        lines: Lines<'_>,
        head: &Bytes,
        side: Side,
        map: &mut HeaderMap,
    ) -> Result<Self, Rejection> {
        let mut fields = Self::default();
        // It costs as much as two fields, and is seldom needed.
        if !map.is_empty() {
            map.clear();
        }
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, text) = lines::field(line).ok_or(Rejection::FieldNameSyntax)?;
            if fields.take(name, text, head, side)? {
                let name = names::parse(name)?;
                map.try_append(name, value(head, text)?)
                    .map_err(|_| Rejection::TooManyFields)?;
            }
        }
        Ok(fields)
    }

    /// Notes what a line says to the codec; whether it says anything to others.
    #[inline]
    fn take(
        &mut self,
        name: &[u8],
        text: &[u8],
        head: &Bytes,
        side: Side,
    ) -> Result<bool, Rejection> {
        match name.len() {
            2 if is(name, b"te") => {
                self.trailers |= !self.has_te && text.eq_ignore_ascii_case(b"trailers");
                self.has_te = true;
            }
            4 if side == Side::Client && is(name, b"host") => {
                if self.host.is_some() {
                    return Err(Rejection::HostRepeated);
                }
                self.host = Some(value(head, text)?);
                return Ok(false);
            }
            6 if is(name, b"expect") => self.expect(text),
            10 if is(name, b"connection") => {
                if text.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                    return Ok(false);
                }
                self.connection(text);
            }
            14 if is(name, b"content-length") => {
                self.framing.handle_length(text);
                return read_here(text);
            }
            17 if is(name, b"transfer-encoding") => {
                self.framing.handle_coding(text);
                return read_here(text);
            }
            14 | 17 => self.look_alike |= is_look_alike(name),
            _ => {}
        }
        Ok(true)
    }

    /// The protocol to change to, if Upgrade names it once and Connection has the option.
    pub(super) fn upgrade(&self, map: &HeaderMap) -> Option<HeaderValue> {
        if !self.upgrade {
            return None;
        }
        let mut named = map.get_all(header::UPGRADE).iter();
        let protocol = named.next()?;
        (named.next().is_none() && !protocol.is_empty()).then(|| protocol.clone())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = trim(option);
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
    }

    fn expect(&mut self, value: &[u8]) {
        let known =
            self.expectation == Expectation::Absent && value.eq_ignore_ascii_case(b"100-continue");
        self.expectation = if known {
            Expectation::Continue
        } else {
            Expectation::Unknown
        };
    }
}

/// Whether a name becomes that of a framing field where `_` and `-` are one, as in CGI (RFC 3875,
/// 4.1.18).
pub(crate) fn is_look_alike(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding"]
        .into_iter()
        .any(|framing| {
            framing.len() == name.len()
                && framing.iter().zip(name).all(|(&ours, &theirs)| {
                    ours == theirs.to_ascii_lowercase() || (ours == b'-' && theirs == b'_')
                })
        })
}

/// Of a value that goes no further: it has to be one all the same.
fn read_here(text: &[u8]) -> Result<bool, Rejection> {
    if lines::is_value(text) {
        Ok(false)
    } else {
        Err(Rejection::ControlCharacter)
    }
}

/// A value, as a slice of the head; the bytes that none may have are looked for here.
#[inline]
pub(super) fn value(head: &Bytes, text: &[u8]) -> Result<HeaderValue, Rejection> {
    HeaderValue::from_maybe_shared(head.slice_ref(text)).map_err(|_| Rejection::ControlCharacter)
}
