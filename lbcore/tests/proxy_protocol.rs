//! The PROXY protocol on bytes nobody wrote by hand, beside another implementation.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the report"
)]

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::proxy_protocol::{
    Header, Parse, Proxied, Ssl, SslField, SslFlags, Tlv, UnixAddress, UnixKind, Version, parse,
    parse_at_most,
};

/// What any version 2 header may have, so that no generated one meets the cap.
const NO_CAP: usize = 16 + 65535;

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

/// Both ends of one family, for a header has one.
fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = any::<([u16; 8], [u16; 8])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let mapped = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| {
        let mapped = |octets| IpAddr::V6(std::net::Ipv4Addr::from(octets).to_ipv6_mapped());
        (mapped(a), mapped(b))
    });
    (prop_oneof![v4, v6, mapped], any::<(u16, u16)>()).prop_map(
        |((a, b), (source, destination))| {
            (SocketAddr::new(a, source), SocketAddr::new(b, destination))
        },
    )
}

fn flow() -> impl Strategy<Value = Proxied> {
    (protocol(), ends()).prop_map(|(protocol, (source, destination))| {
        Proxied::Flow(FlowKey::new(protocol, source, destination))
    })
}

fn unix() -> impl Strategy<Value = Proxied> {
    let address = || vec(any::<u8>(), 0..=108).prop_map(|name| UnixAddress::new(&name).unwrap());
    let kind = prop_oneof![Just(UnixKind::Stream), Just(UnixKind::Datagram)];
    (kind, address(), address()).prop_map(|(kind, source, destination)| Proxied::Unix {
        kind,
        source,
        destination,
    })
}

/// One TLV in a form that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Bytes(u8, Vec<u8>),
    Checksum,
    Ssl(u32, Vec<(u8, String)>),
    Text(u8, String),
}

fn tlv() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (
            prop_oneof![Just(1), Just(4), Just(5), 0xe0..=0xff_u8],
            vec(any::<u8>(), 0..=128)
        )
            .prop_map(|(kind, value)| Owned::Bytes(kind, value)),
        Just(Owned::Checksum),
        (any::<u32>(), vec((0x21..=0x26_u8, "[ -~]{0,20}"), 0..6))
            .prop_map(|(verify, fields)| Owned::Ssl(verify, fields)),
        (Just(0x02), "\\PC{0,40}").prop_map(|(kind, text)| Owned::Text(kind, text)),
        (Just(0x30), "[ -~]{0,40}").prop_map(|(kind, text)| Owned::Text(kind, text)),
    ]
}

/// Adds it; a second checksum is refused, and left out.
fn push(header: &mut Header, tlv: &Owned) {
    let _ = match tlv {
        Owned::Bytes(1, value) => header.tlvs.push(&Tlv::Alpn(value)),
        Owned::Bytes(4, value) => header.tlvs.push(&Tlv::Noop(value)),
        Owned::Bytes(5, value) => header.tlvs.push(&Tlv::UniqueId(value)),
        Owned::Bytes(kind, value) => header.tlvs.push(&Tlv::Other { kind: *kind, value }),
        Owned::Checksum => header.tlvs.push(&Tlv::Crc32c),
        Owned::Ssl(verify, fields) => {
            let ssl = fields
                .iter()
                .fold(Ssl::new(SslFlags::SSL, *verify), |ssl, (kind, text)| {
                    let value = text.as_bytes();
                    ssl.with(&SslField::Other { kind: *kind, value }).unwrap()
                });
            header.tlvs.push(&Tlv::Ssl(ssl))
        }
        Owned::Text(2, text) => header.tlvs.push(&Tlv::Authority(text)),
        Owned::Text(_, text) => header.tlvs.push(&Tlv::Netns(text)),
    };
}

