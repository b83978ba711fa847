//! What is asked for: the four forms of a target (RFC 9112, 3.2).

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::Scheme;
use http::{HeaderValue, Method, Uri};

use super::authority::{self, Port};
use super::{HeadLimits, Rejection};

/// A target, taken apart.
pub(super) struct Target {
    /// In the form of the proxy: origin form, `*`, or the authority for CONNECT.
    pub(super) uri: Uri,
    /// Whom the target itself names.
    pub(super) authority: Option<Bytes>,
    /// How the target itself names it.
    pub(super) scheme: Option<Scheme>,
}

/// Takes a target apart; `head` holds it.
pub(super) fn parse(
    target: &[u8],
    method: &Method,
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<Target, Rejection> {
    if target.len() > limits.target {
        return Err(Rejection::TargetTooLong);
    }
    // Without an early exit, so that the compiler makes vectors of it.
    let bad = |bad, &byte: &u8| bad | !byte.is_ascii_graphic() | (byte == b'#');
    if target.iter().fold(false, bad) {
        return Err(Rejection::TargetSyntax);
    }
    let is_connect = *method == Method::CONNECT;
    match target {
        [b'/', ..] if !is_connect => Ok(Target {
            uri: uri(head.slice_ref(target))?,
            authority: None,
            scheme: None,
        }),
        b"*" if *method == Method::OPTIONS => Ok(Target {
            uri: Uri::from_static("*"),
            authority: None,
            scheme: None,
        }),
        _ if is_connect => authority_form(head.slice_ref(target)),
        _ => absolute_form(target, method, head),
    }
}

/// `CONNECT host:port` (RFC 9112, 3.2.3).
fn authority_form(target: Bytes) -> Result<Target, Rejection> {
    if authority::check(&target)? == Port::Absent {
        return Err(Rejection::Port);
    }
    Ok(Target {
        uri: uri(target.clone())?,
        authority: Some(target),
        scheme: None,
    })
}

/// `scheme://authority/path` (RFC 9112, 3.2.2).
fn absolute_form(target: &[u8], method: &Method, head: &Bytes) -> Result<Target, Rejection> {
    let (scheme, rest) = if let Some(rest) = strip(target, b"http://") {
        (Scheme::HTTP, rest)
    } else if let Some(rest) = strip(target, b"https://") {
        (Scheme::HTTPS, rest)
    } else {
        return Err(Rejection::TargetForm);
    };
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    authority::check(named)?;
    let uri = match path {
        // RFC 9112, 3.2.4: OPTIONS of a whole server, asked through a proxy.
        [] if *method == Method::OPTIONS => Uri::from_static("*"),
        [] => Uri::from_static("/"),
        [b'?', ..] => {
            let mut rooted = BytesMut::with_capacity(path.len() + 1);
            rooted.put_u8(b'/');
            rooted.extend_from_slice(path);
            uri(rooted.freeze())?
        }
        _ => uri(head.slice_ref(path))?,
    };
    Ok(Target {
        uri,
        authority: Some(head.slice_ref(named)),
        scheme: Some(scheme),
    })
}

/// Whether Host names whom the target names: the same bytes, but for case (RFC 9112, 3.2.2).
pub(super) fn agree(host: &HeaderValue, authority: &[u8]) -> bool {
    host.as_bytes().eq_ignore_ascii_case(authority)
}

fn strip<'a>(target: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn uri(target: Bytes) -> Result<Uri, Rejection> {
    Uri::from_maybe_shared(target).map_err(|_| Rejection::TargetSyntax)
}
