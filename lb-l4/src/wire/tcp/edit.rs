//! Changes to the options of a TCP header in a packet.

use std::ops::Range;

use thiserror::Error;

use super::{DATA_OFFSET, HEADER, MAX_OPTIONS, flags, kind, options};
use crate::packet::{Checksum, Packet};
use crate::wire::checksum::{Delta, fold, sum};
use crate::wire::rewrite::{self, Covered};
use crate::wire::{Body, Headers, TcpHeader};

/// Why an option could not be added to a TCP header; the packet is as it was.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum NoRoom {
    /// It is a fragment, which cannot grow, or no TCP segment.
    #[error("not a whole TCP segment")]
    NotWhole,
    /// The header would have more than 40 bytes of options.
    #[error("no room among the options of the TCP header")]
    Options,
    /// The packet would be larger than its buffer, or than 65,535 bytes.
    #[error("no room before the packet")]
    Packet,
}

/// Where the options lie in the bytes of the packet; empty if it has none.
fn range(headers: &Headers) -> Range<usize> {
    let begin = headers.transport + HEADER;
    match headers.body {
        Body::Tcp(TcpHeader { len, .. }) => begin..headers.transport + len.max(HEADER),
        _ => begin..begin,
    }
}

/// Changes the options in place by `edit`, and the checksum with them.
///
/// What `edit` is given are the bytes behind the first 20 of the header; nothing if it is no TCP
/// segment.
pub fn edit_options(
    bytes: &mut [u8],
    headers: &Headers,
    checksum: Checksum,
    edit: impl FnOnce(&mut [u8]),
) {
    let Some(options) = bytes.get_mut(range(headers)) else {
        return;
    };
    if options.is_empty() {
        return;
    }
    // Options stand at any offset, odd ones too; their sum as a whole does not mind.
    let old = sum(options);
    edit(options);
    let new = sum(options);
    if fold(old) != fold(new) {
        let delta = Delta::default().replace_sum(old, new);
        rewrite::update_l4(bytes, headers, checksum, delta, Covered::Body);
    }
}

/// Lowers the maximum segment size that a SYN, or the answer to one, announces to `most`.
///
/// Never raises it, and adds none: without one the other side sends 536 or 1220 bytes (RFC 9293,
/// section 3.7.1). Segments without SYN are left alone.
pub fn clamp_mss(bytes: &mut [u8], headers: &Headers, most: u16, checksum: Checksum) {
    if !headers.tcp().is_some_and(|it| it.has(flags::SYN)) {
        return;
    }
    edit_options(bytes, headers, checksum, |bytes| {
        let mut at = 0;
        while let Some(found) = next_of(bytes, &mut at, kind::MSS) {
            if let Some([_, 4, a, b]) = bytes.get_mut(found)
                && u16::from_be_bytes([*a, *b]) > most
            {
                [*a, *b] = most.to_be_bytes();
            }
        }
    });
}

/// Overwrites every option of `kind` with padding, and gives how many there were.
///
/// The header keeps its length, so that no length and no sequence of fragments changes;
/// [`insert_option`] uses the room again.
pub fn strip_option(packet: &mut Packet<'_>, headers: &Headers, kind: u8) -> usize {
    let checksum = packet.offloads().checksum;
    let mut stripped = 0;
    edit_options(packet.bytes_mut(), headers, checksum, |bytes| {
        let mut at = 0;
        while let Some(found) = next_of(bytes, &mut at, kind) {
            bytes
                .get_mut(found)
                .unwrap_or_default()
                .fill(kind::NO_OPERATION);
            stripped += 1;
        }
    });
    stripped
}

/// Where the next option of `kind` at or behind `at` lies; `at` goes behind it.
fn next_of(bytes: &[u8], at: &mut usize, kind: u8) -> Option<Range<usize>> {
    let begin = *at;
    let mut options = options(bytes.get(begin..)?);
    while let Some((found, option)) = options.next_raw() {
        if found == kind {
            let end = begin + options.position();
            *at = end;
            return Some(end - option.len()..end);
        }
    }
    None
}

