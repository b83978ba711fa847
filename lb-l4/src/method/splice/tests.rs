use std::num::NonZeroU16;
use std::time::Duration;

use lbcore::Instant;
use lbcore::session::Side;
use proptest::prelude::*;

use super::*;
use crate::packet::{Checksum, Link, Offload};
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags::{FIN, RST, SYN};
use crate::wire::tcp::{TcpOption, options};
use crate::wire::{Frame, parse};

/// A segment, and what it says when it has been rewritten.
fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    TcpSegment::new(
        "192.0.2.1:40000".parse().unwrap(),
        "203.0.113.10:80".parse().unwrap(),
        flags,
    )
    .sequence(1_000)
    .acknowledgement(5_000)
    .window(800)
    .options(options)
    .payload(b"payload of odd len.")
    .emit(&mut bytes);
    bytes
}

fn headers_of(bytes: &[u8]) -> Headers {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

fn rewritten(bytes: &mut [u8], rewrite: impl FnOnce(&mut Packet<'_>, &mut Headers)) -> Headers {
    let len = bytes.len();
    let mut headers = headers_of(bytes);
    let mut packet = Packet::new(bytes, 0..len, Link::Ip);
    rewrite(&mut packet, &mut headers);
    assert_eq!(headers, headers_of(bytes), "headers follow the bytes");
    headers
}

fn options_of<'a>(bytes: &'a [u8], headers: &Headers) -> Vec<TcpOption<'a>> {
    options(&bytes[headers.transport + 20..headers.payload().start]).collect()
}

/// NOP NOP timestamps(100, 200); NOP NOP SACK(6000–7000, 8000–9000).
fn both_options() -> Vec<u8> {
    let mut out = vec![1, 1];
    TcpOption::Timestamps {
        value: 100,
        echo: 200,
    }
    .emit(&mut out);
    out.extend([1, 1, 5, 18]);
    for edge in [6_000_u32, 7_000, 8_000, 9_000] {
        out.extend(edge.to_be_bytes());
    }
    out
}

fn edges(option: &TcpOption<'_>) -> Vec<(u32, u32)> {
    match option {
        TcpOption::Sack(blocks) => blocks.iter().map(|it| (it.left, it.right)).collect(),
        other => panic!("{other:?}"),
    }
}

fn splice() -> Splice {
    Splice::default()
        .client_sequence(10)
        .backend_sequence(2_000)
        .client_timestamp(7)
        .backend_timestamp(50)
        .client_window(1)
        .backend_window(-2)
}

#[test]
fn numbers_of_the_client_become_those_of_the_backend() {
    let mut bytes = segment(ACK, &both_options());
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_backend(packet, headers);
    });
    let tcp = headers.tcp().unwrap();
    assert_eq!(
        (tcp.sequence, tcp.acknowledgement, tcp.window),
        (1_010, 3_000, 1_600)
    );
    let options = options_of(&bytes, &headers);
    assert_eq!(
        options[0],
        TcpOption::Timestamps {
            value: 107,
            echo: 150
        }
    );
    assert_eq!(edges(&options[1]), [(4_000, 5_000), (6_000, 7_000)]);
    assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
}

#[test]
fn numbers_of_the_backend_become_those_of_the_client() {
    let mut bytes = segment(ACK, &both_options());
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_client(packet, headers);
    });
    let tcp = headers.tcp().unwrap();
    assert_eq!(
        (tcp.sequence, tcp.acknowledgement, tcp.window),
        (3_000, 4_990, 200)
    );
    let options = options_of(&bytes, &headers);
    assert_eq!(
        options[0],
        TcpOption::Timestamps {
            value: 150,
            echo: 193
        }
    );
    assert_eq!(edges(&options[1]), [(5_990, 6_990), (7_990, 8_990)]);
    assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
}

