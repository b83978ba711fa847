//! `traceparent` and `tracestate`: which trace a request belongs to (W3C Trace Context).
//!
//! After the Recommendation of 2021 (level 1); of level 2 the random flag is passed on.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue};
use lbcore::rng::Rng;

use super::identity::Hop;
use super::list::elements;
use super::names::{TRACEPARENT, TRACESTATE};
use super::request_id::{Accept, digit, put_hex};
use crate::token::trim;

/// Takes part in traces, or passes them on, or begins them.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use lb_l7::headers::Scheme;
/// use lb_l7::headers::identity::{Identity, IdentityConfig};
/// use lb_l7::headers::trace::Trace;
/// use lbcore::rng::Xoshiro;
///
/// let identity = Identity::new(IdentityConfig::default())?;
/// let hop = identity.hop("192.0.2.1".parse()?, "203.0.113.1:80".parse()?, Scheme::Http);
/// let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let mut headers = HeaderMap::new();
/// headers.insert("traceparent", HeaderValue::from_static(sent));
/// let span = Trace::default().apply(&mut headers, &hop, &mut Xoshiro::new(1)).unwrap();
/// assert_eq!(span.trace_id, 0x4bf92f3577b34da6a3ce929d0e0e4736);
/// assert_ne!(span.span_id, 0x00f067aa0ba902b7);
/// assert!(span.is_sampled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    /// What this proxy does; default [`TraceMode::Join`].
    pub mode: TraceMode,
    /// Whose traces are gone on with; those of others begin anew here (W3C Trace Context, 4.3).
    /// Default [`TraceFrom::Everyone`].
    pub from: TraceFrom,
    /// One in so many traces that begin here is marked as sampled; 0 marks none. Default 0.
    pub sample_one_in: u32,
}

/// What a proxy does with traces.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum TraceMode {
    /// It is a span of each trace, and begins one where there is none.
    #[default]
    Join,
    /// It leaves the fields as they are.
    Off,
    /// It passes on what is valid, and takes off what is not; begins nothing.
    Pass,
}

/// Whose traces are gone on with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum TraceFrom {
    /// Everyone's: a trace id opens no door.
    #[default]
    Everyone,
    /// No one's: each trace begins here.
    NoOne,
    /// Those of trusted peers.
    Trusted,
}

impl Trace {
    /// Puts `traceparent` and `tracestate` right, and returns what the backend is told.
    ///
    /// `None` when the mode is [`Off`](TraceMode::Off), or [`Pass`](TraceMode::Pass) and there is no
    /// valid trace. Cost: one buffer of 55 bytes when a new value is written.
    pub fn apply(
        &self,
        headers: &mut HeaderMap,
        hop: &Hop,
        rng: &mut impl Rng,
    ) -> Option<SpanContext> {
        if self.mode == TraceMode::Off {
            return None;
        }
        let accept = match self.from {
            TraceFrom::Everyone => Accept::Always,
            TraceFrom::NoOne => Accept::Never,
            TraceFrom::Trusted => Accept::Trusted,
        };
        let came = accept.of(hop).then(|| read(headers)).flatten();
        match came {
            Some(_) if state_is_valid(headers) => {}
            // A state that is invalid is dropped, and the trace goes on; a state without a valid
            // trace says nothing (W3C Trace Context, 3.3.1.1 and 4.3).
            Some(_) | None => drop(headers.remove(&TRACESTATE)),
        }
        let span = match (came, self.mode) {
            (Some(came), TraceMode::Pass) => return Some(came),
            (None, TraceMode::Pass) => {
                headers.remove(&TRACEPARENT);
                return None;
            }
            (Some(came), _) => came.child(rng),
            (None, _) => self.begin(rng),
        };
        headers.insert(&TRACEPARENT, span.to_value());
        Some(span)
    }

    fn begin(&self, rng: &mut impl Rng) -> SpanContext {
        let trace_id = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let sampled = self.sample_one_in > 0 && rng.below(self.sample_one_in.into()) == 0;
        SpanContext {
            // Zero is no id (3.2.2.3); one is as random.
            trace_id: trace_id.max(1),
            span_id: rng.next_u64().max(1),
            flags: if sampled { SAMPLED } else { 0 },
        }
    }
}

/// One span of a trace: what `traceparent` says.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SpanContext {
    /// The trace; not 0.
    pub trace_id: u128,
    /// The span, `parent-id` in the field; not 0.
    pub span_id: u64,
    /// Bit 0 is sampled, bit 1 random (level 2).
    pub flags: u8,
}

