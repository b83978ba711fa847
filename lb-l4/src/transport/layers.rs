//! Where the headers of a packet stand, through tunnels: what offloading and cutting need to know.
#![warn(clippy::indexing_slicing)]

use crate::packet::Link;
use crate::wire::ethernet;

/// The most headers of IP around each other; more is not looked at.
const MAX_DEPTH: usize = 4;

/// A header that says how long what follows it is, or sums it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Layer {
    /// An IPv4 header at this place.
    V4(usize),
    /// An IPv6 header at this place.
    V6(usize),
    /// A UDP header at this place, around a tunnel.
    Udp(usize),
    /// A GRE header at this place.
    Gre(usize),
}

/// The innermost TCP or UDP header, and what stands around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Layers {
    around: [Option<Layer>; 2 * MAX_DEPTH],
    count: usize,
    /// Where the innermost IP header stands.
    pub(crate) network: usize,
    /// Whether it is one of IPv6.
    pub(crate) is_v6: bool,
    /// Where the TCP or UDP header stands.
    pub(crate) transport: usize,
    /// Where the innermost IP packet ends: padding of the link lies behind.
    pub(crate) end: usize,
    /// Which of the two it is.
    pub(crate) protocol: Protocol,
}

/// A protocol with a checksum that hardware completes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Its number (IANA, Protocol Numbers).
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where its checksum stands in its header (RFC 9293, 3.1; RFC 768).
    pub(crate) const fn checksum(self) -> u16 {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

impl Layers {
    /// Finds the headers of `bytes`; `None` if they are cut short, or TCP or UDP is not innermost.
    ///
    /// IPIP, GRE and GUE are looked into. What follows a UDP header is taken for GUE only if the
    /// datagram has no checksum, and all of it is one IP packet behind a GUE header: a checksum
    /// that is partial is never zero, so it then stands further in.
    pub(crate) fn parse(bytes: &[u8], link: Link) -> Option<Self> {
        let mut layers = Self {
            around: [None; 2 * MAX_DEPTH],
            count: 0,
            network: 0,
            is_v6: false,
            transport: 0,
            end: 0,
            protocol: Protocol::Tcp,
        };
        let mut at = match link {
            Link::Ethernet => behind_ethernet(bytes)?,
            Link::Ip => 0,
        };
        for _ in 0..MAX_DEPTH {
            let ip = Ip::parse(bytes, at)?;
            layers.push(if ip.is_v6 {
                Layer::V6(at)
            } else {
                Layer::V4(at)
            })?;
            layers.network = at;
            layers.is_v6 = ip.is_v6;
            layers.end = ip.end;
            at = match ip.protocol {
                4 | 41 => ip.payload,
                47 => {
                    layers.push(Layer::Gre(ip.payload))?;
                    behind_gre(bytes, ip.payload)?
                }
                17 => match behind_gue(bytes, ip.payload, ip.end) {
                    Some(inner) => {
                        layers.push(Layer::Udp(ip.payload))?;
                        inner
                    }
                    None => return layers.innermost(bytes, ip.payload, Protocol::Udp),
                },
                6 => return layers.innermost(bytes, ip.payload, Protocol::Tcp),
                _ => return None,
            };
        }
        None
    }

    fn push(&mut self, layer: Layer) -> Option<()> {
        *self.around.get_mut(self.count)? = Some(layer);
        self.count += 1;
        Some(())
    }

    fn innermost(mut self, bytes: &[u8], at: usize, protocol: Protocol) -> Option<Self> {
        let least = match protocol {
            Protocol::Tcp => 20,
            Protocol::Udp => 8,
        };
        bytes.get(at..self.end)?.get(..least)?;
        self.transport = at;
        self.protocol = protocol;
        Some(self)
    }

    /// The headers around the innermost one, the outermost first.
    pub(crate) fn around(&self) -> impl DoubleEndedIterator<Item = Layer> {
        self.around.into_iter().flatten()
    }

    /// Whether it is in a tunnel.
    #[cfg(any(feature = "af-packet", feature = "tun"))]
    pub(crate) const fn is_tunnelled(&self) -> bool {
        self.count > 1
    }

    /// Where the payload begins; `None` if a TCP header says that it is longer than the packet.
    pub(crate) fn payload(&self, bytes: &[u8]) -> Option<usize> {
        let len = match self.protocol {
            Protocol::Udp => 8,
            Protocol::Tcp => usize::from(bytes.get(self.transport + 12)? >> 4) * 4,
        };
        let payload = self.transport + len;
        (len >= 8 && payload <= self.end).then_some(payload)
    }
}

/// An IP header, with the extension headers behind it.
struct Ip {
    is_v6: bool,
    protocol: u8,
    payload: usize,
    end: usize,
}

impl Ip {
    fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let header = bytes.get(at..)?;
        match header.first()? >> 4 {
            4 => Self::v4(header, at),
            6 => Self::v6(bytes, header, at),
            _ => None,
        }
    }

    fn v4(header: &[u8], at: usize) -> Option<Self> {
        let len = usize::from(header.first()? & 0xf) * 4;
        let total = usize::from(u16_at(header, 2)?);
        // RFC 791, 3.1: fragments, and headers that contradict themselves, are nothing to offload.
        let is_fragment = u16_at(header, 6)? & 0x3fff != 0;
        if len < 20 || total < len || total > header.len() || is_fragment {
            return None;
        }
        Some(Self {
            is_v6: false,
            protocol: *header.get(9)?,
            payload: at + len,
            end: at + total,
        })
    }

    fn v6(bytes: &[u8], header: &[u8], at: usize) -> Option<Self> {
        let end = at + 40 + usize::from(u16_at(header, 4)?);
        let mut protocol = *header.get(6)?;
        let mut payload = at + 40;
        if end > bytes.len() {
            return None;
        }
        // Hop-by-hop, routing and destination options (RFC 8200, 4); each is 8 bytes at least.
        while matches!(protocol, 0 | 43 | 60) {
            let extension = bytes.get(payload..end)?.first_chunk::<2>()?;
            protocol = extension[0];
            payload += (usize::from(extension[1]) + 1) * 8;
        }
        (payload <= end).then_some(Self {
            is_v6: true,
            protocol,
            payload,
            end,
        })
    }
}

