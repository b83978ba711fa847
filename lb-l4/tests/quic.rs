//! Which server a QUIC datagram is for.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use lb_l4::quic::{
    ConfigRotation, Format, LengthBits, QuicLb, QuicLbConfig, QuicLbError, ServerId, server_id,
};
use lbcore::BackendId;
use proptest::prelude::*;

fn rotation(number: u8) -> ConfigRotation {
    ConfigRotation::new(number).unwrap()
}

fn id(text: &str) -> ServerId {
    text.parse().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|it| it.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

/// A datagram with a short header: its id, and what is encrypted.
fn short(id: &[u8]) -> Vec<u8> {
    [&[0x5a], id, &[0xee; 30]].concat()
}

/// A datagram with a long header of a version, with a source connection id behind.
fn long(version: u32, id: &[u8]) -> Vec<u8> {
    let length = [octet(id.len())];
    [
        &[0xc0][..],
        &version.to_be_bytes(),
        &length,
        id,
        &[4, 1, 2, 3, 4, 0xee],
    ]
    .concat()
}

/// The formats of the draft's unencrypted test vectors.
fn vectors() -> QuicLbConfig {
    QuicLbConfig::default()
        .format(rotation(0), Format::new(3, 4).unwrap())
        .format(rotation(1), Format::new(5, 5).unwrap())
}

/// The draft prints the second nonce without the zero that it begins with.
#[test]
fn the_test_vectors_of_the_draft_are_read() {
    for (cid, sid) in [
        ("07c4605e4504cc4f", "c4605e"),
        ("2a350d28b42003487d970b", "350d28b420"),
    ] {
        let cid = bytes(cid);
        for config in [
            vectors(),
            QuicLbConfig::default()
                .format(
                    rotation(0),
                    Format::new(3, 4).unwrap().length_bits(LengthBits::Length),
                )
                .format(
                    rotation(1),
                    Format::new(5, 5).unwrap().length_bits(LengthBits::Length),
                ),
        ] {
            assert_eq!(server_id(&short(&cid), &config), Some(id(sid)));
            for version in [1, 0x6b33_43cf, 0xface_b00c, 0] {
                assert_eq!(server_id(&long(version, &cid), &config), Some(id(sid)));
            }
        }
    }
}

#[test]
fn an_id_that_names_no_server_is_left_to_the_addresses() {
    let config = vectors();
    // No format, and the one that says so.
    for first in [0x40, 0xc7, 0xe7, 0xff] {
        let cid = [&[first][..], &[0; 19]].concat();
        assert_eq!(server_id(&short(&cid), &config), None, "{first:02x}");
        assert_eq!(server_id(&long(1, &cid), &config), None, "{first:02x}");
    }
    assert_eq!(
        server_id(&short(&bytes("07c4605e4504cc4f")), &QuicLbConfig::default()),
        None
    );
}

#[test]
fn an_id_must_have_its_server_id_and_its_nonce() {
    let config = vectors();
    let cid = bytes("07c4605e4504cc4f");
    assert!(server_id(&long(1, &cid), &config).is_some());
    assert_eq!(server_id(&long(1, &cid[..7]), &config), None);
    assert_eq!(server_id(&long(1, &[]), &config), None);
    let datagram = short(&cid);
    assert!(server_id(&datagram[..9], &config).is_some());
    assert_eq!(server_id(&datagram[..8], &config), None);
    assert_eq!(server_id(&datagram[..1], &config), None);
    assert_eq!(server_id(&[], &config), None);
}

#[test]
fn a_longer_id_has_octets_of_the_server_s_own_behind() {
    let cid = bytes("09c4605e4504cc4f9988");
    assert_eq!(server_id(&long(1, &cid), &vectors()), Some(id("c4605e")));
    assert_eq!(server_id(&short(&cid), &vectors()), Some(id("c4605e")));
}

#[test]
fn a_length_that_is_not_true_names_no_server_where_it_must_be() {
    let strict = Format::new(3, 4).unwrap().length_bits(LengthBits::Length);
    let strict = QuicLbConfig::default().format(rotation(0), strict);
    let body = [0xc4, 0x60, 0x5e, 1, 2, 3, 4, 5, 6];
    // 7 octets are the least that may follow.
    for (said, more, in_long, in_short) in [
        (7, 7, true, true),
        (7, 8, false, true),
        (8, 8, true, true),
        (8, 7, false, true),
        (6, 7, false, false),
        (6, 6, false, false),
        (31, 9, false, true),
    ] {
        let cid = [&[said][..], &body[..more]].concat();
        let found = |datagram: &[u8]| server_id(datagram, &strict).is_some();
        assert_eq!(found(&long(1, &cid)), in_long, "{said} of {more}");
        assert_eq!(found(&short(&cid)), in_short, "{said} of {more}");
    }
    // A short header must have as much as the id says.
    let cid = [&[9][..], &body].concat();
    let datagram = short(&cid);
    assert!(server_id(&datagram[..11], &strict).is_some());
    assert_eq!(server_id(&datagram[..10], &strict), None);
}

#[test]
fn a_known_server_is_its_backend_and_others_go_by_addresses() {
    let [a, b] = ["a", "b"].map(BackendId::of_name);
    let config = vectors()
        .server(rotation(0), id("c4605e"), a)
        .server(rotation(0), id("000001"), b)
        .server(rotation(0), id("000002"), b)
        .server(rotation(1), id("350d28b420"), b);
    let quic = QuicLb::new(config).unwrap();
    let of = |cid: &str| quic.backend(&short(&bytes(cid)));
    assert_eq!(of("07c4605e4504cc4f"), Some(a));
    assert_eq!(of("00000001ffffffff"), Some(b));
    assert_eq!(of("1f000002ffffffff"), Some(b));
    assert_eq!(of("00000003ffffffff"), None);
    assert_eq!(of("2a350d28b42003487d970b"), Some(b));
    assert_eq!(quic.backend(&[]), None);
}

#[test]
fn what_cannot_be_is_refused() {
    let [a, b] = ["a", "b"].map(BackendId::of_name);
    let refused = |config: QuicLbConfig| QuicLb::new(config).err();
    assert_eq!(ConfigRotation::new(6).map(ConfigRotation::number), Ok(6));
    assert_eq!(ConfigRotation::new(7), Err(QuicLbError::Rotation(7)));
    let no_format = vectors().server(rotation(2), id("c4605e"), a);
    assert_eq!(refused(no_format), Some(QuicLbError::NoFormat(rotation(2))));
    let short = QuicLbError::ServerIdLength {
        id: id("c460"),
        rotation: rotation(0),
    };
    assert_eq!(
        refused(vectors().server(rotation(0), id("c460"), a)),
        Some(short)
    );
    let twice = |other| {
        vectors()
            .server(rotation(0), id("c4605e"), a)
            .server(rotation(0), id("c4605e"), other)
    };
    assert_eq!(refused(twice(a)), None);
    let error = QuicLbError::Twice {
        id: id("c4605e"),
        rotation: rotation(0),
    };
    assert_eq!(refused(twice(b)), Some(error));
}

#[test]
fn lengths_are_those_of_the_draft() {
    let refused = |server_id, nonce| {
        Format::new(server_id, nonce) == Err(QuicLbError::Lengths { server_id, nonce })
    };
    for (server_id, nonce) in [(1, 4), (15, 4), (1, 18)] {
        assert!(Format::new(server_id, nonce).is_ok());
    }
    assert_eq!(Format::new(9, 4).map(Format::server_id), Ok(9));
    for (server_id, nonce) in [(0, 4), (1, 3), (16, 4), (15, 5), (1, 19), (255, 255)] {
        assert!(refused(server_id, nonce), "{server_id} and {nonce}");
    }
}

proptest! {
    /// Whatever a server writes, it is found: in either header, whatever stands around.
    #[test]
    fn every_id_that_a_server_makes_is_found(
        rotation_bits in 0..7_u8,
        low in 0..32_u8,
        (sid, nonce) in (1..=15_usize).prop_flat_map(|sid| (
            prop::collection::vec(any::<u8>(), sid),
            prop::collection::vec(any::<u8>(), 4..=(19 - sid)),
        )),
        first in any::<u8>(),
        version in any::<u32>(),
        behind in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let format = Format::new(octet(sid.len()), octet(nonce.len())).unwrap();
        let config = QuicLbConfig::default().format(rotation(rotation_bits), format);
        let cid = [&[rotation_bits << 5 | low][..], &sid, &nonce].concat();
        let expected = Some(ServerId::new(&sid).unwrap());
        let short = [&[first & 0x7f][..], &cid, &behind].concat();
        prop_assert_eq!(server_id(&short, &config), expected);
        let long = [
            &[first | 0x80][..], &version.to_be_bytes(), &[octet(cid.len())], &cid, &behind,
        ].concat();
        prop_assert_eq!(server_id(&long, &config), expected);
    }

    #[test]
    fn any_bytes_are_read_without_harm(datagram in prop::collection::vec(any::<u8>(), 0..64)) {
        let quic = QuicLb::new(vectors().server(rotation(0), id("c4605e"), BackendId::new(1))).unwrap();
        if quic.backend(&datagram).is_some() {
            prop_assert!(server_id(&datagram, quic.config()).is_some());
        }
    }
}