proptest! {
    /// For any difference and any place of the options, and also where numbers wrap.
    #[test]
    fn a_right_checksum_stays_right_and_what_was_said_comes_back(
        client: u32, backend: u32, client_timestamp: u32, backend_timestamp: u32,
        padding in 0..4_usize, flags in 0..64_u8,
    ) {
        let splice = Splice::default()
            .client_sequence(client)
            .backend_sequence(backend)
            .client_timestamp(client_timestamp)
            .backend_timestamp(backend_timestamp);
        let mut options = vec![1; padding];
        options.extend(both_options());
        let flags = flags & !SYN;
        let before = segment(flags, &options);
        let mut bytes = before.clone();
        let headers = rewritten(&mut bytes, |packet, headers| splice.to_backend(packet, headers));
        prop_assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
        let back = Splice::default()
            .client_sequence(client.wrapping_neg())
            .backend_sequence(backend.wrapping_neg())
            .client_timestamp(client_timestamp.wrapping_neg())
            .backend_timestamp(backend_timestamp.wrapping_neg());
        rewritten(&mut bytes, |packet, headers| back.to_backend(packet, headers));
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn no_bytes_make_it_panic(
        options in proptest::collection::vec(any::<u8>(), 0..40), flags: u8, first: u32,
    ) {
        let mut splice = splice().client_first(first).blank_timestamps(true);
        for blank in [false, true] {
            splice.blank_sack = blank;
            let mut bytes = segment(flags, &options);
            let headers = rewritten(&mut bytes, |packet, headers| {
                splice.to_backend(packet, headers);
                splice.to_client(packet, headers);
            });
            prop_assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_and_a_partial_one_stays() {
    let mut bytes = segment(ACK, &both_options());
    bytes[36] ^= 0x40;
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_backend(packet, headers);
    });
    assert!(!headers.checksum_is_right(&bytes, Checksum::Complete));

    let mut bytes = segment(ACK, &both_options());
    let before = bytes[36..38].to_vec();
    rewritten(&mut bytes, |packet, headers| {
        packet.set_offloads(Offload::partial(NonZeroU16::new(1_460)));
        splice().to_backend(packet, headers);
    });
    assert_eq!(bytes[36..38], before);
}

#[test]
fn without_an_ack_the_numbers_of_the_other_side_mean_nothing() {
    let mut bytes = segment(RST, &both_options());
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_client(packet, headers);
    });
    assert_eq!(headers.tcp().unwrap().acknowledgement, 5_000);
    assert_eq!(
        options_of(&bytes, &headers)[0],
        TcpOption::Timestamps {
            value: 150,
            echo: 200
        }
    );
}

#[test]
fn a_syn_keeps_its_window_and_the_clients_its_number() {
    let mut bytes = segment(SYN, &[]);
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_backend(packet, headers);
    });
    let tcp = headers.tcp().unwrap();
    assert_eq!((tcp.sequence, tcp.window), (1_000, 800));
    let mut bytes = segment(SYN | ACK, &[]);
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice().to_client(packet, headers);
    });
    let tcp = headers.tcp().unwrap();
    assert_eq!((tcp.sequence, tcp.window), (3_000, 800));
}

#[test]
fn no_acknowledgement_is_before_the_clients_first_byte_until_it_is_past() {
    let acknowledged = |splice: &mut Splice, number: u32| {
        let mut bytes = segment(ACK, &[]);
        let at = 20 + 8;
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        let headers = rewritten(&mut bytes, |packet, headers| {
            splice.to_client(packet, headers)
        });
        headers.tcp().unwrap().acknowledgement
    };
    for first in [5_000_u32, 3, u32::MAX - 3] {
        let at = |offset: u32| first.wrapping_add(offset);
        let mut splice = Splice::default().client_sequence(28).client_first(first);
        // Nothing, part of what was put before it, and all of that.
        for offset in [0, 1, 27, 28] {
            assert_eq!(acknowledged(&mut splice, at(offset)), first);
        }
        assert_eq!(splice.client_first, Some(first));
        assert_eq!(acknowledged(&mut splice, at(29)), at(1));
        assert_eq!(splice.client_first, None);
        // 4 GiB later the same numbers are what they say.
        assert_eq!(acknowledged(&mut splice, at(27)), first.wrapping_sub(1));
    }
    // Below what was put before it, nothing is known.
    let mut splice = Splice::default().client_sequence(28).client_first(5_000);
    assert_eq!(acknowledged(&mut splice, 4_999), 4_971);
    assert_eq!(splice.client_first, Some(5_000));
}

#[test]
fn windows_are_shifted_and_never_closed_or_wrapped() {
    let shifted = |shift: i8, window: u16| {
        let mut bytes = segment(ACK, &[]);
        bytes[34..36].copy_from_slice(&window.to_be_bytes());
        let splice = Splice::default().client_window(shift);
        let headers = rewritten(&mut bytes, |packet, headers| {
            splice.to_backend(packet, headers);
        });
        headers.tcp().unwrap().window
    };
    for (shift, window, expected) in [
        (0, 800, 800),
        (1, 800, 1_600),
        (7, 511, 65_408),
        (7, 512, 65_535),
        (14, 3, 49_152),
        (14, 4, 65_535),
        (-1, 801, 400),
        (-7, 127, 1),
        (-7, 128, 1),
        (-7, 256, 2),
        (-7, 0, 0),
        (-14, 65_535, 3),
        (7, 0, 0),
    ] {
        assert_eq!(shifted(shift, window), expected, "{window} by {shift}");
    }
}

#[test]
fn what_the_backend_did_not_agree_to_is_taken_out() {
    let mut bytes = segment(ACK, &both_options());
    let splice = Splice::default().blank_sack(true).blank_timestamps(true);
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice.to_backend(packet, headers);
    });
    assert_eq!(options_of(&bytes, &headers), []);
    assert!(headers.checksum_is_right(&bytes, Checksum::Complete));

    let mut bytes = segment(ACK, &both_options());
    let mut splice = splice;
    let headers = rewritten(&mut bytes, |packet, headers| {
        splice.to_client(packet, headers)
    });
    assert_eq!(options_of(&bytes, &headers).len(), 2);
}

