//! The options of a TCP header.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Numbers of TCP options (IANA, "TCP Option Kind Numbers").
pub mod kind {
    /// The list ends here.
    pub const END: u8 = 0;
    /// Padding of one byte.
    pub const NO_OPERATION: u8 = 1;
    /// Maximum segment size (RFC 9293).
    pub const MSS: u8 = 2;
    /// Window scale (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgement permitted (RFC 2018).
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgement (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
    /// Fast open, by which a SYN's data is taken at once (RFC 7413).
    pub const FAST_OPEN: u8 = 34;
    /// The client's IPv6 address and port; from the numbers for experiments (RFC 4727), as LVS
    /// with FULLNAT uses it.
    pub const TOA_V6: u8 = 253;
    /// The client's IPv4 address and port; as [`TOA_V6`].
    pub const TOA: u8 = 254;
}

/// One option of a TCP header.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcpOption<'a> {
    /// The largest segment that the sender takes.
    Mss(u16),
    /// The sender's windows are shifted by as many bits; more than 14 count as 14.
    WindowScale(u8),
    /// The sender understands selective acknowledgements.
    SackPermitted,
    /// What was received beyond the acknowledgement number.
    Sack(SackBlocks<'a>),
    /// The sender's clock, and the receiver's as it came last.
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The newest clock of the other side; of meaning with an ACK.
        echo: u32,
    },
    /// The client's end of the connection, as a load balancer says: kind 254 with 8 bytes (port,
    /// IPv4 address), or kind 253 with 20 (port, IPv6 address).
    Toa(SocketAddr),
    /// Another one, or one of these with a length that is not its own.
    Other {
        /// The option's number.
        kind: u8,
        /// What follows its kind and length.
        bytes: &'a [u8],
    },
}

/// Reads the options of a TCP header, given what stands behind its first 20 bytes.
///
/// Ends at the end-of-list option, and at the first whose length is impossible; skips padding.
///
/// # Examples
///
/// ```
/// use lb_l4::wire::tcp::{TcpOption, options};
///
/// let bytes = [2, 4, 0x05, 0xb4, 1, 3, 3, 7];
/// let found: Vec<_> = options(&bytes).collect();
/// assert_eq!(found, [TcpOption::Mss(1460), TcpOption::WindowScale(7)]);
/// ```
#[inline]
pub const fn options(bytes: &[u8]) -> Options<'_> {
    Options {
        rest: bytes,
        position: 0,
    }
}

/// The options of a TCP header, in their order; at most 40.
#[derive(Clone, Debug)]
#[must_use]
pub struct Options<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Options<'a> {
    /// Where the option that comes next begins, or the padding before it; counted from the first
    /// byte of all options.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The next option, and its bytes with kind and length.
    #[inline]
    pub(super) fn next_raw(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let (&kind, behind) = self.rest.split_first()?;
            match kind {
                kind::END => return None,
                kind::NO_OPERATION => {
                    self.rest = behind;
                    self.position += 1;
                }
                _ => {
                    let len = usize::from(*behind.first()?);
                    let (option, rest) = self.rest.split_at_checked(len)?;
                    if len < 2 {
                        return None;
                    }
                    self.rest = rest;
                    self.position += len;
                    return Some((kind, option));
                }
            }
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<TcpOption<'a>> {
        let (kind, bytes) = self.next_raw()?;
        Some(TcpOption::read(kind, bytes))
    }
}

impl std::iter::FusedIterator for Options<'_> {}

impl<'a> TcpOption<'a> {
    /// `option` begins with its kind and length.
    #[inline]
    fn read(kind: u8, option: &'a [u8]) -> Self {
        match (kind, option) {
            (kind::MSS, &[_, _, a, b]) => Self::Mss(u16::from_be_bytes([a, b])),
            (kind::WINDOW_SCALE, &[_, _, shift]) => Self::WindowScale(shift),
            (kind::SACK_PERMITTED, [_, _]) => Self::SackPermitted,
            (kind::SACK, [_, _, blocks @ ..])
                if !blocks.is_empty() && blocks.len().is_multiple_of(8) =>
            {
                Self::Sack(SackBlocks(blocks))
            }
            (kind::TIMESTAMPS, &[_, _, a, b, c, d, e, f, g, h]) => Self::Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            },
            (kind::TOA, &[_, _, p0, p1, a, b, c, d]) => {
                let port = u16::from_be_bytes([p0, p1]);
                Self::Toa((Ipv4Addr::new(a, b, c, d), port).into())
            }
            (kind::TOA_V6, &[_, _, p0, p1, ref address @ ..]) if address.len() == 16 => {
                let octets: [u8; 16] = address.first_chunk().copied().unwrap_or_default();
                let port = u16::from_be_bytes([p0, p1]);
                Self::Toa((Ipv6Addr::from(octets), port).into())
            }
            _ => Self::Other {
                kind,
                bytes: option.get(2..).unwrap_or_default(),
            },
        }
    }

    /// Appends its bytes, without padding; an [`Other`](Self::Other) of more than 253 bytes is cut.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[self.kind(), 0]);
        match *self {
            Self::Mss(mss) => out.extend_from_slice(&mss.to_be_bytes()),
            Self::WindowScale(shift) => out.push(shift),
            Self::SackPermitted => {}
            Self::Sack(SackBlocks(blocks)) => out.extend_from_slice(blocks),
            Self::Timestamps { value, echo } => {
                out.extend_from_slice(&value.to_be_bytes());
                out.extend_from_slice(&echo.to_be_bytes());
            }
            Self::Toa(client) => {
                out.extend_from_slice(&client.port().to_be_bytes());
                match client {
                    SocketAddr::V4(v4) => out.extend_from_slice(&v4.ip().octets()),
                    SocketAddr::V6(v6) => out.extend_from_slice(&v6.ip().octets()),
                }
            }
            Self::Other { bytes, .. } => out.extend(bytes.iter().take(253)),
        }
        let len = u8::try_from(out.len() - begin).unwrap_or(u8::MAX);
        if let Some(field) = out.get_mut(begin + 1) {
            *field = len;
        }
    }

    /// Its number, of [`kind`].
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Mss(_) => kind::MSS,
            Self::WindowScale(_) => kind::WINDOW_SCALE,
            Self::SackPermitted => kind::SACK_PERMITTED,
            Self::Sack(_) => kind::SACK,
            Self::Timestamps { .. } => kind::TIMESTAMPS,
            Self::Toa(SocketAddr::V4(_)) => kind::TOA,
            Self::Toa(SocketAddr::V6(_)) => kind::TOA_V6,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// The blocks of a selective acknowledgement, one to four.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SackBlocks<'a>(&'a [u8]);

