//! Version 2: sixteen bytes, addresses, and TLVs (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::Crc32c;
use super::tlv::Tlvs;
use super::unix::{self, UnixAddress, UnixKind};
use super::v1::mapped;
use super::{EmitError, Header, Parse, ParseError, Proxied, Version};
use crate::flow::{FlowKey, Protocol};

pub(super) fn parse(bytes: &[u8], most: usize) -> Result<Parse, ParseError> {
    if !SIGNATURE.iter().zip(bytes).all(|(a, b)| a == b) {
        return Err(ParseError::NotProxyProtocol);
    }
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let command = rest.first().copied().map(Command::parse).transpose()?;
    let family = rest.get(1).copied().map(Family::parse).transpose()?;
    let (Some(command), Some(family), Some(length)) = (command, family, rest.get(2..4)) else {
        return Ok(Parse::Incomplete { need: FIXED_LENGTH });
    };
    let block = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = FIXED_LENGTH + block;
    if length > most {
        return Err(ParseError::TooLong { length, most });
    }
    if matches!(command, Command::Proxy) && block < family.length() {
        return Err(ParseError::TooShort);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(Parse::Incomplete { need: length });
    };
    let header = match command {
        // "The receiver must […] discard the protocol block including the family."
        Command::Local => Header::new(Proxied::Local),
        Command::Proxy => proxy(family, whole)?,
    };
    Ok(Parse::Complete {
        header,
        version: Version::V2,
        consumed: length,
    })
}

/// The header of a PROXY command; `whole` is all of it and long enough for the family.
fn proxy(family: Family, whole: &[u8]) -> Result<Header, ParseError> {
    let mut rest = whole.get(FIXED_LENGTH..).unwrap_or_default();
    let proxied = family.proxied(&mut rest).ok_or(ParseError::TooShort)?;
    let (tlvs, checksum) = Tlvs::parse(rest)?;
    if let Some(sent) = checksum {
        // The same TLVs with the checksum's bytes zero are what `tlvs` holds.
        let before = whole.get(..whole.len() - rest.len()).unwrap_or_default();
        let computed = Crc32c::new().update(before).update(tlvs.as_bytes());
        if computed.finish() != sent {
            return Err(ParseError::Checksum);
        }
    }
    Ok(Header { proxied, tlvs })
}

/// The low half of the 13th byte.
enum Command {
    Local,
    Proxy,
}

impl Command {
    fn parse(byte: u8) -> Result<Self, ParseError> {
        match (byte >> 4, byte & 0xf) {
            (2, 0) => Ok(Self::Local),
            (2, 1) => Ok(Self::Proxy),
            (2, command) => Err(ParseError::UnknownCommand(command)),
            (version, _) => Err(ParseError::UnknownVersion(version)),
        }
    }
}

/// The 14th byte: address family and transport protocol together.
#[derive(Clone, Copy)]
enum Family {
    Inet(Protocol),
    Inet6(Protocol),
    Unix(UnixKind),
    Unspecified,
}

