//! The one form of a path that rules match and backends see.

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use thiserror::Error;

/// How paths are made alike before rules see them.
///
/// A proxy that matches one spelling of a path and forwards another lets `/public/%2e%2e/admin` past
/// a rule about `/admin`. Here the bytes that were matched are the bytes that are forwarded.
///
/// # Examples
///
/// ```
/// use lb_l7::router::{TargetFault, PathPolicy};
///
/// let policy = PathPolicy::default();
/// assert_eq!(policy.normal("/a/./b/../%7Ec%c3%A4")?, "/a/~c%C3%A4");
/// assert_eq!(policy.normal("/a/%2e%2e/../b"), Err(TargetFault::AboveRoot));
/// # Ok::<(), TargetFault>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PathPolicy {
    /// What becomes of a path that is not in its normal form; it is rewritten by default.
    pub normalise: Normalise,
    /// What becomes of slashes in a row; they are merged by default.
    pub slashes: Slashes,
    /// What becomes of `%2F`; it is refused by default.
    pub encoded_slash: EncodedSlash,
}

/// What becomes of a path that is not in its normal form.
///
/// The normal form (RFC 3986, 6.2.2) has no dot segment, no escape of a letter, digit, `-`, `.`, `_`
/// or `~`, upper-case digits in those escapes that remain, and escapes for every byte that a path
/// must not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Normalise {
    /// Match and forward what the client sent, whatever a backend may make of it.
    ///
    /// A rule that is to keep clients away from a path keeps nobody away under this.
    DangerOff,
    /// Refuse it.
    Reject,
    /// Match and forward the normal form.
    #[default]
    Rewrite,
}

/// What becomes of slashes in a row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Slashes {
    /// They stay: `/a//b` is another path than `/a/b`.
    Keep,
    /// They become one.
    #[default]
    Merge,
}

/// What becomes of an escaped slash, which some backends take for a slash and some for a letter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum EncodedSlash {
    /// It becomes a slash.
    Decode,
    /// It stays, as a letter of its segment; still refused beside dots that it would bring to life,
    /// as in `..%2F`.
    Keep,
    /// Requests with it are refused.
    #[default]
    Reject,
}

/// Why the target of a request is refused, with status 400.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum TargetFault {
    /// Its dot segments lead out of the root.
    #[error("the path leads out of its root")]
    AboveRoot,
    /// A backslash, escaped or not: to some backends it is a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// `%` without two hexadecimal digits.
    #[error("the path has an escape without two hexadecimal digits")]
    BadEscape,
    /// A dot segment with a parameter (`/..;x/`): to some backends it is a dot segment.
    #[error("the path has a dot segment with a parameter")]
    DotParameter,
    /// `%2F`, where the policy refuses it.
    #[error("the path has an escaped slash")]
    EncodedSlash,
    /// A redirect keeps the host of the request, and there is none that can be repeated.
    #[error("the request names no host to send its client back to")]
    NoHost,
    /// The query has bytes beyond ASCII, which a URI escapes (RFC 3986, 2.1): what comes by HTTP/1
    /// is refused for them already.
    #[error("the query has bytes that are not escaped")]
    NotAscii,
    /// It is not in its normal form, and the policy refuses that.
    #[error("the path is not in its normal form")]
    NotNormal,
    /// A NUL, at which some backends take the path to end.
    #[error("the path has a NUL byte")]
    Nul,
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// More than a URI can hold, 65,534 bytes.
    #[error("the path is too long")]
    TooLong,
}

impl TargetFault {
    /// All there are, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::AboveRoot,
        Self::Backslash,
        Self::BadEscape,
        Self::DotParameter,
        Self::EncodedSlash,
        Self::NoHost,
        Self::NotAscii,
        Self::NotNormal,
        Self::Nul,
        Self::Relative,
        Self::TooLong,
    ];

    /// Its name in log and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AboveRoot => "path-above-root",
            Self::Backslash => "path-backslash",
            Self::BadEscape => "path-bad-escape",
            Self::DotParameter => "path-dot-parameter",
            Self::EncodedSlash => "path-encoded-slash",
            Self::NoHost => "redirect-no-host",
            Self::NotAscii => "query-not-ascii",
            Self::NotNormal => "path-not-normal",
            Self::Nul => "path-nul",
            Self::Relative => "path-relative",
            Self::TooLong => "path-too-long",
        }
    }
}

impl PathPolicy {
    /// Brings the path of a request into its normal form; the query stays as it is.
    ///
    /// The targets `*` and those of `CONNECT` have no path and stay too. A path that is plain, which
    /// is nearly every one, costs one look at its bytes; others are copied.
    ///
    /// # Errors
    ///
    /// The request is to be answered with 400: see [`TargetFault`].
    pub fn apply(&self, parts: &mut Parts) -> Result<(), TargetFault> {
        let Some(target) = parts.uri.path_and_query() else {
            return Ok(());
        };
        if self.normalise == Normalise::DangerOff || target.path() == "*" {
            return Ok(());
        }
        if !target.query().unwrap_or_default().is_ascii() {
            return Err(TargetFault::NotAscii);
        }
        // A target without path reads as `/` here or there, and is not forwarded as one.
        let written = [target.as_str(), parts.uri.path()];
        let bare = written.iter().any(|path| !path.starts_with('/'));
        if !bare && is_plain(target.path().as_bytes()) {
            return Ok(());
        }
        let normal = self.rebuild(target.path().as_bytes())?;
        if !bare && normal == target.path().as_bytes() {
            return Ok(());
        }
        if self.normalise == Normalise::Reject {
            return Err(TargetFault::NotNormal);
        }
        replace_path(parts, normal)
    }