/// Any header of either version that can be written.
fn header() -> impl Strategy<Value = (Header, Version)> {
    let line = prop_oneof![
        Just(Proxied::Unknown),
        ends().prop_map(|(a, b)| Proxied::Flow(FlowKey::new(Protocol::Tcp, a, b))),
    ];
    let block = (
        prop_oneof![Just(Proxied::Unknown), flow(), unix()],
        vec(tlv(), 0..8),
    );
    prop_oneof![
        line.prop_map(|proxied| (Header::new(proxied), Version::V1)),
        Just((Header::new(Proxied::Local), Version::V2)),
        block.prop_map(|(proxied, tlvs)| {
            let mut header = Header::new(proxied);
            for tlv in &tlvs {
                push(&mut header, tlv);
            }
            (header, Version::V2)
        }),
    ]
}

fn emitted(header: &Header, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    header.emit(version, &mut out).unwrap();
    out
}

/// What holds of any bytes at all; returns the header if one was found.
fn check(bytes: &[u8]) -> Option<(Header, Version)> {
    match parse_at_most(bytes, NO_CAP) {
        Err(_) => None,
        Ok(Parse::Incomplete { need }) => {
            assert!(need > bytes.len(), "{need}");
            None
        }
        Ok(Parse::Complete {
            header,
            version,
            consumed,
        }) => {
            assert!(consumed <= bytes.len());
            let canonical = emitted(&header, version);
            let exact = matches!(&header.proxied, Proxied::Flow(flow) if flow.source.is_ipv4())
                || version == Version::V2 && header.proxied != Proxied::Local;
            if exact {
                assert_eq!(canonical, &bytes[..consumed]);
            }
            let again = parse_at_most(&canonical, NO_CAP);
            let consumed = canonical.len();
            assert_eq!(
                again,
                Ok(Parse::Complete {
                    header: header.clone(),
                    version,
                    consumed,
                })
            );
            Some((header, version))
        }
    }
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again((header, version) in header(), behind in vec(any::<u8>(), 0..9)) {
        let bytes = emitted(&header, version);
        let consumed = bytes.len();
        let parsed = parse_at_most(&[bytes, behind].concat(), NO_CAP);
        prop_assert_eq!(parsed, Ok(Parse::Complete { header, version, consumed }));
    }

    #[test]
    fn every_truncation_is_incomplete_and_needs_no_more_than_there_is((header, version) in header()) {
        let bytes = emitted(&header, version);
        for length in 0..bytes.len() {
            match parse_at_most(&bytes[..length], NO_CAP) {
                Ok(Parse::Incomplete { need }) => {
                    prop_assert!(length < need && need <= bytes.len(), "{length} {need}");
                }
                other => prop_assert!(false, "{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn reading_what_is_needed_ends_at_the_end((header, version) in header()) {
        let bytes = emitted(&header, version);
        let (mut have, mut reads) = (0, 0);
        while let Parse::Incomplete { need } = parse_at_most(&bytes[..have], NO_CAP).unwrap() {
            (have, reads) = (need, reads + 1);
        }
        prop_assert_eq!(have, bytes.len());
        // A version 2 header is sixteen bytes and then the rest; 15 are asked for at first.
        prop_assert!(version == Version::V1 || reads <= 3);
    }

    #[test]
    fn a_changed_byte_is_refused_or_means_what_it_says((header, version) in header(), value: u8) {
        let good = emitted(&header, version);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] = value;
            check(&bytes);
        }
    }

    #[test]
    fn any_bytes_behind_a_signature_are_refused_or_mean_what_they_say(
        text: bool, command in 0x20..=0x21_u8, family in prop::sample::select(vec![0_u8, 0x11, 0x21, 0x31]),
        bytes in vec(any::<u8>(), 0..300),
    ) {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let all = if text {
            [b"PROXY ", &bytes[..]].concat()
        } else {
            [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, &bytes].concat()
        };
        check(&all);
        check(&bytes);
    }

    #[test]
    fn lines_of_plausible_words_are_refused_or_mean_what_they_say(
        line in "PROXY (TCP4|TCP6|UNKNOWN)( (0|00|1|65535|65536|\\+1|1\\.2\\.3\\.4|01\\.2\\.3\\.4|::1|::|::ffff:1\\.2\\.3\\.4)){0,5}(\r\n|\n|\r|)",
    ) {
        let ours = check(line.as_bytes());
        // Where we accept, so does the other implementation, and reads the same.
        if let Some((header, _)) = ours {
            prop_assert_eq!(Some(addresses(&header)), other_addresses(line.as_bytes()));
        }
    }

    #[test]
    fn another_implementation_reads_what_we_emit((header, version) in header()) {
        // It knows Unix sockets by their length alone, and strings must be UTF-8 to it.
        let bytes = emitted(&header, version);
        prop_assert_eq!(Some(addresses(&header)), other_addresses(&bytes));
        let config = proxy_header::ParseConfig::default();
        let (other, consumed) = proxy_header::ProxyHeader::parse(&bytes, config).unwrap();
        prop_assert_eq!(consumed, bytes.len());
        prop_assert_eq!(header.tlvs.authority(), other.authority());
        prop_assert_eq!(header.tlvs.unique_id(), other.unique_id());
        prop_assert_eq!(header.tlvs.iter().count(), other.tlvs().count());
        let verify = header.tlvs.ssl().map(|ssl| ssl.verify());
        prop_assert_eq!(verify, other.ssl().map(|ssl| ssl.verify()));
    }

    #[test]
    fn we_read_what_another_implementation_emits(
        (protocol, (source, destination)) in (protocol(), ends()), name in "[a-z.]{1,60}",
    ) {
        let address = match protocol {
            Protocol::Tcp => proxy_header::ProxiedAddress::stream(source, destination),
            _ => proxy_header::ProxiedAddress::datagram(source, destination),
        };
        let mut expected = Header::new(Proxied::Flow(FlowKey::new(protocol, source, destination)));
        let mut theirs = proxy_header::ProxyHeader::with_address(address);
        let mut bytes = Vec::new();
        if protocol == Protocol::Tcp {
            theirs.encode_v1(&mut bytes).unwrap();
            prop_assert_eq!(check(&bytes), Some((expected.clone(), Version::V1)));
            bytes.clear();
        }
        theirs.append_tlv(proxy_header::Tlv::Authority(name.as_str().into()));
        expected.tlvs.push(&Tlv::Authority(&name)).unwrap();
        theirs.encode_v2(&mut bytes).unwrap();
        prop_assert_eq!(check(&bytes), Some((expected, Version::V2)));
    }
}

type Addresses = Option<(bool, SocketAddr, SocketAddr)>;

fn addresses(header: &Header) -> Addresses {
    match &header.proxied {
        Proxied::Flow(flow) => {
            let stream = flow.protocol == Protocol::Tcp;
            Some((stream, flow.source, flow.destination))
        }
        Proxied::Local | Proxied::Unix { .. } | Proxied::Unknown => None,
    }
}

/// `None` if it refuses the bytes.
fn other_addresses(bytes: &[u8]) -> Option<Addresses> {
    let config = proxy_header::ParseConfig::default();
    let (header, _) = proxy_header::ProxyHeader::parse(bytes, config).ok()?;
    Some(header.proxied_address().map(|address| {
        let stream = address.protocol == proxy_header::Protocol::Stream;
        (stream, address.source, address.destination)
    }))
}

#[test]
fn the_cap_of_parse_is_the_documented_one() {
    let mut header = Header::new(Proxied::Unknown);
    header.tlvs.push(&Tlv::Noop(&[0; 4096 - 16 - 3])).unwrap();
    let bytes = emitted(&header, Version::V2);
    assert!(matches!(
        parse(&bytes),
        Ok(Parse::Complete { consumed: 4096, .. })
    ));
    header.tlvs.push(&Tlv::Noop(&[])).unwrap();
    assert!(parse(&emitted(&header, Version::V2)).is_err());
}
