//! Capture files: the classic pcap format, read in every form and written in one.
//!
//! Source: draft-ietf-opsawg-pcap. A file begins with 24 bytes, which say the byte order, the unit
//! of time and the link; each packet is behind 16 bytes more.
#![warn(clippy::indexing_slicing)]

use std::io::{self, Read, Write};
use std::time::Duration;

use thiserror::Error;

use crate::packet::Link;

/// The most bytes of a packet that are read or written: what tcpdump takes.
pub const MAX_SNAPLEN: u32 = 262_144;

/// Bytes of the header of a file.
const FILE_HEADER: usize = 24;
/// Bytes of the header of a packet.
const RECORD_HEADER: usize = 16;
/// The number that a file begins with, if its times are in microseconds.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
/// The same for nanoseconds.
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
/// `LINKTYPE_RAW`, and the numbers that it had in files of some systems.
const RAW: [u32; 3] = [101, 12, 14];
/// `LINKTYPE_IPV4`, `LINKTYPE_IPV6`.
const IP: [u32; 2] = [228, 229];

/// Why a capture could not be read.
///
/// The file is at fault, but for [`Io`](Self::Io).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PcapError {
    /// The file could not be read.
    #[error("the capture could not be read: {0}")]
    Io(#[from] io::Error),
    /// It begins with another number than a capture does; pcapng, which is another format, too.
    #[error("not a capture: it begins with {0:#010x}")]
    NotPcap(u32),
    /// It ends within a packet, or within the header of the file or of a packet.
    #[error("the capture ends in the middle of something")]
    Truncated,
    /// Packets of a link that is neither Ethernet nor bare IP.
    #[error("packets of link type {0} are not read")]
    UnknownLink(u32),
    /// A major version other than 2.
    #[error("version {0} of the format is not known")]
    UnknownVersion(u16),
    /// A packet of more bytes than the file says that packets have, than [`MAX_SNAPLEN`], or than
    /// the packet is said to have had on its link.
    #[error("a packet of {0} bytes is longer than it can be")]
    TooLong(u32),
    /// A time with a second's worth of nanoseconds, or more.
    #[error("a time with {0} parts of a second is none")]
    WrongTime(u32),
}

/// Reads packets from a capture.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::packet::Link;
/// use lb_l4::transport::capture::pcap::{Reader, Writer};
///
/// let mut writer = Writer::new(Vec::new(), Link::Ip, 65_535)?;
/// writer.write(Duration::from_secs(7), b"a packet")?;
///
/// let file = writer.into_inner();
/// let mut reader = Reader::new(&file[..])?;
/// let mut bytes = Vec::new();
/// let record = reader.read(&mut bytes)?.ok_or("a record")?;
/// assert_eq!((record.at, record.len, &bytes[..]), (Duration::from_secs(7), 8, &b"a packet"[..]));
/// assert!(reader.read(&mut bytes)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    is_swapped: bool,
    unit: Unit,
    snaplen: u32,
    link: Link,
    /// Bytes of the frame check sequence behind each packet.
    check: usize,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// When it was captured, since the beginning of 1970.
    pub at: Duration,
    /// Bytes that it had on its link; more than were captured if it was cut.
    pub len: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Microseconds,
    Nanoseconds,
}

