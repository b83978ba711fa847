//! Gives an error, and the packet in it, the addresses that its receiver knows.
#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, SocketAddr};

use lbcore::flow::Protocol;

use super::embedded::{Embedded, ErrorKind};
use super::patch::Patch;
use crate::packet::{Checksum, DropReason};
use crate::wire::{Headers, rewrite as wire};

/// What the error and the packet in it are to be addressed as.
///
/// # Examples
///
/// NAT, a router behind the forwarder complains about a packet from 192.0.2.1:4000 to 203.0.113.10:80
/// that went to the backend 10.0.0.7:8080:
///
/// ```
/// use lb_l4::icmp::Translation;
///
/// let client = "192.0.2.1:4000".parse()?;
/// let service = "203.0.113.10:80".parse()?;
/// let to_client = Translation::new(client, service).from("203.0.113.10".parse()?);
/// assert_eq!(to_client.destination.to_string(), "192.0.2.1");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Translation {
    /// Who sends the error; `None` leaves the router or host that did. Set it to the virtual address
    /// for errors from behind the forwarder, whose addresses are nobody's business.
    pub source: Option<IpAddr>,
    /// Who gets the error: who sent the quoted packet.
    pub destination: IpAddr,
    /// The source that the quoted packet had when its sender sent it.
    pub quoted_source: SocketAddr,
    /// The destination that it had then.
    pub quoted_destination: SocketAddr,
    /// What to add to its sequence number, if it is TCP; wraps. Hosts ignore an error about a
    /// sequence number that they have not sent, so a session whose numbers are spliced needs it.
    pub sequence_shift: u32,
}

impl Translation {
    /// The error goes to `quoted_source`, since it had sent the packet, to `quoted_destination`; it
    /// comes from whom it comes.
    #[must_use]
    pub const fn new(quoted_source: SocketAddr, quoted_destination: SocketAddr) -> Self {
        Self {
            source: None,
            destination: quoted_source.ip(),
            quoted_source,
            quoted_destination,
            sequence_shift: 0,
        }
    }

    /// Sets [`source`](Self::source).
    #[must_use]
    pub const fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets [`sequence_shift`](Self::sequence_shift).
    #[must_use]
    pub const fn sequence_shift(mut self, shift: u32) -> Self {
        self.sequence_shift = shift;
        self
    }
}

/// Rewrites the error in `bytes`, that [`embedded`](super::embedded()) read, inside and out.
///
/// Every checksum is updated incrementally, and stays as right or as wrong as it was: of the outer
/// and the quoted IPv4 header, of the quoted TCP or UDP header as far as it is quoted, and of the
/// error. Extensions (RFC 4884) stay as they are. The time to live is the caller's to decrement.
///
/// # Errors
///
/// [`DropReason::Malformed`] for an MTU that no link may have (see the [module](super)), and
/// [`DropReason::Unsupported`] if an address is of the other family. Nothing is changed then.
pub fn rewrite(
    bytes: &mut [u8],
    headers: &mut Headers,
    embedded: &Embedded,
    into: &Translation,
) -> Result<(), DropReason> {
    check(headers, embedded, into)?;
    // The quoted bytes first: whatever changes there is covered by the error's checksum.
    let mut patch = Patch::new(bytes);
    quoted(&mut patch, embedded, into).ok_or(DropReason::Malformed)?;
    let field = headers.transport + ICMP_CHECKSUM;
    let delta = patch.delta;
    let checksum = patch.word(field).ok_or(DropReason::Malformed)?;
    patch.set_word(field, delta.apply(checksum));
    // ICMPv6 covers the addresses around it too, which these two know.
    let complete = Checksum::Complete;
    if let Some(source) = into.source {
        wire::set_source(bytes, headers, source, None, complete);
    }
    wire::set_destination(bytes, headers, into.destination, None, complete);
    Ok(())
}

fn check(headers: &Headers, embedded: &Embedded, into: &Translation) -> Result<(), DropReason> {
    let v4 = headers.is_ipv4();
    let addresses = [
        into.source.unwrap_or(headers.source),
        into.destination,
        into.quoted_source.ip(),
        into.quoted_destination.ip(),
    ];
    if addresses.iter().any(|it| it.is_ipv4() != v4) {
        return Err(DropReason::Unsupported);
    }
    match embedded.kind {
        ErrorKind::TooBig { mtu: 1..LEAST_V4 } if v4 => Err(DropReason::Malformed),
        ErrorKind::TooBig { mtu: 0..LEAST_V6 } if !v4 => Err(DropReason::Malformed),
        _ => Ok(()),
    }
}

/// Rewrites the quoted packet, as far as it is quoted.
fn quoted(patch: &mut Patch<'_>, embedded: &Embedded, into: &Translation) -> Option<()> {
    let it = embedded.quoted;
    let (source, destination) = (into.quoted_source, into.quoted_destination);
    let (source_at, destination_at) = if it.source.is_ipv4() {
        (12, 16)
    } else {
        (8, 24)
    };
    patch.set_address(it.network + source_at, it.source, source.ip())?;
    patch.set_address(
        it.network + destination_at,
        it.destination,
        destination.ip(),
    )?;
    let addresses = patch.delta;
    if it.source.is_ipv4() {
        let field = it.network + IPV4_CHECKSUM;
        let checksum = patch.word(field)?;
        patch.set_word(field, addresses.apply(checksum))?;
    }
    patch.set_word(it.transport, source.port())?;
    patch.set_word(it.transport + 2, destination.port())?;
    let mut inner = addresses
        .replace(embedded.key.source.port(), source.port())
        .replace(embedded.key.destination.port(), destination.port());
    if let Some(sequence) = embedded.sequence.filter(|_| into.sequence_shift != 0) {
        let new = sequence.wrapping_add(into.sequence_shift);
        patch.set_double(it.transport + 4, new)?;
        inner = inner.replace(sequence, new);
    }
    let field = match embedded.key.protocol {
        Protocol::Tcp => it.transport + TCP_CHECKSUM,
        _ => it.transport + UDP_CHECKSUM,
    };
    // Of eight quoted bytes of TCP the checksum is not one.
    if field + 2 <= it.end {
        let old = patch.word(field)?;
        let new = match (embedded.key.protocol, old) {
            (Protocol::Udp, 0) => 0,
            // RFC 768: 0 is none.
            (Protocol::Udp, old) => match inner.apply(old) {
                0 => u16::MAX,
                new => new,
            },
            (_, old) => inner.apply(old),
        };
        patch.set_word(field, new)?;
    }
    Some(())
}

/// The least MTU of an IPv4 link (RFC 791), and of an IPv6 link (RFC 8200, section 5).
pub(super) const LEAST_V4: u32 = 68;
pub(super) const LEAST_V6: u32 = 1280;

/// Where the checksums lie in their headers.
pub(super) const ICMP_CHECKSUM: usize = 2;
const IPV4_CHECKSUM: usize = 10;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