/// Where the IP header begins in a frame with up to two VLAN tags.
fn behind_ethernet(bytes: &[u8]) -> Option<usize> {
    let mut at = ethernet::HEADER;
    for _ in 0..=2 {
        match u16_at(bytes, at - 2)? {
            ethernet::IPV4 | ethernet::IPV6 => return Some(at),
            // IEEE 802.1Q, 9.6; 802.1ad.
            0x8100 | 0x88a8 => at += ethernet::TAG,
            _ => return None,
        }
    }
    None
}

/// Where the IP header in a GRE header (RFC 2784, 2890) at `at` begins.
fn behind_gre(bytes: &[u8], at: usize) -> Option<usize> {
    let flags = u16_at(bytes, at)?;
    let kind = u16_at(bytes, at + 2)?;
    let is_ip = matches!(kind, ethernet::IPV4 | ethernet::IPV6);
    // A checksum, a key and a sequence number of four bytes each; the version is 0.
    let options = (flags & 0xb000).count_ones() as usize;
    (is_ip && flags & 0x7 == 0).then_some(at + 4 + options * 4)
}

/// Where the IP header in a GUE datagram (draft-ietf-intarea-gue-09) at `at` begins.
fn behind_gue(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    if u16_at(bytes, at + 6)? != 0 {
        return None;
    }
    let first = *bytes.get(at + 8)?;
    let inner = match first >> 6 {
        // Variant 0: a control bit, the length of the options in words, a protocol.
        0 if first & 0x20 == 0 && matches!(bytes.get(at + 9)?, 4 | 41) => {
            at + 12 + usize::from(first & 0x1f) * 4
        }
        // Variant 1: an IP header at once, whose version begins with the bits 01.
        1 => at + 8,
        _ => return None,
    };
    (Ip::parse(bytes, inner)?.end == end).then_some(inner)
}

/// The 16 bits at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Puts 16 bits at `at`, if there is such a place.
pub(crate) fn set_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}