/// Bit 0 of the flags (W3C Trace Context, 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// The flags that are known; others are written as zero (3.2.2.5.2).
const KNOWN_FLAGS: u8 = SAMPLED | 2;

impl SpanContext {
    /// Reads a `traceparent` of any version.
    ///
    /// `None` if it is invalid: not lower-case hexadecimal, an id of zeros, version `ff`, or a
    /// length that the version does not have (W3C Trace Context, 3.2).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, rest) = field(value, 2)?;
        let (trace_id, rest) = field(behind_dash(rest)?, 32)?;
        let (span_id, rest) = field(behind_dash(rest)?, 16)?;
        let (flags, rest) = field(behind_dash(rest)?, 2)?;
        let right_end = match version {
            0xff => false,
            0 => rest.is_empty(),
            // A later version may go on behind another dash (3.2.4).
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let span = Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            flags: u8::try_from(flags).ok()?,
        };
        (right_end && span.trace_id != 0 && span.span_id != 0).then_some(span)
    }

    /// Whether whoever called may have recorded this trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As a `traceparent` of version 00.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        let mut out = BytesMut::with_capacity(55);
        let [high, low] = [self.trace_id >> 64, self.trace_id & u128::from(u64::MAX)];
        out.put_slice(b"00-");
        for half in [high, low] {
            put_hex(&mut out, u64::try_from(half).unwrap_or_default());
        }
        out.put_u8(b'-');
        put_hex(&mut out, self.span_id);
        let flags = self.flags & KNOWN_FLAGS;
        out.put_slice(&[b'-', digit(flags >> 4), digit(flags & 0xf)]);
        // Digits and dashes make a value.
        HeaderValue::from_maybe_shared(out.freeze())
            .unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// A new span of the same trace.
    fn child(self, rng: &mut impl Rng) -> Self {
        Self {
            span_id: rng.next_u64().max(1),
            flags: self.flags & KNOWN_FLAGS,
            ..self
        }
    }
}

/// The trace of a request, if there is exactly one and it is valid.
fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut all = headers.get_all(&TRACEPARENT).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => SpanContext::parse(trim(only.as_bytes())),
        _ => None,
    }
}

/// Reads `digits` lower-case hexadecimal digits.
fn field(bytes: &[u8], digits: usize) -> Option<(u128, &[u8])> {
    let (text, rest) = bytes.split_at_checked(digits)?;
    let mut number = 0;
    for &byte in text {
        let nibble = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(nibble);
    }
    Some((number, rest))
}

fn behind_dash(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"-")
}

/// The most members of a state (W3C Trace Context, 3.3.1.3).
const MAX_MEMBERS: usize = 32;

/// The longest state that is passed on; 512 bytes must be (3.3.1.5).
const MAX_STATE_BYTES: usize = 4096;

/// Whether all lines of `tracestate` are a list of at most 32 members with different keys.
fn state_is_valid(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(&TRACESTATE).iter();
    if lines.map(HeaderValue::len).sum::<usize>() > MAX_STATE_BYTES {
        return false;
    }
    let mut keys: [&[u8]; MAX_MEMBERS] = [&[]; MAX_MEMBERS];
    for (n, member) in elements(headers, &TRACESTATE).enumerate() {
        let mut parts = member.splitn(2, |&byte| byte == b'=');
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
            return false;
        };
        if !is_key(key) || !is_state_value(value) || keys.iter().take(n).any(|seen| *seen == key) {
            return false;
        }
        match keys.get_mut(n) {
            Some(slot) => *slot = key,
            None => return false,
        }
    }
    true
}

/// `simple-key` or `tenant@system` (3.3.1.3.1).
fn is_key(key: &[u8]) -> bool {
    let rest = |part: &[u8]| {
        let plain = |&byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        };
        part.iter().all(plain)
    };
    let letter = |part: &[u8]| part.first().is_some_and(u8::is_ascii_lowercase);
    let mut parts = key.splitn(2, |&byte| byte == b'@');
    match (parts.next(), parts.next()) {
        (Some(key), None) => key.len() <= 256 && letter(key) && rest(key),
        (Some(tenant), Some(system)) => {
            let begins = tenant
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let fits = tenant.len() <= 241 && system.len() <= 14;
            begins && fits && letter(system) && rest(tenant) && rest(system)
        }
        _ => false,
    }
}

/// Up to 256 printable characters but `,` and `=`, not ending with a space (3.3.1.3.2).
fn is_state_value(value: &[u8]) -> bool {
    let plain = |&byte: &u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.last() != Some(&b' ') && value.iter().all(plain)
}

#[cfg(test)]
mod tests;
