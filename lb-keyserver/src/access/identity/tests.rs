use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};

use super::*;

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

fn certificate(names: Vec<SanType>) -> (CertificateDer<'static>, String) {
    let pair = KeyPair::generate().expect("made");
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    let certificate = params.self_signed(&pair).expect("signed");
    let key = Identity::of_spki(&pair.subject_public_key_info());
    (certificate.der().clone(), key.to_string())
}

fn names(names: Vec<SanType>) -> Result<Vec<String>, BadCertificate> {
    let (certificate, key) = certificate(names);
    let names = Identities::of_certificate(&certificate)?;
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names.pop(), Some(key), "the key is always the last");
    Ok(names)
}

#[test]
fn uris_come_before_dns_names_and_the_key_last() {
    let address = SanType::IpAddress("192.0.2.1".parse().expect("good"));
    let mail = SanType::Rfc822Name("a@b.test".try_into().expect("ASCII"));
    let san = vec![
        dns("Node-7.Example"),
        address,
        uri("lb://node/7"),
        mail,
        dns("b"),
        uri("x:y"),
    ];
    let expected = ["lb://node/7", "x:y", "node-7.example", "b"];
    assert_eq!(names(san).expect("good"), expected);
}

#[test]
fn the_principal_is_the_first_there_is() {
    for (san, principal) in [
        (vec![dns("b.test"), uri("lb://node/7")], Some("lb://node/7")),
        (vec![dns("b.test"), dns("a.test")], Some("b.test")),
        (vec![], None),
    ] {
        let (certificate, key) = certificate(san);
        let names = Identities::of_certificate(&certificate).expect("good");
        assert_eq!(names.principal().as_str(), principal.unwrap_or(&key));
    }
}

#[test]
fn no_certificate_takes_a_name_of_another_kind() {
    let hash = format!("spki:sha256:{}", "0".repeat(64));
    for name in [
        uri(&hash),
        uri("SPKI:sha256:0"),
        uri("node-7.example"),
        dns("lb://node/7"),
        dns(&hash),
    ] {
        let read = names(vec![name.clone()]);
        assert_eq!(
            read,
            Err(BadCertificate::Name(BadIdentity::Kind)),
            "{name:?}"
        );
    }
}

#[test]
fn wildcards_name_nobody() {
    let san = vec![dns("*.example.com"), uri("lb://node/*"), dns("a.test")];
    assert_eq!(names(san).expect("good"), ["a.test"]);
}

#[test]
fn a_name_of_strange_characters_or_length_spoils_the_certificate() {
    for (name, why) in [
        (uri("lb://node/7\n"), BadIdentity::Characters),
        (uri("lb://node/ 7"), BadIdentity::Characters),
        (uri("://x"), BadIdentity::Characters),
        (dns("a..b"), BadIdentity::Characters),
        (dns("a.b."), BadIdentity::Characters),
        (dns("a b"), BadIdentity::Characters),
        (dns(""), BadIdentity::Length),
        (uri(&format!("lb:{}", "a".repeat(253))), BadIdentity::Length),
    ] {
        assert_eq!(
            names(vec![name.clone()]),
            Err(BadCertificate::Name(why)),
            "{name:?}"
        );
    }
    let longest = format!("lb:{}", "a".repeat(252));
    assert_eq!(names(vec![uri(&longest)]).expect("good"), [longest]);
}

#[test]
fn a_certificate_has_64_names_at_most() {
    let many = |count: u32| (0..count).map(|n| dns(&format!("n{n}.test"))).collect();
    assert_eq!(names(many(64)).expect("good").len(), 64);
    assert_eq!(names(many(65)), Err(BadCertificate::TooManyNames));
}

#[test]
fn the_hash_of_a_key_is_that_of_its_whole_spki() {
    // FIPS 180-4, the example of one block.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let name = Identity::of_spki(b"abc");
    assert_eq!(name.as_str(), format!("spki:sha256:{hash}"));
    assert_eq!(name.as_str().parse(), Ok(name.clone()));
    for bad in [
        format!("spki:sha256:{}", &hash[1..]),
        format!("spki:sha256:{hash}0"),
        format!("spki:sha256:{}", hash.to_uppercase()),
        format!("spki:sha1:{hash}"),
    ] {
        assert_eq!(bad.parse::<Identity>(), Err(BadIdentity::Kind), "{bad}");
    }
}

#[test]
fn what_is_cut_off_or_changed_is_refused_or_read_and_never_panics() {
    let (certificate, _) = certificate(vec![uri("lb://node/7"), dns("a.test")]);
    for length in 0..certificate.len() {
        let cut = CertificateDer::from(certificate[..length].to_vec());
        assert!(Identities::of_certificate(&cut).is_err(), "{length}");
        assert!(san::names(&cut).is_none() || length == certificate.len());
    }
    for at in 0..certificate.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = certificate.to_vec();
            changed[at] ^= flip;
            if let Some(names) = san::names(&changed) {
                assert!(names.count() <= changed.len());
            }
            let _ = Identities::of_certificate(&CertificateDer::from(changed));
        }
    }
}

#[test]
fn a_certificate_of_one_name_of_no_kind_that_counts_is_known_by_its_key() {
    let address = SanType::IpAddress("192.0.2.1".parse().expect("good"));
    assert_eq!(names(vec![address]).expect("good"), [""; 0]);
}
