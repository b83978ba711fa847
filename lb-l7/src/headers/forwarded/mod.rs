//! The `Forwarded` field (RFC 7239): reading and writing.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use crate::token::{is_token, is_token_byte, trim};

/// Reads the elements of one line of `Forwarded`, from left to right.
///
/// Strict: after the first fault it gives that error and nothing more, for what stands behind an
/// unbalanced quote cannot be told from what stands in it. Allocates nothing.
///
/// # Examples
///
/// ```
/// use lb_l7::headers::forwarded::{Node, parse};
///
/// let line = br#"for=192.0.2.43, for="[2001:db8:cafe::17]:4711";proto=https"#;
/// let elements = parse(line).collect::<Result<Vec<_>, _>>()?;
/// let node = elements[1].node();
/// assert_eq!(node, Some(Node::Address("2001:db8:cafe::17".parse().unwrap())));
/// assert_eq!(elements[1].proto, Some(&b"https"[..]));
/// # Ok::<(), lb_l7::headers::forwarded::ForwardedError>(())
/// ```
#[must_use]
pub const fn parse(line: &[u8]) -> Elements<'_> {
    Elements { rest: Some(line) }
}

/// The elements of one line; see [`parse`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, ForwardedError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = trim(self.rest.take()?);
            // Empty elements of a list mean nothing (RFC 9110, 5.6.1.2).
            match rest {
                [] => return None,
                [b',', rest @ ..] => self.rest = Some(rest),
                _ => {
                    let (element, rest) = match element(rest) {
                        Ok(read) => read,
                        Err(error) => return Some(Err(error)),
                    };
                    self.rest = rest;
                    return Some(Ok(element));
                }
            }
        }
    }
}

/// What one proxy said. Values are as they were written, without the quotes around them.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Element<'a> {
    /// The interface where the request came in to the proxy (RFC 7239, 5.1).
    pub by: Option<&'a [u8]>,
    /// Who sent the request to the proxy (5.2); [`node`](Self::node) reads it.
    pub for_: Option<&'a [u8]>,
    /// The `host` that the proxy received (5.3).
    pub host: Option<&'a [u8]>,
    /// The scheme that was used (5.4).
    pub proto: Option<&'a [u8]>,
}

impl<'a> Element<'a> {
    /// Who sent the request, if the element says so in a form that RFC 7239, 6 knows.
    #[must_use]
    pub fn node(&self) -> Option<Node<'a>> {
        Node::parse(self.for_?)
    }
}

/// A participant (RFC 7239, 6).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Node<'a> {
    /// An address; a port beside it is left out.
    Address(IpAddr),
    /// A name that means something to its giver alone; begins with `_`.
    Obfuscated(&'a [u8]),
    /// Not known, or not told.
    Unknown,
}

impl<'a> Node<'a> {
    /// Reads a node as it is written between quotes: `192.0.2.43:47011`, `[2001:db8::1]`,
    /// `unknown`, `_gazonk`.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        if let [b'[', rest @ ..] = text {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let (address, after) = rest.split_at_checked(end)?;
            let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
            return match after {
                [b']'] => Some(Self::Address(address.into())),
                [b']', b':', port @ ..] if is_port(port) => Some(Self::Address(address.into())),
                _ => None,
            };
        }
        let mut parts = text.splitn(2, |&byte| byte == b':');
        let (name, port) = (parts.next()?, parts.next());
        if port.is_some_and(|port| !is_port(port)) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"unknown") {
            return Some(Self::Unknown);
        }
        if is_obfuscated(name) {
            return Some(Self::Obfuscated(name));
        }
        let address: Ipv4Addr = std::str::from_utf8(name).ok()?.parse().ok()?;
        Some(Self::Address(address.into()))
    }
}

/// Whether `name` is one that tells nothing: `_` and at least one of letters, digits, `.`, `_`, `-`
/// (RFC 7239, 6.3).
#[must_use]
pub fn is_obfuscated(name: &[u8]) -> bool {
    let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    matches!(name, [b'_', rest @ ..] if !rest.is_empty() && rest.iter().all(plain))
}

