//! Ethernet (IEEE 802.3), with up to two VLAN tags (802.1Q, 802.1ad).

use std::fmt;

/// Bytes of a header without tags.
pub const HEADER: usize = 14;
/// Bytes of one VLAN tag.
pub const TAG: usize = 4;
/// As many tags as are looked through: one of the customer's in one of the provider's (802.1ad).
pub const MAX_TAGS: usize = 2;

/// The type of IPv4.
pub const IPV4: u16 = 0x0800;
/// The type of ARP.
pub const ARP: u16 = 0x0806;
/// The type of IPv6.
pub const IPV6: u16 = 0x86dd;

/// The address of a network interface on its link.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "six bytes")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every interface of the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it is that of a group of interfaces, or of all.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header of a frame.
#[expect(
    clippy::exhaustive_structs,
    reason = "the fields of IEEE 802.3 and 802.1Q"
)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// The VLAN tags, the outer first.
    pub tags: [Option<Tag>; MAX_TAGS],
    /// What it carries, such as [`IPV4`].
    pub kind: u16,
}

/// A VLAN tag.
#[expect(clippy::exhaustive_structs, reason = "the fields of IEEE 802.1Q")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tag {
    /// Its type: 0x8100, or 0x88a8 for the provider's.
    pub protocol: u16,
    /// Priority (3 bits), drop eligibility (1 bit) and the number of the VLAN (12 bits).
    pub control: u16,
}

impl Header {
    /// Reads the header at the front of a frame; `None` if it is cut short.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (header, mut rest) = frame.split_first_chunk::<HEADER>()?;
        let &[a, b, c, d, e, f, g, h, i, j, k, l, k0, k1] = header;
        let mut kind = u16::from_be_bytes([k0, k1]);
        let mut tags = [None; MAX_TAGS];
        for tag in &mut tags {
            if !is_tag(kind) {
                break;
            }
            let (&[c0, c1, k0, k1], behind) = rest.split_first_chunk()?;
            *tag = Some(Tag {
                protocol: kind,
                control: u16::from_be_bytes([c0, c1]),
            });
            kind = u16::from_be_bytes([k0, k1]);
            rest = behind;
        }
        Some(Self {
            destination: Mac([a, b, c, d, e, f]),
            source: Mac([g, h, i, j, k, l]),
            tags,
            kind,
        })
    }

    /// Bytes of the header, with its tags: 14, 18 or 22.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        HEADER + TAG * self.tags.iter().flatten().count()
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.destination.0);
        out.extend_from_slice(&self.source.0);
        for tag in self.tags.iter().flatten() {
            out.extend_from_slice(&tag.protocol.to_be_bytes());
            out.extend_from_slice(&tag.control.to_be_bytes());
        }
        out.extend_from_slice(&self.kind.to_be_bytes());
    }
}

/// Changes both addresses of a frame; `None`, and nothing is changed, if it is shorter than they
/// are.
#[inline]
pub fn set_addresses(frame: &mut [u8], destination: Mac, source: Mac) -> Option<()> {
    let [to, from] = frame.as_chunks_mut::<6>().0.first_chunk_mut::<2>()?;
    (*to, *from) = (destination.0, source.0);
    Some(())
}

/// What a frame carries, and where that begins; `None` if the header is cut short.
#[inline]
pub(super) fn kind(frame: &[u8]) -> Option<(u16, usize)> {
    let &[.., a, b] = frame.first_chunk::<HEADER>()?;
    let kind = u16::from_be_bytes([a, b]);
    if is_tag(kind) {
        let header = Header::parse(frame)?;
        return Some((header.kind, header.len()));
    }
    Some((kind, HEADER))
}

/// 802.1Q, 802.1ad, and the number that was used for the outer tag before that.
#[inline]
const fn is_tag(kind: u16) -> bool {
    matches!(kind, 0x8100 | 0x88a8 | 0x9100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Mac = Mac([2, 0, 0, 0, 0xab, 1]);
    const FROM: Mac = Mac([6, 5, 4, 3, 2, 1]);

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let tag = |protocol, control| Some(Tag { protocol, control });
        for (tags, len) in [
            ([None, None], 14),
            ([tag(0x8100, 0x2005), None], 18),
            ([tag(0x88a8, 9), tag(0x8100, 0xefff)], 22),
        ] {
            let header = Header {
                destination: TO,
                source: FROM,
                tags,
                kind: IPV6,
            };
            let mut bytes = Vec::new();
            header.emit(&mut bytes);
            assert_eq!((bytes.len(), header.len()), (len, len));
            assert_eq!(Header::parse(&bytes), Some(header));
            assert_eq!(kind(&bytes), Some((IPV6, len)));
            for short in 0..len {
                let bytes = bytes.get(..short).unwrap();
                assert_eq!((Header::parse(bytes), kind(bytes)), (None, None), "{short}");
            }
        }
    }

    #[test]
    fn addresses_are_changed_in_place() {
        let mut frame = [7; 13];
        assert_eq!(set_addresses(&mut frame, TO, FROM), Some(()));
        assert_eq!(frame, [2, 0, 0, 0, 0xab, 1, 6, 5, 4, 3, 2, 1, 7]);
        let mut short = [7; 11];
        assert_eq!(set_addresses(&mut short, TO, FROM), None);
        assert_eq!(short, [7; 11]);
    }

    #[test]
    fn an_address_is_shown_as_users_know_it() {
        assert_eq!(
            format!("{TO} {FROM:?}"),
            "02:00:00:00:ab:01 06:05:04:03:02:01"
        );
        assert!(Mac::BROADCAST.is_multicast() && Mac([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        assert!(!TO.is_multicast());
    }
}
