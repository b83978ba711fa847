use proptest::prelude::*;
use rcgen::{DnValue, date_time_ymd};

use super::super::der::{Fields, name_to_text};
use super::*;

/// An element of a short form.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], content].concat()
}

fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(6, kind), tlv(tag, value)].concat())
}

const CN: &[u8] = &[0x55, 4, 3];
const O: &[u8] = &[0x55, 4, 10];
const UTF8: u8 = 12;

#[test]
fn the_fields_are_those_of_the_certificate() {
    let mut params = params(&["a.example", "*.B.example", "192.0.2.1", "2001:db8::1"]);
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x7F, 1]));
    let authority = Authority::new("ca");
    for (ymd, seconds) in [
        ((1970, 1, 1), 0),
        ((1999, 12, 31), 946_598_400),
        ((2000, 2, 29), 951_782_400),
        ((2000, 3, 1), 951_868_800),
        ((2049, 12, 31), 2_524_521_600),
        ((2050, 1, 1), 2_524_608_000),
        ((2100, 3, 1), 4_107_542_400),
        ((9999, 12, 31), 253_402_214_400),
    ] {
        (params.not_before, params.not_after) = (
            date_time_ymd(1970, 1, 2),
            date_time_ymd(ymd.0, ymd.1, ymd.2),
        );
        let issued = authority.issue_as(params.clone(), &PKCS_ECDSA_P256_SHA256);
        let der = der(&issued.load());
        let fields = Fields::parse(&der).unwrap();
        assert_eq!((fields.not_before, fields.not_after), (86_400, seconds));
        assert_eq!(fields.serial, [0x7F, 1]);
        assert_eq!(fields.dns_names, ["a.example", "*.B.example"]);
        let addresses: Vec<_> = fields.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
        assert!(name_to_text(fields.issuer).unwrap().contains("CN=ca"));
    }
}

#[test]
fn names_are_written_as_rfc_4514_says() {
    for (tag, value, text) in [
        (UTF8, &b"plain text"[..], "CN=plain text"),
        (
            UTF8,
            b"a,b+c\"d\\e<f>g;h=i",
            r#"CN=a\,b\+c\"d\\e\<f\>g\;h\=i"#,
        ),
        (UTF8, b" both ends ", "CN=\\ both ends\\ "),
        (UTF8, b" ", "CN=\\ "),
        (UTF8, b"#first#", "CN=\\#first#"),
        (UTF8, b"", "CN="),
        (UTF8, b"\r\nx: y\0\x7F~", r"CN=\0d\0ax: y\00\7f~"),
        (UTF8, "ü".as_bytes(), r"CN=\c3\bc"),
        (18, b"123", "CN=123"),
        (19, b"P", "CN=P"),
        (20, b"T", "CN=T"),
        (22, b"I", "CN=I"),
        (30, &[0, b'B', 0, b'M'], "CN=BM"),
        (30, &[0xD8, 0], r"CN=\ef\bf\bd"),
        (28, &[0, 0, 0, b'U'], "CN=#1c0400000055"),
        (4, b"o", "CN=#04016f"),
    ] {
        let name = tlv(0x31, &attribute(CN, tag, value));
        assert_eq!(name_to_text(&name).as_deref(), Some(text));
    }
}

#[test]
fn parts_are_written_from_the_last_and_joined() {
    let country = tlv(0x31, &attribute(&[0x55, 4, 6], 19, b"DE"));
    let pair = [attribute(O, UTF8, b"o"), attribute(CN, UTF8, b"c")].concat();
    let name = [country, tlv(0x31, &pair)].concat();
    assert_eq!(name_to_text(&name).as_deref(), Some("O=o+CN=c,C=DE"));
    assert_eq!(name_to_text(&[]).as_deref(), Some(""));
}

#[test]
fn unknown_kinds_are_written_with_dots() {
    for (kind, text) in [
        (
            &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x02][..],
            "1.2.840.113549.1.9.2=#0c0178",
        ),
        (&[0x55, 4, 99], "2.5.4.99=#0c0178"),
        (&[0x81, 0x34, 3], "2.100.3=#0c0178"),
        (&[39], "0.39=#0c0178"),
        (&[40], "1.0=#0c0178"),
    ] {
        let name = tlv(0x31, &attribute(kind, UTF8, b"x"));
        assert_eq!(name_to_text(&name).as_deref(), Some(text));
    }
    for bad in [&[][..], &[0x80], &[0x55, 0x84], &[0xFF; 12]] {
        assert_eq!(name_to_text(&tlv(0x31, &attribute(bad, UTF8, b"x"))), None);
    }
}