/// Adds `option` (with its kind and length) to a TCP header.
///
/// Takes the room of padding if there is as much in one place; else the header grows, by `option`
/// and padding to a multiple of 4, before its first option, and the IP length and data offset with
/// it: what stands before moves into the headroom, and the payload stays where it is. Checksums
/// change by the difference. The caller sees to it that the packet is not too large for its path.
///
/// # Errors
///
/// There is no room, or the packet is no whole TCP segment; it is unchanged then.
pub fn insert_option(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    option: &[u8],
) -> Result<(), NoRoom> {
    let checksum = packet.offloads().checksum;
    let Body::Tcp(tcp) = headers.body else {
        return Err(NoRoom::NotWhole);
    };
    if headers.fragment.is_some() {
        return Err(NoRoom::NotWhole);
    }
    if option.is_empty() {
        return Ok(());
    }
    let present = packet.bytes().get(range(headers)).unwrap_or_default();
    if let Some(free) = padding(present, option.len()) {
        edit_options(packet.bytes_mut(), headers, checksum, |bytes| {
            place(bytes, free, option);
        });
        return Ok(());
    }
    let grown = option.len().next_multiple_of(4);
    if tcp.len + grown > HEADER + MAX_OPTIONS {
        return Err(NoRoom::Options);
    }
    if !rewrite::may_grow(headers, grown) {
        return Err(NoRoom::Packet);
    }
    let begin = headers.transport + HEADER;
    let bytes = packet.open_gap(begin, grown).ok_or(NoRoom::Packet)?;
    headers.end += grown;
    let gap = bytes.get_mut(begin..begin + grown).unwrap_or_default();
    gap.fill(kind::NO_OPERATION);
    // Padding first, as stacks do it, so that what follows is aligned as the option was made.
    let padded = grown - option.len();
    for (to, from) in gap.iter_mut().skip(padded).zip(option) {
        *to = *from;
    }
    let added = sum(gap);
    let delta = Delta::default().replace_sum(0, added);
    rewrite::update_l4(bytes, headers, checksum, delta, Covered::Body);
    rewrite::change_len(bytes, headers, checksum, grown);
    set_len(bytes, headers, tcp.len + grown, checksum);
    Ok(())
}

/// Sets the data offset.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a header has at most 60 bytes"
)]
fn set_len(bytes: &mut [u8], headers: &mut Headers, len: usize, checksum: Checksum) {
    let at = headers.transport + DATA_OFFSET;
    let Some(field) = bytes.get_mut(at..).and_then(|it| it.first_chunk_mut::<2>()) else {
        return;
    };
    let old = u16::from_be_bytes(*field);
    let new = old & 0x0fff | (len as u16 / 4) << 12;
    *field = new.to_be_bytes();
    let delta = Delta::default().replace(old, new);
    rewrite::update_l4(bytes, headers, checksum, delta, Covered::Body);
    if let Body::Tcp(tcp) = &mut headers.body {
        tcp.len = len;
    }
}

/// The first run of padding of `len` bytes or more among options, and what lies behind their end;
/// `None` if there is none.
fn padding(bytes: &[u8], len: usize) -> Option<Range<usize>> {
    let mut options = options(bytes);
    loop {
        let begin = options.position();
        let option = options.next_raw();
        let end = match option {
            Some((_, option)) => options.position() - option.len(),
            // Options that cannot be read on are left alone: only padding ends a list.
            None => match bytes.get(options.position()) {
                Some(&kind::END) => bytes.len(),
                Some(_) => return None,
                None => options.position(),
            },
        };
        if end - begin >= len {
            return Some(begin..end);
        }
        option?;
    }
}