impl Family {
    /// The seven bytes that the specification lists. Other combinations of a valid family and a
    /// valid protocol do not say how long their addresses are, and no sender is known.
    fn parse(byte: u8) -> Result<Self, ParseError> {
        match byte {
            0x00 => Ok(Self::Unspecified),
            0x11 => Ok(Self::Inet(Protocol::Tcp)),
            0x12 => Ok(Self::Inet(Protocol::Udp)),
            0x21 => Ok(Self::Inet6(Protocol::Tcp)),
            0x22 => Ok(Self::Inet6(Protocol::Udp)),
            0x31 => Ok(Self::Unix(UnixKind::Stream)),
            0x32 => Ok(Self::Unix(UnixKind::Datagram)),
            _ => Err(ParseError::UnknownFamily(byte)),
        }
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::Unspecified => 0x00,
            Self::Inet(Protocol::Tcp) => 0x11,
            Self::Inet(Protocol::Udp) => 0x12,
            Self::Inet6(Protocol::Tcp) => 0x21,
            Self::Inet6(Protocol::Udp) => 0x22,
            Self::Unix(UnixKind::Stream) => 0x31,
            Self::Unix(UnixKind::Datagram) => 0x32,
        }
    }

    /// Bytes of both addresses and both ports.
    const fn length(self) -> usize {
        match self {
            Self::Inet(_) => 2 * 4 + 2 * 2,
            Self::Inet6(_) => 2 * 16 + 2 * 2,
            Self::Unix(_) => 2 * unix::LENGTH,
            Self::Unspecified => 0,
        }
    }

    /// The family in which `proxied` is told.
    fn of(proxied: &Proxied) -> Self {
        match proxied {
            Proxied::Flow(flow) if flow.source.is_ipv4() && flow.destination.is_ipv4() => {
                Self::Inet(flow.protocol)
            }
            Proxied::Flow(flow) => Self::Inet6(flow.protocol),
            Proxied::Local | Proxied::Unknown => Self::Unspecified,
            Proxied::Unix { kind, .. } => Self::Unix(*kind),
        }
    }

    /// Takes the addresses off the front of `rest`; `None` if it is too short.
    fn proxied(self, rest: &mut &[u8]) -> Option<Proxied> {
        match self {
            Self::Inet(protocol) => flow(protocol, rest, |bytes: [u8; 4]| Ipv4Addr::from(bytes)),
            Self::Inet6(protocol) => flow(protocol, rest, |bytes: [u8; 16]| Ipv6Addr::from(bytes)),
            Self::Unix(kind) => Some(Proxied::Unix {
                kind,
                source: UnixAddress::from_bytes(&take(rest)?),
                destination: UnixAddress::from_bytes(&take(rest)?),
            }),
            Self::Unspecified => Some(Proxied::Unknown),
        }
    }
}

fn flow<const N: usize, A: Into<IpAddr>>(
    protocol: Protocol,
    rest: &mut &[u8],
    address: impl Fn([u8; N]) -> A,
) -> Option<Proxied> {
    let source = address(take(rest)?).into();
    let destination = address(take(rest)?).into();
    let source_port = u16::from_be_bytes(take(rest)?);
    let destination_port = u16::from_be_bytes(take(rest)?);
    Some(Proxied::Flow(FlowKey::new(
        protocol,
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    )))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

pub(super) fn emit(header: &Header, out: &mut Vec<u8>) -> Result<(), EmitError> {
    let command = match header.proxied {
        Proxied::Local if !header.tlvs.is_empty() => return Err(EmitError::LocalTlvs),
        Proxied::Local => 0x20,
        Proxied::Flow(_) | Proxied::Unix { .. } | Proxied::Unknown => 0x21,
    };
    let family = Family::of(&header.proxied);
    let block = family.length() + header.tlvs.as_bytes().len();
    let length = u16::try_from(block).map_err(|_| EmitError::TooLong(block))?;

    let start = out.len();
    out.reserve(FIXED_LENGTH + block);
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[command, family.to_byte()]);
    out.extend_from_slice(&length.to_be_bytes());
    emit_addresses(&header.proxied, out);
    let tlvs = out.len();
    out.extend_from_slice(header.tlvs.as_bytes());
    if let Some(offset) = header.tlvs.checksum_offset() {
        let whole = out.get(start..).unwrap_or_default();
        let checksum = Crc32c::new().update(whole).finish().to_be_bytes();
        let place = out.get_mut(tlvs + offset..).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(checksum) {
            *to = from;
        }
    }
    Ok(())
}

fn emit_addresses(proxied: &Proxied, out: &mut Vec<u8>) {
    match proxied {
        Proxied::Flow(flow) => {
            match (flow.source.ip(), flow.destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    out.extend_from_slice(&source.octets());
                    out.extend_from_slice(&destination.octets());
                }
                (source, destination) => {
                    out.extend_from_slice(&mapped(source).octets());
                    out.extend_from_slice(&mapped(destination).octets());
                }
            }
            out.extend_from_slice(&flow.source.port().to_be_bytes());
            out.extend_from_slice(&flow.destination.port().to_be_bytes());
        }
        Proxied::Unix {
            source,
            destination,
            ..
        } => {
            out.extend_from_slice(source.as_bytes());
            out.extend_from_slice(destination.as_bytes());
        }
        Proxied::Local | Proxied::Unknown => {}
    }
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, and the length of the rest.
const FIXED_LENGTH: usize = 16;
