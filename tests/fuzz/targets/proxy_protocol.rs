//! A header that is read is written and read again alike; checksums are put right on the way.
#![no_main]

use lbcore::proxy_protocol::{Header, MAX_LENGTH, Parse, Proxied, Tlv, Version, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Few inputs meet a checksum by chance: give one to whatever can carry it.
    if let Some(mut header) = check(bytes)
        && header.proxied != Proxied::Local
        && header.tlvs.push(&Tlv::Crc32c).is_ok()
    {
        let mut out = Vec::new();
        if header.emit(Version::V2, &mut out).is_ok() && out.len() <= MAX_LENGTH {
            let again = check(&out).expect("what is emitted is parsed");
            assert!(again.tlvs.iter().any(|tlv| tlv == Tlv::Crc32c));
        }
    }
});

fn check(bytes: &[u8]) -> Option<Header> {
    match parse(bytes) {
        Err(_) => None,
        Ok(Parse::Incomplete { need }) => {
            assert!(need > bytes.len() && need <= MAX_LENGTH);
            None
        }
        Ok(Parse::Complete {
            header,
            version,
            consumed,
        }) => {
            let before = bytes.get(..consumed.wrapping_sub(1)).expect("not empty");
            assert!(matches!(parse(before), Ok(Parse::Incomplete { .. })));

            let mut out = Vec::new();
            header
                .emit(version, &mut out)
                .expect("what is parsed is emitted");
            if version == Version::V2 && header.proxied != Proxied::Local {
                assert_eq!(Some(&*out), bytes.get(..consumed));
            }
            let again = Parse::Complete {
                header: header.clone(),
                version,
                consumed: out.len(),
            };
            assert_eq!(parse(&out), Ok(again));
            read_all(&header);
            Some(header)
        }
    }
}

/// Every value can be looked at.
fn read_all(header: &Header) {
    let shown = format!("{header:?}");
    let fields = header.tlvs.ssl().map_or(0, |ssl| ssl.fields().count());
    assert!(shown.len() >= fields);
}