impl<R: Read> Reader<R> {
    /// Reads the header of the file.
    ///
    /// # Errors
    ///
    /// It is no capture, of another version, or of another link.
    pub fn new(mut from: R) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER];
        if fill(&mut from, &mut header)? < FILE_HEADER {
            return Err(PcapError::Truncated);
        }
        let [magic, version, _, _, snaplen, link] = words(&header);
        let (is_swapped, unit) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (false, Unit::Microseconds),
            (NANOSECONDS, _) => (false, Unit::Nanoseconds),
            (_, MICROSECONDS) => (true, Unit::Microseconds),
            (_, NANOSECONDS) => (true, Unit::Nanoseconds),
            _ => return Err(PcapError::NotPcap(magic)),
        };
        let order = |word: u32| if is_swapped { word.swap_bytes() } else { word };
        // The major version stands first: in a word of little-endian, that is the lower half.
        let [major_0, major_1, ..] = version.to_le_bytes();
        let major = match is_swapped {
            false => u16::from_le_bytes([major_0, major_1]),
            true => u16::from_be_bytes([major_0, major_1]),
        };
        if major != 2 {
            return Err(PcapError::UnknownVersion(major));
        }
        let link = order(link);
        Ok(Self {
            from,
            is_swapped,
            unit,
            // Some programs write 0 for no limit.
            snaplen: match order(snaplen) {
                0 => MAX_SNAPLEN,
                snaplen => snaplen.min(MAX_SNAPLEN),
            },
            // The upper bits speak of the frame check sequence.
            link: match link & 0xffff {
                ETHERNET => Link::Ethernet,
                it if RAW.contains(&it) || IP.contains(&it) => Link::Ip,
                other => return Err(PcapError::UnknownLink(other)),
            },
            check: match link & 0x0400_0000 {
                0 => 0,
                _ => (link >> 28) as usize * 2,
            },
        })
    }

    /// What its packets begin with.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Reads the next packet into `bytes`, whose content it replaces; `None` at the end.
    ///
    /// A frame check sequence, if the file has them, is cut off.
    ///
    /// # Errors
    ///
    /// The file ends too early, or contradicts itself; what follows is then not to be read.
    pub fn read(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Record>, PcapError> {
        let mut header = [0; RECORD_HEADER];
        match fill(&mut self.from, &mut header)? {
            0 => return Ok(None),
            RECORD_HEADER => {}
            _ => return Err(PcapError::Truncated),
        }
        let words: [u32; 4] = words(&header);
        let [seconds, parts, captured, len] = match self.is_swapped {
            false => words,
            true => words.map(u32::swap_bytes),
        };
        if captured > self.snaplen || captured > len {
            return Err(PcapError::TooLong(captured));
        }
        let nanos = match self.unit {
            Unit::Microseconds => parts.checked_mul(1_000),
            Unit::Nanoseconds => Some(parts),
        };
        let nanos = nanos.filter(|nanos| *nanos < 1_000_000_000);
        let at = Duration::new(seconds.into(), nanos.ok_or(PcapError::WrongTime(parts))?);
        bytes.clear();
        // As much as is there, so that a length alone takes no memory.
        let wanted = u64::from(captured);
        let got = (&mut self.from).take(wanted).read_to_end(bytes)?;
        if got as u64 != wanted {
            return Err(PcapError::Truncated);
        }
        // What was cut short has lost its check sequence first.
        let missing = (len - captured) as usize;
        bytes.truncate(got - self.check.saturating_sub(missing).min(got));
        let check = u32::try_from(self.check).unwrap_or(0);
        Ok(Some(Record {
            at,
            len: len.saturating_sub(check),
        }))
    }
}

/// Writes packets to a capture: times in nanoseconds, in the byte order of this host.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    snaplen: u32,
}

impl<W: Write> Writer<W> {
    /// Writes the header of the file. Of each packet at most `snaplen` bytes will be kept, and never
    /// more than [`MAX_SNAPLEN`].
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn new(mut to: W, link: Link, snaplen: u32) -> io::Result<Self> {
        let snaplen = snaplen.min(MAX_SNAPLEN);
        let kind = match link {
            Link::Ethernet => ETHERNET,
            Link::Ip => RAW[0],
        };
        to.write_all(&NANOSECONDS.to_ne_bytes())?;
        to.write_all(&2_u16.to_ne_bytes())?;
        to.write_all(&4_u16.to_ne_bytes())?;
        for word in [0, 0, snaplen, kind] {
            to.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self { to, snaplen })
    }

