//! Where a message ends, and which messages say it in more ways than one (RFC 9112, 6).

use http::{Method, StatusCode, Version};

use super::Rejection;
use crate::body::BodyLength;
use crate::token::{is_token, trim};

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 9112, 6.3 names these")]
pub enum RequestKind {
    /// CONNECT: a 2xx makes a tunnel.
    Connect,
    /// HEAD: no body, whatever the head says.
    Head,
    /// Any other method.
    #[default]
    Other,
}

impl From<&Method> for RequestKind {
    fn from(method: &Method) -> Self {
        match *method {
            Method::CONNECT => Self::Connect,
            Method::HEAD => Self::Head,
            _ => Self::Other,
        }
    }
}

/// What the framing fields of one message say, collected line by line.
///
/// Faults are kept, not returned: a response without a body is not refused for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    length: Option<Result<u64, Rejection>>,
    coding: Option<Result<Codings, Rejection>>,
}

/// The transfer codings seen so far, none of them at fault.
#[derive(Clone, Copy, Debug)]
struct Codings {
    chunked: bool,
    others: bool,
}

impl Framing {
    /// A Content-Length line.
    pub(super) fn handle_length(&mut self, value: &[u8]) {
        self.length = Some(match self.length {
            None => parse_length(value),
            Some(Ok(_)) => Err(Rejection::LengthRepeated),
            Some(Err(fault)) => Err(fault),
        });
    }

    /// A Transfer-Encoding line; several are one list (RFC 9110, 5.3).
    pub(super) fn handle_coding(&mut self, value: &[u8]) {
        let before = self.coding.unwrap_or(Ok(Codings::NONE));
        self.coding = Some(before.and_then(|codings| codings.and(value)));
    }

    /// The body of a request (RFC 9112, 6.3).
    pub(super) fn request(
        self,
        version: Version,
        method: &Method,
    ) -> Result<BodyLength, Rejection> {
        let length = match (self.coding, self.length) {
            (None, None) => return Ok(BodyLength::Empty),
            (coding, length) => self.declared(version, coding, length)?,
        };
        if !length.is_empty() && matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Rejection::ContentForbidden);
        }
        Ok(length)
    }

    /// The body of a response (RFC 9112, 6.3).
    pub(super) fn response(
        self,
        version: Version,
        status: StatusCode,
        to: RequestKind,
    ) -> Result<BodyLength, Rejection> {
        let tunnel = to == RequestKind::Connect && status.is_success();
        if tunnel || status.is_informational() || status == StatusCode::NO_CONTENT {
            return Ok(BodyLength::Empty);
        }
        let declared = match (self.coding, self.length) {
            (None, None) => BodyLength::UntilClose,
            (coding, length) => self.declared(version, coding, length)?,
        };
        if to == RequestKind::Head || status == StatusCode::NOT_MODIFIED {
            return Ok(BodyLength::Empty);
        }
        Ok(declared)
    }

    /// The length that was declared, if that was done well.
    pub(super) fn length(self) -> Option<u64> {
        self.length.and_then(Result::ok)
    }

    /// Whether the head declares content, truly or not.
    pub(super) fn declares_content(self) -> bool {
        self.coding.is_some() || !matches!(self.length, None | Some(Ok(0)))
    }

    fn declared(
        self,
        version: Version,
        coding: Option<Result<Codings, Rejection>>,
        length: Option<Result<u64, Rejection>>,
    ) -> Result<BodyLength, Rejection> {
        match (coding, length) {
            (Some(_), _) if version == Version::HTTP_10 => Err(Rejection::CodingVersion),
            (Some(_), Some(_)) => Err(Rejection::LengthAndCoding),
            (Some(codings), None) => codings?.finish().map(|()| BodyLength::Streamed),
            (None, Some(length)) => length.map(BodyLength::Exact),
            (None, None) => Ok(BodyLength::Empty),
        }
    }
}

impl Codings {
    const NONE: Self = Self {
        chunked: false,
        others: false,
    };

    /// These and those of one more line.
    fn and(mut self, value: &[u8]) -> Result<Self, Rejection> {
        for name in value.split(|&byte| byte == b',') {
            let name = trim(name);
            if !is_token(name) {
                return Err(Rejection::CodingSyntax);
            }
            match (self.chunked, name.eq_ignore_ascii_case(b"chunked")) {
                (true, true) => return Err(Rejection::CodingRepeated),
                (true, false) => return Err(Rejection::CodingNotFinal),
                (false, true) => self.chunked = true,
                (false, false) => self.others = true,
            }
        }
        Ok(self)
    }

    /// Whether that is `chunked` and nothing else.
    const fn finish(self) -> Result<(), Rejection> {
        match (self.chunked, self.others) {
            (true, false) => Ok(()),
            (true, true) => Err(Rejection::CodingUnsupported),
            (false, _) => Err(Rejection::CodingNotFinal),
        }
    }
}

/// A Content-Length: digits alone (RFC 9110, 8.6).
fn parse_length(value: &[u8]) -> Result<u64, Rejection> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::LengthSyntax);
    }
    value
        .iter()
        .try_fold(0_u64, |length, digit| {
            let length = length
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
            (length <= MAX_LENGTH).then_some(length)
        })
        .ok_or(Rejection::LengthOverflow)
}

/// What is no less in a signed integer: one that wraps at the next parser would end elsewhere.
pub(super) const MAX_LENGTH: u64 = i64::MAX.cast_unsigned();