#[test]
fn a_name_of_unbounded_length_is_not_written() {
    let long = |count: usize| {
        let one = tlv(0x31, &attribute(CN, UTF8, &[b'x'; 97]));
        name_to_text(&one.repeat(count))
    };
    // Each part is `CN=`, 97 bytes, and a comma between.
    assert_eq!(long(40).map(|text| text.len()), Some(4039));
    assert_eq!(long(41), None);
}

/// The same certificate with its end of validity written in another way.
fn until(time: &[u8], tag: u8) -> Option<u64> {
    let validity = [tlv(23, b"700102000000Z"), tlv(tag, time)].concat();
    let empty = || tlv(0x30, b"");
    let parts = [
        tlv(2, &[1]),
        empty(),
        empty(),
        tlv(0x30, &validity),
        empty(),
        empty(),
    ];
    let certificate = tlv(0x30, &tlv(0x30, &parts.concat()));
    Some(Fields::parse(&certificate)?.not_after)
}

#[test]
fn times_are_read_to_the_second_or_not_at_all() {
    for (tag, time, seconds) in [
        (23, &b"490101000000Z"[..], Some(2_493_072_000)),
        (23, b"500101000000Z", Some(0)),
        (23, b"700101000001Z", Some(1)),
        (23, b"700101235959Z", Some(86_399)),
        (23, b"700101235960Z", Some(86_400)),
        (23, b"701231000000Z", Some(364 * 86_400)),
        (24, b"19700101010203Z", Some(3723)),
        (24, b"00000301000000Z", Some(0)),
        (23, b"700101000000", None),
        (23, b"700101000000+0100", None),
        (23, b"7001010000Z", None),
        (23, b"700001000000Z", None),
        (23, b"701301000000Z", None),
        (23, b"700100000000Z", None),
        (23, b"700132000000Z", None),
        (23, b"700101240000Z", None),
        (23, b"700101006000Z", None),
        (23, b"700101000061Z", None),
        (23, b"7x0101000000Z", None),
        (22, b"700101000000Z", None),
    ] {
        assert_eq!(until(time, tag), seconds, "{}", time.escape_ascii());
    }
}

#[test]
fn long_forms_are_read_and_nonsense_is_not() {
    let name = |set: &[u8]| name_to_text(set);
    let attribute = attribute(CN, UTF8, b"x");
    let length = u8::try_from(attribute.len()).unwrap();
    let long = |prefix: &[u8]| [&[0x31][..], prefix, &[length], &attribute].concat();
    assert_eq!(name(&long(&[0x81])).as_deref(), Some("CN=x"));
    assert_eq!(name(&long(&[0x82, 0])).as_deref(), Some("CN=x"));
    assert_eq!(name(&long(&[0x84, 0, 0, 0])).as_deref(), Some("CN=x"));
    assert_eq!(
        name(&long(&[0x85, 0, 0, 0, 0])),
        None,
        "five bytes of length"
    );
    assert_eq!(name(&[0x31, 0x80, 0, 0]), None, "indefinite");
    assert_eq!(name(&[0x31, 1]), None, "cut short");
    assert_eq!(name(&[0x31]), None);
    assert_eq!(name(&[0x3F, 0x81, 1, 0]), None, "a tag of two bytes");
}

proptest! {
    #[test]
    fn no_bytes_make_the_walk_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Fields::parse(&bytes);
        if let Some(text) = name_to_text(&bytes) {
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    /// A broken certificate is refused or read, at whatever byte it is broken.
    #[test]
    fn no_damage_makes_the_walk_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        static DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            der(&Authority::new("ca").certificate(&["a.example", "192.0.2.1"]))
        });
        let mut damaged = DER.clone();
        let at = at.index(damaged.len());
        prop_assert_eq!(Fields::parse(&damaged[..at]), None);
        damaged[at] = byte;
        if let Some(fields) = Fields::parse(&damaged) {
            let _ = (name_to_text(fields.subject), name_to_text(fields.issuer));
        }
    }

    #[test]
    fn any_text_becomes_visible_ascii(text in ".{0,60}") {
        let mut params = params(&[]);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, DnValue::Utf8String(text));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let fields = Fields::parse(certificate.der()).unwrap();
        let text = name_to_text(fields.subject).unwrap();
        prop_assert!(http::HeaderValue::from_str(&text).is_ok());
        prop_assert!(text.is_ascii() && text.starts_with("CN="));
    }
}
