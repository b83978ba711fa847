//! Version 1: one line of text (section 2.1).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{EmitError, Header, MAX_V1_LENGTH, Parse, ParseError, Proxied, Version};
use crate::flow::{FlowKey, Protocol};

pub(super) fn parse(bytes: &[u8]) -> Result<Parse, ParseError> {
    let window = bytes.get(..MAX_V1_LENGTH).unwrap_or(bytes);
    if !SIGNATURE.iter().zip(window).all(|(a, b)| a == b) {
        return Err(ParseError::NotProxyProtocol);
    }
    if let Some(line) = line(window)? {
        return Ok(Parse::Complete {
            header: Header::new(proxied(line)?),
            version: Version::V1,
            consumed: line.len() + LINE_END.len(),
        });
    }
    let missing = if window.ends_with(b"\r") { 1 } else { 2 };
    let need = (window.len() + missing).max(MIN_LENGTH);
    if need > MAX_V1_LENGTH {
        return Err(ParseError::LineTooLong);
    }
    Ok(Parse::Incomplete { need })
}

/// The line without its end, if that is there.
fn line(window: &[u8]) -> Result<Option<&[u8]>, ParseError> {
    let Some(end) = window.iter().position(|byte| LINE_END.contains(byte)) else {
        return Ok(None);
    };
    match window.split_at_checked(end) {
        Some((line, [b'\r', b'\n', ..])) => Ok(Some(line)),
        Some((_, [b'\r'])) => Ok(None),
        _ => Err(ParseError::LineEnd),
    }
}

fn proxied(line: &[u8]) -> Result<Proxied, ParseError> {
    let mut fields = line
        .get(SIGNATURE.len()..)
        .unwrap_or_default()
        .split(|byte| *byte == b' ');
    match fields.next() {
        // "The receiver must ignore anything presented before the CRLF."
        Some(b"UNKNOWN") => Ok(Proxied::Unknown),
        Some(b"TCP4") => flow::<Ipv4Addr>(fields),
        Some(b"TCP6") => flow::<Ipv6Addr>(fields),
        _ => Err(ParseError::UnknownProtocol),
    }
}

fn flow<'a, A: FromStr + Into<IpAddr>>(
    mut fields: impl Iterator<Item = &'a [u8]>,
) -> Result<Proxied, ParseError> {
    let mut field = || fields.next().ok_or(ParseError::Fields);
    let source = address::<A>(field()?)?;
    let destination = address::<A>(field()?)?;
    let source_port = port(field()?)?;
    let destination_port = port(field()?)?;
    if fields.next().is_some() {
        return Err(ParseError::Fields);
    }
    Ok(Proxied::Flow(FlowKey::new(
        Protocol::Tcp,
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    )))
}

/// An address as the standard library reads it: leading zeros in IPv4 are refused.
///
/// An IPv6 address may end in dotted IPv4 form, which the specification does not list and
/// `inet_ntop`, with which HAProxy and nginx write mapped addresses, produces.
fn address<A: FromStr + Into<IpAddr>>(field: &[u8]) -> Result<IpAddr, ParseError> {
    let text = str::from_utf8(field).map_err(|_| ParseError::Address)?;
    text.parse::<A>()
        .map(Into::into)
        .map_err(|_| ParseError::Address)
}

/// A port: digits alone, for `u16::from_str` takes a plus sign and leading zeros too.
fn port(field: &[u8]) -> Result<u16, ParseError> {
    let plain = match field {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = str::from_utf8(field).map_err(|_| ParseError::Port)?;
    match text.parse() {
        Ok(port) if plain => Ok(port),
        _ => Err(ParseError::Port),
    }
}

pub(super) fn emit(header: &Header, out: &mut Vec<u8>) -> Result<(), EmitError> {
    if !header.tlvs.is_empty() {
        return Err(EmitError::NotInV1);
    }
    match &header.proxied {
        Proxied::Unknown => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        Proxied::Flow(flow) if flow.protocol == Protocol::Tcp => emit_flow(flow, out),
        Proxied::Flow(_) | Proxied::Local | Proxied::Unix { .. } => return Err(EmitError::NotInV1),
    }
    Ok(())
}

fn emit_flow(flow: &FlowKey, out: &mut Vec<u8>) {
    let (source, destination) = match (flow.source.ip(), flow.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(b"PROXY TCP4");
            (source.to_string(), destination.to_string())
        }
        (source, destination) => {
            out.extend_from_slice(b"PROXY TCP6");
            (
                hexadecimal(mapped(source)),
                hexadecimal(mapped(destination)),
            )
        }
    };
    let (source_port, destination_port) = (flow.source.port(), flow.destination.port());
    // Writing to a vector does not fail.
    let _ = write!(
        out,
        " {source} {destination} {source_port} {destination_port}\r\n"
    );
}

/// The address as IPv6: an IPv4 address becomes a mapped one (RFC 4291, 2.5.5.2).
pub(super) fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The address in hexadecimal groups alone, as section 2.1 wants it; `Display` shows a mapped
/// address with a dotted end.
fn hexadecimal(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

/// "PROXY", and exactly one space.
const SIGNATURE: &[u8] = b"PROXY ";

const LINE_END: &[u8] = b"\r\n";

/// The shortest header of either version: `PROXY UNKNOWN` and its line end.
pub(super) const MIN_LENGTH: usize = 15;
