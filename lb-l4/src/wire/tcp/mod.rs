//! TCP (RFC 9293): the header, and its options in `options`.

mod edit;
mod options;

pub use edit::{NoRoom, clamp_mss, edit_options, insert_option, strip_option};
pub use options::{Options, SackBlock, SackBlocks, TcpOption, kind, options};

use super::ParseError;

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// As many bytes of options as a header can have.
pub const MAX_OPTIONS: usize = 40;

pub(super) const SEQUENCE: usize = 4;
pub(super) const ACKNOWLEDGEMENT: usize = 8;
pub(super) const DATA_OFFSET: usize = 12;
pub(super) const WINDOW: usize = 14;
pub(super) const CHECKSUM: usize = 16;

/// The flags of [`TcpHeader::flags`].
pub mod flags {
    /// No more data comes from the sender.
    pub const FIN: u8 = 0x01;
    /// The sequence number is the sender's first.
    pub const SYN: u8 = 0x02;
    /// The connection is no more.
    pub const RST: u8 = 0x04;
    /// The receiver is to deliver what it has.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion was seen (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// The sender has slowed down (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// A TCP header, but for its checksum, urgent pointer and options.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TcpHeader {
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The number of the first payload byte, or of the SYN.
    pub sequence: u32,
    /// The number of the next byte that the sender expects, if [`flags::ACK`] is set.
    pub acknowledgement: u32,
    /// The eight flags of [`flags`].
    pub flags: u8,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// Bytes of header and options, 20 to 60, a multiple of 4.
    pub len: usize,
}

impl TcpHeader {
    /// Reads the header at the front of `bytes`, which all belong to the segment.
    #[inline(always)]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let header = bytes.first_chunk::<HEADER>().ok_or(ParseError::Truncated)?;
        let len = usize::from(header[DATA_OFFSET] >> 4) * 4;
        if len < HEADER {
            return Err(ParseError::HeaderLength);
        }
        if len > bytes.len() {
            return Err(ParseError::Truncated);
        }
        Ok(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16::from_be_bytes([header[14], header[15]]),
            len,
        })
    }

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it asks for a connection: SYN, and neither ACK nor RST nor FIN.
    #[inline]
    #[must_use]
    pub const fn is_first_syn(&self) -> bool {
        self.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [u8; 24] = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x6f, 0xa5, 13, 14, 0, 0, 0, 0, 1, 1, 1, 1,
    ];

    #[test]
    fn every_field_is_read_where_it_stands() {
        let header = TcpHeader {
            source_port: 0x0102,
            destination_port: 0x0304,
            sequence: 0x0506_0708,
            acknowledgement: 0x090a_0b0c,
            flags: 0xa5,
            window: 0x0d0e,
            len: 24,
        };
        assert_eq!(TcpHeader::parse(&HEAD), Ok(header));
    }

    #[test]
    fn the_data_offset_lies_between_the_fixed_header_and_the_end() {
        let parsed = |offset: u8, len: usize| {
            let mut head = HEAD;
            head[12] = offset << 4;
            TcpHeader::parse(&head[..len]).map(|it| it.len)
        };
        assert_eq!(parsed(4, 24), Err(ParseError::HeaderLength));
        assert_eq!(parsed(5, 20), Ok(20));
        assert_eq!(parsed(5, 19), Err(ParseError::Truncated));
        assert_eq!(parsed(6, 24), Ok(24));
        assert_eq!(parsed(6, 23), Err(ParseError::Truncated));
        assert_eq!(parsed(15, 24), Err(ParseError::Truncated));
    }

    #[test]
    fn only_a_bare_syn_asks_for_a_connection() {
        let with = |flags| TcpHeader {
            flags,
            ..TcpHeader::parse(&HEAD).unwrap()
        };
        for (flags, first) in [
            (flags::SYN, true),
            // ECN is negotiated so (RFC 3168, section 6.1.1); urgent and pushed say nothing.
            (flags::SYN | flags::ECE | flags::CWR, true),
            (flags::SYN | flags::PSH | flags::URG, true),
            (0, false),
            (flags::ACK, false),
            (flags::SYN | flags::ACK, false),
            (flags::SYN | flags::RST, false),
            (flags::SYN | flags::FIN, false),
        ] {
            assert_eq!(with(flags).is_first_syn(), first, "{flags:x}");
        }
        let both = with(flags::SYN | flags::ACK);
        assert!(both.has(flags::SYN) && both.has(flags::SYN | flags::ACK) && both.has(0));
        assert!(!both.has(flags::SYN | flags::FIN) && !both.has(flags::FIN));
    }
}