    /// Writes a packet that was captured `at` this time since the beginning of 1970.
    ///
    /// Seconds have 32 bits: they begin anew in 2106.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&mut self, at: Duration, bytes: &[u8]) -> io::Result<()> {
        let kept = bytes.len().min(self.snaplen as usize);
        #[expect(clippy::cast_possible_truncation, reason = "begins anew in 2106")]
        let seconds = at.as_secs() as u32;
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = [seconds, at.subsec_nanos(), len.min(self.snaplen), len];
        for word in header {
            self.to.write_all(&word.to_ne_bytes())?;
        }
        self.to.write_all(bytes.get(..kept).unwrap_or_default())
    }

    /// Has what is written so far arrive.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// What it was written to.
    pub fn into_inner(self) -> W {
        self.to
    }
}

/// Reads until `room` is full or nothing more comes; returns how many bytes came.
fn fill(from: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The numbers of 32 bits in `bytes`, in little-endian order.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (chunks, _) = bytes.as_chunks::<4>();
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u32::from_le_bytes(*chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file by its words, in little-endian order.
    fn file(words: &[u32], rest: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.extend(rest);
        bytes
    }

    const VERSION: u32 = 0x0004_0002;

    fn read_all(file: &[u8]) -> Result<Vec<(Record, Vec<u8>)>, PcapError> {
        let mut reader = Reader::new(file)?;
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        while let Some(record) = reader.read(&mut bytes)? {
            all.push((record, bytes.clone()));
        }
        Ok(all)
    }

    #[test]
    fn both_byte_orders_and_both_units_are_read() {
        for (magic, nanos) in [(MICROSECONDS, 5_000), (NANOSECONDS, 5)] {
            let words = [magic, VERSION, 0, 0, 96, 1, 1_700_000_000, 5, 3, 9];
            let little = file(&words, b"abc");
            let mut big = little.clone();
            big[4..8].copy_from_slice(&[0, 2, 0, 4]);
            for (at, word) in words.iter().enumerate().filter(|(at, _)| *at != 1) {
                big[at * 4..at * 4 + 4].copy_from_slice(&word.to_be_bytes());
            }
            let record = Record {
                at: Duration::new(1_700_000_000, nanos),
                len: 9,
            };
            for file in [little, big] {
                assert_eq!(read_all(&file).unwrap(), [(record, b"abc".to_vec())]);
            }
        }
    }

    #[test]
    fn the_link_is_ethernet_or_bare_ip() {
        let link = |number| {
            Reader::new(&file(&[NANOSECONDS, VERSION, 0, 0, 0, number], &[])[..])
                .map(|it| it.link())
        };
        assert_eq!(link(1).unwrap(), Link::Ethernet);
        for number in [12, 14, 101, 228, 229] {
            assert_eq!(link(number).unwrap(), Link::Ip, "{number}");
        }
        for number in [0, 2, 113, 276, 0xffff] {
            assert!(matches!(link(number), Err(PcapError::UnknownLink(it)) if it == number));
        }
    }

    #[test]
    fn a_frame_check_sequence_is_cut_off() {
        // Two words of 16 bits, and the bit that says that this is known.
        let head = [NANOSECONDS, VERSION, 0, 0, 96, 0x2400_0001, 0, 0];
        let read = |captured, len, rest: &[u8]| {
            let mut words = head.to_vec();
            words.extend([captured, len]);
            let (record, bytes) = read_all(&file(&words, rest)).unwrap().remove(0);
            (record.len, bytes)
        };
        assert_eq!(read(6, 6, b"abFCSx"), (2, b"ab".to_vec()));
        assert_eq!(read(5, 6, b"abFCS"), (2, b"ab".to_vec()));
        assert_eq!(read(2, 6, b"ab"), (2, b"ab".to_vec()));
        assert_eq!(read(1, 6, b"a"), (2, b"a".to_vec()));
        assert_eq!(read(3, 3, b"abc"), (0, Vec::new()));
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let head = |words: [u32; 6]| Reader::new(&file(&words, &[])[..]).unwrap_err();
        let pcapng = 0x0a0d_0d0a;
        assert!(
            matches!(head([pcapng, VERSION, 0, 0, 0, 1]), PcapError::NotPcap(it) if it == pcapng)
        );
        assert!(matches!(
            head([NANOSECONDS, 0x0004_0003, 0, 0, 0, 1]),
            PcapError::UnknownVersion(3)
        ));
        for cut in 0..FILE_HEADER {
            let whole = file(&[NANOSECONDS, VERSION, 0, 0, 0, 1], &[]);
            let error = Reader::new(&whole[..cut]).unwrap_err();
            assert!(matches!(error, PcapError::Truncated), "{cut}");
        }
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        let record = |snaplen, words: [u32; 4]| {
            let mut all = vec![MICROSECONDS, VERSION, 0, 0, snaplen, 1];
            all.extend(words);
            read_all(&file(&all, &[0; 100]))
        };
        record(100, [0, 0, 100, 100]).unwrap();
        record(100, [0, 999_999, 100, 100]).unwrap();
        assert!(matches!(
            record(99, [0, 0, 100, 100]),
            Err(PcapError::TooLong(100))
        ));
        assert!(matches!(
            record(200, [0, 0, 100, 99]),
            Err(PcapError::TooLong(100))
        ));
        let huge = MAX_SNAPLEN + 1;
        assert!(matches!(record(0, [0, 0, huge, huge]), Err(PcapError::TooLong(it)) if it == huge));
        assert!(matches!(
            record(u32::MAX, [0, 0, huge, huge]),
            Err(PcapError::TooLong(_))
        ));
        assert!(matches!(
            record(0, [0, 0, 101, 101]),
            Err(PcapError::Truncated)
        ));
        for parts in [1_000_000, 4_294_968, u32::MAX] {
            assert!(
                matches!(record(100, [0, parts, 1, 1]), Err(PcapError::WrongTime(it)) if it == parts)
            );
        }
    }

    #[test]
    fn a_file_that_ends_in_a_record_is_refused() {
        let whole = file(&[NANOSECONDS, VERSION, 0, 0, 96, 1, 0, 0, 3, 3], b"abc");
        assert_eq!(read_all(&whole[..FILE_HEADER]).unwrap(), []);
        for cut in FILE_HEADER + 1..whole.len() {
            assert!(
                matches!(read_all(&whole[..cut]), Err(PcapError::Truncated)),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_packet_is_cut_to_the_snap_length() {
        let mut writer = Writer::new(Vec::new(), Link::Ethernet, 4).unwrap();
        writer.write(Duration::ZERO, b"abcde").unwrap();
        writer.write(Duration::ZERO, b"abcd").unwrap();
        let all = read_all(&writer.into_inner()).unwrap();
        assert_eq!((all[0].0.len, &all[0].1[..]), (5, &b"abcd"[..]));
        assert_eq!((all[1].0.len, &all[1].1[..]), (4, &b"abcd"[..]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            packets in proptest::collection::vec(
                (any::<u32>(), 0..1_000_000_000_u32, proptest::collection::vec(any::<u8>(), 0..200)),
                0..10,
            ),
            is_ip: bool,
        ) {
            let link = if is_ip { Link::Ip } else { Link::Ethernet };
            let mut writer = Writer::new(Vec::new(), link, 200).unwrap();
            for (seconds, nanos, bytes) in &packets {
                writer.write(Duration::new(u64::from(*seconds), *nanos), bytes).unwrap();
            }
            let file = writer.into_inner();
            prop_assert_eq!(Reader::new(&file[..]).unwrap().link(), link);
            let read = read_all(&file).unwrap();
            prop_assert_eq!(read.len(), packets.len());
            for ((record, have), (seconds, nanos, bytes)) in read.iter().zip(&packets) {
                prop_assert_eq!(record.at, Duration::new(u64::from(*seconds), *nanos));
                prop_assert_eq!(have, bytes);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let head = file(&[NANOSECONDS, VERSION, 0, 0, 96, 1], &bytes);
            let _ = read_all(&head);
            let _ = read_all(&bytes);
        }
    }
}