#[test]
fn ecn_is_taken_out_of_the_clients_packets_alone() {
    for class in 0..4_u8 {
        let mut bytes = segment(ACK, &[]);
        let splice = Splice::default().blank_ecn(true);
        let headers = rewritten(&mut bytes, |packet, headers| {
            crate::wire::rewrite::set_traffic_class(packet.bytes_mut(), headers, 0xb8 | class);
            splice.to_backend(packet, headers);
        });
        assert_eq!(headers.traffic_class, 0xb8);
        assert!(headers.header_checksum_is_right(&bytes));
        let mut splice = splice;
        let headers = rewritten(&mut bytes, |packet, headers| {
            crate::wire::rewrite::set_traffic_class(packet.bytes_mut(), headers, class);
            splice.to_client(packet, headers);
        });
        assert_eq!(headers.traffic_class, class);
    }
}

#[test]
fn the_default_changes_nothing() {
    let before = segment(ACK | FIN, &both_options());
    let mut bytes = before.clone();
    rewritten(&mut bytes, |packet, headers| {
        Splice::default().to_backend(packet, headers);
        Splice::default().to_client(packet, headers);
    });
    assert_eq!(bytes, before);
}

mod storm {
    use super::*;

    /// Whether an acknowledgement of `number` is dropped.
    fn feeds(storm: &mut Storm, millis: u64, side: Side, number: u32) -> bool {
        let mut tcp = *headers_of(&segment(ACK, &[])).tcp().unwrap();
        tcp.acknowledgement = number;
        let now = Instant::ZERO + Duration::from_millis(millis);
        storm.handle_segment(now, side, &tcp, 0)
    }

    /// `times` acknowledgements of each side; how many were dropped.
    fn both(storm: &mut Storm, millis: u64, times: u32) -> usize {
        (0..times)
            .flat_map(|_| [Side::Client, Side::Backend])
            .filter(|side| feeds(storm, millis, *side, 1))
            .count()
    }

    const MOST: u32 = Storm::MOST as u32;

    #[test]
    fn sides_that_repeat_themselves_at_each_other_are_stopped() {
        let mut storm = Storm::default();
        // The first of each says something new.
        assert_eq!(both(&mut storm, 5_000, MOST + 1), 0);
        assert!(feeds(&mut storm, 5_000, Side::Client, 1));
        assert!(feeds(&mut storm, 5_999, Side::Backend, 1));
        assert!(!feeds(&mut storm, 6_000, Side::Client, 1), "another second");
    }

    #[test]
    fn one_side_alone_makes_no_storm() {
        let mut storm = Storm::default();
        assert!((0..MOST * 2).all(|_| !feeds(&mut storm, 5_000, Side::Client, 1)));
        assert!((0..MOST).all(|_| !feeds(&mut storm, 5_000, Side::Backend, 1)));
        assert!(!feeds(&mut storm, 5_000, Side::Client, 1), "one is missing");
        assert!(!feeds(&mut storm, 5_000, Side::Backend, 1), "its last");
        assert!(feeds(&mut storm, 5_000, Side::Client, 1));
    }

    #[test]
    fn acknowledgements_of_what_was_lost_are_no_storm() {
        let mut storm = Storm::default();
        both(&mut storm, 5_000, MOST + 1);
        let now = Instant::ZERO + Duration::from_secs(5);
        let options = both_options();
        let mut feeds = |options: &[u8]| {
            let mut tcp = *headers_of(&segment(ACK, options)).tcp().unwrap();
            tcp.acknowledgement = 1;
            storm.handle_segment(now, Side::Client, &tcp, 0)
        };
        assert!(!feeds(&options), "timestamps and SACK");
        assert!(feeds(&options[..12]), "timestamps alone");
    }

    #[test]
    fn progress_is_no_storm() {
        let mut storm = Storm::default();
        for number in 0..MOST * 2 {
            assert!(!feeds(&mut storm, 5_000, Side::Client, number));
            assert!(!feeds(&mut storm, 5_000, Side::Backend, number));
        }
    }

    #[test]
    fn data_and_resets_end_a_storm() {
        for (flags, len) in [(ACK, 1), (RST | ACK, 0), (0, 0)] {
            let mut storm = Storm::default();
            both(&mut storm, 5_000, MOST + 1);
            let tcp = *headers_of(&segment(flags, &[])).tcp().unwrap();
            let now = Instant::ZERO + Duration::from_secs(5);
            assert!(!storm.handle_segment(now, Side::Client, &tcp, len));
            assert_eq!(both(&mut storm, 5_000, MOST + 1), 0);
        }
    }
}
