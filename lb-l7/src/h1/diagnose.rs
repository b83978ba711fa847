//! What is wrong with a head that was refused: the first fault of its grammar, if it has one.
//!
//! The parser stops wherever it notices; which fault is told must not depend on that.

use super::Rejection;
use super::scan::MAX_METHOD;
use crate::token::{is_token, is_token_byte};

/// What the grammar says against this request head.
#[cold]
pub(super) fn request(head: &[u8]) -> Option<Rejection> {
    let (first, rest) = split_line(head);
    request_line(first).or_else(|| fields(rest))
}

/// What the grammar says against this response head.
#[cold]
pub(super) fn response(head: &[u8]) -> Option<Rejection> {
    let (first, rest) = split_line(head);
    status_line(first).or_else(|| fields(rest))
}

/// What the grammar says against these field lines.
#[cold]
pub(super) fn fields(mut lines: &[u8]) -> Option<Rejection> {
    while !lines.is_empty() {
        let (line, rest) = split_line(lines);
        if let Some(fault) = field(line) {
            return Some(fault);
        }
        lines = rest;
    }
    None
}

/// The fault of a request line, if it has one.
fn request_line(line: &[u8]) -> Option<Rejection> {
    if let Some(fault) = stray(line) {
        return Some(fault);
    }
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    if method.len() > MAX_METHOD {
        return Some(Rejection::MethodTooLong);
    }
    if !is_token(method) {
        return Some(Rejection::Method);
    }
    let (Some(target), Some(version), None) = (words.next(), words.next(), words.next()) else {
        return Some(Rejection::RequestLine);
    };
    if target.is_empty() || version.is_empty() {
        return Some(Rejection::RequestLine);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Some(Rejection::TargetSyntax);
    }
    version_fault(version, Rejection::RequestLine)
}

/// The fault of a status line, if it has one.
fn status_line(line: &[u8]) -> Option<Rejection> {
    if let Some(fault) = stray(line) {
        return Some(fault);
    }
    let (version, rest) = line.split_at_checked(VERSION.len())?;
    if let Some(fault) = version_fault(version, Rejection::StatusLine) {
        return Some(fault);
    }
    match rest {
        [b' ', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => None,
        [
            b' ',
            b'0'..=b'9',
            b'0'..=b'9',
            b'0'..=b'9',
            b' ',
            reason @ ..,
        ] => {
            let control = |&byte: &u8| byte.is_ascii_control() && byte != b'\t';
            reason
                .iter()
                .any(control)
                .then_some(Rejection::ControlCharacter)
        }
        _ => Some(Rejection::StatusLine),
    }
}

/// The fault of a version, if it has one; `syntax` if it is none at all.
fn version_fault(version: &[u8], syntax: Rejection) -> Option<Rejection> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Some(Rejection::VersionUnsupported)
        }
        _ => Some(syntax),
    }
}

/// The fault of a field line, if it has one.
fn field(line: &[u8]) -> Option<Rejection> {
    if let Some(fault) = stray(line) {
        return Some(fault);
    }
    if let [b' ' | b'\t', ..] = line {
        return Some(Rejection::FoldedField);
    }
    let end = line
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(line.len());
    match line.split_at(end) {
        ([], []) => None,
        ([], [b':', ..]) => Some(Rejection::FieldNameEmpty),
        (_, [b':', value @ ..]) => {
            let control = |&byte: &u8| byte.is_ascii_control() && byte != b'\t';
            value
                .iter()
                .any(control)
                .then_some(Rejection::ControlCharacter)
        }
        (_, rest) => Some(match memchr::memchr(b':', rest) {
            None => Rejection::FieldWithoutColon,
            Some(colon) => match rest.get(..colon) {
                Some(space) if space.iter().all(|byte| matches!(byte, b' ' | b'\t')) => {
                    Rejection::SpaceBeforeColon
                }
                _ => Rejection::FieldNameSyntax,
            },
        }),
    }
}

/// A byte that no line may hold, wherever it stands.
fn stray(line: &[u8]) -> Option<Rejection> {
    match memchr::memchr2(b'\0', b'\r', line).and_then(|at| line.get(at))? {
        b'\0' => Some(Rejection::Nul),
        _ => Some(Rejection::BareCarriageReturn),
    }
}

/// A line without its CRLF, and what is behind it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    let (line, rest) = bytes.split_at(end);
    (line.strip_suffix(b"\r\n").unwrap_or(line), rest)
}

const VERSION: &[u8] = b"HTTP/1.1";