/// Puts `option` at the front of `free`, and padding behind it.
fn place(bytes: &mut [u8], free: Range<usize>, option: &[u8]) {
    let free = bytes.get_mut(free).unwrap_or_default();
    let Some((to, rest)) = free.split_at_mut_checked(option.len()) else {
        return;
    };
    to.copy_from_slice(option);
    rest.fill(kind::NO_OPERATION);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Link;
    use crate::wire::emit::TcpSegment;
    use crate::wire::{Frame, parse};

    const ROOM: usize = 24;
    const TOA: [u8; 8] = [254, 8, 0x1f, 0x90, 192, 0, 2, 7];

    /// A segment behind a headroom of 24 bytes.
    fn segment(source: &str, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; ROOM];
        let source = source.parse().unwrap();
        TcpSegment::new(source, source, flags)
            .options(options)
            .payload(payload)
            .emit(&mut buffer);
        buffer
    }

    fn open(buffer: &mut [u8]) -> (Packet<'_>, Headers) {
        let end = buffer.len();
        let packet = Packet::new(buffer, ROOM..end, Link::Ip);
        let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
            panic!("not IP")
        };
        (packet, headers)
    }

    fn present<'a>(packet: &'a Packet<'_>, headers: &Headers) -> &'a [u8] {
        packet.bytes().get(range(headers)).unwrap()
    }

    #[track_caller]
    fn check(packet: &Packet<'_>, headers: &Headers) {
        let bytes = packet.bytes();
        assert_eq!(parse(bytes, Link::Ip), Ok(Frame::Ip(*headers)));
        assert!(headers.header_checksum_is_right(bytes));
        assert!(headers.checksum_is_right(bytes, packet.offloads().checksum));
    }

    #[test]
    fn a_header_grows_before_its_first_option_as_far_as_40_bytes() {
        for source in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            let mss = [2, 4, 5, 0xb4];
            let mut buffer = segment(source, flags::SYN, &mss, b"data");
            let (mut packet, mut headers) = open(&mut buffer);
            let (len, end) = (packet.bytes().len(), headers.end);
            assert_eq!(insert_option(&mut packet, &mut headers, &TOA), Ok(()));
            assert_eq!(present(&packet, &headers), [&TOA[..], &mss].concat());
            assert_eq!((packet.bytes().len(), headers.end), (len + 8, end + 8));
            assert_eq!(packet.bytes().get(headers.payload()), Some(&b"data"[..]));
            check(&packet, &headers);
            // An odd option is padded before it.
            assert_eq!(insert_option(&mut packet, &mut headers, &[3, 3, 7]), Ok(()));
            assert_eq!(
                present(&packet, &headers).get(..5),
                Some(&[1, 3, 3, 7, 254][..])
            );
            check(&packet, &headers);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_packet_as_it_was() {
        let full: Vec<u8> = [8, 10].into_iter().chain([7; 8]).cycle().take(30).collect();
        for (filled, fits) in [(32, true), (36, false), (40, false)] {
            // No padding: what is behind the timestamps is one unknown option.
            let rest = filled - 30;
            let last: Vec<u8> = [99, rest].into_iter().chain(vec![7; rest.into()]).collect();
            let options = [&full[..], last.get(..rest.into()).unwrap()].concat();
            let mut buffer = segment("192.0.2.1:1", flags::ACK, &options, b"data");
            let (mut packet, mut headers) = open(&mut buffer);
            let before = (packet.bytes().to_vec(), headers);
            let done = insert_option(&mut packet, &mut headers, &TOA);
            if fits {
                assert_eq!((done, headers.tcp().unwrap().len), (Ok(()), 60));
                check(&packet, &headers);
            } else {
                assert_eq!(done, Err(NoRoom::Options));
                assert_eq!((packet.bytes().to_vec(), headers), before);
            }
        }
    }

    #[test]
    fn the_headroom_and_the_length_field_bound_it_too() {
        let long = vec![0; 65_515 - 20 - 7];
        for (payload, room) in [(&b""[..], 7), (&long, ROOM)] {
            let mut buffer = segment("192.0.2.1:1", 0, &[], payload);
            let end = buffer.len();
            let mut packet =
                Packet::new(buffer.get_mut(ROOM - room..).unwrap(), room..end, Link::Ip);
            let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), Link::Ip) else {
                panic!("not IP")
            };
            let before = (packet.bytes().to_vec(), headers);
            let done = insert_option(&mut packet, &mut headers, &TOA);
            assert_eq!(done, Err(NoRoom::Packet));
            assert_eq!((packet.bytes().to_vec(), headers), before);
        }
    }

    #[test]
    fn padding_that_is_there_is_used_first() {
        for (options, after) in [
            // As much as is needed, at an odd place, and more than that.
            (
                &[3, 3, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1][..],
                &[3, 3, 7, 254, 8][..],
            ),
            (&[1, 1, 1, 1, 1, 1, 1, 1], &[254, 8]),
            // What lies behind the end of the list is padding, whatever it says.
            (&[3, 3, 7, 0, 9, 9, 9, 9, 9, 9, 9, 9], &[3, 3, 7, 254, 8]),
            (&[4, 2, 1, 1, 0, 0, 9, 9, 9, 9, 9, 9], &[4, 2, 254, 8]),
        ] {
            let mut buffer = segment("192.0.2.1:1", 0, options, b"data");
            let (mut packet, mut headers) = open(&mut buffer);
            let before = headers;
            assert_eq!(insert_option(&mut packet, &mut headers, &TOA), Ok(()));
            let area = present(&packet, &headers).to_vec();
            assert!(area.starts_with(after), "{area:?}");
            assert_eq!(area.len(), options.len());
            let tail = area.get(after.len() + 6..).unwrap();
            assert!(tail.iter().all(|it| *it == kind::NO_OPERATION), "{area:?}");
            assert_eq!(headers, before);
            check(&packet, &headers);
        }
        // One byte too few, and a list that cannot be read to its end.
        for options in [
            &[3, 3, 7, 1, 1, 1, 1, 1, 1, 1, 4, 2][..],
            &[1, 1, 1, 1, 1, 1, 1, 99],
            &[99, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        ] {
            let mut buffer = segment("192.0.2.1:1", 0, options, b"");
            let (mut packet, mut headers) = open(&mut buffer);
            assert_eq!(insert_option(&mut packet, &mut headers, &TOA), Ok(()));
            let area = present(&packet, &headers);
            assert_eq!(area, [&TOA[..], options].concat());
            check(&packet, &headers);
        }
    }

    #[test]
    fn only_a_whole_segment_takes_an_option() {
        let mut buffer = segment("192.0.2.1:1", 0, &[], b"12345678");
        *buffer.get_mut(ROOM + 6).unwrap() = 0x20;
        buffer.extend([0; 4]);
        *buffer.get_mut(ROOM + 3).unwrap() += 4;
        let (mut packet, mut headers) = open(&mut buffer);
        assert!(headers.is_first_fragment());
        let done = insert_option(&mut packet, &mut headers, &TOA);
        assert_eq!(done, Err(NoRoom::NotWhole));
        *packet.bytes_mut().get_mut(9).unwrap() = 99;
        *packet.bytes_mut().get_mut(6).unwrap() = 0;
        let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), Link::Ip) else {
            panic!("not IP")
        };
        let done = insert_option(&mut packet, &mut headers, &TOA);
        assert_eq!(done, Err(NoRoom::NotWhole));
        assert_eq!(strip_option(&mut packet, &headers, 254), 0);
    }

    #[test]
    fn nothing_to_insert_changes_nothing() {
        let mut buffer = segment("192.0.2.1:1", 0, &[], b"");
        let (mut packet, mut headers) = open(&mut buffer);
        let before = packet.bytes().to_vec();
        assert_eq!(insert_option(&mut packet, &mut headers, &[]), Ok(()));
        assert_eq!(packet.bytes(), before);
    }

    #[test]
    fn every_option_of_a_kind_is_stripped_and_its_room_is_used_again() {
        let options = [&[1][..], &TOA, &[3, 3, 7], &TOA, &[4, 2, 1, 1]].concat();
        let mut buffer = segment("192.0.2.1:1", flags::SYN, &options, b"data");
        let (mut packet, mut headers) = open(&mut buffer);
        assert_eq!(strip_option(&mut packet, &headers, 253), 0);
        assert_eq!(present(&packet, &headers), options);
        assert_eq!(strip_option(&mut packet, &headers, 254), 2);
        let left = [&[1; 9][..], &[3, 3, 7], &[1; 8], &[4, 2, 1, 1]].concat();
        assert_eq!(present(&packet, &headers), left);
        check(&packet, &headers);
        let end = headers.end;
        assert_eq!(insert_option(&mut packet, &mut headers, &TOA), Ok(()));
        assert_eq!(
            (headers.end, present(&packet, &headers).get(..8)),
            (end, Some(&TOA[..]))
        );
        check(&packet, &headers);
    }

    #[test]
    fn the_segment_size_is_lowered_on_both_kinds_of_syn_alone() {
        let options = [1, 2, 4, 5, 0xb4, 2, 4, 5, 0xb5, 2, 3, 9];
        for (flags, most, first) in [
            (flags::SYN, 1459, 1459),
            (flags::SYN | flags::ACK, 1460, 1460),
            (flags::SYN, 1461, 1460),
            (flags::ACK, 1459, 1460),
        ] {
            let mut buffer = segment("192.0.2.1:1", flags, &options, b"");
            let (mut packet, headers) = open(&mut buffer);
            clamp_mss(packet.bytes_mut(), &headers, most, Checksum::Complete);
            let sizes: Vec<_> = options_of(&packet, &headers);
            let second = if flags & flags::SYN == 0 {
                1461
            } else {
                most.min(1461)
            };
            assert_eq!(sizes, [first, second]);
            check(&packet, &headers);
        }
    }

    fn options_of(packet: &Packet<'_>, headers: &Headers) -> Vec<u16> {
        let found = options(present(packet, headers));
        found
            .filter_map(|it| match it {
                super::super::TcpOption::Mss(size) => Some(size),
                _ => None,
            })
            .collect()
    }
}