    /// The normal form of a path without query.
    ///
    /// # Errors
    ///
    /// A request with this path is refused: see [`TargetFault`].
    pub fn normal(&self, path: &str) -> Result<String, TargetFault> {
        if self.normalise == Normalise::DangerOff {
            return Ok(path.into());
        }
        let normal = self.rebuild(path.as_bytes())?;
        if self.normalise == Normalise::Reject && normal != path.as_bytes() {
            return Err(TargetFault::NotNormal);
        }
        String::from_utf8(normal).map_err(|_| TargetFault::BadEscape)
    }

    /// As [`normal`](Self::normal), of bytes, and rewriting under any policy but the dangerous.
    pub(super) fn rebuild(&self, path: &[u8]) -> Result<Vec<u8>, TargetFault> {
        let path = path.strip_prefix(b"/").ok_or(TargetFault::Relative)?;
        if self.normalise == Normalise::DangerOff {
            return Ok([b"/", path].concat());
        }
        self.resolve(&self.respell(path)?)
    }

    /// Every byte in the one spelling that it has.
    fn respell(&self, path: &[u8]) -> Result<Vec<u8>, TargetFault> {
        let mut out = Vec::with_capacity(path.len().saturating_add(1));
        let mut rest = path;
        while let Some((&first, mut behind)) = rest.split_first() {
            let mut byte = first;
            if first == b'%' {
                (byte, behind) = unescape(behind).ok_or(TargetFault::BadEscape)?;
            }
            rest = behind;
            match byte {
                0 => return Err(TargetFault::Nul),
                b'\\' => return Err(TargetFault::Backslash),
                b'/' if first == b'%' => match self.encoded_slash {
                    EncodedSlash::Decode => out.push(b'/'),
                    EncodedSlash::Keep => escape(byte, &mut out),
                    EncodedSlash::Reject => return Err(TargetFault::EncodedSlash),
                },
                _ if is_unreserved(byte) => out.push(byte),
                _ if first != b'%' && (is_reserved(byte) || byte == b'/') => out.push(byte),
                _ => escape(byte, &mut out),
            }
        }
        Ok(out)
    }

    /// Resolves dot segments (RFC 3986, 5.2.4), where leading out of the root is no way to it.
    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, TargetFault> {
        let mut out = Vec::with_capacity(path.len().saturating_add(1));
        let mut open = false;
        for segment in path.split(|&byte| byte == b'/') {
            // What is open ends in a slash if it is the last.
            open = matches!(segment, b"" | b"." | b"..");
            match segment {
                b"." => {}
                b".." => {
                    let above = memchr::memrchr(b'/', &out).ok_or(TargetFault::AboveRoot)?;
                    out.truncate(above);
                }
                b"" if self.slashes == Slashes::Merge => {}
                _ => {
                    refuse_hidden_dots(segment)?;
                    out.push(b'/');
                    out.extend_from_slice(segment);
                }
            }
        }
        // An empty last segment has brought its slash already, if it is kept at all.
        let ends = path.ends_with(b"/") && self.slashes == Slashes::Keep;
        if out.is_empty() || (open && !ends && !path.is_empty()) {
            out.push(b'/');
        }
        Ok(out)
    }
}

/// Puts `path` in the place of the request's; the query stays.
pub(super) fn replace_path(parts: &mut Parts, mut path: Vec<u8>) -> Result<(), TargetFault> {
    if let Some(query) = parts.uri.query() {
        path.push(b'?');
        path.extend_from_slice(query.as_bytes());
    }
    let target = PathAndQuery::from_maybe_shared(Bytes::from(path));
    let target = target.map_err(|_| TargetFault::TooLong)?;
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target);
    parts.uri = http::Uri::from_parts(uri).map_err(|_| TargetFault::TooLong)?;
    Ok(())
}

/// Refuses dots that only some backends see.
///
/// To some an escaped slash ends a segment, and servlet containers cut parameters off before they
/// resolve dots; to some, both.
fn refuse_hidden_dots(segment: &[u8]) -> Result<(), TargetFault> {
    let (mut rest, mut is_cut) = (Some(segment), false);
    while let Some(parts) = rest {
        let slash = memchr::memmem::find(parts, b"%2F");
        let part = slash.and_then(|at| parts.get(..at)).unwrap_or(parts);
        rest = slash.and_then(|at| parts.get(at + 3..));
        is_cut |= rest.is_some();
        let parameter = memchr::memchr(b';', part).and_then(|at| part.get(..at));
        match (parameter, part) {
            (Some(b"." | b".."), _) => return Err(TargetFault::DotParameter),
            (None, b"." | b"..") if is_cut => return Err(TargetFault::EncodedSlash),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a path is in its normal form for certain: nothing in it that could be otherwise.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = is_unreserved(byte) || is_reserved(byte) || byte == b'/';
        let pair = before == b'/' && matches!(byte, b'/' | b'.');
        before = byte;
        plain && !pair
    })
}

/// The byte of an escape and what is behind it.
pub(super) fn unescape(behind: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = behind.split_first_chunk::<2>()?;
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    Some((digit(high)? << 4 | digit(low)?, rest))
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let digit = |four: u8| HEX.get(usize::from(four)).copied().unwrap_or_default();
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

/// RFC 3986, 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What else stands in a segment for itself (RFC 3986, 3.3: `sub-delims`, `:` and `@`).
const fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
    )
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