impl SackBlocks<'_> {
    /// The blocks in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SackBlock> {
        let (blocks, _) = self.0.as_chunks::<8>();
        blocks.iter().map(|&[a, b, c, d, e, f, g, h]| SackBlock {
            left: u32::from_be_bytes([a, b, c, d]),
            right: u32::from_be_bytes([e, f, g, h]),
        })
    }
}

/// Bytes that were received beyond the acknowledgement number.
#[expect(clippy::exhaustive_structs, reason = "the two fields of RFC 2018")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SackBlock {
    /// The sequence number of the first.
    pub left: u32,
    /// The sequence number behind the last.
    pub right: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Vec<TcpOption<'_>> {
        options(bytes).collect()
    }

    #[test]
    fn each_option_is_read_and_written_with_its_own_length() {
        let sack: Vec<u8> = [5, 18].into_iter().chain(1..=16).collect();
        let toa_v6: Vec<u8> = [253, 20, 0x1f, 0x90, 0x20, 1, 0xd, 0xb8]
            .into_iter()
            .chain([0; 11])
            .chain([7])
            .collect();
        let client = |it: &str| TcpOption::Toa(it.parse().unwrap());
        for (bytes, option) in [
            (&[2, 4, 5, 0xb4][..], TcpOption::Mss(1460)),
            (&[3, 3, 14], TcpOption::WindowScale(14)),
            (&[4, 2], TcpOption::SackPermitted),
            (
                &[8, 10, 0, 0, 1, 2, 0, 0, 3, 4],
                TcpOption::Timestamps {
                    value: 0x0102,
                    echo: 0x0304,
                },
            ),
            (
                &[254, 8, 0x1f, 0x90, 192, 0, 2, 7],
                client("192.0.2.7:8080"),
            ),
            (&toa_v6, client("[2001:db8::7]:8080")),
            (
                &[30, 2],
                TcpOption::Other {
                    kind: 30,
                    bytes: &[],
                },
            ),
            (
                &[30, 4, 9, 8],
                TcpOption::Other {
                    kind: 30,
                    bytes: &[9, 8],
                },
            ),
        ] {
            assert_eq!(list(bytes), [option]);
            let mut written = Vec::new();
            option.emit(&mut written);
            assert_eq!((&written[..], Some(&option.kind())), (bytes, bytes.first()));
        }
        let found = list(&sack);
        let [TcpOption::Sack(blocks)] = found[..] else {
            panic!("{found:?}")
        };
        let [first, second] = [(0x0102_0304, 0x0506_0708), (0x090a_0b0c, 0x0d0e_0f10)]
            .map(|(left, right)| SackBlock { left, right });
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [first, second]);
        let mut written = Vec::new();
        TcpOption::Sack(blocks).emit(&mut written);
        assert_eq!(written, sack);
    }

    #[test]
    fn an_option_of_a_length_not_its_own_is_none_of_its_kind() {
        for (kind, len) in [
            (2, 3),
            (3, 4),
            (4, 3),
            (5, 2),
            (5, 9),
            (8, 9),
            (254, 20),
            (253, 8),
        ] {
            let mut bytes = vec![9; len];
            bytes.splice(..2, [kind, u8::try_from(len).unwrap()]);
            let rest = bytes.get(2..).unwrap();
            assert_eq!(list(&bytes), [TcpOption::Other { kind, bytes: rest }]);
        }
    }

    #[test]
    fn the_list_ends_at_its_end_and_at_the_first_impossible_length() {
        let mss = TcpOption::Mss(9);
        for tail in [
            &[0, 3, 3, 7][..],
            &[3, 0, 7],
            &[3, 1, 7],
            &[3, 4, 7],
            &[3],
            &[1, 1],
        ] {
            assert_eq!(
                list(&[&[1, 2, 4, 0, 9, 1], tail].concat()),
                [mss],
                "{tail:?}"
            );
        }
        assert_eq!(list(&[]), []);
        let mut it = options(&[2, 4, 0, 9, 1, 4, 2]);
        assert_eq!((it.position(), it.next(), it.position()), (0, Some(mss), 4));
        assert_eq!(
            (it.next(), it.position()),
            (Some(TcpOption::SackPermitted), 7)
        );
        assert_eq!(it.next(), None);
    }

    #[test]
    fn one_that_is_too_long_is_cut_when_it_is_written() {
        let bytes = [7; 300];
        let mut written = Vec::new();
        TcpOption::Other {
            kind: 99,
            bytes: &bytes,
        }
        .emit(&mut written);
        assert_eq!(
            (written.len(), written.get(..3)),
            (255, Some(&[99, 255, 7][..]))
        );
    }
}
