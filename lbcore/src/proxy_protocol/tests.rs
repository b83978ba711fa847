use super::*;
use crate::flow::Protocol;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header with these bytes behind the signature; the length is computed.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE, &[command, family][..], &length, block].concat()
}

/// 192.0.2.1:40000 to 203.0.113.10:443.
const INET: [u8; 12] = [192, 0, 2, 1, 203, 0, 113, 10, 0x9c, 0x40, 0x01, 0xbb];

fn flow(protocol: Protocol, source: &str, destination: &str) -> Proxied {
    Proxied::Flow(FlowKey::new(
        protocol,
        source.parse().unwrap(),
        destination.parse().unwrap(),
    ))
}

fn inet() -> Proxied {
    flow(Protocol::Tcp, "192.0.2.1:40000", "203.0.113.10:443")
}

#[track_caller]
fn complete(bytes: &[u8]) -> (Header, Version, usize) {
    match parse(bytes) {
        Ok(Parse::Complete {
            header,
            version,
            consumed,
        }) => (header, version, consumed),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn need(bytes: &[u8]) -> usize {
    match parse(bytes) {
        Ok(Parse::Incomplete { need }) => need,
        other => panic!("{other:?}"),
    }
}

fn emitted(header: &Header, version: Version) -> Result<Vec<u8>, EmitError> {
    let mut out = Vec::new();
    header.emit(version, &mut out).map(|()| out)
}

fn tlv_error(tlvs: &[u8]) -> ParseError {
    parse(&v2(0x21, 0x00, tlvs)).unwrap_err()
}

mod v1 {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_read_up_to_its_request() {
        let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        let bytes = [&line[..], b"GET / HTTP/1.1\r\n"].concat();
        let (header, version, consumed) = complete(&bytes);
        let expected = flow(Protocol::Tcp, "192.168.0.1:56324", "192.168.0.11:443");
        assert_eq!(header, Header::new(expected));
        assert_eq!((version, consumed), (Version::V1, line.len()));
        assert_eq!(emitted(&header, version).unwrap(), line);
    }

    #[test]
    fn ipv6_is_read_in_either_case_and_written_compressed() {
        let (header, ..) = complete(b"PROXY TCP6 2001:DB8:0::1 ::1 1 65535\r\n");
        let expected = flow(Protocol::Tcp, "[2001:db8::1]:1", "[::1]:65535");
        assert_eq!(header.proxied, expected);
        assert_eq!(
            emitted(&header, Version::V1).unwrap(),
            b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"
        );
    }

    #[test]
    fn a_mapped_address_is_read_dotted_and_written_in_hexadecimal() {
        let (header, ..) = complete(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
        assert_eq!(
            header.proxied,
            flow(Protocol::Tcp, "[::ffff:192.0.2.1]:1", "[::1]:2")
        );
        assert_eq!(
            emitted(&header, Version::V1).unwrap(),
            b"PROXY TCP6 ::ffff:c000:201 ::1 1 2\r\n"
        );
    }

    #[test]
    fn mixed_families_are_written_as_ipv6() {
        let header = Header::new(flow(Protocol::Tcp, "192.0.2.1:1", "[::1]:2"));
        let mapped = flow(Protocol::Tcp, "[::ffff:192.0.2.1]:1", "[::1]:2");
        for version in [Version::V1, Version::V2] {
            let (read, ..) = complete(&emitted(&header, version).unwrap());
            assert_eq!(read.proxied, mapped);
        }
        let header = Header::new(flow(Protocol::Udp, "[::1]:2", "192.0.2.1:1"));
        let (read, ..) = complete(&emitted(&header, Version::V2).unwrap());
        let mapped = flow(Protocol::Udp, "[::1]:2", "[::ffff:192.0.2.1]:1");
        assert_eq!(read.proxied, mapped);
    }

    #[test]
    fn what_an_unknown_line_says_is_ignored() {
        let unknown = Header::new(Proxied::Unknown);
        let worst = format!(
            "PROXY UNKNOWN {0} {0} 65535 65535\r\n",
            ["ffff"; 8].join(":")
        );
        assert_eq!(worst.len(), MAX_V1_LENGTH);
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN  \0 x\r\n", &worst] {
            assert_eq!(
                complete(line.as_bytes()),
                (unknown.clone(), Version::V1, line.len())
            );
        }
        assert_eq!(
            emitted(&unknown, Version::V1).unwrap(),
            b"PROXY UNKNOWN\r\n"
        );
    }

    #[test]
    fn a_line_of_107_bytes_is_read_and_one_of_108_refused() {
        let line = |fill: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(fill));
        assert_eq!(line(91).len(), 107);
        complete(line(91).as_bytes());
        assert_eq!(parse(line(92).as_bytes()), Err(ParseError::LineTooLong));
    }

    #[test]
    fn a_line_that_cannot_end_in_time_is_refused_before_it_is_buffered() {
        let line = |length: usize| [b"PROXY UNKNOWN ", vec![b'x'; length - 14].as_slice()].concat();
        assert_eq!(need(&line(105)), 107);
        assert_eq!(parse(&line(106)), Err(ParseError::LineTooLong));
        assert_eq!(parse(&line(100_000)), Err(ParseError::LineTooLong));
        let with_cr = |length| [line(length), b"\r".to_vec()].concat();
        assert_eq!(need(&with_cr(105)), 107);
        assert_eq!(parse(&with_cr(106)), Err(ParseError::LineTooLong));
    }

    #[test]
    fn need_is_the_shortest_way_to_a_line_end() {
        assert_eq!(need(b""), 15);
        assert_eq!(need(b"P"), 15);
        assert_eq!(need(b"PROXY UNKNOWN"), 15);
        assert_eq!(need(b"PROXY UNKNOWN "), 16);
        assert_eq!(need(b"PROXY UNKNOWN\r"), 15);
        assert_eq!(need(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r"), 33);
    }

    #[test]
    fn a_lone_cr_or_lf_ends_nothing() {
        for line in [
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN x\rx\r\n",
            "PROXY UNKNOWN\r\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ParseError::LineEnd), "{line:?}");
        }
    }

    #[test]
    fn a_line_that_differs_in_anything_is_refused() {
        use ParseError::{Address, Fields, NotProxyProtocol, Port, UnknownProtocol};
        for (line, error) in [
            ("POST", NotProxyProtocol),
            ("PROXY\t", NotProxyProtocol),
            ("proxy TCP4", NotProxyProtocol),
            ("PROXY \r\n", UnknownProtocol),
            ("PROXY  TCP4 1.2.3.4 5.6.7.8 9 10\r\n", UnknownProtocol),
            ("PROXY TCP5 1.2.3.4 5.6.7.8 9 10\r\n", UnknownProtocol),
            ("PROXY tcp4 1.2.3.4 5.6.7.8 9 10\r\n", UnknownProtocol),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n", UnknownProtocol),
            ("PROXY UNKNOWNS\r\n", UnknownProtocol),
            ("PROXY TCP4\r\n", Fields),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", Fields),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n", Fields),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n", Fields),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 01.2.3.4 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 1.2.3 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 1.2.3.256 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 0x1.2.3.4 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 ::1 5.6.7.8 9 10\r\n", Address),
            ("PROXY TCP4 1.2.3.4 ::1 9 10\r\n", Address),
            ("PROXY TCP6 1.2.3.4 ::1 9 10\r\n", Address),
            ("PROXY TCP6 [::1] ::1 9 10\r\n", Address),
            ("PROXY TCP6 fe80::1%eth0 ::1 9 10\r\n", Address),
            ("PROXY TCP6 1::2::3 ::1 9 10\r\n", Address),
            ("PROXY TCP4 1.2.3.4 5.6.7.8  10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 00 10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 -1 10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1x 10\r\n", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n", Port),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(error), "{line:?}");
        }
        let not_utf8 = b"PROXY TCP4 1.2.3.\xff 5.6.7.8 9 10\r\n";
        assert_eq!(parse(not_utf8), Err(Address));
        assert_eq!(parse(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 \xff\r\n"), Err(Port));
    }

    #[test]
    fn ports_reach_from_0_to_65535() {
        let (header, ..) = complete(b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n");
        assert_eq!(
            header.proxied,
            flow(Protocol::Tcp, "1.2.3.4:0", "5.6.7.8:65535")
        );
    }

    #[test]
    fn what_a_line_cannot_say_is_not_written() {
        let mut with_tlv = Header::new(inet());
        with_tlv.tlvs.push(&Tlv::Alpn(b"h2")).unwrap();
        let unix = Proxied::Unix {
            kind: UnixKind::Stream,
            source: UnixAddress::unnamed(),
            destination: UnixAddress::unnamed(),
        };
        let udp = flow(Protocol::Udp, "192.0.2.1:1", "192.0.2.2:2");
        for header in [
            with_tlv,
            Header::new(udp),
            Header::new(unix),
            Header::new(Proxied::Local),
        ] {
            let mut out = b"kept".to_vec();
            assert_eq!(header.emit(Version::V1, &mut out), Err(EmitError::NotInV1));
            assert_eq!(out, b"kept");
        }
    }
}

mod v2 {
    use super::*;

    #[test]
    fn every_listed_family_is_read_and_written_alike() {
        let inet6 = {
            let mut bytes = [0; 36];
            bytes[..2].copy_from_slice(&[0x20, 0x01]);
            bytes[15] = 1;
            bytes[31] = 2;
            bytes[32..].copy_from_slice(&[0, 1, 0xff, 0xff]);
            bytes
        };
        let mut paths = [0; 216];
        paths[..2].copy_from_slice(b"/a");
        paths[108..110].copy_from_slice(b"/b");
        let unix = |kind| Proxied::Unix {
            kind,
            source: UnixAddress::new(b"/a").unwrap(),
            destination: UnixAddress::new(b"/b").unwrap(),
        };
        let inet6_flow = |protocol| flow(protocol, "[2001::1]:1", "[::2]:65535");
        for (family, block, proxied) in [
            (0x00, &[][..], Proxied::Unknown),
            (0x11, &INET, inet()),
            (
                0x12,
                &INET,
                flow(Protocol::Udp, "192.0.2.1:40000", "203.0.113.10:443"),
            ),
            (0x21, &inet6, inet6_flow(Protocol::Tcp)),
            (0x22, &inet6, inet6_flow(Protocol::Udp)),
            (0x31, &paths, unix(UnixKind::Stream)),
            (0x32, &paths, unix(UnixKind::Datagram)),
        ] {
            let bytes = v2(0x21, family, block);
            let header = Header::new(proxied);
            let (read, version, consumed) = complete(&[&bytes[..], b"more"].concat());
            assert_eq!(
                (read, version, consumed),
                (header.clone(), Version::V2, bytes.len())
            );
            assert_eq!(emitted(&header, Version::V2).unwrap(), bytes);
            if !block.is_empty() {
                let short = v2(0x21, family, &block[..block.len() - 1]);
                assert_eq!(parse(&short), Err(ParseError::TooShort));
                // The length alone shows it; the addresses need not have come.
                assert_eq!(parse(&short[..16]), Err(ParseError::TooShort));
            }
        }
    }

    #[test]
    fn a_local_header_is_skipped_whatever_it_holds() {
        let local = Header::new(Proxied::Local);
        for block in [&[][..], &[0xff; 5], &INET, &[0; 300]] {
            let bytes = v2(0x20, 0x11, block);
            assert_eq!(complete(&bytes), (local.clone(), Version::V2, bytes.len()));
        }
        assert_eq!(emitted(&local, Version::V2).unwrap(), v2(0x20, 0x00, &[]));
    }

    #[test]
    fn a_local_header_carries_no_tlvs_out() {
        let mut header = Header::new(Proxied::Local);
        header.tlvs.push(&Tlv::Noop(b"")).unwrap();
        assert_eq!(emitted(&header, Version::V2), Err(EmitError::LocalTlvs));
    }

    #[test]
    fn every_other_version_command_and_family_is_refused_at_its_byte() {
        for byte in 0..=255_u8 {
            let expected = match byte {
                0x20 | 0x21 => None,
                0x22..=0x2f => Some(ParseError::UnknownCommand(byte & 0xf)),
                _ => Some(ParseError::UnknownVersion(byte >> 4)),
            };
            assert_eq!(parse(&[&SIGNATURE[..], &[byte]].concat()).err(), expected);
            let expected = match byte {
                0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32 => None,
                _ => Some(ParseError::UnknownFamily(byte)),
            };
            assert_eq!(
                parse(&[&SIGNATURE[..], &[0x21, byte]].concat()).err(),
                expected
            );
        }
    }

    #[test]
    fn a_wrong_signature_is_refused_at_its_first_wrong_byte() {
        for at in 1..SIGNATURE.len() {
            let mut bytes = SIGNATURE;
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes[..=at]), Err(ParseError::NotProxyProtocol));
            assert_eq!(need(&bytes[..at]), 16);
        }
    }

    #[test]
    fn a_length_at_the_cap_is_read_and_one_beyond_refused_at_once() {
        let header = |block: u16| {
            let [high, low] = block.to_be_bytes();
            [&SIGNATURE[..], &[0x21, 0x00, high, low]].concat()
        };
        assert_eq!(need(&header(4080)), MAX_LENGTH);
        let (length, most) = (4097, 4096);
        assert_eq!(
            parse(&header(4081)),
            Err(ParseError::TooLong { length, most })
        );
        let (length, most) = (16 + 65535, 16 + 65534);
        assert_eq!(
            parse_at_most(&header(65535), most),
            Err(ParseError::TooLong { length, most })
        );
        assert_eq!(
            parse_at_most(&header(65535), length),
            Ok(Parse::Incomplete { need: length })
        );
    }

    #[test]
    fn every_tlv_is_read_as_its_type_and_written_alike() {
        let tlvs = [
            &[0x01, 0, 2][..],
            b"h2",
            &[0x02, 0, 3],
            b"a.b",
            &[0x04, 0, 1, 0xff],
            &[0x05, 0, 1],
            b"i",
            &[0x30, 0, 2],
            b"ns",
            &[0xe0, 0, 0],
            &[0x20, 0, 5 + 4 * 5 + 3, 0x07, 0x01, 0x02, 0x03, 0x04],
            &[0x21, 0, 1],
            b"v",
            &[0x22, 0, 1],
            b"n",
            &[0x23, 0, 1],
            b"c",
            &[0x24, 0, 1],
            b"s",
            &[0x25, 0, 1],
            b"k",
            &[0x26, 0, 0],
        ]
        .concat();
        let bytes = v2(0x21, 0x11, &[&INET[..], &tlvs].concat());
        let (header, ..) = complete(&bytes);
        let all = SslFlags::SSL
            .and(SslFlags::CERTIFICATE_NOW)
            .and(SslFlags::CERTIFICATE_BEFORE);
        let fields = [
            SslField::Version("v"),
            SslField::CommonName("n"),
            SslField::Cipher("c"),
            SslField::SignatureAlgorithm("s"),
            SslField::KeyAlgorithm("k"),
            SslField::Other {
                kind: 0x26,
                value: b"",
            },
        ];
        let ssl = fields
            .iter()
            .fold(Ssl::new(all, 0x0102_0304), |ssl, field| {
                ssl.with(field).unwrap()
            });
        let expected = [
            Tlv::Alpn(b"h2"),
            Tlv::Authority("a.b"),
            Tlv::Noop(&[0xff]),
            Tlv::UniqueId(b"i"),
            Tlv::Netns("ns"),
            Tlv::Other {
                kind: 0xe0,
                value: b"",
            },
            Tlv::Ssl(ssl.clone()),
        ];
        assert_eq!(header.tlvs.iter().collect::<Vec<_>>(), expected);
        assert_eq!(ssl.fields().collect::<Vec<_>>(), fields);
        assert_eq!(header.tlvs.authority(), Some("a.b"));
        assert_eq!(header.tlvs.unique_id(), Some(&b"i"[..]));
        let read = header.tlvs.ssl().unwrap();
        assert_eq!((read.flags(), read.verify()), (all, 0x0102_0304));
        assert_eq!(emitted(&header, Version::V2).unwrap(), bytes);

        let mut built = Tlvs::new();
        assert!(built.is_empty() && !header.tlvs.is_empty());
        for tlv in &expected {
            built.push(tlv).unwrap();
        }
        assert_eq!(built, header.tlvs);
        assert!(format!("{built:?}").starts_with("[Alpn("));
    }

    #[test]
    fn flags_are_had_only_all_together() {
        let two = SslFlags::SSL.and(SslFlags::CERTIFICATE_BEFORE);
        assert_eq!(two.and(SslFlags::SSL), two);
        assert!(two.has(SslFlags::SSL) && two.has(SslFlags::CERTIFICATE_BEFORE) && two.has(two));
        assert!(!two.has(SslFlags::CERTIFICATE_NOW) && !SslFlags::SSL.has(two));
        let read = |flags: u8| {
            let tlv = [0x20, 0, 5, flags, 0, 0, 0, 0];
            let (header, ..) = complete(&v2(0x21, 0x00, &tlv));
            header.tlvs.ssl().unwrap().flags()
        };
        assert_eq!(read(1), SslFlags::SSL);
        assert_eq!(read(2), SslFlags::CERTIFICATE_NOW);
        assert_eq!(read(4), SslFlags::CERTIFICATE_BEFORE);
        assert_eq!(read(5), two);
    }

    /// A header with a checksum in the middle of its TLVs; the checksum was computed bit by bit
    /// from the definition of the polynomial, apart from this code.
    fn with_checksum() -> Vec<u8> {
        let tlvs = [
            &[0x01, 0, 2][..],
            b"h2",
            &[0x03, 0, 4],
            &CHECKSUM.to_be_bytes(),
            &[0x04, 0, 1, 0xff],
        ]
        .concat();
        v2(0x21, 0x11, &[&INET[..], &tlvs].concat())
    }

    #[test]
    fn a_right_checksum_is_accepted_and_written_again() {
        let bytes = with_checksum();
        let (header, ..) = complete(&bytes);
        assert_eq!(
            header.tlvs.iter().collect::<Vec<_>>(),
            [Tlv::Alpn(b"h2"), Tlv::Crc32c, Tlv::Noop(&[0xff])]
        );
        let mut out = b"before".to_vec();
        header.emit(Version::V2, &mut out).unwrap();
        assert_eq!(out, [b"before", &bytes[..]].concat());
    }

    #[test]
    fn a_checksum_catches_every_changed_bit_it_covers() {
        let good = with_checksum();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match parse(&bytes) {
                Err(_) | Ok(Parse::Incomplete { .. }) => {}
                // The command became LOCAL, or the type of the checksum became another.
                Ok(Parse::Complete { header, .. }) => assert!(
                    header.proxied == Proxied::Local || header.tlvs.checksum_offset().is_none(),
                    "bit {bit}"
                ),
            }
        }
        let mut bytes = good;
        bytes[16] ^= 1;
        assert_eq!(parse(&bytes), Err(ParseError::Checksum));
    }

    #[test]
    fn broken_tlvs_are_refused() {
        use TlvError::{BadValue, SecondChecksum, Truncated};
        let long_id = [&[0x05, 0, 129][..], &[0; 129]].concat();
        for (tlvs, error) in [
            (&[0x01][..], Truncated),
            (&[0x01, 0], Truncated),
            (&[0x01, 0, 1], Truncated),
            (&[0x01, 0xff, 0xff, 0], Truncated),
            (&[0x04, 0, 0, 0x04], Truncated),
            (&[0x02, 0, 1, 0xff], BadValue(0x02)),
            (&[0x03, 0, 3, 0, 0, 0], BadValue(0x03)),
            (&[0x03, 0, 5, 0, 0, 0, 0, 0], BadValue(0x03)),
            (
                &[0x03, 0, 4, 0, 0, 0, 0, 0x03, 0, 4, 0, 0, 0, 0],
                SecondChecksum,
            ),
            (&[0x30, 0, 2, 0xc3, 0xa9], BadValue(0x30)),
            (&long_id, BadValue(0x05)),
            (&[0x20, 0, 4, 0, 0, 0, 0], BadValue(0x20)),
            (&[0x20, 0, 6, 0, 0, 0, 0, 0, 0x21], Truncated),
            (&[0x20, 0, 8, 0, 0, 0, 0, 0, 0x21, 0, 1], Truncated),
            (
                &[0x20, 0, 9, 0, 0, 0, 0, 0, 0x22, 0, 1, 0xff],
                BadValue(0x22),
            ),
        ] {
            assert_eq!(tlv_error(tlvs), ParseError::Tlv(error), "{tlvs:?}");
        }
        for kind in [0x21, 0x23, 0x24, 0x25] {
            let tlv = [0x20, 0, 10, 0, 0, 0, 0, 0, kind, 0, 2, 0xc3, 0xa9];
            assert_eq!(tlv_error(&tlv), ParseError::Tlv(BadValue(kind)));
        }
        complete(&v2(0x21, 0, &[&[0x05, 0, 128][..], &[0; 128]].concat()));
    }

    #[test]
    fn what_is_pushed_keeps_the_same_rules() {
        let mut tlvs = Tlvs::new();
        let refused = [
            (Tlv::UniqueId(&[0; 129]), TlvError::BadValue(0x05)),
            (Tlv::Netns("é"), TlvError::BadValue(0x30)),
            (
                Tlv::Other {
                    kind: 0x03,
                    value: b"",
                },
                TlvError::BadValue(0x03),
            ),
            (Tlv::Noop(&[0; 65536]), TlvError::TooLong(65536)),
        ];
        for (tlv, error) in refused {
            assert_eq!(tlvs.push(&tlv), Err(error));
        }
        assert!(tlvs.is_empty());
        tlvs.push(&Tlv::Crc32c).unwrap();
        assert_eq!(tlvs.push(&Tlv::Crc32c), Err(TlvError::SecondChecksum));
        let ssl = Ssl::new(SslFlags::SSL, 0);
        assert_eq!(
            ssl.with(&SslField::Version("é")),
            Err(TlvError::BadValue(0x21))
        );
    }

    #[test]
    fn a_header_that_its_length_cannot_tell_is_not_written() {
        let mut header = Header::new(inet());
        header.tlvs.push(&Tlv::Noop(&[0; 65535 - 12 - 3])).unwrap();
        assert_eq!(emitted(&header, Version::V2).unwrap().len(), 16 + 65535);
        header.proxied = flow(Protocol::Tcp, "[::1]:1", "[::2]:2");
        assert_eq!(
            emitted(&header, Version::V2),
            Err(EmitError::TooLong(65535 + 24))
        );
    }

    const CHECKSUM: u32 = 0xa9b8_336e;
}