/// Why a line cannot be read; whoever wrote it is at fault.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ForwardedError {
    /// One parameter twice in one element (RFC 7239, 4).
    #[error("a parameter stands twice")]
    Duplicate,
    /// Not `name=value`, or something behind it that is neither `;` nor `,`.
    #[error("not a list of parameters")]
    Form,
    /// A quoted string that does not end, or with an escape in it, which no node, host or scheme
    /// needs.
    #[error("a quoted string is not well-formed")]
    Quote,
}

/// Reads one element; the rest begins behind its comma.
fn element(mut rest: &[u8]) -> Result<(Element<'_>, Option<&[u8]>), ForwardedError> {
    let mut element = Element::default();
    loop {
        let Pair {
            name,
            value,
            rest: after,
        } = Pair::parse(rest)?;
        let slot = match name.len() {
            2 if name.eq_ignore_ascii_case(b"by") => Some(&mut element.by),
            3 if name.eq_ignore_ascii_case(b"for") => Some(&mut element.for_),
            4 if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
            5 if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.proto),
            // Others are allowed (RFC 7239, 5.5), and say nothing here.
            _ => None,
        };
        if slot.is_some_and(|slot| slot.replace(value).is_some()) {
            return Err(ForwardedError::Duplicate);
        }
        match trim(after) {
            [] => return Ok((element, None)),
            [b',', after @ ..] => return Ok((element, Some(after))),
            [b';', after @ ..] => rest = trim(after),
            _ => return Err(ForwardedError::Form),
        }
        // `forwarded-pair` may be missing between semicolons (RFC 7239, 4).
        while let [b';', after @ ..] = rest {
            rest = trim(after);
        }
        match rest {
            [] => return Ok((element, None)),
            [b',', after @ ..] => return Ok((element, Some(after))),
            _ => {}
        }
    }
}

/// One `name=value`, and what follows it.
struct Pair<'a> {
    name: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Pair<'a> {
    /// Reads `name=value` or `name="value"`.
    fn parse(bytes: &'a [u8]) -> Result<Self, ForwardedError> {
        let (name, rest) = token(bytes).ok_or(ForwardedError::Form)?;
        let [b'=', rest @ ..] = rest else {
            return Err(ForwardedError::Form);
        };
        let [b'"', rest @ ..] = rest else {
            let (value, rest) = bare_value(rest).ok_or(ForwardedError::Form)?;
            return Ok(Self { name, value, rest });
        };
        let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\');
        match rest.split_at_checked(end.ok_or(ForwardedError::Quote)?) {
            Some((value, [b'"', rest @ ..])) => Ok(Self { name, value, rest }),
            _ => Err(ForwardedError::Quote),
        }
    }
}

fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    split_where(bytes, |byte| !is_token_byte(byte))
}

/// A value without quotes: a token, or with the `:`, `[` and `]` that many senders forget to quote.
fn bare_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    split_where(bytes, |byte| {
        !is_token_byte(byte) && !matches!(byte, b':' | b'[' | b']')
    })
}

/// Splits before the first byte that `ends`; `None` if nothing is before it.
fn split_where(bytes: &[u8], ends: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| ends(byte));
    let (head, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len()))?;
    (!head.is_empty()).then_some((head, rest))
}

/// A port number or an obfuscated port (RFC 7239, 6).
fn is_port(port: &[u8]) -> bool {
    let digits = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    digits || is_obfuscated(port)
}

/// Writes a node: an IPv4 address bare, an IPv6 address in brackets and quotes (RFC 7239, 6).
pub(super) fn put_address(out: &mut BytesMut, address: IpAddr) {
    // A growing buffer takes everything.
    let _ = match address.to_canonical() {
        IpAddr::V4(address) => write!(out, "{address}"),
        IpAddr::V6(address) => write!(out, "\"[{address}]\""),
    };
}

/// Writes `value` bare if it is a token, else in quotes; `"` and `\` are escaped.
pub(super) fn put_value(out: &mut BytesMut, value: &[u8]) {
    if is_token(value) {
        out.put_slice(value);
        return;
    }
    out.put_u8(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests;
